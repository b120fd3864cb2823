"""Every layer for raw outputs of a network up to +-1,000: finite, and the value and gradient of float64."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import usual_first
from layers import LAYERS

import keras_vae as kv
from keras_vae.noise import fold
from keras_vae.trace import Latent, at_points, draw_from

tfd = tfp.distributions
RAW = np.float32([-1e3, -100, -12, -3, 0.5, 3, 29, 100, 1e3])
ROWS = 600  # of the combinations of them, at most


def grid(layer) -> np.ndarray:
    """Raw outputs in all combinations, or many of them, shape (rows, *params_shape)."""
    size = math.prod(layer.params_shape)
    rng = np.random.default_rng(0)
    if len(RAW) ** size <= ROWS:
        rows = np.array(list(itertools.product(RAW, repeat=size)))
    else:
        rows = rng.choice(RAW, (ROWS, size))
    return rows.reshape(-1, *layer.params_shape).astype("float32")


def reached(raw, least=-math.inf):
    """The bound of logarithms, as the docstrings say it."""
    beyond = tf.abs(raw) - 30
    far = tf.sign(raw) * (30 + tf.math.log1p(tf.nn.relu(beyond)))
    return tf.where((beyond > 0) & (raw > least), far, raw)


def scale(raw):
    return 1e-3 + tf.math.softplus(raw)


def logistic_masses(x, p, layer):
    """Masses by logarithms of distribution functions, in float64."""
    if layer.components == 1:
        p = tf.concat([p, tf.zeros_like(p[..., :1])], axis=-1)
    loc, log_scale, logits = tf.split(p, 3, axis=-1)
    return tf.reduce_logsumexp(component_masses(x, loc, log_scale, layer) + tf.nn.log_softmax(logits), axis=-1)


def pixel_masses(x, p, layer):
    """The same of two channels in two components, the second of which is moved by the first."""
    red, green, *log_scales, logits, raw = tf.split(p, 6, axis=-1)  # [..., components] each
    values = [(each - (layer.high + layer.low) / 2) * 2 / (layer.high - layer.low) for each in tf.unstack(x, axis=-1)]
    locs = [red, green + tf.tanh(raw) * values[0][..., None]]
    parts = zip(tf.unstack(x, axis=-1), locs, log_scales, strict=True)
    masses = tf.add_n([component_masses(*part, layer) for part in parts])
    return tf.reduce_logsumexp(masses + tf.nn.log_softmax(logits), axis=-1)


def component_masses(x, loc, log_scale, layer):
    """Of each component, in float64."""
    half, step = (layer.high - layer.low) / 2, (layer.high - layer.low) / (layer.levels - 1)
    s = half / 4 * tf.exp(reached(log_scale))
    loc, x = (layer.high + layer.low) / 2 + half * loc, x[..., None]
    log_f, log_not_f = (lambda a: -tf.math.softplus(-a / s)), (lambda a: -tf.math.softplus(a / s))
    above, below = x + step / 2 - loc, x - step / 2 - loc
    width = tf.where(step / s > 1e-9, tf.math.log(-tf.math.expm1(-step / s)), tf.math.log(step / s))
    inside = log_f(above) + log_not_f(below) + width
    return tf.where(x == layer.low, log_f(above), tf.where(x == layer.high, log_not_f(below), inside))


def negative_binomial(x, log_mean, log_count):
    """log ways by the sum over the factors of Gamma(x + count) / Gamma(count)."""
    log_mean, log_count = reached(log_mean, 0), reached(log_count, 0)
    count, ways = tf.exp(log_count), tf.zeros_like(log_count)
    for number in range(1, 12):
        ways += tf.where(x > number, tf.math.log(count + number), tf.zeros_like(count))
    ways = tf.where(x > 0, ways + log_count, 0) - tf.math.lgamma(x + 1)
    odds = log_mean - log_count
    return ways - x * tf.math.softplus(-odds) - count * tf.math.softplus(odds)


def zero_inflated(x, p):
    count = negative_binomial(x, p[..., 0], p[..., 1]) - tf.math.softplus(p[..., 2])
    zero = tf.where(x == 0, -tf.math.softplus(-p[..., 2]), -math.inf)
    return tf.reduce_logsumexp(tf.stack([count, zero]), axis=0)


def continuous_bernoulli(x, p):
    """log of lambda e^(lambda x) / (e^lambda - 1)."""
    size = tf.abs(p[..., 0])
    log_constant = size + tf.math.log(-tf.math.expm1(-size) / size)
    return x * p[..., 0] - tf.where(p[..., 0] > 0, log_constant, log_constant - size)


def relaxed_bernoulli(y, p):
    a = p[..., 0] - 0.5 * (tf.math.log(y) - tf.math.log1p(-y))
    return math.log(0.5) + a - 2 * tf.math.softplus(a) - tf.math.log(y) - tf.math.log1p(-y)


def relaxed_one_hot(y, p):
    a = p[..., 0] - 0.5 * tf.math.log(y)
    return (
        math.lgamma(3)
        + 2 * math.log(0.5)
        + tf.reduce_sum(a - tf.math.log(y), axis=-1)
        - 3 * tf.reduce_logsumexp(a, axis=-1)
    )


def mixture(x, p):
    parts = tfd.Normal(p[..., 1], scale(p[..., 2])).log_prob(x)
    return tf.reduce_logsumexp(parts + tf.nn.log_softmax(p[..., 0]), axis=-1)


def power_spherical(x, p):
    direction, concentration = p[..., :3], 1 + tf.math.softplus(p[..., 3])
    along = tf.reduce_sum(direction * x, axis=-1) / tf.norm(direction, axis=-1)
    constant = (concentration + 2) * math.log(2) + math.log(math.pi) - tf.math.log(concentration + 1)
    return concentration * tf.math.log1p(along) - constant


def full_covariance(x, p):
    triangle = tfp.math.fill_triangular(p[..., 2:])
    root = tf.linalg.set_diag(triangle, scale(tf.linalg.diag_part(triangle)))
    first = (x[..., 0] - p[..., 0]) / root[..., 0, 0]
    second = (x[..., 1] - p[..., 1] - root[..., 1, 0] * first) / root[..., 1, 1]
    return -math.log(2 * math.pi) - tf.math.log(root[..., 0, 0] * root[..., 1, 1]) - (first**2 + second**2) / 2


def low_rank(x, p):
    difference, s, u = x - p[..., 0], scale(p[..., 1]), p[..., 2]
    squares = tf.reduce_sum((difference / s) ** 2, axis=-1) + tf.reduce_sum(u * difference, axis=-1) ** 2
    log_det = 2 * tf.reduce_sum(tf.math.log(s), axis=-1) - tf.math.log1p(tf.reduce_sum((s * u) ** 2, axis=-1))
    return -0.5 * (2 * math.log(2 * math.pi) + log_det + squares)


REAL = [-1e3, -1.0, 0.0, 0.25, 1e3]
COUNTS = [0.0, 1.0, 2.0, 10.0]
LEVELS = kv.DiscretizedLogistic(1, levels=5, low=-2.0, high=2.0)
GREY = kv.DiscretizedLogistic(1, components=2)
PIXEL = kv.DiscretizedLogisticMixture(2, components=2, levels=5, low=-2.0, high=2.0)

# layer, log density in float64 of a value and raw outputs, values
REFERENCES = {
    "Normal": (kv.Normal(1), lambda x, p: tfd.Normal(p[..., 0], scale(p[..., 1])).log_prob(x), REAL),
    "FixedScaleNormal": (kv.FixedScaleNormal(1), lambda x, p: tfd.Normal(p[..., 0], 1.0).log_prob(x), REAL),
    "LearnedScaleNormal": (kv.LearnedScaleNormal(1), lambda x, p: tfd.Normal(p[..., 0], 1.0).log_prob(x), REAL),
    "OptimalScaleNormal": (kv.OptimalScaleNormal(1), lambda x, p: tfd.Normal(p[..., 0], 1.0).log_prob(x), REAL),
    "Laplace": (kv.Laplace(1), lambda x, p: tfd.Laplace(p[..., 0], scale(p[..., 1])).log_prob(x), REAL),
    "StudentT": (
        kv.StudentT(1),
        lambda x, p: tfd.StudentT(2.000001 + tf.math.softplus(p[..., 2]), p[..., 0], scale(p[..., 1])).log_prob(x),
        REAL,
    ),
    "LogNormal": (
        kv.LogNormal(1),
        lambda x, p: tfd.Normal(p[..., 0], scale(p[..., 1])).log_prob(tf.math.log(x)) - tf.math.log(x),
        [1e-20, 0.5, 1.0, 1e20],
    ),
    "ContinuousBernoulli": (kv.ContinuousBernoulli(1), continuous_bernoulli, [0.0, 0.25, 1.0]),
    "Bernoulli": (kv.Bernoulli(1), lambda x, p: x * p[..., 0] - tf.math.softplus(p[..., 0]), [0.0, 0.25, 1.0]),
    "RelaxedBernoulli": (kv.RelaxedBernoulli(1), relaxed_bernoulli, [0.25, 0.75]),
    "RelaxedOneHotCategorical": (kv.RelaxedOneHotCategorical(3), relaxed_one_hot, [[0.25, 0.5, 0.25]]),
    "Poisson": (
        kv.Poisson(1),
        lambda x, p: x * reached(p[..., 0], 0) - tf.exp(reached(p[..., 0], 0)) - tf.math.lgamma(x + 1),
        [*COUNTS, 1000.0],
    ),
    "NegativeBinomial": (kv.NegativeBinomial(1), lambda x, p: negative_binomial(x, p[..., 0], p[..., 1]), COUNTS),
    "ZeroInflatedNegativeBinomial": (kv.ZeroInflatedNegativeBinomial(1), zero_inflated, COUNTS),
    "Categorical": (
        kv.Categorical(1, levels=3),
        lambda x, p: tf.gather(tf.nn.log_softmax(p), tf.cast(x, tf.int32), batch_dims=2),
        [0.0, 2.0],
    ),
    "OneHotCategorical": (
        kv.OneHotCategorical(3),
        lambda x, p: tf.reduce_sum(tf.nn.log_softmax(p[..., 0]) * x, axis=-1),
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
    ),
    "DiscretizedLogistic": (LEVELS, lambda x, p: logistic_masses(x, p, LEVELS), [-2.0, 0.0, 2.0]),
    "DiscretizedLogistic, mixture": (GREY, lambda x, p: logistic_masses(x, p, GREY), [0.0, 51 / 255, 1.0]),
    "DiscretizedLogisticMixture": (
        PIXEL,
        lambda x, p: pixel_masses(x, p, PIXEL),
        [[-2.0, -2.0], [0.0, 1.0], [2.0, 0.0], [-1.0, 2.0]],
    ),
    "NormalMixture": (kv.NormalMixture(1, components=2), mixture, REAL),
    "PowerSpherical": (kv.PowerSpherical(3), power_spherical, [[0.6, 0.8, 0.0]]),
    "FullCovarianceNormal": (kv.FullCovarianceNormal(2), full_covariance, [[0.25, -1.0]]),
    "LowRankNormal": (kv.LowRankNormal(2), low_rank, [[0.25, -1.0]]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_log_density_and_its_gradient_are_those_of_float64(name):
    layer, reference, values = REFERENCES[name]
    if not layer.built:
        layer.build(None)  # for the weights that some have beside the parameters
    params = grid(layer)

    def log_prob_and_gradient(log_prob, value, params):
        value, params = tf.constant(value), tf.constant(params)
        with tf.GradientTape() as tape:
            tape.watch(params)
            result = log_prob(value, params)
        return result.numpy(), tape.gradient(result, params).numpy()

    for value in values:
        given = np.float32(np.broadcast_to(np.reshape(value, -1), (len(params), *layer.event_shape)))
        got, gradient = log_prob_and_gradient(
            lambda value, params: layer.distribution(params).log_prob(value), given, params
        )
        expected, slope = log_prob_and_gradient(reference, np.float64(given), np.float64(params))
        expected = np.reshape(expected, len(params))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4, err_msg=str(value))
        # What one parameter has to cancel in another's gradient is rounded: 1e-5 of the largest.
        size = np.max(np.abs(slope).reshape(len(params), -1), axis=1).reshape(-1, *[1] * (params.ndim - 1))
        error = np.abs(gradient - slope) / (1e-3 * np.abs(slope) + 1e-5 * size + 1e-6)
        if "ixture" in name:  # whose parts float32 can not order where their logarithms are rounded by more than 1e-3
            error = np.where((np.abs(expected) < 1e4).reshape(-1, *[1] * (params.ndim - 1)), error, 0)
        worst = np.unravel_index(np.argmax(error), error.shape)
        assert error[worst] < 1, (value, params[worst[0]], gradient[worst], slope[worst])


FINITE = {
    **{name: layer for name, (layer, _, _) in REFERENCES.items()},
    "InverseAutoregressiveFlow": kv.InverseAutoregressiveFlow(3, units=[8], context_size=4),
    "PlanarFlow": kv.PlanarFlow(3, steps=3),
    "HouseholderFlow": kv.HouseholderFlow(3, steps=3),
}


@pytest.mark.parametrize("name", usual_first(FINITE, *sorted(set(FINITE) - {"DiscretizedLogisticMixture"})))
def test_mean_draws_and_their_density_are_finite(name):
    """With their gradients, as posterior (the path of a draw) and as prior (a density at a draw)."""
    layer = FINITE[name]
    flow = name.endswith("Flow")
    if not layer.built:
        layer.build((None, 5) if flow else None)
    rng = np.random.default_rng(0)
    params = rng.choice(RAW, (ROWS, layer.head.units)).astype("float32") if flow else grid(layer)
    for raw in (params, np.zeros_like(params)):
        raw = tf.constant(raw)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(raw)
            distribution = layer.distribution(raw)
            drawn = draw_from(distribution, [3], fold(1))
            if drawn.log_prob is not None:
                log_prob = drawn.log_prob
            elif drawn.point is not None:
                log_prob = at_points(distribution).log_prob(drawn.point)
            else:
                log_prob = distribution.log_prob(drawn.value)
            mean, draws = distribution.mean(), drawn.value
        found = {"log_prob": log_prob, "mean": mean, "draws": draws, "stddev": distribution.stddev()}
        found["gradient of log_prob"] = tape.gradient(log_prob, raw)
        if distribution.reparameterization_type == tfd.FULLY_REPARAMETERIZED:
            found["gradient of draws"] = tape.gradient(draws, raw)
        for what, tensor in found.items():
            assert np.isfinite(tensor).all(), what
        assert np.all(layer.support.contains(draws))


def test_each_layer_with_raw_outputs_is_here():
    without = {"StandardNormal", "SphericalUniform", "CouplingFlow", "AutoregressiveFlow", "Columns"}
    assert set(LAYERS) - without <= set(REFERENCES)


PAIRS = ["Normal", "Laplace", "LogNormal", "ContinuousBernoulli", "Bernoulli", "OneHotCategorical", "PowerSpherical"]


@pytest.mark.parametrize("name", PAIRS)
def test_divergences_are_finite(name):
    layer = REFERENCES[name][0]
    params = tf.constant(grid(layer))
    prior = kv.SphericalUniform(3)() if name == "PowerSpherical" else layer.distribution(tf.zeros_like(params[:1]))
    with tf.GradientTape() as tape:
        tape.watch(params)
        posterior = layer.distribution(params)
        kl = Latent(tf.zeros([1, len(params), *layer.event_shape]), posterior, prior).exact_kl
    assert np.isfinite(kl).all()
    assert np.isfinite(tape.gradient(kl, params)).all()


# --- outside of the support ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "inside", "outside"),
    [
        (kv.Categorical(1, levels=3), [0, 2], [-1, 3, 1.5, math.inf]),
        (kv.Poisson(1), [0, 5], [-1, 0.5, math.inf]),
        (kv.NegativeBinomial(1), [0, 5], [-1, 0.5, math.inf]),
        (kv.ZeroInflatedNegativeBinomial(1), [0, 5], [-1, 0.5, math.inf]),
        (LEVELS, [-2, 2], [-3, 3, math.inf]),
        (kv.LogNormal(1), [0.5], [0, -1]),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, kv.DistributionLayer) else None,
)
def test_what_can_not_be_has_no_probability(layer, inside, outside):
    distribution = layer.distribution(tf.zeros([1, *layer.params_shape]))
    values = np.float32([*inside, *outside, math.nan])[:, None, None]
    for log_prob in (distribution.log_prob(values), tf.function(distribution.log_prob, jit_compile=True)(values)):
        found = np.ravel(log_prob)
        assert np.isfinite(found[: len(inside)]).all()
        assert (found[len(inside) : -1] == -np.inf).all()
        assert np.isnan(found[-1])


def test_a_vector_without_a_direction_has_a_gradient_of_bounded_length():
    layer = kv.PowerSpherical(3)
    for raw in ([0.0, 0.0, 0.0, 1.0], [1e-6, 0.0, 0.0, 1.0], [0.0, 3e-3, 0.0, 1.0]):
        params = tf.constant([raw])
        with tf.GradientTape() as tape:
            tape.watch(params)
            distribution = layer.distribution(params)
            log_prob = distribution.log_prob(tf.constant([[0.6, 0.8, 0.0]]))
        np.testing.assert_allclose(tf.norm(distribution.mean_direction, axis=-1), 1, rtol=1e-6)
        assert tf.norm(tape.gradient(log_prob, params)) < 1e3
