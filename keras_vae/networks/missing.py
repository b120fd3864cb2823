"""Rows and series with missing values -> numbers that a network can take."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_vae.serializable import Serializable


class ObservedValues(Serializable, keras.layers.Layer):
    """The first layer of an encoder of incomplete rows: NaN becomes 0, and which values were observed is appended.

    Codes of categories become one-hot vectors, and values of many magnitudes their logarithms, where it is told so.

    Args:
        levels: for each value the number of its categories, or 0 for a number; None is all numbers.
        log_offsets: for each value the c of log(c + value), 0 for positive numbers and 1 for counts, or None for the
            value itself; None is all of them as they are.
        **kwargs: `name` and `dtype` of a Keras layer. It computes in float32 and returns the precision of the policy.

    Maps (batch, values) to (batch, numbers + levels + values): the numbers, the one-hot vectors, and 1 for each value
    that is observed, 0 for one that is missing. In a row that misses everything all are 0.

    >>> ObservedValues()(np.array([[2.0, np.nan]])).numpy().tolist()
    [[2.0, 0.0, 1.0, 0.0]]

    Reference: Nazabal et al. 2020, arXiv:1807.03653 (zeros); Mattei & Frellsen 2019, arXiv:1812.02633.
    """

    def __init__(
        self,
        levels: Sequence[int] | None = None,
        log_offsets: Sequence[float | None] | None = None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # a code of a category has to stay whole
        self.levels = None if levels is None else tuple(levels)
        self.log_offsets = None if log_offsets is None else tuple(log_offsets)

    def build(self, input_shape):
        """Checks the number of values; there is nothing to create."""
        self.check_axes(input_shape)
        for name, given in {"levels": self.levels, "log_offsets": self.log_offsets}.items():
            if given is not None and len(given) != input_shape[-1]:
                raise ValueError(
                    f"{type(self).__name__} needs {name} for each of {input_shape[-1]} values. "
                    f"Received: {name}={given}."
                )

    def check_axes(self, input_shape) -> None:
        """Raises `ValueError` for what are no rows."""
        if len(input_shape) != 2:
            raise ValueError(f"{type(self).__name__} needs rows of shape (batch, values). Received: {input_shape}.")

    def call(self, values):
        """Numbers, one-hot vectors and mask, shape (..., numbers + levels + values), of `values` (..., values)."""
        values = tf.cast(values, tf.float32)
        observed = ~tf.math.is_nan(values)
        levels = self.levels or (0,) * values.shape[-1]
        parts = []
        numbers = [place for place, count in enumerate(levels) if not count]
        if numbers:
            parts.append(self._numbers(values, observed, numbers))
        codes = tf.cast(tf.where(observed, values, -1.0), tf.int32)  # -1 is no category: all zeros
        parts += [tf.one_hot(codes[..., place], count) for place, count in enumerate(levels) if count]
        parts.append(tf.cast(observed, tf.float32))
        return tf.cast(tf.concat(parts, axis=-1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """(..., numbers + levels + values)."""
        levels = self.levels or (0,) * input_shape[-1]
        return (*input_shape[:-1], sum(max(count, 1) for count in levels) + input_shape[-1])

    def _numbers(self, values: tf.Tensor, observed: tf.Tensor, places: list[int]) -> tf.Tensor:
        values, observed = tf.gather(values, places, axis=-1), tf.gather(observed, places, axis=-1)
        offsets = [None if self.log_offsets is None else self.log_offsets[place] for place in places]
        logged = tf.constant([offset is not None for offset in offsets])
        logarithms = tf.math.log(tf.where(observed & logged, values, 1.0) + [offset or 0.0 for offset in offsets])
        return tf.where(observed, tf.where(logged, logarithms, tf.where(observed, values, 0.0)), 0.0)


class ObservedSeries(ObservedValues):
    """The first layer of an encoder of series: `ObservedValues` of each step, and a mask of the steps that are there.

    Steps after the last one with an observed value are padding. Keras's recurrent layers, which are told by the mask,
    leave them out; steps that miss everything before the last one are steps like others.

    Args:
        levels, log_offsets: see `ObservedValues`.

    Maps (batch, steps, values) to (batch, steps, numbers + levels + values).

    >>> ObservedSeries().compute_mask(np.array([[[1.0], [np.nan], [2.0], [np.nan]]])).numpy().tolist()
    [[True, True, True, False]]
    """

    def __init__(
        self,
        levels: Sequence[int] | None = None,
        log_offsets: Sequence[float | None] | None = None,
        **kwargs,
    ):
        super().__init__(levels, log_offsets, **kwargs)
        self.supports_masking = True

    def check_axes(self, input_shape) -> None:
        """Raises `ValueError` for what are no series."""
        if len(input_shape) != 3:
            raise ValueError(
                f"{type(self).__name__} needs series of shape (batch, steps, channels). Received: {input_shape}."
            )

    def compute_mask(self, inputs, previous_mask=None):
        """Which steps are there, bool, shape (batch, steps)."""
        return steps_there(inputs)


def steps_there(series):
    """Which steps of series are there: those up to the last one with an observed value; bool, shape (batch, steps).

    Args:
        series: shape (batch, steps, channels), NaN where a value is missing.
    """
    seen = keras.ops.any(keras.ops.logical_not(keras.ops.isnan(series)), axis=-1)
    later = keras.ops.cumsum(keras.ops.flip(keras.ops.cast(seen, "int32"), axis=1), axis=1)
    return keras.ops.flip(later, axis=1) > 0
