"""Where the draws of a distribution are: what may be data, and which posterior may meet which prior.

A distribution layer has one as its attribute `support`.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions.special import exp_in_range, unit_vector


class Support:
    """A set of points. A subclass says which, by `contains` and by its attributes.

    Attributes:
        description: in the plural, for messages about a posterior and a prior: "positive numbers".
        needed: the end of the sentence "... needs values ...", with its full stop: "that are positive."
        stand_in: a number of the set, that stands where a value is missing.
        has_offset: whether a point plus any number is another one; such numbers can be standardised.
        has_scale: whether a point times any positive number is another one.
        log_offset: the c of log(c + value), for numbers of many magnitudes that a network is to take: 0 for positive
            numbers, 1 for counts; None for others.
    """

    description = "numbers"
    needed = "of another kind."
    stand_in = 1.0
    has_offset = False
    has_scale = False
    log_offset: float | None = None

    def contains(self, values):
        """Whether each value may be there: bool, of the shape of the values; of a vector all values or none.

        Args:
            values: tensor or array of numbers, shape (..., *event).
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method contains(self, values).")

    def within(self, other: "Support") -> bool:
        """Whether each point is also one of `other`, and both are measured alike: by counting, length or area."""
        return self == other

    def center(self, distribution: tfd.Distribution) -> tf.Tensor:
        """What a draw is at temperature 0: the mean of its distribution."""
        return distribution.mean()

    def tempered(self, center: tf.Tensor, draws: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
        """Draws whose distance to `center` is multiplied by `temperature`: all of it where none is known, 0 at 0."""
        return tf.where(temperature == 0, center, draws)

    @property
    def hull(self) -> "Support":
        """The smallest convex set around it, where the means of its points are: what a decoder is given for them."""
        return self

    def check(self, title: str, values: np.ndarray, name: str) -> None:
        """Raises `ValueError` where finite values, shape (..., *event), are not all there.

        Args:
            title: what needs them.
            values: array.
            name: what the message calls them.
        """
        if not np.all(self.contains(values)):
            raise ValueError(f"{title} needs {name} {self.needed} Received: {self.received(values)}")

    def received(self, values: np.ndarray) -> str:
        """What to say of values that are not all there, with a full stop."""
        bad = values[~np.asarray(self.contains(values))]
        return f"{bad.size} others, such as {bad[0]}."


@dataclass(frozen=True)
class RealNumbers(Support):
    """All finite numbers."""

    description = "real numbers"
    needed = "that are finite."
    has_offset = True
    has_scale = True

    def contains(self, values):
        return abs(values) < np.inf

    def tempered(self, center, draws, temperature):
        return _towards(center, draws, temperature)


@dataclass(frozen=True)
class PositiveNumbers(Support):
    """Finite numbers above 0."""

    description = "positive numbers"
    needed = "that are positive."
    has_scale = True
    log_offset = 0.0

    def contains(self, values):
        return (values > 0) & (values < np.inf)

    def tempered(self, center, draws, temperature):
        return exp_in_range(_towards(tf.math.log(center), tf.math.log(draws), temperature))

    def within(self, other):
        return isinstance(other, PositiveNumbers | RealNumbers)

    def received(self, values):
        return f"values from {values.min()}."


class _Whole(Support):
    """Of points that can be counted."""

    def center(self, distribution):
        """The mode."""
        return distribution.mode()


class _FromZeroToOne(Support):
    needed = "in [0, 1]."

    def contains(self, values):
        return (values >= 0) & (values <= 1)

    def received(self, values):
        return f"values from {values.min()} to {values.max()}."


@dataclass(frozen=True)
class UnitInterval(_FromZeroToOne):
    """Numbers between 0 and 1, with the ends, which a draw is rounded to."""

    description = "numbers in (0, 1)"
    stand_in = 0.5

    def tempered(self, center, draws, temperature):
        return tf.sigmoid(_towards(_log(center) - _log(1 - center), _log(draws) - _log(1 - draws), temperature))

    def within(self, other):
        return isinstance(other, UnitInterval | PositiveNumbers | RealNumbers)


@dataclass(frozen=True)
class ZerosAndOnes(_Whole, _FromZeroToOne):
    """0 and 1. As data numbers between them pass too, with a warning: they stand for the probability of a one."""

    description = "zeros and ones"

    @property
    def hull(self):
        """Probabilities."""
        return UnitInterval()

    def within(self, other):
        return isinstance(other, ZerosAndOnes | Levels | Counts)

    def check(self, title, values, name):
        super().check(title, values, name)
        if values.dtype.kind == "f" and ((values != 0) & (values != 1)).any():
            warnings.warn(
                f"{title} received {name} between 0 and 1: their log_likelihood is that of binary draws with "
                "these probabilities, not a density of grey levels. Draw binary values, or use another likelihood.",
                stacklevel=4,
            )

    def received(self, values):
        grey_levels = values.min() >= 0 and values.max() <= 255
        return super().received(values) + (" Divide grey levels by 255." if grey_levels else "")


@dataclass(frozen=True)
class Interval(Support):
    """Finite numbers from `low` to `high`, both included."""

    low: float
    high: float

    @property
    def needed(self) -> str:  # type: ignore[override]
        """The end of a sentence."""
        return f"from {self.low:g} to {self.high:g}."

    def contains(self, values):
        return (values >= self.low) & (values <= self.high) & (values < np.inf)


@dataclass(frozen=True)
class Counts(_Whole):
    """Whole numbers from 0."""

    description = "counts"
    needed = "that are counts, 0, 1, 2, ..."
    log_offset = 1.0

    @property
    def hull(self):
        """Numbers of 0 or more."""
        return Interval(0.0, float("inf"))

    def contains(self, values):
        return (values >= 0) & (values < np.inf) & (values % 1 == 0)

    def tempered(self, center, draws, temperature):
        return tf.nn.relu(tf.round(_towards(center, draws, temperature)))


@dataclass(frozen=True)
class Levels(_Whole):
    """0, 1, ..., number - 1."""

    number: int

    @property
    def description(self) -> str:  # type: ignore[override]
        """How they are named beside others."""
        return f"{self.number} levels"

    @property
    def needed(self) -> str:  # type: ignore[override]
        """The end of a sentence."""
        return f"that are 0, 1, ..., {self.number - 1}."

    @property
    def hull(self):
        """Numbers from 0 to the last level."""
        return Interval(0.0, self.number - 1.0)

    def contains(self, values):
        return (values >= 0) & (values < self.number) & (values % 1 == 0)

    def within(self, other):
        return isinstance(other, Counts) or (isinstance(other, Levels) and self.number <= other.number)


@dataclass(frozen=True)
class Grid(_Whole):
    """Numbers in equal steps, `levels` of them, from `low` to `high`; a hundredth of a step off is rounding."""

    levels: int
    low: float
    high: float

    @property
    def description(self) -> str:  # type: ignore[override]
        """How they are named beside others."""
        return f"numbers on a grid of {self.levels} levels from {self.low:g} to {self.high:g}"

    @property
    def stand_in(self) -> float:  # type: ignore[override]
        """The lowest level."""
        return self.low

    @property
    def step(self) -> float:
        """From one level to the next."""
        return (self.high - self.low) / (self.levels - 1)

    @property
    def hull(self):
        """Numbers from the lowest to the highest level."""
        return Interval(self.low, self.high)

    def contains(self, values):
        places = (values - self.low) / self.step
        return (self._off(places) <= 1e-2) & (places > -0.5) & (places < self.levels - 0.5)

    def check(self, title, values, name):
        off = self._off((values - self.low) / self.step)
        if (off > 1e-2).any():
            raise ValueError(
                f"{title} needs {name} on a grid of {self.levels} levels from {self.low:g} to {self.high:g}. "
                f"Received: {values.flat[np.argmax(off)]}, which lies between two."
            )
        super().check(title, values, name)

    @property
    def needed(self) -> str:  # type: ignore[override]
        """The end of a sentence about the range alone."""
        return f"in [{self.low:g}, {self.high:g}]."

    def received(self, values):
        return f"values from {values.min()} to {values.max()}."

    def _off(self, places):
        """Distance to the nearest whole number."""
        return abs((places + 0.5) % 1 - 0.5)


class VectorSupport(Support):
    """Vectors along the last axis; a subclass says which, by `contains_vectors`."""

    def contains_vectors(self, vectors: tf.Tensor) -> tf.Tensor:
        """Whether each vector is there, shape (..., 1), for float32 vectors of shape (..., size)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method contains_vectors(self, vectors).")

    def contains(self, values):
        vectors = tf.cast(values, tf.float32)
        return self.contains_vectors(vectors) & tf.ones_like(vectors, tf.bool)


@dataclass(frozen=True)
class TokenSequences(_Whole, VectorSupport):
    """Whole numbers from 0 to number - 1 along the last axis, none but 0 after the first 0, the end."""

    number: int

    @property
    def description(self) -> str:  # type: ignore[override]
        """How they are named beside others."""
        return f"sequences of {self.number} tokens"

    @property
    def needed(self) -> str:  # type: ignore[override]
        """The end of a sentence."""
        return f"that are tokens from 1 to {self.number - 1}, and 0 from their end on."

    def contains_vectors(self, vectors):
        whole = (vectors >= 0) & (vectors < self.number) & (vectors % 1 == 0)
        after = tf.concat([vectors[..., :1] >= 0, (vectors[..., :-1] != 0) | (vectors[..., 1:] == 0)], axis=-1)
        return tf.reduce_all(whole & after, axis=-1, keepdims=True)

    def received(self, values):
        outside = values[(values < 0) | (values >= self.number) | (values % 1 != 0)]
        if outside.size:
            return f"{outside.size} others, such as {outside[0]}."
        return "a token after a 0."


@dataclass(frozen=True)
class OneHotVectors(_Whole, VectorSupport):
    """Vectors of zeros and a single one."""

    description = "one-hot vectors"
    needed = "with a single one along the last axis."

    @property
    def hull(self):
        """Vectors of probabilities."""
        return SimplexPoints()

    def contains_vectors(self, vectors):
        one, zero = (tf.cast(vectors == number, tf.float32) for number in (1, 0))
        ones, zeros = (tf.reduce_sum(found, axis=-1, keepdims=True) for found in (one, zero))
        return (ones == 1) & (ones + zeros == vectors.shape[-1])

    def received(self, values):
        return "others."


@dataclass(frozen=True)
class SimplexPoints(VectorSupport):
    """Vectors of numbers from 0 to 1 with the sum 1, to a thousandth."""

    description = "points of the simplex"
    needed = "of numbers from 0 to 1 whose sum along the last axis is 1."

    def contains_vectors(self, vectors):
        lowest, total = tf.reduce_min(vectors, axis=-1, keepdims=True), tf.reduce_sum(vectors, axis=-1, keepdims=True)
        return (lowest >= 0) & (abs(total - 1) <= 1e-3)

    def tempered(self, center, draws, temperature):
        return tf.nn.softmax(_towards(_log(center), _log(draws), temperature))

    def received(self, values):
        totals = values.sum(axis=-1)
        return f"values from {values.min()}, sums from {totals.min()} to {totals.max()}."


@dataclass(frozen=True)
class SpherePoints(VectorSupport):
    """Vectors of length 1, to a thousandth."""

    description = "points of the sphere"
    needed = "of length 1."

    @property
    def hull(self):
        """The ball."""
        return BallPoints()

    def contains_vectors(self, vectors):
        return abs(tf.norm(vectors, axis=-1, keepdims=True) - 1) <= 1e-3

    def tempered(self, center, draws, temperature):
        """Along great circles through the mean direction."""
        length = tf.norm(center, axis=-1, keepdims=True)
        middle = unit_vector(center)
        along = tf.reduce_sum(middle * draws, axis=-1, keepdims=True)
        across = draws - along * middle
        angle = temperature * tf.math.atan2(tf.norm(across, axis=-1, keepdims=True), along)
        turned = tf.cos(angle) * middle + tf.sin(angle) * unit_vector(across)
        return tf.where(length > 1e-6, unit_vector(turned), draws)

    def received(self, values):
        lengths = np.linalg.norm(values, axis=-1)
        return f"lengths from {lengths.min()} to {lengths.max()}."


@dataclass(frozen=True)
class BallPoints(VectorSupport):
    """Vectors of length 1 at most, to a thousandth."""

    description = "points of the ball"
    needed = "of length 1 or less."

    def contains_vectors(self, vectors):
        return tf.norm(vectors, axis=-1, keepdims=True) <= 1 + 1e-3


@dataclass(frozen=True)
class Product(Support):
    """Rows of values, each with a support of its own; NaN, a missing value, is in every one.

    Args:
        supports: of the columns.
        sizes: number of values of each of them.
    """

    supports: tuple[Support, ...]
    sizes: tuple[int, ...]

    description = "columns"
    needed = "that are of the kinds of their columns."

    def contains(self, values):
        stops = np.cumsum(self.sizes)
        parts = [values[..., stop - size : stop] for stop, size in zip(stops, self.sizes, strict=True)]
        found = [(part != part) | support.contains(part) for support, part in zip(self.supports, parts, strict=True)]
        return tf.concat(found, axis=-1)

    @property
    def hull(self):
        """The rows of values between those of each column."""
        return Product(tuple(support.hull for support in self.supports), self.sizes)

    def within(self, other):
        if not isinstance(other, Product) or self.sizes != other.sizes:
            return False
        return all(mine.within(its) for mine, its in zip(self.supports, other.supports, strict=True))


def _towards(center: tf.Tensor, draws: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    return center + temperature * (draws - center)


def _log(value: tf.Tensor) -> tf.Tensor:
    """Of a number that a draw may have been rounded to, 0 too."""
    return tf.math.log(tf.maximum(value, 2.0**-126))
