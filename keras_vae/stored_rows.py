"""Rows of numbers, one for each example, that are on disk: a step reads and writes those of its batch."""

import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_vae.keras_names import layers_of

BLOCK = 2**25  # bytes that are drawn, saved or loaded at a time
KEPT = 3  # of each row: its values, and the two moments that Adam keeps of them


class StoredRows:
    """Float32 rows in a temporary file without a name, each beside the two moments that an optimizer keeps of it.

    The file is in the folder that TMPDIR names, and gone with this object or the process, however that ends: what lasts
    is what `save` writes, so that nothing on disk is ever half of a step.

    Args:
        path: what messages call them.
        size: number of rows.
        shape: of one row.
        draw: from a number of rows n to their first values, shape (n, *shape).

    Attributes:
        bytes: of the file.

    Raises:
        OSError: where the disk has no room for them.
    """

    def __init__(self, path: str, size: int, shape: tuple[int, ...], draw: Callable[[int], np.ndarray]):
        self.path, self.size, self.shape = path, size, tuple(shape)
        self.bytes = 4 * KEPT * size * math.prod(shape)
        self.has_moments = False
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if self.bytes > free:
            raise OSError(
                f"{path} needs {self.bytes:,} bytes on disk. Received: {free:,} bytes free in {folder}. TMPDIR names "
                "another folder."
            )
        with tempfile.TemporaryFile() as file:
            for rows in self._blocks():
                count = rows.stop - rows.start
                values = np.zeros((count, KEPT, *self.shape), np.float32)
                values[:, 0] = draw(count)
                file.write(values.data)  # all of it: a map of a hole that the disk has no room for ends the process
            file.flush()
            # The map keeps what is in the file when that is closed.
            self._map = np.memmap(file, np.float32, mode="r+", shape=(size, KEPT, *self.shape))

    def _blocks(self) -> Iterator[slice]:
        rows = max(1, BLOCK // (4 * KEPT * math.prod(self.shape)))
        for first in range(0, self.size, rows):
            yield slice(first, min(first + rows, self.size))

    def read(self, numbers: tf.Tensor) -> tf.Tensor:
        """The rows of these numbers, 0 or more, and their moments: shape (n, 3, *shape)."""
        of_this = weakref.ref(self)  # TensorFlow keeps the function for as long as the process runs

        def read(numbers: np.ndarray) -> np.ndarray:
            return of_this()._map[numbers]  # type: ignore[union-attr]  # who calls has these rows

        rows = tf.numpy_function(read, [numbers], tf.float32)
        return tf.ensure_shape(rows, [numbers.shape[0], KEPT, *self.shape])

    def write(self, numbers: tf.Tensor, rows: tf.Tensor) -> None:
        """Puts other rows and moments in their place."""
        of_this = weakref.ref(self)
        self.has_moments = True

        def write(numbers: np.ndarray, rows: np.ndarray) -> None:
            of_this()._map[numbers] = rows  # type: ignore[union-attr]

        tf.numpy_function(write, [numbers, rows], [])

    def take(self, numbers: tf.Tensor, train: bool) -> tf.Tensor:
        """The values of these rows, shape (n, *shape).

        Args:
            numbers: int32, shape (n,); what is given for a number below 0 is not trained.
            train: whether the step inside of which this is called, if any, is to train them.

        Raises:
            RuntimeError: where one step takes them twice.
        """
        values = self.read(tf.maximum(numbers, 0))[:, 0]
        step = _step.get()
        if step is not None and train:
            tape, taken = step
            if any(each.rows is self for each in taken):
                raise RuntimeError(f"{self.path} needs steps that look at the posterior once. Received: a second time.")
            tape.watch(values)
            taken.append(Taken(self, numbers, values))
        return values

    def forget_moments(self) -> None:
        """Sets them to 0, for an optimizer that begins anew."""
        if self.has_moments:
            for rows in self._blocks():
                self._map[rows, 1:] = 0.0
        self.has_moments = False

    def parts(self) -> Iterator[np.ndarray]:
        """All rows and moments, shape (n, 3, *shape) each."""
        return (self._map[rows] for rows in self._blocks())

    def are_finite(self) -> bool:
        """Whether all rows and moments are."""
        return all(bool(np.isfinite(part).all()) for part in self.parts())

    def save(self, store) -> None:
        """Writes all rows and moments to what Keras gives `save_own_variables`, in parts."""
        for number, part in enumerate(self.parts()):
            store[str(number)] = part

    def load(self, store) -> None:
        """Reads what `save` has written.

        Raises:
            ValueError: for rows of another shape or number.
        """
        shapes = {str(number): part.shape for number, part in enumerate(self.parts())}
        found = {name: store[name].shape for name in store.keys()}  # noqa: SIM118  # Keras's object is no mapping
        if found != shapes:
            given = ", ".join(map(str, found.values())) or "none"
            raise ValueError(
                f"{self.path} needs a file of {self.size:,} rows of shape {self.shape} with two moments each, in parts "
                f"of shape {', '.join(map(str, shapes.values()))}. Received: {given}."
            )
        for number, rows in enumerate(self._blocks()):
            self._map[rows] = store[str(number)]
        self.has_moments = True


def stored_in(model: keras.Model) -> list[StoredRows]:
    """All rows on disk that layers of a model have."""
    found = (getattr(layer, "stored", None) for layer in layers_of(model))
    return [rows for rows in found if isinstance(rows, StoredRows)]


@dataclass(frozen=True)
class Taken:
    """Rows that a step has taken.

    Attributes:
        rows: of which.
        numbers: of the rows, shape (n,).
        values: shape (n, *shape), which the tape watches.
    """

    rows: StoredRows
    numbers: tf.Tensor
    values: tf.Tensor

    @property
    def path(self) -> str:
        """What messages call them."""
        return self.rows.path


_step: ContextVar[tuple[tf.GradientTape, list[Taken]] | None] = ContextVar("step", default=None)


@contextmanager
def taking_rows(tape: tf.GradientTape) -> Iterator[list[Taken]]:
    """Inside of the block rows are taken to be trained by the gradients of `tape`; gives the list of them."""
    taken: list[Taken] = []
    token = _step.set((tape, taken))
    try:
        yield taken
    finally:
        _step.reset(token)
