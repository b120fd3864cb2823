"""State-space models against the Kalman filter, by hand, and under padding."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import CASES
from tensorflow_probability import distributions as tfd

import keras_vae as kv
from keras_vae.noise import fold
from keras_vae.sampling import sampling

STEPS = 6
TRANSITION = np.array([[0.8, -0.4], [0.4, 0.8]])
EMISSION = np.array([[1.0, 0.5], [-0.3, 1.0]])
NOISE, ERROR = 0.5, 0.7
SYSTEM = tfd.LinearGaussianStateSpaceModel(
    STEPS,
    tf.linalg.LinearOperatorFullMatrix(TRANSITION.astype("float32")),
    tfd.MultivariateNormalDiag(scale_diag=[NOISE, NOISE]),
    tf.linalg.LinearOperatorFullMatrix(EMISSION.astype("float32")),
    tfd.MultivariateNormalDiag(scale_diag=[ERROR, ERROR]),
    tfd.MultivariateNormalDiag(scale_diag=[1.0, 1.0]),
)
X = SYSTEM.sample(40, seed=[1, 2]).numpy()
NAMES = ["DeepKalmanFilter", "VariationalRNN"]


def joint_covariance(steps: int) -> np.ndarray:
    """Of x[1..steps] under the system, shape (2 steps, 2 steps), written down without a filter."""
    blocks, variances = np.zeros((steps, 2, steps, 2)), [np.eye(2)]
    for _ in range(steps - 1):
        variances.append(TRANSITION @ variances[-1] @ TRANSITION.T + NOISE**2 * np.eye(2))
    for one in range(steps):
        for other in range(one, steps):
            block = EMISSION @ np.linalg.matrix_power(TRANSITION, other - one) @ variances[one] @ EMISSION.T
            blocks[other, :, one], blocks[one, :, other] = block, block.T
        blocks[one, :, one] += ERROR**2 * np.eye(2)
    return blocks.reshape(2 * steps, 2 * steps)


def log_density(x: np.ndarray) -> float:
    """Of the observed values of a series, shape (steps, 2)."""
    flat = x.reshape(-1).astype(float)
    known = np.flatnonzero(~np.isnan(flat))
    covariance = joint_covariance(len(x))[np.ix_(known, known)]
    distance = flat[known] @ np.linalg.solve(covariance, flat[known])
    return -0.5 * (distance + np.linalg.slogdet(2 * np.pi * covariance)[1])


def padded(x, steps):
    """With steps of NaN after the end."""
    return np.concatenate([x, np.full((len(x), steps, x.shape[2]), np.nan, x.dtype)], axis=1)


def of_system() -> kv.DeepKalmanFilter:
    """A model whose generative part is the system, and whose posterior is near to p(z[t] | z[t-1], x[t])."""
    model = kv.DeepKalmanFilter(
        encoder=kv.ObservedSeries(),  # x[t] itself, 0 where it is missing
        posterior=kv.Normal(2),
        transition=kv.LearnedScaleNormal(2, initial_scale=NOISE),
        likelihood=kv.LearnedScaleNormal(2, initial_scale=ERROR),
        initial=kv.FixedScaleNormal(2, scale=1.0),
        steps=STEPS,
    )
    model.build((None, STEPS, 2))
    model.transition.head.kernel.assign(TRANSITION.T)
    model.likelihood.head.kernel.assign(EMISSION.T)
    gain = EMISSION.T @ np.linalg.inv(EMISSION @ EMISSION.T + (ERROR / NOISE) ** 2 * np.eye(2))
    kernel = np.zeros((6, 2, 2))  # of z[t-1], x[t] and what is observed, to loc and scale of each value
    kernel[:2, :, 0], kernel[2:4, :, 0] = ((np.eye(2) - gain @ EMISSION) @ TRANSITION).T, gain.T
    model.posterior.head.kernel.assign(kernel.reshape(6, 4))
    model.posterior.head.bias.assign([0, -0.2, 0, -0.2])  # scales of 0.6
    return model


@pytest.fixture(scope="module")
def system():
    return of_system()


def built(name):
    model = CASES[name].compiled(run_eagerly=True)
    model.build((None, 4, 3))
    return model


# --- the linear-Gaussian system ---------------------------------------------------------------------------------------


def test_the_density_by_hand_is_that_of_the_kalman_filter():
    np.testing.assert_allclose([log_density(x) for x in X[:5]], SYSTEM.log_prob(X[:5]), rtol=1e-4)


def test_importance_sampling_comes_to_the_exact_likelihood_from_below(system):
    exact = SYSTEM.log_prob(X[:8]).numpy()
    with sampling(500, fold(4)):
        trace = system(X[:8])
    bound = (trace.log_likelihood - trace.kl).numpy()
    assert (bound.mean(axis=0) - 4 * bound.std(axis=0) / np.sqrt(500) < exact).all()
    assert bound.mean() < exact.mean()
    log_p, effective = system.importance_weights(X[:8], 8000, seed=1)
    assert effective.numpy().min() > 50
    assert (np.abs(log_p - exact) < 5 / np.sqrt(effective)).all()


def test_importance_sampling_with_missing_values_and_steps(system):
    x = X[:6].copy()
    x[0, 2], x[1, 3, 0], x[2, 4:], x[3, 0], x[4, 1:4] = np.nan, np.nan, np.nan, np.nan, np.nan
    log_p, effective = system.importance_weights(x, 4000, seed=1)
    assert (np.abs(log_p - [log_density(each) for each in x]) < 5 / np.sqrt(effective)).all()


def test_scores_by_step_are_the_predictive_densities_of_the_kalman_filter(system):
    found = -kv.evaluation.step_scores(system, X[:5], samples=20_000, seed=1)
    np.testing.assert_allclose(found, SYSTEM.forward_filter(X[:5])[0], atol=0.08)
    x = X[:5].copy()
    x[0, 2], x[1, 3, 1], x[2, 4:] = np.nan, np.nan, np.nan
    found = -kv.evaluation.step_scores(system, x, samples=20_000, seed=1)
    for series, scores in zip(x, found, strict=True):
        exact = np.diff([0, *(log_density(series[: step + 1]) for step in range(STEPS))])
        seen = ~np.isnan(series).all(axis=1)
        np.testing.assert_array_equal(np.isnan(scores), ~seen)
        np.testing.assert_allclose(scores[seen], exact[seen], atol=0.08)


def test_the_filter_needs_no_good_posterior():
    model = of_system()
    model.posterior.head.bias.assign([4.0, -0.2, -4.0, -0.2])  # far from where z is
    found = model.step_log_likelihoods(X[:5], 20_000, seed=1)
    np.testing.assert_allclose(found, SYSTEM.forward_filter(X[:5])[0], atol=0.15)


def test_forecasts_have_the_moments_of_the_kalman_filter(system):
    x = X[:4].copy()
    x[0, 3:], x[1, 2, 0] = np.nan, np.nan  # a shorter series, and a missing value
    found = system.forecast(x, 3, 20_000, seed=2)
    assert found.draws.shape == (20_000, 4, 3, 2)
    for series, draws in zip(x, np.moveaxis(found.draws, 1, 0), strict=True):
        length = 3 if np.isnan(series[3:]).all() else STEPS
        covariance, flat = joint_covariance(length + 3), series[:length].reshape(-1)
        known = np.flatnonzero(~np.isnan(flat))
        later = np.arange(2 * length, 2 * length + 6)
        gain = np.linalg.solve(covariance[np.ix_(known, known)], covariance[np.ix_(known, later)]).T
        mean = gain @ flat[known]
        spread = np.sqrt(np.diag(covariance[np.ix_(later, later)] - gain @ covariance[np.ix_(known, later)]))
        np.testing.assert_allclose(draws.mean(axis=0).reshape(-1), mean, atol=0.05)
        np.testing.assert_allclose(draws.std(axis=0).reshape(-1), spread, rtol=0.04)
    low, high = found.interval(0.5)
    inside = ((found.draws >= low) & (found.draws <= high)).mean(axis=0)
    np.testing.assert_allclose(inside, 0.5, atol=1e-3)


def test_intervals_of_the_true_model_cover_what_they_say(system):
    longer = tfd.LinearGaussianStateSpaceModel(**(SYSTEM.parameters | {"num_timesteps": 12}))
    series = longer.sample(200, seed=[5, 6]).numpy()
    series[:30, 9] = np.nan
    found = kv.evaluation.forecast_coverage(system, series, steps=6, level=0.8, samples=300, seed=1)
    assert abs(found.share - 0.8) < 4 * found.standard_error
    assert 0.001 < found.standard_error < 0.03
    assert found.by_step.shape == (6,)
    assert "% of the values in the 80 % intervals of 6 steps" in str(found)


def test_a_spike_has_the_highest_score(system):
    x = X[:20].copy()
    x[:, 3, 0] += 8
    assert (kv.evaluation.step_scores(system, x, 500).argmax(axis=1) == 3).all()


def test_the_closed_kl_is_that_of_draws(system):
    with sampling(3000, fold(1)):
        latent = system(padded(X[:3], 2)).latents["z"]
    difference = (latent.kl + latent.log_ratio).numpy()  # of mean 0
    assert (np.abs(difference.mean(axis=0)) < 4 * difference.std(axis=0) / np.sqrt(len(difference))).all()


def test_draws_of_the_prior_have_the_moments_of_the_system(system):
    x = system.sample(8000, seed=1).numpy().reshape(8000, -1)
    np.testing.assert_allclose(np.cov(x.T), joint_covariance(STEPS), atol=0.12)
    np.testing.assert_allclose(system.sample_prior(5, 1, temperature=0.0), 0, atol=1e-6)


@pytest.mark.slow
def test_a_trained_bound_is_within_a_hundredth_of_the_exact_likelihood():
    train, test = SYSTEM.sample(2000, seed=[7, 1]).numpy(), SYSTEM.sample(1000, seed=[7, 2]).numpy()
    keras.utils.set_random_seed(0)
    model = kv.DeepKalmanFilter(
        encoder=kv.recurrent_smoother((None, 2), 16),
        posterior=kv.FullCovarianceNormal(2, kv.dense_encoder(18, [32])),
        transition=kv.LearnedScaleNormal(2),
        likelihood=kv.LearnedScaleNormal(2),
        initial=kv.FullCovarianceNormal(2),
    )
    rate = keras.optimizers.schedules.CosineDecay(1e-2, 60 * 20, alpha=0.02)
    model.compile(keras.optimizers.Adam(rate), kv.ELBO(), jit_compile=True)
    model.fit(train, batch_size=100, epochs=60, verbose=0)
    with sampling(50, fold(1)):
        trace = model(test)
    bound = (trace.log_likelihood - trace.kl).numpy().mean(axis=0)
    gap = SYSTEM.log_prob(test).numpy() - bound
    error = gap.std() / np.sqrt(len(gap))
    assert gap.mean() > -2 * error
    assert gap.mean() + 2 * error < 0.01 * -SYSTEM.log_prob(test).numpy().mean()


# --- padding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_padding_never_counts(name):
    model, x = built(name), CASES[name].data()

    @tf.function(input_signature=[tf.TensorSpec([12, None, 3], x.dtype)])
    def loss_and_gradients(x):
        with tf.GradientTape() as tape, sampling(2, fold(1)):
            losses = model.loss(model(x))
            loss = tf.reduce_mean(losses)
        return losses, tape.gradient(loss, model.trainable_weights)

    losses, gradients = loss_and_gradients(x)
    assert np.isfinite(losses).all()
    for steps in (1, 100):
        again, others = loss_and_gradients(padded(x, steps))
        np.testing.assert_allclose(again, losses, rtol=1e-6)
        for one, other in zip(gradients, others, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.encode(padded(x, 3)).mean()[:, :4], model.encode(x).mean(), rtol=1e-5, atol=1e-6)
    for answer in (model.forecast, model.step_log_likelihoods):
        one, other = (answer(given, **({"steps": 2} if answer == model.forecast else {}), num_samples=10, seed=1)
                      for given in (x, padded(x, 100)))  # fmt: skip
        one, other = (each.draws if isinstance(each, kv.Forecast) else each[:, :4] for each in (one, other))
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_padding_does_not_change_a_training(name):
    histories, x = [], CASES[name].data()
    for steps in (0, 1, 100):
        model = CASES[name].compiled()
        history = model.fit(padded(x, steps), epochs=2, batch_size=8, verbose=0).history
        histories.append(history)
        assert {"loss", "kl", "log_likelihood", "nats_per_step"} <= set(history)
    for history in histories[1:]:
        for key, values in histories[0].items():
            np.testing.assert_allclose(history[key], values, rtol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_a_series_of_nothing_has_a_bound_of_0(name):
    model, x = built(name), CASES[name].data()
    x[0] = np.nan
    with sampling(3, fold(1)):
        trace = model(x)
    assert (trace.log_weight[:, 0].numpy() == 0).all()
    assert (trace.kl[:, 0].numpy() == 0).all()
    assert (trace.kl[:, 1:].numpy() > 0).all()
    np.testing.assert_array_equal(trace.units["step"], [0, 3, *[4] * 10])


# --- how z is inferred ------------------------------------------------------------------------------------------------


def normal_log_density(value, loc, scale):
    return float(tf.reduce_sum(tfd.Normal(loc, scale).log_prob(value)))


def test_the_deep_kalman_filter_is_its_steps_one_by_one():
    model, x = built("DeepKalmanFilter"), np.nan_to_num(CASES["DeepKalmanFilter"].data(), nan=0.5)
    with sampling(2, fold(3)):
        trace = model(x)
    features, z = model.encoder(x)[5:6], trace.latents["z"].value[1, 5:6]
    log_p = log_q = log_x = 0.0
    before = tf.zeros([1, 2])
    for step in range(4):
        now = z[:, step]
        log_q += model.posterior(tf.concat([before, features[:, step]], axis=-1)).log_prob(now)[0]
        log_p += (model.transition(before) if step else model.initial()).log_prob(now)[()]
        log_x += model.likelihood(now).log_prob(x[5:6, step])[0]
        before = now
    latent = trace.latents["z"]
    np.testing.assert_allclose(latent.log_posterior[1, 5], np.squeeze(log_q), rtol=1e-5)
    np.testing.assert_allclose(latent.log_prior[1, 5], np.squeeze(log_p), rtol=1e-5)
    np.testing.assert_allclose(trace.log_likelihood[1, 5], np.squeeze(log_x), rtol=1e-5)


def test_the_variational_rnn_is_its_steps_one_by_one():
    model, x = built("VariationalRNN"), CASES["VariationalRNN"].data()
    with sampling(2, fold(3)):
        trace = model(x)
    z = trace.latents["z"].value[1, 5:6]
    log_p = log_q = log_x = 0.0
    h = tf.zeros([1, 5])
    for step in range(4):
        y = ((x[5:6, step] - 1) / 2).astype("float32")
        known = ~np.isnan(y)
        seen, now = tf.concat([np.where(known, y, 0), known.astype("float32")], axis=-1), z[:, step]
        log_q += model.posterior(tf.concat([h, seen], axis=-1)).log_prob(now)[0]
        log_p += model.prior(h).log_prob(now)[0]
        student = model.likelihood.layer(tf.concat([h, now], axis=-1)).distribution
        log_x += np.where(known, student.log_prob(np.where(known, y, 0)) - np.log(2), 0).sum()
        _, (h,) = model.cell(tf.concat([seen, now], axis=-1), [h])
    latent = trace.latents["z"]
    np.testing.assert_allclose(latent.log_posterior[1, 5], log_q, rtol=1e-4)
    np.testing.assert_allclose(latent.log_prior[1, 5], log_p, rtol=1e-4)
    np.testing.assert_allclose(trace.log_likelihood[1, 5], log_x, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_draws_of_each_step_have_noise_of_their_own(name):
    model = built(name)
    with sampling(500, fold(3)):
        latent = model(np.zeros((1, 4, 3))).latents["z"]
    q = latent.posterior
    parts = [q.distribution] if q.first is None else [q.first, q.distribution]
    loc = np.concatenate([np.reshape(part.mean(), (500, -1, 2)) for part in parts], axis=1)
    scale = np.concatenate([np.reshape(part.stddev(), (500, -1, 2)) for part in parts], axis=1)
    noise = ((latent.value[:, 0].numpy() - loc) / scale).reshape(500, 8)
    correlation = np.corrcoef(noise.T) - np.eye(8)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(500)
    np.testing.assert_allclose(noise.std(axis=0), 1, atol=4 / np.sqrt(2 * 500))


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_draws_what_is_drawn_eagerly(name):
    model, x = built(name), CASES[name].data()

    def draw(x):
        with sampling(2, fold(9)):
            return model(x).latents["z"].value

    np.testing.assert_allclose(tf.function(draw)(x), draw(x), atol=1e-5)


def test_a_recurrent_forecast_is_fed_with_its_own_draws():
    model, x = built("VariationalRNN"), CASES["VariationalRNN"].data()
    draws = model.forecast(x, 3, 50, seed=1).draws
    assert draws.dtype == np.float64
    assert np.isfinite(draws).all()
    np.testing.assert_array_equal(draws, model.forecast(x, 3, 50, seed=1).draws)
    assert np.abs(draws - model.forecast(x, 3, 50, seed=2).draws).max() > 0.1


@pytest.mark.parametrize("objective", [kv.IWAE(3), kv.StickingTheLanding()], ids=["IWAE", "StickingTheLanding"])
def test_objectives_train_it(objective):
    model, x = CASES["DeepKalmanFilter"].compiled(), CASES["DeepKalmanFilter"].data()
    model.compile(keras.optimizers.Adam(1e-2), objective, jit_compile=False, run_eagerly=True)
    losses = model.fit(x, epochs=6, batch_size=12, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


# --- how it is run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DeepKalmanFilter", pytest.param("VariationalRNN", marks=pytest.mark.slow)])
def test_a_training_that_is_resumed_is_the_same_bit_for_bit(name, tmp_path):
    x = CASES[name].data()
    whole = CASES[name].compiled()
    whole.fit(x, epochs=3, batch_size=6, verbose=0)
    part = CASES[name].compiled()
    part.fit(x, epochs=1, batch_size=6, verbose=0)
    part.save(tmp_path / "model.keras")
    again = kv.load_model(tmp_path / "model.keras")
    again.fit(x, epochs=3, initial_epoch=1, batch_size=6, verbose=0)
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_does_not_fit_is_refused(system):
    parts = {
        "encoder": kv.recurrent_filter((None, 3), 4),
        "posterior": kv.Normal(2),
        "transition": kv.Normal(2),
        "likelihood": kv.Normal(3),
        "initial": kv.Normal(2),
    }

    def made(**changed):
        return kv.DeepKalmanFilter(**(parts | changed))

    with pytest.raises(TypeError, match=r"DeepKalmanFilter needs transition to be a distribution layer.*Received: 3"):
        made(transition=3)
    with pytest.raises(TypeError, match=r"DeepKalmanFilter needs encoder to be a network.*Received: 'gru'"):
        made(encoder="gru")
    with pytest.raises(ValueError, match=r"needs posterior and initial of one event shape.*\(2,\) and \(3,\)"):
        made(initial=kv.Normal(3))
    with pytest.raises(ValueError, match=r"needs a posterior of a vector whose parameters.*InverseAutoregressiveFlow"):
        made(posterior=kv.InverseAutoregressiveFlow(2, kv.dense_encoder(6)))
    with pytest.raises(ValueError, match=r"whose draws are of one kind.*Normal.*LogNormal"):
        made(transition=kv.LogNormal(2))
    with pytest.raises(ValueError, match=r"TimeSeries needs a layer of event shape \(channels,\).*\(2, 3\)"):
        made(likelihood=kv.Normal((2, 3)))
    with pytest.raises(ValueError, match="Columns needs columns whose density does not depend on the batch"):
        made(likelihood=kv.OptimalScaleNormal(3))
    with pytest.raises(ValueError, match="DeepKalmanFilter needs steps to be a whole number"):
        made(steps=0)
    with pytest.raises(ValueError, match=r"encoder whose features are of shape \(batch, steps, features\)"):
        made(encoder=kv.recurrent_encoder((None, 3), 4)).build((None, 4, 3))
    with pytest.raises(TypeError, match=r"VariationalRNN needs cell to be a Keras cell with one state.*LSTMCell"):
        kv.VariationalRNN(keras.layers.LSTMCell(3), kv.Normal(2), kv.Normal(2), kv.Normal(3))
    with pytest.raises(ValueError, match=r"DeepKalmanFilter needs series of shape \(batch, any, 2\)"):
        system.encode(np.zeros((2, 4, 3)))
    bad = np.zeros((2, 4, 2), "float32")
    bad[1, 2, 0] = np.inf
    with pytest.raises(ValueError, match="Received: infinity, first in series 1, step 2, channel 0"):
        system.encode(bad)
    with pytest.raises(ValueError, match=r"DeepKalmanFilter.forecast needs a value in each series.*series 1"):
        system.forecast(np.stack([X[0], np.full_like(X[0], np.nan)]), 2)
    with pytest.raises(ValueError, match=r"DeepKalmanFilter.forecast needs steps to be a whole number"):
        system.forecast(X, 0)
    with pytest.raises(ValueError, match=r"DeepKalmanFilter.forecast needs weights"):
        made().forecast(np.zeros((2, 4, 3)), 2)
    with pytest.raises(TypeError, match=r"forecast_coverage needs a state-space model.*Received: a VAE"):
        kv.evaluation.forecast_coverage(CASES["Bernoulli"].model(), X, 2)
    with pytest.raises(ValueError, match=r"forecast_coverage needs series.*steps=6"):
        kv.evaluation.forecast_coverage(system, X, 6)
    with pytest.raises(ValueError, match="forecast_coverage needs level to be between 0 and 1"):
        kv.evaluation.forecast_coverage(system, X, 2, level=90)
    with pytest.raises(TypeError, match="step_scores needs a state-space model"):
        kv.evaluation.step_scores(None, X)


def test_a_figure_has_the_forecast_beside_what_came(system):
    figure = kv.plotting.forecasts(system, X[:3], steps=2, samples=50)
    assert len(figure.axes) == 6
    lines = figure.axes[0].lines
    np.testing.assert_array_equal(lines[1].get_ydata(), X[0, :, 0])
    np.testing.assert_array_equal(lines[2].get_ydata(), X[0, 4:, 0])
    mean = system.forecast(X[:3, :4], 2, 50, 0).mean
    np.testing.assert_allclose(lines[0].get_ydata(), mean[0, :, 0], rtol=1e-5)
    with pytest.raises(ValueError, match=r"plotting.forecasts needs series.*steps=6"):
        kv.plotting.forecasts(system, X, 6)
