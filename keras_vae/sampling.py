"""Randomness as an input: how many draws a model makes, and from which seed."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import tensorflow as tf


class Sampler:
    """Says how many draws are made and hands out one seed for each random variable.

    Args:
        samples: draws per example, an integer or an integer scalar tensor; None draws once and opens no sample axis.
        seed: int32 tensor of shape (2,), or None for noise that differs at each call (and follows
            `keras.utils.set_random_seed`).
    """

    def __init__(self, samples=1, seed: tf.Tensor | None = None):
        self.samples = samples
        self.seed = seed
        self.drawn = 0

    def next_seed(self) -> tf.Tensor:
        """A seed, int32 of shape (2,), that no other random variable of this pass gets."""
        if self.seed is None:
            return tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        self.drawn += 1
        return tf.random.experimental.stateless_fold_in(self.seed, self.drawn)


# A context variable and not an attribute of the model: replicas of a distribution strategy run in threads of their own.
_current: ContextVar[Sampler | None] = ContextVar("sampler", default=None)


def current_sampler() -> Sampler:
    """The sampler of the innermost `sampling` block; one draw of fresh noise outside of any."""
    return _current.get() or Sampler()


@contextmanager
def sampling(samples=1, seed: tf.Tensor | None = None) -> Iterator[Sampler]:
    """Sets the number of draws and the seed of every model called inside the block; see `Sampler`."""
    token = _current.set(Sampler(samples, seed))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


def fold(seed, *numbers) -> tf.Tensor:
    """A new seed from a seed and any integers, such as a step and a replica.

    Args:
        seed: int32 tensor of shape (2,), an integer or an integer scalar tensor.
        *numbers: integers or integer scalar tensors.

    Returns:
        int32 tensor of shape (2,).
    """
    seed = tf.cast(seed, tf.int32)
    if seed.shape.rank == 0:
        seed = tf.stack([seed, tf.zeros_like(seed)])
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int32))
    return seed
