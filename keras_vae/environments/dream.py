"""What a model dreams, as an environment that agents act in."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from keras_vae.arguments import not_negative
from keras_vae.distributions.supports import UnitInterval
from keras_vae.environments.extra import gymnasium
from keras_vae.environments.transitions import as_vector
from keras_vae.models import DreamingVAE
from keras_vae.noise import fold


class DreamEnvironment(gymnasium.Env):
    """The dream of a `DreamingVAE` as an environment of Gymnasium: agents that act in the real one act in it unchanged.

    There is no limit of steps: `gymnasium.wrappers.TimeLimit` sets one.

    An agent finds what is wrong in a dream: a reward that is a little too high, in a place where it can stay, is worth
    more than a far goal. Where rewards are of few values, `snap_reward=NearestKnown(transitions.reward)` leaves no
    others.

    Args:
        model: a built `DreamingVAE`.
        starts: states at which episodes begin, shape (starts, *state); an episode begins at one of them by chance, or
            at that of `reset(options={"start": state})`.
        snap: what each next state goes through, a function of a tensor (batch, *state): `tf.round` for binary states,
            `NearestKnown(states)` for those that were recorded. None goes on from means, which drift.
        snap_reward: None, or the same for rewards, a function of a tensor (batch, 1).
        temperature: 0 dreams the means of what is likely, and an end where its probability is a half or more; 1 draws.
        observation_space, action_space: those of the real environment; None is a `Box` of states, from 0 to 1 where
            these are binary, and a `Discrete` space of one-hot actions.

    Attributes:
        state: the present one, float32 of shape `state`.

    Raises:
        ImportError: without Gymnasium.
        TypeError: for another model.
        ValueError: for a model without weights, starts of another shape, and spaces that do not fit.

    Reference: Andersen, Goodwin & Granmo 2018, arXiv:1810.01112.
    """

    metadata: ClassVar[dict] = {"render_modes": []}

    def __init__(
        self,
        model: DreamingVAE,
        starts,
        snap: Callable | None = None,
        snap_reward: Callable | None = None,
        temperature: float = 0.0,
        observation_space: Any = None,
        action_space: Any = None,
    ):
        if not isinstance(model, DreamingVAE):
            raise TypeError(f"DreamEnvironment needs a DreamingVAE. Received: {model!r}.")
        if not model.built:
            raise ValueError("DreamEnvironment needs a model with weights: call fit or build first. Received: none.")
        self.model, self.snap, self.snap_reward = model, snap, snap_reward
        self.temperature = not_negative(self, "temperature", temperature)
        self.starts = np.asarray(starts, np.float32)
        shape = model.state.event_shape
        if self.starts.shape[1:] != shape or not len(self.starts):
            expected = ", ".join(map(str, shape))
            raise ValueError(
                f"DreamEnvironment needs starts of shape (starts, {expected}). Received: {self.starts.shape}."
            )
        self.observation_space = observation_space or _box(model)
        self.action_space = action_space or gymnasium.spaces.Discrete(model.action_shape[0])
        acted = as_vector(self.action_space, self.action_space.sample())
        if self.observation_space.shape != shape or acted.shape != (int(np.prod(model.action_shape)),):
            raise ValueError(
                f"DreamEnvironment needs spaces of states of shape {shape} and of actions of {model.action_shape}. "
                f"Received: {self.observation_space} and {self.action_space}."
            )
        self.state = self.starts[0]

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Begins an episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        start = (options or {}).get("start")
        start = self.starts[self.np_random.integers(len(self.starts))] if start is None else start
        self.state = np.array(start, np.float32).reshape(self.model.state.event_shape)
        return self.state.copy(), {}

    def step(self, action):
        """Dreams a step; see `gymnasium.Env.step`."""
        if not self.action_space.contains(action):
            raise ValueError(f"DreamEnvironment.step needs an action of {self.action_space}. Received: {action!r}.")
        vector = as_vector(self.action_space, action).reshape(1, *self.model.action_shape)
        seed = None
        if self.temperature:
            seed = fold(int(self.np_random.integers(2**31)))
        found = self.model.step(self.state[None], vector, seed, self.temperature)
        state = found.state if self.snap is None else self.snap(found.state)
        self.state = np.array(tf.cast(state, tf.float32)[0])
        reward = found.reward if self.snap_reward is None else self.snap_reward(found.reward[:, None])[:, 0]
        return self.state.copy(), float(reward[0]), bool(found.end[0] >= 0.5), False, {}


def _box(model: DreamingVAE):
    low, high = (0.0, 1.0) if model.state.support.hull == UnitInterval() else (-np.inf, np.inf)
    return gymnasium.spaces.Box(low, high, model.state.event_shape, np.float32)
