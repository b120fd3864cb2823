"""Every objective: its value by hand, its mean gradient against quadrature or enumeration, and what it refuses."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import binary_images, sparse

import keras_vae as kv
from keras_vae.callbacks import CyclicalSchedule, ExponentialSchedule, LinearSchedule, Schedule
from keras_vae.distributions.transforms import TransformedNormal
from keras_vae.noise import fold
from keras_vae.objectives.aggregate import squared_mmd
from keras_vae.objectives.base import scheduled
from keras_vae.sampling import sampling

tfd = tfp.distributions

X = np.array([[0.8, -0.5]], "float32")
SCALE = 0.6  # of the likelihood


def linear_model() -> kv.VAE:
    """One latent variable, two values, and a posterior that is not the exact one."""
    keras.utils.set_random_seed(3)
    model = kv.VAE(kv.Normal(1), kv.FixedScaleNormal(2, scale=SCALE), kv.StandardNormal(1))
    model.build((None, 2))
    model.posterior.head.set_weights([np.array([[0.3, -0.2], [0.5, 0.1]]), np.array([0.2, 0.4])])
    model.likelihood.head.set_weights([np.array([[0.9, -0.7]]), np.array([0.1, -0.3])])
    return model


def bernoulli_model() -> kv.VAE:
    """Two binary latent variables, three binary values."""
    keras.utils.set_random_seed(4)
    model = kv.VAE(kv.Bernoulli(2), kv.Bernoulli(3), kv.Bernoulli(2))
    model.build((None, 3))
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(len(weight.shape)).normal(size=weight.shape))
    return model


def gradients_of_draws(model, objective, x, count, examples, seed=0) -> np.ndarray:
    """`count` gradients of the loss, each the mean over the draws of `examples` copies of x: [count, weights]."""
    batch = tf.repeat(tf.constant(x), examples, axis=0)

    @tf.function
    def gradient(seed):
        with tf.GradientTape() as tape, sampling(objective.samples, fold(seed), objective.path):
            loss = tf.reduce_mean(objective(model(batch, training=True)))
        return tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(loss, model.trainable_weights)], axis=0)

    return np.stack([gradient(tf.constant(seed + number)) for number in range(count)]).astype(np.float64)


def assert_mean(draws: np.ndarray, expected: np.ndarray, deviations: float = 3.0) -> None:
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - expected), deviations * error + 1e-6)


def elbo(log_weight, axis=-1):
    return tf.reduce_mean(log_weight, axis)


def log_mean(log_weight, axis=-1):
    return tf.reduce_logsumexp(log_weight, axis) - np.log(log_weight.shape[axis])


def renyi(log_weight):
    return 2 * log_mean(0.5 * log_weight)


def gradient_by_quadrature(model, bound, samples) -> np.ndarray:
    """d(-E bound)/d(weights), by Gauss-Hermite quadrature over the noise, in float64 and without the library."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60 if samples == 1 else 40)
    noise = np.array(list(itertools.product(nodes, repeat=samples)))  # [points, samples]
    mass = np.prod(list(itertools.product(weights / weights.sum(), repeat=samples)), axis=-1)
    variables = [tf.Variable(weight, dtype=tf.float64) for weight in model.get_weights()]
    encode, encode_bias, decode, decode_bias = variables
    x = tf.constant(X[0], tf.float64)

    def log_normal(value, loc, scale):
        return -0.5 * ((value - loc) / scale) ** 2 - tf.math.log(scale) - 0.5 * np.log(2 * np.pi)

    with tf.GradientTape() as tape:
        loc, raw = tf.unstack(tf.linalg.matvec(encode, x, transpose_a=True) + encode_bias)
        scale = 1e-3 + tf.math.softplus(raw)
        z = loc + scale * noise
        mean = z[..., None] * decode[0] + decode_bias
        log_joint = log_normal(z, 0.0, tf.constant(1.0, tf.float64)) + tf.reduce_sum(
            log_normal(x, mean, tf.constant(SCALE, tf.float64)), axis=-1
        )
        loss = -tf.reduce_sum(mass * bound(log_joint - log_normal(z, loc, scale)))
    return np.concatenate([np.ravel(g) for g in tape.gradient(loss, variables)])


GAUSSIAN = {
    "ELBO": (kv.ELBO(), elbo, 1),
    "StickingTheLanding": (kv.StickingTheLanding(), elbo, 1),
    "ScoreFunction": (kv.ScoreFunction(), elbo, 1),
    "IWAE": (kv.IWAE(2), log_mean, 2),
    "DoublyReparameterized": (kv.DoublyReparameterized(2), log_mean, 2),
    "VIMCO": (kv.VIMCO(2), log_mean, 2),
    "Renyi": (kv.Renyi(0.5, 2), renyi, 2),
}


@pytest.mark.parametrize("name", GAUSSIAN)
def test_mean_gradient_is_that_of_the_bound_on_a_linear_gaussian_model(name):
    """100,000 draws of each estimator, within 3 standard errors for each weight."""
    objective, bound, samples = GAUSSIAN[name]
    model = linear_model()
    assert_mean(gradients_of_draws(model, objective, X, 100, 1000), gradient_by_quadrature(model, bound, samples))


def gradient_by_enumeration(model, x, bound, samples) -> np.ndarray:
    """d(-E bound)/d(weights), the sum over all values of all draws."""
    states = np.array(list(itertools.product([0.0, 1.0], repeat=2)), "float32")
    draws = np.array(list(itertools.product(range(len(states)), repeat=samples)))  # [combinations, samples]
    with tf.GradientTape() as tape:
        log_q = model.posterior(x).log_prob(states)
        log_weight = model.prior().log_prob(states) + model.likelihood(states).log_prob(x) - log_q
        probability = tf.exp(tf.reduce_sum(tf.gather(log_q, draws), axis=-1))
        loss = -tf.reduce_sum(probability * bound(tf.gather(log_weight, draws)))
    return np.concatenate([np.ravel(g) for g in tape.gradient(loss, model.trainable_weights)])


DISCRETE = {
    "ScoreFunction": (kv.ScoreFunction(samples=2), elbo, 1),
    "VIMCO, 2": (kv.VIMCO(2), log_mean, 2),
    "VIMCO, 3": (kv.VIMCO(3), log_mean, 3),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_mean_gradient_is_that_of_the_bound_for_bernoulli_latents(name):
    objective, bound, samples = DISCRETE[name]
    model, x = bernoulli_model(), np.array([[1.0, 0.0, 1.0]], "float32")
    assert_mean(gradients_of_draws(model, objective, x, 100, 1000), gradient_by_enumeration(model, x, bound, samples))


def test_a_baseline_leaves_the_mean_and_takes_noise_away():
    """Of a signal far from zero, that is."""
    model, x = bernoulli_model(), np.array([[1.0, 0.0, 1.0]], "float32")
    model.likelihood.head.bias.assign([-5.0, 5.0, -5.0])
    expected = gradient_by_enumeration(model, x, elbo, 1)
    plain = gradients_of_draws(model, kv.ScoreFunction(), x, 400, 250)
    baseline = kv.MovingAverageBaseline(decay=0.9)
    baseline.build((None, 3))
    with sampling(1000, fold(0)):
        log_weight = model(x).log_weight.numpy()
    baseline.mean.assign(log_weight.mean())
    baseline.update = len  # averages that hold still: a gradient's mean is compared
    centred = gradients_of_draws(model, kv.ScoreFunction(baseline=baseline), x, 400, 250)
    assert_mean(centred, expected)
    posterior = slice(0, 8)  # its kernel and bias
    assert centred[:, posterior].var(axis=0).sum() < 0.1 * plain[:, posterior].var(axis=0).sum()


def test_the_moving_averages_become_mean_and_variance_of_the_signal():
    objective = kv.ScoreFunction(samples=50, baseline=kv.MovingAverageBaseline(decay=0.8))
    model, x = bernoulli_model(), np.array([[1.0, 0.0, 1.0]], "float32")
    gradients_of_draws(model, objective, x, 100, 20)
    with sampling(5000, fold(0)):
        log_weight = model(x).log_weight.numpy()
    error = log_weight.std() * np.sqrt(1 / 5000 + 0.2 / 1.8 / 1000)  # 0.2 / 1.8: of an average with decay 0.8
    assert abs(float(objective.baseline.mean) - log_weight.mean()) < 4 * error
    assert abs(float(objective.baseline.variance) - log_weight.var()) < 0.15 * log_weight.var()
    before = float(objective.baseline.mean)
    with sampling(50, fold(1)), scheduled(None):  # evaluation
        objective(model(x))
    assert float(objective.baseline.mean) == before


@pytest.mark.slow
@pytest.mark.slow
def test_a_learned_baseline_predicts_the_signal_of_each_example():
    model = bernoulli_model()
    x = np.array(list(itertools.product([0.0, 1.0], repeat=3)), "float32")
    baseline = kv.LearnedBaseline(kv.dense_encoder(3, [16]))
    model.compile(keras.optimizers.Adam(1e-2), kv.ScoreFunction(20, baseline), jit_compile=False)
    for layer in (model.posterior, model.likelihood, model.prior):
        layer.trainable = False
    model.fit(np.tile(x, (50, 1)), epochs=150, batch_size=50, verbose=0)
    with sampling(2000, fold(0)):
        expected = model(x).log_weight.numpy().mean(axis=0)
    assert np.std(expected) > 0.2
    np.testing.assert_allclose(baseline(x), expected, atol=0.15)


def test_a_learned_baseline_is_saved_with_the_model_and_leaves_with_its_objective(tmp_path):
    model, x = bernoulli_model(), np.ones([4, 3], "float32")
    baseline = kv.LearnedBaseline(kv.dense_encoder(3, [4]))
    model.compile("adam", kv.ScoreFunction(baseline=baseline), run_eagerly=True)
    model.fit(x, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = kv.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.loss.baseline(x), baseline(x))
    assert int(loaded.optimizer.iterations) == 1
    loaded.compile("adam", kv.VIMCO())
    assert len(loaded.weights) == len(bernoulli_model().weights)


def encoder_gradients(objective, count=2000) -> np.ndarray:
    """Gradients of single examples for the posterior's weights, [count, 6]."""
    model = linear_model()

    @tf.function
    def gradients(seeds):
        def one(seed):
            with tf.GradientTape() as tape, sampling(objective.samples, fold(seed), objective.path):
                loss = tf.reduce_mean(objective(model(tf.constant(X), training=True)))
            parts = tape.gradient(loss, model.posterior.trainable_weights)
            return tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)

        return tf.map_fn(one, seeds, fn_output_signature=tf.float32)

    return gradients(tf.range(count)).numpy().astype(np.float64)


def signal_to_noise(gradients: np.ndarray) -> float:
    return float(np.median(np.abs(gradients.mean(axis=0)) / gradients.std(axis=0)))


def test_doubly_reparameterized_gradients_have_less_noise_and_keep_their_signal():
    few, many = encoder_gradients(kv.IWAE(2)), encoder_gradients(kv.IWAE(64))
    doubly_few = encoder_gradients(kv.DoublyReparameterized(2))
    doubly_many = encoder_gradients(kv.DoublyReparameterized(64))
    assert np.all(doubly_few.var(axis=0) < few.var(axis=0))
    assert np.all(doubly_many.var(axis=0) < many.var(axis=0))
    assert signal_to_noise(many) < 0.5 * signal_to_noise(few)
    assert signal_to_noise(doubly_many) > signal_to_noise(doubly_few)


def test_sticking_the_landing_has_no_noise_at_the_exact_posterior():
    model = linear_model()
    decode = model.likelihood.head.get_weights()
    precision = 1 + (decode[0] ** 2).sum() / SCALE**2
    gain = decode[0].T / SCALE**2 / precision
    raw = np.log(np.expm1(precision**-0.5 - 1e-3))
    model.posterior.head.set_weights(
        [np.concatenate([gain, np.zeros([2, 1])], axis=1), np.array([-(decode[1] @ gain)[0], raw])]
    )
    noisy = gradients_of_draws(model, kv.ELBO(), X, 20, 1)[:, :6]
    still = gradients_of_draws(model, kv.StickingTheLanding(), X, 20, 1)[:, :6]
    assert np.abs(noisy).max() > 0.1
    assert np.abs(still).max() < 1e-5


def test_bounds_are_in_their_order():
    """ELBO <= IWAE(5) <= IWAE(50) <= log p(x), which is known."""
    model = linear_model()
    decode, bias = (weight.astype(np.float64) for weight in model.likelihood.head.get_weights())
    covariance = decode.T @ decode + SCALE**2 * np.eye(2)
    difference = X[0] - bias
    log_p = -0.5 * (
        difference @ np.linalg.solve(covariance, difference) + np.linalg.slogdet(covariance)[1] + 2 * np.log(2 * np.pi)
    )
    batch = np.repeat(X, 20_000, axis=0)
    bounds, errors = [], []
    for objective in (kv.ELBO(), kv.IWAE(5), kv.IWAE(50)):
        with sampling(objective.samples, fold(1)):
            values = -objective(model(batch)).numpy().astype(np.float64)
        bounds.append(values.mean())
        errors.append(values.std() / np.sqrt(len(values)))
    assert bounds[0] + 5 * errors[0] < bounds[1] - 5 * errors[1]
    assert bounds[1] + 5 * errors[1] < bounds[2] - 5 * errors[2]
    assert bounds[2] <= log_p + 5 * errors[2]
    assert log_p - bounds[2] < 0.05


# --- values -----------------------------------------------------------------------------------------------------------


def trace_of(samples=3, batch=4):
    x = np.random.default_rng(0).normal(size=(batch, 2)).astype("float32")
    model = kv.VAE(kv.Normal(3, kv.dense_encoder(2, [8])), kv.FixedScaleNormal(2), kv.StandardNormal(3))
    with sampling(samples, fold(1)):
        return model(x)


def test_values_of_what_is_made_of_two_terms():
    trace = trace_of()
    kl, log_likelihood = trace.kl.numpy(), trace.log_likelihood.numpy()
    expect = functools.partial(np.testing.assert_allclose, rtol=1e-5)
    expect(kv.ELBO(beta=0.3, samples=3)(trace), (0.3 * kl - log_likelihood).mean(axis=0))
    expect(kv.ELBO(beta={"z": 0.3}, samples=3)(trace), (0.3 * kl - log_likelihood).mean(axis=0))
    expect(kv.ELBO(free_nats=100.0)(trace), 100 - log_likelihood.mean(axis=0))
    expect(kv.ELBO(free_nats=1e-6)(trace), (kl - log_likelihood).mean(axis=0))
    expect(kv.Capacity(2.0, gamma=3.0)(trace), (3 * np.abs(kl - 2) - log_likelihood).mean(axis=0))
    weight = trace.log_weight.numpy().astype(np.float64)
    expect(kv.Renyi(0.5, 3)(trace), -2 * np.log(np.exp(0.5 * weight).mean(axis=0)), rtol=1e-4)
    expect(kv.Renyi(0.0, 3)(trace), kv.IWAE(3)(trace))


def test_free_nats_stop_the_gradient_of_the_kl():
    model = linear_model()
    free = gradients_of_draws(model, kv.ELBO(free_nats=50.0), X, 1, 10)
    np.testing.assert_allclose(free, gradients_of_draws(model, kv.ELBO(beta=0.0), X, 1, 10))


def test_squared_mmd_against_loops():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 2)), rng.normal(1.0, size=(6, 2))

    def kernel(p, q):
        return np.exp(-((p - q) ** 2).sum() / 2)

    same = sum(kernel(s[i], s[j]) for s in (a, b) for i in range(6) for j in range(6) if i != j) / 30
    across = sum(kernel(p, q) for p in a for q in b) / 36
    got = squared_mmd(tf.constant(a, tf.float32), tf.constant(b, tf.float32))
    np.testing.assert_allclose(got, same - 2 * across, rtol=1e-5)
    alone = squared_mmd(tf.constant(a[:1], tf.float32), tf.constant(b[:1], tf.float32))
    np.testing.assert_allclose(alone, -2 * kernel(a[0], b[0]), rtol=1e-5)
    trace = trace_of(samples=1, batch=500)
    far = kv.InfoVAE(alpha=1.0, weight=1.0)(trace) + trace.log_likelihood[0]
    assert np.ptp(far) < 1e-4  # one number for all examples
    assert far[0] > 0.01  # posteriors that lie together are not the prior


def test_beta_tc_against_loops_and_the_elbo():
    trace = trace_of(samples=1, batch=5)
    latent = trace.latents["z"]
    loc, scale = latent.posterior.mean().numpy(), latent.posterior.stddev().numpy()
    z = latent.value.numpy()[0]
    density = np.exp(-0.5 * ((z[:, None] - loc) / scale) ** 2) / scale / np.sqrt(2 * np.pi)  # [i, j, d]
    joint = np.log(density.prod(axis=-1).sum(axis=1) / (5 * 100))
    factors = np.log(density.sum(axis=1) / (5 * 100)).sum(axis=-1)
    objective = kv.BetaTC(beta=4.0, examples=100)
    expected = -trace.log_weight[0] + 3 * (joint - factors)
    np.testing.assert_allclose(objective(trace), expected, rtol=1e-4)
    np.testing.assert_allclose(kv.BetaTC(beta=1.0, examples=100)(trace), -trace.log_weight[0], rtol=1e-5)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "objective", [kv.ELBO(), kv.IWAE(), kv.DoublyReparameterized(), kv.StickingTheLanding(), kv.Capacity()]
)
def test_discrete_latents_are_refused_before_the_first_step_by_what_needs_gradients_of_draws(objective):
    model, x = bernoulli_model(), np.ones([4, 3], "float32")
    model.compile("adam", objective)
    before = model.get_weights()
    with pytest.raises(TypeError, match=rf"{type(objective).__name__} needs draws that carry gradients.* Use VIMCO"):
        model.fit(x, verbose=0)
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert np.isfinite(model.evaluate(x, verbose=0)).all()  # a number without a gradient is no problem


REFUSED = [
    (lambda: kv.ELBO(beta=-1.0), "ELBO needs beta to be a number, 0 or more"),
    (lambda: kv.ELBO(beta={"z": "1"}), r"ELBO needs beta\['z'\] to be a number"),
    (lambda: kv.ELBO(free_nats=float("nan")), "ELBO needs free_nats to be a number, 0 or more"),
    (lambda: kv.IWAE(0), "IWAE needs samples to be a whole number, 1 or more"),
    (lambda: kv.VIMCO(1), "VIMCO needs samples to be a whole number, 2 or more"),
    (lambda: kv.Renyi(1), "Renyi needs alpha to be a number other than 1"),
    (lambda: kv.InfoVAE(alpha=2.0), r"InfoVAE needs alpha in \[0, 1\]"),
    (lambda: kv.BetaTC(1.0, examples=0), "BetaTC needs examples to be a whole number"),
    (lambda: kv.MovingAverageBaseline(decay=1.0), "MovingAverageBaseline needs decay .* less than 1"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message.split()[0] for _, message in REFUSED])
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_objectives_refuse_what_they_would_compute_wrongly():
    x = np.zeros([4, 2], "float32")

    def refuses(model, objective, message, y=None):
        model.compile("adam", objective)
        with pytest.raises(TypeError, match=message):
            model.fit(x, y, verbose=0)

    both = [keras.layers.Concatenate() for _ in range(2)]
    conditional = kv.ConditionalVAE(kv.Normal(3, both[0]), kv.FixedScaleNormal(2, both[1]), kv.Normal(3), 2)
    for objective in (kv.InfoVAE(), kv.BetaTC(2.0, examples=4)):
        refuses(conditional, objective, f"{type(objective).__name__} needs a model with one prior", y=x)
    flow = kv.VAE(kv.PlanarFlow(3, kv.dense_encoder(2)), kv.FixedScaleNormal(2), kv.StandardNormal(3))
    refuses(flow, kv.Capacity(), "Capacity needs a KL in closed form")
    for objective in (kv.StickingTheLanding(), kv.DoublyReparameterized()):
        refuses(flow, objective, "TransformedNormal needs .* a list. Use an objective that does not stop .* ELBO")
    refuses(kv.Autoencoder(kv.dense_encoder(2), kv.FixedScaleNormal(2)), kv.VIMCO(), "VIMCO needs a model with latent")
    relaxed = kv.VAE(kv.RelaxedOneHotCategorical(3), kv.FixedScaleNormal(2), kv.RelaxedOneHotCategorical(3))
    refuses(relaxed, kv.BetaTC(2.0, examples=4), "BetaTC needs a posterior of independent values")


def test_discrepancy_of_batches_of_unknown_size():
    model = linear_model()
    model.compile("adam", kv.InfoVAE(), jit_compile=False)
    history = model.fit(np.zeros([7, 2], "float32"), batch_size=4, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_what_does_not_fit_the_model():
    model, x = linear_model(), np.zeros([4, 2], "float32")
    model.compile("adam", kv.ELBO(beta={"u": 2.0}))
    with pytest.raises(ValueError, match=r"ELBO needs names of the latent variables z in beta. Received: u"):
        model.fit(x, verbose=0)
    with pytest.raises(ValueError, match=r"ELBO needs names of the latent variables z in beta. Received: u"):
        model.evaluate(x, verbose=0)
    correlated = kv.VAE(kv.LowRankNormal(3), kv.FixedScaleNormal(2), kv.StandardNormal(3))
    correlated.compile("adam", kv.BetaTC(2.0, examples=4))
    with pytest.raises(TypeError, match="BetaTC needs a posterior of independent values"):
        correlated.fit(x, verbose=0)
    with pytest.raises(TypeError, match="ScoreFunction needs baseline to be MovingAverageBaseline"):
        kv.ScoreFunction(baseline=0.5)


# --- schedules --------------------------------------------------------------------------------------------------------


def test_schedules():
    linear = LinearSchedule(start=0.0, end=2.0, epochs=4)
    assert [linear.value(epoch) for epoch in range(6)] == [0, 0.5, 1, 1.5, 2, 2]
    cyclical = CyclicalSchedule(period=4, rising=0.5)
    assert [cyclical.value(epoch) for epoch in range(9)] == [0, 0.5, 1, 1, 0, 0.5, 1, 1, 0]
    falling = ExponentialSchedule(start=1.0, end=0.25, epochs=2)
    assert [falling.value(epoch) for epoch in range(4)] == [1, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_scheduled_beta_is_that_of_training_and_never_that_of_validation(jit_compile):
    model, x = linear_model(), np.random.default_rng(0).normal(size=(32, 2)).astype("float32")
    model.compile(keras.optimizers.SGD(0.0), kv.ELBO(beta=2.0), jit_compile=jit_compile)
    logs = model.fit(
        x, epochs=3, batch_size=8, validation_data=x, callbacks=[LinearSchedule(end=1.0, epochs=2)], verbose=0
    ).history
    assert logs["beta"] == [0.0, 0.5, 1.0]
    for epoch, beta in enumerate([0.0, 0.5, 1.0]):
        assert np.isclose(logs["loss"][epoch], beta * logs["kl"][epoch] - logs["log_likelihood"][epoch], rtol=1e-4)
        expected = 2.0 * logs["val_kl"][epoch] - logs["val_log_likelihood"][epoch]
        assert np.isclose(logs["val_loss"][epoch], expected, rtol=1e-4)


def test_a_schedule_of_ones_own_is_in_the_logs_for_the_callbacks_after_it(tmp_path):
    class Halved(Schedule):
        def value(self, epoch):
            return 0.5**epoch

    model, x = linear_model(), np.ones([4, 2], "float32")
    model.compile(keras.optimizers.SGD(0.0), kv.ELBO(), jit_compile=False)
    logger = kv.callbacks.HistoryLogger(tmp_path / "history.csv")
    logs = model.fit(x, epochs=3, callbacks=[Halved("beta"), logger], verbose=0).history
    assert logs["beta"] == [float(row["beta"]) for row in logger.rows] == [1.0, 0.5, 0.25]


def test_a_resumed_schedule_equals_an_uninterrupted_one(tmp_path):
    x = np.random.default_rng(0).normal(size=(32, 2)).astype("float32")

    def fit(epochs, folder):
        model = linear_model()
        model.compile(keras.optimizers.Adam(1e-2), kv.Capacity(5.0), run_eagerly=True)
        callbacks = [kv.callbacks.BackupAndRestore(folder), LinearSchedule("capacity", 0.0, 5.0, epochs=4)]
        model.fit(x, epochs=epochs, callbacks=callbacks, verbose=0)
        return model.get_weights()

    fit(2, tmp_path / "interrupted")
    for resumed, whole in zip(fit(5, tmp_path / "interrupted"), fit(5, tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(resumed, whole)


def test_a_temperature_is_scheduled_and_saved(tmp_path):
    model = kv.VAE(kv.RelaxedBernoulli(2), kv.Bernoulli(3), kv.RelaxedBernoulli(2))
    model.compile("adam", jit_compile=False)
    model.fit(np.ones([4, 3], "float32"), epochs=3, callbacks=[ExponentialSchedule(epochs=2)], verbose=0)
    model.save(tmp_path / "model.keras")
    assert float(kv.load_model(tmp_path / "model.keras").posterior.current_temperature) == 0.5
    with pytest.raises(ValueError, match=r"LinearSchedule needs the name of a number .* ELBO \(beta\).*'gamma'"):
        model.fit(np.ones([4, 3], "float32"), callbacks=[LinearSchedule("gamma")], verbose=0)


def test_beta_tc_scores_relaxed_draws_by_their_logits():
    """In float64, by NumPy, from the logits: values of relaxed draws are rounded to 0 and 1."""
    keras.utils.set_random_seed(3)
    model = kv.VAE(kv.RelaxedBernoulli(2, temperature=0.1), kv.Bernoulli(3), kv.RelaxedBernoulli(2, temperature=0.1))
    model.build((None, 3))
    x = np.random.default_rng(0).integers(0, 2, (6, 3)).astype("float32")
    with sampling(40, fold(2)):
        trace = model(x, training=True)
    (latent,) = trace.latents.values()
    assert set(np.unique(latent.value)) & {0.0, 1.0}, "some draws are rounded"
    a, t = latent.posterior.distribution.logits.numpy().astype(np.float64), 0.1
    points = latent.drawn.point.numpy().astype(np.float64)[:, :, None]  # [samples, i, 1, 2]
    u = a - t * points  # [samples, i, j, 2]
    log_q = np.log(t) + u - 2 * np.logaddexp(0, u) + np.logaddexp(0, points) + np.logaddexp(0, -points)
    count = np.log(50) + np.log(6)
    joint = np.log(np.exp(log_q.sum(axis=-1)).sum(axis=2)) - count
    factors = (np.log(np.exp(log_q).sum(axis=2)) - count).sum(axis=-1)
    got = kv.BetaTC(2.0, examples=50).log_aggregate(latent)
    np.testing.assert_allclose(got[0], joint, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(got[1], factors, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("objective", [kv.VIMCO(3), kv.ScoreFunction(3)], ids=["VIMCO", "ScoreFunction"])
def test_score_functions_leave_a_flow_its_path_and_invert_nothing(objective, monkeypatch):
    """The gradient is that of the bound for draws that carry one."""
    keras.utils.set_random_seed(1)
    flow = kv.InverseAutoregressiveFlow(3, steps=2, units=[8], context_size=4)
    model = kv.VAE(flow, kv.FixedScaleNormal(2), kv.StandardNormal(3))
    model.build((None, 2))

    def gone(self, value):
        raise AssertionError("inverted")

    monkeypatch.setattr(TransformedNormal, "inverse", gone)
    x = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
    plain = kv.IWAE(3) if isinstance(objective, kv.VIMCO) else None
    gradients = []
    for each in (objective, plain):
        with tf.GradientTape() as tape, sampling(3, fold(4), None if each is None else each.path):
            trace = model(x, training=True)
            loss = -tf.reduce_mean(trace.log_weight, axis=0) if each is None else each(trace)
        gradients.append(tape.gradient(loss, model.trainable_weights))
    for found, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_vimco_where_draws_weigh_nothing(zeros):
    """Value and signal are those of the formula, in float64; a draw whose gain has no finite size gets none."""
    log_weight = np.array([-1.0, 0.5, 0.2, -0.3])
    log_weight[:zeros] = -np.inf
    likelihood, prior = tfd.Deterministic(0.0), tfd.Independent(tfd.Bernoulli(logits=[0.0]), 1)
    draws, logits = tf.constant([1.0, 0.0, 1.0, 0.0]), tf.Variable([[0.3]])
    with tf.GradientTape() as tape:
        posterior = tfd.Independent(tfd.Bernoulli(logits=logits), 1)
        trace = kv.Trace(tf.zeros([1]), likelihood, {"z": kv.Latent(draws[:, None, None], posterior, prior)})
        log_ratio = trace.latents["z"].log_ratio
        given = tf.constant(log_weight[:, None], tf.float32) - tf.stop_gradient(log_ratio)
        vars(trace)["log_likelihood"] = given  # so that log w is what it was chosen to be
        loss = kv.VIMCO(4)(trace)[0]
    bound = np.log(np.exp(log_weight).mean())
    np.testing.assert_allclose(loss, -bound, rtol=1e-5)
    share = np.exp(log_weight) / np.exp(log_weight).sum()
    expected = 0.0
    for j in range(4):
        others = np.delete(log_weight, j)
        with np.errstate(divide="ignore"):
            without = np.log((np.exp(others).sum() + np.exp(others.mean())) / 4)
        signal = bound - without if np.isfinite(without) else 0.0
        score = float(draws[j]) - 1 / (1 + np.exp(-0.3))  # d log q / d logit, and d log w = -d log q
        expected -= (signal - share[j]) * score
    np.testing.assert_allclose(tape.gradient(loss, logits)[0, 0], expected, rtol=1e-4)


# --- terms of the model ----------------------------------------------------------------------------------------------


def test_terms_are_weighted_and_logged():
    x = binary_images((5,))
    logs = {}
    for name, objective in {
        "plain": kv.ELBO(beta=0.5),
        "none": kv.Weighted(kv.ELBO(beta=0.5), {}),
        "weighted": kv.Weighted(kv.ELBO(beta=0.5), {"size": 3.0}),
    }.items():
        keras.utils.set_random_seed(0)
        model = sparse()
        model.compile("adam", objective, jit_compile=False)
        logs[name] = model.evaluate(x, verbose=0, return_dict=True)
        assert logs[name]["size"] > 0
    assert logs["none"] == logs["plain"]
    bound = 0.5 * logs["plain"]["kl"] - logs["plain"]["log_likelihood"]
    assert logs["plain"]["loss"] == pytest.approx(bound + logs["plain"]["size"], rel=1e-5)
    assert logs["weighted"]["loss"] == pytest.approx(bound + 3 * logs["weighted"]["size"], rel=1e-5)


def test_weights_of_terms_are_scheduled_beside_the_numbers_of_the_objective():
    x, model = binary_images((5,)), sparse()
    model.compile("adam", kv.Weighted(kv.ELBO(beta=2.0), {"size": 3.0}), jit_compile=False)
    schedules = [
        kv.callbacks.LinearSchedule(name, start=0.0, end=end, epochs=1)
        for name, end in {"weights.size": 4.0, "beta": 1.0}.items()
    ]
    history = model.fit(x, epochs=2, verbose=0, callbacks=schedules).history
    log = {name: np.array(values) for name, values in history.items()}
    weights = np.array([0.0, 1.0])
    expected = weights * log["kl"] - log["log_likelihood"] + 4 * weights * log["size"]
    np.testing.assert_allclose(log["loss"], expected, rtol=1e-5)


def test_weights_need_terms_of_the_model():
    model = sparse()
    model.compile("adam", kv.Weighted(kv.ELBO(), {"sizes": 1.0}), jit_compile=False)
    with pytest.raises(ValueError, match=r"Weighted needs names of the terms size in weights\. Received: sizes"):
        model.fit(binary_images((5,)), verbose=0)
    with pytest.raises(TypeError, match="Weighted needs an objective, such as ELBO"):
        kv.Weighted("elbo", {})
    with pytest.raises(ValueError, match=r"Weighted needs weights\['size'\] to be a number, 0 or more"):
        kv.Weighted(kv.ELBO(), {"size": -1.0})
