"""Layers of a model whose weights are quantized: what its file says of them."""

import keras

from keras_vae import keras_names


def modes(model: keras.Model) -> dict[str, str]:
    """How layers are quantized, "int8" for instance, by their number among all layers of the model."""
    layers = enumerate(keras_names.layers_of(model))
    found = {str(number): getattr(layer, "quantization_mode", None) for number, layer in layers}
    return {number: mode for number, mode in found.items() if mode is not None}


def restore(model: keras.Model, saved: dict[str, str]) -> None:
    """Quantizes the layers of a model that was just built, as `modes` said of the saved one.

    Layers that are written in the model's config are quantized already; those that a layer makes when it is built, such
    as the last dense layer of a distribution, are not.
    """
    layers = keras_names.layers_of(model)
    for number, mode in saved.items():
        layer = layers[int(number)]
        if layer.quantization_mode is None:
            layer.quantize(mode)
