"""The autoencoder, plain and denoising: a code without a distribution."""

from typing import Any, NoReturn

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.supports import RealNumbers
from keras_vae.models.base import LatentVariableModel
from keras_vae.models.inputs import answers_frames
from keras_vae.serving import Rows, Signatures
from keras_vae.trace import Trace


class Autoencoder(LatentVariableModel):
    """Autoencoder: x -> code -> p(x | code), with no prior of the code and no noise in it.

    Its loss is -log p(x | code) in nats per example, under the same likelihood layers as those of a `VAE`: the
    reconstruction term of the bound, without the KL. It is no bound of log p(x), and there is nothing to draw a code
    from: `generate` and log p(x) need a model with a prior.

    With a `corruption` it denoises: in training the code is that of the corrupted input, and the likelihood that of
    the clean one.

    Args:
        encoder: any Keras model or layer from observations, shape (batch, *event), to codes, shape (batch, *code). Its
            last layer is the code: take one without an activation for codes of any real numbers.
        likelihood: p(x | code), a layer given the code; its event shape is that of one observation.
        corruption: None, or a Keras layer that is applied to the input in training only, such as `MaskingNoise(0.3)`.
        seed: integer, of the noise of `corruption`.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for an encoder or corruption that is not a Keras layer, or a likelihood that is not a distribution
            layer.

    Example:

    >>> encoder = keras.Sequential([dense_encoder(64), keras.layers.Dense(2)])
    >>> model = Autoencoder(encoder, Bernoulli(64, dense_decoder(2)), corruption=MaskingNoise(0.3))
    >>> model.compile("adam")
    >>> model.build((None, 64))
    >>> model.reconstruct(np.eye(64)).shape
    TensorShape([64, 64])

    Reference: Vincent et al. 2010, "Stacked denoising autoencoders".
    """

    def __init__(
        self,
        encoder: keras.layers.Layer,
        likelihood: DistributionLayer,
        corruption: keras.layers.Layer | None = None,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        for role, layer in {"encoder": encoder, "corruption": corruption}.items():
            if not isinstance(layer, keras.layers.Layer) and not (role == "corruption" and layer is None):
                raise TypeError(f"{type(self).__name__} needs {role} to be a Keras layer. Received: {layer!r}.")
        if not isinstance(likelihood, DistributionLayer):
            raise TypeError(
                f"{type(self).__name__} needs likelihood to be a distribution layer, such as Bernoulli((28, 28, 1), "
                f"decoder). Received: {likelihood!r}."
            )
        self.encoder = encoder
        self.likelihood = likelihood
        self.corruption = corruption

    def build(self, input_shape):
        """Creates the weights of the encoder and the likelihood for data of shape (batch, *event)."""
        self.check_shape(input_shape)
        observations = keras.KerasTensor((None, *input_shape[1:]))
        if self.corruption is not None:
            self.corruption(observations)
        code_shape = tuple(self.encoder(observations).shape)
        if not self.likelihood.built:  # a loaded layer is
            self.likelihood.build(code_shape)

    def call(self, inputs, training=None) -> Trace:
        """Encodes a batch, shape (batch, *event), corrupted in training, and returns the trace; it has no latents."""
        x = self._as_batch(inputs)
        seen = self.likelihood.standardized(x)
        code = self._code(seen if self.corruption is None else self.corruption(seen))
        return Trace(x, self.likelihood(code[tf.newaxis]))  # a code is one draw: [1, batch]

    def encode(self, x) -> tf.Tensor:
        """The code, float32, shape (batch, *code), of x of shape (batch, *event)."""
        return self._code(self.likelihood.standardized(self._as_batch(x)))

    def _code(self, seen: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.encoder(seen), tf.float32)

    def decode(self, z) -> tfd.Distribution:
        """p(x | code), batch shape (...), for codes z of shape (..., *code)."""
        self._require_built("decode")
        return self.likelihood(self._as_latent(z, self.likelihood.context_shapes[0][1:], RealNumbers()))

    @answers_frames
    def reconstruct(self, x) -> Any:
        """Mean of p(x | code), shape (batch, *event), for x of that shape, not corrupted; of a frame a frame."""
        return self.decode(self.encode(x)).mean()

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Raises `TypeError`: there is no distribution of codes to draw from."""
        raise TypeError(
            f"{type(self).__name__}.generate needs a prior to draw codes from. Received: an autoencoder, which has "
            "none; decode(z) takes codes of your own, and a VAE has a prior."
        )

    sample = generate

    def importance_weights(self, x, num_samples, seed=0, rows=0, largest=0) -> NoReturn:
        """Raises `TypeError`: log p(x) is an integral over a prior."""
        raise TypeError(
            f"{type(self).__name__} needs a prior for log p(x) = log of the integral of p(x | z) p(z). Received: an "
            "autoencoder, which has none; evaluate gives log p(x | code), and a VAE has a prior."
        )

    weigh = importance_weights

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`: nothing that needs a prior."""
        code = Rows("z", self.likelihood.context_shapes[0][1:], RealNumbers())
        return Signatures(self, code, **limits).of("serving_default", "encode", "decode")

    def _logged(self, losses: dict[str, tf.Tensor], extra, trace: Trace) -> dict[str, tuple]:
        """Without the KL, which is 0, and the bits per dimension, which need a code for the code."""
        figures = super()._logged(losses, extra, trace)
        return {name: figures[name] for name in ("loss", "log_likelihood")}
