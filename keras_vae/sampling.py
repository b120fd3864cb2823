"""Randomness as an input: how many draws a model makes, from which seed, and the noise itself."""

import math
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


def fold(seed, *numbers) -> tf.Tensor:
    """A new seed from a seed and any integers, such as a step and a replica.

    Args:
        seed: int32 tensor of shape (2,), an integer or an integer scalar tensor.
        *numbers: integers or integer scalar tensors.

    Returns:
        int32 tensor of shape (2,): another one for each other number, and for each other seed.
    """
    seed = tf.cast(seed, tf.int32)
    if seed.shape.rank == 0:
        seed = tf.stack([seed, tf.zeros_like(seed)])
    for number in numbers:
        seed = _fold_one(seed, tf.cast(number, tf.int32))
    return seed


# Functions of TensorFlow, traced once: each use is then one operation to trace, or one call where nothing is traced.
@tf.function(input_signature=[tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.int32)], autograph=False)
def _fold_one(seed: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    word = tf.bitcast(number, tf.uint32)
    first, second = _words(seed)
    first = _scramble(first + word * _word(0x9E3779B9))
    second = _scramble(tf.bitwise.bitwise_xor(second, word) + first)
    return tf.bitcast(tf.stack([first, second]), tf.int32)


def _scramble(word: tf.Tensor) -> tf.Tensor:
    """The finalizer of MurmurHash3 (Appleby 2011): each bit of its word depends on all bits of the given one."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        word = tf.bitwise.bitwise_xor(word, tf.bitwise.right_shift(word, shift)) * _word(factor)
    return word


def uniform(shape, seed) -> tf.Tensor:
    """Draws from the uniform distribution on (0, 1): the same with XLA and without, on every device.

    `tf.random.stateless_uniform` does not promise that, and its counters (Philox, four words of 64-bit products) are
    slow in XLA on a CPU: a millisecond for 5,000 draws inside of a training step. Here each draw is the number of its
    place, encrypted by the 20 rounds of Threefry-2x32.

    Args:
        shape: of the draws, integers or an int32 tensor.
        seed: int32 tensor of shape (2,), the key.

    Returns:
        float32, never 0 or 1: each rests on 23 random bits.

    Reference: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    bits = tf.reshape(_bits_at(tf.range(tf.reduce_prod(shape)), seed), shape)
    return (tf.cast(bits, tf.float32) + 0.5) * 2.0**-23  # exact


@tf.function(input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32)], autograph=False)
def _bits_at(places: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """23 random bits for each place, int32."""
    bits, _ = threefry(_words(seed), (tf.cast(places, tf.uint32), _word(0)))
    return tf.bitcast(tf.bitwise.right_shift(bits, 9), tf.int32)


def standard_normal(shape, seed) -> tf.Tensor:
    """Draws from N(0, 1): those of `uniform`, sent through the inverse of the normal distribution function.

    They are the same with XLA and without but for rounding; float32, between -5.3 and 5.3.
    """
    return math.sqrt(2) * tf.math.erfinv(2 * uniform(shape, seed) - 1)


def threefry(key, counter) -> tuple[tf.Tensor, tf.Tensor]:
    """Threefry-2x32 with 20 rounds: two words, uint32 of one shape, from a key of two words and a counter of two."""
    first, second = key
    keys = (first, second, tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(first, second), _word(0x1BD11BDA)))
    left, right = counter[0] + keys[0], counter[1] + keys[1]
    for number in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[number % 2]:
            left += right
            high, low = tf.bitwise.left_shift(right, rotation), tf.bitwise.right_shift(right, 32 - rotation)
            right = tf.bitwise.bitwise_xor(left, tf.bitwise.bitwise_or(high, low))
        left += keys[(number + 1) % 3]
        right += keys[(number + 2) % 3] + _word(number + 1)
    return left, right


def _words(seed: tf.Tensor) -> list[tf.Tensor]:
    return tf.unstack(tf.bitcast(seed, tf.uint32))


def _word(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)
