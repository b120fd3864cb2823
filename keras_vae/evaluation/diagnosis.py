"""What `diagnose` says of a model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

ACTIVE = 0.01  # variance over the data of a posterior mean, above which a unit is active (Burda et al. 2016)


@dataclass(frozen=True)
class Finding:
    """One thing that stands out.

    Attributes:
        name: "posterior collapse", for instance.
        evidence: a sentence with the numbers.
        advice: a sentence with the classes and arguments that would change it.
        illness: False for what is worth knowing of a healthy model too.
    """

    name: str
    evidence: str
    advice: str
    illness: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence} {self.advice}"

    __repr__ = __str__  # what a notebook shows


@dataclass(frozen=True)
class LatentDiagnosis:
    """How one latent variable is used. What can not be said of it is None.

    KL(q(z | x) || p(z)), averaged over the data, is the mutual information of x and z under q, plus KL(q(z) || p(z))
    of the aggregate posterior q(z), the mean of q(z | x[i]) over the examples (Hoffman & Johnson 2016). With n examples
    the mutual information is at most log n, and the KL of their aggregate posterior is the rest.

    Attributes:
        kl: KL(q(z | x) || p(z)), mean over the data, nats.
        kl_by_dimension: the same of each unit, shape (units,), where posterior and prior are made of independent ones.
        variance_of_means: over the data, of the mean of q(z | x), shape (units,); of a unit with several values, such
            as a category, the largest.
        mutual_information: I(x; z) under q, nats; where the posterior is given other latents, with these and x.
        mutual_information_by_dimension: I(x; z[d]), nats, shape (units,).
        aggregate_kl: KL(q(z) || p(z)), nats, where there is one prior for all examples.
        aggregate_kl_by_dimension: KL(q(z[d]) || p(z[d])), nats, shape (units,); their sum is no more than the whole.
        scales_at_limit: share of the scales of the posterior that are at the smallest that their layer allows.
        given_data_alone: whether the posterior is given no other latents.
        draws: one draw of z for each example, shape (examples, values).
        prior_draws: as many from the prior.
    """

    kl: float
    kl_by_dimension: np.ndarray | None = None
    variance_of_means: np.ndarray | None = None
    mutual_information: float | None = None
    mutual_information_by_dimension: np.ndarray | None = None
    aggregate_kl: float | None = None
    aggregate_kl_by_dimension: np.ndarray | None = None
    scales_at_limit: float | None = None
    given_data_alone: bool = True
    draws: np.ndarray | None = None
    prior_draws: np.ndarray | None = None

    @property
    def active(self) -> np.ndarray | None:
        """Which units are active: the mean of q(z | x) varies by more than 0.01 over the data; shape (units,)."""
        return None if self.variance_of_means is None else self.variance_of_means > ACTIVE


@dataclass(frozen=True)
class Diagnosis:
    """Whether a model uses its latent variables, and how far its numbers can be trusted; nats per example.

    Attributes:
        latents: a `LatentDiagnosis` of each latent variable, by name.
        elbo: of each example, shape (examples,).
        log_p: importance-sampled log p(x) of each example, shape (examples,).
        effective_samples: draws that each value of `log_p` rests on, shape (examples,).
        reconstruction: E log p(x | z) under q(z | x), shape (examples,).
        shuffled: the same with z drawn from q(z | another x), shape (examples,).
        samples: draws for each example.
        scales_at_limit: None, or the share of the scales of the likelihood that are at the smallest of their layer.
        residual_ratio: of a `FixedScaleNormal`, the root mean square of (x - mean of p(x | z)) / scale; else None.
        pareto_k: None, or k-hat of the importance weights, shape (examples,); see `LogLikelihood`.
        refined: how many examples were given the best posterior of the same family, each its own.
        amortization_gap: None, or what that posterior gains for them, mean: the encoder's part of the gap.
        family_gap: None, or how far their log p(x), of draws of that posterior, is above its ELBO, mean: the part of
            the family. Both parts together are more than `inference_gap` where the encoder's draws miss log p(x).
        findings: what stands out.
    """

    latents: Mapping[str, LatentDiagnosis]
    elbo: np.ndarray
    log_p: np.ndarray
    effective_samples: np.ndarray
    reconstruction: np.ndarray
    shuffled: np.ndarray
    samples: int
    scales_at_limit: float | None = None
    residual_ratio: float | None = None
    pareto_k: np.ndarray | None = None
    refined: int = 0
    amortization_gap: float | None = None
    family_gap: float | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def examples(self) -> int:
        """Number of examples."""
        return len(self.elbo)

    @property
    def healthy(self) -> bool:
        """Whether no finding is an illness."""
        return not any(finding.illness for finding in self.findings)

    @property
    def kl(self) -> float:
        """KL of all latents, mean over the examples."""
        return float(np.mean(self.reconstruction - self.elbo))

    @property
    def reconstruction_gain(self) -> float:
        """By how much log p(x | z) is more with the right z than with that of another example, mean."""
        return float(np.mean(self.reconstruction - self.shuffled))

    @property
    def inference_gap(self) -> float:
        """log p(x) - ELBO, mean: KL(q(z | x) || p(z | x)), and at least this, for `log_p` is a lower bound."""
        return float(np.mean(self.log_p - self.elbo))

    @property
    def active_units(self) -> int:
        """Number of active units of all latent variables."""
        return sum(int(latent.active.sum()) for latent in self.latents.values() if latent.active is not None)

    def numbers(self) -> dict[str, float]:
        """The numbers by name, as `callbacks.Diagnose` logs them; those of a latent by "kl_z1" where there are several.

        "kl_<number>" of each unit stands under "kl_z_<number>", counted from 0.
        """
        found: dict[str, float | None] = {
            "active_units": self.active_units,
            "reconstruction_gain": self.reconstruction_gain,
            "inference_gap": self.inference_gap,
            "amortization_gap": self.amortization_gap,
            "log_p": float(np.mean(self.log_p)),
            "effective_samples": float(np.median(self.effective_samples)),
            "scales_at_limit": self.scales_at_limit,
            "residual_ratio": self.residual_ratio,
            "illnesses": sum(finding.illness for finding in self.findings),
        }
        for name, latent in self.latents.items():
            of = f"_{name}" if len(self.latents) > 1 else ""
            found[f"mutual_information{of}"] = latent.mutual_information
            found[f"aggregate_kl{of}"] = latent.aggregate_kl
            for number, kl in enumerate([] if latent.kl_by_dimension is None else latent.kl_by_dimension):
                found[f"kl_{name}_{number}"] = kl
        return {name: float(value) for name, value in found.items() if value is not None}

    def __str__(self) -> str:
        log_p = self.log_p.astype(np.float64)
        error = log_p.std(ddof=1) / math.sqrt(self.examples)
        lines = [
            f"Diagnosis of {self.examples:,} examples, {self.samples:,} draws each, nats per example:",
            f"  ELBO {np.mean(self.elbo):.2f} = {np.mean(self.reconstruction):.2f} (log p(x | z)) - {self.kl:.2f} (KL)",
            f"  log p(x) {log_p.mean():.2f} +- {error:.2f}: {self.inference_gap:.2f} above the ELBO"
            f", on {np.median(self.effective_samples):.0f} effective draws (median)",
            *self._parts_of_gap(),
            f"  log p(x | z) {self.reconstruction_gain:.2f} above that with the z of another example",
        ]
        for name, latent in self.latents.items():
            lines += [f"  {line}" for line in _lines_of(name, latent, self.examples)]
        if self.healthy:
            lines.append("No illness was found.")
        lines += [f"{'! ' if finding.illness else '- '}{finding}" for finding in self.findings]
        return "\n".join(lines)

    __repr__ = __str__  # what a notebook shows

    def _parts_of_gap(self) -> list[str]:
        if self.amortization_gap is None:
            return []
        return [
            f"    of {self.refined:,} examples with a posterior of their own: {self.amortization_gap:.2f} by the "
            f"encoder, {self.family_gap:.2f} by the family of the posterior"
        ]


def _lines_of(name: str, latent: LatentDiagnosis, examples: int) -> list[str]:
    parts = [f"{name}: KL {latent.kl:.2f}"]
    if latent.mutual_information is not None:
        most = f", at most {math.log(examples):.2f}" if latent.mutual_information > math.log(examples) - 1 else ""
        parts[0] += f", mutual information {latent.mutual_information:.2f}{most}"
    if latent.aggregate_kl is not None:
        parts[0] += f", aggregate posterior to prior {latent.aggregate_kl:.2f}"
        if latent.aggregate_kl_by_dimension is not None:
            parts[0] += f" ({latent.aggregate_kl_by_dimension.sum():.2f} by unit)"
    if latent.active is not None:
        parts[0] += f"; {int(latent.active.sum())} of {len(latent.active)} units active"
    if latent.kl_by_dimension is not None:
        kl = np.sort(latent.kl_by_dimension)[::-1]
        more = f", and {len(kl) - 16} more" if len(kl) > 16 else ""
        parts.append(f"  KL by unit, sorted: {' '.join(f'{value:.2f}' for value in kl[:16])}{more}")
    return parts
