"""Diagnoses: the numbers against closed forms of linear models, five illnesses and as many healthy models."""

import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import decoder, encoder

import keras_vae as kv
from keras_vae import plotting
from keras_vae.evaluation import verdict

RNG = np.random.default_rng(0)
SIZE, LATENT, COUNT = 3, 2, 1500
X = (RNG.normal(size=(COUNT, SIZE)) * [2.0, 1.0, 0.5]).astype("float32")
Z = RNG.normal(size=(COUNT, LATENT))
NOISE = RNG.normal(size=(COUNT, SIZE))
SEPARATE = np.array([[2.0, 0.0], [0.0, 1.5], [0.0, 0.0]])  # W whose posterior has independent values
ALIKE = np.array([[1.0, 1.0], [1.0, 0.5], [0.0, 1.0]])  # and one whose posterior has not


def diagnose(model, x, **options) -> kv.evaluation.Diagnosis:
    return kv.evaluation.diagnose(model, x, **{"verbose": 0} | options)


def illnesses(found) -> list[str]:
    return [finding.name for finding in found.findings if finding.illness]


@pytest.fixture(scope="module")
def linear():
    """q(z | x) = N(x A + b, s^2), p(x | z) = N(z W', 1): functions of nothing but their last layers."""
    model = kv.VAE(kv.Normal(LATENT), kv.FixedScaleNormal(SIZE), kv.StandardNormal(LATENT))
    model.build((None, SIZE))
    return model


def assign(model, gain, shift, stddev, loadings):
    """A of shape (size, latent), b and s of (latent,), W of (size, latent)."""
    raw = np.log(np.expm1(np.asarray(stddev) - 1e-3))
    kernel = np.stack([gain, np.zeros_like(gain)], axis=-1).reshape(SIZE, -1)
    model.posterior.head.kernel.assign(kernel)
    model.posterior.head.bias.assign(np.stack([shift, raw], axis=-1).ravel())
    model.likelihood.head.kernel.assign(np.transpose(loadings))


def assign_best(model, loadings):
    """The best posterior of independent values: exact means, and the inverse of the diagonal of the precision."""
    precision = np.eye(LATENT) + loadings.T @ loadings
    gain = np.linalg.solve(precision, loadings.T).T
    assign(model, gain, np.zeros(LATENT), 1 / np.sqrt(np.diag(precision)), loadings)
    return precision


def normal_kl(mean, covariance) -> float:
    """KL(N(mean, covariance) || N(0, I))."""
    covariance = np.atleast_2d(covariance)
    squares = np.trace(covariance) + np.sum(np.square(mean)) - len(covariance)
    return 0.5 * (squares - np.linalg.slogdet(covariance)[1])


# --- the numbers -----------------------------------------------------------------------------------------------------


def test_kl_information_and_aggregate_equal_those_of_normals(linear):
    gain = np.array([[0.5, 0.0], [0.3, 0.8], [0.0, 0.0]])
    shift, stddev = np.array([0.7, 0.0]), np.array([0.5, 0.9])
    assign(linear, gain, shift, stddev, SEPARATE)
    found = diagnose(linear, X, samples=4, examples=COUNT)
    latent = found.latents["z"]
    means = X @ gain + shift
    by_unit = 0.5 * (stddev**2 + means**2 - 1) - np.log(stddev)
    np.testing.assert_allclose(latent.kl_by_dimension, by_unit.mean(axis=0), rtol=1e-5)
    assert latent.kl == pytest.approx(by_unit.sum(axis=1).mean(), rel=1e-5)
    np.testing.assert_allclose(latent.variance_of_means, means.var(axis=0), rtol=1e-4)
    # The aggregate posterior of many normal x is normal; its moments are those of the x that there are.
    covariance = np.cov(X.T, bias=True)
    aggregate = gain.T @ covariance @ gain + np.diag(stddev**2)
    mean = means.mean(axis=0)
    information = 0.5 * (np.linalg.slogdet(aggregate)[1] - 2 * np.log(stddev).sum())
    error = 4 / np.sqrt(COUNT)  # of log q(z | x) - log q(z), whose standard deviation is about 1
    assert latent.mutual_information == pytest.approx(information, abs=error)
    assert latent.aggregate_kl == pytest.approx(normal_kl(mean, aggregate), abs=error)
    assert latent.mutual_information + latent.aggregate_kl == pytest.approx(latent.kl, rel=1e-6)
    variances = np.diag(aggregate)
    np.testing.assert_allclose(latent.mutual_information_by_dimension, 0.5 * np.log(variances / stddev**2), atol=error)
    expected = [normal_kl(m, v) for m, v in zip(mean, variances, strict=True)]
    np.testing.assert_allclose(latent.aggregate_kl_by_dimension, expected, atol=error)
    assert latent.aggregate_kl_by_dimension.sum() < latent.aggregate_kl + error


def test_bound_reconstruction_and_gap_equal_those_of_normals(linear):
    x = (Z @ SEPARATE.T + NOISE).astype("float32")[:400]
    assign_best(linear, SEPARATE)  # which is exact
    found = diagnose(linear, x, samples=200)
    covariance = SEPARATE @ SEPARATE.T + np.eye(SIZE)
    squares = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
    log_p = -0.5 * (squares + np.linalg.slogdet(covariance)[1] + SIZE * np.log(2 * np.pi))
    np.testing.assert_allclose(np.sort(found.log_p), np.sort(log_p), atol=1e-4)  # in another order
    np.testing.assert_allclose(found.effective_samples, 200, rtol=1e-3)
    assert found.inference_gap == pytest.approx(0.0, abs=4 * 1.5 / np.sqrt(200 * 400))
    # E |x - W z|^2 with z of the same, and of another example
    precision = np.eye(LATENT) + SEPARATE.T @ SEPARATE
    posterior = np.linalg.inv(precision)
    means = x @ SEPARATE @ posterior
    spread = np.trace(SEPARATE @ posterior @ SEPARATE.T)
    own = np.sum((x - means @ SEPARATE.T) ** 2, axis=1).mean()
    other = np.mean([np.sum((x - np.roll(means, shift, axis=0) @ SEPARATE.T) ** 2, axis=1) for shift in range(1, 400)])
    constant = -0.5 * (spread + SIZE * np.log(2 * np.pi))
    assert found.reconstruction.mean() == pytest.approx(constant - own / 2, abs=0.02)
    errors = 4 * found.shuffled.std() / np.sqrt(400)
    assert found.shuffled.mean() == pytest.approx(constant - other / 2, abs=errors)
    assert found.residual_ratio == pytest.approx(np.sqrt((own + spread) / SIZE), rel=0.01)


def test_the_gap_is_shared_out_between_encoder_and_family(linear):
    """An encoder that is shifted by a standard deviation, of a family that can not be exact: both parts are known."""
    x = (Z @ ALIKE.T + NOISE).astype("float32")[:300]
    precision = assign_best(linear, ALIKE)
    family = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    kernel, bias = linear.posterior.head.get_weights()
    shift = np.diag(precision) ** -0.5
    located = np.zeros_like(bias.reshape(-1, 2))
    located[:, 0] = shift
    linear.posterior.head.set_weights([kernel, bias + located.reshape(bias.shape)])
    found = diagnose(linear, x, refined=100)
    assert found.amortization_gap == pytest.approx(shift @ precision @ shift / 2, abs=0.05)
    assert found.family_gap == pytest.approx(family, abs=0.05)
    with pytest.raises(ValueError, match="diagnose needs refined to be a whole number, 0 or more"):
        diagnose(linear, x, refined=-1)


def test_the_gap_of_a_diagonal_posterior_is_its_divergence(linear):
    x = (Z @ ALIKE.T + NOISE).astype("float32")[:300]
    precision = assign_best(linear, ALIKE)
    found = diagnose(linear, x, samples=1000)
    gap = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert gap > 0.1
    assert found.inference_gap == pytest.approx(gap, abs=0.01)
    refined = dataclasses.replace(found, refined=20, amortization_gap=0.25, family_gap=0.125)
    assert "of 20 examples with a posterior of their own: 0.25 by the encoder, 0.12 by the family" in str(refined)


def test_a_latent_that_is_given_another_one():
    """z1 ~ N(x, 0.5^2), z2 ~ N(z1, 0.8^2): z2 knows log sqrt(1 + 0.8^-2 var(z1)) nats of z1."""
    model = kv.HierarchicalVAE(
        [kv.Normal(1), kv.Normal(1)], kv.FixedScaleNormal(1), [kv.Normal(1), kv.StandardNormal(1)]
    )
    model.build((None, 1))
    for layer, stddev in zip(model.posteriors, (0.5, 0.8), strict=True):
        layer.head.kernel.assign([[1.0, 0.0]])
        layer.head.bias.assign([0.0, np.log(np.expm1(stddev - 1e-3))])
    x = RNG.normal(size=(1000, 1)).astype("float32")
    found = diagnose(model, x, samples=20)
    z1, z2 = found.latents["z1"], found.latents["z2"]
    variance, error = x.var() + 0.25, 4 / np.sqrt(1000)
    assert z1.mutual_information == pytest.approx(0.5 * np.log(variance / 0.25), abs=error)
    assert z2.mutual_information == pytest.approx(0.5 * np.log((variance + 0.64) / 0.64), abs=error)
    assert z2.aggregate_kl == pytest.approx(normal_kl(x.mean(), variance + 0.64), abs=2 * error)
    assert z1.aggregate_kl is None, "its prior is given z2"
    assert (z1.given_data_alone, z2.given_data_alone) == (True, False)
    # The mean of z2 given x is x, whatever z1 was drawn: 0.25 / 20 of the variance is noise, and taken off.
    np.testing.assert_allclose(z2.variance_of_means, x.var(), rtol=0.05)
    assert z1.kl_by_dimension.sum() == pytest.approx(z1.kl, rel=1e-5)
    assert {"mutual_information_z2", "aggregate_kl_z2", "kl_z1_0"} < set(found.numbers())


def test_the_same_seed_gives_the_same_diagnosis_of_any_form_of_data(linear, capsys):
    assign_best(linear, SEPARATE)
    whole = diagnose(linear, X, samples=3, examples=60)
    again = diagnose(linear, X, samples=3, examples=60)
    np.testing.assert_equal(whole.numbers(), again.numbers())
    assert whole.numbers() != diagnose(linear, X, samples=3, examples=60, seed=1).numbers()
    batches = tf.data.Dataset.from_tensor_slices(X[:60]).batch(25)
    np.testing.assert_equal(
        diagnose(linear, X[:60], samples=3).numbers(), diagnose(linear, batches, samples=3).numbers()
    )
    assert capsys.readouterr().out == ""
    found = kv.evaluation.diagnose(linear, X[:60], samples=3)
    assert capsys.readouterr().out == f"{found}\n"
    assert "2 of 2 units active" in str(found)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (X, {"samples": 1}, "diagnose needs samples to be a whole number, 2 or more. Received: samples=1."),
        (X, {"examples": 2.5}, "diagnose needs examples to be a whole number, 2 or more. Received: examples=2.5."),
        (X[:1], {}, "diagnose needs two examples or more. Received: 1."),
        (np.full((4, SIZE), np.nan), {}, "needs finite data"),
    ],
)
def test_what_can_not_be_diagnosed_is_refused(linear, x, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        diagnose(linear, x, **options)


def test_a_model_without_latents_is_refused():
    model = kv.Autoencoder(keras.layers.Dense(2), kv.Bernoulli(SIZE, decoder(2)))
    with pytest.raises(TypeError, match=r"diagnose needs a model with latent variables\. Received: a Autoencoder"):
        diagnose(model, np.zeros((4, SIZE), "float32"))


# --- the illnesses ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """The model of README, and its first weights."""
    keras.utils.set_random_seed(0)
    data = kv.datasets.load("digits", batch_size=64)
    model = kv.VAE(
        posterior=kv.Normal(16, kv.dense_encoder(data.shape)),
        likelihood=kv.Bernoulli(data.shape, kv.dense_decoder(16)),
        prior=kv.StandardNormal(16),
    )
    model.compile("adam", loss=kv.ELBO(), jit_compile=False)
    model.build((None, *data.shape))
    return model, model.get_weights(), data


@pytest.mark.parametrize(
    ("beta", "expected", "advice"),
    [
        (1.0, [], ""),
        (20.0, ["posterior collapse"], r"has the weight 20, ELBO\(beta=1\).*LinearSchedule\(.*ELBO\(free_nats=2.0\)"),
        (1e-4, ["aggregate posterior far from the prior"], r"has the weight 0.0001.*VampPrior.*InfoVAE"),
    ],
    ids=["healthy", "collapsed", "like an autoencoder"],
)
def test_digits(digits, beta, expected, advice):
    """Trained as in README, with a KL that is too strong, and with nearly none."""
    model, weights, data = digits
    model.set_weights(weights)
    constant = kv.callbacks.LinearSchedule("beta", start=beta, end=beta)
    model.fit(data.train, epochs=5, verbose=0, callbacks=[constant])
    found = diagnose(model, data.test, samples=20)
    assert illnesses(found) == expected, str(found)
    assert found.healthy == (not expected)
    assert re.search(advice, str(found))
    assert found.active_units == (0 if beta > 1 else found.latents["z"].active.sum())


def test_an_exact_model_is_healthy():
    model = kv.ProbabilisticPCA(2)
    x = (Z @ SEPARATE.T + 0.5 * NOISE).astype("float32")[:300]
    model.fit(x, verbose=0)
    found = diagnose(model, x, samples=20)
    assert not found.findings
    assert found.latents["z"].kl_by_dimension is None, "the values of its posterior depend on each other"
    assert found.latents["z"].aggregate_kl == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize(
    ("told", "expected"), [(0.0, []), (1.0, ["decoder ignores the latents", "fixed scale far from the residuals"])]
)
def test_a_decoder_that_ignores_the_latents(told, expected):
    """Trained with nats that cost nothing, and a condition that says nothing of x, or all: z could only add noise."""
    x = (Z @ SEPARATE.T + 0.3 * NOISE).astype("float32")
    condition = np.float32(told) * x
    decode = kv.Concatenated(decoder(LATENT + SIZE))
    model = kv.ConditionalVAE(
        kv.Normal(LATENT, kv.Concatenated(encoder(2 * SIZE))),
        kv.FixedScaleNormal(SIZE, decode, scale=0.3),
        kv.StandardNormal(LATENT),
        condition_shape=SIZE,
    )
    model.compile(keras.optimizers.Adam(0.02), kv.ELBO(free_nats=3.0), jit_compile=False)
    model.fit((x, condition), epochs=20, batch_size=50, verbose=0)
    found = diagnose(model, (x[:300], condition[:300]), samples=20)
    assert illnesses(found) == expected, str(found)


@pytest.mark.slow
def test_a_trained_encoder_that_is_too_narrow():
    """One unit, which knows one direction of x, for a decoder of two that was trained with a wider encoder."""
    x = (Z @ SEPARATE.T + 0.3 * NOISE).astype("float32")
    likelihood = kv.LearnedScaleNormal(SIZE, decoder(LATENT))
    for units, expected in ((8, []), (1, ["inference gap"])):
        posterior = kv.Normal(LATENT, kv.dense_encoder(SIZE, [units], "tanh"))
        model = kv.VAE(posterior, likelihood, kv.StandardNormal(LATENT))
        model.compile(keras.optimizers.Adam(0.02), jit_compile=False)
        model.fit(x, epochs=20, batch_size=50, verbose=0)
        found = diagnose(model, x[:300], samples=100, refined=100)
        assert illnesses(found) == expected, str(found)
        likelihood.trainable = False
    assert found.amortization_gap > found.inference_gap, "the draws of such an encoder miss log p(x)"
    assert -0.05 < found.family_gap < 0.1


def test_an_encoder_that_says_nothing_of_a_unit(linear):
    """The posterior of the second unit is that of a decoder with loadings, and its gap is known."""
    x = (Z @ SEPARATE.T + NOISE).astype("float32")[:300]
    assign_best(linear, SEPARATE)
    assert diagnose(linear, x, samples=100).healthy
    kernel, bias = (weight.numpy() for weight in (linear.posterior.head.kernel, linear.posterior.head.bias))
    kernel[:, 2:], bias[2:] = 0.0, [0.0, np.log(np.expm1(1 - 1e-3))]
    linear.posterior.head.kernel.assign(kernel)
    linear.posterior.head.bias.assign(bias)
    found = diagnose(linear, x, samples=100)
    variance = 1 / (1 + 1.5**2)  # of the posterior, whose mean is 1.5 variance x
    square = np.mean((1.5 * variance * x[:, 1]) ** 2)
    gap = 0.5 * ((1 + square) / variance - 1 + np.log(variance))
    assert found.inference_gap == pytest.approx(gap, abs=0.1)
    assert illnesses(found) == ["inference gap"], str(found)
    assert re.search(r"\d % of the KL.*larger or longer trained encoder.*FullCovarianceNormal.*IWAE", str(found))
    assert [finding.name for finding in found.findings if not finding.illness] == ["unused units"]


@pytest.mark.parametrize(("noise", "ill"), [(1.0, False), (0.05, True), (3.0, True)])
def test_a_fixed_scale_far_from_the_residuals(linear, noise, ill):
    assign_best(linear, np.zeros_like(SEPARATE))
    found = diagnose(linear, (noise * NOISE[:200]).astype("float32"), samples=5)
    assert ("fixed scale far from the residuals" in illnesses(found)) == ill
    if ill:
        assert found.residual_ratio == pytest.approx(noise, rel=0.05)
        assert re.search(rf"LearnedScaleNormal or .* FixedScaleNormal\(scale={found.residual_ratio:.2g}\)", str(found))


@pytest.mark.parametrize(
    ("scale", "expected"), [(0.3, []), (10.0, ["posterior collapse", "fixed scale far from the residuals"])]
)
def test_a_model_trained_with_a_fixed_scale(scale, expected):
    """That of the noise, and one that is larger than all of x: z has nothing to say."""
    x = (Z @ SEPARATE.T + 0.3 * NOISE).astype("float32")
    likelihood = kv.FixedScaleNormal(SIZE, decoder(LATENT), scale=scale)
    model = kv.VAE(kv.Normal(LATENT, encoder(SIZE)), likelihood, kv.StandardNormal(LATENT))
    model.compile(keras.optimizers.Adam(0.02))
    model.fit(x, epochs=20, batch_size=50, verbose=0)
    found = diagnose(model, x[:300], samples=20)
    assert illnesses(found) == expected, str(found)


def test_scales_at_their_limit():
    """A value that never changes: its density grows without end. The same model of values that do change is healthy."""
    model = kv.VAE(kv.Normal(2, encoder(5)), kv.Normal(5, decoder(2)), kv.StandardNormal(2))
    model.build((None, 5))
    x = np.concatenate([Z @ SEPARATE.T + 0.3 * NOISE, RNG.normal(size=(COUNT, 2))], axis=1).astype("float32")
    model.compile(keras.optimizers.Adam(0.02), jit_compile=False)
    model.fit(x, epochs=5, batch_size=50, verbose=0)
    found = diagnose(model, x, samples=20, examples=300)
    assert not {"scales of the likelihood at their limit", "posterior collapse"} & set(illnesses(found)), str(found)
    assert found.scales_at_limit == 0.0
    x[:, 4] = 0.0
    kernel, bias = (weight.numpy() for weight in (model.likelihood.head.kernel, model.likelihood.head.bias))
    kernel[:, 8:], bias[8:] = 0.0, [0.0, -15.0]  # where hours of training would lead to
    model.likelihood.head.kernel.assign(kernel)
    model.likelihood.head.bias.assign(bias)
    model.posterior.head.bias.assign_add([0.0, -20.0, 0.0, 0.0])
    found = diagnose(model, x, samples=20, examples=300)
    assert found.scales_at_limit == pytest.approx(0.2)
    assert found.latents["z"].scales_at_limit == pytest.approx(0.5)
    names = {"scales of the likelihood at their limit", "scales of the posterior at their limit"}
    assert names < set(illnesses(found)), str(found)
    assert re.search(r"20 % of the scales of p\(x \| z\).*LearnedScaleNormal.*min_scale", str(found))


def test_dead_units_are_no_illness(linear):
    loadings = SEPARATE * [1.0, 0.0]
    assign_best(linear, loadings)
    found = diagnose(linear, (Z @ loadings.T + NOISE).astype("float32")[:300], samples=20)
    assert found.healthy
    (finding,) = found.findings
    assert finding.name == "unused units"
    assert finding.evidence.startswith("1 of 2 units of z")
    np.testing.assert_array_equal(found.latents["z"].active, [True, False])
    assert str(found).endswith(f"- {finding}")


# --- the callback ----------------------------------------------------------------------------------------------------


def test_the_callback_logs_and_draws_and_changes_nothing(tmp_path):
    model = kv.VAE(kv.Normal(2, encoder(SIZE)), kv.FixedScaleNormal(SIZE, decoder(2)), kv.StandardNormal(2))
    model.build((None, SIZE))
    first = model.get_weights()

    def run(folder, epochs, *callbacks):
        model.set_weights(first)
        model.compile("adam", run_eagerly=True)
        backup = kv.callbacks.BackupAndRestore(folder / "backup")
        followed = [*callbacks, kv.callbacks.HistoryLogger(folder / "history.csv"), backup]
        return model.fit(X[:100], epochs=epochs, batch_size=100, verbose=0, callbacks=followed).history

    def diagnosed(figure=None):
        return kv.callbacks.Diagnose(X[100:150], every=2, figure=figure, samples=5)

    folder = tmp_path / "whole"
    callback = diagnosed(str(folder / "diagnosis-{epoch:02d}.png"))
    board = keras.callbacks.TensorBoard(folder / "board", write_graph=False)
    history, weights = run(folder, 3, callback, board), model.get_weights()
    expected = callback.latest.numbers()
    for name, value in expected.items():
        assert history[name] == [value]
    rows = kv.callbacks.training.read_history(folder / "history.csv")
    assert [bool(row["mutual_information"]) for row in rows] == [False, True, False]
    assert float(rows[1]["kl_z_1"]) == pytest.approx(expected["kl_z_1"])
    assert sorted(path.name for path in folder.glob("*.png")) == ["diagnosis-02.png"]
    assert scalars(folder / "board")["epoch_inference_gap"] == pytest.approx({1: history["inference_gap"][0]})
    # Without it the weights are the same, and a run that is resumed has the same history.
    run(tmp_path / "plain", 2)
    assert diagnose(model, X[100:150], samples=5).numbers() == pytest.approx(expected)
    run(tmp_path / "plain", 3)
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    run(tmp_path / "parts", 1, diagnosed())
    run(tmp_path / "parts", 3, diagnosed())
    resumed = kv.callbacks.training.read_history(tmp_path / "parts" / "history.csv")
    without_time = [[{**row, "seconds": ""} for row in some] for some in (rows, resumed)]
    assert without_time[0] == without_time[1]


def scalars(folder) -> dict[str, dict[int, float]]:
    """By name and step, from the event files of TensorBoard."""
    found: dict = {}
    for path in folder.rglob("events.out.tfevents.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars" or value.tag.startswith("epoch_"):
                    found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return found


@pytest.mark.parametrize(
    ("options", "message"), [({"every": 0}, "every to be a whole number, 1"), ({"samples": 1}, "samples to be .* 2 or")]
)
def test_the_callback_refuses_numbers_that_mean_nothing(options, message):
    with pytest.raises(ValueError, match=f"Diagnose needs {message}"):
        kv.callbacks.Diagnose(X, **options)


# --- the figure ------------------------------------------------------------------------------------------------------


def made(**changes) -> kv.evaluation.Diagnosis:
    draws = RNG.normal(size=(50, 3))
    z = kv.evaluation.LatentDiagnosis(
        kl=3.0,
        kl_by_dimension=np.array([0.0, 2.0, 1.0]),
        variance_of_means=np.array([0.001, 0.8, 0.5]),
        mutual_information=2.5,
        aggregate_kl=0.5,
        draws=draws,
        prior_draws=draws[::-1],
    )
    found = kv.evaluation.Diagnosis(
        {"z": z}, np.full(50, -13.0), np.full(50, -12.0), np.full(50, 9.0), np.full(50, -10.0), np.full(50, -30.0), 10
    )
    return dataclasses.replace(found, **changes)


def axes_of(figure):
    """KL by unit, nats, and log p(x | z), by what is written over them."""
    return {axes.get_title().split(",")[0].split(":")[0]: axes for axes in figure.axes}


def test_the_figure_shows_the_numbers():
    figure = plotting.diagnosis(made())
    panels = axes_of(figure)
    bars = panels["KL by unit"].patches
    assert [bar.get_height() for bar in bars] == [2.0, 1.0, 0.0]
    assert bars[0].get_facecolor() == bars[1].get_facecolor() != bars[2].get_facecolor()
    assert [label.get_text() for label in panels["KL by unit"].get_xticklabels()] == ["z\n2 of 3 active"]
    steps = [(bar.get_y(), bar.get_height()) for bar in panels["Nats per example"].patches]
    assert steps == [(-10.0, -2.5), (-12.5, -0.5), (-13.0, 1.0)]
    assert {"z[0]", "z[1]", "z[2]"} < set(panels)
    assert panels["log p(x | z)"].get_title() == "log p(x | z): 20.00 nats by the right z"
    assert figure.get_suptitle() == "Diagnosis: no illness was found"


def test_the_figure_of_several_latents_and_of_a_gap_in_two_parts():
    ill = kv.evaluation.Finding("inference gap", "x.", "y.")
    bare = kv.evaluation.LatentDiagnosis(kl=1.0)
    z = made().latents["z"]
    figure = plotting.diagnosis(
        made(latents={"z1": z, "mask": bare}, refined=9, amortization_gap=0.75, family_gap=0.25, findings=(ill, ill))
    )
    panels = axes_of(figure)
    assert [bar.get_height() for bar in panels["KL by unit"].patches] == [2.0, 1.0, 0.0, 1.0]
    steps = [(bar.get_y(), bar.get_height()) for bar in panels["Nats per example"].patches]
    assert steps == [(-10.0, -3.0), (-13.0, 0.75), (-12.25, 0.25)]
    assert figure.get_suptitle() == "Diagnosis: inference gap"


def test_weights_of_a_heavy_tail_are_reported_whatever_the_effective_draws(linear):
    x = (Z @ SEPARATE.T + NOISE).astype("float32")[:300]
    assign_best(linear, SEPARATE)
    good = diagnose(linear, x, samples=200)
    assert good.pareto_k.shape == (300,)
    assert np.all(good.pareto_k == -np.inf), "the posterior is exact"
    assert "log p(x) is a lower bound only" not in {finding.name for finding in good.findings}
    heavy = dataclasses.replace(good, pareto_k=np.where(np.arange(300) < 40, 0.9, 0.1))
    (finding,) = verdict._draws(heavy, linear)
    assert "k-hat is above 0.57 for 40 of 300 examples" in finding.evidence
    assert not finding.illness
