"""Values that a layer could have, but that look as if they were in other units."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class OtherUnits:
    """Batches that are refused though each value alone may be there: by their range, and perhaps for whole numbers.

    Attributes:
        above, most: the largest value of such a batch is above the one, and at most the other; none is below 0.
        whole: whether all of its values are whole numbers.
        needed: the end of the sentence "... needs values ...", with its full stop: "of about size 1."
        values: what they are: "whole numbers".
        as_are: what has such values: "as grey levels of images are".
        advice: what to do, a sentence.
    """

    above: float
    most: float
    whole: bool
    needed: str
    values: str
    as_are: str
    advice: str

    def check(self, title: str, values: np.ndarray, name: str) -> None:
        """Raises `ValueError` for an array of such values.

        Args:
            title: what needs others.
            values: array.
            name: what the message calls them.
        """
        if not values.size:
            return
        low, high = values.min(), values.max()
        if self._is_range(low, high) and (not self.whole or (values == np.round(values)).all()):
            raise ValueError("".join(self._message(title, name, f"{low:g}", f"{high:g}")))

    def seen_in(self, title: str, values: tf.Tensor, name: str) -> tuple[tf.Tensor, list]:
        """The same in a graph: whether these are such values, a bool scalar, and the message in parts to be joined."""
        low, high = tf.reduce_min(values), tf.reduce_max(values)
        seen = self._is_range(low, high)
        if self.whole:
            seen &= tf.reduce_all(tf.equal(values, tf.round(values)))
        return seen, self._message(title, name, *(tf.strings.as_string(edge, shortest=True) for edge in (low, high)))

    def _is_range(self, low, high):
        return (low >= 0) & (high > self.above) & (high <= self.most)

    def _message(self, title: str, name: str, low, high) -> list:
        received = [f"Received: {self.values} from ", low, " to ", high]
        return [f"{title} needs {name} {self.needed} ", *received, f", {self.as_are}. {self.advice}"]
