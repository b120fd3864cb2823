"""NumPy arrays in `.npz` and `.npy` files."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from keras_vae.datasets.data import Source, sample_size
from keras_vae.datasets.rows import ArrayRows, ReadRows, split_rows, whole_rows

CHUNK = 1_000  # rows looked at together
UNREADABLE = (ValueError, EOFError, zipfile.BadZipFile, zlib.error)  # of NumPy, for broken files


def array_source(name: str, array: np.ndarray, seed: int, levels: float | None = None, whole: bool = False) -> Source:
    """An array in memory, split at random; `levels` is the value of white, where the values do not tell."""
    array = _as_rows(array, name)
    parts = whole_rows(len(array)) if whole else split_rows(len(array), seed, name)
    return Source(name, {split: ArrayRows(array[rows]) for split, rows in parts.items()}, levels or _levels(array))


def npz_source(path: Path, seed: int, whole: bool = False) -> Source:
    """One array, split at random, or the arrays train and test, with validation or a tenth of train for it."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name.removeprefix("x_"): file[name] for name in file.files if not name.startswith("y_")}
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    if len(arrays) == 1:
        return array_source(str(path), next(iter(arrays.values())), seed, whole=whole)
    if not {"train", "test"} <= set(arrays):
        raise ValueError(
            "datasets.load needs an .npz file with one array, or with arrays train and test and perhaps validation. "
            f"Received: {path} with {', '.join(sorted(arrays)) or 'none'}."
        )
    splits = {
        name: _as_rows(arrays[name], f"{path}: {name}") for name in ("train", "validation", "test") if name in arrays
    }
    for name, array in splits.items():
        if array.shape[1:] != splits["train"].shape[1:]:
            raise ValueError(
                f"datasets.load needs splits of one shape. Received: {path} with train {splits['train'].shape[1:]} and "
                f"{name} {array.shape[1:]}."
            )
    if "validation" not in splits:
        parts = split_rows(len(splits["train"]), seed, str(path))
        splits["validation"] = splits["train"][parts["validation"]]
        splits["train"] = splits["train"][np.sort(np.concatenate([parts["train"], parts["test"]]))]
    rows = {name: ArrayRows(splits[name]) for name in ("train", "validation", "test")}
    return Source(str(path), rows, _levels(splits["train"]))


def memory_mapped_source(path: Path, seed: int, whole: bool = False) -> Source:
    """An array that stays on disk: batches are read when they are needed.

    All rows are checked for NaN once, in chunks; the kind of the data is judged by a sample.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    array = _as_rows(array, str(path), check=False)
    for start in range(0, len(array), CHUNK):
        _check_numbers(array[start : start + CHUNK], str(path), first_row=start)

    dtype = array.dtype.newbyteorder("=")  # of this machine

    def read(rows):
        return np.ascontiguousarray(array[rows], dtype)

    parts = whole_rows(len(array)) if whole else split_rows(len(array), seed, str(path))
    splits = {name: ReadRows(read, rows, array.shape[1:], dtype) for name, rows in parts.items()}
    return Source(str(path), splits, _levels(splits["train"].sample(sample_size(array.shape[1:]))))


def _unreadable(path: Path, error: Exception) -> ValueError:
    """What is wrong with a file; NumPy advises to unpickle what it can not read."""
    why = "which holds something else" if "allow_pickle" in str(error) or "dtype" in str(error) else str(error)
    return ValueError(f"datasets.load needs an {path.suffix} file of numbers. Received: {path}: {why}.")


def _as_rows(array: np.ndarray, name: str, check: bool = True) -> np.ndarray:
    """The array as vectors (examples, size) or images (examples, height, width, channels)."""
    if not isinstance(array, np.ndarray):  # another file in an .npz
        raise ValueError(f"datasets.load needs arrays of numbers. Received: {name} with something else.")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"datasets.load needs numbers. Received: {name} of dtype {array.dtype}.")
    if array.ndim not in (2, 3, 4) or array.size == 0:
        raise ValueError(
            "datasets.load needs arrays of shape (examples, size), (examples, height, width) or (examples, height, "
            f"width, channels), and at least one example. Received: {name} of shape {array.shape}."
        )
    if check:
        _check_numbers(array, name)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)  # that of this machine
    if array.dtype == bool:
        array = array.view(np.uint8)
    return array[..., None] if array.ndim == 3 else array


def _check_numbers(array: np.ndarray, name: str, first_row: int = 0) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0]) + first_row
        raise ValueError(f"datasets.load needs finite numbers. Received: {name} with NaN or infinity in row {row}.")


def _levels(array: np.ndarray) -> float | None:
    """The value of white: 255 for bytes, 1 for fractions, None for other numbers."""
    if array.dtype == np.uint8:
        return 255.0 if array.max() > 1 else 1.0
    return 1.0 if array.min() >= 0 and array.max() <= 1 else None
