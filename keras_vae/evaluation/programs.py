"""What scoring has compiled for a model, kept with the model: the next call has nothing to compile."""

import json
from collections.abc import Callable
from typing import TypeVar

import keras
import tensorflow as tf

from keras_vae.training.choice import prefers_xla

MOST = 8  # programs of one model that are kept

Program = TypeVar("Program")


class ScoringPrograms:
    """Compiled programs of a model as it is; of another configuration or other weights (not values of them) none.

    Attributes:
        structure, weights: what the programs are of.
        made: the programs by what else they depend on, the latest last.
    """

    def __init__(self):
        self.structure: str | None = None
        self.weights: list[keras.Variable] = []
        self.made: dict = {}

    def of(self, model: keras.Model) -> dict:
        """The programs that are of the model as it is now."""
        structure, weights = structure_of(model), list(model.weights)
        same = len(weights) == len(self.weights) and all(map(_is, weights, self.weights))
        if not same or structure != self.structure:
            self.structure, self.weights, self.made = structure, weights, {}
        return self.made


def kept(model: keras.Model, make: Callable[[], Program], *key) -> Program:
    """`make()`, or what it has returned before for this key and the model as it is.

    Args:
        model: whose attribute `scoring_programs` keeps what is made.
        make: makes a compiled program, or anything else that takes long.
        *key: all that it depends on beside the model.
    """
    if not hasattr(model, "scoring_programs"):
        model.scoring_programs = ScoringPrograms()
    made = model.scoring_programs.of(model)
    program = made.pop(key) if key in made else make()
    made[key] = program
    if len(made) > MOST:
        del made[next(iter(made))]
    return program


def repays_xla(model: keras.Model) -> bool:
    """Whether XLA is to compile long loops over a few examples: on a CPU it takes longer than it saves."""
    return bool(tf.config.list_logical_devices("GPU")) and prefers_xla(model)


def structure_of(model) -> str:
    """What a model or an optimizer is made of, without names, which count up with every layer that is made."""

    def without_names(part):
        if isinstance(part, dict):
            return {key: without_names(value) for key, value in part.items() if key != "name"}
        return [without_names(value) for value in part] if isinstance(part, list) else part

    return json.dumps(without_names(keras.saving.serialize_keras_object(model)["config"]), sort_keys=True)


def _is(first, second) -> bool:
    return first is second
