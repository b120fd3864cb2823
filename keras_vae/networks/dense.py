"""Multilayer perceptrons: any shape -> features -> any distribution layer."""

from collections.abc import Sequence

import keras

from keras_vae.networks.shapes import as_shape


def dense_encoder(
    input_shape: int | Sequence[int], units: Sequence[int] = (200, 200), activation: str = "relu"
) -> keras.Model:
    """A multilayer perceptron from flattened observations to features.

    Args:
        input_shape: shape of one observation, without the batch axis: 13 or (28, 28, 1).
        units: width of each hidden layer.
        activation: a Keras activation.

    Returns:
        A Keras model from (batch, *input_shape) to (batch, units[-1]).
    """
    shape = as_shape(input_shape, "dense_encoder")
    layers = [keras.layers.Dense(width, activation=activation) for width in units]
    return keras.Sequential([keras.Input(shape), keras.layers.Flatten(), *layers], name="encoder")


def dense_decoder(latent_size: int, units: Sequence[int] = (200, 200), activation: str = "relu") -> keras.Model:
    """A multilayer perceptron from latent vectors to features.

    Args:
        latent_size: number of latent variables.
        units: width of each hidden layer.
        activation: a Keras activation.

    Returns:
        A Keras model from (batch, latent_size) to (batch, units[-1]).
    """
    shape = as_shape(latent_size, "dense_decoder")
    layers = [keras.layers.Dense(width, activation=activation) for width in units]
    return keras.Sequential([keras.Input(shape), *layers], name="decoder")
