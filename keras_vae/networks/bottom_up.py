"""Networks of deep hierarchies: residual bottlenecks, and from an image to features on ever coarser grids."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_vae.arguments import whole_number
from keras_vae.networks.shapes import image_shape
from keras_vae.serializable import Serializable


class Bottleneck(Serializable, keras.layers.Layer):
    """A convolution to few channels, one between them that sees neighbours, and one to the channels of the output.

    Each has the activation in front of it: 1 x 1, 3 x 3 (1 x 1 on grids below 3 x 3), 1 x 1. The last one computes in
    float32, for its output is added to a state or is parameters of a distribution.

    Args:
        units: channels of the output.
        hidden: channels in between.
        activation: a Keras activation.
        last_stddev: standard deviation of the weights that the last convolution starts from, times the square root of
            `hidden`; 0 starts with an output of 0.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer.

    Reference: Child 2021, arXiv:2011.10650 (figure 3), with one 3 x 3 convolution in the place of two.
    """

    def __init__(self, units: int, hidden: int, activation: str = "gelu", last_stddev: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.units = whole_number(self, "units", units)
        self.hidden = whole_number(self, "hidden", hidden)
        self.activation = keras.activations.get(activation)
        self.last_stddev = float(last_stddev)

    def build(self, input_shape):
        """Creates the weights for inputs of shape (batch, rows, columns, channels)."""
        options: dict[str, Any] = {"activation": self.activation, "dtype": self.dtype_policy}
        # A 1 x 1 convolution is a dense layer of each place, which a CPU computes several times as fast.
        self.first = keras.layers.Dense(self.hidden, **options)
        if min(input_shape[1:3]) < 3:
            self.between = keras.layers.Dense(self.hidden, **options)
        else:
            self.between = keras.layers.Conv2D(self.hidden, 3, padding="same", **options)
        start = keras.initializers.RandomNormal(stddev=self.last_stddev / math.sqrt(self.hidden))
        self.last = keras.layers.Dense(self.units, kernel_initializer=start, dtype="float32")
        self.first.build(input_shape)
        for layer in (self.between, self.last):
            layer.build((*input_shape[:-1], self.hidden))

    def call(self, inputs):
        """Outputs of shape (batch, rows, columns, units), float32."""
        return self.last(self.between(self.first(self.activation(inputs))))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


def bottom_up_encoder(
    input_shape: Sequence[int],
    strides: Sequence[int] = (2, 2, 7),
    filters: Sequence[int] = (32, 64, 128),
    blocks: int = 2,
    activation: str = "gelu",
) -> keras.Model:
    """Convolutions from grid to coarser grid, with residual blocks on each: features of every grid.

    Args:
        input_shape: (height, width, channels) of the image.
        strides: what the height and the width are divided by on the way to each grid, rounded up: 28 x 28 pixels by 2,
            2 and 7 are grids of 14 x 14, 7 x 7 and 1 x 1.
        filters: channels on each grid.
        blocks: residual blocks on each grid, a `Bottleneck` of half as many channels each.
        activation: a Keras activation.

    Returns:
        A Keras model from (batch, height, width, channels) to a list of features (batch, rows, columns, filters), the
        finest first.

    Raises:
        ValueError: for strides and filters that differ in number.
    """
    image = keras.Input(image_shape(input_shape, "bottom_up_encoder"))
    if len(strides) != len(filters) or not strides:
        raise ValueError(
            "bottom_up_encoder needs filters for each of one or more strides. "
            f"Received: strides={strides!r}, filters={filters!r}."
        )
    features, found = image, []
    last_stddev = 1 / math.sqrt(max(1, len(filters) * blocks))
    for stride, count in zip(strides, filters, strict=True):
        features = keras.layers.Conv2D(count, max(3, stride), strides=stride, padding="same")(features)
        for _ in range(blocks):
            change = Bottleneck(count, max(count // 2, 1), activation, last_stddev)(features)
            features = keras.layers.Add()([features, change])
        found.append(features)
    return keras.Model(image, found, name="encoder")
