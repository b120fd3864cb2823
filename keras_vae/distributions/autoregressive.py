"""Distributions of grids, each place given the places before it."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions.base import DistributionLayer, TensorDistribution
from keras_vae.distributions.special import in_support
from keras_vae.distributions.supports import Levels, Support
from keras_vae.networks.causal import CausalGrid
from keras_vae.noise import categorical, fold

DRAWS = 16  # that estimate a mean


class PixelCNN(DistributionLayer):
    """p(value) = product over the places of p(value[i] | values before i), in the order in which one reads.

    Values are levels 0, 1, ..., levels - 1: codes of a `VQVAE`, or pixels. The channels of a place are given one
    another, in their order. The density takes one pass. A draw takes a step for each place, in which what convolutions
    have computed for the places before is used again. `mean` is that of 16 draws.

    Args:
        event_shape: (rows, columns, channels).
        network: from the context to features, (batch, rows, columns, channels) or (batch, features); None uses the
            context itself.
        levels: number of levels, 2 or more.
        filters: channels of all layers.
        blocks: number of gated blocks; each sees (kernel_size - 1) / 2 places farther.
        kernel_size: odd.
        attention_heads: 0 or more, see `CausalGrid`: with them each place sees all places before it, however far.

    Raises:
        ValueError: for an event shape without three axes, for an even kernel size, and for heads that filters can not
            be shared between.

    Reference: van den Oord et al. 2016, arXiv:1606.05328; attention: Chen et al. 2018, arXiv:1712.09763 (PixelSNAIL).
    """

    discrete = True

    def __init__(
        self,
        event_shape: Sequence[int],
        network: keras.layers.Layer | None = None,
        levels: int = 256,
        filters: int = 64,
        blocks: int = 5,
        kernel_size: int = 5,
        attention_heads: int = 0,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        if len(self.event_shape) != 3:
            raise ValueError(
                f"{self._title} needs an event shape of three axes, (rows, columns, channels). "
                f"Received: {self.event_shape}."
            )
        self.levels = whole_number(self, "levels", levels, least=2)
        self.stacks = CausalGrid(filters, blocks, kernel_size, attention_heads, dtype=self.dtype_policy)
        self.filters, self.blocks, self.kernel_size = self.stacks.filters, self.stacks.blocks, self.stacks.kernel_size
        self.attention_heads = self.stacks.attention_heads

    @property
    def support(self) -> Support:  # type: ignore[override]
        """0, 1, ..., levels - 1."""
        return Levels(self.levels)

    def build(self, context_shape=None):
        features = None
        if context_shape is None:
            self.check_no_network()
        else:
            features = self.build_network(context_shape)
            if len(features) != 2 and tuple(features[1:-1]) != self.event_shape[:2]:
                wanted = ", ".join(["batch", *map(str, self.event_shape[:2]), "channels"])
                raise ValueError(
                    f"{self._title} needs features of shape ({wanted}) or (batch, features). Received: {features}."
                )
        grid, channels = self.event_shape[:2], self.event_shape[-1]
        self.stacks.build((None, *grid, self.filters), features)
        normal = keras.initializers.RandomNormal(stddev=1 / math.sqrt(channels))
        # What a level is to the places after it, and to the channels after it in its own place.
        self.tables, self.within = (
            [
                self.add_weight(shape=(self.levels, self.filters), initializer=normal, name=f"{name}_{channel}")
                for channel in range(count)
            ]
            for name, count in (("level", channels), ("within", channels - 1))
        )
        self.last = keras.layers.Dense(self.filters, dtype=self.dtype_policy, name="last")
        self.last.build((None, self.filters))
        self.heads = [keras.layers.Dense(self.levels, dtype="float32", name=f"logits_{c}") for c in range(channels)]
        for head in self.heads:
            head.build((None, self.filters))

    def call(self, context=None) -> tfd.Distribution:
        if context is None:
            return self._checked(Autoregressive(self, None, []))
        features, leading = self.features_of(context)
        return self._checked(Autoregressive(self, tf.reshape(features, [*leading, *features.shape[1:]]), leading))

    def logits(self, values: tf.Tensor, features) -> list[tf.Tensor]:
        """Those of each channel, float32, shape (batch, rows, columns, levels), of values of shape (batch, *event)."""
        levels = self._levels(values)
        embedded = self._embedded(levels)
        place = self.stacks(embedded, features) if features is not None else self.stacks(embedded)
        return [self._logits(place, levels, channel) for channel in range(self.event_shape[-1])]

    def drawn(self, number, seed, temperature, features) -> tf.Tensor:
        """Draws, shape (number, *event)."""

        def choose(place, step):
            levels: list[tf.Tensor] = []
            for channel in range(self.event_shape[-1]):
                logits = self._logits(place, levels, channel)
                levels.append(categorical(logits, tf.shape(logits)[:-1], fold(seed, step, channel), temperature))
            return tf.cast(tf.stack(levels, axis=-1), tf.float32), self._embedded(levels)

        rows, columns, _ = self.event_shape
        return self.stacks.walk((rows, columns), choose, number, features)

    def _levels(self, values: tf.Tensor) -> list[tf.Tensor]:
        """Whole numbers of each channel, those next to the values that are levels."""
        numbers = tf.where(tf.math.is_nan(values), 0.0, tf.clip_by_value(values, 0.0, self.levels - 1.0))
        return tf.unstack(tf.cast(numbers, tf.int32), axis=-1)

    def _embedded(self, levels: Sequence[tf.Tensor]) -> tf.Tensor:
        parts = [tf.gather(tf.convert_to_tensor(table), each) for table, each in zip(self.tables, levels, strict=True)]
        return tf.cast(tf.add_n(parts), self.stacks.compute_dtype)

    def _logits(self, place: tf.Tensor, levels: Sequence[tf.Tensor], channel: int) -> tf.Tensor:
        """Of a channel, given the features of its place and the levels of the channels before it."""
        place = tf.cast(self.last(tf.nn.relu(place)), tf.float32)
        for table, each in zip(self.within[:channel], levels, strict=False):
            place += tf.gather(tf.convert_to_tensor(table), each)
        return self.heads[channel](tf.nn.relu(place))


class Autoregressive(TensorDistribution):
    """The distribution of a `PixelCNN` layer given features.

    Args:
        layer: it.
        features: None, or those of the context, shape (*batch, ...).
        leading: the sizes of the batch axes.
    """

    def __init__(self, layer: PixelCNN, features, leading: Sequence):
        like = tf.zeros([*leading, *layer.event_shape])
        super().__init__(like, 3, reparameterized=False, layer=layer, features=features, leading=leading)
        self.layer, self.features = layer, features

    def _log_prob(self, value):
        leading = tf.broadcast_dynamic_shape(tf.shape(value)[:-3], self.batch_shape_tensor())
        whole = tf.broadcast_to(value, tf.concat([leading, self.layer.event_shape], axis=0))
        flat = tf.reshape(whole, [-1, *self.layer.event_shape])
        total = tf.zeros(tf.shape(flat)[:1])
        logits = self.layer.logits(flat, features_for(self, leading))
        for channel, (each, levels) in enumerate(zip(logits, self.layer._levels(flat), strict=True)):
            log_prob = tf.gather(tf.nn.log_softmax(each), levels, batch_dims=3)
            given = flat[..., channel]
            log_prob = in_support(log_prob, given, given == tf.cast(levels, tf.float32))
            total += tf.reduce_sum(log_prob, axis=[-2, -1])
        return tf.ensure_shape(
            tf.reshape(total, leading), tf.broadcast_static_shape(value.shape[:-3], self.batch_shape)
        )

    def tempered_sample(self, sample_shape, seed, temperature) -> tf.Tensor:
        """Draws whose noise is multiplied by `temperature`: at 0 each is the most probable one, given those before."""
        leading = tf.concat([tf.cast(sample_shape, tf.int32), self.batch_shape_tensor()], axis=0)
        drawn = self.layer.drawn(tf.reduce_prod(leading), seed, temperature, features_for(self, leading))
        return tf.reshape(drawn, tf.concat([leading, self.layer.event_shape], axis=0))

    def _sample_n(self, n, seed=None):
        return self.tempered_sample([n], tfp.random.sanitize_seed(seed), 1.0)

    def _mean(self):
        return tf.reduce_mean(self.tempered_sample([DRAWS], fold(0), 1.0), axis=0)

    def _mode(self):
        return self.tempered_sample([], fold(0), 0.0)


def features_for(distribution: tfd.Distribution, leading: tf.Tensor) -> tf.Tensor | None:
    """The attribute `features` of a distribution for values of these leading axes, which are folded into one; or None.

    Args:
        distribution: whose features are of shape (*batch, ...), or None.
        leading: int32 vector that the batch shape broadcasts to.
    """
    if distribution.features is None:
        return None
    shape = distribution.features.shape[distribution.batch_shape.rank :]
    return tf.reshape(tf.broadcast_to(distribution.features, tf.concat([leading, shape], axis=0)), [-1, *shape])
