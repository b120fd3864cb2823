"""What a person watches while a model is trained: a bar, and a line for each epoch."""

import itertools
import time

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from keras_vae.callbacks.training import HistoryLogger

EVERY = 10  # epochs between two lines where nobody watches
FIGURES = {"loss": "loss", "log_likelihood": "log p(x|z)", "kl": "KL"}


class EpochLines(keras.callbacks.ProgbarLogger):
    """One line for each epoch: figures of training and validation, the best validation loss so far, the time left.

    On a terminal a bar shows the epoch under way, and lines have as many figures as fit; elsewhere each tenth epoch has
    a line, and the first and last. Made for `fit(..., verbose=0)`, and a context manager: the bar ends with the block,
    however that ends.

    Args:
        console: of rich; None is standard output, without colours where NO_COLOR is set.
        history: None, or what knows the epochs of a run before it was resumed.
    """

    def __init__(self, console: Console | None = None, history: HistoryLogger | None = None):
        super().__init__()
        self.history = history
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.bar: Progress | None = None
        self.best: tuple[float, int] | None = None  # validation loss, and its epoch
        self.durations: list[float] = []
        self.last: int | None = None  # epoch that the last line is of
        self.unshown: tuple[int, dict] | None = None  # the last epoch, where it has no line

    def __enter__(self) -> "EpochLines":
        return self

    def __exit__(self, *error) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self.console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}")
            self.bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=5)
            self.bar.start()
            self.console.show_cursor(True)  # a killed process could not bring it back
            self.task = self.bar.add_task("", total=1)

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = time.monotonic()
        if self.bar is not None:
            total = self.target or None
            self.bar.reset(self.task, total=total, completed=0, description=f"epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch, logs=None):
        if self.bar is not None:
            done = batch + 1 if self.target is None else min(batch + 1, self.target)
            self.bar.update(self.task, completed=done)

    def on_epoch_end(self, epoch, logs=None):
        self.durations.append(time.monotonic() - self.begun)
        logs = logs or {}
        loss = logs.get("val_loss")
        if self.last is None and self.history is not None:
            before = [(float(row["val_loss"]), int(row["epoch"])) for row in self.history.rows if row.get("val_loss")]
            self.best = min((pair for pair in before if pair[1] <= epoch), default=None)
        if loss is not None and (self.best is None or loss < self.best[0]):
            self.best = float(loss), epoch + 1
        shown = self.console.is_terminal or self.last is None or (epoch + 1) % EVERY == 0 or epoch + 1 == self.epochs
        if not shown:
            self.unshown = epoch, logs
            return
        self.unshown = None
        if self.last is None:
            self.console.print(self._heading(logs), markup=False)
        self.console.print(self._line(epoch, logs), markup=False)
        self.last = epoch

    def on_train_end(self, logs=None):
        self.__exit__()
        if self.unshown is not None:
            self.console.print(self._line(*self.unshown), markup=False)
        if self.model.stop_training and self.best is not None:
            self.console.print(f"Stopped early: the best epoch was {self.best[1]}.", markup=False)

    def _shown(self, logs: dict) -> list[str]:
        """The first of the figures, as many as fit into the line of a terminal; always the loss."""
        names = list(FIGURES)
        if self.console.is_terminal:
            columns = [11 * (name in logs) + 15 * (f"val_{name}" in logs) for name in names]
            room = self.console.width - self._width - 15 * ("val_loss" in logs) - 9
            names = names[: max(1, sum(total <= room for total in itertools.accumulate(columns)))]
        return names

    def _heading(self, logs: dict) -> str:
        shown = self._shown(logs)
        names = [FIGURES[name].rjust(11) for name in shown if name in logs]
        names += [f"val {FIGURES[name]}".rjust(15) for name in shown if f"val_{name}" in logs]
        best = "   best (epoch)" if "val_loss" in logs else ""
        return f"{'epoch':>{self._width}}{''.join(names)}{best}{'left':>9}"

    def _line(self, epoch: int, logs: dict) -> str:
        shown = self._shown(logs)
        figures = [f"{float(logs[name]):11.2f}" for name in shown if name in logs]
        figures += [f"{float(logs[f'val_{name}']):15.2f}" for name in shown if f"val_{name}" in logs]
        best = "" if self.best is None else f"{self.best[0]:.2f} ({self.best[1]})".rjust(15)
        place = f"{epoch + 1}/{self.epochs}"
        return f"{place:>{self._width}}{''.join(figures)}{best}{self._left(epoch):>9}"

    def _left(self, epoch: int) -> str:
        """Of the time of the last epochs, without the first one, which compiles."""
        recent = self.durations[1:][-5:]
        if not recent:
            return ""
        seconds = round((self.epochs - epoch - 1) * sum(recent) / len(recent))
        return f"{seconds // 60}:{seconds % 60:02d}"

    @property
    def _width(self) -> int:
        return max(5, 2 * len(str(self.epochs)) + 1)
