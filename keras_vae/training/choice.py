"""What is chosen where the user leaves it open: XLA or not, and how many steps for each call of the runtime."""

import math
from collections.abc import Iterable

import keras
import tensorflow as tf

from keras_vae import keras_names
from keras_vae.replicas import one_device

STEPS = 50  # the most steps of one call; the progress bar moves once for each call
BYTES = 2**25  # the most memory for the batches of one call
LAYERS = 200  # beyond, compilation takes so much longer that steps hardly earn it back

# What TensorFlow runs faster than XLA on a CPU: convolutions by oneDNN, recurrent layers by its own loops, and the
# numbers of Keras's generator. Benchmarks: training_speed.py, xla_by_layer.py.
CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def prefers_xla(model: keras.Model) -> bool:
    """Whether XLA is the faster way to train a model here, compilation included, and one that its layers allow.

    It is on a GPU, and on a CPU but for models with convolutions, recurrent layers, random layers of Keras, or more
    than 200 layers. A strategy with several replicas runs without XLA; one on TPUs always compiles.
    """
    layers = keras_names.layers_of(model)
    if not one_device(model.distribute_strategy) or not all(layer.supports_jit for layer in layers):
        return False
    if tf.config.list_logical_devices("GPU"):
        return True
    return len(layers) <= LAYERS and not any(map(_slow_on_cpu, layers))


def _slow_on_cpu(layer: keras.layers.Layer) -> bool:
    draws = isinstance(getattr(layer, "seed_generator", None), keras.random.SeedGenerator)
    return draws or isinstance(layer, (*CONVOLUTIONS, keras.layers.RNN))


def steps_for(batches, bytes_of_batch: int, callbacks: Iterable, count: int | None = None, kind: str = "train") -> int:
    """A number of steps for each call: at most STEPS, and 1 where a callback looks at single batches.

    An epoch has two calls or more, of equal length: its first full batches need not wait for the program that a smaller
    last one takes, and the progress bar moves before its end.

    Args:
        batches: what Keras will run over: a `tf.data.Dataset`, or data of any other kind, which get 1.
        bytes_of_batch: the memory of one batch.
        callbacks: those of the user.
        count: number of steps of a pass over the data; None is as many as there are batches.
        kind: "train" or "test".
    """
    if not isinstance(batches, tf.data.Dataset) or any(_looks_at_batches(callback, kind) for callback in callbacks):
        return 1
    specs = tf.nest.flatten(batches.element_spec)
    if not all(isinstance(spec, tf.TensorSpec) and spec.shape.rank for spec in specs):
        return 1
    most = min(STEPS, max(1, BYTES // max(1, bytes_of_batch)))
    count = int(batches.cardinality()) if count is None else count
    if count < 1:
        return most
    calls = max(math.ceil(count / most), min(2, count // 2))
    return math.ceil(count / calls)


def sizes_of_calls(count: int, steps: int) -> list[int]:
    """The steps of each call in an epoch of `count` steps, `steps` at most.

    >>> sizes_of_calls(7, 3)
    [3, 3, 1]
    """
    return [min(steps, count - first) for first in range(0, count, steps)]


HOOKS = {
    "train": ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
}
SAVE_AT_STEPS = (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore, keras.callbacks.OrbaxCheckpoint)


def _looks_at_batches(callback: keras.callbacks.Callback, kind: str) -> bool:
    if isinstance(callback, SAVE_AT_STEPS):
        return callback.save_freq not in ("epoch", False)
    if isinstance(callback, keras.callbacks.TensorBoard):
        profiles = keras_names.profiles(callback)
        return callback.update_freq != "epoch" or callback.write_steps_per_second or profiles
    if isinstance(callback, keras.callbacks.TerminateOnNaN | keras.callbacks.ProgbarLogger):
        return False  # the figures of a call are means that a NaN of any step makes NaN
    hooks = {name: getattr(callback, name) for name in HOOKS[kind]}
    return any(
        getattr(hook, "__func__", hook) is not getattr(keras.callbacks.Callback, name) for name, hook in hooks.items()
    )
