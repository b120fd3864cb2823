"""Pictures of scenes: boxes around objects, and an image beside what it is made of."""

from typing import TYPE_CHECKING

import numpy as np

from keras_vae.plotting.images import as_pixels, channel_note, figure_of, mosaic, value_limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 8  # images in a row
LARGE = 96  # pixels of a side, up to which small images are enlarged, so that boxes are fine lines
EDGES = ("tab:orange", "tab:cyan")  # colours of boxes, and of those beside them


def boxes(images, boxes, found=None, count: int = 16) -> "Figure":
    """Images with the boxes of their objects in orange, and those that a model finds in blue.

    Args:
        images: shape (images, height, width, channels).
        boxes: left, top, right and bottom edge in pixels, shape (images, objects, 4), NaN where there is none, such as
            `data.truth["test"]["boxes"]`.
        found: None, or others of shape (images, others, 4).
        count: how many of the first images are drawn.

    Raises:
        ValueError: for arrays of other shapes.
    """
    from matplotlib.patches import Rectangle

    caller = "plotting.boxes"
    images = _images(images, caller)
    drawn = [_boxes(each, len(images), caller) for each in (boxes, found) if each is not None]
    images = images[:count]
    pixels = as_pixels(images, value_limits(None, images))
    factor = max(1, LARGE // max(images.shape[1:3]) // (pixels.shape[1] // images.shape[1]))
    pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    words = "Boxes: those of the objects in orange" + (", those found in blue" if len(drawn) > 1 else "")
    columns = min(len(images), COLUMNS)
    figure = figure_of(mosaic(pixels, columns), words + channel_note(images))
    scale = pixels.shape[1] / images.shape[1]
    for number in range(len(images)):
        row, column = divmod(number, columns)
        corner = np.array([column * (pixels.shape[2] + 1), row * (pixels.shape[1] + 1)]) + 0.5
        for colour, given in zip(EDGES, drawn, strict=False):
            for left, top, right, bottom in scale * given[number][np.isfinite(given[number]).all(axis=-1)]:
                size = right - left, bottom - top
                place = tuple(corner + (left, top))
                figure.axes[0].add_patch(Rectangle(place, *size, fill=False, edgecolor=colour, linewidth=0.8))
    return figure


def components(images, masks, parts=None, reconstructions=None, count: int = 8) -> "Figure":
    """Images, one in a row, beside which parts of them a model sees as one, and what it paints there.

    Args:
        images: shape (images, height, width, channels).
        masks: weight of each part in each pixel, from 0 to 1, shape (images, parts, height, width).
        parts: None, or what the model paints in each part, shape (images, parts, height, width, channels): drawn on
            black where the weight is below 1.
        reconstructions: None, or shape (images, height, width, channels).
        count: how many of the first images are drawn.

    Raises:
        ValueError: for arrays of other shapes.
    """
    caller = "plotting.components"
    images, masks = _images(images, caller), np.asarray(masks, np.float32)
    size = images.shape[1:3]
    if masks.ndim != 4 or len(masks) != len(images) or masks.shape[2:] != size:
        raise ValueError(
            f"{caller} needs masks of shape ({len(images)}, parts, {size[0]}, {size[1]}). Received: {masks.shape}."
        )
    expected = {"parts": (*masks.shape, images.shape[-1]), "reconstructions": images.shape}
    for name, given in {"parts": parts, "reconstructions": reconstructions}.items():
        if given is not None and np.shape(given) != expected[name]:
            raise ValueError(f"{caller} needs {name} of shape {expected[name]}. Received: {np.shape(given)}.")
    count, limits = min(count, len(images)), value_limits(None, images)
    groups = {"image": as_pixels(images[:count], limits)[:, None]}
    if reconstructions is not None:
        groups["reconstruction"] = as_pixels(np.asarray(reconstructions, np.float32)[:count], limits)[:, None]
    shown = np.stack([as_pixels(each[..., None], (0, 1)) for each in masks[:count]])  # [images, parts, h, w, 3]
    groups["masks"] = shown
    if parts is not None:
        painted = np.stack([as_pixels(each, limits) for each in np.asarray(parts, np.float32)[:count]])
        groups["parts within their masks"] = painted * shown
    tiles = np.concatenate(list(groups.values()), axis=1)  # [images, columns, h, w, 3]
    picture = mosaic(tiles.reshape(-1, *tiles.shape[2:]), tiles.shape[1])
    return figure_of(picture, "From left to right: " + ", ".join(groups) + channel_note(images))


def _images(images, caller: str) -> np.ndarray:
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"{caller} needs images of shape (images, height, width, channels). Received: {images.shape}.")
    return images


def _boxes(given, count: int, caller: str) -> np.ndarray:
    given = np.asarray(given, np.float64)
    if given.ndim != 3 or given.shape[0] != count or given.shape[-1] != 4:
        raise ValueError(f"{caller} needs boxes of shape ({count}, objects, 4). Received: {given.shape}.")
    return given
