"""Tensor -> tensor: encoders and decoders as plain Keras models, each of them replaceable by your own."""

from keras_vae.networks.convolutional import convolutional_decoder, convolutional_encoder
from keras_vae.networks.corruption import GaussianNoise, MaskingNoise
from keras_vae.networks.dense import dense_decoder, dense_encoder

__all__ = [
    "GaussianNoise",
    "MaskingNoise",
    "convolutional_decoder",
    "convolutional_encoder",
    "dense_decoder",
    "dense_encoder",
]
