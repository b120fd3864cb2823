"""Distributions of binary and categorical values."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.polynomial import Chebyshev, Polynomial

from keras_vae.arguments import whole_number
from keras_vae.distributions.base import DistributionLayer, Independent
from keras_vae.distributions.supports import Levels, OneHotVectors, Support, ZerosAndOnes

tfd = tfp.distributions


class Bernoulli(DistributionLayer):
    """Independent binary values, whose log-odds are predicted from the context.

    p(value = 1) = sigmoid(logit). Values in (0, 1) are scored by the expected log-likelihood of a binary draw with
    that probability, which is the binary cross-entropy; a warning says so, for it is not the density of grey levels.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
    """

    support = ZerosAndOnes()
    discrete = True

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        logits = tf.squeeze(params, axis=-1)
        return Independent(_Bernoulli(logits=logits, dtype=tf.float32), self.event_shape)


class Categorical(DistributionLayer):
    """Independent values 0, 1, ..., levels - 1, whose log-odds are predicted from the context, each level for itself.

    For 256 grey levels, or for codes of categories. `mean` is the expected level, which says something where the levels
    are quantities; `mode` is the most probable one.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        levels: number of levels, 2 or more.

    Reference: van den Oord et al. 2016, arXiv:1601.06759 (256 levels of a pixel).
    """

    discrete = True

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        levels: int = 256,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        self.levels = whole_number(self, "levels", levels, least=2)

    @property
    def support(self) -> Support:
        """0, 1, ..., levels - 1."""
        return Levels(self.levels)

    @property
    def params_per_value(self) -> int:
        """The log-odds of each level."""
        return self.levels

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(_Categorical(logits=params, dtype=tf.float32), len(self.event_shape))


class OneHotCategorical(DistributionLayer):
    """Independent categories, each a vector with a one at its place; their log-odds are predicted from the context.

    Args:
        event_shape: (variables, categories); an integer is one variable with so many categories.
        network: from the context to features; None uses the context itself.
    """

    support = OneHotVectors()
    discrete = True

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        categories = tfd.OneHotCategorical(logits=tf.squeeze(params, axis=-1), dtype=tf.float32)
        return tfd.Independent(categories, len(self.event_shape) - 1)


class _Categorical(tfd.Categorical):
    """`tfd.Categorical` with moments."""

    def _log_prob(self, value):
        logits = tf.nn.log_softmax(self._logits_parameter_no_checks())
        levels = tf.cast(tf.range(logits.shape[-1]), tf.float32)
        return tf.reduce_sum(tf.where(value[..., None] == levels, logits, 0.0), axis=-1)

    def _mean(self):
        return self._moment(1)

    def _variance(self):
        return self._moment(2) - self._moment(1) ** 2

    def _moment(self, power: int):
        probabilities = self.probs_parameter()
        return tf.reduce_sum(probabilities * tf.cast(tf.range(probabilities.shape[-1]), tf.float32) ** power, axis=-1)


class _Bernoulli(tfd.Bernoulli):
    """`tfd.Bernoulli` whose log_prob takes one softplus for each value, not two."""

    def _log_prob(self, event):
        logits = tf.convert_to_tensor(self.logits)
        return tf.cast(event, logits.dtype) * logits - softplus(logits)


# artanh(s) / s as a polynomial in s^2, for s from 0 to 1/3: off by 4e-9 at most, less than the rounding of float32.
_ARTANH = Chebyshev.interpolate(lambda square: np.arctanh(np.sqrt(square)) / np.sqrt(square), 4, domain=[0, 1 / 9])
_ARTANH = _ARTANH.convert(kind=Polynomial).coef.tolist()


@tf.custom_gradient
def softplus(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """log(1 + e^x), of products and one quotient beside the exponential: XLA on a CPU runs its own at half the speed.

    With t = e^-|x| and s = t / (2 + t), log(1 + t) = 2 artanh(s), and s <= 1/3.
    """
    t = tf.exp(-tf.abs(x))
    s = t / (2 + t)
    square = s * s
    series = tf.fill(tf.shape(s), tf.constant(_ARTANH[-1], s.dtype))
    for coefficient in reversed(_ARTANH[:-1]):
        series = series * square + coefficient
    return tf.nn.relu(x) + 2 * s * series, lambda upstream: upstream * tf.sigmoid(x)
