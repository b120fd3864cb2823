"""Where one sequence looks at another."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_vae.arguments import whole_number
from keras_vae.serializable import Serializable


class MaskedAttention(Serializable, keras.layers.Layer):
    """Places of one sequence find features at the places of another, with several heads: softmax(q k) v.

    How far a place of the other sequence is there, from 0 to 1, is a factor of its weight: 0 leaves it out, and numbers
    between, as an end that is not certain has them, count in part.

    Args:
        units: of queries, keys, values and the result; `heads` divide them.
        heads: number of heads, 1 or more.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer.

    Raises:
        ValueError: for heads that the units can not be shared between.

    Reference: Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, units: int, heads: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.units = whole_number(self, "units", units)
        self.heads = whole_number(self, "heads", heads)
        if self.units % self.heads:
            raise ValueError(
                f"{type(self).__name__} needs units that heads divide. Received: units={units}, heads={heads}."
            )

    def build(self, inputs_shape, memory_shape):
        """Creates the weights for queries and for features to be found, of shapes (batch, places, features)."""
        self.query, self.key, self.value, self.out = (
            keras.layers.Dense(self.units, use_bias=biased, dtype=self.dtype_policy)
            for biased in (False, False, True, True)
        )
        self.query.build(tuple(inputs_shape))
        self.key.build(tuple(memory_shape))
        self.value.build(tuple(memory_shape))
        self.out.build((*inputs_shape[:-1], self.units))

    def call(self, inputs, memory, presence=None):
        """What the places of `inputs` find, shape (batch, places, units).

        Args:
            inputs: shape (batch, places, features).
            memory: shape (batch, others, features).
            presence: None, or how far each of the others is there for each place, from 0 to 1, of a shape that
                broadcasts to (batch, places, others).
        """
        return self.found(inputs, self.keys_and_values(memory), presence)

    def keys_and_values(self, memory) -> list[tf.Tensor]:
        """Of places, by head, each of shape (batch, heads, others, units of a head)."""
        return [self._by_head(part(memory)) for part in (self.key, self.value)]

    def found(self, inputs, memories: Sequence[tf.Tensor], presence=None) -> tf.Tensor:
        """As `call`, of keys and values that are known."""
        keys, values = memories
        query = self._by_head(self.query(inputs)) * (self.units // self.heads) ** -0.5
        scores = tf.cast(tf.matmul(query, keys, transpose_b=True), tf.float32)  # [batch, heads, places, others]
        if presence is not None:
            there = tf.cast(presence, tf.float32)[:, tf.newaxis]
            scores = tf.where(there > 0, scores + tf.math.log(tf.maximum(there, TINY)), LEAST)
        weights = tf.cast(tf.nn.softmax(scores), values.dtype)
        found = tf.transpose(tf.matmul(weights, values), [0, 2, 1, 3])
        return self.out(tf.reshape(found, [-1, found.shape[1], self.units]))

    def _by_head(self, features: tf.Tensor) -> tf.Tensor:
        split = tf.reshape(features, [-1, features.shape[1], self.heads, self.units // self.heads])
        return tf.transpose(split, [0, 2, 1, 3])

    def compute_output_shape(self, inputs_shape, memory_shape=None, presence_shape=None) -> tuple:
        """(batch, places, units)."""
        return (*inputs_shape[:-1], self.units)


TINY = 1e-30  # whose logarithm float32 holds
LEAST = -1e9  # of a place that is not there; a sequence of none has finite weights all the same
