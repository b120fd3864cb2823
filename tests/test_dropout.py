"""Dropout: what it keeps, that it is no part of a trained model, and that its noise is the seed's."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import CASES

import keras_vae as kv
from keras_vae.noise import fold
from keras_vae.sampling import sampling

X = np.ones((400, 50), "float32")


def dropped(rate=0.3, seed=1, **kwargs) -> np.ndarray:
    with sampling(seed=fold(seed)):
        return kv.Dropout(rate, **kwargs)(X, training=True).numpy()


def test_a_share_of_the_features_is_lost_and_the_others_make_up_for_it():
    found = dropped()
    lost = found == 0
    assert abs(lost.mean() - 0.3) < 5 * np.sqrt(0.21 / X.size)
    np.testing.assert_allclose(found[~lost], 1 / 0.7, rtol=1e-6)
    assert np.abs(np.corrcoef(lost[:, :10].T) - np.eye(10)).max() < 5 / np.sqrt(len(X)), "each for itself"
    np.testing.assert_array_equal(kv.Dropout(0.3)(X), X)
    np.testing.assert_array_equal(dropped(rate=0), X)
    with tf.GradientTape() as tape:
        tape.watch(x := tf.constant(X))
        with sampling(seed=fold(1)):
            y = kv.Dropout(0.3)(x, training=True)
    np.testing.assert_array_equal(tape.gradient(y, x), found)


def test_noise_is_a_function_of_the_seed_and_the_place_in_the_model():
    np.testing.assert_array_equal(dropped(), dropped())
    assert np.any(dropped() != dropped(seed=2))
    with sampling(seed=fold(1)):
        two = [kv.Dropout(0.3)(X, training=True).numpy() for _ in range(2)]
    assert np.any(two[0] != two[1])
    compiled = tf.function(lambda: dropped_in_graph(), jit_compile=True)()
    np.testing.assert_allclose(compiled, dropped(), rtol=1e-6)


def dropped_in_graph():
    with sampling(seed=fold(1)):
        return kv.Dropout(0.3)(X, training=True)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    with sampling(seed=fold(1)):
        assert kv.Dropout(0.3)(X, training=True).dtype == tf.bfloat16


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, jit_compile):
    x = CASES["Dropout"].data()
    whole = CASES["Dropout"].compiled(jit_compile=jit_compile)
    whole.fit(x, epochs=2, batch_size=4, verbose=0)
    first = CASES["Dropout"].compiled(jit_compile=jit_compile)
    first.fit(x, epochs=1, batch_size=4, verbose=0)
    first.save(tmp_path / "first.keras")
    second = kv.load_model(tmp_path / "first.keras")
    second.fit(x, epochs=2, initial_epoch=1, batch_size=4, verbose=0)
    for mine, its in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
    z = np.zeros((1, 2), "float32")
    np.testing.assert_array_equal(whole.decode(z).mean(), whole.decode(z).mean())  # nothing is lost outside of training


@pytest.mark.parametrize("rate", [1, -0.1, "0.5", True, float("nan")])
def test_rates(rate):
    with pytest.raises(
        ValueError, match=r"Dropout needs rate to be a number of 0 or more and less than 1. Received: rate="
    ):
        kv.Dropout(rate)
