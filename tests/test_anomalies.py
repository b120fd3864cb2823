"""Anomaly scores against exact densities, the false-positive rate of a threshold, and what is saved and served."""

import io
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import decoder, encoder
from PIL import Image
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import keras_vae as kv
from keras_vae.evaluation import anomaly
from keras_vae.evaluation.complexity import code_length

SIZE = 4
RNG = np.random.default_rng(0)
LOADINGS = RNG.normal(size=(SIZE, 2))


def linear(loadings, variance: float) -> tuple[kv.ProbabilisticPCA, stats.rv_continuous]:
    """A model with given weights, and its density by SciPy."""
    model = kv.ProbabilisticPCA(loadings.shape[1])
    model.build((None, SIZE))
    model.mean.assign(np.arange(SIZE))
    model.loadings.assign(loadings)
    model.noise_variance.assign(variance)
    return model, stats.multivariate_normal(np.arange(SIZE), loadings @ loadings.T + variance * np.eye(SIZE))


MODEL, DENSITY = linear(LOADINGS, 0.3)
BACKGROUND, WIDE = linear(LOADINGS[:, :1] * 2, 2.0)
NORMAL = DENSITY.rvs(150, random_state=1).astype("float32")
STRANGE = RNG.uniform(-4, 8, size=(50, SIZE)).astype("float32")
BOTH = np.concatenate([NORMAL, STRANGE])
KINDS = {
    "ELBO": lambda: kv.evaluation.NegativeELBO(7),
    "log p(x)": lambda: kv.evaluation.NegativeLogLikelihood(5),
    "reconstruction": lambda: kv.evaluation.ReconstructionProbability(7),
    "ratio": lambda: kv.evaluation.LikelihoodRatio(image_vae(4), 5),
    "typicality": lambda: kv.evaluation.Typicality(samples=5),  # in `calibrate` it is fitted
    "complexity": lambda: kv.evaluation.ComplexityCorrected(5),
}


def image_vae(seed=0, likelihood=None) -> kv.VAE:
    keras.utils.set_random_seed(seed)
    likelihood = likelihood or kv.Bernoulli((6, 6, 1), decoder(2))
    model = kv.VAE(kv.Normal(2, encoder((6, 6, 1))), likelihood, kv.StandardNormal(2))
    model.compile("adam", jit_compile=False)
    model.build((None, 6, 6, 1))
    return model


IMAGES = (np.random.default_rng(1).random((20, 6, 6, 1)) < 0.4).astype("float32")


def test_scores_are_those_of_exact_densities():
    found = kv.evaluation.anomaly_scores(MODEL, BOTH, background=BACKGROUND, reference=NORMAL, samples=20)
    exact = -DENSITY.logpdf(BOTH)
    np.testing.assert_allclose(found.negative_log_likelihood, exact, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.likelihood_ratio, WIDE.logpdf(BOTH) + exact, rtol=1e-4, atol=1e-4)
    mean = -DENSITY.logpdf(NORMAL).mean()
    np.testing.assert_allclose(found.typicality, np.abs(exact - mean), rtol=1e-4, atol=1e-4)
    labels = np.arange(len(BOTH)) >= len(NORMAL)
    assert roc_auc_score(labels, found.negative_log_likelihood) == roc_auc_score(labels, exact)
    assert found.complexity_corrected is None
    assert set(found.arrays()) == {*KINDS_BY_NAME, "likelihood_ratio", "typicality"}


KINDS_BY_NAME = {"negative_elbo", "negative_log_likelihood", "reconstruction"}


def test_bound_and_reconstruction_are_their_expectations():
    """By the exact posterior: -ELBO is -log p(x) in expectation, and E log p(x | z) has a closed form."""
    samples = 2000
    inverse = np.linalg.inv(LOADINGS.T @ LOADINGS + 0.3 * np.eye(2))
    centred = NORMAL - np.arange(SIZE)
    residual = centred - centred @ LOADINGS @ inverse @ LOADINGS.T
    spread = 0.3 * np.trace(LOADINGS @ inverse @ LOADINGS.T)
    exact = 0.5 * SIZE * math.log(2 * math.pi * 0.3) + (np.sum(residual**2, axis=1) + spread) / 0.6
    error = kv.evaluation.ReconstructionProbability(samples).values(MODEL, NORMAL) - exact
    covariance = 0.3 * LOADINGS @ inverse @ LOADINGS.T  # of W z given x
    variance = 2 * np.trace(covariance @ covariance) + 4 * np.sum((residual @ covariance) * residual, axis=1)
    assert np.all(np.abs(error) < 4 * np.sqrt(variance / samples) / 0.6)
    assert np.std(error) > 0
    bound = kv.evaluation.NegativeELBO(samples).values(MODEL, NORMAL) + DENSITY.logpdf(NORMAL)
    np.testing.assert_allclose(bound, error, atol=1e-3)  # the KL is exact: both have the noise of the reconstruction


def test_draws_in_chunks_are_all_counted(monkeypatch):
    model, score = image_vae(), kv.evaluation.NegativeELBO(400)
    whole = score.values(model, IMAGES)
    monkeypatch.setattr(anomaly, "ROWS", 7)  # chunks of 7 draws, of which the last has 1, of batches of 7 images
    parts = score.values(image_vae(), IMAGES)
    bounds = kv.evaluation.bounds(model, IMAGES, samples=400)
    np.testing.assert_allclose([whole, parts], -np.stack([bounds.elbo] * 2), rtol=0.02)
    assert np.all(whole != parts)


def test_an_example_has_one_score_wherever_it_stands():
    scores = [KINDS[name]() for name in KINDS if name != "typicality"]
    model = image_vae()
    whole = np.stack(anomaly.all_values("test", scores, model, IMAGES, seed=1))
    order = np.random.default_rng(0).permutation(20)[:9]
    np.testing.assert_array_equal(anomaly.all_values("test", scores, model, IMAGES[order], seed=1), whole[:, order])
    assert np.all(np.stack(anomaly.all_values("test", scores, model, IMAGES, seed=2)) != whole)


@pytest.mark.parametrize(
    ("layer", "images", "pixels"),
    [
        (lambda shape: kv.Bernoulli(shape, decoder(2)), IMAGES, IMAGES),
        (lambda shape: kv.DiscretizedLogistic(shape, decoder(2), levels=16), np.round(IMAGES * 11) / 15, IMAGES * 11),
        (lambda shape: kv.GreyLevels(kv.Normal(shape, decoder(2)), 255), IMAGES * 200, IMAGES * 200),
        (lambda shape: kv.GreyLevels(kv.Bernoulli(shape, decoder(2)), 16), IMAGES * 13, IMAGES),
        (lambda shape: kv.GreyLevels(kv.Normal(shape, decoder(2)), 1000), IMAGES * 900, IMAGES * 900),
    ],
    ids=["binary", "levels", "bytes", "binary of levels", "16 bits"],
)
def test_the_code_of_an_image_is_a_png_file_of_its_levels(layer, images, pixels, monkeypatch):
    """Pillow reads from it what went in."""
    files, encode = [], tf.io.encode_png
    monkeypatch.setattr(
        tf.io, "encode_png", lambda *args, **options: files.append(encode(*args, **options)) or files[-1]
    )
    monkeypatch.setattr(tf, "map_fn", lambda function, parts, **_: tf.stack([function(part) for part in parts]))
    model = image_vae(likelihood=layer((6, 6, 1)))
    lengths = code_length(model, tf.constant(images, tf.float32))
    found = [np.array(Image.open(io.BytesIO(file.numpy()))) for file in files]
    np.testing.assert_array_equal(found, np.squeeze(pixels, -1))
    np.testing.assert_allclose(lengths, [8 * math.log(2) * len(file.numpy()) for file in files], rtol=1e-6)


def test_the_false_positive_rate_lies_where_the_detector_says():
    """The exact rate of a threshold, by the chi-square law of -log p(x), is in 95 % of the intervals, or more."""
    constant = -DENSITY.logpdf(np.arange(SIZE))
    detector = kv.AnomalyDetector(MODEL, kv.evaluation.NegativeLogLikelihood(1), false_positive_rate=0.1)
    rates, inside = [], []
    for number in range(40):
        detector.calibrate(DENSITY.rvs(99, random_state=number + 10).astype("float32"))
        rates.append(stats.chi2(SIZE).sf(2 * (detector.threshold_ - constant)))
        low, high = detector.false_positive_interval_
        inside.append(low <= rates[-1] <= high)
        assert low < detector.false_positive_rate_ == 9 / 99 < high
    assert np.mean(inside) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 40)
    assert np.mean(rates) == pytest.approx(0.1, abs=3 * np.std(rates) / math.sqrt(40))  # Beta(10, 90)
    assert np.std(rates) == pytest.approx(stats.beta(10, 90).std(), rel=0.35)
    fresh = DENSITY.rvs(2000, random_state=7).astype("float32")
    share = np.mean(detector.predict(fresh) == -1)
    assert abs(share - rates[-1]) < 4 * math.sqrt(rates[-1] * (1 - rates[-1]) / 2000)
    assert low <= share <= high


@pytest.mark.parametrize("name", ["ELBO", "ratio", "typicality", "complexity"])
def test_what_is_served_is_what_python_says(name):
    detector = kv.AnomalyDetector(image_vae(), KINDS[name](), false_positive_rate=0.1, seed=3)
    detector.calibrate(IMAGES, reference=IMAGES)
    function, _ = detector.serving_signatures()["anomaly_score"]
    served = tf.function(function, autograph=False)(tf.constant(IMAGES), 3)
    np.testing.assert_allclose(served["score"], -detector.score_samples(IMAGES), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(served["threshold"], np.float32([detector.threshold_] * 20))
    np.testing.assert_array_equal(served["is_anomaly"], detector.predict(IMAGES) == -1)
    assert np.sum(served["is_anomaly"]) == detector.false_positive_rate_ * 20


def test_a_detector_is_one_file_and_one_saved_model(tmp_path):
    model = image_vae()
    score = kv.evaluation.LikelihoodRatio(image_vae(4), 5)
    detector = kv.AnomalyDetector(model, score, false_positive_rate=0.1, seed=3).calibrate(IMAGES)
    detector.save(tmp_path / "detector.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["detector.keras"]
    again = kv.AnomalyDetector.load(tmp_path / "detector.keras")
    np.testing.assert_allclose(again.score_samples(IMAGES), detector.score_samples(IMAGES), rtol=1e-6)
    for name in ("threshold_", "offset_", "false_positive_rate_", "false_positive_interval_", "seed"):
        assert getattr(again, name) == getattr(detector, name)
    for part, wanted in zip(kv.load_model(tmp_path / "detector.keras").weights, model.weights, strict=True):
        np.testing.assert_array_equal(part, wanted)
    again.export(tmp_path / "1")
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    assert {"serving_default", "log_likelihood", "anomaly_score"} <= set(served)
    found = served["anomaly_score"](x=tf.constant(IMAGES), seed=tf.constant(3))
    np.testing.assert_allclose(found["score"], -detector.score_samples(IMAGES), rtol=1e-5, atol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"VAE.anomaly_score needs x .* in \[0, 1\]|other values"):
        served["anomaly_score"](x=tf.constant(IMAGES + 3), seed=tf.constant(3))
    kv.VAE.save(model, tmp_path / "model.keras")
    with pytest.raises(ValueError, match="which holds a model alone"):
        kv.AnomalyDetector.load(tmp_path / "model.keras")


def two_axes(x) -> kv.ProbabilisticPCA:
    """A model of rows of any length."""
    return kv.ProbabilisticPCA(1)


def detector_of_rows(**options) -> kv.AnomalyDetector:
    options = {"anomaly_score": kv.evaluation.NegativeELBO(1), "held_out": 0.5, "false_positive_rate": 0.2} | options
    return kv.AnomalyDetector(two_axes, **options)


def test_it_is_an_estimator_of_scikit_learn():
    detector = detector_of_rows()
    copy = clone(detector).set_params(false_positive_rate=0.3)
    assert copy.get_params()["false_positive_rate"] == 0.3
    assert copy.model is two_axes
    with pytest.raises(NotFittedError):
        detector.predict(NORMAL)
    pipeline = make_pipeline(StandardScaler(), detector).fit(NORMAL)
    found = pipeline.predict(BOTH)
    assert set(found) == {-1, 1}
    labels = np.where(np.arange(len(BOTH)) < len(NORMAL), 1, -1)
    assert roc_auc_score(labels, pipeline.decision_function(BOTH)) > 0.9
    np.testing.assert_array_equal(pipeline.decision_function(BOTH) < 0, found == -1)
    order = np.random.default_rng(0).permutation(len(BOTH))
    areas = cross_val_score(detector, BOTH[order], labels[order], cv=2, scoring="roc_auc")
    assert np.all(areas > 0.8)
    np.testing.assert_array_equal(clone(detector).fit_predict(BOTH), clone(detector).fit(BOTH).predict(BOTH))


def test_fit_trains_a_copy_on_what_does_not_set_the_threshold():
    model = image_vae()
    before = model.get_weights()
    data = np.concatenate([IMAGES] * 5)
    detector = kv.AnomalyDetector(model, kv.evaluation.Typicality(samples=3), held_out=0.3, fit_options={"epochs": 3})
    detector.fit(data)
    assert detector.model_ is not model
    for part, wanted in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(part, wanted)
    assert int(detector.model_.optimizer.iterations) == 3 * 3  # of 70 rows, 32 at a time
    train = np.random.default_rng(0).permutation(100)[30:]
    mean = kv.evaluation.NegativeLogLikelihood(3).values(detector.model_, data[np.sort(train)]).mean()
    assert detector.score_.mean == pytest.approx(mean, rel=1e-6)
    assert detector.false_positive_rate_ == 0  # the 30th of 30 is the threshold of 0.05


def test_autoencoders_and_frames_have_anomalies_too():
    import pandas as pd

    network = keras.Sequential([keras.layers.Dense(2)])
    model = kv.Autoencoder(network, kv.FixedScaleNormal(SIZE, decoder(2)))
    model.compile("adam", jit_compile=False)
    detector = kv.AnomalyDetector(model, kv.evaluation.ReconstructionProbability(3), fit_options={"epochs": 2})
    detector.fit(pd.DataFrame(NORMAL, columns=list("abcd")))
    assert list(detector.feature_names_in_) == list("abcd")
    exact = -detector.model_.decode(detector.model_.encode(BOTH)).log_prob(BOTH).numpy()
    with pytest.warns(UserWarning, match="feature names"):
        np.testing.assert_allclose(-detector.score_samples(BOTH), exact, rtol=1e-5)
    for score in (kv.evaluation.NegativeELBO(), kv.evaluation.NegativeLogLikelihood()):
        with pytest.raises(TypeError, match=f"{type(score).__name__} needs a model with a prior"):
            score.values(detector.model_, NORMAL)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "needs background to be a model", lambda: kv.evaluation.LikelihoodRatio("mnist")),
        (ValueError, "needs samples to be a whole number", lambda: kv.evaluation.NegativeELBO(0)),
        (ValueError, "needs reference to be the data", lambda: detector_of_rows_like(kv.evaluation.Typicality())),
        (TypeError, "needs images of one or three", lambda: detector_of_rows_like(kv.evaluation.ComplexityCorrected())),
        (ValueError, "background of the observations", lambda: detector_of_rows_like(KINDS["ratio"]())),
        (TypeError, "needs anomaly_score to be one", lambda: detector_of_rows_like("elbo")),
        (TypeError, "needs model to be a trained model", lambda: detector_of_rows().calibrate(NORMAL)),
        (TypeError, "needs model to be a model, or a", lambda: kv.AnomalyDetector(lambda x: 3).fit(NORMAL)),
        (ValueError, r"needs fit\(x\) first", lambda: kv.AnomalyDetector(kv.ProbabilisticPCA(1)).calibrate(NORMAL)),
        (ValueError, "19 held-out samples.*= 18", lambda: kv.AnomalyDetector(MODEL).calibrate(NORMAL[:18])),
        (ValueError, "false_positive_rate to be", lambda: detector_of_rows(false_positive_rate=1.0).fit(NORMAL)),
        (ValueError, "confidence to be more than 0", lambda: detector_of_rows(confidence=0).fit(NORMAL)),
        (ValueError, "held_out to be a number", lambda: detector_of_rows(held_out=-1).fit(NORMAL)),
        (ValueError, "finite", lambda: kv.AnomalyDetector(MODEL).calibrate(np.where(NORMAL > 3, np.nan, NORMAL))),
        (ValueError, "ends in .keras", lambda: kv.AnomalyDetector(MODEL).calibrate(NORMAL).save("detector.pickle")),
    ],
)
def test_what_can_not_be_done_is_said(error, message, call):
    with pytest.raises(error, match=message):
        call()


def detector_of_rows_like(score):
    return kv.AnomalyDetector(MODEL, score).calibrate(NORMAL)


# The message of this one has to say "1 feature"; a model of ours says what it needs.
EXPECTED = {"check_fit2d_1feature": "ProbabilisticPCA needs more values than axes, and says so in its own words"}


@pytest.mark.slow
@parametrize_with_checks([detector_of_rows()], expected_failed_checks=lambda _: EXPECTED)
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)
