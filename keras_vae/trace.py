"""What a model says about one batch: its latent variables, their priors, and the likelihood of the data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd


@dataclass(frozen=True)
class Draw:
    """A draw, and what its density needs.

    Attributes:
        value: what the model sees, shape (*sample, *batch, *event).
        point: None, or other coordinates of the value, in which its density is exact where float32 has rounded the
            value itself: the logits of a relaxed draw. `at_points` makes a distribution that takes them.
        log_prob: None, or the log-density of the draw under the distribution it came from, nats, shape
            (*sample, *batch), where that is a by-product of drawing: of a flow, whose map need not be inverted.
        slope: None, or the gradient of `log_prob` with respect to the value, of its shape, from the noise of the draw.
    """

    value: tf.Tensor
    point: tf.Tensor | None = None
    log_prob: tf.Tensor | None = None
    slope: tf.Tensor | None = None

    def along(self, path: Callable[[tf.Tensor], tf.Tensor]) -> "Draw":
        """The draw, with its value and its point sent through `path`, which changes their gradients alone."""
        return replace(self, value=path(self.value), point=None if self.point is None else path(self.point))


def draw_from(distribution: tfd.Distribution, sample_shape: Sequence, seed: tf.Tensor) -> Draw:
    """Draws, shape (*sample_shape, *batch, *event), by the distribution's method `draw` where it has one."""
    if hasattr(distribution, "draw"):
        return distribution.draw(sample_shape, seed)
    return Draw(distribution.sample(sample_shape, seed=seed))


def at_points(distribution: tfd.Distribution) -> tfd.Distribution:
    """The distribution whose log_prob takes the points of draws, and gives the log-density of their values.

    A distribution that has points says how by a method `at_points`; one that is made of others, such as a mixture,
    is made of theirs.

    Raises:
        TypeError: for a distribution without points.
    """
    if hasattr(distribution, "at_points"):
        return distribution.at_points()
    parts = {
        name: at_points(part)
        for name, part in distribution.parameters.items()
        if isinstance(part, tfd.Distribution) and name != "mixture_distribution"
    }
    if not parts:
        raise TypeError(
            "The density of a relaxed draw needs a prior of relaxed variables, or a mixture of them. "
            f"Received: {distribution.name}."
        )
    return distribution.copy(**parts)


def is_reparameterized(distribution: tfd.Distribution) -> bool:
    """Whether draws carry gradients to all parameters of a distribution."""
    return distribution.reparameterization_type == tfd.FULLY_REPARAMETERIZED


@dataclass(frozen=True)
class Latent:
    """Draws of one latent variable, with the posterior they came from and their prior.

    Attributes:
        value: draws, shape (samples, batch, *event); None for a variable that is not drawn: the likelihood sums it out,
            or takes the mean of log p(x | z) over it. It needs a KL in closed form, which stands for -log_ratio too.
        posterior: q(z | x), batch shape (batch,) or (samples, batch).
        prior: p(z | parents), batch shape (), (batch,) or (samples, batch).
        path: what the draws went through on their way to the model, where the objective asked for it; see
            `keras_vae.sampling`.
        closed_form: False where the prior depends on the draws themselves, so that the KL of the two distributions is
            not the expectation of -log_ratio.
        present: None, or how far the variable is there, from 0 to 1, shape (samples, batch): a factor on its log
            densities and its KL, for objects that may be absent and steps past the end.
        drawn: None, or the draw that `value` is of, with what its density needs.
    """

    value: tf.Tensor | None
    posterior: tfd.Distribution
    prior: tfd.Distribution
    path: Any = None
    closed_form: bool = True
    present: tf.Tensor | None = None
    drawn: Draw | None = None

    @property
    def needs_score(self) -> bool:
        """Whether there are draws, which carry no gradient: that of their posterior needs a score function."""
        return self.value is not None and not is_reparameterized(self.posterior)

    def log_prob_under(self, distribution: tfd.Distribution, expand: int | None = None) -> tf.Tensor:
        """Log-density of the draws under any distribution of their kind, nats.

        Args:
            distribution: of a batch shape that broadcasts to that of the draws.
            expand: None, or the axis at which the draws get a new one of length 1.
        """
        point = None if self.drawn is None else self.drawn.point
        if point is not None:
            distribution = at_points(distribution)
        values = self.value if point is None else point
        return distribution.log_prob(values if expand is None else tf.expand_dims(values, expand))

    @cached_property
    def log_prior(self) -> tf.Tensor:
        """log p(z) at the draws, nats, shape (samples, batch)."""
        return self._where_present(self.log_prob_under(self.prior))

    @cached_property
    def log_posterior(self) -> tf.Tensor:
        """log q(z | x) at the draws, nats, shape (samples, batch)."""
        if self.drawn is not None and self.drawn.log_prob is not None:
            return self._where_present(self.drawn.log_prob)
        return self._where_present(self.log_prob_under(self.posterior))

    @cached_property
    def log_ratio(self) -> tf.Tensor:
        """log p(z) - log q(z | x) at the draws, nats, shape (samples, batch)."""
        return -self.kl if self.value is None else self.log_prior - self.log_posterior

    @cached_property
    def log_ratio_along_path(self) -> tf.Tensor:
        """`log_ratio`, whose gradient reaches the parameters of q through the draws only, not through its density."""
        if self.value is None:
            return -self.kl
        if self.drawn is not None and self.drawn.log_prob is not None and self.drawn.slope is not None:
            log_prob, slope = map(tf.stop_gradient, (self.drawn.log_prob, self.drawn.slope))
            moved = slope * (self.value - tf.stop_gradient(self.value))  # is 0, but for its gradient
            log_posterior = log_prob + tf.reduce_sum(moved, axis=list(range(len(log_prob.shape), len(moved.shape))))
        else:
            log_posterior = self.log_prob_under(stopped(self.posterior))
        return self.log_prior - self._where_present(log_posterior)

    @cached_property
    def exact_kl(self) -> tf.Tensor | None:
        """KL(q(z | x) || p(z)), nats, shape (samples, batch), where it has a closed form, else None."""
        if not self.closed_form:
            return None
        try:
            exact = self.posterior.kl_divergence(self.prior)
        except NotImplementedError:  # TFP's answer for a pair of families without a registered closed form
            return None
        return self._where_present(exact if self.value is None else tf.broadcast_to(exact, tf.shape(self.value)[:2]))

    @cached_property
    def kl(self) -> tf.Tensor:
        """KL(q(z | x) || p(z)), nats, shape (samples, batch): exact where there is a closed form, else -log_ratio."""
        if self.exact_kl is not None:
            return self.exact_kl
        if self.value is None:
            raise TypeError(
                "A latent variable that is not drawn needs a KL in closed form. "
                f"Received: {self.posterior.name} and {self.prior.name}."
            )
        return -self.log_ratio

    def _where_present(self, nats: tf.Tensor) -> tf.Tensor:
        return nats if self.present is None else tf.math.multiply_no_nan(nats, self.present)


@dataclass(frozen=True)
class Signal:
    """What a score function goes by for one latent variable, whose draws carry no gradient.

    Attributes:
        gain: nats, shape (samples, batch): what of the bound, log p(x | z) less the KL, depends on the draw, and less
            anything that does not.
        seen: what is known before the draw, by which a baseline expects the gain, shape (samples, batch, features).
    """

    gain: tf.Tensor
    seen: tf.Tensor


@dataclass(frozen=True)
class Trace:
    """One pass of a model over a batch.

    Attributes:
        observed: the data, shape (batch, *event), float32, or whatever the log_prob of the likelihood takes.
        likelihood: p(x | z), batch shape (samples, batch); None for a model without an encoder, whose draws of z are of
            no example.
        latents: the latent variables by name; empty for a model without any.
        terms: what else is minimised, by name: commitment, supervised, ..., each of shape (samples, batch) or
            (batch,). Objectives add them to the loss, with the weights of `Weighted`; they are no part of the bound.
        context: None, or what a baseline or a critic of the objective may look at in place of `observed`.
        units: how many units each example has, by name, shape (batch,), {"token": lengths}: the logs have the bound
            in nats for each of them.
        uses: how often each example uses each code, by the name of the latent variable, shape (batch, codes of each
            place, levels): the logs have their perplexity.
        real_and_generated: None, or a function to what a critic is to tell apart, computed when it is first asked for:
            the data as networks are to see them, shape (batch, *event), and means of p(x | z) in the same units, shape
            (draws, batch, *event). Their gradient reaches the decoder, and the prior, but no encoder.
        signals: None, or a function to a signal for each latent variable whose draws carry no gradient, by name.
    """

    observed: tf.Tensor
    likelihood: tfd.Distribution
    latents: dict[str, Latent] = field(default_factory=dict)
    terms: dict[str, tf.Tensor] = field(default_factory=dict)
    context: Any = None
    units: dict[str, tf.Tensor] = field(default_factory=dict)
    uses: dict[str, tf.Tensor] = field(default_factory=dict)
    real_and_generated: Callable[[], tuple[tf.Tensor, tf.Tensor]] | None = None
    signals: Callable[[], dict[str, Signal]] | None = None

    @property
    def seen(self):
        """What a baseline may look at: `context`, or else the data."""
        return self.observed if self.context is None else self.context

    @cached_property
    def log_likelihood(self) -> tf.Tensor:
        """log p(x | z) at the draws, nats, shape (samples, batch).

        Raises:
            TypeError: for a trace without a likelihood.
        """
        if self.likelihood is None:
            raise TypeError(
                "log p(x | z) needs a model that infers z of an example. Received: a trace without a likelihood, such "
                "as that of GAN."
            )
        return self.likelihood.log_prob(self.observed)

    @cached_property
    def kl(self) -> tf.Tensor:
        """Sum over the latents of their KL, nats, shape (samples, batch)."""
        return sum((latent.kl for latent in self.latents.values()), tf.zeros_like(self.log_likelihood))

    @cached_property
    def log_joint(self) -> tf.Tensor:
        """log p(x, z) at the draws, nats, shape (samples, batch); a variable that is summed out is no part of z."""
        return sum((latent.log_prior for latent in self.drawn.values()), self.log_likelihood)

    @cached_property
    def log_posterior(self) -> tf.Tensor:
        """log q(z | x) at the draws, nats, shape (samples, batch)."""
        return sum((latent.log_posterior for latent in self.drawn.values()), tf.zeros_like(self.log_likelihood))

    @property
    def drawn(self) -> dict[str, Latent]:
        """The latent variables that are drawn, by name."""
        return {name: latent for name, latent in self.latents.items() if latent.value is not None}

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
