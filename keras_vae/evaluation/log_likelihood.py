"""Importance-sampled log p(x) over a data set."""

import collections
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_vae.arguments import whole_seed
from keras_vae.evaluation.batches import inputs_of, number_of_batches
from keras_vae.evaluation.programs import kept
from keras_vae.evaluation.progress import Progress
from keras_vae.models import LatentVariableModel
from keras_vae.models.base import ROWS
from keras_vae.models.given import Given
from keras_vae.noise import fold
from keras_vae.serving import draw_bytes
from keras_vae.training.choice import prefers_xla

AT_ONCE = 2  # batches: beside another one, no core waits where the work of a batch does not split evenly


@dataclass(frozen=True)
class LogLikelihood:
    """An estimate of log p(x) for each example of a data set; higher is better.

    Attributes:
        values: log p(x) by example, nats, shape (examples,).
        effective_samples: draws that each value rests on, between 1 and `samples`, shape (examples,).
        samples: draws per example.
        dimensions: number of values in one observation.
    """

    values: np.ndarray
    effective_samples: np.ndarray
    samples: int
    dimensions: int

    @property
    def mean(self) -> float:
        """Mean log p(x), nats per example."""
        return float(np.mean(self.values, dtype=np.float64))

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the examples, nats; NaN for a single example."""
        if len(self.values) < 2:
            return math.nan
        return float(np.std(self.values, ddof=1, dtype=np.float64) / math.sqrt(len(self.values)))

    @property
    def bits_per_dim(self) -> float:
        """-log2 p(x) per value of an observation; lower is better."""
        return -self.mean / (self.dimensions * math.log(2))

    def __str__(self) -> str:
        return (
            f"log p(x) = {self.mean:.3f} +- {self.standard_error:.3f} nats ({len(self.values):,} examples, "
            f"{self.samples:,} samples each, median effective samples {np.median(self.effective_samples):.0f})"
        )


def log_likelihood(
    model: LatentVariableModel,
    data,
    samples: int = 500,
    seed: int = 0,
    batch_size: int = 100,
    memory: int = 2**30,
    resume: str | os.PathLike | None = None,
    verbose: int | str = "auto",
) -> LogLikelihood:
    """Importance-sampled log p(x) of each example, log (1/K) sum_k p(x, z[k]) / q(z[k] | x).

    The estimate is a lower bound in expectation, and rises to log p(x) with the number of samples. Each batch is
    encoded once; draws are decoded in chunks, of two batches side by side where the bound of `memory` allows it. XLA
    compiles it where `compile` would choose to; the compiled program is kept with the model, for the next call with as
    many samples and batches of the same size.

    Args:
        model: a built model.
        data: array (examples, *event), or a finite `tf.data.Dataset` or `PyDataset` of batches; for a conditional
            model a pair of arrays, (x, condition), or batches of pairs.
        samples: K, draws from q(z | x) per example.
        seed: integer; the same seed and batches give the same estimate in each process.
        batch_size: examples at a time, for an array.
        memory: bytes that draws may take, from an upper estimate: all tensors between a draw of z and its log-weight,
            as if none were freed. The default is 1 GiB.
        resume: a file name. Finished batches are kept there, and another call with the same arguments goes on from
            them; the file stays when all is done.
        verbose: 0 for no progress bar.

    Returns:
        A `LogLikelihood`.

    Raises:
        ValueError: for data that the model does not allow, for fewer than one sample, for a bound that is smaller
            than one draw for each example of a batch, and for a file of other weights, data or arguments.

    Reference: Burda et al. 2016, arXiv:1509.00519.
    """
    for name, value in {"samples": samples, "batch_size": batch_size, "memory": memory}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"log_likelihood needs {name} to be a whole number, 1 or more. Received: {name}={value!r}."
            )
    seed = whole_seed("log_likelihood", seed)
    found = model.look_at("log_likelihood", data)
    with Progress(resume, model, samples, seed) as progress:
        for scores in _by_batch(model, found, samples, seed, batch_size, memory, verbose, progress.has):
            progress.add(*scores)
    values, effective = progress.results()
    return LogLikelihood(values, effective, samples, math.prod(model.event_shape))


def log_likelihood_by_batch(
    model: LatentVariableModel,
    data,
    samples: int = 500,
    seed: int = 0,
    batch_size: int = 100,
    memory: int = 2**30,
    verbose: int | str = "auto",
) -> Iterator[np.ndarray]:
    """The values of one batch after the other, nats, shape (batch,); the arguments are those of `log_likelihood`."""
    found = model.look_at("log_likelihood", data)
    for values, _ in _by_batch(model, found, samples, whole_seed("log_likelihood", seed), batch_size, memory, verbose):
        yield values


def _by_batch(
    model: LatentVariableModel,
    found: Given,
    samples: int,
    seed: int,
    batch_size: int,
    memory: int,
    verbose: int | str,
    is_known: Callable[..., bool] | None = None,
) -> Iterator[list[np.ndarray]]:
    """log p(x) and effective samples of each batch, in their order, but of those that are known.

    Args:
        is_known: from the number and the arrays of a batch to whether it is to be left out.
    """
    bytes_of_draw = kept(model, lambda: draw_bytes(model), "draw_bytes")
    rows = min(ROWS, memory // bytes_of_draw // AT_ONCE)
    compiled = kept(model, lambda: _compiled(model, samples, rows), "log_likelihood", samples, rows)
    bar = keras.utils.Progbar(number_of_batches(found, batch_size), unit_name="batch") if verbose else None
    largest = 0
    under_way: collections.deque = collections.deque()

    def finished(most: int) -> Iterator[list[np.ndarray]]:
        """Waits until so many batches are under way, at most."""
        while len(under_way) > most:
            scores = under_way.popleft().result()
            if bar:
                bar.add(1)
            yield scores

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for step, inputs in enumerate(inputs_of(model, found, batch_size)):
            largest = max(largest, len(tf.nest.flatten(inputs)[0]))
            at_once = min(AT_ONCE, memory // (largest * bytes_of_draw))
            if not at_once:
                raise ValueError(
                    f"log_likelihood needs memory for one draw for each example of a batch. Received: memory={memory:,}"
                    f" bytes, a batch of {largest} examples, and about {bytes_of_draw:,} bytes for each."
                )
            if is_known is not None and is_known(step, *tf.nest.flatten(inputs)):
                if bar:
                    bar.add(1)
                continue
            yield from finished(at_once - 1)
            under_way.append(pool.submit(_score, compiled, inputs, fold(seed, step), largest))
        yield from finished(0)


def _compiled(model: LatentVariableModel, samples: int, rows: int):
    """`importance_weights` as a program, from a batch and a seed."""

    @tf.function(jit_compile=prefers_xla(model), reduce_retracing=True, autograph=False)
    def compiled(x, seed):
        return model.importance_weights(x, samples, seed, rows)

    return compiled


def _score(compiled, x, seed, largest: int) -> list[np.ndarray]:
    """The values of a batch, padded to the largest size so far: a smaller batch needs no other program."""
    size = len(tf.nest.flatten(x)[0])

    def pad(part):
        return np.concatenate([part, np.repeat(part[-1:], largest - size, axis=0)])

    return [part.numpy()[:size] for part in compiled(tf.nest.map_structure(pad, x), seed)]
