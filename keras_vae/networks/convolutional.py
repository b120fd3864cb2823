"""Convolutional networks for images of any height, width and number of channels."""

import math
from collections.abc import Sequence

import keras

from keras_vae.networks.shapes import as_shape, image_shape


def convolutional_encoder(
    input_shape: Sequence[int],
    filters: Sequence[int] = (32, 64),
    kernel_size: int = 3,
    activation: str = "relu",
) -> keras.Model:
    """Convolutions that halve height and width at each layer, then a flat vector of features.

    Args:
        input_shape: (height, width, channels).
        filters: channels after each convolution of stride 2.
        kernel_size: width of the square kernels.
        activation: a Keras activation.

    Returns:
        A Keras model from (batch, height, width, channels) to (batch, features).
    """
    shape = image_shape(input_shape, "convolutional_encoder")
    layers = [
        keras.layers.Conv2D(count, kernel_size, strides=2, padding="same", activation=activation) for count in filters
    ]
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Flatten()], name="encoder")


def convolutional_decoder(
    latent_size: int,
    output_shape: Sequence[int],
    filters: Sequence[int] = (64, 32),
    kernel_size: int = 3,
    activation: str = "relu",
) -> keras.Model:
    """A dense layer, then transposed convolutions that double height and width at each layer, cropped to the image.

    Args:
        latent_size: number of latent variables.
        output_shape: (height, width, channels) of the image; the features keep its height and width.
        filters: channels of each transposed convolution of stride 2.
        kernel_size: width of the square kernels.
        activation: a Keras activation.

    Returns:
        A Keras model from (batch, latent_size) to (batch, height, width, filters[-1]).
    """
    latent_shape = as_shape(latent_size, "convolutional_decoder")
    height, width, _ = image_shape(output_shape, "convolutional_decoder")
    stride = 2 ** len(filters)
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)  # the coarsest grid
    layers = [
        keras.Input(latent_shape),
        keras.layers.Dense(rows * columns * filters[0], activation=activation),
        keras.layers.Reshape((rows, columns, filters[0])),
        *[
            keras.layers.Conv2DTranspose(count, kernel_size, strides=2, padding="same", activation=activation)
            for count in filters
        ],
    ]
    beyond = rows * stride - height, columns * stride - width
    if any(beyond):  # a layer that crops nothing would copy all features, and their gradients
        layers.append(keras.layers.Cropping2D(((0, beyond[0]), (0, beyond[1]))))
    return keras.Sequential(layers, name="decoder")
