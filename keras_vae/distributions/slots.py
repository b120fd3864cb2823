"""Images that are painted by several slots, each pixel by one of them."""

from collections.abc import Sequence

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import positive
from keras_vae.distributions.base import DistributionLayer, Independent, TensorDistribution
from keras_vae.distributions.mixtures import Mixture
from keras_vae.distributions.normal import IndependentNormal
from keras_vae.networks.shapes import image_shape


class SlotMixture(DistributionLayer):
    """Images each of whose pixels is of one of several slots, which is summed out.

    p(x | z) = product over pixels of sum_k p(slot k | z) N(pixel | mean[k], scale^2). One network turns the code z[k]
    of each slot into its image mean[k], whose values are between 0 and 1, as fractions of white are, and into logits;
    the softmax of all logits of a pixel is p(slot | z). Slots of one scale can be exchanged: the order of their codes
    changes nothing.

    Args:
        event_shape: (height, width, channels) of an image.
        network: from the code of one slot, shape (batch, size), to features of shape (batch, height, width, channels)
            or (batch, features). A `spatial_broadcast_decoder` suits objects.
        scale: standard deviation of each value, more than 0; or one for each slot.

    The context is the codes of all slots, shape (..., slots, size).

    Raises:
        ValueError: for images of another shape, scales that are no positive numbers, and, when built, for codes of
            another shape and for another number of scales.

    Reference: the component decoder of Burgess et al. 2019, arXiv:1901.11390.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        network: keras.layers.Layer | None = None,
        scale: float | Sequence[float] = 1.0,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        image_shape(self.event_shape, type(self).__name__)
        self.scale: float | list[float]
        if isinstance(scale, Sequence) and not isinstance(scale, str):
            self.scale = [positive(self, f"scale[{place}]", each) for place, each in enumerate(scale)]
        else:
            self.scale = positive(self, "scale", scale)

    @property
    def params_shape(self) -> tuple[int, ...]:
        """Of each slot: in each pixel a mean for each channel, and a logit."""
        return (*self.event_shape[:-1], self.event_shape[-1] + 1)

    def build(self, context_shape=None):
        """Creates the weights.

        Args:
            context_shape: of the codes of all slots, (None, slots, size).
        """
        if context_shape is None or len(context_shape) != 3:
            raise ValueError(
                f"{self._title} needs codes of slots, shape (batch, slots, size). "
                f"Received: {None if context_shape is None else tuple(context_shape)}."
            )
        slots, size = context_shape[1:]
        if isinstance(self.scale, list) and len(self.scale) != slots:
            raise ValueError(
                f"{self._title} needs one scale, or one for each of the {slots} slots. Received: {len(self.scale)}."
            )
        super().build((None, size))

    def parts(self, context) -> tuple[tf.Tensor, tf.Tensor]:
        """What the slots say about each pixel.

        Args:
            context: codes, shape (..., slots, size).

        Returns:
            log_masks: log p(slot | z), float32 of shape (..., height, width, slots).
            means: what each slot paints, between 0 and 1, shape (..., height, width, slots, channels).
        """
        return self._parts_of(self.params_of(context))

    def given_masks(self, log_masks: tf.Tensor, means: tf.Tensor) -> tfd.Distribution:
        """Images whose masks are latent: the log_prob is the mean over masks of log p(x | mask, z).

        Args:
            log_masks: log q(mask), shape (..., height, width, slots).
            means: what each slot paints, of the shape of `parts`.
        """
        return _GivenMasks(log_masks, self._slots(means), self.event_shape)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """The distribution with these parameters, shape (..., slots, *params_shape)."""
        log_masks, means = self._parts_of(params)
        return tfd.Independent(Mixture(tfd.Categorical(logits=log_masks), self._slots(means)), 2)

    def _slots(self, means: tf.Tensor) -> tfd.Distribution:
        scale = tf.ones_like(means) * tf.reshape(tf.constant(self.scale, means.dtype), [-1, 1])
        return Independent(IndependentNormal(means, scale), self.event_shape[-1:])

    def _parts_of(self, params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        axes = len(params.shape)
        last = [axes - 3, axes - 2, axes - 4, axes - 1]  # rows and columns before the slots
        params = tf.transpose(params, [*range(axes - 4), *last])  # [..., height, width, slots, channels + 1]
        return tf.nn.log_softmax(params[..., -1]), tf.sigmoid(params[..., :-1])


class _GivenMasks(TensorDistribution):
    """The likelihood of slots where the mask is latent: sum_k q(slot k) log p(pixel | slot k), summed over pixels."""

    def __init__(self, log_masks: tf.Tensor, slots: tfd.Distribution, event_shape: Sequence[int]):
        super().__init__(
            slots.mean()[..., 0, :], len(event_shape), log_masks=log_masks, slots=slots, event_shape=event_shape
        )
        self.log_masks, self.slots = log_masks, slots

    def _log_prob(self, value):
        by_slot = self.slots.log_prob(value[..., tf.newaxis, :])
        return tf.reduce_sum(tf.exp(self.log_masks) * by_slot, axis=[-3, -2, -1])

    def _mean(self):
        return tf.reduce_sum(tf.exp(self.log_masks)[..., tf.newaxis] * self.slots.mean(), axis=-2)
