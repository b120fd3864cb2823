"""Mathematics of x = W z + mean + noise, all normal: moments of data, the posterior of z, log p(x), and the best W.

In float64. Shapes: loadings W [size, latent]; variance, of the noise, [size]; covariance, of the data, [size, size].
"""

import math

import numpy as np
import tensorflow as tf


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
