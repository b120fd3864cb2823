"""Model, data -> matplotlib figure: what a model reconstructs, generates and encodes, and how it learned.

Figures are made without pyplot, so that nothing global changes and nothing stays open: `figure.savefig(path)`.
"""

import math
import numbers
import statistics
from typing import TYPE_CHECKING

import numpy as np

from keras_vae.sampling import fold

if TYPE_CHECKING:  # imported where it is used: no other part of the package needs matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 144
WIDTH = 800  # of a mosaic, in pixels, about
MANIFOLD_SIZE = 16  # images per axis
MAX_PANELS = 16  # columns of a vector that are drawn
MAX_POINTS = 5000  # examples in a scatter of posterior means
ROWS_AT_ONCE = 500  # examples encoded at once
SMALLEST_TILE = 24  # smaller images are enlarged by whole factors, up to this size, in pixels
FRAME = 0.5  # grey level between images
BLUE, RED, GREY = "#1f5fa8", "#c8391f", "#555555"


def reconstructions(model, x, count: int | None = None, columns=None) -> "Figure":
    """Draws observations and their reconstructions, the means of p(x | z) at the mean of q(z | x).

    Images, of event shape (height, width, channels), stand above their reconstructions in one mosaic; of vectors, of
    event shape (size,), each of the first 16 columns is drawn against its reconstruction, with the diagonal.

    Args:
        model: a built model.
        x: shape (batch, *event).
        count: how many of the first examples are drawn, if there are as many; None is 16 images or 1000 vectors.
        columns: names of the columns of vectors, `size` strings; None is x[0], x[1], ...

    Raises:
        ValueError: for a count below 1, an empty or misshapen x, or events that are neither images nor vectors.
    """
    caller = "plotting.reconstructions"
    images = _are_images(model, caller)
    x = _examples(model, x, caller)[: _count(count, 16 if images else 1000, caller)]
    means = np.asarray(model.reconstruct(x))
    if not images:
        names = _column_names(columns, x.shape[-1], caller)
        return _against(x, means, names, f"Reconstructions: means of p(x | z) against originals{_of_all(names, x)}")
    limits = _value_limits(x)
    picture = _pairs(_pixels(x, limits), _pixels(means, limits), columns=min(len(x), 8))
    return _picture(picture, f"Reconstructions: originals above, means of p(x | z) below{_channel_note(x)}")


def samples(model, count: int | None = None, seed=0, temperature=1.0, x=None, columns=None) -> "Figure":
    """Draws what a model generates: a mosaic of the means of p(x | z) for images, histograms of draws for vectors.

    Args:
        model: a built model.
        count: number of draws of z; None is 64 images or 1000 vectors.
        seed: integer; the same seed gives the same figure.
        temperature: factor on the distance of z to the mean of the prior; 1 draws from the prior.
        x: None or data of shape (batch, *event): its histograms are drawn over those of vectors, and its range of
            values is that of the grey levels of images.
        columns: names of the columns of vectors, `size` strings; None is x[0], x[1], ...

    Raises:
        ValueError: for a count below 1, an empty or misshapen x, or events that are neither images nor vectors.
    """
    caller = "plotting.samples"
    images = _are_images(model, caller)
    count = _count(count, 64 if images else 1000, caller)
    x = None if x is None else _examples(model, x, caller)
    note = "" if temperature == 1 else f", temperature {temperature:g}"
    if images:
        means = np.asarray(model.generate(count, seed=seed, temperature=temperature))
        pixels = _pixels(means, _value_limits(means, tolerance=0.1) if x is None else _value_limits(x))
        picture = _mosaic(pixels, columns=math.ceil(math.sqrt(count)))
        return _picture(picture, f"Samples: means of p(x | z), z drawn from p(z){note}{_channel_note(means)}")
    z = model.sample_prior(count, seed=seed, temperature=temperature)
    draws = np.asarray(model.decode(z).sample(seed=fold(seed, 1)))
    names = _column_names(columns, draws.shape[-1], caller)
    title = f"Samples: x drawn from p(x | z), z from p(z){note}{_of_all(names, draws)}"
    return _histograms(draws, x, names, title, discrete=model.discrete)


def latent_plane(model, x, labels=None, seed=0) -> "Figure":
    """Draws the latent space: as a manifold of images where it has two dimensions, else by the data encoded in it.

    The manifold shows the means of p(x | z), z on a grid of quantiles of the standard normal. Otherwise the figure is a
    scatter of the means of q(z | x): against their standard deviations where there is one dimension, of both where
    there are two, else along the first two principal components of the means, with their shares of the variance.

    Args:
        model: a built model.
        x: shape (batch, *event); of more than 5000 examples, 5000 are drawn at random.
        labels: None or shape (batch,): classes, at most 20, or numbers, which colour the scatter.
        seed: integer, of the choice of examples.

    Raises:
        ValueError: for an x that is misshapen or has fewer than two examples, or labels that do not fit.
    """
    caller = "plotting.latent_plane"
    size = math.prod(model.latent_shape)
    x = _examples(model, x, caller, at_least=2)
    labels = None if labels is None else np.asarray(labels)
    if labels is not None and labels.shape != x.shape[:1]:
        raise ValueError(f"{caller} needs labels of shape ({len(x)},), one per example. Received: {labels.shape}.")
    if size == 2 and len(model.event_shape) == 3:
        return _manifold(model)
    if len(x) > MAX_POINTS:
        chosen = np.random.default_rng(seed).choice(len(x), MAX_POINTS, replace=False)
        x, labels = x[chosen], None if labels is None else labels[chosen]
    posteriors = [model.encode(x[start : start + ROWS_AT_ONCE]) for start in range(0, len(x), ROWS_AT_ONCE)]
    means = np.concatenate([np.asarray(posterior.mean()) for posterior in posteriors]).reshape(len(x), size)
    if size == 1:
        stddevs = np.concatenate([np.asarray(posterior.stddev()) for posterior in posteriors]).reshape(len(x), 1)
        points = np.concatenate([means, stddevs], axis=1)
        return _scatter(points, labels, ("mean", "standard deviation"), "Latent space: q(z | x)")
    if size == 2:
        return _scatter(means, labels, ("z[0]", "z[1]"), "Latent space: means of q(z | x)")
    scores, shares = _principal_components(means)
    names = [f"component {i + 1} ({100 * share:.0f} % of the variance)" for i, share in enumerate(shares)]
    return _scatter(scores, labels, names, f"Latent space: means of q(z | x), {size} dimensions projected on two")


def curves(history) -> "Figure":
    """Draws loss, log_likelihood and kl over the epochs, of training and, where there is one, of validation.

    The limits are those of the last nine tenths of the epochs where the first would squash the rest.

    Args:
        history: what `fit` returned, its attribute `history`, or any mapping from the names of the logs to their values
            per epoch, numbers or strings, such as the columns of a CSV file. Its "epoch", if there, is the x axis.

    Raises:
        ValueError: for a history without any of the three.
    """
    from matplotlib.figure import Figure

    history = getattr(history, "history", history)
    names = [name for name in ("loss", "log_likelihood", "kl") if name in history and len(history[name])]
    if not names:
        raise ValueError(f"plotting.curves needs loss, log_likelihood or kl. Received: {list(history)}.")
    figure = Figure(figsize=(2.6 * len(names) + 0.2, 2.4), dpi=DPI, layout="constrained")
    for panel, name in enumerate(names):
        axes = _tidy(figure.add_subplot(1, len(names), panel + 1))
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        _draw_curves(axes, history, name)
    figure.axes[0].set_ylabel("nats per example", fontsize=8)
    if len(figure.axes[0].lines) > 1:
        figure.axes[0].legend(fontsize=8, frameon=False)
    return figure


# --- arguments -------------------------------------------------------------------------------------------------------


def _are_images(model, caller: str) -> bool:
    rank = len(model.event_shape)
    if rank not in (1, 3):
        raise ValueError(
            f"{caller} needs observations of shape (size,) or (height, width, channels). "
            f"Received: event_shape={model.event_shape}."
        )
    return rank == 3


def _examples(model, x, caller: str, at_least: int = 1) -> np.ndarray:
    x = np.asarray(x)
    if x.shape[1:] != model.event_shape or x.ndim == 0 or len(x) < at_least:
        expected = ", ".join(["batch", *map(str, model.event_shape)])
        raise ValueError(f"{caller} needs x of shape ({expected}), batch >= {at_least}. Received: shape {x.shape}.")
    return x.astype(np.float32)


def _count(count, default: int, caller: str) -> int:
    if count is None:
        return default
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or count < 1:
        raise ValueError(f"{caller} needs count to be a positive integer. Received: count={count!r}.")
    return int(count)


def _column_names(columns, size: int, caller: str) -> list[str]:
    """Names of the columns that are drawn."""
    names = [f"x[{i}]" for i in range(size)] if columns is None else [str(name) for name in columns]
    if len(names) != size:
        raise ValueError(f"{caller} needs one name for each of the {size} columns. Received: {len(names)} names.")
    return names[:MAX_PANELS]


def _of_all(names: list[str], x: np.ndarray) -> str:
    return "" if len(names) == x.shape[-1] else f" (columns 0 to {len(names) - 1} of {x.shape[-1]})"


def _channel_note(images: np.ndarray) -> str:
    channels = images.shape[-1]
    return "" if channels in (1, 3) else f"\n(the first of {channels} channels)"


# --- images ----------------------------------------------------------------------------------------------------------


def _value_limits(images: np.ndarray, tolerance: float = 0.0) -> tuple[float, float]:
    """The values that are black and white: 0 and 1 if all values lie between, else the lowest and the highest."""
    low, high = float(images.min()), float(images.max())
    return (0.0, 1.0) if low >= -tolerance and high <= 1 + tolerance else (low, high)


def _pixels(images: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """RGB in [0, 1], shape (count, h, w, 3), of images with any number of channels, small ones enlarged."""
    low, high = limits
    if images.shape[-1] != 3:
        images = np.repeat(images[..., :1], 3, axis=-1)  # [count, height, width, 3]
    factor = max(1, SMALLEST_TILE // max(images.shape[1:3]))
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)  # [count, h, w, 3]
    return np.clip((images - low) / max(high - low, 1e-12), 0, 1)


def _mosaic(tiles: np.ndarray, columns: int) -> np.ndarray:
    """One picture (height, width, 3) of tiles (count, h, w, 3), row by row, each in a frame of one pixel."""
    height, width = tiles.shape[1] + 1, tiles.shape[2] + 1
    rows = math.ceil(len(tiles) / columns)
    picture = np.ones([rows * height + 1, columns * width + 1, 3], np.float32)
    for i, tile in enumerate(tiles):
        top, left = i // columns * height, i % columns * width
        picture[top : top + height + 1, left : left + width + 1] = FRAME
        picture[top + 1 : top + height, left + 1 : left + width] = tile
    return picture


def _pairs(above: np.ndarray, below: np.ndarray, columns: int) -> np.ndarray:
    """One picture (height, width, 3) of rows of tiles (count, h, w, 3), each above its counterpart."""
    picture = np.ones([0, columns * (above.shape[2] + 1) + 1, 3], np.float32)
    for start in range(0, len(above), columns):
        rows = np.concatenate([above[start : start + columns], below[start : start + columns]])
        pair = _mosaic(rows, columns=len(rows) // 2)
        gap = above.shape[1] // 4 if start else 0
        sides = ((gap, 0), (0, picture.shape[1] - pair.shape[1]), (0, 0))
        picture = np.concatenate([picture, np.pad(pair, sides, constant_values=1)])
    return picture


def _picture(picture: np.ndarray, title: str, margins: tuple[int, int] = (16, 16)) -> "Figure":
    """A figure of one picture (height, width, 3), each of its pixels a square of whole pixels of the figure.

    Args:
        margins: pixels to the left and below, and to the right.
    """
    from matplotlib.figure import Figure

    scale = min(8, max(1, round(WIDTH / picture.shape[1])))
    height, width = scale * picture.shape[0], scale * picture.shape[1]
    bottom, top = margins[0], 50 + 24 * title.count("\n")
    spare = max(0, 640 - width)  # room for the title
    total_width, total_height = width + sum(margins) + spare, height + bottom + top
    figure = Figure(figsize=(total_width / DPI, total_height / DPI), dpi=DPI)
    left = margins[0] + spare // 2
    axes = figure.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=9, x=(left + width / 2) / total_width, y=1 - 14 / total_height, va="top")
    return figure


def _manifold(model) -> "Figure":
    normal = statistics.NormalDist()
    grid = np.array([normal.inv_cdf((i + 0.5) / MANIFOLD_SIZE) for i in range(MANIFOLD_SIZE)], np.float32)
    right, up = np.meshgrid(grid, grid[::-1])  # [row, column]; the first row is the highest z[1]
    z = np.stack([right, up], axis=-1).reshape(-1, *model.latent_shape)
    means = np.asarray(model.decode(z).mean())
    pixels = _pixels(means, _value_limits(means, tolerance=0.1))  # [images, h, w, 3]
    title = f"Manifold: means of p(x | z), z on quantiles of the standard normal{_channel_note(means)}"
    figure = _picture(_mosaic(pixels, MANIFOLD_SIZE), title, margins=(76, 16))
    axes = figure.axes[0]
    height, width = pixels.shape[1] + 1, pixels.shape[2] + 1
    shown = np.arange(0, MANIFOLD_SIZE, 3)
    names = [f"{grid[i]:.1f}".replace("-", "\N{MINUS SIGN}") for i in shown]
    axes.set_xticks(shown * width + width / 2, names)
    axes.set_yticks((MANIFOLD_SIZE - 1 - shown) * height + height / 2, names)
    axes.set_xlabel("z[0]", fontsize=8)
    axes.set_ylabel("z[1]", fontsize=8)
    axes.tick_params(labelsize=7, length=2)
    return figure


# --- axes with numbers -----------------------------------------------------------------------------------------------


def _tidy(axes: "Axes") -> "Axes":
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
        axes = _tidy(figure.add_subplot(rows, columns, i + 1))
        axes.set_title(name if len(name) <= 20 else f"{name[:19]}…", fontsize=8)
        axes.locator_params(nbins=4)
    figure.suptitle(title, fontsize=9)
    return figure


def _against(x: np.ndarray, means: np.ndarray, names: list[str], title: str) -> "Figure":
    """Scatter of reconstructions against originals, both (count, size), one panel per name."""
    figure = _panels(names, title, height=1.75)
    size, alpha = (6, 0.5) if len(x) > 100 else (14, 0.8)
    for i, axes in enumerate(figure.axes):
        both = np.concatenate([x[:, i], means[:, i]])
        low, high = _padded(both.min(), both.max())
        axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=1)
        axes.scatter(x[:, i], means[:, i], s=size, alpha=alpha, color=BLUE, linewidths=0)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    figure.supxlabel("original", fontsize=8)
    figure.supylabel("reconstruction", fontsize=8)
    return figure


def _histograms(draws: np.ndarray, x: np.ndarray | None, names: list[str], title: str, discrete: bool) -> "Figure":
    """Densities of draws (count, size) and of data (batch, size) or None, one panel per name."""
    figure = _panels(names, title, height=1.3)
    for i, axes in enumerate(figure.axes):
        data = draws[:0, i] if x is None else x[:, i]
        bins = _bins(np.concatenate([draws[:, i], data]), discrete)
        axes.hist(draws[:, i], bins, density=True, color=BLUE, alpha=0.55, label="generated")
        if x is not None:
            axes.hist(data, bins, density=True, color="black", histtype="step", linewidth=1.0, label="data")
        axes.set(yticks=[], xlim=(bins[0], bins[-1]))
        axes.spines["left"].set_visible(False)
    if x is not None:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def _bins(values: np.ndarray, discrete: bool) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if discrete and high - low <= 50:
        return np.arange(math.floor(low), math.ceil(high) + 2) - 0.5  # one bin per integer
    return np.linspace(low, high, 31) if high > low else np.linspace(low - 0.5, low + 0.5, 31)


def _principal_components(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (count, 2) of values (count, size) on their two first principal components, and variance shares (2,)."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]  # [2, size]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    shares = singular**2 / max((singular**2).sum(), np.finfo(np.float64).tiny)
    return centred @ (directions * np.sign(largest)).T, shares[:2]  # the sign is free: the largest entry is positive


def _scatter(points: np.ndarray, labels: np.ndarray | None, names, title: str) -> "Figure":
    """Scatter of points (count, 2), coloured by labels (count,) or None."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.6), dpi=DPI, layout="constrained")
    axes = _tidy(figure.add_subplot())
    style = {"s": 5 if len(points) > 2000 else 12, "alpha": 0.8, "linewidths": 0}
    classes = [None] if labels is None else np.unique(labels)
    if labels is None:
        axes.scatter(*points.T, color=BLUE, **style)
    elif len(classes) <= 20:
        for color, label in zip(_colors(len(classes)), classes, strict=False):
            axes.scatter(*points[labels == label].T, color=color, label=f"{label}", **style)
        legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False, handletextpad=0.1)
        for handle in legend.legend_handles:
            handle.set(sizes=[36], alpha=1.0)
    else:
        colorbar = figure.colorbar(axes.scatter(*points.T, c=labels, cmap="viridis", **style), shrink=0.7)
        colorbar.solids.set(alpha=1)
        colorbar.ax.tick_params(labelsize=7)
    axes.set_aspect("equal", "datalim")
    axes.set_xlabel(names[0], fontsize=8)
    axes.set_ylabel(names[1], fontsize=8)
    axes.set_title(title, fontsize=9)
    return figure


def _colors(count: int) -> list:
    from matplotlib import colormaps

    return list(colormaps["tab10" if count <= 10 else "tab20"].colors)


# --- curves ----------------------------------------------------------------------------------------------------------


def _draw_curves(axes: "Axes", history, name: str) -> None:
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
    axes.xaxis.get_major_locator().set_params(integer=True)
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
