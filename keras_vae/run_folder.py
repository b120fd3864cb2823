"""The folder of a run: which run it holds, and that one process at a time trains in it."""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_vae.files import locked, require_writable, write_text

PATIENCE = 20  # epochs without a better validation loss, where the number of epochs is not given
SIMULATED = 10  # examples that `evaluate` draws from the model of a run, to bound their log p(x) from both sides
NETWORKS = ("dense", "convolutional")
NAMED = ("digits", "shapes", "sprites", "canvases", "mnist_canvases", "billiards", "gravity")  # sets of ours, no paths
LIKELIHOODS = ("bernoulli", "normal", "learned-scale-normal", "columns")
LOCK = "run.lock"  # held by the process that trains
WRITTEN = (  # what a run writes in its folder
    *("run.json", "checkpoint", "history.csv", "model.keras", "saved_model", "metrics.json", "generated.png"),
    *("reconstructions.png", "samples.png", "latent.png", "curves.png", "diagnosis.png"),
)
MARK = "run-id.txt"  # in the folder of a checkpoint: the run that it is of


class RunFolder:
    """A folder that `keras-vae train` is to write to.

    Args:
        path: the folder.
        identity: id of the run that is resumed, None for one of an older version.
        resumes: whether a run in the folder goes on.
        replace: whether a run in the folder may be deleted, to begin another one.
    """

    def __init__(self, path: Path, identity: str | None = None, resumes: bool = False, replace: bool = False):
        self.path = path
        self.identity = identity
        self.resumes = resumes
        self.replace = replace

    @staticmethod
    def read(path: Path) -> tuple[str | None, str | None, dict]:
        """Id of the run in a folder and fingerprint of its data, None in older versions, and its settings by name.

        Raises:
            ValueError: for a `run.json` that is no such file.
        """
        needs = f"keras-vae needs the run.json that train wrote. Received: {path / 'run.json'}"
        try:
            settings = json.loads((path / "run.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{needs}: {error}") from None
        if not isinstance(settings, dict):
            raise ValueError(f"{needs}, which holds a {type(settings).__name__}.")
        return settings.pop("id", None), settings.pop("fingerprint", None), settings

    def check(self) -> None:
        """Raises an error for a folder that can not be trained in.

        Raises:
            BlockingIOError: for one that another process trains in.
            FileExistsError: to begin a run, for a folder with anything else in it, and for another run where `replace`
                is False.
            ValueError: to resume a run, where the folder or its checkpoint is of another one.
        """
        require_writable("train", self.path)
        if (self.path / LOCK).is_file():
            with locked(self.path / LOCK, create=False) as held:
                self._refuse_unless(held)
        self._check_contents()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the lock of the folder in the block; raises as `check` does."""
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path / LOCK) as held:
            self._refuse_unless(held)
            try:
                self._check_contents()
                yield
            finally:
                (self.path / LOCK).unlink(missing_ok=True)

    def begin(self, settings: dict, fingerprint: str | None = None) -> None:
        """Writes settings and fingerprint; of a run that is begun an id too, once what a run has written is deleted."""
        if not self.resumes:
            for part in (part for part in self.parts() if part.name in WRITTEN):
                if part.is_dir() and not part.is_symlink():
                    shutil.rmtree(part)
                else:
                    part.unlink()
            self.identity = uuid.uuid4().hex
            write_text(self.path / "checkpoint" / MARK, f"{self.identity}\n")
        marks = {"id": self.identity, "fingerprint": fingerprint}
        marks = {name: mark for name, mark in marks.items() if mark is not None}
        write_text(self.path / "run.json", json.dumps(settings | marks, indent=2) + "\n")

    def check_identity(self) -> None:
        """Raises `ValueError` where the folder, or its checkpoint, is of another run by now."""
        identity, _, _ = self.read(self.path)
        if identity != self.identity:
            raise ValueError(
                f"train needs the folder of its run. Received: {self.path}, in which another process has begun a run."
            )
        mark = self.path / "checkpoint" / MARK
        of_checkpoint = mark.read_text(encoding="utf-8", errors="replace").strip() if mark.is_file() else None
        if of_checkpoint != identity and any(self.path.glob("checkpoint/epoch-*")):
            raise ValueError(
                f"train needs the checkpoint of its run. Received: {mark.parent}, which is of another run."
            )

    def _refuse_unless(self, held: bool | None) -> None:
        if held is False:
            raise BlockingIOError(
                f"train needs a folder that no other process trains in. Received: {self.path}, which one trains in."
            )

    def _check_contents(self) -> None:
        if self.resumes:
            for part in self.parts():
                if part.name in WRITTEN and part.suffix and part.is_dir():
                    raise IsADirectoryError(
                        f"train --resume needs the files of a run. Received: {part}, which is a folder."
                    )
            self.check_identity()
        elif self._is_file() or (self.parts() and not (self.path / "run.json").is_file()):
            raise FileExistsError(
                f"train needs --output to be a new or empty folder. Received: {self.path}, which is not a run."
            )
        elif self.parts() and not self.replace:
            raise FileExistsError(
                f"train needs --output to be a new folder, or --resume or --overwrite. Received: {self.path}, which "
                "holds another run."
            )

    def _is_file(self) -> bool:
        return self.path.exists() and not self.path.is_dir()

    def parts(self) -> list[Path]:
        """What is in the folder, beside the lock."""
        return [part for part in self.path.iterdir() if part.name != LOCK] if self.path.is_dir() else []
