"""What an image shows in a box, and an image put into a box: differentiable in image and box."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_vae.networks.shapes import as_shape
from keras_vae.serializable import Serializable


class SpatialTransformer(Serializable, keras.layers.Layer):
    """What images show in boxes, by bilinear interpolation, black beyond their edges; differentiable in both.

    A box is (x, y, half width, half height), x to the right and y downwards, in the frame of the image, whose edges are
    at -1 and 1: (0, 0, 1, 1) is the whole image. The middle of a pixel of the output, at u, takes the value at
    x + half width * u of the image. An image is put into a box of a canvas by `inverse_box`:

    >>> glimpse, box = np.ones([1, 4, 4, 1], "float32"), np.array([[0.5, 0.5, 0.5, 0.5]], "float32")
    >>> SpatialTransformer((8, 8))(glimpse, inverse_box(box))[0, :, :, 0].numpy().sum()
    np.float32(16.0)

    It is computed as a product with a matrix of interpolation weights for the rows and one for the columns, without a
    gather, so that it runs under XLA and on a TPU. Nothing is smoothed where the output is coarser than the image.

    Args:
        output_size: (height, width) of the output in pixels.
        **kwargs: `name` and `dtype` of a Keras layer. Boxes stay float32 in any precision.

    Reference: Jaderberg et al. 2015, arXiv:1506.02025, with boxes in the place of affine maps, as in Eslami et al.
    2016, arXiv:1603.08575.
    """

    def __init__(self, output_size: Sequence[int], **kwargs):
        super().__init__(autocast=False, **kwargs)  # a place has to stay exact
        self.output_size = as_shape(output_size, type(self).__name__)
        if len(self.output_size) != 2:
            raise ValueError(
                f"{type(self).__name__} needs output_size to be (height, width). Received: {self.output_size}."
            )

    def build(self, images_shape, box_shape):
        """Checks the shapes; there is nothing to create."""
        if len(images_shape) < 4 or not box_shape or box_shape[-1] != 4:
            raise ValueError(
                f"{type(self).__name__} needs images of shape (..., height, width, channels) and boxes of shape "
                f"(..., 4). Received: {tuple(images_shape)} and {tuple(box_shape)}."
            )

    def call(self, images, box):
        """What images show in boxes, shape (..., *output_size, channels).

        Args:
            images: shape (..., height, width, channels).
            box: shape (..., 4). Leading axes of images and boxes are the same, or broadcast.
        """
        images = tf.cast(images, self.compute_dtype)
        box = tf.cast(box, tf.float32)
        height, width = self.output_size
        columns = self._weights(width, images.shape[-2], box[..., 0], box[..., 2])  # [..., width, columns]
        rows = self._weights(height, images.shape[-3], box[..., 1], box[..., 3])  # [..., height, rows]
        return tf.einsum("...ab,...bcd,...ec->...aed", rows, images, columns)

    def compute_output_shape(self, images_shape, box_shape):
        """(..., *output_size, channels)."""
        leading = max(tuple(box_shape[:-1]), tuple(images_shape[:-3]), key=len)
        return (*leading, *self.output_size, images_shape[-1])

    def _weights(self, outputs: int, inputs: int, middle: tf.Tensor, half: tf.Tensor) -> tf.Tensor:
        """Weights of the inputs for each output along one axis, shape (..., outputs, inputs)."""
        places = (2 * tf.range(outputs, dtype=tf.float32) + 1) / outputs - 1
        places = middle[..., None] + half[..., None] * places  # [..., outputs], in the frame
        places = (places + 1) * inputs / 2 - 0.5  # in pixels
        distances = tf.abs(places[..., None] - tf.range(inputs, dtype=tf.float32))
        return tf.cast(tf.nn.relu(1 - distances), self.compute_dtype)


def inverse_box(box: tf.Tensor) -> tf.Tensor:
    """The box that a `SpatialTransformer` needs to put back what another one has taken from `box`.

    It is the frame of the whole image as seen from the box.

    Args:
        box: (x, y, half width, half height), shape (..., 4); widths and heights are above 0.

    Returns:
        The same of the inverse, shape (..., 4).
    """
    box = tf.convert_to_tensor(box)
    return tf.concat([-box[..., :2] / box[..., 2:], 1 / box[..., 2:]], axis=-1)
