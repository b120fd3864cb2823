"""Examples -> batches whose order and noise are a function of the seed and the epoch, so that training can resume."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from keras_vae.keras_names import SameDataset, inputs_of

CALLS = 4  # batches that are made at the same time
AHEAD = 50  # batches that wait for the training, at most
AHEAD_BYTES = 2**25


class EpochBatches(SameDataset):
    """The batches of one epoch, which know the epoch: each pass gives those of the next one.

    Everything random in them is a function of a seed and the epoch: epoch 7 is the same whether the process has run
    epochs 0 to 6 or has just been started. What is made of it by `map`, `take`, `batch`, `prefetch`, `zip` and the like
    is so too, and `LatentVariableModel.fit` finds it again inside of them (`sources`), to tell it which epoch begins.

    Args:
        dataset: of the batches of the epoch `epoch`, which it counts up.
        epoch: number of the next epoch, an int64 `tf.Variable`.
        indexed: None, or what gives the same batches, counted through all epochs.
    """

    def __init__(self, dataset: tf.data.Dataset, epoch: tf.Variable, indexed: "IndexedBatches | None" = None):
        super().__init__(dataset)
        self.epoch = epoch
        self.indexed = indexed


def sources(dataset: tf.data.Dataset) -> Iterator[tf.data.Dataset]:
    """A dataset and all that it is made of."""
    yield dataset
    for part in inputs_of(dataset):
        yield from sources(part)


class IndexedBatches:
    """Batches of examples that can be read by their number, in an order drawn from (seed, epoch).

    The order is a pseudorandom permutation that is evaluated at the rows of one batch (`index_shuffle`): no list of
    rows is made or kept, however large the data.

    Args:
        size: number of examples.
        batch_size: examples in a batch; the last batch of an epoch may be smaller.
        read: from row numbers, int64 of shape (batch,), the epoch and the number of the batch, int64 scalars, to the
            batch. Its own noise must be drawn from the last two.
        shuffle: whether each epoch has an order of its own.
        seed: integer.
        drop_remainder: whether to leave out that smaller batch.

    Attributes:
        count: number of batches in an epoch.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        read: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Any],
        shuffle: bool = True,
        seed: int = 0,
        drop_remainder: bool = False,
    ):
        self.batch_size = batch_size
        self.count = count = number_of_batches(size, batch_size, drop_remainder)

        # Traced once for all datasets; outside of a flat_map: a function inside of it is instantiated in every epoch.
        @tf.function(input_signature=[tf.TensorSpec([], tf.int64)], autograph=False)
        def batch(position):
            epoch, number = position // count, position % count
            rows = number * batch_size + tf.range(batch_size, dtype=tf.int64)
            if not drop_remainder:
                rows = rows[: size - number * batch_size]
            if shuffle:
                rows = tf.random.experimental.index_shuffle(rows, tf.stack([tf.cast(seed, tf.int64), epoch]), size - 1)
            return read(rows, epoch, number)

        self._batch = batch

    def by_epoch(self) -> EpochBatches:
        """The batches of one epoch, and at each pass those of the next one."""
        epoch = tf.Variable(0, dtype=tf.int64, trainable=False, name="epoch")

        def one_epoch():
            first = (epoch.assign_add(1) - 1) * self.count
            return first, first + self.count

        return EpochBatches(_finish(self._made(one_epoch), self.batch_size, self.count), epoch, self)

    def endless(self, first: tf.Variable) -> tf.data.Dataset:
        """All batches from number `first` on, counted through all epochs.

        `fit` keeps one iterator of them, for each costs tens of milliseconds.

        Args:
            first: int64 scalar, read when an iterator is made.
        """
        return ahead(self._made(lambda: (first, tf.int64.max)), self.batch_size)

    def _made(self, ends: Callable[[], tuple]) -> tf.data.Dataset:
        """The batches from one number to another, which are asked for when an iterator is made."""

        @tf.autograph.experimental.do_not_convert
        def positions(_):
            return tf.data.Dataset.range(*ends())

        numbers = tf.data.Dataset.from_tensors(0).flat_map(positions)
        return numbers.map(self._batch, num_parallel_calls=CALLS)


def number_of_batches(size: int, batch_size: int, drop_remainder: bool = False) -> int:
    """Batches in an epoch of `size` examples."""
    return size // batch_size if drop_remainder else -(-size // batch_size)


def array_batches(arrays, batch_size: int = 32, shuffle: bool = True, seed: int = 0) -> IndexedBatches:
    """Batches of arrays in memory, gathered a batch at a time.

    Args:
        arrays: an array, or a nested structure of arrays, of shape (examples, ...) with one number of examples.
        batch_size: rows in a batch; the last batch of an epoch may be smaller.
        shuffle: whether each epoch has an order of its own.
        seed: the order is drawn from it and the number of the epoch.

    Returns:
        Batches with the structure of `arrays`; `by_epoch()` is the dataset of them.
    """
    tensors = tf.nest.map_structure(tf.convert_to_tensor, arrays)  # here: made in `gather` they would be copied into it
    size = len(tf.nest.flatten(arrays)[0])

    def gather(rows, epoch, number):
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), tensors)

    return IndexedBatches(size, batch_size, gather, shuffle, seed)


def epochs(build: Callable[[tf.Tensor], tf.data.Dataset], batch_size: int, cardinality: int) -> EpochBatches:
    """Batches that are built anew for each epoch, from the number of that epoch; for streams.

    Args:
        build: from an int64 scalar, the epoch, to the dataset of that epoch's batches. Everything random in it must be
            drawn from its argument.
        batch_size: examples in a batch.
        cardinality: number of batches in an epoch, or `tf.data.UNKNOWN_CARDINALITY`.
    """
    epoch = tf.Variable(0, dtype=tf.int64, trainable=False, name="epoch")

    @tf.autograph.experimental.do_not_convert
    def begin(_):
        return build(epoch.assign_add(1) - 1)

    return EpochBatches(_finish(tf.data.Dataset.from_tensors(0).flat_map(begin), batch_size, cardinality), epoch)


def shuffled_blocks(examples: tf.data.Dataset, block: int, seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
    """A stream shuffled within consecutive blocks of `block` examples, in an order drawn from (seed, epoch).

    Each epoch cuts the stream at other places. `tf.data.Dataset.shuffle` would draw from the global seed as well, and a
    resumed run that had not set it would see another order.
    """
    examples_seed = tf.stack([tf.constant(seed, tf.int64), epoch])
    first = tf.random.stateless_uniform([], examples_seed, 1, block + 1, tf.int64)
    blocks = examples.take(first).batch(block).concatenate(examples.skip(first).batch(block))

    def shuffle(number, rows):
        size = tf.shape(tf.nest.flatten(rows)[0], out_type=tf.int64)[0]
        seed_of_block = tf.random.experimental.stateless_fold_in(examples_seed, number)
        order = tf.random.experimental.stateless_shuffle(tf.range(size), seed=seed_of_block)
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, order), rows)

    return blocks.enumerate().map(shuffle).unbatch()


def ahead(batches: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """The same batches, made while others are trained on: up to 50 of them, or 32 MiB.

    Without autotuning: the thread that it runs beside each iterator, when an epoch ends in its sleep, holds up the end
    for as long as it has to sleep still, which may be seconds.
    """
    specs = tf.nest.flatten(batches.element_spec)
    size = batch_size * sum(math.prod(spec.shape[1:]) * spec.dtype.size for spec in specs)
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(min(AHEAD, max(1, AHEAD_BYTES // max(1, size)))).with_options(options)


def _finish(dataset: tf.data.Dataset, batch_size: int, cardinality: int) -> tf.data.Dataset:
    if cardinality != tf.data.UNKNOWN_CARDINALITY:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
    return ahead(dataset, batch_size)
