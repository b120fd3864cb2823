"""Named columns -> the rows of a model."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_vae.datasets.cells import Cells, is_date, number_in, numbers_of, read_cells
from keras_vae.datasets.columns import Column, Table, describe_column
from keras_vae.datasets.data import Source
from keras_vae.datasets.rows import ArrayRows, split_rows, whole_rows
from keras_vae.distributions import Categorical, DistributionLayer
from keras_vae.refusals import in_both

TYPED = "reads columns of different kinds with missing values."


def numeric_source(given, seed: int, like: tuple[str, ...] | None = None, whole: bool = False) -> Source:
    """A table of numbers, with or without names of its columns, held in memory.

    Args:
        given: see `read_cells`.
        seed: of the split.
        like: the columns that are to be read, by their names where the table has names.
        whole: whether each split is all rows.

    Raises:
        ValueError: for columns of texts or dates (named, with the first such cell), and empty or infinite cells.
    """
    cells = read_cells(given)
    names = tuple(cells.names) if like is None else _names_like(cells, like)
    numbers: dict[str, Any] = {name: numbers_of(cells.table[name]) for name in names}
    others = [name for name, values in numbers.items() if values is None]
    if others:
        first = ", ".join(cells.place(_first_text(cells, name), name) for name in others[:5])
        first = first.replace(f", {cells.title}", "")  # said once
        words = "dates" if all(is_date(cells.table[name]) for name in others) else "text"
        raise _untyped(f"datasets.load needs numeric columns. Received: {words} in {first}.", like)
    for name, column in numbers.items():
        if not np.isfinite(column).all():
            row = int(np.argmin(np.isfinite(column)))
            where = cells.place(row, name)
            raise _untyped(f"datasets.load needs a finite number in each cell. Received: {where}.", like)
    splits = _splits(list(numbers.values()), seed, cells.title, whole)
    return Source(cells.title, splits, columns=like or names, notes=cells.notes)


def typed_source(
    given,
    seed: int,
    kinds: Mapping[str, type[DistributionLayer] | None],
    like: Table | None = None,
    whole: bool = False,
) -> Source:
    """A table whose columns are of kinds of their own and may miss values, held in memory.

    Args:
        given: see `read_cells`.
        seed: of the split.
        kinds: by name of the columns whose kind is given; None leaves a column out. That of the others is inferred.
        like: the columns that are to be read.
        whole: whether each split is all rows.

    Raises:
        ValueError: for names that are not those of the file, cells that are not of their column's kind, and columns of
            a given kind without different values.
    """
    if like is None:
        texts = [name for name, kind in kinds.items() if kind is not None and issubclass(kind, Categorical)]
    else:
        texts = [column.name for column in like.columns if column.categories]
    cells = read_cells(given, texts)
    for name in kinds:
        if name not in cells.names:
            needs = f"to name columns of {cells.title}: {', '.join(cells.names)}. Received: {name!r}."
            raise in_both(ValueError(f"datasets.load needs likelihood {needs}"), f"datasets.load needs --kinds {needs}")
    notes = cells.notes
    table = like
    if table is None:
        splits = whole_rows(len(cells.table)) if whole else split_rows(len(cells.table), seed, cells.title)
        described: dict[str, Column | str] = {}
        for name in cells.names:
            if kinds.get(name, name) is None:
                described[name] = "left out, as asked"
            else:
                described[name] = describe_column(
                    name, cells.table[name], splits["train"], kinds.get(name), cells.title
                )
        columns = tuple(column for column in described.values() if isinstance(column, Column))
        notes += tuple(f"{name}: {why}" for name, why in described.items() if isinstance(why, str))
        if not columns:
            raise ValueError(
                f"datasets.load needs a column. Received: {cells.title}, of which all are left out: {'; '.join(notes)}."
            )
        table = Table(columns)
    values = table.values_of(cells, cells.place)
    return Source(cells.title, _splits(values, seed, cells.title, whole), columns=table.names, table=table, notes=notes)


def _untyped(message: str, like: tuple[str, ...] | None) -> ValueError:
    """What a table of numbers alone can not hold, and what could: not where the columns are those of a model."""
    if like is not None:
        return ValueError(message)
    return in_both(ValueError(f"{message} likelihood=Columns {TYPED}"), f"{message} train --likelihood columns {TYPED}")


def _names_like(cells: Cells, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a table's columns in the order of others; by place where one of the two had no names."""
    absent = [name for name in wanted if name not in cells.names]
    if not absent:
        return wanted
    unnamed = not cells.named or wanted == tuple(f"column_{place}" for place in range(1, len(wanted) + 1))
    if unnamed and len(cells.names) == len(wanted):
        return tuple(cells.names)
    raise ValueError(
        f"datasets.load needs the columns {', '.join(wanted)}. Received: {cells.title} with "
        f"{', '.join(cells.names)}, without {', '.join(absent)}."
    )


def _first_text(cells: Cells, name: str) -> int:
    """The number of the first row whose cell is no number."""
    column = enumerate(cells.table[name].to_pylist())
    return next((row for row, cell in column if cell is not None and number_in(str(cell)) is None), 0)


def _splits(columns: list[np.ndarray], seed: int, title: str, whole: bool) -> dict[str, ArrayRows]:
    """The rows of each split, of columns of values, without a copy of all of them."""
    size = len(columns[0])
    if whole:
        return dict.fromkeys(("train", "validation", "test"), ArrayRows(np.stack(columns, axis=1)))
    splits = {}
    for name, rows in split_rows(size, seed, title).items():
        values = np.empty((len(rows), len(columns)))
        for place, column in enumerate(columns):
            values[:, place] = column[rows]
        splits[name] = ArrayRows(values)
    return splits
