"""Balls that collide and planets that attract each other, as frames with positions and velocities."""

import abc
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from keras_vae.datasets.mechanics import accelerate, collide
from keras_vae.datasets.scenes import Scenes, Truth, bytes_of, in_parts_of, in_range, place_objects
from keras_vae.datasets.sprites import HUES

DRAWN = 500  # frames that are drawn together
FADES = 1.3  # radii from the centre of a ball, beyond which it is darker than a byte can say


@dataclass(frozen=True)
class Motion(Scenes):
    """Sequences of frames with moving balls: a subclass says how they begin and move, and their energy.

    The truth of each split (`data.truth["test"]`), for each sequence: positions of the centres, x to the right and y
    downwards, where the edges of the frame are -1 and 1, and velocities, the way in these units for a frame, float32 of
    shape (sequences, frames, balls, 2).

    Args:
        balls: in a frame, from 1 to 6.
        side: height and width of a frame in pixels, 16 or more.
        frames: of a sequence.
        coloured: whether each ball has a colour (red, green, blue, yellow, magenta, cyan), in place of grey frames.
        examples: sequences in train.
        held_out: sequences in validation, and as many in test.
    """

    balls: int = 3
    side: int = 32
    frames: int = 100
    coloured: bool = False
    examples: int = 1_000
    held_out: int = 300

    radius: ClassVar[float]  # of a ball, where the frame is 2 wide

    def __post_init__(self):
        super().__post_init__()
        in_range(self, "balls", self.balls, 1, len(HUES))
        in_range(self, "side", self.side, 16, 1024)
        in_range(self, "frames", self.frames, 1, 1_000_000)

    @abc.abstractmethod
    def begin(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities at the first frame, float64 of shape (count, balls, 2)."""

    @abc.abstractmethod
    def move(self, positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities at all frames, float64 of shape (count, frames, balls, 2)."""

    @abc.abstractmethod
    def energy(self, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        """The energy of all balls together, each of mass 1, shape (...), for arrays of shape (..., balls, 2).

        In the units of the truth: squares of the way for a frame.
        """

    def make(self, count: int, rng: np.random.Generator, material: None = None) -> tuple[np.ndarray, Truth]:
        """Frames, bytes of shape (count, frames, side, side, channels), and the truth about them.

        Grey balls are added up, to white at most; of coloured ones each has a colour of its own.
        """
        return in_parts_of(count, lambda part: self._part(part, rng))

    def _part(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, Truth]:
        positions, velocities = self.move(*self.begin(count, rng))
        frames = self._drawn(positions.reshape(-1, self.balls, 2))
        truth = {"positions": positions.astype(np.float32), "velocities": velocities.astype(np.float32)}
        return frames.reshape(count, self.frames, *frames.shape[1:]), truth

    def _drawn(self, positions: np.ndarray) -> np.ndarray:
        """Bytes of shape (frames, side, side, channels); a ball is exp(-(d / radius)^8) at a distance d."""
        colours = np.array(list(HUES.values())) if self.coloured else np.ones((self.balls, 1), np.int64)
        frames = np.zeros((len(positions), self.side, self.side, colours.shape[1]), np.uint8)
        for start in range(0, len(positions), DRAWN):
            part = slice(start, start + DRAWN)
            for channel in range(colours.shape[1]):
                there = np.flatnonzero(colours[: self.balls, channel])
                frames[part, ..., channel] = self._added(positions[part, there])
        return frames

    def _added(self, positions: np.ndarray) -> np.ndarray:
        """Grey levels of balls, to white at most, shape (frames, side, side)."""
        radius = self.radius * self.side / 2  # pixels
        reach = math.ceil(FADES * radius)
        offsets = np.arange(-reach, reach + 1)
        wide = self.side + 4 * reach  # balls beyond the edges are drawn where nobody looks
        frames = np.zeros((len(positions), wide, wide), np.float32)
        first = wide**2 * np.arange(len(positions))
        for ball in range(positions.shape[1]):
            at = np.clip((positions[:, ball] + 1) * self.side / 2 - 0.5, -reach, self.side - 1 + reach)
            middle = np.rint(at).astype(np.int64)
            x, y = (((offsets + (middle - at)[:, axis, None]) / radius) ** 2 for axis in (0, 1))
            squares = np.square(x[:, None, :] + y[:, :, None], dtype=np.float32)  # [frames, rows, columns]
            columns, rows = (middle[:, axis, None] + offsets + 2 * reach for axis in (0, 1))
            places = (first[:, None] + wide * rows)[:, :, None] + columns[:, None, :]
            frames.reshape(-1)[places] += np.exp(-squares * squares)
        return bytes_of(np.minimum(frames[:, 2 * reach : -2 * reach, 2 * reach : -2 * reach], 1))


@dataclass(frozen=True)
class Billiards(Motion):
    """Balls of one mass that collide with each other and with the walls of their box, without friction.

    The radius of a ball is 0.12 of the width of the box, which is that of the frame; the root of the sum of all squared
    speeds is 0.05 of it for a frame. Paths are exact to rounding: there are no steps between collisions. The truth is
    that of `Motion`.

    Args:
        balls: number of balls, from 1 to 6.
        side: height and width of a frame in pixels, 16 or more.
        frames: of a sequence.
        coloured: whether each ball has a colour (red, green, blue, yellow, magenta, cyan), in place of grey frames.
        examples: sequences in train.
        held_out: sequences in validation, and as many in test.

    Reference: the box of Kossen et al. 2020, arXiv:1910.02425, after Sutskever et al. 2009, "The
    recurrent temporal restricted Boltzmann machine".
    """

    name: ClassVar[str] = "billiards"
    radius: ClassVar[float] = 0.24
    speed: ClassVar[float] = 0.1  # root of the sum of the squared speeds of all balls

    def begin(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Balls at random places that do not overlap, with normal velocities; see `Motion.begin`."""
        positions = np.full((count, self.balls, 2), np.inf)

        def attempt(rows, places):
            tried = rng.uniform(-1 + self.radius, 1 - self.radius, (len(rows), 2))
            distances = np.linalg.norm(positions[rows] - tried[:, None], axis=-1)
            fits = (distances > 2 * self.radius).all(axis=1)
            positions[rows[fits], places[fits]] = tried[fits]
            return fits

        def empty(rows):
            positions[rows] = np.inf

        place_objects(self, np.full(count, self.balls), attempt, empty)
        velocities = rng.normal(size=positions.shape)
        return positions, self.speed * velocities / np.linalg.norm(velocities, axis=(1, 2), keepdims=True)

    def move(self, positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From collision to collision; see `Motion.move`."""
        return collide(positions, velocities, self.radius, self.frames)

    def energy(self, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        """Half of the sum of all squared speeds; see `Motion.energy`."""
        return 0.5 * np.sum(np.square(velocities), axis=(-1, -2))


@dataclass(frozen=True)
class Gravity(Motion):
    """Planets of one mass that attract each other, and are pulled to the middle of the frame, which keeps them in it.

    In a frame 30 wide the acceleration by another planet at a distance d is 2 d / (d^2 + 4)^1.5, so that planets that
    meet pass through each other, and that towards the middle 0.00025 r^3. They circle in one sense, one way or the
    other, and are drawn with a radius of 2. The truth is that of `Motion`.

    Args:
        balls: number of planets, from 1 to 6.
        side: height and width of a frame in pixels, 16 or more.
        frames: of a sequence.
        coloured: whether each planet has a colour (red, green, blue, yellow, magenta, cyan), in place of grey frames.
        examples: sequences in train.
        held_out: sequences in validation, and as many in test.

    Reference: in the spirit of Kossen et al. 2020, arXiv:1910.02425, whose forces are cut off at 1, where
    these are soft: cut off, they would have no energy that is kept.
    """

    name: ClassVar[str] = "gravity"
    radius: ClassVar[float] = 4 / 30
    attraction: ClassVar[float] = 2 * (2 / 30) ** 3  # of a planet, cubed half widths of the frame, for squared frames
    softness: ClassVar[float] = 4 / 30  # distance that is added to others, as the other side of a right angle
    pull: ClassVar[float] = 0.00025 * 15**2  # to the middle
    steps: ClassVar[int] = 8  # in a frame

    def begin(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Planets around the middle, about as fast as on circles; see `Motion.begin`."""
        turns = (
            np.arange(self.balls) / self.balls + rng.random((count, 1)) + rng.uniform(-0.1, 0.1, (count, self.balls))
        )
        distances = rng.uniform(0.3, 0.65, (count, self.balls, 1))
        outwards = np.stack([np.cos(2 * math.pi * turns), np.sin(2 * math.pi * turns)], axis=-1)
        positions = distances * outwards
        inwards = -np.sum(self._acceleration(positions) * outwards, axis=-1, keepdims=True)
        sense = rng.choice([-1, 1], (count, 1, 1))
        around = sense * np.stack([-outwards[..., 1], outwards[..., 0]], axis=-1)
        speeds = np.sqrt(np.maximum(inwards, 0) * distances) * rng.uniform(0.6, 1.1, distances.shape)
        return positions, speeds * around

    def move(self, positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """In small steps; see `Motion.move`."""
        return accelerate(positions, velocities, self._acceleration, self.frames, self.steps)

    def energy(self, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        """Half of the squared speeds, of the attraction of each pair and of the pull; see `Motion.energy`."""
        apart = positions[..., :, None, :] - positions[..., None, :, :]  # [..., balls, balls, 2]
        softened = np.sqrt(np.sum(apart**2, axis=-1) + self.softness**2)
        first, second = np.triu_indices(self.balls, 1)
        pairs = -self.attraction * np.sum(1 / softened[..., first, second], axis=-1)
        to_middle = self.pull / 4 * np.sum(np.sum(np.square(positions), axis=-1) ** 2, axis=-1)
        return 0.5 * np.sum(np.square(velocities), axis=(-1, -2)) + pairs + to_middle

    def _acceleration(self, positions: np.ndarray) -> np.ndarray:
        apart = positions[:, None] - positions[:, :, None]  # [boxes, balls, others, 2]
        softened = apart[..., 0] ** 2 + apart[..., 1] ** 2 + self.softness**2
        by_others = np.einsum("boa,boax->box", self.attraction / (softened * np.sqrt(softened)), apart)
        squares = positions[..., 0] ** 2 + positions[..., 1] ** 2
        return by_others - self.pull * squares[..., None] * positions
