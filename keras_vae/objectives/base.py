"""What is minimised."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.serializable import Serializable
from keras_vae.trace import Trace

tfd = tfp.distributions


class Objective(Serializable):
    """Turns a `Trace` into one loss per example; passed to `compile(loss=...)` and saved with the model.

    Attributes:
        samples: draws from the posterior per example that the objective asks the model for.
        path: what draws go through in training on their way to the model, a class of `keras_vae.sampling` or None.
        schedulable: names of the numbers that a callback may set while training. Evaluation uses those of the
            constructor, so that the losses of different epochs can be compared.
        layers: Keras layers of the objective's own, trained and saved with the model.
    """

    samples: int = 1
    path: type | None = None
    schedulable: tuple[str, ...] = ()
    layers: tuple[keras.layers.Layer, ...] = ()

    def __call__(self, trace: Trace) -> tf.Tensor:
        """Returns the loss in nats, shape (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method __call__(self, trace).")

    def check(self, trace: Trace) -> None:
        """Raises `TypeError` for a model that can not be trained with this objective: draws must carry gradients."""
        for name, latent in trace.latents.items():
            if latent.posterior.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
                raise TypeError(
                    f"{type(self).__name__} needs draws that carry gradients to their posterior. Received: a posterior "
                    f"of {name} whose draws do not, {latent.posterior.name}. Use VIMCO or ScoreFunction, or a relaxed "
                    "posterior such as RelaxedBernoulli."
                )

    def create_variables(self) -> None:
        """Creates what callbacks set; a model calls it once, when it is compiled."""
        self.variables = {
            name: tf.Variable(float(getattr(self, name)), trainable=False, name=name)
            for name in self.schedulable
            if isinstance(getattr(self, name), int | float)
        }

    def number(self, name: str):
        """The number of this name: the scheduled one in training, the constructor's elsewhere."""
        variables = getattr(self, "variables", {})
        return variables[name] if name in variables and not getattr(self, "_at_rest", False) else getattr(self, name)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Inside of the block the numbers are the constructor's."""
        self._at_rest = True
        try:
            yield
        finally:
            self._at_rest = False

    def describe(self) -> str:
        """The objective in words, for `summary()`."""
        return repr(self)


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
