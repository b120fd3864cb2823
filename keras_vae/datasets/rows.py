"""Where the examples of a split come from: memory, files read in batches, or a stream."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_vae.batches import index_batches


class ArrayRows:
    """Examples in memory.

    Args:
        array: shape (examples, *shape), a number type.
    """

    def __init__(self, array: np.ndarray):
        self.array = array
        self.shape = array.shape[1:]
        self.tensor = tf.convert_to_tensor(
            array
        )  # here: made in a dataset's function it would be copied into its graph

    def __len__(self) -> int:
        return len(self.array)

    def batches(self, batch_size: int, seed: int, epoch: tf.Tensor | None) -> tf.data.Dataset:
        """Raw batches, in an order drawn from (seed, epoch), or in the order of the array where epoch is None."""
        index = index_batches(len(self), batch_size, epoch is not None, seed, epoch)
        return index.map(lambda rows: tf.gather(self.tensor, rows), num_parallel_calls=tf.data.AUTOTUNE)

    def sample(self, count: int) -> np.ndarray:
        """All examples: they are at hand."""
        return self.array


class ReadRows:
    """Examples that are read when a batch needs them: a memory-mapped array, a folder of images.

    Args:
        read: from row numbers, int64 of shape (n,), to an array of shape (n, *shape).
        rows: the numbers of this split's rows.
        shape: shape of one example.
        dtype: of what `read` returns.
    """

    def __init__(self, read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, shape: tuple, dtype: np.dtype):
        self.read = read
        self.rows = rows
        self.shape = tuple(shape)
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, batch_size: int, seed: int, epoch: tf.Tensor | None) -> tf.data.Dataset:
        """Raw batches, in an order drawn from (seed, epoch), or in the order of `rows` where epoch is None."""
        rows = tf.constant(self.rows, tf.int64)

        def read(index):
            batch = tf.numpy_function(self.read, [tf.gather(rows, index)], self.dtype, stateful=False)
            return tf.ensure_shape(batch, [None, *self.shape])

        index = index_batches(len(self), batch_size, epoch is not None, seed, epoch)
        return index.map(read, num_parallel_calls=tf.data.AUTOTUNE)

    def sample(self, count: int) -> np.ndarray:
        """About `count` examples, evenly spaced over the split."""
        return self.read(self.rows[:: max(1, len(self) // count)])


class StreamRows:
    """Examples of a `tf.data.Dataset` that is larger than memory, shuffled through a buffer.

    Args:
        dataset: of single examples, in a fixed order.
        size: number of examples.
        shape: shape of one example.
        buffer: examples in the shuffle buffer.
    """

    def __init__(self, dataset: tf.data.Dataset, size: int, shape: tuple, buffer: int = 10_000):
        self.dataset = dataset
        self.size = size
        self.shape = tuple(shape)
        self.buffer = buffer

    def __len__(self) -> int:
        return self.size

    def batches(self, batch_size: int, seed: int, epoch: tf.Tensor | None) -> tf.data.Dataset:
        """Raw batches, shuffled from (seed, epoch), or in the stream's order where epoch is None."""
        dataset = self.dataset
        if epoch is not None:
            draw = tf.random.stateless_uniform([], tf.stack([seed, epoch]), 1, tf.int64.max, tf.int64)
            dataset = dataset.shuffle(self.buffer, seed=draw)
        return dataset.batch(batch_size)

    def sample(self, count: int) -> np.ndarray:
        """The first `count` examples."""
        return next(iter(self.dataset.batch(count))).numpy()


Rows = ArrayRows | ReadRows | StreamRows


def split_rows(size: int, seed: int, owner: str) -> dict[str, np.ndarray]:
    """Row numbers of train, validation and test: 80, 10 and 10 % of a permutation drawn from the seed, sorted.

    Raises:
        ValueError: for fewer than ten rows.
    """
    if size < 10:
        raise ValueError(f"datasets.load needs at least 10 examples to split. Received: {size} in {owner}.")
    order = np.random.default_rng(seed).permutation(size)
    tenth = size // 10
    parts = {"train": order[2 * tenth :], "validation": order[tenth : 2 * tenth], "test": order[:tenth]}
    return {name: np.sort(rows) for name, rows in parts.items()}
