"""Scores of draws against data: against closed forms of normal distributions, SciPy and brute force."""

import re

import keras
import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage

import keras_vae as kv
from keras_vae.evaluation import draw_quality, frechet_distance, sharpness

RNG = np.random.default_rng(0)


def with_moments(mean, covariance, count=50) -> np.ndarray:
    """Points whose mean and covariance are these, but for rounding."""
    size = len(mean)
    points = RNG.normal(size=(count, size))
    points -= points.mean(axis=0)
    points = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False))).T
    return points @ scipy.linalg.sqrtm(covariance).real.T + mean


def covariance(size=4) -> np.ndarray:
    half = RNG.normal(size=(size, size))
    return half @ half.T


def test_frechet_distance_of_normals_against_closed_forms():
    one, other, mean = covariance(), covariance(), RNG.normal(size=4)
    points = with_moments(np.zeros(4), one)
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(points, points + mean) == pytest.approx(mean @ mean, rel=1e-9)
    assert frechet_distance(points, 3 * points) == pytest.approx(4 * np.trace(one), rel=1e-9)
    scales = np.array([1.0, 4.0, 9.0, 0.25]), np.array([4.0, 1.0, 9.0, 1.0])
    apart = [with_moments(np.zeros(4), np.diag(scale)) for scale in scales]
    assert frechet_distance(*apart) == pytest.approx(np.sum((scales[0] ** 0.5 - scales[1] ** 0.5) ** 2), rel=1e-9)
    expected = mean @ mean + np.trace(one + other - 2 * scipy.linalg.sqrtm(one @ other).real)
    found = frechet_distance(with_moments(mean, one), with_moments(np.zeros(4), other))
    assert found == pytest.approx(expected, rel=1e-7)


def test_frechet_distance_where_covariances_are_singular():
    """Fewer examples than features, and features that are constant."""
    flat = np.concatenate([RNG.normal(size=(5, 3)), np.ones((5, 7))], axis=1)
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(flat, flat + 2) == pytest.approx(40, rel=1e-9)
    assert frechet_distance(np.arange(4.0)[:, None], 2 * np.arange(4.0)[:, None]) == pytest.approx(1.5**2 + 5 / 3)


def brute_force(real, drawn, neighbours) -> dict[str, float]:
    """By the definitions, one pair at a time."""

    def radius(points, number):
        return sorted(np.linalg.norm(points - points[number], axis=1))[neighbours]

    of_real = [radius(real, number) for number in range(len(real))]
    of_drawn = [radius(drawn, number) for number in range(len(drawn))]
    within = np.array([[np.linalg.norm(r - d) <= size for d in drawn] for r, size in zip(real, of_real, strict=True)])
    recalled = [any(np.linalg.norm(r - d) <= size for d, size in zip(drawn, of_drawn, strict=True)) for r in real]
    return {
        "precision": np.mean([column.any() for column in within.T]),
        "recall": np.mean(recalled),
        "density": within.sum() / (neighbours * len(drawn)),
        "coverage": np.mean([row.any() for row in within]),
    }


@pytest.mark.parametrize(("count", "shift"), [(30, 0.0), (50, 0.8), (20, 2.0)])
def test_neighbourhoods_against_brute_force(monkeypatch, count, shift):
    real, drawn = RNG.normal(size=(40, 3)), RNG.normal(size=(count, 3)) * 0.7 + shift
    monkeypatch.setattr("keras_vae.evaluation.draws.CELLS", 7 * count)
    found = draw_quality(real, drawn, neighbours=3)
    for name, value in brute_force(real, drawn, 3).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-9), name
        assert 0 < value < 2.5
    assert found.frechet_distance == pytest.approx(frechet_distance(real, drawn))


def test_what_the_scores_say():
    real = RNG.normal(size=(400, 2))
    same = draw_quality(real, RNG.normal(size=(400, 2)))
    narrow = draw_quality(real, 0.1 * RNG.normal(size=(400, 2)))
    wide = draw_quality(real, 4 * RNG.normal(size=(400, 2)))
    far = draw_quality(real, RNG.normal(size=(400, 2)) + 100)
    itself = draw_quality(real, real)
    assert (itself.precision, itself.recall, itself.coverage) == (1, 1, 1)
    repeated = draw_quality(np.repeat(real[:20], 10, axis=0), np.repeat(real[:20], 10, axis=0))
    assert (repeated.precision, repeated.recall, repeated.coverage) == (1, 1, 1)
    far_out = draw_quality(real.round(3) + 1e7, real[::-1].round(3) * 0.5 + 1e7)
    near = draw_quality(real.round(3), real[::-1].round(3) * 0.5)
    assert far_out.density == pytest.approx(near.density, abs=0.01)
    assert same.precision > 0.9
    assert same.recall > 0.9
    assert same.density == pytest.approx(1, abs=0.1)
    assert narrow.precision > 0.95 > 0.3 > narrow.recall, "draws of one kind are precise, and miss the others"
    assert wide.precision < 0.5 < 0.9 < wide.recall
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)
    assert same.frechet_distance < 0.1 < narrow.frechet_distance < far.frechet_distance
    assert str(far).startswith("Frechet distance 2")
    assert "precision 0.000, recall 0.000, density 0.000, coverage 0.000" in str(far)


def test_features_of_a_keras_model():
    images = RNG.uniform(size=(30, 4, 4, 1)).astype("float32")
    draws = RNG.uniform(size=(25, 4, 4, 1)).astype("float32")
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(3, 2), keras.layers.Dropout(0.5)])
    found = draw_quality(images, draws, network, batch_size=7)
    expected = draw_quality(*(network.predict(each, verbose=0).reshape(len(each), -1) for each in (images, draws)))
    assert found.frechet_distance == pytest.approx(expected.frechet_distance, rel=1e-5)
    assert found.density == expected.density


def test_sharpness_against_scipy():
    images = RNG.uniform(size=(3, 8, 9, 2))
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    expected = [
        np.var([scipy.ndimage.convolve(image[..., c], kernel)[1:-1, 1:-1] for c in range(2)]) for image in images
    ]
    np.testing.assert_allclose(sharpness(images), expected, rtol=1e-9)
    blurred = scipy.ndimage.gaussian_filter(images, (0, 1, 1, 0))
    assert (sharpness(blurred) < 0.3 * sharpness(images)).all()
    assert (sharpness(np.ones((2, 4, 4, 1))) == 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: draw_quality(np.zeros((9, 3)), np.zeros((9, 2))),
            "data and draws of one shape, (examples, *event). Received: (9, 3) and",
        ),
        (lambda: draw_quality(np.zeros((0, 3)), np.zeros((9, 3))), "needs more than 5 examples and draws"),
        (lambda: draw_quality(3.0, 4.0), "data and draws of one shape, (examples, *event). Received: () and ()"),
        (lambda: draw_quality(np.zeros((9, 3)), np.zeros((5, 3))), "needs more than 5 examples and draws"),
        (lambda: draw_quality(np.full((9, 3), np.nan), np.zeros((9, 3))), "Received: 9, some of them not finite"),
        (lambda: frechet_distance(np.zeros((9, 3)), np.zeros((9, 2))), "Received: (9, 3), (9, 2)"),
        (lambda: frechet_distance(np.zeros((1, 3)), np.zeros((9, 3))), "of two examples or more"),
        (lambda: sharpness(np.zeros((9, 28, 28))), "sharpness needs images of shape (images, height, width, channels)"),
        (
            lambda: draw_quality(np.zeros((9, 3)), np.zeros((9, 3)), neighbours=0),
            "needs neighbours to be a whole number",
        ),
    ],
)
def test_what_can_not_be_scored_is_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_a_function_is_no_network():
    with pytest.raises(TypeError, match="needs features to be a Keras model or layer"):
        draw_quality(np.zeros((9, 3)), np.zeros((9, 3)), features=np.abs)


def test_they_score_draws_of_a_model():
    x = (RNG.uniform(size=(50, 6)) < 0.2).astype("float32")
    model = kv.VAE(
        kv.Normal(2, kv.dense_encoder(6, [8])), kv.Bernoulli(6, kv.dense_decoder(2, [8])), kv.StandardNormal(2)
    )
    model.build((None, 6))
    found = draw_quality(x, model.sample(40, seed=0))
    assert 0 < found.precision <= 1
    assert found.frechet_distance > 0.1
