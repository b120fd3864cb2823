"""Trains on several workers over the loopback; run by test_replicas.py as one process for each worker.

Arguments: what to do, a folder, and for `crash` the number of epochs after which worker 1 kills itself.
"""

import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

STRATEGY = tf.distribute.MultiWorkerMirroredStrategy()  # before anything else runs

from on_devices import X, check_same, model, trained  # noqa: E402

import keras_vae as kv  # noqa: E402
from keras_vae.callbacks import BackupAndRestore  # noqa: E402

WORKER = STRATEGY.cluster_resolver.task_id


class Crash(keras.callbacks.Callback):
    """Kills this worker in the middle of an epoch."""

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if WORKER == 1 and self.epoch == self.epochs:
            os.kill(os.getpid(), signal.SIGKILL)


def check_equal(folder: Path) -> None:
    """The figures, weights and scores of all workers are those of one device."""
    with STRATEGY.scope():
        many = trained()
    one = trained()
    check_same(one, many)
    with STRATEGY.scope():
        many[3].save(folder / f"worker-{WORKER}.keras")
        many[3].export(folder / f"worker-{WORKER}" / "1")
    loaded = kv.load_model(folder / f"worker-{WORKER}.keras")
    for saved, expected in zip(loaded.get_weights(), many[1], strict=True):
        np.testing.assert_array_equal(saved, expected)


def train(folder: Path, epochs: int, callbacks=()) -> None:
    """Trains with a backup; the weights of each worker go to a file."""
    with STRATEGY.scope():
        made = model(scale=1.0)
        callbacks = [*callbacks, BackupAndRestore(folder / "backup")]
        made.fit(X, batch_size=8, epochs=epochs, verbose=0, callbacks=callbacks)
    np.savez(folder / f"weights-{WORKER}.npz", *made.get_weights())


if __name__ == "__main__":
    action, folder = sys.argv[1], Path(sys.argv[2])
    if action == "equal":
        check_equal(folder)
    elif action == "crash":
        train(folder, epochs=5, callbacks=[Crash(int(sys.argv[3]))])
    else:
        train(folder, epochs=5)
    print("done")
