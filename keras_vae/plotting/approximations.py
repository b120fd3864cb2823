"""One exact posterior in two dimensions, and the posteriors that are fitted to it."""

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_seed
from keras_vae.distributions import FullCovarianceNormal, Normal, PlanarFlow
from keras_vae.evaluation import PosteriorGrid, hamiltonian_monte_carlo, posterior_on_grid, refine_posterior
from keras_vae.plotting.charts import BLUE, GREY, RED, tidy
from keras_vae.plotting.images import DPI

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARES = (0.95, 0.75, 0.25)  # of the probability, within the contours
SHADES = ("#e4e4e4", "#c4c4c4", "#9a9a9a")  # between the contours of the exact density
MAPS = 16  # of the flow
STEPS, STEPS_OF_FLOW = 1000, 2000  # that the posteriors are fitted by
DEPTH = 9.0  # nats below the highest density, of what the panels show
DRAWS = 1000  # that are drawn of all chains


def posteriors(model, x, seed=0) -> "Figure":
    """Draws the exact posterior p(z | x) of one example, and what normal posteriors and a flow can make of it.

    In each panel the exact density is grey; contours, of the exact one and of q, hold 95, 75 and 25 % of the
    probability. In the first one are draws by Hamiltonian Monte Carlo, and q(z | x) of the encoder. The others have the
    q that is best for one divergence, which the title gives: KL(q || p), as variational inference has it, found by
    `refine_posterior` from the prior on, in a local minimum where there are several; and KL(p || q), which the normal
    distribution with the moments of p minimises.

    Args:
        model: a built model with one latent variable of event shape (2,), of real numbers, and a layer `posterior`.
        x: one example, shape (1, *event).
        seed: integer, of the draws.

    Raises:
        TypeError: for a model of other latent variables.
        ValueError: for more than one example.

    Reference: Bishop 2006, "Pattern recognition and machine learning", section 10.1.2.
    """
    from matplotlib.figure import Figure

    seed = whole_seed("plotting.posteriors", seed)
    grid = posterior_on_grid(model, x)
    drawn = hamiltonian_monte_carlo(model, x, seed=seed).values
    z = next(iter(drawn.values()))[:, :, 0].reshape(-1, 2)
    refined = {
        name: refine_posterior(model, x, posterior=layer, steps=steps, draws=4000, seed=seed, verbose=0)
        for name, (layer, steps) in {
            "independent normals": (Normal(2), STEPS),
            "one normal": (FullCovarianceNormal(2), STEPS),
            "planar flow": (PlanarFlow(2, steps=MAPS), STEPS_OF_FLOW),
        }.items()
    }
    figure = Figure(figsize=(7.8, 5.4), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    (first, *of_elbo), (*of_moments, last) = panels[0], panels[1]
    _panel(first, grid, "exact p(z | x), and q of the encoder", _log_density(_encoded(model, x), grid))
    first.scatter(*z[:: max(1, len(z) // DRAWS)].T, s=2, color=BLUE, alpha=0.4, linewidths=0, zorder=2)
    for axes, (name, each) in zip([*of_elbo, last], refined.items(), strict=True):
        divergence = grid.log_likelihood - each.elbo.mean
        title = f"{name}\nKL(q || p) = {divergence:.2f} nats"
        _panel(axes, grid, title, _log_density(each.posterior, grid))
    for axes, (name, each) in zip(of_moments, _moment_matched(grid).items(), strict=True):
        log_density = _log_density(each, grid)
        divergence = float(np.sum(grid.probability * (grid.log_density - log_density)))
        _panel(axes, grid, f"{name}\nKL(p || q) = {divergence:.2f} nats", log_density)
    for part, set_limits in enumerate((first.set_xlim, first.set_ylim)):
        there = grid.points[grid.log_density > grid.log_density.max() - DEPTH][:, part]
        margin = 0.1 * (there.max() - there.min())
        set_limits(there.min() - margin, there.max() + margin)
    figure.supxlabel("z[0]", fontsize=8)
    figure.supylabel("z[1]", fontsize=8)
    return figure


def _encoded(model, x) -> tfd.Distribution:
    """q(z | x) of the encoder."""
    return model.encode(*x) if model.takes.y is not None else model.encode(x)


def _moment_matched(grid: PosteriorGrid) -> dict[str, Any]:
    """The normal distributions whose KL(p || q) is smallest: with the mean and the (co)variances of p."""
    mean, covariance = (part.astype(np.float32) for part in (grid.mean, grid.covariance))
    return {
        "independent normals": tfd.MultivariateNormalDiag(mean, np.sqrt(np.diag(covariance))),
        "one normal": tfd.MultivariateNormalTriL(mean, np.linalg.cholesky(covariance)),
    }


def _log_density(q: tfd.Distribution, grid: PosteriorGrid) -> np.ndarray:
    """log q at the points of the grid, shape (size, size)."""
    points = grid.points.reshape(-1, *[1] * len(q.batch_shape), 2).astype(np.float32)
    return q.log_prob(tf.constant(points)).numpy().astype(np.float64).reshape(grid.log_density.shape)


def _panel(axes: "Axes", grid: PosteriorGrid, title: str, log_density: np.ndarray) -> None:
    """The exact density in grey, and contours of q."""
    tidy(axes).set_title(title, fontsize=8)
    axes.contourf(*grid.axes, grid.log_density.T, [*_levels(grid, grid.log_density), 1e9], colors=SHADES)
    axes.contour(
        *grid.axes, grid.log_density.T, _levels(grid, grid.log_density), colors=GREY, linewidths=0.4, linestyles="solid"
    )
    for density, colour, width in ((grid.log_density, GREY, 0.4), (log_density, RED, 0.9)):
        levels = _levels(grid, density)
        axes.contour(*grid.axes, density.T, levels, colors=colour, linewidths=width, linestyles="solid")


def _levels(grid: PosteriorGrid, log_density: np.ndarray) -> list[float]:
    """The log-densities within whose contours the shares of the probability are, rising."""
    falling = np.sort(log_density, axis=None)[::-1]
    cell = grid.probability.sum() / np.exp(grid.log_density).sum()
    within = np.cumsum(np.exp(falling)) * cell
    return [float(falling[min(int(np.searchsorted(within, share)), len(falling) - 1)]) for share in SHARES]
