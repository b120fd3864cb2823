"""Axes with numbers: curves, histograms and scatters."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vae.plotting.images import DPI

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREY = "#1f5fa8", "#c8391f", "#555555"
MAX_TICKS = 4  # categories whose names fit below a panel
MAX_CLASSES = 20  # colours of a scatter


def tidy(axes: "Axes") -> "Axes":
    """The axes without a frame above and to the right, with small figures."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7, length=3)
    return axes


def _panels(names: list[str], title: str, height: float) -> "Figure":
    """A figure of one small panel per name, four in a row."""
    from matplotlib.figure import Figure

    columns = min(len(names), 4)
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(max(1.65 * columns, 5.0), height * rows + 0.5), dpi=DPI, layout="constrained")
    for i, name in enumerate(names):
        axes = tidy(figure.add_subplot(rows, columns, i + 1))
        axes.set_title(name if len(name) <= 20 else f"{name[:19]}…", fontsize=8)
        axes.locator_params(nbins=4)
    figure.suptitle(title, fontsize=9)
    return figure


def _name_ticks(axis: Any, categories: tuple[str, ...]) -> None:
    """Names in the place of the codes of a few categories."""
    if 0 < len(categories) <= MAX_TICKS:
        shown = [name if len(name) <= 11 else f"{name[:10]}…" for name in categories]
        axis.set_ticks(range(len(shown)), shown)


def against(
    x: np.ndarray, means: np.ndarray, names: list[str], title: str, categories: Sequence[tuple[str, ...]]
) -> "Figure":
    """Scatter of reconstructions against originals, both (count, size), one panel per name.

    The categories are those of each column, empty for one of numbers.
    """
    figure = _panels(names, title, height=1.75)
    size, alpha = (6, 0.5) if len(x) > 100 else (14, 0.8)
    for i, axes in enumerate(figure.axes):
        both = np.concatenate([x[:, i], means[:, i]])
        both = both[np.isfinite(both)]  # missing values have no place
        low, high = _padded(both.min(), both.max())
        axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=1)
        axes.scatter(x[:, i], means[:, i], s=size, alpha=alpha, color=BLUE, linewidths=0)
        for axis in (axes.xaxis, axes.yaxis):
            _name_ticks(axis, categories[i])
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    figure.supxlabel("original", fontsize=8)
    figure.supylabel("reconstruction", fontsize=8)
    return figure


def histograms(
    draws: np.ndarray,
    x: np.ndarray | None,
    names: list[str],
    title: str,
    kinds: Sequence[tuple[bool, tuple[str, ...]]],
) -> "Figure":
    """Densities of draws (count, size) and of data (batch, size) or None, one panel per name.

    The kinds are, of each column, whether its values are whole numbers, and the names of its categories if it has any.
    """
    figure = _panels(names, title, height=1.3)
    for i, axes in enumerate(figure.axes):
        data = draws[:0, i] if x is None else x[np.isfinite(x[:, i]), i]
        discrete, categories = kinds[i]
        bins = _bins(np.concatenate([draws[:, i], data]), discrete).tolist()
        axes.hist(draws[:, i], bins, density=True, color=BLUE, alpha=0.55, label="generated")
        if len(data):  # of a column that is missing as a whole there is nothing to draw
            axes.hist(data, bins, density=True, color="black", histtype="step", linewidth=1.0, label="data")
        axes.set(yticks=[])
        _name_ticks(axes.xaxis, categories)
        axes.set(xlim=(bins[0], bins[-1]))
        axes.spines["left"].set_visible(False)
    if x is not None:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def series(x: np.ndarray, means: np.ndarray, names: list[str], title: str, words: tuple[str, str]) -> "Figure":
    """Curves of `means` over those of `x`, both (count, steps, channels): four examples in a row, a channel in a panel.

    Args:
        x: in grey.
        means: in blue.
        names: of the channels that are drawn, each on a scale of its own.
        title: of the figure.
        words: what `x` and `means` are.
    """
    from matplotlib.figure import Figure

    columns = min(len(x), 4)
    rows = math.ceil(len(x) / columns) * len(names)
    figure = Figure(figsize=(max(1.9 * columns, 5.0), 1.05 * rows + 0.8), dpi=DPI, layout="constrained")
    for example in range(len(x)):
        for channel, name in enumerate(names):
            row = example // columns * len(names) + channel
            axes = tidy(figure.add_subplot(rows, columns, row * columns + example % columns + 1))
            axes.plot(x[example, :, channel], color=GREY, linewidth=0.8, alpha=0.7, label=words[0])
            axes.plot(means[example, :, channel], color=BLUE, linewidth=1.3, label=words[1])
            both = np.concatenate([x[..., channel].ravel(), means[..., channel].ravel()])
            axes.set_ylim(_padded(both.min(), both.max()))
            axes.locator_params(nbins=4)
            if example % columns == 0:
                axes.set_ylabel(name if len(name) <= 12 else f"{name[:11]}…", fontsize=8)
            else:
                axes.set_yticklabels([])
            if channel < len(names) - 1:
                axes.set_xticklabels([])
            else:
                axes.set_xlabel("step", fontsize=8)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=9)
    return figure


def _bins(values: np.ndarray, discrete: bool) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if discrete and high - low <= 50:
        return np.arange(math.floor(low), math.ceil(high) + 2) - 0.5  # one bin per integer
    return np.linspace(low, high, 31) if high > low else np.linspace(low - 0.5, low + 0.5, 31)


def principal_components(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (count, 2) of values (count, size) on their two first principal components, and variance shares (2,)."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]  # [2, size]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    shares = singular**2 / max((singular**2).sum(), np.finfo(np.float64).tiny)
    return centred @ (directions * np.sign(largest)).T, shares[:2]  # the sign is free: the largest entry is positive


def scatter(points: np.ndarray, labels: np.ndarray | None, names, title: str, classes=None) -> "Figure":
    """Scatter of points (count, 2), coloured by labels (count,), places in `classes` if there are any, or None.

    Of more than 20 classes the 19 with the most points have colours of their own.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.6), dpi=DPI, layout="constrained")
    axes = tidy(figure.add_subplot())
    style: dict[str, Any] = {"s": 5 if len(points) > 2000 else 12, "alpha": 0.8, "linewidths": 0}
    groups = [] if labels is None else _groups(labels, classes)
    if labels is None:
        axes.scatter(*points.T, color=BLUE, **style)
    elif groups:
        for color, (name, chosen) in zip(_colors(len(groups)), groups, strict=False):
            axes.scatter(*points[chosen].T, color=color, label=name, **style)
        legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False, handletextpad=0.1)
        handles: list[Any] = legend.legend_handles
        for handle in handles:
            handle.set(sizes=[36], alpha=1.0)
    else:
        style |= {"c": labels, "cmap": "viridis"}
        colorbar: Any = figure.colorbar(axes.scatter(*points.T, **style), shrink=0.7)
        colorbar.solids.set(alpha=1)
        colorbar.ax.tick_params(labelsize=7)
    axes.set_aspect("equal", "datalim")
    axes.set_xlabel(names[0], fontsize=8)
    axes.set_ylabel(names[1], fontsize=8)
    axes.set_title(title, fontsize=9)
    return figure


def _groups(labels: np.ndarray, classes) -> list[tuple[str, np.ndarray]]:
    """Name and points of each class, in the order of `classes`, or of the values; none of more than 20 numbers."""
    values, counts = np.unique(labels, return_counts=True)
    if len(values) > MAX_CLASSES and classes is None and labels.dtype.kind not in "OUS":
        return []
    shown = (
        values if len(values) <= MAX_CLASSES else np.sort(values[np.argsort(-counts, kind="stable")][: MAX_CLASSES - 1])
    )
    groups = [(f"{value}" if classes is None else f"{classes[value]}", labels == value) for value in shown]
    if len(shown) < len(values):
        groups.append((f"{len(values) - len(shown):,} others", ~np.isin(labels, shown)))
    return groups


def _colors(count: int) -> list:
    from matplotlib import colormaps

    palette: Any = colormaps["tab10" if count <= 10 else "tab20"]
    return list(palette.colors)


# --- curves ----------------------------------------------------------------------------------------------------------


def draw_curves(axes: "Axes", history, name: str) -> None:
    """The lines of one log and of its val_ twin, and limits that fit both."""
    total = len(history[name])
    epochs = np.asarray(history["epoch"] if "epoch" in history else np.arange(1, total + 1), np.float64)
    epochs = epochs + (epochs[0] == 0)  # Keras's own CSV files count from 0
    limits = []
    for key, label, color in ((name, "train", BLUE), (f"val_{name}", "validation", RED)):
        values = _numbers(history[key]) if key in history else np.zeros([0])
        if not np.isfinite(values).any():
            continue
        every = max(1, total // len(values))  # fewer values than epochs where fit had a validation_freq
        at = epochs if len(values) == total else epochs[every - 1 :: every][: len(values)]
        marker = "o" if len(values) <= 20 else None
        axes.plot(at, values[: len(at)], color=color, linewidth=1.3, marker=marker, markersize=3, label=label)
        limits.append(_robust_limits(values))
    if limits:
        axes.set_ylim(_padded(min(low for low, _ in limits), max(high for _, high in limits)))
    locator: Any = axes.xaxis.get_major_locator()
    locator.set_params(integer=True)
    if len(epochs) > 1:
        axes.set_xlim(epochs[0], epochs[-1] + 0.03 * (epochs[-1] - epochs[0]))


def _numbers(values) -> np.ndarray:
    """Floats of a column of a CSV file, NaN where it is empty."""
    return np.array([np.nan if isinstance(value, str) and not value.strip() else float(value) for value in values])


def _robust_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of all finite values, or without the first tenth if that more than halves their range."""
    kept = values[math.ceil(len(values) / 10) if len(values) >= 5 else 0 :]
    everything, kept = (part[np.isfinite(part)] for part in (values, kept))
    if len(kept) and np.ptp(everything) > 2 * np.ptp(kept) > 0:
        return kept.min(), kept.max()
    return everything.min(), everything.max()


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin
