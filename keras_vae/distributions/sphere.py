"""Distributions on the unit sphere."""

import math
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.correlated import require_vector
from keras_vae.distributions.special import unit_vector
from keras_vae.distributions.supports import SpherePoints
from keras_vae.distributions.transforms import Reflection
from keras_vae.noise import fold, standard_normal, uniform


class PowerSpherical(DistributionLayer):
    """Power spherical on the unit sphere in R^d, density proportional to (1 + direction' value)^concentration.

    Like von Mises-Fisher, with draws that need no rejection and carry gradients. Direction and concentration
    1 + softplus(raw) are predicted from the context. A vector of length 0 stands for the direction of the first axis,
    and the gradient of one that is shorter than 0.01 is that of one of this length.

    Args:
        event_shape: d, 2 or more.
        network: from the context to features; None uses the context itself.

    Reference: De Cao & Aziz 2020, arXiv:2006.04437; Davidson et al. 2018, arXiv:1804.00891.
    """

    support = SpherePoints()

    def __init__(self, event_shape: int | Sequence[int], network=None, **kwargs):
        super().__init__(event_shape, network, **kwargs)
        _require_sphere(self)

    @property
    def params_shape(self) -> tuple[int, ...]:
        """The direction, of any length, then the concentration."""
        return (self.event_shape[0] + 1,)

    @property
    def params_initializer(self) -> str:  # type: ignore[override]
        """The zero vector has no direction."""
        return "ones"

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return _PowerSpherical(unit_vector(params[..., :-1]), 1 + tf.math.softplus(params[..., -1]))


class SphericalUniform(DistributionLayer):
    """The uniform distribution on the unit sphere in R^d. It has no weights and ignores its context.

    Args:
        event_shape: d, 2 or more.
    """

    support = SpherePoints()
    params_per_value = 0

    def __init__(self, event_shape: int | Sequence[int], **kwargs):
        super().__init__(event_shape, **kwargs)
        _require_sphere(self)

    def build(self, context_shape=None):
        """There is nothing to create."""

    def call(self, context=None) -> tfd.Distribution:
        return _SphericalUniform(self.event_shape[0])


class _PowerSpherical(tfd.PowerSpherical):
    """`tfd.PowerSpherical` with other draws, and the variance of each coordinate.

    Along the direction a draw is 2 b - 1, b ~ Beta(concentration + n / 2, n / 2) with n = d - 1; what is left of its
    length points anywhere across.
    """

    def _log_prob(self, value):
        """At the opposite of the direction, where the density is 0, that of the nearest value of float32."""
        along = tf.reduce_sum(value * self.mean_direction, axis=-1)
        log_shape = tf.math.log(tf.maximum(1 + along, 2.0**-24))
        return self.concentration * log_shape - self._log_normalization(concentration=self.concentration)

    def _sample_n(self, n, seed=None):
        seed = tfp.random.sanitize_seed(seed)
        direction = tf.convert_to_tensor(self.mean_direction)
        concentration = tf.convert_to_tensor(self.concentration)
        size = direction.shape[-1]
        batch = tf.broadcast_dynamic_shape(tf.shape(direction)[:-1], tf.shape(concentration))
        shape = tf.concat([[n], batch], axis=0)
        log_beta = log_beta_draws(concentration + (size - 1) / 2, size - 1, shape, fold(seed, 0))[..., None]
        log_beta = tf.minimum(log_beta, -(2.0**-24))  # at b = 1 what is left has no gradient
        log_rest = tf.math.log(-tf.math.expm1(log_beta))
        along = 2 * tf.exp(log_beta) - 1
        across = tf.math.l2_normalize(standard_normal(tf.concat([shape, [size - 1]], axis=0), fold(seed, 1)), axis=-1)
        value = tf.concat([along, 2 * tf.exp((log_beta + log_rest) / 2) * across], axis=-1)
        first = tf.one_hot(0, size)
        return Reflection(first - direction).forward(value)[0]  # takes the first axis to the direction

    def _variance(self):
        """(direction' value + 1) / 2 is a draw from Beta(a, b); what is left of the length is spread evenly across."""
        direction, others = self.mean_direction, self.mean_direction.shape[-1] - 1
        a, b = self.concentration[..., None] + others / 2, others / 2
        mean = (a - b) / (a + b)
        along = 4 * a * b / ((a + b) ** 2 * (a + b + 1))
        across = (1 - along - mean**2) / others
        return along * direction**2 + across * (1 - direction**2)


class _SphericalUniform(tfd.SphericalUniform):
    """`tfd.SphericalUniform` with the noise of `standard_normal`."""

    def _sample_n(self, n, seed=None):
        return unit_vector(standard_normal([n, self.dimension], tfp.random.sanitize_seed(seed)))


def log_beta_draws(a: tf.Tensor, twice_b: int, shape, seed: tf.Tensor) -> tf.Tensor:
    """Logarithms of draws from Beta(a, b) for whole 2 b, exact, without rejection, with gradients to a.

    If x ~ Beta(a, b) and y ~ Beta(a + b, c), then x y ~ Beta(a, b + c). Beta(a, 1) is uniform^(1 / a). Beta(a, 1/2) is
    1 / (1 + t^2 / (2 a)) for t of Student's distribution with 2 a degrees of freedom, which Bailey's polar method draws
    from two uniforms: t^2 = 2 a (uniform^(-1 / a) - 1) cos^2(angle).

    Args:
        a: more than 0, of a shape that broadcasts to `shape`.
        twice_b: 2 b, 1 or more.
        shape: of the draws, an int32 tensor.
        seed: int32 tensor of shape (2,).

    Reference: Bailey 1994, "Polar generation of random variates with the t-distribution".
    """
    ones, half = divmod(twice_b, 2)
    log_uniform = tf.math.log(uniform(tf.concat([shape, [ones + 2 * half]], axis=0), seed))
    order = tf.range(ones, dtype=a.dtype)
    log_draw = tf.reduce_sum(log_uniform[..., :ones] / (a[..., None] + order), axis=-1)
    if half:
        angle = 2 * math.pi * tf.exp(log_uniform[..., ones])
        square = tf.math.expm1(-log_uniform[..., ones + 1] / (a + ones))  # uniform^(-1 / a) - 1
        log_draw -= tf.math.log1p(square * tf.cos(angle) ** 2)
    return log_draw


def _require_sphere(layer: DistributionLayer) -> None:
    require_vector(layer)
    if layer.event_shape[0] < 2:
        raise ValueError(
            f"{type(layer).__name__} needs a space of 2 or more dimensions. Received: {layer.event_shape[0]}."
        )
