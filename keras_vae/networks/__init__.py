"""Tensor -> tensor: encoders and decoders as plain Keras models, each of them replaceable by your own."""

from keras_vae.networks.convolutional import convolutional_decoder, convolutional_encoder
from keras_vae.networks.dense import dense_decoder, dense_encoder
from keras_vae.networks.masked import MADE

__all__ = ["MADE", "convolutional_decoder", "convolutional_encoder", "dense_decoder", "dense_encoder"]
