"""Draws are a function of the seed: XLA, a graph and Python make the same ones, of every layer."""

import functools

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import CASES, decoder, encoder
from conftest import usual_first
from layers import LAYERS, without_context
from tensorflow_probability.python.internal import samplers

import keras_vae as kv
from keras_vae import noise
from keras_vae.distributions import draws
from keras_vae.noise import categorical, fold, gumbel, logistic

DISCRETE = {"Bernoulli", "Categorical", "OneHotCategorical", "DiscretizedLogistic", "DiscretizedLogisticMixture",
            "Poisson", "NegativeBinomial", "ZeroInflatedNegativeBinomial"}  # fmt: skip
SLOW = {"NegativeBinomial", "ZeroInflatedNegativeBinomial", "AutoregressiveFlow", "Columns"}  # to compile


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in SLOW else kind for kind in LAYERS]
)
def test_draws_do_not_depend_on_how_they_are_compiled(kind):
    layer = without_context(kind)

    def draw():
        return layer().sample(300, seed=fold(7))

    expected = draw().numpy()
    for jit_compile in (False, True):
        found = tf.function(draw, jit_compile=jit_compile)().numpy()
        if kind in DISCRETE:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(layer().sample(300, seed=fold(8)), expected)


VAMP_PRIORS = {"Bernoulli": kv.Bernoulli, "RelaxedBernoulli": kv.RelaxedBernoulli, "PowerSpherical": kv.PowerSpherical}


@pytest.mark.parametrize("kind", VAMP_PRIORS)
def test_draws_of_a_vamp_prior_do_not_depend_on_how_they_are_compiled(kind):
    prior = kv.VampPrior(3, components=4)
    model = kv.VAE(VAMP_PRIORS[kind](3, encoder(5)), kv.Bernoulli(5, decoder(3)), prior)
    model.build((None, 5))

    def draw():
        return prior().sample(200, seed=fold(7))

    np.testing.assert_allclose(tf.function(draw, jit_compile=True)(), draw(), rtol=1e-5, atol=1e-5)


def test_no_layer_draws_from_the_sampler_of_tensorflow_probability(monkeypatch):
    """Whose noise XLA changes: none of its functions is called."""
    for name in ("normal", "uniform", "gamma", "categorical", "poisson", "shuffle"):
        monkeypatch.setattr(samplers, name, None)
    for kind in LAYERS:
        without_context(kind)().sample(3, seed=fold(1))
    with pytest.raises(TypeError, match="not callable"):
        tfp.distributions.Normal(0.0, 1.0).sample(3, seed=fold(1))


# --- the distributions of the noise ----------------------------------------------------------------------------------

COUNT = 50_000


def agrees(draws, distribution) -> bool:
    """Frequencies of a discrete distribution, each within 5 standard errors; others by Kolmogorov-Smirnov."""
    if not hasattr(distribution, "pmf"):
        return scipy.stats.kstest(draws, distribution.cdf).pvalue > 1e-3
    edges = np.unique(distribution.ppf(np.linspace(0.01, 0.99, 30)))
    found, expected = (draws[:, None] <= edges).mean(axis=0), distribution.cdf(edges)
    return np.all(np.abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / len(draws)) + 1e-9)


def test_logistic_and_gumbel_and_places():
    assert agrees(logistic([COUNT], fold(1)).numpy(), scipy.stats.logistic)
    assert agrees(gumbel([COUNT], fold(1)).numpy(), scipy.stats.gumbel_r)
    logits = tf.constant([[0.0, 1.0, -2.0], [-1.0, 0.0, 3.0]])
    places = categorical(logits, [COUNT, 2], fold(1)).numpy()
    p = tf.nn.softmax(logits).numpy()
    frequencies = (places[..., None] == np.arange(3)).mean(axis=0)
    assert np.all(np.abs(frequencies - p) < 5 * np.sqrt(p * (1 - p) / COUNT))


@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.7, 9.9, 10.1, 35.0, 1234.5, 3e6, 5e8])
def test_poisson_draws(rate):
    found = draws.poisson(tf.math.log(tf.constant(rate)), tf.constant([COUNT]), fold(2)).numpy()
    if rate == 0:
        assert not found.any()
    else:
        assert agrees(found.astype(np.float64), scipy.stats.poisson(np.float64(np.float32(rate))))


@pytest.mark.parametrize("a", [0.01, 0.5, 1.0, 7.0, 1e4])
def test_gamma_draws(a):
    found = draws.log_gamma(tf.math.log(tf.constant(a)), tf.constant([COUNT]), fold(2)).numpy().astype(np.float64)
    if a == 0.01:  # most of them are less than any number of float32
        assert agrees(found, scipy.stats.loggamma(a))
    else:
        assert agrees(np.exp(found), scipy.stats.gamma(a))


def test_counts_of_extreme_parameters_are_drawn_in_no_time():
    """Rates of 0 and 1e16 end the loops of rejection as others do."""
    for layer in (kv.Poisson(1), kv.NegativeBinomial(1), kv.ZeroInflatedNegativeBinomial(1)):
        for raw in (-1e3, 1e3):
            found = layer.distribution(tf.fill([5, *layer.params_shape], raw)).sample(7, seed=fold(1))
            assert np.isfinite(found).all()


def test_generated_images_are_the_same_under_xla():
    keras.utils.set_random_seed(0)
    prior = kv.NormalMixture(3, components=4)
    model = kv.VAE(kv.Normal(3, encoder(5)), kv.Bernoulli(5, decoder(3)), prior)
    model.build((None, 5))
    compiled = tf.function(lambda: model.generate(9, seed=3), jit_compile=True)()
    np.testing.assert_allclose(compiled, model.generate(9, seed=3), rtol=1e-5)


@pytest.mark.parametrize("prior", [kv.StandardNormal, functools.partial(kv.NormalMixture, components=2)])
def test_data_have_noise_of_their_own(prior):
    """p(x | z) = N(x | 0, 1) here: no number of x may tell one of z."""
    count, latent, size = 4_000, 2, 4
    decoder = keras.Sequential([keras.Input((latent,)), keras.layers.Dense(3, kernel_initializer="zeros")])
    model = kv.VAE(kv.Normal(latent, keras.layers.Dense(3)), kv.FixedScaleNormal(size, decoder), prior=prior(latent))
    model.build((None, size))
    z, x = model.sample_prior(count, 3).numpy(), model.sample(count, 3).numpy()
    both = np.corrcoef(np.concatenate([z, x], axis=1).T)
    assert np.abs(both[:latent, latent:]).max() < 5 / np.sqrt(count)


@pytest.mark.parametrize(
    "name",
    usual_first(
        CASES, "FullCovarianceNormal, Laplace, NormalMixture, IWAE", "HierarchicalVAE", "ConditionalVAE", "STOVE"
    ),
)
def test_no_two_draws_of_a_seed_share_their_noise(name, monkeypatch):
    """Of latent variables, parts of a mixture, rejected proposals and data: each asks for numbers of its own."""
    case, seeds = CASES[name], []
    bits_at = noise._bits_at

    def recorded(places, seed):
        if tf.executing_eagerly():
            seeds.append(tuple(seed.numpy().tolist()))
        return bits_at(places, seed)

    x, y = case.arrays()
    model = case.compiled()
    model.build(x.shape)
    monkeypatch.setattr(noise, "_bits_at", recorded)
    model.sample(3 if y is None else y[:3], seed=5)
    assert len(seeds) == len(set(seeds)) > 1
