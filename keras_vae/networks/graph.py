"""What objects are told by each other: a network on the graph in which each one has an edge to each other one."""

import keras
import tensorflow as tf

from keras_vae.arguments import whole_number
from keras_vae.serializable import Serializable


class GraphNetwork(Serializable, keras.layers.Layer):
    """Features of objects given all of them: (batch, objects, size) -> (batch, objects, units).

    out[i] = f(g(s[i]), sum over j != i of a(e[i, j]) e[i, j]), e[i, j] = h(s[i], s[j], (s[i] - s[j])^2), where f, g and
    h are dense networks of two layers, and a, between 0 and 1, says how much of a message is heard. Objects in another
    order have their features in that order.

    Args:
        units: width of all layers.
        activation: a Keras activation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer.

    Reference: Battaglia et al. 2016, "Interaction networks", arXiv:1612.00222, as in Kossen et al. 2020,
    arXiv:1910.02425.
    """

    def __init__(self, units: int = 64, activation: str = "relu", **kwargs):
        super().__init__(**kwargs)
        self.units = whole_number(self, "units", units)
        self.activation = keras.activations.get(activation)

    def build(self, input_shape):
        """Creates the weights for objects of shape (batch, objects, size)."""
        if len(input_shape) != 3 or None in input_shape[1:]:
            raise ValueError(
                f"{type(self).__name__} needs objects of shape (batch, objects, size). Received: {tuple(input_shape)}."
            )
        _, objects, size = input_shape
        self.own = self._dense((objects, size))
        self.pairs = self._dense((objects, objects, 3 * size))
        self.heard = keras.layers.Dense(1, activation="sigmoid", dtype=self.dtype_policy)
        self.heard.build((None, objects, objects, self.units))
        self.together = self._dense((objects, 2 * self.units))

    def _dense(self, shape: tuple[int, ...]) -> keras.Model:
        layers = [keras.layers.Dense(self.units, activation=self.activation, dtype=self.dtype_policy) for _ in range(2)]
        return keras.Sequential([keras.Input(shape, dtype=self.compute_dtype), *layers])

    def call(self, inputs):
        """Features, shape (batch, objects, units), of objects of shape (batch, objects, size)."""
        objects = inputs.shape[-2]
        ones = tf.ones([objects, objects, 1], inputs.dtype)  # a product, for in a loop XLA takes no `repeat`
        one, other = inputs[:, :, tf.newaxis] * ones, inputs[:, tf.newaxis] * ones
        messages = self.pairs(tf.concat([one, other, (one - other) ** 2], axis=-1))  # [batch, objects, objects, units]
        others = tf.cast(1 - tf.eye(objects), messages.dtype)[..., tf.newaxis]
        heard = tf.reduce_sum(others * self.heard(messages) * messages, axis=2)
        return self.together(tf.concat([self.own(inputs), heard], axis=-1))

    def compute_output_shape(self, input_shape):
        """(batch, objects, units)."""
        return (*input_shape[:-1], self.units)
