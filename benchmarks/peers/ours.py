"""keras_vae: `compile(optimizer, loss)` and `fit(data)`, nothing else set but by an option."""

import queue
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import tensorflow as tf
from workloads import LEARNING_RATE, PIXELS, SIDE, Workload, measure

import keras_vae as kv

OPTIONS = {
    "--xla": {"jit_compile": True},
    "--no-xla": {"jit_compile": False},
    "--single": {"steps_per_execution": 1},
    "--ten": {"steps_per_execution": 10},
    "--examples": {},
}


def build(workload: Workload) -> tuple[kv.VAE, tuple[int, ...]]:
    if workload.convolutional:
        shape = (SIDE, SIDE, 1)
        encoder = kv.convolutional_encoder(shape, workload.units)
        decoder = kv.convolutional_decoder(workload.latent, shape, workload.units[::-1])
    else:
        shape = (PIXELS,)
        encoder = kv.dense_encoder(shape, workload.units, workload.activation)
        decoder = kv.dense_decoder(workload.latent, workload.units[::-1], workload.activation)
    latent = workload.latent
    return kv.VAE(kv.Normal(latent, encoder), kv.Bernoulli(shape, decoder), kv.StandardNormal(latent)), shape


def epochs(workload: Workload):
    model, shape = build(workload)
    settings = {}
    for word in sys.argv:
        settings |= OPTIONS.get(word, {})
    objective = kv.ELBO() if workload.samples == 1 else kv.IWAE(workload.samples)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), objective, **settings)
    x = workload.images().reshape(-1, *shape)
    if "--examples" in sys.argv:
        examples = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x))
        yield from fit_by_epoch(model, examples.batch(workload.batch).prefetch(tf.data.AUTOTUNE))
    else:
        yield from fit_by_epoch(model, x, batch_size=workload.batch)


def fit_by_epoch(model: keras.Model, x, **options):
    """Yields at the end of each epoch of one call of `fit`, which goes on when the next one is asked for."""
    go, done = queue.Queue(), queue.Queue()

    class Gate(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.stop_training = go.get() == "stop"

        def on_epoch_end(self, epoch, logs=None):
            done.put(None)

    options = {"epochs": 1_000_000, "verbose": 0, "callbacks": [Gate()]} | options
    thread = threading.Thread(target=model.fit, args=(x,), kwargs=options, daemon=True)
    thread.start()
    while True:
        go.put("go")
        done.get()
        yield


if __name__ == "__main__":
    measure(epochs, [name for name in sys.argv[1:] if name not in OPTIONS])
