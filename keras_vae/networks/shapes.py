"""Shapes as users write them: 16 or (28, 28, 1)."""

from collections.abc import Sequence


def as_shape(shape: int | Sequence[int], owner: str) -> tuple[int, ...]:
    """`shape` as a tuple of positive integers; `owner` names the class or function in the error."""
    try:
        sizes = tuple(int(size) for size in shape) if isinstance(shape, Sequence) else (int(shape),)
        exact = sizes == (tuple(shape) if isinstance(shape, Sequence) else (shape,))
    except (TypeError, ValueError):
        exact = False
    if not exact or not sizes or min(sizes) < 1:
        raise ValueError(
            f"{owner} needs a shape without the batch axis, such as 16 or (28, 28, 1), of positive integers. "
            f"Received: {shape!r}."
        )
    return sizes


def image_shape(shape: Sequence[int], owner: str) -> tuple[int, ...]:
    """`shape` as (height, width, channels)."""
    sizes = as_shape(shape, owner)
    if len(sizes) != 3:
        raise ValueError(f"{owner} needs images of shape (height, width, channels). Received: {sizes}.")
    return sizes
