"""The names that Keras and TensorFlow do not promise to keep: each is used here and nowhere else.

`tests/test_keras_names.py` holds each of them against what it is used for, and setup.py pins the minor versions.
"""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf


class BuiltBeforehand:
    """A mixin of models whose weights are there before `fit` runs: Keras traces no step to build them."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Keras would trace a step here, which fails for several workers."""


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """The model and all layers inside of it, at every depth."""
    return list(model._flatten_layers())


def loss_mean(model: keras.Model) -> keras.metrics.Mean:
    """The metric `loss`, which `compile` makes."""
    return model._loss_tracker


@contextlib.contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator:
    """Inside of the block a built layer may get other sublayers; yields what untracks one."""
    locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        yield layer._tracker.untrack
    finally:
        if locked:
            layer._tracker.lock()


def validates_for_fit(options: dict) -> bool:
    """Whether `evaluate` was called by `fit`, which has looked at the data, from its other arguments."""
    return bool(options.get("_use_cached_eval_dataset"))


def steps_of_validation(model: keras.Model) -> int:
    """Steps for each call that `fit` has chosen for the validation under way."""
    return model._eval_epoch_iterator.steps_per_execution


def start_at(model: keras.Model, epoch: int | None) -> None:
    """Tells the `fit` that begins to start at this epoch, as Keras's own BackupAndRestore does; None forgets it."""
    model._initial_epoch = epoch


def starts_at(model: keras.Model) -> int | None:
    """What `start_at` was told."""
    return model._initial_epoch


def batches_trained(optimizer: keras.optimizers.Optimizer):
    """Batches that an optimizer has seen, which under gradient accumulation are more than its `iterations`."""
    return getattr(optimizer, "inner_optimizer", optimizer)._iterations


def profiles(callback: keras.callbacks.TensorBoard) -> bool:
    """Whether a callback looks at single batches to profile them."""
    return callback._should_trace


def without_warnings(function):
    """A `tf.function` that each model has anew: no reason to warn of the fifth that is traced."""
    function._omit_frequent_tracing_warning = True
    return function


def inputs_of(dataset: tf.data.Dataset) -> list[tf.data.Dataset]:
    """The datasets that a dataset was directly made of."""
    return list(dataset._inputs())


class SameDataset(tf.data.Dataset):
    """A dataset with the elements of another one, to be subclassed by those that know more about it."""

    def __init__(self, dataset: tf.data.Dataset):
        self._dataset = dataset
        super().__init__(dataset._variant_tensor)

    def _inputs(self):
        return [self._dataset]

    @property
    def element_spec(self):
        """Shapes and types of the elements."""
        return self._dataset.element_spec


def kind_of(dataset: tf.data.Dataset) -> str:
    """What the last step of a dataset does, in a word: "shuffle", "cache", ..."""
    return type(dataset).__name__.removeprefix("_").removesuffix("Dataset").lower()
