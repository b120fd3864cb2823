"""What a model keeps of an example, and what it loses, for each weight of the KL that it may be trained with."""

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vae.arguments import not_negative, whole_number, whole_seed
from keras_vae.evaluation.by_example import bounds, bounds_by_batch
from keras_vae.evaluation.diagnose import diagnose
from keras_vae.evaluation.estimates import ByExample
from keras_vae.evaluation.programs import structure_of
from keras_vae.evaluation.progress import Progress
from keras_vae.files import require_writable
from keras_vae.models import LatentVariableModel
from keras_vae.stored_rows import stored_in
from keras_vae.training.feed import Feed

HEADING = f"{'beta':>8}  {'rate (KL)':>18}  {'distortion':>18}  {'ELBO':>18}  {'active units':>12}"


@dataclass(frozen=True)
class RateDistortionPoint:
    """A model that was trained with one beta.

    Attributes:
        beta: the weight of the KL.
        rate: KL(q(z | x) || p(z)): the nats that z holds of an example.
        distortion: -E[log p(x | z)] under q(z | x): the nats that are missing then.
        active_units: units of z whose mean varies over the data, see `LatentDiagnosis.active`.
        weights: the trained ones, for `model.set_weights`.
    """

    beta: float
    rate: ByExample
    distortion: ByExample
    active_units: int
    weights: list[np.ndarray]

    @property
    def elbo(self) -> ByExample:
        """The bound of log p(x), with a weight of 1: -(rate + distortion)."""
        return ByExample(-(self.rate.values + self.distortion.values))

    def __str__(self) -> str:
        return (
            f"{self.beta:>8g}  {self.rate!s:>18}  {self.distortion!s:>18}  {self.elbo!s:>18}  {self.active_units:>12}"
        )

    __repr__ = __str__  # what a notebook shows


@dataclass(frozen=True)
class RateDistortion:
    """Models that were trained with different betas, from the same weights on.

    Attributes:
        points: a `RateDistortionPoint` for each beta, in ascending order.
    """

    points: tuple[RateDistortionPoint, ...]

    @property
    def best(self) -> RateDistortionPoint:
        """The point with the highest ELBO."""
        return max(self.points, key=lambda point: point.elbo.mean)

    def __str__(self) -> str:
        examples = len(self.points[0].rate.values)
        title = f"Rate and distortion of {examples:,} examples, nats per example +- standard error:"
        return "\n".join([title, HEADING, *map(str, self.points)])

    __repr__ = __str__  # what a notebook shows


def rate_distortion(
    model: LatentVariableModel,
    train,
    test,
    betas: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0),
    epochs: int = 20,
    batch_size: int = 100,
    samples: int = 10,
    seed: int = 0,
    resume: str | os.PathLike | None = None,
    verbose: int | str = "auto",
) -> RateDistortion:
    """Trains a model anew with each beta, and measures what it keeps of an example and what it loses.

    Models with one ELBO may differ in how they use z: the rate says how many nats it holds, from 0 for a decoder that
    ignores it, and the distortion how many are missing to rebuild an example. Beta chooses the point on the curve:
    there its slope is -beta.

    Each point is one `fit` from the weights and the state of the optimizer that the model has now, with the same order
    of batches and the same noise; at the end the model is what it was. The steps are compiled once for all points.

    Args:
        model: compiled with an objective that has a beta, such as `ELBO()`. Its optimizer trains each point.
        train: as for `fit`, array or batches, but no generator: it is read once for each beta.
        test: as for `log_likelihood`, two examples or more.
        betas: weights of the KL, different ones, 0 or more.
        epochs: of each `fit`.
        batch_size: examples at a time, for arrays.
        samples: draws of z for each test example.
        seed: integer, of these draws.
        resume: a folder. Points that are finished are kept there, a file each, and another call with the same
            arguments, but for more betas, goes on from them.
        verbose: 0 prints nothing, else a line for each point.

    Returns:
        A `RateDistortion`; `print` it for a table, `plotting.rate_distortion` draws it.

    Raises:
        TypeError: for a model without latent variables.
        ValueError: for betas that are no weights, for an objective without one, for parameters on disk, for data that
            the model does not allow, and for files in `resume` of other weights, arguments or data.

    Reference: Alemi et al. 2018, arXiv:1711.00464.
    """
    betas = _checked(betas)
    for name, value in {"epochs": epochs, "batch_size": batch_size, "samples": samples}.items():
        whole_number("rate_distortion", name, value)
    seed = whole_seed("rate_distortion", seed)
    _require_beta(model)
    first = _first_batches(model, train, test, batch_size)
    next(bounds_by_batch(model, test, samples, seed, batch_size))  # refused here, not after the first fit
    if resume is not None:
        require_writable("rate_distortion", Path(resume) / "beta")
    options: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "samples": samples, "seed": seed}
    points = []
    if verbose:
        print(HEADING)
    with _as_it_was(model) as restore:
        for beta in betas:
            restore()
            points.append(_point(model, train, test, beta, options, first, resume))
            if verbose:
                print(points[-1], flush=True)
    return RateDistortion(tuple(points))


def _checked(betas) -> tuple[float, ...]:
    values = () if isinstance(betas, str) or not hasattr(betas, "__iter__") else tuple(betas)
    found = sorted({not_negative("rate_distortion", "each of betas", value) for value in values})
    if not found or len(found) < len(values):
        raise ValueError(f"rate_distortion needs betas to be different numbers, 0 or more. Received: betas={betas!r}.")
    return tuple(found)


def _require_beta(model: LatentVariableModel) -> None:
    if not model.compiled or "beta" not in model.scheduled_numbers:
        loss = repr(model.loss) if model.compiled else "a model that is not compiled"
        raise ValueError(
            "rate_distortion needs a model that is compiled with an objective that has one beta, such as ELBO(). "
            f"Received: {loss}."
        )
    if stored_in(model):
        raise ValueError(
            "rate_distortion needs a model whose weights are all in memory, for each beta begins with them. "
            f"Received: a {type(model).__name__} with parameters on disk."
        )


def _first_batches(model: LatentVariableModel, train, test, batch_size: int) -> list[np.ndarray]:
    """The arrays of the first batches, after a look at the data; of training data that are shuffled otherwise none."""
    if hasattr(train, "__next__"):
        raise ValueError(
            "rate_distortion needs train to be an array or a dataset, which can be read once for each beta. "
            "Received: a generator."
        )
    feed = Feed(train, None, one_device=True)
    feed.begin(0)
    found = model.look_at("fit", train)
    held_out = model.look_at("rate_distortion", test)
    known = [found, held_out] if found.arrays is not None or feed.differs is None else [held_out]
    return [array for given in known for array in given.first_batch(batch_size) or ()]


@contextmanager
def _as_it_was(model: LatentVariableModel) -> Iterator:
    """Gives what brings the model and its optimizer back to where they are now, as the end of the block does."""
    scheduled = model.scheduled_numbers.values()
    variables = [*model.variables, *model.optimizer.variables, *scheduled]
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]

    def restore() -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    try:
        yield restore
    finally:
        restore()


def _point(model, train, test, beta: float, options: dict[str, Any], first, resume) -> RateDistortionPoint:
    """One fit and its scores, or what a file has of them."""
    optimizer = type(model.optimizer).__name__ + structure_of(model.optimizer)
    path = None if resume is None else Path(resume) / f"beta-{beta}.npz"
    about = {"beta": beta, "loss": model.loss, "optimizer": f"{zlib.crc32(optimizer.encode()):08x}"} | options
    with Progress(path, "rate_distortion", model, **about) as progress:
        if not progress.has(0, *first):
            progress.add(_trained(model, train, test, beta, **options))
        found = progress.results()
    weights = [found[f"weights_{i}"].reshape(part.shape) for i, part in enumerate(model.weights)]
    rate, distortion = ByExample(found["rate"]), ByExample(found["distortion"])
    return RateDistortionPoint(beta, rate, distortion, int(found["active_units"][0]), weights)


def _trained(
    model, train, test, beta: float, epochs: int, batch_size: int, samples: int, seed: int
) -> dict[str, np.ndarray]:
    """Rate and distortion by example, active units and weights, after a fit with this beta."""
    model.scheduled_numbers["beta"].assign(beta)
    model.fit(train, epochs=epochs, batch_size=batch_size, verbose=0)
    found = bounds(model, test, samples, seed, batch_size)
    scores = {"rate": found.kl, "distortion": -found.log_likelihood}
    scores["active_units"] = np.array([diagnose(model, test, samples=2, seed=seed, verbose=0).active_units])
    return scores | {f"weights_{i}": np.atleast_1d(part) for i, part in enumerate(model.get_weights())}
