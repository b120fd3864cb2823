"""Data to be scored, in batches that the model can use."""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_vae.models import LatentVariableModel
from keras_vae.models.given import Given, as_array


def inputs_of(model: LatentVariableModel, found: Given, batch_size: int) -> Iterator:
    """What the model's `call` takes, NumPy arrays, batch by batch.

    Args:
        model: that has looked at the data.
        found: what it has found: all of arrays, and the first batch of anything else.
        batch_size: examples at a time, for arrays.

    Raises:
        ValueError: at the first batch with values that the model does not allow.
    """
    if found.arrays is not None:
        for start in range(0, found.size, batch_size):
            yield tf.nest.map_structure(lambda array, s=start: array[s : s + batch_size], found.arrays[0])
        return
    passed = False  # whether the networks have been seen to take missing values
    for number, batch in enumerate(found.batches, start=1):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        try:
            inputs = model.takes.matched(
                type(model).__name__, x, y, lambda field, value: as_array(found.owner, value, field.dtype)
            )
            model._check_inputs(inputs)
            if not passed and _has_missing(inputs):
                model.check_missing(inputs)
                passed = True
        except ValueError as error:
            raise ValueError(f"{error} In batch {number}.") from None
        yield inputs


def number_of_batches(found: Given, batch_size: int) -> int | None:
    """How many there are; None where it is not known."""
    if found.arrays is not None:
        return -(-found.size // batch_size)
    if isinstance(found.batches, tf.data.Dataset):
        count = int(found.batches.cardinality())
        return count if count > 0 else None
    return len(found.batches) if hasattr(found.batches, "__len__") else None


def _has_missing(inputs) -> bool:
    return any(part.dtype.kind == "f" and np.isnan(part).any() for part in tf.nest.flatten(inputs))
