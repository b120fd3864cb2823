"""How far from the truth a model predicts objects that move, beside straight lines and the true physics."""

from dataclasses import dataclass, replace

import numpy as np

from keras_vae.arguments import whole_number
from keras_vae.datasets.balls import Motion
from keras_vae.networks.matching import best_assignment

MATCHED = 4  # predicted frames on which it is chosen which object is which
PART = 100  # sequences that are predicted together


@dataclass(frozen=True)
class RolloutError:
    """Mean distance of predicted centres of objects to the true ones, where half of a frame is 1.

    Attributes:
        model: of what the model predicts, by predicted frame, float64 of shape (steps,).
        linear: of straight lines from the true places with the true velocities at the last frame that was given.
        physics: None, or of the true physics, from what the model says of that frame.
        filtered: of what the model says of the last frame that was given.
        standard_error: of the mean of `model` over all predicted frames, over the sequences.
        sequences: their number.
    """

    model: np.ndarray
    linear: np.ndarray
    physics: np.ndarray | None
    filtered: float
    standard_error: float
    sequences: int

    @property
    def ratio(self) -> float:
        """The mean of `model` over that of `linear`."""
        return float(self.model.mean() / self.linear.mean())

    def __str__(self) -> str:
        words = f"{len(self.model)} frames: {self.model.mean():.4f} +- {self.standard_error:.4f}, {self.ratio:.2f} of "
        words += f"linear extrapolation ({self.linear.mean():.4f})"
        if self.physics is not None:
            words += f", true physics from the filtered state {self.physics.mean():.4f}"
        return f"{words}; filtered {self.filtered:.4f}"

    __repr__ = __str__  # what a notebook shows


def rollout_error(
    model, frames, positions, velocities, steps: int = 8, physics: Motion | None = None, seed: int = 0
) -> RolloutError:
    """The error of the rollouts of a `STOVE`, by predicted frame, beside straight lines and the true physics.

    All frames but the last `steps` are given. Which object of the model is which of the truth is chosen once for each
    sequence, on the first four predicted frames (fewer where there are fewer), so that the sum of the distances is the
    least.

    Args:
        model: with a method `rollout`, as that of `STOVE`.
        frames: shape (sequences, time, height, width, channels).
        positions, velocities: the truth, shape (sequences, time, objects, 2), such as that of `data.truth["test"]`.
        steps: frames to predict; `time` is at least `steps` + 2.
        physics: None, or the recipe of the data, such as `datasets.Billiards()`: what moves the objects from the places
            and velocities that the model says for the last frame given.
        seed: integer; there is no noise at temperature 0, at which the model predicts.

    Returns:
        A `RolloutError`; `print` it.

    Raises:
        ValueError: for arrays whose shapes do not fit, and steps that leave fewer than 2 frames.

    Reference: the measure of Kossen et al. 2020, arXiv:1910.02425, who sum it over four frames.
    """
    steps = whole_number("rollout_error", "steps", steps)
    positions, velocities = np.asarray(positions, np.float64), np.asarray(velocities, np.float64)
    _check(np.shape(frames), positions.shape, velocities.shape, steps)
    last = positions.shape[1] - steps - 1  # frame, the last one that is given
    true = positions[:, last + 1 :]  # [sequences, steps, objects, 2]
    filtered, ours = _predicted(model, np.asarray(frames)[:, : last + 1], steps, seed)
    seen = slice(0, min(MATCHED, steps))
    costs = np.linalg.norm(true[:, seen, :, None] - ours[:, seen, None, :, 2:4], axis=-1).sum(axis=1)
    order = best_assignment(costs).numpy()[:, None, :, None]  # [sequences, 1, objects, 1]
    ours = np.take_along_axis(ours, order, axis=2)
    filtered = np.take_along_axis(filtered, order[:, 0], axis=1)
    errors = np.linalg.norm(ours[..., 2:4] - true, axis=-1).mean(axis=-1)  # [sequences, steps]
    times = np.arange(1, steps + 1)[:, None, None]
    lines = positions[:, last, None] + times * velocities[:, last, None]
    moved = None
    if physics is not None:
        recipe = replace(physics, frames=steps + 1, balls=true.shape[2])
        moved = recipe.move(filtered[..., 2:4], filtered[..., 4:6])[0][:, 1:]
    return RolloutError(
        model=errors.mean(axis=0),
        linear=_distance(lines, true),
        physics=None if moved is None else _distance(moved, true),
        filtered=float(np.linalg.norm(filtered[..., 2:4] - positions[:, last], axis=-1).mean()),
        standard_error=float(errors.mean(axis=1).std() / np.sqrt(len(errors))),
        sequences=len(errors),
    )


def _predicted(model, given: np.ndarray, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """States at the last frame given, (sequences, objects, size), and predicted ones, with an axis of steps."""
    filtered, ours = [], []
    for start in range(0, len(given), PART):
        part = given[start : start + PART]
        filtered.append(model.filtered(part)[:, -1])
        ours.append(model.rollout(part, steps, seed)[1])
    return np.concatenate(filtered).astype(np.float64), np.concatenate(ours).astype(np.float64)


def _distance(places: np.ndarray, true: np.ndarray) -> np.ndarray:
    """By frame, shape (steps,)."""
    return np.linalg.norm(places - true, axis=-1).mean(axis=(0, 2))


def _check(frames: tuple, positions: tuple, velocities: tuple, steps: int) -> None:
    fits = len(frames) == 5 and len(positions) == 4 and positions[-1] == 2 and positions == velocities
    if not fits or frames[:2] != positions[:2] or not frames[0]:
        raise ValueError(
            "rollout_error needs frames of shape (sequences, time, height, width, channels), and positions and "
            f"velocities of shape (sequences, time, objects, 2). Received: {frames}, {positions} and {velocities}."
        )
    if positions[1] < steps + 2:
        raise ValueError(
            f"rollout_error needs steps to leave 2 frames or more to look at. Received: steps={steps} of "
            f"{positions[1]} frames."
        )
