"""Scores of a data set that are kept in a file while more of them are computed."""

import os
import time
import zlib
from pathlib import Path

import numpy as np

from keras_vae.evaluation.programs import structure_of
from keras_vae.files import replacing
from keras_vae.models import LatentVariableModel
from keras_vae.stored_rows import stored_in


class Progress:
    """Values of the batches so far, kept in a file if there is a name for one.

    Args:
        path: name of the file, or None.
        caller: whose values they are, for messages.
        model, **arguments: what the values depend on; a file of others is refused.
    """

    SECONDS = 5  # between two writes

    def __init__(self, path: str | os.PathLike | None, caller: str, model: LatentVariableModel, **arguments):
        self.path = None if path is None else Path(path)
        self.caller = caller
        self.parts: list[dict[str, np.ndarray]] = []
        self.digests: list[int] = []
        self.written = time.monotonic()
        if self.path is None:
            return
        given = ", ".join(f"{name}={value}" for name, value in arguments.items())
        stored = (part for rows in stored_in(model) for part in rows.parts())
        weights = _checksum(*(variable.numpy() for variable in model.weights), *stored)
        config = zlib.crc32(structure_of(model).encode())
        self.key = f"{caller}: {given}, weights={weights:08x}, config={config:08x}"
        if self.path.exists():
            self._read(self.path)

    def _read(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != self.key:
                raise ValueError(
                    f"{self.caller} needs resume to name a new file, or one of the same model and arguments: "
                    f"{self.key}. Received: {self.path} with {file['key']}."
                )
            ends = np.cumsum(file["sizes"])[:-1]
            names = [name for name in file.files if name not in ("key", "sizes", "digests")]
            columns = [np.split(file[name], ends) for name in names]
            self.parts = [dict(zip(names, part, strict=True)) for part in zip(*columns, strict=True)]
            self.digests = file["digests"].tolist()

    def has(self, step: int, *arrays: np.ndarray) -> bool:
        """Whether the values of a batch are there already."""
        digest = _checksum(*arrays)
        if step == len(self.digests):
            self.digests.append(digest)
        elif digest != self.digests[step]:
            raise ValueError(
                f"{self.caller} needs the data that {self.path} was begun with. Received: another batch {step}."
            )
        return step < len(self.parts)

    def add(self, values: dict[str, np.ndarray]) -> None:
        """Keeps the values of the next batch, by name, shape (batch, ...) each."""
        self.parts.append(values)
        if time.monotonic() - self.written > self.SECONDS:
            self.write()

    def results(self) -> dict[str, np.ndarray]:
        """The values of all batches, by name."""
        return {name: np.concatenate([part[name] for part in self.parts]) for name in self.parts[0]}

    def write(self) -> None:
        """Replaces the file by one with all values so far."""
        self.written = time.monotonic()
        if self.path is None or not self.parts:
            return
        sizes = [len(next(iter(part.values()))) for part in self.parts]
        digests = self.digests[: len(self.parts)]
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            about = {"key": np.array(self.key), "sizes": np.array(sizes), "digests": np.array(digests)}
            np.savez(file, allow_pickle=False, **about | self.results())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.write()


def _checksum(*arrays) -> int:
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array), checksum)  # type: ignore[arg-type]
    return checksum
