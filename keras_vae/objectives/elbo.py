"""The evidence lower bound, and what is made of its two terms."""

import functools
from dataclasses import replace

import tensorflow as tf

from keras_vae.arguments import not_negative, positive, whole_number
from keras_vae.objectives.base import Objective, in_training, one_latent
from keras_vae.sampling import RelaxedPath, mean_of_examples
from keras_vae.trace import Trace


class ELBO(Objective):
    """Negative evidence lower bound, -mean_s log p(x | z[s]) + beta KL(q(z | x) || p(z)).

    With beta = 1 the negative loss is a lower bound of log p(x). The KL is the closed form where TensorFlow Probability
    has one, else the average of the same draws.

    Args:
        beta: weight of the KL, 0 or more; the only weight there is. With several latent variables also a dict of
            numbers by name, 1 where a name is missing. A callback may schedule it, as "beta" or "beta.z".
        samples: draws from the posterior per example, 1 or more.
        free_nats: in training the KL of each latent variable counts as this where its mean over the batch is less, and
            is then not pressed on. Evaluation counts every KL as it is.

    Reference: Kingma & Welling 2014, arXiv:1312.6114; beta: Higgins et al. 2017 (ICLR); free nats: Kingma et al. 2016,
    arXiv:1606.04934.
    """

    schedulable = ("beta",)

    def __init__(self, beta: float | dict[str, float] = 1.0, samples: int = 1, free_nats: float = 0.0):
        self.beta: float | dict[str, float]
        if isinstance(beta, dict):
            self.beta = {name: not_negative(self, f"beta[{name!r}]", value) for name, value in beta.items()}
        else:
            self.beta = not_negative(self, "beta", beta)
        self.samples = whole_number(self, "samples", samples)
        self.free_nats = not_negative(self, "free_nats", free_nats)

    def __call__(self, trace: Trace) -> tf.Tensor:
        unknown = set(self.beta) - set(trace.latents) if isinstance(self.beta, dict) else set()
        if unknown:
            raise ValueError(
                f"ELBO needs names of the latent variables {', '.join(trace.latents)} in beta. "
                f"Received: {', '.join(sorted(unknown))}."
            )
        loss = self._weighted_kl(trace) - trace.log_likelihood  # [samples, batch]
        return tf.reduce_mean(loss, axis=0)

    def _weighted_kl(self, trace: Trace) -> tf.Tensor:
        beta = self.number("beta")
        free_nats = self.free_nats if in_training() else 0.0
        if not free_nats and not isinstance(beta, dict):
            return beta * trace.kl
        total = tf.zeros_like(trace.log_likelihood)
        for name, latent in trace.latents.items():
            kl = latent.kl
            if free_nats:
                kl = tf.where(mean_of_examples(kl) > free_nats, kl, free_nats)
            total += (beta.get(name, 1.0) if isinstance(beta, dict) else beta) * kl
        return total

    def describe(self) -> str:
        weight = "" if self.beta == 1 else f"{self.beta:g} " if isinstance(self.beta, float) else "beta "
        draws = "1 draw" if self.samples == 1 else f"{self.samples} draws"
        return f"{self!r}: loss = -log p(x | z) + {weight}KL(q(z | x) || p(z)), nats per example, {draws} of z"


class RelaxedELBO(ELBO):
    """`ELBO` for binary latent variables, whose draws are made continuous in training, so that they carry gradients.

    In training a draw is sigmoid((logit + noise) / temperature) (binary Concrete), and the KL that of the binary
    variables. That sum is a bound of nothing: the decoder sees values that the model does not have. It is what the logs
    of training show. Evaluation draws zeros and ones, and has the negative evidence lower bound.

    Args:
        temperature: more than 0.
        beta, samples, free_nats: as in `ELBO`.

    Reference: Maddison, Mnih & Teh 2017, arXiv:1611.00712 (equation 23); Jang, Gu & Poole 2017, arXiv:1611.01144.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        beta: float | dict[str, float] = 1.0,
        samples: int = 1,
        free_nats: float = 0.0,
    ):
        super().__init__(beta, samples, free_nats)
        self.temperature = positive(self, "temperature", temperature)
        self.path = functools.partial(RelaxedPath, self.temperature)

    def check(self, trace: Trace) -> None:
        """Refuses draws that carry no gradient and can not be made continuous."""
        binary = {name for name, latent in trace.latents.items() if RelaxedPath.wanted(latent.posterior)}
        latents = {name: latent for name, latent in trace.latents.items() if name not in binary}
        super().check(replace(trace, latents=latents))

    def describe(self) -> str:
        return f"{super().describe()}; in training with continuous draws of binary ones, and then no bound"


class Capacity(Objective):
    """-log p(x | z) + gamma |KL(q(z | x) || p(z)) - capacity|: the KL is held at a number, which is raised in training.

    Not a bound of log p(x).

    Args:
        capacity: nats, 0 or more; a callback may schedule it, from 0 to this.
        gamma: weight of the distance, 0 or more.
        samples: draws from the posterior per example, 1 or more.

    Reference: Burgess et al. 2018, arXiv:1804.03599.
    """

    schedulable = ("capacity",)

    def __init__(self, capacity: float = 25.0, gamma: float = 100.0, samples: int = 1):
        self.capacity = not_negative(self, "capacity", capacity)
        self.gamma = not_negative(self, "gamma", gamma)
        self.samples = whole_number(self, "samples", samples)

    def __call__(self, trace: Trace) -> tf.Tensor:
        loss = self.gamma * tf.abs(trace.kl - self.number("capacity")) - trace.log_likelihood
        return tf.reduce_mean(loss, axis=0)

    def check(self, trace: Trace) -> None:
        """Also refuses models whose KL is estimated by draws: the distance of its mean is not the mean distance."""
        super().check(trace)
        for name, latent in trace.latents.items():
            if latent.exact_kl is None:
                raise TypeError(
                    "Capacity needs a KL in closed form, such as that of Normal and StandardNormal. Received: "
                    f"{latent.posterior.name} and {latent.prior.name} of {name}, whose KL is estimated by draws."
                )


class StickingTheLanding(Objective):
    """The negative ELBO, whose gradient goes through the draws only.

    -mean_s log p(x, z[s]) / q(z[s] | x) is differentiated with the parameters of the density q held fixed: the term
    that is left out has mean zero, and all of the noise when the posterior is exact.

    Args:
        samples: draws from the posterior per example, 1 or more.

    Reference: Roeder, Wu & Duvenaud 2017, arXiv:1703.09194.
    """

    def __init__(self, samples: int = 1):
        self.samples = whole_number(self, "samples", samples)

    def __call__(self, trace: Trace) -> tf.Tensor:
        return -tf.reduce_mean(trace.log_weight_along_path, axis=0)

    def check(self, trace: Trace) -> None:
        """Also refuses models with more than one latent variable."""
        super().check(trace)
        one_latent(self, trace)
