"""Hierarchical and conditional models against closed forms of linear-Gaussian ones."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from cases import CASES, conditional, decoder, encoder, hierarchy, ladder, one_hot

import keras_vae as kv
from keras_vae.evaluation import log_likelihood
from keras_vae.noise import fold
from keras_vae.sampling import sampling

RNG = np.random.default_rng(0)
# p(z2) = N(0, 1), p(z1 | z2) = N(A z2, TOP^2), p(x | z1) = N(W z1, BOTTOM^2), for two values z1 and three x
A, W = RNG.normal(size=(2, 1)), RNG.normal(size=(3, 2))
TOP, BOTTOM = 0.8, 0.5
COVARIANCE = W @ (A @ A.T + TOP**2 * np.eye(2)) @ W.T + BOTTOM**2 * np.eye(3)
X = RNG.multivariate_normal(np.zeros(3), COVARIANCE, 20).astype("float32")
LOG_P = scipy.stats.multivariate_normal(np.zeros(3), COVARIANCE).logpdf(X)


def raw(scale):
    """The parameter of a scale of `Normal`."""
    return np.log(np.expm1(scale - 1e-3))


def normal_weights(gain, scales):
    """Weights of the head of a `Normal` whose location is `gain` times its context, its scales constant."""
    size, context = gain.shape
    kernel = np.stack([gain.T, np.zeros((context, size))], axis=-1).reshape(context, 2 * size)
    return [kernel, np.stack([np.zeros(size), raw(np.broadcast_to(scales, size))], axis=-1).ravel()]


def set_generation(model):
    model.priors[0].head.set_weights(normal_weights(A, TOP))
    model.likelihood.head.set_weights([W.T, np.zeros(3)])


def bottom_up() -> kv.HierarchicalVAE:
    """The model above, whose posteriors are near the exact ones, but for correlations."""
    model = kv.HierarchicalVAE(
        posteriors=[kv.Normal(2), kv.Normal(1)],
        likelihood=kv.FixedScaleNormal(3, scale=BOTTOM),
        priors=[kv.Normal(2), kv.StandardNormal(1)],
    )
    model.build((None, 3))
    set_generation(model)
    precision = np.linalg.inv(A @ A.T + TOP**2 * np.eye(2)) + W.T @ W / BOTTOM**2
    gain = np.linalg.solve(precision, W.T) / BOTTOM**2
    model.posteriors[0].head.set_weights(normal_weights(gain, np.sqrt(np.diag(np.linalg.inv(precision)))))
    above = 1 + (A**2).sum() / TOP**2
    model.posteriors[1].head.set_weights(normal_weights(A.T / TOP**2 / above, above**-0.5))
    return model


def top_down() -> kv.LadderVAE:
    """The same model; the features are x itself."""
    model = kv.LadderVAE(
        encoders=[keras.layers.Identity(), keras.layers.Identity()],
        posteriors=[kv.Normal(2), kv.Normal(1)],
        likelihood=kv.FixedScaleNormal(3, scale=BOTTOM),
        priors=[kv.Normal(2), kv.StandardNormal(1)],
    )
    model.build((None, 3))
    set_generation(model)
    model.posteriors[0].head.set_weights(normal_weights(np.linalg.pinv(W), 0.6))
    gain = A.T @ W.T @ np.linalg.inv(COVARIANCE)
    model.posteriors[1].head.set_weights(normal_weights(gain, np.sqrt(1 - (gain @ W @ A).item())))
    return model


@pytest.mark.parametrize("make", [pytest.param(bottom_up, marks=pytest.mark.slow), top_down])
def test_hierarchies_estimate_the_exact_log_likelihood(make):
    """Weights of mean one: their logarithms' mean tends to log p(x), and their spread gives its error."""
    log_p, effective = make().importance_weights(X, 20_000, seed=1)
    assert np.all(effective.numpy() > 300)
    error = 1 / np.sqrt(effective.numpy())  # of the logarithm of a mean of weights
    assert np.all(np.abs(log_p - LOG_P) < 4 * error)


@pytest.mark.parametrize("make", [bottom_up, top_down])
def test_joint_densities_against_scipy(make):
    model = make()
    with sampling(3, fold(1)):
        trace = model(X)
    z1, z2 = (trace.latents[name].value.numpy().astype(np.float64) for name in ("z1", "z2"))
    log_prior = scipy.stats.norm(z2 @ A.T, TOP).logpdf(z1).sum(axis=-1) + scipy.stats.norm.logpdf(z2)[..., 0]
    log_joint = scipy.stats.norm(z1 @ W.T, BOTTOM).logpdf(X).sum(axis=-1) + log_prior
    log_q = sum(latent.posterior.log_prob(latent.value) for latent in trace.latents.values())
    np.testing.assert_allclose(trace.log_weight + log_q, log_joint, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [bottom_up, top_down])
def test_kl_of_each_layer_has_the_mean_of_its_log_ratio(make):
    """From the bottom up a closed form of the lower KL would be wrong: its prior hangs on its own draws."""
    with sampling(20_000, fold(2)):
        trace = make()(X[:4])
    for latent in trace.latents.values():
        ratio = latent.log_ratio.numpy().astype(np.float64)
        error = np.sqrt((ratio.var(axis=0) + latent.kl.numpy().var(axis=0)) / len(ratio))
        assert np.all(np.abs(latent.kl.numpy().mean(axis=0) + ratio.mean(axis=0)) < 4 * error + 1e-4)
    assert trace.latents["z1"].closed_form == isinstance(make(), kv.LadderVAE)


def test_the_posterior_of_a_ladder_is_the_product_of_its_reading_and_its_prior():
    model = top_down()
    with sampling(None, fold(1)):
        trace = model(X)
    loc, scale = X @ np.linalg.pinv(W).T, 0.6
    prior = trace.latents["z2"].value.numpy() @ A.T
    precision = scale**-2 + TOP**-2
    posterior = trace.latents["z1"].posterior
    np.testing.assert_allclose(posterior.mean(), (loc * scale**-2 + prior * TOP**-2) / precision, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(posterior.stddev(), np.full((20, 2), precision**-0.5), rtol=1e-4)


@pytest.mark.parametrize("make", [hierarchy, ladder])
def test_logs_hold_the_kl_of_each_latent(make):
    model, x = make(), RNG.integers(0, 2, (16, 5)).astype("float32")
    model.compile("adam", kv.ELBO(beta={"z2": 0.5}), jit_compile=False)
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert np.isclose(logs["kl"], logs["kl_z1"] + logs["kl_z2"], rtol=1e-5)
    expected = logs["kl_z1"] + 0.5 * logs["kl_z2"] - logs["log_likelihood"]
    assert np.isclose(logs["loss"], expected, rtol=1e-5)
    assert set(model.encode(x)) == {"z1", "z2"}
    assert model.sample_prior(7, seed=1)["z1"].shape == (7, 4)
    model.compile("adam", kv.DoublyReparameterized())
    with pytest.raises(TypeError, match=r"DoublyReparameterized needs a model with one latent .* Received: 2, z1, z2"):
        model.fit(x, verbose=0)


def test_draws_of_a_hierarchy_have_the_moments_of_the_model():
    model = bottom_up()
    draws = model.sample_prior(100_000, seed=3)
    z1 = draws["z1"].numpy().astype(np.float64)
    np.testing.assert_allclose(np.cov(z1.T), A @ A.T + TOP**2 * np.eye(2), atol=0.03)
    np.testing.assert_allclose(model.generate(5, seed=3), model.decode(model.sample_prior(5, seed=3)["z1"]).mean())


def test_bad_hierarchies():
    with pytest.raises(ValueError, match=r"HierarchicalVAE needs a posterior and a prior .* \[\(2,\)\].* \[\(3,\)\]"):
        kv.HierarchicalVAE([kv.Normal(2)], kv.Bernoulli(5), [kv.StandardNormal(3)])
    with pytest.raises(TypeError, match="LadderVAE needs Normal layers"):
        kv.LadderVAE([keras.layers.Identity()], [kv.Laplace(2)], kv.Bernoulli(5), [kv.StandardNormal(2)])
    with pytest.raises(ValueError, match=r"LadderVAE needs an encoder for each layer .* 0 encoders, 1 posteriors"):
        kv.LadderVAE([], [kv.Normal(2)], kv.Bernoulli(5), [kv.StandardNormal(2)])
    with pytest.raises(TypeError, match=r"HierarchicalVAE needs likelihood of distribution layers.* Received: 3"):
        kv.HierarchicalVAE([kv.Normal(2)], 3, [kv.StandardNormal(2)])


# --- conditions -------------------------------------------------------------------------------------------------------


def linear_conditional():
    """p(x | c) = N(W z + B c + b, 0.25), z ~ N(C c, 1) of one value: the exact posterior is linear."""
    model = kv.ConditionalVAE(
        posterior=kv.Normal(1, kv.Concatenated(keras.Sequential([keras.Input((5,)), keras.layers.Identity()]))),
        likelihood=kv.FixedScaleNormal(
            3, kv.Concatenated(keras.Sequential([keras.Input((3,)), keras.layers.Identity()])), scale=0.5
        ),
        prior=kv.Normal(1),
        condition_shape=2,
    )
    model.build((None, 3))
    w, b, c = RNG.normal(size=(3, 1)), RNG.normal(size=(3, 2)), RNG.normal(size=(1, 2))
    model.prior.head.set_weights(normal_weights(c, 1.0))
    model.likelihood.head.set_weights([np.concatenate([w, b], axis=1).T, np.zeros(3)])
    precision = 1 + (w.T @ w).item() / 0.25
    gain_x = w.T / 0.25 / precision
    gain_c = (c - w.T @ b / 0.25) / precision
    model.posterior.head.set_weights(normal_weights(np.concatenate([gain_x, gain_c], axis=1), precision**-0.5))
    return model, w, b, c


def test_the_conditional_log_likelihood_is_exact():
    model, w, b, c = linear_conditional()
    x, condition = RNG.normal(size=(9, 3)).astype("float32"), RNG.normal(size=(9, 2)).astype("float32")
    noise = scipy.stats.multivariate_normal(np.zeros(3), w @ w.T + 0.25 * np.eye(3))
    expected = noise.logpdf(x - condition @ (w @ c + b).T)
    with sampling(4, fold(1)):
        weights = model((x, condition)).log_weight
    np.testing.assert_allclose(weights, np.broadcast_to(expected, (4, 9)), atol=1e-4)  # the posterior is exact
    score = log_likelihood(model, (x, condition), samples=3, batch_size=4, verbose=0)
    np.testing.assert_allclose(score.values, expected, atol=1e-4)
    pairs = tf.data.Dataset.from_tensor_slices((x, condition)).batch(4)
    np.testing.assert_allclose(log_likelihood(model, pairs, samples=3, verbose=0).values, expected, atol=1e-4)


def test_conditions_reach_generation():
    model, w, b, c = linear_conditional()
    condition = np.repeat(np.array([[1.0, -2.0], [0.5, 0.3]], "float32"), 20_000, axis=0)
    means = model.generate(condition, seed=1).numpy().reshape(2, 20_000, 3).astype(np.float64)
    expected = condition[::20_000] @ (w @ c + b).T
    assert np.all(np.abs(means.mean(axis=1) - expected) < 5 * np.abs(w).T / np.sqrt(20_000))
    np.testing.assert_allclose(model.generate(condition[:3], temperature=0.0), condition[:3] @ (w @ c + b).T, rtol=1e-4)


def test_fit_takes_conditions_in_every_form():
    x, y = RNG.integers(0, 2, (12, 5)).astype("float32"), one_hot()
    pairs = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    losses = []
    for data in ({"x": x, "y": y, "batch_size": 4, "shuffle": False}, {"x": pairs}):
        keras.utils.set_random_seed(0)
        model = conditional()
        model.compile("adam", run_eagerly=True)
        options = {"validation_data": (x, y), "validation_batch_size": 4, "verbose": 0}
        losses.append(model.fit(**data, epochs=2, **options).history["val_loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    predicted = model.predict((x, y), verbose=0)
    np.testing.assert_allclose(predicted, model.reconstruct(x, y), rtol=1e-5)
    assert not np.allclose(predicted, model.predict((x, y[::-1]), verbose=0))
    weighted = model.evaluate(x, y, sample_weight=np.ones(12), verbose=0)
    np.testing.assert_allclose(weighted, model.evaluate(x, y, verbose=0), rtol=1e-6)


def test_missing_and_misshapen_conditions():
    model, x = conditional(), np.ones([12, 5], "float32")
    model.compile("adam")
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="ConditionalVAE needs the condition of each example as y"):
            call(x, verbose=0)
        with pytest.raises(ValueError, match=r"ConditionalVAE needs conditions of shape \(batch, 3\).*one-hot"):
            call(x, np.zeros(12), verbose=0)
    with pytest.raises(ValueError, match="ConditionalVAE needs the condition of each example as y"):
        model.fit(x, sample_weight=np.ones(12), verbose=0)


def test_a_vamp_prior_needs_a_posterior_of_the_data_alone():
    part = conditional()
    model = kv.ConditionalVAE(part.posterior, part.likelihood, kv.VampPrior(2), condition_shape=3)
    with pytest.raises(ValueError, match=r"VampPrior.* needs a posterior whose context is one tensor, the data"):
        model.build((None, 5))


def test_conditions_are_checked_wherever_they_are_given():
    model = CASES["ConditionalVAE"].compiled()
    x, y = CASES["ConditionalVAE"].arrays()
    model.build(x.shape)
    labels = np.arange(len(x))
    calls = [
        lambda c: model.generate(c),
        lambda c: model.encode(x, c),
        lambda c: model.reconstruct(x, c),
        lambda c: model.decode(model.sample_prior(y), c),
        lambda c: model.importance_weights((x, c), 2),
    ]
    for call in calls:
        for condition in (labels, y[0], np.ones((2, y.shape[1] + 1), "float32")):
            with pytest.raises(ValueError, match=r"ConditionalVAE needs conditions of shape \(batch, "):
                call(condition)
    with pytest.raises(ValueError, match=r"ConditionalVAE needs conditions of shape .* Received: \(\)"):
        model.generate(5)
    with pytest.raises(ValueError, match=r"ConditionalVAE needs the condition of each example as y"):
        model.predict(x, verbose=0)


def test_a_hierarchy_takes_a_prior_that_ignores_the_layer_above():
    keras.utils.set_random_seed(0)
    model = kv.HierarchicalVAE(
        posteriors=[kv.Normal(4, encoder(5)), kv.Normal(2, decoder(4))],
        likelihood=kv.Bernoulli(5, decoder(4)),
        priors=[kv.StandardNormal(4), kv.StandardNormal(2)],
    )
    model.build((None, 5))
    draws = model.sample_prior(7, seed=1)
    assert {name: tuple(draw.shape) for name, draw in draws.items()} == {"z1": (7, 4), "z2": (7, 2)}
    assert len(np.unique(draws["z1"].numpy()[:, 0])) == 7
    assert model.generate(7, seed=1).shape == (7, 5)
    with sampling(3, fold(0)):
        trace = model(np.zeros((6, 5), "float32"))
    z1 = trace.latents["z1"]
    np.testing.assert_allclose(z1.log_prior, scipy.stats.norm.logpdf(z1.value).sum(axis=-1), rtol=1e-5)


def test_models_that_are_not_compiled_have_programs_of_their_own():
    x = np.ones((4, 6), "float32")
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        model = kv.VAE(kv.Normal(2), kv.Bernoulli(6), kv.StandardNormal(2))
        model.build((None, 6))
        np.testing.assert_allclose(model.predict(x, verbose=0), model.reconstruct(x), rtol=1e-6)
