"""Supports against points that are known to be in and out, the draws of all layers, and each other."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from layers import LAYERS, without_context

import keras_vae as kv
from keras_vae.distributions import supports as kinds
from keras_vae.noise import fold

GRID = kinds.Grid(5, -1.0, 1.0)
ROW = kinds.Product((kinds.RealNumbers(), kinds.Counts()), (2, 1))
NAN, INF = float("nan"), float("inf")

# support, values (rows are vectors), which of them are in
POINTS = {
    kinds.RealNumbers(): ([-1e30, 0.0, INF, NAN], [True, True, False, False]),
    kinds.PositiveNumbers(): ([1e-30, 1e30, 0.0, -1.0, INF, NAN], [True, True, *[False] * 4]),
    kinds.UnitInterval(): ([0.0, 0.5, 1.0, -1e-6, 1.001, INF, NAN], [True] * 3 + [False] * 4),
    kinds.ZerosAndOnes(): ([0.0, 1.0, 0.5, -5.0, 2.0, NAN], [True] * 3 + [False] * 3),
    kinds.Interval(-2.0, 1.0): ([-2.0, 0.3, 1.0, -2.1, 1.1, INF, NAN], [True] * 3 + [False] * 4),
    kinds.Counts(): ([0.0, 7.0, -1.0, 0.5, INF, NAN], [True, True] + [False] * 4),
    kinds.Levels(3): ([0.0, 2.0, 3.0, -1.0, 1.5, NAN], [True, True] + [False] * 4),
    GRID: ([-1.0, -0.5, 1.0, 0.501, 0.25, -1.5, 1.5, INF, NAN], [True] * 4 + [False] * 5),
    kinds.OneHotVectors(): ([[0, 1], [1, 1], [0, 0], [2, -1], [0.5, 0.5], [1, NAN]], [True] + [False] * 5),
    kinds.SimplexPoints(): ([[0.2, 0.8], [0.0, 1.0], [0.5, 0.6], [1.5, -0.5], [NAN, 1.0]], [True, True] + [False] * 3),
    kinds.SpherePoints(): ([[0.6, -0.8], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [NAN, 1.0]], [True, True] + [False] * 3),
    kinds.BallPoints(): ([[0.6, -0.8], [0.1, 0.0], [0.0, 0.0], [1.0, 0.5], [NAN, 0.0]], [True] * 3 + [False] * 2),
    ROW: ([[-1.0, NAN, 2.0], [0.0, 0.0, NAN]], [[True] * 3] * 2),
}  # fmt: skip


def name(support) -> str:
    return type(support).__name__


@pytest.mark.parametrize("support", POINTS, ids=name)
def test_points_that_are_in_and_out(support):
    """In NumPy, in a graph and under XLA; `check` refuses what `contains` does not have."""
    values, expected = (np.array(part) for part in POINTS[support])
    values = values.astype("float32")
    if expected.ndim < values.ndim:  # of vectors all values or none
        expected = np.repeat(expected[:, None], values.shape[1], axis=1)
    with np.errstate(invalid="ignore"):  # inf % 1
        np.testing.assert_array_equal(support.contains(values), expected)
    for jit_compile in (False, True):
        in_graph = tf.function(support.contains, jit_compile=jit_compile)(tf.constant(values))
        assert in_graph.dtype == tf.bool
        np.testing.assert_array_equal(in_graph, expected)
    for value, inside in zip(values, expected, strict=True):
        if np.isfinite(value).all() and not inside.all():
            with pytest.raises(ValueError, match=r"Layer needs data .* Received: "):
                support.check("Layer", value[None], "data")
    assert values.ndim == 2 or support.contains(support.stand_in)


def test_rows_are_of_the_kinds_of_their_columns():
    found = ROW.contains(np.float32([[INF, 0.0, 0.5], [0.0, 1.0, 1.0]]))
    np.testing.assert_array_equal(found, [[False, True, False], [True, True, True]])


def test_a_posterior_lies_within_its_prior():
    """Each pair: what is within what, by hand; and no point of the first is out of the second."""
    within = {
        kinds.PositiveNumbers(): {kinds.RealNumbers()},
        kinds.UnitInterval(): {kinds.RealNumbers(), kinds.PositiveNumbers()},
        kinds.ZerosAndOnes(): {kinds.Counts(), kinds.Levels(3)},
        kinds.Levels(3): {kinds.Counts()},
    }
    for first, second in itertools.product(POINTS, POINTS):
        expected = first == second or second in within.get(first, set())
        assert first.within(second) is expected, (first, second)
    assert kinds.Levels(2).within(kinds.Levels(3))
    assert not kinds.Levels(4).within(kinds.Levels(3))
    assert kinds.Product((kinds.UnitInterval(),), (2,)).within(kinds.Product((kinds.RealNumbers(),), (2,)))
    assert not ROW.within(kinds.Product((kinds.RealNumbers(),), (3,)))


@pytest.mark.parametrize(
    "support", [support for support in POINTS if support.has_offset or support.has_scale], ids=name
)
def test_numbers_that_can_be_moved_stay_in_their_support(support):
    values, inside = POINTS[support]
    points = np.array(values)[inside]
    assert np.all(support.contains(points * 7.5))
    assert not support.has_offset or np.all(support.contains(points - 7.5))


@pytest.mark.parametrize("kind", LAYERS)
def test_draws_are_in_the_support(kind):
    layer = without_context(kind)
    draws = layer().sample(500, seed=fold(1))
    assert np.all(layer.support.contains(draws))
    layer.check_values(draws)


class Increasing(kinds.VectorSupport):
    description = "increasing numbers"
    needed = "that increase."

    def contains_vectors(self, vectors):
        return tf.reduce_all(vectors[..., 1:] > vectors[..., :-1], axis=-1, keepdims=True)


def test_vectors_of_ones_own():
    np.testing.assert_array_equal(Increasing().contains(np.float32([[1, 2, 3], [1, 3, 2]])), [[True] * 3, [False] * 3])
    with pytest.raises(ValueError, match=r"Layer needs data that increase\. Received: "):
        Increasing().check("Layer", np.float32([[1, 3, 2]]), "data")


class NegativeNumbers(kinds.Support):
    description = "negative numbers"
    needed = "below 0."

    def contains(self, values):
        return values < 0


def test_supports_of_ones_own():
    class Minus(kv.DistributionLayer):
        support = NegativeNumbers()

    with pytest.raises(
        ValueError, match=r"Minus\(event_shape=\(1,\)\) needs values below 0. Received: 2 others, such as 1"
    ):
        Minus(1).check_values(np.array([[1.0], [-1.0], [2.0]]))
    with pytest.raises(ValueError, match=r"one kind. Received: Normal, real numbers, and Minus, negative numbers"):
        kv.VAE(kv.Normal(1), kv.Normal(2), Minus(1))
    kv.VAE(Minus(1), kv.Normal(2), Minus(1))

    class Plain(kv.DistributionLayer):
        pass

    assert Plain.support == kinds.RealNumbers()


@pytest.mark.parametrize("former", ["space", "_check_support"])
def test_what_is_no_longer_asked_is_refused(former):
    with pytest.raises(TypeError, match=f"Mine needs `support`.* Received: {former}, which is no longer asked"):
        type("Mine", (kv.DistributionLayer,), {former: "positive numbers"})


def test_a_loaded_layer_has_its_support():
    layer = kv.DiscretizedLogistic(2, levels=7, low=-3.0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.support == layer.support == kinds.Grid(7, -3.0, 1.0)
