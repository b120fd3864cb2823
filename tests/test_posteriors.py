"""Posteriors without, or after, an encoder, against the closed form of the linear normal model."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from cases import conditional, encoder, hierarchy, of_parts

import keras_vae as kv

# p(z) = N(0, I), p(x | z) = N(W z + mean, variance I): the exact posterior has one covariance for all x, not diagonal.
RNG = np.random.default_rng(0)
SIZE, LATENT, VARIANCE = 5, 2, 0.3
W, MEAN = RNG.normal(size=(SIZE, LATENT)), RNG.normal(size=SIZE)
PRECISION = W.T @ W / VARIANCE + np.eye(LATENT)
COVARIANCE = np.linalg.inv(PRECISION)
X = (RNG.normal(size=(12, LATENT)) @ W.T + MEAN + np.sqrt(VARIANCE) * RNG.normal(size=(12, SIZE))).astype("float32")
POSTERIOR_MEAN = (X - MEAN) @ W @ COVARIANCE / VARIANCE
LOG_P = scipy.stats.multivariate_normal(MEAN, W @ W.T + VARIANCE * np.eye(SIZE)).logpdf(X)
ROUNDING = 1e-5  # of log-weights in float32, nats


def linear_vae(posterior=None):
    """The model with an encoder that has learned nothing; its first weights are those of one seed."""
    keras.utils.set_random_seed(0)
    likelihood = kv.FixedScaleNormal(SIZE, scale=float(np.sqrt(VARIANCE)))
    model = kv.VAE(posterior or kv.FullCovarianceNormal(LATENT), likelihood, kv.StandardNormal(LATENT))
    model.build((None, SIZE))
    likelihood.head.set_weights([W.T, MEAN])
    return model


@pytest.fixture(scope="module")
def model():
    return linear_vae()


@pytest.fixture(scope="module")
def refined(model):
    return kv.evaluation.refine_posterior(model, X, verbose=0)


# --- refinement ------------------------------------------------------------------------------------------------------


def test_a_family_that_holds_the_exact_posterior_finds_it(model, refined):
    np.testing.assert_allclose(refined.posterior.mean(), POSTERIOR_MEAN, atol=2e-3)
    np.testing.assert_allclose(refined.posterior.covariance(), np.broadcast_to(COVARIANCE, (12, 2, 2)), atol=2e-3)
    for estimate in (refined.log_likelihood, refined.elbo):
        assert np.all(np.abs(estimate.values - LOG_P) < 4 * estimate.errors + ROUNDING)
    gap = refined.approximation_gap
    assert abs(gap.mean) < 3 * refined.elbo.error_of_draws + ROUNDING
    assert np.all((gap.values > -ROUNDING) & (gap.values < 1e-3)), "nats"
    np.testing.assert_allclose(
        refined.log_likelihood.values,
        refined.elbo_of_encoder.values + refined.amortization_gap.values + gap.values,
        atol=1e-9,
    )
    assert np.all(refined.amortization_gap.values > 1), "the encoder has learned nothing"


def test_bounds_of_the_encoder_agree_with_other_estimates(model, refined):
    """`bounds` has other draws, and the divergence in closed form."""
    expected = kv.evaluation.bounds(model, X, samples=5000).elbo
    estimate = refined.elbo_of_encoder
    assert np.all(np.abs(estimate.values - expected) < 5 * estimate.errors)


def test_mean_field_inference_without_the_encoder(model):
    """KL(q || p) is smallest for q with the mean of p, and with its precision along each axis (Bishop 2006, 10.1.2)."""
    found = kv.evaluation.refine_posterior(model, X, posterior=kv.Normal(LATENT), samples=100, steps=1000, verbose=0)
    stddev = np.diag(PRECISION) ** -0.5
    np.testing.assert_allclose((found.posterior.mean() - POSTERIOR_MEAN) / stddev, 0, atol=0.05)
    np.testing.assert_allclose(found.posterior.stddev() / stddev, 1, rtol=0.02)
    gap = 0.5 * (np.log(np.diag(PRECISION)).sum() - np.linalg.slogdet(PRECISION)[1])
    assert np.all(np.abs(found.elbo.values - (LOG_P - gap)) < 4 * found.elbo.errors + 2e-3)
    # Narrower than the exact posterior, q* gives weights whose variance has no bound: log p(x) comes from below.
    assert found.log_likelihood.mean == pytest.approx(LOG_P.mean(), abs=0.05)
    assert model.built
    assert isinstance(found.layer, kv.Normal)
    text = str(found)
    assert "q*: Normal, 12 examples, 1,000 draws of z each" in text
    assert f"{found.approximation_gap.mean:.3f} +- {found.approximation_gap.standard_error:.3f}" in text


def test_examples_do_not_see_each_other_and_seeds_repeat(model):
    options = {"steps": 20, "draws": 10, "batch_size": 5, "verbose": 0}
    first = kv.evaluation.refine_posterior(model, X, **options)
    others = np.concatenate([X[:1], X[1:] + 1])
    np.testing.assert_array_equal(kv.evaluation.refine_posterior(model, others, **options).params[0], first.params[0])
    np.testing.assert_array_equal(kv.evaluation.refine_posterior(model, X, **options).params, first.params)
    batches = tf.data.Dataset.from_tensor_slices(X).batch(5)
    again = kv.evaluation.refine_posterior(model, batches, **options)
    np.testing.assert_array_equal(again.log_likelihood.values, first.log_likelihood.values)
    assert not np.array_equal(kv.evaluation.refine_posterior(model, X, **options, seed=1).params, first.params)


@pytest.mark.parametrize("posterior", [kv.InverseAutoregressiveFlow, kv.LowRankNormal])
def test_families_gain(posterior):
    options = {"units": [8], "context_size": 3} if posterior is kv.InverseAutoregressiveFlow else {}
    found = kv.evaluation.refine_posterior(
        linear_vae(posterior(LATENT, encoder(SIZE), **options)), X, steps=200, draws=200, verbose=0
    )
    assert np.all(found.amortization_gap.values > 0)
    error = found.log_likelihood.errors
    assert np.all(np.abs(found.log_likelihood.values - LOG_P) < 6 * error + ROUNDING)


def test_a_planar_flow_and_the_models_own_flow_begin_at_the_prior(model):
    """A posterior of a flow that has been trained keeps the weights that examples share."""
    found = kv.evaluation.refine_posterior(
        model, X[:4], posterior=kv.PlanarFlow(LATENT, steps=1), steps=300, draws=200, verbose=0
    )
    assert found.approximation_gap.mean < 0.5
    own = linear_vae(kv.InverseAutoregressiveFlow(LATENT, encoder(SIZE), steps=1, units=[8], context_size=3))
    found = kv.evaluation.refine_posterior(own, X[:4], posterior=own.posterior, steps=200, draws=200, verbose=0)
    assert found.layer is own.posterior
    assert found.approximation_gap.mean < 0.5


def test_a_conditional_model():
    """A condition that says nothing leaves what the encoder can say; its posterior has the shapes of one."""
    vae = conditional()
    x = RNG.integers(0, 2, (4, 5)).astype("float32")
    vae.build((None, 5))
    found = kv.evaluation.refine_posterior(vae, (x, np.eye(3, dtype="float32")[[0, 1, 2, 0]]), steps=200, verbose=0)
    assert found.posterior.mean().shape == (4, 2)
    assert np.all(found.amortization_gap.values > -3 * found.amortization_gap.errors)
    log_p, _ = vae.importance_weights((x, np.eye(3, dtype="float32")[[0, 1, 2, 0]]), 5000)
    assert np.all(np.abs(found.log_likelihood.values - log_p) < 0.05)


def discrete_vae():
    return of_parts(kv.Bernoulli, kv.Bernoulli, kv.Bernoulli)()


def pca():
    made = kv.ProbabilisticPCA(2)
    made.build((None, 5))
    return made


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (hierarchy, {}, TypeError, r"one latent variable and a layer `posterior`.*Received: a HierarchicalVAE\."),
        (pca, {}, TypeError, r"Received: a ProbabilisticPCA, whose posterior is the exact one\."),
        (discrete_vae, {}, TypeError, r"draws carry gradients.*Received: Bernoulli, whose draws are"),
        (linear_vae, {"posterior": kv.Normal(3)}, ValueError, r"event shape \(2,\)\. Received: Normal of \(3,\)"),
        (linear_vae, {"posterior": kv.Normal(2, encoder(5))}, ValueError, r"without a network.*Normal with one"),
        (linear_vae, {"posterior": kv.InverseAutoregressiveFlow(2)}, ValueError, r"Received: InverseAuto\w+ with \d+"),
        (linear_vae, {"posterior": kv.PowerSpherical(2)}, ValueError, r"draws are of one kind\. Received: PowerSph"),
        (linear_vae, {"posterior": "normal"}, TypeError, r"to be a distribution layer\. Received: 'normal'"),
        (linear_vae, {"steps": 0}, ValueError, r"steps to be a whole number, 1 or more\. Received: steps=0"),
        (linear_vae, {"learning_rate": 1e30, "steps": 5}, FloatingPointError, r"smaller learning_rate.*12 of 12"),
    ],
)
def test_what_can_not_be_refined_is_refused(make, options, error, message):
    data = X if make is not discrete_vae and make is not hierarchy else (X > 0).astype("float32")
    with pytest.raises(error, match=message):
        kv.evaluation.refine_posterior(make(), data, **{"verbose": 0} | options)


# --- Markov chains ---------------------------------------------------------------------------------------------------


def test_chains_have_the_moments_of_the_posterior(model):
    drawn = kv.evaluation.hamiltonian_monte_carlo(model, X[:3], draws=500, warm_up=300)
    assert drawn.values["z"].shape == (500, 4, 3, LATENT)
    assert drawn.converged
    assert "the chains agree" in str(drawn)
    z = drawn.values["z"].reshape(-1, 3, LATENT)
    effective = drawn.effective_samples["z"]
    stddev = np.sqrt(np.diag(COVARIANCE))
    assert effective.shape == drawn.r_hat["z"].shape == (3, LATENT)
    assert np.all(effective > 500)
    assert np.all(np.abs(z.mean(axis=0) - POSTERIOR_MEAN[:3]) < 4 * stddev / np.sqrt(effective))
    for example in range(3):
        np.testing.assert_allclose(np.cov(z[:, example].T), COVARIANCE, atol=6 * stddev.max() ** 2 / 500**0.5)
    again = kv.evaluation.hamiltonian_monte_carlo(model, X[:3], draws=500, warm_up=300)
    np.testing.assert_array_equal(again.values["z"], drawn.values["z"])


def test_chains_of_a_hierarchy_weigh_as_draws_of_its_prior_do():
    """E[z | x] by 200,000 draws of the prior, weighted with p(x | z), which is at most 1."""
    model = hierarchy()
    x = RNG.integers(0, 2, (2, 5)).astype("float32")
    model.build((None, 5))
    drawn = kv.evaluation.hamiltonian_monte_carlo(model, x, draws=500, warm_up=300)
    assert drawn.converged
    assert {name: each.shape for name, each in drawn.values.items()} == {
        "z1": (500, 4, 2, 4),
        "z2": (500, 4, 2, 2),
    }
    z2 = tf.random.stateless_normal([200_000, 2], seed=[0, 1])
    z1 = model.priors[0](z2).sample(seed=1)
    weights = tf.nn.softmax(model.likelihood(z1).log_prob(x[:, None]), axis=1).numpy()
    for name, z in {"z1": z1, "z2": z2}.items():
        spread = np.sqrt(weights @ z.numpy() ** 2 - (weights @ z) ** 2)
        error = spread * np.sqrt(1 / drawn.effective_samples[name] + np.sum(weights**2, axis=1, keepdims=True))
        assert np.all(np.abs(drawn.values[name].mean(axis=(0, 1)) - weights @ z) < 4.5 * error)


def test_chains_that_have_not_met_say_so(model):
    with pytest.warns(UserWarning, match=r"chains of \d of 2 examples have not met, R-hat of z is .* more than 1.05"):
        drawn = kv.evaluation.hamiltonian_monte_carlo(model, X[:2], draws=4, warm_up=1, leapfrog_steps=1)
    assert not drawn.converged
    assert "have not met" in str(drawn)


def test_chains_need_real_numbers():
    with pytest.raises(TypeError, match=r"latent variables are real numbers.*Received: a VAE, whose z is drawn from"):
        kv.evaluation.hamiltonian_monte_carlo(discrete_vae(), np.zeros((1, 5), "float32"))
    with pytest.raises(ValueError, match=r"chains to be a whole number, 2 or more"):
        kv.evaluation.hamiltonian_monte_carlo(linear_vae(), X, chains=1)


# --- quadrature ------------------------------------------------------------------------------------------------------


def test_the_grid_has_the_closed_form(model):
    grid = kv.evaluation.posterior_on_grid(model, X[:1], size=101)
    assert grid.log_likelihood == pytest.approx(LOG_P[0], abs=1e-4)
    np.testing.assert_allclose(grid.mean, POSTERIOR_MEAN[0], atol=1e-4)
    np.testing.assert_allclose(grid.covariance, COVARIANCE, atol=1e-4)
    expected = scipy.stats.multivariate_normal(POSTERIOR_MEAN[0], COVARIANCE).logpdf(grid.points)
    np.testing.assert_allclose(grid.log_density, expected, atol=1e-3)


def test_the_grid_needs_one_example_in_two_dimensions(model):
    with pytest.raises(ValueError, match=r"needs one example, an array of batch size 1\. Received: 12 examples"):
        kv.evaluation.posterior_on_grid(model, X)
    three = of_parts(kv.Normal, kv.FixedScaleNormal, kv.StandardNormal, latent=3)()
    with pytest.raises(TypeError, match=r"latent variable of event shape \(2,\)\. Received: \(3,\)"):
        kv.evaluation.posterior_on_grid(three, X[:1])
