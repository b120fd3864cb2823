"""What is minimised."""

import tensorflow as tf

from keras_vae.serializable import Serializable
from keras_vae.trace import Trace


class Objective(Serializable):
    """Turns a `Trace` into one loss per example; passed to `compile(loss=...)` and saved with the model.

    Attributes:
        samples: draws from the posterior per example that the objective asks the model for.
    """

    samples: int = 1

    def __call__(self, trace: Trace) -> tf.Tensor:
        """Returns the loss in nats, shape (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method __call__(self, trace).")

    def describe(self) -> str:
        """The objective in words, for `summary()`."""
        return repr(self)
