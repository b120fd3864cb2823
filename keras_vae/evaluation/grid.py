"""The exact posterior of one example in two dimensions, by quadrature."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_vae.arguments import whole_number
from keras_vae.evaluation.ancestors import prior_draws
from keras_vae.evaluation.batches import inputs_of
from keras_vae.evaluation.joint import Joint, check_continuous
from keras_vae.models import LatentVariableModel
from keras_vae.noise import fold

DEPTH = 25.0  # nats below the highest density, where the grid ends
PASSES = 6  # of which each looks at the part that the one before has found the posterior in, at most
POINTS_AT_ONCE = 2**12


@dataclass(frozen=True)
class PosteriorGrid:
    """p(z | x) of one example on a grid of two dimensions.

    Attributes:
        axes: the values of z[0] and of z[1], shape (size,) each.
        log_density: log p(z | x), nats, shape (size, size), z[0] along the first axis.
        log_likelihood: log p(x), nats.
    """

    axes: tuple[np.ndarray, ...]
    log_density: np.ndarray
    log_likelihood: float

    @property
    def points(self) -> np.ndarray:
        """All z of the grid, shape (size, size, 2)."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1)

    @property
    def probability(self) -> np.ndarray:
        """Of the cell around each point, shape (size, size)."""
        return np.exp(self.log_density) * _cell(self.axes)

    @property
    def mean(self) -> np.ndarray:
        """E[z | x], shape (2,)."""
        return np.einsum("ij,ijk->k", self.probability, self.points)

    @property
    def covariance(self) -> np.ndarray:
        """Of z given x, shape (2, 2)."""
        centred = self.points - self.mean
        return np.einsum("ij,ijk,ijl->kl", self.probability, centred, centred)


def posterior_on_grid(model: LatentVariableModel, data, size: int = 201) -> PosteriorGrid:
    """p(z | x) of one example on a grid, normalised by quadrature: exact, for models with a latent of two dimensions.

    The grid begins with the range of draws from the prior, and closes in on where the density is within 25 nats of its
    maximum.

    Args:
        model: a built model with one latent variable, of event shape (2,), of real numbers.
        data: one example, shape (1, *event), in the form that the model takes.
        size: points along each axis.

    Raises:
        TypeError: for a model of other latent variables.
        ValueError: for another number of examples, and for a size below 2.
    """
    caller, size = "posterior_on_grid", whole_number(model, "size", size, least=2)
    found = model.look_at(caller, data)
    if found.size != 1 or found.arrays is None:
        raise ValueError(f"{caller} needs one example, an array of batch size 1. Received: {found.size} examples.")
    (inputs,) = inputs_of(model, found, 1)
    joint = Joint(model, tf.nest.map_structure(tf.constant, inputs))
    check_continuous(caller, model, joint)
    first, *_ = drawn = prior_draws(joint, 1000, fold(0))
    if len(drawn) > 1 or first.shape[2:] != (2,):
        shapes = ", ".join(str(tuple(value.shape[2:])) for value in drawn)
        raise TypeError(f"{caller} needs a latent variable of event shape (2,). Received: {shapes}.")
    log_joint = tf.function(lambda z: joint.trace([z]).log_joint, autograph=False, reduce_retracing=True)

    low, high = first.numpy()[:, 0].min(axis=0), first.numpy()[:, 0].max(axis=0)
    low, high = low - (high - low) / 2, high + (high - low) / 2
    for _ in range(PASSES):
        axes = tuple(np.linspace(*ends, size) for ends in zip(low, high, strict=True))
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 1, 2).astype(np.float32)
        chunks = [points[at : at + POINTS_AT_ONCE] for at in range(0, len(points), POINTS_AT_ONCE)]
        nats = np.concatenate([log_joint(tf.constant(chunk)).numpy() for chunk in chunks])
        nats = nats.astype(np.float64).reshape(size, size)
        there = np.argwhere(nats > nats.max() - DEPTH)
        inner = [
            (axis[max(a - 1, 0)], axis[min(b + 1, size - 1)])
            for axis, a, b in zip(axes, there.min(0), there.max(0), strict=True)
        ]
        before, (low, high) = (low, high), map(np.array, zip(*inner, strict=True))
        if np.all(high - low > 0.8 * (before[1] - before[0])):
            break
    log_p = nats.max() + np.log(np.sum(np.exp(nats - nats.max())) * _cell(axes))
    return PosteriorGrid(axes, nats - log_p, float(log_p))


def _cell(axes) -> float:
    return float(np.prod([axis[1] - axis[0] for axis in axes]))
