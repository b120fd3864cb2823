"""Early stopping that a resumed run goes on with."""

import os
from collections.abc import Sequence
from pathlib import Path

import keras

from keras_vae.arguments import whole_number
from keras_vae.callbacks.training import HistoryLogger


def stopped_at(losses: Sequence[float], patience: int) -> int | None:
    """The number of epochs after which training with these validation losses stops; None where it goes on.

    >>> stopped_at([3.0, 2.0, 2.5, 2.1], patience=2), stopped_at([3.0, 2.0, 2.5], patience=2)
    (4, None)
    """
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best]:
            best = epoch
        if epoch - best >= patience:
            return epoch + 1
    return None


class KeepBest(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest validation loss, and stops after epochs without a lower one.

    Unlike Keras's EarlyStopping, a run that is killed and resumed by `BackupAndRestore` stops at the epoch of the
    uninterrupted one, with its weights: they are in a file, and the losses so far in that of a `HistoryLogger`. It
    belongs between the two in the list of callbacks.

    Args:
        path: file of the best weights, which ends in `.weights.h5`.
        history: that writes the losses.
        patience: epochs without a lower validation loss after which training stops.
    """

    def __init__(self, path: str | os.PathLike, history: HistoryLogger, patience: int = 20):
        super().__init__()
        self.path = Path(path)
        self.history = history
        self.patience = whole_number(self, "patience", patience)

    def on_epoch_end(self, epoch, logs=None):
        losses = [float(row["val_loss"]) for row in self.history.rows if row.get("val_loss")]
        if not losses:
            raise ValueError("KeepBest needs validation_data in fit. Received: epochs without a val_loss.")
        if losses.index(min(losses)) == len(losses) - 1:
            self.model.save_weights(self.path)
        if stopped_at(losses, self.patience):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.path.is_file():
            self.model.load_weights(self.path)
