"""Quantizers and the models whose latent variables are codes: against SciPy, enumeration, NumPy and autodiff."""

import functools
import itertools
import math
import re

import keras
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats
import tensorflow as tf
from cases import CASES, binary_images
from conftest import usual_first

import keras_vae as kv
from keras_vae.noise import fold
from keras_vae.sampling import sampling

RNG = np.random.default_rng(0)
GRID, SIZE, LEVELS = (3, 2), 4, 5


def built(layer, **options):
    """A layer whose encoded vectors are its context, but for a head that is the identity."""
    made = layer((*GRID, 1), **{"levels": LEVELS, "vector_size": SIZE} | options)
    made.build((None, *GRID, SIZE))
    made.head.kernel.assign(np.eye(SIZE))
    return made


def encoded(count=7) -> np.ndarray:
    return RNG.normal(size=(count, *GRID, SIZE)).astype("float32")


def test_codes_are_those_of_the_nearest_vectors():
    layer, x = built(kv.VectorQuantized), encoded()
    found = layer(x)
    distances = scipy.spatial.distance.cdist(x.reshape(-1, SIZE), layer.codebook.numpy()[0])
    np.testing.assert_array_equal(found.codes.numpy().ravel(), distances.argmin(axis=1))
    vectors = layer.codebook.numpy()[0][distances.argmin(axis=1)].reshape(x.shape)
    np.testing.assert_array_equal(layer.embed(found.codes), vectors)
    np.testing.assert_allclose(layer.seen(found.codes, found), vectors, rtol=1e-5, atol=1e-6)
    commitment = (distances.min(axis=1) ** 2).reshape(len(x), -1).sum(axis=1)
    np.testing.assert_allclose(layer.terms(found)["commitment"], commitment, rtol=1e-4)
    np.testing.assert_array_equal(found.log_prob(found.codes), np.zeros(len(x)))
    np.testing.assert_array_equal(found.log_prob(LEVELS - 1 - found.codes), np.full(len(x), -np.inf))


def test_further_codes_of_a_place_quantize_what_is_left():
    layer = kv.VectorQuantized((*GRID, 3), levels=LEVELS, vector_size=SIZE)
    layer.build((None, *GRID, SIZE))
    layer.head.kernel.assign(np.eye(SIZE))
    x = encoded()
    found = layer(x)
    left, codes, commitment = x.reshape(-1, SIZE).astype(np.float64), [], 0.0
    for codebook in layer.codebook.numpy():
        distances = scipy.spatial.distance.cdist(left, codebook)
        codes.append(distances.argmin(axis=1))
        commitment += (distances.min(axis=1) ** 2).reshape(len(x), -1).sum(axis=1)
        left = left - codebook[codes[-1]]
    np.testing.assert_array_equal(found.codes.numpy().reshape(-1, 3), np.stack(codes, axis=-1))
    np.testing.assert_allclose(layer.embed(found.codes), x - left.reshape(x.shape), atol=1e-5)
    np.testing.assert_allclose(layer.terms(found)["commitment"], commitment, rtol=1e-4)


def test_the_gradient_goes_straight_through():
    """It is that at the vectors, given to what was encoded, and none to the codebook."""
    layer, x, weights = built(kv.GradientVectorQuantized), tf.constant(encoded()), encoded()
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = layer(x)
        loss = tf.reduce_sum(weights * layer.seen(found.codes, found) ** 2)
    gradient, of_codebook = tape.gradient(loss, [x, layer.codebook.value])
    np.testing.assert_allclose(gradient, 2 * weights * layer.embed(found.codes), rtol=1e-4, atol=1e-5)
    assert of_codebook is None


def test_gradients_of_the_terms():
    """Of commitment to what was encoded, and of "codebook" to the vectors: twice the differences."""
    layer, x = built(kv.GradientVectorQuantized), tf.constant(encoded())
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        found = layer(x)
        terms = layer.terms(found)
    difference = x - layer.embed(found.codes)
    np.testing.assert_allclose(tape.gradient(terms["commitment"], x), 2 * difference, rtol=1e-4, atol=1e-5)
    assert tape.gradient(terms["commitment"], layer.codebook.value) is None
    assert tape.gradient(terms["codebook"], x) is None
    expected = np.zeros((LEVELS, SIZE))
    np.add.at(expected, found.codes.numpy().astype(int).ravel(), -2 * difference.numpy().reshape(-1, SIZE))
    got = tf.convert_to_tensor(tape.gradient(terms["codebook"], layer.codebook.value))[0]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def learn(layer, x, weights=None, step=0):
    with sampling(1, fold(step), weights=weights):
        found = layer(x)
        layer.learn(found)
    return found


def test_the_codebook_is_the_moving_average_of_what_is_encoded():
    """By sums and counts in float64; an example of weight 2 counts as two."""
    layer = built(kv.VectorQuantized, decay=0.9, unused=0.0)
    counts, sums = np.zeros(LEVELS), np.zeros((LEVELS, SIZE))
    for step in range(4):
        x, weights = encoded(), np.array([1, 1, 2, 0, 1, 1, 1], "float32")
        before = layer.codebook.numpy()[0]
        codes = learn(layer, x, weights, step).codes.numpy().astype(int).ravel()
        rows, of_row = x.reshape(-1, SIZE), np.repeat(weights, math.prod(GRID))
        counts *= 0.9
        sums *= 0.9
        np.add.at(counts, codes, 0.1 * of_row)
        np.add.at(sums, codes, 0.1 * of_row[:, None] * rows)
        expected = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1e-9)[:, None], before)
        np.testing.assert_allclose(layer.codebook.numpy()[0], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.use.numpy()[0], counts, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [kv.VectorQuantized, kv.GradientVectorQuantized])
def test_codes_that_nobody_uses_begin_anew_at_the_batch(kind):
    layer, x = built(kind, levels=50), encoded(30)
    layer.codebook.assign(1e3 + np.arange(50 * SIZE).reshape(1, 50, SIZE))  # of which the first is nearest to all
    weights = np.where(np.arange(30) < 10, 1.0, 0.0).astype("float32")
    learn(layer, x, weights)
    rows = {tuple(row) for row in x[:10].reshape(-1, SIZE)}  # of examples that count
    moved = [tuple(vector) in rows for vector in layer.codebook.numpy()[0]]
    assert moved == [False] + [True] * 49
    np.testing.assert_allclose(layer.use.numpy()[0, 1:], layer.use.numpy()[0, 0] / 50, rtol=1e-5)
    first = layer.codebook.numpy()
    used = np.unique(learn(layer, x[:10], step=1).codes.numpy().astype(int))
    assert len(used) > 10
    idle = np.setdiff1d(np.arange(1, 50), used)
    assert len(idle)
    np.testing.assert_array_equal(layer.codebook.numpy()[0, idle], first[0, idle], "they begin anew once they are old")


def test_without_examples_nothing_is_learned():
    layer = built(kv.VectorQuantized, levels=50)
    learn(layer, encoded())
    layer.use.assign(np.where(np.arange(50) == 7, 0.0, layer.use))  # it would begin anew
    before = layer.codebook.numpy()
    learn(layer, np.zeros((0, *GRID, SIZE), "float32"), np.zeros(0, "float32"))
    np.testing.assert_array_equal(layer.codebook, before)
    assert np.isfinite(layer.use).all()


@pytest.mark.parametrize("steps", [(8, 6, 5), (2,), (3, 2), (5, 4, 3, 2)])
def test_the_points_of_a_fixed_grid(steps):
    """Each code has a vector of its own, which is encoded as that code; their numbers are from -1 to 1."""
    layer = kv.FiniteScalarQuantized((1, 2), steps=steps)
    layer.build((None, 1, layer.vector_size))
    layer.head.kernel.assign(np.eye(layer.vector_size))
    assert layer.levels == math.prod(steps)
    codes = np.stack([np.arange(layer.levels), np.arange(layer.levels)[::-1]], axis=-1)[:, None]
    vectors = layer.embed(codes)
    assert vectors.shape == (layer.levels, 1, 2 * len(steps))
    assert len(np.unique(vectors, axis=0)) == layer.levels
    assert np.abs(vectors).max() <= 1
    np.testing.assert_array_equal(layer.codes_of(vectors), codes)
    everywhere = layer(10 * RNG.normal(size=(4000 * layer.levels, 1, layer.vector_size)).astype("float32"))
    assert len(np.unique(everywhere.codes)) == layer.levels
    zero = layer(np.zeros((1, 1, layer.vector_size), "float32"))
    np.testing.assert_allclose(zero.encoded, np.zeros((1, 1, layer.vector_size)), atol=1e-6)
    difference = everywhere.encoded - layer.embed(everywhere.codes)
    units = np.tile(np.array(steps) // 2, 2)
    assert np.abs(difference * units).max() <= 0.51, "rounded by half a step"


# --- models -----------------------------------------------------------------------------------------------------------


def small(levels=3, grid=(2, 2), seed=0, posterior=None) -> kv.VQVAE:
    shape = (4, 4, 1)
    keras.utils.set_random_seed(seed)
    codes = posterior or kv.VectorQuantized(
        (*grid, 1), kv.residual_encoder(shape, [4], blocks=1), levels=levels, vector_size=2
    )
    likelihood = kv.Bernoulli(shape, kv.residual_decoder(codes.params_shape, shape, [4], blocks=1))
    return kv.VQVAE(codes, likelihood, kv.Categorical((*grid, 1), levels=codes.levels))


def test_the_bound_is_below_the_sum_over_all_codes():
    """log p(x) by enumeration of the 81 grids of four places with three codes."""
    model, x = small(), binary_images((4, 4, 1), 20)
    model.compile(keras.optimizers.Adam(1e-2), kv.Weighted(kv.ELBO(), {"commitment": 0.25}))
    model.fit(x, epochs=30, verbose=0)
    grids = np.array(list(itertools.product(range(3), repeat=4)), "float32").reshape(-1, 2, 2, 1)
    of_codes = model.prior_distribution().log_prob(grids).numpy()
    assert scipy.special.logsumexp(of_codes) == pytest.approx(0, abs=1e-5)
    joint = model.decode(grids[:, None]).log_prob(x).numpy() + of_codes[:, None]
    exact = scipy.special.logsumexp(joint, axis=0)
    found = kv.evaluation.log_likelihood(model, x, verbose=0)
    codes = model.encode(x).numpy()
    number = (codes.reshape(-1, 4) @ [27, 9, 3, 1]).astype(int)
    np.testing.assert_allclose(found.values, joint[number, np.arange(20)], rtol=1e-5)
    assert (found.values < exact).all()
    assert (found.samples, found.standard_error > 0, found.error_of_draws) == (1, True, 0.0)
    assert not found.reliable
    text = f"log p(x) >= {found.mean:.3f} +- {found.standard_error:.3f} nats over 20 examples\nA lower bound only"
    assert str(found).startswith(text)
    assert model.evaluate(x, verbose=0, return_dict=True)["kl"] == pytest.approx(-of_codes[number].mean(), rel=1e-5)


def test_kl_of_a_uniform_prior_is_places_times_log_levels():
    encode = kv.residual_encoder((8, 8, 1), [4], blocks=1)
    posterior = kv.GradientVectorQuantized((4, 4, 1), encode, levels=6, vector_size=3)
    likelihood = kv.Bernoulli((8, 8, 1), kv.residual_decoder((4, 4, 3), (8, 8, 1), [4], blocks=1))
    model, x = kv.VQVAE(posterior, likelihood, kv.UniformCategorical((4, 4, 1), levels=6)), binary_images()
    trace = model(x)
    np.testing.assert_allclose(trace.kl, np.full((1, len(x)), 16 * math.log(6)), rtol=1e-6)
    np.testing.assert_allclose(trace.latents["z"].log_ratio, -trace.kl, rtol=1e-6)


@pytest.mark.parametrize("kind", [kv.VectorQuantized, kv.GradientVectorQuantized])
def test_a_step_sees_the_vectors_that_its_codes_were_found_by(kind):
    """A training step reports what the same pass without training does: its codebook learns after all was computed."""
    x = binary_images((4, 4, 1), 20)
    model = small(posterior=kind((2, 2, 1), kv.residual_encoder((4, 4, 1), [4], blocks=1), levels=20, vector_size=2))
    model.compile(keras.optimizers.SGD(0.0), kv.Weighted(kv.ELBO(), {"commitment": 0.25}))
    model.build((None, 4, 4, 1))
    expected = model.evaluate(x, batch_size=20, verbose=0, return_dict=True)
    before = model.posterior.codebook.numpy()
    found = model.fit(x, batch_size=20, epochs=1, verbose=0).history
    assert np.abs(model.posterior.codebook.numpy() - before).max() > 0.1, "codes begin anew"
    for name in ("log_likelihood", "commitment", "loss", "perplexity"):
        assert found[name][0] == pytest.approx(expected[name], rel=1e-5), name


def test_perplexity_and_the_share_of_used_codes():
    """Against SciPy's entropy, over two batches of an epoch; with two codes for each place both are means."""
    case = CASES["VectorQuantized, Categorical"]
    model, x = case.compiled(), binary_images(count=11)
    got = model.evaluate(x, batch_size=4, verbose=0, return_dict=True)
    codes = model.encode(x).numpy().reshape(-1, 2)
    counts = [np.bincount(column, minlength=6) for column in codes.T]
    entropy = np.mean([scipy.stats.entropy(count) for count in counts])
    assert got["perplexity"] == pytest.approx(math.exp(entropy), rel=1e-5)
    assert got["used_codes"] == pytest.approx(np.mean(np.stack(counts) > 0), rel=1e-6)
    weights = np.arange(11) % 3.0
    got = model.evaluate(x, batch_size=4, sample_weight=weights, verbose=0, return_dict=True)
    of_codes = np.repeat(weights, len(codes) // 11)
    entropy = np.mean([scipy.stats.entropy(np.bincount(column, of_codes, minlength=6)) for column in codes.T])
    assert got["perplexity"] == pytest.approx(math.exp(entropy), rel=1e-5)
    history = model.fit(x, batch_size=4, epochs=2, verbose=0, validation_data=x).history
    assert {"perplexity", "val_perplexity", "used_codes", "val_used_codes", "commitment"} < set(history)


@pytest.mark.parametrize("kind", usual_first([kv.VectorQuantized, kv.GradientVectorQuantized], kv.VectorQuantized))
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, kind):
    """With codes that begin anew, by programs of several steps, as `fit` runs by default."""
    x = binary_images((4, 4, 1), 40)

    def fit(folder, epochs):
        keras.utils.set_random_seed(0)
        encode = kv.residual_encoder((4, 4, 1), [4], blocks=1)
        model = small(posterior=kind((2, 2, 1), encode, levels=20, vector_size=2, unused=0.5))
        model.compile(keras.optimizers.Adam(1e-2))
        model.build((None, 4, 4, 1))
        backup = kv.callbacks.BackupAndRestore(folder)
        model.fit(x, epochs=epochs, batch_size=8, verbose=0, callbacks=[backup])
        return model.get_weights()

    whole = fit(tmp_path / "whole", 4)
    fit(tmp_path / "parts", 2)
    for ours, theirs in zip(fit(tmp_path / "parts", 4), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@functools.cache
def trained() -> tuple[kv.VQVAE, np.ndarray]:
    """A first stage, which no test changes, and its data."""
    model, x = small(levels=6), binary_images((4, 4, 1), 40)
    model.compile(keras.optimizers.Adam(1e-2), kv.Weighted(kv.ELBO(), {"commitment": 0.25}))
    model.fit(x, epochs=3, batch_size=8, verbose=0)
    return model, x


def pixel_cnn(levels=6) -> kv.PixelCNN:
    return kv.PixelCNN((2, 2, 1), levels=levels, filters=4, blocks=1, kernel_size=3)


def test_the_second_stage_trains_the_prior_alone():
    model, x = trained()
    before, codes = model.get_weights(), model.encode(x)
    second = model.with_prior(pixel_cnn())
    second.compile(keras.optimizers.Adam(1e-2))
    history = second.fit(x, epochs=5, batch_size=8, verbose=0, validation_data=x[:10]).history
    assert history["loss"][-1] < history["loss"][0] - 0.5
    np.testing.assert_allclose(history["loss"], np.add(history["kl"], -np.array(history["log_likelihood"])), rtol=1e-5)
    assert np.ptp(history["log_likelihood"]) < 1e-4
    assert {id(weight) for weight in second.trainable_weights} == {id(weight) for weight in second.prior.weights}
    np.testing.assert_array_equal(second.encode(x), codes)
    np.testing.assert_array_equal(second.decode(codes).mean(), model.decode(codes).mean())
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert model.trainable_weights[0] is model.posterior.trainable_weights[0]


@pytest.mark.slow
def test_codes_are_found_once_and_are_what_each_epoch_would_find(monkeypatch):
    """Figures of arrays, whose codes are kept, equal those of a dataset, which is encoded in each epoch."""
    model, x = trained()
    weights = np.arange(40) % 3.0
    figures, calls = [], []
    ours = type(model.posterior).codes_of
    monkeypatch.setattr(kv.VectorQuantized, "codes_of", lambda *args: calls.append(1) or ours(*args))
    for kept in (True, False):
        keras.utils.set_random_seed(1)
        second = model.with_prior(pixel_cnn())
        second.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
        calls.clear()
        data = {"x": x, "sample_weight": weights} if kept else {"x": batches_of(x, weights)}
        history = second.fit(**data, epochs=3, batch_size=8, shuffle=False, verbose=0, validation_data=x).history
        figures.append(history)
        assert len(calls) <= 3 if kept else len(calls) > 15, "traced once for each batch size, and for examples"
        for each in (x, second.keep(x)):
            logs = second.evaluate(each, verbose=0, return_dict=True)
            assert logs == pytest.approx({name: history[f"val_{name}"][-1] for name in logs}, rel=1e-6)
    assert set(figures[0]) == set(figures[1])
    for name, values in figures[0].items():
        np.testing.assert_allclose(values, figures[1][name], rtol=1e-5, err_msg=name)


class Halved(keras.layers.Layer):
    """A network that is not registered for saving."""

    def call(self, x):
        return x / 2


@pytest.mark.parametrize("kept", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_frozen_networks_stay_as_they_are_and_encode_as_in_evaluation(kept):
    """With a scale that learns without gradients, and with Dropout; 120 examples are encoded in two parts."""
    keras.utils.set_random_seed(0)
    x = RNG.normal(size=(120, 4, 4, 1)).astype("float32")
    noisy = keras.Sequential([kv.residual_encoder((4, 4, 1), [4], blocks=1), Halved(), kv.Dropout(0.5)])
    noisy.build((None, 4, 4, 1))
    posterior = kv.VectorQuantized((2, 2, 1), noisy, levels=6, vector_size=2)
    likelihood = kv.OptimalScaleNormal((4, 4, 1), kv.residual_decoder((2, 2, 2), (4, 4, 1), [4], blocks=1))
    model = kv.VQVAE(posterior, likelihood, kv.UniformCategorical((2, 2, 1), levels=6))
    model.compile()
    model.fit(x, epochs=1, verbose=0)
    second = model.with_prior(pixel_cnn())
    second.compile()
    frozen = [weight for layer in (second.posterior, second.likelihood) for weight in layer.weights]
    before = [weight.numpy() for weight in frozen]
    logs = second.evaluate(x, verbose=0, return_dict=True)
    data = x if kept else tf.data.Dataset.from_tensor_slices(x).batch(40)
    history = second.fit(data, epochs=2, verbose=0).history
    for weight, value in zip(frozen, before, strict=True):
        np.testing.assert_array_equal(weight, value, err_msg=weight.path)
    np.testing.assert_allclose(history["log_likelihood"], logs["log_likelihood"], rtol=1e-5)
    np.testing.assert_allclose(history["perplexity"], logs["perplexity"], rtol=1e-5)


def test_what_can_not_be_kept_or_learned_from_is_refused():
    model, x = trained()
    second = model.with_prior(pixel_cnn())
    second.compile()
    kept = second.keep(x)
    assert np.isfinite(second.fit(kept, validation_data=second.keep(x[:9]), verbose=0).history["val_loss"][0])
    for data in (kept, tf.data.Dataset.from_tensors((kept,))):
        assert second.evaluate(data, verbose=0, return_dict=True)["kl"] > 0
        with pytest.raises(ValueError, match=r"VQVAE\.fit needs observations where more than the prior is trained"):
            model.fit(data, verbose=0)
    for method in (second.encode, second.reconstruct, second.predict):
        with pytest.raises(ValueError, match=r"VQVAE needs observations for this\. Received: kept codes\."):
            method(kept)
    with pytest.raises(ValueError, match=r"VQVAE\.keep needs data without weights"):
        second.keep(batches_of(x, np.ones(40)))
    with pytest.raises(ValueError, match=r"VQVAE\.keep needs data that end"):
        second.keep(tf.data.Dataset.from_tensors(x).repeat())
    with pytest.raises(ValueError, match=r"VQVAE needs a finite log_likelihood of each example"):
        second.fit(kept._replace(log_likelihood=kept.log_likelihood * np.nan), verbose=0)
    with pytest.raises(TypeError, match=r"VQVAE2 needs priors to be a list of layers, one for each level"):
        kv.VQVAE2([model.posterior.network] * 2, [model.posterior] * 2, model.likelihood, pixel_cnn())


def test_a_step_that_is_not_finite_leaves_the_codebook():
    model, x = small(), binary_images((4, 4, 1), 20)
    model.compile(keras.optimizers.SGD(1e30), kv.Weighted(kv.ELBO(), {"commitment": 0.25}), jit_compile=False)
    with pytest.raises(FloatingPointError):
        model.fit(x, epochs=5, batch_size=5, verbose=0)
    assert np.isfinite(model.posterior.codebook).all()


def test_importance_weighted_bounds_of_one_draw():
    """All draws are one point: the bounds of any number of them are that of one."""
    model, x = trained()
    second = model.with_prior(pixel_cnn())
    second.compile()
    expected = second.evaluate(x, verbose=0, return_dict=True)["loss"]
    for samples in (1, 3):
        second.compile(loss=kv.IWAE(samples))
        assert second.evaluate(x, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)


def batches_of(x, weights) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((x, x, weights)).batch(8)


@pytest.mark.parametrize("form", usual_first(["dataset", "sequence", "generator", "frames"], "dataset", "sequence"))
def test_codes_can_be_kept_of_data_in_any_form(form):
    model, x = trained()
    second = model.with_prior(pixel_cnn())
    parts = [x[start : start + 16] for start in range(0, 40, 16)]

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return (parts[index],)

    data = {"dataset": tf.data.Dataset.from_generator(lambda: parts, output_signature=tf.TensorSpec([None, 4, 4, 1]))}
    data |= {"sequence": Sequence(), "generator": iter(parts), "frames": list(x)}
    kept = second.keep(data[form])
    np.testing.assert_array_equal(kept.codes["z"], model.encode(x))
    expected = model.decode(model.encode(x)).log_prob(x)
    np.testing.assert_allclose(kept.log_likelihood, expected, rtol=1e-5)
    second.compile()
    assert np.isfinite(second.fit(kept, verbose=0).history["loss"][0])


def test_a_second_stage_is_saved_and_goes_on(tmp_path):
    """Reloaded it has frozen networks, and a resumed run equals the uninterrupted one."""
    model, x = trained()

    def fit(folder, epochs):
        keras.utils.set_random_seed(0)
        second = model.with_prior(pixel_cnn())
        second.compile(keras.optimizers.Adam(1e-2))
        second.fit(x, epochs=epochs, batch_size=8, verbose=0, callbacks=[kv.callbacks.BackupAndRestore(folder)])
        return second

    whole = fit(tmp_path / "whole", 4)
    fit(tmp_path / "parts", 2)
    for ours, theirs in zip(fit(tmp_path / "parts", 4).get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    whole.save(tmp_path / "model.keras")
    again = kv.load_model(tmp_path / "model.keras")
    assert len(again.trainable_weights) == len(whole.prior.weights)
    for each in (whole, again):
        each.fit(x, epochs=1, batch_size=8, verbose=0)
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# --- priors given a label --------------------------------------------------------------------------------------------


@functools.cache
def labelled() -> tuple[kv.VQVAE, np.ndarray, np.ndarray]:
    """A first stage, which no test changes, of images whose left half is white, or their right half, as the label says.

    One pixel in ten is another one.
    """
    label = np.arange(60) % 2
    half = np.stack([np.arange(4) < 2, np.arange(4) >= 2])[label][:, None, :, None]
    x = (half ^ (np.random.default_rng(0).random((60, 4, 4, 1)) < 0.1)).astype("float32")
    model = small(levels=3)
    model.compile(keras.optimizers.Adam(1e-2), kv.Weighted(kv.ELBO(), {"commitment": 0.25}))
    model.fit(x, epochs=10, batch_size=20, verbose=0)
    return model, x, np.eye(2, dtype="float32")[label]


def given_label() -> kv.ConditionalVQVAE:
    second = labelled()[0].with_conditional_prior(pixel_cnn(levels=3), condition_shape=2)
    second.compile(keras.optimizers.Adam(2e-2))
    return second


@pytest.mark.slow
@pytest.mark.slow
def test_a_prior_given_a_label_against_the_sum_over_all_codes():
    """Of all 81 grids for each label; a score is log p(x, codes | label), below log p(x | label)."""
    _, x, y = labelled()
    keras.utils.set_random_seed(0)
    second = given_label()
    second.fit(x, y, epochs=3, verbose=0)
    grids = np.array(list(itertools.product(range(3), repeat=4)), "float32").reshape(-1, 2, 2, 1)
    of_codes = second.prior_distribution(np.eye(2)).log_prob(grids[:, None]).numpy()  # [81, labels]
    np.testing.assert_allclose(scipy.special.logsumexp(of_codes, axis=0), np.zeros(2), atol=1e-5)
    assert np.abs(of_codes[:, 0] - of_codes[:, 1]).max() > 0.1
    joint = second.decode(grids[:, None]).log_prob(x).numpy() + of_codes[:, y.argmax(axis=1)]  # [81, examples]
    number = (second.encode(x).numpy().reshape(-1, 4) @ [27, 9, 3, 1]).astype(int)
    found = kv.evaluation.log_likelihood(second, (x, y), verbose=0)
    np.testing.assert_allclose(found.values, joint[number, np.arange(60)], rtol=1e-4)
    assert (found.values < scipy.special.logsumexp(joint, axis=0)).all()
    logs = second.evaluate(x, y, verbose=0, return_dict=True)
    assert logs["kl"] == pytest.approx(-of_codes[number, y.argmax(axis=1)].mean(), rel=1e-4)
    draws = second.sample_prior(np.repeat(np.eye(2), 2000, axis=0), seed=0).numpy().reshape(2, 2000, 4)
    for label in range(2):
        share = np.bincount((draws[label] @ [27, 9, 3, 1]).astype(int), minlength=81) / 2000
        p = np.exp(of_codes[:, label])
        assert np.all(np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / 2000) + 1e-4)


@pytest.mark.slow
def test_a_prior_given_labels_learns_what_they_say_of_codes(tmp_path):
    """More than a prior without them, by most of the log 2 nats of a label; images of a class are drawn, also reloaded.

    The networks stay as they are. `generate` has the classes of its conditions.
    """
    model, x, y = labelled()
    before, figures = model.get_weights(), {}
    for name, make in {"label": given_label, "none": lambda: model.with_prior(pixel_cnn(levels=3))}.items():
        keras.utils.set_random_seed(0)
        second = make()
        second.compile(keras.optimizers.Adam(2e-2))
        second.fit(x, y, epochs=60, batch_size=20, verbose=0)
        figures[name] = second.evaluate(x, y, verbose=0, return_dict=True)["kl"]
        assert {id(weight) for weight in second.trainable_weights} == {id(weight) for weight in second.prior.weights}
        if name == "label":
            second.save(tmp_path / "second.keras")
    assert 0.4 < figures["none"] - figures["label"] < 1.0
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    second = kv.load_model(tmp_path / "second.keras")
    assert len(second.trainable_weights) == len(second.prior.weights)
    wanted = np.repeat(np.eye(2, dtype="float32"), 50, axis=0)
    images = second.generate(wanted, seed=1).numpy()
    white_left = images[:, :, :2].mean(axis=(1, 2, 3)) > images[:, :, 2:].mean(axis=(1, 2, 3))
    assert np.mean(white_left == (wanted[:, 0] == 1)) > 0.9


@pytest.mark.slow
def test_kept_codes_stand_beside_their_labels(monkeypatch):
    """Arrays of pairs, what `keep` makes of them or of a dataset, and a dataset, encoded in each epoch: one history."""
    model, x, y = labelled()
    calls, ours = [], kv.VectorQuantized.codes_of
    monkeypatch.setattr(kv.VectorQuantized, "codes_of", lambda *arguments: calls.append(1) or ours(*arguments))
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(20)
    kept, labels = given_label().keep(dataset)
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(kept.codes["z"], model.encode(x))
    in_batches = tf.data.Dataset.from_tensor_slices((kept, y)).batch(20)
    of_pair, calls_of, histories = given_label().keep(x, y), {}, {}
    forms = {
        "arrays": (x, y),
        "kept": (kept, labels),
        "pair": (of_pair,),
        "batches": (in_batches,),
        "dataset": (dataset,),
    }
    for name, data in forms.items():
        keras.utils.set_random_seed(0)
        second = given_label()
        second.compile(keras.optimizers.Adam(2e-2), run_eagerly=True)
        calls.clear()
        size = {} if len(data) == 1 and data[0] is not of_pair else {"batch_size": 20}
        histories[name] = second.fit(*data, epochs=2, shuffle=False, verbose=0, validation_data=of_pair, **size).history
        calls_of[name] = len(calls)
        for key, values in histories[name].items():
            np.testing.assert_allclose(values, histories["arrays"][key], rtol=1e-5, err_msg=f"{name}, {key}")
    # Each `fit` looks at one example of zeros, before its first step.
    assert calls_of["kept"] == calls_of["pair"] == calls_of["batches"] == 1
    assert calls_of["arrays"] == 2
    assert calls_of["dataset"] == 7


@pytest.mark.slow
def test_a_resumed_prior_given_labels_is_the_uninterrupted_one(tmp_path):
    _, x, y = labelled()

    def fit(folder, epochs):
        keras.utils.set_random_seed(0)
        second = given_label()
        backup = kv.callbacks.BackupAndRestore(folder)
        second.fit(x, y, epochs=epochs, batch_size=20, verbose=0, callbacks=[backup])
        return second.get_weights()

    whole = fit(tmp_path / "whole", 3)
    fit(tmp_path / "parts", 1)
    for ours, theirs in zip(fit(tmp_path / "parts", 3), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_a_prior_given_labels_can_not_use_is_refused():
    model, x, y = labelled()
    with pytest.raises(ValueError, match=r"VQVAE\.with_conditional_prior needs weights: call fit, or build"):
        small().with_conditional_prior(pixel_cnn(levels=3), 2)
    second = given_label()
    kept = second.keep(x, y)[0]
    for data in (x, kept):
        with pytest.raises(ValueError, match=r"ConditionalVQVAE needs the condition of each example as y"):
            second.fit(data, verbose=0)
    with pytest.raises(
        ValueError, match=r"ConditionalVQVAE needs conditions of shape \(batch, 2\)\. Received: \(60, 3\)"
    ):
        second.fit(kept, np.zeros((60, 3)), verbose=0)
    with pytest.raises(ValueError, match=r"ConditionalVQVAE needs finite conditions"):
        second.generate(y * np.nan)
    with pytest.raises(ValueError, match=r"ConditionalVQVAE needs observations for this\. Received: kept codes"):
        second.reconstruct(kept)
    joint = kv.ConditionalVQVAE(model.posterior, model.likelihood, pixel_cnn(levels=3), 2)
    joint.compile()
    with pytest.raises(
        ValueError, match=r"ConditionalVQVAE\.fit needs observations where more than the prior is trained"
    ):
        joint.fit(kept, y, verbose=0)


# --- several grids ----------------------------------------------------------------------------------------------------


def two_levels(prior=None) -> kv.VQVAE2:
    """Four places of two codes below one place of three."""
    shape, fine, coarse = (4, 4, 1), (2, 2, 2), (1, 1, 2)
    keras.utils.set_random_seed(0)
    network = kv.residual_decoder(coarse, fine, [4], blocks=1)
    return kv.VQVAE2(
        encoders=[kv.residual_encoder(shape, [4], blocks=1), kv.residual_encoder((2, 2, 4), [4], blocks=1)],
        posteriors=[
            kv.VectorQuantized((2, 2, 1), kv.merged_grids([coarse, (2, 2, 4)], 4), levels=2, vector_size=2),
            kv.VectorQuantized((1, 1, 1), levels=3, vector_size=2),
        ],
        likelihood=kv.Bernoulli(shape, kv.residual_decoder([fine, coarse], shape, [4], blocks=1)),
        priors=[
            prior or kv.PixelCNN((2, 2, 1), network, levels=2, filters=4, blocks=1, kernel_size=3),
            kv.Categorical((1, 1, 1), levels=3),
        ],
    )


def test_two_levels_against_the_sum_over_all_codes():
    """p(z1 | z2) p(z2) of all 48 settings is 1, and the bound is log p(x, codes), below log p(x)."""
    model, x = two_levels(), binary_images((4, 4, 1), 20)
    model.compile(keras.optimizers.Adam(1e-2), kv.Weighted(kv.ELBO(), {"commitment_z1": 0.25, "commitment_z2": 0.25}))
    model.fit(x, epochs=10, verbose=0)
    fine = np.array(list(itertools.product(range(2), repeat=4)), "float32").reshape(-1, 1, 2, 2, 1)
    joint, of_codes = {}, []
    for top in range(3):
        codes = {"z1": fine, "z2": np.full((16, 1, 1, 1, 1), top, "float32")}
        priors = model.priors_given({name: tf.constant(value) for name, value in codes.items()})
        log_prior = sum(np.reshape(priors[name].log_prob(codes[name]), (-1, 1)) for name in codes)
        of_codes.append(log_prior)
        joint[top] = model.decode(codes).log_prob(x).numpy() + log_prior  # [16, 20]
    assert scipy.special.logsumexp(np.concatenate(of_codes)) == pytest.approx(0, abs=1e-5)
    exact = scipy.special.logsumexp(np.concatenate(list(joint.values())), axis=0)
    found = kv.evaluation.log_likelihood(model, x, verbose=0)
    z1, z2 = (part.numpy() for part in model.encode(x).values())
    places = z1.reshape(-1, 4) @ [8, 4, 2, 1]
    np.testing.assert_allclose(
        found.values,
        [joint[top][place, n] for n, (top, place) in enumerate(zip(z2.ravel(), places, strict=True))],
        rtol=1e-4,
    )
    assert (found.values < exact).all()
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert logs["kl"] == pytest.approx(logs["kl_z1"] + logs["kl_z2"], rel=1e-5)
    draws = model.sample_prior(400, seed=0)
    share = np.bincount(draws["z2"].numpy().ravel(), minlength=3) / 400
    np.testing.assert_allclose(share, np.exp(model.priors[1]().log_prob(np.arange(3.0).reshape(3, 1, 1, 1))), atol=0.1)


@pytest.mark.slow
def test_the_codes_of_a_level_are_found_given_the_vectors_above():
    model, x = two_levels(), binary_images((4, 4, 1), 20)
    model.compile()
    model.fit(x, epochs=2, verbose=0)  # codes begin anew at what is encoded
    low = model.encoders[0](x)
    top = model.posteriors[1](model.encoders[1](low))
    bottom = model.posteriors[0]((model.posteriors[1].embed(top.codes), low))
    found = model.encode(x)
    np.testing.assert_array_equal(found["z2"], top.codes)
    np.testing.assert_array_equal(found["z1"], bottom.codes)
    assert len(np.unique(found["z1"])) == 2
    trace = model(x)
    np.testing.assert_array_equal(trace.latents["z1"].value[0], bottom.codes)
    np.testing.assert_allclose(trace.likelihood.mean()[0], model.reconstruct(x), rtol=1e-5)


def test_a_prior_teaches_neither_the_codebook_above_nor_the_networks():
    """The prior of the level below sees a codebook that is trained by gradient, and leaves it as it is."""
    model, x = two_levels(), binary_images((4, 4, 1), 20)
    top = kv.GradientVectorQuantized((1, 1, 1), levels=3, vector_size=2)
    model = kv.VQVAE2(model.encoders, [model.posteriors[0], top], model.likelihood, model.priors)
    model.build((None, 4, 4, 1))
    others = [weight for layer in (*model.encoders, *model.posteriors) for weight in layer.trainable_weights]
    with tf.GradientTape() as tape:
        kl = tf.reduce_sum(model(x).kl)
    own = model.priors[0].trainable_weights
    found = tape.gradient(kl, [weight.value for weight in [*own, *others]])
    assert any(top.codebook is weight for weight in others)
    assert all(gradient is not None for gradient in found[: len(own)])
    assert [gradient for gradient in found[len(own) :] if gradient is not None] == []


def test_no_draws_of_one_place_are_an_empty_answer():
    """TensorFlow's convolutions fail on an empty batch of 1 x 1 places."""
    model = two_levels()
    model.build((None, 4, 4, 1))
    assert {name: tuple(part.shape) for name, part in model.sample_prior(0).items()} == {
        "z1": (0, 2, 2, 1),
        "z2": (0, 1, 1, 1),
    }
    for method in (model.generate, model.sample):
        assert method(0, seed=1).shape == (0, 4, 4, 1)
        in_graph = tf.function(lambda count, method=method: method(count, seed=1), autograph=False)
        assert in_graph(tf.constant(0)).shape == (0, 4, 4, 1)
        np.testing.assert_allclose(in_graph(tf.constant(2)), method(2, seed=1), rtol=1e-5)


class Lines(keras.utils.PyDataset):
    """Kept codes, which Keras would take apart."""

    def __init__(self, kept):
        super().__init__()
        self.kept = kept

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.kept


def test_kept_codes_in_batches_are_not_taken_for_pairs():
    """Though `KeptCodes` is a tuple of two: of a dataset they are what they were in memory."""
    model, x = trained()
    second = model.with_prior(pixel_cnn())
    second.compile()
    kept = second.keep(x)
    expected = second.evaluate(kept, batch_size=8, verbose=0, return_dict=True)
    dataset = tf.data.Dataset.from_tensor_slices(kept).batch(8)
    assert second.evaluate(dataset, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-6)
    history = second.fit(dataset, validation_data=dataset, verbose=0).history
    assert np.isfinite(history["val_loss"][0])
    needed = r"VQVAE\.fit needs KeptCodes alone in a tuple, \(kept,\), of which Keras takes nothing apart"
    for data in (Lines(kept), iter([kept])):
        with pytest.raises(ValueError, match=needed):
            second.fit(data, verbose=0)


def test_networks_that_can_not_be_copied_are_refused():
    shape = (4, 4, 1)
    halved = keras.Sequential([keras.layers.Lambda(lambda x: x / 2), kv.residual_encoder(shape, [4], blocks=1)])
    model = small(posterior=kv.VectorQuantized((2, 2, 1), halved, levels=3, vector_size=2))
    model.build((None, *shape))
    message = r"VQVAE needs networks without Lambda layers.*a layer class of your own.*Received: lambda"
    with pytest.raises(TypeError, match=message):
        model.with_prior(pixel_cnn(levels=3))


@pytest.mark.slow
def test_second_stage_of_two_levels():
    model, x = two_levels(kv.UniformCategorical((2, 2, 1), levels=2)), binary_images((4, 4, 1), 40)
    model.compile(keras.optimizers.Adam(1e-2), kv.Weighted(kv.ELBO(), {"commitment_z1": 0.25, "commitment_z2": 0.25}))
    model.fit(x, epochs=3, verbose=0)
    network = kv.residual_decoder((1, 1, 2), (2, 2, 2), [4], blocks=1)
    bottom = kv.PixelCNN((2, 2, 1), network, levels=2, filters=4, blocks=1, kernel_size=3)
    second = model.with_priors([bottom, kv.PixelCNN((1, 1, 1), levels=3, filters=4, blocks=1, kernel_size=3)])
    second.compile(keras.optimizers.Adam(1e-2))
    history = second.fit(x, epochs=10, verbose=0).history
    assert history["kl"][-1] < 4 * math.log(2) + math.log(3) - 0.3
    assert {id(weight) for weight in second.trainable_weights} == {
        id(weight) for prior in second.priors for weight in prior.weights
    }
    logs = second.evaluate(x, verbose=0, return_dict=True)
    assert second.evaluate(second.keep(x), verbose=0, return_dict=True) == pytest.approx(logs, rel=1e-6)


def test_what_two_levels_can_not_use_is_refused():
    model, x = two_levels(), binary_images((4, 4, 1), 4)
    with pytest.raises(ValueError, match=r"with_priors needs weights: call fit, or build"):
        model.with_priors(model.priors)
    model.compile()
    model.build((None, 4, 4, 1))
    codes = model.encode(x)
    with pytest.raises(ValueError, match=r"VQVAE2\.decode needs codes by name: z1, z2\. Received: z1\."):
        model.decode({"z1": codes["z1"]})
    with pytest.raises(ValueError, match=r"VQVAE2\.decode needs codes by name: z1, z2\. Received: ndarray\."):
        model.decode(codes["z1"].numpy())
    with pytest.raises(ValueError, match=r"VQVAE2\.decode needs z2 that are 0, 1, \.\.\., 2\. Received"):
        model.decode(codes | {"z2": codes["z2"] + 3})
    with pytest.raises(
        ValueError, match=r"VQVAE2\.decode needs as many codes of each level.*z1 \(3, 2, 2, 1\), z2 \(4, 1"
    ):
        model.decode({"z1": codes["z1"][:3], "z2": codes["z2"]})
    kept = model.keep(x)
    with pytest.raises(ValueError, match=r"VQVAE2 needs codes z2 of shape \(batch, 1, 1, 1\)\. Received: None\."):
        model.fit(kept._replace(codes={"z1": kept.codes["z1"]}), verbose=0)
    with pytest.raises(ValueError, match=r"VAE needs x to be one array\. Received: a KeptCodes of 2"):
        kv.VAE(kv.Normal(2), kv.Bernoulli(3), kv.StandardNormal(2)).as_inputs(kept)
    with pytest.raises(ValueError, match="VQVAE2 needs an encoder, a posterior and a prior for each of two or more"):
        kv.VQVAE2(model.encoders[:1], model.posteriors[:1], model.likelihood, model.priors[:1])
    with pytest.raises(ValueError, match=r"one event shape at each level\. Received: \(1, 1, 1\) and \(2, 2, 1\)"):
        kv.VQVAE2(model.encoders, model.posteriors, model.likelihood, model.priors[::-1])
    with pytest.raises(TypeError, match=r"VQVAE2 needs a posterior whose draws are codes.*Received: Normal"):
        kv.VQVAE2(model.encoders, [kv.Normal((2, 2, 1)), model.posteriors[1]], model.likelihood, model.priors)


def test_what_is_no_model_of_codes_is_refused():
    shape = (4, 4, 1)
    codes = kv.VectorQuantized((2, 2, 1), levels=3)
    with pytest.raises(TypeError, match=r"VQVAE needs a posterior whose draws are codes.*Received: Normal"):
        kv.VQVAE(kv.Normal((2, 2, 1)), kv.Bernoulli(shape), kv.StandardNormal((2, 2, 1)))
    with pytest.raises(ValueError, match="VectorQuantized, 3 levels, and UniformCategorical, 2 levels"):
        kv.VQVAE(codes, kv.Bernoulli(shape), kv.UniformCategorical((2, 2, 1), levels=2))
    with pytest.raises(TypeError, match=r"VAE gives its decoder the draws.*VectorQuantized, whose draws are codes"):
        kv.VAE(codes, kv.Bernoulli(shape), kv.UniformCategorical((2, 2, 1), levels=3))
    with pytest.raises(TypeError, match="HierarchicalVAE gives its decoder the draws"):
        kv.HierarchicalVAE([codes], kv.Bernoulli(shape), [kv.UniformCategorical((2, 2, 1), levels=3)])
    with pytest.raises(ValueError, match=re.escape("is a posterior, and so needs a context. Received: None.")):
        codes.build()


def test_what_codes_have_no_answer_to_is_refused():
    model, x = small(), binary_images((4, 4, 1), 4)
    model.compile()
    model.build((None, 4, 4, 1))
    for bad in (np.full((1, 2, 2, 1), 0.5), np.full((1, 2, 2, 1), 3)):
        with pytest.raises(ValueError, match=r"VQVAE\.decode needs codes that are 0, 1, \.\.\., 2\. Received"):
            model.decode(bad)
    with pytest.raises(TypeError, match=r"refine_posterior .* VQVAE, whose posterior is one point"):
        kv.evaluation.refine_posterior(model, x, verbose=0)
    with pytest.raises(TypeError, match=r"annealed_importance_sampling .* VectorQuantized, whose draws are 3 levels"):
        kv.evaluation.annealed_importance_sampling(model, x, 10, verbose=0)
    for plot in (kv.plotting.latent_plane, kv.plotting.traversals):
        with pytest.raises(TypeError, match=r"needs a model with one latent variable of numbers\. Received: VQVAE"):
            plot(model, x)
    found = kv.evaluation.diagnose(model, x, samples=2, verbose=0)
    assert "q(z | x) is one point" in str(found)


def test_networks_of_grids():
    encode, decode = kv.residual_encoder((28, 20, 1), [8, 6]), kv.residual_decoder((7, 5, 3), (28, 20, 1), [6, 4])
    assert encode.output_shape == (None, 7, 5, 6)
    assert decode.output_shape == (None, 28, 20, 4)
    assert kv.residual_decoder((3, 3, 2), (5, 6, 1), [4]).output_shape == (None, 5, 6, 4)
    assert kv.residual_decoder([(7, 7, 3), (4, 4, 2)], (28, 28, 1), [6, 4]).output_shape == (None, 28, 28, 4)
    assert kv.merged_grids([(4, 2, 3), (7, 4, 2), (2, 1, 5)], 6).output_shape == (None, 7, 4, 6)
    with pytest.raises(
        ValueError, match=r"merged_grids needs grids that doublings bring to the largest, 7 x 7\. Received: 4 x 3"
    ):
        kv.merged_grids([(7, 7, 3), (4, 3, 2)])
    for shape, filters in [((), [4]), (3, [4]), ((4, 4, 1), [])]:
        with pytest.raises(ValueError, match="residual_decoder needs"):
            kv.residual_decoder(shape, (4, 4, 1), filters)
    with pytest.raises(ValueError, match=r"merged_grids needs the shape of one grid at least\. Received: \[\]"):
        kv.merged_grids([])
    with pytest.raises(ValueError, match="residual_decoder needs a grid that 1 doublings bring to 28 x 20"):
        kv.residual_decoder((7, 5, 3), (28, 20, 1), [4])
