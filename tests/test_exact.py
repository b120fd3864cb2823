"""Numbers against closed forms, SciPy and finite differences."""

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import usual_first
from linear_gaussian import LATENT, LOG_P, MEAN, PRECISION, RNG, SIZE, VARIANCE, W, X, exact_vae, linear_vae

import keras_vae as kv
from keras_vae.distributions.discrete import softplus
from keras_vae.noise import fold, standard_normal, threefry
from keras_vae.sampling import sampling

tfd = tfp.distributions


def test_exact_posterior_makes_every_draw_exact():
    with sampling(7, fold(1)):
        trace = exact_vae()(X)
    np.testing.assert_allclose(trace.log_weight, np.broadcast_to(LOG_P, (7, len(X))), atol=1e-4)
    loc = trace.latents["z"].posterior.mean().numpy()
    kl = 0.5 * np.sum(1 / PRECISION + loc**2 - 1 + np.log(PRECISION), axis=-1)
    np.testing.assert_allclose(trace.kl, np.broadcast_to(kl, (7, len(X))), rtol=1e-5)
    # E log p(x | z) - KL = log p(x): the expectation of the quadratic is known too
    residual = np.sum((X - MEAN - loc @ W.T) ** 2, axis=1) + np.sum(np.diag(W.T @ W) / PRECISION)
    expected = -0.5 * (SIZE * np.log(2 * np.pi * VARIANCE) + residual / VARIANCE)
    np.testing.assert_allclose(expected - kl, LOG_P, atol=1e-4)


def test_elbo_of_the_exact_posterior_is_log_p():
    """`evaluate` averages many draws: within 4 standard errors of the closed form."""
    model = exact_vae()
    model.compile("adam", kv.ELBO(samples=500))
    logs = model.evaluate(X, batch_size=len(X), verbose=0, return_dict=True)
    with sampling(500, fold(2)):
        spread = model(X).log_likelihood.numpy().mean(axis=1).std(ddof=1) / np.sqrt(500)
    assert logs["log_likelihood"] - logs["kl"] == pytest.approx(LOG_P.mean(), abs=4 * spread)


def test_importance_sampling_finds_log_p_with_a_wrong_posterior():
    model = linear_vae(shift=0.5)
    estimate = kv.evaluation.log_likelihood(model, X, samples=20_000, verbose=0, batch_size=25)
    assert estimate.values.shape == (len(X),)
    error = 1 / np.sqrt(estimate.effective_samples)  # of the log of a mean, for each example
    assert np.all(np.abs(estimate.values - LOG_P) < 5 * error)
    assert estimate.mean == pytest.approx(LOG_P.mean(), abs=4 * float(np.sqrt(np.mean(error**2) / len(X))))
    assert estimate.standard_error == pytest.approx(scipy.stats.sem(estimate.values), rel=1e-5)
    assert np.all((estimate.effective_samples >= 1) & (estimate.effective_samples <= 20_001))
    one = kv.evaluation.log_likelihood(model, X, samples=1, verbose=0)
    assert one.mean < estimate.mean, "a lower bound in expectation"


def test_effective_samples_equal_samples_for_the_exact_posterior():
    _, effective = exact_vae().importance_weights(X, 300, seed=1)
    np.testing.assert_allclose(effective, 300, rtol=1e-3)


def test_kl_without_a_closed_form_is_the_average_of_the_draws():
    posterior = tfd.Independent(tfd.Logistic(tf.zeros([3, 2]), 1.0), 1)
    prior = tfd.Independent(tfd.Normal(tf.zeros(2), 1.0), 1)
    latent = kv.Latent(posterior.sample(4, seed=1), posterior, prior)
    np.testing.assert_array_equal(latent.kl, -latent.log_ratio)


@pytest.mark.parametrize("samples", [1, 3])
def test_reparameterized_gradient_equals_finite_differences(samples):
    """Mean gradient over many draws, against the slope of the exact expected loss, within 3 standard errors."""
    draws, x = 1500, X[:4]
    model = exact_vae(shift=0.3)
    objective = kv.ELBO(beta=0.7, samples=samples)
    weight = model.posterior.head.bias

    @tf.function
    def gradient(seed):
        with tf.GradientTape() as tape, sampling(samples, seed):
            loss = tf.reduce_mean(objective(model(tf.constant(x))))
        return tape.gradient(loss, weight)

    gradients = np.stack([gradient(fold(5, step)).numpy() for step in range(draws)])

    def expected_loss(bias):
        loc = x @ model.posterior.head.kernel.numpy() + bias
        residual = np.sum((x - MEAN - loc @ W.T) ** 2, axis=1) + np.sum(np.diag(W.T @ W) / PRECISION)
        kl = 0.5 * np.sum(1 / PRECISION + loc**2 - 1 + np.log(PRECISION), axis=-1)
        return np.mean(0.5 * residual / VARIANCE + 0.7 * kl)

    bias, step = weight.numpy().astype(np.float64), 1e-5
    slope = [(expected_loss(bias + step * e) - expected_loss(bias - step * e)) / (2 * step) for e in np.eye(LATENT)]
    error = gradients.std(axis=0, ddof=1) / np.sqrt(draws)
    assert np.all(error > 0)
    assert np.all(np.abs(gradients.mean(axis=0) - slope) < 3 * error)


def test_a_linear_vae_reaches_the_closed_form_maximum_likelihood():
    """Probabilistic PCA: the optimum of the linear VAE is the maximum of the likelihood (Lucas et al. 2019)."""
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(1000, LATENT)) @ W.T + MEAN + np.sqrt(VARIANCE) * rng.normal(size=(1000, SIZE))).astype(
        "float32"
    )
    maximum = kv.ProbabilisticPCA(LATENT).fit(x, verbose=0).history["log_likelihood"][-1]

    model = kv.VAE(kv.Normal(LATENT), kv.LearnedScaleNormal(SIZE), kv.StandardNormal(LATENT))
    schedule = keras.optimizers.schedules.CosineDecay(2e-2, 100 * 10)
    model.compile(keras.optimizers.Adam(schedule), kv.ELBO(), steps_per_execution=10)
    model.fit(x, epochs=100, batch_size=100, verbose=0)
    kernel, bias = (weight.numpy().astype(np.float64) for weight in model.likelihood.head.weights)
    scale = float(model.decode(np.zeros((1, LATENT), "float32")).stddev()[0, 0])
    learned = scipy.stats.multivariate_normal(bias, kernel.T @ kernel + scale**2 * np.eye(SIZE)).logpdf(x).mean()
    assert learned <= maximum + 1e-6
    assert learned == pytest.approx(maximum, rel=0.005)
    estimate = kv.evaluation.log_likelihood(model, x, samples=200, verbose=0)
    assert estimate.mean == pytest.approx(learned, abs=0.02)


@pytest.mark.parametrize(
    ("layer", "reference"),
    [
        (kv.Normal(4, min_scale=0.1), lambda p: scipy.stats.norm(p[..., 0], 0.1 + np.log1p(np.exp(p[..., 1])))),
        (kv.FixedScaleNormal(4, scale=0.5), lambda p: scipy.stats.norm(p[..., 0], 0.5)),
        (kv.LearnedScaleNormal(4, initial_scale=0.5), lambda p: scipy.stats.norm(p[..., 0], 0.5)),
        (kv.Bernoulli(4), lambda p: scipy.stats.bernoulli(1 / (1 + np.exp(-p[..., 0])))),
    ],
    ids=["Normal", "FixedScaleNormal", "LearnedScaleNormal", "Bernoulli"],
)
def test_densities_equal_scipy(layer, reference):
    layer.build((None, 1))
    params = RNG.normal(size=(3, 4, layer.params_per_value)).astype("float32")
    x = RNG.integers(0, 2, (3, 4)).astype("float32") if layer.discrete else RNG.normal(size=(3, 4)).astype("float32")
    distribution = layer.distribution(tf.constant(params))
    expected = reference(params.astype(np.float64))
    log_prob = expected.logpmf(x) if layer.discrete else expected.logpdf(x)
    np.testing.assert_allclose(distribution.log_prob(x), log_prob.sum(axis=-1), rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(distribution.mean(), expected.mean(), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(distribution.stddev(), expected.std(), rtol=2e-5, atol=1e-6)


def test_binary_cross_entropy_is_the_expected_log_likelihood_of_draws():
    layer = kv.Bernoulli(3)
    layer.build((None, 1))
    params, grey = tf.constant([[[0.3], [-2.0], [1.0]]]), np.array([[0.2, 0.5, 0.9]], "float32")
    states = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T.astype("float32")  # all 8
    probabilities = np.prod(np.where(states == 1, grey, 1 - grey), axis=1)
    expected = np.sum(probabilities * layer.distribution(params).log_prob(states))
    np.testing.assert_allclose(layer.distribution(params).log_prob(grey), [expected], rtol=1e-5)


def test_baseline_equals_scipy():
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, 2, (50, 3)).astype("float32"), rng.integers(0, 2, (20, 3)).astype("float32")
    p = (train.sum(axis=0) + 1) / 52
    got = kv.evaluation.independent_values([train[:30], train[30:]], [test], kv.Bernoulli)
    np.testing.assert_allclose(got, scipy.stats.bernoulli(p).logpmf(test).sum(axis=1), rtol=1e-6)
    train, test = rng.normal(size=(50, 3)), rng.normal(size=(20, 3))
    with pytest.raises(TypeError, match=r"independent_values needs a likelihood of binary .* Received: Poisson"):
        kv.evaluation.independent_values([train], [test], kv.Poisson)
    got = kv.evaluation.independent_values([train], [test[:5], test[5:]], kv.Normal)
    expected = scipy.stats.norm(train.mean(axis=0), train.std(axis=0)).logpdf(test).sum(axis=1)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_words_of_its_authors(key, counter, words):
    """Known answers of the Random123 library (threefry2x32, 20 rounds)."""
    result = threefry(*(tf.unstack(tf.constant(pair, tf.uint32)) for pair in (key, counter)))
    assert tuple(int(word) for word in result) == words


def test_standard_normal_has_that_distribution():
    draws = standard_normal([500, 200], fold(3)).numpy()
    assert scipy.stats.kstest(draws.ravel(), "norm").pvalue > 1e-3
    assert abs(draws.mean()) < 3 / np.sqrt(1e5)
    assert abs(draws.var() - 1) < 3 * np.sqrt(2 / 1e5)
    correlation = np.corrcoef(draws.ravel()[:-1], draws.ravel()[1:])[0, 1]
    assert abs(correlation) < 3 / np.sqrt(1e5)
    other = standard_normal([500, 200], fold(4)).numpy()
    assert abs(np.corrcoef(draws.ravel(), other.ravel())[0, 1]) < 3 / np.sqrt(1e5)
    compiled = tf.function(standard_normal, jit_compile=True)([500, 200], fold(3))
    np.testing.assert_allclose(compiled, draws, rtol=1e-5, atol=1e-6)


def test_softplus_against_numpy_in_double_precision():
    x = np.concatenate([np.linspace(-80, 80, 10_001), np.logspace(-8, 1, 100), -np.logspace(-8, 1, 100)]).astype("f4")
    expected = np.logaddexp(0, x.astype("f8"))
    np.testing.assert_allclose(softplus(tf.constant(x)), expected, rtol=4e-7)
    with tf.GradientTape() as tape:
        points = tf.constant([-80.0, -3.0, 0.0, 3.0, 80.0])
        tape.watch(points)
        total = tf.reduce_sum(softplus(points))
    np.testing.assert_allclose(tape.gradient(total, points), scipy.special.expit([-80, -3, 0, 3, 80]), rtol=1e-6)


def test_fold_gives_other_seeds_and_all_bits_change():
    seeds = [tuple(fold(seed, number).numpy()) for seed in range(-3, 30) for number in range(-3, 30)]
    assert len(set(seeds)) == len(seeds)
    bits = np.unpackbits(np.array(seeds, "int32").view("uint8").reshape(len(seeds), 8), axis=1)
    changed = (bits[1:] != bits[:-1]).mean(axis=0)  # of each of the 64 bits, when the number goes up by one
    assert np.all(np.abs(changed - 0.5) < 5 * 0.5 / np.sqrt(len(seeds)))
    compiled = tf.function(fold, jit_compile=True)(tf.constant([5, 6]), tf.constant(7))
    np.testing.assert_array_equal(compiled, fold(tf.constant([5, 6]), 7))


class FarNormal(kv.DistributionLayer):
    """N(value | params, 1), and a constant that takes the log-density far from 0, as thousands of values would."""

    def __init__(self, event_shape, offset, **kwargs):
        super().__init__(event_shape, **kwargs)
        self.offset = offset

    def distribution(self, params):
        values = tfd.Independent(tfd.Normal(params[..., 0], 1.0), 1)
        offset = self.offset

        class Far(type(values)):
            def _log_prob(self, value):
                return super()._log_prob(value) + offset

        return Far(values.distribution, 1)


def far_vae(offset):
    """A model whose posterior is wrong, so that the weights of draws differ, and whose log p(x) is `offset` off."""
    model = kv.VAE(kv.FixedScaleNormal(1), FarNormal(3, offset), kv.StandardNormal(1))
    model.build((None, 3))
    model.posterior.head.set_weights([np.full((3, 1), 0.2), np.zeros(1)])
    model.likelihood.head.set_weights([np.ones((1, 3)), np.zeros(3)])
    return model


@pytest.mark.parametrize(
    ("offset", "jit_compile"),
    usual_first([(0.0, True), (-8000.0, True), (1500.0, True), (-8000.0, False)], (0.0, True), (-8000.0, True)),
)
def test_importance_weights_of_one_draw_at_a_time_equal_float64(offset, jit_compile):
    """20,000 chunks of one draw: against the sums of the same log weights in double precision."""
    x, draws = tf.constant([[0.3, -0.2, 1.0], [2.0, 1.5, 1.0]]), 20_000
    model = far_vae(offset)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def estimate(x):
        return model.importance_weights(x, draws, seed=3, rows=1)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def log_weights(x):
        def one(number):
            with sampling(1, fold(fold(3), number)):
                return model.tracer(x)().log_weight[0]

        return tf.map_fn(one, tf.range(draws), fn_output_signature=tf.float32)

    each = log_weights(x).numpy().astype(np.float64)  # [draws, 2]
    values, effective = estimate(x)
    largest = each.max(axis=0)
    weights = np.exp(each - largest)
    ulp = np.spacing(np.float32(max(abs(offset), 1.0)))
    np.testing.assert_allclose(values, largest + np.log(weights.mean(axis=0)), atol=2 * ulp + 2e-6)
    np.testing.assert_allclose(effective, weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0), rtol=1e-4)
    assert np.all(effective <= draws)
