"""What is minimised."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

import keras
import tensorflow as tf

from keras_vae.optimizers import REST
from keras_vae.serializable import Serializable
from keras_vae.trace import Trace


class Objective(Serializable):
    """Turns a `Trace` into one loss per example; passed to `compile(loss=...)` and saved with the model.

    An objective keeps no state: one of them may be that of several models.

    Attributes:
        samples: draws from the posterior per example that the objective asks the model for.
        path: what draws go through in training on their way to the model, what makes a `Path` of `keras_vae.sampling`,
            such as one of its classes, or None.
        schedulable: names of the numbers that a callback may set while training, or of dictionaries of them, whose
            numbers are then called "beta.z". Evaluation uses those of the constructor, so that the losses of different
            epochs can be compared.
        groups: Keras layers of the objective's own, by the name of a group: trained and saved with the model, by the
            optimizer of that name where `compile` got one, and by the loss of that name in `losses`.
    """

    samples: int = 1
    path: Callable | None = None
    schedulable: tuple[str, ...] = ()

    def __call__(self, trace: Trace) -> tf.Tensor:
        """Returns the loss in nats, shape (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method __call__(self, trace).")

    @property
    def groups(self) -> dict[str, Sequence[keras.layers.Layer]]:
        """Layers of the objective's own, by group."""
        return {}

    def losses(self, trace: Trace) -> dict[str, tf.Tensor]:
        """The losses that groups minimise in place of the objective, by name, shape (batch,): of a critic, say."""
        return {}

    def weight_of(self, term: str):
        """The weight of a term of the trace in the loss; `Weighted` gives others than 1."""
        return 1.0

    def per_example(self, trace: Trace) -> dict[str, tf.Tensor]:
        """All losses by group, shape (batch,): that of the model is the objective and the weighted terms."""
        terms = [self.weight_of(name) * over_draws(term) for name, term in trace.terms.items()]
        return {REST: sum(terms, self(trace))} | self.losses(trace)

    def check(self, trace: Trace) -> None:
        """Raises `TypeError` for a model that can not be trained with this objective: draws must carry gradients."""
        needs_likelihood(self, trace)
        for name, latent in trace.latents.items():
            if latent.needs_score:
                raise TypeError(
                    f"{type(self).__name__} needs draws that carry gradients to their posterior. Received: a posterior "
                    f"of {name} whose draws do not, {latent.posterior.name}. Use VIMCO or ScoreFunction, for binary "
                    "ones RelaxedELBO, or a relaxed posterior such as RelaxedBernoulli."
                )

    def numbers(self) -> dict[str, float]:
        """The numbers that can be scheduled, by name, as the constructor got them."""
        found: dict[str, float] = {}
        for name in self.schedulable:
            value = getattr(self, name)
            found |= (
                {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
            )
        return {name: float(value) for name, value in found.items()}

    def number(self, name: str):
        """The number, or dictionary of numbers, of this name: the scheduled one in training, else the constructor's."""
        given = _scheduled.get() or {}
        value = getattr(self, name)
        if isinstance(value, dict):
            return {key: given.get(f"{name}.{key}", part) for key, part in value.items()}
        return given.get(name, value)

    def describe(self) -> str:
        """The objective in words, for `summary()`."""
        return repr(self)


_NOTHING: Mapping = MappingProxyType({})
_scheduled: ContextVar[Mapping | None] = ContextVar("scheduled", default=_NOTHING)


@contextmanager
def scheduled(numbers: Mapping[str, tf.Variable] | None) -> Iterator[None]:
    """Inside of the block objectives use these numbers, by name, in place of the constructor's; None evaluates."""
    token = _scheduled.set(numbers)
    try:
        yield
    finally:
        _scheduled.reset(token)


def in_training() -> bool:
    """Whether a loss is to be trained on, and not to be compared with those of other epochs."""
    return _scheduled.get() is not None


def over_draws(term: tf.Tensor) -> tf.Tensor:
    """Mean over the draws, shape (batch,), of a term of shape (samples, batch) or (batch,)."""
    return tf.reduce_mean(term, axis=0) if len(term.shape) == 2 else term


def needs_likelihood(objective: Objective, trace: Trace) -> None:
    """Raises `TypeError` for a trace without a likelihood."""
    if trace.likelihood is None:
        raise TypeError(
            f"{type(objective).__name__} needs a model that infers the latent variables of an example, such as VAE. "
            "Received: one that only generates, such as GAN. Use Adversarial(critic)."
        )


def one_latent(objective: Objective, trace: Trace) -> None:
    """Raises `TypeError` for a trace with more than one latent variable."""
    if len(trace.latents) != 1:
        raise TypeError(
            f"{type(objective).__name__} needs a model with one latent variable: those of a hierarchy depend on each "
            f"other through their parameters. Received: {len(trace.latents)}, {', '.join(trace.latents)}."
        )


def with_gradient_of(value: tf.Tensor, surrogate: tf.Tensor) -> tf.Tensor:
    """The number `value` with the gradient of `surrogate`, both of one shape."""
    return tf.stop_gradient(value - surrogate) + surrogate
