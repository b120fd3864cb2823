"""Pictures: images in a mosaic, as a figure whose pixels are whole."""

import math
import statistics
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 144
WIDTH = 800  # of a mosaic, in pixels, about
MANIFOLD_SIZE = 16  # images per axis
SMALLEST_TILE = 24  # smaller images are enlarged by whole factors, up to this size, in pixels
FRAME = 0.5  # grey level between images


def value_limits(model, images: np.ndarray, tolerance: float = 0.0) -> tuple[float, float]:
    """The values that are black and white.

    Those of `GreyLevels`; of others 0 and 1 if all values lie between, else the lowest and the highest.
    """
    white = getattr(getattr(model, "likelihood", None), "white", None)
    if white is not None:
        return 0.0, white
    low, high = float(images.min()), float(images.max())
    return (0.0, 1.0) if low >= -tolerance and high <= 1 + tolerance else (low, high)


def as_pixels(images: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """RGB in [0, 1], shape (count, h, w, 3), of images with any number of channels, small ones enlarged."""
    low, high = limits
    if images.shape[-1] != 3:
        images = np.repeat(images[..., :1], 3, axis=-1)  # [count, height, width, 3]
    factor = max(1, SMALLEST_TILE // max(images.shape[1:3]))
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)  # [count, h, w, 3]
    return np.clip((images - low) / max(high - low, 1e-12), 0, 1)


def bytes_in_mosaic(shape: tuple[int, ...]) -> int:
    """Bytes of memory that an image (height, width, channels) takes in a figure of many, an upper estimate.

    For each pixel five copies of red, green and blue, float32, and what Matplotlib draws.
    """
    factor = max(1, SMALLEST_TILE // max(shape[:2]))
    return 64 * (factor * shape[0] + 1) * (factor * shape[1] + 1)


def mosaic(tiles: np.ndarray, columns: int) -> np.ndarray:
    """One picture (height, width, 3) of tiles (count, h, w, 3), row by row, each in a frame of one pixel."""
    height, width = tiles.shape[1] + 1, tiles.shape[2] + 1
    rows = math.ceil(len(tiles) / columns)
    picture = np.ones([rows * height + 1, columns * width + 1, 3], np.float32)
    for i, tile in enumerate(tiles):
        top, left = i // columns * height, i % columns * width
        picture[top : top + height + 1, left : left + width + 1] = FRAME
        picture[top + 1 : top + height, left + 1 : left + width] = tile
    return picture


def pairs(above: np.ndarray, below: np.ndarray, columns: int) -> np.ndarray:
    """One picture (height, width, 3) of rows of tiles (count, h, w, 3), each above its counterpart."""
    picture = np.ones([0, columns * (above.shape[2] + 1) + 1, 3], np.float32)
    for start in range(0, len(above), columns):
        rows = np.concatenate([above[start : start + columns], below[start : start + columns]])
        pair = mosaic(rows, columns=len(rows) // 2)
        gap = above.shape[1] // 4 if start else 0
        sides = ((gap, 0), (0, picture.shape[1] - pair.shape[1]), (0, 0))
        picture = np.concatenate([picture, np.pad(pair, sides, constant_values=1)])
    return picture


def figure_of(picture: np.ndarray, title: str, margins: tuple[int, int] = (16, 16)) -> "Figure":
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


def manifold(model) -> "Figure":
    """The means of p(x | z) on a grid of z with two values, at equal quantiles of the standard normal."""
    normal = statistics.NormalDist()
    grid = np.array([normal.inv_cdf((i + 0.5) / MANIFOLD_SIZE) for i in range(MANIFOLD_SIZE)], np.float32)
    right, up = np.meshgrid(grid, grid[::-1])  # [row, column]; the first row is the highest z[1]
    z = np.stack([right, up], axis=-1).reshape(-1, *model.latent_shape)
    means = np.asarray(model.decode(z).mean())
    pixels = as_pixels(means, value_limits(model, means, tolerance=0.1))  # [images, h, w, 3]
    title = f"Manifold: means of p(x | z), z on quantiles of the standard normal{channel_note(means)}"
    figure = figure_of(mosaic(pixels, MANIFOLD_SIZE), title, margins=(76, 16))
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


def rows_of_units(model, z: np.ndarray, units: np.ndarray, values: np.ndarray) -> "Figure":
    """The means of p(x | z), one unit of `z`, shape (1, size), at other values in each row, shape (rows, columns)."""
    codes = np.repeat(z, values.size, axis=0)
    codes[np.arange(values.size), np.repeat(units, values.shape[1])] = values.ravel()
    means = np.asarray(model.decode(codes.reshape(-1, *model.latent_shape)).mean())
    pixels = as_pixels(means, value_limits(model, means, tolerance=0.1))
    title = f"Traversals: means of p(x | z), one unit of z after the other{channel_note(means)}"
    figure = figure_of(mosaic(pixels, values.shape[1]), title, margins=(76, 16))
    axes = figure.axes[0]
    height, width = pixels.shape[1] + 1, pixels.shape[2] + 1
    axes.set_yticks(np.arange(len(units)) * height + height / 2, [f"z[{unit}]" for unit in units])
    ends = [0, values.shape[1] // 2, values.shape[1] - 1]
    axes.set_xticks([end * width + width / 2 for end in ends], ["lowest", "middle", "highest"])
    axes.tick_params(labelsize=7, length=2)
    return figure


def channel_note(images: np.ndarray) -> str:
    """What a title adds when only the first channel is drawn."""
    channels = images.shape[-1]
    return "" if channels in (1, 3) else f"\n(the first of {channels} channels)"
