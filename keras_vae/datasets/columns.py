"""Cells of typed columns <-> rows of numbers."""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vae.datasets.cells import (
    MISSING,
    MISSING_NUMBERS,
    Cells,
    as_arrow,
    number_in,
    numbers_of,
    read_cells,
    texts_of,
)
from keras_vae.datasets.writing import write_columns
from keras_vae.distributions import Bernoulli, Categorical, Columns, DistributionLayer, Normal, Poisson, Standardized
from keras_vae.distributions.supports import Counts, ZerosAndOnes
from keras_vae.files import write_text

Place = Callable[[int, str], str]


@dataclass(frozen=True)
class Column:
    """One column of a table: its kind, and how a cell becomes a value.

    Attributes:
        name: as in the first line of the file.
        kind: class of its distribution layer.
        categories: of a `Categorical`, in the order of their codes.
        offset, scale: the networks of a model see (value - offset) / scale; see `Standardized`.
        missing: share of the cells that were empty in the training data.

    Raises:
        ValueError: for an offset that is not finite, a scale that is not positive, a share that is not from 0 to 1, and
            categories that are not different texts.
    """

    name: str
    kind: type[DistributionLayer]
    categories: tuple[str, ...] = ()
    offset: float = 0.0
    scale: float = 1.0
    missing: float = 0.0

    def __post_init__(self):
        for name, needed, least in (("offset", "finite", -math.inf), ("scale", "positive", 0.0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not least < value < math.inf:
                raise ValueError(
                    f"Column {self.name!r} needs {name} to be a {needed} number. Received: {name}={value!r}."
                )
        if not isinstance(self.missing, int | float) or not 0 <= self.missing <= 1:
            raise ValueError(
                f"Column {self.name!r} needs missing to be a number from 0 to 1. Received: missing={self.missing!r}."
            )
        texts = all(isinstance(category, str) for category in self.categories)
        if not texts or len(set(self.categories)) < len(self.categories):
            raise ValueError(
                f"Column {self.name!r} needs categories that are different texts. Received: {self.categories!r}."
            )

    def layer(self) -> DistributionLayer:
        """A new distribution layer of one value, in the units of the cells."""
        if self.categories:
            return self.kind(1, levels=len(self.categories), categories=self.categories)
        layer = self.kind(1)
        return layer if (self.offset, self.scale) == (0.0, 1.0) else Standardized(layer, self.offset, self.scale)

    @cached_property
    def _checks(self) -> DistributionLayer:
        """The one layer that is asked what its values are."""
        return self.layer()

    def values(self, cells, place: Place | None = None) -> np.ndarray:
        """One value for each cell, float64, NaN where it is missing: its number, or the code of its category.

        Args:
            cells: texts or numbers; None, NaN, "", "NA" and the like are missing, of numbers also "?" and "-".
            place: from the number of a cell and the name of the column to where it stands, for the errors.

        Raises:
            ValueError: for a cell that is not of this column's kind.
        """
        values = self.numbers(cells, place)
        layer, rows = self._checks, np.flatnonzero(~np.isnan(values))
        known = values[rows, None]
        try:
            layer.check_values(known, f"values of column {self.name!r}")
        except ValueError:
            allowed = np.reshape(layer.support.contains(known), -1)
            if allowed.all():
                raise
            raise ValueError(
                f"A column of kind {self.kind.__name__} needs values of column {self.name!r} {layer.support.needed} "
                f"Received: {self._where(int(rows[np.argmin(allowed)]), cells, place)}."
            ) from None
        return values

    def _where(self, row: int, cells, place: Place | None) -> str:
        if place is not None:
            return place(row, self.name)
        return f"row {row}, column {self.name!r}: {as_arrow(cells)[row].as_py()!r}"

    def numbers(self, cells, place: Place | None = None) -> np.ndarray:
        """The same for any numbers, whether or not the kind has them."""
        column = as_arrow(cells)
        values = None if self.categories else numbers_of(column)
        if values is None:
            codes, different = texts_of(column, MISSING if self.categories else MISSING_NUMBERS)
            known = {category: float(code) for code, category in enumerate(self.categories)}
            read = known.get if self.categories else number_in
            numbers = [read(text) for text in different]
            values = np.array([*(np.inf if number is None else number for number in numbers), np.nan])[codes]
        bad = np.flatnonzero(np.isinf(values))
        if len(bad):
            needs = f"one of {', '.join(self.categories)}" if self.categories else "a finite number"
            raise ValueError(
                f"A column of kind {self.kind.__name__} needs {needs} in each cell that is not empty. "
                f"Received: {self._where(int(bad[0]), cells, place)}."
            )
        return values

    def cells(self, values: Sequence[float]) -> list:
        """The cell of each value: a category, a whole number, a float, or None for NaN.

        Expectations and probabilities of counts and binary values become the nearest whole number.
        """
        whole = isinstance(self._checks.support, Counts | ZerosAndOnes)
        return [None if math.isnan(value) else self._cell(float(value), whole) for value in values]

    def _cell(self, value: float, whole: bool) -> str | int | float:
        if self.categories:
            return self.categories[round(value)]
        return round(value) if whole else value

    def __str__(self) -> str:
        if self.categories:
            words = f"{len(self.categories)} categories: {' '.join(', '.join(self.categories[:6]).split())}"
            words += ", ..." if len(self.categories) > 6 else ""
        elif self.offset:
            words = f"({self.name} - {self.offset:.6g}) / {self.scale:.6g}"
        elif self.scale != 1:
            words = f"{self.name} / {self.scale:.6g}"
        else:
            words = "as stored"
        return f"{self.name}: {self.kind.__name__}, {words}; {self.missing:.1%} missing"

    __repr__ = __str__  # what a notebook shows


@dataclass(frozen=True)
class Table:
    """The columns of a table: builds their likelihood, and takes rows of numbers to typed columns and back.

    Attributes:
        columns: in the order of the values in a row.
    """

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, likelihood: Columns) -> "Table":
        """The table that a model's likelihood was made of, but for the shares of missing cells.

        Raises:
            ValueError: for columns of several values, and for a `Categorical` that does not say its categories.
        """
        columns = []
        for name, layer in likelihood.columns.items():
            kind = layer.layer if isinstance(layer, Standardized) else layer
            categories = tuple(getattr(kind, "categories", None) or ())
            if layer.event_shape != (1,) or (isinstance(kind, Categorical) and not categories):
                raise ValueError(
                    f"Table.of needs columns of one value, and the categories of a Categorical. Received: {name!r}: "
                    f"{layer!r}."
                )
            offset, scale = (layer.offset.item(), layer.scale.item()) if layer is not kind else (0.0, 1.0)
            columns.append(Column(name, type(kind), categories, offset, scale))
        return cls(tuple(columns))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    def likelihood(self, network: keras.layers.Layer | None = None) -> Columns:
        """The distribution layer of a row; `network` takes the context, such as latent variables, to features."""
        return Columns({column.name: column.layer() for column in self.columns}, network)

    def to_array(self, columns, place: Place | None = None) -> np.ndarray:
        """Rows of numbers, float64 of shape (rows, columns), of typed columns; others are left out.

        Args:
            columns: columns by name, a dictionary, a pandas or Polars frame, or a pyarrow table.
            place: see `Column.values`.

        Raises:
            ValueError: for a column that is not there, for columns of different lengths, and for cells of another kind.
        """
        return np.concatenate([rows for _, rows in self.parts(read_cells(columns), place)])

    def parts(self, cells: Cells, place: Place | None = None, of_kind: bool = True) -> Iterator[tuple[int, np.ndarray]]:
        """The same, a few rows at a time, and the number of the first of these rows.

        Args:
            cells: of which some may be other columns.
            place: see `Column.values`.
            of_kind: whether each number must be one that the kind of its column has.
        """
        absent = [name for name in self.names if name not in cells.names]
        if absent:
            raise ValueError(
                f"A table of these columns needs the columns {', '.join(self.names)}. Received: none named "
                f"{', '.join(map(repr, absent))} in {cells.title}."
            )
        read = Column.values if of_kind else Column.numbers
        for first, part in cells.parts(self.names):
            at = _shifted(place or cells.place, first)
            yield first, np.stack([read(column, part[column.name], at) for column in self.columns], axis=1)

    def to_columns(self, rows) -> dict[str, list]:
        """Typed columns by name of rows of numbers, shape (rows, columns); None where a value is missing."""
        rows = np.asarray(rows)
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise ValueError(f"Table needs rows of shape (rows, {len(self.columns)}). Received: {rows.shape}.")
        return {column.name: column.cells(rows[:, place]) for place, column in enumerate(self.columns)}

    def write(self, path: str | os.PathLike, rows) -> None:
        """Writes rows of numbers, shape (rows, columns), as typed columns, in one step; see `write_columns`."""
        write_columns(path, self.to_columns(rows))

    def save(self, path: str | os.PathLike) -> None:
        """Writes the columns, not their cells, as a `.json` file: for a process that has the model but not the data."""
        columns = [asdict(column) | {"kind": keras.saving.get_registered_name(column.kind)} for column in self.columns]
        write_text(path, json.dumps(columns, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def open(cls, path: str | os.PathLike) -> "Table":
        """The table that `save` wrote.

        Raises:
            ValueError: for a kind that is not known here, such as a class of your own that was not imported, and for
                a file that `save` could not have written.
        """
        columns = []
        for column in _read_columns(path):
            kind = keras.saving.get_registered_object(str(column["kind"]))
            if not (isinstance(kind, type) and issubclass(kind, DistributionLayer)):
                raise ValueError(
                    f"Table.open needs kinds of columns that are known: import their classes first. Received: {path} "
                    f"with column {column['name']!r} of kind {column['kind']}."
                )
            try:
                columns.append(Column(**column | {"kind": kind, "categories": tuple(column["categories"])}))
            except ValueError as error:
                raise ValueError(f"Table.open needs a file that Table.save wrote. Received: {path}: {error}") from None
        return cls(tuple(columns))

    def __str__(self) -> str:
        return "\n".join(map(str, self.columns))

    __repr__ = __str__  # what a notebook shows


def rows_of_table(likelihood: Any, source):
    """Rows of numbers of a frame or a dictionary of columns, in the order of a likelihood's; without names as it is.

    Args:
        likelihood: `Columns` of known categories, or a `Standardized` with names.
        source: a pandas or Polars frame, a pyarrow table, or a dictionary of columns.

    Raises:
        ValueError: for a column that is not there, and for cells that are missing, or of another kind.
    """
    table = table_of(likelihood)
    if table is None:
        return source
    cells = read_cells(source)
    if is_unnamed(cells, table):
        return source
    # Not what their kinds have: the model looks at that, whose layers may have arguments of their own.
    rows = np.concatenate([rows for _, rows in table.parts(cells, of_kind=False)])
    if not isinstance(likelihood, Columns) and np.isnan(rows).any():
        row, place = np.argwhere(np.isnan(rows))[0].tolist()
        raise ValueError(
            f"A model of numbers needs a finite number in each cell. Received: {cells.place(row, table.names[place])}."
        )
    return rows


def table_of(likelihood: Any) -> Table | None:
    """The table whose rows a likelihood is of; None where it does not know the names or the categories of columns."""
    if isinstance(likelihood, Columns):
        return Table.of(likelihood) if all(map(_is_known, likelihood.columns.values())) else None
    if not isinstance(likelihood, Standardized) or likelihood.names is None:
        return None
    kinds = {Counts: Poisson, ZerosAndOnes: Bernoulli}  # whose cells are whole numbers
    kind = next((kind for support, kind in kinds.items() if isinstance(likelihood.support, support)), Normal)
    return Table(tuple(Column(name, kind) for name in likelihood.names))


def is_unnamed(cells: Cells, table: Table) -> bool:
    """Whether this is a frame that was given no names: its columns are in the order of the table's."""
    return cells.names == [str(place) for place in range(len(table.columns))]


def _shifted(place: Place, first: int) -> Place:
    """Where the cells of rows from number `first` on stand."""
    return lambda row, name: place(first + row, name)


def _is_known(layer: DistributionLayer) -> bool:
    """Whether cells of a column can be told from its layer."""
    kind = layer.layer if isinstance(layer, Standardized) else layer
    return layer.event_shape == (1,) and not (isinstance(kind, Categorical) and kind.categories is None)


def _read_columns(path: str | os.PathLike) -> list[dict]:
    """What `Table.save` wrote, by column."""
    needs = "Table.open needs a file that Table.save wrote."
    try:
        columns = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{needs} Received: {path}: {error}") from None
    names = [field.name for field in fields(Column)]
    if not isinstance(columns, list) or not all(isinstance(c, dict) and set(c) == set(names) for c in columns):
        raise ValueError(f"{needs} Received: {path}, which is not a list of columns, each with {', '.join(names)}.")
    return columns
