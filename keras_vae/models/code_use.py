"""How many of its codes a model uses."""

import keras
import tensorflow as tf


class CodeUse(keras.metrics.Metric):
    """Perplexity of the codes, exp of the entropy of their use, and the share of codes that are used at all.

    Both are of all codes since the last reset. With several codes for each place, the entropies and the shares of
    their codebooks are averaged.

    Args:
        shape: (codes of each place, levels).
        suffix: of the names of the figures: "perplexity" + suffix.
    """

    def __init__(self, shape: tuple[int, int], suffix: str = "", **kwargs):
        super().__init__(**kwargs)
        self.suffix = suffix
        self.counts = self.add_weight(shape=shape, initializer="zeros", name="counts")

    def update_state(self, uses, sample_weight=None):
        """Adds the uses of a batch, shape (batch, codes of each place, levels), by the weights of its examples."""
        if sample_weight is not None:
            uses *= tf.reshape(sample_weight, [-1, 1, 1])
        self.counts.assign_add(tf.reduce_sum(uses, axis=0))

    def result(self) -> dict[str, tf.Tensor]:
        counts = tf.convert_to_tensor(self.counts)
        shares = tf.math.divide_no_nan(counts, tf.reduce_sum(counts, axis=-1, keepdims=True))
        entropy = -tf.reduce_sum(tf.math.xlogy(shares, shares), axis=-1)
        used = tf.reduce_mean(tf.cast(counts > 0, tf.float32))
        return {f"perplexity{self.suffix}": tf.exp(tf.reduce_mean(entropy)), f"used_codes{self.suffix}": used}
