"""Model -> SavedModel, for TF Serving and every other TensorFlow runtime."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.saved_model.experimental import TrackableResource

from keras_vae.files import replacing
from keras_vae.keras_names import layers_of

Signature = tuple[Callable, list[tf.TensorSpec]]


def write_saved_model(
    model: keras.Model,
    signatures: dict[str, Signature],
    path: str | os.PathLike,
    verbose: bool = False,
    others: Sequence[keras.Model] = (),
) -> None:
    """Writes a SavedModel that runs without this package, in one step.

    Args:
        model: whose weights the signatures use.
        signatures: by name, a function from tensors to a flat dict of named tensors, and the specs of its inputs, whose
            names are those of the served inputs.
        path: a folder that does not exist yet; its last part is the version that TF Serving looks for, "digits/1".
        verbose: whether to print the signatures.
        others: further models whose weights they use.

    Raises:
        FileExistsError: when there is something at `path`.
        OSError: where it can not be written.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(
            f"{type(model).__name__}.export needs a folder that does not exist yet, such as the next version of a "
            f"served model. Received: {path}, which exists."
        )
    # Nothing but the signatures: of a function that the saved object itself has, TensorFlow would trace one more.
    models = [model, *others]
    weights = [weight.value for each in models for weight in each.weights]
    root = tf.train.Checkpoint(variables=weights, tables=[table for each in models for table in _tables(each)])
    served = {name: tf.function(function, inputs, autograph=False) for name, (function, inputs) in signatures.items()}
    with replacing(path) as temporary:
        try:
            tf.saved_model.save(root, str(temporary), signatures=served)
        except tf.errors.OpError as error:
            why = error.message.partition(" [Op:")[0].rpartition("; ")[2]
            raise OSError(
                f"{type(model).__name__}.export needs a place that can be written to. Received: {path}: {why}"
            ) from error
    if verbose:
        for name, function in served.items():
            print(f"{name}: {function.pretty_printed_concrete_signatures()}")


def _tables(model: keras.Model) -> list[TrackableResource]:
    """Of layers such as `IntegerLookup`."""
    values = [value for layer in layers_of(model) for value in vars(layer).values()]
    return [value for value in values if isinstance(value, TrackableResource)]
