"""What a model says about one batch: its latent variables, their priors, and the likelihood of the data."""

from dataclasses import dataclass, field
from functools import cached_property

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


@dataclass(frozen=True)
class Latent:
    """Draws of one latent variable, with the posterior they came from and their prior.

    Attributes:
        value: draws, shape (samples, batch, *event).
        posterior: q(z | x), batch shape (batch,) or (samples, batch).
        prior: p(z | parents), batch shape (), (batch,) or (samples, batch).
    """

    value: tf.Tensor
    posterior: tfd.Distribution
    prior: tfd.Distribution

    @cached_property
    def log_ratio(self) -> tf.Tensor:
        """log p(z) - log q(z | x) at the draws, nats, shape (samples, batch)."""
        return self.prior.log_prob(self.value) - self.posterior.log_prob(self.value)

    @cached_property
    def kl(self) -> tf.Tensor:
        """KL(q(z | x) || p(z)), nats, shape (samples, batch): exact where TFP has a closed form, else -log_ratio."""
        try:
            exact = self.posterior.kl_divergence(self.prior)
        except NotImplementedError:  # TFP's answer for a pair of families without a registered closed form
            return -self.log_ratio
        return tf.broadcast_to(exact, tf.shape(self.value)[:2])


@dataclass(frozen=True)
class Trace:
    """One pass of a model over a batch.

    Attributes:
        observed: the data, shape (batch, *event), float32.
        likelihood: p(x | z), batch shape (samples, batch).
        latents: the latent variables by name; empty for a model without any.
    """

    observed: tf.Tensor
    likelihood: tfd.Distribution
    latents: dict[str, Latent] = field(default_factory=dict)

    @cached_property
    def log_likelihood(self) -> tf.Tensor:
        """log p(x | z) at the draws, nats, shape (samples, batch)."""
        return self.likelihood.log_prob(self.observed)

    @cached_property
    def kl(self) -> tf.Tensor:
        """Sum over the latents of their KL, nats, shape (samples, batch)."""
        return sum((latent.kl for latent in self.latents.values()), tf.zeros_like(self.log_likelihood))

    @cached_property
    def log_weight(self) -> tf.Tensor:
        """log p(x, z) - log q(z | x) at the draws, nats, shape (samples, batch): the log importance weight."""
        return sum((latent.log_ratio for latent in self.latents.values()), self.log_likelihood)
