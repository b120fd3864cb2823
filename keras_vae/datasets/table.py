"""Numeric columns in a `.csv` file."""

import csv
import math
from pathlib import Path

import numpy as np

from keras_vae.datasets.data import Source
from keras_vae.datasets.rows import ArrayRows, split_rows


def csv_source(path: Path, seed: int) -> Source:
    """A table of numbers, with or without a line of column names, held in memory and split at random.

    Raises:
        ValueError: for columns with text (named, with the first such cell), empty or infinite cells, and ragged lines.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [(number, cells) for number, cells in enumerate(csv.reader(file), start=1) if cells]
    if not lines:
        raise ValueError(f"datasets.load needs a .csv file with numbers. Received: {path}, which is empty.")
    first = lines[0][1]
    if any(_number(cell) is None for cell in first):
        columns, lines = tuple(cell.strip() for cell in first), lines[1:]
    else:
        columns = tuple(f"column_{number}" for number in range(1, len(first) + 1))
    values = np.array([_read_line(path, number, cells, columns) for number, cells in lines], np.float64)
    _check_columns(path, values.reshape(-1, len(columns)), lines, columns)
    parts = split_rows(len(values), seed, str(path))
    table = values.astype(np.float32)
    return Source(str(path), {name: ArrayRows(table[rows]) for name, rows in parts.items()}, columns=columns)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _read_line(path: Path, number: int, cells: list[str], columns: tuple[str, ...]) -> list[float]:
    if len(cells) != len(columns):
        raise ValueError(
            f"datasets.load needs {len(columns)} cells in each line. Received: {path}, line {number} with {len(cells)}."
        )
    values = map(_number, cells)
    return [math.nan if value is None else value for value in values]


def _check_columns(path: Path, values: np.ndarray, lines: list, columns: tuple[str, ...]) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad) == 0:
        return
    cells = [(columns[column], lines[row][0], lines[row][1][column].strip()) for row, column in bad]
    text: dict[str, tuple[int, str]] = {}
    for name, line, cell in cells:
        if cell and _number(cell) is None:
            text.setdefault(name, (line, cell))
    if text:
        examples = ", ".join(f"{name!r} (line {line}: {cell!r})" for name, (line, cell) in text.items())
        raise ValueError(f"datasets.load needs numeric columns. Received: {path} with text in {examples}.")
    name, line, cell = cells[0]
    raise ValueError(
        f"datasets.load needs a finite number in each cell. Received: {path}, line {line}, column {name!r}: {cell!r}."
    )
