"""What a model takes: one declaration, which checks, building, prediction, scoring and export follow."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from keras_vae.datasets.cells import is_table
from keras_vae.datasets.columns import rows_of_table
from keras_vae.datasets.frames import as_given
from keras_vae.distributions import DistributionLayer

F = TypeVar("F", bound=Callable)


class Maybe(NamedTuple):
    """A tensor that some examples do not have.

    Attributes:
        value: shape (batch, ...), zeros where it is missing.
        known: bool, shape (batch,).
    """

    value: tf.Tensor
    known: tf.Tensor

    def with_nan(self) -> tf.Tensor:
        """The value, float32, NaN where it is missing."""
        value = tf.cast(self.value, tf.float32)
        return tf.where(tf.reshape(self.known, [-1, *[1] * (len(value.shape) - 1)]), value, float("nan"))


@dataclass(frozen=True)
class Field:
    """One tensor of a batch.

    Attributes:
        shape: of one example, None for an axis of any length; None instead of a shape leaves all axes open.
        name: what the served input is called.
        dtype: what it is cast to; None is that of the values of `observed`, or float32.
        words: what messages call it.
        observed: the layer whose draws the values are, for a part of the observation: its support is checked.
        optional: whether examples may lack it: those whose values are NaN, or all of them. `call` gets a `Maybe`.
        instead: None, or a `NamedTuple` of tensors that may stand in the place of the values; `call` gets it as it is.
    """

    shape: tuple[int | None, ...] | None
    name: str = "x"
    dtype: Any = None
    words: str = "data"
    observed: DistributionLayer | None = None
    optional: bool = False
    instead: type | None = None

    def __post_init__(self):
        if self.dtype is None:
            object.__setattr__(self, "dtype", "float32" if self.observed is None else self.observed.value_dtype)

    def check_shape(self, owner: str, shape) -> None:
        """Raises `ValueError` for a shape, with the batch axis first, that is not the field's."""
        if self.shape is None or tf.TensorShape([None, *self.shape]).is_compatible_with(shape):
            return
        expected = ", ".join(["batch", *("any" if size is None else str(size) for size in self.shape)])
        raise ValueError(
            f"{owner} needs {self.words} of shape ({expected}). Received: {tuple(shape)}.{self._hint(tuple(shape))}"
        )

    def _hint(self, given: tuple) -> str:
        """What makes the shape right, where its axes say so."""
        wanted = self.shape or ()
        if self.observed is None and len(given) == len(wanted) == 1:
            return " Make one-hot vectors of labels: keras.utils.to_categorical."
        if len(given) == 4 and (*given[2:], given[1]) == wanted:
            return " These are channels first: np.moveaxis(x, 1, -1) moves them."
        if given[1:] == wanted[:-1] and wanted[-1:] == (1,):
            return " The axis of one channel is missing: x[..., None] adds it."
        return " One example is a batch too: x[None]." if given == wanted else ""

    def rows_of(self, value):
        """Rows of numbers of a frame or a dictionary of columns, by the names in `observed`; anything else as it is.

        A layer whose values users have in other forms, such as texts, says what rows they are (`rows_of`).

        Raises:
            ValueError: for a column that is not there, and for cells of another kind.
        """
        if self.observed is not None and hasattr(self.observed, "rows_of") and not isinstance(value, Maybe):
            return self.observed.rows_of(value)
        if self.observed is None or isinstance(value, str) or not is_table(value):
            return value
        if isinstance(value, dict) and any(tf.is_tensor(column) for column in value.values()):
            return value  # a batch of a dataset
        return rows_of_table(self.observed, value)

    def tensor(self, owner: str, value) -> tf.Tensor | Maybe:
        """The tensor that `call` gets, shape (batch, *shape)."""
        if isinstance(value, Maybe) or self.is_instead(value):
            return value
        value = self.rows_of(value)
        value = value if tf.is_tensor(value) else np.asarray(value)
        if (tf.as_dtype(value.dtype) == tf.string) or getattr(value.dtype, "kind", "f") in "OUS":
            raise ValueError(f"{owner} needs {self.words} that are numbers. Received: dtype {value.dtype}.")
        self.check_shape(owner, value.shape)
        value = tf.cast(tf.convert_to_tensor(value), self.dtype)
        return _maybe(value) if self.optional else value

    def is_instead(self, value) -> bool:
        """Whether this stands in the place of values."""
        return self.instead is not None and isinstance(value, self.instead)

    def contains(self, value: tf.Tensor) -> tf.Tensor:
        """Whether a model could use all values of a batch, a bool scalar."""
        if self.optional or self.is_instead(value):
            return tf.constant(True)
        if self.observed is not None:
            return tf.reduce_all(self.observed.support.contains(tf.cast(value, tf.float32)))
        value = tf.convert_to_tensor(value)
        return tf.reduce_all(tf.math.is_finite(value)) if value.dtype.is_floating else tf.constant(True)

    def example(self, lead: int = 1) -> tf.Tensor | Maybe:
        """Zeros, of batch size 1; axes of any length have the length 1."""
        value = tf.zeros([lead, *(size or 1 for size in self.shape or ())], self.dtype)
        return Maybe(value, tf.ones([lead], tf.bool)) if self.optional else value

    def spec(self) -> tf.TensorSpec:
        """Of a served input, any batch size."""
        return tf.TensorSpec(None if self.shape is None else [None, *self.shape], self.dtype, name=self.name)


def _by_field(declared, given) -> list:
    """What was given for each field of a structure, in the order in which `tf.nest` flattens it."""
    if isinstance(declared, Field):
        return [given]
    keys = sorted(declared) if isinstance(declared, dict) else range(len(declared))
    return [value for key in keys for value in _by_field(declared[key], given[key])]


def _itself(field: Field, value):
    return value


@dataclass(frozen=True)
class Inputs:
    """What a model takes for each batch.

    Attributes:
        x: a `Field`, or a dictionary or tuple of them: what Keras calls x.
        y: None, or the same of what Keras calls y; `call` then gets the pair (x, y).
    """

    x: Any
    y: Any = None

    def of(self, owner: str, x, y=None):
        """What `call` takes, tensors, of the data and targets of a batch."""
        return self.matched(owner, x, y, lambda field, value: field.tensor(owner, value))

    @property
    def structure(self):
        """Of what `call` takes."""
        return self.x if self.y is None else (self.x, self.y)

    @property
    def fields(self) -> list[Field]:
        """All fields, in the order in which `tf.nest` flattens them."""
        return tf.nest.flatten(self.structure)

    def matched(self, owner: str, x, y=None, leaf: Callable[[Field, Any], Any] = _itself):
        """`leaf` of each field and what was given for it, in the declared structure.

        Raises:
            ValueError: for data of another structure, and without the targets that are needed.
        """
        if self.y is None:
            return _as_declared(owner, "x", self.x, x, leaf)
        if y is None and isinstance(x, tuple | list) and len(x) == 2 and not self.stands_for_x(x):
            x, y = x
        if y is None:
            y = self._no_targets(owner, x)
        return _as_declared(owner, "x", self.x, x, leaf), _as_declared(owner, "y", self.y, y, leaf)

    def stands_for_x(self, given) -> bool:
        """Whether this stands in the place of x, though it is a tuple."""
        return isinstance(self.x, Field) and self.x.is_instead(given)

    def _no_targets(self, owner: str, x):
        """What stands for targets that were not given: NaN, where they are optional."""
        fields = tf.nest.flatten(self.y)
        if all(field.optional for field in fields):
            size = _length(tf.nest.flatten(self.x.rows_of(x) if isinstance(self.x, Field) else x)[0])
            return tf.nest.map_structure(lambda field: tf.fill([size, *field.shape], np.float32(np.nan)), self.y)
        words = " and ".join(dict.fromkeys(field.words.removesuffix("s") for field in fields))
        raise ValueError(
            f"{owner} needs the {words} of each example as y: fit(x, y), evaluate(x, y), datasets of pairs, "
            "predict((x, y)). Received: y=None."
        )

    def flat(self, inputs) -> list:
        """What was given for each field, in the order of `fields`."""
        return _by_field(self.structure, inputs)

    def example(self, x=None):
        """What `call` takes, of batch size 1: the observation `x` where it is given, and zeros."""
        made = tf.nest.map_structure(Field.example, self.structure)
        if x is None:
            return made
        return x if self.y is None else (x, made[1])

    def specs(self) -> list[tf.TensorSpec]:
        """Of served inputs."""
        return [field.spec() for field in self.fields]


def answers_frames(reconstruct: F) -> F:
    """A method `reconstruct` that gives observations: of a frame, table or dictionary of columns another one.

    Args:
        reconstruct: from what the model takes to rows of observations. Where there are targets, the first argument may
            be the pair (x, y).
    """

    @functools.wraps(reconstruct)
    def answered(self, x, *args, **kwargs):
        return answer_of(self, x, reconstruct(self, x, *args, **kwargs))

    # AutoGraph would call what is wrapped in its place, without the model. What it takes is still to be seen.
    del answered.__wrapped__
    answered.__signature__ = inspect.signature(reconstruct)  # type: ignore[attr-defined]
    answered.answers_frames = True  # type: ignore[attr-defined]
    return answered  # type: ignore[return-value]


def answer_of(model, x, rows):
    """What `predict` and `reconstruct` give for `x`: `rows` as they are, or in the form of a frame; see `as_given`.

    Args:
        model: whose `reconstruct` gives observations where it is one of `answers_frames`, and else who knows what.
        x: as it was given.
        rows: what `reconstruct` gives for its tensors.
    """
    if not getattr(model.reconstruct, "answers_frames", False):
        return rows
    x = x[0] if model.takes.y is not None and isinstance(x, tuple | list) else x
    return as_given(model.takes.x.observed, x, rows)


def _as_declared(owner: str, name: str, declared, given, leaf):
    """`leaf` of each field and its value, or `ValueError` that says what the structure is."""
    if isinstance(declared, Field):
        if declared.is_instead(given):
            return leaf(declared, given)
        given = declared.rows_of(given)
        if isinstance(given, dict) or (isinstance(given, tuple) and not isinstance(given, Maybe)):
            raise ValueError(f"{owner} needs {name} to be one array. Received: {_description(given)}.")
        return leaf(declared, given)
    if isinstance(declared, dict):
        if not isinstance(given, dict) or set(declared) - set(given):
            raise ValueError(
                f"{owner} needs {name} to be a dictionary of {', '.join(declared)}. Received: {_description(given)}."
            )
        return {key: _as_declared(owner, f"{name}[{key!r}]", declared[key], given[key], leaf) for key in declared}
    if not isinstance(given, tuple | list) or len(given) != len(declared):
        raise ValueError(f"{owner} needs {name} to be {len(declared)} arrays. Received: {_description(given)}.")
    parts = enumerate(zip(declared, given, strict=True))
    return tuple(_as_declared(owner, f"{name}[{number}]", *pair, leaf) for number, pair in parts)


def _description(given) -> str:
    if isinstance(given, dict):
        return "a dictionary of " + ", ".join(map(str, given))
    if isinstance(given, tuple | list):
        return f"a {type(given).__name__} of {len(given)}"
    shape = getattr(given, "shape", None)
    return f"a {type(given).__name__}" + ("" if shape is None else f" of shape {tuple(shape)}")


def _length(array):
    return tf.shape(array)[0] if tf.is_tensor(array) else len(array)


def _maybe(value: tf.Tensor) -> Maybe:
    if not value.dtype.is_floating:
        return Maybe(value, tf.ones([tf.shape(value)[0]], tf.bool))
    missing = tf.math.is_nan(value)
    axes = list(range(1, len(value.shape)))
    return Maybe(tf.where(missing, 0.0, value), ~tf.reduce_any(missing, axis=axes))
