"""Worlds to act in: real ones, recorded as transitions, and dreamed ones, as environments of Gymnasium.

Gymnasium is an extra: the names are imported when they are asked for, and say what to install.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_vae.environments.dream import DreamEnvironment as DreamEnvironment
    from keras_vae.environments.known import NearestKnown as NearestKnown
    from keras_vae.environments.maze import Maze as Maze
    from keras_vae.environments.transitions import Transitions as Transitions
    from keras_vae.environments.transitions import joined as joined
    from keras_vae.environments.transitions import record as record

_HOMES = {
    "DreamEnvironment": "dream",
    "Maze": "maze",
    "NearestKnown": "known",
    "Transitions": "transitions",
    "joined": "transitions",
    "record": "transitions",
}

__all__ = ["DreamEnvironment", "Maze", "NearestKnown", "Transitions", "joined", "record"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
