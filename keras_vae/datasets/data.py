"""Examples -> train, validation and test pipelines of observations."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_vae.batches import CALLS, ahead, number_of_batches
from keras_vae.datasets.columns import Table
from keras_vae.datasets.rows import Rows
from keras_vae.distributions import Bernoulli, Columns, DistributionLayer, LearnedScaleNormal
from keras_vae.noise import fold

BLOCK = 256  # rows that share a fixed draw; not the batch size, so that the draw does not depend on that
SAMPLE = 2**22  # values looked at, where looking at all of them would mean reading all files


@dataclass(frozen=True)
class Source:
    """Examples as they are stored, before they become observations.

    Attributes:
        name: what `load` was asked for.
        splits: `train`, `validation` and `test`.
        levels: the value of white, where the examples are grey levels or colours from 0; None where they are not.
        columns: names of the columns of a table.
        table: of rows that are observations already, their columns of kinds of their own.
    """

    name: str
    splits: Mapping[str, Rows]
    levels: float | None = None
    columns: tuple[str, ...] | None = None
    table: Table | None = None


@dataclass(frozen=True)
class Data:
    """Pipelines of observations, float32 batches of shape (batch, *shape), and what to know about them.

    Attributes:
        name: what was loaded.
        train: shuffled anew in each epoch; binary observations of grey levels are drawn anew, too.
        validation, test: in a fixed order, with one fixed draw.
        shape: of one observation.
        value_range: smallest and largest value of an observation; of large data, of a sample.
        likelihood: the distribution layer that fits.
        sizes: number of examples by split.
        observation: in words, what was done to the stored values.
        columns: names of the columns of a table, or None.
        offset, scale: observation = (stored value - offset) / scale; 0 and 1 for binary data.
        table: of columns of different kinds: builds their likelihood, and takes observations to typed columns and back.
    """

    name: str
    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    shape: tuple[int, ...]
    value_range: tuple[float, float]
    likelihood: type[DistributionLayer]
    sizes: dict[str, int]
    observation: str
    columns: tuple[str, ...] | None
    offset: np.ndarray
    scale: np.ndarray
    table: Table | None = None

    def __str__(self) -> str:
        sizes = ", ".join(f"{size:,} {name}" for name, size in self.sizes.items())
        shape = "x".join(map(str, self.shape)) + (" images" if len(self.shape) == 3 else " values")
        low, high = self.value_range
        return (
            f"{self.name}: {shape}, {sizes}\n"
            f"Observations: {self.observation}; values from {low:g} to {high:g}; likelihood {self.likelihood.__name__}"
            + (f"\n{self.table}" if self.table else "")
        )


@dataclass(frozen=True)
class Observation:
    """How stored values become observations."""

    words: str
    offset: np.ndarray | float = 0.0
    scale: np.ndarray | float = 1.0
    drawn: bool = False  # the scaled values are probabilities of binary draws

    def __call__(self, stored: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Observations, float32, of stored values of shape (batch, *shape)."""
        values = (tf.cast(stored, tf.float32) - self.offset) / self.scale
        if self.drawn:
            values = draw_binary(values, seed)
        return tf.ensure_shape(values, stored.shape)


def draw_binary(probabilities: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Bernoulli draws, float32 of the shape of `probabilities`.

    A value is compared with 16 random bits, which halves the cost of 32: its probability is met to within 2^-17, and 0
    and 1 exactly.
    """
    words = tf.random.stateless_uniform([(tf.size(probabilities) + 1) // 2], seed, None, None, tf.uint32)
    bits = tf.reshape(tf.bitcast(words, tf.uint16), [-1])[: tf.size(probabilities)]
    uniform = (tf.cast(tf.reshape(bits, tf.shape(probabilities)), tf.float32) + 0.5) / 2**16
    return tf.cast(uniform < probabilities, tf.float32)


def observe(
    source: Source,
    batch_size: int,
    likelihood: type[DistributionLayer] | None,
    seed: int,
    like: Data | None = None,
    drop_remainder: bool = False,
) -> Data:
    """Chooses how values become observations, and builds the pipelines; the arguments are those of `load`."""
    sizes = {name: len(rows) for name, rows in source.splits.items()}
    if drop_remainder and min(sizes.values()) < batch_size:
        raise ValueError(
            f"datasets.load needs a batch in each split for drop_remainder. Received: batch_size={batch_size}, {sizes}."
        )
    train = source.splits["train"]
    sample = train.sample(sample_size(train.shape))
    likelihood, observation = _choose(source, likelihood, sample, like)
    scaled = (sample.astype(np.float32) - observation.offset) / observation.scale
    transformed = source.table or observation  # who knows offset and scale
    return Data(
        name=source.name,
        train=_training(train, observation, seed, batch_size, drop_remainder),
        validation=_evaluation(source.splits["validation"], observation, fold(seed, 1), batch_size, drop_remainder),
        test=_evaluation(source.splits["test"], observation, fold(seed, 2), batch_size, drop_remainder),
        shape=tuple(train.shape),
        value_range=(0.0, 1.0) if observation.drawn else (float(np.nanmin(scaled)), float(np.nanmax(scaled))),
        likelihood=likelihood,
        sizes=sizes,
        observation=observation.words,
        columns=source.columns,
        offset=np.asarray(transformed.offset, np.float32),
        scale=np.asarray(transformed.scale, np.float32),
        table=source.table,
    )


def sample_size(shape: tuple) -> int:
    """Number of examples of this shape that are looked at."""
    return max(100, SAMPLE // math.prod(shape))


def _choose(
    source: Source, likelihood: type[DistributionLayer] | None, sample: np.ndarray, like: Data | None
) -> tuple[type[DistributionLayer], Observation]:
    if source.table:
        return Columns, Observation("columns of different kinds, NaN where a cell is missing")
    binary = bool(np.isin([sample.min(), sample.max()], (0, 1)).all() and ((sample == 0) | (sample == 1)).all())
    if likelihood is None:
        likelihood = Bernoulli if binary or _is_grey(source, sample.shape[1:]) else LearnedScaleNormal
    if issubclass(likelihood, Bernoulli):
        return likelihood, _binary(source, binary, sample)
    return likelihood, _continuous(source, binary, sample, like)


def _is_grey(source: Source, shape: tuple) -> bool:
    return source.levels is not None and len(shape) == 3 and shape[-1] == 1


def _binary(source: Source, binary: bool, sample: np.ndarray) -> Observation:
    if binary:
        return Observation("binary, as stored")
    if source.levels is None:
        raise ValueError(
            "datasets.load needs grey levels or binary values for a Bernoulli likelihood. "
            f"Received: {source.name} with values from {sample.min():g} to {sample.max():g}."
        )
    words = "binary, drawn from the grey levels anew in each training batch, and once for validation and test"
    return Observation(words, scale=source.levels, drawn=True)


def _continuous(source: Source, binary: bool, sample: np.ndarray, like: Data | None) -> Observation:
    if source.levels is not None and source.columns is None:
        return Observation(f"continuous, stored values divided by {source.levels:g}", scale=source.levels)
    if binary or sample.ndim > 2:
        return Observation("continuous, as stored")
    if like is not None:
        return Observation(f"continuous, columns standardised as those of {like.name}", like.offset, like.scale)
    offset, deviation = sample.mean(axis=0, dtype=np.float64), sample.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 0, deviation, 1.0)  # a constant column becomes 0
    words = "continuous, columns standardised by mean and standard deviation of the training data"
    return Observation(words, offset.astype(np.float32), scale.astype(np.float32))


def _training(
    rows: Rows, observation: Observation, seed: int, batch_size: int, drop_remainder: bool
) -> tf.data.Dataset:
    def observe_batch(stored, epoch, number):
        return observation(stored, fold(seed, 0, epoch, number))

    return rows.training(seed, observe_batch, batch_size, drop_remainder)


def _evaluation(
    rows: Rows, observation: Observation, seed: tf.Tensor, batch_size: int, drop_remainder: bool
) -> tf.data.Dataset:
    @tf.autograph.experimental.do_not_convert
    def observe_block(number, stored):
        return observation(stored, fold(seed, number))

    blocks = rows.stored(BLOCK).enumerate().map(observe_block, num_parallel_calls=CALLS)
    count = number_of_batches(len(rows), batch_size, drop_remainder)
    batches = blocks.rebatch(batch_size, drop_remainder).apply(tf.data.experimental.assert_cardinality(count))
    return ahead(batches, batch_size)
