"""Forecasts of series held against what came, and how strange each step of a series is."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_vae.arguments import whole_number, whole_seed
from keras_vae.models import StateSpaceModel
from keras_vae.noise import fold

PART = 100  # series that are worked on together


@dataclass(frozen=True)
class Coverage:
    """How many observed values lie in the intervals that a model forecasts.

    Attributes:
        level: the share of the draws in each interval.
        share: of the values that lie in theirs.
        standard_error: of `share`, over the series.
        by_step: the share at each forecast step, shape (steps,); NaN where nothing is observed.
        width: of the intervals, in the mean, in units of the data.
        series: their number.
    """

    level: float
    share: float
    standard_error: float
    by_step: np.ndarray
    width: float
    series: int

    def __str__(self) -> str:
        return (
            f"{100 * self.share:.1f} +- {100 * self.standard_error:.1f} % of the values in the {100 * self.level:g} % "
            f"intervals of {len(self.by_step)} steps, mean width {self.width:.3g}, {self.series:,} series"
        )

    __repr__ = __str__  # what a notebook shows


def forecast_coverage(
    model: StateSpaceModel, series, steps: int, level: float = 0.9, samples: int = 500, seed: int = 0
) -> Coverage:
    """Forecasts the last steps of series from those before, and counts the values inside of the intervals.

    Of a calibrated model it is `level`. Each end of an interval is a quantile of the draws, see `Forecast.interval`.

    Args:
        model: a built model with a method `forecast`, such as `DeepKalmanFilter`.
        series: shape (examples, steps, channels); missing values (NaN) do not count.
        steps: that are forecast, from 1 to one less than there are.
        level: between 0 and 1.
        samples: draws for each series.
        seed: integer.

    Returns:
        A `Coverage`; `print` it.

    Raises:
        TypeError: for a model without forecasts.
        ValueError: for series that the model can not use, and numbers out of range.
    """
    owner = "forecast_coverage"
    _check_model(owner, model)
    steps, samples = whole_number(owner, "steps", steps), whole_number(owner, "samples", samples)
    if not 0 < level < 1:
        raise ValueError(f"{owner} needs level to be between 0 and 1. Received: level={level!r}.")
    series = np.asarray(series)
    if series.ndim != 3 or steps >= series.shape[1]:
        raise ValueError(
            f"{owner} needs series of shape (examples, steps, channels) with a step before those that are forecast. "
            f"Received: shape {series.shape}, steps={steps}."
        )
    inside, widths = [], []
    for number, part in _parts(series):
        found = model.forecast(part[:, :-steps], steps, samples, fold(whole_seed(owner, seed), number))
        low, high = found.interval(level)
        true = part[:, -steps:]
        inside.append(np.where(np.isnan(true), np.nan, (true >= low) & (true <= high)))
        widths.append(high - low)
    within = np.concatenate(inside)  # [examples, steps, channels], NaN where missing
    if np.isnan(within).all():
        raise ValueError(f"{owner} needs an observed value in the last {steps} steps. Received: none.")
    known = ~np.isnan(within)
    share = float(np.nanmean(within))
    # Of a ratio of sums over the series, whose numbers of values may differ.
    residuals = np.where(known, within - share, 0.0).sum(axis=(1, 2))
    error = float(np.sqrt((residuals**2).sum()) / known.sum())
    counts = known.sum(axis=(0, 2))
    by_step = np.where(counts > 0, np.nansum(within, axis=(0, 2)) / np.maximum(counts, 1), np.nan)
    return Coverage(level, share, error, by_step, float(np.concatenate(widths).mean()), len(series))


def step_scores(model: StateSpaceModel, series, samples: int = 500, seed: int = 0) -> np.ndarray:
    """How strange each step of series is, given those before it: -log p(x[t] | x[1..t-1]), nats.

    Estimated by a particle filter, see `step_log_likelihoods` of the model; the sum over the steps of a series is an
    estimate of -log p(x).

    Args:
        model: a built model, such as `DeepKalmanFilter`.
        series: shape (examples, steps, channels), NaN where a value is missing.
        samples: particles for each series.
        seed: integer.

    Returns:
        Shape (examples, steps), NaN where nothing is observed: higher is more anomalous.

    Raises:
        TypeError: for a model without a filter.
        ValueError: for series that the model can not use, and numbers out of range.
    """
    _check_model("step_scores", model)
    samples, seed = whole_number("step_scores", "samples", samples), whole_seed("step_scores", seed)
    series = np.asarray(series)
    found = [-model.step_log_likelihoods(part, samples, fold(seed, number)) for number, part in _parts(series)]
    return np.concatenate(found) if found else np.zeros(series.shape[:2], np.float32)


def _parts(series: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of some series, and their numbers."""
    for number, start in enumerate(range(0, len(series), PART)):
        yield number, series[start : start + PART]


def _check_model(owner: str, model) -> None:
    if not isinstance(model, StateSpaceModel):
        raise TypeError(
            f"{owner} needs a state-space model, such as DeepKalmanFilter. Received: a {type(model).__name__}."
        )
