"""Decoders that paint a code at each place of an image."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_vae.arguments import whole_number
from keras_vae.networks.shapes import as_shape, image_shape
from keras_vae.serializable import Serializable


class SpatialBroadcast(Serializable, keras.layers.Layer):
    """A vector at each place of a grid, beside the coordinates of the place.

    >>> SpatialBroadcast((1, 3))(np.array([[7.0]])).numpy()[0, 0].tolist()
    [[7.0, -1.0, 0.0], [7.0, 0.0, 0.0], [7.0, 1.0, 0.0]]

    Args:
        grid: (height, width).
        waves: number of frequencies. With k from 1 to `waves`, sine and cosine of pi k x and pi k y follow on x and y:
            a single dense layer can then paint small objects.
        **kwargs: `name` and `dtype` of a Keras layer.

    Maps (batch, size) to (batch, height, width, size + 2 + 4 waves). After the vector come x to the right and y
    downwards, at even steps from -1 to 1, and 0 where there is a single column or row.

    Reference: Watters et al. 2019, arXiv:1901.07017; the waves: Tancik et al. 2020, arXiv:2006.10739.
    """

    def __init__(self, grid: Sequence[int], waves: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.grid = as_shape(grid, type(self).__name__)
        if len(self.grid) != 2:
            raise ValueError(f"{type(self).__name__} needs grid to be (height, width). Received: {self.grid}.")
        self.waves = whole_number(self, "waves", waves, least=0)

    def build(self, input_shape):
        """Checks the shape; there is nothing to create."""
        if len(input_shape) != 2:
            raise ValueError(
                f"{type(self).__name__} needs vectors of shape (batch, size). Received: {tuple(input_shape)}."
            )

    def call(self, inputs):
        """Shape (batch, height, width, size + 2 + 4 waves)."""
        height, width = self.grid
        x, y = tf.meshgrid(_even(width), _even(height))
        places = [x, y]
        for number in range(1, self.waves + 1):
            places += [wave(math.pi * number * each) for wave in (tf.sin, tf.cos) for each in (x, y)]
        batch = tf.shape(inputs)[0] if inputs.shape[0] is None else inputs.shape[0]
        vectors = tf.broadcast_to(inputs[:, None, None, :], [batch, height, width, inputs.shape[-1]])
        seen = tf.broadcast_to(tf.cast(tf.stack(places, axis=-1), inputs.dtype), [batch, height, width, len(places)])
        return tf.concat([vectors, seen], axis=-1)

    def compute_output_shape(self, input_shape):
        """(batch, height, width, size + 2 + 4 waves)."""
        return (input_shape[0], *self.grid, input_shape[-1] + 2 + 4 * self.waves)


def _even(count: int) -> tf.Tensor:
    return tf.linspace(-1.0, 1.0, count) if count > 1 else tf.zeros([1])


def spatial_broadcast_decoder(
    latent_size: int,
    output_shape: Sequence[int],
    filters: Sequence[int] = (32, 32, 32, 32),
    kernel_size: int = 3,
    activation: str = "relu",
) -> keras.Model:
    """A code at each place of a grid, beside its coordinates, then convolutions without strides.

    Such a decoder need not learn place by place what to paint where, as one of transposed convolutions must: it suits
    objects, each at a place of its own. The grid is larger than the image by what the convolutions, which see no zeros
    around it, take from its edges.

    Args:
        latent_size: number of latent variables.
        output_shape: (height, width, channels) of the image; the features keep its height and width.
        filters: channels of each convolution.
        kernel_size: width of the square kernels.
        activation: a Keras activation.

    Returns:
        A Keras model from (batch, latent_size) to (batch, height, width, filters[-1]).

    Raises:
        ValueError: for a latent shape that is no number, and an image of another shape.

    Reference: Watters et al. 2019, arXiv:1901.07017; of Burgess et al. 2019, arXiv:1901.11390 (MONet).
    """
    latent_shape = as_shape(latent_size, "spatial_broadcast_decoder")
    height, width, _ = image_shape(output_shape, "spatial_broadcast_decoder")
    beyond = len(filters) * (kernel_size - 1)
    layers = [keras.layers.Conv2D(count, kernel_size, activation=activation) for count in filters]
    grid = SpatialBroadcast((height + beyond, width + beyond))
    return keras.Sequential([keras.Input(latent_shape), grid, *layers], name="decoder")
