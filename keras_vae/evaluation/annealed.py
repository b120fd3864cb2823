"""log p(x) between two bounds, by annealed importance sampling in both directions."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.arguments import whole_number, whole_seed
from keras_vae.evaluation.batches import inputs_of, number_of_batches
from keras_vae.evaluation.estimates import Estimates
from keras_vae.evaluation.joint import Joint, check_continuous
from keras_vae.evaluation.programs import kept
from keras_vae.evaluation.progress import Progress
from keras_vae.models import LatentVariableModel
from keras_vae.noise import fold
from keras_vae.serving import draw_bytes
from keras_vae.training.choice import prefers_xla

ACCEPTED = 0.65  # the share that makes Hamiltonian steps go farthest for their cost (Beskos et al. 2013)
PILOT = 16  # chains that find the step sizes
EVERY = 4  # temperatures of the pilot run: one in so many
LONG = 100  # temperatures: more of them earn back the compilation by XLA, which halves the time of each
GRADIENT = 3  # memory of a density with its gradient, over that of the density
FORWARD, BACKWARD, STEPS = range(3)  # streams of noise


@dataclass(frozen=True)
class Simulated:
    """Data drawn from a model, with the latent variables that they were drawn from.

    Those are exact draws from p(z | x), from which chains can be run backward: the upper bound on log p(x) needs one.

    Attributes:
        inputs: what the model takes: x, shape (examples, *event), or the pair (x, condition).
        latents: draws of the latent variables by name, shape (examples, *latent) each.
    """

    inputs: Any
    latents: dict[str, np.ndarray]

    def latents_of(self, first: int, count: int) -> dict[str, np.ndarray]:
        """Those of `count` examples from number `first` on."""
        return {name: draws[first : first + count] for name, draws in self.latents.items()}


def simulate(model: LatentVariableModel, count, seed: int = 0) -> Simulated:
    """Draws z from the prior and x from p(x | z): those of `model.sample(count, seed)`.

    Args:
        model: a built model with the methods `sample_prior` and `sample`.
        count: number of examples; for a conditional model the conditions, one for each.
        seed: integer; the same seed draws the same in each process.

    Raises:
        TypeError: for a model without `sample_prior`.
    """
    if not hasattr(model, "sample_prior"):
        raise TypeError(
            f"simulate needs a model with a method sample_prior(count, seed). Received: a {type(model).__name__}."
        )
    latents = model.sample_prior(count, seed)
    latents = latents if isinstance(latents, dict) else {"z": latents}
    x = model.sample(count, seed)
    inputs = np.asarray(x) if model.takes.y is None else (np.asarray(x), np.asarray(count))
    return Simulated(inputs, {name: np.asarray(draws) for name, draws in latents.items()})


@dataclass(frozen=True)
class AnnealedBounds:
    """Bounds on log p(x) for each example of a data set, nats.

    Each is a bound in expectation, and they meet as the number of temperatures grows.

    Attributes:
        lower: shape (examples,).
        lower_errors: standard errors over the chains, shape (examples,).
        upper: None for data that were not drawn from the model, or of that shape.
        upper_errors: None, or standard errors over the chains.
        accepted: share of Hamiltonian steps that were accepted, shape (examples,).
        chains: in each direction.
        temperatures: how many.
    """

    lower: np.ndarray
    lower_errors: np.ndarray
    upper: np.ndarray | None
    upper_errors: np.ndarray | None
    accepted: np.ndarray
    chains: int
    temperatures: int

    @property
    def _of_lower(self) -> Estimates:
        return Estimates(self.lower, self.lower_errors)

    @property
    def _of_gap(self) -> Estimates | None:
        if self.upper is None or self.upper_errors is None:
            return None
        return Estimates(self.upper - self.lower, np.hypot(self.lower_errors, self.upper_errors))

    @property
    def mean(self) -> float:
        """Mean lower bound, nats per example."""
        return self._of_lower.mean

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the examples, nats; NaN for a single example."""
        return self._of_lower.standard_error

    @property
    def error_of_chains(self) -> float:
        """Standard error of the mean lower bound over the chains, nats."""
        return self._of_lower.error_of_draws

    @property
    def gap(self) -> float | None:
        """Mean upper less mean lower bound, nats: log p(x) is known to this; None without an upper bound."""
        return None if self._of_gap is None else self._of_gap.mean

    @property
    def gap_error(self) -> float | None:
        """Standard error of the gap over the chains, nats."""
        return None if self._of_gap is None else self._of_gap.error_of_draws

    @property
    def verdict(self) -> str:
        """Whether to believe the bounds, in a sentence or two."""
        low = int(np.sum(self.accepted < ACCEPTED / 2))
        moved = f"{np.mean(self.accepted):.0%} of the Hamiltonian steps were accepted"
        if low:
            moved += f", fewer than {ACCEPTED / 2:.0%} for {low:,} examples: take more leapfrog_steps"
        if self.gap is None:
            return f"A lower bound; {moved}. Data of `simulate` give an upper bound too, and so the quality of both."
        return f"The bounds differ by {self.gap:.3f} +- {self.gap_error:.3f} nats; {moved}."

    def __str__(self) -> str:
        found = f"log p(x) >= {self.mean:.3f}"
        if self.upper is not None:
            found = f"log p(x) from {self.mean:.3f} to {np.mean(self.upper, dtype=np.float64):.3f}"
        return (
            f"{found} +- {self.standard_error:.3f} nats over {len(self.lower):,} examples, "
            f"+- {self.error_of_chains:.3f} over the chains ({self.chains} of {self.temperatures:,} temperatures)\n"
            f"{self.verdict}"
        )

    __repr__ = __str__  # what a notebook shows


def annealed_importance_sampling(
    model: LatentVariableModel,
    data,
    temperatures: int | Sequence[float] = 500,
    chains: int = 16,
    leapfrog_steps: int = 10,
    seed: int = 0,
    batch_size: int = 100,
    memory: int = 2**30,
    resume: str | os.PathLike | None = None,
    verbose: int | str = "auto",
) -> AnnealedBounds:
    """Bounds on log p(x) by chains that go from q(z | x) to p(z | x) in many small steps, and back.

    The distributions on the way are q(z | x)^(1 - t) p(x, z)^t for rising temperatures t; at each, a step of
    Hamiltonian Monte Carlo. A first run with few chains finds a step size for each example and temperature, which stay
    fixed: so the bounds are unbiased estimates of p(x), and of 1 / p(x), before their logarithm is taken.

    Args:
        model: a built model whose latent variables are real numbers, drawn outside of loops.
        data: as for `log_likelihood`, or a `Simulated`, which has an upper bound too.
        temperatures: how many, of sigmoid spacing, dense at both ends; or the numbers themselves, rising from 0 to 1.
        chains: for each example and direction.
        leapfrog_steps: of each Hamiltonian step.
        seed: integer; the same seed and batches give the same bounds.
        batch_size: examples at a time, for arrays.
        memory: bytes that the chains may take, from an upper estimate; they run in groups that fit.
        resume: a file name. Finished batches are kept there, and another call with the same arguments goes on from
            them; the file stays when all is done.
        verbose: 0 for no progress bar.

    Returns:
        An `AnnealedBounds`.

    Raises:
        TypeError: for a model without latent variables, or with discrete or bounded ones.
        ValueError: for data that the model does not allow, temperatures that do not rise from 0 to 1, a bound of memory
            that is too small for one chain of each example of a batch, and a file of other weights, data or arguments.

    Reference: Neal 2001, "Annealed importance sampling"; Grosse, Ghahramani & Adams 2015, arXiv:1511.02543; Wu et al.
    2017, arXiv:1611.04273.
    """
    caller = "annealed_importance_sampling"
    counts = {"chains": chains, "leapfrog_steps": leapfrog_steps, "batch_size": batch_size, "memory": memory}
    chains, leapfrog_steps, batch_size, memory = (whole_number(caller, *item) for item in counts.items())
    seed, path = whole_seed(caller, seed), _temperatures(caller, temperatures)
    simulated = data if isinstance(data, Simulated) else None
    found = model.look_at(caller, data if simulated is None else simulated.inputs)
    bytes_of_draw = GRADIENT * kept(model, lambda: draw_bytes(model), "draw_bytes")
    arguments = {"chains": chains, "temperatures": _digest(path), "leapfrog_steps": leapfrog_steps, "seed": seed}
    progress = Progress(resume, caller, model, **arguments, both=simulated is not None)
    bar = keras.utils.Progbar(number_of_batches(found, batch_size), unit_name="batch") if verbose else None
    done = 0
    with progress:
        for step, inputs in enumerate(inputs_of(model, found, batch_size)):
            size = len(tf.nest.flatten(inputs)[0])
            at_once = _chains_at_once(caller, memory, size, bytes_of_draw)
            if not progress.has(step, *tf.nest.flatten(inputs)):
                if step == 0:
                    check_continuous(caller, model, Joint(model, tf.nest.map_structure(tf.constant, inputs)))
                latents = None if simulated is None else simulated.latents_of(done, size)
                batch = _Chains(model, inputs, path, leapfrog_steps, fold(seed, step))
                progress.add(batch.bounds(chains, at_once, latents))
            done += size
            if bar:
                bar.add(1)
    results: dict[str, Any] = progress.results()
    if simulated is None:
        results |= {"upper": None, "upper_errors": None}
    return AnnealedBounds(**results, chains=chains, temperatures=len(path))


def _chains_at_once(caller: str, memory: int, size: int, bytes_of_draw: int) -> int:
    """How many chains of each of `size` examples fit into memory."""
    at_once = memory // (size * bytes_of_draw)
    if not at_once:
        raise ValueError(
            f"{caller} needs memory for one chain of each example of a batch. Received: memory={memory:,} "
            f"bytes, a batch of {size} examples, and about {bytes_of_draw:,} bytes for each."
        )
    return at_once


class _Chains:
    """Chains for one batch, in groups that fit into memory, with step sizes of their own.

    Args:
        model: a built model.
        inputs: the batch.
        path: temperatures, rising from 0 to 1.
        leapfrog_steps: of each Hamiltonian step.
        seed: int32 of shape (2,).
    """

    def __init__(self, model, inputs, path: np.ndarray, leapfrog_steps: int, seed: tf.Tensor):
        inputs = tf.nest.map_structure(tf.constant, inputs)
        self.inputs, self.path, self.seed = inputs, tf.constant(path, tf.float32), seed
        size = tf.nest.flatten(inputs)[0].shape[0]

        def program(name, function):
            compiled = tf.function(function, jit_compile=len(path) > LONG and prefers_xla(model), autograph=False)
            return kept(model, lambda: compiled, name, size, len(path), leapfrog_steps)

        def pilot(inputs, path, scales, start, seed):
            return _pilot(Joint(model, inputs), path, scales, leapfrog_steps, start, seed)

        def run(inputs, path, steps, scales, start, seed):
            return _run(Joint(model, inputs), path, steps, scales, leapfrog_steps, start, seed)

        self.run = program("annealed", run)
        self.joint = Joint(model, inputs)
        start = self.joint.draws(PILOT, fold(seed, STEPS))
        self.scales = [tf.math.reduce_std(part, axis=0, keepdims=True) for part in start]
        steps = program("annealed pilot", pilot)(inputs, self.path[::EVERY], self.scales, start, fold(seed, STEPS, 1))
        self.steps = tf.repeat(steps, EVERY, axis=0)[: len(path)]

    def bounds(self, chains: int, at_once: int, latents) -> dict[str, np.ndarray]:
        """The lower bound, and with exact draws the upper one; the arguments are those of `_bound`."""
        lower = self._bound(FORWARD, chains, at_once, None)
        return lower if latents is None else lower | self._bound(BACKWARD, chains, at_once, latents)

    def _bound(self, direction: int, chains: int, at_once: int, latents) -> dict[str, np.ndarray]:
        """A bound, its error, and the share of accepted steps, by name, shape (batch,) each.

        Args:
            direction: FORWARD for the lower bound, BACKWARD for the upper one.
            chains: how many.
            at_once: of them, at most, in one group.
            latents: None, or exact draws from p(z | x) by name, shape (batch, *latent), where backward chains start.
        """
        groups = -(-chains // at_once)
        each = -(-chains // groups)
        log_weights, accepted = [], []
        for group in range(groups):
            seed = fold(self.seed, direction, group)
            if latents is None:
                start, path, steps = self.joint.draws(each, fold(seed, 1)), self.path, self.steps
            else:
                start = [tf.repeat(tf.constant(latents[name])[None], each, axis=0) for name in self.joint.names]
                path, steps = self.path[::-1], self.steps[::-1]
            log_weight, share = self.run(self.inputs, path, steps, self.scales, start, seed)
            log_weights.append(log_weight.numpy())
            accepted.append(share.numpy())
        log_weight = np.concatenate(log_weights)[:chains].astype(np.float64)
        largest = log_weight.max(axis=0)
        weights = np.exp(log_weight - largest)
        bound = largest + np.log(weights.mean(axis=0))
        error = weights.std(axis=0, ddof=1) / weights.mean(axis=0) / math.sqrt(chains) if chains > 1 else bound * np.nan
        if latents is None:
            return {"lower": bound, "lower_errors": error, "accepted": np.mean(accepted, axis=0)}
        return {"upper": -bound, "upper_errors": error}


def _run(joint: Joint, path, steps, scales, leapfrog_steps: int, start, seed):
    """Log-weights of chains along a path of temperatures, shape (chains, batch), and the share of accepted steps."""
    batch = tf.shape(steps)[1]

    def advance(number, log_weight, accepted, *values):
        log_weight += (path[number] - path[number - 1]) * _log_ratio(joint.trace(values))
        values, share = _step(joint, path[number], steps[number], scales, leapfrog_steps, values, fold(seed, number))
        return number + 1, log_weight, accepted + share, *values

    last = tf.shape(path)[0] - 1
    zeros = tf.zeros([tf.shape(start[0])[0], batch])
    loop = [tf.constant(1), zeros, tf.zeros([batch]), *start]
    _, log_weight, accepted, *values = tf.while_loop(lambda number, *_: number < last, advance, loop)
    log_weight += (path[last] - path[last - 1]) * _log_ratio(joint.trace(values))
    return log_weight, accepted / tf.cast(tf.maximum(last - 1, 1), tf.float32)


def _pilot(joint: Joint, path, scales, leapfrog_steps: int, start, seed):
    """A step size for each temperature and example, shape (temperatures, batch)."""
    batch, count = tf.shape(start[0])[1], tf.shape(path)[0]

    def advance(number, log_step, found, *values):
        step = tf.exp(log_step)
        found = tf.tensor_scatter_nd_update(found, [[number]], step[None])
        values, share = _step(joint, path[number], step, scales, leapfrog_steps, values, fold(seed, number))
        return number + 1, log_step + 0.2 * (share - ACCEPTED), found, *values

    loop = [tf.constant(0), tf.fill([batch], math.log(0.3)), tf.zeros([count, batch]), *start]
    return tf.while_loop(lambda number, *_: number < count, advance, loop)[2]


def _step(joint: Joint, temperature, step, scales, leapfrog_steps: int, values, seed):
    """One Hamiltonian step of all chains, and the mean probability that it is accepted, shape (batch,)."""

    def log_density(*values):
        trace = joint.trace(values)
        return trace.log_posterior + temperature * _log_ratio(trace)

    sizes = [scale * tf.reshape(step, [1, -1, *[1] * (len(scale.shape) - 2)]) for scale in scales]
    kernel = tfp.mcmc.HamiltonianMonteCarlo(log_density, sizes, leapfrog_steps)
    values, results = kernel.one_step(list(values), kernel.bootstrap_results(list(values)), seed=seed)
    return values, tf.reduce_mean(tf.exp(tf.minimum(results.log_accept_ratio, 0.0)), axis=0)


def _log_ratio(trace):
    return trace.log_joint - trace.log_posterior


def _temperatures(caller: str, given: int | Sequence[float]) -> np.ndarray:
    if isinstance(given, int | np.integer):
        count = whole_number(caller, "temperatures", given)
        if count < 2:
            raise ValueError(f"{caller} needs two temperatures or more, 0 and 1. Received: temperatures={given}.")
        sigmoid = 1 / (1 + np.exp(-np.linspace(-4, 4, count)))
        return (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])
    path = np.asarray(given, np.float64)
    if path.ndim != 1 or len(path) < 2 or path[0] != 0 or path[-1] != 1 or not np.all(np.diff(path) > 0):
        raise ValueError(
            f"{caller} needs temperatures as a whole number, or as numbers that rise from 0 to 1. Received: {given!r}."
        )
    return path


def _digest(path: np.ndarray) -> str:
    return f"{len(path)} of mean {path.mean():.8f} and square {np.mean(path**2):.8f}"
