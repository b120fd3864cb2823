"""Distributions of grey levels, colours and other quantities on a grid."""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions.base import DistributionLayer, TensorDistribution, dimensions
from keras_vae.distributions.special import in_support, log1mexp, reached
from keras_vae.distributions.supports import Grid, Support
from keras_vae.noise import categorical, fold, logistic

POINTS = 256  # that a mean of colours is taken over


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

    The channels of a colour image are independent; `DiscretizedLogisticMixture` gives them one another.

    Reference: Salimans et al. 2017, arXiv:1701.05517; Kingma et al. 2016, arXiv:1606.04934.
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
            raise ValueError(f"{type(self).__name__} needs low < high. Received: low={low!r}, high={high!r}.")
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
        mixture = _DiscretizedLogistics(logits=logits, **self._on_the_grid(loc, log_scale))
        return tfd.Independent(mixture, len(self.event_shape))

    def _on_the_grid(self, loc: tf.Tensor, log_scale: tf.Tensor) -> dict:
        """Arguments of the distribution; a location of 0 is the middle of the grid, 1 the highest level."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        log_scale = np.log(half / 4) + reached(log_scale)  # a wide start: most of the grid is within four scales
        grid = dict(levels=self.levels, low=self.low, high=self.high)
        return dict(loc=middle + half * loc, log_scale=log_scale, **grid)


class DiscretizedLogisticMixture(DiscretizedLogistic):
    """A mixture of logistics over whole pixels on a grid of equal steps, whose channels are given one another.

    p(pixel) = sum_k w[k] product_c p(value[c] | values of the channels before it, k), each factor the mass of one
    logistic around a level, as in `DiscretizedLogistic`. All channels have the component in common, and its location
    for channel c is moved by sum_j a[c, j] (value[j] - middle of the grid), with j over the channels before c: that of
    green by red, that of blue by red and green. The coefficients a are tanh of what is predicted, from -1 to 1. Of one
    channel it is a `DiscretizedLogistic`.

    Mean and variance are exact for the first channel. For the others, whose locations depend on values that are held
    within the grid, there is no closed form: they are averages over 256 evenly spread points of each component's noise,
    of values held within the grid but not rounded to its levels. That is off by about a fiftieth of the standard
    deviation, and where a scale is far below a step by half a step at most.

    Args:
        event_shape: (height, width, channels), or any other shape whose last axis holds the channels of a pixel.
        network: from the context to features; None uses the context itself.
        components: logistics in the mixture of a pixel.
        levels: points of the grid, 2 or more.
        low, high: the lowest and the highest level; 0 and 1 for colours divided by 255.

    Reference: Salimans et al. 2017, arXiv:1701.05517.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        components: int = 10,
        levels: int = 256,
        low: float = 0.0,
        high: float = 1.0,
        **kwargs,
    ):
        super().__init__(event_shape, network, components, levels, low, high, **kwargs)

    @property
    def params_shape(self) -> tuple[int, ...]:
        """Of each pixel the parameters of all components."""
        return (*self.event_shape[:-1], sum(self._sizes))

    @property
    def _sizes(self) -> list[int]:
        """Of a pixel: locations, log scales, weights of a mixture, and coefficients of pairs of channels."""
        channels, logits = self.event_shape[-1], 1 if self.components > 1 else 0
        return [self.components * count for count in (channels, channels, logits, math.comb(channels, 2))]

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, log_scale, logits, coefficients = (
            tf.reshape(part, [*dimensions(part)[:-1], part.shape[-1] // self.components, self.components])
            for part in tf.split(params, self._sizes, axis=-1)
        )  # [..., *grid, number, components] each
        logits = logits[..., 0, :] if self.components > 1 else tf.zeros_like(loc[..., 0, :])
        arguments = self._on_the_grid(loc, log_scale)
        pixels = _DiscretizedPixels(logits=logits, coefficients=tf.tanh(coefficients), **arguments)
        return tfd.Independent(pixels, len(self.event_shape) - 1)


class _DiscretizedLogistics(TensorDistribution):
    """The scalar distribution; its parameters have shape (..., components)."""

    def __init__(self, loc, log_scale, logits, levels, low, high):
        parameters = dict(loc=loc, log_scale=log_scale, logits=logits, levels=levels, low=low, high=high)
        super().__init__(loc[..., 0], reparameterized=False, **parameters)
        self.loc, self.log_scale, self.logits = loc, log_scale, logits
        self.levels, self.low, self.high = levels, low, high
        self.step = (high - low) / (levels - 1)

    def _log_prob(self, value):
        log_prob = tf.reduce_logsumexp(tf.nn.log_softmax(self.logits) + self.log_masses(value), axis=-1)
        return in_support(log_prob, value, self.reaches(value))

    def log_masses(self, value: tf.Tensor) -> tf.Tensor:
        """Of the level next to each value, shape (...), under each component, shape (..., components)."""
        to_scales = tf.exp(-self.log_scale)
        above = (value[..., None] + self.step / 2 - self.loc) * to_scales
        below = (value[..., None] - self.step / 2 - self.loc) * to_scales
        # F(a) - F(b) = F(a) F(-b) (1 - e^(b - a)): a product, so that no digits are lost in the tails.
        up_to, beyond = tf.math.log_sigmoid(above), tf.math.log_sigmoid(-below)
        between = up_to + beyond + log1mexp(self.step * to_scales)
        lowest, highest = value < self.low + self.step / 2, value > self.high - self.step / 2  # [...]
        return tf.where(lowest[..., None], up_to, tf.where(highest[..., None], beyond, between))

    def reaches(self, value: tf.Tensor) -> tf.Tensor:
        """Whether each value is on the grid, or less than half a step beyond its ends."""
        return (value > self.low - self.step / 2) & (value < self.high + self.step / 2)

    def held(self, noise) -> tf.Tensor:
        """Of each component loc + scale noise, held within the grid, shape (..., components)."""
        return tf.clip_by_value(self.loc + tf.exp(self.log_scale) * noise, self.low, self.high)

    def level_of(self, noise: tf.Tensor, component: tf.Tensor) -> tf.Tensor:
        """The level next to loc + scale noise of a component.

        Args:
            noise: draws of the standard logistic, shape (*sample, ...).
            component: one-hot vectors, shape (*sample, ..., components).
        """
        real = tf.reduce_sum(component * self.held(noise[..., None]), axis=-1)
        return self.low + self.step * tf.round((real - self.low) / self.step)

    def _sample_n(self, n, seed=None):
        return self.tempered_sample([n], tfp.random.sanitize_seed(seed), 1.0)

    def tempered_sample(self, sample_shape, seed, temperature) -> tf.Tensor:
        """Draws whose noise is multiplied by `temperature`."""
        shape = tf.concat([sample_shape, self.batch_shape_tensor()], axis=0)
        component = tf.one_hot(categorical(self.logits, shape, fold(seed, 0), temperature), self.logits.shape[-1])
        return self.level_of(temperature * logistic(shape, fold(seed, 1)), component)

    def _mean(self):
        return self.moments()[0]

    def _variance(self):
        mean, square = self.moments()
        return tf.nn.relu(square - mean**2)

    def unrounded_mean(self) -> tf.Tensor:
        """Mean of the logistics from the lowest level to the highest: at most half a step from the mean.

        E min(max(x, low), high) = low + the integral of P(x > t) from low to high. Unlike the mean it has gradients
        where all of a mass is at one level, and is not a sum over all levels.
        """
        weights, scale = tf.nn.softmax(self.logits), tf.exp(self.log_scale)
        beyond = [tf.math.softplus((self.loc - end) / scale) for end in (self.low, self.high)]
        return self.low + tf.reduce_sum(weights * scale * (beyond[0] - beyond[1]), axis=-1)

    def moments(self) -> tuple[tf.Tensor, tf.Tensor]:
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


class _DiscretizedPixels(TensorDistribution):
    """The distribution of a pixel, whose last axis holds its channels.

    Args:
        loc, log_scale: shape (..., channels, components).
        logits: shape (..., components).
        coefficients: of the pairs (1, 0), (2, 0), (2, 1), ... of channels, shape (..., pairs, components).
        levels, low, high: the grid.
    """

    def __init__(self, loc, log_scale, logits, coefficients, levels, low, high):
        parameters = dict(loc=loc, log_scale=log_scale, logits=logits, coefficients=coefficients)
        parameters |= dict(levels=levels, low=low, high=high)
        super().__init__(loc[..., 0], 1, reparameterized=False, **parameters)
        self.loc, self.log_scale, self.logits, self.coefficients = loc, log_scale, logits, coefficients
        self.levels, self.low, self.high = levels, low, high

    def _channel(self, number: int, before: Sequence[tf.Tensor] = ()) -> _DiscretizedLogistics:
        """A channel given those before it, whose shape broadcasts to (..., components)."""
        loc, first = self.loc[..., number, :], math.comb(number, 2)
        for pair, value in enumerate(before, start=first):
            loc += self.coefficients[..., pair, :] * (value - (self.low + self.high) / 2)
        return _DiscretizedLogistics(loc, self.log_scale[..., number, :], self.logits, self.levels, self.low, self.high)

    @property
    def _channels(self) -> range:
        return range(self.loc.shape[-2])

    def _log_prob(self, value):
        values = tf.unstack(value, axis=-1)
        before = [each[..., None] for each in values]
        channels = [self._channel(number, before[:number]) for number in self._channels]
        log_masses = tf.add_n([channel.log_masses(each) for channel, each in zip(channels, values, strict=True)])
        log_prob = tf.reduce_logsumexp(tf.nn.log_softmax(self.logits) + log_masses, axis=-1)
        beyond = in_support(tf.zeros_like(value), value, channels[0].reaches(value))  # 0, -inf or NaN
        beyond = tf.reduce_sum(beyond, axis=-1)
        return tf.where(beyond == 0, log_prob, beyond)

    def _sample_n(self, n, seed=None):
        return self.tempered_sample([n], tfp.random.sanitize_seed(seed), 1.0)

    def tempered_sample(self, sample_shape, seed, temperature) -> tf.Tensor:
        """Draws whose noise is multiplied by `temperature`: a component, then channel after channel."""
        shape = tf.concat([sample_shape, self.batch_shape_tensor()], axis=0)
        component = tf.one_hot(categorical(self.logits, shape, fold(seed, 0), temperature), self.logits.shape[-1])
        noise = temperature * logistic(tf.concat([shape, [len(self._channels)]], axis=0), fold(seed, 1))
        values: list[tf.Tensor] = []
        for number in self._channels:
            channel = self._channel(number, [each[..., None] for each in values])
            values.append(channel.level_of(noise[..., number], component))
        return tf.stack(values, axis=-1)

    def _mean(self):
        return self._moments()[0]

    def _variance(self):
        mean, square = self._moments()
        return tf.nn.relu(square - mean**2)

    def _moments(self):
        """E value and E value^2, in a graph: one by one its thousands of operations take ten times as long."""
        return tf.function(self._sums, autograph=False)()

    def _sums(self):
        exact = self._channel(0).moments()
        if len(self._channels) == 1:
            return [each[..., None] for each in exact]
        noise, weights = tf.constant(_even_noise(len(self._channels))), tf.nn.softmax(self.logits)

        def add_point(point, mean, square):
            values: list[tf.Tensor] = []
            for number in self._channels:
                values.append(self._channel(number, values).held(noise[point, number]))  # [..., components]
            later = tf.stack(values[1:], axis=-2)
            return point + 1, mean + later / POINTS, square + later**2 / POINTS

        start = tf.zeros_like(self.loc[..., 1:, :])
        _, *sums = tf.while_loop(lambda point, *_: point < POINTS, add_point, [0, start, start])
        later = [tf.reduce_sum(weights[..., None, :] * each, axis=-1) for each in sums]
        return [tf.concat([first[..., None], rest], axis=-1) for first, rest in zip(exact, later, strict=True)]


def _even_noise(channels: int) -> np.ndarray:
    """Quantiles of the logistic at points that fill the unit cube evenly, float32, shape (POINTS, channels).

    Along the first axis these are equal steps, along the others those of the generalised golden ratio, the root of
    g^channels = 1 + g.
    """
    ratio = max(np.roots([1, *[0] * (channels - 2), -1, -1]).real)
    numbers = np.arange(POINTS)[:, None]
    points = np.hstack([(numbers + 0.5) / POINTS, (0.5 + numbers * ratio ** -np.arange(1, channels)) % 1])
    return (np.log(points) - np.log1p(-points)).astype(np.float32)
