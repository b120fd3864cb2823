"""What a denoising autoencoder has to undo: noise on its input, in training only.

The noise is a function of the model's seed and the step, as all noise of the package: a resumed run equals an
uninterrupted one. Any other Keras layer can corrupt as well, without that promise if its noise is its own.
"""

import keras
import tensorflow as tf

from keras_vae.noise import standard_normal, uniform
from keras_vae.sampling import current_sampler
from keras_vae.serializable import Serializable


class MaskingNoise(Serializable, keras.layers.Layer):
    """Sets values to zero, each with probability `rate`; those that stay are not rescaled.

    Args:
        rate: expected fraction of the values that are lost, in (0, 1).
        **kwargs: `name` of a Keras layer.

    Reference: Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders".
    """

    def __init__(self, rate: float = 0.3, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1:
            raise ValueError(f"MaskingNoise needs rate to be a number between 0 and 1. Received: rate={rate!r}.")
        self.rate = float(rate)

    def call(self, inputs, training=False):
        """The values, shape (batch, ...), with some of them 0; without training, the values."""
        if not training:
            return inputs
        stays = uniform(tf.shape(inputs), current_sampler().next_seed()) > self.rate
        return inputs * tf.cast(stays, inputs.dtype)


class GaussianNoise(Serializable, keras.layers.Layer):
    """Adds independent noise from N(0, stddev^2) to each value.

    Args:
        stddev: standard deviation, in units of the data, more than 0.
        **kwargs: `name` of a Keras layer.

    Reference: Vincent et al. 2010, "Stacked denoising autoencoders".
    """

    def __init__(self, stddev: float = 0.3, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if isinstance(stddev, bool) or not isinstance(stddev, int | float) or not 0 < stddev < float("inf"):
            raise ValueError(f"GaussianNoise needs stddev to be a positive number. Received: stddev={stddev!r}.")
        self.stddev = float(stddev)

    def call(self, inputs, training=False):
        """The values, shape (batch, ...), with noise; without training, the values."""
        if not training:
            return inputs
        noise = standard_normal(tf.shape(inputs), current_sampler().next_seed())
        return inputs + tf.cast(self.stddev * noise, inputs.dtype)
