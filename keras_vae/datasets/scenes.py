"""Scenes that are made from a seed, with the truth about each of them."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from keras_vae.arguments import whole_number
from keras_vae.datasets.data import Source
from keras_vae.datasets.labels import Labels
from keras_vae.datasets.rows import SPLITS, ArrayRows

AT_ONCE = 500  # scenes that are made together: more would not fit into the caches of a processor
PATIENCE = 30  # places that are tried for one object, before its scene is begun anew
ROUNDS = 3000  # places that are tried for the objects of a scene in all

Truth = dict[str, np.ndarray]


class Scenes(abc.ABC):
    """A recipe of scenes: `datasets.load` makes images or frames of it, from its seed.

    A subclass is a frozen dataclass with `examples` and `held_out`, and defines `make`.

    Attributes:
        examples: number of scenes in train.
        held_out: number of scenes in validation, and as many in test.
    """

    examples: int
    held_out: int

    name: ClassVar[str]  # by which `datasets.load` knows the recipe without arguments

    def __post_init__(self):
        whole_number(self, "examples", self.examples)
        whole_number(self, "held_out", self.held_out)

    def material(self, seed: int) -> Mapping[str, Any]:
        """What the scenes of each split are made of, beside what is drawn; None, unless a subclass says it."""
        return dict.fromkeys(SPLITS)

    @abc.abstractmethod
    def make(self, count: int, rng: np.random.Generator, material: Any) -> tuple[np.ndarray, Truth]:
        """Scenes and what is in them.

        Args:
            count: of scenes.
            rng: of all that is random in them.
            material: that of their split.

        Returns:
            Bytes of shape (count, height, width, channels) or (count, time, height, width, channels), and arrays of
            shape (count, ...) by name.
        """

    def source(self, seed: int) -> Source:
        """Scenes of all splits, each drawn from (seed, split), with their truth; numbers of objects are labels.

        Args:
            seed: integer.
        """
        material, made = self.material(seed), {}
        for place, split in enumerate(SPLITS):
            rng = np.random.default_rng([seed % 2**32, place])
            made[split] = self.make(self.examples if split == "train" else self.held_out, rng, material[split])
        truth = {split: known for split, (_, known) in made.items()}
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
        usual = all(getattr(self, field.name) == field.default for field in fields)
        return Source(
            self.name if usual else str(self),
            {split: ArrayRows(scenes) for split, (scenes, _) in made.items()},
            levels=255.0,
            labels=_labels(truth),
            truth=truth,
        )


def _labels(truth: Mapping[str, Truth]) -> Labels | None:
    """The numbers of objects as classes, where scenes differ in it."""
    if "counts" not in truth["train"]:
        return None
    counts = {split: known["counts"] for split, known in truth.items()}
    found, places = np.unique(np.concatenate(list(counts.values())), return_inverse=True)
    if len(found) < 2:
        return None
    ends = np.cumsum([len(each) for each in counts.values()])[:-1]
    parts = np.split(places.astype(np.int64), ends)
    return Labels(tuple(map(str, found.tolist())), dict(zip(counts, parts, strict=True)))


def in_parts_of(count: int, make: Callable[[int], tuple[np.ndarray, Truth]]) -> tuple[np.ndarray, Truth]:
    """`make` called for a part of `count` scenes at a time, and what it has made, joined."""
    made = [make(min(AT_ONCE, count - start)) for start in range(0, count, AT_ONCE)]
    truth = {name: np.concatenate([known[name] for _, known in made]) for name in made[0][1]}
    return np.concatenate([scenes for scenes, _ in made]), truth


def place_objects(
    owner: Scenes,
    counts: np.ndarray,
    attempt: Callable[[np.ndarray, np.ndarray], np.ndarray],
    empty: Callable[[np.ndarray], None],
) -> None:
    """Puts objects into scenes one after another, and begins a scene anew where the next one finds no place.

    Args:
        owner: whose scenes they are, for the message.
        counts: objects of each scene, shape (scenes,).
        attempt: from numbers of scenes and of their next objects, shape (n,), to whether these have found a place,
            (n,).
        empty: takes all objects out of the scenes with these numbers.

    Raises:
        ValueError: where there is no room.
    """
    placed, failures = np.zeros_like(counts), np.zeros_like(counts)
    for _ in range(ROUNDS):
        rows = np.flatnonzero(placed < counts)
        if not len(rows):
            return
        fits = attempt(rows, placed[rows])
        placed[rows] += fits
        failures[rows] = np.where(fits, 0, failures[rows] + 1)
        stuck = rows[failures[rows] == PATIENCE]
        empty(stuck)
        placed[stuck] = failures[stuck] = 0
    raise ValueError(f"{type(owner).__name__} needs room for all objects of a scene. Received: {owner}.")


def in_frame(pixels: np.ndarray, side: int) -> np.ndarray:
    """Places in pixels, counted from 0 at the middle of the first, as places in the frame, whose edges are -1 and 1."""
    return (2 * pixels + 1) / side - 1


def in_range(owner: Scenes, name: str, value: int, least: int, most: int) -> None:
    """Raises `ValueError` for what is not a whole number in a range."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise ValueError(
            f"{type(owner).__name__} needs {name} to be a whole number from {least} to {most}. "
            f"Received: {name}={value!r}."
        )


def bytes_of(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as bytes from 0 to 255."""
    return np.rint(255 * values).astype(np.uint8)
