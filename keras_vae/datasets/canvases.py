"""Digits on canvases, with their number, their boxes and what they are."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from keras_vae.datasets.rows import split_rows
from keras_vae.datasets.scenes import Scenes, Truth, in_parts_of, in_range, place_objects
from keras_vae.datasets.sprites import box_of
from keras_vae.datasets.tfds import tfds_source

WHITE = 255
INK = 16  # grey levels from which a pixel is within the box of its digit
COVERED = 64  # grey levels that two digits may not both have at one pixel


@dataclass(frozen=True)
class Pictures:
    """Digits that canvases are made of.

    Attributes:
        levels: grey levels, bytes of shape (digits, height, width).
        classes: which digit it is, int64 of shape (digits,).
        numbers: their places in the set that they are of, int64 of shape (digits,).
    """

    levels: np.ndarray
    classes: np.ndarray
    numbers: np.ndarray


@dataclass(frozen=True)
class Canvases(Scenes):
    """Grey canvases with 0 to `most` digits of scikit-learn's, scaled, at random places.

    The digits of validation and test are none of those of train: 80, 10 and 10 % of the 1,797 images, at random. A
    digit that would cover another is drawn anew: no pixel has a quarter of white or more of both, nor more than white
    of them together.

    The truth of each split (`data.truth["test"]`), for each canvas:

    - counts: of digits, int64 of shape (canvases,); they are the labels too;
    - boxes: left, top, right and bottom edge of the ink of each digit, in pixels, float32 of shape (canvases, most, 4),
      NaN where there is none;
    - digits: which digit it is, from 0 to 9, and images: the number of its picture in the set that it is of, int64 of
      shape (canvases, most), -1 where there is none.

    Args:
        side: height and width of a canvas in pixels, 16 or more; pictures of digits are 10/32 to 14/32 of it wide.
        most: the largest number of digits, from 1 to 9; all numbers from 0 to it are as frequent.
        examples: canvases in train.
        held_out: canvases in validation, and as many in test.

    Reference: Eslami et al. 2016, arXiv:1603.08575 (multi-MNIST).
    """

    side: int = 32
    most: int = 3
    examples: int = 20_000
    held_out: int = 2_000

    name: ClassVar[str] = "canvases"
    widths: ClassVar[tuple[float, float]] = 10 / 32, 14 / 32  # of pictures, of the side

    def __post_init__(self):
        super().__post_init__()
        in_range(self, "side", self.side, 16, 1024)
        in_range(self, "most", self.most, 1, 9)

    def material(self, seed: int) -> dict[str, Pictures]:
        """The digits of each split."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        levels = np.rint(digits.images * (WHITE / 16)).astype(np.uint8)
        parts = split_rows(len(levels), seed, self.name)
        return {
            split: Pictures(levels[rows], digits.target[rows].astype(np.int64), rows) for split, rows in parts.items()
        }

    def make(self, count: int, rng: np.random.Generator, material: Pictures) -> tuple[np.ndarray, Truth]:
        """Canvases of some digits, bytes of shape (count, side, side, 1), and the truth about them."""
        return in_parts_of(count, lambda part: self._part(part, rng, material))

    def _part(self, count: int, rng: np.random.Generator, pictures: Pictures) -> tuple[np.ndarray, Truth]:
        counts = rng.integers(0, self.most + 1, count)
        narrow, wide = (round(self.side * width) for width in self.widths)
        # Wider and higher by the largest digit, whose picture may reach over the edges with nothing in it.
        canvases = np.zeros((count, self.side + wide, self.side + wide), np.uint16)
        chosen = np.full((count, self.most), -1, np.int64)
        boxes = np.full((count, self.most, 4), np.nan, np.float32)

        def attempt(rows, places):
            digits, widths = (
                rng.integers(len(pictures.levels), size=len(rows)),
                rng.integers(narrow, wide + 1, len(rows)),
            )
            patches = np.zeros((len(rows), wide, wide), np.uint16)
            for width in range(narrow, wide + 1):
                of_width = widths == width
                patches[of_width, :width, :width] = scaled(pictures.levels[digits[of_width]], width)
            corner = rng.integers(0, self.side - widths + 1, (2, len(rows)))  # left and top
            columns, lines = corner[:, :, None] + np.arange(wide)  # [digits, wide], each
            where = rows[:, None, None], lines[:, :, None], columns[:, None, :]
            there = canvases[where]
            tried = there + patches
            fits = ((tried <= WHITE) & (np.minimum(there, patches) < COVERED)).all(axis=(1, 2))
            canvases[tuple(part[fits] for part in where)] = tried[fits]
            rows, places = rows[fits], places[fits]
            chosen[rows, places] = digits[fits]
            boxes[rows, places] = box_of(patches[fits] >= INK) + np.tile(corner.T[fits], 2)
            return fits

        def empty(rows):
            canvases[rows] = 0

        place_objects(self, counts, attempt, empty)
        there = np.arange(self.most) < counts[:, None]
        truth: Truth = {
            "counts": counts,
            "boxes": boxes,
            "digits": np.where(there, pictures.classes[chosen], -1),
            "images": np.where(there, pictures.numbers[chosen], -1),
        }
        return canvases[:, : self.side, : self.side, None].astype(np.uint8), truth


@dataclass(frozen=True)
class MNISTCanvases(Canvases):
    """Grey canvases with 0 to `most` digits of MNIST, scaled, at random places; as `Canvases` but for the digits.

    Those of test are of MNIST's test set, those of validation the last 10,000 of its training set; pictures are 13/32
    to 15/32 of the side wide, of which the digit fills 20/28. MNIST is read by TensorFlow Datasets.
    """

    name: ClassVar[str] = "mnist_canvases"
    widths: ClassVar[tuple[float, float]] = 13 / 32, 15 / 32

    def material(self, seed: int) -> dict[str, Pictures]:
        """The digits of each split, whatever the seed."""
        mnist = tfds_source("mnist")
        labels = mnist.labels.numbers  # type: ignore[union-attr]  # MNIST has labels
        levels = {split: np.asarray(rows.array)[..., 0] for split, rows in mnist.splits.items()}  # it fits into memory
        return {split: Pictures(levels[split], labels[split], np.arange(len(levels[split]))) for split in levels}


def scaled(levels: np.ndarray, width: int) -> np.ndarray:
    """Grey images (n, height, width) scaled to a width and height, bytes, by triangles that cover a pixel or more."""
    rows, columns = (_triangles(size, width) for size in levels.shape[1:])
    return np.rint(rows @ levels.astype(np.float32) @ columns.T).astype(np.uint8)


def _triangles(size: int, width: int) -> np.ndarray:
    """The weight of each of `size` pixels in each of `width`, float32 of shape (width, size)."""
    middles = (np.arange(width, dtype=np.float32) + 0.5) * size / width
    distances = np.abs(middles[:, None] - (np.arange(size, dtype=np.float32) + 0.5)) / max(1, size / width)
    weights = np.maximum(1 - distances, 0)
    return weights / weights.sum(axis=1, keepdims=True)
