"""Squares, ellipses and hearts whose factors are known: drawn here, from nothing but the numbers below."""

import math

import numpy as np

from keras_vae.datasets.data import Source
from keras_vae.datasets.factors import Factors
from keras_vae.datasets.labels import Labels
from keras_vae.datasets.rows import ArrayRows, split_rows

SIDE = 32  # pixels
SHAPES = ("square", "ellipse", "heart")
SCALES = (7.0, 9.0, 11.0, 13.0)  # square root of the area, in pixels
ROTATIONS = tuple(11.25 * step for step in range(8))  # degrees, less than the quarter turn that a square repeats after
BETWEEN = 0.25  # pixels: edges of upright squares would else lie on the centres of pixels, and areas be far off
PLACES = tuple(10 + BETWEEN + step for step in range(12))  # of the centre of mass: column or row, counted from 0
STRIDE = 8543  # from one image to the next: no factor in common with their number, near its golden section
FACTORS = {"shape": SHAPES, "scale": SCALES, "rotation": ROTATIONS, "x": PLACES, "y": PLACES}


def shapes_source(seed: int) -> Source:
    """All 13,824 images of white shapes on black, one for each setting of the five factors, split at random.

    No two are the same, and nothing in them is random: their entropy is log(13,824) = 9.53 nats. The first ones of a
    split are as varied as all.

    Args:
        seed: of the split.

    Reference: in the spirit of dSprites, Matthey et al. 2017, https://github.com/google-deepmind/dsprites-dataset.
    """
    images, numbers = every_image()
    order = np.arange(len(images)) * STRIDE % len(images)
    images, numbers = images[order], numbers[order]
    parts = split_rows(len(images), seed, "shapes")
    return Source(
        "shapes",
        {split: ArrayRows(images[rows]) for split, rows in parts.items()},
        labels=Labels(SHAPES, {"all": numbers[:, 0]}).at(parts),
        factors=Factors(FACTORS, {"all": numbers}).at(parts),
    )


def every_image() -> tuple[np.ndarray, np.ndarray]:
    """Images, bytes of shape (13824, 32, 32, 1), and the places of their factors' values, int64, (13824, 5).

    The last factor, y, changes from one image to the next, the first one, shape, in three blocks.
    """
    pictures = np.array(
        [_picture(shape, scale, rotation) for shape in SHAPES for scale in SCALES for rotation in ROTATIONS]
    )
    moved = np.zeros((len(pictures), len(PLACES), len(PLACES), SIDE, SIDE), np.uint8)
    for place, column in enumerate(PLACES):
        for other, row in enumerate(PLACES):
            top, left = (SIDE - 1 - int(at) for at in (row, column))
            moved[:, place, other] = pictures[:, top : top + SIDE, left : left + SIDE]
    numbers = np.indices([len(values) for values in FACTORS.values()], np.int64).reshape(len(FACTORS), -1).T
    return moved.reshape(-1, SIDE, SIDE, 1), numbers


def _picture(shape: str, scale: float, rotation: float) -> np.ndarray:
    """A shape in the middle of an image twice as wide and high: white are the pixels whose centres lie in it."""
    x = np.arange(2 * SIDE - 1) - (SIDE - 1 + BETWEEN)
    y = -x[:, np.newaxis]  # upwards
    angle = math.radians(rotation)  # counter-clockwise
    along, across = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    return INSIDE[shape](along / scale, across / scale)


# Of each shape, of area 1 and with its centre of mass at 0, whether it holds a point.


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x), abs(y)) <= 0.5


def _ellipse(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Twice as long as it is high."""
    return math.pi * (x**2 / 2 + 2 * y**2) <= 1


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A square on its corner, with a half disc on each of its two upper sides."""
    side = 1 / math.sqrt(1 + math.pi / 4)
    centre = (math.pi / 16 + 1 / 12) * side**3  # of mass, along either side: that of the half disc, which is not at 0
    u, v = (x + y) / math.sqrt(2) + centre, (y - x) / math.sqrt(2) + centre
    half = side / 2
    discs = np.minimum((u - half) ** 2 + v**2, u**2 + (v - half) ** 2)
    return (np.maximum(abs(u), abs(v)) <= half) | (discs <= half**2)


INSIDE = {"square": _square, "ellipse": _ellipse, "heart": _heart}
