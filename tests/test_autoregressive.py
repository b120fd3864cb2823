"""Autoregressive grids: against enumeration, the Jacobian, and one pass for each place."""

import itertools
import math
import re

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from cases import binary_images

import keras_vae as kv
from keras_vae.networks.causal import CausalGrid
from keras_vae.noise import fold

RNG = np.random.default_rng(0)


def far_from_its_start(layer, context_shape=None):
    """A built layer with larger weights, whose places depend on each other."""
    keras.utils.set_random_seed(0)
    layer.build(context_shape)
    for weight in layer.weights:
        weight.assign(weight + RNG.normal(size=weight.shape, scale=0.3))
    return layer


def small(shape=(2, 2, 1), **options) -> kv.PixelCNN:
    return kv.PixelCNN(shape, **{"levels": 3, "filters": 6, "blocks": 2, "kernel_size": 3} | options)


def all_grids(shape, levels=3) -> np.ndarray:
    grids = itertools.product(range(levels), repeat=math.prod(shape))
    return np.array(list(grids), "float32").reshape(-1, *shape)


@pytest.mark.parametrize(("shape", "heads"), [((2, 2, 1), 0), ((1, 2, 2), 0), ((2, 1, 2), 0), ((2, 2, 1), 3)])
def test_density_and_draws_against_enumeration(shape, heads):
    """All 81 grids of four values with three levels: their density sums to 1, and is how often they are drawn."""
    distribution = far_from_its_start(small(shape, attention_heads=heads))()
    grids = all_grids(shape)
    probability = np.exp(distribution.log_prob(grids).numpy().astype(np.float64))
    assert probability.sum() == pytest.approx(1, abs=1e-5)
    assert probability.max() > 5 * probability.min()
    draws = distribution.sample(20_000, seed=fold(1)).numpy().reshape(-1, 4)
    found = np.bincount((draws @ [27, 9, 3, 1]).astype(int), minlength=81)
    order = np.argsort(probability)
    cell = (20 * np.cumsum(probability[order])).astype(int)  # rare ones together
    expected = np.bincount(cell, probability[order] * len(draws))
    found, expected = np.bincount(cell, found[order])[expected > 0], expected[expected > 0]
    assert len(expected) > 5
    assert expected.min() > 5
    assert scipy.stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue > 1e-3
    assert tuple(distribution.mode().shape) == shape
    expected = probability @ grids.reshape(81, 4)
    error = np.sqrt((probability @ grids.reshape(81, 4) ** 2 - expected**2) / 16)  # of the mean of so many draws
    assert (np.abs(distribution.mean().numpy().ravel() - expected) < 4 * error).all()


@pytest.mark.parametrize(("kernel_size", "blocks", "heads"), [(3, 6, 0), (5, 6, 0), (3, 1, 2)])
def test_features_see_the_places_before_and_all_of_them(kernel_size, blocks, heads):
    """By the Jacobian: no place sees itself or one after it; enough blocks, or attention, leave no blind spot."""
    rows, columns, filters = 4, 5, 2
    stacks = CausalGrid(filters, blocks, kernel_size, heads)
    stacks.build((None, rows, columns, filters))
    x = tf.constant(RNG.normal(size=(1, rows, columns, filters)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        features = stacks(x)
    jacobian = tape.jacobian(features, x).numpy().reshape(rows * columns, filters, rows * columns, filters)
    depends = np.abs(jacobian).max(axis=(1, 3)) > 0
    np.testing.assert_array_equal(depends, np.tri(rows * columns, k=-1, dtype=bool))


@pytest.mark.parametrize(("context", "heads"), [(None, 0), ((5,), 0), ((3, 4, 5), 0), ((5,), 2)])
def test_features_place_by_place_are_those_of_one_pass(context, heads):
    rows, columns, filters, number = 3, 4, 6, 2
    stacks = CausalGrid(filters, blocks=3, kernel_size=5, attention_heads=heads)
    stacks.build((None, rows, columns, filters), None if context is None else (None, *context))
    x = tf.constant(RNG.normal(size=(number, rows, columns, filters)), tf.float32)
    given = None if context is None else tf.constant(RNG.normal(size=(number, *context)), tf.float32)

    def choose(place, step):
        return place, tf.reshape(x, [number, -1, filters])[:, step]

    walked = stacks.walk((rows, columns), choose, number, given)
    whole = stacks(x) if given is None else stacks(x, given)
    np.testing.assert_allclose(walked, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("heads", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_draws_in_a_program_of_any_number_are_the_same(heads):
    layer = far_from_its_start(small(attention_heads=heads))
    expected = layer().sample(5, seed=fold(1)).numpy()

    def draw(count):
        return layer().sample(count, seed=fold(1))

    plain = tf.function(draw, autograph=False)
    for got in (plain(5), plain(tf.constant(5)), tf.function(lambda: draw(5), autograph=False, jit_compile=True)()):
        np.testing.assert_array_equal(got, expected)
    assert plain(tf.constant(0)).shape == (0, 2, 2, 1)
    assert tf.function(lambda: draw(1), autograph=False)().shape == (1, 2, 2, 1)


def test_draws_at_temperature_0_are_the_most_probable_values_given_those_before():
    layer = far_from_its_start(small((3, 2, 2), levels=4))
    found = layer().mode().numpy()
    values = np.zeros((1, 3, 2, 2), "float32")
    for row, column, channel in itertools.product(range(3), range(2), range(2)):
        logits = layer.logits(tf.constant(values), None)[channel]
        values[0, row, column, channel] = np.argmax(logits[0, row, column])
    np.testing.assert_array_equal(found, values[0])


@pytest.mark.parametrize("size", [(5,), (2, 2, 5)])
def test_a_context_changes_the_density_of_its_own_example(size):
    layer = far_from_its_start(small(), (None, *size))
    contexts = RNG.normal(size=(3, 2, *size)).astype("float32")  # leading axes (samples, batch)
    grids = all_grids((2, 2, 1))
    distribution = layer(contexts)
    assert distribution.batch_shape == (3, 2)
    log_prob = distribution.log_prob(grids[:, None, None]).numpy()
    np.testing.assert_allclose(np.exp(log_prob).sum(axis=0), np.ones((3, 2)), rtol=1e-5)
    for place in itertools.product(range(3), range(2)):
        alone = layer(contexts[place][None]).log_prob(grids[:, None])[:, 0]
        np.testing.assert_allclose(log_prob[:, *place], alone, rtol=1e-4, atol=1e-4)
    assert np.abs(log_prob[:, 0, 0] - log_prob[:, 1, 0]).max() > 0.1
    draws = distribution.sample(4, seed=fold(2))
    assert draws.shape == (4, 3, 2, 2, 2, 1)
    assert distribution.mean().shape == (3, 2, 2, 2, 1)


@pytest.mark.parametrize("size", [(5,), (2, 2, 5)])
def test_gradients_to_every_weight_given_a_context(size):
    layer = far_from_its_start(small((2, 2, 2)), (None, *size))
    values, contexts = all_grids((2, 2, 2), levels=2), RNG.normal(size=(256, *size)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(contexts).log_prob(values))
    for weight, gradient in zip(
        layer.trainable_weights, tape.gradient(loss, [each.value for each in layer.trainable_weights]), strict=True
    ):
        gradient = tf.convert_to_tensor(gradient).numpy()
        parts = np.split(gradient, 2, axis=-1) if gradient.shape[-1] % 2 == 0 else [gradient]
        assert all(np.abs(part).max() > 1e-4 for part in parts), weight.path


def test_values_that_are_no_levels_have_no_probability():
    distribution = far_from_its_start(small())()
    for bad in (-1.0, 3.0, 0.5, 1e30, np.inf):
        assert distribution.log_prob(np.full((2, 2, 1), bad, "float32")) == -np.inf, bad
    assert np.isnan(distribution.log_prob(np.full((2, 2, 1), np.nan, "float32")))


def test_it_learns_what_independent_places_can_not():
    """Two grids, 0 1 / 1 0 and its opposite: log 2 nats, and 4 log 2 for independent places."""
    codes = np.array([[[[0], [1]], [[1], [0]]], [[[1], [0]], [[0], [1]]]], "float32")[np.arange(64) % 2]
    layer = small(levels=2)
    layer.build()
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(layer.trainable_weights)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(layer().log_prob(codes))
        optimizer.apply(tape.gradient(loss, [weight.value for weight in layer.trainable_weights]))
        return loss

    losses = [float(step()) for _ in range(200)]
    assert losses[-1] == pytest.approx(math.log(2), abs=0.02)
    draws = layer().sample(100, seed=fold(0)).numpy()
    assert {tuple(draw.ravel()) for draw in draws} == {(0, 1, 1, 0), (1, 0, 0, 1)}


@pytest.mark.slow
def test_a_pixel_decoder_draws_images_and_has_bits_per_dimension():
    """PixelVAE: the same layer over pixels, given z."""
    shape = (4, 4, 1)
    likelihood = small(shape, levels=2, network=kv.dense_decoder(2, [8]))
    model = kv.VAE(kv.Normal(2, kv.dense_encoder(shape, [8])), likelihood, kv.StandardNormal(2))
    model.compile()
    x = binary_images(shape, 20)
    history = model.fit(x, epochs=2, verbose=0).history
    assert history["loss"][-1] / (16 * math.log(2)) == pytest.approx(history["bits_per_dim"][-1], rel=1e-4)
    draws = model.sample(3, seed=1).numpy()
    assert draws.shape == (3, *shape)
    assert set(np.unique(draws)) <= {0.0, 1.0}
    assert model.reconstruct(x).shape == x.shape


def pixel_vae(blocks: int, kernel_size: int) -> kv.VAE:
    shape = (4, 4, 1)
    keras.utils.set_random_seed(0)
    decoder = kv.dense_decoder(1, [8])
    likelihood = kv.PixelCNN(shape, decoder, levels=2, filters=8, blocks=blocks, kernel_size=kernel_size)
    return kv.VAE(kv.Normal(1, kv.dense_encoder(shape, [16])), likelihood, kv.StandardNormal(1))


@pytest.mark.slow
def test_a_strong_decoder_ignores_its_latent_and_two_cures():
    """Images of zeros or of ones, a fifth of whose pixels are flipped: there is one bit, log 2 nats, to be told.

    A decoder that sees all pixels before finds the bit by itself, and z is not used, as the diagnosis says. Free nats
    bring z back, and so does a decoder that sees two neighbours alone.
    """
    bits, flipped = RNG.integers(0, 2, (512, 1, 1, 1)), RNG.uniform(size=(512, 4, 4, 1)) < 0.2
    x = (bits ^ flipped).astype("float32")
    found = {}
    for name, model, loss in [
        ("strong", pixel_vae(3, 3), kv.ELBO()),
        ("free nats", pixel_vae(3, 3), kv.ELBO(free_nats=0.5)),
        ("weak", pixel_vae(1, 1), kv.ELBO()),
    ]:
        model.compile(keras.optimizers.Adam(1e-2), loss)
        model.fit(x, epochs=120, batch_size=64, verbose=0)
        found[name] = model.evaluate(x, verbose=0, return_dict=True)["kl"]
        if name == "strong":
            assert "collapse" in str(kv.evaluation.diagnose(model, x[:100], samples=2, verbose=0))
    assert found["strong"] < 0.05
    assert found["free nats"] > 0.4
    assert found["weak"] > math.log(2) - 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kv.PixelCNN((4, 4)), "PixelCNN(event_shape=(4, 4)) needs an event shape of three axes"),
        (lambda: small(kernel_size=4), "CausalGrid needs an odd kernel_size. Received: 4."),
        (lambda: small(attention_heads=4), "needs filters that attention_heads divide. Received: filters=6, "),
        (lambda: small(levels=1), "PixelCNN needs levels to be a whole number, 2 or more. Received: levels=1."),
        (
            lambda: small().build((None, 3, 3, 2)),
            "needs features of shape (batch, 2, 2, channels) or (batch, features)",
        ),
        (lambda: small(network=kv.dense_decoder(2)).build(), "has a network, and so needs a context. Received: None."),
    ],
)
def test_what_can_not_be_built_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
