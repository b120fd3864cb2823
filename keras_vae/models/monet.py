"""Scenes that are taken apart into objects: attention to one after another, and one code for each."""

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer, Normal, SlotMixture
from keras_vae.distributions.base import check_spaces
from keras_vae.distributions.normal import independent_normal
from keras_vae.models.single_latent import build_layers
from keras_vae.models.vae import UnconditionalModel
from keras_vae.serving import Signatures
from keras_vae.trace import Latent, Trace

FLOOR = -10.0  # logarithms of masks, as networks see them, end here


class MONet(UnconditionalModel):
    """Images that are taken apart into slots: each pixel is of one of them, and each slot has a code.

    The attention network goes over an image once for each slot, and says which share of what is left of each pixel
    the slot takes; the last slot takes the rest. With the masks that it so makes, q(mask | x), q(z | x) is a normal of
    each slot, given the image beside the logarithm of the mask of the slot (-10 and more). p(x | z), a `SlotMixture`,
    The attention network goes over an image once for each slot, and says which share of what is left of each pixel
    the slot takes; the last slot takes the rest. With the masks that it so makes, q(mask | x), q(z | x) is a normal of
    each slot, given the image beside the logarithm of the mask of the slot (-10 and more). p(x | z), a `SlotMixture`,
    has masks of its own, p(mask | z). The mask is a latent variable, one category for each pixel, that is not drawn:

        log p(x) >= E q(z | x) [sum over pixels and slots of q(slot | x) log p(pixel | slot, z)]
                    - KL(q(z | x) || p(z)) - KL(q(mask | x) || p(mask | z))

    The right side is the negative loss of `ELBO()`. With `ELBO(beta={"z": 0.5, "mask": 0.5})` the KLs, `kl_z` and
    `kl_mask` in the logs, have the weights of the paper. The paper has the logarithm of the sum over slots in the place
    of the sum of logarithms, which is no bound, for the masks in it have seen x.

    Scores, such as `evaluation.log_likelihood`, are of p(x | z), where the mask is summed out, and of z alone: they
    are closer to log p(x). With one slot it is a `VAE`.

    Args:
        attention: a network from the image beside the logarithm of what is left of each pixel, shape (batch, height,
            width, channels + 1), to features of each pixel, shape (batch, height, width, features), such as `unet`.
        posterior: q of the code of one slot, a `Normal` given the image beside the logarithm of its mask, shape (batch,
            height, width, channels + 1).
        likelihood: p(x | z), a `SlotMixture`.
        prior: p(z), a layer given nothing, of event shape (slots, size): `StandardNormal((5, 8))` has 5 slots.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for an argument of another class.
        ValueError: for a prior of another event shape, or whose kind of draws is not the posterior's; when built, for
            an attention network whose output is not of the size of the image.

    Example:

    >>> shape, seen = (32, 32, 3), (32, 32, 3 + 1)
    >>> model = MONet(
    ...     attention=unet(seen),
    ...     posterior=Normal(8, convolutional_encoder(seen)),
    ...     likelihood=SlotMixture(shape, spatial_broadcast_decoder(8, shape), scale=0.3),
    ...     prior=StandardNormal((5, 8)),
    ... )
    >>> model.compile("adam", loss=ELBO(beta={"z": 0.5, "mask": 0.5}))
    >>> model.build((None, *shape))
    >>> model.decompose(np.zeros((2, *shape), "float32"))["masks"].shape
    TensorShape([2, 5, 32, 32])

    Reference: Burgess et al. 2019, arXiv:1901.11390.
    """

    def __init__(
        self,
        attention: keras.layers.Layer,
        posterior: Normal,
        likelihood: SlotMixture,
        prior: DistributionLayer,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        title = type(self).__name__
        expected = {
            "attention": (attention, keras.layers.Layer, "a network, such as unet((32, 32, 3 + 1))"),
            "posterior": (posterior, Normal, "a Normal layer, such as Normal(8, network)"),
            "likelihood": (likelihood, SlotMixture, "a SlotMixture layer, such as SlotMixture((32, 32, 3), network)"),
            "prior": (prior, DistributionLayer, "a distribution layer, such as StandardNormal((5, 8))"),
        }
        for role, (given, wanted, words) in expected.items():
            if not isinstance(given, wanted):
                raise TypeError(f"{title} needs {role} to be {words}. Received: {given!r}.")
        if len(prior.event_shape) != 2 or prior.event_shape[1:] != posterior.event_shape:
            raise ValueError(
                f"{title} needs a posterior of the code of one slot, event shape (size,), and a prior of all codes, "
                f"event shape (slots, size). Received: {posterior.event_shape} and {prior.event_shape}."
            )
        check_spaces(title, posterior, prior)
        self.attention = attention
        self.posterior = posterior
        self.likelihood = likelihood
        self.prior = prior

    @property
    def slots(self) -> int:
        """How many there are."""
        return self.prior.event_shape[0]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(slots, size of a code)."""
        return self.prior.event_shape

    def build(self, input_shape):
        """Creates the weights for images of shape (batch, height, width, channels)."""
        self.check_shape(input_shape)
        seen = (None, *input_shape[1:-1], input_shape[-1] + 1)
        if self.slots > 1 and not hasattr(self, "share"):  # a loaded model has it
            features = tuple(self.attention(keras.KerasTensor(seen)).shape)
            if features[:-1] != seen[:-1]:
                expected = ", ".join(["batch", *map(str, seen[1:-1]), "features"])
                raise ValueError(
                    f"{type(self).__name__} needs an attention network whose output has the shape ({expected}). "
                    f"Received: {features}."
                )
            self.share = keras.layers.Dense(1, dtype="float32", name="share")
            self.share.build(features)
        build_layers({self.posterior: seen, self.prior: None, self.likelihood: (None, *self.latent_shape)})

    def call(self, inputs, training=None) -> Trace:
        """Takes a batch of images apart, draws the codes, and returns the trace."""
        x = self._as_batch(inputs)
        of_x = self._log_masks(x)
        z = self.draw(self._codes(x, of_x), self.prior())
        of_z, means = self.likelihood.parts(z.value)  # [samples, batch, height, width, slots], and channels
        mask = Latent(None, _by_pixel(of_x), _by_pixel(of_z))
        return Trace(x, self.likelihood.given_masks(of_x, means), {"z": z, "mask": mask})

    def encode(self, x) -> tfd.Distribution:
        """q(z | x), batch shape (batch,) and event shape (slots, size), for x of shape (batch, *event)."""
        self._require_built("encode")
        x = self._as_batch(x)
        return self._codes(x, self._log_masks(x))

    def decode(self, z) -> tfd.Distribution:
        """p(x | z), batch shape (...), for z of shape (..., slots, size)."""
        return self.likelihood(self._as_latent(z, self.latent_shape, self.latent_support))

    def prior_distribution(self) -> tfd.Distribution:
        """p(z), of batch shape ()."""
        return self.prior()

    def decompose(self, x) -> dict[str, tf.Tensor]:
        """What images are made of.

        Args:
            x: shape (batch, height, width, channels).

        Returns:
            masks: q(mask | x), the share of each slot in each pixel, shape (batch, slots, height, width).
            components: what each slot paints at the mean of its code, between 0 and 1, shape (batch, slots,
                height, width, channels).
            segments: the slot that has the largest share of each pixel, int32 of shape (batch, height, width).
        """
        self._require_built("decompose")
        x = self._as_batch(x)
        log_masks = self._log_masks(x)  # [batch, height, width, slots]
        _, means = self.likelihood.parts(self._codes(x, log_masks).mean())
        return {
            "masks": tf.transpose(tf.exp(log_masks), [0, 3, 1, 2]),
            "components": tf.transpose(means, [0, 3, 1, 2, 4]),
            "segments": tf.argmax(log_masks, axis=-1, output_type=tf.int32),
        }

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes: the signatures of a `VAE`, and `decompose`."""
        make = Signatures(self, None, **limits)
        return super().serving_signatures(**limits) | {
            "decompose": make.by_rows("decompose", self.decompose, make.x),
        }

    def _log_masks(self, x: tf.Tensor) -> tf.Tensor:
        """log q(mask | x), shape (batch, height, width, slots)."""
        image = self.likelihood.standardized(x)
        left, masks = tf.zeros_like(image[..., :1]), []  # logarithm of what is left, [batch, height, width, 1]
        for _ in range(self.slots - 1):
            features = self.attention(tf.concat([image, tf.maximum(left, FLOOR)], axis=-1))
            logit = self.share(tf.cast(features, tf.float32))
            masks.append(left + tf.math.log_sigmoid(logit))
            left += tf.math.log_sigmoid(-logit)
        return tf.concat([*masks, left], axis=-1)

    def _codes(self, x: tf.Tensor, log_masks: tf.Tensor) -> tfd.Distribution:
        """q(z | x), given the masks, shape (batch, height, width, slots)."""
        image = tf.tile(self.likelihood.standardized(x)[:, tf.newaxis], [1, self.slots, 1, 1, 1])
        masks = tf.transpose(tf.maximum(log_masks, FLOOR), [0, 3, 1, 2])[..., tf.newaxis]
        of_slots = self.posterior(tf.concat([image, masks], axis=-1))  # batch shape (batch, slots)
        return independent_normal(of_slots.mean(), of_slots.stddev(), self.latent_shape)


def _by_pixel(log_masks: tf.Tensor) -> tfd.Distribution:
    """One category for each pixel, of log-probabilities of shape (..., height, width, slots)."""
    return tfd.Independent(tfd.Categorical(logits=log_masks), 2)
