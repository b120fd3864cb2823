"""Files and folders that are either whole or not there, and locks that die with their process."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LOCK = "writer.lock"


def require_writable(owner: str, path: str | os.PathLike) -> None:
    """Raises an error for a path that could not be written to, before any work is done that would be lost.

    Args:
        owner: for the message.
        path: of a file or folder, perhaps in folders that do not exist yet.

    Raises:
        NotADirectoryError: where a file stands in the place of a folder on the way there.
        PermissionError: where the user may not write.
    """
    path = Path(path).absolute()
    above = next(part for part in path.parents if part.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"{owner} needs a path in a folder. Received: {path}, where {above} is a file.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(f"{owner} needs a folder that can be written to. Received: {above}.")


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a path of the same name to write to, whose file or folder takes the place of `path` when the block ends.

    A block that raises, or a process that is killed, leaves `path` as it was. A file that is there is replaced in one
    step; a folder that is there is not: the rename then raises `OSError`. Each block writes in a hidden folder of its
    own beside `path`, `.<name>.<random>.tmp`, so that threads, and processes of any machine, do not meet there.

    What killed writers have left beside `path` is deleted first. A leftover is a folder of such a name whose file
    `writer.lock` nobody holds: a living writer holds it, and the system lets go of it when its process ends. Without
    such locks (Windows, some network file systems) nothing is deleted.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _delete_leftovers(path.parent)
    folder, lock = _folder_of_its_own(path)
    try:
        with lock:
            yield folder / path.name
            os.replace(folder / path.name, path)
    except OSError as error:
        if error.errno is not None and str(error.filename or folder).startswith(str(folder)):
            error.filename, error.filename2 = str(path), None  # what was asked for, and not a file on the way there
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _delete_leftovers(parent: Path) -> None:
    for lock in parent.glob(f".*.tmp/{LOCK}"):
        with contextlib.suppress(OSError), locked(lock, create=False) as held:  # another one may be deleting it too
            if held:
                shutil.rmtree(lock.parent, ignore_errors=True)


def _folder_of_its_own(path: Path) -> tuple[Path, contextlib.ExitStack]:
    """A new folder beside `path`, and what holds its lock."""
    while True:
        # At most 100 characters of the name, for file systems allow 255.
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent))
        lock = contextlib.ExitStack()
        with contextlib.suppress(FileNotFoundError):
            if lock.enter_context(locked(folder / LOCK)) is not False:
                return folder, lock
        lock.close()  # another writer took the folder for a leftover before it was locked


@contextmanager
def locked(path: str | os.PathLike, create: bool = True) -> Iterator[bool | None]:
    """Holds a lock file in the block, and gives whether it does: False where another process or thread holds it.

    The system lets go of the lock when the process ends, however it ends. None is given where it has no such locks.

    Args:
        path: the file, in a folder that exists.
        create: whether to create the file where it is missing; without it that raises `FileNotFoundError`.
    """
    with open(path, "ab" if create else "r+b") as file:
        yield _lock(file, path)


def _lock(file, path) -> bool | None:
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # of a file system without locks
        return None
    return _is_at(file, path)


def _is_at(file, path) -> bool:
    """Whether an open file is the one at `path`: whoever held its lock before may have deleted it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def require_space(path: str | os.PathLike, size: int) -> None:
    """Raises `OSError` where a file of so many bytes does not fit, for writers that do not survive that.

    Args:
        path: of the file, which is not there yet.
        size: in bytes.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    os.unlink(path)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file in one step, UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
