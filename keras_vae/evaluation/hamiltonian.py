"""Draws from the exact posterior of single examples, by Markov chains: what other posteriors can be held against."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.arguments import whole_number, whole_seed
from keras_vae.evaluation.ancestors import prior_draws
from keras_vae.evaluation.batches import inputs_of
from keras_vae.evaluation.joint import Joint, check_continuous
from keras_vae.evaluation.programs import kept, repays_xla
from keras_vae.models import LatentVariableModel
from keras_vae.noise import fold, uniform

LARGEST_R_HAT = 1.05  # beyond, the chains have not met
FIRST_STEP = 0.1  # of the integrator, before it is adapted
JITTER = 0.25  # part by which the step of a draw may differ from the adapted one
ADAPTED = 0.8  # part of the warm-up in which the step is adapted


@dataclass(frozen=True)
class PosteriorDraws:
    """Draws from p(z | x) of several Markov chains, and whether they can be trusted.

    Attributes:
        values: draws by latent variable, shape (draws, chains, examples, *event).
        r_hat: by latent variable, shape (examples, *event): the standard deviation of all chains together over that
            within each half of one, 1 where they agree; after Gelman & Rubin 1992.
        effective_samples: independent draws that would tell as much of the mean, by latent variable, shape
            (examples, *event).
        acceptance: share of proposals that were accepted, shape (examples,).
    """

    values: dict[str, np.ndarray]
    r_hat: dict[str, np.ndarray]
    effective_samples: dict[str, np.ndarray]
    acceptance: np.ndarray

    @property
    def largest_r_hat(self) -> float:
        """Over all examples and values; NaN where a chain has not moved."""
        return float(np.max([np.max(each) for each in self.r_hat.values()]))

    @property
    def converged(self) -> bool:
        """Whether no R-hat is more than 1.05."""
        return self.largest_r_hat <= LARGEST_R_HAT

    def __str__(self) -> str:
        draws, chains, examples = next(iter(self.values.values())).shape[:3]
        fewest = min(float(np.min(each)) for each in self.effective_samples.values())
        verdict = "the chains agree" if self.converged else _not_met(self.r_hat)
        return (
            f"p(z | x) of {examples:,} examples, {chains} chains of {draws:,} draws, {self.acceptance.mean():.0%} of "
            f"proposals accepted, {fewest:,.0f} effective samples or more, R-hat at most {self.largest_r_hat:.3f}: "
            f"{verdict}"
        )

    __repr__ = __str__  # what a notebook shows


def hamiltonian_monte_carlo(
    model: LatentVariableModel,
    data,
    draws: int = 1000,
    chains: int = 4,
    warm_up: int = 1000,
    leapfrog_steps: int = 5,
    seed: int = 0,
    batch_size: int = 100,
) -> PosteriorDraws:
    """Draws from p(z | x) of one or a few examples by Hamiltonian Monte Carlo: exact, but for how long the chains run.

    The chains of an example begin at draws from the prior, and share a step size, which dual averaging adapts to an
    acceptance of 3/4 during the warm-up; that of a single draw differs from it by up to a quarter. All latent variables
    of an example move together. Memory grows with draws x chains x examples.

    Args:
        model: a built model whose latent variables are real numbers: any prior, likelihood and number of layers.
        data: as for `log_likelihood`.
        draws: of each chain, after the warm-up.
        chains: two or more, so that they can be compared.
        warm_up: steps that are thrown away.
        leapfrog_steps: of the integrator, for one draw; more where z is much narrower in one direction than in another.
        seed: integer; the same seed and batches give the same draws in each process.
        batch_size: examples at a time, for an array.

    Returns:
        A `PosteriorDraws`; a warning says where the chains have not met.

    Raises:
        TypeError: for a model without latent variables, and for discrete or bounded ones.
        ValueError: for data that the model does not allow, and for numbers that are not whole and positive.

    Reference: Neal 2011, arXiv:1206.1901; Hoffman & Gelman 2014, arXiv:1111.4246 (dual averaging).
    """
    numbers = {"warm_up": warm_up, "leapfrog_steps": leapfrog_steps, "batch_size": batch_size}
    warm_up, leapfrog_steps, batch_size = (whole_number(model, name, number) for name, number in numbers.items())
    chains, draws = whole_number(model, "chains", chains, least=2), whole_number(model, "draws", draws, least=4)
    seed = whole_seed("hamiltonian_monte_carlo", seed)
    found = model.look_at("hamiltonian_monte_carlo", data)
    key = ("hamiltonian_monte_carlo", draws, chains, warm_up, leapfrog_steps)
    program = kept(model, lambda: _program(model, draws, chains, warm_up, leapfrog_steps), *key)
    parts: list = []
    for number, inputs in enumerate(inputs_of(model, found, batch_size)):
        inputs = tf.nest.map_structure(tf.constant, inputs)
        if not parts:
            joint = Joint(model, inputs)
            check_continuous("hamiltonian_monte_carlo", model, joint)
        parts.append([part.numpy() for part in program(inputs, fold(seed, number))])
    *states, accepted = zip(*parts, strict=True)
    values = {name: np.concatenate(each, axis=2) for name, each in zip(joint.names, states, strict=True)}
    result = PosteriorDraws(
        values,
        r_hat={
            name: tfp.mcmc.potential_scale_reduction(each, split_chains=True).numpy() for name, each in values.items()
        },
        effective_samples={name: _effective_samples(each) for name, each in values.items()},
        acceptance=np.concatenate(accepted),
    )
    if not result.converged:
        warnings.warn(
            f"hamiltonian_monte_carlo: {_not_met(result.r_hat)} More warm_up and draws may help; where the posterior "
            "has modes far apart, no chain finds its way from one to the other.",
            stacklevel=2,
        )
    return result


def _effective_samples(values: np.ndarray) -> np.ndarray:
    """By Geyer's initial positive pairs, over all chains together."""
    made = tfp.mcmc.effective_sample_size(values, cross_chain_dims=1, filter_beyond_positive_pairs=True)
    return made.numpy()


def _not_met(r_hat: dict[str, np.ndarray]) -> str:
    """Where chains disagree, in words."""
    largest = {name: float(np.max(each)) for name, each in r_hat.items()}
    examples = [
        np.flatnonzero(~(each.reshape(len(each), -1).max(axis=1) <= LARGEST_R_HAT)).tolist() for each in r_hat.values()
    ]
    where = sorted({number for each in examples for number in each})
    named = ", ".join(map(str, where[:5])) + (", ..." if len(where) > 5 else "")
    worst = max(largest, key=lambda name: math.inf if math.isnan(largest[name]) else largest[name])
    return (
        f"the chains of {len(where)} of {len(next(iter(r_hat.values())))} examples have not met, R-hat of {worst} is "
        f"{largest[worst]:.3f}, more than {LARGEST_R_HAT} (examples {named})."
    )


class _JitteredSteps(tfp.mcmc.HamiltonianMonteCarlo):
    """Each draw has a step of its own: with one for all, a path of an oscillation's period comes back to its start.

    Reference: Neal 2011, arXiv:1206.1901, section 3.2.
    """

    def one_step(self, current_state, previous_kernel_results, seed=None):
        """One draw, by a step that the results, from which the step is adapted, do not see."""
        of_step, of_draw = fold(seed, 0), fold(seed, 1)
        before = previous_kernel_results.accepted_results
        jittered = before.step_size * (1 + JITTER * (2 * uniform([1], of_step) - 1))
        results = previous_kernel_results._replace(accepted_results=before._replace(step_size=jittered))
        state, results = super().one_step(current_state, results, of_draw)
        after = results.accepted_results._replace(step_size=before.step_size)
        return state, results._replace(accepted_results=after)


def _program(model: LatentVariableModel, draws: int, chains: int, warm_up: int, leapfrog_steps: int):
    """From a batch and a seed to draws by variable, and the acceptance."""

    def program(inputs, seed):
        joint = Joint(model, inputs)
        first = prior_draws(joint, chains, fold(seed, 0))
        shapes = [tuple(value.shape[2:]) for value in first]
        sizes = [math.prod(shape) for shape in shapes]

        def parts_of(states) -> list[tf.Tensor]:
            """The latent variables in the last axis of states, shape (..., sum of sizes)."""
            lead = tf.shape(states)[:-1]
            pairs = zip(tf.split(states, sizes, axis=-1), shapes, strict=True)
            return [tf.reshape(part, tf.concat([lead, shape], axis=0)) for part, shape in pairs]

        start = tf.concat(
            [tf.reshape(value, [chains, -1, size]) for value, size in zip(first, sizes, strict=True)], axis=-1
        )
        kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
            _JitteredSteps(
                lambda states: joint.trace(parts_of(states)).log_joint,
                step_size=tf.fill([1, tf.shape(start)[1], 1], FIRST_STEP),
                num_leapfrog_steps=leapfrog_steps,
            ),
            num_adaptation_steps=int(ADAPTED * warm_up),
        )
        states, accepted = tfp.mcmc.sample_chain(
            draws,
            start,
            kernel=kernel,
            num_burnin_steps=warm_up,
            trace_fn=lambda _, results: results.inner_results.is_accepted,
            seed=fold(seed, 1),
        )
        return *parts_of(states), tf.reduce_mean(tf.cast(accepted, tf.float32), axis=[0, 1])

    return tf.function(program, jit_compile=repays_xla(model), reduce_retracing=True, autograph=False)
