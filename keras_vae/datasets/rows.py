"""Where the examples of a split come from: memory, files read in batches, or a stream."""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae.batches import CALLS, IndexedBatches, epochs, number_of_batches, shuffled_blocks
from keras_vae.refusals import in_both

# From stored examples (batch, *shape), the epoch and the number of the batch, int64 scalars, to observations; of
# examples with targets from pairs to pairs.
Observe = Callable[[Any, tf.Tensor, tf.Tensor], Any]
# From numbers of examples, int64 of shape () or (n,), to what stands beside them, shape (...) or (n, ...).
Targets = Callable[[tf.Tensor], tf.Tensor]

SPLITS = ("train", "validation", "test")
NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}


class IndexedRows:
    """Examples that can be read by their number; a subclass defines `at` and `sample`.

    Attributes:
        shape: of one example.
        array: all examples, shape (examples, *shape), where looking at all of them costs little; else None.
    """

    shape: tuple[int, ...]
    array: np.ndarray | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def at(self, rows: tf.Tensor) -> Any:
        """The examples with these numbers, shape (n, *shape), for int64 `rows` of shape (n,)."""
        raise NotImplementedError

    def sample(self, count: int) -> np.ndarray:
        """About `count` examples, shape (n, *shape), or more of them where they are at hand."""
        raise NotImplementedError

    def paired(self, targets: Targets) -> "PairedRows":
        """Pairs of an example and its target; see `PairedRows`."""
        return PairedRows(self, targets)

    def training(self, seed: int, observe: Observe, batch_size: int, drop_remainder: bool) -> tf.data.Dataset:
        """Observed batches, in an order drawn from (seed, epoch)."""

        def read(rows, epoch, number):
            return observe(self.at(rows), epoch, number)

        return IndexedBatches(len(self), batch_size, read, seed=seed, drop_remainder=drop_remainder).by_epoch()

    def stored(self, batch_size: int) -> tf.data.Dataset:
        """Batches as they are stored, in their order."""
        at = tf.autograph.experimental.do_not_convert(self.at)
        return tf.data.Dataset.range(len(self)).batch(batch_size).map(at, num_parallel_calls=CALLS)


class ArrayRows(IndexedRows):
    """Examples in memory.

    Args:
        array: shape (examples, *shape), a number type.
    """

    array: np.ndarray

    def __init__(self, array: np.ndarray):
        self.shape = array.shape[1:]
        # Here: made in a dataset's function it would be copied into its graph.
        self.tensor = tf.convert_to_tensor(array)
        self.array = np.asarray(memoryview(self.tensor))  # the same memory

    def __len__(self) -> int:
        return len(self.array)

    def at(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.tensor, rows)

    def sample(self, count: int) -> np.ndarray:
        """All examples: they are at hand."""
        return self.array


class ScratchRows(IndexedRows):
    """Examples in a temporary file, which no folder lists, and which is gone when nothing uses it any more.

    Args:
        array: shape (examples, *shape), memory-mapped.
    """

    array: np.ndarray

    def __init__(self, array: np.ndarray):
        self.shape = array.shape[1:]
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def at(self, rows: tf.Tensor) -> tf.Tensor:
        of_this = weakref.ref(self)  # TensorFlow keeps the function for as long as the process runs

        def read(numbers: np.ndarray) -> np.ndarray:
            return of_this().array[numbers]  # type: ignore[union-attr]  # the dataset that calls has these rows

        batch = tf.numpy_function(read, [rows], self.array.dtype, stateful=False)
        return tf.ensure_shape(batch, [rows.shape[0], *self.shape])

    def sample(self, count: int) -> np.ndarray:
        """About `count` examples, evenly spaced."""
        return self.array[:: max(1, len(self) // count)]


class ReadRows(IndexedRows):
    """Examples that are read when a batch needs them: a memory-mapped array, a folder of images.

    Args:
        read: from row numbers, int64 of shape (n,), to an array of shape (n, *shape).
        rows: the numbers of this split's rows.
        shape: shape of one example.
        dtype: of what `read` returns.
    """

    def __init__(
        self, read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, shape: tuple, dtype: np.dtype | type
    ):
        self.read = read
        self.rows = rows
        self.shape = tuple(shape)
        self.dtype = dtype
        self.numbers = tf.constant(rows, tf.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, rows: tf.Tensor) -> tf.Tensor:
        batch = tf.numpy_function(self.read, [tf.gather(self.numbers, rows)], self.dtype, stateful=False)
        return tf.ensure_shape(batch, [rows.shape[0], *self.shape])

    def sample(self, count: int) -> np.ndarray:
        """About `count` examples, evenly spaced over the split."""
        return self.read(self.rows[:: max(1, len(self) // count)])


class PairedRows(IndexedRows):
    """Pairs of an example and its target.

    Args:
        rows: the examples.
        targets: from numbers of examples to their targets.
    """

    def __init__(self, rows: IndexedRows, targets: Targets):
        self.rows = rows
        self.targets = targets
        self.shape = rows.shape
        self.array = rows.array

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The examples with these numbers, shape (n, *shape), and their targets, (n, ...)."""
        return self.rows.at(rows), self.targets(rows)

    def sample(self, count: int) -> np.ndarray:
        """About `count` examples, without targets."""
        return self.rows.sample(count)


class StreamRows:
    """Examples of a `tf.data.Dataset` that is larger than memory, shuffled in blocks of `buffer`.

    Args:
        dataset: of single examples, in a fixed order.
        size: number of examples.
        shape: shape of one example.
        buffer: examples that are held and shuffled together.
    """

    array = None

    def __init__(self, dataset: tf.data.Dataset, size: int, shape: tuple, buffer: int = 10_000):
        self.dataset = dataset
        self.size = size
        self.shape = tuple(shape)
        self.buffer = buffer

    def __len__(self) -> int:
        return self.size

    def training(self, seed: int, observe: Observe, batch_size: int, drop_remainder: bool) -> tf.data.Dataset:
        """Observed batches, shuffled from (seed, epoch)."""

        def build(epoch):
            batches = shuffled_blocks(self.dataset, self.buffer, seed, epoch).batch(batch_size, drop_remainder)

            def observe_batch(number, stored):
                return observe(stored, epoch, number)

            return batches.enumerate().map(observe_batch, num_parallel_calls=CALLS)

        return epochs(build, batch_size, number_of_batches(len(self), batch_size, drop_remainder))

    def stored(self, batch_size: int) -> tf.data.Dataset:
        """Batches as they are stored, in the stream's order."""
        return self.dataset.batch(batch_size)

    def sample(self, count: int) -> np.ndarray:
        """The first `count` examples."""
        return next(iter(self.dataset.batch(count))).numpy()

    def paired(self, targets: Targets) -> "PairedStream":
        """Pairs of an example and its target; see `PairedRows`."""
        return PairedStream(self, targets)


class PairedStream(StreamRows):
    """Pairs of an example of a stream and its target; the arguments are those of `PairedRows`."""

    def __init__(self, rows: StreamRows, targets: Targets):
        beside = tf.data.Dataset.range(rows.size).map(tf.autograph.experimental.do_not_convert(targets))
        super().__init__(tf.data.Dataset.zip(rows.dataset, beside), rows.size, rows.shape, rows.buffer)
        self.rows = rows

    def sample(self, count: int) -> np.ndarray:
        """The first `count` examples, without targets."""
        return self.rows.sample(count)


def one_hot(labels: np.ndarray, classes: int) -> Targets:
    """Of classes, whole numbers of shape (examples,), one-hot vectors, float32."""
    places = tf.constant(labels, tf.int64)
    return lambda numbers: tf.one_hot(tf.gather(places, numbers), classes)


def as_they_are(numbers: tf.Tensor) -> tf.Tensor:
    """The numbers themselves, int32."""
    return tf.cast(numbers, tf.int32)


def unknown(numbers: tf.Tensor) -> tf.Tensor:
    """-1, int32, for each number."""
    return tf.fill(tf.shape(numbers), -1)


Rows = ArrayRows | ScratchRows | ReadRows | StreamRows | PairedRows


def named_split(name: str) -> str | None:
    """The split that a folder or an array of this name is; None where it is none."""
    return NAMES.get(name.lower())


def whole_rows(size: int) -> dict[str, np.ndarray]:
    """Row numbers of train, validation and test where each is all rows."""
    return dict.fromkeys(SPLITS, np.arange(size))


def split_of_rows(size: int, seed: int, owner: str) -> np.ndarray:
    """The place in `SPLITS` of each row's split, bytes: 80, 10 and 10 % of a permutation drawn from the seed.

    Raises:
        ValueError: for fewer than ten rows.
    """
    if size < 10:
        received = f"Received: {size} in {owner}."
        raise in_both(
            ValueError(f"datasets.load needs at least 10 examples to split. {received}"),
            f"datasets.load needs at least 20 examples, two for each split. {received}",
        )
    # Of small numbers, in the order of `permutation(size)`: half its memory.
    order = np.random.default_rng(seed % 2**32).permutation(np.arange(size, dtype=np.min_scalar_type(size)))
    tenth = size // 10
    places = np.zeros(size, np.uint8)
    places[order[tenth : 2 * tenth]] = 1
    places[order[:tenth]] = 2
    return places


def split_rows(size: int, seed: int, owner: str) -> dict[str, np.ndarray]:
    """Row numbers of train, validation and test, sorted; see `split_of_rows`."""
    places = split_of_rows(size, seed, owner)
    return {name: np.flatnonzero(places == place) for place, name in enumerate(SPLITS)}
