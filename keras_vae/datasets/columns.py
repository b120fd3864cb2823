"""Cells of typed columns <-> rows of numbers."""

import csv
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import keras
import numpy as np

from keras_vae.distributions import (
    Bernoulli,
    Categorical,
    Columns,
    DistributionLayer,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
)
from keras_vae.files import replacing, write_text

LARGEST_COUNT = 100  # whole numbers above are taken for amounts, unless a column is declared to hold counts
MOST_CATEGORIES = 256  # texts above are taken for names or sentences


@dataclass(frozen=True)
class Column:
    """One column of a table: its kind, and how a cell becomes a value.

    Attributes:
        name: as in the first line of the file.
        kind: class of its distribution layer.
        categories: of a `Categorical`, in the order of their codes.
        offset, scale: value = (number in the cell - offset) / scale.
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
        """A new distribution layer of one value."""
        return self.kind(1, levels=len(self.categories)) if self.categories else self.kind(1)

    def values(self, cells: Sequence, place: Callable[[int], str] | None = None) -> np.ndarray:
        """One value for each cell, float64, NaN where it is missing.

        Args:
            cells: texts or numbers; None, "", "NA" and "nan" are missing.
            place: from the number of a cell to where it stands, for the errors.

        Raises:
            ValueError: for a cell that is not of this column's kind.
        """
        codes = {category: float(code) for code, category in enumerate(self.categories)}
        read = codes.get if self.categories else _number
        values = np.full(len(cells), np.nan)
        for row, cell in enumerate(cells):
            if not is_missing(cell):
                value = read(str(cell).strip())
                if value is None or not math.isfinite(value):
                    needs = f"one of {', '.join(self.categories)}" if self.categories else "a finite number"
                    where = place(row) if place else f"row {row}"
                    raise ValueError(
                        f"A column of kind {self.kind.__name__} needs {needs} in each cell that is not empty. "
                        f"Received: {where}, column {self.name!r}: {cell!r}."
                    )
                values[row] = value
        values = (values - self.offset) / self.scale
        self.layer().check_values(values[~np.isnan(values), None], f"values of column {self.name!r}")
        return values

    def cells(self, values: Sequence[float]) -> list:
        """The cell of each value: a category, a whole number, a float, or None for NaN.

        Expectations and probabilities of counts and binary values become the nearest whole number.
        """
        discrete = self.kind.discrete
        return [None if math.isnan(value) else self._cell(float(value), discrete) for value in values]

    def _cell(self, value: float, discrete: bool) -> str | int | float:
        if self.categories:
            return self.categories[round(value)]
        if discrete:
            return round(value)
        number = value * self.scale + self.offset
        if self.offset:  # float32 holds a standardised value to better than this
            return round(number, 5 - math.floor(math.log10(self.scale)))
        return float(f"{number:.6g}")

    def __str__(self) -> str:
        if self.categories:
            words = f"{len(self.categories)} categories: {', '.join(self.categories[:6])}"
            words += ", ..." if len(self.categories) > 6 else ""
        elif self.offset:
            words = f"({self.name} - {self.offset:.6g}) / {self.scale:.6g}"
        elif self.scale != 1:
            words = f"{self.name} / {self.scale:.6g}"
        else:
            words = "as stored"
        return f"{self.name}: {self.kind.__name__}, {words}; {self.missing:.1%} missing"


@dataclass(frozen=True)
class Table:
    """The columns of a table: builds their likelihood, and takes rows of numbers to typed columns and back.

    Attributes:
        columns: in the order of the values in a row.
    """

    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def offset(self) -> np.ndarray:
        """Of each column, float32."""
        return np.array([column.offset for column in self.columns], np.float32)

    @property
    def scale(self) -> np.ndarray:
        """Of each column, float32."""
        return np.array([column.scale for column in self.columns], np.float32)

    def likelihood(self, network: keras.layers.Layer | None = None) -> Columns:
        """The distribution layer of a row; `network` takes the context, such as latent variables, to features."""
        return Columns({column.name: column.layer() for column in self.columns}, network)

    def to_array(self, columns: Mapping[str, Sequence], place: Callable[[int], str] | None = None) -> np.ndarray:
        """Rows of numbers, float32 of shape (rows, columns), of typed columns by name; others are left out.

        Raises:
            ValueError: for a column that is not there, for columns of different lengths, and for cells of another kind.
        """
        absent = [name for name in self.names if name not in columns]
        if absent:
            raise ValueError(f"Table needs the columns {', '.join(self.names)}. Received: none named {absent[0]!r}.")
        lengths = {name: len(columns[name]) for name in self.names}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Table needs columns of one length. Received: {lengths}.")
        return np.stack([column.values(columns[column.name], place) for column in self.columns], 1).astype(np.float32)

    def to_columns(self, rows) -> dict[str, list]:
        """Typed columns by name of rows of numbers, shape (rows, columns); None where a value is missing."""
        rows = np.asarray(rows)
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise ValueError(f"Table needs rows of shape (rows, {len(self.columns)}). Received: {rows.shape}.")
        return {column.name: column.cells(rows[:, place]) for place, column in enumerate(self.columns)}

    def write(self, path: str | os.PathLike, rows) -> None:
        """Writes rows of numbers, shape (rows, columns), as a `.csv` file of typed columns, in one step."""
        columns = self.to_columns(rows)
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))  # None becomes an empty cell

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


def is_missing(cell) -> bool:
    """Whether a cell has no value: None, "", "NA", "nan" in any case."""
    text = "" if cell is None else str(cell).strip()
    return text in ("", "NA") or text.lower() == "nan"


def describe_column(
    name: str, cells: Sequence[str], training: np.ndarray, kind: type[DistributionLayer] | None, source: str
) -> Column:
    """The column that holds these cells.

    Args:
        name: of the column.
        cells: of all rows.
        training: numbers of the rows that offset and scale are of.
        kind: class of its distribution layer; None infers it, see `load`.
        source: the file, for the errors.

    Raises:
        ValueError: for a column without a value, with a single one, or with more texts than a `Categorical` can have.
    """
    observed = [str(cell).strip() for cell in cells if not is_missing(cell)]
    in_training = [str(cells[row]).strip() for row in training if not is_missing(cells[row])]
    leave_out = f"Leave it out with likelihood={{{name!r}: None}}."
    if not in_training:
        raise ValueError(
            f"datasets.load needs a value in each column of the training rows. Received: {source}, column {name!r}: "
            f"all cells are empty. {leave_out}"
        )
    if len(set(observed)) == 1:
        raise ValueError(
            f"datasets.load needs different values in each column. Received: {source}, column {name!r}: only "
            f"{observed[0]!r}. {leave_out}"
        )
    numbers = list(map(_number, observed))
    texts = [cell for cell, number in zip(observed, numbers, strict=True) if number is None]
    if kind is None and 0 < len(texts) < len(observed) / 2:
        raise ValueError(
            f"datasets.load needs columns of numbers or of texts. Received: {source}, column {name!r} with "
            f"{len(observed) - len(texts):,} numbers and {len(texts):,} texts, such as {texts[0]!r}. If they name "
            f"categories, say likelihood={{{name!r}: Categorical}}."
        )
    if kind is None:
        known = [number for number in numbers if number is not None and math.isfinite(number)]
        kind = Categorical if texts else _kind_of(np.array(known))
    missing = 1 - len(in_training) / len(training)
    if issubclass(kind, Categorical):
        categories = sorted(set(observed), key=None if texts else float)
        if len(categories) > MOST_CATEGORIES:
            raise ValueError(
                f"datasets.load needs at most {MOST_CATEGORIES} categories. Received: {source}, column {name!r} with "
                f"{len(categories)} different texts, such as {observed[0]!r}. {leave_out}"
            )
        return Column(name, kind, tuple(categories), missing=missing)
    values = np.array([_number(cell) for cell in in_training], np.float64)  # None becomes NaN
    if not np.isfinite(values).all():
        return Column(name, kind)  # whose `values` names the cell
    offset, scale = _offset_and_scale(kind(1), values)
    return Column(name, kind, (), offset, scale, missing)


def _kind_of(values: np.ndarray) -> type[DistributionLayer]:
    if np.isin(values, (0, 1)).all():
        return Bernoulli
    if values.min() >= 0 and values.max() <= LARGEST_COUNT and (values == np.round(values)).all():
        return NegativeBinomial if values.var() > 1.5 * values.mean() else Poisson
    if values.min() > 0 and _skewness(values) > max(1.0, abs(_skewness(np.log(values)))):
        return LogNormal
    return Normal


def _offset_and_scale(layer: DistributionLayer, values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of real numbers, the geometric mean of positive ones, nothing of others."""
    if layer.support.has_offset:
        return float(values.mean()), float(values.std()) or 1.0
    if layer.support.has_scale and values.min() > 0:
        return 0.0, float(np.exp(np.log(values).mean()))
    return 0.0, 1.0


def _skewness(values: np.ndarray) -> float:
    deviations = values - values.mean()
    return float(np.mean(deviations**3) / np.mean(deviations**2) ** 1.5)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
