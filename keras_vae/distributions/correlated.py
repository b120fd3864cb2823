"""Normal distributions whose values depend on each other: posteriors that see more than one axis at a time."""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.distributions.base import DistributionLayer, Independent, ScaledLayer, TensorDistribution
from keras_vae.distributions.normal import IndependentNormal
from keras_vae.noise import standard_normal
from keras_vae.trace import Draw


class FullCovarianceNormal(ScaledLayer):
    """N(value | loc, R R') with a lower triangular R whose diagonal is min_scale + softplus(raw).

    d (d + 3) / 2 parameters for d values.

    Args:
        event_shape: shape of one draw, with one axis.
        network: from the context to features; None uses the context itself.
        min_scale: the smallest number on the diagonal of R, more than 0.
    """

    def __init__(self, event_shape: int | Sequence[int], network=None, min_scale: float = 1e-3, **kwargs):
        super().__init__(event_shape, network, min_scale, **kwargs)
        require_vector(self)

    @property
    def params_shape(self) -> tuple[int, ...]:
        """The locations, then the lower triangle."""
        (size,) = self.event_shape
        return (size + size * (size + 1) // 2,)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        (size,) = self.event_shape
        places = _places_in_triangle(size)
        # Products with constants, and no operation of its own: LiteRT has none for diagonals.
        below = tf.gather(params, size + places, axis=-1) * np.tri(size, k=-1, dtype=np.float32)
        diagonal = self.scale(tf.gather(params, size + np.diagonal(places), axis=-1))
        return TriangularNormal(params[..., :size], below + diagonal[..., None] * np.eye(size, dtype=np.float32))


class LowRankNormal(ScaledLayer):
    """N(value | loc, C) with 1/C = D + u u': a diagonal and one direction, at the cost of a diagonal.

    With eta = 1 / (1 + u' D^-1 u): C = D^-1 - eta D^-1 u u' D^-1, log |C| = log eta - log |D|, and draws are
    loc + R noise, R = D^-1/2 - (1 - sqrt(eta)) / (u' D^-1 u) D^-1 u u' D^-1/2. D^-1/2 = min_scale + softplus(raw).

    Args:
        event_shape: shape of one draw, with one axis.
        network: from the context to features; None uses the context itself.
        min_scale: the smallest standard deviation of the diagonal part, more than 0.

    Reference: Rezende, Mohamed & Wierstra 2014, arXiv:1401.4082.
    """

    params_per_value = 3

    def __init__(self, event_shape: int | Sequence[int], network=None, min_scale: float = 1e-3, **kwargs):
        super().__init__(event_shape, network, min_scale, **kwargs)
        require_vector(self)

    @property
    def params_initializer(self) -> keras.initializers.Initializer:  # type: ignore[override]
        """At u = 0 its gradient would be 0."""
        return keras.initializers.RandomNormal(stddev=0.1)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale, direction = tf.unstack(params, axis=-1)
        return _LowRankNormal(loc, self.scale(raw_scale), direction)


def _places_in_triangle(size: int) -> np.ndarray:
    """Which of size (size + 1) / 2 numbers stands where in a lower triangle, shape (size, size); 0 above it.

    The order is that of `tfp.math.fill_triangular`, in which weights were saved: the numbers after the first `size`,
    and then all of them from the last to the first, make the rows of a square.
    """
    numbers = np.arange(size * (size + 1) // 2)
    return np.tril(np.concatenate([numbers[size:], numbers[::-1]]).reshape(size, size))


def require_vector(layer: DistributionLayer) -> None:
    """Raises `ValueError` for a layer whose event shape is not a vector's."""
    if len(layer.event_shape) != 1:
        raise ValueError(
            f"{type(layer).__name__} needs an event shape with one axis, such as 16. Received: {layer.event_shape}."
        )


class CorrelatedNormal(TensorDistribution):
    """N(loc, C), C = R R', for vectors; a subclass says how R, C and their parts are had.

    Args:
        loc: shape (..., d).
        **parameters: of the subclass, by name.
    """

    def __init__(self, loc: tf.Tensor, **parameters):
        super().__init__(loc, event_axes=1, loc=loc, **parameters)
        self.loc = loc

    def color(self, noise: tf.Tensor) -> tf.Tensor:
        """R noise, shape (..., d)."""
        raise NotImplementedError

    def pull_back(self, noise: tf.Tensor) -> tf.Tensor:
        """R'^-1 noise, shape (..., d), which is C^-1 R noise."""
        raise NotImplementedError

    def squared_distance(self, difference: tf.Tensor) -> tf.Tensor:
        """difference' C^-1 difference, shape (...)."""
        raise NotImplementedError

    def log_det_covariance(self) -> tf.Tensor:
        """log |C|, shape (...)."""
        raise NotImplementedError

    def draw(self, sample_shape, seed) -> Draw:
        """Draws with their log-density, shape (*sample_shape, *batch, d).

        It is that of their noise: R^-1 of a draw is not its noise where R is nearly singular, and a fit would follow
        the error to where the density of its own draws vanishes.
        """
        shape = tf.concat([tf.cast(sample_shape, tf.int32), tf.shape(self.loc)], axis=0)
        noise = standard_normal(shape, seed)
        noise.set_shape([*[None] * len(sample_shape), *self.loc.shape])
        log_prob = self._log_density(tf.reduce_sum(noise**2, axis=-1))
        return Draw(self.loc + self.color(noise), log_prob=log_prob, slope=-self.pull_back(noise))

    def _sample_n(self, n, seed=None):
        return self.draw([n], tfp.random.sanitize_seed(seed)).value

    def _log_prob(self, value):
        return self._log_density(self.squared_distance(value - self.loc))

    def _log_density(self, squared_distance: tf.Tensor) -> tf.Tensor:
        constant = self.loc.shape[-1] * math.log(2 * math.pi)
        return -0.5 * (constant + self.log_det_covariance() + squared_distance)

    def _mean(self):
        return tf.identity(self.loc)


class TriangularNormal(CorrelatedNormal):
    """N(loc, R R').

    Args:
        loc: shape (..., d).
        scale_tril: R, lower triangular, shape (..., d, d), or (d, d) for all.
    """

    def __init__(self, loc: tf.Tensor, scale_tril: tf.Tensor):
        super().__init__(loc, scale_tril=scale_tril)
        self.scale_tril = scale_tril  # [..., d, d]

    def color(self, noise):
        return tf.linalg.matvec(self.scale_tril, noise)

    def pull_back(self, noise):
        return tf.linalg.triangular_solve(self.scale_tril, noise[..., None], adjoint=True)[..., 0]

    def squared_distance(self, difference):
        white = tf.linalg.triangular_solve(self.scale_tril, difference[..., None])
        return tf.reduce_sum(white**2, axis=[-2, -1])

    def log_det_covariance(self):
        diagonal = tf.reduce_sum(self.scale_tril * tf.eye(self.loc.shape[-1], dtype=self.dtype), axis=-1)
        return 2 * tf.reduce_sum(tf.math.log(diagonal), axis=-1)

    def _variance(self):
        return tf.reduce_sum(self.scale_tril**2, axis=-1) + tf.zeros_like(self.loc)

    def _covariance(self):
        return tf.matmul(self.scale_tril, self.scale_tril, transpose_b=True) + tf.zeros_like(self.loc)[..., None]


class _LowRankNormal(CorrelatedNormal):
    def __init__(self, loc, scale, direction):
        super().__init__(loc, scale=scale, direction=direction)
        self.scale, self.direction = scale, direction  # D^-1/2 and u, [..., d]
        self.colored = scale * direction  # D^-1/2 u
        self.length = tf.reduce_sum(self.colored**2, axis=-1, keepdims=True)  # u' D^-1 u, [..., 1]

        self.root = tf.math.rsqrt(1 + self.length)  # sqrt(eta)
        self.shrink = self.root**2 / (1 + self.root)  # (1 - sqrt(eta)) / length, without its 0 / 0 at length 0

    def color(self, noise):
        return self.scale * (noise - self.shrink * self._along(noise) * self.colored)

    def pull_back(self, noise):
        return (noise + self.shrink / self.root * self._along(noise) * self.colored) / self.scale

    def _along(self, noise):
        return tf.reduce_sum(self.colored * noise, axis=-1, keepdims=True)

    def squared_distance(self, difference):
        along = tf.reduce_sum(self.direction * difference, axis=-1)
        return tf.reduce_sum((difference / self.scale) ** 2, axis=-1) + along**2

    def log_det_covariance(self):
        return 2 * tf.reduce_sum(tf.math.log(self.scale), axis=-1) - tf.math.log1p(self.length[..., 0])

    def _variance(self):
        squares = self.colored**2
        # The sum of all others, and not the whole less each: where one value is nearly all there is, nothing is left.
        others = tf.cumsum(squares, axis=-1, exclusive=True) + tf.cumsum(squares, axis=-1, exclusive=True, reverse=True)
        return self.scale**2 * (1 + others) / (1 + self.length)

    def _covariance(self):
        shrunk = self.colored[..., :, None] * self.colored[..., None, :] / (1 + self.length[..., None])
        middle = tf.eye(self.loc.shape[-1]) - shrunk
        covariance = self.scale[..., :, None] * middle * self.scale[..., None, :]
        return tf.linalg.set_diag(covariance, self._variance())


@tfd.RegisterKL(CorrelatedNormal, Independent)
def _kl_to_independent_normal(posterior: CorrelatedNormal, prior: Independent, name=None) -> tf.Tensor:
    """(tr(S^-1 C) + (m - loc)' S^-1 (m - loc) - d + log |S| - log |C|) / 2 for a prior N(m, S) with diagonal S."""
    if not isinstance(prior.distribution, IndependentNormal):
        raise NotImplementedError
    loc, scale = prior.distribution.loc, prior.distribution.scale
    squares = (posterior.variance() + tf.math.squared_difference(loc, posterior.loc)) / scale**2
    terms = tf.reduce_sum(squares - 1 + 2 * tf.math.log(scale), axis=-1)
    return 0.5 * (terms - posterior.log_det_covariance())
