"""Autoencoders whose latent variables are codes."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.codebooks import Quantized, Quantizer
from keras_vae.models.inputs import answers_frames
from keras_vae.models.single_latent import UnconditionalPrior, build_layers, check_parts
from keras_vae.serving import Rows, Signatures
from keras_vae.trace import Trace


class VQVAE(UnconditionalPrior):
    """Vector-quantized variational autoencoder: p(x, z) = p(x | z) p(z), with codes z, and q(z | x) that is one point.

    The bound log p(x) >= log p(x | z) + log p(z) holds for the codes of x: its `kl` is -log p(z), of a uniform prior
    places x log(levels). It leaves out what other codes add to p(x), and more draws do not bring it closer.

    Args:
        posterior: q(z | x), a layer given x: `VectorQuantized`, `GradientVectorQuantized` or `FiniteScalarQuantized`.
        likelihood: p(x | z), a layer given the vectors of the codes, shape (batch, *grid, vector_size).
        prior: p(z), a layer given nothing, of the same event shape and as many levels: `UniformCategorical`,
            `Categorical` or `PixelCNN`.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for an argument that is not a distribution layer, and for another posterior.
        ValueError: for a prior of another event shape, or fewer levels.

    Example:

    >>> posterior = VectorQuantized((4, 4, 1), residual_encoder((8, 8, 1), [16]), levels=32, vector_size=8)
    >>> likelihood = Bernoulli((8, 8, 1), residual_decoder((4, 4, 8), (8, 8, 1), [16]))
    >>> model = VQVAE(posterior, likelihood, UniformCategorical((4, 4, 1), levels=32))
    >>> model.compile("adam", Weighted(ELBO(), {"commitment": 0.25}))
    >>> model.build((None, 8, 8, 1))
    >>> model.encode(np.zeros((3, 8, 8, 1))).shape
    TensorShape([3, 4, 4, 1])

    Reference: van den Oord, Vinyals & Kavukcuoglu 2017, arXiv:1711.00937.
    """

    one_point = True

    def __init__(
        self,
        posterior: Quantizer,
        likelihood: DistributionLayer,
        prior: DistributionLayer,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        check_parts(self, posterior=posterior, likelihood=likelihood, prior=prior)
        if not isinstance(posterior, Quantizer):
            raise TypeError(
                f"{type(self).__name__} needs a posterior whose draws are codes, such as VectorQuantized((7, 7, 1), "
                f"network). Received: {posterior!r}."
            )
        self.posterior = posterior
        self.likelihood = likelihood
        self.prior = prior

    @property
    def latent_support(self):
        """The codes: none lie between them."""
        return self.posterior.support

    def build(self, input_shape):
        """Creates the weights of the three layers for data of shape (batch, *event)."""
        self.check_shape(input_shape)
        build_layers(
            {
                self.posterior: (None, *input_shape[1:]),
                self.prior: None,
                self.likelihood: (None, *self.posterior.params_shape),
            }
        )

    def call(self, inputs, training=None) -> Trace:
        """Encodes a batch and returns the trace; in training the codebook then learns from it."""
        trace = self.tracer(inputs)()
        if training and self.posterior.trainable:
            self.posterior.learn(trace.latents["z"].posterior)
        return trace

    def tracer(self, inputs, posterior: tfd.Distribution | None = None) -> Callable[[], Trace]:
        """A function that returns the trace, see `VAE`; x is encoded here."""
        x = self._as_batch(inputs)
        posterior = self._quantized(x) if posterior is None else posterior
        prior = self.prior_distribution()

        def draw_trace():
            z = self.draw(posterior, prior)
            vectors = self.posterior.seen(z.value, posterior)
            terms, uses = self.posterior.terms(posterior), {"z": self.posterior.uses(posterior)}
            return Trace(x, self.likelihood(vectors), {"z": z}, terms, uses=uses)

        return draw_trace

    def _quantized(self, x: tf.Tensor) -> Quantized:
        return self.posterior(self.likelihood.standardized(x))

    def encode(self, x) -> tf.Tensor:
        """The codes, int32, shape (batch, *grid, codes of each place), of x of shape (batch, *event)."""
        return tf.cast(self._quantized(self._as_batch(x)).codes, tf.int32)

    def decode(self, codes) -> tfd.Distribution:
        """p(x | codes), batch shape (...), for codes of shape (..., *grid, codes of each place)."""
        codes = self._as_latent(codes, self.latent_shape, self.latent_support, "codes")
        return self.likelihood(self.posterior.embed(codes))

    def prior_distribution(self) -> tfd.Distribution:
        """p(z), of batch shape ()."""
        return self.prior()

    @answers_frames
    def reconstruct(self, x) -> Any:
        """Mean of p(x | codes of x), shape (batch, *event); of a frame a frame."""
        return self.decode(self.encode(x)).mean()

    def sample_prior(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws of codes from p(z), int32, shape (count, *grid, codes of each place); see `VAE.sample_prior`."""
        return tf.cast(super().sample_prior(count, seed, temperature), tf.int32)

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`: `codes`, int32, stand for `z`."""
        codes = Rows("codes", self.latent_shape, self.latent_support, "int32")
        make = Signatures(self, codes, **limits)
        return make.of("serving_default", "encode", "decode", "generate", "sample", "log_likelihood")
