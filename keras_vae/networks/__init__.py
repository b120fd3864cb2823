"""Tensor -> tensor: encoders and decoders as plain Keras models, each of them replaceable by your own."""

from keras_vae.networks.attention import MaskedAttention
from keras_vae.networks.bottom_up import Bottleneck, bottom_up_encoder
from keras_vae.networks.convolutional import convolutional_decoder, convolutional_encoder
from keras_vae.networks.corruption import GaussianNoise, MaskingNoise
from keras_vae.networks.dense import Concatenated, dense_decoder, dense_encoder
from keras_vae.networks.dropout import Dropout
from keras_vae.networks.graph import GraphNetwork
from keras_vae.networks.masked import MADE
from keras_vae.networks.matching import best_assignment, match_over_time
from keras_vae.networks.missing import ObservedSeries, ObservedValues
from keras_vae.networks.objects import ObjectEncoder
from keras_vae.networks.residual import merged_grids, residual_decoder, residual_encoder
from keras_vae.networks.rows import by_rows
from keras_vae.networks.sequences import (
    CausalLSTM,
    CausalSequence,
    CausalTransformer,
    MaskedLSTM,
    TokenEmbedding,
    TokenEncoder,
    TokenMemory,
)
from keras_vae.networks.series import (
    LastStep,
    recurrent_decoder,
    recurrent_encoder,
    recurrent_filter,
    recurrent_smoother,
    temporal_convolutional_decoder,
    temporal_convolutional_encoder,
    temporal_convolutional_filter,
)
from keras_vae.networks.spatial_broadcast import SpatialBroadcast, spatial_broadcast_decoder
from keras_vae.networks.spatial_transformer import SpatialTransformer, inverse_box
from keras_vae.networks.unet import unet

__all__ = [
    "MADE",
    "Bottleneck",
    "CausalLSTM",
    "CausalSequence",
    "CausalTransformer",
    "Concatenated",
    "Dropout",
    "GaussianNoise",
    "GraphNetwork",
    "LastStep",
    "MaskedAttention",
    "MaskedLSTM",
    "MaskingNoise",
    "ObjectEncoder",
    "ObservedSeries",
    "ObservedValues",
    "SpatialBroadcast",
    "SpatialTransformer",
    "TokenEmbedding",
    "TokenEncoder",
    "TokenMemory",
    "best_assignment",
    "bottom_up_encoder",
    "by_rows",
    "convolutional_decoder",
    "convolutional_encoder",
    "dense_decoder",
    "dense_encoder",
    "inverse_box",
    "match_over_time",
    "merged_grids",
    "recurrent_decoder",
    "recurrent_encoder",
    "recurrent_filter",
    "recurrent_smoother",
    "residual_decoder",
    "residual_encoder",
    "spatial_broadcast_decoder",
    "temporal_convolutional_decoder",
    "temporal_convolutional_encoder",
    "temporal_convolutional_filter",
    "unet",
]
