"""The variational autoencoder."""

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer
from keras_vae.models.inputs import answers_frames
from keras_vae.models.single_latent import SingleLatentModel, build_layers, check_parts
from keras_vae.noise import fold


class UnconditionalModel(SingleLatentModel):
    """A model of x alone: the methods that need nothing but a seed and a number of draws."""

    @answers_frames
    def reconstruct(self, x, seed=None) -> Any:
        """Mean of p(x | z), shape (batch, *event).

        Args:
            x: shape (batch, *event), or a pandas or Polars frame, a pyarrow table, or a dictionary of columns, of which
                the result is another one: of the model's columns, in their types.
            seed: None decodes the mean of q(z | x); an integer, a scalar tensor or int32 of shape (2,) decodes a draw.
        """
        return self._reconstruction(x, (), seed)

    def sample_prior(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(z), shape (count, *latent), their distance to its mean multiplied by `temperature`.

        How that is measured, so that the draws stay in their support, is said in `tempered_draws`.

        Args:
            count: number of draws, 0 or more, an integer or an integer scalar tensor.
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: 0 gives the mean of the prior, or its mode where it can be counted; 1 its draws.
        """
        return self._draws_of_prior(self._checked_count(count), (), seed, temperature)

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x | z) for z drawn by `sample_prior`, shape (count, *event)."""
        return self.decode(self.sample_prior(count, seed, temperature)).mean()

    def sample(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(x | z) for z drawn by `sample_prior`, shape (count, *event): those of `generate`."""
        seed = self._as_seed(seed)
        return self.decode(self.sample_prior(count, seed, temperature)).sample(seed=fold(seed, 1))


class VAE(UnconditionalModel):
    """Variational autoencoder: p(x, z) = p(x | z) p(z), with q(z | x) for inference.

    Args:
        posterior: q(z | x), a layer given x.
        likelihood: p(x | z), a layer given z; its event shape is that of one observation.
        prior: p(z), a layer given nothing.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for an argument that is not a distribution layer.
        ValueError: for a prior whose event shape, or whose kind of draws, is not the posterior's.

    Example:

    >>> vae = VAE(Normal(2, dense_encoder(64)), Bernoulli(64, dense_decoder(2)), StandardNormal(2))
    >>> vae.compile("adam", loss=ELBO())
    >>> vae.build((None, 64))
    >>> vae.generate(3, seed=1).shape
    TensorShape([3, 64])

    Reference: Kingma & Welling 2014, arXiv:1312.6114; Rezende, Mohamed & Wierstra 2014, arXiv:1401.4082.
    """

    def __init__(
        self,
        posterior: DistributionLayer,
        likelihood: DistributionLayer,
        prior: DistributionLayer,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        check_parts(self, posterior=posterior, likelihood=likelihood, prior=prior)
        self.posterior = posterior
        self.likelihood = likelihood
        self.prior = prior

    def build(self, input_shape):
        """Creates the weights of the three layers for data of shape (batch, *event)."""
        self.check_shape(input_shape)
        build_layers(
            {
                self.posterior: (None, *input_shape[1:]),
                self.prior: None,
                self.likelihood: (None, *self.posterior.event_shape),
            }
        )

    def encode(self, x) -> tfd.Distribution:
        """q(z | x), batch shape (batch,), for x of shape (batch, *event)."""
        return self.posterior(self.posterior_context(self._as_batch(x)))

    def posterior_context(self, x):
        """What the layer `posterior` is given of an observation: as networks are to see it."""
        return self.likelihood.standardized(x)

    def decode(self, z) -> tfd.Distribution:
        """p(x | z), batch shape (...), for z of shape (..., *latent)."""
        return self.likelihood(self._as_latent(z, self.latent_shape, self.latent_support))

    def prior_distribution(self) -> tfd.Distribution:
        """p(z), of batch shape ()."""
        return self.prior()
