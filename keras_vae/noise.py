"""The noise itself, and the seeds that it is a function of: the same with XLA and without, on every device."""

import math

import tensorflow as tf

# Numbers of seeds. Those from 0 on are of latent variables, and of what a distribution draws to make one draw.
CHUNK = -1  # what is made in parts: CHUNK and the number of the part
DATA = -2  # data, given latent variables of the same seed


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
    # The hash would leave the seed (0, 0) and the number 0 as they are: this one input counts as another.
    nothing = tf.cast(tf.equal(first | second | word, _word(0)), tf.uint32) * _word(0x6A09E667)
    first = _scramble(first + word * _word(0x9E3779B9) + nothing)
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


def logistic(shape, seed) -> tf.Tensor:
    """Draws from the logistic distribution, log(u / (1 - u)) of `uniform`: float32, between -16.7 and 16.7."""
    draws = uniform(shape, seed)
    return tf.math.log(draws) - tf.math.log1p(-draws)


def gumbel(shape, seed) -> tf.Tensor:
    """Draws from the Gumbel distribution, -log(-log u) of `uniform`: float32, between -2.9 and 16.7."""
    return -tf.math.log(-tf.math.log(uniform(shape, seed)))


def categorical(logits: tf.Tensor, shape, seed, temperature=1.0) -> tf.Tensor:
    """Draws of places on the last axis, each with its probability: those of the largest logit + Gumbel noise.

    Args:
        logits: shape (..., places).
        shape: that of the draws, (*sample, ...), an int32 tensor.
        seed: int32 tensor of shape (2,).
        temperature: what the noise is multiplied by; 0 gives the place of the largest logit.

    Returns:
        int32. Two sums may be equal but for rounding, about once in 10^7 draws, which XLA may then order otherwise.
    """
    noise = gumbel(tf.concat([shape, tf.shape(logits)[-1:]], axis=0), seed)
    return tf.argmax(logits + temperature * noise, axis=-1, output_type=tf.int32)


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
