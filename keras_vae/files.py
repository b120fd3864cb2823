"""Files and folders that are either whole or not there."""

import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write to, and renames it to `path` when the block ends well.

    A block that raises, or a process that is killed, leaves `path` as it was. A file that is there is replaced in one
    step; a folder that is there is not: the rename then raises `OSError`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keras picks the format by the end of the name, so the mark goes in front.
    temporary = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file in one step, UTF-8."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_npz(path: str | os.PathLike, arrays: dict[str, tuple[tuple[int, ...], Iterable]]) -> None:
    """Writes float32 arrays that need not fit into memory, as `numpy.savez` would.

    Args:
        path: the file.
        arrays: by name, the shape of an array and its parts along the first axis.
    """
    import numpy as np  # not above: `keras-vae --help` answers without it

    with zipfile.ZipFile(path, "w") as archive:
        for name, (shape, parts) in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
                for part in parts:
                    file.write(np.ascontiguousarray(part, "<f4").data)
