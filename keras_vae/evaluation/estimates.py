"""A number for each example, estimated from draws: the mean of all, and how far it may be off."""

import math
from dataclasses import dataclass

import numpy as np


class OverExamples:
    """What follows from a number for each example.

    Attributes:
        values: shape (examples,).
    """

    values: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over the examples, nats."""
        return float(np.mean(self.values, dtype=np.float64))

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the examples, which are thought of as drawn too; NaN for a single one."""
        count = len(self.values)
        return math.nan if count < 2 else float(np.std(self.values, ddof=1, dtype=np.float64) / math.sqrt(count))


@dataclass(frozen=True)
class ByExample(OverExamples):
    """A number for each example of a data set.

    Attributes:
        values: nats, shape (examples,).
    """

    values: np.ndarray

    def __str__(self) -> str:
        return f"{self.mean:.2f} +- {self.standard_error:.2f}"

    __repr__ = __str__  # what a notebook shows


class FromDraws(OverExamples):
    """What follows from a number for each example and its error.

    Attributes:
        errors: standard error of each value over its draws, shape (examples,).
    """

    errors: np.ndarray

    @property
    def error_of_draws(self) -> float:
        """Standard error of the mean over the draws: what another seed would change, on the same examples."""
        return float(np.sqrt(np.sum(self.errors**2)) / len(self.values))


@dataclass(frozen=True)
class Estimates(FromDraws):
    """A number for each example, in nats, each estimated from draws of z.

    Attributes:
        values: shape (examples,).
        errors: standard error of each value over the draws, shape (examples,).
    """

    values: np.ndarray
    errors: np.ndarray

    @classmethod
    def of_draws(cls, values: np.ndarray) -> "Estimates":
        """Means over the first axis of draws, shape (draws, examples)."""
        return cls(values.mean(axis=0), errors_of_means(values))

    def __str__(self) -> str:
        return f"{self.mean:.4f} +- {self.standard_error:.4f} (draws: {self.error_of_draws:.4f})"

    __repr__ = __str__  # what a notebook shows


def errors_of_means(draws: np.ndarray) -> np.ndarray:
    """Standard errors of means over the first axis; NaN for a single draw."""
    if len(draws) < 2:
        return np.full(draws.shape[1:], np.nan)
    return draws.std(axis=0, ddof=1) / math.sqrt(len(draws))
