"""What a model finds in scenes against what is in them: which pixels are one object, and how many objects there are."""

import math
from dataclasses import dataclass

import numpy as np


def foreground_rand_index(masks, found) -> np.ndarray:
    """The adjusted Rand index of the pixels of objects: 1 where those of each object, and no others, are together.

    The ground does not count, nor which number a segment has; segments at random have 0 in the mean. An image of one
    object has 1 where all of it is in one segment, and 0 for a single pixel that is not.

    Args:
        masks: which object each pixel is of, 0 for the ground, whole numbers of shape (images, height, width), such as
            `data.truth["test"]["masks"]`.
        found: segments, whole numbers of shape (images, height, width), or weights of segments, shape (images, height,
            width, segments), of which the largest counts.

    Returns:
        Float64 of shape (images,); NaN for images without objects.

    Raises:
        ValueError: for arrays of other shapes, and for masks or segments that are no whole numbers.

    Reference: Hubert & Arabie 1985, "Comparing partitions"; of the foreground: Greff et al. 2019, arXiv:1903.00450.
    """
    from sklearn.metrics import adjusted_rand_score

    masks, found = np.asarray(masks), np.asarray(found)
    if found.ndim == 4:
        found = found.argmax(axis=-1)
    if masks.ndim != 3 or masks.shape != found.shape:
        raise ValueError(
            "foreground_rand_index needs masks of shape (images, height, width), and segments of the same shape, or "
            f"with an axis of weights behind it. Received: {masks.shape} and {found.shape}."
        )
    for name, array in {"masks": masks, "found": found}.items():
        if array.dtype.kind not in "biu" and not (array == np.rint(array)).all():
            raise ValueError(f"foreground_rand_index needs {name} to be whole numbers. Received: others.")
    scores = [adjusted_rand_score(true[true > 0], ours[true > 0]) for true, ours in zip(masks, found, strict=True)]
    return np.where((masks > 0).any(axis=(1, 2)), scores, np.nan)


@dataclass(frozen=True)
class CountAccuracy:
    """How often the number of objects is right.

    Attributes:
        accuracy: share of the scenes, from 0 to 1.
        standard_error: of the accuracy, over the scenes.
        table: scenes by true number (row) and found number (column), int64 of shape (numbers, numbers).
    """

    accuracy: float
    standard_error: float
    table: np.ndarray

    def __str__(self) -> str:
        scenes = self.table.sum(axis=1)
        by_number = ", ".join(
            f"{right / scenes[number]:.3f} of {scenes[number]:,} with {number}"
            for number, right in enumerate(np.diagonal(self.table))
            if scenes[number]
        )
        return f"count accuracy {self.accuracy:.4f} +- {self.standard_error:.4f}: {by_number}"

    __repr__ = __str__  # what a notebook shows


def count_accuracy(counts, found) -> CountAccuracy:
    """How often as many objects are found as there are.

    Args:
        counts: whole numbers, 0 or more, shape (scenes,), such as `data.truth["test"]["counts"]`.
        found: the same of a model; numbers that are not whole, such as sums of relaxed presences, are rounded.

    Raises:
        ValueError: for arrays of other shapes, no scenes, and numbers that are below 0 or not finite.
    """
    counts, found = np.asarray(counts), np.asarray(found)
    if counts.ndim != 1 or counts.shape != found.shape or not len(counts):
        raise ValueError(
            "count_accuracy needs counts and found of one shape, (scenes,), and one scene or more. "
            f"Received: {counts.shape} and {found.shape}."
        )
    for name, array in {"counts": counts, "found": found}.items():
        if not np.isfinite(array).all() or np.rint(array).min() < 0:
            raise ValueError(f"count_accuracy needs {name} to be finite numbers, 0 or more. Received: others.")
    pair = np.rint(counts).astype(np.int64), np.rint(found).astype(np.int64)
    table = np.zeros([1 + max(map(np.max, pair))] * 2, np.int64)
    np.add.at(table, pair, 1)
    accuracy = float(np.trace(table) / len(counts))
    return CountAccuracy(accuracy, math.sqrt(accuracy * (1 - accuracy) / len(counts)), table)
