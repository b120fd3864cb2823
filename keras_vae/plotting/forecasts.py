"""Forecasts of series beside what came."""

from typing import TYPE_CHECKING

import numpy as np

from keras_vae.arguments import whole_number
from keras_vae.plotting.charts import BLUE, GREY, RED, tidy
from keras_vae.plotting.images import DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def forecasts(model, series, steps: int, level: float = 0.9, samples: int = 500, seed: int = 0) -> "Figure":
    """The last steps of a few series, with the interval and the mean that a model forecasts from the steps before.

    One row for each series, one column for each channel; missing values are gaps.

    Args:
        model: a built model with a method `forecast`, such as `DeepKalmanFilter`.
        series: shape (examples, steps, channels).
        steps: that are forecast, from 1 to one less than there are.
        level: of the interval, between 0 and 1.
        samples: draws for each series.
        seed: integer.

    Raises:
        ValueError: for series without a step before those that are forecast, and numbers out of range.
    """
    from matplotlib.figure import Figure

    steps, series = whole_number("plotting.forecasts", "steps", steps), np.asarray(series)
    if series.ndim != 3 or not len(series) or steps >= series.shape[1]:
        raise ValueError(
            "plotting.forecasts needs series of shape (examples, steps, channels) with a step before those that are "
            f"forecast. Received: shape {series.shape}, steps={steps}."
        )
    found = model.forecast(series[:, :-steps], steps, samples, seed)
    (low, high), mean = found.interval(level), found.mean
    rows, channels, length = len(series), series.shape[2], series.shape[1]
    figure = Figure(figsize=(max(5.0, 3.2 * channels), 1.4 * rows + 0.6), dpi=DPI, layout="constrained")
    later = np.arange(length - steps, length)
    for row in range(rows):
        for channel in range(channels):
            axes = tidy(figure.add_subplot(rows, channels, row * channels + channel + 1))
            axes.fill_between(later, low[row, :, channel], high[row, :, channel], color=BLUE, alpha=0.25, lw=0)
            axes.plot(later, mean[row, :, channel], color=BLUE, lw=1)
            axes.plot(series[row, :, channel], color=GREY, lw=1)
            axes.plot(later, series[row, -steps:, channel], ".", color=RED, ms=3)
            axes.axvline(length - steps - 0.5, color=GREY, lw=0.5)
    figure.suptitle(f"Forecast of {steps} steps: mean, {100 * level:g} % interval, and what came (red)", fontsize=9)
    return figure
