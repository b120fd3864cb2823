"""What a model says about one batch: its latent variables, their priors, and the likelihood of the data."""

from collections.abc import Callable
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
        path: what the draws went through on their way to the model, where the objective asked for it; see
            `keras_vae.sampling`.
        closed_form: False where the prior depends on the draws themselves, so that the KL of the two distributions is
            not the expectation of -log_ratio.
    """

    value: tf.Tensor
    posterior: tfd.Distribution
    prior: tfd.Distribution
    path: Callable[[tf.Tensor], tf.Tensor] | None = None
    closed_form: bool = True

    @cached_property
    def log_prior(self) -> tf.Tensor:
        """log p(z) at the draws, nats, shape (samples, batch)."""
        return self.prior.log_prob(self.value)

    @cached_property
    def log_posterior(self) -> tf.Tensor:
        """log q(z | x) at the draws, nats, shape (samples, batch)."""
        return self.posterior.log_prob(self.value)

    @cached_property
    def log_ratio(self) -> tf.Tensor:
        """log p(z) - log q(z | x) at the draws, nats, shape (samples, batch)."""
        return self.log_prior - self.log_posterior

    @cached_property
    def log_ratio_along_path(self) -> tf.Tensor:
        """`log_ratio`, whose gradient reaches the parameters of q through the draws only, not through its density."""
        return self.log_prior - stopped(self.posterior).log_prob(self.value)

    @cached_property
    def exact_kl(self) -> tf.Tensor | None:
        """KL(q(z | x) || p(z)), nats, shape (samples, batch), where it has a closed form, else None."""
        if not self.closed_form:
            return None
        try:
            exact = self.posterior.kl_divergence(self.prior)
        except NotImplementedError:  # TFP's answer for a pair of families without a registered closed form
            return None
        return tf.broadcast_to(exact, tf.shape(self.value)[:2])

    @cached_property
    def kl(self) -> tf.Tensor:
        """KL(q(z | x) || p(z)), nats, shape (samples, batch): exact where there is a closed form, else -log_ratio."""
        return -self.log_ratio if self.exact_kl is None else self.exact_kl


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

    @cached_property
    def log_weight_along_path(self) -> tf.Tensor:
        """`log_weight`, whose gradient reaches the posteriors through the draws only; see `Latent`."""
        return sum((latent.log_ratio_along_path for latent in self.latents.values()), self.log_likelihood)


def stopped(distribution: tfd.Distribution) -> tfd.Distribution:
    """A copy of a distribution whose parameters pass no gradient.

    Raises:
        TypeError: for a distribution that is made of more than tensors, numbers and other distributions, such as a
            flow, whose networks can not be stopped.
    """
    try:
        return with_parameters(distribution, tf.stop_gradient)
    except TypeError as error:
        raise TypeError(
            f"{error} Use an objective that does not stop the gradient of a density, such as ELBO or IWAE."
        ) from None


def with_parameters(distribution: tfd.Distribution, function: Callable[[tf.Tensor], tf.Tensor]) -> tfd.Distribution:
    """A copy of a distribution whose tensors, and those of the distributions it is made of, are `function` of them.

    Raises:
        TypeError: for a distribution that is made of more than tensors, numbers and other distributions.
    """

    def changed(name, value):
        if isinstance(value, tfd.Distribution):
            return with_parameters(value, function)
        if tf.is_tensor(value):
            return function(value)
        if value is None or isinstance(value, bool | int | float | str | tuple | tf.DType | tf.TensorShape):
            return value
        raise TypeError(
            f"{type(distribution).__name__} needs {name} to be a tensor, to be copied with another one. "
            f"Received: a {type(value).__name__}."
        )

    return distribution.copy(**{name: changed(name, value) for name, value in distribution.parameters.items()})
