"""Invertible maps of vectors that know their volume, and the distribution of a normal vector that went through some.

Each map has two methods: `forward(x)` returns the image of x, shape (..., size), and log |det d forward / dx|, which
broadcasts against (...); `inverse(y)` returns x and the same number, log |det d forward / dx|.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.distributions.base import TensorDistribution
from keras_vae.noise import standard_normal
from keras_vae.trace import Draw

DRAWS = 64  # that estimate a mean and a standard deviation, at least
PART = 16  # of them at a time: memory for all of them at once would be that of a large batch

Conditioner = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class Reverse:
    """The values in the opposite order."""

    def forward(self, x):
        return x[..., ::-1], 0.0

    inverse = forward


class Inverse:
    """The inverse of another map."""

    def __init__(self, transform):
        self.transform = transform

    def forward(self, x):
        y, log_det = self.transform.inverse(x)
        return y, -log_det

    def inverse(self, y):
        x, log_det = self.transform.forward(y)
        return x, -log_det


class AffineAutoregressive:
    """y[i] = exp(a[i]) x[i] + b[i], where a[i] and b[i] are functions of x[:i]: the Jacobian is triangular.

    Forward takes one pass, the inverse one for each value.

    Args:
        conditioner: from x to a and b, each of the shape of x.
    """

    def __init__(self, conditioner: Conditioner):
        self.conditioner = conditioner

    def forward(self, x):
        log_scale, shift = self.conditioner(x)
        return tf.exp(log_scale) * x + shift, tf.reduce_sum(log_scale, axis=-1)

    def inverse(self, y):
        size = y.shape[-1]

        def solve_next(done, x):
            log_scale, shift = self.conditioner(x)
            return [done + 1, tf.where(tf.range(size) == done, (y - shift) * tf.exp(-log_scale), x)]

        _, x = tf.while_loop(
            lambda done, x: done < size, solve_next, [tf.constant(0), tf.zeros_like(y)], maximum_iterations=size
        )
        return x, tf.reduce_sum(self.conditioner(x)[0], axis=-1)


class Coupling:
    """Keeps the first values; y[i] = exp(a[i]) x[i] + b[i] for the others, with a and b functions of those kept.

    Args:
        kept: how many values are kept.
        conditioner: from the values kept to a and b, each of the shape of the others.
    """

    def __init__(self, kept: int, conditioner: Conditioner):
        self.kept = kept
        self.conditioner = conditioner

    def forward(self, x):
        kept, moved = x[..., : self.kept], x[..., self.kept :]
        log_scale, shift = self.conditioner(kept)
        y = tf.concat([kept, tf.exp(log_scale) * moved + shift], axis=-1)
        return y, tf.reduce_sum(log_scale, axis=-1)

    def inverse(self, y):
        kept, moved = y[..., : self.kept], y[..., self.kept :]
        log_scale, shift = self.conditioner(kept)
        x = tf.concat([kept, (moved - shift) * tf.exp(-log_scale)], axis=-1)
        return x, tf.reduce_sum(log_scale, axis=-1)


class Planar:
    """y = x + u tanh(w'x + b), where u is first moved along w until w'u > -1, so that the map can be inverted.

    w'u becomes (1 - LEAST) (softplus(w'u + log(e - 1)) - 1): that is 0 where u is, and more than LEAST - 1, so that the
    logarithm of the determinant, log(1 + w'u (1 - tanh^2)), stays finite. The inverse is a root of one increasing
    function of the number w'x, found by bisection.

    Args:
        u, w: shape (..., size).
        b: shape (..., 1).
    """

    LEAST = 1e-3  # the smallest determinant
    BISECTIONS = 40

    def __init__(self, u: tf.Tensor, w: tf.Tensor, b: tf.Tensor):
        given = _dot(w, u)
        softplus, at_zero = (tf.math.softplus(a + math.log(math.e - 1)) for a in (given, tf.zeros_like(given)))
        self.gain = (1 - self.LEAST) * (softplus - at_zero)  # w'u, of the u that is used
        self.u = u + (self.gain - given) * w / tf.maximum(_dot(w, w), 1e-12)  # w = 0 is no division by zero
        self.w = w
        self.b = b

    def forward(self, x):
        bend = tf.tanh(_dot(self.w, x) + self.b)  # [..., 1]
        return x + self.u * bend, self._log_det(bend)

    def inverse(self, y):
        bend = tf.tanh(self._solve(_dot(self.w, y)) + self.b)
        return y - self.u * bend, self._log_det(bend)

    def _log_det(self, bend):
        return tf.squeeze(tf.math.log1p(self.gain * (1 - bend**2)), axis=-1)

    def _solve(self, target):
        """The root p = w'x of p + w'u tanh(p + b) = w'y."""

        def image(p):
            return p + self.gain * tf.tanh(p + self.b)

        def halve(low, high):
            middle = (low + high) / 2
            below = image(middle) < target
            return [tf.where(below, middle, low), tf.where(below, high, middle)]

        reach = tf.abs(self.gain) + tf.zeros_like(target)
        low, high = tf.while_loop(
            lambda low, high: True, halve, [target - reach, target + reach], maximum_iterations=self.BISECTIONS
        )
        root = tf.stop_gradient((low + high) / 2)
        # One step of Newton's method: nothing is left to improve, but its gradient is that of the root.
        slope = tf.stop_gradient(1 + self.gain * (1 - tf.tanh(root + self.b) ** 2))
        return root - (image(root) - target) / slope


class Reflection:
    """y = x - 2 v v'x / |v|^2: a Householder reflection, its own inverse, which keeps volumes.

    Args:
        v: shape (..., size).
    """

    def __init__(self, v: tf.Tensor):
        self.unit = v / tf.sqrt(tf.maximum(_dot(v, v), 1e-12))  # v = 0 is no division by zero

    def forward(self, x):
        return x - 2 * self.unit * _dot(self.unit, x), 0.0

    inverse = forward


class TransformedNormal(TensorDistribution):
    """Distribution of value = f(loc + scale e), e ~ N(0, I), where f is a chain of invertible maps.

    log p(value) = log N(e | 0, I) - log |det d value / d e|. `draw` gives the density with the draw, from its noise;
    that of any other value inverts the chain.

    `mean` and `stddev` have no closed form. They are those of fixed draws, 64 or more, whose noise has exactly the
    mean 0 and the covariance I: exact where f is affine, else an estimate, the same at each call.

    Args:
        loc: shape (..., size).
        scale: standard deviations, shape (..., size).
        transforms: the maps, in the order in which noise goes through them.
    """

    def __init__(self, loc: tf.Tensor, scale: tf.Tensor, transforms: Sequence):
        super().__init__(loc, event_axes=1, loc=loc, scale=scale, transforms=transforms)
        self.loc = loc
        self.scale = scale
        self.transforms = tuple(transforms)

    def forward(self, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The value of given noise, and log |det d value / d noise|."""
        value = self.loc + self.scale * noise
        log_det = tf.reduce_sum(tf.math.log(self.scale), axis=-1)
        for transform in self.transforms:
            value, change = transform.forward(value)
            log_det += change
        return value, log_det

    def inverse(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The noise of a given value, and log |det d value / d noise|."""
        value = value + tf.zeros_like(self.loc)  # of the batch shape at least
        log_det = tf.reduce_sum(tf.math.log(self.scale), axis=-1)
        for transform in reversed(self.transforms):
            value, change = transform.inverse(value)
            log_det += change
        return (value - self.loc) / self.scale, log_det

    def tempered_sample(self, sample_shape, seed, temperature) -> tf.Tensor:
        """Draws whose noise is multiplied by `temperature`."""
        return TransformedNormal(self.loc, self.scale * temperature, self.transforms).draw(sample_shape, seed).value

    def draw(self, sample_shape, seed) -> Draw:
        """Draws with their log-density, shape (*sample_shape, *batch, size)."""
        shape = tf.concat([tf.cast(sample_shape, tf.int32), tf.shape(self.loc)], axis=0)
        noise = standard_normal(shape, seed)
        noise.set_shape([*[None] * len(sample_shape), *self.loc.shape])
        value, log_det = self.forward(noise)
        return Draw(value, log_prob=self._log_density(noise, log_det))

    def _sample_n(self, n, seed=None):
        return self.draw([n], tfp.random.sanitize_seed(seed)).value

    def _log_prob(self, value):
        return self._log_density(*self.inverse(value))

    def _log_density(self, noise, log_det):
        squares = tf.reduce_sum(noise**2, axis=-1)
        return -0.5 * (squares + noise.shape[-1] * math.log(2 * math.pi)) - log_det

    def _mean(self):
        return self._moments()[0]

    def _variance(self):
        return self._moments()[1]

    def _moments(self):
        center, _ = self.forward(tf.zeros_like(self.loc))
        noise = fixed_noise(self.loc.shape[-1])
        parts = noise.reshape([-1, PART, *[1] * (len(self.loc.shape) - 1), noise.shape[-1]])

        def add(sums, part):
            distance = self.forward(part)[0] - center  # [PART, ..., size]
            return sums[0] + tf.reduce_sum(distance, axis=0), sums[1] + tf.reduce_sum(distance**2, axis=0)

        sums = tf.foldl(add, tf.constant(parts), (tf.zeros_like(center), tf.zeros_like(center)))
        first, second = (total / len(noise) for total in sums)
        return center + first, tf.nn.relu(second - first**2)


@functools.cache
def fixed_noise(size: int) -> np.ndarray:
    """Normal draws, turned and mirrored so that their mean is 0 and their covariance I; shape (draws, size)."""
    pairs = max(DRAWS // 2, PART * math.ceil(size / PART))
    orthonormal, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(pairs, size)))
    noise = math.sqrt(pairs) * orthonormal
    return np.concatenate([noise, -noise]).astype(np.float32)


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(a * b, axis=-1, keepdims=True)
