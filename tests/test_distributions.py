"""Every distribution against SciPy, brute force, its own draws and finite sums and integrals."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import keras_vae as kv
from keras_vae.distributions.special import softplus as bernoulli_softplus
from keras_vae.distributions.sphere import log_beta_draws
from keras_vae.noise import fold
from keras_vae.sampling import StoppedPath, sampling
from keras_vae.trace import Latent, draw_from, stopped

tfd = tfp.distributions
RNG = np.random.default_rng(0)
ROWS, SIZE, DRAWS = 6, 3, 100_000


def softplus(x):
    return np.logaddexp(0, x)


def params_of(layer, rows=ROWS) -> np.ndarray:
    """Random parameters of a few distributions."""
    return RNG.normal(size=(rows, *layer.params_shape)).astype("float32")


def zero_inflated(x, p):
    mean, count, zero = np.exp(p[..., 0]), np.exp(p[..., 1]), scipy.special.expit(p[..., 2])
    mass = scipy.stats.nbinom(count, count / (count + mean)).pmf(x)
    return np.log((x == 0) * zero + (1 - zero) * mass)


def continuous_bernoulli(x, p):
    """Its constant by numerical integration."""
    grid = np.linspace(0, 1, 20_001)
    probability = scipy.special.expit(p[..., 0, None].astype(np.float64))
    constant = np.trapezoid(probability**grid * (1 - probability) ** (1 - grid), grid, axis=-1)
    probability = probability[..., 0]
    return x * np.log(probability) + (1 - x) * np.log1p(-probability) - np.log(constant)


def relaxed_bernoulli(y, p):
    """The logistic density of the logit of y, times the derivative of the logit."""
    noise = scipy.special.logit(y) * 0.5 - p[..., 0]
    return scipy.stats.logistic.logpdf(noise) + np.log(0.5) - np.log(y) - np.log1p(-y)


# layer, log density or mass of single values by SciPy or brute force, values
INDEPENDENT = {
    "Laplace": (
        kv.Laplace(SIZE),
        lambda x, p: scipy.stats.laplace(p[..., 0], 1e-3 + softplus(p[..., 1])).logpdf(x),
        RNG.normal(size=(ROWS, SIZE)),
    ),
    "StudentT": (
        kv.StudentT(SIZE),
        lambda x, p: scipy.stats.t(2 + softplus(p[..., 2]), p[..., 0], 1e-3 + softplus(p[..., 1])).logpdf(x),
        RNG.normal(size=(ROWS, SIZE)) * 3,
    ),
    "LogNormal": (
        kv.LogNormal(SIZE),
        lambda x, p: scipy.stats.lognorm(1e-3 + softplus(p[..., 1]), scale=np.exp(p[..., 0])).logpdf(x),
        RNG.gamma(2.0, size=(ROWS, SIZE)),
    ),
    "ContinuousBernoulli": (kv.ContinuousBernoulli(SIZE), continuous_bernoulli, RNG.random((ROWS, SIZE))),
    "Poisson": (
        kv.Poisson(SIZE),
        lambda x, p: scipy.stats.poisson(np.exp(p[..., 0])).logpmf(x),
        RNG.poisson(2.0, (ROWS, SIZE)),
    ),
    "NegativeBinomial": (
        kv.NegativeBinomial(SIZE),
        lambda x, p: scipy.stats.nbinom(np.exp(p[..., 1]), 1 / (1 + np.exp(p[..., 0] - p[..., 1]))).logpmf(x),
        RNG.poisson(2.0, (ROWS, SIZE)),
    ),
    "ZeroInflatedNegativeBinomial": (
        kv.ZeroInflatedNegativeBinomial(SIZE),
        zero_inflated,
        RNG.poisson(1.0, (ROWS, SIZE)),
    ),
    "Categorical": (
        kv.Categorical(SIZE, levels=4),
        lambda x, p: np.take_along_axis(p - scipy.special.logsumexp(p, -1, keepdims=True), x[..., None], -1)[..., 0],
        RNG.integers(0, 4, (ROWS, SIZE)),
    ),
    "RelaxedBernoulli": (kv.RelaxedBernoulli(SIZE, temperature=0.5), relaxed_bernoulli, RNG.random((ROWS, SIZE))),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_log_prob_of_independent_values(name):
    layer, reference, values = INDEPENDENT[name]
    layer.build(None)  # for the weights that some have beside the parameters
    params = params_of(layer)
    expected = reference(values, params.astype(np.float64)).sum(axis=-1)
    distribution = layer.distribution(tf.constant(params))
    assert distribution.batch_shape == (ROWS,)
    assert distribution.event_shape == (SIZE,)
    np.testing.assert_allclose(distribution.log_prob(values.astype("float32")), expected, rtol=2e-5, atol=2e-5)
    layer.check_values(values.astype("float32"))


def test_softplus_and_its_gradient_are_exact_to_the_rounding_of_float32():
    x = np.linspace(-80, 80, 100_001).astype("float32")
    with tf.GradientTape() as tape:
        tape.watch(tensor := tf.constant(x))
        value = bernoulli_softplus(tensor)
    exact = softplus(x.astype(np.float64))
    np.testing.assert_allclose(value, exact, rtol=5e-7)
    np.testing.assert_allclose(tape.gradient(value, tensor), scipy.special.expit(x.astype(np.float64)), rtol=5e-6)


MOMENTS = {
    **{name: layer for name, (layer, _, _) in INDEPENDENT.items() if name != "RelaxedBernoulli"},
    "DiscretizedLogistic": kv.DiscretizedLogistic(SIZE, levels=7),
    "DiscretizedLogistic, mixture": kv.DiscretizedLogistic(SIZE, components=3, levels=16, low=-2.0, high=5.0),
    "FullCovarianceNormal": kv.FullCovarianceNormal(SIZE),
    "LowRankNormal": kv.LowRankNormal(SIZE),
    "NormalMixture": kv.NormalMixture(SIZE, components=4),
    "OneHotCategorical": kv.OneHotCategorical((2, 3)),
    "PowerSpherical": kv.PowerSpherical(SIZE),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_of_draws(name):
    """Mean and variance as stated, within 5 standard errors of 100,000 draws."""
    layer = MOMENTS[name]
    params = params_of(layer, rows=2)
    if name == "StudentT":
        params[..., 2] = 8  # fourth moments that exist
    if name in ("LogNormal", "NegativeBinomial", "ZeroInflatedNegativeBinomial"):
        params *= 0.3  # tails that 100,000 draws have seen
    distribution = layer.distribution(tf.constant(params))
    draws = distribution.sample(DRAWS, seed=fold(3)).numpy().astype(np.float64)
    assert draws.shape == (DRAWS, 2, *layer.event_shape)
    layer.check_values(draws[:, 0].astype("float32"))
    mean, variance = distribution.mean().numpy(), distribution.stddev().numpy() ** 2
    deviations = draws - draws.mean(axis=0)
    assert np.all(np.abs(draws.mean(axis=0) - mean) <= 5 * np.sqrt(variance / DRAWS) + 1e-6)
    error = np.sqrt(((deviations**2 - draws.var(axis=0)) ** 2).mean(axis=0) / DRAWS)
    assert np.all(np.abs(draws.var(axis=0) - variance) <= 5 * error + 1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        kv.DiscretizedLogistic(1),
        kv.DiscretizedLogistic(1, components=5, levels=8, low=-1.0, high=3.0),
        kv.Categorical(1, levels=9),
    ],
)
def test_masses_sum_to_one(layer):
    params = 3 * params_of(layer)
    low, high = (layer.low, layer.high) if hasattr(layer, "low") else (0, layer.levels - 1)
    grid = np.linspace(low, high, layer.levels, dtype="float32")[:, None, None]  # [levels, 1, 1]
    layer.check_values(grid[:, 0])
    mass = np.exp(layer.distribution(tf.constant(params)).log_prob(np.repeat(grid, ROWS, axis=1)).numpy())
    np.testing.assert_allclose(mass.sum(axis=0), 1, atol=1e-5)


def test_discretized_logistic_against_differences_of_the_distribution_function():
    layer = kv.DiscretizedLogistic(1, levels=256)
    params = params_of(layer)
    grid = np.linspace(0, 1, 256)
    loc, scale = 0.5 + 0.5 * params[..., 0], 0.125 * np.exp(params[..., 1].astype(np.float64))
    below = np.where(grid > 0, scipy.special.expit((grid - 0.5 / 255 - loc) / scale), 0)
    above = np.where(grid < 1, scipy.special.expit((grid + 0.5 / 255 - loc) / scale), 1)
    values = np.repeat(grid[:, None, None], ROWS, axis=1).astype("float32")
    got = layer.distribution(tf.constant(params)).log_prob(values).numpy()  # [levels, rows]
    mass = (above - below).T
    seen = mass > 1e-9  # what is left of the digits of a difference
    assert seen.mean() > 0.5
    np.testing.assert_allclose(got[seen], np.log(mass[seen]), rtol=1e-4, atol=1e-4)


def test_discretized_logistic_in_far_tails_has_finite_masses_and_gradients():
    params = tf.constant([[[0.9, -8.0]], [[-50.0, -3.0]]])
    layer = kv.DiscretizedLogistic(1)
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_prob = layer.distribution(params).log_prob(tf.zeros([2, 1]))
    assert np.isfinite(log_prob).all()
    assert log_prob[0] < -500
    assert np.isfinite(tape.gradient(log_prob, params)).all()


def covariance(layer, params) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance by the definitions of the two correlated normals, in float64."""
    params = params.astype(np.float64)
    if isinstance(layer, kv.LowRankNormal):
        scale, direction = 1e-3 + softplus(params[..., 1]), params[..., 2]
        precision = np.eye(SIZE) / scale[..., None] ** 2 + direction[..., None] * direction[..., None, :]
        return params[..., 0], np.linalg.inv(precision)
    triangle = tfp.math.fill_triangular(params[..., SIZE:]).numpy()
    diagonal = np.arange(SIZE)
    triangle[..., diagonal, diagonal] = 1e-3 + softplus(triangle[..., diagonal, diagonal])
    return params[..., :SIZE], triangle @ np.swapaxes(triangle, -1, -2)


@pytest.mark.parametrize("layer", [kv.FullCovarianceNormal(SIZE), kv.LowRankNormal(SIZE)])
def test_correlated_normals(layer):
    """R R' = C, log_prob against SciPy, the KL against its closed form by dense matrices and against Monte Carlo."""
    params = params_of(layer)
    mean, matrix = covariance(layer, params)
    distribution = layer.distribution(tf.constant(params))
    columns = [distribution.color(tf.constant(np.tile(unit, (ROWS, 1)), tf.float32)) for unit in np.eye(SIZE)]
    root = np.stack(columns, axis=-1).astype(np.float64)  # [rows, size, size]
    np.testing.assert_allclose(root @ np.swapaxes(root, -1, -2), matrix, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(distribution.covariance(), matrix, rtol=1e-5, atol=1e-5)
    values = RNG.normal(size=(2, ROWS, SIZE)).astype("float32")
    expected = [
        [scipy.stats.multivariate_normal(mean[row], matrix[row]).logpdf(value[row]) for row in range(ROWS)]
        for value in values
    ]
    np.testing.assert_allclose(distribution.log_prob(values), expected, rtol=1e-4, atol=1e-4)
    prior = kv.Normal(SIZE)
    prior_params = params_of(prior, rows=1)[0]
    loc, scale = prior_params[:, 0], 1e-3 + softplus(prior_params[:, 1].astype(np.float64))
    kl = 0.5 * (
        np.sum(np.diagonal(matrix, axis1=-2, axis2=-1) / scale**2 + ((mean - loc) / scale) ** 2, axis=-1)
        - SIZE
        + 2 * np.log(scale).sum()
        - np.linalg.slogdet(matrix)[1]
    )
    prior = prior.distribution(tf.constant(prior_params))
    np.testing.assert_allclose(distribution.kl_divergence(prior), kl, rtol=1e-4, atol=1e-5)
    assert_kl_is_mean_of_draws(distribution, prior)


def assert_kl_is_mean_of_draws(posterior, prior):
    draws = posterior.sample(DRAWS, seed=fold(5))
    ratio = (posterior.log_prob(draws) - prior.log_prob(draws)).numpy().astype(np.float64)
    error = ratio.std(axis=0) / math.sqrt(DRAWS)
    assert np.all(np.abs(ratio.mean(axis=0) - posterior.kl_divergence(prior)) <= 4 * error + 1e-5)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        (kv.Normal(SIZE), kv.StandardNormal(SIZE)),
        (kv.Bernoulli(SIZE), kv.Bernoulli(SIZE)),
        (kv.OneHotCategorical((2, 3)), kv.OneHotCategorical((2, 3))),
        (kv.PowerSpherical(SIZE), kv.SphericalUniform(SIZE)),
        (kv.Laplace(SIZE), kv.Laplace(SIZE)),
    ],
)
def test_kl_is_the_mean_of_draws(posterior, prior):
    prior.build(None)
    assert_kl_is_mean_of_draws(posterior.distribution(tf.constant(params_of(posterior))), prior())


@pytest.mark.parametrize("size", [2, 3, 8])
def test_sphere(size):
    layer = kv.PowerSpherical(size)
    distribution = layer.distribution(tf.constant(params_of(layer)))
    direction, concentration = distribution.mean_direction.numpy(), distribution.concentration.numpy()
    # Against the uniform distribution, whose density is one over the area of the sphere.
    draws = kv.SphericalUniform(size)().sample(DRAWS, seed=fold(2))
    np.testing.assert_allclose(np.linalg.norm(draws, axis=-1), 1, atol=1e-5)
    area = 2 * math.pi ** (size / 2) / math.gamma(size / 2)
    np.testing.assert_allclose(kv.SphericalUniform(size)().log_prob(draws[:5]), -math.log(area), rtol=1e-5)
    density = np.exp(distribution.log_prob(draws[:, None]).numpy().astype(np.float64)) * area
    assert np.all(np.abs(density.mean(axis=0) - 1) <= 5 * density.std(axis=0) / math.sqrt(DRAWS))
    shape = np.maximum(1 + draws.numpy() @ direction.T, 0) ** concentration
    np.testing.assert_allclose(density / density.max(axis=0), shape / shape.max(axis=0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("a", "twice_b"), [(1.5, 1), (2.5, 2), (30.0, 3), (6.0, 8), (50.0, 9)])
def test_beta_draws_and_their_gradient_are_exact(a, twice_b):
    a = tf.constant(a)
    with tf.GradientTape() as tape:
        tape.watch(a)
        log_draws = log_beta_draws(a, twice_b, tf.constant([DRAWS]), fold(5))
        mean = tf.reduce_mean(log_draws)
    assert scipy.stats.kstest(np.exp(log_draws), scipy.stats.beta(a.numpy(), twice_b / 2).cdf).pvalue > 1e-3
    # d E[log b] / da = psi'(a) - psi'(a + b)
    exact = scipy.special.polygamma(1, a.numpy()) - scipy.special.polygamma(1, a.numpy() + twice_b / 2)
    np.testing.assert_allclose(tape.gradient(mean, a), exact, rtol=0.03)


def test_moments_of_sphere_draws_have_the_gradients_of_the_exact_ones():
    layer, params = kv.PowerSpherical(3), tf.constant([0.5, -1.0, 0.7, 0.3])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(params)
        distribution = layer.distribution(params)
        draws = distribution.sample(DRAWS, seed=fold(1))
        first, second = tf.reduce_mean(draws, axis=0), tf.reduce_mean(draws**2, axis=0)
        mean = distribution.mean()
        square = distribution.variance() + mean**2
    for drawn, exact in ((first, mean), (second, square)):
        np.testing.assert_allclose(tape.jacobian(drawn, params), tape.jacobian(exact, params), atol=4e-3)


def test_sphere_draws_do_not_depend_on_how_they_are_compiled():
    layer = kv.PowerSpherical(4)
    params = tf.constant(params_of(layer))

    def draw():
        return layer.distribution(params).sample(1000, seed=fold(1))

    compiled = tf.function(draw, jit_compile=True)()
    np.testing.assert_allclose(draw(), tf.function(draw)(), atol=2e-6)
    np.testing.assert_allclose(draw(), compiled, atol=2e-6)


def test_relaxed_one_hot_integrates_to_one_and_has_the_categories_as_its_largest():
    layer = kv.RelaxedOneHotCategorical(3, temperature=2.5)  # a density without poles in the corners
    layer.build(None)
    params = params_of(layer, rows=1)
    relaxed = layer.distribution(tf.constant(params))
    grid = (np.arange(400) + 0.5) / 400
    first, second = np.meshgrid(grid, grid)
    inside = first + second < 1 - 1e-6
    points = np.stack([first[inside], second[inside], 1 - first[inside] - second[inside]], axis=-1)
    density = np.exp(relaxed.log_prob(points[:, None].astype("float32")).numpy())
    assert abs(density.sum() / 400**2 - 1) < 0.01  # the midpoint rule, without the half cells of one edge
    draws = relaxed.sample(DRAWS, seed=fold(1)).numpy()
    np.testing.assert_allclose(draws.sum(axis=-1), 1, atol=1e-4)
    frequencies = np.bincount(draws[:, 0].argmax(axis=-1), minlength=3) / DRAWS
    probabilities = scipy.special.softmax(params[0, :, 0])
    assert np.all(np.abs(frequencies - probabilities) <= 5 * np.sqrt(probabilities * (1 - probabilities) / DRAWS))


def test_relaxed_draws_are_ones_with_the_probability_of_the_bernoulli():
    layer = kv.RelaxedBernoulli(SIZE, temperature=0.3)
    layer.build(None)
    params = 4 * params_of(layer)
    relaxed = layer.distribution(tf.constant(params))
    draws = relaxed.sample(DRAWS, seed=fold(1))
    p = scipy.special.expit(params[..., 0].astype(np.float64))
    assert np.all(np.abs((draws.numpy() > 0.5).mean(axis=0) - p) <= 5 * np.sqrt(p * (1 - p) / DRAWS) + 1e-9)
    assert np.isfinite(relaxed.log_prob(draws)).all()


@pytest.mark.parametrize("logit", [-10.0, -6.0, 2.0, 10.0])
@pytest.mark.parametrize("temperature", [0.2, 0.5])
def test_relaxed_draws_that_float32_rounds_have_their_exact_densities(temperature, logit):
    """KL to a prior of logit 0, and its gradient, against an integral over the log-odds."""

    def log_density(odds, logit):
        a = logit - temperature * odds
        return np.log(temperature) + a - 2 * np.logaddexp(0, a)

    def exact(logit):
        odds = np.linspace((logit - 60) / temperature, (logit + 60) / temperature, 400_001)
        log_q = log_density(odds, logit)
        return np.trapezoid(np.exp(log_q) * (log_q - log_density(odds, 0.0)), odds)

    layer = kv.RelaxedBernoulli(1, temperature=temperature)
    layer.build(None)
    variable = tf.Variable(logit)
    with tf.GradientTape() as tape:
        posterior = layer.distribution(tf.reshape(variable, [1, 1, 1]))
        drawn = draw_from(posterior, [DRAWS], fold(1))
        kl = Latent(drawn.value, posterior, layer(), drawn=drawn).kl[:, 0]
        mean = tf.reduce_mean(kl)
    if logit == 10.0:
        assert (drawn.value.numpy() == 1).mean() > 0.2, "rounded"
    assert abs(float(mean) - exact(logit)) < 4 * np.std(kl) / np.sqrt(DRAWS) + 1e-4
    slope = (exact(logit + 1e-3) - exact(logit - 1e-3)) / 2e-3
    assert float(tape.gradient(mean, variable)) == pytest.approx(slope, abs=0.01)


def test_relaxed_one_hot_draws_keep_the_logarithms_of_their_values():
    """The mean log-ratio of two such variables, in float64 from the same noise distribution."""
    logits, temperature = np.array([10.0, 0.0, 0.0, -5.0]), 0.1  # values down to e^-150, which float32 rounds to 0
    gumbel = np.random.default_rng(0).gumbel(size=(DRAWS, 4))
    log_value = scipy.special.log_softmax((logits + gumbel) / temperature, axis=-1)

    def log_density(logits):  # but for what cancels
        a = logits - temperature * log_value
        return a.sum(axis=-1) - 4 * scipy.special.logsumexp(a, axis=-1)

    expected = log_density(logits) - log_density(np.zeros(4))
    layer = kv.RelaxedOneHotCategorical(4, temperature=temperature)
    layer.build(None)
    posterior = layer.distribution(tf.constant(logits.reshape(1, 1, 4, 1), tf.float32))
    drawn = draw_from(posterior, [DRAWS], fold(1))
    kl = Latent(drawn.value, posterior, layer(), drawn=drawn).kl.numpy()
    error = np.hypot(np.std(expected), np.std(kl)) / np.sqrt(DRAWS)
    assert abs(kl.mean() - expected.mean()) < 4 * error


def test_relaxed_draws_keep_their_logits_on_the_path_of_an_objective():
    model = kv.VAE(kv.RelaxedBernoulli(1, temperature=0.2), kv.Bernoulli(2), kv.RelaxedBernoulli(1, temperature=0.2))
    model.build((None, 2))
    model.posterior.head.bias.assign([10.0])
    figures = []
    for path in (None, StoppedPath):
        with sampling(1000, fold(1), path):
            figures.append(model(np.zeros([1, 2], "float32")).kl.numpy())
    np.testing.assert_array_equal(*figures)


@pytest.mark.parametrize("layer", [kv.FullCovarianceNormal(40), kv.LowRankNormal(40)])
def test_draws_of_nearly_singular_normals_have_the_right_density(layer):
    """The mean of log q at draws is -entropy, whose error is known: by R^-1 of such an R, it would be anything."""
    if isinstance(layer, kv.LowRankNormal):
        params = np.tile([[0.0, 0.0, 1e4]], (1, 40, 1))
    else:
        params = np.concatenate([np.zeros(40), np.full(40 * 41 // 2, -1.0)])[None]  # R^-1 grows by 4 in each row
    distribution = layer.distribution(tf.constant(params, tf.float32))
    drawn = draw_from(distribution, [1000], fold(3))
    latent = Latent(drawn.value, distribution, distribution, drawn=drawn)
    entropy = 20 * (1 + math.log(2 * math.pi)) + 0.5 * distribution.log_det_covariance().numpy()
    np.testing.assert_allclose(np.mean(latent.log_posterior, axis=0), -entropy, atol=4 * math.sqrt(20 / 1000))
    np.testing.assert_array_equal(drawn.value, distribution.sample(1000, seed=fold(3)))


@pytest.mark.parametrize("layer", [kv.FullCovarianceNormal(SIZE), kv.LowRankNormal(SIZE)])
def test_the_path_of_a_correlated_draw(layer):
    """Density and gradient along the path from the noise are those of the density at the value."""
    params = tf.constant(params_of(layer))
    gradients, values = [], []
    for with_slope in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(params)
            distribution = layer.distribution(params)
            drawn = draw_from(distribution, [3], fold(5))
            prior = tfp.distributions.MultivariateNormalDiag(tf.zeros(SIZE))
            latent = Latent(drawn.value, distribution, prior, drawn=drawn if with_slope else None)
            ratio = latent.log_ratio_along_path
        values.append(ratio)
        gradients.append(tape.gradient(ratio, params))
    np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-3)


def test_variance_along_the_one_direction_of_a_low_rank_normal():
    """Where u is all there is, the variance is what the sum of all squares rounds away: 1 / (1 / d + u u')."""
    layer = kv.LowRankNormal(1)
    for u in (1e2, 1e4):
        normal = layer.distribution(tf.constant([[[0.0, 0.0, u]]]))
        scale, variance, covariance = (
            value.numpy().item() for value in (normal.scale, normal.variance(), normal.covariance())
        )
        assert variance == pytest.approx(1 / (1 / scale**2 + u**2), rel=1e-4)
        assert covariance == variance


def test_mixture_density_and_the_posterior_in_a_vamp_prior():
    layer = kv.NormalMixture(SIZE, components=4)
    params = params_of(layer)
    logits, loc, raw = np.split(params.astype(np.float64), [1, 1 + SIZE], axis=-1)
    values = RNG.normal(size=(ROWS, SIZE))
    parts = scipy.stats.norm(loc, 1e-3 + softplus(raw)).logpdf(values[:, None]).sum(axis=-1)
    expected = scipy.special.logsumexp(parts + scipy.special.log_softmax(logits[..., 0], axis=-1), axis=-1)
    got = layer.distribution(tf.constant(params)).log_prob(values.astype("float32"))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)

    prior = kv.VampPrior(2, components=3)
    vae = kv.VAE(kv.Normal(2, kv.dense_encoder(5, [4])), kv.Bernoulli(5, kv.dense_decoder(2, [4])), prior)
    vae.build((None, 5))
    inputs = RNG.random((3, 5)).astype("float32")
    prior.set_pseudo_inputs(inputs)
    z = RNG.normal(size=(7, 2)).astype("float32")
    components = vae.encode(inputs).log_prob(z[:, None]).numpy()  # [7, 3]
    np.testing.assert_allclose(prior().log_prob(z), scipy.special.logsumexp(components, axis=-1) - np.log(3), rtol=1e-5)
    with pytest.raises(ValueError, match=r"VampPrior.* needs pseudo-inputs of shape \(3, 5\). Received: \(2, 5\)"):
        prior.set_pseudo_inputs(inputs[:2])
    with pytest.raises(ValueError, match=r"VampPrior.* needs a model with a posterior"):
        kv.VampPrior(2).build(None)


def test_the_best_scale_is_that_of_the_batch_in_training_and_its_average_afterwards():
    layer = kv.OptimalScaleNormal(SIZE, momentum=0.9)
    layer.build((None, SIZE))
    kernel = layer.head.get_weights()[0]
    mean_squares, x = [], RNG.normal(size=(3, ROWS, SIZE)).astype("float32")
    for batch in x:
        values = (3 * batch + 1).astype("float32")
        log_prob = layer(batch, training=True).log_prob(values).numpy()
        squares = (values - batch @ kernel) ** 2
        found = scipy.optimize.minimize_scalar(
            lambda scale, values=values, at=batch @ kernel: -scipy.stats.norm(at, scale).logpdf(values).sum(),
            bounds=(0.5, 8),
            method="bounded",
        )
        assert log_prob.sum() == pytest.approx(-found.fun, rel=1e-5)
        mean_squares.append(squares.mean())
    np.testing.assert_allclose(layer.variance.numpy(), np.mean(mean_squares), rtol=1e-5)  # the first ones count alike
    expected = scipy.stats.norm(x[0] @ kernel, np.sqrt(np.mean(mean_squares))).logpdf(x[0]).sum(axis=-1)
    for _ in range(2):  # a density does not change by being asked
        np.testing.assert_allclose(layer(x[0]).log_prob(x[0]), expected, rtol=1e-4)


def test_fit_keeps_the_best_scale():
    x = RNG.normal(size=(64, 4)).astype("float32") * 3
    vae = kv.VAE(kv.Normal(1, kv.dense_encoder(4, [4])), kv.OptimalScaleNormal(4, momentum=0.5), kv.StandardNormal(1))
    vae.compile("adam", kv.ELBO(), run_eagerly=True)
    vae.fit(x, epochs=3, batch_size=16, verbose=0)
    assert int(vae.likelihood.updates) == 12
    assert 4 < float(vae.likelihood.variance) < 14  # the data's is 9
    before = float(vae.likelihood.variance)
    vae.evaluate(x, verbose=0)
    vae.predict(x, verbose=0)
    assert float(vae.likelihood.variance) == before


def test_a_stopped_distribution_passes_gradient_to_the_value_only():
    for layer in (kv.Normal(SIZE), kv.LowRankNormal(SIZE), kv.FullCovarianceNormal(SIZE), kv.PowerSpherical(SIZE)):
        params, value = tf.constant(params_of(layer)), tf.constant(params_of(kv.Bernoulli(SIZE))[..., 0])
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([params, value])
            distribution = layer.distribution(params)
            stopped_log_prob, log_prob = stopped(distribution).log_prob(value), distribution.log_prob(value)
        np.testing.assert_array_equal(stopped_log_prob, log_prob)
        assert tape.gradient(stopped_log_prob, params) is None
        np.testing.assert_allclose(tape.gradient(stopped_log_prob, value), tape.gradient(log_prob, value))


BAD = [
    (lambda: kv.LogNormal(2).check_values(np.array([[1.0, 0.0]])), "LogNormal.* that are positive.*from 0.0"),
    (lambda: kv.ContinuousBernoulli(1).check_values(np.array([[1.5]])), r"ContinuousBernoulli.* in \[0, 1\]"),
    (lambda: kv.Poisson(1).check_values(np.array([[0.5]])), "Poisson.* counts.* such as 0.5"),
    (lambda: kv.Poisson(1).check_values(np.array([[-1]])), "Poisson.* counts.* such as -1"),
    (lambda: kv.Categorical(1, levels=3).check_values(np.array([[3]])), "Categorical.* 0, 1, ..., 2. Received: 1 oth"),
    (lambda: kv.OneHotCategorical(3).check_values(np.array([[1, 1, 0]])), "OneHotCategorical.* a single one"),
    (lambda: kv.DiscretizedLogistic(1).check_values(np.array([[0.501]])), "DiscretizedLogistic.* a grid of 256 lev"),
    (lambda: kv.DiscretizedLogistic(1).check_values(np.array([[2.0]])), r"DiscretizedLogistic.* in \[0, 1\]"),
    (lambda: kv.PowerSpherical(2).check_values(np.array([[2.0, 0.0]])), "PowerSpherical.* of length 1"),
    (lambda: kv.PowerSpherical(1), "PowerSpherical needs a space of 2 or more dimensions"),
    (lambda: kv.FullCovarianceNormal((2, 2)), r"FullCovarianceNormal needs an event shape with one axis.*\(2, 2\)"),
    (lambda: kv.NormalMixture(2, components=1), "NormalMixture needs components .* 2 or more"),
    (lambda: kv.Categorical(2, levels=1), "Categorical needs levels .* 2 or more"),
    (lambda: kv.OptimalScaleNormal(2, momentum=1.0), "OptimalScaleNormal needs momentum .* less than 1"),
    (lambda: kv.RelaxedBernoulli(2, temperature=0.0), "RelaxedBernoulli needs temperature to be a positive number"),
    (lambda: kv.DiscretizedLogistic(2, low=1.0, high=0.0), "DiscretizedLogistic needs low < high"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message.split()[0] for _, message in BAD])
def test_bad_values_and_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


GREY = np.random.default_rng(3).uniform(size=(40, 4, 6, 1)) * np.linspace(0, 1, 6)[:, None]


@pytest.mark.parametrize(
    ("network", "axes"),
    [(kv.dense_decoder(2, [5]), 0), (kv.convolutional_decoder(2, (4, 6, 1), [3]), (0, 1, 2))],
    ids=["dense", "of a grid"],
)
def test_an_adapted_bernoulli_begins_at_the_mean_of_the_data(network, axes):
    layer = kv.Bernoulli((4, 6, 1), network)
    pairs = tf.data.Dataset.from_tensor_slices((GREY, np.zeros(40))).batch(15)
    layer.adapt(pairs)
    layer.build((None, 2))
    layer.head.kernel.assign(tf.zeros_like(layer.head.kernel))
    wanted = np.clip(np.broadcast_to(GREY.mean(axis=axes), (4, 6, 1)), 0.001, 0.999)
    np.testing.assert_allclose(layer(tf.zeros([1, 2])).mean()[0], wanted, rtol=1e-5)

    again = kv.Bernoulli.from_config(layer.get_config())
    again.build((None, 2))
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(tf.zeros([1, 2])).mean(), layer(tf.zeros([1, 2])).mean())


def test_an_adapted_bernoulli_without_a_context_has_the_mean_of_the_data():
    prior = kv.Bernoulli(3)
    prior.adapt([[0, 1, 1], [0, 1, 0], [0, 1, 1], [0, 1, 1]])
    prior.build()
    np.testing.assert_allclose(prior().mean(), [0.001, 0.999, 0.75], rtol=1e-5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((5, 2)), r"shape \(batch, 3\)"),
        (np.full((5, 3), 2.0), "Received: values"),
        (np.full((5, 3), np.nan), "Received: "),
        (np.zeros((0, 3)), "adapt needs data. Received: no examples"),
    ],
    ids=["shape", "range", "NaN", "none"],
)
def test_what_a_bernoulli_can_not_adapt_to_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        kv.Bernoulli(3).adapt(data)


def test_a_bernoulli_with_weights_is_not_adapted_again():
    layer = kv.Bernoulli(3)
    layer.build()
    with pytest.raises(ValueError, match="adapt needs a layer that has no weights yet"):
        layer.adapt(np.zeros((5, 3)))
