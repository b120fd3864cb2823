"""Bounds of log p(x) from several importance-weighted draws."""

import math

import tensorflow as tf

from keras_vae.arguments import whole_number
from keras_vae.objectives.base import Objective, one_latent, with_gradient_of
from keras_vae.sampling import WeightedPath
from keras_vae.trace import Trace


def log_mean(log_weight: tf.Tensor) -> tf.Tensor:
    """log of the mean weight, shape (batch,), of log weights of shape (samples, batch)."""
    return tf.reduce_logsumexp(log_weight, axis=0) - math.log(log_weight.shape[0])


class IWAE(Objective):
    """Negative importance-weighted bound, -log (1/K) sum_k p(x, z[k]) / q(z[k] | x).

    Args:
        samples: K; the bound rises to log p(x) with it.

    Reference: Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519.
    """

    def __init__(self, samples: int = 5):
        self.samples = whole_number(self, "samples", samples)

    def __call__(self, trace: Trace) -> tf.Tensor:
        return -log_mean(trace.log_weight)


class DoublyReparameterized(Objective):
    """The bound of `IWAE`, with a gradient for the posterior that does not drown in noise as K grows (DReG).

    With normalised weights w~[k] the likelihood and the prior get sum_k w~[k] d log w[k], and the posterior
    sum_k w~[k]^2 d log w[k] / dz[k] dz[k], the parameters of its density held fixed: the same mean.

    Args:
        samples: K.

    Reference: Tucker et al. 2019, arXiv:1810.04152.
    """

    path = WeightedPath

    def __init__(self, samples: int = 5):
        self.samples = whole_number(self, "samples", samples)

    def __call__(self, trace: Trace) -> tf.Tensor:
        log_weight = trace.log_weight_along_path
        share = tf.stop_gradient(tf.nn.softmax(log_weight, axis=0))
        for latent in trace.latents.values():
            if latent.path is not None:  # there is none outside of training
                latent.path.factor = share
        return with_gradient_of(-log_mean(log_weight), -tf.reduce_sum(share * log_weight, axis=0))

    def check(self, trace: Trace) -> None:
        """Also refuses models with more than one latent variable."""
        super().check(trace)
        one_latent(self, trace)


class Renyi(Objective):
    """Negative variational Renyi bound, -1 / (1 - alpha) log (1/K) sum_k (p(x, z[k]) / q(z[k] | x))^(1 - alpha).

    alpha = 0 is `IWAE`, alpha -> 1 the ELBO; in expectation not a lower bound of log p(x) for alpha < 0.

    Args:
        alpha: any number but 1, for which there is `ELBO`.
        samples: K.

    Reference: Li & Turner 2016, arXiv:1602.02311.
    """

    def __init__(self, alpha: float = 0.5, samples: int = 5):
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha) or alpha == 1:
            raise ValueError(f"Renyi needs alpha to be a number other than 1. Received: alpha={alpha!r}.")
        self.alpha = float(alpha)
        self.samples = whole_number(self, "samples", samples)

    def __call__(self, trace: Trace) -> tf.Tensor:
        return -log_mean((1 - self.alpha) * trace.log_weight) / (1 - self.alpha)
