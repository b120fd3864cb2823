"""Is the latent space used, and can the numbers be trusted?"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae.arguments import whole_number, whole_seed
from keras_vae.evaluation.batches import inputs_of
from keras_vae.evaluation.diagnosis import Diagnosis, LatentDiagnosis
from keras_vae.evaluation.measures import aggregate, measures
from keras_vae.evaluation.pareto import pareto_k, tail_size
from keras_vae.evaluation.programs import kept
from keras_vae.evaluation.refine import refine_posterior
from keras_vae.evaluation.verdict import findings
from keras_vae.models import LatentVariableModel
from keras_vae.models.base import ROWS
from keras_vae.noise import CHUNK, fold
from keras_vae.serving import draw_bytes

BATCH = 100  # examples at a time, at least
MEMORY = 2**30  # bytes that draws may take
PAIRS = 2**22  # numbers of draws held against posteriors at a time


def diagnose(
    model: LatentVariableModel,
    data,
    samples: int = 100,
    examples: int = 1000,
    refined: int = 0,
    seed: int = 0,
    verbose: int | str = "auto",
) -> Diagnosis:
    """Says whether a model uses its latent variables, how far its numbers can be trusted, and what would change it.

    It measures, for each latent variable, the KL of each unit, active units, mutual information and the KL of the
    aggregate posterior (see `LatentDiagnosis`); log p(x | z) with the right z and with that of another example; log
    p(x) by importance sampling, and its distance to the ELBO; and the scales that are at the smallest of their layer.

    An illness is found where

    - "posterior collapse": no unit of a variable is active, by the limit of Burda et al., and its mutual information is
      below 0.1 nats, what 20 units at that limit have together;
    - "decoder ignores the latents": z has 0.5 nats of information about x or more, of which log p(x | z) shows less
      than half when z is exchanged. A decoder that is right shows all of them, and more: E log p(x | z) - E log p(x |
      another z) is the mutual information plus the KL of the two joint distributions the other way round;
    - "aggregate posterior far from the prior": KL(q(z[d]) || p(z[d])) is more than 0.5 nats on average over the active
      units, as of N(1, 1) from N(0, 1). Where units are not independent the whole is shared out, if the mutual
      information is one nat or more below its limit log(examples);
    - "scales ... at their limit": more than 1 % of the scales of the likelihood or the posterior are within 1 % of
      `min_scale`: no scale gets there but by growing towards 0 without end;
    - "fixed scale far from the residuals": the scale of a `FixedScaleNormal` loses 0.3 nats for each value to that of
      the residuals, which are then below 0.5 or above 1.6 scales;
    - "inference gap": the ELBO is more than a nat, and more than a quarter of the KL, below log p(x). Models that are
      well trained lose a tenth to a sixth of it (README; Cremer et al. 2018, arXiv:1801.03558).

    Averages over examples must be beyond their limit by two standard errors. Units that are not active beside others
    that are, and estimates of log p(x) that are not to be trusted, by the effective draws or by k-hat (see
    `LogLikelihood`), are reported, and are no illness. A gap is a lower bound: of a posterior that is much too narrow
    even many draws miss where the weight is.

    Args:
        model: a built model.
        data: as for `log_likelihood`; better not those of training.
        samples: draws from q(z | x) for each example, 2 or more.
        examples: how many are looked at, at most: random ones of arrays, the first ones of batches. They are kept in
            memory, and each is held against the posteriors of all. The density of an `InverseAutoregressiveFlow` at
            other draws than its own takes a pass for each value: there a smaller number saves minutes.
        refined: how many of these get a posterior of their own by `refine_posterior`, which says how much of the gap
            between ELBO and log p(x) is the encoder's and how much the family's; 0 leaves that open. A hundred take
            half a minute.
        seed: integer; the same seed and data give the same diagnosis in each process.
        verbose: 0 prints nothing.

    Returns:
        A `Diagnosis`, which is also printed.

    Raises:
        TypeError: for a model without latent variables, and for `refined` examples of a model of which
            `refine_posterior` does not know how.
        ValueError: for data that the model does not allow, for fewer than two examples or draws.

    Reference: Hoffman & Johnson 2016, "ELBO surgery"; Burda et al. 2016, arXiv:1509.00519.
    """
    for name, value in {"samples": samples, "examples": examples}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 2:
            raise ValueError(f"diagnose needs {name} to be a whole number, 2 or more. Received: {name}={value!r}.")
    refined, seed = whole_number("diagnose", "refined", refined, least=0), whole_seed("diagnose", seed)
    inputs = _some(model, model.look_at("diagnose", data), examples, seed)
    count = len(tf.nest.flatten(inputs)[0])
    if count < 2:
        raise ValueError("diagnose needs two examples or more. Received: 1.")
    rows = max(2, min(ROWS, MEMORY // kept(model, lambda: draw_bytes(model), "draw_bytes")))
    parts = np.array_split(np.arange(count), max(1, count // min(BATCH, rows)))
    batches = [tf.nest.map_structure(lambda array, part=part: tf.constant(array[part]), inputs) for part in parts]
    program = kept(model, lambda: measures(model), "diagnose")
    measured = [
        _measured(program, batch, samples, max(1, rows // len(part)), fold(seed, number))
        for number, (batch, part) in enumerate(zip(batches, parts, strict=True))
    ]
    latents: dict[str, Any] = {
        name: _joined([batch["latents"][name] for batch in measured]) for name in measured[0]["latents"]
    }
    logs = _aggregated(model, batches, latents, seed)
    log_weight = np.concatenate([batch["log_weight"] for batch in measured], axis=1).astype(np.float64)
    largest = log_weight.max(axis=0)
    weights = np.exp(log_weight - largest)
    tail = tail_size(samples)
    by_example = _joined([{name: batch[name] for name in set(batch) - {"latents", "log_weight"}} for batch in measured])
    found = Diagnosis(
        latents={name: _latent(given, logs.get(name)) for name, given in latents.items()},
        elbo=by_example["elbo"],
        log_p=largest + np.log(weights.mean(axis=0)),
        effective_samples=weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0),
        reconstruction=by_example["log_likelihood"],
        shuffled=by_example["shuffled"],
        samples=samples,
        pareto_k=pareto_k(np.sort(log_weight, axis=0)[::-1][: tail + 1]) if tail else None,
        scales_at_limit=_mean_or_none(by_example.get("scales_at_limit")),
        residual_ratio=None if "squared_residual" not in by_example else _root_mean(by_example["squared_residual"]),
    )
    if refined:
        some = tf.nest.map_structure(lambda array: array[:refined], inputs)
        own = refine_posterior(model, some, seed=seed, verbose=0)
        found = dataclasses.replace(
            found,
            refined=len(own.params),
            amortization_gap=own.amortization_gap.mean,
            family_gap=own.approximation_gap.mean,
        )
    found = dataclasses.replace(found, findings=findings(found, model))
    if verbose:
        print(found)
    return found


def _some(model: LatentVariableModel, found, examples: int, seed: int):
    """What the model's `call` takes, NumPy arrays, of some examples in random order."""
    random = np.random.default_rng(seed % 2**32)
    if found.arrays is not None:
        chosen = random.permutation(found.size)[:examples]
        return tf.nest.map_structure(lambda array: array[chosen], found.arrays[0])
    parts, count = [], 0
    for batch in inputs_of(model, found, BATCH):
        parts.append(batch)
        count += len(tf.nest.flatten(batch)[0])
        if count >= examples:
            break
    order = random.permutation(min(count, examples))
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays)[order], *parts)


OF_FIRST_DRAW = (
    *("value", "prior", "point", "given_data_alone", "one_prior"),
    *("log_q", "log_ratio", "log_q_by_dimension", "log_ratio_by_dimension"),
)


def _measured(program, batch, samples: int, chunk: int, seed: tf.Tensor) -> dict[str, Any]:
    """The measures of a batch over all draws: the first one apart, which others are held against, then in chunks."""
    sizes = [1] + [min(chunk, samples - done) for done in range(1, samples, chunk)]
    parts = []
    for number, size in enumerate(sizes):
        part = program(batch, tf.constant(size), seed if number == 0 else fold(seed, CHUNK, number))
        parts.append(tf.nest.map_structure(lambda tensor: tensor.numpy(), part))

    def average(name: str, *path: str) -> np.ndarray:
        given = [_at(part, path)[name] for part in parts]
        return sum(size * array.astype(np.float64) for size, array in zip(sizes, given, strict=True)) / samples

    found: dict[str, Any] = {"log_weight": np.concatenate([part["log_weight"] for part in parts])}
    for name in ("log_likelihood", "shuffled"):
        found[name] = np.concatenate([part[name] for part in parts]).mean(axis=0, dtype=np.float64)
    for name in set(parts[0]) - {"log_weight", "log_likelihood", "shuffled", "latents"}:
        found[name] = average(name)
    found["latents"] = {
        latent: {
            name: array if name in OF_FIRST_DRAW else average(name, "latents", latent) for name, array in first.items()
        }
        for latent, first in parts[0]["latents"].items()
    }
    for latent in found["latents"].values():
        if "mean" in latent:  # its own variance, where it is that of several posteriors, is none over the data
            latent["error"] = np.maximum(latent.pop("square") - latent["mean"] ** 2, 0.0) / (samples - 1)
    return found


def _aggregated(model: LatentVariableModel, batches, latents: dict[str, Any], seed: int) -> dict[str, dict]:
    """log q(z) of the aggregate posterior at the first draw of each example, and log q(z[d]), by latent variable."""
    points = {name: given["point"] for name, given in latents.items() if "point" in given}
    if not points:
        return {}
    program = kept(model, lambda: aggregate(model), "aggregate")
    count = len(next(iter(points.values())))
    largest = max(len(tf.nest.flatten(batch)[0]) for batch in batches)
    step = max(1, PAIRS // (largest * sum(point[0].size for point in points.values())))
    chunks = []
    for start in range(0, count, step):
        some = {name: tf.constant(point[start : start + step]) for name, point in points.items()}
        sums: Any = None
        for number, batch in enumerate(batches):
            part = program(batch, fold(seed, number), some)
            sums = part if sums is None else tf.nest.map_structure(np.logaddexp, sums, part)
        chunks.append(sums)
    logs = {name: _joined([chunk[name] for chunk in chunks]) for name in points}
    return {name: {key: log - np.log(count) for key, log in given.items()} for name, given in logs.items()}


def _latent(given: dict[str, np.ndarray], logs: dict[str, np.ndarray] | None) -> LatentDiagnosis:
    kl = float(given["kl"].mean())
    kl_by_dimension = given["kl_by_dimension"].mean(axis=0) if "kl_by_dimension" in given else None
    found: dict[str, Any] = {"kl": kl, "kl_by_dimension": kl_by_dimension}
    found["scales_at_limit"] = _mean_or_none(given.get("scales_at_limit"))
    if "mean" not in given:
        return LatentDiagnosis(**found)
    found["given_data_alone"] = bool(given["given_data_alone"][0])
    found["draws"], found["prior_draws"] = given["value"], given["prior"]
    variance = np.maximum(given["mean"].var(axis=0) - given["error"].mean(axis=0), 0.0)
    units = len(variance) if kl_by_dimension is None else len(kl_by_dimension)
    found["variance_of_means"] = variance.reshape(units, -1).max(axis=1)
    if logs is not None:
        one_prior = bool(given["one_prior"][0])
        known = found["given_data_alone"]  # else the KL varies with the draws that it is given
        nats = float(_information(given["log_q"] - logs["joint"], given["log_ratio"] if known else None, kl))
        found["mutual_information"] = nats
        found["aggregate_kl"] = kl - nats if one_prior else None
        if "by_dimension" in logs:
            by_dimension = given["log_q_by_dimension"] - logs["by_dimension"]
            log_ratio = given.get("log_ratio_by_dimension") if known else None
            by_dimension = _information(by_dimension, log_ratio, kl_by_dimension)
            found["mutual_information_by_dimension"] = by_dimension
            if one_prior and kl_by_dimension is not None:
                found["aggregate_kl_by_dimension"] = kl_by_dimension - by_dimension
    return LatentDiagnosis(**found)


def _information(nats: np.ndarray, log_ratio: np.ndarray | None, kl) -> np.ndarray:
    """Mean of log q(z | x) - log q(z) over the examples, with log q(z | x) - log p(z) as its control variate.

    It lies between two estimates of the mutual information, the plain mean and the KL less the mean of log q(z) -
    log p(z): the first is exact where no two posteriors overlap, the second where all are the prior.

    Args:
        nats, log_ratio: the two at one draw for each example, shape (examples, ...).
        kl: the mean of the second, which is known better, shape (...).
    """
    mean = nats.mean(axis=0, dtype=np.float64)
    if log_ratio is None:
        return mean
    centred = log_ratio - log_ratio.mean(axis=0, dtype=np.float64)
    slope = (centred * (nats - mean)).sum(axis=0) / np.maximum((centred**2).sum(axis=0), np.finfo(np.float64).tiny)
    return mean - np.clip(slope, 0.0, 1.0) * (log_ratio.mean(axis=0, dtype=np.float64) - kl)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Dictionaries of arrays, their first axes joined."""
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def _at(part: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for name in path:
        part = part[name]
    return part


def _mean_or_none(values: np.ndarray | None) -> float | None:
    return None if values is None else float(values.mean())


def _root_mean(squares: np.ndarray) -> float:
    return float(np.sqrt(squares.mean()))
