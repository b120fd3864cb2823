"""The curve of a sweep over beta."""

from typing import TYPE_CHECKING

import numpy as np

from keras_vae.plotting.charts import BLUE, GREY, RED, tidy
from keras_vae.plotting.images import DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rate_distortion(found) -> "Figure":
    """Draws distortion over rate, a point for each beta, with their standard errors over the examples.

    Points whose rate and distortion have one sum have one ELBO, its negative. The dashed line is that of the best beta;
    all other points lie above it.

    Args:
        found: the `RateDistortion` that `evaluation.rate_distortion` has returned.
    """
    from matplotlib.figure import Figure

    rate, distortion = (np.array([getattr(point, name).mean for point in found.points]) for name in NAMES)
    errors = [[getattr(point, name).standard_error for point in found.points] for name in NAMES]
    figure = Figure(figsize=(4.6, 3.8), dpi=DPI, layout="constrained")
    axes = tidy(figure.add_subplot())
    axes.errorbar(rate, distortion, errors[1], errors[0], color=BLUE, linewidth=1.0, marker="o", markersize=4, zorder=2)
    for point, x, y in zip(found.points, rate, distortion, strict=True):
        axes.annotate(f"beta {point.beta:g}", (x, y), (5, 4), textcoords="offset points", fontsize=8)
    axes.margins(x=0.2, y=0.12)  # room for what is written at the last point
    limits = axes.get_xlim(), axes.get_ylim()
    best = found.best.elbo.mean
    axes.axline(
        (0, -best), slope=-1, color=RED, linewidth=0.9, linestyle="--", label=f"rate + distortion = {-best:.2f}"
    )
    axes.set(xlim=limits[0], ylim=limits[1])
    axes.set_xlabel("rate: KL(q(z | x) || p(z)), nats per example", fontsize=8)
    axes.set_ylabel("distortion: -E log p(x | z), nats", fontsize=8)
    axes.set_title(f"Rate and distortion by beta; best ELBO {best:.2f} at beta {found.best.beta:g}", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="upper right", labelcolor=GREY)
    return figure


NAMES = ("rate", "distortion")
