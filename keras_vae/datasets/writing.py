"""Named columns -> files that other programs read, a part of the rows at a time."""

import itertools
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from keras_vae.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".csv", ".tsv", ".parquet", ".arrow", ".npz")
CELLS = 2**20  # that are written together


def write_columns(path: str | os.PathLike, columns: Mapping[str, object]) -> None:
    """Writes columns by name, each a list or an array of one cell for each row, in one step.

    Args:
        path: a file that ends in `.csv`, `.tsv`, `.parquet`, `.arrow` or `.npz`; None and NaN are empty cells in text.
        columns: numbers, texts and None.
    """
    write_parts(path, [columns])


def write_parts(path: str | os.PathLike, parts: Iterable[Mapping[str, object]]) -> None:
    """The same for rows that come a few at a time, of which no more are held in memory.

    They lie in files beside `path` until the last one is there, for their types are not known before: whole numbers
    that others follow are none.

    Args:
        path: see `write_columns`; arrays in an `.npz` may have more axes behind that of the rows.
        parts: consecutive rows, one part at least: columns of the same names.
    """
    ending = Path(path).suffix.lower()
    with replacing(path) as temporary:
        if ending == ".npz":
            _write_arrays(temporary, parts)
        else:
            _write_table(temporary, ending, parts)


def _write_arrays(path: Path, parts: Iterable[Mapping[str, object]]) -> None:
    first, *others = itertools.islice(parts := iter(parts), 2)
    with ExitStack() as files:
        arrays: dict[str, Any] = {name: np.asarray(column) for name, column in first.items()}
        if others:
            stored = {
                name: _StoredArray(files.enter_context((path.parent / f"{place}.rows").open("w+b")), rows)
                for place, (name, rows) in enumerate(arrays.items())
            }
            for part in itertools.chain(others, parts):
                for name, column in part.items():
                    stored[name].append(np.asarray(column))
            arrays = {name: rows.whole() for name, rows in stored.items()}
        with path.open("wb") as file:  # NumPy would change another ending than .npz
            np.savez(file, **arrays)


class _StoredArray:
    """Rows of one type in a file."""

    def __init__(self, file: IO[bytes], rows: np.ndarray):
        self.file, self.first, self.size = file, rows[:0], 0
        self.append(rows)

    def append(self, rows: np.ndarray) -> None:
        self.size += len(rows)
        self.file.write(rows.astype(self.first.dtype, casting="no").tobytes())

    def whole(self) -> np.ndarray:
        """All of them, mapped into memory."""
        self.file.flush()
        return np.memmap(self.file, self.first.dtype, "r", shape=(self.size, *self.first.shape[1:]))


def _write_table(path: Path, ending: str, parts: Iterable[Mapping[str, object]]) -> None:
    from pyarrow import csv, ipc, parquet

    tables, schema = _stored_tables(path.parent, parts)
    options = csv.WriteOptions(delimiter="\t" if ending == ".tsv" else ",", quoting_style="needed")
    if ending == ".parquet":
        writer = parquet.ParquetWriter(path, schema)
    elif ending == ".arrow":
        writer = ipc.new_file(str(path), schema)
    else:
        writer = csv.CSVWriter(path, schema, write_options=options)
    rows = max(1, CELLS // len(schema))
    with writer:
        for table in tables:
            for first in range(0, max(1, len(table)), rows):
                writer.write_table(table.slice(first, rows).cast(schema).combine_chunks())


def _stored_tables(folder: Path, parts: Iterable[Mapping[str, object]]) -> tuple[list["pa.Table"], "pa.Schema"]:
    """Parts of a table, in files that are mapped into memory, and the types of all of them.

    A file ends where the types that its rows have become wider.
    """
    import pyarrow as pa
    from pyarrow import ipc

    paths: list[Path] = []
    schema = None
    with ExitStack() as files:
        for part in parts:
            table = pa.table({name: pa.array(column, from_pandas=True) for name, column in part.items()})
            wider = (
                table.schema
                if schema is None
                else pa.unify_schemas([schema, table.schema], promote_options="permissive")
            )
            if wider != schema:
                schema = wider
                paths.append(folder / f"{len(paths)}.rows")
                writer = files.enter_context(ipc.new_stream(str(paths[-1]), schema))
            writer.write_table(table.cast(schema))
    return [ipc.open_stream(pa.memory_map(str(path))).read_all() for path in paths], schema
