"""An objective, with the terms of the trace weighted."""

from collections.abc import Mapping

import tensorflow as tf

from keras_vae.arguments import not_negative
from keras_vae.objectives.base import Objective
from keras_vae.trace import Trace


class Weighted(Objective):
    """An objective, and the terms of a model's trace with weights: loss = objective + sum of weight x term.

    What a model minimises beside its bound, a commitment or the loss of a classifier, is a term of its trace: logged
    under its name, and added to the loss of every objective with the weight 1. This gives other weights.

    Args:
        objective: any objective.
        weights: of the terms by name, 0 or more; terms without one keep the weight 1. A callback may schedule them,
            as "weights.commitment".

    Example:

    >>> objective = Weighted(ELBO(), {"commitment": 0.25})
    """

    schedulable = ("weights",)

    def __init__(self, objective: Objective, weights: Mapping[str, float]):
        if not isinstance(objective, Objective):
            raise TypeError(f"Weighted needs an objective, such as ELBO(). Received: {objective!r}.")
        self.objective = objective
        self.samples, self.path = objective.samples, objective.path
        self.weights = {name: not_negative(self, f"weights[{name!r}]", weight) for name, weight in weights.items()}

    @property
    def groups(self):
        """Those of the objective."""
        return self.objective.groups

    def __call__(self, trace: Trace) -> tf.Tensor:
        unknown = set(self.weights) - set(trace.terms)
        if unknown:
            raise ValueError(
                f"Weighted needs names of the terms {', '.join(trace.terms) or '(the model has none)'} in weights. "
                f"Received: {', '.join(sorted(unknown))}."
            )
        return self.objective(trace)

    def losses(self, trace: Trace) -> dict[str, tf.Tensor]:
        """Those of the objective."""
        return self.objective.losses(trace)

    def weight_of(self, term: str):
        """The weight of a term in the loss."""
        return self.number("weights").get(term, self.objective.weight_of(term))

    def check(self, trace: Trace) -> None:
        """As the objective."""
        self.objective.check(trace)

    def numbers(self) -> dict[str, float]:
        """Its weights, and the numbers of the objective."""
        return super().numbers() | self.objective.numbers()

    def describe(self) -> str:
        """The objective in words, and the weights."""
        weights = " + ".join(f"{weight:g} {name}" for name, weight in self.weights.items())
        return f"{self.objective.describe()} + {weights}"
