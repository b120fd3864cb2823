"""What the axes of an array are: examples of vectors, of images, of frames or of series."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

CHANNELS = (1, 3, 4)  # of images
CHUNK = 1_000  # rows looked at together


def chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """An array, which may lie on disk, in parts."""
    for start in range(0, len(array), CHUNK):
        yield array[start : start + CHUNK]


def has_missing(array: np.ndarray) -> bool:
    """Whether some values are NaN, as only those of series may be."""
    return array.ndim == 3 and array.dtype.kind == "f" and any(np.isnan(part).any() for part in chunks(array))


def read_axes(
    arrays: Sequence[np.ndarray], title: str, like: tuple[int, ...] | None = None
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Arrays as vectors, series, images or frames, whose channels are the last axis.

    Two axes are vectors (examples, size). Four axes are images, channels first where the second axis is 1, 3 or 4 and
    the others are longer; five are frames, channels before height and width where the third axis is so. Three axes are
    images of one channel where the values are stored as bytes or booleans, lie in [0, 1], or are whole numbers from 0
    to 255 of an integer dtype; else series, whose values may be missing, NaN.

    Args:
        arrays: one, or those of the splits, of one shape but for the number of examples.
        title: what they are of, for messages.
        like: None, or the shape of an example, where it is known.

    Returns:
        Views, without a copy, and what was chosen, in words.

    Raises:
        ValueError: for grey levels from 0 to 255 in three axes that are stored as floats: images or series.
    """
    reading, notes = _known(arrays[0], like) or _told(arrays, title)
    return [reading(array) for array in arrays], notes


def _as_they_are(array: np.ndarray) -> np.ndarray:
    return array


def _one_channel(array: np.ndarray) -> np.ndarray:
    return array[..., None]


def _channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 2 if array.ndim == 5 else 1, -1)


Reading = tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...]]


def _known(array: np.ndarray, like: tuple[int, ...] | None) -> Reading | None:
    """The reading that gives examples of a shape."""
    if like is not None:
        for reading in (_as_they_are, _one_channel, _channels_last):
            if reading(array).shape[1:] == like:
                return reading, _moved(array) if reading is _channels_last else ()
    return None


def _told(arrays: Sequence[np.ndarray], title: str) -> Reading:
    shape = arrays[0].shape
    if len(shape) in (4, 5) and shape[-3] in CHANNELS and min(shape[-2:]) > max(CHANNELS):
        return _channels_last, _moved(arrays[0])
    if len(shape) != 3:
        return _as_they_are, ()
    if all(array.dtype in (np.uint8, bool) for array in arrays):
        return _one_channel, ()
    parts = [part for array in arrays for part in chunks(array)]
    low, high = min(part.min() for part in parts), max(part.max() for part in parts)
    images = f"three axes, read as {shape[1]} x {shape[2]} grey images:"
    if any(map(has_missing, arrays)):
        return _as_they_are, (
            f"three axes, read as series of {shape[1]} steps x {shape[2]} channels: values are missing (NaN)",
        )
    if low >= 0 and high <= 1:
        return _one_channel, (f"{images} all values lie in [0, 1]",)
    if all(array.dtype.kind in "biu" for array in arrays) and low >= 0 and high <= 255:
        words = f"whole numbers from 0 to 255 of dtype {arrays[0].dtype}; a series is stored as floats"
        return _one_channel, (f"{images} {words}",)
    if low >= 0 and high == 255 and all((part == np.floor(part)).all() for part in parts):
        raise ValueError(
            "datasets.load needs arrays of three axes to be images or series. "
            f"Received: {title} of shape {shape}, whole numbers to 255 of dtype {arrays[0].dtype}, which may be "
            "either. Images: store x.astype('uint8'), or x[..., None]. Series: store them in other units."
        )
    return _as_they_are, (
        f"three axes, read as series of {shape[1]} steps x {shape[2]} channels: values are neither bytes nor all in "
        "[0, 1], nor integers from 0 to 255",
    )


def _moved(array: np.ndarray) -> tuple[str, ...]:
    shapes = [
        "(" + ", ".join(["N", *map(str, shape[1:])]) + ")" for shape in (array.shape, _channels_last(array).shape)
    ]
    return (f"channels first, {shapes[0]}, read as {shapes[1]}",)
