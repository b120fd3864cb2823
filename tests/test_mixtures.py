"""Mixtures as priors: what objectives that draw from them learn, against integrals in closed form and over a grid."""

from functools import partial

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from cases import decoder, encoder

import keras_vae as kv
from keras_vae.noise import fold
from keras_vae.objectives.aggregate import discrepancy_from_prior, squared_mmd
from keras_vae.sampling import sampling
from keras_vae.trace import Latent

SIZE, COMPONENTS = 2, 3


def expected_kernel(loc, variance, other_loc, other_variance):
    """E exp(-|a - b|^2 / d) of independent normals in d dimensions, for all pairs of two lists of them."""
    total = variance[:, None] + other_variance
    width = SIZE + 2 * total
    squares = (loc[:, None] - other_loc) ** 2
    return np.prod(np.exp(-squares / width) * np.sqrt(SIZE / width), axis=-1)


def expected_discrepancy(params, points) -> float:
    """Of the mixture from independent draws of the normals N(point, 0.5^2): its exact expectation."""
    weights = scipy.special.softmax(params[:, 0])
    loc, variance = params[:, 1 : 1 + SIZE], (1e-3 + np.logaddexp(0, params[:, 1 + SIZE :])) ** 2
    of_points = np.full_like(points, 0.25)
    across = expected_kernel(points, of_points, loc, variance) @ weights
    within = weights @ expected_kernel(loc, variance, loc, variance) @ weights
    own = expected_kernel(points, of_points, points, of_points)
    own = (own.sum() - np.trace(own)) / (len(points) * (len(points) - 1))
    return own + within - 2 * across.mean()


def test_discrepancy_from_a_mixture_and_its_gradient_are_unbiased():
    """To all parameters, the weights of the components among them: against finite differences of the expectation."""
    rng = np.random.default_rng(0)
    params, points = rng.normal(size=(COMPONENTS, 1 + 2 * SIZE)), rng.normal(size=(7, SIZE))
    layer, variable = kv.NormalMixture(SIZE, components=COMPONENTS), tf.Variable(params, dtype=tf.float32)
    posterior = kv.FixedScaleNormal(SIZE, scale=0.5).distribution(tf.constant(points[..., None], tf.float32))

    @tf.function
    def estimate(seed):
        with sampling(40, seed), tf.GradientTape() as tape:
            draws = posterior.sample(40, seed=fold(seed, 99))
            value = discrepancy_from_prior(Latent(draws, posterior, layer.distribution(variable)))
        return value, tape.gradient(value, variable)

    found = [estimate(fold(number)) for number in range(60)]
    values = np.array([value for value, _ in found], np.float64)
    assert abs(values.mean() - expected_discrepancy(params, points)) < 4 * values.std() / np.sqrt(len(values))
    gradients = np.array([gradient for _, gradient in found], np.float64)
    expected = np.zeros_like(params)
    for place in np.ndindex(params.shape):
        step = np.zeros_like(params)
        step[place] = 1e-5
        expected[place] = (
            expected_discrepancy(params + step, points) - expected_discrepancy(params - step, points)
        ) / 2e-5
    error = gradients.std(axis=0) / np.sqrt(len(gradients))
    assert np.all(np.abs(gradients.mean(axis=0) - expected) < 4 * error + 1e-6)
    assert np.all(np.abs(expected[:, 0]) > 20 * error[:, 0]), "the test sees the gradients of the weights"


def test_strata_of_one_draw_each_and_of_one_stratum():
    """One stratum is the estimate from draws of the whole; weights by hand where there are several."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 2)).astype("float32"), rng.normal(size=(3, 4, 2)).astype("float32")
    np.testing.assert_allclose(squared_mmd(a, b[:1], tf.ones([1])), squared_mmd(a, b[0]), atol=1e-6)
    weights = np.float32([0.5, 0.3, 0.2])

    def kernel(p, q):
        return np.exp(-((p[:, None] - q) ** 2).sum(axis=-1) / 2)

    own = kernel(a, a)
    expected = (own.sum() - 5) / 20
    for k in range(3):
        expected -= 2 * weights[k] * kernel(a, b[k]).mean()
        for other in range(3):
            pairs = kernel(b[k], b[other])
            mean = (pairs.sum() - 4) / 12 if k == other else pairs.mean()
            expected += weights[k] * weights[other] * mean
    np.testing.assert_allclose(squared_mmd(a, b, weights), expected, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_info_vae_trains_the_weights_of_a_mixture(jit_compile):
    prior = kv.NormalMixture(2, components=3)
    model = kv.VAE(kv.Normal(2, encoder(5)), kv.Bernoulli(5, decoder(2)), prior)
    model.compile(keras.optimizers.SGD(1.0), kv.InfoVAE(alpha=1.0), jit_compile=jit_compile)
    x = np.random.default_rng(0).integers(0, 2, (16, 5)).astype("float32")
    model.build((None, 5))
    before = prior.params.numpy()
    model.fit(x, batch_size=16, verbose=0)
    assert np.all(prior.params.numpy() != before)


def test_info_vae_trains_the_pseudo_inputs_of_a_vamp_prior():
    prior = kv.VampPrior(2, components=5)
    model = kv.VAE(kv.Normal(2, encoder(5)), kv.Bernoulli(5, decoder(2)), prior)
    model.compile(keras.optimizers.SGD(1.0), kv.InfoVAE(alpha=1.0), jit_compile=False)
    model.build((None, 5))
    before = prior.pseudo_inputs.numpy()
    model.fit(np.random.default_rng(0).integers(0, 2, (4, 5)).astype("float32"), verbose=0)  # fewer than components
    assert np.mean(prior.pseudo_inputs.numpy() != before) > 0.5


# --- relaxed variables under a VampPrior -----------------------------------------------------------------------------


def model_of_one_value(posterior, latent):
    """One binary value, whose log-odds are a fixed function of the latents, and a VampPrior of two inputs."""
    prior = kv.VampPrior(latent, components=2)
    model = kv.VAE(posterior(latent), kv.Bernoulli(1), prior)
    model.build((None, 1))
    rng = np.random.default_rng(0)
    for weight in model.posterior.trainable_weights + model.likelihood.trainable_weights:
        weight.assign(2 * rng.normal(size=weight.shape))
    prior.set_pseudo_inputs(np.array([[0.0], [1.0]]))
    return model


def test_pseudo_inputs_are_in_the_units_of_the_data():
    x = np.array([[1000.0, 3.0], [1020.0, 5.0], [980.0, 4.0]])
    likelihood = kv.Standardized(kv.FixedScaleNormal(2))
    likelihood.adapt(x)
    prior = kv.VampPrior(1, components=3, low=None, high=None)
    model = kv.VAE(kv.Normal(1, kv.dense_encoder(2, [4])), likelihood, prior)
    model.build((None, 2))
    prior.set_pseudo_inputs(x)
    np.testing.assert_allclose(prior().components_distribution.mean(), model.encode(x).mean(), rtol=1e-6)


def test_log_likelihood_of_a_relaxed_bernoulli_under_its_vamp_prior():
    """Against an integral over the log-odds of the latent variable."""
    temperature = 0.2
    model = model_of_one_value(partial(kv.RelaxedBernoulli, temperature=temperature), 1)
    kernel, bias = (weight.numpy().item() for weight in model.posterior.head.weights)
    slope, offset = (weight.numpy().item() for weight in model.likelihood.head.weights)
    odds = np.linspace(-120, 120, 400_001)
    prior = np.zeros_like(odds)
    for u in (0.0, 1.0):
        a = kernel * u + bias - temperature * odds
        prior += 0.5 * temperature * np.exp(a - 2 * np.logaddexp(0, a))
    assert np.trapezoid(prior, odds) == pytest.approx(1, abs=1e-4)
    logits = slope * scipy.special.expit(odds) + offset
    for x in (0.0, 1.0):
        exact = np.log(np.trapezoid(prior * np.exp(x * logits - np.logaddexp(0, logits)), odds))
        value, effective = model.importance_weights(np.float32([[x]]), 200_000, seed=1)
        assert float(value[0]) == pytest.approx(exact, abs=0.01)
        assert float(value[0]) < 0, "a probability"
        assert float(effective[0]) > 1000


def test_log_likelihood_of_a_relaxed_category_under_its_vamp_prior():
    """Against draws of the prior itself, in float64."""
    temperature = 0.3
    model = model_of_one_value(partial(kv.RelaxedOneHotCategorical, temperature=temperature), 3)
    kernel, bias = (weight.numpy().astype(np.float64) for weight in model.posterior.head.weights)
    slope, offset = (weight.numpy().astype(np.float64) for weight in model.likelihood.head.weights)
    rng = np.random.default_rng(1)
    u = rng.integers(0, 2, (200_000, 1))
    z = scipy.special.softmax((u @ kernel + bias + rng.gumbel(size=(200_000, 3))) / temperature, axis=-1)
    logits = (z @ slope + offset)[:, 0]
    for x in (0.0, 1.0):
        probabilities = np.exp(x * logits - np.logaddexp(0, logits))
        exact, error = np.log(probabilities.mean()), probabilities.std() / probabilities.mean() / np.sqrt(200_000)
        value, _ = model.importance_weights(np.float32([[x]]), 200_000, seed=1)
        assert abs(float(value[0]) - exact) < 5 * error + 0.01


@pytest.mark.parametrize("prior", [kv.NormalMixture, kv.VampPrior])
def test_mixtures_of_normals_are_what_they_were(prior):
    """log p(x) of a linear model under a mixture, against an integral over z."""
    layer = prior(1, components=2)
    model = kv.VAE(kv.Normal(1), kv.FixedScaleNormal(1), layer)
    model.build((None, 1))
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    z = np.linspace(-40, 40, 100_001).astype("float32")[:, None]
    x = np.float32([[0.3]])
    density = np.exp(np.float64(layer().log_prob(z)) + np.float64(model.decode(z).log_prob(x)))
    value, _ = model.importance_weights(x, 100_000, seed=1)
    assert float(value[0]) == pytest.approx(np.log(np.trapezoid(density, z[:, 0])), abs=0.02)
