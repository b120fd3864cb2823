"""A diagnosis in one figure."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vae.plotting.charts import BLUE, GREY, RED, tidy
from keras_vae.plotting.images import DPI

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALE = "#9bbfe0"
MAX_MARGINALS = 6  # units whose marginals are drawn
LEAST_NATS = 0.1  # of the axis of the KL: what is much less is to look like nothing
MAX_BARS = 64  # units of one latent variable whose KL is drawn, the largest


def diagnosis(found) -> "Figure":
    """Draws a diagnosis: the KL of each unit, how nats add up, marginals of q(z) and p(z), and the use of z.

    - KL by unit, sorted, of each latent variable; active units in blue, others in grey. One bar for all units of a
      variable whose units are not independent.
    - From log p(x | z) down by the KL, mutual information and the rest, to the ELBO, and up by the gap to log p(x).
    - Histograms of the units with the most KL: draws from q(z | x) of the data, over draws from the prior.
    - log p(x | z) of the examples, with their own z and with that of another example.

    Args:
        found: the `Diagnosis` that `evaluation.diagnose` has returned.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 5.2), dpi=DPI, layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    above, below = halves
    bars, nats = above.subplots(1, 2, width_ratios=(1.5, 1))
    _draw_kl(tidy(bars), found)
    _draw_nats(tidy(nats), found)
    left, right = below.subfigures(1, 2, width_ratios=(1.5, 1))
    _draw_marginals(left, found)
    _draw_use(tidy(right.subplots()), found)
    ill = [finding.name for finding in found.findings if finding.illness]
    figure.suptitle("Diagnosis: " + (", ".join(dict.fromkeys(ill)) or "no illness was found"), fontsize=9)
    return figure


def _draw_kl(axes: "Axes", found) -> None:
    at, ticks, names = 0.0, [], []
    for name, latent in found.latents.items():
        whole = latent.kl_by_dimension is None
        kl = np.array([latent.kl]) if whole else latent.kl_by_dimension
        active = np.array([True]) if whole or latent.active is None else latent.active
        order = np.argsort(-kl)[:MAX_BARS]
        places = at + np.arange(len(order))
        axes.bar(places, kl[order], color=[BLUE if active[unit] else GREY for unit in order], width=0.85)
        count = "" if latent.active is None else f"\n{int(latent.active.sum())} of {len(latent.active)} active"
        ticks.append(places.mean())
        names.append(f"{name}{count}")
        at = places[-1] + 2.5
    axes.set_ylim(0, max(axes.get_ylim()[1], LEAST_NATS))
    axes.set_xticks(ticks, names)
    axes.tick_params(axis="x", length=0)
    axes.set_title("KL by unit, sorted" + (": grey is not active" if _has_dead(found) else ""), fontsize=9)
    axes.set_ylabel("nats", fontsize=8)


def _has_dead(found) -> bool:
    return any(latent.active is not None and not latent.active.all() for latent in found.latents.values())


def _draw_nats(axes: "Axes", found) -> None:
    """A waterfall: each bar begins where the one before has ended."""
    level = float(np.mean(found.reconstruction))
    elbo, log_p = float(np.mean(found.elbo)), float(np.mean(found.log_p))
    steps = [("KL", level, elbo, RED)]
    (latent, *others) = found.latents.values()
    if not others and latent.mutual_information is not None and latent.aggregate_kl is not None:
        informed = level - min(max(latent.mutual_information, 0.0), found.kl)
        steps = [("mutual\ninformation", level, informed, RED), ("aggregate\nto prior", informed, elbo, "#e3a08f")]
    if found.amortization_gap is None:
        steps.append(("gap", elbo, log_p, BLUE))
        highest = max(level, elbo, log_p)
    else:
        refined = elbo + found.amortization_gap
        highest = max(level, elbo, log_p, refined + found.family_gap)
        steps += [("encoder", elbo, refined, BLUE), ("family", refined, refined + found.family_gap, PALE)]
    lowest = min(level, elbo, log_p)
    margin = 0.12 * (highest - lowest) or 0.5
    for place, (_, start, end, color) in enumerate(steps):
        axes.bar(place, end - start, bottom=start, color=color, width=0.7)
        axes.text(place, max(start, end) + margin / 8, f"{abs(end - start):.2f}", ha="center", va="bottom", fontsize=7)
    below = -math.inf
    for value, name in sorted(((level, "log p(x | z)"), (elbo, "ELBO"), (log_p, "log p(x)"))):
        axes.axhline(value, color=GREY, linewidth=0.6, linestyle=":", zorder=0)
        below = max(value, below + 0.7 * margin)  # names do not overlap
        axes.text(len(steps) - 0.4, below, f" {name} {value:.2f}", va="center", fontsize=7)
    axes.set_xticks(range(len(steps)), [name for name, *_ in steps])
    axes.set(xlim=(-0.6, len(steps) - 0.4), ylim=(lowest - margin, highest + margin))
    axes.tick_params(axis="x", length=0)
    axes.set_title("Nats per example", fontsize=9)


def _draw_marginals(figure: Any, found) -> None:
    units = []
    for name, latent in found.latents.items():
        if latent.draws is None:
            continue
        kl = latent.kl_by_dimension
        each = 1 if kl is None else latent.draws.shape[1] // len(kl)  # values of a unit: categories have several
        for unit in range(latent.draws.shape[1]):
            spread = float(latent.draws[:, unit].var()) if kl is None else float(kl[unit // each])
            units.append((spread, f"{name}[{unit}]", latent.draws[:, unit], latent.prior_draws[:, unit]))
    units = sorted(units, key=lambda unit: -unit[0])[:MAX_MARGINALS]
    figure.suptitle("Draws of z, of the data (blue) and of the prior (line)", fontsize=9)
    if not units:
        return
    columns = min(3, len(units))
    panels = figure.subplots(-(-len(units) // columns), columns, squeeze=False).ravel()
    for axes, (_, name, draws, prior) in zip(panels, units, strict=False):
        both = np.concatenate([draws, prior])
        low, high = float(both.min()), float(both.max())
        bins = _bins(low, high, len(draws))
        axes.hist(draws, bins, density=True, color=BLUE, alpha=0.6)
        axes.hist(prior, bins, density=True, color="black", histtype="step", linewidth=0.9)
        tidy(axes).set(yticks=[], xlim=(bins[0], bins[-1]))
        axes.set_title(name, fontsize=7, pad=2)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=4)
    for axes in panels[len(units) :]:
        axes.set_axis_off()


def _draw_use(axes: "Axes", found) -> None:
    both = np.concatenate([found.reconstruction, found.shuffled])
    low, high = float(np.percentile(both, 1)), float(both.max())
    bins = _bins(low, high, len(found.shuffled))
    for values, name, color in ((found.shuffled, "that of another", RED), (found.reconstruction, "its own z", BLUE)):
        axes.hist(np.clip(values, low, high), bins, color=color, alpha=0.6, label=name)
    axes.set_title(f"log p(x | z): {found.reconstruction_gain:.2f} nats by the right z", fontsize=9)
    axes.set_xlabel("nats", fontsize=8)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="upper left")


def _bins(low: float, high: float, count: int) -> list[float]:
    """About as many bins as the root of the number of values, 30 at most."""
    number = min(30, 2 + int(math.sqrt(2 * count)))
    return np.linspace(low, high, number + 1).tolist() if high > low else [low - 0.5, low + 0.5]
