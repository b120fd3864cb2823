"""Distributions of counts."""

import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.distributions.base import DistributionLayer, Independent, TensorDistribution
from keras_vae.distributions.supports import Counts

tfd = tfp.distributions


class _Counts(DistributionLayer):
    discrete = True
    support = Counts()


class Poisson(_Counts):
    """Independent counts with the mass rate^value e^-rate / value!, whose log rate is predicted from the context.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
    """

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return Independent(tfd.Poisson(log_rate=tf.squeeze(params, axis=-1)), self.event_shape)


class NegativeBinomial(_Counts):
    """Independent counts that vary more than Poisson's: variance = mean + mean^2 / count.

    A Poisson whose rate is Gamma distributed; log mean and log count are predicted from the context.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.

    Reference: Lopez et al. 2018, "Deep generative modeling for single-cell transcriptomics" (scVI).
    """

    params_per_value = 2

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        log_mean, log_count = tf.unstack(params, axis=-1)
        return Independent(_negative_binomial(log_mean, log_count), self.event_shape)


class ZeroInflatedNegativeBinomial(_Counts):
    """A negative binomial that is replaced by 0 with a probability of its own, for counts with many zeros.

    p(0) = p + (1 - p) NB(0), p(value) = (1 - p) NB(value) for others; the log-odds of p, log mean and log count of the
    negative binomial are predicted from the context.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.

    Reference: Lopez et al. 2018, "Deep generative modeling for single-cell transcriptomics" (scVI).
    """

    params_per_value = 3

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        log_mean, log_count, zero_logits = tf.unstack(params, axis=-1)
        return Independent(_ZeroInflated(log_mean, log_count, zero_logits), self.event_shape)


def _negative_binomial(log_mean, log_count) -> tfd.NegativeBinomial:
    return tfd.NegativeBinomial(tf.exp(log_count), logits=log_mean - log_count, require_integer_total_count=False)


class _ZeroInflated(TensorDistribution):
    """Zero, or with odds of exp(-zero_logits) a draw of a negative binomial."""

    def __init__(self, log_mean, log_count, zero_logits):
        parameters = dict(log_mean=log_mean, log_count=log_count, zero_logits=zero_logits)
        super().__init__(zero_logits, reparameterized=False, **parameters)
        self.counts = _negative_binomial(log_mean, log_count)
        self.zero_logits = zero_logits

    def _log_prob(self, value):
        log_zero, log_count = tf.math.log_sigmoid(self.zero_logits), tf.math.log_sigmoid(-self.zero_logits)
        of_count = log_count + self.counts.log_prob(value)
        return tf.where(value == 0, tf.experimental.numpy.logaddexp(log_zero, of_count), of_count)

    def _sample_n(self, n, seed=None):
        seeds = tfp.random.split_seed(seed)
        draws = self.counts.sample(n, seed=seeds[0])
        zero = tfd.Bernoulli(logits=self.zero_logits).sample(n, seed=seeds[1])
        return tf.where(zero == 1, 0.0, draws)

    def _mean(self):
        return tf.sigmoid(-self.zero_logits) * self.counts.mean()

    def _variance(self):
        kept = tf.sigmoid(-self.zero_logits)
        mean = self.counts.mean()
        return kept * (self.counts.variance() + (1 - kept) * mean**2)
