"""Objectives that look at the posteriors of all examples together."""

import math
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import not_negative, whole_number
from keras_vae.objectives.base import Objective, one_latent
from keras_vae.sampling import current_sampler, example_weights
from keras_vae.trace import Latent, Trace


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
    """Squared MMD between the draws of a latent variable and as many of its prior, a scalar; mean over the samples.

    A prior that is a mixture gives draws of each component, by its method `strata`, and their weights: the discrepancy
    has gradients to all parameters of the prior.
    """
    value: Any = latent.value
    size = math.prod(value.shape[2:])
    draws = tf.reshape(value, [*_sizes(value, 2), size])  # [samples, batch, d]
    samples, batch = tf.unstack(tf.shape(draws)[:2])
    seed = current_sampler().next_seed()
    if hasattr(latent.prior, "strata"):
        weights, prior = latent.prior.strata(samples, batch, seed)  # [samples, components, draws, *event]
    else:
        weights, prior = tf.ones([1]), latent.prior.sample([samples, batch], seed=seed)[:, tf.newaxis]
    strata, each = _sizes(prior, 3)[1:]
    prior = tf.reshape(prior, [samples, strata, each, size])
    return tf.reduce_mean(squared_mmd(draws, prior, weights))


def squared_mmd(first: tf.Tensor, second: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Unbiased squared maximum mean discrepancy of two distributions, from draws: shape (...).

    A single point has no pair within its set, whose terms are then 0: a last batch of one example stays finite.

    Args:
        first: n points, shape (..., n, d), one for each example of a batch: they count by the weights of the examples.
        second: m points, shape (..., m, d), or, with weights, m points of each stratum, (..., strata, m, d).
        weights: None, or the probability of each stratum of the second distribution, shape (strata,).
    """
    of_first = example_weights(first, axis=-2)
    pairs = tf.linalg.set_diag(of_first[:, None] * of_first, tf.zeros_like(of_first))  # none of a point with itself
    within_first = tf.reduce_sum(pairs * _kernel(first, first), axis=[-2, -1])
    one = tf.ones([1], first.dtype)
    second, weights = (second[..., None, :, :], one) if weights is None else (second, weights)
    within = tf.math.divide_no_nan(within_first, tf.reduce_sum(pairs)) + _mean_of_pairs(second, weights)
    points, of_second = _flat(second, weights)
    shares = tf.math.divide_no_nan(of_first, tf.reduce_sum(of_first))[:, None] * of_second
    return within - 2 * tf.reduce_sum(shares * _kernel(first, points), axis=[-2, -1])


def _mean_of_pairs(points: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """E k(a, b) of two independent draws a, b from strata of these points, shape (..., strata, m, d), without bias."""
    count = tf.cast(tf.shape(points)[-2], tf.float32)
    flat, weight_of_each = _flat(points, weights)
    stratum = tf.range(tf.shape(flat)[-2]) // tf.shape(points)[-2]
    same = tf.cast(stratum[:, None] == stratum, tf.float32)
    # Of m^2 pairs inside of a stratum the m of a point with itself are left out.
    others = tf.math.divide_no_nan(count, count - 1) * (same - tf.eye(tf.shape(flat)[-2]))
    share = weight_of_each[:, None] * weight_of_each * (1 - same + others)
    return tf.reduce_sum(_kernel(flat, flat) * share, axis=[-2, -1])


def _flat(points: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """All points of strata, shape (..., strata m, d), and the weight of each, shape (strata m,)."""
    shape = tf.shape(points)
    flat = tf.reshape(points, tf.concat([shape[:-3], [shape[-3] * shape[-2], shape[-1]]], axis=0))
    shares = tf.broadcast_to((weights / tf.cast(shape[-2], tf.float32))[:, None], shape[-3:-1])
    return flat, tf.reshape(shares, [-1])


def _kernel(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """exp(-|a - b|^2 / d) of each pair, shape (..., n, m), for points of shape (..., n, d) and (..., m, d)."""
    squares = tf.reduce_sum(tf.math.squared_difference(a[..., :, None, :], b[..., None, :, :]), axis=-1)
    return tf.exp(-squares / a.shape[-1])


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
