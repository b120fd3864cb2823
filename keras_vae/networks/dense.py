"""Multilayer perceptrons: any shape -> features -> any distribution layer."""

import math
from collections.abc import Sequence

import keras

from keras_vae.networks.shapes import as_shape
from keras_vae.serializable import Serializable


class Concatenated(Serializable, keras.layers.Layer):
    """A network of several inputs: each is flattened, and all are given to `network` as one vector.

    Args:
        network: from (batch, sum of the sizes) to features.

    Example:

    >>> Concatenated(dense_encoder(784 + 10))([tf.zeros([5, 28, 28, 1]), tf.zeros([5, 10])]).shape
    TensorShape([5, 200])
    """

    def __init__(self, network: keras.layers.Layer, **kwargs):
        super().__init__(**kwargs)
        self.network = network

    def build(self, input_shape):
        """Builds the network."""
        if not self.network.built:
            self.network.build((None, sum(math.prod(shape[1:]) for shape in input_shape)))

    def call(self, inputs):
        """Features of inputs of shape (batch, ...)."""
        flat = [keras.ops.reshape(part, (-1, math.prod(part.shape[1:]))) for part in inputs]
        return self.network(keras.ops.concatenate([keras.ops.cast(part, self.compute_dtype) for part in flat], axis=-1))

    def compute_output_shape(self, input_shape):
        return self.network.compute_output_shape((None, sum(math.prod(shape[1:]) for shape in input_shape)))


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


def dense_decoder(
    latent_size: int | Sequence[int], units: Sequence[int] = (200, 200), activation: str = "relu"
) -> keras.Model:
    """A multilayer perceptron from latent vectors to features.

    Args:
        latent_size: number of latent variables; a shape with several axes is flattened.
        units: width of each hidden layer.
        activation: a Keras activation.

    Returns:
        A Keras model from (batch, latent_size) to (batch, units[-1]).
    """
    shape = as_shape(latent_size, "dense_decoder")
    layers = [keras.layers.Dense(width, activation=activation) for width in units]
    flatten = [keras.layers.Flatten()] if len(shape) > 1 else []
    return keras.Sequential([keras.Input(shape), *flatten, *layers], name="decoder")
