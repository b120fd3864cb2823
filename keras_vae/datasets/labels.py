"""The class of each example, where a source says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SHOWN = 10  # classes that a line names


@dataclass(frozen=True)
class Labels:
    """A class for each example of each split.

    Attributes:
        classes: their names.
        numbers: by split, the place of each example's class in `classes`, int64 of shape (examples,).
    """

    classes: tuple[str, ...]
    numbers: Mapping[str, np.ndarray]

    def at(self, parts: Mapping[str, np.ndarray]) -> "Labels":
        """Of other splits, by the numbers of their rows in "all"."""
        return Labels(self.classes, {split: self.numbers["all"][rows] for split, rows in parts.items()})

    def among(self, classes: Sequence[str], title: str) -> "Labels":
        """The same labels as places in other classes.

        Raises:
            ValueError: for a class that is not among them.
        """
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            raise ValueError(
                f"datasets.load needs labels of the classes of like: {named(classes)}. Received: {title} with "
                f"{named(unknown)}."
            )
        places = np.array([classes.index(name) for name in self.classes], np.int64)
        return Labels(tuple(classes), {split: places[numbers] for split, numbers in self.numbers.items()})

    def __str__(self) -> str:
        count = len(self.classes)
        return f"labels: {count:,} class{'es' if count > 1 else ''}: {named(self.classes)}"

    __repr__ = __str__  # what a notebook shows


def named(classes: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(classes[:SHOWN]) + (", ..." if len(classes) > SHOWN else "")


def labels_of(values: Mapping[str, np.ndarray], sizes: Mapping[str, int], title: str) -> Labels | str:
    """The labels in arrays of one value for each example, or why they are none, in words.

    Args:
        values: by split, or of "all"; whole numbers, texts or booleans of shape (examples,) or (examples, 1).
        sizes: the number of examples of each.
        title: what they are of, for messages.

    Raises:
        ValueError: for arrays that are not as long as there are examples.
    """
    for split, array in values.items():
        if array.shape[:1] != (sizes[split],):
            of = "" if split == "all" else f" of {split}"
            raise ValueError(
                f"datasets.load needs one label for each of the {sizes[split]:,} examples{of}. Received: {title} with "
                f"labels of shape {array.shape}."
            )
    for array in values.values():
        if array.shape not in ((len(array),), (len(array), 1)):
            return f"labels: left out, for targets of shape {array.shape} are no classes"
        if array.dtype.kind not in "biuUS":
            return f"labels: left out, for targets of dtype {array.dtype} are no classes"
    missing = sorted(set(sizes) - set(values))
    if missing:
        return f"labels: left out, for there are none of {' and '.join(missing)}"
    flat = np.concatenate([array.ravel() for array in values.values()])
    found, places = np.unique(flat, return_inverse=True)
    if len(found) == len(flat):
        return f"labels: left out, for all {len(flat):,} are different"
    names = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in found.tolist())
    parts = np.split(places.astype(np.int64), np.cumsum([len(array) for array in values.values()])[:-1])
    return Labels(names, dict(zip(values, parts, strict=True)))
