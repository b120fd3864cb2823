"""Networks that say something about each pixel, and see all of the image."""

from collections.abc import Sequence

import keras

from keras_vae.arguments import whole_number
from keras_vae.networks.shapes import image_shape


def unet(
    input_shape: Sequence[int],
    filters: Sequence[int] = (16, 16, 32),
    units: int = 64,
    activation: str = "relu",
) -> keras.Model:
    """Features of each pixel from grids of ever fewer places, and back, with a dense layer in the middle.

    On the way down each grid has a convolution, whose channels are normalized over the places of each image (instance
    normalization), and is then halved by means of 2 x 2 places. Two dense layers see all places of the coarsest grid.
    On the way up each grid has what comes from below beside what was there on the way down, and one more convolution.

    Args:
        input_shape: (height, width, channels); height and width are multiples of 2^(number of filters - 1), and larger.
        filters: channels on each grid, the finest first.
        units: of the dense layer in the middle.
        activation: a Keras activation.

    Returns:
        A Keras model from (batch, height, width, channels) to (batch, height, width, filters[0]).

    Raises:
        ValueError: for no filters, and for a height or width that can not be halved as often.

    Reference: Ronneberger, Fischer & Brox 2015, arXiv:1505.04597; as attention of Burgess et al. 2019,
    arXiv:1901.11390.
    """
    height, width, channels = image_shape(input_shape, "unet")
    units = whole_number("unet", "units", units)
    if not filters:
        raise ValueError("unet needs filters for one or more grids. Received: none.")
    factor = 2 ** (len(filters) - 1)
    if height % factor or width % factor or height * width == factor**2:
        raise ValueError(
            f"unet with {len(filters)} grids needs height and width that are multiples of {factor}, and more than one "
            f"place on the coarsest grid. Received: {(height, width, channels)}."
        )

    def convolved(features, count):
        features = keras.layers.Conv2D(count, 3, padding="same", use_bias=False)(features)
        features = keras.layers.GroupNormalization(groups=-1)(features)
        return keras.layers.Activation(activation)(features)

    image = keras.Input((height, width, channels))
    features, seen = image, []
    for place, count in enumerate(filters):
        features = convolved(keras.layers.AveragePooling2D(2)(features) if place else features, count)
        seen.append(features)
    coarsest = features.shape[1:]
    features = keras.layers.Dense(units, activation)(keras.layers.Flatten()(features))
    features = keras.layers.Dense(coarsest[0] * coarsest[1] * coarsest[2], activation)(features)
    features = keras.layers.Reshape(coarsest)(features)
    for place in reversed(range(len(filters))):
        features = convolved(keras.layers.Concatenate()([features, seen[place]]), filters[max(place - 1, 0)])
        features = keras.layers.UpSampling2D(2)(features) if place else features
    return keras.Model(image, features, name="unet")
