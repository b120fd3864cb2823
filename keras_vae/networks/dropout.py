"""Dropout whose noise is a function of the model's seed and the step."""

import keras
import tensorflow as tf

from keras_vae.arguments import fraction
from keras_vae.noise import uniform
from keras_vae.sampling import current_sampler
from keras_vae.serializable import Serializable


class Dropout(Serializable, keras.layers.Layer):
    """Sets features to 0 in training, each with probability `rate`, and divides the others by 1 - rate.

    As `keras.layers.Dropout`, with noise that is a function of the model's seed and the step: a resumed run equals an
    uninterrupted one, replicas draw noise of their own, and XLA on a CPU makes it in a third of the time.

    Args:
        rate: expected fraction of the features that are lost, 0 or more and less than 1.
        **kwargs: `name` and `dtype` of a Keras layer.

    Example:

    >>> network = keras.Sequential([keras.layers.Dense(64, "relu"), Dropout(0.2)])

    Reference: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting" (JMLR 15).
    """

    def __init__(self, rate: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        self.rate = fraction(self, "rate", rate)

    def call(self, inputs, training=False):
        """The features, shape (batch, ...), with some of them 0; without training, the features."""
        if not training or self.rate == 0:
            return inputs
        stays = uniform(tf.shape(inputs), current_sampler().next_seed()) >= self.rate
        return tf.where(stays, inputs / (1 - self.rate), tf.zeros_like(inputs))

    def compute_output_shape(self, input_shape):
        """That of the input."""
        return input_shape
