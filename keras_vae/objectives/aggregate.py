"""Objectives that look at the posteriors of all examples together."""

import math

import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.arguments import not_negative, whole_number
from keras_vae.objectives.base import Objective, one_latent
from keras_vae.sampling import current_sampler, example_weights
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

    The first are of the examples of a batch, and count by their weights. A single point has no pair within its set,
    whose terms are then 0: a last batch of one example stays finite.
    """
    size = first.shape[-1]
    weights, ones = example_weights(first, axis=-2), tf.ones(tf.shape(second)[-2:-1])

    def mean_kernel(a, b, of_a, of_b, but_itself):
        squares = tf.reduce_sum(tf.math.squared_difference(a[..., :, None, :], b[..., None, :, :]), axis=-1)
        pairs = of_a[:, None] * of_b
        pairs = tf.linalg.set_diag(pairs, tf.zeros_like(of_a)) if but_itself else pairs
        total = tf.reduce_sum(pairs * tf.exp(-squares / size), axis=[-2, -1])
        return tf.math.divide_no_nan(total, tf.reduce_sum(pairs))

    within = mean_kernel(first, first, weights, weights, True) + mean_kernel(second, second, ones, ones, True)
    return within - 2 * mean_kernel(first, second, weights, ones, False)


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
        # Of draw i under posterior j: [samples, i, j, *event].
        log_q = latent.log_prob_under(latent.posterior.distribution, expand=2)
        log_q = tf.reshape(log_q, [*_sizes(log_q, 3), -1])
        weights = example_weights(log_q, axis=2)
        log_count = math.log(self.examples) + tf.math.log(tf.reduce_sum(weights))
        log_weights = tf.math.log(weights)  # -inf for an example that does not count
        joint = tf.reduce_logsumexp(tf.reduce_sum(log_q, axis=-1) + log_weights, axis=2) - log_count
        factors = tf.reduce_sum(tf.reduce_logsumexp(log_q + log_weights[:, None], axis=2) - log_count, axis=-1)
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
