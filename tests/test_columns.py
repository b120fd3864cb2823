"""Columns of different kinds with missing values: against SciPy, closed forms and the model without the column."""

import csv
import functools
import json
import re

import keras
import numpy as np
import pyarrow.csv
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import keras_vae as kv
from keras_vae.datasets import Column, Table, load
from keras_vae.distributions import (
    Bernoulli,
    Categorical,
    Columns,
    FixedScaleNormal,
    LearnedScaleNormal,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
)
from keras_vae.distributions.supports import Support
from keras_vae.noise import fold

tfd, tfb = tfp.distributions, tfp.bijectors
RNG = np.random.default_rng(0)
NAN = float("nan")


# --- the likelihood ---------------------------------------------------------------------------------------------------

CONTEXT = RNG.normal(size=(60, 2)).astype("float32")


def kinds() -> dict:
    return {
        "real": Normal(1),
        "positive": LogNormal(1),
        "count": Poisson(1),
        "spread": NegativeBinomial(1),
        "binary": Bernoulli(1),
        "colour": Categorical(1, levels=3),
        "tail": StudentT(1),
        "shared": LearnedScaleNormal(1, initial_scale=0.5),
    }


def built(columns: dict) -> Columns:
    """The layer with random weights, of a context of two values."""
    layer = Columns(columns)
    layer.build((None, 2))
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        if weight.name != "log_scale":
            weight.assign(0.7 * rng.normal(size=weight.shape))
    return layer


def complete_rows() -> np.ndarray:
    rng, count = np.random.default_rng(2), len(CONTEXT)
    columns = [
        rng.normal(size=count),
        rng.lognormal(size=count),
        rng.poisson(2, count),
        rng.negative_binomial(2, 0.4, count),
        rng.integers(0, 2, count),
        rng.integers(0, 3, count),
        rng.standard_t(3, count),
        rng.normal(size=count),
    ]
    return np.stack(columns, axis=1).astype("float32")


def incomplete_rows() -> np.ndarray:
    x = complete_rows()
    x[np.random.default_rng(3).random(x.shape) < 0.4] = NAN
    x[0] = NAN
    return x


def reference(layer: Columns, context, x) -> np.ndarray:
    """Log-density of each value by SciPy, in float64."""

    def params(name):
        kernel, bias = (np.float64(weight) for weight in layer.columns[name].head.get_weights())
        return np.float64(context) @ kernel + bias

    def softplus(raw):
        return np.logaddexp(0, raw)

    x = np.float64(x).T
    real, positive, tail, spread = params("real"), params("positive"), params("tail"), np.exp(params("spread"))
    log_odds = params("binary")[:, 0]
    colours = scipy.special.log_softmax(params("colour"), axis=1)
    return np.stack(
        [
            scipy.stats.norm(real[:, 0], 1e-3 + softplus(real[:, 1])).logpdf(x[0]),
            scipy.stats.lognorm(1e-3 + softplus(positive[:, 1]), scale=np.exp(positive[:, 0])).logpdf(x[1]),
            scipy.stats.poisson(np.exp(params("count")[:, 0])).logpmf(x[2]),
            scipy.stats.nbinom(spread[:, 1], spread[:, 1] / (spread[:, 1] + spread[:, 0])).logpmf(x[3]),
            scipy.stats.bernoulli(scipy.special.expit(log_odds)).logpmf(x[4]),
            np.take_along_axis(colours, np.int64(np.nan_to_num(x[5]))[:, None], axis=1)[:, 0],
            scipy.stats.t(2 + softplus(tail[:, 2]), tail[:, 0], 1e-3 + softplus(tail[:, 1])).logpdf(x[6]),
            scipy.stats.norm(params("shared")[:, 0], 0.5).logpdf(x[7]),
        ],
        axis=1,
    )


def test_log_prob_is_that_of_each_column():
    layer, x = built(kinds()), complete_rows()
    distribution = layer(CONTEXT)
    expected = reference(layer, CONTEXT, x)
    np.testing.assert_allclose(distribution.log_prob_by_column(x), expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(distribution.log_prob(x), expected.sum(axis=1), rtol=2e-4)
    assert (distribution.batch_shape, distribution.event_shape) == ((60,), (8,))


def test_distributions_at_places_of_a_batch():
    one_value = {"grey": kv.DiscretizedLogistic(1, components=2, levels=7), "modes": kv.NormalMixture(1, components=3)}
    layer = built(kinds() | one_value)
    rows = layer(np.stack([CONTEXT, CONTEXT + 1]))
    places = np.random.default_rng(4).integers(0, [2, len(CONTEXT)], (9, 5, 2))
    at = rows.at(tf.constant(places, tf.int32))
    assert at.batch_shape == (9, 5)
    x = np.append(complete_rows(), np.full((len(CONTEXT), 2), 3), axis=1).astype("float32")
    expected = rows.log_prob_by_column(x).numpy()[places[..., 0], places[..., 1]]
    np.testing.assert_allclose(at.log_prob_by_column(x[places[..., 1]]), expected, rtol=1e-5)
    draws = at.sample(seed=fold(1)).numpy()
    assert draws.shape == (9, 5, 10)
    at = rows.at(tf.zeros([50, 2], tf.int32))
    assert len(set(at.sample(seed=fold(1)).numpy()[:, 0])) == 50, "one place, but noise of its own for each draw"


def test_missing_values_drop_out():
    layer, x = built(kinds()), incomplete_rows()
    expected = np.where(np.isnan(x), 0, reference(layer, CONTEXT, np.where(np.isnan(x), 1, x)))
    got = layer(CONTEXT).log_prob(x).numpy()
    np.testing.assert_allclose(got, expected.sum(axis=1), rtol=2e-4, atol=1e-4)
    assert got[0] == 0, "a row that misses everything"
    draws = layer(np.stack([CONTEXT, CONTEXT + 1])).log_prob(x)  # [samples, batch]
    np.testing.assert_allclose(draws[0], got, rtol=1e-6)
    assert not np.allclose(draws[1], got)


@pytest.mark.parametrize("name", kinds())
def test_a_missing_column_is_the_model_without_it(name):
    """Values and gradients, of weights and of the context, equal those of a model that never had the column."""
    layer, x = built(kinds()), complete_rows()
    place = list(kinds()).index(name)
    others = {other: kind for other, kind in kinds().items() if other != name}
    smaller = built(others)
    for other in others:
        smaller.columns[other].set_weights(layer.columns[other].get_weights())

    def gradients(layer, x):
        context = tf.constant(CONTEXT)
        with tf.GradientTape() as tape:
            tape.watch(context)
            log_prob = layer(context).log_prob(x)
        weights = {column: part.trainable_weights for column, part in layer.columns.items()}
        return log_prob, *tape.gradient(log_prob, (context, weights))

    missing = x.copy()
    missing[:, place] = NAN
    value, of_context, of_weights = gradients(layer, missing)
    expected, expected_of_context, expected_of_weights = gradients(smaller, np.delete(x, place, axis=1))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(of_context, expected_of_context, rtol=1e-5, atol=1e-5)
    assert all((np.asarray(gradient) == 0).all() for gradient in of_weights.pop(name))
    tf.nest.map_structure(
        lambda got, wanted: np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4),
        of_weights,
        expected_of_weights,
    )


class NegativeNumbers(Support):
    needed = "below 0."
    stand_in = -1.0

    def contains(self, values):
        return values < 0


class Negative(kv.DistributionLayer):
    """Minus a log-normal: 1 lies outside of its support, and its log_prob there is NaN."""

    params_per_value = 2
    support = NegativeNumbers()

    def distribution(self, params):
        base = tfd.LogNormal(params[..., 0], 0.1 + tf.math.softplus(params[..., 1]))
        return tfd.Independent(tfb.Scale(-1.0)(base), 1)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_no_gradient_is_nan(jit_compile):
    names = (
        ["real", "positive", "colour"] if jit_compile else list(kinds())
    )  # XLA takes seconds for each gamma function
    layer = built({name: kinds()[name] for name in names} | {"negative": Negative(1)})
    x = incomplete_rows()[:, [list(kinds()).index(name) for name in names]]
    x = np.concatenate([x, np.full((len(CONTEXT), 1), NAN, "float32")], axis=1)
    x[5:9, -1] = -2

    @tf.function(jit_compile=jit_compile)
    def gradients(x, context):
        with tf.GradientTape() as tape:
            tape.watch([x, context])
            log_prob = tf.reduce_sum(layer(context).log_prob(x))
        return log_prob, tape.gradient(log_prob, [x, context, *layer.trainable_weights])

    log_prob, found = gradients(tf.constant(x), tf.constant(CONTEXT))
    assert np.isfinite(log_prob)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in found)
    assert (found[0].numpy()[np.isnan(x)] == 0).all()
    outside = layer.columns["negative"](CONTEXT).log_prob(np.ones([len(CONTEXT), 1], "float32"))
    assert np.isnan(outside).all(), "the case proves nothing if 1 had a log_prob"


def test_each_column_integrates_to_one():
    layer = built(kinds())
    context = CONTEXT[:1]

    def mass(name, values):
        x = np.full((len(values), len(kinds())), NAN, "float32")
        x[:, list(kinds()).index(name)] = values
        return np.exp(np.float64(layer(np.repeat(context, len(values), axis=0)).log_prob(x)))

    for name, values in {"count": 200, "spread": 2000, "binary": 2, "colour": 3}.items():
        assert mass(name, np.arange(values)).sum() == pytest.approx(1, abs=1e-4), name
    grid = np.sinh(np.linspace(-9, 9, 2_001))  # to 4,000, for the tail of Student's t
    for name, values in {
        "real": grid,
        "shared": grid,
        "tail": grid,
        "positive": np.exp(grid[np.abs(grid) < 20]),
    }.items():
        assert np.trapezoid(mass(name, values), np.float32(values)) == pytest.approx(1, abs=2e-3), name


def test_mean_and_draws():
    layer, count = built(kinds() | {"again": LearnedScaleNormal(1)}), 20_000
    distribution = layer(CONTEXT[:4])
    draws = distribution.sample(count, seed=[1, 2]).numpy()  # [count, 4, 9]
    assert draws.shape == (count, 4, 9)
    np.testing.assert_array_equal(draws, distribution.sample(count, seed=[1, 2]))
    layer.check_values(draws.reshape(-1, 9))
    mean = distribution.mean().numpy()
    numbers = [0, 1, 2, 3, 4, 7, 8]  # the variance of a t may be too large to be estimated
    error = draws.std(axis=0) / np.sqrt(count)
    assert (np.abs(draws.mean(axis=0) - mean)[:, numbers] < 5 * error[:, numbers]).all()
    below = (draws[..., 6] < mean[:, 6]).mean(axis=0)
    assert (np.abs(below - 0.5) < 5 * 0.5 / np.sqrt(count)).all()
    probabilities = np.exp(
        [scipy.special.log_softmax(CONTEXT[i] @ layer.columns["colour"].head.kernel + layer.columns["colour"].head.bias)
         for i in range(4)]
    )  # fmt: skip
    frequencies = (draws[..., 5, None] == np.arange(3)).mean(axis=0)
    assert (np.abs(frequencies - probabilities) < 5 * np.sqrt(probabilities / count)).all()
    np.testing.assert_array_equal(mean[:, 5], probabilities.argmax(axis=1))
    np.testing.assert_allclose(distribution.expected_codes()[:, 5:8], probabilities, rtol=1e-5)
    noise = (draws[..., [7, 8]] - mean[:, [7, 8]]) / draws[..., [7, 8]].std(axis=0)
    assert abs(np.mean(noise[..., 0] * noise[..., 1])) < 5 / np.sqrt(4 * count), "columns of one kind share no noise"


def test_columns_of_one_kind_are_computed_together():
    """With the parameters of columns apart, in whatever order, and not where that would change the model."""
    order = {"a": Normal(1), "n": Poisson(1), "b": Normal(2), "wide": Normal(1, min_scale=0.1), "m": Poisson(1)}
    layer = built(order)
    assert [(type(part), part.event_shape) for part in layer.parts] == [
        (Normal, (3,)), (Poisson, (2,)), (Normal, (1,)),
    ]  # fmt: skip
    x = complete_rows()[:, [0, 2, 6, 7, 0, 3]]
    x[np.random.default_rng(4).random(x.shape) < 0.3] = NAN
    by_column = layer(CONTEXT).log_prob_by_column(x).numpy()
    normal, counts, wide = ((CONTEXT @ part.head.kernel + part.head.bias) for part in layer.parts)
    for place, loc, raw, least in ((0, 0, 1, 1e-3), (2, 2, 3, 1e-3), (3, 4, 5, 1e-3), (4, 0, 1, 0.1)):
        params = wide if least == 0.1 else normal
        scale = least + np.logaddexp(0, params[:, raw])
        expected = scipy.stats.norm(params[:, loc], scale).logpdf(x[:, place])
        np.testing.assert_allclose(by_column[:, place], np.nan_to_num(expected), rtol=2e-4, atol=2e-5)
    for place, column in ((1, 0), (5, 1)):
        expected = scipy.stats.poisson(np.exp(counts[:, column])).logpmf(x[:, place])
        np.testing.assert_allclose(by_column[:, place], np.nan_to_num(expected), rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(layer(CONTEXT).log_prob(x), by_column.sum(axis=1), rtol=1e-5, atol=1e-5)
    mean = layer(CONTEXT).mean().numpy()
    np.testing.assert_allclose(mean[:, [1, 5]], np.exp(counts), rtol=1e-5)
    np.testing.assert_allclose(mean[:, [0, 2, 3]], normal[:, ::2], rtol=1e-5)
    draws = layer(CONTEXT[:2]).sample(4000, seed=[0, 1]).numpy().mean(axis=0)
    np.testing.assert_allclose(draws, mean[:2], atol=0.35)
    apart = Columns({"a": LearnedScaleNormal(1), "b": LearnedScaleNormal(1), "c": kv.FullCovarianceNormal(1),
                     "d": kv.FullCovarianceNormal(1), "e": Normal(1, kv.dense_decoder(2)), "f": Normal(1)})  # fmt: skip
    assert apart.parts == list(apart.columns.values())


def several_of_each_kind() -> dict:
    """Two or three columns of every kind, apart from each other in a row."""
    others = {"wide": lambda: Normal(2, min_scale=0.1), "grey": lambda: kv.DiscretizedLogistic(1, levels=5)}
    made = {name: functools.partial(type(layer).from_config, layer.get_config()) for name, layer in kinds().items()}
    return {f"{name} {number}": kind() for number in (1, 2, 3) for name, kind in (made | others).items()}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_tables_with_several_columns_of_a_kind_are_loaded(tmp_path, policy):
    """With the parts, the weights, the state of the optimizer and the log-likelihood of what was saved."""
    keras.config.set_dtype_policy(policy)
    likelihood = Columns(several_of_each_kind(), kv.dense_decoder(2, [3]))
    together = [part for part in likelihood.parts if part not in likelihood.columns.values()]
    assert len(together) == 8, "all kinds but those that have a scale of their own, or are mixtures"
    vae = kv.VAE(Normal(2, likelihood.encoder([3])), likelihood, kv.StandardNormal(2))
    vae.compile("adam", jit_compile=False, run_eagerly=True)
    x = np.ones((4, *likelihood.event_shape), "float32")
    vae.fit(x, verbose=0)
    vae.save(tmp_path / "model.keras")
    again = kv.load_model(tmp_path / "model.keras")
    assert [repr(part) for part in again.likelihood.parts] == [repr(part) for part in likelihood.parts]
    for mine, its in zip(vae.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine, its)
    z = np.float32([[0.5, -1.0]])
    np.testing.assert_array_equal(again.decode(z).log_prob_by_column(x[:1]), vae.decode(z).log_prob_by_column(x[:1]))
    again.save(tmp_path / "again.keras")
    twice = kv.load_model(tmp_path / "again.keras")
    np.testing.assert_array_equal(twice.decode(z).log_prob(x[:1]), vae.decode(z).log_prob(x[:1]))


def test_adapted_columns_of_a_kind_begin_at_their_means():
    columns = {name: Bernoulli(1) for name in "ab"}
    for share, layer in zip((0.25, 0.9), columns.values(), strict=True):
        layer.adapt([[share]])
    likelihood = Columns(columns, kv.dense_decoder(2, [3]))
    likelihood.build((None, 2))
    likelihood.parts[0].head.kernel.assign(np.zeros((3, 2)))
    assert len(likelihood.parts) == 1
    np.testing.assert_allclose(likelihood(tf.zeros([1, 2])).mean(), [[0.25, 0.9]], rtol=1e-5)


def test_several_values_of_one_kind():
    together, apart = built({"x": Normal(3), "n": Poisson(1)}), Normal(3)
    apart.build((None, 2))
    apart.head.set_weights(together.columns["x"].head.get_weights())
    x = np.concatenate([complete_rows()[:, [0, 6, 7]], complete_rows()[:, 2:3]], axis=1)
    by_column = together(CONTEXT).log_prob_by_column(x).numpy()
    np.testing.assert_allclose(by_column[:, :3].sum(axis=1), apart(CONTEXT).log_prob(x[:, :3]), rtol=1e-5)
    missing = x.copy()
    missing[:, 1] = NAN
    np.testing.assert_allclose(together(CONTEXT).log_prob(missing), by_column[:, [0, 2, 3]].sum(axis=1), rtol=1e-5)
    dependent = built({"x": kv.distributions.FullCovarianceNormal(3)})
    with pytest.raises(ValueError, match="columns of several values to have independent ones"):
        dependent(CONTEXT)


@pytest.mark.parametrize("kind", [kv.StandardNormal, kv.VampPrior, kv.SphericalUniform, kv.CouplingFlow])
def test_priors_that_ignore_their_context_are_no_kinds_of_columns(kind):
    size = 1 if kind in (kv.StandardNormal, kv.VampPrior) else 2
    needs = rf"Columns needs columns whose distribution depends on a context.*Received: .*{kind.__name__}.*column 'b'"
    with pytest.raises(ValueError, match=needs):
        Columns({"a": Normal(1), "b": kind(size)})
    if kind is kv.StandardNormal:
        with pytest.raises(ValueError, match=needs):
            Columns({"b": kv.Standardized(kind(1), 1.0, 2.0)})


def test_as_a_prior_the_columns_have_parameters_of_their_own():
    prior = Columns(kinds())
    prior.build(None)
    assert prior().batch_shape == ()
    np.testing.assert_allclose(prior().log_prob_by_column(complete_rows())[:, 4], np.log(0.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            0,
            np.inf,
            "needs finite data of column 'real'. Received: 1 that are NaN or infinite, the first at index (3, 0)",
        ),
        (1, 0.0, "LogNormal(event_shape=(1,)) needs data of column 'positive' that are positive"),
        (2, -1.0, "needs data of column 'count' that are counts"),
        (2, 0.5, "needs data of column 'count' that are counts"),
        (
            4,
            2.0,
            "Bernoulli(event_shape=(1,)) needs data of column 'binary' in [0, 1]. Received: values from 0.0 to 2.0",
        ),
        (5, 3.0, "needs data of column 'colour' that are 0, 1, ..., 2"),
    ],
)
def test_values_are_checked_against_their_column(place, value, message):
    layer, x = Columns(kinds()), incomplete_rows()
    layer.check_values(x, "data")
    layer.check_values(np.full((2, 8), NAN))
    x[3, place] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        layer.check_values(x, "data")


@pytest.mark.parametrize("columns", [{}, [Normal], {"a": Normal}, {1: "a"}, {"image": "Normal"}])
def test_columns_are_layers_by_name(columns):
    with pytest.raises(ValueError, match="Columns needs columns to be distribution layers of vectors by name"):
        Columns(columns)
    with pytest.raises(ValueError, match="distribution layers of vectors by name"):
        Columns({"image": Normal((2, 2))})
    with pytest.raises(ValueError, match="columns whose density does not depend on the batch"):
        Columns({"x": kv.OptimalScaleNormal(1)})


# --- the encoder and the model ----------------------------------------------------------------------------------------


def test_observed_values():
    layer = kv.ObservedValues(levels=[0, 0, 3, 0], log_offsets=[None, 0.0, None, 1.0])
    x = np.array([[-2, 4, 2, 0], [NAN, NAN, NAN, NAN], [1, NAN, 0, 9]], "float32")
    expected = [
        [-2, np.log(4), 0, 0, 0, 1, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 0, np.log(10), 1, 0, 0, 1, 0, 1, 1],
    ]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-6)
    np.testing.assert_array_equal(kv.ObservedValues()(x[:, :2]), [[-2, 4, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0]])
    with pytest.raises(ValueError, match="ObservedValues needs levels for each of 3 values"):
        kv.ObservedValues(levels=[0, 0, 3, 0])(x[:, :3])


def test_inputs_fit_their_columns():
    inputs = Columns(kinds() | {"many": LogNormal(2)}).inputs()
    assert inputs.levels == (0, 0, 0, 0, 0, 3, 0, 0, 0, 0)
    assert inputs.log_offsets == (None, 0.0, 1.0, 1.0, None, None, None, None, 0.0, 0.0)


def test_codes_stay_whole_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")  # in which 257 is 256
    encoder = Columns({"city": Categorical(1, levels=300)}).encoder([4])
    first = keras.Model(encoder.input, encoder.layers[1].output)
    codes = first(np.array([[257.0], [NAN]], "float32")).numpy()
    assert codes.shape == (2, 301)
    assert np.flatnonzero(codes[0]).tolist() == [257, 300]
    assert not codes[1].any()


def mixed_vae(latents=2) -> kv.VAE:
    """Of the kinds whose graphs are made in no time."""
    names = ("real", "positive", "binary", "colour", "shared")
    likelihood = Columns({name: kinds()[name] for name in names}, kv.dense_decoder(latents, [16], "tanh"))
    vae = kv.VAE(Normal(latents, likelihood.encoder([16], "tanh")), likelihood, kv.StandardNormal(latents))
    vae.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    return vae


@pytest.mark.slow
def test_keras_methods_take_nan():
    x, vae = incomplete_rows()[:, [0, 1, 4, 5, 7]], mixed_vae()
    batches = tf.data.Dataset.from_tensor_slices(x).batch(20)
    losses = vae.fit(x, epochs=15, batch_size=20, validation_data=batches, verbose=0).history
    assert np.isfinite([losses["loss"], losses["val_loss"]]).all()
    assert losses["loss"][-1] < losses["loss"][0]
    assert np.isfinite(vae.evaluate(batches, verbose=0)).all()
    assert np.isfinite(vae.predict(x, verbose=0)).all()
    assert all(np.isfinite(weight).all() for weight in vae.get_weights())
    log_likelihood, effective = vae.importance_weights(x[:12], 600)
    assert np.isfinite(log_likelihood).all()
    assert abs(log_likelihood[0]) < 5 / np.sqrt(effective[0]), "nothing observed has the probability 1"


def test_other_likelihoods_and_infinite_values_are_refused():
    plain = kv.VAE(Normal(2, kv.dense_encoder(8)), Normal(8, kv.dense_decoder(2)), kv.StandardNormal(2))
    plain.compile()
    infinite = np.where(np.isnan(incomplete_rows()), np.inf, 1)[:, :5]
    for vae, x in ((plain, incomplete_rows()), (mixed_vae(), infinite)):
        for method in (vae.fit, vae.evaluate, vae.predict):
            with pytest.raises(ValueError, match="needs finite data"):
                method(x, verbose=0)


# --- imputation: p(z) = N(0, I), p(x | z) = N(W z + mean, variance I) -------------------------------------------------

SIZE, LATENT, VARIANCE = 5, 2, 0.3
W = np.linalg.qr(RNG.normal(size=(SIZE, LATENT)))[0] * [2.0, 0.7]
MEAN = RNG.normal(size=SIZE)
COVARIANCE = W @ W.T + VARIANCE * np.eye(SIZE)
TRUTH = RNG.multivariate_normal(MEAN, COVARIANCE, 12).astype("float32")
HOLES = TRUTH.copy()
HOLES[RNG.random(HOLES.shape) < 0.4] = NAN
HOLES[0], HOLES[1], HOLES[2, :2] = NAN, TRUTH[1], NAN
MANY = np.tile(HOLES, (16, 1))  # batches of 12 are the same rows with other noise


def conditional(row) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of all values of a row given the observed ones; 0 is the covariance of these."""
    seen = ~np.isnan(row)
    gain = COVARIANCE[:, seen] @ np.linalg.inv(COVARIANCE[np.ix_(seen, seen)])
    return MEAN + gain @ (row[seen] - MEAN[seen]), COVARIANCE - gain @ COVARIANCE[seen]


CONDITIONAL_MEAN = np.stack([conditional(row)[0] for row in HOLES])
CONDITIONAL_COVARIANCE = np.stack([conditional(row)[1] for row in HOLES])
CONDITIONAL_VARIANCE = np.diagonal(CONDITIONAL_COVARIANCE, axis1=1, axis2=2)


@pytest.fixture(scope="module")
def linear_vae():
    """The exact model, whose q is the prior: the importance weights have to do all of the work."""
    likelihood = Columns({f"x{i}": FixedScaleNormal(1, scale=float(np.sqrt(VARIANCE))) for i in range(SIZE)})
    encoder = keras.Sequential([keras.Input((SIZE,)), kv.ObservedValues()])
    vae = kv.VAE(FixedScaleNormal(LATENT, encoder), likelihood, kv.StandardNormal(LATENT))
    vae.build((None, SIZE))
    vae.posterior.head.set_weights([np.zeros((2 * SIZE, LATENT)), np.zeros(LATENT)])
    (together,) = likelihood.parts
    together.head.set_weights([W.T, MEAN])
    return vae


def assert_unbiased(estimates, exact):
    """Estimates from independent seeds, shape (seeds, values), scatter around the exact values as far as they say."""
    error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    z = (estimates.mean(axis=0) - exact) / error
    assert np.abs(z).max() < 6  # Student's t with 15 degrees of freedom: once in 1,500 runs for 30 values
    assert np.mean(z**2) < 2.2  # expected 15 / 13, its standard error for 30 values 0.35


def test_imputation_is_the_conditional_mean(linear_vae):
    missing = np.isnan(HOLES)
    filled = kv.evaluation.impute(linear_vae, MANY, samples=3000, batch_size=12).reshape(16, 12, SIZE)
    np.testing.assert_array_equal(filled[:, ~missing], np.broadcast_to(HOLES[~missing], (16, (~missing).sum())))
    assert_unbiased(filled[:, missing], CONDITIONAL_MEAN[missing])
    effective = linear_vae.importance_weights(HOLES, 3000)[1].numpy()
    variance = (CONDITIONAL_VARIANCE / effective[:, None])[missing]
    assert np.mean(filled.var(axis=0)[missing] / variance) < 2.5, "all draws count: those of one chunk would give 9"
    assert np.abs(filled.mean(axis=0) - MEAN)[3:][missing[3:]].max() > 0.5, "not the mean of the column"
    batches = tf.data.Dataset.from_tensor_slices(HOLES).batch(12)
    np.testing.assert_array_equal(kv.evaluation.impute(linear_vae, batches, samples=3000), filled[0])
    assert not np.array_equal(kv.evaluation.impute(linear_vae, HOLES, samples=3000, seed=1), filled[0])


def test_log_likelihood_of_missing_is_the_conditional_density(linear_vae):
    missing = np.isnan(HOLES)
    truth = np.tile(TRUTH, (16, 1))
    scores = kv.evaluation.log_likelihood_of_missing(linear_vae, MANY, truth, samples=3000, batch_size=12)
    scores = scores.reshape(16, 12, SIZE)
    np.testing.assert_array_equal(np.isnan(scores), np.broadcast_to(~missing, scores.shape))
    exact = scipy.stats.norm(CONDITIONAL_MEAN[missing], np.sqrt(CONDITIONAL_VARIANCE[missing])).logpdf(TRUTH[missing])
    assert_unbiased(scores[:, missing], exact)


def test_log_likelihood_is_that_of_the_observed_values(linear_vae):
    exact, rows = [], HOLES[~np.isnan(HOLES).all(axis=1)]
    for row in rows:
        seen = ~np.isnan(row)
        marginal = scipy.stats.multivariate_normal(MEAN[seen], COVARIANCE[np.ix_(seen, seen)])
        exact.append(marginal.logpdf(row[seen]))
    assert len(rows) >= 10
    score = kv.evaluation.log_likelihood(linear_vae, np.concatenate([rows, HOLES[:1]]), samples=20_000, verbose=0)
    assert score.values[-1] == pytest.approx(0, abs=1e-6), "nothing observed: each weight is p(z) / q(z) = 1"
    error = np.sqrt(1 / score.effective_samples - 1 / score.samples)[:-1]  # of the log of a mean of weights
    assert np.abs((score.values[:-1] - exact) / error).max() < 4


def test_multiple_imputation_draws_jointly(linear_vae):
    missing, draws, samples = np.isnan(HOLES), 300, 4000
    filled = kv.evaluation.impute(linear_vae, HOLES, samples=samples, draws=draws)
    assert filled.shape == (draws, *HOLES.shape)
    np.testing.assert_array_equal(filled[:, ~missing], np.broadcast_to(HOLES[~missing], (draws, (~missing).sum())))
    effective = linear_vae.importance_weights(HOLES, samples)[1].numpy()
    variance_of_mean = (CONDITIONAL_VARIANCE * (1 / draws + 1 / effective[:, None]))[missing]
    z = (filled.mean(axis=0) - CONDITIONAL_MEAN)[missing] / np.sqrt(variance_of_mean)
    assert np.abs(z).max() < 5
    assert np.mean(z**2) < 2.2
    ratio = filled.var(axis=0)[missing] / CONDITIONAL_VARIANCE[missing]
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(2 / draws + 2 / effective.min())
    correlation = CONDITIONAL_COVARIANCE[2, 0, 1] / np.sqrt(CONDITIONAL_VARIANCE[2, 0] * CONDITIONAL_VARIANCE[2, 1])
    assert abs(np.corrcoef(filled[:, 2, 0], filled[:, 2, 1])[0, 1] - correlation) < 5 / np.sqrt(draws)


def test_draws_of_one_code_are_not_the_same_draw(linear_vae):
    filled = kv.evaluation.impute(linear_vae, HOLES, samples=1, draws=50)
    assert all(len(set(values)) == 50 for values in filled[:, np.isnan(HOLES)].T)


def test_categories_are_imputed_by_their_probability_not_by_the_mean_of_their_codes():
    """Two states of z: code 0 at z < 0, code 2 at z > 0. Their mean, 1, is never a value."""
    likelihood = Columns({"code": Categorical(1, levels=3), "sign": FixedScaleNormal(1, scale=0.5)})
    vae = kv.VAE(FixedScaleNormal(1, kv.ObservedValues()), likelihood, kv.StandardNormal(1))
    vae.build((None, 2))
    vae.posterior.head.set_weights([np.zeros((4, 1)), np.zeros(1)])
    likelihood.columns["code"].head.set_weights([np.array([[-9.0, 0.0, 9.0]]), np.zeros(3)])
    likelihood.columns["sign"].head.set_weights([np.ones((1, 1)), np.zeros(1)])
    x = np.array([[NAN, 0.4], [NAN, -0.4], [NAN, NAN]], "float32")
    filled = kv.evaluation.impute(vae, x, samples=4000)
    np.testing.assert_array_equal(filled[:2, 0], [2, 0])
    assert filled[2, 0] != 1
    draws = kv.evaluation.impute(vae, x, samples=4000, draws=200)[..., 0]
    assert (draws[:, 2] == 0).any()
    assert (draws[:, 2] == 2).any()
    assert (draws == 1).mean() < 0.2


def test_imputation_with_a_condition():
    """The mean of the columns is (3 c, -2 c), whatever z is."""
    likelihood = Columns({"a": FixedScaleNormal(1), "b": FixedScaleNormal(1)}, kv.Concatenated(keras.layers.Identity()))
    posterior = FixedScaleNormal(1, kv.Concatenated(kv.ObservedValues()))
    vae = kv.ConditionalVAE(posterior, likelihood, kv.StandardNormal(1), condition_shape=1)
    vae.build((None, 2))
    likelihood.parts[0].head.set_weights([np.array([[0.0, 0.0], [3.0, -2.0]]), np.zeros(2)])
    x, c = np.array([[NAN, 1], [5, NAN], [NAN, NAN]], "float32"), np.array([[1], [2], [3]], "float32")
    expected = [[3, 1], [5, -4], [9, -6]]
    np.testing.assert_allclose(kv.evaluation.impute(vae, (x, c), samples=50), expected, rtol=1e-5)
    pairs = tf.data.Dataset.from_tensor_slices((x, c)).batch(2)
    np.testing.assert_allclose(kv.evaluation.impute(vae, pairs, samples=50), expected, rtol=1e-5)
    scores = kv.evaluation.log_likelihood_of_missing(vae, pairs, np.float32(expected), samples=50)
    np.testing.assert_allclose(scores[np.isnan(x)], -0.5 * np.log(2 * np.pi), rtol=1e-5)


def test_imputation_needs_columns(linear_vae):
    plain = kv.VAE(Normal(2), Normal(5), kv.StandardNormal(2))
    with pytest.raises(TypeError, match="impute needs a model whose likelihood is Columns"):
        kv.evaluation.impute(plain, HOLES)
    with pytest.raises(ValueError, match="needs draws to be a whole number"):
        kv.evaluation.impute(linear_vae, HOLES, draws=0)
    with pytest.raises(ValueError, match=r"needs truth for each of 12 rows. Received: shape \(3, 5\)"):
        kv.evaluation.log_likelihood_of_missing(linear_vae, HOLES, TRUTH[:3])


# --- tables -----------------------------------------------------------------------------------------------------------

NAMES = ("height", "income", "visits", "claims", "smoker", "colour")


def made_table(count=400, missing=0.2, seed=0) -> dict[str, list]:
    """Columns that depend on one hidden cause, as cells: None is missing."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=count)
    columns = {
        "height": [round(value, 1) for value in 170 + 8 * cause + 3 * rng.normal(size=count)],
        "income": [float(f"{value:.5g}") for value in np.exp(10 + cause + 0.3 * rng.normal(size=count))],
        "visits": rng.poisson(np.exp(0.5 + 0.4 * cause)).tolist(),
        "claims": rng.negative_binomial(1, 1 / (1 + 4 * np.exp(0.5 * cause))).tolist(),
        "smoker": (rng.random(count) < scipy.special.expit(3 * cause)).astype(int).tolist(),
        "colour": np.array(["red", "green", "blue, dark"])[
            np.argmax(np.outer(cause, [3, 0, -3]) + rng.gumbel(size=(count, 3)), axis=1)
        ].tolist(),
    }
    for cells in columns.values():
        for row in np.flatnonzero(rng.random(count) < missing):
            cells[row] = None
    return columns


def write_csv(path, columns):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def everything(dataset) -> np.ndarray:
    return np.concatenate([batch.numpy() for batch in dataset])


def all_rows(data) -> np.ndarray:
    rows = np.concatenate([everything(split) for split in (data.train, data.validation, data.test)])
    return rows[np.lexsort(np.nan_to_num(rows, nan=-99).T)]


def test_a_table_is_read_and_written(tmp_path):
    columns = made_table()
    data = load(write_csv(tmp_path / "table.csv", columns), likelihood=Columns)
    table = data.table
    assert data.kind is Columns
    assert data.columns == table.names == NAMES
    assert [column.kind for column in table.columns] == [
        Normal, LogNormal, Poisson, NegativeBinomial, Bernoulli, Categorical,
    ]  # fmt: skip
    assert table.columns[-1].categories == ("blue, dark", "green", "red")
    rows = all_rows(data)
    assert rows.shape == (400, 6)
    assert np.isnan(rows).mean() == pytest.approx(
        np.mean([cell is None for cells in columns.values() for cell in cells])
    )
    train = table.likelihood().standardized(everything(data.train)).numpy()
    np.testing.assert_allclose([np.nanmean(train[:, 0]), np.nanstd(train[:, 0])], [0, 1], atol=1e-5)
    assert np.nanmean(np.log(train[:, 1])) == pytest.approx(0, abs=1e-5)
    text = str(data)
    for words in (
        "height: Normal, (height - 1",
        "income: LogNormal, income / ",
        "visits: Poisson, as stored; ",
        "colour: Categorical, 3 categories: blue, dark, green, red; ",
        "% missing",
        "likelihood Columns",
    ):
        assert words in text  # fmt: skip

    array = table.to_array(columns)
    assert table.to_columns(array) == columns  # cell by cell, types included
    assert [type(cell) for cell in next(zip(*table.to_columns(array[5:6] * 0).values(), strict=True))] == [
        float, float, int, int, int, str,
    ]  # fmt: skip
    table.write(tmp_path / "again.csv", array)
    again = pyarrow.csv.read_csv(tmp_path / "again.csv", convert_options=pyarrow.csv.ConvertOptions(null_values=[""]))
    assert again.to_pydict() == {name: cells if name != "colour" else [cell or "" for cell in cells]
                                 for name, cells in columns.items()}  # fmt: skip
    np.testing.assert_array_equal(all_rows(load(tmp_path / "again.csv", like=data)), rows)
    table.save(tmp_path / "table.json")
    assert Table.open(tmp_path / "table.json") == table
    likelihood = table.likelihood()
    likelihood.check_values(rows)
    assert likelihood.event_shape == data.shape


def test_likelihood_gives_kinds_and_leaves_columns_out(tmp_path):
    columns = made_table() | {"name": [f"n{row}" for row in range(400)]}
    path = write_csv(tmp_path / "table.csv", columns)
    data = load(path, likelihood={"name": None, "height": StudentT, "visits": Categorical, "income": Normal})
    assert data.columns == NAMES
    assert [column.kind for column in data.table.columns][:3] == [StudentT, Normal, Categorical]
    visits = data.table.columns[2].categories
    assert list(visits) == sorted(visits, key=int)
    assert visits[0] == "0"
    assert data.table.columns[0].offset == pytest.approx(170, abs=2)
    likelihood = data.table.likelihood(kv.dense_decoder(2))
    assert isinstance(likelihood.columns["height"].layer, StudentT)
    assert likelihood.columns["visits"].levels == len(visits)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["0", "1", "1", "", "0"], Bernoulli),
        (["0", "1.0", "NA", "1"], Bernoulli),
        (["0", "1", "2", "0", "1"], Poisson),
        (["0", "0", "30", "1", "nan"], NegativeBinomial),
        (["1990", "1991", "2001", "1980"], Normal),
        (["-1", "0", "1"], Normal),
        (["0.5", "-0.25", "NaN", "3"], Normal),
        ([str(value) for value in np.exp(2 * np.random.default_rng(1).normal(size=200))], LogNormal),
        (["a", "b", "", "1"], Categorical),
    ],
)
def test_kinds_are_inferred(tmp_path, cells, kind):
    path = write_csv(
        tmp_path / "x.csv", {"x": cells * 5, "y": [0.1, 2.5] * (len(cells) * 5 // 2) + [1.5] * (len(cells) % 2)}
    )
    assert load(path, likelihood=Columns).table.columns[0].kind is kind


def columns_with(**cells) -> dict:
    return made_table(20, missing=0) | {name: [value] * 20 if isinstance(value, str) else value
                                        for name, value in cells.items()}  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "likelihood", "message"),
    [
        (columns_with(x="NA"), {"x": Normal}, "column 'x': no value in the training rows. Leave it out with"),
        (columns_with(x="7"), {"x": Normal}, "column 'x': only '7'. Leave it out with likelihood={'x': None}"),
        (columns_with(x="7", y=""), dict.fromkeys(NAMES), "x: left out: only '7'; y: left out: no value in the train"),
        (columns_with(x=["1", "2"] * 9 + ["old", "3"]), {"x": Normal},
         "Normal needs a finite number in each cell that is not empty. Received: {path}, line 20, column 'x': 'old'"),
        (columns_with(x=["1", "2"] * 9 + ["old", "3"]), Columns, "'x' with 19 numbers and 1 texts, such as 'old'"),
        (columns_with(x=["1.5", "2"] * 9 + ["inf", "3"]), Columns, "line 20, column 'x': 'inf'"),
        (columns_with(x=["1", "2"] * 9 + ["-1", "3"]), {"x": Poisson}, "needs values of column 'x' that are counts"),
        (columns_with(), {"age": Normal}, "needs likelihood to name columns of {path}: height, income, "),
        (columns_with(), {"height": "Normal"}, "a class such as Normal, or None to leave it out. Received: 'height'"),
        (columns_with(), dict.fromkeys(NAMES), "of which all are left out: height: left out, as asked"),
    ],
    ids=["all missing", "constant", "nothing to learn", "text", "mixed", "infinite", "negative count", "name", "kind",
         "nothing left"],
)  # fmt: skip
def test_tables_that_are_not_what_they_should_be(tmp_path, columns, likelihood, message):
    path = write_csv(tmp_path / "t.csv", columns)
    with pytest.raises(ValueError, match=re.escape(message.replace("{path}", str(path)))):
        load(path, likelihood=likelihood)


def test_tables_that_are_not_like_the_training_data(tmp_path):
    data = load(write_csv(tmp_path / "train.csv", made_table()), likelihood=Columns)
    other = made_table(30, seed=1)
    other["colour"][7] = "violet"
    with pytest.raises(ValueError, match=r"needs one of blue, dark, green, red in .*line 9, column 'colour': 'violet'"):
        load(write_csv(tmp_path / "other.csv", other), like=data)
    del other["colour"]
    with pytest.raises(ValueError, match=r"needs the columns height, .* Received: none named 'colour'"):
        load(write_csv(tmp_path / "less.csv", other), like=data)
    numbers = load(write_csv(tmp_path / "numbers.csv", {"a": range(20), "b": range(20)}))
    with pytest.raises(ValueError, match="like to have columns of different kinds"):
        load(tmp_path / "train.csv", likelihood=Columns, like=numbers)
    with pytest.raises(ValueError, match=r"text in .*'colour'.*likelihood=Columns reads columns of different kinds"):
        load(tmp_path / "train.csv")
    np.save(tmp_path / "x.npy", np.ones((20, 3)))
    with pytest.raises(ValueError, match=r"needs a table .* for columns of different kinds"):
        load(tmp_path / "x.npy", likelihood=Columns)
    (tmp_path / "twice.csv").write_text("a,a\n" + "1,b\n2,c\n" * 10)
    with pytest.raises(ValueError, match=r"columns of different names\. Received: .* with 'a' twice"):
        load(tmp_path / "twice.csv", likelihood=Columns)
    with pytest.raises(ValueError, match=r"needs rows of shape \(rows, 6\). Received: \(3, 5\)"):
        data.table.to_columns(np.zeros((3, 5)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scale": 0}, "Column 'a' needs scale to be a positive number. Received: scale=0."),
        ({"scale": -1.0}, "needs scale to be a positive number"),
        ({"scale": NAN}, "needs scale to be a positive number. Received: scale=nan"),
        ({"scale": "1"}, "needs scale to be a positive number. Received: scale='1'"),
        ({"offset": NAN}, "needs offset to be a finite number. Received: offset=nan"),
        ({"offset": -np.inf}, "needs offset to be a finite number"),
        ({"offset": None}, "needs offset to be a finite number"),
        ({"missing": NAN}, "needs missing to be a number from 0 to 1"),
        ({"categories": ["x", "x"]}, "needs categories that are different texts. Received: ('x', 'x')"),
        ({"categories": [1, 2]}, "needs categories that are different texts"),
        ({"kind": "nobody>Else"}, "needs kinds of columns that are known"),
        ({"kind": None}, "needs kinds of columns that are known"),
        ({"more": 1}, "which is not a list of columns, each with name, kind"),
    ],
)
def test_tables_that_nobody_saved(tmp_path, changed, message):
    path = tmp_path / "table.json"
    Table((Column("a", Normal, (), 1.5, 2.0, 0.1),)).save(path)
    (column,) = json.loads(path.read_text())
    path.write_text(json.dumps([column | changed]))
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        Table.open(path)
    assert str(error.value).startswith("Table.open needs ")
    assert str(path) in str(error.value)
    path.write_text('{"a": 1')
    with pytest.raises(ValueError, match=r"Table.open needs a file that Table.save wrote"):
        Table.open(path)


@pytest.mark.slow
def test_training_on_a_table_predicts_missing_values_better_than_their_columns(tmp_path):
    columns = made_table(1200)
    data = load(write_csv(tmp_path / "table.csv", columns), likelihood=Columns, batch_size=64)
    likelihood = data.table.likelihood(kv.dense_decoder(2, [32]))
    vae = kv.VAE(Normal(2, likelihood.encoder([32])), likelihood, kv.StandardNormal(2))
    vae.compile(keras.optimizers.Adam(5e-3), jit_compile=False)
    losses = vae.fit(data.train, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 1
    truth = np.concatenate([everything(data.validation), everything(data.test)])  # known in 80 % of the cells
    hidden = truth.copy()
    hidden[np.random.default_rng(5).random(truth.shape) < 0.2] = NAN
    scores = kv.evaluation.log_likelihood_of_missing(vae, hidden, truth, samples=500)
    scored = ~np.isnan(scores)
    assert scored.sum() > 200
    marginal = kv.evaluation.independent_columns(data.train, [truth], likelihood)
    gain = (scores - marginal)[scored]
    assert gain.mean() > 5 * gain.std() / np.sqrt(len(gain))
    generated = data.table.to_columns(vae.decode(vae.sample_prior(50, seed=1)).sample(seed=[1, 2]))
    assert set(generated["colour"]) <= {"red", "green", "blue, dark"}
    assert all(isinstance(cell, int) and cell >= 0 for cell in generated["visits"])
    assert all(cell > 0 for cell in generated["income"])


def test_independent_columns_are_fitted_to_all_rows_of_large_data(monkeypatch):
    """Rows in order of their values: the first of them are no sample of all; exact but for the Laplace column."""
    monkeypatch.setattr(kv.evaluation.baseline, "FITTED", 5 * 500)
    monkeypatch.setattr(kv.evaluation.weighted_rows, "DIFFERENT", 100)
    rng = np.random.default_rng(0)
    kinds = {"a": Normal(1), "b": Poisson(1), "c": Categorical(1, levels=4), "d": kv.Bernoulli(1), "e": kv.Laplace(1)}
    kinds["a"] = kv.Standardized(kinds["a"], 1000.0, 20.0)
    draws = [rng.normal(1000, 50, 4000), rng.poisson(3, 4000), rng.integers(0, 2, 4000) * 2, rng.random(4000) < 0.2]
    x = np.sort(np.stack([*draws, rng.laplace(0.5, 1.5, 4000)], axis=1), axis=0)
    x[rng.random(x.shape) < 0.3] = NAN
    with pytest.warns(UserWarning, match=r"independent_columns fits the columns 'e' to 500 random rows of 4,000"):
        got = kv.evaluation.independent_columns(np.split(x, 40), [x], Columns(kinds, kv.dense_decoder(2)))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(x))
    a, b, c, d, e = (column[~np.isnan(column)] for column in x.T)
    exact = [
        scipy.stats.norm(a.mean(), a.std()).logpdf(a).mean(),
        scipy.stats.poisson(b.mean()).logpmf(b).mean(),
        -scipy.stats.entropy(np.unique(c, return_counts=True)[1]),
        -scipy.stats.entropy([d.mean(), 1 - d.mean()]),
        scipy.stats.laplace(*scipy.stats.laplace.fit(e)).logpdf(e).mean(),
    ]
    np.testing.assert_allclose(np.nanmean(got, axis=0)[:4], exact[:4], atol=2e-3)
    # Of two parameters fitted to n rows the expected loss is 2 / (2 n) nats for each row.
    assert exact[4] - 10 / 350 < np.nanmean(got[:, 4]) < exact[4] + 1e-6


def test_independent_columns_are_of_maximum_likelihood():
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(0.5, 2, 3000), rng.poisson(3, 3000), rng.integers(0, 2, 3000) * 2], 1).astype("float32")
    x[rng.random(x.shape) < 0.3] = NAN
    layer = Columns({"a": Normal(1), "b": Poisson(1), "c": Categorical(1, levels=4)}, kv.dense_decoder(2))
    got = kv.evaluation.independent_columns([x[:1000], x[1000:]], [x], layer)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(x))
    a, b, c = (column[~np.isnan(column)] for column in np.float64(x).T)
    np.testing.assert_allclose(np.nanmean(got[:, 0]), scipy.stats.norm(a.mean(), a.std()).logpdf(a).mean(), atol=1e-3)
    np.testing.assert_allclose(np.nanmean(got[:, 1]), scipy.stats.poisson(b.mean()).logpmf(b).mean(), atol=1e-3)
    assert np.nanmean(got[:, 2]) == pytest.approx(-scipy.stats.entropy(np.unique(c, return_counts=True)[1]), abs=2e-3)


def test_a_network_that_passes_missing_values_on_is_named():
    columns = Columns({"a": Normal(1), "b": Normal(1)}, kv.dense_decoder(1, units=[4]))
    model = kv.VAE(kv.Normal(1, kv.dense_encoder(2, units=[4])), columns, kv.StandardNormal(1))
    model.compile("adam", kv.ELBO())
    with pytest.raises(ValueError, match=r"VAE needs networks that take missing values.*ObservedValues"):
        model.fit(np.array([[0.0, 1.0], [NAN, 2.0]], np.float32), verbose=0)
