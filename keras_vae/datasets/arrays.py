"""NumPy arrays in `.npz` and `.npy` files."""

import dataclasses
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_vae.datasets.axes import chunks, has_missing, read_axes
from keras_vae.datasets.data import Source, sample_size
from keras_vae.datasets.labels import Labels, labels_of
from keras_vae.datasets.rows import ArrayRows, ReadRows, named_split, split_rows, whole_rows

UNREADABLE = (ValueError, EOFError, zipfile.BadZipFile, zlib.error)  # of NumPy, for broken files
OBSERVED = ("", "x", "image", "images", "data")  # names of arrays in an .npz file, beside that of a split
TARGETS = ("y", "label", "labels", "target", "targets")


def array_source(
    name: str,
    array: np.ndarray,
    seed: int,
    levels: float | None = None,
    whole: bool = False,
    targets: np.ndarray | None = None,
    like: tuple[int, ...] | None = None,
) -> Source:
    """An array in memory, split at random; `levels` is the value of white, where the values do not tell.

    Args:
        name: for messages.
        array: shape (examples, ...).
        seed: of the split.
        levels: the value of white.
        whole: whether each split is all rows.
        targets: None, or one for each example: labels, if they are classes.
        like: None, or the shape of an example, where it is known.
    """
    (array,), notes = read_axes([_checked(array, name)], name, like)
    parts = whole_rows(len(array)) if whole else split_rows(len(array), seed, name)
    found = None if targets is None else labels_of({"all": targets}, {"all": len(array)}, name)
    labels = found.at(parts) if isinstance(found, Labels) else None
    notes += (found,) if isinstance(found, str) else ()
    splits = {split: ArrayRows(array[rows]) for split, rows in parts.items()}
    missing = has_missing(array)
    return Source(name, splits, levels or _levels(array), notes=notes, labels=labels, missing=missing)


def npz_source(path: Path, seed: int, whole: bool = False, like: tuple[int, ...] | None = None) -> Source:
    """One array, split at random, or the arrays train and test, with validation or a tenth of train for it.

    Arrays are named as in x_train, train_images or train, their labels as in y_train or train_labels; without splits x
    and y, or one array of any name.
    """
    with _opened(path) as file:
        observed, targets, others = _by_split(path, file.files)
        arrays = {split: _array(file, name, path) for split, name in observed.items()}
        values = {split: _targets(file, name) for split, name in targets.items() if split in observed}
    others += [name for split, name in targets.items() if split not in observed]
    notes = tuple(f"{name}: left out" for name in others)
    notes += tuple(
        f"{targets[split]}: left out, for Python objects are not read" for split in values if values[split] is None
    )
    known = {split: array for split, array in values.items() if array is not None}
    if len(arrays) == 1:
        ((split, array),) = arrays.items()
        source = array_source(str(path), array, seed, whole=whole, targets=known.get(split), like=like)
        return _with_notes(source, notes)
    return _with_notes(_split_source(path, arrays, known, seed, like), notes)


def _by_split(path: Path, names: list[str]) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Names of the arrays of observations and of their targets, by split or "all", and those of all other arrays."""
    if len(names) == 1:
        return {"all": names[0]}, {}, []
    observed: dict[str, str] = {}
    targets: dict[str, str] = {}
    others = []
    for name in names:
        words = name.lower().split("_")
        split = next((split for split in map(named_split, words) if split), "all")
        role = "_".join(word for word in words if not named_split(word))
        home = observed if role in OBSERVED else targets if role in TARGETS else None
        if home is None:
            others.append(name)
        elif split in home:
            raise ValueError(
                "datasets.load needs one array for each split of an .npz file. "
                f"Received: {path} with {home[split]} and {name}."
            )
        else:
            home[split] = name
    if not observed and len(others) == 1:
        observed, others = {"all": others[0]}, []
    if len(observed) != 1 and not {"train", "test"} <= set(observed):
        raise ValueError(
            "datasets.load needs an .npz file with one array, or with arrays train and test and perhaps validation, "
            f"and labels named y or labels. Received: {path} with {', '.join(sorted(names)) or 'none'}."
        )
    if len(observed) > 1 and "all" in observed:
        others.append(observed.pop("all"))
    return observed, targets, others


def _split_source(
    path: Path,
    arrays: dict[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    seed: int,
    like: tuple[int, ...] | None,
) -> Source:
    """Arrays of the splits; without validation a tenth of train is it."""
    for name, array in arrays.items():
        arrays[name] = _checked(array, f"{path}: {name}")
        if array.shape[1:] != arrays["train"].shape[1:]:
            raise ValueError(
                f"datasets.load needs splits of one shape. Received: {path} with train {arrays['train'].shape[1:]} and "
                f"{name} {array.shape[1:]}."
            )
    read, notes = read_axes(list(arrays.values()), str(path), like)
    splits: dict[str, Any] = dict(zip(arrays, read, strict=True))
    found = labels_of(targets, {name: len(array) for name, array in splits.items()}, str(path)) if targets else None
    numbers = dict(found.numbers) if isinstance(found, Labels) else {}
    if "validation" not in splits:
        parts = split_rows(len(splits["train"]), seed, str(path))
        rest = np.sort(np.concatenate([parts["train"], parts["test"]]))
        for by_split in (splits, numbers) if numbers else (splits,):
            by_split["validation"], by_split["train"] = by_split["train"][parts["validation"]], by_split["train"][rest]
    rows = {name: ArrayRows(splits[name]) for name in ("train", "validation", "test")}
    labels = Labels(found.classes, numbers) if isinstance(found, Labels) else None
    notes += (found,) if isinstance(found, str) else ()
    missing = any(map(has_missing, read))
    return Source(str(path), rows, _levels(splits["train"]), notes=notes, labels=labels, missing=missing)


def memory_mapped_source(path: Path, seed: int, whole: bool = False, like: tuple[int, ...] | None = None) -> Source:
    """An array that stays on disk: batches are read when they are needed.

    All rows are checked for NaN once, in chunks; the kind of the data is judged by a sample.
    """
    (array,), notes = read_axes([_checked(_opened(path), str(path), on_disk=True)], str(path), like)
    dtype = _native(array.dtype)

    def read(rows):
        return np.ascontiguousarray(array[rows], dtype)

    parts = whole_rows(len(array)) if whole else split_rows(len(array), seed, str(path))
    splits = {name: ReadRows(read, rows, array.shape[1:], dtype) for name, rows in parts.items()}
    levels = _levels(splits["train"].sample(sample_size(array.shape[1:])))
    return Source(str(path), splits, levels, notes=notes, missing=has_missing(array))


def _opened(path: Path):
    """The array of an `.npy` file, left on disk, or the arrays of an `.npz` file."""
    try:
        opened = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    if isinstance(opened, np.ndarray) is not (path.suffix == ".npy"):
        raise _unreadable(path, ValueError("a file of another kind"))
    return opened


def _unreadable(path: Path, error: Exception) -> ValueError:
    """What is wrong with a file; NumPy advises to unpickle what it can not read."""
    why = "which holds something else" if "allow_pickle" in str(error) or "dtype" in str(error) else str(error)
    return ValueError(f"datasets.load needs an {path.suffix} file of numbers. Received: {path}: {why}.")


def _array(file, name: str, path: Path) -> np.ndarray:
    """An array of an `.npz` file."""
    try:
        array = file[name]
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    if not isinstance(array, np.ndarray):  # another file in an .npz
        raise ValueError(f"datasets.load needs arrays of numbers. Received: {path}: {name} with something else.")
    return array


def _targets(file, name: str) -> np.ndarray | None:
    """An array of an `.npz` file; None for Python objects, which are not read."""
    try:
        return file[name]
    except ValueError:
        return None


def _with_notes(source: Source, notes: tuple[str, ...]) -> Source:
    return dataclasses.replace(source, notes=source.notes + notes)


def _checked(array: np.ndarray, name: str, on_disk: bool = False) -> np.ndarray:
    """An array of numbers of this machine, unless it stays on disk, of a shape that can be read; bytes for booleans."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"datasets.load needs numbers. Received: {name} of dtype {array.dtype}.")
    if array.ndim not in (2, 3, 4, 5) or array.size == 0:
        raise ValueError(
            "datasets.load needs arrays of shape (examples, size), (examples, steps, channels), (examples, height, "
            "width), (examples, height, width, channels) or (examples, time, height, width, channels), and at least "
            f"one example. Received: {name} of shape {array.shape}."
        )
    _check_numbers(array, name)
    if not on_disk:
        array = array.astype(_native(array.dtype), copy=False)
    return array.view(np.uint8) if array.dtype == bool else array


def _native(dtype: np.dtype) -> np.dtype:
    """The type of this machine that TensorFlow reads these numbers in."""
    return np.dtype(np.float64) if dtype.kind == "f" and dtype.itemsize > 8 else dtype.newbyteorder("=")


def _check_numbers(array: np.ndarray, name: str) -> None:
    if array.dtype.kind != "f":
        return
    first_row = 0
    for part in chunks(array):
        bad = np.isinf(part) if array.ndim == 3 else ~np.isfinite(part)  # of series NaN is a missing value
        if bad.any():
            row, what = first_row + int(np.argwhere(bad)[0][0]), "infinity" if array.ndim == 3 else "NaN or infinity"
            raise ValueError(f"datasets.load needs finite numbers. Received: {name} with {what} in row {row}.")
        first_row += len(part)


def _levels(array: np.ndarray) -> float | None:
    """The value of white: 255 for bytes, and integers to 255 of images and frames; 1 for fractions; None for others.

    None for series too.
    """
    low, high = array.min(), array.max()
    if array.ndim == 3 or low < 0:
        return None
    if high <= 1:
        return 1.0
    bytes_or_alike = array.dtype == np.uint8 or (array.dtype.kind in "iu" and array.ndim >= 4)
    return 255.0 if bytes_or_alike and high <= 255 else None
