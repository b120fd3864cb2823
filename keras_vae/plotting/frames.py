"""Pictures that move: frames side by side, and as an animated .gif."""

import os
from typing import TYPE_CHECKING

import numpy as np

from keras_vae.arguments import positive
from keras_vae.plotting.images import as_pixels, channel_note, figure_of, mosaic, value_limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 10  # frames of a strip
TILE = 96  # pixels of a side, up to which frames of an animation are enlarged


def film_strip(frames, beside=None, count: int = SHOWN) -> "Figure":
    """Frames of one sequence in a row, evenly spaced from the first to the last; those of another one below.

    Args:
        frames: shape (time, height, width, channels), such as the truth.
        beside: None, or another sequence of this shape, such as what a model predicts.
        count: how many frames are drawn, if there are as many.

    Raises:
        ValueError: for arrays of other shapes.
    """
    given = _sequences(frames, beside, "plotting.film_strip")
    times = np.unique(np.linspace(0, given.shape[1] - 1, min(count, given.shape[1])).round().astype(int))
    pixels = as_pixels(given[:, times].reshape(-1, *given.shape[2:]), value_limits(None, given[0]))
    title = "Frames" + (": first sequence above, second below" if beside is not None else "")
    figure = figure_of(mosaic(pixels, len(times)), title + channel_note(given), margins=(48, 16))
    width = pixels.shape[2] + 1
    figure.axes[0].set_xticks(np.arange(len(times)) * width + width / 2, [str(time) for time in times])
    figure.axes[0].set_xlabel("frame", fontsize=8)
    figure.axes[0].tick_params(labelsize=7, length=2)
    return figure


def animation(path: str | os.PathLike, frames, beside=None, seconds: float = 0.1) -> None:
    """Writes a sequence of frames as an animated .gif, with another sequence to the right.

    Args:
        path: of the file, which ends in .gif and is replaced.
        frames: shape (time, height, width, channels), such as the truth.
        beside: None, or another sequence of this shape, such as what a model predicts.
        seconds: for which each frame is shown; a .gif counts hundredths.

    Raises:
        ValueError: for arrays of other shapes, a path that does not end in .gif, and seconds below 0.01.
        OSError: for a path that can not be written to.
    """
    from PIL import Image

    caller = "plotting.animation"
    given = _sequences(frames, beside, caller)
    if os.path.splitext(path)[1].lower() != ".gif":
        raise ValueError(f"{caller} needs a path that ends in .gif. Received: {os.fspath(path)!r}.")
    if positive(caller, "seconds", seconds) < 0.01:
        raise ValueError(f"{caller} needs seconds to be 0.01 or more. Received: seconds={seconds!r}.")
    limits = value_limits(None, given[0])
    pictures = []
    for pair in given.swapaxes(0, 1):  # [sequences, height, width, channels]
        pixels = as_pixels(pair, limits)
        factor = max(1, TILE // max(pixels.shape[1:3]))
        pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
        picture = np.rint(255 * mosaic(pixels, len(pair))).astype(np.uint8)
        pictures.append(Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE))
    # Of frames that are equal Pillow writes one, which is shown for as long as all of them.
    options = {"duration": round(1000 * seconds), "loop": 0, "optimize": False, "disposal": 2}
    pictures[0].save(path, format="GIF", save_all=True, append_images=pictures[1:], **options)


def _sequences(frames, beside, caller: str) -> np.ndarray:
    """Float32 of shape (1 or 2, time, height, width, channels)."""
    given = [np.asarray(each, np.float32) for each in (frames, beside) if each is not None]
    if any(each.ndim != 4 or 0 in each.shape or each.shape != given[0].shape for each in given):
        shapes = " and ".join(str(each.shape) for each in given)
        raise ValueError(f"{caller} needs sequences of one shape, (time, height, width, channels). Received: {shapes}.")
    return np.stack(given)
