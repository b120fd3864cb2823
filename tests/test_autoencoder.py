"""The autoencoder, plain and denoising: against PCA, against its own input, and with Keras."""

import re

import keras
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import tensorflow as tf
from cases import AUTOENCODERS, decoder
from test_conformance import (  # noqa: F401 (these run on the cases of this file)
    test_config_round_trip,
    test_gradients_reach_every_weight,
)

import keras_vae as kv
from keras_vae.callbacks import BackupAndRestore
from keras_vae.noise import fold, uniform
from keras_vae.sampling import sampling

RNG = np.random.default_rng(0)


@pytest.fixture(params=AUTOENCODERS.items(), ids=AUTOENCODERS.keys())
def case(request):
    return request.param[1]


def code(size, network=()):
    return keras.Sequential([*network, keras.layers.Dense(size)])


# --- what it learns --------------------------------------------------------------------------------------------------


def test_a_linear_autoencoder_spans_the_principal_axes():
    """Baldi & Hornik 1989: the only minimum of its squared error is the plane of the first principal axes."""
    x = (RNG.normal(size=(400, 6)) * [3, 2, 0.6, 0.5, 0.4, 0.3]) @ np.linalg.qr(RNG.normal(size=(6, 6)))[0] + 1.5
    x = x.astype("float32")
    model = kv.Autoencoder(code(2), kv.FixedScaleNormal(6))
    schedule = keras.optimizers.schedules.CosineDecay(5e-2, 100 * 8)
    model.compile(keras.optimizers.Adam(schedule), jit_compile=False)
    model.fit(x, epochs=100, batch_size=50, verbose=0)
    axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:2]
    angles = scipy.linalg.subspace_angles(model.likelihood.head.kernel.numpy().T, axes.T)
    assert angles.max() < 1e-2
    residual = x - x.mean(axis=0)
    residual = residual - residual @ axes.T @ axes
    best = -0.5 * (np.sum(residual**2) / len(x) + 6 * np.log(2 * np.pi))
    log_likelihood = model.evaluate(x, verbose=0, return_dict=True)["log_likelihood"]
    assert log_likelihood <= best + 1e-4
    assert log_likelihood == pytest.approx(best, abs=1e-2)


@pytest.mark.slow
def test_denoising_finds_what_masking_has_removed():
    """Held-out digits with half of their values lost: against that input, and against an autoencoder that saw none."""
    data = kv.datasets.load("digits", batch_size=64, likelihood=kv.LearnedScaleNormal)
    clean = np.concatenate([x.numpy() for x in data.test])
    lossy = (clean * (np.random.default_rng(1).random(clean.shape) > 0.5)).astype("float32")
    scores = {}
    for corruption, epochs in ((None, 10), (kv.MaskingNoise(0.5), 20)):
        network = kv.dense_encoder(data.shape, units=[128])
        model = kv.Autoencoder(
            code(32, [network]), kv.LearnedScaleNormal(data.shape, kv.dense_decoder(32, [128])), corruption
        )
        model.compile(keras.optimizers.Adam(2e-3), jit_compile=False)
        model.fit(data.train, epochs=epochs, verbose=0)
        likelihood = model.decode(model.encode(lossy))
        scores[corruption is not None] = (
            np.mean(likelihood.log_prob(clean)),
            np.mean((likelihood.mean() - clean) ** 2),
        )
    lossy_error = np.mean((lossy - clean) ** 2)
    lossy_log_likelihood = -0.5 * 64 * (np.log(2 * np.pi * lossy_error) + 1)  # with the best scale
    mean = np.mean(np.concatenate([x.numpy() for x in data.train]), axis=0)
    alone_error = np.mean((np.where(lossy > 0, lossy, mean) - clean) ** 2)  # each lost value by its mean

    log_likelihood, error = scores[True]
    assert error < 0.4 * lossy_error
    assert error < 0.9 * alone_error
    assert log_likelihood > lossy_log_likelihood + 5
    assert error < 0.6 * scores[False][1]
    assert log_likelihood > scores[False][0] + 5


# --- the corruption --------------------------------------------------------------------------------------------------


def corrupted(layer, x, seed=1, training=True):
    with sampling(1, fold(seed)):
        return layer(x, training=training)


def test_masking_noise():
    x = RNG.normal(size=(500, 200)).astype("float32")
    got = corrupted(kv.MaskingNoise(0.3), x).numpy()
    lost = got == 0
    np.testing.assert_array_equal(got[~lost], x[~lost], err_msg="what stays is not rescaled")
    error = np.sqrt(0.3 * 0.7 / x.size)
    assert abs(lost.mean() - 0.3) < 4 * error
    assert np.abs(lost.mean(axis=0) - 0.3).max() < 5 * error * np.sqrt(x.shape[1])
    assert np.abs(lost.mean(axis=1) - 0.3).max() < 5 * error * np.sqrt(x.shape[0])


def test_gaussian_noise():
    x = RNG.normal(size=(500, 200)).astype("float32")
    noise = (corrupted(kv.GaussianNoise(0.5), x) - x).numpy().ravel()
    assert scipy.stats.kstest(noise / 0.5, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise, x.ravel())[0, 1]) < 4 / np.sqrt(x.size)


def test_uniform_has_that_distribution():
    draws = uniform([500, 200], fold(3)).numpy()
    assert 0 < draws.min() < draws.max() < 1
    assert scipy.stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    compiled = tf.function(uniform, jit_compile=True)([500, 200], fold(3))
    np.testing.assert_array_equal(compiled, draws)


@pytest.mark.parametrize("layer", [kv.MaskingNoise(0.3), kv.GaussianNoise(0.5)], ids=["masking", "gaussian"])
def test_noise_is_a_function_of_the_seed(layer):
    x = RNG.normal(size=(20, 3, 2, 1)).astype("float32")
    np.testing.assert_array_equal(corrupted(layer, x), corrupted(layer, x))
    assert np.abs(corrupted(layer, x) - corrupted(layer, x, seed=2)).max() > 0
    np.testing.assert_array_equal(corrupted(layer, x, training=False), x)
    np.testing.assert_array_equal(layer(x), x)

    @tf.function(jit_compile=True)
    def compiled(x):
        return corrupted(layer, x)

    np.testing.assert_allclose(compiled(x), corrupted(layer, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["MaskingNoise", "GaussianNoise"])
def test_corruption_is_on_in_training_only(name):
    case = AUTOENCODERS[name]
    x, model = case.data(), case.compiled()
    seen = []
    encode = model.encoder.call
    model.encoder.call = lambda inputs, **kwargs: seen.append(inputs.numpy()) or encode(inputs, **kwargs)
    with sampling(1, fold(0)):
        trace = model(x, training=True)
    np.testing.assert_array_equal(trace.observed, x, err_msg="the likelihood is that of the clean input")
    assert np.abs(seen[0] - x).max() > 0.1
    del seen[:]
    model(x), model(x, training=False), model.encode(x), model.reconstruct(x)
    assert len(seen) == 4
    for inputs in seen:
        np.testing.assert_array_equal(inputs, x)


# --- Keras -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 3])
def test_shapes(case, samples):
    x, model = case.data(), case.compiled()
    with sampling(samples, fold(1)):
        trace = model(x)
    assert trace.latents == {}
    assert trace.observed.dtype == tf.float32
    assert trace.likelihood.batch_shape == (1, len(x))
    for figure in (trace.log_likelihood, trace.kl, trace.log_weight):
        assert figure.shape == (1, len(x))
        assert figure.dtype == tf.float32
    np.testing.assert_array_equal(trace.kl, np.zeros((1, len(x))))
    np.testing.assert_array_equal(model.loss(trace), -trace.log_likelihood[0])
    assert model.encode(x).shape == (len(x), 2)
    assert model.decode(np.zeros((4, 3, 2))).batch_shape == (4, 3)
    assert model.predict(x, verbose=0).shape == x.shape
    np.testing.assert_allclose(model.predict(x, verbose=0), trace.likelihood.mean()[0], rtol=1e-5, atol=1e-6)


def test_logs_have_no_kl_and_no_bits_per_dim():
    case = AUTOENCODERS["MaskingNoise"]
    x, model = case.data(), case.model()
    model.compile()
    history = model.fit(x, epochs=2, validation_data=x, verbose=0).history
    assert set(history) == {"loss", "log_likelihood", "val_loss", "val_log_likelihood"}
    np.testing.assert_allclose(history["loss"], -np.array(history["log_likelihood"]), rtol=1e-6)
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert logs["log_likelihood"] == pytest.approx(np.mean(model.decode(model.encode(x)).log_prob(x)), rel=1e-5)
    assert history["val_log_likelihood"][-1] == pytest.approx(logs["log_likelihood"], rel=1e-6)


def test_a_resumed_fit_equals_an_uninterrupted_one(tmp_path):
    x = AUTOENCODERS["GaussianNoise"].data()

    def fit(epochs, *callbacks):
        keras.utils.set_random_seed(0)
        noise = keras.Sequential([kv.MaskingNoise(0.3), kv.GaussianNoise(0.5)])
        model = kv.Autoencoder(code(2), kv.LearnedScaleNormal(5), noise)
        model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
        history = model.fit(x, epochs=epochs, batch_size=5, verbose=0, callbacks=list(callbacks))
        return history.epoch, model.weights + model.optimizer.variables

    _, whole = fit(4)
    _, begun = fit(2, BackupAndRestore(tmp_path))
    epochs, resumed = fit(4, BackupAndRestore(tmp_path))
    assert epochs == [2, 3]
    assert np.abs(whole[0].numpy() - begun[0].numpy()).max() > 0
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_without_corruption(tmp_path):
    model = kv.Autoencoder(code(2), kv.FixedScaleNormal(5))
    model.build((None, 5))
    model.save(tmp_path / "plain.keras")
    again = kv.load_model(tmp_path / "plain.keras")
    assert again.corruption is None
    x = RNG.normal(size=(9, 5)).astype("float32")
    np.testing.assert_array_equal(again(x, training=True).log_likelihood, model(x).log_likelihood)


def test_a_keras_layer_can_corrupt():
    model = kv.Autoencoder(code(2), kv.FixedScaleNormal(5), keras.layers.GaussianNoise(0.1))
    model.compile()
    assert np.isfinite(model.fit(RNG.normal(size=(9, 5)), verbose=0).history["loss"]).all()


# --- bad input -------------------------------------------------------------------------------------------------------


def test_what_needs_a_prior_is_refused():
    case = AUTOENCODERS["GaussianNoise"]
    x, model = case.data(), case.compiled()
    model.build(x.shape)
    with pytest.raises(TypeError, match=r"Autoencoder\.generate needs a prior to draw codes from"):
        model.generate(3)
    for call in (
        lambda: model.importance_weights(x, 10),
        lambda: kv.evaluation.log_likelihood(model, x, samples=10, verbose=0),
    ):
        with pytest.raises(TypeError, match="Autoencoder needs a prior for log p"):
            call()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, kv.FixedScaleNormal(5)), "Autoencoder needs encoder to be a Keras layer. Received: None."),
        ((code(2), decoder(2)), "Autoencoder needs likelihood to be a distribution layer, such as Bernoulli("),
        ((code(2), kv.FixedScaleNormal(5), 0.3), "Autoencoder needs corruption to be a Keras layer. Received: 0.3."),
    ],
)
def test_wrong_layers(arguments, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        kv.Autoencoder(*arguments)


def test_wrong_noise():
    for rate in (0, 1, -0.1, float("nan"), True, "0.3"):
        with pytest.raises(ValueError, match="MaskingNoise needs rate to be a number between 0 and 1"):
            kv.MaskingNoise(rate)
    for stddev in (0, -1.0, float("inf"), float("nan"), None):
        with pytest.raises(ValueError, match="GaussianNoise needs stddev to be a positive number"):
            kv.GaussianNoise(stddev)


def test_wrong_data():
    model = AUTOENCODERS["MaskingNoise"].compiled()
    with pytest.raises(
        ValueError, match=re.escape("Autoencoder needs data of shape (batch, 8, 8, 1). Received: (9, 8, 8).")
    ):
        model.fit(np.zeros((9, 8, 8)), verbose=0)
    with pytest.raises(ValueError, match=re.escape("needs data in [0, 1]")):
        model.fit(np.full((9, 8, 8, 1), 7.0), verbose=0)
