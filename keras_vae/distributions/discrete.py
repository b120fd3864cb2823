"""Distributions of binary and categorical values."""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions.base import DistributionLayer, Independent
from keras_vae.distributions.special import in_support, softplus
from keras_vae.distributions.standardized import in_parts
from keras_vae.distributions.supports import Levels, OneHotVectors, Support, ZerosAndOnes
from keras_vae.noise import categorical, logistic

START = 0.001, 0.999  # where probabilities of ones may begin: a weight of the first steps is not lost in saturation


class Bernoulli(DistributionLayer):
    """Independent binary values, whose log-odds are predicted from the context.

    p(value = 1) = sigmoid(logit). Values in (0, 1) are scored by the expected log-likelihood of a binary draw with
    that probability, which is the binary cross-entropy; a warning says so, for it is not the density of grey levels.

    The log-odds begin near 0. Where most values are zeros, as those of images, training is much faster from those of
    the data: `adapt`, which `Data.likelihood` calls.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.

    Example:

    >>> likelihood = Bernoulli(3, dense_decoder(2))
    >>> likelihood.adapt(np.array([[0, 1, 1], [0, 1, 0]]))
    >>> likelihood(tf.zeros([1, 2])).mean().numpy().round(3)
    array([[0.001, 0.999, 0.5  ]], dtype=float32)
    """

    support = ZerosAndOnes()
    discrete = True

    def adapt(self, data) -> None:
        """Lets the log-odds begin at those of the mean of data, between 0.001 and 0.999, as Keras's `adapt`.

        The mean is that of each value; of a network that keeps the grid of the event that of each channel.

        Args:
            data: array of shape (examples, *event), or batches of such, in tuples of (x, ...) too; zeros and ones, or
                probabilities of ones.

        Raises:
            ValueError: for a layer that is built already, for data of another shape or range, and for none.

        Reference: Burda et al. 2016, arXiv:1509.00519, whose code begins so.
        """
        if self.built:
            raise ValueError(f"{self._title}.adapt needs a layer that has no weights yet. Received: a built one.")
        batches = in_parts(data) if hasattr(data, "__array__") or isinstance(data, list) else data
        count, total = 0, np.zeros(self.event_shape)
        for batch in batches:
            x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
            x = self.checked_numbers(x, "data")
            self.support.hull.check(self._title, x, "data")
            count, total = count + len(x), total + np.sum(x, axis=0, dtype=np.float64)
        if not count:
            raise ValueError(f"{self._title}.adapt needs data. Received: no examples.")
        self.start = total / count

    def begin(self, bias):
        mean = self.start.reshape(-1, math.prod(bias.shape)).mean(axis=0)
        mean = np.clip(mean, *START).reshape(bias.shape)
        bias.assign(np.log(mean) - np.log1p(-mean))

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return independent_bernoulli(tf.squeeze(params, axis=-1), self.event_shape)


class Categorical(DistributionLayer):
    """Independent values 0, 1, ..., levels - 1, whose log-odds are predicted from the context, each level for itself.

    For 256 grey levels, or for codes of categories. `mean` is the expected level, which says something where the levels
    are quantities; `mode` is the most probable one.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        levels: number of levels, 2 or more.
        categories: None, or what each level is called, `levels` different texts, kept with the model.

    Raises:
        ValueError: for categories that are not so many different texts.

    Reference: van den Oord et al. 2016, arXiv:1601.06759 (256 levels of a pixel).
    """

    discrete = True

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        levels: int = 256,
        categories: Sequence[str] | None = None,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        self.levels = whole_number(self, "levels", levels, least=2)
        self.categories = None if categories is None else list(categories)
        if categories is not None and not (
            len(set(categories)) == len(categories) == self.levels and all(isinstance(text, str) for text in categories)
        ):
            raise ValueError(
                f"{self._title} needs categories to be {self.levels} different texts. Received: {categories!r}."
            )

    @property
    def support(self) -> Support:  # type: ignore[override]
        """0, 1, ..., levels - 1."""
        return Levels(self.levels)

    @property
    def params_per_value(self) -> int:  # type: ignore[override]
        """The log-odds of each level."""
        return self.levels

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(_Categorical(logits=params, dtype=tf.float32), len(self.event_shape))


class UniformCategorical(Categorical):
    """Independent values 0, 1, ..., levels - 1, all alike: a prior without weights.

    Args:
        event_shape: shape of one draw.
        levels: number of levels, 2 or more.
    """

    def __init__(self, event_shape: int | Sequence[int], levels: int = 256, **kwargs):
        super().__init__(event_shape, levels=levels, **kwargs)

    def build(self, context_shape=None):
        """There is nothing to create."""

    def call(self, context=None) -> tfd.Distribution:
        return self.distribution(tf.zeros([*self.event_shape, self.levels]))


class OneHotCategorical(DistributionLayer):
    """Independent categories, each a vector with a one at its place; their log-odds are predicted from the context.

    Args:
        event_shape: (variables, categories); an integer is one variable with so many categories.
        network: from the context to features; None uses the context itself.
    """

    support = OneHotVectors()
    discrete = True

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        categories = _OneHotCategorical(logits=tf.squeeze(params, axis=-1), dtype=tf.float32)
        return tfd.Independent(categories, len(self.event_shape) - 1)


class _Categorical(tfd.Categorical):
    """`tfd.Categorical` with moments."""

    def _log_prob(self, value):
        logits = tf.nn.log_softmax(self._logits_parameter_no_checks())
        levels = tf.cast(tf.range(logits.shape[-1]), tf.float32)
        found = value[..., None] == levels
        log_prob = tf.reduce_sum(tf.where(found, logits, 0.0), axis=-1)
        return in_support(log_prob, value, tf.reduce_any(found, axis=-1))

    def tempered_sample(self, sample_shape, seed, temperature) -> tf.Tensor:
        """Draws whose noise is multiplied by `temperature`."""
        logits = self._logits_parameter_no_checks()
        shape = tf.concat([sample_shape, tf.shape(logits)[:-1]], axis=0)
        return tf.cast(categorical(logits, shape, seed, temperature), self.dtype)

    def _sample_n(self, n, seed=None):
        return self.tempered_sample([n], tfp.random.sanitize_seed(seed), 1.0)

    def _mean(self):
        return self._moment(1)

    def _variance(self):
        return self._moment(2) - self._moment(1) ** 2

    def _moment(self, power: int):
        probabilities = self.probs_parameter()
        return tf.reduce_sum(probabilities * tf.cast(tf.range(probabilities.shape[-1]), tf.float32) ** power, axis=-1)


class _OneHotCategorical(tfd.OneHotCategorical):
    """`tfd.OneHotCategorical` with the noise of `gumbel`."""

    def tempered_sample(self, sample_shape, seed, temperature) -> tf.Tensor:
        """Draws whose noise is multiplied by `temperature`."""
        logits = tf.convert_to_tensor(self.logits)
        shape = tf.concat([sample_shape, tf.shape(logits)[:-1]], axis=0)
        return tf.one_hot(categorical(logits, shape, seed, temperature), logits.shape[-1], dtype=self.dtype)

    def _sample_n(self, n, seed=None):
        return self.tempered_sample([n], tfp.random.sanitize_seed(seed), 1.0)


def independent_bernoulli(logits, event_shape) -> tfd.Distribution:
    """Binary values with these log-odds, shape (..., *event_shape), of batch shape (...)."""
    return Independent(_Bernoulli(logits=logits, dtype=tf.float32), event_shape)


class _Bernoulli(tfd.Bernoulli):
    """`tfd.Bernoulli` with the noise of `logistic`, whose log_prob takes one softplus for each value, not two."""

    def relaxed(self, temperature: float) -> tfd.Distribution:
        """The same variable, whose draws are in (0, 1) and carry gradients: rounded, they are those of this one."""
        return _RelaxedDraws(tf.convert_to_tensor(self.logits), temperature)

    def _log_prob(self, event):
        logits = tf.convert_to_tensor(self.logits)
        return tf.cast(event, logits.dtype) * logits - softplus(logits)

    def tempered_sample(self, sample_shape, seed, temperature) -> tf.Tensor:
        """Draws whose noise is multiplied by `temperature`."""
        logits = tf.convert_to_tensor(self.logits)
        noise = logistic(tf.concat([sample_shape, tf.shape(logits)], axis=0), seed)
        return tf.cast(temperature * noise < logits, self.dtype)

    def _sample_n(self, n, seed=None):
        return self.tempered_sample([n], tfp.random.sanitize_seed(seed), 1.0)


class _RelaxedDraws(_Bernoulli):
    """A binary variable in all but its draws, sigmoid((logit - noise) / temperature), which are not its own."""

    def __init__(self, logits: tf.Tensor, temperature: float):
        super().__init__(logits=logits, dtype=tf.float32)
        self.temperature = temperature
        self._parameters = {"logits": logits, "temperature": temperature}

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {name: tfp.util.ParameterProperties() for name in ("logits", "temperature")}

    @property
    def reparameterization_type(self):
        """That draws carry gradients."""
        return tfd.FULLY_REPARAMETERIZED

    def _sample_n(self, n, seed=None):
        logits = tf.convert_to_tensor(self.logits)
        noise = logistic(tf.concat([[n], tf.shape(logits)], axis=0), tfp.random.sanitize_seed(seed))
        return tf.sigmoid((logits - noise) / self.temperature)
