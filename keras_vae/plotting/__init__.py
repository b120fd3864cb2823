"""Model, data -> matplotlib figure: what a model reconstructs, generates and encodes, and how it learned.

Figures are made without pyplot, so that nothing global changes and nothing stays open: `figure.savefig(path)`.
"""

import math
import numbers
from typing import TYPE_CHECKING

import numpy as np

from keras_vae.arguments import whole_seed
from keras_vae.distributions import Columns
from keras_vae.plotting.approximations import posteriors as posteriors
from keras_vae.plotting.charts import against, draw_curves, histograms, principal_components, scatter, series, tidy
from keras_vae.plotting.diagnosis import diagnosis as diagnosis
from keras_vae.plotting.forecasts import forecasts as forecasts
from keras_vae.plotting.frames import animation as animation
from keras_vae.plotting.frames import film_strip as film_strip
from keras_vae.plotting.images import (
    DPI,
    as_pixels,
    channel_note,
    figure_of,
    manifold,
    mosaic,
    pairs,
    rows_of_units,
    value_limits,
)
from keras_vae.plotting.rate_distortion import rate_distortion as rate_distortion
from keras_vae.plotting.scenes import boxes as boxes
from keras_vae.plotting.scenes import components as components

if TYPE_CHECKING:  # imported where it is used: no other part of the package needs matplotlib
    from matplotlib.figure import Figure

MAX_PANELS = 16  # columns of a vector that are drawn
MAX_CHANNELS = 4  # channels of a series that are drawn
COUNTS = {1: 1000, 2: 4, 3: 16}  # examples that are reconstructed, by the number of axes of one
MAX_POINTS = 5000  # examples in a scatter of posterior means
ROWS_AT_ONCE = 500  # examples encoded at once


def reconstructions(model, x, count: int | None = None, columns=None) -> "Figure":
    """Draws observations and their reconstructions, the means of p(x | z) at the mean of q(z | x).

    Images, of event shape (height, width, channels), stand above their reconstructions in one mosaic; of vectors, of
    event shape (size,), each of the first 16 columns is drawn against its reconstruction, with the diagonal; of series,
    of event shape (steps, channels), the first 4 channels are drawn over the steps.

    Args:
        model: a built model.
        x: shape (batch, *event).
        count: how many of the first examples are drawn, if there are as many; None is 16 images, 4 series or 1000
            vectors.
        columns: names of the columns of vectors, or of the channels of series; None is x[0], x[1], ...

    Raises:
        ValueError: for a count below 1, an empty or misshapen x, or events that are no images, series or vectors.
    """
    caller = "plotting.reconstructions"
    _check_model(model, caller)
    axes = _axes(model, caller)
    x = _examples(model, x, caller)[: _count(count, COUNTS[axes], caller)]
    means = np.asarray(model.reconstruct(x))
    if axes == 2:
        names = _column_names(columns, x.shape[-1], caller)[:MAX_CHANNELS]
        title = f"Reconstructions: means of p(x | z) over originals{_of_all(names, x, 'channels')}"
        return series(x, means, names, title, ("original", "reconstruction"))
    if axes == 1:
        names = _column_names(columns, x.shape[-1], caller)
        title = f"Reconstructions: means of p(x | z) against originals{_of_all(names, x)}"
        return against(x, means, names, title, [categories for _, categories in _kinds(model, x.shape[-1])])
    limits = value_limits(model, x)
    picture = pairs(as_pixels(x, limits), as_pixels(means, limits), columns=min(len(x), 8))
    return figure_of(picture, f"Reconstructions: originals above, means of p(x | z) below{channel_note(x)}")


def samples(model, count: int | None = None, seed=0, temperature=1.0, x=None, columns=None) -> "Figure":
    """Draws what a model generates: a mosaic of the means of p(x | z) for images, histograms of draws for vectors.

    Of series the means are drawn over the steps, on a draw from the same p(x | z).

    Args:
        model: a built model.
        count: number of draws of z; None is 64 images, 4 series or 1000 vectors.
        seed: integer; the same seed gives the same figure.
        temperature: factor on the distance of z to the mean of the prior; 1 draws from the prior.
        x: None or data of shape (batch, *event): its histograms are drawn over those of vectors, and its range of
            values is that of the grey levels of images.
        columns: names of the columns of vectors, or of the channels of series; None is x[0], x[1], ...

    Raises:
        ValueError: for a count below 1, an empty or misshapen x, or events that are no images, series or vectors.
    """
    caller = "plotting.samples"
    _check_model(model, caller)
    axes = _axes(model, caller)
    count = _count(count, COUNTS[axes] if axes < 3 else 64, caller)
    x = None if x is None else _examples(model, x, caller)
    note = "" if temperature == 1 else f", temperature {temperature:g}"
    if axes == 2:
        means, draws = (
            np.asarray(draw(count, seed=seed, temperature=temperature)) for draw in (model.generate, model.sample)
        )
        names = _column_names(columns, draws.shape[-1], caller)[:MAX_CHANNELS]
        title = f"Samples: p(x | z), z drawn from p(z){note}{_of_all(names, draws, 'channels')}"
        return series(draws, means, names, title, ("draw", "mean"))
    if axes == 3:
        means = np.asarray(model.generate(count, seed=seed, temperature=temperature))
        pixels = as_pixels(means, value_limits(model, means, 0.1) if x is None else value_limits(model, x))
        picture = mosaic(pixels, columns=math.ceil(math.sqrt(count)))
        return figure_of(picture, f"Samples: means of p(x | z), z drawn from p(z){note}{channel_note(means)}")
    draws = np.asarray(model.sample(count, seed=seed, temperature=temperature))
    names = _column_names(columns, draws.shape[-1], caller)
    title = f"Samples: x drawn from p(x | z), z from p(z){note}{_of_all(names, draws)}"
    return histograms(draws, x, names, title, _kinds(model, draws.shape[-1]))


def latent_plane(model, x, labels=None, seed=0, classes=None) -> "Figure":
    """Draws the latent space: as a manifold of images where it has two dimensions, else by the data encoded in it.

    The manifold shows the means of p(x | z), z on a grid of quantiles of the standard normal. Otherwise the figure is a
    scatter of the means of q(z | x): against their standard deviations where there is one dimension, of both where
    there are two, else along the first two principal components of the means, with their shares of the variance.

    Args:
        model: a built model.
        x: shape (batch, *event); of more than 5000 examples, 5000 are drawn at random.
        labels: None or shape (batch,): classes, or more than 20 different numbers, which colour the scatter. Of more
            than 20 classes the most frequent have colours of their own.
        seed: integer, of the choice of examples.
        classes: None or names, in which labels are places: `data.labels["test"]` in `data.classes`.

    Raises:
        ValueError: for an x that is misshapen or has fewer than two examples, or labels that do not fit.
    """
    caller = "plotting.latent_plane"
    seed = whole_seed(caller, seed)
    _check_model(model, caller)
    _check_latent(model, caller)
    size = math.prod(model.latent_shape)
    x = _examples(model, x, caller, at_least=2)
    labels = None if labels is None else np.asarray(labels)
    if labels is not None and labels.shape != x.shape[:1]:
        raise ValueError(f"{caller} needs labels of shape ({len(x)},), one per example. Received: {labels.shape}.")
    if classes is not None and (
        labels is None or labels.dtype.kind not in "iu" or not 0 <= labels.min() <= labels.max() < len(classes)
    ):
        raise ValueError(
            f"{caller} needs labels that are places in the {len(classes)} classes. "
            f"Received: {None if labels is None else np.unique(labels)[:10].tolist()}."
        )
    if size == 2 and len(model.event_shape) == 3:
        return manifold(model)
    if len(x) > MAX_POINTS:
        chosen = np.random.default_rng(seed % 2**32).choice(len(x), MAX_POINTS, replace=False)
        x, labels = x[chosen], None if labels is None else labels[chosen]
    posteriors = [model.encode(x[start : start + ROWS_AT_ONCE]) for start in range(0, len(x), ROWS_AT_ONCE)]
    means = np.concatenate([np.asarray(posterior.mean()) for posterior in posteriors]).reshape(len(x), size)
    if size == 1:
        stddevs = np.concatenate([np.asarray(posterior.stddev()) for posterior in posteriors]).reshape(len(x), 1)
        points = np.concatenate([means, stddevs], axis=1)
        return scatter(points, labels, ("mean", "standard deviation"), "Latent space: q(z | x)", classes)
    if size == 2:
        return scatter(means, labels, ("z[0]", "z[1]"), "Latent space: means of q(z | x)", classes)
    scores, shares = principal_components(means)
    names = [f"component {i + 1} ({100 * share:.0f} % of the variance)" for i, share in enumerate(shares)]
    return scatter(
        scores, labels, names, f"Latent space: means of q(z | x), {size} dimensions projected on two", classes
    )


def traversals(model, x, units: int = 8, values: int = 11) -> "Figure":
    """Draws what each unit of z does to an image: the first of `x`, with one unit changed and the others as they are.

    A row for each of the units whose posterior means vary most over `x`, the first one on top; from left to right the
    unit goes through evenly spaced values, from the lowest to the highest of its means.

    Args:
        model: a built model of images with one latent variable.
        x: two images or more, shape (batch, height, width, channels).
        units: rows, at most.
        values: columns.

    Raises:
        TypeError: for a model without `latent_shape`.
        ValueError: for an x that is misshapen or has fewer than two examples, and for models of other observations.
    """
    caller = "plotting.traversals"
    units, values = _count(units, 8, caller), _count(values, 11, caller)
    _check_model(model, caller)
    _check_latent(model, caller)
    if len(model.event_shape) != 3:
        raise ValueError(f"{caller} needs a model of images. Received: observations of shape {model.event_shape}.")
    x = _examples(model, x, caller, at_least=2)[:MAX_POINTS]
    parts = [np.asarray(model.encode(x[i : i + ROWS_AT_ONCE]).mean()) for i in range(0, len(x), ROWS_AT_ONCE)]
    means = np.concatenate(parts).reshape(len(x), -1)
    chosen = np.argsort(-means.var(axis=0), kind="stable")[:units]
    ranges = np.linspace(means.min(axis=0), means.max(axis=0), values)[:, chosen].T  # [units, values]
    return rows_of_units(model, means[:1], chosen, ranges)


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
        axes = tidy(figure.add_subplot(1, len(names), panel + 1))
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        draw_curves(axes, history, name)
    figure.axes[0].set_ylabel("nats per example", fontsize=8)
    if len(figure.axes[0].lines) > 1:
        figure.axes[0].legend(fontsize=8, frameon=False)
    return figure


def _check_model(model, caller: str) -> None:
    if model.takes.y is not None:
        raise TypeError(
            f"{caller} needs a model without a condition. Received: {type(model).__name__}, whose own methods take one."
        )
    if len(model.takes.fields) > 1:
        raise TypeError(
            f"{caller} needs a model of observations that are one array. Received: {type(model).__name__}, which takes "
            f"{', '.join(field.name for field in model.takes.fields)}."
        )


def _check_latent(model, caller: str) -> None:
    if not hasattr(model, "latent_shape") or model.one_point:
        received = type(model).__name__ + (", whose latent variable is codes" if model.one_point else "")
        raise TypeError(f"{caller} needs a model with one latent variable of numbers. Received: {received}.")


def _axes(model, caller: str) -> int:
    """The number of axes of an observation: 1 of a vector, 2 of a series, 3 of an image."""
    rank = len(model.event_shape)
    if rank not in COUNTS:
        raise ValueError(
            f"{caller} needs observations of shape (size,), (steps, channels) or (height, width, channels). "
            f"Received: event_shape={model.event_shape}."
        )
    return rank


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


def _kinds(model, size: int) -> list[tuple[bool, tuple[str, ...]]]:
    """Of each column, whether its values are whole numbers, and the names of its categories if it has any."""
    likelihood = model.takes.fields[0].observed
    if not isinstance(likelihood, Columns):
        return [(getattr(model, "discrete", False), ())] * size
    layers = [layer for layer in likelihood.columns.values() for _ in range(math.prod(layer.event_shape))]
    return [(layer.discrete, tuple(getattr(layer, "categories", None) or ())) for layer in layers]


def _of_all(names: list[str], x: np.ndarray, what: str = "columns") -> str:
    return "" if len(names) == x.shape[-1] else f" ({what} 0 to {len(names) - 1} of {x.shape[-1]})"
