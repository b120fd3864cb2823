"""The linear models that variational autoencoders start from: probabilistic PCA and factor analysis."""

import numpy as np
import tensorflow as tf

from keras_vae.arguments import positive
from keras_vae.models.gaussian import Moments, principal_loadings
from keras_vae.models.linear_gaussian import LinearGaussian


class ProbabilisticPCA(LinearGaussian):
    """Probabilistic principal component analysis: p(x | z) = N(x | W z + mean, variance I), z ~ N(0, I).

    `fit` finds the maximum of the likelihood by its closed form, in one pass over the data: the columns of W are the
    first principal axes, each stretched to the square root of its eigenvalue less the variance, and the variance is the
    mean of the other eigenvalues. The covariance is that of maximum likelihood, with a divisor of n and not n - 1.

    Args:
        latent_size: number of latent variables, less than the values of an observation.
        seed: integer, of the noise of draws, and of the start of `fit_em`.
        **kwargs: `name` and `dtype` of a Keras model.

    Example:

    >>> model = ProbabilisticPCA(latent_size=2)
    >>> history = model.fit(np.random.default_rng(0).normal(size=(100, 5)), verbose=0)
    >>> model.log_prob(np.zeros((3, 5))).shape
    TensorShape([3])

    Reference: Tipping & Bishop 1999, "Probabilistic principal component analysis".
    """

    noise_is_shared = True
    fitted_by = "its closed form, the maximum of the likelihood"

    def fit(self, x, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, validation_data=None):
        """Sets the weights to the maximum of the likelihood; needs no `compile`.

        Memory is that of the covariance, (values of an observation)^2 numbers of 8 bytes, whatever the number of
        examples; time grows with the cube of the values.

        Args:
            x: array (examples, *event), or a finite `tf.data.Dataset` or `PyDataset` of batches.
            y: accepted and ignored.
            batch_size: rows of an array that are read together; None is 4096.
            epochs: 1, for there is nothing to repeat.
            verbose: 0 for no progress bar.
            callbacks: Keras callbacks that need no optimizer; the fit is one epoch.
            validation_data: None, or data in the same forms.

        Returns:
            `keras.callbacks.History` with log_likelihood, and val_log_likelihood: mean log p(x), nats per example.

        Raises:
            ValueError: for data of the wrong shape, with NaN, with fewer than latent_size + 2 examples, or that lie in
                a latent_size-dimensional plane, where the likelihood has no bound.
        """
        if epochs != 1:
            raise ValueError(
                "ProbabilisticPCA.fit needs epochs=1: it is a closed form. fit_em iterates. "
                f"Received: epochs={epochs!r}."
            )
        moments = self._moments(x, "fit(x)", verbose, batch_size, at_least=self.latent_size + 2)
        loadings, variance = principal_loadings(moments.covariance, self.latent_size)
        best = loadings, self._noise(np.full(len(loadings), variance), moments)
        return self._iterate(lambda *_: best, best, moments, 1, verbose, callbacks, validation_data, tolerance=0.0)

    def fit_em(self, x, y=None, **options):
        """Climbs to the same maximum by expectation maximization; W is then any rotation of that of `fit`.

        Each iteration costs (values of an observation)^2 x latent_size, where the closed form costs the cube. A fitted
        model goes on from its weights, another one starts at random loadings drawn from `seed`.

        Args:
            x, y, **options: as in `FactorAnalysis.fit`.
        """
        return super().fit(x, y, **options)

    def _start(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        size = len(moments.mean)
        variance = self._noise(np.full(size, moments.total_variance / size), moments)
        draws = np.random.default_rng(self.seed % 2**32).normal(size=(size, self.latent_size))
        return draws * np.sqrt(variance[:, None] / self.latent_size), variance

    def _noise(self, left_over, moments: Moments) -> tf.Tensor:
        variance = tf.reduce_mean(left_over)
        if variance <= 1e-12 * moments.total_variance:
            raise ValueError(
                f"ProbabilisticPCA needs data that vary in more than latent_size={self.latent_size} directions, for "
                "without noise the likelihood has no bound. Received: data that do not."
            )
        return tf.fill(left_over.shape, variance)


class FactorAnalysis(LinearGaussian):
    """Factor analysis: p(x | z) = N(x | W z + mean, diag(noise_variance)), z ~ N(0, I).

    Each value has a noise of its own: unlike that of `ProbabilisticPCA`, the fit does not depend on the units of the
    values. Expectation maximization climbs to a maximum of the likelihood, from the closed form of `ProbabilisticPCA`
    for values scaled to one variance.

    Args:
        latent_size: number of latent variables, less than the values of an observation.
        min_variance: the smallest noise variance, in squared units of the data, more than 0: where a value is constant,
            or a function of the others, the density has no other bound.
        seed: integer, of the noise of draws.
        **kwargs: `name` and `dtype` of a Keras model.

    Example:

    >>> model = FactorAnalysis(latent_size=2)
    >>> history = model.fit(np.random.default_rng(0).normal(size=(100, 5)), epochs=10, verbose=0)
    >>> model.log_prob(np.zeros((3, 5))).shape
    TensorShape([3])

    Reference: Rubin & Thayer 1982, "EM algorithms for ML factor analysis".
    """

    def __init__(self, latent_size: int, min_variance: float = 1e-6, seed: int = 0, **kwargs):
        super().__init__(latent_size, seed=seed, **kwargs)
        self.min_variance = positive(self, "min_variance", min_variance)

    def _start(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        covariance = moments.covariance
        scale = np.sqrt(np.maximum(np.diag(covariance), self.min_variance))
        loadings, variance = principal_loadings(covariance / np.outer(scale, scale), self.latent_size)
        return loadings * scale[:, None], np.maximum(variance * scale**2, self.min_variance)

    def _noise(self, left_over, moments: Moments) -> tf.Tensor:
        return tf.maximum(left_over, self.min_variance)
