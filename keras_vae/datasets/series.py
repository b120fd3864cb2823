"""Time series of tables and arrays: of one length or of several, whole or cut into windows."""

import abc
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vae.arguments import positive, whole_number
from keras_vae.datasets.cells import holds_dates, numbers_of, read_cells
from keras_vae.datasets.data import Source
from keras_vae.datasets.rows import SPLITS, ArrayRows, split_rows

SHARES = (0.8, 0.9)  # of the steps of a single series: where validation and test begin


class Series(abc.ABC):
    """Base of what says how series are read: `datasets.load` makes examples (steps, channels) of them.

    Series of different lengths are padded by NaN after their end; a missing value is NaN too. Whole series are split
    into train, validation and test, and only then cut into windows; of a single series the first 80 % of the steps
    are train, the next 10 % validation and the last 10 % test.

    A subclass is a frozen dataclass with these fields among others, and defines `read`.

    Attributes:
        length: None, or steps of a window: examples are then windows. A series that is shorter is one window.
        stride: None, or steps from the begin of one window to that of the next; None is `length`, windows side by side.
    """

    @abc.abstractmethod
    def read(self) -> tuple[str, list[np.ndarray], tuple[str, ...]]:
        """What the series are called, float64 of shape (steps, channels) each, and what was recognised, in words."""

    length: int | None
    stride: int | None

    def __post_init__(self):
        if self.length is not None:
            whole_number(self, "length", self.length)
        if self.stride is not None:
            whole_number(self, "stride", self.stride)
        if self.stride is not None and self.length is None:
            raise ValueError(
                f"{type(self).__name__} needs length, the steps of a window, for a stride. "
                f"Received: stride={self.stride}, length=None."
            )

    def source(self, seed: int, whole: bool = False) -> Source:
        """Examples of all splits.

        Args:
            seed: integer, of the split.
            whole: whether each split is all series.

        Raises:
            ValueError: for infinite values, and for no series.
        """
        title, series, notes = self.read()
        _check(title, series)
        splits, words = _split(series, seed, title, whole)
        cut = {name: [part for each in parts for part in self._windows(each)] for name, parts in splits.items()}
        empty = [name for name, parts in cut.items() if not parts]
        if empty:
            raise ValueError(
                f"datasets.load needs an observed value in each split. Received: {title} without one in {empty[0]}."
            )
        lengths = [len(each) for each in series]
        steps = max(len(part) for parts in cut.values() for part in parts)
        arrays = {name: np.stack([_padded(part, steps) for part in parts]) for name, parts in cut.items()}
        span = f"{lengths[0]:,}" if len(set(lengths)) == 1 else f"{min(lengths):,} to {max(lengths):,}"
        notes = (f"{len(series):,} series of {span} steps{words}", *notes)
        if self.length is not None:
            notes += (f"windows of {self.length:,} steps, each {self.stride or self.length:,} steps after the last",)
        missing, padding = _missing([arrays["train"]] if whole else list(arrays.values()))
        if missing + padding:
            notes += (f"NaN: {missing:,} missing values, and {padding:,} of padding after the end of series",)
        rows = {name: ArrayRows(array) for name, array in arrays.items()}
        return Source(title, rows, notes=notes, missing=missing + padding > 0)

    def _windows(self, series: np.ndarray) -> list[np.ndarray]:
        """The windows of a series that hold a value; steps after the last whole window are left out."""
        windows = [series]
        if self.length is not None and len(series) > self.length:
            starts = list(range(0, len(series) - self.length + 1, self.stride or self.length))
            windows = [series[start : start + self.length] for start in starts]
        return [window for window in windows if not np.isnan(window).all()]


@dataclass(frozen=True)
class LongSeries(Series):
    """Series of a table with a row for each step: which series it is of, perhaps when, and its values.

    Args:
        table: a path to a `.csv`, `.tsv`, `.parquet` or `.arrow` file, a frame, pyarrow table or dictionary of columns.
        series: the column that says of which series a row is; None where all rows are of one.
        time: the column that says when, numbers or dates, by which the rows of a series are sorted; None keeps their
            order.
        values: the columns that are channels; None is all others.
        every: None, or the time from one step to the next, in the units of `time`: steps without a row are then
            missing, NaN. Without it the rows of a series are its steps.
        length, stride: of windows, see `Series`.

    Raises:
        ValueError: when it is read: for columns that are not there or hold no numbers, rows without a series or a time,
            two rows of one series at one time, and times that are no multiple of `every` apart.

    Example:

    >>> table = {"id": ["a", "a", "b"], "hour": [1, 0, 0], "x": [2.0, 1.0, 5.0]}
    >>> LongSeries(table, series="id", time="hour").read()[1][0].tolist()
    [[1.0], [2.0]]
    """

    table: Any
    series: str | None = None
    time: str | None = None
    values: Sequence[str] | None = None
    every: float | None = None
    length: int | None = None
    stride: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.every is not None:
            positive(self, "every", self.every)
            if self.time is None:
                raise ValueError(f"{type(self).__name__} needs time, a column, for every. Received: time=None.")

    def read(self) -> tuple[str, list[np.ndarray], tuple[str, ...]]:
        cells = _cells(self.table, [] if self.series is None else [self.series])
        keys = [name for name in (self.series, self.time) if name is not None]
        names = list(self.values) if self.values is not None else [name for name in cells.names if name not in keys]
        _require(type(self).__name__, cells, [*keys, *names])
        if not names:
            raise ValueError(f"{type(self).__name__} needs a column of values. Received: {cells.title} without one.")
        values = np.stack([_numbers(type(self).__name__, cells, name) for name in names], axis=1)
        owners = np.zeros(len(values), int)
        if self.series is not None:
            found = _texts(cells, self.series)
            _refuse_missing(type(self).__name__, cells, self.series, np.array([each is None for each in found]))
            places: dict[str, int] = {}
            owners = np.array([places.setdefault(str(each), len(places)) for each in found], int)
        times = None if self.time is None else self._times(cells)
        parts = []
        for owner in range(owners.max(initial=-1) + 1):
            rows = np.flatnonzero(owners == owner)
            parts.append(values[rows] if times is None else self._in_time(cells, values, times, rows))
        return cells.title, parts, (*cells.notes, f"channels: {', '.join(names)}")

    def _times(self, cells) -> np.ndarray:
        """Of each row, float64; dates in seconds."""
        assert self.time is not None
        if holds_dates(cells.types[self.time]):
            column = np.concatenate([_dates(part[self.time]) for _, part in cells.parts([self.time])])
        else:
            column = _numbers(type(self).__name__, cells, self.time)
        _refuse_missing(type(self).__name__, cells, self.time, np.isnan(column))
        return column

    def _in_time(self, cells, values: np.ndarray, times: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The values of a series, by step."""
        assert self.time is not None
        rows = rows[np.argsort(times[rows], kind="stable")]
        twice = np.flatnonzero(np.diff(times[rows]) == 0)
        if twice.size:
            raise ValueError(
                f"{type(self).__name__} needs one row of a series for each time. "
                f"Received: another one in {cells.place(int(rows[twice[0] + 1]), self.time)}."
            )
        if self.every is None:
            return values[rows]
        steps = (times[rows] - times[rows[0]]) / self.every
        places = np.rint(steps).astype(int)
        off = np.flatnonzero(np.abs(steps - places) > 1e-3)
        if off.size:
            raise ValueError(
                f"{type(self).__name__} needs times that are multiples of every={self.every:g} apart. "
                f"Received: another one in {cells.place(int(rows[off[0]]), self.time)}."
            )
        found = np.full((places[-1] + 1, values.shape[1]), np.nan)
        found[places] = values[rows]
        return found


@dataclass(frozen=True)
class WideSeries(Series):
    """Series of one channel of a table with a row for each series, whose columns are its steps.

    Args:
        table: see `LongSeries`. Cells that are empty after the last value of a row are padding, others are missing.
        leave_out: columns that are no steps, such as names.
        length, stride: of windows, see `Series`.

    Raises:
        ValueError: when it is read: for columns that are not there, and steps that hold no numbers.

    Example:

    >>> WideSeries({"id": [7, 8], "t0": [1.0, 2.0], "t1": [3.0, None]}, leave_out=["id"]).read()[1][1].tolist()
    [[2.0]]
    """

    table: Any
    leave_out: Sequence[str] = ()
    length: int | None = None
    stride: int | None = None

    def read(self) -> tuple[str, list[np.ndarray], tuple[str, ...]]:
        cells = _cells(self.table, self.leave_out)
        _require(type(self).__name__, cells, self.leave_out)
        names = [name for name in cells.names if name not in self.leave_out]
        if not names:
            raise ValueError(
                f"{type(self).__name__} needs a column for each step. Received: {cells.title} without one."
            )
        rows = np.stack([_numbers(type(self).__name__, cells, name) for name in names], axis=1)
        return (
            cells.title,
            [_ended(row[:, None]) for row in rows],
            (*cells.notes, "each row is a series of one channel"),
        )


@dataclass(frozen=True)
class ArraySeries(Series):
    """Series of an array of shape (examples, steps, channels), or (steps, channels) for a single one.

    Args:
        array: a NumPy array, or a path to an `.npy` file. Steps of NaN after the last value of a series are padding.
        length, stride: of windows, see `Series`.

    Raises:
        ValueError: when it is read: for arrays of another shape or of no numbers.

    Example:

    >>> [len(series) for series in ArraySeries(np.ones((3, 20, 2)), length=5).read()[1]]
    [20, 20, 20]
    """

    array: Any
    length: int | None = None
    stride: int | None = None

    def read(self) -> tuple[str, list[np.ndarray], tuple[str, ...]]:
        title = str(self.array) if isinstance(self.array, str | os.PathLike) else "array"
        array = self.array
        if isinstance(array, str | os.PathLike):
            if not Path(array).is_file():
                raise FileNotFoundError(f"{type(self).__name__} needs a file that exists. Received: {array}.")
            try:
                array = np.load(array, allow_pickle=False)
            except (ValueError, EOFError) as error:
                raise ValueError(f"{type(self).__name__} needs an .npy file. Received: {title}: {error}") from None
        array = np.asarray(array)
        if array.dtype.kind not in "biuf" or array.ndim not in (2, 3) or not array.size:
            raise ValueError(
                f"{type(self).__name__} needs numbers of shape (examples, steps, channels), or (steps, channels). "
                f"Received: {title} of shape {array.shape}, dtype {array.dtype}."
            )
        examples = array[None] if array.ndim == 2 else array
        return title, [_ended(each.astype(np.float64)) for each in examples], ()


def _split(series: list[np.ndarray], seed: int, title: str, whole: bool) -> tuple[dict[str, list[np.ndarray]], str]:
    """The series of each split, and how they were split, in words."""
    if whole:
        return dict.fromkeys(SPLITS, series), ""
    if len(series) == 1:
        parts = np.split(series[0], [int(share * len(series[0])) for share in SHARES])
        return {name: [part] for name, part in zip(SPLITS, parts, strict=True)}, ", split in time: 80, 10 and 10 %"
    rows = split_rows(len(series), seed, title)
    return {name: [series[row] for row in rows[name]] for name in SPLITS}, ""


def _padded(series: np.ndarray, steps: int) -> np.ndarray:
    return np.pad(series, ((0, steps - len(series)), (0, 0)), constant_values=np.nan)


def _ended(series: np.ndarray) -> np.ndarray:
    """A series without the steps of NaN after its last value; one step at least."""
    seen = np.flatnonzero(~np.isnan(series).all(axis=1))
    return series[: max(1, seen[-1] + 1)] if seen.size else series[:1]


def _missing(arrays: Sequence[np.ndarray]) -> tuple[int, int]:
    """How many values are missing, and how many are padding."""
    missing = padding = 0
    for array in arrays:
        empty = np.isnan(array)
        after = np.cumsum(~empty.all(axis=2)[:, ::-1], axis=1)[:, ::-1] == 0  # [examples, steps]
        padding += int(after.sum()) * array.shape[2]
        missing += int((empty & ~after[..., None]).sum())
    return missing, padding


def _check(title: str, series: list[np.ndarray]) -> None:
    if not series or all(np.isnan(each).all() for each in series):
        raise ValueError(f"datasets.load needs series with an observed value. Received: {title} with none.")
    for number, each in enumerate(series):
        if np.isinf(each).any():
            step, channel = np.argwhere(np.isinf(each))[0].tolist()
            raise ValueError(
                f"datasets.load needs finite values. Received: {title} with infinity in series {number}, step {step}, "
                f"channel {channel}."
            )


def _cells(table, texts: Sequence[str]):
    if isinstance(table, str | os.PathLike) and not Path(table).is_file():
        raise FileNotFoundError(f"datasets.load needs a file that exists. Received: {table}.")
    return read_cells(table, list(texts))


def _require(owner: str, cells, names: Sequence[str]) -> None:
    absent = [name for name in names if name not in cells.names]
    if absent:
        raise ValueError(
            f"{owner} needs columns of {cells.title}: {', '.join(cells.names)}. Received: {', '.join(absent)}."
        )


def _numbers(owner: str, cells, name: str) -> np.ndarray:
    """A column as float64, NaN where a cell is missing."""
    found = [numbers_of(part[name]) for _, part in cells.parts([name])]
    if any(part is None for part in found):
        raise ValueError(
            f"{owner} needs numbers in column {name!r} of {cells.title}. Received: {cells.types[name]}; name the "
            "columns of values."
        )
    return np.concatenate([part for part in found if part is not None])


def _texts(cells, name: str) -> list:
    return [cell for _, part in cells.parts([name]) for cell in part[name].to_pylist()]


def _dates(column) -> np.ndarray:
    """In seconds, float64, NaN where a cell is missing."""
    import pyarrow as pa

    stamps = column.cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
    return np.where(np.isnat(stamps), np.nan, stamps.astype("int64") / 1e6)


def _refuse_missing(owner: str, cells, name: str, missing: np.ndarray) -> None:
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise ValueError(f"{owner} needs {name!r} in each row. Received: none in {cells.place(row, name)}.")
