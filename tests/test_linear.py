"""Probabilistic PCA and factor analysis against scikit-learn, SciPy and the algebra of joint normals."""

import json
import re

import keras
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import sklearn.decomposition
import tensorflow as tf
from cases import LINEAR
from conftest import usual_first
from test_conformance import SERVE, test_config_round_trip  # noqa: F401 (runs on the cases of this file)

import keras_vae as kv
from keras_vae.models.gaussian import Moments, log_density
from keras_vae.noise import fold
from keras_vae.sampling import sampling

RNG = np.random.default_rng(0)
SIZE, LATENT, COUNT = 7, 2, 500
NOISE = np.array([0.1, 0.5, 0.2, 0.8, 0.3, 0.6, 0.4])  # standard deviations
W = RNG.normal(size=(SIZE, LATENT)) * 1.5
X = RNG.normal(size=(COUNT, LATENT)) @ W.T + RNG.normal(size=SIZE) + NOISE * RNG.normal(size=(COUNT, SIZE))
X = X.astype("float32")
NEW = X[:50] + 0.1  # to be scored

LOAD = """
import keras, keras_vae
for number in range(int(sys.argv[2])):
    model = keras.saving.load_model(f"{folder}/{number}.keras")
    data = np.load(f"{folder}/{number}.npz")["x"]
    log_prob = model.log_prob(data)
    getattr(model, "fit_em", model.fit)(data, epochs=3, tolerance=0.0, verbose=0)
    np.savez(f"{folder}/{number}.reloaded.npz", *model.get_weights(), log_prob=log_prob)
"""


@pytest.fixture(params=LINEAR.items(), ids=LINEAR.keys())
def case(request):
    return request.param[1]


@pytest.fixture(scope="module")
def ppca():
    model = kv.ProbabilisticPCA(LATENT)
    model.fit(X, verbose=0)
    return model


@pytest.fixture(scope="module")
def factors():
    model = kv.FactorAnalysis(LATENT)
    model.fit(X, epochs=5000, tolerance=1e-12, verbose=0)
    return model


@pytest.fixture(params=["ppca", "factors"])
def model(request):
    return request.getfixturevalue(request.param)


def parameters(model):
    """Mean, loadings, and covariance of the noise."""
    size = model.mean.numpy().size
    variance = np.broadcast_to(model.noise_variance.numpy().ravel(), size)
    return model.mean.numpy().ravel(), model.loadings.numpy().reshape(size, -1), np.diag(variance)


def dense_log_prob(model, x):
    """By the full covariance, in double precision."""
    mean, loadings, noise = parameters(model)
    return scipy.stats.multivariate_normal(mean, loadings @ loadings.T + noise).logpdf(x.reshape(len(x), -1))


# --- the numbers -----------------------------------------------------------------------------------------------------


def test_ppca_equals_scikit_learn(ppca):
    """Its covariance has the divisor n - 1: C (n - 1) / n is ours, and moving x towards the mean makes them equal."""
    reference = sklearn.decomposition.PCA(LATENT, svd_solver="full").fit(X.astype("float64"))
    ratio = (COUNT - 1) / COUNT
    mean, loadings, noise = parameters(ppca)
    np.testing.assert_allclose(loadings @ loadings.T + noise, ratio * reference.get_covariance(), rtol=1e-6, atol=1e-7)
    closer = mean + (NEW - mean) * np.sqrt(ratio)
    expected = reference.score_samples(NEW.astype("float64")) - 0.5 * SIZE * np.log(ratio)
    np.testing.assert_allclose(ppca.log_prob(closer), expected, atol=1e-4)
    assert np.mean(ppca.log_prob(X)) > reference.score(X.astype("float64")), "ours is the maximum"


def test_factor_analysis_equals_scikit_learn(factors):
    reference = sklearn.decomposition.FactorAnalysis(LATENT, tol=1e-12, max_iter=20_000, svd_method="lapack")
    reference.fit(X.astype("float64"))
    np.testing.assert_allclose(factors.log_prob(NEW), reference.score_samples(NEW.astype("float64")), atol=1e-4)
    np.testing.assert_allclose(factors.noise_variance, reference.noise_variance_, rtol=1e-3)
    ours, theirs = factors.loadings.numpy(), reference.components_.T
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, rtol=1e-3, atol=1e-3)


def test_log_prob_equals_the_dense_normal(model):
    log_prob = model.log_prob(NEW)
    assert log_prob.shape == (len(NEW),)
    assert log_prob.dtype == tf.float32
    np.testing.assert_allclose(log_prob, dense_log_prob(model, NEW), atol=1e-4)
    history = model.history.history["log_likelihood"]
    assert history[-1] == pytest.approx(dense_log_prob(model, X).mean(), abs=1e-9 * SIZE * 10)


def test_log_density_where_the_noise_is_a_millionth_of_the_signal():
    size = 30
    loadings, variance = RNG.normal(size=(size, 5)), 10 ** RNG.uniform(-12, -6, size)
    x = RNG.normal(size=(20, 5)) @ loadings.T + np.sqrt(variance) * RNG.normal(size=(20, size))
    # In units of the noise the data are standard normal outside of the plane of the loadings
    q, r = np.linalg.qr(loadings / np.sqrt(variance)[:, None])
    latent = np.eye(5) + r @ r.T
    centred = x / np.sqrt(variance)
    inside = centred @ q
    outside = centred - inside @ q.T
    squares = np.sum(outside**2, axis=1) + np.sum(inside * np.linalg.solve(latent, inside.T).T, axis=1)
    expected = -0.5 * (squares + np.linalg.slogdet(latent)[1] + np.log(variance).sum() + size * np.log(2 * np.pi))
    np.testing.assert_allclose(log_density(x, loadings, variance), expected, rtol=1e-6)


def test_the_closed_form_is_the_maximum(ppca):
    best = dense_log_prob(ppca, X).mean()
    mean, loadings, noise = parameters(ppca)
    steps = [1e-3 * step for step in (*np.eye(LATENT + 1), *RNG.normal(size=(10, LATENT + 1)))]
    for step in (*steps, *(-step for step in steps)):  # of the length of each axis, and of the variance
        near = loadings * np.exp(step[:LATENT])
        covariance = near @ near.T + noise * np.exp(step[LATENT])
        assert scipy.stats.multivariate_normal(mean, covariance).logpdf(X).mean() < best
        near = loadings + 1e-2 * RNG.normal(size=loadings.shape)
        assert scipy.stats.multivariate_normal(mean, near @ near.T + noise).logpdf(X).mean() < best
    orthogonal = loadings.T @ loadings
    np.testing.assert_allclose(orthogonal, np.diag(np.diag(orthogonal)), atol=1e-9)
    assert np.all(np.diff(np.diag(orthogonal)) < 0)


def test_expectation_maximization_climbs_to_the_closed_form(ppca):
    model = kv.ProbabilisticPCA(LATENT, seed=3)
    rise = model.fit_em(X, epochs=2000, tolerance=1e-12, verbose=0).history["log_likelihood"]
    assert np.all(np.diff(rise) > -1e-12)
    assert 10 < len(rise) < 2000
    assert rise[0] < rise[-1] - 0.1
    assert rise[-1] == pytest.approx(ppca.history.history["log_likelihood"][0], abs=1e-8)
    np.testing.assert_allclose(model.noise_variance, ppca.noise_variance, rtol=1e-3)
    assert scipy.linalg.subspace_angles(model.loadings.numpy(), ppca.loadings.numpy()).max() < 1e-3


def test_factor_analysis_never_falls(factors):
    rise = factors.history.history["log_likelihood"]
    assert np.all(np.diff(rise) > -1e-12)
    assert 10 < len(rise) < 5000
    assert rise[-1] - rise[-2] < 1e-12
    ppca = kv.ProbabilisticPCA(LATENT).fit(X, verbose=0).history["log_likelihood"][0]
    assert rise[-1] > ppca + 0.1, "the noise of the data is not isotropic"


def test_factor_analysis_does_not_depend_on_the_units():
    units = 10.0 ** np.arange(-3, 4)
    plain, scaled = kv.FactorAnalysis(LATENT, min_variance=1e-12), kv.FactorAnalysis(LATENT, min_variance=1e-12)
    plain.fit(X, epochs=50, verbose=0)
    scaled.fit(X * units, epochs=50, verbose=0)
    expected = plain.log_prob(NEW) - np.log(units).sum()
    np.testing.assert_allclose(scaled.log_prob(NEW * units), expected, atol=1e-3)


# --- the posterior ---------------------------------------------------------------------------------------------------


def test_posterior_is_the_joint_normal_given_x(model):
    mean, loadings, noise = parameters(model)
    inverse = np.linalg.inv(loadings @ loadings.T + noise)
    posterior = model.encode(NEW)
    assert posterior.batch_shape == (len(NEW),)
    np.testing.assert_allclose(posterior.mean(), (NEW - mean) @ inverse @ loadings, atol=1e-5)
    covariance = np.eye(LATENT) - loadings.T @ inverse @ loadings
    np.testing.assert_allclose(posterior.covariance()[0], covariance, atol=1e-6)
    np.testing.assert_allclose(posterior.stddev()[-1], np.sqrt(np.diag(covariance)), rtol=1e-5)
    likelihood = model.decode(posterior.mean())
    np.testing.assert_allclose(likelihood.mean(), posterior.mean().numpy() @ loadings.T + mean, atol=1e-5)
    np.testing.assert_allclose(likelihood.variance()[0], np.diag(noise), rtol=1e-5)


def test_every_draw_weighs_p_of_x(model):
    with sampling(9, fold(1)):
        trace = model(NEW)
    log_p = dense_log_prob(model, NEW)
    assert trace.latents["z"].value.shape == (9, len(NEW), LATENT)
    assert trace.log_likelihood.numpy().std(axis=0).min() > 0.1, "the draws differ"
    np.testing.assert_allclose(trace.log_weight, np.broadcast_to(log_p, (9, len(NEW))), atol=2e-4)
    values, effective = model.importance_weights(NEW, 7, seed=1, rows=100)
    np.testing.assert_allclose(values, log_p, atol=2e-4)
    np.testing.assert_allclose(effective, 7, rtol=1e-3)


def test_evaluation_takes_a_linear_model(ppca):
    estimate = kv.evaluation.log_likelihood(ppca, NEW, samples=3, verbose=0)
    np.testing.assert_allclose(estimate.values, dense_log_prob(ppca, NEW), atol=2e-4)


def test_the_bound_is_log_p(model):
    """E log p(x | z) - KL, with the expectation of the squares in closed form."""
    _, loadings, noise = parameters(model)
    with sampling(1, fold(1)):
        trace = model(NEW)
    posterior = trace.latents["z"].posterior
    covariance = posterior.covariance()[0].numpy()
    spread = 0.5 * np.trace(np.linalg.solve(noise, loadings @ covariance @ loadings.T))
    expected = model.decode(posterior.mean()).log_prob(NEW) - spread
    log_p = dense_log_prob(model, NEW)
    np.testing.assert_allclose(expected - trace.kl[0], log_p, rtol=1e-5, atol=1e-4)
    loc = posterior.mean().numpy()
    kl = 0.5 * (np.trace(covariance) + np.sum(loc**2, axis=1) - LATENT - np.linalg.slogdet(covariance)[1])
    np.testing.assert_allclose(trace.kl[0], kl, rtol=1e-5)


def test_evaluate_needs_no_compile(model):
    logs = model.evaluate(NEW, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "log_likelihood", "kl"}
    with sampling(400, fold(2)):
        trace = model(NEW)
    draws = tf.reduce_mean(trace.log_likelihood, axis=1).numpy()  # [400], of the mean over the examples
    assert abs(logs["log_likelihood"] - draws.mean()) < 4 * draws.std()
    assert abs(-logs["loss"] - dense_log_prob(model, NEW).mean()) < 4 * draws.std()


def test_draws_have_the_covariance_of_the_model(model):
    mean, loadings, noise = parameters(model)
    z = model.sample_prior(20_000, seed=1)
    x = model.decode(z).sample(seed=fold(2)).numpy()
    covariance = loadings @ loadings.T + noise
    error = np.sqrt((covariance**2 + np.outer(np.diag(covariance), np.diag(covariance))) / len(x))
    assert np.all(np.abs(np.cov(x.T) - covariance) < 5 * error)
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * np.sqrt(np.diag(covariance) / len(x)))
    posterior = model.encode(NEW[:1])
    draws = posterior.sample(20_000, seed=fold(3)).numpy()[:, 0]
    wanted = posterior.covariance()[0].numpy()
    error = np.sqrt((wanted**2 + np.outer(np.diag(wanted), np.diag(wanted))) / len(draws))
    assert np.all(np.abs(np.cov(draws.T) - wanted) < 5 * error)
    np.testing.assert_array_equal(
        model.generate(3, seed=1, temperature=0.0)[0], model.decode(np.zeros((1, 2))).mean()[0]
    )
    np.testing.assert_array_equal(model.generate(3, seed=1), model.generate(3, seed=1))
    assert np.abs(model.generate(3) - model.generate(3)).max() > 0


# --- the data --------------------------------------------------------------------------------------------------------


class Batches(keras.utils.PyDataset):
    """The data as Keras's own kind of sequence."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return X[100 * index : 100 * (index + 1)]


@pytest.mark.parametrize(
    "data",
    [
        lambda: tf.data.Dataset.from_tensor_slices(X).batch(64),
        lambda: tf.data.Dataset.from_generator(lambda: iter(X), output_signature=tf.TensorSpec([SIZE])).batch(99),
        lambda: tf.data.Dataset.from_tensor_slices((X, X)).batch(500),
        lambda: Batches(),
        lambda: X.astype("float64"),
        lambda: tf.constant(X),
    ],
    ids=["tf.data", "unknown length", "with targets", "PyDataset", "float64", "tensor"],
)
@pytest.mark.parametrize("name", ["ProbabilisticPCA", "FactorAnalysis"])
def test_batches_equal_the_array(name, data, capsys):
    options = {} if name == "ProbabilisticPCA" else {"epochs": 20}
    models = [getattr(kv, name)(LATENT) for _ in range(2)]
    for model, x in zip(models, (X, data()), strict=True):
        model.fit(x, verbose=0, validation_data=x, **options)
        logs = model.history.history
        np.testing.assert_allclose(logs["val_log_likelihood"], logs["log_likelihood"], rtol=1e-12)
    assert capsys.readouterr().out == ""
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


class Rows(keras.utils.PyDataset):
    """Rows as they are, by the hundred."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def __len__(self):
        return len(self.rows) // 100

    def __getitem__(self, index):
        return self.rows[100 * index : 100 * (index + 1)]


@pytest.mark.parametrize("offset", [1e6, 1e9])
@pytest.mark.parametrize(
    "form",
    [np.asarray, np.ndarray.tolist, tf.constant, lambda x: tf.data.Dataset.from_tensor_slices(x).batch(99), Rows],
    ids=["array", "list", "tensor", "tf.data", "PyDataset"],
)
@pytest.mark.parametrize("name", ["ProbabilisticPCA", "FactorAnalysis"])
def test_data_far_from_the_origin_in_double_precision(name, form, offset):
    """The fit, p(z | x) and log p(x) are those of the same data about 0; an offset of 1e6 took 28 % of the variance."""
    near = X.astype("float64")
    far = near + offset * np.sign(np.arange(SIZE) - 2.5)
    options = {} if name == "ProbabilisticPCA" else {"epochs": 20}
    model, wanted = getattr(kv, name)(LATENT), getattr(kv, name)(LATENT)
    history = model.fit(form(far), verbose=0, validation_data=form(far), **options).history
    expected = wanted.fit(near, verbose=0, validation_data=near, **options).history
    tolerance = 1e-6 * offset / 1e6  # far data are rounded to 1e-10 or 1e-7 themselves
    np.testing.assert_allclose(model.loadings, wanted.loadings, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(model.noise_variance, wanted.noise_variance, rtol=tolerance)
    np.testing.assert_allclose(model.mean, far.mean(axis=0), rtol=1e-15)
    for key in expected:
        np.testing.assert_allclose(history[key], expected[key], rtol=tolerance)
    x = form(far) if form in (np.asarray, np.ndarray.tolist, tf.constant) else far
    np.testing.assert_allclose(model.log_prob(x), dense_log_prob(wanted, near), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(model.encode(x).mean(), wanted.encode(near).mean(), rtol=1e-5, atol=1e-5)


def test_ppca_far_from_the_origin_equals_scikit_learn():
    far = X.astype("float64") + 1e6
    model = kv.ProbabilisticPCA(LATENT)
    model.fit(far, verbose=0)
    reference = sklearn.decomposition.PCA(LATENT, svd_solver="full").fit(far)
    _, loadings, noise = parameters(model)
    expected = reference.get_covariance() * (COUNT - 1) / COUNT
    np.testing.assert_allclose(loadings @ loadings.T + noise, expected, rtol=1e-6, atol=1e-6)


def test_single_precision_far_from_the_origin_is_as_exact_as_the_data(ppca):
    """float32 data at 1e5 are multiples of 1/128: what is computed of them is right for those numbers."""
    far = (X + 1e5).astype("float32")
    model = kv.ProbabilisticPCA(LATENT)
    model.fit(far, verbose=0)
    expected = dense_log_prob(model, far.astype("float64"))
    np.testing.assert_allclose(model.log_prob(far), expected, atol=1e-4)
    posterior = model.encode(far)
    np.testing.assert_allclose(posterior.mean(), model.encode(far.astype("float64")).mean(), atol=1e-5)
    with sampling(5, fold(1)):
        trace = model(far)
    np.testing.assert_allclose(trace.log_weight, np.broadcast_to(expected, (5, COUNT)), atol=1e-3)
    estimate = kv.evaluation.log_likelihood(model, far, samples=3, verbose=0)
    np.testing.assert_allclose(estimate.values, expected, atol=1e-3)
    mean, stddev = model.decode(posterior.mean()).mean(), model.decode(posterior.mean()).stddev()
    np.testing.assert_allclose(mean, posterior.mean() @ model.loadings.numpy().T + model.mean.numpy(), atol=1 / 128)
    draws = model.decode(tf.zeros([20_000, LATENT])).sample(seed=fold(2)) - mean[:1]
    np.testing.assert_allclose(np.std(draws, axis=0), stddev[0], rtol=0.05)


def test_moments_far_from_the_origin():
    rows = RNG.normal(size=(1000, 3)) @ RNG.normal(size=(3, 3)) + [1e6, -3e5, 0]
    moments = Moments(3)
    for start in range(0, 1000, 130):
        moments.add(rows[start : start + 130])
    assert moments.count == 1000
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(moments.covariance, np.cov((rows - [1e6, -3e5, 0]).T, bias=True), rtol=1e-8, atol=1e-8)
    about = np.mean([np.outer(row, row) for row in rows - 7], axis=0)
    np.testing.assert_allclose(moments.covariance_about(np.full(3, 7.0)), about, rtol=1e-10)


def test_images_are_vectors_of_their_values():
    x = LINEAR["FactorAnalysis of images"].data()
    for cls in (kv.ProbabilisticPCA, kv.FactorAnalysis):
        images, rows = cls(2), cls(2)
        for model, given in ((images, x), (rows, x.reshape(len(x), -1))):
            getattr(model, "fit_em", model.fit)(given, epochs=5, verbose=0)
        assert images.loadings.shape == (4, 2, 1, 2)
        np.testing.assert_array_equal(images.log_prob(x), rows.log_prob(x.reshape(len(x), -1)))
        assert images.predict(x, verbose=0).shape == x.shape
        assert images.generate(3, seed=0).shape == (3, 4, 2, 1)


def test_constant_values():
    x = np.concatenate([X, np.full((COUNT, 1), 0.25, "float32")], axis=1)
    model = kv.FactorAnalysis(LATENT, min_variance=1e-4)
    rise = model.fit(x, epochs=200, verbose=0).history["log_likelihood"]
    assert np.all(np.diff(rise) > -1e-12)
    assert model.noise_variance.numpy()[-1] == pytest.approx(1e-4)
    assert model.noise_variance.numpy().min() == pytest.approx(1e-4)
    np.testing.assert_allclose(model.log_prob(x), dense_log_prob(model, x), atol=1e-3)
    ppca = kv.ProbabilisticPCA(LATENT)
    ppca.fit(x, verbose=0)
    np.testing.assert_allclose(ppca.log_prob(x), dense_log_prob(ppca, x), atol=1e-4)


# --- Keras -----------------------------------------------------------------------------------------------------------


def test_callbacks_and_progress(tmp_path, capsys):
    model = kv.FactorAnalysis(LATENT)
    callbacks = [
        keras.callbacks.EarlyStopping("val_log_likelihood", min_delta=1e9, patience=2, mode="max"),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        kv.callbacks.HistoryLogger(tmp_path / "history.csv"),
    ]
    history = model.fit(X, validation_data=NEW, callbacks=callbacks, verbose=2)
    assert history.epoch == [0, 1, 2]
    assert "iteration" in capsys.readouterr().out
    assert (tmp_path / "history.csv").read_text().startswith("epoch,seconds,log_likelihood,val_log_likelihood\n1,")
    second = kv.load_model(tmp_path / "2.keras")
    assert float(np.mean(second.log_prob(X))) == pytest.approx(history.history["log_likelihood"][1], rel=1e-6)
    model.compile(run_eagerly=True)
    with pytest.raises(ValueError, match="needs fit, which is exact"):
        model.train_on_batch(X)


def test_figures(ppca):
    labels = np.arange(COUNT) % 3
    assert kv.plotting.latent_plane(ppca, X, labels).axes
    assert kv.plotting.curves(ppca.history).axes
    assert kv.plotting.samples(ppca, x=X).axes


@pytest.mark.slow
def test_reload_and_serving_in_a_new_process(tmp_path, run_python):
    wanted = {}
    for number, (name, case) in enumerate(LINEAR.items()):
        x, model, uninterrupted = case.data(), case.model(), case.model()
        for one, epochs in ((uninterrupted, 5), (model, 2)):
            getattr(one, "fit_em", one.fit)(x, epochs=epochs, tolerance=0.0, verbose=0)
        z = model.sample_prior(4, seed=1)
        model.save(tmp_path / f"{number}.keras")
        model.export(tmp_path / f"{number}.saved" / "1")
        np.savez(tmp_path / f"{number}.inputs.npz", x=x, z=z, seed=5, num_samples=7, temperature=0.5)
        np.savez(tmp_path / f"{number}.npz", x=x)
        served = {
            "serving_default": {"mean": model.reconstruct(x)},
            "encode": {"mean": model.encode(x).mean(), "stddev": model.encode(x).stddev()},
            "decode": {"mean": model.decode(z).mean()},
            "reconstruct": {"mean": model.reconstruct(x, seed=5)},
            "generate": {"z": model.sample_prior(7, 5, 0.5), "mean": model.generate(7, 5, 0.5)},
            "log_likelihood": {"log_likelihood": model.log_prob(x)},
        }
        wanted[name] = served, model.log_prob(x), uninterrupted.get_weights()
    run_python(SERVE + LOAD, tmp_path, len(LINEAR))
    for number, (served, log_prob, weights) in enumerate(wanted.values()):
        reloaded = np.load(tmp_path / f"{number}.reloaded.npz")
        np.testing.assert_array_equal(reloaded["log_prob"], log_prob)
        for index, weight in enumerate(weights):
            assert weight.dtype == np.float64
            np.testing.assert_array_equal(reloaded[f"arr_{index}"], weight)
        for signature, outputs in served.items():
            got = np.load(tmp_path / f"{number}.{signature}.npz")
            assert set(got) == set(outputs)
            for key, value in outputs.items():
                assert got[key].dtype == np.float32
                np.testing.assert_allclose(got[key], value, rtol=1e-5, atol=1e-5, err_msg=f"{signature}: {key}")


@pytest.mark.slow
@pytest.mark.parametrize("name", usual_first(["ProbabilisticPCA", "FactorAnalysis"], "FactorAnalysis"))
@pytest.mark.filterwarnings("ignore")
def test_encoder_and_decoder_run_in_litert(name, tmp_path):
    """Without operations of TensorFlow beside those of LiteRT, and as exact as float32 data."""
    x = (X + 100).astype("float32")
    model = getattr(kv, name)(LATENT)
    model.fit(x, verbose=0)
    model.export(tmp_path / "1")
    inputs = {"encode": {"x": x}, "serving_default": {"x": x}, "decode": {"z": model.sample_prior(9, seed=1).numpy()}}
    wanted = {
        "encode": {"mean": model.encode(x.astype("float64")).mean(), "stddev": model.encode(x).stddev()},
        "serving_default": {"mean": model.reconstruct(x)},
        "decode": {"mean": model.decode(inputs["decode"]["z"]).mean()},
    }
    for signature, outputs in wanted.items():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "1"), signature_keys=[signature])
        interpreter = tf.lite.Interpreter(model_content=converter.convert())
        got = interpreter.get_signature_runner(signature)(**inputs[signature])
        assert set(got) == set(outputs)
        for key, value in outputs.items():
            np.testing.assert_allclose(got[key], value, rtol=1e-5, atol=5e-5, err_msg=f"{signature}: {key}")


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "XLA"])
def test_graphs_draw_and_give_the_same(factors, jit_compile):
    def figures(x):
        with sampling(3, fold(1)):
            trace = factors(x)
        return factors.log_prob(x), trace.latents["z"].value, trace.log_weight, trace.kl, factors.generate(4, seed=2)

    x = tf.constant(NEW)
    for got, wanted in zip(tf.function(figures, jit_compile=jit_compile)(x), figures(x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_nothing_of_the_size_of_the_covariance_is_made():
    model, size = kv.ProbabilisticPCA(3), 200
    model.fit(RNG.normal(size=(30, size)).astype("float32"), verbose=0)

    @tf.function
    def figures(x):
        return model.log_prob(x), model(x).log_weight

    operations = figures.get_concrete_function(tf.TensorSpec([2, size])).graph.get_operations()
    sizes = [tensor.shape.num_elements() or 0 for operation in operations for tensor in operation.outputs]
    assert size * 3 <= max(sizes) < size**2 / 10


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_changes_nothing(case, policy):
    x = case.data()
    plain = case.model()
    plain.fit(x, verbose=0)
    keras.config.set_dtype_policy(policy)
    mixed = case.model()
    mixed.fit(x, verbose=0)
    np.testing.assert_array_equal(mixed.log_prob(x), plain.log_prob(x))
    with sampling(2, fold(1)):
        trace, expected = mixed(x), plain(x)
    figures = [trace.observed, trace.latents["z"].value, trace.log_weight, trace.kl, trace.likelihood.mean()]
    assert {figure.dtype for figure in figures} == {tf.float32}
    assert trace.kl.shape == expected.kl.shape


def test_config_has_the_arguments():
    model = kv.FactorAnalysis(3, min_variance=0.5, seed=4, name="factors")
    config = json.loads(json.dumps(model.get_config()))
    again = kv.FactorAnalysis.from_config(config)
    assert (again.latent_size, again.min_variance, again.seed, again.name) == (3, 0.5, 4, "factors")


# --- bad input -------------------------------------------------------------------------------------------------------


def with_nan():
    x = X.copy()
    x[3, 2] = np.nan
    return x


@pytest.mark.parametrize("name", ["ProbabilisticPCA", "FactorAnalysis"])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (with_nan(), "needs finite data. Received: 1 that are NaN or infinite, the first at index (3, 2)."),
        (X[:, :2], "needs fewer latent variables than an observation has values. Received: latent_size=2"),
        (X[:, 0], "needs fewer latent variables"),
        (X[:3], "fit(x) needs at least latent_size + 2 = 4 examples, for fewer leave no noise. Received: 3."),
        (X[:0], "needs at least one example. Received: empty data."),
        (np.full((9, SIZE), "a"), "needs data that are numbers. Received: dtype <U1."),
    ],
    ids=["NaN", "size", "rank", "few", "empty", "text"],
)
def test_data_that_cannot_be_fitted(name, x, message):
    model = getattr(kv, name)(LATENT)
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(x, verbose=0)
    if x.dtype.kind == "f" and len(x):
        with pytest.raises(ValueError, match=re.escape(message).replace("(3,", "(1,")):  # of batch 1
            getattr(kv, name)(LATENT).fit(tf.data.Dataset.from_tensor_slices(x).batch(2), verbose=0)


@pytest.mark.parametrize("shape", [(3, 14), (14,), (3, 7, 1), (2, 1, 7), (3, 6)])
def test_rows_of_another_shape_are_refused_not_mixed(model, shape):
    x = np.zeros(shape, "float32")
    needed = re.escape(f"{type(model).__name__} needs data of shape (batch, 7). Received: {shape}")
    for method in (model.encode, model.log_prob, model.reconstruct, model, model.importance_weights):
        with pytest.raises(ValueError, match=needed):
            method(x, 2) if method == model.importance_weights else method(x)
        with pytest.raises(ValueError, match=needed):
            tf.function(lambda x, method=method: method(x, 2) if method == model.importance_weights else method(x))(x)


@pytest.mark.parametrize("shape", [(3, 4), (3,), (2, 3, 1), (2, 3)])
def test_latent_variables_of_another_shape_are_refused(model, shape):
    needed = re.escape(f"{type(model).__name__}.decode needs z of shape (batch, 2). Received: {shape}")
    with pytest.raises(ValueError, match=needed):
        model.decode(np.zeros(shape, "float32"))
    assert model.decode(np.zeros((4, 3, 2))).mean().shape == (4, 3, 7)


def test_the_summary_says_how_the_weights_are_found(ppca, factors):
    ppca.evaluate(NEW, verbose=0)  # compiles
    lines = []
    ppca.summary(print_fn=lines.append)
    assert "Fitted by its closed form, the maximum of the likelihood" in lines[-1]
    factors.summary(print_fn=lines.append)
    assert "Fitted by expectation maximization" in lines[-1]
    assert not any("ELBO" in line for line in lines)


def test_other_mistakes(ppca):
    fresh = kv.ProbabilisticPCA(LATENT)
    for call in (
        lambda: fresh.log_prob(X),
        lambda: fresh.encode(X),
        lambda: fresh(X),
        lambda: fresh.generate(2),
        lambda: fresh.predict(X, verbose=0),
        lambda: fresh.export("nowhere/1"),
    ):
        with pytest.raises(ValueError, match=r"needs fit\(x\) first. Received: a model that has not seen any data."):
            call()
    with pytest.raises(ValueError, match=r"^ProbabilisticPCA.evaluate needs fit\(x\) first"):
        fresh.evaluate(X, verbose=0)
    with pytest.raises(ValueError, match=r"ProbabilisticPCA needs data of shape \(batch, 7\). Received: \(50, 3\)"):
        ppca.evaluate(NEW[:, :3], verbose=0)
    with pytest.raises(ValueError, match="that vary in more than latent_size=2 directions"):
        kv.ProbabilisticPCA(2).fit(X[:, :2] @ RNG.normal(size=(2, 5)), verbose=0)
    with pytest.raises(ValueError, match="that vary in more than latent_size=2 directions"):
        kv.ProbabilisticPCA(2).fit_em(np.ones((9, 5)), verbose=0)
    with pytest.raises(ValueError, match=r"needs epochs=1: it is a closed form. fit_em iterates. Received: epochs=7"):
        kv.ProbabilisticPCA(2).fit(X, epochs=7)
    with pytest.raises(ValueError, match="needs epochs to be a whole number, 1 or more"):
        kv.FactorAnalysis(2).fit(X, epochs=0)
    with pytest.raises(ValueError, match="has no sample weights"):
        kv.FactorAnalysis(2).fit(tf.data.Dataset.from_tensor_slices((X, X, X[:, 0])).batch(9), verbose=0)
    with pytest.raises(ValueError, match="needs an array, or a finite"):
        kv.FactorAnalysis(2).fit(tf.data.Dataset.from_tensor_slices(X).batch(9).repeat(), verbose=0)
    for latent_size in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="needs latent_size to be a whole number, 1 or more"):
            kv.ProbabilisticPCA(latent_size)
    for min_variance in (0, -1.0, float("nan"), "1"):
        with pytest.raises(ValueError, match="needs min_variance to be a positive number"):
            kv.FactorAnalysis(2, min_variance)


@pytest.mark.slow
def test_a_compiled_model_is_loaded_and_evaluates_the_same(tmp_path):
    data = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
    model = kv.ProbabilisticPCA(2)
    model.fit(data, verbose=0)
    model.compile(loss=kv.ELBO())
    expected = model.evaluate(data, verbose=0)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(kv.load_model(tmp_path / "model.keras").evaluate(data, verbose=0), expected, rtol=1e-6)
