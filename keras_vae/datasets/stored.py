"""Tables in Parquet and Arrow files that are larger than memory, read in parts."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

IN_MEMORY = 2**30  # bytes of a table, as float64 or as it is stored, that is held in memory


class StoredTable:
    """The table in a Parquet or Arrow file: what it is made of at once, its rows when they are asked for.

    Args:
        path: the file.
        is_parquet: whether it is a Parquet file; else it is one of Arrow.

    Raises:
        pyarrow.ArrowInvalid: for a file that is no such table.
    """

    def __init__(self, path: Path, is_parquet: bool):
        self.path = path
        self.is_parquet = is_parquet
        file = self._open()
        self.schema: pa.Schema = file.schema_arrow if self.is_parquet else file.schema
        self.column_names: list[str] = self.schema.names
        self._size = file.metadata.num_rows if self.is_parquet else self._count()

    def __len__(self) -> int:
        return self._size

    @property
    def fits(self) -> bool:
        """Whether it may be held in memory."""
        return max(self.path.stat().st_size, 8 * len(self) * len(self.column_names)) <= IN_MEMORY

    def whole(self) -> "pa.Table":
        """All of it."""
        file = self._open()
        return file.read() if self.is_parquet else file.read_all()

    def parts(self, names: Sequence[str], rows: int) -> "Iterator[pa.Table]":
        """Some of its columns, at most so many rows at a time.

        Of a Parquet file pages are read, of an Arrow file whole record batches where they are compressed.

        Raises:
            ValueError: where the file turns out to be damaged.
        """
        import pyarrow as pa

        try:
            for batch in self._parquet_batches(names, rows) if self.is_parquet else self._arrow_batches(names):
                part = pa.Table.from_batches([batch]).select(names)
                yield from (part.slice(first, rows) for first in range(0, len(part), rows))
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"datasets.load needs a table that can be read. Received: {self.path}: {error}") from None

    def _open(self, fields: Sequence[int] | None = None):
        import pyarrow as pa
        from pyarrow import ipc, parquet

        if self.is_parquet:
            return parquet.ParquetFile(self.path, memory_map=True)
        return ipc.open_file(pa.memory_map(str(self.path)), options=pa.ipc.IpcReadOptions(included_fields=fields))

    def _count(self) -> int:
        """Rows of an Arrow file, without their cells."""
        from pyarrow import dataset

        return dataset.dataset(self.path, format="ipc").count_rows()

    def _parquet_batches(self, names: Sequence[str], rows: int) -> "Iterator[pa.RecordBatch]":
        return self._open().iter_batches(rows, columns=list(names))

    def _arrow_batches(self, names: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        file = self._open([place for place, name in enumerate(self.column_names) if name in set(names)])
        return (file.get_batch(number) for number in range(file.num_record_batches))
