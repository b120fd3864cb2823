"""Many rows as few weighted ones, under which each column has the same likelihood."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from keras_vae.distributions import Columns, DistributionLayer, FixedScaleNormal, LearnedScaleNormal, Normal
from keras_vae.distributions.standardized import InUnits

DIFFERENT = 2**12  # values of a column that are counted; one of more is summed up, or sampled
BLOCK = 2**18  # values that are looked at together


@dataclass(frozen=True)
class WeightedRows:
    """Values of each column, in rows that say nothing about two columns together.

    Attributes:
        values: float64, shape (n, values of a row), NaN where a column has fewer than n.
        weights: of each value, as a share of all rows, float64 of the same shape.
        sampled: names of the columns that are a sample of their values; all others have the likelihood of all.
        kept, rows: the number of rows in the sample, and of all.
    """

    values: np.ndarray
    weights: np.ndarray
    sampled: tuple[str, ...]
    kept: int
    rows: int


def weighted_rows(batches: Iterable[np.ndarray], columns: Columns, most: int, seed: int = 0) -> WeightedRows:
    """Rows in one pass over their batches, in memory that has a bound.

    A column of few different values becomes these, with their counts; one of a normal kind, whose likelihood depends on
    mean and variance alone, two values that have the same. Any other one keeps its values, or where there are more than
    `most` in all rows, those in rows drawn at random.

    Args:
        batches: rows, shape (batch, values), with NaN where a value is missing.
        columns: whose rows these are.
        most: values of rows that are kept.
        seed: of the draw.
    """
    layers = [(name, layer) for name, layer in columns.columns.items() for _ in range(layer.event_shape[0])]
    found = [_Column(layer) for _, layer in layers]
    sample = _Sample(max(1, most // len(layers)), seed)
    for block in _blocks(batches):
        sample.add(block)
        for column, values in zip(found, block.T, strict=True):
            column.add(values[~np.isnan(values)])
    summed = [column.summed(sample.rows) for column in found]
    kept = sample.values
    size = max([len(kept) if pair is None else len(pair[0]) for pair in summed], default=0)
    values, weights = np.full((size, len(layers)), np.nan), np.zeros((size, len(layers)))
    for place, pair in enumerate(summed):
        points, shares = (kept[:, place], np.full(len(kept), 1 / len(kept))) if pair is None else pair
        values[: len(points), place], weights[: len(points), place] = points, shares
    whole = len(kept) == sample.rows
    names = [] if whole else [name for (name, _), pair in zip(layers, summed, strict=True) if pair is None]
    return WeightedRows(values, weights, tuple(dict.fromkeys(names)), len(kept), sample.rows)


def _blocks(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Batches, several of them together where they are small."""
    held: list[np.ndarray] = []
    for batch in batches:
        held.append(batch)
        if sum(part.size for part in held) >= BLOCK:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


class _Column:
    """The values of one column, counted or summed up.

    Reference: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """

    def __init__(self, layer: DistributionLayer):
        kind = layer.layer if isinstance(layer, InUnits) else layer
        self.is_normal = type(kind) in (Normal, FixedScaleNormal, LearnedScaleNormal)
        self.counts: dict[float, int] | None = {}
        self.count, self.mean, self.scatter = 0, 0.0, 0.0

    def add(self, values: np.ndarray) -> None:
        """Adds values, shape (n,), without NaN."""
        if self.is_normal and len(values):
            count, step = self.count + len(values), values.mean() - self.mean
            self.scatter += np.square(values - values.mean()).sum() + step**2 * self.count * len(values) / count
            self.mean += step * len(values) / count
            self.count = count
        elif self.counts is not None:
            for value, count in zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True):
                self.counts[value] = self.counts.get(value, 0) + count
            self.counts = self.counts if len(self.counts) <= DIFFERENT else None

    def summed(self, rows: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Values and their weights; None where all values are needed."""
        if self.is_normal:
            deviation = np.sqrt(self.scatter / max(1, self.count))
            return np.array([self.mean - deviation, self.mean + deviation]), np.full(2, self.count / 2 / rows)
        if self.counts is None:
            return None
        return np.array(list(self.counts)), np.array(list(self.counts.values())) / rows


class _Sample:
    """Rows drawn at random from all that are added: those with the smallest of random numbers."""

    def __init__(self, most: int, seed: int):
        self.most = most
        self.rng = np.random.default_rng(seed)
        self.rows = 0
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []  # keys and rows
        self.limit = np.inf  # no row above it is among the smallest

    def add(self, block: np.ndarray) -> None:
        keys = self.rng.random(len(block))
        self.rows += len(block)
        near = keys < self.limit
        self.parts.append((keys[near], block[near]))
        if sum(len(keys) for keys, _ in self.parts) > 2 * self.most:
            self._shrink()

    def _shrink(self) -> None:
        keys, rows = (np.concatenate(parts) for parts in zip(*self.parts, strict=True))
        if len(keys) > self.most:
            smallest = np.sort(np.argpartition(keys, self.most)[: self.most])
            keys, rows = keys[smallest], rows[smallest]
            self.limit = keys.max()
        self.parts = [(keys, rows)]

    @property
    def values(self) -> np.ndarray:
        """The rows, in their order."""
        self._shrink()
        return self.parts[0][1]
