"""Mathematics of x = W z + mean + noise, all normal: moments of data, the posterior of z, log p(x), and the best W.

In float64, or in float32 and as exact as float32 data are. Shapes: loadings W [size, latent]; variance, of the noise,
[size]; covariance, of the data, [size, size].
"""

import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.distributions.base import TensorDistribution
from keras_vae.noise import standard_normal


class Moments:
    """Count, mean and covariance of rows that come in batches, in float64 and without cancellation.

    Args:
        size: values of a row.

    Reference: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """

    def __init__(self, size: int):
        self.count = 0
        self.mean = np.zeros(size)
        self.scatter = np.zeros((size, size))  # sum of outer products of the deviations from the mean

    def add(self, rows: np.ndarray) -> None:
        """Adds rows of shape (batch, size)."""
        rows = rows.astype(np.float64)
        mean = rows.mean(axis=0)
        centred, step = rows - mean, mean - self.mean
        count = self.count + len(rows)
        self.scatter += centred.T @ centred + np.outer(step, step) * (self.count * len(rows) / count)
        self.mean += step * (len(rows) / count)
        self.count = count

    @property
    def covariance(self) -> np.ndarray:
        """That of maximum likelihood, with the divisor n."""
        return self.scatter / self.count

    @property
    def total_variance(self) -> float:
        """Sum of the variances of all values."""
        return np.trace(self.scatter) / self.count

    def covariance_about(self, point: np.ndarray) -> np.ndarray:
        """Mean outer product of the deviations from a point."""
        return self.covariance + np.outer(self.mean - point, self.mean - point)


def two_floats(value) -> tuple[tf.Tensor, tf.Tensor]:
    """A float64 tensor as the sum of two float32 ones: to 14 digits, where one of them has 7."""
    high = tf.cast(value, tf.float32)
    return high, tf.cast(value - tf.cast(high, tf.float64), tf.float32)


def deviation(x, mean) -> tf.Tensor:
    """x - mean in the precision of x, for a float64 mean: far from 0 as exact as x is."""
    if x.dtype == tf.float64:
        return x - mean
    high, low = two_floats(mean)
    return (x - high) - low


class NormalAbout(TensorDistribution):
    """N(value | high + low + loc, scale^2) of single values, float32, whose log_prob does not round the mean.

    Args:
        loc, scale, high, low: of one shape; `high` and `low` are the two floats of a number.
    """

    def __init__(self, loc, scale, high, low):
        super().__init__(loc, loc=loc, scale=scale, high=high, low=low)
        self.loc, self.scale, self.high, self.low = loc, scale, high, low

    def _log_prob(self, value):
        standard = (((value - self.high) - self.low) - self.loc) / self.scale
        return -0.5 * standard**2 - tf.math.log(self.scale) - 0.5 * math.log(2 * math.pi)

    def _sample_n(self, n, seed=None):
        shape = tf.concat([[n], tf.shape(self.loc)], axis=0)
        noise = self.scale * standard_normal(shape, tfp.random.sanitize_seed(seed))
        return self.high + (self.low + (self.loc + noise))

    def _mean(self):
        return self.high + (self.low + self.loc)

    def _mode(self):
        return self._mean()

    def _stddev(self):
        return self.scale

    def _variance(self):
        return self.scale**2


def condition(loadings, variance) -> tuple[tf.Tensor, tf.Tensor]:
    """Scale and gain of p(z | x) = N(gain (x - mean), scale scale^T).

    The precision P = I + W^T noise^-1 W has a condition that grows with the signal to noise: float64. With P = U U^T, U
    upper triangular (the Cholesky factor from the last row up), scale = U^-T is lower triangular.
    """
    weighted = loadings / variance[:, None]
    identity = tf.eye(loadings.shape[1], dtype=tf.float64)
    precision = identity + tf.matmul(loadings, weighted, transpose_a=True)
    upper = tf.reverse(tf.linalg.cholesky(tf.reverse(precision, [0, 1])), [0, 1])
    scale = tf.transpose(tf.linalg.triangular_solve(upper, identity, lower=False))
    gain = tf.matmul(scale, tf.matmul(scale, weighted, transpose_a=True, transpose_b=True))  # [latent, size]
    return scale, gain


def log_density(centred, loadings, variance) -> tf.Tensor:
    """log N(centred | 0, W W^T + noise), nats, shape (batch,).

    The quadratic form is a sum of two squares, at the mean m of p(z | x): (x - W m)^T noise^-1 (x - W m) + m^T m.
    """
    scale, gain = condition(loadings, variance)
    z = tf.matmul(centred, gain, transpose_b=True)  # [batch, latent]
    residual = centred - tf.matmul(z, loadings, transpose_b=True)
    squares = tf.reduce_sum(residual**2 / variance, axis=1) + tf.reduce_sum(z**2, axis=1)
    return -0.5 * (squares + _log_normalizer(scale, variance))


def _log_normalizer(scale, variance) -> tf.Tensor:
    """log |2 pi (W W^T + noise)|, by the determinant of the latent matrix."""
    log_det = tf.reduce_sum(tf.math.log(variance)) - 2 * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(scale)))
    return log_det + variance.shape[0] * math.log(2 * math.pi)


@tf.function(autograph=False)
def mean_log_prob(covariance, loadings, variance) -> tf.Tensor:
    """Mean log p(x), nats, of data with this covariance about the model's mean."""
    scale, gain = condition(loadings, variance)
    left = _left_over(covariance, loadings, tf.matmul(gain, covariance))
    return -0.5 * (tf.reduce_sum(left / variance) + _log_normalizer(scale, variance))


@tf.function(autograph=False)
def em_update(covariance, loadings, variance) -> tuple[tf.Tensor, tf.Tensor]:
    """One iteration of expectation maximization: new loadings, and the variance that they leave to the noise."""
    scale, gain = condition(loadings, variance)
    cross = tf.matmul(gain, covariance)  # [latent, size], E[z x^T]
    second_moment = tf.matmul(scale, scale, transpose_b=True) + tf.matmul(cross, gain, transpose_b=True)  # E[z z^T]
    loadings = tf.transpose(tf.linalg.cholesky_solve(tf.linalg.cholesky(second_moment), cross))
    return loadings, _left_over(covariance, loadings, cross)


def _left_over(covariance, loadings, cross) -> tf.Tensor:
    """The diagonal of covariance - W E[z x^T]."""
    return tf.linalg.diag_part(covariance) - tf.reduce_sum(loadings * tf.transpose(cross), axis=1)


def principal_loadings(covariance: np.ndarray, latent_size: int) -> tuple[np.ndarray, float]:
    """W and the variance of probabilistic PCA at the maximum of the likelihood, W of shape (size, latent_size).

    Each column points to where its largest value is positive, so that the result does not depend on the machine.
    """
    values, vectors = np.linalg.eigh(covariance)  # ascending
    variance = max(values[:-latent_size].mean(), 0.0)
    values, vectors = values[: -latent_size - 1 : -1], vectors[:, : -latent_size - 1 : -1]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return vectors * np.sign(largest) * np.sqrt(np.maximum(values - variance, 0.0)), variance
