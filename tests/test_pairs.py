"""Every combination of a table of posteriors, priors and likelihoods: XLA, mixed precision, `.keras` and SavedModel.

All of them take minutes: `pytest -m slow tests/test_pairs.py`. The classes themselves are in the conformance suite.
"""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import binary_images, counts, decoder, encoder, levels, positive_vectors, vectors

import keras_vae as kv
from keras_vae.noise import fold
from keras_vae.sampling import sampling

LATENT = 3
REAL_POSTERIORS = {
    "Normal": kv.Normal,
    "FullCovarianceNormal": kv.FullCovarianceNormal,
    "LowRankNormal": kv.LowRankNormal,
    "Laplace": kv.Laplace,
}
REAL_PRIORS = {
    "StandardNormal": kv.StandardNormal,
    "NormalMixture": functools.partial(kv.NormalMixture, components=3),
    "VampPrior": functools.partial(kv.VampPrior, components=3, low=None, high=None),
}
OTHER_LATENTS = {
    ("PowerSpherical", "SphericalUniform"): (kv.PowerSpherical, kv.SphericalUniform),
    ("PowerSpherical", "VampPrior"): (kv.PowerSpherical, REAL_PRIORS["VampPrior"]),
    ("RelaxedBernoulli", "RelaxedBernoulli"): (kv.RelaxedBernoulli, kv.RelaxedBernoulli),
    ("RelaxedOneHotCategorical", "RelaxedOneHotCategorical"): (kv.RelaxedOneHotCategorical,) * 2,
}
LIKELIHOODS = {
    "Bernoulli": (kv.Bernoulli, lambda: binary_images((5,))),
    "ContinuousBernoulli": (kv.ContinuousBernoulli, lambda: binary_images((5,))),
    "Normal": (kv.Normal, vectors),
    "LearnedScaleNormal": (kv.LearnedScaleNormal, vectors),
    "OptimalScaleNormal": (kv.OptimalScaleNormal, vectors),
    "Laplace": (kv.Laplace, vectors),
    "StudentT": (kv.StudentT, vectors),
    "LogNormal": (kv.LogNormal, positive_vectors),
    "Poisson": (kv.Poisson, counts),
    "NegativeBinomial": (kv.NegativeBinomial, counts),
    "ZeroInflatedNegativeBinomial": (kv.ZeroInflatedNegativeBinomial, counts),
    "Categorical": (functools.partial(kv.Categorical, levels=4), levels),
    "DiscretizedLogistic": (functools.partial(kv.DiscretizedLogistic, levels=4, high=3.0), levels),
    "DiscretizedLogisticMixture": (
        functools.partial(kv.DiscretizedLogisticMixture, components=2, levels=4, high=3.0),
        levels,
    ),
}
LATENTS = {
    (posterior, prior): (REAL_POSTERIORS[posterior], REAL_PRIORS[prior])
    for posterior, prior in itertools.product(REAL_POSTERIORS, REAL_PRIORS)
} | OTHER_LATENTS


def pairs() -> list[tuple]:
    """Each pair of posterior and prior with three likelihoods, so that each likelihood meets several of them."""
    names = itertools.cycle(LIKELIHOODS)
    return [(*latents, next(names)) for latents in LATENTS for _ in range(3)]


def build(posterior: str, prior: str, likelihood: str) -> kv.VAE:
    make_posterior, make_prior = LATENTS[posterior, prior]
    make_likelihood, _ = LIKELIHOODS[likelihood]
    return kv.VAE(make_posterior(LATENT, encoder(5)), make_likelihood(5, decoder(LATENT)), make_prior(LATENT))


def expected_loss(model: kv.VAE, x: np.ndarray) -> float:
    """The loss, from so many draws that one is as good as another."""
    with sampling(500, fold(1)):
        return float(tf.reduce_mean(model.loss(model(x))))


RELOAD = """
import sys, numpy as np, tensorflow as tf
folder, x = sys.argv[1], np.load(sys.argv[1] + "/x.npy")
served = tf.saved_model.load(folder + "/saved/1").signatures["log_likelihood"]
values = served(x=tf.constant(x), num_samples=tf.constant(5), seed=tf.constant(1))["log_likelihood"]
assert "keras_vae" not in sys.modules
import keras_vae as kv
model = kv.load_model(folder + "/model.keras")
np.savez(folder + "/values.npz", served=values, loaded=model.importance_weights(x, 5, 1)[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("names", pairs(), ids="-".join)
def test_combination(names, tmp_path, run_python):
    x = LIKELIHOODS[names[2]][1]()
    for policy in ("mixed_bfloat16", "float32"):
        keras.config.set_dtype_policy(policy)
        model = build(*names)
        model.compile(keras.optimizers.Adam(1e-2))
        model.build(x.shape)
        step = tf.function(model.train_step, jit_compile=True)
        before = expected_loss(model, x)
        for _ in range(10):
            model.reset_metrics()
            assert np.isfinite(float(step(tf.constant(x))["loss"]))
        assert expected_loss(model, x) < before
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "saved" / "1")
    np.save(tmp_path / "x.npy", x)
    run_python(RELOAD, tmp_path)
    expected = model.importance_weights(x, 5, 1)[0]
    with np.load(tmp_path / "values.npz") as values:
        np.testing.assert_array_equal(values["loaded"], expected)
        np.testing.assert_allclose(values["served"], expected, rtol=1e-4, atol=1e-4)


def test_the_table_is_large_enough():
    assert len(set(pairs())) >= 40
    assert {name for names in pairs() for name in names[2:]} == set(LIKELIHOODS)
