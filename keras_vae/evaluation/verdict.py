"""From the numbers of a diagnosis to what stands out, and what would change it."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_vae.distributions.standardized import InUnits
from keras_vae.evaluation.diagnosis import ACTIVE, Diagnosis, Finding, LatentDiagnosis
from keras_vae.evaluation.pareto import threshold
from keras_vae.models import LatentVariableModel

COLLAPSED = 0.1  # nats of information: what 20 units at the limit of `ACTIVE` have, 0.5 log 1.01 each
CARRIES = 0.5  # nats of information, below which a decoder has little to use
USED = 0.5  # of the information, which a decoder that knows p(x | z) turns into as many nats of log p(x | z) at least
FAR = 0.5  # nats for each active unit: KL(N(1, 1) || N(0, 1)), a mean that is off by a standard deviation
AT_LIMIT = 0.01  # share of scales
LOST = 0.3  # nats for each value, that a fixed scale loses to the best one: of residuals half or 1.6 times the scale
GAP, GAP_OF_KL = 1.0, 0.25  # nats, and of the KL
FEW = 10  # effective draws
MISSED = 0.1  # share of the examples, of whose weights k-hat says that the draws miss too much
ERRORS = 2  # standard errors, by which an average has to be beyond a limit


def findings(found: Diagnosis, model: LatentVariableModel) -> tuple[Finding, ...]:
    """What stands out; the limits and their reasons are in the docstring of `diagnose`."""
    parts = (_collapse, _ignored, _far, _at_limit, _fixed_scale, _gap, _unused, _draws)
    return tuple(finding for part in parts for finding in part(found, model))


def is_collapsed(latent: LatentDiagnosis) -> bool:
    """Whether a latent variable says nothing about the data."""
    if latent.active is None or latent.active.any():
        return False
    nats = latent.kl if latent.mutual_information is None else latent.mutual_information
    return nats < COLLAPSED


def _collapse(found: Diagnosis, model) -> Iterator[Finding]:
    for name, latent in found.latents.items():
        if not is_collapsed(latent):
            continue
        variances: Any = latent.variance_of_means
        nats = "" if latent.mutual_information is None else f", its information {latent.mutual_information:.3f} nats"
        advice = [
            'LinearSchedule("beta", start=0.0, end=1.0) among the callbacks warms the KL up',
            "ELBO(free_nats=2.0) leaves some nats of it unpressed",
            "a decoder with fewer units needs z more",
        ]
        if latent.kl > CARRIES:  # ELBO(free_nats=...) and Capacity press for a KL, and noise is one too
            advice = [
                "nats are spent on what is the same of all examples: fewer free_nats, or less capacity",
                advice[2],
            ]
        beta = _beta(model, name)
        if beta > 1:
            advice.insert(0, f"the KL has the weight {beta:g}, ELBO(beta=1) is the bound itself and less helps more")
        if found.residual_ratio is not None:
            advice.insert(0, "LearnedScaleNormal in place of FixedScaleNormal learns how exact p(x | z) can be")
        yield Finding(
            "posterior collapse",
            f"No unit of {name} is active: the largest variance of a posterior mean over the data is "
            f"{variances.max():.4f} (active: above {ACTIVE}){nats}, its KL {latent.kl:.3f}.",
            _sentence(advice),
        )


def _ignored(found: Diagnosis, model) -> Iterator[Finding]:
    known = [latent.mutual_information for latent in found.latents.values() if latent.given_data_alone]
    nats = max((nats for nats in known if nats is not None), default=0.0)
    gain = found.reconstruction - found.shuffled
    if nats > CARRIES and _surely_below(gain, USED * nats):
        yield Finding(
            "decoder ignores the latents",
            f"z has {nats:.2f} nats of information about x, but log p(x | z) is only {found.reconstruction_gain:.2f} "
            "nats more than with the z of another example.",
            _sentence(
                [
                    "a likelihood that knows x without z, by its context or its units, needs a weaker network",
                    "nats that are forced on the latents, by Capacity or ELBO(free_nats=...), can be fewer",
                    "Dropout or MaskingNoise on what the decoder sees beside z makes it ask z",
                ]
            ),
        )


def _far(found: Diagnosis, model) -> Iterator[Finding]:
    for name, latent in found.latents.items():
        nats = latent.aggregate_kl_by_dimension
        active = latent.active
        if active is None or not active.any():
            continue
        if nats is not None and len(nats) == len(active):
            distance, words = float(nats[active].mean()), "of the marginals"
        elif latent.aggregate_kl is not None and _is_resolved(latent, found):
            distance, words = latent.aggregate_kl / int(active.sum()), "of the whole, shared out"
        else:
            continue
        if distance > FAR:
            advice = [
                "draws from the prior fall where no data are, VampPrior, NormalMixture or CouplingFlow as the prior "
                "learn where they are",
                "InfoVAE presses the aggregate posterior to the prior",
            ]
            beta = _beta(model, name)
            if beta < 1:
                advice.insert(0, f"the KL has the weight {beta:g}, ELBO(beta=1) is the bound itself")
            spread = f", the standard deviation of {name} is {_spread(latent.draws):.2f} at most"
            spread += f" and that of the prior {_spread(latent.prior_draws):.2f}"
            yield Finding(
                "aggregate posterior far from the prior",
                f"KL(q({name}) || p({name})) is {distance:.2f} nats for each active unit ({words}){spread}.",
                _sentence(advice),
            )


def _spread(draws: Any) -> float:
    """The largest standard deviation of a value, of draws of shape (examples, values)."""
    return float(draws.std(axis=0).max())


def _is_resolved(latent: LatentDiagnosis, found: Diagnosis) -> bool:
    """Whether there are examples enough to tell the aggregate posterior from single ones."""
    return latent.mutual_information is not None and latent.mutual_information < math.log(found.examples) - 1


def _at_limit(found: Diagnosis, model) -> Iterator[Finding]:
    if found.scales_at_limit is not None and found.scales_at_limit > AT_LIMIT:
        yield Finding(
            "scales of the likelihood at their limit",
            f"{100 * found.scales_at_limit:.0f} % of the scales of p(x | z) are the smallest that min_scale allows: "
            "the density grows with each smaller one, and log p(x) is that of min_scale.",
            _sentence(
                [
                    "LearnedScaleNormal has one scale for all values",
                    "a larger min_scale, the rounding of the data for instance, says how exact they are",
                    "values that never change carry no information, and can be left out",
                ]
            ),
        )
    for name, latent in found.latents.items():
        if latent.scales_at_limit is not None and latent.scales_at_limit > AT_LIMIT:
            yield Finding(
                "scales of the posterior at their limit",
                f"{100 * latent.scales_at_limit:.0f} % of the scales of q({name} | x) are the smallest that min_scale "
                "allows: it would be a code without noise.",
                _sentence(
                    [
                        "more weight on the KL, ELBO(beta=1), makes noise worth while",
                        "a likelihood that is less exact, by a larger min_scale, asks for less exact codes",
                    ]
                ),
            )


def _fixed_scale(found: Diagnosis, model) -> Iterator[Finding]:
    ratio = found.residual_ratio
    if ratio is None:
        return
    lost = 0.5 * (ratio**2 - 1) - math.log(max(ratio, 1e-12))  # of N(r, s^2) to the best s, on average over residuals
    if lost > LOST:
        layer = model.likelihood.layer if isinstance(model.likelihood, InUnits) else model.likelihood
        yield Finding(
            "fixed scale far from the residuals",
            f"x is {ratio:.2g} scales away from the mean of p(x | z) (root mean square), which loses {lost:.2g} nats "
            "for each value.",
            _sentence(
                [
                    "LearnedScaleNormal or OptimalScaleNormal in place of FixedScaleNormal learn the scale",
                    f"FixedScaleNormal(scale={layer.scale * ratio:.2g}) would be that of the residuals now",
                ]
            ),
        )


def _gap(found: Diagnosis, model) -> Iterator[Finding]:
    gap = found.log_p - found.elbo
    limit = max(GAP, GAP_OF_KL * found.kl)
    if _surely_below(-gap, -limit):
        advice = [
            "a larger or longer trained encoder",
            "a posterior that sees correlations, FullCovarianceNormal or InverseAutoregressiveFlow in place of Normal",
            "IWAE(samples=5), whose bound is closer",
            "more training data, where the gap is smaller on those",
        ]
        yield Finding(
            "inference gap",
            f"The ELBO is {found.inference_gap:.2f} nats below log p(x), {100 * found.inference_gap / found.kl:.0f} % "
            "of the KL: q(z | x) is far from the posterior.",
            _sentence(advice),
        )


def _unused(found: Diagnosis, model) -> Iterator[Finding]:
    for name, latent in found.latents.items():
        if latent.active is None or not latent.active.any() or latent.active.all():
            continue
        dead = int((~latent.active).sum())
        used = len(latent.active) - dead
        enough = "1 unit" if used == 1 else f"{used} units"
        yield Finding(
            "unused units",
            f"{dead} of {len(latent.active)} units of {name} are not active: the mean of their posterior varies by "
            f"{ACTIVE} or less over the data.",
            f"They cost nothing: {enough} would do, or a warm-up of beta uses more of them.",
            illness=False,
        )


def _draws(found: Diagnosis, model) -> Iterator[Finding]:
    if model.one_point:
        yield Finding(
            "log p(x) is a lower bound only",
            "q(z | x) is one point: what other codes add to p(x) is left out, and more draws do not bring it closer.",
            "Models whose posteriors are points too have bounds of the same kind.",
            illness=False,
        )
        return
    effective, limit = float(np.median(found.effective_samples)), threshold(found.samples)
    missed = 0 if found.pareto_k is None else int(np.sum(found.pareto_k > limit))
    if effective < min(FEW, found.samples / 2) or missed >= MISSED * found.examples:
        tails = f", and k-hat is above {limit:.2f} for {missed:,} of {found.examples:,} examples" if missed else ""
        yield Finding(
            "log p(x) is a lower bound only",
            f"It rests on {effective:.1f} of {found.samples} draws (median){tails}: the gap of the ELBO is at least "
            "what is said here.",
            "More draws come closer, diagnose(samples=1000); evaluation.annealed_importance_sampling says how close.",
            illness=False,
        )


def _surely_below(values: np.ndarray, limit: float) -> bool:
    """Whether the mean of values, one for each example, is below a limit by `ERRORS` standard errors."""
    error = values.std(ddof=1, dtype=np.float64) / math.sqrt(len(values))
    return bool(values.mean(dtype=np.float64) + ERRORS * error < limit)


def _beta(model, name: str) -> float:
    """Weight of the KL of a latent variable in training, as it is scheduled; 1 where the objective has none."""
    numbers = model.scheduled_numbers
    return float(numbers.get("beta", numbers.get(f"beta.{name}", 1.0)))


def _sentence(parts: list[str]) -> str:
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
