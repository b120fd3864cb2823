"""How balls move: in straight lines from one collision to the next, or by a force, step by step."""

import itertools
from collections.abc import Callable

import numpy as np

OUTER = 1 / (2 - 2 ** (1 / 3))
THREE = (OUTER, 1 - 2 * OUTER, OUTER)  # leapfrog steps of these lengths, whose errors of third order cancel


def collide(positions: np.ndarray, velocities: np.ndarray, radius: float, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Elastic balls of one mass in a square box whose walls are at -1 and 1, exact to rounding.

    All balls move in straight lines until the next of them meets a wall or another one: of the velocities of two balls
    that meet, the parts along the line through their centres are exchanged.

    Args:
        positions: of the centres at the first frame, float64 of shape (boxes, balls, 2); no balls overlap.
        velocities: way for a frame, float64 of shape (boxes, balls, 2).
        radius: of all balls.
        frames: number of frames, one unit of time apart.

    Returns:
        Positions and velocities at each frame, float64 of shape (boxes, frames, balls, 2).
    """
    x, v = positions.copy(), velocities.copy()
    path = [(x.copy(), v.copy())]
    for _ in range(frames - 1):
        _one_frame(x, v, radius)
        path.append((x.copy(), v.copy()))
    return np.stack([x for x, _ in path], axis=1), np.stack([v for _, v in path], axis=1)


def _one_frame(x: np.ndarray, v: np.ndarray, radius: float) -> None:
    """Moves balls (boxes, balls, 2) by one unit of time, in place: one event of each box after another."""
    balls = x.shape[1]
    pairs = list(itertools.combinations(range(balls), 2))
    left = np.ones(len(x))
    rows = np.arange(len(x))
    while len(rows):
        walls = _until_walls(x[rows], v[rows], radius).reshape(len(rows), -1)
        meetings = [_until_meeting(x[rows], v[rows], *pair, radius) for pair in pairs]
        times = np.stack([*walls.T, *meetings], axis=1)  # [boxes, events]
        events = times.argmin(axis=1)
        step = np.minimum(times[np.arange(len(rows)), events], left[rows])
        x[rows] += step[:, None, None] * v[rows]
        happens = times[np.arange(len(rows)), events] < left[rows]
        left[rows] -= step
        rows, events = rows[happens], events[happens]
        at_wall = events < 2 * balls
        ball, axis = np.divmod(events[at_wall], 2)
        v[rows[at_wall], ball, axis] *= -1
        for number, pair in enumerate(pairs):
            _exchange(x, v, rows[events == 2 * balls + number], *pair)


def _until_walls(x: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """The time until each ball meets the wall that it moves to, by axis, shape (boxes, balls, 2)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        times = (np.sign(v) * (1 - radius) - x) / v
    return np.where(v == 0, np.inf, np.maximum(times, 0))


def _until_meeting(x: np.ndarray, v: np.ndarray, one: int, other: int, radius: float) -> np.ndarray:
    """The time until two balls touch, infinite where they do not, shape (boxes,)."""
    apart, relative = x[:, one] - x[:, other], v[:, one] - v[:, other]
    towards, speed = np.sum(apart * relative, axis=-1), np.sum(relative**2, axis=-1)
    inner = towards**2 - speed * (np.sum(apart**2, axis=-1) - 4 * radius**2)
    meet = (towards < 0) & (inner > 0)
    times = (-towards - np.sqrt(np.where(meet, inner, 1.0))) / np.where(meet, speed, 1.0)
    return np.where(meet, np.maximum(times, 0), np.inf)


def _exchange(x: np.ndarray, v: np.ndarray, rows: np.ndarray, one: int, other: int) -> None:
    """Exchanges the velocities of two balls along the line through their centres."""
    apart = x[rows, one] - x[rows, other]
    along = apart / np.linalg.norm(apart, axis=-1, keepdims=True)
    change = np.sum((v[rows, one] - v[rows, other]) * along, axis=-1, keepdims=True) * along
    v[rows, one] -= change
    v[rows, other] += change


def accelerate(
    positions: np.ndarray,
    velocities: np.ndarray,
    acceleration: Callable[[np.ndarray], np.ndarray],
    frames: int,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Motion under a force, by steps of fourth order that keep the energy for all times, but for small swings.

    Args:
        positions: at the first frame, float64 of shape (boxes, balls, 2).
        velocities: way for a frame, float64 of shape (boxes, balls, 2).
        acceleration: from positions to accelerations, of one shape.
        frames: number of frames, one unit of time apart.
        steps: in a frame.

    Returns:
        Positions and velocities at each frame, float64 of shape (boxes, frames, balls, 2).

    Reference: Yoshida 1990, "Construction of higher order symplectic integrators" (Physics Letters A 150).
    """
    x, v, now = positions, velocities, acceleration(positions)
    path = [(x, v)]
    for _ in range(frames - 1):
        for step in THREE * steps:
            v = v + step / (2 * steps) * now
            x = x + step / steps * v
            now = acceleration(x)
            v = v + step / (2 * steps) * now
        path.append((x, v))
    return np.stack([x for x, _ in path], axis=1), np.stack([v for _, v in path], axis=1)
