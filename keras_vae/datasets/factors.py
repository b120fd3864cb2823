"""What made each example, where a source knows it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Factors:
    """A value of each factor for each example of each split.

    Attributes:
        values: those of each factor, names or numbers in ascending order, by its name.
        numbers: by split, the places of each example's values in them, int64 of shape (examples, factors).
    """

    values: Mapping[str, tuple]
    numbers: Mapping[str, np.ndarray]

    def at(self, parts: Mapping[str, np.ndarray]) -> "Factors":
        """Of other splits, by the numbers of their rows in "all"."""
        return Factors(self.values, {split: self.numbers["all"][rows] for split, rows in parts.items()})

    def __str__(self) -> str:
        return "factors: " + ", ".join(_values_in_words(name, values) for name, values in self.values.items())

    __repr__ = __str__  # what a notebook shows


def _values_in_words(name: str, values: tuple) -> str:
    if isinstance(values[0], str):
        return f"{name} ({', '.join(values)})"
    return f"{name} ({len(values)} values from {values[0]:g} to {values[-1]:g})"


def in_words(truth: Mapping[str, np.ndarray]) -> str:
    """The names of what is known of each example, with the shapes of those that are not one number."""
    shapes = {name: " x ".join(map(str, values.shape[1:])) for name, values in truth.items()}
    return "truth: " + ", ".join(f"{name} ({shape})" if shape else name for name, shape in shapes.items())
