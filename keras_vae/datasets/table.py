"""Columns in a `.csv` file."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_vae.datasets.columns import Table, describe_column
from keras_vae.datasets.data import Data, Source
from keras_vae.datasets.rows import ArrayRows, split_rows
from keras_vae.distributions import DistributionLayer

Lines = list[tuple[int, list[str]]]  # the number of a line in the file, and its cells


def csv_source(path: Path, seed: int) -> Source:
    """A table of numbers, with or without a line of column names, held in memory and split at random.

    Raises:
        ValueError: for columns with text (named, with the first such cell), empty or infinite cells, and ragged lines.
    """
    columns, lines = _read(path)
    values = np.array([_numbers(cells) for _, cells in lines], np.float64)
    _check_columns(path, values.reshape(-1, len(columns)), lines, columns)
    parts = split_rows(len(values), seed, str(path))
    table = values.astype(np.float32)
    return Source(str(path), {name: ArrayRows(table[rows]) for name, rows in parts.items()}, columns=columns)


def typed_source(
    path: Path, seed: int, kinds: Mapping[str, type[DistributionLayer] | None], like: Data | None = None
) -> Source:
    """A table whose columns are of kinds of their own and may miss values, held in memory and split at random.

    Args:
        path: of a file with a line of column names, or with numbers alone.
        seed: of the split.
        kinds: by name of the columns whose kind is given; None leaves a column out. That of the others is inferred.
        like: data whose columns are to be read.

    Raises:
        ValueError: for names that are not those of the file, cells that are not of their column's kind, columns without
            different values, and ragged lines.
    """
    names, lines = _read(path)
    names = tuple(name or f"column_{number}" for number, name in enumerate(names, start=1))
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise ValueError(f"datasets.load needs columns of different names. Received: {path} with {twice[0]!r} twice.")
    for name in kinds:
        if name not in names:
            raise ValueError(
                f"datasets.load needs likelihood to name columns of {path}: {', '.join(names)}. Received: {name!r}."
            )
    parts = split_rows(len(lines), seed, str(path))
    columns = {name: [cells[place] for _, cells in lines] for place, name in enumerate(names)}
    table = None if like is None else like.table
    if table is None:
        given = {name: kinds.get(name) for name in names if kinds.get(name, name) is not None}
        described = [
            describe_column(name, columns[name], parts["train"], kind, str(path)) for name, kind in given.items()
        ]
        if not described:
            raise ValueError(f"datasets.load needs a column. Received: likelihood={dict(kinds)}, which leaves all out.")
        table = Table(tuple(described))

    def place(row: int) -> str:
        return f"{path}, line {lines[row][0]}"

    array = table.to_array(columns, place)
    splits = {name: ArrayRows(array[rows]) for name, rows in parts.items()}
    return Source(str(path), splits, columns=table.names, table=table)


def _read(path: Path) -> tuple[tuple[str, ...], Lines]:
    """Names of the columns, and the lines of cells."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [(number, cells) for number, cells in enumerate(csv.reader(file), start=1) if cells]
    if not lines:
        raise ValueError(f"datasets.load needs a .csv file with numbers. Received: {path}, which is empty.")
    first = lines[0][1]
    if any(_number(cell) is None for cell in first):
        columns, lines = tuple(cell.strip() for cell in first), lines[1:]
    else:
        columns = tuple(f"column_{number}" for number in range(1, len(first) + 1))
    for number, cells in lines:
        if len(cells) != len(columns):
            raise ValueError(
                f"datasets.load needs {len(columns)} cells in each line. Received: {path}, line {number} with "
                f"{len(cells)}."
            )
    return columns, lines


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _numbers(cells: list[str]) -> list[float]:
    values = map(_number, cells)
    return [math.nan if value is None else value for value in values]


def _check_columns(path: Path, values: np.ndarray, lines: Lines, columns: tuple[str, ...]) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad) == 0:
        return
    cells = [(columns[column], lines[row][0], lines[row][1][column].strip()) for row, column in bad]
    text: dict[str, tuple[int, str]] = {}
    for name, line, cell in cells:
        if cell and _number(cell) is None:
            text.setdefault(name, (line, cell))
    other = "likelihood=Columns reads columns of different kinds with missing values."
    if text:
        examples = ", ".join(f"{name!r} (line {line}: {cell!r})" for name, (line, cell) in text.items())
        raise ValueError(f"datasets.load needs numeric columns. Received: {path} with text in {examples}. {other}")
    name, line, cell = cells[0]
    raise ValueError(
        f"datasets.load needs a finite number in each cell. Received: {path}, line {line}, column {name!r}: {cell!r}. "
        f"{other}"
    )
