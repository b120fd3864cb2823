"""Data in the forms that Keras takes: arrays, datasets, sequences and generators of batches."""

import itertools

import keras
import numpy as np
import tensorflow as tf


def is_array(x) -> bool:
    """Whether `x` is an array or a tensor."""
    return hasattr(x, "__array__")


def as_array(x) -> np.ndarray:
    """`x` as a NumPy array, float32 where it was float64."""
    array = np.asarray(x)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def pack(x, y, sample_weight) -> tuple:
    """The arrays that are there, in the order in which Keras unpacks a batch; weights stand in for missing targets."""
    if sample_weight is None:
        return (x,) if y is None else (x, as_array(y))
    sample_weight = as_array(sample_weight)
    return x, sample_weight if y is None else as_array(y), sample_weight


def peek(x):
    """`x`, as good as new, and the observations of its first batch; None for what only Keras can read."""
    if isinstance(x, keras.utils.PyDataset):
        first = x[0] if len(x) else None
    elif isinstance(x, tf.data.Dataset):
        first = next(iter(x.take(1)), None)
    elif hasattr(x, "__next__"):
        first = next(x, None)
        if first is not None:
            x = _chained(first, x)
    else:
        return x, None
    if first is None:
        return x, np.zeros([0])
    return x, as_array(keras.utils.unpack_x_y_sample_weight(first)[0])


def _chained(first, rest):
    for batch in itertools.chain([first], rest):
        yield batch if isinstance(batch, tuple) else (batch,)  # Keras takes only tuples from a generator
