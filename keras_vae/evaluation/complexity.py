"""How long the lossless code of an image is: what a density of images is compared with."""

import numpy as np
import tensorflow as tf

from keras_vae.distributions import GreyLevels
from keras_vae.distributions.supports import Grid, ZerosAndOnes
from keras_vae.models import LatentVariableModel

NATS_PER_BYTE = 8 * np.log(2)


def has_levels(model: LatentVariableModel) -> bool:
    """Whether the observations of a built model are images of one or three channels whose values are levels."""
    layer = getattr(model, "likelihood", None)
    levels = isinstance(layer, GreyLevels) or isinstance(getattr(layer, "support", None), Grid | ZerosAndOnes)
    shape = tuple(model.event_shape)
    return levels and len(shape) == 3 and shape[-1] in (1, 3)


def check_images(owner: str, model: LatentVariableModel) -> None:
    """Raises `TypeError` for a model whose observations are no images of levels.

    Args:
        owner: for the message.
        model: a built model.
    """
    if not has_levels(model):
        kind = type(getattr(model, "likelihood", None)).__name__
        raise TypeError(
            f"{owner} needs images of one or three channels whose values are levels: under GreyLevels, Bernoulli or "
            f"DiscretizedLogistic. Received: a {type(model).__name__} of values of shape {tuple(model.event_shape)} "
            f"under {kind}."
        )


def code_length(model: LatentVariableModel, images: tf.Tensor) -> tf.Tensor:
    """Length of each image as a PNG file, nats, shape (batch,): the same in Python and in a served graph.

    Args:
        model: whose likelihood says what the levels are; see `check_images`.
        images: shape (batch, height, width, channels).
    """
    pixels = _levels(model.likelihood, images)
    sizes = tf.map_fn(
        lambda image: tf.strings.length(tf.io.encode_png(image, compression=9)),
        pixels,
        fn_output_signature=tf.TensorSpec([], tf.int32),
    )
    return NATS_PER_BYTE * tf.cast(sizes, tf.float32)


def _levels(layer, images: tf.Tensor) -> tf.Tensor:
    """Whole numbers from 0, of 8 bits where they fit."""
    support = layer.support
    if isinstance(support, Grid):
        step = (support.high - support.low) / (support.levels - 1)
        values, most = (images - support.low) / step, support.levels - 1
    elif layer.discrete:  # binary, whatever its units
        values, most = layer.standardized(images), 1
    else:
        values, most = images, layer.white
    return tf.cast(tf.round(values), tf.uint8 if most <= 255 else tf.uint16)
