"""An encoder that looks at an image once for each object."""

import math

import keras
import tensorflow as tf

from keras_vae.arguments import whole_number
from keras_vae.serializable import Serializable


class ObjectEncoder(Serializable, keras.layers.Layer):
    """An LSTM that is shown the same image once for each object: (batch, ...) -> (batch, objects, features).

    What the image says to the gates is computed once for all objects. A dense layer follows each step.

    Args:
        objects: number of steps.
        units: of the LSTM.
        features: of the dense layer.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer.

    Reference: the encoder of Kossen et al. 2020, arXiv:1910.02425, after Eslami et al. 2016, arXiv:1603.08575.
    """

    def __init__(self, objects: int, units: int = 256, features: int = 50, **kwargs):
        super().__init__(**kwargs)
        self.objects = whole_number(self, "objects", objects)
        self.units = whole_number(self, "units", units)
        self.features = whole_number(self, "features", features)

    def build(self, input_shape):
        """Creates the weights for images of shape (batch, ...)."""
        size = math.prod(input_shape[1:])
        self.image = keras.layers.Dense(4 * self.units, dtype=self.dtype_policy)
        self.image.build((None, size))
        self.state = keras.layers.Dense(
            4 * self.units, use_bias=False, kernel_initializer="orthogonal", dtype=self.dtype_policy
        )
        self.state.build((None, self.units))
        self.head = keras.Sequential(
            [
                keras.Input((self.objects, self.units), dtype=self.compute_dtype),
                keras.layers.Dense(self.features, activation="relu", dtype=self.dtype_policy),
            ]
        )

    def call(self, images):
        """Features of each object, shape (batch, objects, features), of images of shape (batch, ...)."""
        flat = tf.reshape(images, [-1, math.prod(images.shape[1:])])
        said = self.image(flat)  # [batch, 4 units]
        gates, memory, states = said, 0.0, []
        for number in range(self.objects):
            if number:
                gates = said + self.state(states[-1])
            let_in, keep, new, let_out = tf.split(gates, 4, axis=-1)
            memory = tf.sigmoid(keep + 1) * memory + tf.sigmoid(let_in) * tf.tanh(new)
            states.append(tf.sigmoid(let_out) * tf.tanh(memory))
        return self.head(tf.stack(states, axis=1))

    def compute_output_shape(self, input_shape):
        """(batch, objects, features)."""
        return (input_shape[0], self.objects, self.features)
