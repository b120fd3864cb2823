"""Scores of a data set that are kept in a file while more of them are computed."""

import os
import time
import zlib
from pathlib import Path

import numpy as np

from keras_vae.evaluation.programs import structure_of
from keras_vae.files import replacing
from keras_vae.models import LatentVariableModel


class Progress:
    """Values of the batches so far, kept in a file if there is a name for one.

    Args:
        path: name of the file, or None.
        model, samples, seed: what the values depend on; a file of others is refused.
    """

    SECONDS = 5  # between two writes

    def __init__(self, path: str | os.PathLike | None, model: LatentVariableModel, samples: int, seed: int):
        self.path = None if path is None else Path(path)
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []
        self.digests: list[int] = []
        self.written = time.monotonic()
        self.key = (
            f"samples={samples}, seed={seed}, weights={_checksum(*model.get_weights()):08x}, "
            f"config={zlib.crc32(structure_of(model).encode()):08x}"
        )
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def _read(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != self.key:
                raise ValueError(
                    f"log_likelihood needs resume to name a new file, or one of the same model and arguments: "
                    f"{self.key}. Received: {self.path} with {file['key']}."
                )
            ends = np.cumsum(file["sizes"])[:-1]
            parts = (np.split(file[name], ends) for name in ("values", "effective_samples"))
            self.parts = list(zip(*parts, strict=True))
            self.digests = file["digests"].tolist()

    def has(self, step: int, *arrays: np.ndarray) -> bool:
        """Whether the values of a batch are there already."""
        digest = _checksum(*arrays)
        if step == len(self.digests):
            self.digests.append(digest)
        elif digest != self.digests[step]:
            raise ValueError(
                f"log_likelihood needs the data that {self.path} was begun with. Received: another batch {step}."
            )
        return step < len(self.parts)

    def add(self, values: np.ndarray, effective: np.ndarray) -> None:
        """Keeps the values of the next batch."""
        self.parts.append((values, effective))
        if time.monotonic() - self.written > self.SECONDS:
            self.write()

    def results(self) -> tuple[np.ndarray, np.ndarray]:
        """Values and effective samples of all batches."""
        values, effective = zip(*self.parts, strict=True)
        return np.concatenate(values), np.concatenate(effective)

    def write(self) -> None:
        """Replaces the file by one with all values so far."""
        self.written = time.monotonic()
        if self.path is None or not self.parts:
            return
        values, effective = self.results()
        sizes = [len(part) for part, _ in self.parts]
        digests = self.digests[: len(self.parts)]
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, key=self.key, values=values, effective_samples=effective, sizes=sizes, digests=digests)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.write()


def _checksum(*arrays: np.ndarray) -> int:
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array), checksum)  # type: ignore[arg-type]
    return checksum
