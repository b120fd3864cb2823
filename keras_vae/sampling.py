"""Randomness as an input: how many draws a model makes, and from which seed."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import tensorflow as tf

from keras_vae.noise import fold


class Sampler:
    """Says how many draws are made and hands out one seed for each random variable.

    Args:
        samples: draws per example, an integer or an integer scalar tensor; None draws once and opens no sample axis.
        seed: int32 tensor of shape (2,), or None for noise that differs at each call (and follows
            `keras.utils.set_random_seed`).
        path: a class whose objects take a draw and return what the model uses in its place, such as `StoppedPath`;
            None is the draw itself.
    """

    def __init__(self, samples=1, seed: tf.Tensor | None = None, path: type | None = None):
        self.samples = samples
        self.seed = seed
        self.path = path
        self.drawn = 0

    def next_seed(self) -> tf.Tensor:
        """A seed, int32 of shape (2,), that no other random variable of this pass gets."""
        if self.seed is None:
            return tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        self.drawn += 1
        return fold(self.seed, self.drawn)


# A context variable and not an attribute of the model: replicas of a distribution strategy run in threads of their own.
_current: ContextVar[Sampler | None] = ContextVar("sampler", default=None)


def current_sampler() -> Sampler:
    """The sampler of the innermost `sampling` block; one draw of fresh noise outside of any."""
    return _current.get() or Sampler()


@contextmanager
def sampling(samples=1, seed: tf.Tensor | None = None, path: type | None = None) -> Iterator[Sampler]:
    """Sets the number of draws and the seed of every model called inside the block; see `Sampler`."""
    token = _current.set(Sampler(samples, seed, path))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


class StoppedPath:
    """Draws that carry no gradient: what a score-function estimator differentiates is their probability alone."""

    def __call__(self, value: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(value)


class WeightedPath:
    """Draws whose gradient, on its way back to the parameters of their posterior, is multiplied by `factor`.

    Attributes:
        factor: shape (samples, batch), set by the objective, which knows it only after the draws have been used.
    """

    def __init__(self):
        self.factor = None

    def __call__(self, value: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient
        def passed_on(value):
            def gradient(upstream):
                axes = [1] * (len(value.shape) - 2)
                return upstream * tf.reshape(self.factor, tf.concat([tf.shape(value)[:2], axes], axis=0))

            return tf.identity(value), gradient

        return passed_on(value)
