"""What happens in an environment, as arrays that models are trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from keras_vae.arguments import whole_number, whole_seed


@dataclass(frozen=True, repr=False)
class Transitions:
    """Steps in an environment, in their order: `model.fit(transitions.x, transitions.y)`.

    Attributes:
        state: before each step, float32 of shape (steps, *state).
        action: float32 of shape (steps, size): one-hot where actions are numbered, else the values.
        reward: float32 of shape (steps, 1).
        next_state: float32 of shape (steps, *state).
        end: whether the episode was over, float32 zeros and ones of shape (steps, 1); a time limit is no end.
        episode: its number, int64 of shape (steps,).
    """

    state: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_state: np.ndarray
    end: np.ndarray
    episode: np.ndarray

    @property
    def x(self) -> dict[str, np.ndarray]:
        """What a `DreamingVAE` is given: state and action."""
        return {"state": self.state, "action": self.action}

    @property
    def y(self) -> dict[str, np.ndarray]:
        """What it is to say: the next state, reward and end."""
        return {"state": self.next_state, "reward": self.reward, "end": self.end}

    def __len__(self) -> int:
        return len(self.state)

    def __getitem__(self, rows) -> "Transitions":
        """Some of them: a slice, numbers, or a mask."""
        if isinstance(rows, int | np.integer):
            raise TypeError(f"Transitions needs a slice, an array of numbers or a mask. Received: {rows!r}.")
        return Transitions(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def paths(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Pieces of episodes, one after the other without a gap.

        Args:
            steps: of each piece, 1 or more.

        Returns:
            states: shape (paths, steps + 1, *state).
            actions: shape (paths, steps, size).
        """
        steps = whole_number(self, "steps", steps)
        edges = np.flatnonzero(np.diff(self.episode)) + 1
        first = [
            begin + number * steps
            for begin, stop in zip([0, *edges], [*edges, len(self)], strict=True)
            for number in range((stop - begin) // steps)
        ]
        at = np.array(first, np.int64)[:, None] + np.arange(steps)  # [paths, steps]
        states = np.concatenate([self.state[at], self.next_state[at[:, -1:]]], axis=1)
        return states, self.action[at]

    def __str__(self) -> str:
        episodes = len(np.unique(self.episode))
        return (
            f"{len(self):,} transitions of {episodes:,} episodes, {int(self.end.sum()):,} of which ended; states of "
            f"shape {self.state.shape[1:]}, actions of {self.action.shape[1]} values, mean reward "
            f"{self.reward.mean() if len(self) else float('nan'):.4f}"
        )

    __repr__ = __str__  # what a notebook shows


def record(environment, steps: int, seed: int = 0, policy: Callable[[np.ndarray], Any] | None = None) -> Transitions:
    """Acts in an environment of Gymnasium, and keeps what happens.

    Args:
        environment: whose observations are arrays (a `Box`, `MultiBinary` or `MultiDiscrete` space), and whose actions
            are numbered (`Discrete`) or an array (`Box`).
        steps: number of transitions, 1 or more, of as many episodes as it takes.
        seed: integer, of the environment and of random actions: the same seed gives the same transitions.
        policy: from an observation to an action; None acts at random, by the action space.

    Raises:
        ImportError: without Gymnasium.
        ValueError: for other spaces.
    """
    steps, seed = whole_number("environments.record", "steps", steps), whole_seed("environments.record", seed)
    _check_spaces(environment)
    environment.action_space.seed(seed % 2**31)
    state, _ = environment.reset(seed=seed % 2**31)
    rows: list[tuple] = []
    episode = 0
    while len(rows) < steps:
        action = environment.action_space.sample() if policy is None else policy(state)
        after, reward, end, cut, _ = environment.step(action)
        rows.append((state, as_vector(environment.action_space, action), [reward], after, [end], episode))
        state = after
        if end or cut:
            state, _ = environment.reset()
            episode += 1
    *columns, episodes = zip(*rows, strict=True)
    state, action, reward, after, end = (np.array(column, np.float32) for column in columns)
    return Transitions(state, action, reward, after, end, np.array(episodes, np.int64))


def joined(parts: Sequence[Transitions]) -> Transitions:
    """Transitions of several recordings as one, of which no episode is another's.

    Raises:
        ValueError: for none, and for states or actions of other shapes.
    """
    shapes = {(part.state.shape[1:], part.action.shape[1:]) for part in parts}
    if len(shapes) != 1:
        raise ValueError(
            "environments.joined needs transitions whose states and actions are of one shape. "
            f"Received: {sorted(shapes) or 'none'}."
        )
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Transitions)
    }
    counts = [1 + int(part.episode[-1] - part.episode[0]) if len(part) else 0 for part in parts]
    first = np.cumsum([0, *counts[:-1]])
    columns["episode"] = np.concatenate(
        [part.episode - part.episode[:1] + begin for part, begin in zip(parts, first, strict=True)]
    )
    return Transitions(**columns)


def as_vector(space, action) -> np.ndarray:
    """An action of a space as a model has it: one-hot of a number, the values of an array; float32 of shape (size,)."""
    if hasattr(space, "n"):
        return np.eye(int(space.n), dtype=np.float32)[int(action) - int(space.start)]
    return np.asarray(action, np.float32).reshape(-1)


def _check_spaces(environment) -> None:
    from keras_vae.environments.extra import gymnasium

    spaces = gymnasium.spaces
    observed, acted = environment.observation_space, environment.action_space
    arrays = isinstance(observed, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete) and observed.shape
    if not arrays or not isinstance(acted, spaces.Discrete | spaces.Box):
        raise ValueError(
            "environments.record needs observations that are arrays, and actions that are numbered or arrays. "
            f"Received: {observed} and {acted}; wrappers of Gymnasium, such as FlattenObservation, make others."
        )
