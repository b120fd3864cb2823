"""How far a dream is from what really happens, step after step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SHOWN = (1, 2, 5, 10, 20, 50, 100, 200)  # steps in the words


@dataclass(frozen=True)
class Drift:
    """The share of dreamed states that are the real ones, by the number of steps since the dream began.

    Attributes:
        exact: by what the dream was snapped to, float64 of shape (steps,): a state is exact where no number of it is
            off by a half or more, for states of whole numbers.
        error: the mean distance of a number of a state to the real one, in the same form.
        paths: how many there were.
    """

    exact: dict[str, np.ndarray]
    error: dict[str, np.ndarray]
    paths: int

    def __str__(self) -> str:
        steps = len(next(iter(self.exact.values())))
        shown = [step for step in SHOWN if step < steps] + [steps]
        lines = [f"Exact states of {self.paths:,} dreams after steps: " + ", ".join(map(str, shown))]
        for name, exact in self.exact.items():
            lines.append(f"{name}: " + ", ".join(f"{100 * exact[step - 1]:.1f} %" for step in shown))
        return "\n".join(lines)

    __repr__ = __str__  # what a notebook shows


def drift(model, states, actions, snaps: Mapping[str, Callable | None] | None = None) -> Drift:
    """Dreams from the first states of real paths, with their actions, beside what really happened.

    Args:
        model: a built `DreamingVAE`.
        states: shape (paths, steps + 1, *state), such as `transitions.paths(steps)` gives.
        actions: shape (paths, steps, *action_shape), or integers of shape (paths, steps).
        snaps: what each next state goes through, by name; see `DreamingVAE.rollout`. None is {"means": None}: what is
            dreamed as it is.

    Returns:
        A `Drift`; `print` it.

    Raises:
        ValueError: for arrays whose shapes do not fit.
    """
    states, actions = np.asarray(states, np.float32), np.asarray(actions)
    if states.shape[2:] != model.state.event_shape or states.shape[:1] != actions.shape[:1] or not len(states):
        raise ValueError(
            f"drift needs states of shape (paths, steps + 1, {', '.join(map(str, model.state.event_shape))}) and as "
            f"many paths of actions. Received: {states.shape} and {actions.shape}."
        )
    if states.shape[1] != actions.shape[1] + 1:
        raise ValueError(
            f"drift needs one state more than actions. Received: {states.shape[1]} states and {actions.shape[1]} "
            "actions."
        )
    exact, error = {}, {}
    for name, snap in ({"means": None} if snaps is None else snaps).items():
        dreamed = model.rollout(states[:, 0], actions, snap).state.numpy()
        off = np.abs(dreamed - states[:, 1:]).reshape(*dreamed.shape[:2], -1)  # [paths, steps, values]
        exact[name] = (off.max(axis=-1) < 0.5).mean(axis=0)
        error[name] = off.mean(axis=(0, 2))
    return Drift(exact, error, len(states))
