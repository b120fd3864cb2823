"""What the methods of a model refuse where they are called by hand: shapes, values and seeds, by name."""

import functools

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from cases import AUTOENCODERS, CASES, LINEAR, binary_images, image_vae, vectors_with_noise

import keras_vae as kv

X = binary_images((5,))
IMAGES = binary_images()


@functools.cache
def model_of(name: str) -> kv.LatentVariableModel:
    case = (CASES | LINEAR | AUTOENCODERS)[name]
    model = case.model()
    if name in LINEAR:
        model.fit(case.data(), verbose=0)
    else:
        model.build(case.data().shape)
    return model


def filled(shape, value) -> np.ndarray:
    return np.full(shape, value, "float32")


CONDITION = np.eye(3, dtype="float32")
NAN = float("nan")
REFUSED = {
    "an image of NaN": ("Bernoulli", lambda m: m.encode(IMAGES * NAN), "finite data. Received: 768"),
    "pixels of -5": ("Bernoulli", lambda m: m.importance_weights(IMAGES - 5, 3), r"data in \[0, 1\]\. Received: .*-5"),
    "pixels of -5, encoded": ("Bernoulli", lambda m: m.encode(IMAGES - 5), r"data in \[0, 1\]"),
    "an infinite pixel": ("Bernoulli", lambda m: m.reconstruct(filled((2, 8, 8, 1), np.inf)), "finite data"),
    "rows of 64": ("Bernoulli", lambda m: m.encode(IMAGES.reshape(12, 64)), r"\(batch, 8, 8, 1\)\. .*\(12, 64\)"),
    "one image": ("Bernoulli", lambda m: m.reconstruct(IMAGES[0]), r"\(batch, 8, 8, 1\)\. Received: \(8, 8, 1\)"),
    "channels first": (
        "Bernoulli",
        lambda m: m.encode(np.moveaxis(IMAGES, -1, 1)),
        r"\(batch, 8, 8, 1\)\. Received: \(12, 1, 8, 8\)\. .* np\.moveaxis\(x, 1, -1\)",
    ),
    "no channel": (
        "Bernoulli",
        lambda m: m.encode(IMAGES[..., 0]),
        r"Received: \(12, 8, 8\)\. .* x\[\.\.\., None\]",
    ),
    "no batch": ("Bernoulli", lambda m: m.encode(IMAGES[0]), r"Received: \(8, 8, 1\)\. .* x\[None\]"),
    "z of another size": ("Bernoulli", lambda m: m.decode(filled((2, 2), 0)), r"z of shape \(batch, 3\)\. .*\(2, 2\)"),
    "z of NaN": ("Bernoulli", lambda m: m.decode(filled((2, 3), NAN)), "z that are finite. Received: 6 others"),
    "no draws": ("Bernoulli", lambda m: m.importance_weights(IMAGES, 0), "num_samples.*Received: num_samples=0"),
    "-1 draws": ("Bernoulli", lambda m: m.generate(-1), "count to be a whole number, 0 or more.*count=-1"),
    "2.5 draws": ("Bernoulli", lambda m: m.sample(2.5), "count to be a whole number, 0 or more.*count=2.5"),
    "temperature NaN": ("Bernoulli", lambda m: m.generate(1, 0, NAN), "temperature to be a number, 0 or more.*nan"),
    "temperature -1": ("Bernoulli", lambda m: m.sample(1, 0, -1), "temperature to be a number, 0 or more.*-1"),
    "x of a condition": ("ConditionalVAE", lambda m: m.encode(X[:3] + 9, CONDITION), r"data in \[0, 1\]"),
    "a condition of NaN": ("ConditionalVAE", lambda m: m.generate(CONDITION * NAN), "finite conditions"),
    "a condition of two": ("ConditionalVAE", lambda m: m.sample(CONDITION[:, :2]), r"\(batch, 3\)"),
    "a condition of NaN beside x": ("ConditionalVAE", lambda m: m.reconstruct(X[:3], CONDITION * NAN), "finite cond"),
    "a condition of NaN beside z": ("ConditionalVAE", lambda m: m.decode(X[:3, :2], CONDITION * NAN), "finite cond"),
    "x of a hierarchy": ("HierarchicalVAE", lambda m: m.encode(X * NAN), "finite data"),
    "draws of a hierarchy": ("HierarchicalVAE", lambda m: m.importance_weights(X - 5, 2), r"data in \[0, 1\]"),
    "z1 of another size": ("HierarchicalVAE", lambda m: m.decode(X), r"z1 of shape \(batch, 4\)"),
    "x of a ladder": ("LadderVAE", lambda m: m.reconstruct(X * NAN), "finite data"),
    "x of an autoencoder": ("MaskingNoise", lambda m: m.encode(IMAGES * NAN), "finite data"),
    "a code": ("MaskingNoise", lambda m: m.decode(filled((1, 2), np.inf)), "z that are finite"),
    "rows of ten": ("ProbabilisticPCA", lambda m: m.encode(filled((3, 10), 0)), r"\(batch, 5\)\. Received: \(3, 10\)"),
    "rows of ten, scored": ("ProbabilisticPCA", lambda m: m.log_prob(filled((3, 10), 0)), r"\(batch, 5\)"),
    "rows of NaN": ("FactorAnalysis of images", lambda m: m.log_prob(filled((3, 4, 2, 1), NAN)), "finite data"),
    "z of a linear model": ("ProbabilisticPCA", lambda m: m.decode(filled((3, 3), 0)), r"z of shape \(batch, 2\)"),
    "counts below 0": ("Poisson, BetaTC", lambda m: m.encode(X - 3), "counts"),
    "numbers below 0": ("LogNormal", lambda m: m.encode(X - 3), "positive"),
    "levels between": ("Categorical, InfoVAE", lambda m: m.encode(X / 2), "that are 0, 1, ..., 3"),
    "an infinite cell": ("Columns with missing values", lambda m: m.encode(filled((1, 5), np.inf)), "column"),
    "no one-hot vectors": (
        "OneHotCategorical latents, LearnedBaseline",
        lambda m: m.decode(filled((1, 2, 3), 0.5)),
        "z of numbers from 0 to 1",
    ),
    "points outside of the ball": ("PowerSpherical, ContinuousBernoulli", lambda m: m.decode(X[:, :3] * 9), "length 1"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_methods_refuse_what_they_can_not_use(fault):
    name, call, pattern = REFUSED[fault]
    with pytest.raises(ValueError, match=pattern) as error:
        call(model_of(name))
    assert type(model_of(name)).__name__ in str(error.value) or "event_shape=" in str(error.value)


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_what_makes_a_shape_right_is_said_before_any_work(method):
    model = image_vae()
    model.compile()
    with pytest.raises(ValueError, match=r"\(12, 1, 8, 8\)\. These are channels first: np\.moveaxis\(x, 1, -1\) moves"):
        getattr(model, method)(np.moveaxis(IMAGES, -1, 1))
    with pytest.raises(ValueError, match=r"\(12, 8, 8\)\. The axis of one channel is missing: x\[\.\.\., None\] adds"):
        getattr(model, method)(IMAGES[..., 0])


def test_missing_values_and_means_of_latents_are_used():
    rows = filled((2, 5), NAN)
    assert np.isfinite(model_of("Columns with missing values").encode(rows).mean()).all()
    for name in ("OneHotCategorical latents, LearnedBaseline", "PowerSpherical, ContinuousBernoulli"):
        model = model_of(name)
        np.testing.assert_array_equal(model.decode(model.encode(X).mean()).mean(), model.reconstruct(X))


BAD_SEEDS = [1.7, 1.0, True, "1", 2**31, -(2**31) - 1, [1, 2, 3], [[1], [2, 3]], np.float32(1), tf.constant(1.0)]
BAD_SEEDS += [tf.constant(1, tf.int64), np.array([2**40, 0])]


@pytest.mark.parametrize("seed", BAD_SEEDS, ids=repr)
def test_a_seed_is_a_whole_number(seed):
    vae, table = model_of("Bernoulli"), model_of("Columns with missing values")
    uses = {
        "generate": lambda: vae.generate(2, seed=seed),
        "sample": lambda: vae.sample(2, seed=seed),
        "sample_prior of a hierarchy": lambda: model_of("HierarchicalVAE").sample_prior(2, seed=seed),
        "generate for a condition": lambda: model_of("ConditionalVAE").generate(CONDITION, seed=seed),
        "reconstruct": lambda: vae.reconstruct(IMAGES, seed=seed),
        "importance_weights": lambda: vae.importance_weights(IMAGES, 2, seed=seed),
        "log_likelihood": lambda: kv.evaluation.log_likelihood(vae, IMAGES, samples=2, seed=seed, verbose=0),
        "impute": lambda: kv.evaluation.impute(table, CASES["Columns with missing values"].data(), 2, seed=seed),
        "plotting.samples": lambda: kv.plotting.samples(vae, 4, seed=seed),
        "plotting.latent_plane": lambda: kv.plotting.latent_plane(vae, IMAGES, seed=seed),
        "a model": lambda: kv.VAE(kv.Normal(2), kv.Bernoulli(3), kv.StandardNormal(2), seed=seed),
        "a linear model": lambda: kv.ProbabilisticPCA(2, seed=seed),
    }
    for name, use in uses.items():
        with pytest.raises(ValueError, match="seed to be a whole number, from -2,147,483,648 to 2,147,483,647"):
            pytest.fail(f"{name} took {use()!r}")


@pytest.mark.parametrize("seed", [0, -1, 2**31 - 1, -(2**31), np.int64(7), np.uint8(7)], ids=repr)
def test_any_whole_number_is_a_seed(seed):
    vae = model_of("Bernoulli")
    np.testing.assert_array_equal(vae.generate(3, seed=seed), vae.generate(3, seed=tf.constant(int(seed), tf.int32)))
    np.testing.assert_array_equal(vae.sample(3, seed=seed), vae.sample(3, seed=[int(seed), 0]))
    assert kv.ProbabilisticPCA(2, seed=seed).get_config()["seed"] == int(seed)
    kv.ProbabilisticPCA(2, seed=seed).fit_em(vectors_with_noise((5,), 2), epochs=2, verbose=0)
    kv.plotting.latent_plane(vae, IMAGES, seed=seed)


def test_traced_steps_are_not_looked_at():
    """Inside of a graph there is nobody to tell: the methods add no operation to it."""
    vae = image_vae()
    vae.build((None, 8, 8, 1))
    graph = tf.function(lambda x: vae.reconstruct(x)).get_concrete_function(tf.TensorSpec([None, 8, 8, 1])).graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert not kinds & {"Assert", "IsFinite", "LessEqual", "All"}


def test_sample_draws_observations_at_the_latents_of_generate():
    keras.utils.set_random_seed(0)
    data = vectors_with_noise((3,), 1, count=500)
    model = kv.ProbabilisticPCA(1)
    model.fit(data, verbose=0)
    count = 20_000
    x = model.sample(count, seed=1).numpy().astype(float)
    np.testing.assert_array_equal(x, model.sample(count, seed=1))
    assert not np.isclose(x, model.sample(count, seed=2)).any(axis=1).any()
    # x ~ N(mean, W W' + variance I), in closed form: the likelihood of the draws, and their residuals at the same z.
    loadings, variance = model.loadings.numpy(), float(model.noise_variance.numpy())
    exact = scipy.stats.multivariate_normal(model.mean.numpy(), loadings @ loadings.T + variance * np.eye(3))
    scores = exact.logpdf(x)
    assert scores.mean() == pytest.approx(-exact.entropy(), abs=4 * scores.std() / np.sqrt(count))
    residuals = x - model.generate(count, seed=1).numpy()
    squares = residuals**2 / variance
    assert squares.mean() == pytest.approx(1.0, abs=4 * squares.std() / np.sqrt(squares.size))
    assert abs(np.corrcoef(residuals.T)[0, 1]) < 4 / np.sqrt(count)


@pytest.mark.parametrize("name", ["Bernoulli", "HierarchicalVAE", "ConditionalVAE"])
def test_the_mean_of_samples_is_what_generate_gives(name):
    """Binary draws at a fixed latent: temperature 0 leaves one for all (or for each condition)."""
    model, count = model_of(name), 4000
    first = np.repeat(CONDITION[:1], count, axis=0) if name == "ConditionalVAE" else count
    draws = model.sample(first, seed=3, temperature=0).numpy()
    means = model.generate(first, seed=3, temperature=0).numpy()
    assert set(np.unique(draws)) <= {0.0, 1.0}
    error = np.sqrt(means[0] * (1 - means[0]) / count)
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - means[0]), 4.5 * error)


def test_the_noise_of_x_is_not_that_of_a_latent_variable():
    """In a hierarchy each latent has a number in the noise; x has the one after the last."""
    model = kv.HierarchicalVAE(
        posteriors=[kv.Normal(4), kv.Normal(4)],
        likelihood=kv.FixedScaleNormal(4),
        priors=[kv.Normal(4), kv.StandardNormal(4)],
    )
    model.build((None, 4))
    z, x, mean = model.sample_prior(2000, seed=1), model.sample(2000, seed=1), model.generate(2000, seed=1)
    noise = (x - mean).numpy().ravel()
    for latent in z.values():
        assert abs(np.corrcoef(noise, latent.numpy().ravel())[0, 1]) < 4 / np.sqrt(noise.size)


def test_an_autoencoder_has_nothing_to_sample():
    with pytest.raises(TypeError, match="needs a prior"):
        model_of("MaskingNoise").sample(3)
