"""Sums of importance weights that come in chunks, in float32."""

from typing import NamedTuple

import tensorflow as tf


class WeightSums(NamedTuple):
    """Sums over draws of w and w^2, from log w, relative to the largest w so far; each of shape (batch,).

    A running log sum would lose what is below the last digit of log w: 6e-5 of the sum where log w is 1,000. Relative
    to the largest weight the sums are numbers from 1 to the number of draws, and what an addition rounds off is carried
    on (Neumaier), so that no number of draws is too small to count.

    Attributes:
        largest: log w.
        total, squares: sums of w / max w and of its square.
        total_lost, squares_lost: what their additions have rounded off.

    Reference: Neumaier 1974, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen".
    """

    largest: tf.Tensor
    total: tf.Tensor
    total_lost: tf.Tensor
    squares: tf.Tensor
    squares_lost: tf.Tensor

    @classmethod
    def of_none(cls, batch) -> "WeightSums":
        """Those of no draws, for a batch of this size."""
        zeros = tf.zeros([batch])
        return cls(tf.fill([batch], -float("inf")), zeros, zeros, zeros, zeros)

    def add(self, log_weight: tf.Tensor) -> "WeightSums":
        """The sums with further draws, log w of shape (draws, batch); a weight of 0 has the logarithm -inf."""
        largest = tf.maximum(self.largest, tf.reduce_max(log_weight, axis=0))
        point = tf.where(tf.math.is_finite(largest), largest, 0.0)  # the weights may all be 0
        weights, shrink = tf.exp(log_weight - point), tf.exp(self.largest - point)
        total = _add(self.total * shrink, self.total_lost * shrink, tf.reduce_sum(weights, axis=0))
        shrink *= shrink
        squares = _add(self.squares * shrink, self.squares_lost * shrink, tf.reduce_sum(weights**2, axis=0))
        return WeightSums(largest, *total, *squares)

    def log_sum(self) -> tf.Tensor:
        """log sum w, shape (batch,)."""
        return tf.where(tf.math.is_finite(self.largest), self.largest, 0.0) + tf.math.log(self.total + self.total_lost)

    def effective_samples(self) -> tf.Tensor:
        """(sum w)^2 / sum w^2, shape (batch,); 0 where all weights are 0."""
        return tf.math.divide_no_nan((self.total + self.total_lost) ** 2, self.squares + self.squares_lost)


def _add(total: tf.Tensor, lost: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """total + number, and `lost` with what that rounds off; none is negative."""
    new = total + number
    larger, smaller = tf.maximum(total, number), tf.minimum(total, number)
    return new, lost + ((larger - new) + smaller)
