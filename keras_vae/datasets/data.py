"""Examples -> train, validation and test pipelines of observations."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import keras
import numpy as np
import tensorflow as tf

from keras_vae.batches import CALLS, ahead, number_of_batches
from keras_vae.datasets.columns import Table
from keras_vae.datasets.factors import Factors, in_words
from keras_vae.datasets.labels import Labels
from keras_vae.datasets.rows import Rows, as_they_are, one_hot, unknown
from keras_vae.distributions import (
    Bernoulli,
    Columns,
    DistributionLayer,
    GreyLevels,
    LearnedScaleNormal,
    Standardized,
    TimeSeries,
)
from keras_vae.distributions.standardized import in_parts
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
        table: of rows whose columns are of kinds of their own.
        notes: what was recognised of a file, and what was left out, in words.
        labels: the class of each example, where the source says it.
        factors: what made each example, where the source knows it.
        truth: by split, arrays of shape (examples, ...) by name: what is in each example, where the source knows it.
        missing: whether series miss values, or are padded by NaN.
    """

    name: str
    splits: Mapping[str, Rows]
    levels: float | None = None
    columns: tuple[str, ...] | None = None
    table: Table | None = None
    notes: tuple[str, ...] = ()
    labels: Labels | None = None
    factors: Factors | None = None
    truth: Mapping[str, Mapping[str, np.ndarray]] | None = None
    missing: bool = False

    def labelled(self, classes: tuple[str, ...] | None = None) -> "Source":
        """Pairs of the examples and their labels, as places in `classes`, or in the source's own.

        Raises:
            ValueError: for a source without labels, and for labels of other classes.
        """
        if self.labels is None:
            raise ValueError(
                "datasets.load needs a source that has labels for labels=True: folders of images by class, an .npz "
                f"file with y beside x, a TFDS set with a label, digits, shapes, sprites or canvases. "
                f"Received: {self.name}, {'; '.join(self.notes) or 'without labels'}."
            )
        labels = self.labels if classes is None else self.labels.among(classes, self.name)
        splits = {
            name: rows.paired(one_hot(labels.numbers[name], len(labels.classes))) for name, rows in self.splits.items()
        }
        return dataclasses.replace(self, splits=splits, labels=labels)

    def numbered(self) -> "Source":
        """Pairs of the examples and their numbers among those of train, -1 for all that are not."""
        splits = {name: rows.paired(as_they_are if name == "train" else unknown) for name, rows in self.splits.items()}
        return dataclasses.replace(self, splits=splits)


@dataclass(frozen=True)
class Data:
    """Pipelines of observations, batches of shape (batch, *shape), and what to know about them.

    Tables, vectors and series are in their own units, float64: the likelihood standardises them. Images are float32.
    With `load(..., labels=True)` batches are pairs of observations and labels, one-hot, float32 of shape (batch,
    classes); with `numbers=True` of observations and their numbers in `train`, int32 of shape (batch,).

    Attributes:
        name: what was loaded.
        train: shuffled anew in each epoch; binary observations of grey levels are drawn anew, too.
        validation, test: in a fixed order, with one fixed draw.
        shape: of one observation: (size,), (steps, channels) of a series, (height, width, channels) of an image or
            (time, height, width, channels) of frames.
        value_range: smallest and largest value of an observation; of large data, of a sample.
        kind: class of the distribution layer that fits; `likelihood` builds the layer.
        sizes: number of examples by split.
        observation: in words, what was done to the stored values.
        columns: names of the columns of a table, or None.
        offset, scale: the networks of a model see (observation - offset) / scale, where `has_units`.
        has_units: whether the likelihood standardises the observations.
        levels: the value of white of grey levels and colours, or None.
        grey_levels: whether observations are grey levels from 0 to white, not fractions of white.
        table: of columns of different kinds: takes observations to typed columns and back.
        notes: what was recognised of a file, and what was left out, in words.
        fingerprint: of the stored training values (of large data, of a sample), the sizes of the splits and what was
            done to the values: other data of the same name have another one. Labels are no part of it.
        labels: by split, the class of each example, its place in `classes`, int64 of shape (examples,); of validation
            and test in the order of the batches. None where the source has none.
        classes: names of the classes, or None.
        mean: where a `Bernoulli` fits, the share of ones of each value in training, shape `shape`; of large data, in a
            sample.
        factors: by split, in the order of `labels`, what made each example: places in `factor_values`, int64 of shape
            (examples, factors). None where the source does not know it, as "shapes" does.
        factor_values: the values of each factor by its name, in the order of the columns of `factors`, or None.
        truth: by split, in the order of `labels`, what is in each example, arrays of shape (examples, ...) by name,
            such as masks, boxes or positions; see `Sprites`, `Canvases`, `Billiards` and `Gravity`. None where the
            source does not know it.
        missing: whether series miss values, or are padded by NaN where they are shorter than others.
    """

    name: str
    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    shape: tuple[int, ...]
    value_range: tuple[float, float]
    kind: type[DistributionLayer]
    sizes: dict[str, int]
    observation: str
    columns: tuple[str, ...] | None
    offset: np.ndarray
    scale: np.ndarray
    has_units: bool = False
    levels: float | None = None
    grey_levels: bool = False
    table: Table | None = None
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    labels: dict[str, np.ndarray] | None = None
    classes: tuple[str, ...] | None = None
    mean: np.ndarray | None = None
    factors: dict[str, np.ndarray] | None = None
    factor_values: dict[str, tuple] | None = None
    truth: dict[str, dict[str, np.ndarray]] | None = None
    missing: bool = False

    def likelihood(self, network: keras.layers.Layer | None = None) -> DistributionLayer:
        """The distribution layer of an observation, in the units of the data.

        Args:
            network: from the context, such as latent variables, to features.

        Returns:
            A layer of class `kind`, a `Bernoulli` adapted to `mean`; of named columns and standardised numbers
            `Standardized` with one, of grey levels `GreyLevels`, of a typed table `Columns`, of series that miss values
            `TimeSeries`.
        """
        if self.table is not None:
            return self.table.likelihood(network)
        if self.missing:
            return TimeSeries(self.step_likelihood(), self.shape[0], network)
        layer = self.kind(self.shape, network)
        if isinstance(layer, Bernoulli) and self.mean is not None:
            layer.adapt(self.mean[None])
        if self.has_units or self.columns is not None:
            return Standardized(layer, self.offset, self.scale, self.columns)
        return GreyLevels(layer, self.levels or 1.0) if self.grey_levels else layer

    def step_likelihood(self, network: keras.layers.Layer | None = None) -> DistributionLayer:
        """The distribution layer of one step of a series, in the units of the data, as `DeepKalmanFilter` needs it.

        Args:
            network: from the context to features.

        Raises:
            ValueError: for data that are no series.
        """
        if len(self.shape) != 2:
            raise ValueError(
                f"Data.step_likelihood needs series of shape (steps, channels). Received: {self.name} of {self.shape}."
            )
        layer = self.kind(self.shape[1:], network)
        return Standardized(layer, self.offset, self.scale) if self.has_units else layer

    def __str__(self) -> str:
        sizes = ", ".join(f"{size:,} {name}" for name, size in self.sizes.items())
        shape = (
            "x".join(map(str, self.shape))
            + (" values", " series (steps x channels)", " images", " frames (time first)")[len(self.shape) - 1]
        )
        low, high = self.value_range
        return (
            f"{self.name}: {shape}, {sizes}\n"
            f"Observations: {self.observation}; values from {low:g} to {high:g}; likelihood {self.kind.__name__}"
            + (f"\n{self.table}" if self.table else f"\ncolumns: {self._names()}" if self.columns else "")
            + (f"\n{Labels(self.classes, self.labels)}" if self.classes and self.labels else "")
            + (f"\n{Factors(self.factor_values, self.factors)}" if self.factor_values and self.factors else "")
            + (f"\n{in_words(self.truth['train'])}" if self.truth else "")
            + "".join(f"\n{note}" for note in self.notes)
        )

    __repr__ = __str__  # what a notebook shows

    def _names(self) -> str:
        names = self.columns or ()
        return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


@dataclass(frozen=True)
class Observation:
    """How stored values become observations."""

    words: str
    levels: float | None = None  # the value of white that stored values are divided by
    dtype: str = "float32"
    drawn: bool = False  # the scaled values are probabilities of binary draws
    white: float = 1.0  # of the observations

    def __call__(self, stored: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Observations of stored values of shape (batch, *shape)."""
        values = tf.cast(stored, self.dtype)
        if self.levels is not None:
            values = values / self.levels
        if self.drawn:
            values = draw_binary(values, seed)
        if self.white != 1:
            values = values * self.white
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
    drop_remainder: bool = False,
    grey_levels: bool = False,
) -> Data:
    """Chooses how values become observations, and builds the pipelines; the arguments are those of `load`."""
    sizes = {name: len(rows) for name, rows in source.splits.items()}
    if drop_remainder and min(sizes.values()) < batch_size:
        raise ValueError(
            f"datasets.load needs a batch in each split for drop_remainder. Received: batch_size={batch_size}, {sizes}."
        )
    train = source.splits["train"]
    sample = train.sample(sample_size(train.shape))
    looked_at = sample if train.array is None else train.array
    values = _Range.of(looked_at)
    kind, observation = _choose(source, likelihood, values, train.shape)
    levels = observation.levels
    grey_levels = grey_levels and levels not in (None, 1)
    if grey_levels:
        observation = _in_grey_levels(observation)
    low, high = (edge / (observation.levels or 1.0) for edge in (values.low, values.high))
    units = None if source.table else _units(kind, observation, looked_at)
    return Data(
        name=source.name,
        train=_training(train, observation, seed, batch_size, drop_remainder),
        validation=_evaluation(source.splits["validation"], observation, fold(seed, 1), batch_size, drop_remainder),
        test=_evaluation(source.splits["test"], observation, fold(seed, 2), batch_size, drop_remainder),
        shape=tuple(train.shape),
        value_range=(0.0, observation.white) if observation.drawn else (low, high),
        kind=kind,
        sizes=sizes,
        observation=observation.words,
        columns=source.columns,
        offset=np.zeros([]) if units is None else units.offset,
        scale=np.ones([]) if units is None else units.scale,
        has_units=units is not None,
        levels=levels,
        grey_levels=grey_levels,
        table=source.table,
        notes=source.notes,
        fingerprint=_fingerprint(sample, sizes, kind.__name__, observation.words, source.columns, str(source.table)),
        labels=dict(source.labels.numbers) if source.labels else None,
        classes=source.labels.classes if source.labels else None,
        mean=_mean(sample) / (levels or 1.0) if issubclass(kind, Bernoulli) else None,
        factors=dict(source.factors.numbers) if source.factors else None,
        factor_values=dict(source.factors.values) if source.factors else None,
        truth={split: dict(known) for split, known in source.truth.items()} if source.truth else None,
        missing=source.missing,
    )


def _mean(array: np.ndarray) -> np.ndarray:
    return np.asarray(array.mean(axis=0, dtype=np.float64))


@dataclass(frozen=True)
class _Range:
    """Smallest and largest of some values, without NaN, and whether all are 0 or 1."""

    low: float
    high: float
    binary: bool

    @classmethod
    def of(cls, array: np.ndarray) -> "_Range":
        """That of an array, which may be a memory-mapped one."""
        low, high, binary = np.nan, np.nan, True
        for part in in_parts(array):
            low = float(np.fmin(low, np.fmin.reduce(part, axis=None)))
            high = float(np.fmax(high, np.fmax.reduce(part, axis=None)))
            binary = binary and {low, high} <= {0.0, 1.0} and bool(((part == 0) | (part == 1)).all())
        return cls(low, high, binary)


def _fingerprint(sample: np.ndarray, *words) -> str:
    digest = hashlib.sha256(repr(words).encode())
    digest.update(np.ascontiguousarray(sample).data)
    return digest.hexdigest()[:16]


def sample_size(shape: tuple) -> int:
    """Number of examples of this shape that are looked at."""
    return max(100, SAMPLE // math.prod(shape))


def _choose(
    source: Source, likelihood: type[DistributionLayer] | None, values: _Range, shape: tuple
) -> tuple[type[DistributionLayer], Observation]:
    if source.table:
        return Columns, Observation("columns of different kinds, NaN where a cell is missing", dtype="float64")
    if likelihood is None:
        likelihood = Bernoulli if values.binary or _is_grey(source, shape) else LearnedScaleNormal
    if issubclass(likelihood, Bernoulli):
        return likelihood, _binary(source, values)
    return likelihood, _continuous(source, values.binary, len(shape))


def _in_grey_levels(observation: Observation) -> Observation:
    """The same observations, from 0 to white in place of from 0 to 1."""
    white = observation.levels or 1.0
    if observation.drawn:
        return replace(observation, words=f"{observation.words}; 0 or {white:g}", white=white)
    return Observation(f"grey levels from 0 to {white:g}, as stored")


def _units(kind: type[DistributionLayer], observation: Observation, array: np.ndarray) -> Standardized | None:
    """The units of observations, or None where they have none."""
    if array.ndim == 3:  # a series: each channel has its units, at all steps
        array = array.reshape(-1, array.shape[-1])
    layer = kind(array.shape[1:])
    if observation.dtype != "float64" or not layer.support.has_scale:
        return None
    standardized = Standardized(layer)
    standardized.adapt(array)
    return standardized


def _is_grey(source: Source, shape: tuple) -> bool:
    return source.levels is not None and len(shape) == 3 and shape[-1] == 1


def _binary(source: Source, values: _Range) -> Observation:
    if values.binary:
        return Observation("binary, as stored")
    if source.levels is None:
        raise ValueError(
            "datasets.load needs grey levels or binary values for a Bernoulli likelihood. "
            f"Received: {source.name} with values from {values.low:g} to {values.high:g}."
        )
    words = "binary, drawn from the grey levels anew in each training batch, and once for validation and test"
    return Observation(words, source.levels, drawn=True)


def _continuous(source: Source, binary: bool, rank: int) -> Observation:
    if source.levels is not None and source.columns is None:
        return Observation(f"continuous, stored values divided by {source.levels:g}", source.levels)
    if binary or rank > 2:
        return Observation("continuous, as stored")
    of = "each channel of train" if rank == 2 else "train"
    words = f"in the units of the data; the likelihood standardises them by mean and standard deviation of {of}"
    return Observation(words, dtype="float64")


def _observed(observation: Observation, stored, seed: tf.Tensor):
    """Observations of what is stored, beside their targets where it has them."""
    if isinstance(stored, tuple):
        return observation(stored[0], seed), stored[1]
    return observation(stored, seed)


def _training(
    rows: Rows, observation: Observation, seed: int, batch_size: int, drop_remainder: bool
) -> tf.data.Dataset:
    def observe_batch(stored, epoch, number):
        return _observed(observation, stored, fold(seed, 0, epoch, number))

    return rows.training(seed, observe_batch, batch_size, drop_remainder)


def _evaluation(
    rows: Rows, observation: Observation, seed: tf.Tensor, batch_size: int, drop_remainder: bool
) -> tf.data.Dataset:
    @tf.autograph.experimental.do_not_convert
    def observe_block(number, stored):
        return _observed(observation, stored, fold(seed, number))

    blocks = rows.stored(BLOCK).enumerate().map(observe_block, num_parallel_calls=CALLS)
    count = number_of_batches(len(rows), batch_size, drop_remainder)
    batches = blocks.rebatch(batch_size, drop_remainder).apply(tf.data.experimental.assert_cardinality(count))
    return ahead(batches, batch_size)
