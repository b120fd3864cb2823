"""Objectives that look at the posteriors of all examples together."""

import math

import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.arguments import not_negative, whole_number
from keras_vae.objectives.base import Objective, one_latent
from keras_vae.sampling import current_sampler
from keras_vae.trace import Latent, Trace

tfd = tfp.distributions


class InfoVAE(Objective):
    """-log p(x | z) + (1 - alpha) KL(q(z | x) || p(z)) + weight MMD(q(z), p(z)), q(z) the mean of the posteriors.

    The squared maximum mean discrepancy compares the draws of a batch with as many of the prior, by the kernel
    exp(-|a - b|^2 / d) in d dimensions, without bias: it is about 0, and may be negative, where the two agree. Not a
    bound of log p(x).

    Args:
        alpha: 1 leaves out the KL (MMD-VAE); 0 keeps it whole.
        weight: of the discrepancy, 0 or more (alpha + lambda - 1 in the reference).
        samples: draws from the posterior per example, 1 or more.

    Reference: Zhao, Song & Ermon 2019, arXiv:1706.02262; Gretton et al. 2012 (JMLR 13) for the estimator.
    """

    def __init__(self, alpha: float = 1.0, weight: float = 100.0, samples: int = 1):
        self.alpha = not_negative(self, "alpha", alpha)
        if self.alpha > 1:
            raise ValueError(f"InfoVAE needs alpha in [0, 1]. Received: alpha={alpha!r}.")
        self.weight = not_negative(self, "weight", weight)
        self.samples = whole_number(self, "samples", samples)

    def __call__(self, trace: Trace) -> tf.Tensor:
        loss = tf.reduce_mean((1 - self.alpha) * trace.kl - trace.log_likelihood, axis=0)
        return loss + self.weight * sum(map(discrepancy_from_prior, trace.latents.values()))

    def check(self, trace: Trace) -> None:
        """Also refuses models whose prior is not one distribution for all examples."""
        super().check(trace)
        one_latent(self, trace)
        _one_prior(self, trace)


def discrepancy_from_prior(latent: Latent) -> tf.Tensor:
    """Squared MMD between the draws of a latent variable and as many of its prior, a scalar; mean over the samples."""
    size = math.prod(latent.value.shape[2:])
    draws = tf.reshape(latent.value, [*_sizes(latent.value, 2), size])  # [samples, batch, d]
    shape = tf.shape(draws)
    prior = tf.reshape(latent.prior.sample(shape[:2], seed=current_sampler().next_seed()), shape)
    return tf.reduce_mean(squared_mmd(draws, prior))


def squared_mmd(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Unbiased squared maximum mean discrepancy of two sets of n points, shape (..., n, d), to shape (...).

    A single point has no pair within its set, whose terms are then 0: a last batch of one example stays finite.
    """
    size, count = first.shape[-1], tf.cast(tf.shape(first)[-2], tf.float32)

    def mean_kernel(a, b, but_itself):
        squares = tf.reduce_sum(tf.math.squared_difference(a[..., :, None, :], b[..., None, :, :]), axis=-1)
        total = tf.reduce_sum(tf.exp(-squares / size), axis=[-2, -1])
        return tf.math.divide_no_nan(total - count, count * (count - 1)) if but_itself else total / count**2

    return mean_kernel(first, first, True) + mean_kernel(second, second, True) - 2 * mean_kernel(first, second, False)


class BetaTC(Objective):
    """The KL in three parts, of which the total correlation of the latent variables is weighted by beta.

    -log p(x | z) + (log q(z | x) - log q(z)) + beta (log q(z) - sum_j log q(z_j)) + (sum_j log q(z_j) - log p(z)): with
    beta = 1 the negative ELBO, up to an error in q(z) that cancels. q(z) is estimated from the posteriors of the batch,
    log q(z) = log (1 / (n batch)) sum_i q(z | x_i) with n examples in the data (minibatch-weighted sampling).

    Args:
        beta: weight of the total correlation, 0 or more; a callback may schedule it.
        examples: n, the number of examples of the training data.
        samples: draws from the posterior per example, 1 or more.

    Reference: Chen et al. 2018, arXiv:1802.04942.
    """

    schedulable = ("beta",)

    def __init__(self, beta: float, examples: int, samples: int = 1):
        self.beta = not_negative(self, "beta", beta)
        self.examples = whole_number(self, "examples", examples)
        self.samples = whole_number(self, "samples", samples)

    def __call__(self, trace: Trace) -> tf.Tensor:
        (latent,) = trace.latents.values()
        joint, factors = self.log_aggregate(latent)  # [samples, batch] both
        total_correlation = joint - factors
        loss = -trace.log_likelihood - latent.log_ratio + (self.number("beta") - 1) * total_correlation
        return tf.reduce_mean(loss, axis=0)

    def log_aggregate(self, latent: Latent) -> tuple[tf.Tensor, tf.Tensor]:
        """Estimates of log q(z) and of sum_j log q(z_j) at the draws, nats, shape (samples, batch) both."""
        posterior = latent.posterior.distribution  # batch shape [batch, *event]
        log_q = posterior.log_prob(latent.value[:, :, None])  # of draw i under posterior j: [samples, i, j, *event]
        log_q = tf.reshape(log_q, [*_sizes(log_q, 3), -1])
        log_count = math.log(self.examples) + tf.math.log(tf.cast(tf.shape(log_q)[2], tf.float32))
        joint = tf.reduce_logsumexp(tf.reduce_sum(log_q, axis=-1), axis=2) - log_count
        factors = tf.reduce_sum(tf.reduce_logsumexp(log_q, axis=2) - log_count, axis=-1)
        return joint, factors

    def check(self, trace: Trace) -> None:
        """Also refuses posteriors whose values depend on each other, and a prior for each example."""
        super().check(trace)
        one_latent(self, trace)
        _one_prior(self, trace)
        for latent in trace.latents.values():
            independent = isinstance(latent.posterior, tfd.Independent)
            if not independent or latent.posterior.distribution.event_shape.rank:
                raise TypeError(
                    "BetaTC needs a posterior of independent values, such as Normal. "
                    f"Received: {latent.posterior.name}."
                )


def _one_prior(objective: Objective, trace: Trace) -> None:
    """Raises `TypeError` where each example has a prior of its own: draws of all of them say nothing about one."""
    for latent in trace.latents.values():
        if latent.prior.batch_shape.rank:
            raise TypeError(
                f"{type(objective).__name__} needs a model with one prior for all examples. Received: a prior that "
                "depends on the condition of each."
            )


def _sizes(tensor: tf.Tensor, count: int) -> list:
    dynamic = tf.shape(tensor)
    return [dynamic[axis] if tensor.shape[axis] is None else tensor.shape[axis] for axis in range(count)]
