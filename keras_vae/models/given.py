"""Data in the forms that Keras takes: arrays, datasets, sequences and generators of batches."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae.batches import IndexedBatches, array_batches
from keras_vae.models.inputs import Field, Inputs, Maybe

UNREADABLE = "batch number"  # in the message of a batch that a dataset refuses


@dataclass(frozen=True)
class Given:
    """What a method was given.

    Attributes:
        owner: "VAE.fit", for messages.
        arrays: what `call` takes, of all examples, and their weights or None; None for data that come in batches.
        batches: a `tf.data.Dataset`, `PyDataset`, generator, or what only Keras can read; None for arrays.
        first: what `call` takes, NumPy arrays, of the first batch, or of all examples in memory; None where only Keras
            can read it.
    """

    owner: str
    arrays: Any
    batches: Any
    first: Any

    @property
    def size(self) -> Any:
        """The number of examples in `first`; None where only Keras can read it."""
        return None if self.first is None else len(tf.nest.flatten(self.first)[0])

    def first_batch(self, batch_size: int | None) -> list[np.ndarray] | None:
        """The arrays of the first batch; None where only Keras can read it."""
        if self.first is None:
            return None
        size = self.size if self.arrays is None else (batch_size or 32)
        return [array[:size] for array in tf.nest.flatten(self.first)]

    def split(self, fraction: float) -> tuple["Given", "Given"]:
        """The first examples and the last `fraction` of them, as Keras splits."""
        if self.arrays is None:
            raise ValueError(f"{self.owner} needs x to be an array for validation_split. Received: {self.batches!r}.")
        at = int(self.size * (1 - fraction))
        if not 0 < at < self.size:
            raise ValueError(
                f"{self.owner} needs validation_split to leave examples on both sides. "
                f"Received: {fraction} of {self.size} examples."
            )
        return self._part(np.s_[:at]), self._part(np.s_[at:])

    def _part(self, rows: slice) -> "Given":
        inputs, weights = self.arrays
        inputs = tf.nest.map_structure(lambda array: array[rows], inputs)
        return Given(self.owner, (inputs, None if weights is None else weights[rows]), None, inputs)

    def in_batches(self, inputs: Inputs, batch_size: int | None):
        """A dataset of batches as Keras unpacks them, (x, y, sample_weight); data in batches as they are."""
        batches = self.to_train_on(inputs, batch_size, shuffle=False, seed=0)
        return batches.by_epoch() if isinstance(batches, IndexedBatches) else batches

    def to_train_on(self, inputs: Inputs, batch_size: int | None, shuffle: bool, seed: int):
        """The same before a dataset is made of them, which takes time: `fit` makes another one."""
        if self.arrays is None:
            return self.batches
        call_inputs, weights = self.arrays
        x, y = call_inputs if inputs.y is not None else (call_inputs, None)
        packed: tuple = (x,) if y is None else (x, y)
        if weights is not None:
            packed = (x, weights if y is None else y, weights)  # Keras drops weights that come without targets
        return array_batches(packed, batch_size or 32, shuffle, seed)


def given(owner: str, inputs: Inputs, x, y=None, sample_weight=None) -> Given:
    """What was given, read as the model's inputs.

    Args:
        owner: "VAE.fit", for messages.
        inputs: what the model takes.
        x, y, sample_weight: of a method of Keras.

    Raises:
        ValueError: for data of no examples, of another structure, and arrays that differ in length.
    """
    if not _in_memory(x):
        batches, first = _peek(owner, inputs, _whole(inputs, x))
        if first is not None:
            first = _read(owner, inputs, *first[:2])
        return Given(owner, None, batches, first)
    arrays = _read(owner, inputs, x, y)
    lengths = {f"{len(array):,}" if array.ndim else "no" for array in tf.nest.flatten(arrays)}
    for name, part in {"y": y, "sample_weight": sample_weight}.items():
        lengths |= {f"{len(leaf):,} in {name}" for leaf in _leaves(part) if f"{len(leaf):,}" not in lengths}
    if lengths == {"0"} or "no" in lengths:
        raise ValueError(f"{owner} needs at least one example. Received: empty data.")
    if len(lengths) > 1:
        raise ValueError(
            f"{owner} needs as many of each as there are examples. Received: {', '.join(sorted(lengths))}."
        )
    return Given(owner, (arrays, _weights(owner, sample_weight)), None, arrays)


def as_array(owner: str, value, dtype: str = "float32") -> np.ndarray:
    """`value` as a NumPy array, NaN where it was masked.

    Args:
        owner: "VAE.fit", for messages.
        value: an array, frame or list.
        dtype: of the field that it is for: float64 values become float32 unless it is float64.

    Raises:
        ValueError: for what is no dense array of numbers.
    """
    if isinstance(value, tf.RaggedTensor | tf.SparseTensor) or hasattr(value, "toarray"):
        raise ValueError(
            f"{owner} needs dense arrays, all examples of one shape. Received: a {type(value).__name__}; its "
            "to_tensor(), tf.sparse.to_dense(...) or toarray() is one."
        )
    if np.ma.isMaskedArray(value):
        value = np.ma.filled(value.astype(np.float64), np.nan)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{owner} needs arrays, all examples of one shape. Received: {error}") from None
    if array.dtype == object:
        raise ValueError(
            f"{owner} needs arrays of numbers, all examples of one shape. Received: a {type(value).__name__} of "
            f"{array.dtype} values."
        )
    return array.astype(np.float32) if array.dtype == np.float64 and dtype != "float64" else array


def _in_memory(x) -> bool:
    return hasattr(x, "__array__") or isinstance(x, dict | list | tuple | tf.RaggedTensor | tf.SparseTensor)


def _read(owner: str, inputs: Inputs, x, y):
    """What `call` takes, as NumPy arrays."""

    def leaf(field: Field, value):
        if field.is_instead(value):
            return tf.nest.map_structure(np.asarray, value)
        value = value.with_nan() if isinstance(value, Maybe) else value
        return as_array(owner, value, field.dtype)

    return inputs.matched(owner.split(".")[0], x, y, leaf)


def _leaves(part) -> list:
    if part is None:
        return []
    return list(part.values()) if isinstance(part, dict) else [part]


def _weights(owner: str, sample_weight) -> np.ndarray | None:
    """Weights of examples, shape (examples,)."""
    if sample_weight is None:
        return None
    weights = as_array(owner, sample_weight)
    if weights.shape not in ((len(weights),), (len(weights), 1)) or weights.dtype.kind not in "biuf":
        raise ValueError(
            f"{owner} needs sample weights of shape (examples,), numbers. Received: shape {weights.shape}, dtype "
            f"{weights.dtype}."
        )
    if not np.isfinite(weights).all():
        raise ValueError(f"{owner} needs finite sample weights. Received: some that are NaN or infinite.")
    return weights.reshape(-1).astype(np.float32)


def _peek(owner: str, inputs: Inputs, x) -> tuple[Any, tuple | None]:
    """`x`, as good as new, and its first batch, (x, y, sample_weight); None for what only Keras can read."""
    if isinstance(x, keras.utils.PyDataset):
        first = x[0] if len(x) else None
    elif isinstance(x, tf.data.Dataset):
        first = next(iter(x.take(1)), None)
    elif hasattr(x, "__next__"):
        first = next(x, None)
        if first is not None:
            x = _chained(first, x)
    else:
        return x, None
    if inputs.stands_for_x(first):
        raise ValueError(
            f"{owner} needs {type(first).__name__} alone in a tuple, (kept,), of which Keras takes nothing apart. "
            f"Received: {type(first).__name__} from batches that are not a tf.data.Dataset."
        )
    first = None if first is None else keras.utils.unpack_x_y_sample_weight(first)
    if first is None or any(leaf.shape[:1] == (0,) for leaf in tf.nest.flatten(first[0]) if hasattr(leaf, "shape")):
        raise ValueError(f"{owner} needs at least one example. Received: empty data.")
    return _without_texts(x), first


def _whole(inputs: Inputs, x):
    """A dataset of tuples that stand in the place of x, with each of them in a tuple: Keras would take them apart."""
    if not isinstance(x, tf.data.Dataset) or not inputs.stands_for_x(x.element_spec):
        return x
    return x.map(tf.autograph.experimental.do_not_convert(lambda kept: (kept,)))


def _without_texts(x):
    """A dataset of pairs without targets that are texts, which no step could take."""
    if not isinstance(x, tf.data.Dataset) or not isinstance(x.element_spec, tuple) or len(x.element_spec) != 2:
        return x
    targets = tf.nest.flatten(x.element_spec[1])
    return x.map(_first) if any(getattr(spec, "dtype", None) == tf.string for spec in targets) else x


@tf.autograph.experimental.do_not_convert
def _first(x, _):
    return (x,)


def _chained(first, rest) -> Iterator[tuple]:
    for batch in itertools.chain([first], rest):
        yield batch if isinstance(batch, tuple) else (batch,)  # Keras takes only tuples from a generator


def watched(batches, contains, check):
    """The same batches, which end with an error at the first one that the model can not use.

    Args:
        batches: a `tf.data.Dataset`, `PyDataset` or generator; anything else is returned as it is.
        contains: from a batch of tensors, as Keras unpacks it, to whether all of its values are allowed.
        check: from a batch and its number, counted from 1; raises `ValueError`.
    """
    if isinstance(batches, tf.data.Dataset):

        @tf.autograph.experimental.do_not_convert
        def checked(number, *batch):
            with tf.control_dependencies([tf.debugging.Assert(contains(batch), [UNREADABLE, number + 1])]):
                whole = len(batch) > 1 or isinstance(batch[0], tuple)  # which Keras would take apart
                return tf.nest.map_structure(tf.identity, batch if whole else batch[0])

        cardinality = batches.cardinality()
        made = tf.data.Dataset.zip(tf.data.Dataset.counter(), batches).map(
            lambda number, batch: checked(number, *(batch if isinstance(batch, tuple) else (batch,)))
        )
        known = cardinality != tf.data.UNKNOWN_CARDINALITY
        return made.apply(tf.data.experimental.assert_cardinality(cardinality)) if known else made
    if isinstance(batches, keras.utils.PyDataset):
        return _WatchedSequence(batches, check)
    if hasattr(batches, "__next__"):
        return _watched(batches, check)
    return batches


def number_of_batch(error: tf.errors.InvalidArgumentError) -> int | None:
    """The number of the batch that a dataset of `watched` has refused; None for any other error."""
    found = re.search(rf"{UNREADABLE}[\]\s\[]*(\d+)", str(error))
    return None if found is None else int(found[1])


def _watched(batches, check) -> Iterator[tuple]:
    for number, batch in enumerate(batches):
        check(batch, number + 1)
        yield batch


class _WatchedSequence(keras.utils.PyDataset):
    def __init__(self, batches: keras.utils.PyDataset, check):
        super().__init__(batches.workers, batches.use_multiprocessing, batches.max_queue_size)
        self.batches, self.check = batches, check

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index):
        batch = self.batches[index]
        self.check(batch, index + 1)
        return batch

    def on_epoch_begin(self):
        self.batches.on_epoch_begin()

    def on_epoch_end(self):
        self.batches.on_epoch_end()
