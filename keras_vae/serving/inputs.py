"""Inputs of a served function, refused with INVALID_ARGUMENT and a text that says what they have to be.

A server feeds what it is sent, whatever was declared: shapes too are looked at when a request is there.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from keras_vae.distributions.other_units import OtherUnits
from keras_vae.distributions.supports import Support


@dataclass(frozen=True)
class Rows:
    """One row for each example, shape (batch, *shape).

    Args:
        name: of the served input.
        shape: of one row, None for an axis of any length.
        support: where the values are; None for any, whole numbers or NaN too.
        dtype: as a request has it.
        other_units: what all values of a request must not look like.
    """

    name: str
    shape: tuple[int | None, ...]
    support: Support | None
    dtype: str = "float32"
    other_units: OtherUnits | None = None

    @property
    def spec(self) -> tf.TensorSpec:
        """What a client sees."""
        return tf.TensorSpec([None, *self.shape], self.dtype, name=self.name)

    @property
    def parameter(self) -> inspect.Parameter:
        """Of a function that takes them."""
        return inspect.Parameter(self.name, inspect.Parameter.POSITIONAL_OR_KEYWORD)

    def checked(self, title: str, rows: tf.Tensor) -> tf.Tensor:
        """The rows, refused for another shape than the declared one, and for values in other units."""
        # As a text, which can be compared whatever the number of axes, and which nothing folds into a constant.
        received = text(tf.shape(rows))
        pattern = ", ".join(r"\d+" if size is None else str(size) for size in (None, *self.shape))
        needed = ", ".join(["batch", *("any" if size is None else str(size) for size in self.shape)])
        message = [f"{title} needs {self.name} of shape ({needed}). Received: shape (", received, ")."]
        (rows,) = only_if(tf.strings.regex_full_match(received, pattern), message, rows)
        if self.other_units is not None:
            # Of the whole request, as of a batch in Python: a chunk of it may be a dark image.
            seen, message = self.other_units.seen_in(title, rows, self.name)
            (rows,) = only_if(tf.equal(tf.cast(seen, tf.int32), 0), message, rows)  # no `not`, as in `check_values`
        return rows

    def check_values(self, title: str, rows: tf.Tensor) -> tf.Tensor:
        """The rows, refused where a value is outside of the support."""
        if self.support is None:
            return rows
        # Counted without a `not`: TensorFlow turns "not a < b" into "a >= b", which NaN passes.
        inside = self.support.contains(tf.cast(rows, tf.float32))
        count = tf.size(rows) - tf.reduce_sum(tf.cast(inside, tf.int32))
        message = [f"{title} needs {self.name} {self.support.needed} Received: ", tf.as_string(count), " other values."]
        (rows,) = only_if(tf.equal(count, 0), message, rows)
        return rows


@dataclass(frozen=True)
class Number:
    """One number.

    Args:
        name: of the served input.
        dtype: int32 or float32.
        least, most: limits, both allowed; None for none. A number with a least and no most has to be finite.
        default: what a request without it gets, baked into the signature; None where it has to be given.
    """

    name: str
    dtype: str
    least: float | None = None
    most: float | None = None
    default: float | None = None

    @property
    def spec(self) -> tf.TensorSpec:
        """What a client sees."""
        return tf.TensorSpec([], self.dtype, name=self.name)

    @property
    def parameter(self) -> inspect.Parameter:
        """Of a function that takes it; TensorFlow bakes defaults that are tensors into a signature, and no others."""
        default = inspect.Parameter.empty if self.default is None else tf.constant(self.default, self.dtype)
        return inspect.Parameter(self.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)

    def checked(self, title: str, number: tf.Tensor) -> tf.Tensor:
        """The number, refused where it is not a single one, or outside of the limits."""
        number = tf.ensure_shape(number, [])  # a shape without open axes is known while tracing, and so any text of it
        if self.least is None:
            return number
        most = number.dtype.max if self.most is None else self.most
        limits = f"to be finite, {self.least:g} or more" if self.most is None else f"from {self.least:,} to {most:,}"
        message = [f"{title} needs {self.name} {limits}. Received: {self.name}=", tf.as_string(number), "."]
        (number,) = only_if((number >= self.least) & (number <= most), message, number)
        return number


SEED = Number("seed", "int32", default=0)
TEMPERATURE = Number("temperature", "float32", least=0.0, default=1.0)


def only_if(condition: tf.Tensor, message: Sequence, *tensors: tf.Tensor) -> list[tf.Tensor]:
    """The tensors, for what depends on them to run only where the condition holds; else the message, joined."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [tf.strings.join(message)])]):
        return [tf.identity(tensor) for tensor in tensors]


def of_one_length(title: str, names: Sequence[str], batch: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The batch, refused where two inputs differ in their numbers of rows."""
    for name, part in list(zip(names, batch, strict=True))[1:]:
        lengths = tf.shape(batch[0])[0], tf.shape(part)[0]
        received = [tf.as_string(lengths[0]), " and ", tf.as_string(lengths[1]), "."]
        message = [f"{title} needs as many rows of {names[0]} as of {name}. Received: ", *received]
        batch = only_if(tf.equal(*lengths), message, *batch)
    return list(batch)


def finite(title: str, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The outputs, refused where one is not finite: of numbers so large that float32 does not hold what follows."""
    bad = [tf.reduce_any(~tf.math.is_finite(part)) for part in outputs.values() if part.dtype.is_floating]
    message = [f"{title} needs inputs whose answer is finite in float32. Received: others, for {', '.join(outputs)}."]
    return dict(zip(outputs, only_if(~tf.reduce_any(bad), message, *outputs.values()), strict=True))


def text(numbers: tf.Tensor) -> tf.Tensor:
    """Numbers of shape (n,) as "1, 2, 3"."""
    return tf.strings.reduce_join(tf.as_string(numbers), separator=", ")
