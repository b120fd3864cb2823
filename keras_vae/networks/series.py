"""Recurrent and convolutional networks for series of any number of steps and channels, with missing values.

Encoders begin with `ObservedSeries`: NaN is hidden from what follows, and steps after the last observed one count
nothing.
"""

import math
from collections.abc import Sequence

import keras

from keras_vae.networks.missing import ObservedSeries, steps_there
from keras_vae.networks.shapes import as_shape
from keras_vae.serializable import Serializable


def recurrent_encoder(
    input_shape: Sequence[int | None], units: int = 64, inputs: keras.layers.Layer | None = None
) -> keras.Model:
    """A GRU that reads a series; its features are the state after the last observed step.

    Args:
        input_shape: (steps, channels); None for the steps is any number.
        units: size of the state.
        inputs: the first layer, from series to numbers and a mask; None is `ObservedSeries()`. `TimeSeries.inputs`
            makes the one for columns of different kinds.

    Returns:
        A Keras model from (batch, steps, channels) to (batch, units).
    """
    series, observed = _observed(input_shape, inputs, "recurrent_encoder")
    return keras.Model(series, keras.layers.GRU(units)(observed), name="encoder")


def recurrent_filter(
    input_shape: Sequence[int | None], units: int = 64, inputs: keras.layers.Layer | None = None
) -> keras.Model:
    """A GRU that reads a series: features of each step, of what was observed until then, x[1..t].

    Args:
        input_shape, units, inputs: see `recurrent_encoder`.

    Returns:
        A Keras model from (batch, steps, channels) to (batch, steps, units).
    """
    series, observed = _observed(input_shape, inputs, "recurrent_filter")
    return keras.Model(series, keras.layers.GRU(units, return_sequences=True)(observed), name="filter")


def recurrent_smoother(
    input_shape: Sequence[int | None], units: int = 64, inputs: keras.layers.Layer | None = None
) -> keras.Model:
    """A GRU that reads a series from its end: features of each step, of what is observed from there on, x[t..T].

    Given the state before, z[t-1], this is all that the exact posterior of z[t] depends on.

    Args:
        input_shape, units, inputs: see `recurrent_encoder`.

    Returns:
        A Keras model from (batch, steps, channels) to (batch, steps, units).
    """
    series, observed = _observed(input_shape, inputs, "recurrent_smoother")
    backwards = keras.layers.GRU(units, return_sequences=True, go_backwards=True)(observed)
    return keras.Model(series, keras.ops.flip(backwards, axis=1), name="smoother")


def recurrent_decoder(latent_size: int, output_shape: Sequence[int], units: int = 64) -> keras.Model:
    """A GRU that is given z at each step, and begins at a state made of z.

    Args:
        latent_size: number of latent variables.
        output_shape: (steps, channels) of the series.
        units: size of the state.

    Returns:
        A Keras model from (batch, latent_size) to (batch, steps, units).
    """
    steps, _ = series_shape(output_shape, "recurrent_decoder")
    z = keras.Input(as_shape(latent_size, "recurrent_decoder"))
    start = keras.layers.Dense(units, activation="tanh")(z)
    states = keras.layers.GRU(units, return_sequences=True)(keras.layers.RepeatVector(steps)(z), initial_state=start)
    return keras.Model(z, states, name="decoder")


def temporal_convolutional_encoder(
    input_shape: Sequence[int | None],
    filters: Sequence[int] = (32, 32, 32, 32),
    kernel_size: int = 3,
    activation: str = "relu",
    inputs: keras.layers.Layer | None = None,
) -> keras.Model:
    """Causal convolutions, see `temporal_convolutional_filter`; the features are those of the last observed step.

    Args:
        input_shape, filters, kernel_size, activation, inputs: see there.

    Returns:
        A Keras model from (batch, steps, channels) to (batch, filters[-1]).
    """
    series, observed = _observed(input_shape, inputs, "temporal_convolutional_encoder")
    features = LastStep()(_causal(observed, filters, kernel_size, activation), steps_there(series))
    return keras.Model(series, features, name="encoder")


def temporal_convolutional_filter(
    input_shape: Sequence[int | None],
    filters: Sequence[int] = (32, 32, 32, 32),
    kernel_size: int = 3,
    activation: str = "relu",
    inputs: keras.layers.Layer | None = None,
) -> keras.Model:
    """Causal convolutions: features of each step, of what was observed until then.

    The places of a kernel are 1, 2, 4, ... steps apart in the layers, so that the last of n layers sees
    1 + (kernel_size - 1) (2^n - 1) steps; a layer that has as many channels as the one before is added to it.

    Args:
        input_shape: (steps, channels); None for the steps is any number.
        filters: channels after each convolution.
        kernel_size: places of a kernel.
        activation: a Keras activation.
        inputs: see `recurrent_encoder`.

    Returns:
        A Keras model from (batch, steps, channels) to (batch, steps, filters[-1]).

    Reference: Bai, Kolter & Koltun 2018, arXiv:1803.01271.
    """
    series, observed = _observed(input_shape, inputs, "temporal_convolutional_filter")
    return keras.Model(series, _causal(observed, filters, kernel_size, activation), name="filter")


def temporal_convolutional_decoder(
    latent_size: int,
    output_shape: Sequence[int],
    filters: Sequence[int] = (64, 32),
    kernel_size: int = 3,
    activation: str = "relu",
) -> keras.Model:
    """A dense layer, then transposed convolutions that double the steps at each layer, cropped to the series.

    Args:
        latent_size: number of latent variables.
        output_shape: (steps, channels) of the series.
        filters: channels of each transposed convolution of stride 2.
        kernel_size: width of the kernels.
        activation: a Keras activation.

    Returns:
        A Keras model from (batch, latent_size) to (batch, steps, filters[-1]).
    """
    latent_shape = as_shape(latent_size, "temporal_convolutional_decoder")
    steps, _ = series_shape(output_shape, "temporal_convolutional_decoder")
    coarse = math.ceil(steps / 2 ** len(filters))
    layers = [
        keras.Input(latent_shape),
        keras.layers.Dense(coarse * filters[0], activation=activation),
        keras.layers.Reshape((coarse, filters[0])),
        *[
            keras.layers.Conv1DTranspose(count, kernel_size, strides=2, padding="same", activation=activation)
            for count in filters
        ],
    ]
    beyond = coarse * 2 ** len(filters) - steps
    if beyond:
        layers.append(keras.layers.Cropping1D((0, beyond)))
    return keras.Sequential(layers, name="decoder")


class LastStep(Serializable, keras.layers.Layer):
    """The features of the last step that is there, shape (batch, features); zeros where none is.

    >>> LastStep()(np.array([[[1.0], [2.0], [3.0]]]), np.array([[True, True, False]])).numpy().tolist()
    [[2.0]]
    """

    def call(self, features, there):
        """Of features of shape (batch, steps, features), and which steps are there, bool of shape (batch, steps)."""
        there = keras.ops.cast(there, features.dtype)
        later = keras.ops.concatenate([there[:, 1:], keras.ops.zeros_like(there[:, :1])], axis=1)
        return keras.ops.sum(features * (there - later)[..., None], axis=1)

    def compute_output_shape(self, features_shape, there_shape=None):
        """(batch, features)."""
        return features_shape[0], features_shape[-1]


def series_shape(shape: Sequence[int], owner: str) -> tuple[int, int]:
    """`shape` as (steps, channels)."""
    sizes = as_shape(shape, owner)
    if len(sizes) != 2:
        raise ValueError(f"{owner} needs series of shape (steps, channels). Received: {sizes}.")
    return sizes[0], sizes[1]


def _observed(input_shape: Sequence[int | None], inputs: keras.layers.Layer | None, owner: str) -> tuple:
    """The input of a network, and what its first layer makes of it."""
    any_length = isinstance(input_shape, Sequence) and len(input_shape) == 2 and input_shape[0] is None
    steps, channels = series_shape((1, input_shape[1]) if any_length else input_shape, owner)  # type: ignore[arg-type]
    series = keras.Input((None if any_length else steps, channels))
    return series, (ObservedSeries() if inputs is None else inputs)(series)


def _causal(features, filters: Sequence[int], kernel_size: int, activation: str):
    features = keras.ops.multiply(features, 1)  # without the mask, which convolutions have no use for, and warn of
    for number, count in enumerate(filters):
        convolution = keras.layers.Conv1D(
            count, kernel_size, padding="causal", dilation_rate=2**number, activation=activation
        )
        found = convolution(features)
        features = keras.layers.add([features, found]) if number and features.shape[-1] == count else found
    return features
