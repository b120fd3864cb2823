"""Layers for objects in images, each against something else: SciPy, finite differences, sums written out."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import map_coordinates
from scipy.optimize import linear_sum_assignment
from scipy.signal import correlate

import keras_vae as kv

RNG = np.random.default_rng(0)


def images(count=3, height=7, width=9, channels=2):
    return RNG.normal(size=(count, height, width, channels)).astype(np.float32)


def some_boxes(count=3):
    middle, half = RNG.uniform(-0.5, 0.5, (count, 2)), RNG.uniform(0.2, 0.9, (count, 2))
    return np.concatenate([middle, half], axis=1).astype(np.float32)


# --- SpatialTransformer -----------------------------------------------------------------------------------------------


def test_the_box_of_all_is_the_image():
    x = images()
    np.testing.assert_allclose(kv.SpatialTransformer((7, 9))(x, np.array([[0.0, 0.0, 1.0, 1.0]] * 3)), x, atol=1e-5)


@pytest.mark.parametrize("size", [(5, 4), (12, 20)])
def test_it_interpolates_as_scipy_does(size):
    x, boxes = images(), some_boxes()
    boxes[0] = [0.9, -0.8, 0.6, 1.4]  # beyond the edges, where it is black
    found = kv.SpatialTransformer(size)(x, boxes).numpy()
    rows, columns = ((2 * np.arange(count) + 1) / count - 1 for count in size)
    for image, (left, top, wide, high), glimpse in zip(x, boxes, found, strict=True):
        y, across = (top + high * rows + 1) * 7 / 2 - 0.5, (left + wide * columns + 1) * 9 / 2 - 0.5
        places = np.meshgrid(y, across, indexing="ij")
        for channel in range(2):
            expected = map_coordinates(image[..., channel], places, order=1, mode="grid-constant")
            np.testing.assert_allclose(glimpse[..., channel], expected, atol=1e-4)


def test_what_was_taken_is_put_back_by_the_inverse():
    """An image that is smooth enough for interpolation, seen in a box, and put back: inside of the box it is there."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    smooth = np.sin(2 * x + 0.3) * np.cos(3 * y) + 1
    box = np.array([[0.25, -0.125, 0.5, 0.625]], np.float32)
    glimpse = kv.SpatialTransformer((64, 64))(smooth[None, ..., None], box)
    back = kv.SpatialTransformer((64, 64))(glimpse, kv.inverse_box(box))[0, :, :, 0].numpy()
    inside = (np.abs(x - 0.25) < 0.45) & (np.abs(y + 0.125) < 0.57)
    beyond = (np.abs(x - 0.25) > 0.55) | (np.abs(y + 0.125) > 0.68)
    np.testing.assert_allclose(back[inside], smooth[inside], atol=0.01)
    assert not back[beyond].any()
    np.testing.assert_allclose(kv.inverse_box(kv.inverse_box(box)), box, atol=1e-6)


def test_gradients_are_those_of_finite_differences():
    x, boxes, layer = images(2).astype(np.float64), some_boxes(2).astype(np.float64), kv.SpatialTransformer((3, 4))
    weights = RNG.normal(size=(2, 3, 4, 2))

    def value(x, boxes):
        return np.sum(weights * layer(x, boxes).numpy().astype(np.float64))

    with tf.GradientTape() as tape:
        given = tf.constant(x, tf.float32), tf.constant(boxes, tf.float32)
        tape.watch(given)
        total = tf.reduce_sum(weights.astype(np.float32) * layer(*given))
    for place, gradient in enumerate(tape.gradient(total, given)):
        step = 2e-3
        for _ in range(8):
            change = [np.zeros_like(x), np.zeros_like(boxes)]
            change[place][tuple(RNG.integers(size) for size in change[place].shape)] = step
            ends = [value(x + sign * change[0], boxes + sign * change[1]) for sign in (1, -1)]
            expected = (ends[0] - ends[1]) / (2 * step)
            found = np.sum(gradient.numpy() * change[place]) / step
            assert found == pytest.approx(expected, abs=0.02, rel=0.02)


def test_axes_broadcast_and_graphs_and_xla_say_the_same():
    x, boxes, layer = images(3), np.stack([some_boxes(), some_boxes()]), kv.SpatialTransformer((4, 5))
    expected = np.stack([layer(x, each) for each in boxes])
    compiled = tf.function(lambda x, boxes: layer(x, boxes), jit_compile=True)
    np.testing.assert_allclose(layer(x, boxes), expected, atol=1e-6)  # [samples, batch, ...]
    np.testing.assert_allclose(compiled(x, boxes), expected, atol=1e-5)
    assert layer.compute_output_shape((3, 7, 9, 2), (2, 3, 4)) == (2, 3, 4, 5, 2)
    assert kv.SpatialTransformer((4, 5), dtype="mixed_bfloat16")(x, boxes).dtype == tf.bfloat16


def test_a_functional_model_with_a_transformer_is_saved(tmp_path):
    image, box = keras.Input((7, 9, 2)), keras.Input((4,))
    model = keras.Model([image, box], kv.SpatialTransformer((4, 5))(image, box))
    model.save(tmp_path / "model.keras")
    given = images(), some_boxes()
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(given), model(given))


def test_a_transformer_says_what_it_needs():
    with pytest.raises(ValueError, match=r"SpatialTransformer needs output_size to be \(height, width\)\. .* \(4,\)"):
        kv.SpatialTransformer(4)
    with pytest.raises(ValueError, match=r"boxes of shape \(\.\.\., 4\)\. Received: \(3, 7, 9, 2\) and \(3, 6\)"):
        kv.SpatialTransformer((4, 4))(images(), np.zeros((3, 6), np.float32))


# --- SpatialBroadcast -------------------------------------------------------------------------------------------------


def test_a_vector_is_at_each_place_with_its_coordinates():
    z = RNG.normal(size=(2, 3)).astype(np.float32)
    grid = kv.SpatialBroadcast((4, 5))(z).numpy()
    assert grid.shape == (2, 4, 5, 5)
    for row, column in itertools.product(range(4), range(5)):
        np.testing.assert_array_equal(grid[:, row, column, :3], z)
        np.testing.assert_allclose(grid[:, row, column, 3:], [[column / 2 - 1, 2 * row / 3 - 1]] * 2, atol=1e-6)


def test_waves_are_sines_and_cosines_of_the_coordinates():
    grid = kv.SpatialBroadcast((4, 5), waves=2)(np.ones((1, 1), np.float32))[0].numpy()
    assert grid.shape == (4, 5, 1 + 2 + 8)
    for row, column in itertools.product(range(4), range(5)):
        x, y = column / 2 - 1, 2 * row / 3 - 1
        turns = [np.exp(1j * np.pi * number * place) for number in (1, 2) for place in (x, y)]
        expected = [turns[0].imag, turns[1].imag, turns[0].real, turns[1].real]
        expected += [turns[2].imag, turns[3].imag, turns[2].real, turns[3].real]
        np.testing.assert_allclose(grid[row, column], [1, x, y, *expected], atol=1e-6)


def test_the_broadcast_decoder_is_a_sum_written_out():
    decoder = kv.spatial_broadcast_decoder(3, (6, 5, 1), filters=[4, 2], kernel_size=3, activation="tanh")
    z = RNG.normal(size=(2, 3)).astype(np.float32)
    found = decoder(z).numpy()
    assert found.shape == (2, 6, 5, 2)
    y, x = np.meshgrid(np.linspace(-1, 1, 10), np.linspace(-1, 1, 9), indexing="ij")
    for vector, features in zip(z, found, strict=True):
        grid = np.stack([*(np.full((10, 9), value) for value in vector), x, y], axis=-1)
        for layer in decoder.layers[1:]:
            kernel, bias = (weight.numpy() for weight in layer.weights)
            sums = [correlate(grid, kernel[..., unit], mode="valid")[..., 0] for unit in range(kernel.shape[-1])]
            grid = np.tanh(np.stack(sums, axis=-1) + bias)
        np.testing.assert_allclose(features, grid, atol=1e-5)


def test_a_broadcast_says_what_it_needs():
    with pytest.raises(ValueError, match=r"SpatialBroadcast needs grid to be \(height, width\)"):
        kv.SpatialBroadcast(4)
    with pytest.raises(ValueError, match=r"SpatialBroadcast needs waves to be a whole number, 0 or more.*-1"):
        kv.SpatialBroadcast((4, 4), waves=-1)
    with pytest.raises(ValueError, match=r"SpatialBroadcast needs vectors of shape \(batch, size\)\. .* \(2, 3, 4\)"):
        kv.SpatialBroadcast((4, 4))(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(ValueError, match=r"spatial_broadcast_decoder needs images of shape"):
        kv.spatial_broadcast_decoder(3, (4, 4))


# --- matching ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objects", [1, 2, 3, 5])
def test_the_best_assignment_is_scipys(objects):
    costs = RNG.normal(size=(3, 20, objects, objects)).astype(np.float32)
    compiled = tf.function(kv.best_assignment, jit_compile=objects == 3)
    found = compiled(costs).numpy()
    assert found.shape == (3, 20, objects)
    for each, assignment in zip(costs.reshape(-1, objects, objects), found.reshape(-1, objects), strict=True):
        np.testing.assert_array_equal(assignment, linear_sum_assignment(each)[1])


def test_objects_stay_themselves_over_time():
    """Billiards whose balls are shuffled in each frame."""
    positions, _ = kv.datasets.Billiards(frames=40).move(*kv.datasets.Billiards().begin(6, np.random.default_rng(0)))
    orders = np.argsort(RNG.random((6, 40, 3)), axis=-1)
    orders[:, 0] = [0, 1, 2]
    shuffled = np.take_along_axis(positions, orders[..., None], axis=2)
    with tf.GradientTape() as tape:
        given = tf.constant(shuffled)
        tape.watch(given)
        order = tf.function(kv.match_over_time)(given)
        found = tf.gather(given, order, axis=2, batch_dims=2)
        total = tf.reduce_sum(found[:, -1, 0])
    np.testing.assert_array_equal(found, positions)
    gradient = tape.gradient(total, given).numpy()
    assert gradient.sum() == 12, "of the first ball in the last frame alone"
    np.testing.assert_array_equal(order, np.argsort(orders, axis=-1))


def test_matching_frame_by_frame_is_scipys_even_where_it_is_hard():
    features = RNG.normal(size=(4, 10, 4, 3))
    order = kv.match_over_time(features).numpy()
    for frames, found in zip(features, order, strict=True):
        before = frames[0]
        for frame, places in zip(frames[1:], found[1:], strict=True):
            costs = ((before[:, None] - frame) ** 2).sum(axis=-1)
            np.testing.assert_array_equal(places, linear_sum_assignment(costs)[1])
            before = frame[places]


def test_matching_says_what_it_needs():
    with pytest.raises(ValueError, match=r"best_assignment needs costs .* of 1 to 7 objects\. Received: \(8, 8\)"):
        kv.best_assignment(np.zeros((8, 8)))
    with pytest.raises(ValueError, match=r"best_assignment needs costs .* Received: \(2, 3\)"):
        kv.best_assignment(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"match_over_time needs features of shape .* Received: \(3, 2\)"):
        kv.match_over_time(np.zeros((3, 2)))
