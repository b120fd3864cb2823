"""Posteriors that are one point each: codes on a grid, and the vectors that they stand for."""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import fraction, not_negative, whole_number
from keras_vae.distributions.base import DistributionLayer, TensorDistribution, dimensions
from keras_vae.distributions.supports import Levels, Support
from keras_vae.noise import fold, uniform
from keras_vae.replicas import global_sum
from keras_vae.sampling import current_sampler, example_weights


class Quantizer(DistributionLayer):
    """q(codes | x), one point: each place of a grid has codes 0, 1, ..., levels - 1, which stand for a vector.

    The codes are the latent variable; a decoder is given the vectors, `seen`, whose gradient goes straight through to
    what the network has made of x. A subclass says what they are: `levels`, `vector_size`, `codes_of` and `embed`.

    Args:
        event_shape: shape of the codes of one example, (*grid, codes of each place): (7, 7, 1).
        network: from the context to features, (batch, *grid, channels) or (batch, features).
    """

    discrete = True

    @property
    def levels(self) -> int:
        """Number of codes that there are."""
        raise NotImplementedError(f"{type(self).__name__} needs levels, the number of codes.")

    @property
    def vector_size(self) -> int:
        """Length of the vector of a place."""
        raise NotImplementedError(f"{type(self).__name__} needs vector_size, the length of the vector of a place.")

    def codes_of(self, encoded: tf.Tensor) -> tf.Tensor:
        """The codes, int32, shape (..., *event_shape), of encoded places, shape (..., *grid, vector_size)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method codes_of(self, encoded).")

    def embed(self, codes: tf.Tensor) -> tf.Tensor:
        """The vectors, float32, shape (..., *grid, vector_size), of codes, shape (..., *event_shape)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method embed(self, codes).")

    def terms(self, posterior: "Quantized") -> dict[str, tf.Tensor]:
        """What is minimised beside the bound, by name, shape (batch,)."""
        return {}

    def learn(self, posterior: "Quantized") -> None:
        """Called at the end of each training step, with what was encoded in it."""
        del posterior  # see `LatentVariableModel.learn_from`

    @property
    def support(self) -> Support:  # type: ignore[override]
        """0, 1, ..., levels - 1."""
        return Levels(self.levels)

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the places."""
        return self.event_shape[:-1]

    @property
    def params_shape(self) -> tuple[int, ...]:
        """A vector for each place."""
        return (*self.grid, self.vector_size)

    def build(self, context_shape=None):
        if context_shape is None:
            raise ValueError(f"{self._title} is a posterior, and so needs a context. Received: None.")
        super().build(context_shape)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        encoded = self.encoded(params)
        codes = tf.cast(self.codes_of(tf.stop_gradient(encoded)), tf.float32)
        return Quantized(codes, encoded, len(self.event_shape))

    def encoded(self, params: tf.Tensor) -> tf.Tensor:
        """What is quantized, of any real numbers, shape (..., *grid, vector_size)."""
        return params

    def seen(self, codes: tf.Tensor, posterior: "Quantized") -> tf.Tensor:
        """The vectors of codes, shape (..., *grid, vector_size), with the gradient of what was encoded.

        Args:
            codes: of a posterior, shape (..., *event_shape).
            posterior: it.

        Reference: Bengio, Leonard & Courville 2013, arXiv:1308.3432 (straight-through estimator).
        """
        return posterior.encoded + tf.stop_gradient(self.embed(codes) - posterior.encoded)

    def uses(self, posterior: "Quantized") -> tf.Tensor:
        """How often each code stands at a place, shape (batch, codes of each place, levels)."""
        places = math.prod(self.grid)
        codes = tf.reshape(tf.cast(posterior.codes, tf.int32), [-1, places, self.event_shape[-1]])
        return tf.reduce_sum(tf.one_hot(codes, self.levels), axis=1)


class VectorQuantized(Quantizer):
    """Codes of the nearest vectors of a codebook, whose vectors are moving averages of what is encoded as them.

    With several codes for each place, each one quantizes what those before it have left over, by a codebook of its own
    (residual quantization); the vector is the sum of theirs. There is a term "commitment", squared distances of what
    is encoded to its vectors, summed over the places, which `Weighted` weights: {"commitment": 0.25}.

    A code that is hardly used begins anew at a vector of the batch; which one it is, the seed of the step says. The
    vectors are random normal until the first training step, after which those that it did not use begin anew.

    Args:
        event_shape: shape of the codes of one example, (*grid, codes of each place): (7, 7, 1).
        network: from the context to features, (batch, *grid, channels) or (batch, features).
        levels: number of vectors in a codebook, 2 or more.
        vector_size: length of a vector.
        decay: of the moving averages, in [0, 1).
        unused: a code begins anew where it is used less often than this share of the average, 0 or more.

    Reference: van den Oord, Vinyals & Kavukcuoglu 2017, arXiv:1711.00937 (moving averages: appendix A); new starts:
    Dhariwal et al. 2020, arXiv:2005.00341; residual quantization: Lee et al. 2022, arXiv:2203.01941.
    """

    by_gradient = False
    levels: int = 0
    vector_size: int = 0

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        levels: int = 256,
        vector_size: int = 64,
        decay: float = 0.99,
        unused: float = 0.02,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        self.levels = whole_number(self, "levels", levels, least=2)
        self.vector_size = whole_number(self, "vector_size", vector_size)
        self.decay = fraction(self, "decay", decay)
        self.unused = not_negative(self, "unused", unused)

    def build(self, context_shape=None):
        super().build(context_shape)
        depth = self.event_shape[-1]
        shapes = {"codebook": (depth, self.levels, self.vector_size), "use": (depth, self.levels)}
        initializers = {"codebook": keras.initializers.RandomNormal(stddev=1.0), "use": "zeros"}
        self.codebook, self.use = (
            self.add_weight(
                shape=shapes[name],
                initializer=initializers[name],
                name=name,
                trainable=self.by_gradient and name == "codebook",
                dtype="float32",
                aggregation="only_first_replica",  # each replica has new starts of its own
            )
            for name in shapes
        )

    def codes_of(self, encoded):
        left, found = encoded, []
        for codebook in self._codebooks():
            # |left - vector|^2 less |left|^2, which is the same for all vectors
            distances = tf.reduce_sum(codebook**2, axis=-1) - 2 * tf.matmul(left, codebook, transpose_b=True)
            found.append(tf.argmin(distances, axis=-1, output_type=tf.int32))
            left -= tf.gather(codebook, found[-1])
        return tf.stack(found, axis=-1)

    def embed(self, codes):
        each = tf.unstack(tf.cast(codes, tf.int32), axis=-1)
        return tf.add_n([tf.gather(codebook, part) for codebook, part in zip(self._codebooks(), each, strict=True)])

    def terms(self, posterior):
        distances = [self._squares(left - tf.stop_gradient(vectors)) for left, vectors in self._pairs(posterior)]
        return {"commitment": tf.add_n(distances)}

    def learn(self, posterior):
        seed, weights = current_sampler().next_seed(), example_weights(posterior.encoded, 0)
        weights = tf.repeat(weights, math.prod(self.grid))[:, None]  # [rows, 1], a row is a place
        total = tf.reduce_sum(weights)
        averages, uses = [], []
        codes = tf.unstack(posterior.codes, axis=-1)
        for depth, (left, _) in enumerate(self._pairs(posterior)):
            rows = tf.reshape(tf.stop_gradient(left), [-1, self.vector_size])
            of_code = weights * tf.one_hot(tf.reshape(tf.cast(codes[depth], tf.int32), [-1]), self.levels)
            count, sums = global_sum(tf.reduce_sum(of_code, axis=0)), tf.matmul(of_code, rows, transpose_a=True)
            use = self.decay * tf.convert_to_tensor(self.use)[depth] + (1 - self.decay) * count
            codebook = self._codebooks()[depth]
            if not self.by_gradient:  # with `use` examples at the average so far, and these
                change = (1 - self.decay) * (global_sum(sums) - count[:, None] * codebook)
                codebook += tf.math.divide_no_nan(change, use[:, None])
            anew = (use < self.unused * tf.reduce_mean(use)) & (total > 0)
            averages.append(tf.where(anew[:, None], self._some(rows, weights, fold(seed, depth)), codebook))
            uses.append(tf.where(anew, tf.reduce_mean(use), use))
        self.codebook.assign(tf.stack(averages))
        self.use.assign(tf.stack(uses))

    def _codebooks(self) -> list[tf.Tensor]:
        """Of each code of a place, shape (levels, vector_size)."""
        return tf.unstack(tf.convert_to_tensor(self.codebook))

    def _pairs(self, posterior: "Quantized"):
        """What each code of a place quantizes, and its vector, shape (..., *grid, vector_size)."""
        left = posterior.encoded
        codes = tf.unstack(tf.cast(posterior.codes, tf.int32), axis=-1)
        for codebook, each in zip(self._codebooks(), codes, strict=True):
            vectors = tf.gather(codebook, each)
            yield left, vectors
            left -= tf.stop_gradient(vectors)

    def _squares(self, difference: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(difference**2, axis=list(range(-len(self.params_shape), 0)))

    def _some(self, rows: tf.Tensor, weights: tf.Tensor, seed) -> tf.Tensor:
        """`levels` of the rows, drawn by their weights."""
        ends = tf.cumsum(weights[:, 0])
        points = uniform([self.levels], seed) * tf.reduce_sum(weights)
        places = tf.reduce_sum(tf.cast(ends < points[:, None], tf.int32), axis=-1)
        return tf.gather(tf.pad(rows, [[0, 1], [0, 0]]), places)  # the last one is that of a batch without examples


class GradientVectorQuantized(VectorQuantized):
    """`VectorQuantized`, whose codebook is trained as other weights are.

    There is a term "codebook" too: squared distances of the vectors to what is encoded as them, summed over the
    places. The arguments are those of `VectorQuantized`; `decay` is that of the counts which say what is unused.

    Reference: van den Oord, Vinyals & Kavukcuoglu 2017, arXiv:1711.00937 (equation 3).
    """

    by_gradient = True

    def terms(self, posterior):
        distances = [self._squares(tf.stop_gradient(left) - vectors) for left, vectors in self._pairs(posterior)]
        return super().terms(posterior) | {"codebook": tf.add_n(distances)}


class FiniteScalarQuantized(Quantizer):
    """Codes that count the points of a fixed grid: each number of a vector is bounded, and rounded to a few steps.

    There is no codebook, no term beside the bound, and no code that could fall out of use for want of a vector.

    Args:
        event_shape: shape of the codes of one example, (*grid, codes of each place): (7, 7, 1).
        network: from the context to features, (batch, *grid, channels) or (batch, features).
        steps: how many values each number of a vector may have, 2 or more each; their product is the number of codes.
            The vector of a place has as many numbers for each of its codes.

    Reference: Mentzer et al. 2023, arXiv:2309.15505.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        steps: Sequence[int] = (8, 6, 5),
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        self.steps = [whole_number(self, "steps", step, least=2) for step in steps]
        if not self.steps:
            raise ValueError(f"{self._title} needs steps for one number at least. Received: {steps!r}.")

    @property
    def levels(self) -> int:
        """Number of codes."""
        return math.prod(self.steps)

    @property
    def vector_size(self) -> int:
        """Numbers of all codes of a place."""
        return self.event_shape[-1] * len(self.steps)

    def encoded(self, params):
        numbers = tf.reshape(params, [*dimensions(params)[:-1], self.event_shape[-1], len(self.steps)])
        half = self._halves
        # An even number of steps has none at 0: they are half a step off, but for what is rounded.
        offset = np.where(np.array(self.steps) % 2 == 0, 0.5, 0.0).astype(np.float32)
        bounded = tf.tanh(numbers + np.arctanh(offset / half)) * half - offset
        return tf.reshape(bounded / self._units, tf.shape(params))

    @property
    def _halves(self) -> np.ndarray:
        """Half of the length of the steps of a number, a little less than half a step more than is rounded to."""
        return ((np.array(self.steps) - 1) * 1.001 / 2).astype(np.float32)

    @property
    def _units(self) -> np.ndarray:
        """Steps from 0 to 1."""
        return (np.array(self.steps) // 2).astype(np.float32)

    @property
    def _places(self) -> np.ndarray:
        """What a step of each number adds to the code."""
        return np.cumprod([1, *self.steps[:-1]]).astype(np.int32)

    def codes_of(self, encoded):
        numbers = tf.reshape(encoded, [*dimensions(encoded)[:-1], self.event_shape[-1], len(self.steps)])
        digits = tf.cast(tf.round(numbers * self._units) + self._units, tf.int32)
        return tf.reduce_sum(digits * self._places, axis=-1)

    def embed(self, codes):
        digits = tf.cast(codes, tf.int32)[..., None] // self._places % np.array(self.steps, np.int32)
        numbers = tf.cast(digits, tf.float32) / self._units - 1
        return tf.reshape(numbers, [*dimensions(codes)[:-1], self.vector_size])


def check_no_codes(owner: str, posterior: DistributionLayer) -> None:
    """Raises `TypeError` for a posterior whose draws are codes, in a model that gives the draws to its decoder."""
    if isinstance(posterior, Quantizer):
        raise TypeError(
            f"{owner} gives its decoder the draws of the posterior, and needs numbers that mean something. "
            f"Received: {type(posterior).__name__}, whose draws are codes; VQVAE gives the vectors of codes."
        )


class Quantized(TensorDistribution):
    """All of the probability at one point.

    Args:
        codes: it, float32, shape (..., *event).
        encoded: what was quantized, shape (..., *grid, vector_size).
        rank: number of axes of an event.
    """

    def __init__(self, codes: tf.Tensor, encoded: tf.Tensor, rank: int):
        super().__init__(codes, rank, codes=codes, encoded=encoded, rank=rank)
        self.codes, self.encoded = codes, encoded

    def _sample_n(self, n, seed=None):
        return tf.repeat(self.codes[None], n, axis=0)

    def _log_prob(self, value):
        axes = list(range(-len(self.event_shape), 0))
        return tf.where(tf.reduce_all(value == self.codes, axis=axes), 0.0, -float("inf"))

    def _mean(self):
        return self.codes

    def _mode(self):
        return self.codes

    def _variance(self):
        return tf.zeros_like(self.codes)


@tfd.RegisterKL(Quantized, tfd.Distribution)
def _kl_of_a_point(posterior: Quantized, prior: tfd.Distribution, name=None) -> tf.Tensor:
    """-log p(codes)."""
    return -prior.log_prob(posterior.codes)
