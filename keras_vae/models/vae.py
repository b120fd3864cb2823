"""The variational autoencoder."""

import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.base import check_spaces
from keras_vae.distributions.supports import Support
from keras_vae.models.single_latent import SingleLatentModel

tfd = tfp.distributions


class VAE(SingleLatentModel):
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
        for role, layer in {"posterior": posterior, "likelihood": likelihood, "prior": prior}.items():
            if not isinstance(layer, DistributionLayer):
                raise TypeError(
                    f"{type(self).__name__} needs {role} to be a distribution layer, such as Normal(16, network). "
                    f"Received: {layer!r}."
                )
        if prior.event_shape != posterior.event_shape:
            raise ValueError(
                f"{type(self).__name__} needs a prior and a posterior of one event shape. "
                f"Received: {prior.event_shape} and {posterior.event_shape}."
            )
        self.posterior = posterior
        self.likelihood = likelihood
        self.prior = prior
        prior.relate(posterior)
        check_spaces(type(self).__name__, posterior, prior)

    def build(self, input_shape):
        """Creates the weights of the three layers for data of shape (batch, *event)."""
        self.check_shape(input_shape)
        contexts = {
            self.posterior: (None, *input_shape[1:]),
            self.prior: None,
            self.likelihood: (None, *self.posterior.event_shape),
        }
        for layer, context_shape in contexts.items():
            if not layer.built:  # a loaded layer is
                layer.build(context_shape)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one z."""
        return self.posterior.event_shape

    @property
    def latent_support(self) -> Support:
        """Where draws of the prior are."""
        return self.prior.support

    def encode(self, x) -> tfd.Distribution:
        """q(z | x), batch shape (batch,), for x of shape (batch, *event)."""
        x = self._as_batch(x)
        if not x.shape.is_compatible_with([None, *self.event_shape]):
            self.check_shape(x.shape)
        return self.posterior(x)

    def decode(self, z) -> tfd.Distribution:
        """p(x | z), batch shape (...), for z of shape (..., *latent)."""
        z = tf.cast(tf.convert_to_tensor(z), tf.float32)
        if not z.shape[-len(self.latent_shape) :].is_compatible_with(self.latent_shape):
            expected = ", ".join(["batch", *map(str, self.latent_shape)])
            raise ValueError(f"{type(self).__name__}.decode needs z of shape ({expected}). Received: {tuple(z.shape)}.")
        return self.likelihood(z)

    def prior_distribution(self) -> tfd.Distribution:
        """p(z), of batch shape ()."""
        return self.prior()
