"""Every Keras call on a VAE: data in all forms, callbacks, compile options, saving, and exact means in the logs."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import CASES, binary_images

import keras_vae as kv
from keras_vae.callbacks import BackupAndRestore, HistoryLogger
from keras_vae.noise import fold
from keras_vae.sampling import sampling

X = binary_images(count=25)  # batches of 10 leave a last one of 5
WEIGHTS = np.random.default_rng(1).uniform(0.5, 2, len(X)).astype("float32")


class Batches(keras.utils.PyDataset):
    """The data as Keras's own kind of sequence."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[10 * index : 10 * (index + 1)]


def dataset():
    return tf.data.Dataset.from_tensor_slices(X).batch(10)


def unknown_length():
    return tf.data.Dataset.from_generator(lambda: iter(X), output_signature=tf.TensorSpec(X.shape[1:])).batch(10)


def generator():
    while True:
        yield from (X[:10], X[10:20], X[20:])


def compiled(**kwargs):
    return CASES["Bernoulli"].compiled(**kwargs)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (lambda: X, {"batch_size": 10}),
        (lambda: tf.constant(X), {"batch_size": 10, "eagerly": True}),  # arrays too, of which the first is compiled
        (lambda: X.astype("uint8"), {"batch_size": 10, "eagerly": True}),
        (lambda: X.astype("float64"), {"batch_size": 10, "eagerly": True}),
        (dataset, {}),
        (unknown_length, {}),
        (lambda: Batches(), {}),
        (generator, {"steps_per_epoch": 3}),
        (lambda: dataset().map(lambda x: (x, x)), {}),
    ],
    ids=["numpy", "tensor", "uint8", "float64", "tf.data", "unknown length", "PyDataset", "generator", "with targets"],
)
def test_fit_takes_data_in_every_form(data, options):
    options = dict(options)
    model = compiled(run_eagerly=options.pop("eagerly", False))
    history = model.fit(data(), epochs=2, validation_data=X, verbose=0, **options).history
    figures = {"loss", "log_likelihood", "kl", "bits_per_dim"}
    assert set(history) == figures | {f"val_{name}" for name in figures}
    assert int(model.optimizer.iterations) == 6
    assert history["loss"][1] < history["loss"][0]


def test_validation_split_holds_out_the_last_examples():
    model = compiled()
    history = model.fit(X, validation_split=0.2, epochs=1, batch_size=10, verbose=0).history
    logs = model.evaluate(X[20:], batch_size=10, verbose=0, return_dict=True)
    assert history["val_loss"] == [pytest.approx(logs["loss"], rel=1e-6)]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_epoch_figures_are_exact_means_over_examples(weights):
    """Against the trace itself, one example at a time; a posterior without noise makes the draws irrelevant."""
    model = compiled()
    model.build((None, 8, 8, 1))
    model.posterior.head.kernel.assign(tf.zeros_like(model.posterior.head.kernel))
    model.posterior.head.bias.assign([1.0, -30.0] * 3)  # location 1, scale at its floor
    model.posterior.min_scale = 1e-12
    logs = model.evaluate(X, batch_size=10, sample_weight=weights, verbose=0, return_dict=True)
    traces = [model(X[i : i + 1]) for i in range(len(X))]
    for name in ("log_likelihood", "kl"):
        expected = np.average([getattr(trace, name).numpy().item() for trace in traces], weights=weights)
        assert logs[name] == pytest.approx(expected, rel=1e-5)
    expected = np.average([model.loss(trace).numpy().item() for trace in traces], weights=weights)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    assert logs["bits_per_dim"] == pytest.approx(expected / (64 * np.log(2)), rel=1e-5)


@pytest.mark.parametrize("data", [lambda: X, dataset], ids=["array", "tf.data"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_loss_is_minus_log_likelihood_plus_beta_kl(data, beta):
    model = compiled()
    model.compile("adam", kv.ELBO(beta=beta), run_eagerly=True)
    history = model.fit(data(), validation_data=X, epochs=1, batch_size=None, verbose=0).history
    for prefix in ("", "val_"):
        loss, log_likelihood, kl = (history[prefix + name][0] for name in ("loss", "log_likelihood", "kl"))
        assert kl > 1e-2
        assert (loss + log_likelihood) / kl == pytest.approx(beta, abs=1e-5 * abs(loss) / kl)


def test_sample_weights_scale_the_gradient_as_in_keras():
    """Weight 2 on every example doubles the gradient; weight 0 removes an example."""

    def step(x, weights):
        model = compiled()
        model.compile(keras.optimizers.SGD(0.1), kv.ELBO(), run_eagerly=True)
        model.build((None, 8, 8, 1))
        before = [weight.numpy() for weight in model.trainable_weights]
        model.fit(x, sample_weight=weights, batch_size=len(x), shuffle=False, verbose=0)
        return np.concatenate([(a.numpy() - b).ravel() for a, b in zip(model.trainable_weights, before, strict=True)])

    plain = step(X, None)
    np.testing.assert_allclose(step(X, np.full(len(X), 2.0)), 2 * plain, rtol=2e-3, atol=1e-5)
    assert not np.allclose(step(X, np.r_[0.0, np.ones(len(X) - 1)]), plain, rtol=2e-3, atol=1e-5)
    assert np.abs(step(X, np.zeros(len(X)))).max() == 0


def test_evaluate_repeats_and_predict_reconstructs():
    model = compiled()
    model.fit(X, verbose=0)
    assert model.evaluate(X, verbose=0) == model.evaluate(X, verbose=0)
    assert model.metrics_names == ["loss", "log_likelihood", "kl", "bits_per_dim"]
    np.testing.assert_allclose(model.predict(X, verbose=0), model.reconstruct(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict(dataset(), verbose=0), model.reconstruct(X), rtol=1e-5, atol=1e-6)
    assert model.predict(X[:1], verbose=0).shape == (1, 8, 8, 1)
    assert np.isfinite(model.train_on_batch(X[:1])).all()
    assert np.isfinite(model.test_on_batch(X[:1])).all()


@pytest.mark.parametrize("name", ["Bernoulli", pytest.param("FiniteScalarQuantized, PixelCNN", marks=pytest.mark.slow)])
def test_a_function_of_ones_own_around_a_step_is_traced_in_silence(name, caplog):
    """AutoGraph reads the source of all that a step calls, and says what it can not read."""
    x, model = CASES[name].data(), CASES[name].compiled()
    model.build(x.shape)
    loss = tf.function(model.train_step)((x,))["loss"]
    assert np.isfinite(loss)
    assert "AutoGraph" not in caplog.text


@pytest.mark.slow
def test_compile_options_train_the_same_model():
    two_steps = {"steps_per_execution": 2}
    losses = []
    for options in ({}, {"run_eagerly": True}, two_steps, two_steps | {"jit_compile": True}):
        model = compiled(**options)
        losses.append(model.fit(X[:20], epochs=2, batch_size=10, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(losses, [losses[0]] * 4, rtol=1e-4)


def test_gradient_clipping_bounds_the_update():
    model = compiled()
    model.compile(keras.optimizers.SGD(1.0, global_clipnorm=1e-3), kv.ELBO(), run_eagerly=True)
    model.build((None, 8, 8, 1))
    before = [weight.numpy() for weight in model.trainable_weights]
    model.fit(X, batch_size=len(X), verbose=0)
    change = [np.sum((a.numpy() - b) ** 2) for a, b in zip(model.trainable_weights, before, strict=True)]
    assert np.sqrt(np.sum(change)) == pytest.approx(1e-3, rel=1e-2)


def test_dropout_is_on_in_training_only():
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dropout(0.9)])
    model = kv.VAE(kv.Normal(2, encoder), kv.Bernoulli((8, 8, 1)), kv.StandardNormal(2))
    model.build((None, 8, 8, 1))
    with sampling(1, fold(0)):
        train = [model(X, training=True).latents["z"].posterior.mean() for _ in range(2)]
        test = [model(X, training=False).latents["z"].posterior.mean() for _ in range(2)]
    assert np.abs(train[0] - train[1]).max() > 0
    np.testing.assert_array_equal(test[0], test[1])


def test_regularizers_are_added_to_the_loss():
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, kernel_regularizer="l2")])
    model = kv.VAE(kv.Normal(2), kv.FixedScaleNormal(5, decoder), kv.StandardNormal(2))
    model.compile("adam")
    logs = model.evaluate(np.ones((3, 5), "float32"), verbose=0, return_dict=True)
    penalty = 0.01 * float(np.sum(decoder.layers[-1].kernel.numpy() ** 2))
    assert logs["loss"] - (logs["kl"] - logs["log_likelihood"]) == pytest.approx(penalty, abs=1e-5)


def test_keras_callbacks(tmp_path):
    model = compiled()
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_loss", save_best_only=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "last.weights.h5", save_weights_only=True),
        keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=1e9, patience=1),
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", min_delta=1e9, patience=1),
        keras.callbacks.TensorBoard(tmp_path / "board"),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        HistoryLogger(tmp_path / "history.csv"),
    ]
    history = model.fit(X, epochs=9, batch_size=10, validation_data=X, verbose=0, callbacks=callbacks)
    assert len(history.epoch) == 2  # nothing improves by 1e9
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)  # from 1e-2
    assert list((tmp_path / "board").rglob("events*"))
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,seconds,")
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2"]
    best = kv.load_model(tmp_path / "best.keras")
    np.testing.assert_array_equal(best.evaluate(X, verbose=0), model.evaluate(X, verbose=0))
    fresh = compiled()
    fresh.build((None, 8, 8, 1))
    fresh.load_weights(tmp_path / "last.weights.h5")
    np.testing.assert_array_equal(fresh.predict(X, verbose=0), model.predict(X, verbose=0))
    assert not list(tmp_path.rglob(".*.tmp.*")), "a save leaves no temporary file"


def test_history_keeps_epochs_with_and_without_validation(tmp_path):
    logger = HistoryLogger(tmp_path / "history.csv")
    compiled(run_eagerly=True).fit(X, epochs=4, validation_data=X, validation_freq=2, verbose=0, callbacks=[logger])
    header, *rows = (line.split(",") for line in (tmp_path / "history.csv").read_text().splitlines())
    assert [len(row) for row in rows] == [len(header)] * 4
    assert [row[header.index("val_loss")] != "" for row in rows] == [False, True, False, True]


@pytest.mark.parametrize("logger_first", [True, False])
def test_a_run_that_is_killed_between_two_callbacks_keeps_its_history(logger_first, tmp_path):
    """With the backup last no epoch is lost; else it is said which."""

    class Killed(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def callbacks(*between):
        logger, backup = HistoryLogger(tmp_path / "history.csv"), BackupAndRestore(tmp_path / "backup")
        return [logger, *between, backup] if logger_first else [backup, *between, logger]

    with pytest.raises(KeyboardInterrupt):
        compiled().fit(X, epochs=3, batch_size=10, verbose=0, callbacks=callbacks(Killed()))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        compiled().fit(X, epochs=3, batch_size=10, verbose=0, callbacks=callbacks())
    rows = (tmp_path / "history.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == (["1", "2", "3"] if logger_first else ["1", "3"])
    lacks = [str(warning.message) for warning in said if "HistoryLogger" in str(warning.message)]
    assert len(lacks) == (0 if logger_first else 1)
    assert logger_first or "lacks epoch 2" in lacks[0]


def test_a_resumed_fit_equals_an_uninterrupted_one(tmp_path):
    whole = compiled()
    whole.fit(X, epochs=4, batch_size=10, verbose=0)
    compiled().fit(X, epochs=2, batch_size=10, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    resumed = compiled()
    history = resumed.fit(X, epochs=4, batch_size=10, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    assert history.epoch == [2, 3]
    assert BackupAndRestore(tmp_path).finished_epochs == 4
    for a, b in zip(
        whole.weights + whole.optimizer.variables, resumed.weights + resumed.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_every_epoch_and_every_step_has_its_own_noise_and_order():
    batches = kv.batches.array_batches(np.arange(100), batch_size=100, seed=3).by_epoch()
    epochs = [next(iter(batches)).numpy() for _ in range(2)]
    assert not np.array_equal(epochs[0], epochs[1])
    batches.epoch.assign(0)
    np.testing.assert_array_equal(next(iter(batches)).numpy(), epochs[0])
    assert sorted(epochs[1]) == list(range(100))
    losses = []
    model = compiled()
    model.compile(keras.optimizers.SGD(0.0), kv.ELBO(), run_eagerly=True)
    for _ in range(2):
        losses += model.fit(X, batch_size=len(X), epochs=2, verbose=0, shuffle=False).history["loss"]
    assert len(set(losses)) == 4, "the weights stand still, the noise does not"


def test_small_weights_of_examples_leave_each_batch_its_own_noise():
    model = compiled()
    weights = np.full(20, 0.01, "float32")
    seeds = []
    model._step_seed, step_seed = lambda *numbers: seeds.append(step_seed(*numbers)) or seeds[-1], model._step_seed
    model.run_eagerly = True
    model.evaluate(X[:20], sample_weight=weights, batch_size=5, verbose=0)
    assert len({tuple(seed.numpy()) for seed in seeds[-4:]}) == 4


def test_weights_that_are_not_finite_are_refused():
    weights = np.ones(len(X), "float32")
    weights[3] = np.nan
    for method in ("fit", "evaluate"):
        with pytest.raises(ValueError, match=f"VAE.{method} needs finite sample weights"):
            getattr(compiled(), method)(X, sample_weight=weights, verbose=0)


def test_gradient_accumulation_draws_new_noise_for_each_batch():
    """The mean gradient of two equal batches would be that of one, did they share their noise."""

    def update(steps, **options):
        model = compiled()
        model.compile(keras.optimizers.SGD(0.1, **options), kv.ELBO(), run_eagerly=True)
        model.fit(np.concatenate([X] * steps), batch_size=len(X), shuffle=False, verbose=0)
        return model.trainable_weights[0].numpy()

    assert np.abs(update(1) - update(2, gradient_accumulation_steps=2)).max() > 1e-5


def figures_of_a_seed():
    """Results that must not depend on the process."""
    model = compiled()
    model.build((None, 8, 8, 1))
    parts = (
        model.generate(2, seed=7, temperature=0.7),
        model.reconstruct(X, seed=7),
        model.importance_weights(X, 9, 7)[0],
    )
    return [part.numpy().sum().item().hex() for part in parts], model.evaluate(X, verbose=0)


def test_results_for_a_seed_are_the_same_in_each_process(run_python):
    code = "import sys; sys.path.insert(0, 'tests'); import test_contract; print(test_contract.figures_of_a_seed())"
    assert run_python(code).strip() == str(figures_of_a_seed())


def test_seed_and_temperature_of_generate():
    model = compiled()
    model.build((None, 8, 8, 1))
    np.testing.assert_array_equal(model.generate(5, seed=1), model.generate(5, seed=1))
    assert np.abs(model.generate(5, seed=1) - model.generate(5, seed=2)).max() > 0
    assert np.abs(model.generate(5) - model.generate(5)).max() > 0
    np.testing.assert_array_equal(model.sample_prior(5, seed=1, temperature=0.0), np.zeros((5, 3)))
    draws = model.sample_prior(100_000, seed=1, temperature=2.0).numpy()
    assert draws.std() == pytest.approx(2.0, abs=4 * 2.0 / np.sqrt(2 * draws.size))
    assert model.reconstruct(X, seed=1).shape == X.shape
    assert model.decode(np.zeros((4, 2, 3), "float32")).batch_shape == (4, 2)


def test_summary_says_what_is_minimised():
    lines = []
    model = compiled()
    model.build((None, 8, 8, 1))
    model.summary(print_fn=lambda line, **kwargs: lines.append(line))
    text = "\n".join(lines)
    assert "(None, 8, 8, 1)" in text
    assert "ELBO(beta=1.0, samples=1, free_nats=0.0)" in text


def test_save_replaces_a_file_in_one_step(tmp_path, monkeypatch):
    model = compiled()
    model.build((None, 8, 8, 1))
    path = tmp_path / "model.keras"
    model.save(path)
    before = path.read_bytes()

    def broken(self, filepath, **kwargs):
        filepath.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_networks_fit_any_image():
    for shape in [(1, 1, 1), (5, 9, 3), (28, 28, 1), (33, 17, 2)]:
        x = binary_images(shape, count=2)
        features = kv.convolutional_encoder(shape, filters=[2, 2, 2])(x)
        assert features.shape[0] == 2
        assert kv.convolutional_decoder(4, shape, filters=[2, 2, 2])(np.zeros((2, 4))).shape == (2, *shape[:2], 2)
        assert kv.dense_encoder(shape, units=[6])(x).shape == (2, 6)


@pytest.mark.parametrize("role", ["prior", "likelihood", "posterior"])
def test_a_frozen_layer_stays_frozen_after_a_reload(role, tmp_path):
    model = kv.VAE(
        kv.Normal(2, kv.dense_encoder(3, units=[4])), kv.LearnedScaleNormal(3, kv.dense_decoder(2, [4])), kv.Normal(2)
    )
    model.build((None, 3))
    getattr(model, role).trainable = False
    data = np.ones([4, 3], np.float32)
    model.compile("adam", run_eagerly=True)
    model.fit(data, verbose=0)
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns of an optimizer's state that it leaves out
        loaded = kv.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_weights) == len(model.trainable_weights)
    assert loaded.optimizer.iterations == 1
    before = [weight.numpy() for weight in getattr(loaded, role).weights]
    loaded.fit(data, verbose=0)
    for old, new in zip(before, getattr(loaded, role).weights, strict=True):
        np.testing.assert_array_equal(old, new)
    getattr(loaded, role).trainable = True
    assert len(loaded.trainable_weights) > len(model.trainable_weights)


@pytest.mark.filterwarnings("error:.*had a build config")
def test_a_model_that_was_loaded_is_saved_and_loaded_again(tmp_path):
    """A VampPrior is built by its model alone: what is lost on the way is lost without a word."""
    model = CASES["VampPrior, DoublyReparameterized"].compiled(run_eagerly=True)
    x = CASES["VampPrior, DoublyReparameterized"].data()
    model.fit(x, verbose=0)
    expected = model
    for generation in range(3):
        model.save(tmp_path / f"{generation}.keras")
        model = kv.load_model(tmp_path / f"{generation}.keras")
    for mine, its in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(mine, its)
    for mine, its in zip(model.optimizer.variables, expected.optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine, its)
