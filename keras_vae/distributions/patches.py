"""Images of objects that look alike: one learned patch, put into the box of each of them."""

from collections.abc import Sequence

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import positive
from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.normal import independent_normal
from keras_vae.networks.shapes import as_shape, image_shape
from keras_vae.networks.spatial_transformer import SpatialTransformer, inverse_box

SMALLEST = 0.05  # half a side of a box, as it is drawn


class PatchImages(DistributionLayer):
    """p(image | boxes of objects) = N(image | canvas, scale^2), with one learned patch for all objects.

    The patch has grey levels (or channels) between 0 and 1, and is black beyond its edges. Put into the boxes it gives
    images p[1], ..., p[objects]; the canvas is 1 - (1 - p[1]) ... (1 - p[objects]), in which the order of the objects
    means nothing. It is a tractable density, in the place of a sum-product network.

    Args:
        event_shape: (height, width, channels) of an image.
        patch_size: (height, width) of the patch in pixels of its own.
        scale: the standard deviation of every pixel, where white is 1.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer; all of it is float32 under every policy.

    Raises:
        ValueError: for shapes that are none, a scale that is not positive, and boxes of another shape.

    Reference: the place of SuPAIR in Kossen et al. 2020, arXiv:1910.02425.
    """

    def __init__(self, event_shape: Sequence[int], patch_size: Sequence[int] = (10, 10), scale: float = 0.2, **kwargs):
        title = type(self).__name__
        super().__init__(image_shape(event_shape, title), **kwargs)
        self.patch_size = as_shape(patch_size, title)
        if len(self.patch_size) != 2:
            raise ValueError(f"{title} needs patch_size to be (height, width). Received: {self.patch_size}.")
        self.scale = positive(self, "scale", scale)

    def build(self, context_shape=None):
        """Creates the patch, for boxes of shape (..., objects, 4)."""
        if not context_shape or len(context_shape) < 2 or context_shape[-1] != 4 or context_shape[-2] is None:
            raise ValueError(f"{self._title} needs boxes of shape (..., objects, 4). Received: {context_shape}.")
        self.transformer = SpatialTransformer(self.event_shape[:2], dtype="float32")
        self.patch_logits = self.add_weight(
            shape=(*self.patch_size, self.event_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.1),
            name="patch",
            dtype="float32",
        )

    def canvas(self, boxes: tf.Tensor) -> tf.Tensor:
        """Means of the images, shape (..., height, width, channels).

        Args:
            boxes: half the width, height / width, and the middle (x, y), shape (..., objects, 4), of one leading axis
                or more. Half a side below 0.05 is drawn as 0.05.
        """
        half, ratio, middle = tf.split(tf.cast(boxes, tf.float32), [1, 1, 2], axis=-1)
        sides = tf.maximum(tf.concat([half, half * ratio], axis=-1), SMALLEST)
        back = inverse_box(tf.concat([middle, sides], axis=-1))  # [..., objects, 4]
        patch = tf.sigmoid(tf.convert_to_tensor(self.patch_logits))[tf.newaxis]
        dark: tf.Tensor = 1.0
        for box in tf.unstack(back, axis=-2):
            dark *= 1 - self.transformer(patch, box)  # [..., height, width, channels]
        return 1 - dark

    def call(self, context=None) -> tfd.Distribution:
        """The images given boxes of shape (..., objects, 4), of batch shape (...)."""
        if context is None:
            raise ValueError(f"{self._title} needs boxes of shape (..., objects, 4). Received: None.")
        canvas = self.canvas(context)
        return independent_normal(canvas, tf.fill(tf.shape(canvas), self.scale), self.event_shape)
