"""Mixtures of logistics over whole pixels: against SciPy's distribution functions and sums over all colours."""

import itertools

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

import keras_vae as kv
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.noise import fold

LEVELS, CHANNELS, COMPONENTS = 5, 3, 2
LAYER = kv.DiscretizedLogisticMixture((1, 1, CHANNELS), components=COMPONENTS, levels=LEVELS, low=-1.0, high=3.0)
COLOURS = np.array(list(itertools.product(np.linspace(-1, 3, LEVELS), repeat=CHANNELS)))  # all 125


def parameters(layer=LAYER, seed=0, scale=1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).normal(size=layer.params_shape).astype("float32")


def log_masses(values, params, layer) -> np.ndarray:
    """log p of colours, shape (n, channels), by differences of SciPy's distribution function."""
    channels, k = layer.event_shape[-1], layer.components
    numbers = iter(np.asarray(params, np.float64).ravel())
    loc, log_scale = ([[next(numbers) for _ in range(k)] for _ in range(channels)] for _ in range(2))
    logits = [next(numbers) for _ in range(k)] if k > 1 else [0.0]
    pairs = {(c, j): [np.tanh(next(numbers)) for _ in range(k)] for c in range(channels) for j in range(c)}
    assert list(numbers) == []
    middle, half = (layer.low + layer.high) / 2, (layer.high - layer.low) / 2
    step = (layer.high - layer.low) / (layer.levels - 1)
    total = 0
    for component, weight in enumerate(scipy.special.softmax(logits)):
        mass = weight
        for c in range(channels):
            at = middle + half * loc[c][component]
            at = at + sum(pairs[c, j][component] * (values[:, j] - middle) for j in range(c))
            logistic = scipy.stats.logistic(at, half / 4 * np.exp(log_scale[c][component]))
            above = np.where(values[:, c] == layer.high, 1, logistic.cdf(values[:, c] + step / 2))
            below = np.where(values[:, c] == layer.low, 0, logistic.cdf(values[:, c] - step / 2))
            mass = mass * (above - below)
        total = total + mass
    return np.log(total)


@pytest.mark.parametrize("seed", range(3))
def test_masses_of_all_colours_are_those_of_scipy_and_sum_to_one(seed):
    params = parameters(seed=seed)
    found = LAYER.distribution(tf.constant(params)).log_prob(COLOURS.reshape(-1, 1, 1, CHANNELS).astype("float32"))
    np.testing.assert_allclose(found, log_masses(COLOURS, params, LAYER), rtol=1e-4, atol=1e-4)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)


def test_draws_are_distributed_as_the_masses_say():
    """By chi-square; the draws and the masses of pixels side by side belong to their own parameters."""
    layer = kv.DiscretizedLogisticMixture((2, 1, CHANNELS), components=COMPONENTS, levels=LEVELS, low=-1.0, high=3.0)
    params = parameters(layer)
    draws = layer.distribution(tf.constant(params)).sample(20_000, seed=fold(1)).numpy()
    layer.check_values(draws)
    for row in range(2):
        probability = np.exp(log_masses(COLOURS, params[row], LAYER))
        places = np.rint(draws[:, row, 0] + 1).astype(int) @ [25, 5, 1]
        found, expected = np.bincount(places, minlength=125), probability * len(draws)
        often = expected > 5
        counts = [*found[often], found[~often].sum()], [*expected[often], expected[~often].sum()]
        assert often.sum() > 20
        assert scipy.stats.chisquare(*counts).pvalue > 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_moments_against_the_sum_over_all_colours(seed):
    """Exact for the first channel; for the others within a tenth of a standard deviation, as a rule a fiftieth."""
    layer = kv.DiscretizedLogisticMixture(CHANNELS, components=COMPONENTS, levels=32)
    params = parameters(layer, seed=seed)
    distribution = layer.distribution(tf.constant(params))
    colours = np.array(list(itertools.product(np.linspace(0, 1, 32), repeat=CHANNELS)))
    probability = np.exp(log_masses(colours, params, layer))
    mean = probability @ colours
    stddev = np.sqrt(probability @ colours**2 - mean**2)
    found = distribution.mean().numpy().ravel(), distribution.stddev().numpy().ravel()
    np.testing.assert_allclose(found[0][0], mean[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[1][0], stddev[0], rtol=1e-3)
    error = np.abs(found[0] - mean)[1:] / stddev[1:]
    assert error.max() < 0.1
    assert np.sqrt((error**2).mean()) < 0.04
    np.testing.assert_allclose(found[1], stddev, rtol=0.1)


@pytest.mark.parametrize("components", [1, 3])
def test_of_one_channel_it_is_a_discretized_logistic(components):
    """In masses and draws to the last bit, and in moments, with parameters in the same order."""
    arguments = {"components": components, "levels": 16, "low": -2.0, "high": 5.0}
    ours, theirs = (kind((4, 3, 1), **arguments) for kind in (kv.DiscretizedLogisticMixture, kv.DiscretizedLogistic))
    params = tf.constant(np.random.default_rng(0).normal(size=(2, *theirs.params_shape)), tf.float32)
    ours, theirs = ours.distribution(tf.reshape(params, (2, *ours.params_shape))), theirs.distribution(params)
    draws = theirs.sample(9, seed=fold(2))
    np.testing.assert_array_equal(ours.sample(9, seed=fold(2)), draws)
    np.testing.assert_array_equal(ours.log_prob(draws), theirs.log_prob(draws))
    np.testing.assert_allclose(ours.mean(), theirs.mean(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours.variance(), theirs.variance(), rtol=1e-4)


def test_gradients_against_differences_in_float64():
    params, value = parameters(), COLOURS[[38]]
    with tf.GradientTape() as tape:
        tape.watch(raw := tf.constant(params))
        log_prob = LAYER.distribution(raw).log_prob(np.float32(value.reshape(1, 1, 1, CHANNELS)))
    for number, found in enumerate(tape.gradient(log_prob, raw).numpy().ravel()):
        step = 1e-5 * (np.arange(params.size) == number).reshape(params.shape)
        ends = [log_masses(value, params + sign * step, LAYER)[0] for sign in (1.0, -1.0)]
        assert found == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-4), number


@pytest.mark.parametrize("raw", [-1e3, -80.0])
def test_saturated_parameters_stay_finite(raw):
    layer = kv.DiscretizedLogisticMixture((2, 2, 3))
    params = tf.constant(raw * np.sign(parameters(layer)))
    colours = np.float32(np.random.default_rng(1).integers(0, 256, (2, 2, 3)) / 255)
    for part in (colours, np.zeros_like(colours), np.ones_like(colours)):
        with tf.GradientTape() as tape:
            tape.watch(params)
            log_prob = layer.distribution(params).log_prob(part)
        assert np.isfinite(log_prob)
        assert np.isfinite(tape.gradient(log_prob, params)).all()
    distribution = layer.distribution(params)
    for values in (distribution.mean(), distribution.sample(5, seed=fold(1))):
        assert np.all((values >= 0) & (values <= 1))
    assert np.isfinite(distribution.stddev()).all()


def test_values_off_the_grid_have_no_probability():
    distribution = LAYER.distribution(tf.constant(parameters()))
    for channel, bad in itertools.product(range(CHANNELS), (-2.0, 4.0, 1e30, np.inf, -np.inf)):
        value = np.where(np.arange(CHANNELS) == channel, bad, 1.0).astype("float32")
        assert distribution.log_prob(value[None, None]) == -np.inf, (channel, bad)
        assert np.isnan(distribution.log_prob(np.where(value == 1, value, np.nan).astype("float32")[None, None]))


def test_at_temperature_0_each_channel_is_at_its_location_given_those_before():
    params = parameters(seed=4)
    draws = tempered_draws(LAYER.distribution(tf.constant(params)), [50], fold(1), 0.0, LAYER.support).numpy()
    loc, _, logits, pairs = np.split(params.ravel().astype(np.float64), [6, 12, 14])
    loc, pairs = (part.reshape(-1, COMPONENTS)[:, logits.argmax()] for part in (loc, np.tanh(pairs)))
    red = np.clip(np.rint(1 + 2 * loc[0]), -1, 3)
    green = np.clip(np.rint(1 + 2 * loc[1] + pairs[0] * (red - 1)), -1, 3)
    blue = np.clip(np.rint(1 + 2 * loc[2] + pairs[1] * (red - 1) + pairs[2] * (green - 1)), -1, 3)
    np.testing.assert_array_equal(draws, np.tile([red, green, blue], (50, 1, 1, 1)))


def fitted(layer, data) -> float:
    """log p of data of a layer without a context, once it is trained, nats for each pixel."""
    keras.utils.set_random_seed(0)
    layer.build(None)
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build(layer.trainable_weights)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(layer().log_prob(data))
        optimizer.apply(tape.gradient(loss, [layer.params.value]))
        return loss

    return -float([step() for _ in range(300)][-1])


def test_colours_that_depend_on_one_another_are_more_likely_than_as_independent_channels():
    """Shades of one colour with a little noise: nearly all that the channels have in common is found."""
    rng = np.random.default_rng(0)
    shade = rng.uniform(0.1, 0.9, (2000, 1))
    data = np.rint(63 * np.clip(shade + rng.normal(size=(2000, 3)) * 0.02, 0, 1)) / 63
    data = tf.constant(data.reshape(-1, 1, 1, 3), tf.float32)
    together = fitted(kv.DiscretizedLogisticMixture((1, 1, 3), components=5, levels=64), data)
    apart = fitted(kv.DiscretizedLogistic((1, 1, 3), components=5, levels=64), data)
    assert together > apart + 2.5  # the mutual information is 2 log(range / noise), less what shapes cost


def test_grey_levels_of_files_keep_their_mass():
    inner = kv.DiscretizedLogisticMixture((4, 4, 3), components=2)
    layer = kv.GreyLevels(inner)
    layer.build(None)
    x = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3)).astype("float32")
    layer.check_values(x)
    np.testing.assert_allclose(layer().log_prob(x), inner().log_prob(x / 255), rtol=1e-6)
    np.testing.assert_allclose(layer().mean(), 255 * inner().mean(), rtol=1e-6)
    draws = layer().sample(5, seed=fold(1)).numpy()
    layer.check_values(draws)


def test_what_can_not_be_built_is_refused():
    with pytest.raises(ValueError, match=r"DiscretizedLogisticMixture needs low < high. Received: low=1.0, high=0.0"):
        kv.DiscretizedLogisticMixture((2, 2, 3), low=1.0, high=0.0)
    with pytest.raises(ValueError, match=r"LogisticMixture.* needs features of shape \(batch, 4, 4, channels\) or"):
        kv.DiscretizedLogisticMixture((4, 4, 3)).build((None, 2, 2, 5))
