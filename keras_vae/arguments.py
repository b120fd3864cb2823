"""Numbers that constructors and methods take, checked before anything is done."""

import numbers

import numpy as np
import tensorflow as tf


def positive(owner: object, name: str, value: float) -> float:
    """`value` as a float; raises `ValueError` that names the class of `owner` for what is not a positive number."""
    return _number(owner, name, value, "a positive number", lambda number: 0 < number < float("inf"))


def not_negative(owner: object, name: str, value: float) -> float:
    """`value` as a float; raises `ValueError` for what is not a number of 0 or more."""
    return _number(owner, name, value, "a number, 0 or more", lambda number: 0 <= number < float("inf"))


def fraction(owner: object, name: str, value: float) -> float:
    """`value` as a float; raises `ValueError` for what is not a number of 0 or more and less than 1."""
    return _number(owner, name, value, "a number of 0 or more and less than 1", lambda number: 0 <= number < 1)


def whole_number(owner: object, name: str, value: int, least: int = 1) -> int:
    """`value` as an int; raises `ValueError` for what is not an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(
            f"{_title(owner)} needs {name} to be a whole number, {least} or more. Received: {name}={value!r}."
        )
    return int(value)


def whole_seed(owner: object, value: int) -> int:
    """`value` as an int; raises `ValueError` for what is not an integer that fits into 32 bits."""
    if tf.is_tensor(value) or not _is_seed(value) or np.ndim(value):
        raise ValueError(f"{_title(owner)} needs seed to be a whole number, {_RANGE}. Received: seed={value!r}.")
    return int(value)


def any_seed(owner: object, value):
    """`value` as it is: an integer, a pair of them, or an int32 tensor of shape () or (2,), else `ValueError`."""
    if not _is_seed(value):
        raise ValueError(
            f"{_title(owner)} needs seed to be a whole number, {_RANGE}, a pair of them, or an int32 tensor of shape "
            f"() or (2,). Received: seed={value!r}."
        )
    return value


_RANGE = "from -2,147,483,648 to 2,147,483,647"


def _is_seed(value) -> bool:
    if tf.is_tensor(value):
        return value.dtype == tf.int32 and (value.shape.rank in (None, 0) or value.shape.is_compatible_with([2]))
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return False
    whole = array.dtype.kind in "iu" and array.shape in ((), (2,))
    return bool(whole and (array >= -(2**31)).all() and (array < 2**31).all())


def _title(owner: object) -> str:
    return owner if isinstance(owner, str) else type(owner).__name__


def _number(owner: object, name: str, value: float, needed: str, fits) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not fits(value):
        raise ValueError(f"{_title(owner)} needs {name} to be {needed}. Received: {name}={value!r}.")
    return float(value)
