"""Rows of a table, served as columns by name: texts for categories, numbers in their own units."""

import keyword
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_vae.distributions import Categorical, Columns, DistributionLayer, Standardized
from keras_vae.serving.inputs import Rows, only_if


@dataclass(frozen=True)
class ServedColumn:
    """One column of a request or an answer.

    Args:
        name: of the column.
        served: what the input and the output are called.
        categories: in the order of their codes; empty for numbers.
        dtype: of the numbers.
    """

    name: str
    served: str
    categories: tuple[str, ...]
    dtype: str

    @property
    def rows(self) -> Rows:
        """The served input, one cell for each row."""
        return Rows(self.served, (), None, "string" if self.categories else self.dtype)

    def numbers(self, title: str, cells: tf.Tensor) -> tf.Tensor:
        """The numbers of cells, shape (batch,): codes of categories, NaN where a text is empty; refuses others."""
        if not self.categories:
            return cells
        texts = tf.strings.strip(cells)
        found = tf.equal(texts[:, None], tf.constant(self.categories))  # [batch, categories]
        missing = tf.equal(texts, "")
        unknown = tf.boolean_mask(texts, ~(tf.reduce_any(found, axis=1) | missing))
        needed = ", ".join(self.categories[:6]) + (", ..." if len(self.categories) > 6 else "")
        first = tf.strings.reduce_join(unknown[:1])
        message = [f"{title} needs {self.served} to be one of {needed}. Received: ", first, "."]
        (found,) = only_if(tf.equal(tf.size(unknown), 0), message, found)
        return tf.where(missing, tf.constant(np.nan, self.dtype), tf.cast(tf.argmax(found, axis=1), self.dtype))

    def cells(self, numbers: tf.Tensor) -> tf.Tensor:
        """The cells of numbers that a model gives."""
        return tf.gather(self.categories, tf.cast(tf.round(numbers), tf.int32)) if self.categories else numbers


@dataclass(frozen=True)
class ServedTable:
    """The columns of an observation, in the order in which a model has them."""

    columns: tuple[ServedColumn, ...]

    @property
    def rows(self) -> list[Rows]:
        """The served inputs."""
        return [column.rows for column in self.columns]

    def joined(self, title: str, cells: Sequence[tf.Tensor]) -> tf.Tensor:
        """Rows of numbers, shape (batch, columns), of the cells by column, each of shape (batch,)."""
        numbers = [column.numbers(title, each) for column, each in zip(self.columns, cells, strict=True)]
        return tf.stack(numbers, axis=1)

    def split(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Cells by served name, each of shape (batch,), of rows, shape (batch, columns)."""
        return {column.served: column.cells(rows[:, place]) for place, column in enumerate(self.columns)}


def served_table(layer: DistributionLayer | None, taken: Collection[str]) -> ServedTable | None:
    """The table whose rows a layer has, or None for rows without names, or categories that have none.

    Args:
        layer: of an observation.
        taken: names that other inputs and outputs have.
    """
    if isinstance(layer, Columns):
        layers = {name: each.layer if isinstance(each, Standardized) else each for name, each in layer.columns.items()}
        texts = {name: tuple(getattr(each, "categories", None) or ()) for name, each in layers.items()}
        unknown = [name for name, each in layers.items() if isinstance(each, Categorical) and not texts[name]]
        if unknown or any(each.event_shape != (1,) for each in layers.values()):
            return None
    elif isinstance(layer, Standardized) and layer.names is not None:
        texts = dict.fromkeys(layer.names, ())
    else:
        return None
    columns: list[ServedColumn] = []
    for name, categories in texts.items():
        used = {*taken, *(column.served for column in columns)}
        columns.append(ServedColumn(name, _served_name(name, used), categories, layer.value_dtype))
    return ServedTable(tuple(columns))


def _served_name(name: str, used: Collection[str]) -> str:
    """A name of letters, digits and underscores that begins with a letter, as TensorFlow needs, and is not used yet."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "column"
    plain = plain if plain[0].isalpha() and not keyword.iskeyword(plain) else f"column_{plain}"
    numbered, number = plain, 1
    while numbered in used or re.fullmatch(r"z\d*", numbered):  # latent variables
        number += 1
        numbered = f"{plain}_{number}"
    return numbered
