"""Binary and categorical variables made continuous, so that draws carry gradients.

In float32 many draws are rounded to 0 or 1, where their density has no meaning. So `draw` gives the logits of a draw
with it, its point: densities under posterior and prior are computed from them (`at_points`) and are exact. `log_prob`
of a value goes by the value's own logarithm.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import positive
from keras_vae.distributions.base import DistributionLayer, TensorDistribution
from keras_vae.distributions.supports import SimplexPoints, UnitInterval
from keras_vae.noise import gumbel, logistic
from keras_vae.trace import Draw

TINY = 2.0**-126  # what stands for a 0 in the logarithm of a value that is no draw


class _Relaxed(DistributionLayer):
    """Draws with a temperature: a weight that is not trained, and that callbacks can schedule.

    Attributes:
        temperature: the one that training starts from.
        current_temperature: the weight; "posterior.current_temperature" for a schedule.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        temperature: float = 0.5,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        self.temperature = positive(self, "temperature", temperature)

    def build(self, context_shape=None):
        super().build(context_shape)
        self.current_temperature = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.temperature),
            name="temperature",
            trainable=False,
            dtype="float32",
        )


class RelaxedBernoulli(_Relaxed):
    """Independent values in (0, 1): sigmoid((logit + noise) / temperature), noise logistic (binary Concrete).

    At temperature 0 they are Bernoulli draws with p(1) = sigmoid(logit). As posterior and prior the densities of the
    relaxed values are compared, which keeps the ELBO a bound for the relaxed model.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        temperature: more than 0; 2/3 is the reference's advice for a posterior, 1/2 for a prior.

    Reference: Maddison, Mnih & Teh 2017, arXiv:1611.00712; Jang, Gu & Poole 2017, arXiv:1611.01144.
    """

    support = UnitInterval()

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        logits = tf.squeeze(params, axis=-1)
        relaxed = _RelaxedBernoulli(logits, tf.convert_to_tensor(self.current_temperature))
        return _Independent(relaxed, len(self.event_shape))


class RelaxedOneHotCategorical(_Relaxed):
    """Independent points of the simplex: softmax((logits + noise) / temperature), noise Gumbel (Concrete).

    At temperature 0 they are one-hot draws with p = softmax(logits).

    Args:
        event_shape: (variables, categories); an integer is one variable with so many categories.
        network: from the context to features; None uses the context itself.
        temperature: more than 0.

    Reference: Maddison, Mnih & Teh 2017, arXiv:1611.00712; Jang, Gu & Poole 2017, arXiv:1611.01144.
    """

    support = SimplexPoints()

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        logits = tf.squeeze(params, axis=-1)
        relaxed = _RelaxedOneHotCategorical(logits, tf.convert_to_tensor(self.current_temperature))
        return _Independent(relaxed, len(self.event_shape) - 1)


class _Independent(tfd.Independent):
    """Independent relaxed values."""

    def draw(self, sample_shape, seed) -> Draw:
        """Draws with their logits, shape (*sample_shape, *batch, *event)."""
        return self.distribution.draw(sample_shape, seed)


class _Concrete(TensorDistribution):
    """Relaxed values; `of_points` says that log_prob takes their logits, and not the values themselves."""

    event_axes = 0

    def __init__(self, logits, temperature, of_points=False):
        super().__init__(logits, self.event_axes, logits=logits, temperature=temperature, of_points=of_points)
        self.logits, self.temperature, self.of_points = logits, temperature, of_points

    def at_points(self):
        """The same density, of the values whose logits log_prob is given."""
        return self.copy(of_points=True)

    def draw(self, sample_shape, seed) -> Draw:
        """Draws with their logits, shape (*sample_shape, *batch, *event)."""
        noise = self._noise(tf.concat([tf.cast(sample_shape, tf.int32), tf.shape(self.logits)], axis=0), seed)
        point = self._point((self.logits + noise) / self.temperature)
        return Draw(self._value(point), point)

    def _sample_n(self, n, seed=None):
        return self.draw([n], tfp.random.sanitize_seed(seed)).value


class _RelaxedBernoulli(_Concrete):
    """log p(y) = log T + a - 2 softplus(a) - log y - log (1 - y), a = logit - T logit(y)."""

    def _noise(self, shape, seed):
        return logistic(shape, seed)

    def _point(self, logits):
        return logits

    def _value(self, point):
        return tf.sigmoid(point)

    def _log_prob(self, value):
        logits = value if self.of_points else _log(value) - _log(1 - value)
        a = self.logits - self.temperature * logits
        jacobian = tf.math.softplus(logits) + tf.math.softplus(-logits)  # -log y - log (1 - y)
        return tf.math.log(self.temperature) + a - 2 * tf.math.softplus(a) + jacobian

    def _mean(self):
        """That of the binary variable, p(1): the relaxed one's, at 0 temperature."""
        return tf.sigmoid(self.logits)

    def _variance(self):
        return tf.sigmoid(self.logits) * tf.sigmoid(-self.logits)


class _RelaxedOneHotCategorical(_Concrete):
    """log p(y) = log (n - 1)! + (n - 1) log T + sum_k (a[k] - log y[k]) - n logsumexp(a), a = logits - T log y."""

    event_axes = 1

    def _noise(self, shape, seed):
        return gumbel(shape, seed)

    def _point(self, logits):
        return tf.nn.log_softmax(logits)

    def _value(self, point):
        return tf.exp(point)

    def _log_prob(self, value):
        count = self.logits.shape[-1]
        log_value = value if self.of_points else _log(value)
        a = self.logits - self.temperature * log_value
        constant = tf.math.lgamma(float(count)) + (count - 1) * tf.math.log(self.temperature)
        return constant + tf.reduce_sum(a - log_value, axis=-1) - count * tf.reduce_logsumexp(a, axis=-1)

    def _mean(self):
        """That of the one-hot variable: the relaxed one's, at 0 temperature."""
        return tf.nn.softmax(self.logits)

    def _variance(self):
        mean = tf.nn.softmax(self.logits)
        return mean * (1 - mean)


def _log(value):
    return tf.math.log(tf.maximum(value, TINY))
