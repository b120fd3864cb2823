"""Convolutional networks from images to grids and back, with residual blocks."""

import math
from collections.abc import Sequence

import keras

from keras_vae.networks.shapes import image_shape


def residual_encoder(
    input_shape: Sequence[int], filters: Sequence[int] = (32, 64), blocks: int = 2, activation: str = "relu"
) -> keras.Model:
    """Convolutions that halve height and width at each layer, then residual blocks: features that keep the grid.

    Args:
        input_shape: (height, width, channels).
        filters: channels after each convolution of stride 2.
        blocks: residual blocks, of a 3 x 3 convolution to half the channels and a 1 x 1 convolution back.
        activation: a Keras activation.

    Returns:
        A Keras model from (batch, height, width, channels) to (batch, ceil(height / 2^n), ceil(width / 2^n),
        filters[-1]), for n filters.

    Reference: van den Oord, Vinyals & Kavukcuoglu 2017, arXiv:1711.00937 (section 4.1).
    """
    image = keras.Input(image_shape(input_shape, "residual_encoder"))
    x = image
    for count in filters:
        x = keras.layers.Conv2D(count, 4, strides=2, padding="same", activation=activation)(x)
    return keras.Model(image, _residual(x, blocks, activation), name="encoder")


def residual_decoder(
    input_shape: Sequence,
    output_shape: Sequence[int],
    filters: Sequence[int] = (64, 32),
    blocks: int = 2,
    activation: str = "relu",
) -> keras.Model:
    """Residual blocks, then transposed convolutions that double height and width at each layer, cropped to the image.

    Args:
        input_shape: (rows, columns, channels) of the grid; of several grids, see `merged_grids`, a list of shapes.
        output_shape: (height, width, channels) of the image; the features keep its height and width.
        filters: channels after each transposed convolution, one for each doubling; the first is that of the blocks
            too.
        blocks: residual blocks.
        activation: a Keras activation.

    Returns:
        A Keras model from (batch, rows, columns, channels), of several grids a list, to (batch, height, width,
        filters[-1]).

    Raises:
        ValueError: for a grid that so many doublings, one or more, do not bring to the size of the image.
    """
    several = isinstance(input_shape, Sequence) and any(isinstance(size, Sequence) for size in input_shape)
    grids = [image_shape(shape, "residual_decoder") for shape in (input_shape if several else [input_shape])]
    grid = max(grids)
    height, width, _ = image_shape(output_shape, "residual_decoder")
    factor = 2 ** len(filters)
    beyond = grid[0] * factor - height, grid[1] * factor - width
    if not filters or not all(0 <= each < factor for each in beyond):
        raise ValueError(
            f"residual_decoder needs a grid that {len(filters)} doublings bring to {height} x {width}. "
            f"Received: {grid[0]} x {grid[1]}."
        )
    starts = [keras.Input(shape) for shape in grids]
    x = keras.layers.Conv2D(filters[0], 3, padding="same")(_side_by_side(starts, filters[0], "residual_decoder"))
    x = _residual(x, blocks, activation)
    for count in filters:
        x = keras.layers.Conv2DTranspose(count, 4, strides=2, padding="same", activation=activation)(x)
    if any(beyond):
        x = keras.layers.Cropping2D(((0, beyond[0]), (0, beyond[1])))(x)
    return keras.Model(starts if several else starts[0], x, name="decoder")


def merged_grids(
    input_shapes: Sequence[Sequence[int]], filters: int = 64, blocks: int = 1, activation: str = "relu"
) -> keras.Model:
    """Several grids become one of the size of the largest: the others are doubled by transposed convolutions.

    Args:
        input_shapes: (rows, columns, channels) of each.
        filters: channels of all layers.
        blocks: residual blocks after they were put side by side.
        activation: a Keras activation.

    Returns:
        A Keras model from a list of grids to (batch, rows, columns, filters).

    Raises:
        ValueError: for a grid that no number of doublings brings to the size of the largest.
    """
    if not input_shapes:
        raise ValueError(f"merged_grids needs the shape of one grid at least. Received: {input_shapes!r}.")
    starts = [keras.Input(image_shape(shape, "merged_grids")) for shape in input_shapes]
    x = keras.layers.Conv2D(filters, 3, padding="same")(_side_by_side(starts, filters, "merged_grids"))
    return keras.Model(starts, _residual(x, blocks, activation), name="merged")


def _side_by_side(grids: Sequence, filters: int, owner: str):
    """Grids of the size of the largest, their channels side by side."""
    height, width = max(tuple(grid.shape[1:3]) for grid in grids)
    parts = []
    for grid in grids:
        rows, columns = grid.shape[1:3]
        doublings = math.ceil(math.log2(height / rows))
        beyond = rows * 2**doublings - height, columns * 2**doublings - width
        if not all(0 <= each < 2**doublings for each in beyond):
            raise ValueError(
                f"{owner} needs grids that doublings bring to the largest, {height} x {width}. "
                f"Received: {rows} x {columns}."
            )
        for _ in range(doublings):
            grid = keras.layers.Conv2DTranspose(filters, 4, strides=2, padding="same", activation="relu")(grid)
        if any(beyond):
            grid = keras.layers.Cropping2D(((0, beyond[0]), (0, beyond[1])))(grid)
        parts.append(grid)
    return parts[0] if len(parts) == 1 else keras.layers.Concatenate()(parts)


def _residual(x, blocks: int, activation: str):
    channels = x.shape[-1]
    for _ in range(blocks):
        step = keras.layers.Activation(activation)(x)
        step = keras.layers.Conv2D(max(channels // 2, 1), 3, padding="same", activation=activation)(step)
        x = keras.layers.Add()([x, keras.layers.Conv2D(channels, 1)(step)])
    return keras.layers.Activation(activation)(x)
