"""Named columns -> the rows of a model."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from keras_vae.datasets.cells import Cells, holds_dates, holds_numbers, number_in, numbers_of, read_cells
from keras_vae.datasets.codes import Codes, notes_on
from keras_vae.datasets.columns import Column, Table
from keras_vae.datasets.data import Source
from keras_vae.datasets.rows import split_of_rows
from keras_vae.datasets.scratch import rows_by_split
from keras_vae.datasets.survey import Survey
from keras_vae.distributions import Bernoulli, Categorical, DistributionLayer
from keras_vae.refusals import in_both

TYPED = "reads columns of different kinds with missing values."


def numeric_source(given, seed: int, like: tuple[str, ...] | None = None, whole: bool = False) -> Source:
    """A table of numbers, with or without names of its columns.

    Args:
        given: see `read_cells`.
        seed: of the split.
        like: the columns that are to be read, by their names where the table has names.
        whole: whether each split is all rows.

    Raises:
        ValueError: for columns of texts or dates (named, with the first such cell), and empty or infinite cells.
        OSError: for a table larger than memory, where the disk has no room for its numbers.
    """
    cells = read_cells(given)
    names = tuple(cells.names) if like is None else _names_like(cells, like)
    others = [name for name in names if not holds_numbers(cells.types[name])]
    if others:
        first = ", ".join(cells.place(_first_text(cells, name), name) for name in others[:5])
        first = first.replace(f", {cells.title}", "")  # said once
        words = "dates" if all(holds_dates(cells.types[name]) for name in others) else "text"
        raise _untyped(f"datasets.load needs numeric columns. Received: {words} in {first}.", like)
    places = None if whole else split_of_rows(len(cells), seed, cells.title)
    looked_at = {name: Codes() for name in names} if like is None else {}
    rows = _finite_numbers(cells, names, like, looked_at)
    splits = rows_by_split(rows, len(cells), len(names), places, cells.on_disk)
    return Source(cells.title, splits, columns=like or names, notes=cells.notes + notes_on(looked_at))


def _finite_numbers(
    cells: Cells, names: Sequence[str], like: tuple[str, ...] | None, looked_at: Mapping[str, Codes]
) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of numbers, and the number of the first of them; raises `ValueError` for one that is missing or infinite."""
    for first, part in cells.parts(names):
        values = np.stack([_numbers(part[name]) for name in names], axis=1)
        if not np.isfinite(values).all():
            place, row = np.argwhere(~np.isfinite(values.T))[0].tolist()
            where = cells.place(first + row, names[place])
            message = f"datasets.load needs a finite number in each cell. Received: {where}."
            raise _untyped(message, like) if np.isnan(values[row, place]) else ValueError(message)
        for column, codes in zip(values.T, looked_at.values(), strict=bool(looked_at)):
            codes.add(column)
        yield first, values


def typed_source(
    given,
    seed: int,
    kinds: Mapping[str, type[DistributionLayer] | None],
    like: Table | None = None,
    whole: bool = False,
) -> Source:
    """A table whose columns are of kinds of their own and may miss values.

    Args:
        given: see `read_cells`.
        seed: of the split.
        kinds: by name of the columns whose kind is given; None leaves a column out. That of the others is inferred.
        like: the columns that are to be read.
        whole: whether each split is all rows.

    Raises:
        ValueError: for names that are not those of the file, cells that are not of their column's kind, and columns of
            a given kind without different values.
        OSError: for a table larger than memory, where the disk has no room for its numbers.
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
    places = None if whole else split_of_rows(len(cells), seed, cells.title)
    table, notes = (like, cells.notes) if like is not None else _described(cells, kinds, places)
    splits = rows_by_split(table.parts(cells), len(cells), len(table.columns), places, cells.on_disk)
    return Source(cells.title, splits, columns=table.names, table=table, notes=notes)


def _described(
    cells: Cells, kinds: Mapping[str, type[DistributionLayer] | None], places: np.ndarray | None
) -> tuple[Table, tuple[str, ...]]:
    """The columns of some cells, and what was recognised and left out, in words."""
    surveys = {
        name: Survey(name, kinds.get(name), cells.title) for name in cells.names if kinds.get(name, name) is not None
    }
    for first, part in cells.parts(list(surveys)) if surveys else ():
        training = np.ones(len(part), bool) if places is None else places[first : first + len(part)] == 0
        for name, survey in surveys.items():
            survey.add(part[name], training)
    described = {name: surveys[name].column() if name in surveys else "left out, as asked" for name in cells.names}
    columns = tuple(column for column in described.values() if isinstance(column, Column))
    notes = cells.notes + tuple(f"{name}: {why}" for name, why in described.items() if isinstance(why, str))
    found = [column for column in columns if not column.categories and kinds.get(column.name) is None]
    notes += notes_on({column.name: surveys[column.name].codes for column in found if column.kind is not Bernoulli})
    if not columns:
        raise ValueError(
            f"datasets.load needs a column. Received: {cells.title}, of which all are left out: {'; '.join(notes)}."
        )
    return Table(columns), notes


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


def _numbers(column) -> np.ndarray:
    """Those of a column that holds numbers."""
    values = numbers_of(column)
    assert values is not None
    return values


def _first_text(cells: Cells, name: str) -> int:
    """The number of the first row whose cell is no number."""
    for first, part in cells.parts([name]):
        for row, cell in enumerate(part[name].to_pylist(), start=first):
            if cell is not None and number_in(str(cell)) is None:
                return row
    return 0
