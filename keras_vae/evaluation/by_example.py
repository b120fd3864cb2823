"""The bound of each example, and its parts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_vae.arguments import whole_number, whole_seed
from keras_vae.evaluation.batches import inputs_of
from keras_vae.evaluation.programs import kept
from keras_vae.models import LatentVariableModel
from keras_vae.noise import fold
from keras_vae.sampling import sampling


@dataclass(frozen=True)
class Bounds:
    """The evidence lower bound of each example, E[log p(x | z)] - KL(q(z | x) || p(z)).

    Attributes:
        elbo: nats, shape (examples,).
        log_likelihood: E[log p(x | z)] under q(z | x), nats, shape (examples,); the negative reconstruction error.
        kl: nats, shape (examples,).
    """

    elbo: np.ndarray
    log_likelihood: np.ndarray
    kl: np.ndarray


def bounds(model: LatentVariableModel, data, samples: int = 10, seed: int = 0, batch_size: int = 100) -> Bounds:
    """The evidence lower bound of each example of a data set, averaged over draws from q(z | x).

    Args:
        model: a built model.
        data: as for `log_likelihood`.
        samples: draws for each example.
        seed: integer; the same seed and batches give the same bounds in each process.
        batch_size: examples at a time, for an array.

    Raises:
        TypeError: for a model without latent variables.
        ValueError: for data that the model does not allow, and for numbers that are not whole and positive.

    Reference: Kingma & Welling 2014, arXiv:1312.6114.
    """
    parts = [(part.log_likelihood, part.kl) for part in bounds_by_batch(model, data, samples, seed, batch_size)]
    log_likelihood, kl = map(np.concatenate, zip(*parts, strict=True))
    return Bounds(log_likelihood - kl, log_likelihood, kl)


def bounds_by_batch(
    model: LatentVariableModel, data, samples: int = 10, seed: int = 0, batch_size: int = 100
) -> Iterator[Bounds]:
    """Those of one batch after the other; the arguments are those of `bounds`."""
    samples, batch_size = whole_number(model, "samples", samples), whole_number(model, "batch_size", batch_size)
    seed = whole_seed("bounds", seed)
    found = model.look_at("bounds", data)
    program = kept(model, lambda: _program(model, samples), "bounds", samples)
    for number, inputs in enumerate(inputs_of(model, found, batch_size)):
        parts = program(tf.nest.map_structure(tf.constant, inputs), fold(seed, number))
        log_likelihood, kl = (part.numpy() for part in parts)
        yield Bounds(log_likelihood - kl, log_likelihood, kl)


def _program(model: LatentVariableModel, samples: int):
    @tf.function(reduce_retracing=True, autograph=False)
    def program(inputs, seed):
        with sampling(samples, seed):
            trace = model.tracer(model.takes.of(type(model).__name__, inputs))()
        if not trace.latents:
            raise TypeError(
                f"bounds needs a model with latent variables. Received: a {type(model).__name__}, which has none; "
                "evaluate gives its log p(x | code)."
            )
        return tf.reduce_mean(trace.log_likelihood, axis=0), tf.reduce_mean(trace.kl, axis=0)

    return program
