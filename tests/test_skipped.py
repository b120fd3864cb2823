"""Steps whose gradient is too large, or not finite, are left out and counted."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from linear_gaussian import X, linear_vae

import keras_vae as kv

OUTLIER = np.array(X[:32])
OUTLIER[5] = 1e6  # of which the gradient is a million times as large


def fitted(skip_above, data, jit_compile=False, validation_data=None, **options):
    """The linear model after an epoch of four batches, and the history."""
    model = linear_vae(shift=0.5)
    options = {"optimizer": keras.optimizers.Adam(0.01)} | options
    model.compile(loss=kv.ELBO(), jit_compile=jit_compile, skip_above=skip_above, **options)
    how = {"epochs": 1, "batch_size": 8, "shuffle": False, "verbose": 0}
    return model, model.fit(data, validation_data=validation_data, **how).history


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_beyond_the_norm_is_left_out(jit_compile):
    """The first batch is left out: the others give what they give by hand, and the count of steps goes on."""
    models = {skip: linear_vae(shift=0.5) for skip in (1e4, None)}
    for skip, model in models.items():
        model.compile(keras.optimizers.Adam(0.01), kv.ELBO(), jit_compile=jit_compile, skip_above=skip)
        before = model.get_weights()
        logs = model.train_on_batch(OUTLIER[:8], return_dict=True)
        if skip is None:
            model.set_weights(before)
            for variable in model.optimizer.variables[2:]:  # the moments; the step counts
                variable.assign(tf.zeros_like(variable))
        else:
            assert logs["skipped_steps"] == 1
        for first in (8, 16, 24):
            logs = model.train_on_batch(OUTLIER[first : first + 8], return_dict=True)
    assert models[1e4].optimizer.iterations == 4
    for ours, expected in zip(*(model.get_weights() for model in models.values()), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_counts_the_steps_of_an_epoch(jit_compile):
    model, history = fitted(1e4, OUTLIER, jit_compile)
    assert history["skipped_steps"] == [1]
    assert model.optimizer.iterations == 4


def test_evaluation_has_no_steps_to_skip():
    model, history = fitted(1e4, OUTLIER, validation_data=X[:16])
    assert "skipped_steps" in history
    assert "val_skipped_steps" not in history
    assert set(model.evaluate(X[:16], verbose=0, return_dict=True)) == {"loss", "log_likelihood", "kl"}


def test_a_norm_that_no_step_reaches_changes_nothing():
    plain, _ = fitted(None, X)
    model, history = fitted(1e9, X)
    assert history["skipped_steps"] == [0]
    for ours, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_the_norm_is_that_of_all_weights():
    """Just below the norm of the first gradient all is left out, just above it nothing is."""
    model = linear_vae(shift=0.5)
    model.compile(keras.optimizers.SGD(0.0), kv.ELBO(), run_eagerly=True)
    gradients = []
    model.optimizer.apply_gradients = lambda pairs: gradients.extend(np.array(gradient) for gradient, _ in pairs)
    model.train_on_batch(X[:8])
    norm = np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in gradients))
    for factor, skipped in ((0.999, 1), (1.001, 0)):
        _, history = fitted(float(norm * factor), X[:8], optimizer=keras.optimizers.SGD(0.0))
        assert history["skipped_steps"] == [skipped]


class _Steep(kv.ELBO):
    """A finite loss whose gradient is not finite for some examples."""

    def __call__(self, trace):
        odd = tf.reduce_max(tf.abs(trace.observed), axis=-1) > 1e5
        root = tf.sqrt(tf.reduce_sum(trace.latents["z"].posterior.mean() * 0.0, axis=-1))
        return super().__call__(trace) * tf.where(odd, 0.0, 1.0) + tf.where(odd, root, 0.0)


def test_a_gradient_that_is_not_finite_is_left_out_too():
    model = linear_vae()
    model.compile(keras.optimizers.Adam(0.01), _Steep(), jit_compile=False, skip_above=1e4)
    history = model.fit(OUTLIER, batch_size=8, shuffle=False, verbose=0).history
    assert history["skipped_steps"][0] >= 1
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


class _Broken(kv.ELBO):
    """A loss that is NaN for some examples."""

    def __call__(self, trace):
        odd = tf.reduce_max(tf.abs(trace.observed), axis=-1) > 1e5
        return tf.where(odd, float("nan"), super().__call__(trace))


def test_a_loss_that_is_not_finite_still_stops():
    model = linear_vae()
    model.compile(keras.optimizers.Adam(0.01), _Broken(), jit_compile=False, skip_above=1e4)
    with pytest.raises(
        FloatingPointError, match="stopped in epoch 1 at step 1: log_likelihood and kl are finite, but not"
    ):
        model.fit(OUTLIER, batch_size=8, shuffle=False, verbose=0)


def test_saved_with_the_model_and_used_again(tmp_path):
    model, _ = fitted(1e4, OUTLIER)
    model.save(tmp_path / "model.keras")
    again = kv.load_model(tmp_path / "model.keras")
    assert again.skip_above == 1e4
    assert again.fit(OUTLIER, batch_size=8, shuffle=False, verbose=0).history["skipped_steps"] == [1]


@pytest.mark.parametrize("norm", [0.0, -1.0, float("nan"), "400"])
def test_a_norm_that_is_none_is_refused(norm):
    with pytest.raises(ValueError, match="VAE needs skip_above"):
        linear_vae().compile("adam", kv.ELBO(), skip_above=norm)
