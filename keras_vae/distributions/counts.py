"""Distributions of counts."""

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.distributions.base import DistributionLayer, Independent, TensorDistribution
from keras_vae.distributions.draws import log_gamma, poisson
from keras_vae.distributions.special import exp_in_range, in_support, log_factorial, log_ways, reached_above
from keras_vae.distributions.supports import Counts
from keras_vae.noise import fold, uniform


class _Counts(DistributionLayer):
    discrete = True
    support = Counts()


class Poisson(_Counts):
    """Independent counts with the mass rate^value e^-rate / value!, whose log rate is predicted from the context.

    Above 30 the log rate grows like the logarithm of what is predicted, 30 + log(raw - 29), so that rates are finite.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
    """

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return Independent(_Poisson(reached_above(tf.squeeze(params, axis=-1))), self.event_shape)


class NegativeBinomial(_Counts):
    """Independent counts that vary more than Poisson's: variance = mean + mean^2 / count.

    A Poisson whose rate is Gamma distributed; log mean and log count are predicted from the context. Above 30 each
    grows like the logarithm of what is predicted, 30 + log(raw - 29): means are finite, and at a count of e^30 the
    distribution is Poisson's.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.

    Reference: Lopez et al. 2018, "Deep generative modeling for single-cell transcriptomics" (scVI).
    """

    params_per_value = 2

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        log_mean, log_count = tf.unstack(params, axis=-1)
        return Independent(_NegativeBinomial(reached_above(log_mean), reached_above(log_count)), self.event_shape)


class ZeroInflatedNegativeBinomial(_Counts):
    """A negative binomial that is replaced by 0 with a probability of its own, for counts with many zeros.

    p(0) = p + (1 - p) NB(0), p(value) = (1 - p) NB(value) for others; the log-odds of p, log mean and log count of the
    negative binomial are predicted from the context, the latter two as in `NegativeBinomial`.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.

    Reference: Lopez et al. 2018, "Deep generative modeling for single-cell transcriptomics" (scVI).
    """

    params_per_value = 3

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        log_mean, log_count, zero_logits = tf.unstack(params, axis=-1)
        counts = reached_above(log_mean), reached_above(log_count)
        return Independent(_ZeroInflated(*counts, zero_logits), self.event_shape)


class _Poisson(TensorDistribution):
    """Poisson of a log rate whose exponential float32 holds."""

    def __init__(self, log_rate):
        super().__init__(log_rate, reparameterized=False, log_rate=log_rate)
        self.log_rate = log_rate

    def _log_prob(self, value):
        count = tf.nn.relu(value)
        return _of_counts(count * self.log_rate - tf.exp(self.log_rate) - log_factorial(count), value)

    def _sample_n(self, n, seed=None):
        shape = tf.concat([[n], tf.shape(self.log_rate)], axis=0)
        return poisson(self.log_rate, shape, tfp.random.sanitize_seed(seed))

    def _mean(self):
        return tf.exp(self.log_rate)

    def _mode(self):
        return tf.floor(tf.exp(self.log_rate))

    def _variance(self):
        return tf.exp(self.log_rate)


class _NegativeBinomial(TensorDistribution):
    """With p = mean / (mean + count): Gamma(value + count) / (Gamma(count) value!) p^value (1 - p)^count."""

    def __init__(self, log_mean, log_count):
        super().__init__(log_mean, reparameterized=False, log_mean=log_mean, log_count=log_count)
        self.log_mean, self.log_count = log_mean, log_count

    def _log_prob(self, value):
        log_odds, count = self.log_mean - self.log_count, tf.nn.relu(value)
        log_prob = log_ways(count, self.log_count) - count * tf.math.softplus(-log_odds)
        return _of_counts(log_prob - tf.exp(self.log_count) * tf.math.softplus(log_odds), value)

    def _sample_n(self, n, seed=None):
        seed, shape = tfp.random.sanitize_seed(seed), tf.concat([[n], tf.shape(self.log_mean)], axis=0)
        log_rate = self.log_mean - self.log_count + log_gamma(self.log_count, shape, fold(seed, 0))
        return poisson(log_rate, shape, fold(seed, 1))

    def _mean(self):
        return tf.exp(self.log_mean)

    def _mode(self):
        return tf.floor(tf.exp(self.log_mean) * tf.nn.relu(-tf.math.expm1(-self.log_count)))  # mean (count - 1) / count

    def _variance(self):
        return tf.exp(self.log_mean) + exp_in_range(2 * self.log_mean - self.log_count)


class _ZeroInflated(TensorDistribution):
    """Zero, or with odds of exp(-zero_logits) a draw of a negative binomial."""

    def __init__(self, log_mean, log_count, zero_logits):
        parameters = dict(log_mean=log_mean, log_count=log_count, zero_logits=zero_logits)
        super().__init__(zero_logits, reparameterized=False, **parameters)
        self.counts = _NegativeBinomial(log_mean, log_count)
        self.zero_logits = zero_logits

    def _log_prob(self, value):
        log_zero, log_count = tf.math.log_sigmoid(self.zero_logits), tf.math.log_sigmoid(-self.zero_logits)
        of_count = log_count + self.counts.log_prob(value)
        return tf.where(value == 0, tf.experimental.numpy.logaddexp(log_zero, of_count), of_count)

    def _sample_n(self, n, seed=None):
        seed = tfp.random.sanitize_seed(seed)
        draws = self.counts.sample(n, seed=fold(seed, 0))
        return tf.where(uniform(tf.shape(draws), fold(seed, 1)) < tf.sigmoid(self.zero_logits), 0.0, draws)

    def _mean(self):
        return tf.sigmoid(-self.zero_logits) * self.counts.mean()

    def _mode(self):
        mode = self.counts.mode()
        return tf.where(self.log_prob(mode) > self.log_prob(tf.zeros_like(mode)), mode, 0.0)

    def _variance(self):
        kept = tf.sigmoid(-self.zero_logits)
        mean = self.counts.mean()
        return kept * (self.counts.variance() + (1 - kept) * mean**2)


def _of_counts(log_prob: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    return in_support(log_prob, value, (value >= 0) & (value < float("inf")) & (value % 1 == 0))
