"""The variational autoencoder."""

from typing import Any

from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer
from keras_vae.models.inputs import answers_frames
from keras_vae.models.single_latent import UnconditionalPrior, build_layers, check_parts


class UnconditionalModel(UnconditionalPrior):
    """A model of x alone."""

    @answers_frames
    def reconstruct(self, x, seed=None) -> Any:
        """Mean of p(x | z), shape (batch, *event).

        Args:
            x: shape (batch, *event), or a pandas or Polars frame, a pyarrow table, or a dictionary of columns, of which
                the result is another one: of the model's columns, in their types.
            seed: None decodes the mean of q(z | x); an integer, a scalar tensor or int32 of shape (2,) decodes a draw.
        """
        return self._reconstruction(x, (), seed)


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
