"""What happens between the batches and epochs of `fit`."""

import csv
import os
import re
import time
import warnings
from pathlib import Path

import keras

from keras_vae import keras_names
from keras_vae.files import replacing
from keras_vae.replicas import multi_worker, smallest, worker
from keras_vae.stored_rows import stored_in
from keras_vae.training.finite import first_broken


class BackupAndRestore(keras.callbacks.Callback):
    """Keeps the latest epoch's weights and optimizer on disk; `fit` with the same folder goes on from there.

    Unlike Keras's callback of this name, a process killed at any moment leaves one consistent state: the epoch is part
    of the name of the file that holds the weights, and a file gets its name only when it is whole. With a dataset of
    `keras_vae.datasets`, what is made of it by `map` and the like, or arrays in memory the resumed run equals an
    uninterrupted one, bit for bit on one machine with the same number of threads; where it sees other batches a warning
    says so. Weights that are not finite are never kept.

    The callbacks behind it in the list have not seen the last epoch of a run that was killed between them: it belongs
    at the end, behind those that write files and change the learning rate.

    Under a multi-worker strategy each worker keeps its last two epochs in a folder of its own, `directory/worker-<n>`,
    and all go on from the last epoch that every one of them has.

    Args:
        directory: folder of the backup, of one model and one run.
    """

    _name = re.compile(r"epoch-(\d+)\.weights\.h5")

    def __init__(self, directory: str | os.PathLike):
        super().__init__()
        self.directory = Path(directory)
        self.kept = 1

    def set_model(self, model):
        super().set_model(model)
        strategy = model.distribute_strategy
        if multi_worker(strategy) and self.kept == 1:
            self.directory = self.directory / f"worker-{worker(strategy)}"
            self.kept = 2  # another worker may be killed just before it has written the second one

    def _backups(self) -> list[tuple[int, Path]]:
        """Finished epochs and files, the latest last."""
        found = [(self._name.fullmatch(file.name), file) for file in self.directory.glob("epoch-*.weights.h5")]
        return sorted((int(match[1]), file) for match, file in found if match)

    @property
    def finished_epochs(self) -> int:
        """Number of epochs that the backup holds, 0 without one."""
        return max((epochs for epochs, _ in self._backups()), default=0)

    def on_train_begin(self, logs=None):
        epochs = self.finished_epochs
        if self.kept > 1:
            epochs = smallest(self.model.distribute_strategy, epochs)
        if epochs:
            file = dict(self._backups())[epochs]
            try:
                self.model.load_weights(file)
            except (OSError, ValueError, KeyError) as error:
                raise ValueError(
                    f"BackupAndRestore needs weights of this model that it has written. Received: {file}: {error}"
                ) from error
            keras_names.start_at(self.model, epochs)
            if epochs >= self.params["epochs"] and self.params["verbose"]:
                print(f"{self.directory} holds {epochs} epochs: nothing is left to train.")

    def on_epoch_end(self, epoch, logs=None):
        self._require_finite(epoch)
        self.model.save_weights(self.directory / f"epoch-{epoch + 1:05d}.weights.h5")
        for epochs, file in self._backups():
            if not epoch + 1 - self.kept < epochs <= epoch + 1:
                file.unlink()

    def _require_finite(self, epoch: int) -> None:
        broken = first_broken([*self.model.weights, *self.model.optimizer.variables])
        broken = broken or next((rows.path for rows in stored_in(self.model) if not rows.are_finite()), None)
        if broken:
            kept = f"That of epoch {self.finished_epochs} is kept." if self.finished_epochs else "There is none yet."
            raise FloatingPointError(
                f"BackupAndRestore needs finite weights and optimizer for a checkpoint. Received: {broken} "
                f"with NaN or infinity after epoch {epoch + 1}. {kept}"
            )


class HistoryLogger(keras.callbacks.Callback):
    """Writes the figures of each epoch to a CSV file, whole at every moment; a resumed run continues the file.

    It belongs before `BackupAndRestore`, and behind schedules, whose numbers it writes too.

    Args:
        path: the file; its columns are epoch, counted from 1, seconds, and the logs.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.path = Path(path)
        self.rows: list[dict] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.begin = time.perf_counter()
        if not self.rows and epoch and self.path.exists():
            rows = read_history(self.path)
            self.rows = [row for row in rows if int(row["epoch"]) <= epoch]  # a killed run may be ahead of its backup
            missing = sorted({*range(1, epoch + 1)} - {int(row["epoch"]) for row in self.rows})
            if missing:
                warnings.warn(
                    f"HistoryLogger goes on with {self.path}, which lacks epoch {', '.join(map(str, missing))}: a run "
                    "was killed before it was written. Put HistoryLogger before BackupAndRestore in callbacks.",
                    stacklevel=2,
                )

    def on_epoch_end(self, epoch, logs=None):
        figures = {"seconds": time.perf_counter() - self.begin} | logs
        self.rows.append({"epoch": epoch + 1} | {name: f"{float(value):.9g}" for name, value in figures.items()})
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            # An epoch without validation has fewer figures than others.
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in self.rows for name in row)))
            writer.writeheader()
            writer.writerows(self.rows)


def read_history(path: str | os.PathLike) -> list[dict[str, str]]:
    """The figures of each epoch, texts by name, of a file that `HistoryLogger` has written.

    Raises:
        ValueError: for any other file.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            int(row["epoch"])
            for figure in row.values():
                if not isinstance(figure, str):
                    raise ValueError("a line with more or fewer cells than names")
                float(figure or "nan")
    except (ValueError, KeyError, csv.Error) as error:
        why = "no column epoch" if isinstance(error, KeyError) else error
        raise ValueError(f"HistoryLogger needs a file that it has written. Received: {path}: {why}") from None
    return rows


class SaveFigure(keras.callbacks.Callback):
    """Draws a figure at the end of epochs, to watch a model learn.

    Args:
        draw: from the model to a matplotlib figure, such as `functools.partial(plotting.samples, seed=0)`.
        path: file name with a place for the epoch, "samples-{epoch:04d}.png".
        every: epochs between figures.
    """

    def __init__(self, draw, path: str, every: int = 1):
        super().__init__()
        self.draw = draw
        self.path = path
        self.every = every

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            with replacing(self.path.format(epoch=epoch + 1)) as temporary:
                self.draw(self.model).savefig(temporary)
