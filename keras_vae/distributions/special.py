"""Functions whose values and gradients are right in float32 for all parameters that a network may give."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.polynomial import Chebyshev, Polynomial

from keras_vae.keras_names import without_warnings

REACH = 30.0  # up to here a logarithm is what the network says
LARGEST = 88.0  # e^88 is near the largest number of float32
SMALLEST = -87.0  # and e^-87 near the smallest that is not denormal


def reached(raw: tf.Tensor) -> tf.Tensor:
    """`raw` up to 30 on both sides of 0; beyond it grows as 30 + log(|raw| - 29), so that its exponential is finite.

    At 1,000 that is 36.9, whose exponential is 1e16. The slope is continuous and never 0: training comes back.
    """
    beyond = tf.nn.relu(tf.abs(raw) - REACH)
    return raw - tf.sign(raw) * (beyond - tf.math.log1p(beyond))


def reached_above(raw: tf.Tensor) -> tf.Tensor:
    """`reached` for positive numbers; negative ones, whose exponential is finite anyway, as they are."""
    beyond = tf.nn.relu(raw - REACH)
    return raw - beyond + tf.math.log1p(beyond)


def exp_in_range(log_value: tf.Tensor) -> tf.Tensor:
    """e^log_value, held between the smallest and the largest number of float32."""
    return tf.exp(tf.clip_by_value(log_value, SMALLEST, LARGEST))


def log1mexp(x: tf.Tensor) -> tf.Tensor:
    """log(1 - e^-x) for x > 0."""
    small, large = tf.minimum(x, math.log(2)), tf.maximum(x, math.log(2))
    return tf.where(x < math.log(2), tf.math.log(-tf.math.expm1(-small)), tf.math.log1p(-tf.exp(-large)))


def in_support(log_prob: tf.Tensor, value: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
    """`log_prob` where the value is `inside`; -inf where it is not, and NaN where it is NaN."""
    return tf.where(inside, log_prob, tf.where(tf.math.is_nan(value), float("nan"), -float("inf")))


def unit_vector(raw: tf.Tensor) -> tf.Tensor:
    """raw / |raw|, shape (..., size), and the first axis for 0.

    Its gradient, the part across of what comes in over |raw|, has no bound where |raw| is 0: it is that of the length
    0.01 for shorter vectors.
    """
    length = tf.norm(tf.stop_gradient(raw), axis=-1, keepdims=True)
    unit = tf.where(length > 0, tf.stop_gradient(raw) / tf.where(length > 0, length, 1.0), tf.one_hot(0, raw.shape[-1]))
    change = raw - tf.stop_gradient(raw)  # 0, but its gradient is not
    across = change - unit * tf.reduce_sum(unit * change, axis=-1, keepdims=True)
    return unit + across / tf.maximum(length, 1e-2)


def _stirling_rest(w: float) -> float:
    """(log Gamma(z) - (z - 1/2) log z + z - log(2 pi) / 2) / w at z = 1 / w, float64."""
    z, rest = 1 / w, 0.0
    while z < 20:
        rest += (z + 0.5) * math.log1p(1 / z) - 1
        z += 1
    return (rest + 1 / (12 * z) - 1 / (360 * z**3) + 1 / (1260 * z**5)) / w


# A polynomial in 1 / z, for z from 1: off by 5e-9 at most.
_REST = Chebyshev.interpolate(np.vectorize(_stirling_rest), 6, domain=[0, 1]).convert(kind=Polynomial).coef.tolist()


def stirling_rest(z: tf.Tensor) -> tf.Tensor:
    """log Gamma(z) - ((z - 1/2) log z - z + log(2 pi) / 2) for z >= 1: 0.081 at 1, and 1 / (12 z) where z is large.

    With it ratios of Gamma functions are written without differences of large numbers, and differentiated: float32 has
    no digits left of `digamma(count + value) - digamma(count)` where the count is large.
    """
    w = 1 / z
    series = tf.fill(tf.shape(w), tf.constant(_REST[-1], w.dtype))
    for coefficient in reversed(_REST[:-1]):
        series = series * w + coefficient
    return w * series


def log_factorial(value: tf.Tensor) -> tf.Tensor:
    """log value!, for value >= 0."""
    z = value + 1
    return (z - 0.5) * tf.math.log(z) - z + 0.5 * math.log(2 * math.pi) + stirling_rest(z)


def log_ways(value: tf.Tensor, log_count: tf.Tensor) -> tf.Tensor:
    """log(Gamma(value + count) / (Gamma(count) value!)) for whole value >= 0.

    Where the value is not 0, Gamma(count) is Gamma(1 + count) / count, which a count near 0 does not spoil.

    Args:
        value: 0, 1, 2, ...
        log_count: any number whose exponential float32 holds, or whose exponential is 0.
    """
    count, x = tf.exp(log_count), tf.maximum(value, 1.0)
    logs = (x + 0.5) * tf.math.log1p((count - 1) / (1 + x)) + (count + 0.5) * tf.math.log1p((x - 1) / (1 + count))
    logs += 2 - 0.5 * math.log(2 * math.pi) - 1.5 * tf.math.log(x + count)
    rests = stirling_rest(x + count) - stirling_rest(1 + x) - stirling_rest(1 + count)
    return tf.where(value < 0.5, 0.0, log_count + logs + rests)


def log_gamma_half_step(z: tf.Tensor) -> tf.Tensor:
    """log(Gamma(z + 1/2) / Gamma(z)) for z >= 1."""
    rests = stirling_rest(z + 0.5) - stirling_rest(z)
    return 0.5 * tf.math.log(z) + z * tf.math.log1p(0.5 / z) - 0.5 + rests


# artanh(s) / s as a polynomial in s^2, for s from 0 to 1/3: off by 4e-9 at most, less than the rounding of float32.
_SERIES = Chebyshev.interpolate(lambda square: np.arctanh(np.sqrt(square)) / np.sqrt(square), 4, domain=[0, 1 / 9])
_ARTANH: list[float] = _SERIES.convert(kind=Polynomial).coef.tolist()


def softplus(x: tf.Tensor) -> tf.Tensor:
    """log(1 + e^x), of products and one quotient beside the exponential: XLA on a CPU runs its own at half the speed.

    With t = e^-|x| and s = t / (2 + t), log(1 + t) = 2 artanh(s), and s <= 1/3.
    """
    return _softplus(x)


# Traced once for each shape: TensorFlow keeps each graph with a gradient of its own in it while the process lives.
@without_warnings
@tf.function(autograph=False)
@tf.custom_gradient
def _softplus(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    t = tf.exp(-tf.abs(x))
    s = t / (2 + t)
    square = s * s
    series = tf.fill(tf.shape(s), tf.constant(_ARTANH[-1], s.dtype))
    for coefficient in reversed(_ARTANH[:-1]):
        series = series * square + coefficient
    return tf.nn.relu(x) + 2 * s * series, lambda upstream: upstream * tf.sigmoid(x)
