"""What later models need of the core: each ability in a small complete model, trained, resumed, saved and served."""

import itertools
import shutil

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from conftest import usual_first
from structures import STRUCTURES, PartlyLabelled, StateSpace, compiled, tokens

import keras_vae as kv
from keras_vae.noise import fold, standard_normal
from keras_vae.sampling import current_sampler, iteration, sampling


class Keep(keras.callbacks.Callback):
    """Keeps a copy of what the backups held after two epochs: what a killed run leaves."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            shutil.copytree(self.folder, self.folder.with_name("killed"))


def fit(model, name, folder, *callbacks):
    _, _, x, y, _ = STRUCTURES[name]
    callbacks = [kv.callbacks.BackupAndRestore(folder), *callbacks]
    return model.fit(x, y, batch_size=4, epochs=4, verbose=0, callbacks=callbacks)


@pytest.mark.slow
@pytest.mark.parametrize("name", usual_first(STRUCTURES, "scan over time"))
def test_trains_resumes_saves_and_serves(name, tmp_path):
    model = compiled(name)
    history = fit(model, name, tmp_path / "backup", Keep(tmp_path / "backup"))
    assert model.jit_compile, "by XLA"
    assert np.isfinite(history.history["loss"]).all()
    resumed = compiled(name)
    assert fit(resumed, name, tmp_path / "killed").epoch == [2, 3]
    for weight, expected in zip(resumed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    for variable, expected in zip(resumed.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(variable, expected)
    model.save(tmp_path / "model.keras")
    loaded = kv.load_model(tmp_path / "model.keras")
    _, _, x, y, _ = STRUCTURES[name]
    expected = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    assert loaded.evaluate(x, y, batch_size=4, verbose=0, return_dict=True) == expected
    assert [int(v.numpy()) for v in (loaded.optimizer.iterations, model.optimizer.iterations)] == [12, 12]
    predicted = model.predict(x if y is None else (x, y), verbose=0)
    np.testing.assert_array_equal(loaded.predict(x if y is None else (x, y), verbose=0).shape, predicted.shape)
    model.export(tmp_path / "served" / "1")
    served = tf.saved_model.load(str(tmp_path / "served" / "1")).signatures
    assert {"serving_default", "log_likelihood"} <= set(served)


def test_the_logs_have_terms_losses_and_units_by_name():
    logs = compiled("partly labelled", jit_compile=False).fit(*STRUCTURES["partly labelled"][2:4], verbose=0).history
    assert logs["loss"][0] == pytest.approx(
        logs["kl"][0] - logs["log_likelihood"][0] + 2 * logs["supervised"][0], rel=1e-5
    )
    model, data = compiled("tokens with lengths", jit_compile=False), STRUCTURES["tokens with lengths"][2]
    model.build({"tokens": (None, 5), "length": (None,)})
    logs = model.evaluate(data, batch_size=5, verbose=0, return_dict=True)
    total = (logs["kl"] - logs["log_likelihood"]) * len(data["length"])
    assert logs["nats_per_token"] == pytest.approx(total / data["length"].sum(), rel=1e-5)
    logs = compiled("two optimizers", jit_compile=False).fit(STRUCTURES["two optimizers"][2], verbose=0).history
    assert {"loss", "loss_critic", "log_likelihood", "kl"} <= set(logs)


def test_each_group_is_trained_by_its_loss_and_its_optimizer():
    """A step of plain gradient descent, against gradients taken one loss at a time."""
    name, x = "two optimizers", STRUCTURES["two optimizers"][2]
    model = compiled(name, jit_compile=False)
    model.build(x.shape)
    model.compile(
        {"model": keras.optimizers.SGD(0.1), "critic": keras.optimizers.SGD(0.3)}, model.loss, jit_compile=False
    )
    model.fit(x[:1], verbose=0)  # builds the critic
    before = [weight.numpy() for weight in model.trainable_weights]
    critic = {id(weight) for weight in model.loss.critic.trainable_weights}
    seed = fold(model.seed, 0, 0, 0, 1)
    with tf.GradientTape(persistent=True) as tape, sampling(1, seed):
        trace = model(x)
        losses = [tf.reduce_mean(loss) for loss in (model.loss(trace), model.loss.losses(trace)["critic"])]
    model.fit(x, batch_size=12, shuffle=False, verbose=0)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        rate, loss = (0.3, losses[1]) if id(weight) in critic else (0.1, losses[0])
        weight_then = tape.gradient(loss, weight)
        np.testing.assert_allclose(weight, old - rate * weight_then, atol=1e-6)


def test_optimizers_need_one_for_the_model():
    with pytest.raises(
        ValueError, match=r'compile needs an optimizer for the weights of "model".*Received: \'critic\''
    ):
        compiled("two optimizers").compile({"critic": "adam"})


def test_absent_variables_do_not_count():
    model = compiled("variable number of objects", run_eagerly=True)
    x = STRUCTURES["variable number of objects"][2]
    model.build(x.shape)
    with sampling(50, fold(3)):
        trace = model(x)
    there = [trace.latents[f"presence_{step}"].value[..., 0].numpy() for step in range(2)]
    for step, before in enumerate((np.ones_like(there[0]), there[0])):
        here, what = trace.latents[f"presence_{step}"], trace.latents[f"what_{step}"]
        exact = here.posterior.kl_divergence(here.prior) * before
        np.testing.assert_allclose(here.kl, exact, atol=1e-6)
        present = before * there[step]
        q, p = what.posterior.distribution, scipy.stats.norm
        log_q = p(q.loc, q.scale).logpdf(what.value).sum(axis=-1)
        ratio = (p.logpdf(what.value).sum(axis=-1) - log_q) * present
        np.testing.assert_allclose(what.log_ratio, ratio, atol=1e-4)
    assert 0 < there[0].mean() < 1


def test_score_functions_leave_the_path_to_those_that_have_one():
    """E gradient of an ELBO with a binary and a normal latent variable, against enumeration and quadrature."""
    points, mass = np.polynomial.hermite_e.hermegauss(40)
    mass = mass / mass.sum()
    x, noise = np.float32([[0.7]]), tf.constant(points, tf.float32)

    class Pair(kv.LatentVariableModel):
        def __init__(self):
            super().__init__()
            self.binary, self.normal = kv.Bernoulli(1), kv.Normal(1)
            self.prior, self.normal_prior = kv.Bernoulli(1), kv.StandardNormal(1)
            self.likelihood = kv.FixedScaleNormal(1, scale=0.5)

        def call(self, inputs, training=None):
            b = self.draw(self.binary(inputs), self.prior())
            z = self.draw(self.normal(inputs), self.normal_prior())
            return kv.Trace(inputs, self.likelihood(b.value + z.value * (1 + b.value)), {"b": b, "z": z})

    keras.utils.set_random_seed(1)
    model = Pair()
    model(x)
    weights = model.trainable_weights
    with tf.GradientTape() as tape:
        logit, prior_logit = model.binary(x).distribution.logits[0, 0], model.prior().distribution.logits[0]
        normal = model.normal(x).distribution
        z = (normal.loc + normal.scale * noise)[0]  # [points]
        elbo = 0.0
        for b in (0.0, 1.0):
            log_likelihood = model.likelihood((b + z * (1 + b))[:, None]).log_prob(x)
            log_q, log_p = (b * a - tf.math.softplus(a) for a in (logit, prior_logit))
            inner = log_likelihood + log_p - log_q - model.normal(x).kl_divergence(model.normal_prior())
            elbo += tf.exp(log_q) * tf.reduce_sum(tf.constant(mass, tf.float32) * inner)
    expected = -np.concatenate([np.reshape(g, -1) for g in tape.gradient(elbo, weights)])

    def estimates(objective):
        @tf.function
        def gradient(seed):
            with tf.GradientTape() as tape, sampling(objective.samples, fold(seed), objective.path):
                loss = objective(model(x, training=True))
            return tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(loss, weights)], axis=0)

        return np.stack([gradient(tf.constant(number)) for number in range(300)]).astype(np.float64)

    found = estimates(kv.ScoreFunction(samples=100))
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0) - expected) < 4 * error + 1e-5)
    with sampling(5, fold(0), kv.ScoreFunction.path):
        latents = model(x).latents
    assert latents["b"].path is not None
    assert latents["z"].path is None


@pytest.mark.parametrize("xla", [False, True])
def test_iterations_of_a_loop_have_noise_of_their_own(xla):
    @tf.function(jit_compile=xla)
    def noise():
        def step(_, number):
            with iteration(number):
                return standard_normal([1000], current_sampler().next_seed())

        return tf.scan(step, tf.range(4), tf.zeros([1000]))

    with sampling(1, fold(0)):
        draws = noise().numpy()
    correlation = np.corrcoef(draws)
    assert np.abs(correlation - np.eye(4)).max() < 0.15  # 1 where all iterations share a seed
    model, x = compiled("scan over time", run_eagerly=True), STRUCTURES["scan over time"][2]
    model.build(x.shape)
    with sampling(2000, fold(0)):
        (z,) = model(x[:1]).latents.values()
    q = z.posterior.distribution
    standard = ((z.value - q.loc) / q.scale).numpy().reshape(2000, StateSpace.TIME, -1)[..., 0]
    assert np.abs(np.corrcoef(standard.T) - np.eye(StateSpace.TIME)).max() < 0.1


def test_other_axes_do_not_pass_for_draws():
    model = compiled("scan over time", run_eagerly=True)
    of_time = kv.Normal(2)
    of_time.build((None, 3))
    posterior = of_time(tf.zeros([4, 5, 3]))  # (batch, time)
    with (
        sampling(3, fold(0)),
        pytest.raises(ValueError, match=r"opens=True needs .* \(batch,\); other axes, such as time"),
    ):
        model.draw(posterior, posterior)
    with sampling(3, fold(0)), pytest.raises(ValueError, match=r"opens=False needs .* \(samples, batch\)"):
        model.draw(of_time(tf.zeros([4, 3])), posterior, opens=False)


def test_a_variable_that_is_summed_out_counts_with_its_divergence():
    model, x = compiled("mask summed out", run_eagerly=True), STRUCTURES["mask summed out"][2]
    model.build(x.shape)
    with sampling(2, fold(1)):
        trace = model(x)
    mask = trace.latents["mask"]
    q, p = (scipy.special.softmax(d.distribution.logits.numpy(), axis=-1) for d in (mask.posterior, mask.prior))
    exact = (q * (np.log(q) - np.log(p))).sum(axis=(-1, -2))
    np.testing.assert_allclose(mask.kl, exact, rtol=1e-4)
    np.testing.assert_allclose(trace.log_weight, trace.log_likelihood + trace.latents["z"].log_ratio - exact, rtol=1e-4)
    likelihood = trace.likelihood
    by_hand = np.zeros((2, len(x)))
    for choice in itertools.product([0, 1], repeat=6):  # all masks of six values
        places = np.arange(6), np.array(choice)
        log_mask = likelihood.log_masks.numpy()[:, :, *places].sum(axis=-1)
        density = scipy.stats.norm(likelihood.means.numpy()[:, :, *places], 0.5).logpdf(x).sum(axis=-1)
        by_hand += np.exp(log_mask + density)
    np.testing.assert_allclose(trace.log_likelihood, np.log(by_hand), rtol=1e-4)


def test_padding_does_not_count():
    model = compiled("tokens with lengths", run_eagerly=True)
    data = tokens()
    model.build({"tokens": (None, 5), "length": (None,)})
    scores = []
    for more in (0, 1, 100):
        padded = data | {"tokens": np.pad(data["tokens"], [(0, 0), (0, more)], constant_values=3)}
        scores.append(model.evaluate(padded, batch_size=12, verbose=0, return_dict=True))
    for score in scores[1:]:
        assert score == pytest.approx(scores[0], rel=1e-5)


def test_a_density_that_runs_a_network_knows_whether_it_trains():
    model, data = compiled("tokens with lengths", run_eagerly=True), tokens()
    model.build({"tokens": (None, 5), "length": (None,)})
    inputs = model.as_inputs(data)

    def log_likelihood(training, seed):
        with sampling(1, fold(0)):
            trace = model(inputs, training=training)
        with sampling(1, fold(seed)):
            return trace.log_likelihood.numpy()

    np.testing.assert_array_equal(log_likelihood(False, 1), log_likelihood(False, 2))
    assert np.abs(log_likelihood(True, 1) - log_likelihood(True, 2)).max() > 0.01, "values are masked in training"


def test_a_draw_keeps_what_its_density_needs_along_a_path():
    value, point = tf.Variable([0.2, 0.9]), tf.Variable([-1.4, 2.2])
    draw = kv.Draw(tf.identity(value), point=tf.identity(point), log_prob=tf.constant(-1.0))
    with tf.GradientTape() as tape:
        moved = kv.Draw(tf.identity(value), tf.identity(point), draw.log_prob).along(tf.stop_gradient)
        total = tf.reduce_sum(moved.value) + tf.reduce_sum(moved.point)
    np.testing.assert_array_equal(moved.value, value)
    np.testing.assert_array_equal(moved.point, point)
    assert moved.log_prob is draw.log_prob
    assert tape.gradient(total, [value, point]) == [None, None]
    assert draw.along(tf.identity).point is not None
    assert kv.Draw(value).along(tf.identity).point is None


def test_what_an_example_lacks_is_a_maybe():
    x, y = STRUCTURES["partly labelled"][2:4]
    _, label = compiled("partly labelled", run_eagerly=True).as_inputs(x, y)
    assert isinstance(label, kv.Maybe)
    np.testing.assert_array_equal(label.known, ~np.isnan(y).any(axis=1))
    np.testing.assert_array_equal(label.value, np.nan_to_num(y))


def test_missing_labels_are_said_as_such():
    model, (x, y) = compiled("partly labelled", run_eagerly=True), STRUCTURES["partly labelled"][2:4]
    model.build(x.shape)
    all_known = np.nan_to_num(y)
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    known = ~np.isnan(y).any(axis=1)
    only = model.evaluate(x[known], y[known], verbose=0, return_dict=True)
    assert logs["supervised"] == pytest.approx(only["supervised"] * known.mean(), rel=1e-5)
    masked = np.ma.masked_array(all_known, np.isnan(y))
    assert model.evaluate(x, masked, verbose=0, return_dict=True) == logs
    assert model.evaluate(x, verbose=0, return_dict=True)["supervised"] == 0
    assert model.predict(x, verbose=0).shape == (12, PartlyLabelled.CLASSES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros([4, 5]), "Sentences needs x to be a dictionary of tokens, length. Received: a ndarray of shape"),
        ({"tokens": np.zeros([4, 5])}, "Received: a dictionary of tokens"),
        ({"tokens": np.zeros([4, 5]), "length": np.zeros([4, 2])}, r"lengths of shape \(batch\). Received: \(4, 2\)"),
        (
            {"tokens": np.zeros([4, 5]), "length": np.zeros([3])},
            "as many of each as there are examples. Received: 3, 4",
        ),
    ],
    ids=["array", "part", "shape", "number"],
)
def test_data_of_another_structure_is_refused(given, message):
    model = compiled("tokens with lengths")
    for method in (model.fit, model.evaluate, model.predict):
        with pytest.raises(ValueError, match=message):
            method(given, verbose=0)
    assert not model.built


@pytest.fixture
def _eager():
    """Functions of TensorFlow run as they are: tracing those of these models takes longer than all else."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


# By latent variable: units, and whether others' posteriors say how dense they are at a draw.
UNITS = {
    "variable number of objects": {
        "presence_0": (1, True), "what_0": (2, False), "presence_1": (1, False), "what_1": (2, False)
    },
    "scan over time": {"z": (15, False)},
    "mask summed out": {"z": (2, True), "mask": (None, False)},
    "tokens with lengths": {"z": (2, True)},
    "partly labelled": {"z": (2, True)},
}  # fmt: skip


@pytest.mark.usefixtures("_eager")
@pytest.mark.parametrize("name", UNITS)
def test_is_diagnosed_and_bounded(name):
    model = compiled(name)
    _, _, x, y, _ = STRUCTURES[name]
    data = x if y is None else (x, y)
    bounds = kv.evaluation.bounds(model, data, samples=50)
    found = kv.evaluation.diagnose(model, data, samples=50, verbose=0)
    assert bounds.kl.shape == found.elbo.shape == (12,)
    latents = found.latents
    assert sum(latent.kl for latent in latents.values()) == pytest.approx(found.kl, rel=1e-4)
    assert found.kl == pytest.approx(bounds.kl.mean(), rel=0.3)
    assert {
        name: (None if latent.active is None else len(latent.active), latent.mutual_information is not None)
        for name, latent in latents.items()
    } == UNITS[name]
    assert np.isfinite(list(found.numbers().values())).all()
    assert str(found).startswith("Diagnosis of 12 examples, 50 draws each")
