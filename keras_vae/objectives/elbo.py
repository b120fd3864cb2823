"""The evidence lower bound."""

import tensorflow as tf

from keras_vae.objectives.base import Objective
from keras_vae.trace import Trace


class ELBO(Objective):
    """Negative evidence lower bound, -mean_s log p(x | z[s]) + beta KL(q(z | x) || p(z)).

    With beta = 1 the negative loss is a lower bound of log p(x). The KL is the closed form where TensorFlow Probability
    has one, else the average of the same draws.

    Args:
        beta: weight of the KL, 0 or more; the only weight there is.
        samples: draws from the posterior per example, 1 or more.

    Reference: Kingma & Welling 2014, arXiv:1312.6114; beta: Higgins et al. 2017 (ICLR).
    """

    def __init__(self, beta: float = 1.0, samples: int = 1):
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 <= beta < float("inf"):
            raise ValueError(f"ELBO needs beta to be a number, 0 or more. Received: beta={beta!r}.")
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise ValueError(f"ELBO needs samples to be a whole number, 1 or more. Received: samples={samples!r}.")
        self.beta = float(beta)
        self.samples = samples

    def __call__(self, trace: Trace) -> tf.Tensor:
        loss = self.beta * trace.kl - trace.log_likelihood  # [samples, batch]
        return tf.reduce_mean(loss, axis=0)

    def describe(self) -> str:
        weight = "" if self.beta == 1 else f"{self.beta:g} "
        draws = "1 draw" if self.samples == 1 else f"{self.samples} draws"
        return f"{self!r}: loss = -log p(x | z) + {weight}KL(q(z | x) || p(z)), nats per example, {draws} of z"
