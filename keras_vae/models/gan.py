"""The generative adversarial network: a decoder and a prior, without an encoder."""

import functools
from typing import Any, NoReturn

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer
from keras_vae.models.single_latent import UnconditionalPrior, build_layers
from keras_vae.optimizers import REST
from keras_vae.serving import Rows, Signatures
from keras_vae.trace import Trace, is_reparameterized


class GAN(UnconditionalPrior):
    """Generative adversarial network: the prior and the decoder of a `VAE`, trained against a critic alone.

    What it makes are means of p(x | z), `generate`, or draws of it, `sample`. It infers no z of an example: it has no
    codes, no reconstructions and no bound of log p(x), and all that would need one refuses it. The logs are the losses
    of generator and critic.

    Args:
        likelihood: p(x | z), a layer given z; its event shape is that of one observation.
        prior: p(z), a layer given nothing.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for an argument that is not a distribution layer, and a prior that would learn from its draws, which
            carry no gradient.

    Example:

    >>> critic = keras.Sequential([dense_encoder(64), keras.layers.Dense(1)])
    >>> gan = GAN(Bernoulli(64, dense_decoder(2)), StandardNormal(2))
    >>> gan.compile({"model": "adam", "critic": "adam"}, loss=Adversarial(critic))
    >>> gan.build((None, 64))
    >>> gan.generate(3, seed=1).shape
    TensorShape([3, 64])

    Reference: Goodfellow et al. 2014, arXiv:1406.2661.
    """

    def __init__(self, likelihood: DistributionLayer, prior: DistributionLayer, seed: int = 0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        for role, layer in {"likelihood": likelihood, "prior": prior}.items():
            if not isinstance(layer, DistributionLayer):
                raise TypeError(
                    f"{type(self).__name__} needs {role} to be a distribution layer, such as StandardNormal(16). "
                    f"Received: {layer!r}."
                )
        self.likelihood = likelihood
        self.prior = prior

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one z."""
        return self.prior.event_shape

    def build(self, input_shape):
        """Creates the weights of both layers for data of shape (batch, *event)."""
        self.check_shape(input_shape)
        build_layers({self.prior: None, self.likelihood: (None, *self.latent_shape)})
        if self.prior.trainable_weights and not is_reparameterized(self.prior()):
            raise TypeError(
                f"{type(self).__name__} needs a prior whose draws carry gradients to its weights, such as Normal, or "
                f"one without weights. Received: {type(self.prior).__name__}."
            )

    def call(self, inputs, training=None) -> Trace:
        """A trace without latent variables and likelihood: nothing is inferred of x, shape (batch, *event)."""
        x, prior = self._as_batch(inputs), self.prior()
        return Trace(x, None, real_and_generated=functools.cache(lambda: self._real_and_generated(x, prior)))

    def decode(self, z) -> tfd.Distribution:
        """p(x | z), batch shape (...), for z of shape (..., *latent)."""
        return self.likelihood(self._as_latent(z, self.latent_shape, self.latent_support))

    def prior_distribution(self) -> tfd.Distribution:
        """p(z), of batch shape ()."""
        return self.prior()

    def tracer(self, inputs, posterior: Any = None) -> NoReturn:
        """Raises `TypeError`: log p(x) and its bounds need a distribution of z given x."""
        raise TypeError(
            f"{type(self).__name__} has no encoder, and so no z of an example, no reconstruction and no bound of "
            "log p(x). Received: examples to score or to encode; a VAE can, generate and sample need none."
        )

    def encode(self, x, *given, **options) -> NoReturn:
        """Raises `TypeError`, as `tracer`."""
        self.tracer(x)

    def reconstruct(self, inputs) -> NoReturn:
        """Raises `TypeError`, as `tracer`."""
        self.tracer(inputs)

    def check_missing(self, inputs) -> None:
        """Nothing: a critic that does not take missing values has a loss that is not finite."""

    def work_of(self, inputs) -> tf.Tensor:
        """What a draw of the prior for each example makes."""
        return self._real_and_generated(self._as_batch(inputs), self.prior())

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`: nothing that needs an encoder."""
        make = Signatures(self, Rows("z", self.latent_shape, self.latent_support), **limits)
        return make.of("decode", "generate", "sample")

    def _logged(self, losses: dict[str, tf.Tensor], extra, trace: Trace) -> dict[str, tuple]:
        """The losses alone."""
        logs = {"loss": losses[REST] + extra}
        logs |= {f"loss_{name}": loss for name, loss in losses.items() if name != REST}
        return {name: (values, None) for name, values in logs.items()}
