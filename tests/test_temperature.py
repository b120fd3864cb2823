"""Draws at a temperature: in the support at any, the middle of the distribution at 0, its own draws at 1."""

import itertools
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from cases import decoder, encoder
from layers import LAYERS, without_context

import keras_vae as kv
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.noise import fold

DRAWS = 400
POINTS = {  # of single variables that can be counted
    "Bernoulli": [0, 1],
    "Categorical": range(4),
    "Poisson": range(60),
    "NegativeBinomial": range(60),
    "ZeroInflatedNegativeBinomial": range(60),
}


def draws_of(layer, temperature):
    return tempered_draws(layer(), [DRAWS], fold(1), temperature, layer.support).numpy()


def middle_of(kind, layer) -> np.ndarray:
    """The mean; the point of the greatest mass, by enumeration; the mean direction; the level next to the loc."""
    if kind == "DiscretizedLogistic":  # of five levels from -1 to 1
        return np.clip(np.round(2 * layer().distribution.loc[..., 0]), -2, 2) / 2
    if kind == "DiscretizedLogisticMixture":  # of the same levels: channel after channel, of the greatest weight
        pixel, middle = layer().distribution, []
        component = np.argmax(pixel.logits)
        for channel in range(3):
            pairs = pixel.coefficients[channel * (channel - 1) // 2 :, component]
            loc = pixel.loc[channel, component] + sum(a * value for a, value in zip(pairs, middle, strict=False))
            middle.append(np.clip(np.round(2 * loc), -2, 2) / 2)
        return np.float32(middle)
    if kind in POINTS:
        points = np.float32(POINTS[kind])
        masses = layer().distribution.log_prob(np.repeat(points[:, None], 3, axis=1))
        return points[np.argmax(masses, axis=0)]
    if kind == "OneHotCategorical":
        vectors = np.float32([list(pair) for pair in itertools.product(np.eye(3), repeat=2)])
        return vectors[np.argmax(layer().log_prob(vectors))]
    mean = layer().mean().numpy()
    return mean / np.linalg.norm(mean) if kind == "PowerSpherical" else mean


@pytest.mark.parametrize(
    "kind", sorted(set(LAYERS) - {"SphericalUniform", "CouplingFlow", "AutoregressiveFlow", "Columns"})
)
def test_zero_is_the_middle_and_each_step_leads_away_from_it(kind):
    layer = without_context(kind)
    middle = middle_of(kind, layer)
    np.testing.assert_allclose(draws_of(layer, 0), np.tile(middle, (DRAWS, *[1] * middle.ndim)), rtol=1e-5, atol=1e-6)
    spread = [np.mean(draws_of(layer, temperature) != middle) for temperature in (0.1, 0.5, 1, 2)]
    if kind in (*POINTS, "OneHotCategorical") or kind.startswith("Discretized"):
        assert spread[0] < spread[2]
    else:
        distance = [np.mean(np.abs(draws_of(layer, temperature) - middle)) for temperature in (0.1, 0.5, 1)]
        assert np.all(np.diff(distance) > 0)


@pytest.mark.parametrize("kind", LAYERS)
def test_draws_are_in_the_support_at_any_temperature(kind):
    layer = without_context(kind)
    own = layer().sample(DRAWS, seed=fold(1)).numpy()
    for temperature in (0, 0.5, 1, 2):  # whole numbers too
        draws = draws_of(layer, temperature)
        assert np.all(layer.support.contains(draws)), temperature
        assert not np.array_equal(draws, own) or temperature == 1 or kind == "SphericalUniform"
        assert np.array_equal(draws, own) or temperature != 1
    in_graph = tf.function(lambda temperature: tempered_draws(layer(), [DRAWS], fold(1), temperature, layer.support))
    np.testing.assert_allclose(in_graph(tf.constant(2.0)), draws, rtol=1e-3, atol=1e-3)


def test_angles_on_the_sphere_are_multiplied():
    layer = without_context("PowerSpherical")
    direction = layer().mean_direction.numpy()
    angle = np.arccos(draws_of(layer, 1) @ direction)
    np.testing.assert_allclose(np.arccos(draws_of(layer, 0.5) @ direction), angle / 2, atol=1e-3)


def latents(posterior, prior, size=3):
    return kv.VAE(posterior(size, encoder(5)), kv.Bernoulli(5, decoder(size)), prior(size))


VAMP = partial(kv.VampPrior, components=3)
MODELS = {
    "Bernoulli": partial(latents, kv.Bernoulli, kv.Bernoulli),
    "OneHotCategorical": partial(latents, kv.OneHotCategorical, kv.OneHotCategorical, (2, 3)),
    "RelaxedOneHotCategorical": partial(latents, kv.RelaxedOneHotCategorical, kv.RelaxedOneHotCategorical, (2, 3)),
    "VampPrior of Bernoulli": partial(latents, kv.Bernoulli, VAMP),
    "VampPrior of PowerSpherical": partial(latents, kv.PowerSpherical, VAMP),
    "VampPrior of RelaxedBernoulli": partial(latents, kv.RelaxedBernoulli, VAMP),
    "VampPrior of LogNormal": partial(latents, kv.LogNormal, VAMP),
    "ConditionalVAE": lambda: kv.ConditionalVAE(
        kv.Bernoulli(3, kv.Concatenated(encoder(7))),
        kv.Bernoulli(5, kv.Concatenated(decoder(5))),
        kv.Bernoulli(3, encoder(2)),
        condition_shape=2,
    ),
    "HierarchicalVAE": lambda: kv.HierarchicalVAE(
        [kv.Bernoulli(4, encoder(5)), kv.PowerSpherical(3, encoder(4))],
        kv.Bernoulli(5, decoder(4)),
        [kv.Bernoulli(4, decoder(3)), kv.SphericalUniform(3)],
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_generate_at_any_temperature(name):
    model = MODELS[name]()
    model.build((None, 5))
    supports = {"z": model.latent_support} if hasattr(model, "latent_support") else {}
    if name == "HierarchicalVAE":
        supports = {f"z{number + 1}": layer.support for number, layer in enumerate(model.priors)}
    count = np.float32([[0.5, -1.0]] * 50) if name == "ConditionalVAE" else 50
    for temperature in (0, 0.5, 1, 2):
        z = model.sample_prior(count, seed=1, temperature=temperature)
        for key, values in (z if isinstance(z, dict) else {"z": z}).items():
            assert np.all(supports[key].contains(values)), (key, temperature)
            if temperature == 0 and name not in ("HierarchicalVAE", "ConditionalVAE"):  # all in one place
                assert np.ptp(values, axis=0).max() < 1e-6
        assert np.isfinite(model.generate(count, seed=1, temperature=temperature)).all()
