"""Distributions of grey levels and other quantities on a grid."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions.base import DistributionLayer, TensorDistribution
from keras_vae.distributions.special import in_support, log1mexp, reached
from keras_vae.distributions.supports import Grid, Support
from keras_vae.noise import categorical, fold, logistic


class DiscretizedLogistic(DistributionLayer):
    """Independent values on a grid of equal steps, each with the mass that a mixture of logistics has around it.

    p(value) = sum_k w[k] (F((value + h - loc[k]) / scale[k]) - F((value - h - loc[k]) / scale[k])), F the logistic
    function and h half a step; the lowest level has all that lies below it and the highest all above, so that the
    masses sum to one. Weights, locations and log scales are predicted from the context; beyond +-30 a log scale grows
    like the logarithm of what is predicted, so that scales are neither 0 nor infinite.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        components: logistics in the mixture of each value.
        levels: points of the grid, 2 or more.
        low, high: the lowest and the highest level; 0 and 1 for grey levels divided by 255.

    Reference: Salimans et al. 2017, arXiv:1701.05517; Kingma et al. 2016, arXiv:1606.04934. Here the channels of a
    colour image are independent.
    """

    discrete = True

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        components: int = 1,
        levels: int = 256,
        low: float = 0.0,
        high: float = 1.0,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        self.components = whole_number(self, "components", components)
        self.levels = whole_number(self, "levels", levels, least=2)
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(f"DiscretizedLogistic needs low < high. Received: low={low!r}, high={high!r}.")
        self.low, self.high = float(low), float(high)

    @property
    def support(self) -> Support:  # type: ignore[override]
        """The grid."""
        return Grid(self.levels, self.low, self.high)

    @property
    def params_per_value(self) -> int:  # type: ignore[override]
        """Location and log scale, and in a mixture a weight, of each component."""
        return 2 if self.components == 1 else 3 * self.components

    @property
    def params_initializer(self) -> str:  # type: ignore[override]
        """Equal components would stay equal."""
        return "zeros" if self.components == 1 else keras.initializers.RandomNormal(stddev=0.5)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        if self.components == 1:
            params = tf.concat([params, tf.zeros_like(params[..., :1])], axis=-1)
        loc, log_scale, logits = tf.split(params, 3, axis=-1)  # [..., *event, components] each
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        mixture = _DiscretizedLogistics(
            loc=middle + half * loc,
            log_scale=np.log(half / 4) + reached(log_scale),  # a wide start: most of the grid is within four scales
            logits=logits,
            levels=self.levels,
            low=self.low,
            high=self.high,
        )
        return tfd.Independent(mixture, len(self.event_shape))


class _DiscretizedLogistics(TensorDistribution):
    """The scalar distribution; its parameters have shape (..., components)."""

    def __init__(self, loc, log_scale, logits, levels, low, high):
        parameters = dict(loc=loc, log_scale=log_scale, logits=logits, levels=levels, low=low, high=high)
        super().__init__(loc[..., 0], reparameterized=False, **parameters)
        self.loc, self.log_scale, self.logits = loc, log_scale, logits
        self.levels, self.low, self.high = levels, low, high
        self.step = (high - low) / (levels - 1)

    def _log_prob(self, value):
        to_scales = tf.exp(-self.log_scale)
        above = (value[..., None] + self.step / 2 - self.loc) * to_scales
        below = (value[..., None] - self.step / 2 - self.loc) * to_scales
        # F(a) - F(b) = F(a) F(-b) (1 - e^(b - a)): a product, so that no digits are lost in the tails.
        up_to, beyond = tf.math.log_sigmoid(above), tf.math.log_sigmoid(-below)
        between = up_to + beyond + log1mexp(self.step * to_scales)
        lowest, highest = value < self.low + self.step / 2, value > self.high - self.step / 2  # [...]
        log_mass = tf.where(lowest[..., None], up_to, tf.where(highest[..., None], beyond, between))
        log_prob = tf.reduce_logsumexp(tf.nn.log_softmax(self.logits) + log_mass, axis=-1)
        return in_support(log_prob, value, (value > self.low - self.step / 2) & (value < self.high + self.step / 2))

    def _sample_n(self, n, seed=None):
        return self.tempered_sample([n], tfp.random.sanitize_seed(seed), 1.0)

    def tempered_sample(self, sample_shape, seed, temperature) -> tf.Tensor:
        """Draws whose noise is multiplied by `temperature`."""
        shape = tf.concat([sample_shape, self.batch_shape_tensor()], axis=0)
        component = tf.one_hot(categorical(self.logits, shape, fold(seed, 0), temperature), self.logits.shape[-1])
        loc = tf.reduce_sum(component * self.loc, axis=-1)
        scale = tf.exp(tf.reduce_sum(component * self.log_scale, axis=-1))
        real = loc + temperature * scale * logistic(shape, fold(seed, 1))
        place = tf.clip_by_value(tf.round((real - self.low) / self.step), 0, self.levels - 1)
        return self.low + self.step * place

    def _mean(self):
        return self._moments()[0]

    def _variance(self):
        mean, square = self._moments()
        return tf.nn.relu(square - mean**2)

    def unrounded_mean(self) -> tf.Tensor:
        """Mean of the logistics from the lowest level to the highest: at most half a step from the mean.

        E min(max(x, low), high) = low + the integral of P(x > t) from low to high. Unlike the mean it has gradients
        where all of a mass is at one level, and is not a sum over all levels.
        """
        weights, scale = tf.nn.softmax(self.logits), tf.exp(self.log_scale)
        beyond = [tf.math.softplus((self.loc - end) / scale) for end in (self.low, self.high)]
        return self.low + tf.reduce_sum(weights * scale * (beyond[0] - beyond[1]), axis=-1)

    def _moments(self):
        """E value and E value^2, from the survival function: E f = f(low) + sum_k (f(k) - f(k - 1)) P(value >= k)."""
        weights, scale = tf.nn.softmax(self.logits), tf.exp(self.log_scale)

        def add_level(level, mean, square):
            at = self.low + self.step * tf.cast(level, tf.float32)
            beyond = tf.reduce_sum(weights * tf.sigmoid((self.loc - at + self.step / 2) / scale), axis=-1)
            return level + 1, mean + self.step * beyond, square + self.step * (2 * at - self.step) * beyond

        start = tf.zeros_like(self.loc[..., 0])
        _, mean, square = tf.while_loop(
            lambda level, *_: level < self.levels, add_level, [1, start + self.low, start + self.low**2]
        )
        return mean, square
