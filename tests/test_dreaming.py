"""DreamingVAE and dreams, against quadrature, SciPy, loops written out, and the mazes themselves."""

import json
import shutil

import gymnasium
import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from cases import DREAMS
from gymnasium.utils.env_checker import check_env

import keras_vae as kv
from keras_vae.environments import DreamEnvironment, Maze, NearestKnown, joined, record
from keras_vae.noise import fold
from keras_vae.objectives.base import over_draws
from keras_vae.sampling import sampling

CASE = DREAMS["DreamingVAE"]
X, Y = CASE.arrays()


def built(**options) -> kv.DreamingVAE:
    """That of the case, with weights that make all of it say something."""
    model = CASE.compiled(**options)
    model.build()
    rng = np.random.default_rng(1)
    model.set_weights([weight + 0.3 * rng.normal(size=weight.shape) for weight in model.get_weights()])
    return model


def narrow() -> kv.DreamingVAE:
    """With one latent variable, over which integrals are sums."""
    keras.utils.set_random_seed(2)
    model = kv.DreamingVAE(
        posterior=kv.Normal(1, kv.Concatenated(kv.dense_encoder(6 + 3, [5], "tanh"))),
        state=kv.Bernoulli(6, kv.dense_decoder(1, [5], "tanh")),
        reward=kv.FixedScaleNormal(1, kv.dense_decoder(1, [5], "tanh"), scale=0.7),
        end=kv.Bernoulli(1),
        prior=kv.StandardNormal(1),
        action_shape=3,
    )
    model.build()
    model.compile("adam", jit_compile=False)
    rng = np.random.default_rng(0)
    model.set_weights([weight + 0.5 * rng.normal(size=weight.shape) for weight in model.get_weights()])
    return model


# --- what is minimised, and what is scored ----------------------------------------------------------------------------


def test_the_loss_is_that_of_the_paper():
    model = built()
    with sampling(3, fold(1)):
        trace = model((X, Y))
    z = trace.latents["z"].value.numpy()
    q, outcome = model.encode(X), model.decode(z).mean()
    p_state, p_end = (scipy.stats.bernoulli(outcome[name].numpy()) for name in ("state", "end"))
    by_name = {
        "state": p_state.logpmf(Y["state"]).sum(axis=-1),
        "reward": scipy.stats.norm(outcome["reward"], 0.5).logpdf(Y["reward"]).sum(axis=-1),
        "end": p_end.logpmf(Y["end"]).sum(axis=-1),
    }
    log_likelihood = sum(by_name.values())
    m, s = q.mean().numpy(), q.stddev().numpy()
    kl = (0.5 * (m**2 + s**2 - 1) - np.log(s)).sum(axis=-1)
    np.testing.assert_allclose(trace.log_likelihood, log_likelihood, rtol=1e-4)
    np.testing.assert_allclose(trace.kl, np.tile(kl, (3, 1)), rtol=1e-4)
    np.testing.assert_allclose(over_draws(model.loss(trace)), (kl - log_likelihood).mean(axis=0), rtol=1e-4)
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    parts = [logs[f"log_likelihood_{name}"] for name in by_name]
    assert logs["log_likelihood"] == pytest.approx(sum(parts), rel=1e-5)
    assert logs["loss"] == pytest.approx(logs["kl"] - logs["log_likelihood"], rel=1e-5)
    assert "bits_per_dim" not in logs


def test_scores_are_those_of_the_dream_and_the_loss_is_a_bound_of_two_numbers():
    model = narrow()
    q = model.encode(X)
    grid = np.linspace(-9, 9, 6001)

    def log_p(z):
        return model.decode(z.astype("float32")).log_prob(
            {name: np.tile(value, (len(z), 1, 1)) for name, value in Y.items()}
        )

    tiled = np.tile(grid[:, None, None], (1, 12, 1))
    likelihoods = np.exp(log_p(tiled).numpy().astype(np.float64))  # [grid, batch]
    densities = scipy.stats.norm(q.mean().numpy()[:, 0], q.stddev().numpy()[:, 0]).pdf(grid[:, None])
    dreamed = np.log(np.trapezoid(likelihoods * densities, grid, axis=0))
    from_prior = np.log(np.trapezoid(likelihoods * scipy.stats.norm.pdf(grid)[:, None], grid, axis=0))
    found = kv.evaluation.log_likelihood(model, (X, Y), samples=4000, verbose=0)
    assert (np.abs(found.values - dreamed) < 4 * found.errors + 1e-4).all()
    with sampling(2000, fold(3)):
        trace = model((X, Y))
    error = trace.log_likelihood.numpy().std(axis=0) / np.sqrt(2000)
    bound = trace.log_likelihood.numpy().mean(axis=0)
    assert (bound < dreamed + 4 * error).all()
    assert (bound - trace.kl.numpy().mean(axis=0) < from_prior + 4 * error).all()
    assert np.abs(dreamed - from_prior).max() > 0.1


# --- steps and dreams of many -----------------------------------------------------------------------------------------


def test_a_step_is_a_mean_at_the_mean_of_q():
    model = built()
    found = model.step(X["state"], X["action"].argmax(axis=1))
    expected = model.decode(model.encode(X).mean()).mean()
    np.testing.assert_allclose(found.state, expected["state"], atol=1e-6)
    np.testing.assert_allclose(found.reward, expected["reward"][:, 0], atol=1e-6)
    np.testing.assert_allclose(found.end, expected["end"][:, 0], atol=1e-6)
    for one, other in zip(found, model.step(X["state"], X["action"]), strict=True):
        np.testing.assert_array_equal(one, other)
    predicted = model.predict(X, verbose=0)
    np.testing.assert_allclose(predicted["state"], found.state, atol=1e-6)
    np.testing.assert_array_equal(predicted["reward"], model.predict((X, Y), verbose=0)["reward"])
    others = model.step(X["state"], (X["action"].argmax(axis=1) + 1) % 3)
    assert np.abs(others.state - found.state).max() > 1e-3


def test_drawn_steps_are_those_of_the_dream():
    model, count = built(), 4000
    state, action = np.tile(X["state"][:1], (count, 1)), np.tile(X["action"][:1], (count, 1))
    found = model.step(state, action, seed=1, temperature=1.0)
    assert set(np.unique(found.state)) == {0, 1} == set(np.unique(found.end))
    q = model.encode({"state": state[:1], "action": action[:1]})
    z = scipy.stats.norm(q.mean().numpy(), q.stddev().numpy()).rvs((20_000, 4), random_state=2)
    mean = model.decode(z.astype("float32")).mean()
    for drawn, name in ((found.state, "state"), (found.end[:, None], "end")):
        p = mean[name].numpy().mean(axis=0)
        error = np.sqrt(p * (1 - p) / count + mean[name].numpy().var(axis=0) / 20_000)
        assert (np.abs(drawn.numpy().mean(axis=0) - p) < 4.5 * error).all()
    spread = np.sqrt(mean["reward"].numpy().var() + 0.25)
    assert abs(found.reward.numpy().std() - spread) < 4 * spread / np.sqrt(2 * count)
    np.testing.assert_array_equal(found.state, model.step(state, action, seed=1, temperature=1.0).state)


@pytest.mark.parametrize("snap", [None, tf.round, NearestKnown(X["state"])], ids=["means", "rounded", "known"])
def test_a_rollout_is_a_chain_of_steps(snap):
    model, actions = built(), np.random.default_rng(0).integers(0, 3, (12, 5))
    found, state = model.rollout(X["state"], actions, snap), X["state"]
    for step in range(5):
        one = model.step(state, actions[:, step])
        state = one.state if snap is None else snap(one.state)
        np.testing.assert_allclose(found.state[:, step], state, atol=1e-6)
        np.testing.assert_allclose(found.reward[:, step], one.reward, atol=1e-6)
        np.testing.assert_allclose(found.end[:, step], one.end, atol=1e-6)
    drawn = model.rollout(X["state"], actions, seed=3, temperature=1.0)
    np.testing.assert_array_equal(
        drawn.state[:, 0], model.step(X["state"], actions[:, 0], fold(fold(3), 0), temperature=1.0).state
    )
    assert not np.array_equal(drawn.state[:, 0], drawn.state[:, 1])


# --- a dream of a maze ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maze():
    """A small maze, each of its transitions 4 times, and a model that knows them."""
    keras.utils.set_random_seed(0)
    real = Maze(4, seed=1)
    parts = []
    for cell in np.argwhere(real.distances > 0):
        for action in range(4):
            real.reset(options={"start": tuple(cell)})
            parts.append((real.observation(), np.eye(4)[action], *real.step(action)[:3]))
    state, action, after, reward, end = (np.array(each, np.float32) for each in zip(*parts * 4, strict=True))
    x, y = {"state": state, "action": action}, {"state": after, "reward": reward[:, None], "end": end[:, None]}
    shape = (4, 4, 3)
    model = kv.DreamingVAE(
        posterior=kv.Normal(8, kv.Concatenated(kv.dense_encoder(48 + 4, [64]))),
        state=kv.Bernoulli(shape, kv.dense_decoder(8, [64])),
        reward=kv.FixedScaleNormal(1, kv.dense_decoder(8, [64]), scale=0.1),
        end=kv.Bernoulli(1, kv.dense_decoder(8, [64])),
        prior=kv.StandardNormal(8),
        action_shape=4,
    )
    model.compile(keras.optimizers.Adam(5e-3), kv.ELBO(beta=0.01))
    model.fit(x, y, batch_size=len(state) // 4, epochs=150, verbose=0)
    return real, x, y, model


def test_a_trained_model_knows_all_transitions(maze):
    _, x, y, model = maze
    found = model.predict(x, verbose=0)
    np.testing.assert_array_equal(np.round(found["state"]), y["state"])
    np.testing.assert_array_equal(np.round(found["end"]), y["end"])
    np.testing.assert_allclose(found["reward"], y["reward"], atol=0.1)


def test_a_dream_is_the_maze(maze):
    """The same actions in the maze and in its dream, from its first image alone."""
    real, x, _, model = maze
    dream = DreamEnvironment(model, real.reset()[0][None], NearestKnown(x["state"]))
    environments = [gymnasium.wrappers.TimeLimit(each, 50) for each in (real, dream)]
    states = [each.reset(seed=3)[0] for each in environments]
    rng, ends = np.random.default_rng(0), 0
    for _ in range(300):
        np.testing.assert_array_equal(*states)
        action = int(rng.integers(4))
        (states, rewards, over, cut, _) = zip(*(each.step(action) for each in environments), strict=True)
        assert rewards[0] == pytest.approx(rewards[1], abs=0.1)
        assert over[0] == over[1]
        assert cut[0] == cut[1]
        ends += over[0]
        if over[0] or cut[0]:
            states = [each.reset()[0] for each in environments]
    assert ends > 0


def test_drift_counts_exact_states(maze):
    real, x, _, model = maze
    recorded = joined([record(gymnasium.wrappers.TimeLimit(Maze(4, seed=1), 20), 200, seed) for seed in range(2)])
    states, actions = recorded.paths(8)
    snaps = {"means": None, "known": NearestKnown(x["state"])}
    found = kv.evaluation.drift(model, states, actions, snaps)
    assert found.paths == len(states)
    assert (found.exact["known"] == 1).all()
    assert (found.exact["means"] >= 0.5).all()
    assert f"Exact states of {len(states)} dreams after steps: 1, 2, 5, 8" in str(found)
    # A wrong world: in the place of each action the one to its right. A state is right where the player meets walls.
    wrong = kv.evaluation.drift(model, states, np.roll(actions, 1, axis=-1), snaps)
    same, players = 0, [np.argwhere(path[0, ..., 1])[0] for path in states]
    for path, taken, cell in zip(states, actions, players, strict=True):
        real.reset(options={"start": tuple(cell)})
        same += (real.step(int(np.roll(taken[0], 1).argmax()))[0] == path[1]).all()
    assert wrong.exact["known"][0] == pytest.approx(same / len(states))
    assert wrong.exact["known"][-1] < 0.7


def test_gymnasium_accepts_dreams(maze):
    real, _, _, model = maze
    check_env(DreamEnvironment(model, real.reset()[0][None], tf.round), skip_render_check=True)
    check_env(DreamEnvironment(model, real.reset()[0][None], temperature=1.0), skip_render_check=True)


def test_dreams_begin_where_they_are_told(maze):
    _, x, _, model = maze
    dream = DreamEnvironment(model, x["state"])
    begun = {dream.reset(seed=seed)[0].tobytes() for seed in range(40)}
    assert 3 < len(begun) <= len({state.tobytes() for state in x["state"]})
    np.testing.assert_array_equal(dream.reset(options={"start": x["state"][5]})[0], x["state"][5])
    np.testing.assert_array_equal(dream.reset(seed=4)[0], dream.reset(seed=4)[0])


def test_rewards_are_snapped_to_known_ones(maze):
    _, x, y, model = maze
    dream = DreamEnvironment(model, x["state"], tf.round, NearestKnown(y["reward"]))
    for row in range(0, len(x["state"]) // 4, 5):
        dream.reset(options={"start": x["state"][row]})
        assert np.float32(dream.step(int(x["action"][row].argmax()))[1]) == y["reward"][row, 0]


def test_other_spaces_are_those_of_the_real_environment():
    keras.utils.set_random_seed(0)
    real = gymnasium.make("Pendulum-v1")
    found = record(real, 40)
    model = kv.DreamingVAE(
        posterior=kv.Normal(2, kv.Concatenated(kv.dense_encoder(3 + 1, [8]))),
        state=kv.LearnedScaleNormal(3, kv.dense_decoder(2, [8])),
        reward=kv.FixedScaleNormal(1, kv.dense_decoder(2, [8])),
        end=kv.Bernoulli(1, kv.dense_decoder(2, [8])),
        prior=kv.StandardNormal(2),
        action_shape=1,
    )
    model.compile("adam", jit_compile=False)
    model.fit(found.x, found.y, verbose=0)
    dream = DreamEnvironment(model, found.state, None, None, 0.0, real.observation_space, real.action_space)
    state, _ = dream.reset(seed=1)
    after, reward, end, cut, _ = dream.step(np.array([0.5], np.float32))
    expected = model.step(state[None], [[0.5]])
    np.testing.assert_array_equal(after, expected.state[0])
    assert (reward, end, cut) == (float(expected.reward[0]), bool(expected.end[0] >= 0.5), False)
    assert DreamEnvironment(model, found.state, action_space=real.action_space).observation_space.high.max() == np.inf


# --- the Keras contract -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 3])
def test_shapes(samples):
    model = built()
    inputs = model.as_inputs(X, Y)
    with sampling(samples, fold(1)):
        traces = model(inputs), model.tracer(inputs)()
    for trace in traces:
        assert trace.likelihood.batch_shape == (samples, 12)
        for figure in (trace.log_likelihood, trace.kl, trace.log_weight):
            assert figure.shape == (samples, 12)
            assert figure.dtype == tf.float32
    assert model.loss(traces[0]).shape == (12,)
    assert {name: value.shape for name, value in model.generate(5, seed=1).items()} == {
        "state": (5, 6),
        "reward": (5, 1),
        "end": (5, 1),
    }
    assert set(np.unique(model.sample(5, seed=1)["state"])) <= {0, 1}


def test_gradients_reach_every_weight():
    model = built()
    with tf.GradientTape() as tape, sampling(1, fold(1)):
        loss = tf.reduce_mean(model.loss(model((X, Y))))
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert np.isfinite(gradient).all(), weight.path
        assert np.abs(gradient).max() > 0, weight.path


def test_config_round_trip():
    model = CASE.compiled()
    config = json.dumps(keras.saving.serialize_keras_object(model))
    again = keras.saving.deserialize_keras_object(json.loads(config))
    assert json.dumps(keras.saving.serialize_keras_object(again)) == config
    assert type(again) is kv.DreamingVAE


class Keep(keras.callbacks.Callback):
    """Keeps a copy of what the backups held after two epochs: what a killed run leaves."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            shutil.copytree(self.folder, self.folder.with_name("killed"))


def test_a_killed_run_is_resumed_bit_for_bit(tmp_path):
    def fit(folder, *callbacks):
        model = CASE.compiled()
        backup = kv.callbacks.BackupAndRestore(tmp_path / folder)
        history = model.fit(X, Y, batch_size=5, epochs=4, verbose=0, callbacks=[backup, *callbacks])
        return model, history.epoch

    whole, _ = fit("backup", Keep(tmp_path / "backup"))
    resumed, epochs = fit("killed")
    assert epochs == [2, 3]
    for one, other in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(whole.optimizer.variables, resumed.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


SERVED = """
import sys, numpy as np, tensorflow as tf
folder = sys.argv[1]
arrays = dict(np.load(f"{folder}/arrays.npz"))
served = tf.saved_model.load(f"{folder}/served/1").signatures
for name, function in served.items():
    wanted = function.structured_input_signature[1]
    answer = function(**{key: tf.constant(arrays[key], spec.dtype) for key, spec in wanted.items()})
    np.savez(f"{folder}/{name}.npz", **answer)
assert not {"keras_vae", "tensorflow_probability"} & set(sys.modules)
import keras, keras_vae
model = keras.saving.load_model(f"{folder}/dream.keras")
x, y = ({key: arrays[key] for key in keys} for keys in (("state", "action"), ("reward", "end")))
batch = tf.nest.map_structure(lambda part: tf.constant(part, tf.float32), (x, y | {"state": arrays["next_state"]}))
operations = tf.function(model.train_step).get_concrete_function(batch).graph.get_operations()
real = [tensor for operation in operations for tensor in operation.outputs if tensor.dtype.is_floating]
assert len(real) > 50 and all(tensor.shape.is_fully_defined() for tensor in real), "what a TPU needs"
loss = model.train_on_batch(x, y | {"state": arrays["next_state"]}, return_dict=True)["loss"]
np.savez(f"{folder}/again.npz", loss=loss, **model.predict(x, verbose=0))
"""


def test_reloaded_and_served_here(tmp_path):
    model = built(run_eagerly=True)
    model.save(tmp_path / "dream.keras")
    again = kv.load_model(tmp_path / "dream.keras")
    for one, other in zip(model.step(X["state"], X["action"]), again.step(X["state"], X["action"]), strict=True):
        np.testing.assert_array_equal(one, other)
    model.export(tmp_path / "served" / "1")
    served = tf.saved_model.load(str(tmp_path / "served" / "1")).signatures
    assert set(served) == {"serving_default", "step", "encode", "decode", "log_likelihood"}
    answer = served["step"](**{name: tf.constant(part) for name, part in X.items()})
    for name, value in model.reconstruct(X).items():
        np.testing.assert_allclose(answer[name], value, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"DreamingVAE.step needs state that are finite"):
        served["step"](state=tf.fill([2, 6], np.inf), action=tf.zeros([2, 3]))


@pytest.mark.slow
def test_served_and_reloaded_in_a_new_process(tmp_path, run_python):
    model = built(run_eagerly=True)
    model.train_on_batch(X, Y)
    model.save(tmp_path / "dream.keras")
    model.export(tmp_path / "served" / "1")
    z = model.sample_prior(12, 5)
    given = {"next_state": Y["state"], "reward": Y["reward"], "end": Y["end"], "z": z, "num_samples": 7, "seed": 5}
    np.savez(tmp_path / "arrays.npz", **X, **given)
    answers = {
        "step": model.reconstruct(X),
        "encode": {"mean": model.encode(X).mean(), "stddev": model.encode(X).stddev()},
        "decode": model.decode(z).mean(),
        "log_likelihood": {"log_likelihood": model.importance_weights((X, Y), 7, 5)[0]},
    }
    answers["serving_default"] = answers["step"]
    model.reset_metrics()
    loss = model.train_on_batch(X, Y, return_dict=True)["loss"]
    run_python(SERVED, tmp_path)
    for name, outputs in answers.items():
        got = np.load(tmp_path / f"{name}.npz")
        assert set(got) == set(outputs)
        for key, value in outputs.items():
            np.testing.assert_allclose(got[key], value, rtol=1e-5, atol=1e-5, err_msg=f"{name}: {key}")
    again = np.load(tmp_path / "again.npz")
    assert again["loss"] == loss
    for key, value in model.predict(X, verbose=0).items():
        np.testing.assert_array_equal(again[key], value)


def test_served_functions_refuse_what_they_can_not_answer():
    function, specs = built().serving_signatures()["step"]
    assert [spec.name for spec in specs] == ["action", "state"]
    served = tf.function(function, input_signature=specs, autograph=False)
    for state, action, message in (
        (X["state"][:, :5], X["action"], r"DreamingVAE.step needs state of shape \(batch, 6\)"),
        (X["state"], X["action"][:3], "DreamingVAE.step needs as many rows of action as of state. Received: 3 and 12"),
        (X["state"], np.full((12, 3), np.nan), "DreamingVAE.step needs action that are finite"),
        (np.full((12, 6), np.inf), X["action"], "DreamingVAE.step needs state that are finite"),
    ):
        # A server feeds what it is sent: the graph itself has to look.
        with pytest.raises((tf.errors.InvalidArgumentError, ValueError, TypeError), match=message):
            function(tf.constant(action, tf.float32), tf.constant(state, tf.float32))
    served(tf.constant(X["action"]), tf.constant(X["state"]))


def test_xla_steps_and_dreams_as_without_it():
    model, plain = (built(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True) for _ in range(2))
    step = tf.function(model.train_step, jit_compile=True)
    dream = tf.function(model._means, jit_compile=True)
    batch = tf.nest.map_structure(tf.constant, (X, Y))
    for one, other in zip(dream(*(batch[0][name] for name in X)), plain.step(**X), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for _ in range(2):
        model.reset_metrics()
        expected = plain.train_on_batch(X, Y, return_dict=True)
        plain.reset_metrics()
        assert float(step(batch)["loss"]) == pytest.approx(expected["loss"], rel=1e-4)


@pytest.mark.slow
def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = CASE.compiled()
    losses = model.fit(X, Y, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert {part.dtype for part in model.step(X["state"], X["action"])} == {tf.float32}


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused(maze):
    model, dream, known = built(), maze[3], maze[1]["state"]
    parts = {"posterior": kv.Normal(2), "state": kv.Bernoulli(6), "reward": kv.Normal(1), "end": kv.Bernoulli(1)}
    parts |= {"prior": kv.StandardNormal(2), "action_shape": 3}
    for change, error, message in (
        ({"reward": kv.Normal(2)}, ValueError, r"DreamingVAE needs reward to be a layer of event shape \(1,\).*\(2,\)"),
        ({"end": 3}, TypeError, "DreamingVAE needs end to be a distribution layer.*Received: 3"),
        ({"prior": kv.StandardNormal(3)}, ValueError, "DreamingVAE needs a prior and a posterior of one event shape"),
        ({"action_shape": 0}, ValueError, "DreamingVAE needs a shape without the batch axis"),
    ):
        with pytest.raises(error, match=message):
            kv.DreamingVAE(**parts | change)
    with pytest.raises(ValueError, match="DreamingVAE needs the end and reward and next state of each example as y"):
        model.fit(X, verbose=0)
    with pytest.raises(ValueError, match="DreamingVAE needs x to be a dictionary of state, action"):
        model.fit(X["state"], Y, verbose=0)
    with pytest.raises(ValueError, match=r"Bernoulli.* needs ends that are 0 or 1|needs ends"):
        model.fit(X, Y | {"end": Y["end"] + 3}, verbose=0)
    with pytest.raises(ValueError, match=r"DreamingVAE needs states of shape \(batch, 6\). Received: \(12, 5\)"):
        model.step(X["state"][:, :5], X["action"])
    with pytest.raises(ValueError, match="DreamingVAE needs finite states"):
        model.step(np.full((12, 6), np.nan), X["action"])
    with pytest.raises(ValueError, match=r"DreamingVAE needs actions from 0 to 2. Received: \[3\]"):
        model.step(X["state"], np.full(12, 3))
    with pytest.raises(ValueError, match=r"DreamingVAE.rollout needs actions of shape.*Received: \(12, 0, 3\)"):
        model.rollout(X["state"], np.zeros((12, 0), int))
    with pytest.raises(ValueError, match=r"DreamingVAE.step needs temperature to be a number, 0 or more"):
        model.step(X["state"], X["action"], temperature=-1)
    with pytest.raises(ValueError, match=r"DreamingVAE.step needs weights"):
        CASE.model().step(X["state"], X["action"])
    with pytest.raises(TypeError, match=r"DreamEnvironment needs a DreamingVAE. Received: 3"):
        DreamEnvironment(3, known)
    with pytest.raises(ValueError, match=r"DreamEnvironment needs starts of shape \(starts, 4, 4, 3\)"):
        DreamEnvironment(dream, known[0])
    with pytest.raises(ValueError, match="DreamEnvironment needs spaces of states of shape"):
        DreamEnvironment(dream, known, action_space=gymnasium.spaces.Discrete(5))
    with pytest.raises(ValueError, match=r"DreamEnvironment.step needs an action of Discrete\(4\). Received: 4"):
        DreamEnvironment(dream, known).step(4)
    with pytest.raises(ValueError, match=r"drift needs one state more than actions. Received: 2 states and 2"):
        kv.evaluation.drift(dream, np.zeros((3, 2, 4, 4, 3)), np.zeros((3, 2), int))
    with pytest.raises(ValueError, match=r"drift needs states of shape \(paths, steps \+ 1, 4, 4, 3\)"):
        kv.evaluation.drift(dream, np.zeros((3, 2, 4, 4)), np.zeros((3, 1), int))
