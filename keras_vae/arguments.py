"""Numbers that constructors take, checked before anything is built."""

import numbers


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
            f"{type(owner).__name__} needs {name} to be a whole number, {least} or more. Received: {name}={value!r}."
        )
    return int(value)


def _number(owner: object, name: str, value: float, needed: str, fits) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not fits(value):
        raise ValueError(f"{type(owner).__name__} needs {name} to be {needed}. Received: {name}={value!r}.")
    return float(value)
