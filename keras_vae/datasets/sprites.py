"""Coloured shapes on a ground, drawn here, with masks and what each shape is."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from keras_vae.datasets.scenes import Scenes, Truth, bytes_of, in_frame, in_parts_of, in_range, place_objects
from keras_vae.datasets.shapes import INSIDE, SHAPES

HUES = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "yellow": (1, 1, 0),
    "magenta": (1, 0, 1),
    "cyan": (0, 1, 1),
}
SCALES = 6 / 32, 10 / 32  # smallest and largest square root of the area, of the side of the image
REACH = 0.81  # of a scale: no point of a shape is farther from its centre of mass
GROUND = 0.25  # brightest value of a plain ground, from 0 to 1; the shapes have 1
TEXTURE = 0.15  # amplitude of each of the two waves of a texture
WAVES = 1.0, 4.0  # fewest and most waves of a texture across the image
SEEN = 0.5  # of the pixels of a shape, at least, that shapes in front of it leave to be seen


@dataclass(frozen=True)
class Sprites(Scenes):
    """Images of 1 to `most` squares, ellipses and hearts in bright colours on a dark ground of a random colour.

    The truth of each split (`data.truth["test"]`), for each image:

    - masks: which object is seen in each pixel, 1, 2, ..., and 0 for the ground, bytes of shape (images, side, side);
    - counts: of objects, int64 of shape (images,); they are the labels too;
    - shapes and colours: places in `Sprites.shapes` and `Sprites.colours`, int64 of shape (images, most), -1 where
      there is no object;
    - scales: square root of the area, in pixels, and rotations: degrees, counter-clockwise, float32 of shape (images,
      most), NaN where there is no object. A square looks the same after 90 degrees, an ellipse after 180;
    - positions: x to the right and y downwards of the centre of mass, where the edges of the image are -1 and 1,
      float32 of shape (images, most, 2);
    - boxes: left, top, right and bottom edge of the whole shape, in pixels, float32 of shape (images, most, 4).

    Args:
        side: height and width of the images in pixels, 16 or more; scales are 6/32 to 10/32 of it.
        most: the largest number of objects, from 1 to 4; all numbers up to it are as frequent.
        equal_colours: whether all objects of an image have one colour, in place of a colour each.
        overlap: whether an object may hide up to half of another.
        textured: whether grounds are two waves of random colours, in place of one colour.
        examples: images in train.
        held_out: images in validation, and as many in test.

    Reference: in the spirit of Multi-dSprites, Burgess et al. 2019, arXiv:1901.11390.
    """

    side: int = 32
    most: int = 4
    equal_colours: bool = False
    overlap: bool = False
    textured: bool = False
    examples: int = 10_000
    held_out: int = 1_000

    name: ClassVar[str] = "sprites"
    shapes: ClassVar[tuple[str, ...]] = SHAPES
    colours: ClassVar[tuple[str, ...]] = tuple(HUES)

    def __post_init__(self):
        super().__post_init__()
        in_range(self, "side", self.side, 16, 1024)
        in_range(self, "most", self.most, 1, 4)

    def make(self, count: int, rng: np.random.Generator, material: None = None) -> tuple[np.ndarray, Truth]:
        """Images, bytes of shape (count, side, side, 3), and the truth about them."""
        return in_parts_of(count, lambda part: self._part(part, rng))

    def _part(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, Truth]:
        counts = rng.integers(1, self.most + 1, count)
        truth = self._placed(counts, rng)
        orders = np.argsort(rng.random((count, len(HUES))), axis=1)  # [images, hues]
        colours = np.repeat(orders[:, :1], self.most, axis=1) if self.equal_colours else orders[:, : self.most]
        there = np.arange(self.most) < counts[:, None]
        truth["colours"] = np.where(there, colours, -1)
        paints = np.concatenate([np.zeros((count, 1, 3)), np.array(list(HUES.values()))[colours]], axis=1)
        painted = paints[np.arange(count)[:, None, None], truth["masks"]]  # [images, side, side, 3]
        images = np.where(truth["masks"][..., None] > 0, painted, self._grounds(count, rng))
        order = ("masks", "counts", "shapes", "colours", "scales", "rotations", "positions", "boxes")
        return bytes_of(images), {name: truth[name] for name in order}

    def _placed(self, counts: np.ndarray, rng: np.random.Generator) -> Truth:
        """The truth about the objects but for their colours, each of which has found a place."""
        images = len(counts)
        masks = np.zeros((images, self.side, self.side), np.uint8)
        areas = np.ones((images, self.most), np.int64)
        kinds = np.full((images, self.most), -1, np.int64)
        numbers = {name: np.full((images, self.most), np.nan, np.float32) for name in ("scales", "rotations")}
        positions = np.full((images, self.most, 2), np.nan, np.float32)
        boxes = np.full((images, self.most, 4), np.nan, np.float32)
        least = SEEN if self.overlap else 1.0

        def attempt(rows, places):
            kind = rng.integers(len(SHAPES), size=len(rows))
            scale = self.side * rng.uniform(*SCALES, len(rows))
            rotation = rng.uniform(0, 360, len(rows))
            reach = REACH * scale - 0.5  # so that all of it is within the edges
            centre = reach + rng.random((2, len(rows))) * (self.side - 1 - 2 * reach)  # x and y, pixels from 0
            inside = self._inside(kind, scale, rotation, centre)
            tried = np.where(inside, places[:, None, None] + 1, masks[rows])
            areas[rows, places] = inside.sum(axis=(1, 2))
            seen = np.stack([(tried == place + 1).sum(axis=(1, 2)) for place in range(self.most)], axis=1)
            before = np.arange(self.most) <= places[:, None]
            fits = ((seen >= least * areas[rows]) | ~before).all(axis=1)
            rows, places = rows[fits], places[fits]
            masks[rows], kinds[rows, places] = tried[fits], kind[fits]
            numbers["scales"][rows, places], numbers["rotations"][rows, places] = scale[fits], rotation[fits]
            positions[rows, places] = in_frame(centre.T[fits], self.side)
            boxes[rows, places] = box_of(inside[fits])
            return fits

        def empty(rows):
            masks[rows] = 0

        place_objects(self, counts, attempt, empty)
        return {"masks": masks, "counts": counts, "shapes": kinds, **numbers, "positions": positions, "boxes": boxes}

    def _inside(self, kind, scale, rotation, centre) -> np.ndarray:
        """Whether the middle of each pixel lies in a shape, shape (shapes, side, side)."""
        pixels = np.arange(self.side, dtype=np.float32)
        x = (pixels - centre[0][:, None])[:, None, :]  # [shapes, 1, side]
        y = (centre[1][:, None] - pixels)[:, :, None]  # upwards
        angle = np.radians(rotation)
        cosine, sine = (part[:, None, None] / scale[:, None, None] for part in (np.cos(angle), np.sin(angle)))
        along, across = cosine * x + sine * y, cosine * y - sine * x  # [shapes, side, side]
        inside: np.ndarray = np.zeros(along.shape, bool)
        for place, name in enumerate(SHAPES):
            inside[kind == place] = INSIDE[name](along[kind == place], across[kind == place])
        return inside

    def _grounds(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Values in [0, 1], shape (count, side or 1, side or 1, 3)."""
        ground = rng.uniform(0, GROUND, (count, 1, 1, 3))
        if not self.textured:
            return ground
        pixels = np.arange(self.side) / self.side
        for _ in range(2):
            angle, number = rng.uniform(0, 2 * math.pi, count), rng.uniform(*WAVES, count)
            right, down = (2 * math.pi * number * part(angle) for part in (np.cos, np.sin))
            phase = right[:, None, None] * pixels + down[:, None, None] * pixels[:, None]  # [count, side, side]
            wave = 0.5 + 0.5 * np.sin(phase + rng.uniform(0, 2 * math.pi, (count, 1, 1)))
            ground = ground + TEXTURE * wave[..., None] * rng.random((count, 1, 1, 3))
        return ground


def box_of(inside: np.ndarray) -> np.ndarray:
    """Left, top, right and bottom edge, in pixels, of what is True in images (n, height, width): float32, (n, 4)."""
    height, width = inside.shape[1:]
    columns, rows = np.max(inside, axis=1), np.max(inside, axis=2)
    edges = [
        columns.argmax(axis=1),
        rows.argmax(axis=1),
        width - columns[:, ::-1].argmax(axis=1),
        height - rows[:, ::-1].argmax(axis=1),
    ]
    return np.stack(edges, axis=1).astype(np.float32)
