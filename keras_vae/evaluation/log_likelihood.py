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
from keras_vae.evaluation.estimates import FromDraws
from keras_vae.evaluation.pareto import pareto_k, tail_size, threshold
from keras_vae.evaluation.programs import kept
from keras_vae.evaluation.progress import Progress
from keras_vae.models import LatentVariableModel
from keras_vae.models.base import ROWS
from keras_vae.models.given import Given
from keras_vae.noise import fold
from keras_vae.serving import draw_bytes
from keras_vae.training.choice import prefers_xla

FEWEST = 25  # draws, of whose weights five are a tail
TOO_MANY = 0.1  # of the examples: with 100 draws the error of k-hat is about 0.2
AT_ONCE = 2  # batches: beside another one, no core waits where the work of a batch does not split evenly


@dataclass(frozen=True)
class LogLikelihood(FromDraws):
    """An estimate of log p(x) for each example of a data set; higher is better.

    Attributes:
        values: log p(x) by example, nats, shape (examples,).
        effective_samples: draws that each value rests on, between 1 and `samples`, shape (examples,).
        pareto_k: k-hat by example, shape (examples,), NaN for fewer than 25 draws: how heavy the tail of the importance
            weights is, see `keras_vae.evaluation.pareto`.
        samples: draws per example.
        dimensions: number of values in one observation; None where observations differ in it.
        discrete: whether log p(x) is that of a probability; a density is one per unit of the data.
        one_point: whether the posterior is one point, so that each value is log p(x, z) at it.
    """

    values: np.ndarray
    effective_samples: np.ndarray
    pareto_k: np.ndarray
    samples: int
    dimensions: int | None
    discrete: bool
    one_point: bool = False

    @property
    def errors(self) -> np.ndarray:  # type: ignore[override]
        """Standard error of each value over its draws, nats, shape (examples,); NaN for a single draw, 0 at one point.

        That of a mean relative to the mean (delta method): it says little where `unreliable` is true.
        """
        if self.one_point:
            return np.zeros(len(self.values))
        if self.samples < 2:
            return np.full(len(self.values), np.nan)
        spread = 1 / np.maximum(self.effective_samples, 1.0) - 1 / self.samples
        return np.sqrt(np.maximum(spread, 0.0) * self.samples / (self.samples - 1))

    @property
    def bias(self) -> float:
        """How far the mean lies below log p(x) in expectation, nats: half the variance over the draws (delta method).

        Where `unreliable` is true it is more.
        """
        return float(np.mean(self.errors**2) / 2)

    @property
    def unreliable(self) -> np.ndarray:
        """Whether the draws missed too much of the posterior to say log p(x): bool, shape (examples,).

        Where k-hat is above min(1 - 1 / log10(samples), 0.7) (Vehtari et al. 2024), and for fewer than 25 draws.
        """
        return ~(self.pareto_k <= threshold(self.samples))

    @property
    def reliable(self) -> bool:
        """Whether fewer than one example in ten is `unreliable`: k-hat of a few is above by chance."""
        return bool(np.mean(self.unreliable) < TOO_MANY)

    @property
    def verdict(self) -> str:
        """Whether to believe the mean, in a sentence or two."""
        if self.one_point:
            return "A lower bound only: q(z | x) is one point, and what other codes add to p(x) is left out."
        if self.samples < FEWEST:
            return f"{self.samples} draws are too few to say how far below log p(x) this bound is: take 25 or more."
        missed, limit = int(np.sum(self.unreliable)), threshold(self.samples)
        found = f"k-hat is above {limit:.2f} for {missed:,} of {len(self.values):,} examples"
        few = np.median(self.pareto_k) <= threshold(10**6)  # those of many more draws would be reliable
        advice = "Take more samples" if few else "More of them help little: annealed_importance_sampling does"
        if self.reliable:
            return f"Reliable: {found}; about {self.bias:.3f} nats too low."
        return (
            f"A lower bound only: {found}. Draws of q(z | x) miss much of the posterior, and log p(x) is higher by "
            f"more than {self.bias:.3f} nats. {advice}."
        )

    @property
    def bits_per_dim(self) -> float:
        """-log2 p(x) per value of an observation, of discrete data; lower is better.

        Raises:
            TypeError: for a density, whose bits depend on the unit: those of grey levels 0 to 255 are 8 more than those
                of the same images in fractions.
        """
        if self.dimensions is None or not self.discrete:
            raise TypeError(
                "LogLikelihood.bits_per_dim needs discrete data, such as those of Bernoulli or DiscretizedLogistic. "
                "Received: a density, whose bits depend on the unit of the data."
            )
        return -self.mean / (self.dimensions * math.log(2))

    def __str__(self) -> str:
        found = (
            f"log p(x) {'=' if self.reliable else '>='} {self.mean:.3f} +- {self.standard_error:.3f} nats over "
            f"{len(self.values):,} examples"
        )
        if not self.one_point:
            found += (
                f", +- {self.error_of_draws:.3f} over the draws ({self.samples:,} each, median effective "
                f"{np.median(self.effective_samples):.0f}, median k-hat {np.median(self.pareto_k):.2f})"
            )
        return f"{found}\n{self.verdict}"

    __repr__ = __str__  # what a notebook shows


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

    The estimate is a lower bound in expectation, and rises to log p(x) with the number of samples; how far it is from
    there, `LogLikelihood.verdict` says. A density is one per unit of the data. Each batch is encoded once; draws are
    decoded in chunks, of two batches side by side where the bound of `memory` allows it. XLA compiles it where
    `compile` would choose to; the compiled program is kept with the model, for the next call with as many samples and
    batches of the same size.

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
    samples = 1 if model.one_point else samples
    found = model.look_at("log_likelihood", data)
    with Progress(resume, "log_likelihood", model, samples=samples, seed=seed) as progress:
        for scores in _by_batch(model, found, samples, seed, batch_size, memory, verbose, progress.has):
            progress.add(scores)
    return LogLikelihood(
        **progress.results(),
        samples=samples,
        dimensions=model.dimensions,
        discrete=model.discrete,
        one_point=model.one_point,
    )


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
    seed, samples = whole_seed("log_likelihood", seed), 1 if model.one_point else samples
    for scores in _by_batch(model, found, samples, seed, batch_size, memory, verbose):
        yield scores["values"]


def _by_batch(
    model: LatentVariableModel,
    found: Given,
    samples: int,
    seed: int,
    batch_size: int,
    memory: int,
    verbose: int | str,
    is_known: Callable[..., bool] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """log p(x), effective samples and k-hat of each batch, by name, in their order, but of those that are known.

    Args:
        is_known: from the number and the arrays of a batch to whether it is to be left out.
    """
    bytes_of_draw = kept(model, lambda: draw_bytes(model), "draw_bytes")
    rows = min(ROWS, memory // bytes_of_draw // AT_ONCE)
    compiled = kept(model, lambda: _compiled(model, samples, rows), "log_likelihood", samples, rows)
    bar = keras.utils.Progbar(number_of_batches(found, batch_size), unit_name="batch") if verbose else None
    largest = 0
    under_way: collections.deque = collections.deque()

    def finished(most: int) -> Iterator[dict[str, np.ndarray]]:
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
    """From a batch and a seed: log p(x), effective samples, and the logarithms of the largest weights by example."""
    tail = tail_size(samples)

    @tf.function(jit_compile=prefers_xla(model), reduce_retracing=True, autograph=False)
    def compiled(x, seed):
        sums, largest = model.weigh(x, samples, seed, rows, tail and tail + 1)
        return sums.log_sum() - math.log(samples), sums.effective_samples(), tf.transpose(largest)

    return compiled


def _score(compiled, x, seed, largest: int) -> dict[str, np.ndarray]:
    """The values of a batch, padded to the largest size so far: a smaller batch needs no other program."""
    size = len(tf.nest.flatten(x)[0])

    def pad(part):
        return np.concatenate([part, np.repeat(part[-1:], largest - size, axis=0)])

    values, effective, tail = (part.numpy()[:size] for part in compiled(tf.nest.map_structure(pad, x), seed))
    return {"values": values, "effective_samples": effective, "pareto_k": pareto_k(tail.T)}
