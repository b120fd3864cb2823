"""Draws of counts and of Gamma variables by rejection, from the package's own noise: the same with XLA and without.

A proposal is accepted or not by a comparison of floating-point numbers: where the two are equal but for rounding, about
once in 10^6 draws, XLA may decide otherwise. The draws carry no gradient.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from keras_vae.distributions.special import stirling_rest
from keras_vae.noise import fold, standard_normal, uniform

FEW = 10.0  # a rate below is drawn by multiplying uniforms
MANY = 2.0**24  # above it float32 holds no single counts, and Poisson's distribution is the normal one to 2e-4


def poisson(log_rate: tf.Tensor, shape, seed) -> tf.Tensor:
    """Draws of Poisson's distribution, float32 of `shape`, for log rates of a shape that broadcasts to it.

    Rates up to 10 by products of uniforms, up to 2^24 by transformed rejection with squeeze, larger ones by rounding
    normal draws.

    Reference: Hoermann 1993, "The transformed rejection method for generating Poisson random variables" (PTRS).
    """
    rate = tf.broadcast_to(tf.exp(log_rate), shape)
    few = _few(tf.minimum(rate, FEW), fold(seed, 0))
    some = _some(tf.clip_by_value(rate, FEW, MANY), fold(seed, 1))
    many = tf.round(rate + tf.sqrt(rate) * standard_normal(shape, fold(seed, 2)))
    return tf.stop_gradient(tf.where(rate < FEW, few, tf.where(rate < MANY, some, many)))


def _few(rate: tf.Tensor, seed) -> tf.Tensor:
    """How many exponential steps fit into the rate."""

    def step(number, left, count):
        left += tf.math.log(uniform(tf.shape(rate), fold(seed, number)))
        return number + 1, left, count + tf.cast(left > 0, tf.float32)

    return tf.while_loop(lambda number, left, count: tf.reduce_any(left > 0), step, [0, rate, tf.zeros_like(rate)])[2]


def _some(rate: tf.Tensor, seed) -> tf.Tensor:
    """PTRS, for rates of 10 and more."""
    b = 0.931 + 2.53 * tf.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    squeeze = 0.9277 - 3.6224 / (b - 2)

    def propose(seed):
        u, v = uniform(tf.shape(rate), fold(seed, 0)) - 0.5, uniform(tf.shape(rate), fold(seed, 1))
        us = 0.5 - tf.abs(u)
        count = tf.floor((2 * a / us + b) * u + rate + 0.43)
        possible = (count >= 0) & ((us >= 0.013) | (v <= us))
        log_ratio = tf.math.log(v * inverse_alpha / (a / us**2 + b))
        accepted = ((us >= 0.07) & (v <= squeeze)) | (possible & (log_ratio <= _log_mass(tf.maximum(count, 0), rate)))
        return count, accepted

    return _first_accepted(propose, rate, seed)


def _log_mass(count: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """count log rate - rate - log count!, whose large parts are taken together."""
    z = count + 1
    ahead = (z - rate) / rate  # more than -1
    distance = rate * ((1 + ahead) * tf.math.log1p(ahead) - ahead)
    return 0.5 * tf.math.log(z / (2 * math.pi)) - tf.math.log(rate) - distance - stirling_rest(z)


def log_gamma(log_concentration: tf.Tensor, shape, seed) -> tf.Tensor:
    """Logarithms of draws of the Gamma distribution of rate 1, float32 of `shape`.

    Gamma(a) is Gamma(a + 1) uniform^(1 / a): a concentration near 0 is drawn as well as any other.

    Reference: Marsaglia & Tsang 2000, "A simple method for generating gamma variables".
    """
    log_concentration = tf.broadcast_to(log_concentration, shape)
    concentration = tf.exp(log_concentration)
    d = concentration + 2 / 3
    c = tf.math.rsqrt(9 * d)

    def propose(seed):
        normal = standard_normal(shape, fold(seed, 0))
        log_v = 3 * tf.math.log1p(tf.maximum(c * normal, -0.999999))
        log_ratio = normal**2 / 2 + d * (1 - tf.exp(log_v) + log_v)
        return log_v, (c * normal > -0.999999) & (tf.math.log(uniform(shape, fold(seed, 1))) < log_ratio)

    boosted = tf.math.log(d) + _first_accepted(propose, d, fold(seed, 0))
    log_uniform = tf.math.log(uniform(shape, fold(seed, 1)))
    return tf.stop_gradient(boosted + log_uniform * tf.exp(-tf.maximum(log_concentration, -80.0)))


def _first_accepted(propose: Callable, like: tf.Tensor, seed) -> tf.Tensor:
    """For each place the first proposal that is accepted."""

    def step(number, accepted, chosen):
        proposal, fits = propose(fold(seed, number))
        return number + 1, accepted | fits, tf.where(accepted, chosen, proposal)

    nothing = tf.zeros_like(like, tf.bool)
    return tf.while_loop(
        lambda number, accepted, chosen: ~tf.reduce_all(accepted), step, [0, nothing, tf.zeros_like(like)]
    )[2]
