"""Rows of numbers -> a frame, table or dictionary of columns of the kind that was given."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_vae.datasets.cells import is_table, read_cells
from keras_vae.datasets.columns import Column, Table, is_unnamed, table_of
from keras_vae.distributions import Normal


def filled(likelihood: Any, source, rows, missing):
    """`source` with some of its cells replaced, and all else as it was: its other columns, names, order and index.

    Args:
        likelihood: of the rows.
        source: a pandas or Polars frame, a pyarrow table, or a dictionary of columns, that the rows were read from.
        rows: numbers, shape (rows, values).
        missing: bool of the same shape: the cells that are replaced.

    Returns:
        An object of the class of `source`. A column keeps its type where that can hold the cells: categories are texts,
        counts whole numbers.
    """
    table = _names_in(likelihood, source)
    return _with_columns(source, table, np.asarray(rows), np.asarray(missing), others=True)


def as_given(likelihood: Any, source, rows):
    """Rows of numbers as typed columns of the class of `source`, without its other columns; see `filled`.

    What is no frame, table or dictionary of columns is given as arrays: `rows` is returned as it is.
    """
    if not is_frame(source):
        return rows
    table = _names_in(likelihood, source)
    rows = np.asarray(rows)
    return _with_columns(source, table, rows, np.ones(rows.shape, bool), others=False)


def is_frame(source) -> bool:
    """Whether this is an object with columns, and no path to one."""
    return not isinstance(source, str) and is_table(source)


def _names_in(likelihood: Any, source) -> Table:
    """The table of a likelihood by the names that its columns have in `source`."""
    cells, table = read_cells(source), table_of(likelihood)
    if table is not None and not is_unnamed(cells, table):
        return table
    return Table(tuple(Column(name, Normal) for name in cells.names))  # by their order, numbers


def _with_columns(source, table: Table, rows: np.ndarray, missing: np.ndarray, others: bool):
    given = _columns_of(source)
    new = {}
    for place, column in enumerate(table.columns):
        mask = missing[:, place]
        old = given[column.name]
        new[column.name] = _with_cells(old, mask, column.cells(rows[mask, place])) if mask.any() else old
    return _of_class(source, [(name, new.get(name, given[name])) for name in given if others or name in new])


def _columns_of(source) -> dict[str, Any]:
    """The columns of an object by their names as texts."""
    import pyarrow as pa

    if isinstance(source, Mapping):
        return {str(name): column for name, column in source.items()}
    if _library(source) == "pandas":
        return {str(name): source.iloc[:, place] for place, name in enumerate(source.columns)}
    if _library(source) == "polars":
        return {column.name: column for column in source.iter_columns()}
    table = pa.table(source)
    return dict(zip(table.column_names, table.columns, strict=True))


def _of_class(source, columns: list[tuple[str, Any]]):
    """An object of the class of `source` with these of its columns."""
    import pyarrow as pa

    names = [name for name, _ in columns]
    if isinstance(source, Mapping):
        named = dict(columns)
        return {name: named[str(name)] for name in source if str(name) in named}
    if _library(source) == "pandas":
        import pandas as pd

        kept = [place for place, name in enumerate(source.columns) if str(name) in names]
        frame = pd.concat([column for _, column in columns], axis=1)
        frame.columns = source.columns[kept]
        frame.attrs = dict(source.attrs)
        return frame
    if _library(source) == "polars":
        return source.select(names).with_columns(column.alias(name) for name, column in columns)
    return pa.table([column for _, column in columns], names=names)


def _library(value) -> str:
    return type(value).__module__.split(".")[0]


# --- one column -------------------------------------------------------------------------------------------------------


def _with_cells(column, mask: np.ndarray, cells: list):
    """A column with other cells where the mask is, of its own type if that can hold them."""
    library = _library(column)
    if library == "pandas":
        return _pandas(column, mask, cells)
    if library == "polars":
        return _polars(column, mask, cells)
    if library == "pyarrow":
        return _arrow(column, mask, cells)
    if isinstance(column, np.ndarray):
        return _numpy(column, mask, cells)
    new = _merged(column, mask, _written_like(column, mask, cells))
    return tuple(new) if isinstance(column, tuple) else new


def _written_like(column, mask: np.ndarray, cells: list) -> list:
    """Cells as texts or truth values, where those of a column without a type are."""
    there = next((cell for cell, replaced in zip(column, mask, strict=True) if not replaced), next(iter(column), None))
    kind = str if isinstance(there, str) else bool if isinstance(there, bool | np.bool_) else None
    return cells if kind is None else [kind(cell) for cell in cells]


def _merged(old: Sequence, mask: np.ndarray, cells: list) -> list:
    """The cells of a list, with others where the mask is."""
    found = iter(cells)
    return [next(found) if replaced else cell for cell, replaced in zip(old, mask, strict=True)]


def _pandas(column, mask: np.ndarray, cells: list):
    import pandas as pd

    if column.dtype == object:
        cells = _written_like(column, mask, cells)
    try:
        part = pd.Series(cells).astype(column.dtype)
        fits = _are(part.tolist(), cells, pd.api.types.is_float_dtype(column.dtype))
    except (ValueError, TypeError):
        fits = False
    if fits:
        new = column.copy()
        new.iloc[np.flatnonzero(mask)] = part.array
        return new
    return pd.Series(_merged(column.tolist(), mask, cells), index=column.index, name=column.name)


def _polars(column, mask: np.ndarray, cells: list):
    import polars as pl

    places = np.full(len(mask), None, object)
    places[mask] = cells
    new = pl.Series(column.name, places.tolist(), strict=False)
    try:
        part = new.cast(column.dtype)
        if _are(part.filter(pl.Series(mask)).to_list(), cells, column.dtype.is_float()):
            return part.zip_with(pl.Series(mask), column)
    except pl.exceptions.PolarsError:
        pass
    return pl.Series(column.name, _merged(column.to_list(), mask, cells), strict=False)


def _arrow(column, mask: np.ndarray, cells: list):
    import pyarrow as pa
    from pyarrow import compute

    kind = column.type
    encoded = pa.types.is_dictionary(kind)
    plain = column.cast(kind.value_type) if encoded else column
    places = np.full(len(mask), None, object)
    places[mask] = cells
    try:
        part = pa.array(places.tolist()).cast(plain.type)
        new = compute.if_else(pa.array(mask), part, plain)
    except pa.ArrowException:
        new = pa.array(_merged(plain.to_pylist(), mask, cells))
    return new.dictionary_encode().cast(kind) if encoded else new


def _numpy(column: np.ndarray, mask: np.ndarray, cells: list) -> np.ndarray:
    if column.dtype.kind in "OUSM":
        new = column.astype(object)
        new[mask] = _written_like(column, mask, cells)
        return new if column.dtype.kind == "O" else np.array(new.tolist())
    part = np.array(cells)
    fits = column.dtype.kind == "f" or _are(part.astype(column.dtype).tolist(), cells, False)
    new = column.astype(column.dtype if fits else np.result_type(column, part))
    new[mask] = part
    return new


def _are(part: list, cells: list, rounded: bool) -> bool:
    """Whether converted cells are still the same, or their texts; floating-point numbers are the nearest ones."""
    if rounded:
        return all(isinstance(cell, int | float) for cell in cells)
    return len(part) == len(cells) and all(new in (cell, str(cell)) for new, cell in zip(part, cells, strict=True))
