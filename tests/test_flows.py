"""Flows against the Jacobian by autodiff, integrals over a grid, their own draws, and densities that are known."""

import re
from functools import partial

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import keras_vae as kv
from keras_vae.distributions.transforms import Planar, TransformedNormal, fixed_noise
from keras_vae.networks import MADE
from keras_vae.noise import fold, standard_normal
from keras_vae.sampling import sampling
from keras_vae.trace import draw_from

tfd = tfp.distributions

POSTERIORS = {
    "IAF": partial(kv.InverseAutoregressiveFlow, units=[12], context_size=4),
    "planar": partial(kv.PlanarFlow, steps=3),
    "Householder": partial(kv.HouseholderFlow, steps=3),
}
PRIORS = {
    "coupling": partial(kv.CouplingFlow, steps=3, units=[8]),
    "MAF": partial(kv.AutoregressiveFlow, units=[12]),
}
FLOWS = POSTERIORS | PRIORS
BATCH, CONTEXT = 3, 5
XLA = partial(tf.function, jit_compile=True)


def x(batch=BATCH) -> tf.Tensor:
    return standard_normal([batch, CONTEXT], fold(9))


def built(name, size):
    """The layer of this name, with weights so large that the flow is far from affine."""
    keras.utils.set_random_seed(0)
    layer = FLOWS[name](size)
    layer.build((None, CONTEXT) if name in POSTERIORS else None)
    for number, weight in enumerate(layer.weights):
        weight.assign_add(0.3 * standard_normal(weight.shape, fold(number)))
    return layer


def flow(name, size, batch=BATCH) -> TransformedNormal:
    """The distribution of `built`: of batch shape (batch,) for a posterior, () for a prior."""
    layer = built(name, size)
    return layer(x(batch)) if name in POSTERIORS else layer()


@pytest.fixture(params=FLOWS)
def name(request):
    return request.param


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [[], [16], [16, 12], [2]])
@pytest.mark.parametrize("context_size", [None, 3])
def test_jacobian_of_made_is_strictly_triangular(units, context_size):
    size = 5
    made = MADE(params=2, units=units)
    inputs, context = standard_normal([4, size], fold(1)), standard_normal([4, 3], fold(2))
    given = [inputs] if context_size is None else [inputs, context]
    made.build(*[tensor.shape for tensor in given])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([inputs, context])
        outputs = made(*given)
    assert outputs.shape == (4, size, 2)
    jacobian = tape.batch_jacobian(outputs, inputs).numpy()  # [batch, output, param, input]
    before = np.tril(np.ones([size, size], bool), -1)  # [output, input]
    assert np.all(jacobian.transpose(0, 2, 1, 3)[:, :, ~before] == 0)
    if units != [2]:  # two units have room for two degrees
        assert np.all(jacobian.transpose(0, 2, 1, 3)[:, :, before] != 0)
    if context_size is not None:
        assert np.all(tape.batch_jacobian(outputs, context).numpy() != 0)  # every output, the first one too


def test_context_of_made_broadcasts():
    made = MADE(params=3, units=[8])
    inputs, context = standard_normal([2, 4, 5], fold(1)), standard_normal([4, 3], fold(2))
    together = made(inputs, context)
    assert together.shape == (2, 4, 5, 3)
    for sample in range(2):
        np.testing.assert_allclose(together[sample], made(inputs[sample], context), rtol=1e-5, atol=1e-6)


# --- densities -------------------------------------------------------------------------------------------------------


def test_log_determinant_is_that_of_the_jacobian_by_autodiff(name):
    size = 5
    distribution = flow(name, size)
    noise = standard_normal([BATCH, size], fold(4))
    with tf.GradientTape() as tape:
        tape.watch(noise)
        value, log_det = distribution.forward(noise)
    sign, expected = np.linalg.slogdet(tape.batch_jacobian(value, noise).numpy().astype("float64"))
    assert np.all(sign != 0)
    np.testing.assert_allclose(log_det + np.zeros(BATCH), expected, atol=1e-4)
    back, again = distribution.inverse(value)
    np.testing.assert_allclose(back, noise, atol=1e-4)
    np.testing.assert_allclose(again + np.zeros(BATCH), expected, atol=1e-4)


def test_density_integrates_to_one(name):
    distribution = flow(name, 2, batch=1)
    draws = distribution.sample(20_000, seed=fold(1)).numpy().reshape(-1, 2)
    margin = np.ptp(draws, axis=0)
    axes = [np.linspace(*ends, 500) for ends in zip(draws.min(0) - margin, draws.max(0) + margin, strict=True)]
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 1, 2).astype("float32")
    density = np.exp(tf.function(distribution.log_prob)(grid).numpy().astype("float64"))
    assert density.sum() * cell == pytest.approx(1, abs=5e-3)


def test_draws_have_the_density(name):
    """E[p / q] over draws of q is 1 for any density p that lies where q does: within 4 standard errors."""
    distribution = flow(name, 2, batch=1)
    draws = tf.reshape(distribution.sample(100_000, seed=fold(2)), [-1, 1, 2])
    mean, stddev = np.mean(draws, axis=(0, 1)), np.std(draws, axis=(0, 1))
    for shift in ([0, 0], [0.5, 0], [0, -0.5]):
        other = tfd.MultivariateNormalDiag((mean + shift * stddev).astype("float32"), 0.4 * stddev)
        ratio = np.exp(other.log_prob(draws) - distribution.log_prob(draws)).ravel()
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio))


@pytest.mark.parametrize(
    "mode",
    [pytest.param(lambda run: run, id="eager"), pytest.param(XLA, id="XLA", marks=pytest.mark.slow)],
)
def test_one_pass_equals_the_inversion(name, mode):
    """The values, and the gradients for all weights, of the density that comes with a draw and of that of its value."""
    layer = built(name, 3)
    weights = [weight.value for weight in layer.trainable_weights]

    def density(invert):
        with tf.GradientTape() as tape:
            distribution = layer(x()) if name in POSTERIORS else layer()
            drawn = draw_from(distribution, [7], fold(3))
            density = distribution.log_prob(drawn.value) if invert else drawn.log_prob
        return drawn.value, density, tape.gradient(density, weights)

    value, one_pass, gradients = density(invert=False)
    again, inverted, of_inverted = mode(density)(invert=True)
    np.testing.assert_allclose(again, value, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(inverted, one_pass, rtol=1e-4, atol=1e-4)
    for weight, wanted, gradient in zip(layer.trainable_weights, gradients, of_inverted, strict=True):
        scale = np.abs(wanted).max()
        assert scale > 0, weight.path
        np.testing.assert_allclose(gradient, wanted, atol=1e-3 * scale, err_msg=weight.path)


def test_xla_draws_and_inverts_the_same(name):
    layer = built(name, 3)

    def draw_and_invert():
        distribution = layer(x()) if name in POSTERIORS else layer()
        value = distribution.sample(7, seed=fold(3))
        return value, distribution.log_prob(value)

    for compiled, eager in zip(XLA(draw_and_invert)(), draw_and_invert(), strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-4, atol=1e-4)


def test_density_of_the_draw_before_the_last_one(name):
    distribution = flow(name, 4)
    first, second = (distribution.sample(7, seed=fold(seed)) for seed in (1, 2))
    expected = flow(name, 4).log_prob(first)
    np.testing.assert_allclose(distribution.log_prob(first), expected, rtol=1e-4, atol=1e-4)
    assert np.abs(distribution.log_prob(second) - expected).min() > 0


@pytest.mark.parametrize("name", POSTERIORS)
def test_leading_axes_of_values_and_contexts(name):
    layer = built(name, 4)
    contexts = standard_normal([2, BATCH, CONTEXT], fold(5))
    value = standard_normal([2, BATCH, 4], fold(6))
    with_samples = layer(contexts)
    assert with_samples.batch_shape == (2, BATCH)
    assert with_samples.sample(seed=fold(1)).shape == (2, BATCH, 4)
    density, shared = with_samples.log_prob(value), tf.function(with_samples.log_prob)(value[0])
    riding = layer(contexts[0]).log_prob(value)  # one sample axis more than the context
    assert density.shape == shared.shape == riding.shape == (2, BATCH)
    sample, example = 1, 2
    for context, z, received in (
        (contexts[sample, example], value[sample, example], density[sample, example]),
        (contexts[sample, example], value[0, example], shared[sample, example]),
        (contexts[0, example], value[sample, example], riding[sample, example]),
    ):
        alone = layer(context[None]).log_prob(z)[0]
        np.testing.assert_allclose(received, alone, rtol=1e-4, atol=1e-4)
    assert np.ptp(layer(contexts[0]).log_prob(value[0, 0])) > 0.1  # given x


def test_priors_take_values_of_any_batch_shape():
    for name in PRIORS:
        prior, value = flow(name, 4), standard_normal([2, BATCH, 4], fold(6))
        assert prior.batch_shape == ()
        assert prior.sample(seed=fold(1)).shape == (4,)
        assert prior.sample([2, 6], seed=fold(1)).shape == (2, 6, 4)
        np.testing.assert_allclose(prior.log_prob(value)[1, 2], prior.log_prob(value[1, 2]), rtol=1e-5, atol=1e-5)


def test_maps_are_float32_under_every_policy(name):
    expected = flow(name, 4).sample(5, seed=fold(1))
    keras.config.set_dtype_policy("mixed_bfloat16")
    distribution = flow(name, 4)
    np.testing.assert_allclose(distribution.sample(5, seed=fold(1)), expected, rtol=1e-6, atol=1e-6)
    assert distribution.log_prob(expected).dtype == tf.float32


@pytest.mark.parametrize("gain", [-30.0, -3.0, 0.0, 5.0, 300.0])
def test_planar_maps_can_be_inverted_for_all_parameters(gain):
    w = tf.constant([[0.6, 0.0, -0.8]])
    step = Planar(gain * w, w, tf.constant([[0.3]]))
    points = 4 * standard_normal([1_000, 3], fold(1))
    image, log_det = step.forward(points)
    assert np.isfinite(log_det).all()
    back, _ = step.inverse(image)
    # Where the map is the flattest, its slope is 1e-3: rounding of the image is a thousand times larger in the point.
    rounding = np.abs(image).max() * 2**-23
    np.testing.assert_allclose(back, points, atol=8 * rounding / np.exp(np.minimum(log_det, 0)).min())
    np.testing.assert_allclose(step.forward(back)[0], image, atol=8 * rounding * np.exp(np.maximum(log_det, 0)).max())
    order = np.argsort(points.numpy() @ [0.6, 0.0, -0.8])
    assert np.all(np.diff((image.numpy().astype("float64") @ [0.6, 0.0, -0.8])[order]) > -8 * rounding)


def test_zeros_as_parameters_are_the_identity():
    """A blank image may have no features."""
    for name in ("planar", "Householder"):
        layer = FLOWS[name](3)
        layer.build((None, CONTEXT))
        context = tf.zeros([2, CONTEXT])
        with tf.GradientTape() as tape:
            distribution = layer(context)
            density = distribution.log_prob(distribution.sample(seed=fold(1)))
        normal = tfd.MultivariateNormalDiag(tf.zeros([2, 3]), tf.fill([2, 3], 1e-3 + np.log(2).astype("float32")))
        noise = standard_normal([2, 3], fold(1))
        np.testing.assert_allclose(density, normal.log_prob(noise * normal.stddev()), rtol=1e-5)
        for gradient in tape.gradient(density, layer.trainable_weights):
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", PRIORS)
def test_priors_start_near_the_standard_normal(name):
    prior = FLOWS[name](6)()
    value = standard_normal([500, 6], fold(1))
    normal = tfd.MultivariateNormalDiag(tf.zeros(6), tf.ones(6))
    assert abs(np.mean(normal.log_prob(value) - prior.log_prob(value))) < 0.1
    far = prior.log_prob(100 * value)
    assert np.isfinite(far).all()


# --- moments and temperature -----------------------------------------------------------------------------------------


def test_fixed_noise_has_the_moments_of_the_normal():
    for size in (1, 2, 40):
        noise = fixed_noise(size)
        assert len(noise) >= max(64, size)
        np.testing.assert_allclose(noise.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(noise.T @ noise / len(noise), np.eye(size), atol=1e-5)


def test_moments_are_exact_for_affine_flows():
    distribution = flow("Householder", 4)
    noise = tf.zeros([BATCH, 4])
    with tf.GradientTape() as tape:
        tape.watch(noise)
        value, _ = distribution.forward(noise)
    jacobian = tape.batch_jacobian(value, noise).numpy()
    np.testing.assert_allclose(distribution.mean(), value, atol=1e-5)
    np.testing.assert_allclose(distribution.variance(), (jacobian**2).sum(-1), rtol=1e-5)


def test_moments_are_those_of_draws(name):
    """Within the standard error of 64 independent draws, which are worse than the fixed ones."""
    distribution = flow(name, 4)
    draws = distribution.sample(5_000, seed=fold(1)).numpy()
    mean, stddev = draws.mean(0), draws.std(0)
    assert np.all(np.abs(distribution.mean() - mean) < stddev / np.sqrt(64))
    fourth = ((draws - mean) ** 4).mean(0) / stddev**4
    assert np.all(np.abs(distribution.variance() / stddev**2 - 1) < np.sqrt((fourth - 1) / 64))
    np.testing.assert_array_equal(distribution.stddev(), np.sqrt(distribution.variance()))


def test_mean_is_a_function_of_the_context_alone():
    layer = built("IAF", 4)
    np.testing.assert_allclose(layer(x()).mean()[1:2], layer(x()[1:2]).mean(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PRIORS)
def test_temperature_multiplies_the_noise(name):
    prior = built(name, 4)
    model = kv.VAE(kv.Normal(4), kv.FixedScaleNormal(4), prior)
    model.build((None, 4))
    noise = standard_normal([6, 4], fold(8))
    for temperature in (0.0, 0.5, 1.0):
        expected, _ = prior().forward(temperature * noise)
        draws = model.sample_prior(6, seed=8, temperature=temperature)
        np.testing.assert_allclose(draws, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(draws, prior().sample(6, seed=fold(8)))


# --- training --------------------------------------------------------------------------------------------------------


def minimize(loss, weights, steps, rate=1e-2):
    """Adam with a falling rate; the loss is a function of a seed."""
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
    optimizer.build(weights)

    @tf.function
    def step(number):
        with tf.GradientTape() as tape:
            value = loss(fold(0, number))
        optimizer.apply_gradients(zip(tape.gradient(value, weights), weights, strict=True))

    for number in range(steps):
        step(tf.constant(number))


@pytest.mark.parametrize("name", PRIORS)
def test_priors_learn_a_density_that_is_not_normal(name):
    """A bent normal: z0 ~ N(0, 1), z1 ~ N(z0^2, 0.5^2)."""

    def draw(seed, count):
        noise = standard_normal([count, 2], seed)
        value = tf.stack([noise[:, 0], noise[:, 0] ** 2 + 0.5 * noise[:, 1]], axis=-1)
        normal = tfd.MultivariateNormalDiag([0.0, 0.0])
        return value, normal.log_prob(noise) - np.log(0.5)

    layer = PRIORS[name](2)
    layer.build()
    minimize(lambda seed: -tf.reduce_mean(layer().log_prob(draw(seed, 500)[0])), layer.trainable_weights, 400)
    value, log_p = draw(fold(1), 10_000)
    divergence = np.mean(log_p - layer().log_prob(value))
    best_normal = scipy.stats.multivariate_normal(np.mean(value, axis=0), np.cov(value, rowvar=False))
    of_normal = np.mean(log_p - best_normal.logpdf(value))
    assert of_normal > 0.5
    assert divergence < 0.1


def correlated_model(posterior):
    """p(z) = N(0, I), p(x | z) = N(W z, 0.5^2 I) in two dimensions: the exact posterior has a correlation of -0.91."""
    model = kv.VAE(posterior, kv.FixedScaleNormal(2, scale=0.5), kv.StandardNormal(2))
    model.build((None, 2))
    model.likelihood.head.set_weights([np.array([[2.0, 0.0], [1.8, 0.4]]), np.zeros(2)])
    return model


@pytest.mark.parametrize(("name", "steps"), [("IAF", 500), ("Householder", 1_500)])
def test_posteriors_close_the_gap_that_a_diagonal_one_leaves(name, steps):
    model = correlated_model(POSTERIORS[name](2))
    loadings = np.array([[2.0, 0.0], [1.8, 0.4]])
    covariance = loadings.T @ loadings + 0.25 * np.eye(2)
    data = np.random.default_rng(0).multivariate_normal([0, 0], covariance, 200).astype("float32")
    log_p = scipy.stats.multivariate_normal([0, 0], covariance).logpdf(data)
    posterior_covariance = np.linalg.inv(np.eye(2) + loadings @ loadings.T / 0.25)
    # The best diagonal posterior has the precisions of the exact one on its diagonal: KL = log det of both / 2.
    precision = np.linalg.inv(posterior_covariance)
    least = -0.5 * np.log(np.linalg.det(precision) / np.prod(np.diag(precision)))

    def loss(seed, samples=4):
        with sampling(samples, seed):
            return -tf.reduce_mean(model(data).log_weight)

    # Of six seeds Householder flows left 0.03 to 0.46 of the gap after 500 steps, at most 0.21 after 1,500.
    minimize(loss, model.posterior.trainable_weights, steps, rate=2e-2)
    gap = float(np.mean(log_p) + tf.function(loss)(fold(1), tf.constant(500)))
    assert least > 0.8
    assert 0 <= gap < 0.5 * least


def test_density_of_a_draw_takes_no_inversion(monkeypatch):
    """Neither in a pass of a model, nor in the loop over chunks of importance samples, whose value is right, too."""
    layer = built("IAF", 2)
    model = kv.VAE(layer, kv.FixedScaleNormal(CONTEXT), kv.StandardNormal(2))
    model.build((None, CONTEXT))
    with monkeypatch.context() as patch:
        patch.setattr(TransformedNormal, "inverse", None)
        assert np.isfinite(model(x()).log_weight).all()
        values, _ = tf.function(lambda: model.importance_weights(x(), 6, seed=3, rows=2 * BATCH))()
        posterior = model.encode(x())
        with pytest.raises(TypeError, match="not callable"):
            posterior.log_prob(posterior.sample())
    weights = []
    for chunk in range(3):
        with sampling(2, fold(3, 2 * chunk)) as sampler:
            z = posterior.sample(2, seed=sampler.next_seed())
        log_q = posterior.log_prob(z)
        weights.append(model.decode(z).log_prob(x()) + model.prior().log_prob(z) - log_q)
    expected = tf.reduce_logsumexp(tf.concat(weights, axis=0), axis=0) - np.log(6)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [*POSTERIORS.values(), *PRIORS.values()], ids=FLOWS)
def test_events_are_vectors(cls):
    with pytest.raises(ValueError, match=re.escape("needs an event shape with one axis, such as 16. Received: (2")):
        cls((2, 3))
    with pytest.raises(ValueError, match=re.escape("needs steps to be a whole number, 1 or more. Received: steps=0.")):
        cls(2, steps=0)


def test_contexts():
    for name in POSTERIORS:
        with pytest.raises(ValueError, match=re.escape("(event_shape=(2,)) needs a context. Received: None.")):
            POSTERIORS[name](2)()
        with pytest.raises(
            ValueError, match=re.escape("needs features of shape (batch, features). Received: (None, 2")
        ):
            POSTERIORS[name](2).build((None, 2, 2))
    for name in PRIORS:
        with pytest.raises(ValueError, match=re.escape("(event_shape=(2,)) takes no context. Received: one of shape")):
            PRIORS[name](2)(x())


def test_halves_need_two_values():
    with pytest.raises(
        ValueError, match=re.escape("CouplingFlow needs 2 values or more, to make halves. Received: 1.")
    ):
        kv.CouplingFlow(1)
    with pytest.raises(ValueError, match="InverseAutoregressiveFlow needs units to be a whole number"):
        kv.InverseAutoregressiveFlow(2, units=[0])
