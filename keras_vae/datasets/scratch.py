"""Rows of numbers that come a few at a time -> the rows of each split, in memory or in temporary files."""

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from io import FileIO

import numpy as np

from keras_vae.datasets.rows import SPLITS, ArrayRows, Rows, ScratchRows


def rows_by_split(
    parts: Iterable[tuple[int, np.ndarray]], size: int, columns: int, places: np.ndarray | None, on_disk: bool
) -> dict[str, Rows]:
    """The rows of each split, in the order in which they come.

    Args:
        parts: consecutive rows, float64 of shape (n, columns), each with the number of the first.
        size: rows in all.
        columns: numbers in a row.
        places: of the split of each row, see `split_of_rows`; None where each split is all rows.
        on_disk: whether they are more than memory is to hold.

    Raises:
        OSError: where the disk has no room for them.
    """
    sizes = [size] if places is None else np.bincount(places, minlength=len(SPLITS)).tolist()
    if on_disk:
        _require_room(8 * size * columns)
    with ExitStack() as files:
        stores: list[_OnDisk | _InMemory] = []
        for count in sizes:
            if on_disk:
                # Without a buffer, whose rest would be written once more when the file is closed.
                file = files.enter_context(tempfile.TemporaryFile(buffering=0))
                stores.append(_OnDisk(file, count, columns, 8 * size * columns))
            else:
                stores.append(_InMemory(count, columns))
        for first, values in parts:
            for place, store in enumerate(stores):
                store.append(values if places is None else values[places[first : first + len(values)] == place])
        rows: list[Rows] = [store.rows() for store in stores]
    return dict(zip(SPLITS, rows * len(SPLITS) if places is None else rows, strict=True))


class _InMemory:
    def __init__(self, size: int, columns: int):
        self.values = np.empty((size, columns))
        self.filled = 0

    def append(self, values: np.ndarray) -> None:
        self.values[self.filled : self.filled + len(values)] = values
        self.filled += len(values)

    def rows(self) -> ArrayRows:
        return ArrayRows(self.values)


class _OnDisk:
    """In a file without a name, in the folder that TMPDIR names: it is gone with this process, however that ends."""

    def __init__(self, file: FileIO, size: int, columns: int, needed: int):
        self.file = file
        self.shape = size, columns
        self.needed = needed  # bytes, in all files

    def append(self, values: np.ndarray) -> None:
        left = memoryview(values.tobytes())
        while left:
            try:
                left = left[self.file.write(left) :]
            except OSError as error:
                raise _no_room(self.needed, f"{error.strerror}, in {tempfile.gettempdir()}") from error

    def rows(self) -> ScratchRows:
        # The map keeps what is in the file when that is closed, and lets go of it with the last array that uses it.
        return ScratchRows(np.asarray(np.memmap(self.file, np.float64, mode="r", shape=self.shape)))


def _require_room(needed: int) -> None:
    """Before any work is done; a disk that others fill later stops the writing."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _no_room(needed, f"{free:,} bytes free in {folder}")


def _no_room(needed: int, received: str) -> OSError:
    return OSError(
        f"datasets.load needs {needed:,} bytes on disk for a table that is larger than memory. Received: {received}. "
        "TMPDIR names another folder."
    )
