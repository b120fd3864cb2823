"""What users of Keras are used to, under default settings: methods from callbacks, all callbacks, all policies."""

import inspect
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import usual_first
from linear_gaussian import X as REAL
from linear_gaussian import linear_vae

import keras_vae as kv
from keras_vae.callbacks import BackupAndRestore

X = (np.random.default_rng(0).random((24, 6)) < 0.4).astype("float32")


def model(optimizer=None, **options) -> kv.VAE:
    keras.utils.set_random_seed(1)
    encoder, decoder = kv.dense_encoder(6, units=[5]), kv.dense_decoder(2, units=[5])
    made = kv.VAE(kv.Normal(2, encoder), kv.Bernoulli(6, decoder), kv.StandardNormal(2))
    made.build((None, 6))
    made.compile(optimizer or keras.optimizers.Adam(1e-2), kv.ELBO(), **options)
    return made


def weights(made) -> list[np.ndarray]:
    return [variable.numpy() for variable in made.weights + made.optimizer.variables]


def check_equal(one, other) -> None:
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)


# --- methods inside of callbacks -------------------------------------------------------------------------------------


def methods(made, folder) -> dict:
    """Methods that leave the weights as they are."""
    return {
        "predict": lambda: made.predict(X, verbose=0),
        "evaluate": lambda: made.evaluate(X[:10], batch_size=3, verbose=0),
        "test_on_batch": lambda: made.test_on_batch(X[:3]),
        "predict_on_batch": lambda: made.predict_on_batch(X[:3]),
        "generate": lambda: made.generate(2, seed=1),
        "reconstruct": lambda: made.reconstruct(X[:2]),
        "save": lambda: made.save(folder / "model.keras"),
        "save_weights": lambda: made.save_weights(folder / "model.weights.h5"),
        "export": lambda: made.export(folder / f"export-{len(list(folder.iterdir()))}" / "1"),
        "log_likelihood": lambda: kv.evaluation.log_likelihood(made, X[:4], samples=2, verbose=0),
    }


class Calls(keras.callbacks.Callback):
    """Calls methods at a place."""

    def __init__(self, place: str, functions):
        super().__init__()
        self.count = 0

        def call(*_, **__):
            self.count += 1
            for function in functions:
                function()

        setattr(self, place, call)


PLAIN = {"jit_compile": False}
PLACES = {"on_train_begin": PLAIN, "on_epoch_begin": PLAIN, "on_train_batch_end": {}, "on_test_batch_end": PLAIN}
PLACES |= {"on_epoch_end": {}, "on_train_end": PLAIN}  # in XLA only where calls and batches differ


@pytest.mark.parametrize("place", usual_first(PLACES, "on_train_batch_end"))
def test_any_method_may_be_called_from_any_callback(place, tmp_path):
    """The training, and its figures, are those of a run that calls nothing."""
    plain, calls = model(**PLACES[place]), model(**PLACES[place])
    options = {"batch_size": 4, "epochs": 2, "validation_data": X[:9], "verbose": 0}
    nothing = Calls(place, [])  # looks at batches too, where the other does
    expected = plain.fit(X, callbacks=[nothing], **options).history
    some = methods(calls, tmp_path)
    often = "batch" in place  # of which there are many: two are enough
    callback = Calls(place, [some["predict"], some["evaluate"]] if often else some.values())
    history = calls.fit(X, callbacks=[callback], **options).history
    assert callback.count == nothing.count > 0
    assert history == expected
    check_equal(calls, plain)


@pytest.mark.slow
def test_methods_nest():
    """evaluate in fit, predict in that, and the validation goes on as before."""
    made, plain, seen = model(), model(), []
    inner = Calls("on_test_batch_end", [lambda: seen.append(made.predict(X, verbose=0))])
    callback = Calls("on_epoch_end", [lambda: made.evaluate(X, batch_size=8, verbose=0, callbacks=[inner])])
    history = made.fit(X, epochs=3, validation_data=X, verbose=0, callbacks=[callback]).history
    assert history == plain.fit(X, epochs=3, validation_data=X, verbose=0).history
    assert len(seen) == inner.count == 9
    check_equal(made, plain)


def test_what_ends_a_running_fit_is_refused():
    made = model()
    for words, function in {
        "VAE.fit needs the fit that is running": lambda: made.fit(X, verbose=0),
        "VAE.compile needs the fit that is running": made.compile,
        "VAE.quantize needs the fit that is running": lambda: made.quantize("int8"),
    }.items():
        with pytest.raises(RuntimeError, match=words):
            made.fit(X, verbose=0, callbacks=[Calls("on_epoch_end", [function])])
    made.fit(X, verbose=0)
    other = model()
    made.fit(X, verbose=0, callbacks=[Calls("on_epoch_end", [lambda: other.fit(X, verbose=0)])])
    assert int(other.optimizer.iterations) == 1


def test_train_on_batch_trains_inside_of_fit():
    made = model()
    made.fit(X, batch_size=8, epochs=2, verbose=0, callbacks=[Calls("on_epoch_end", [lambda: made.train_on_batch(X)])])
    assert int(made.optimizer.iterations) == 2 * (3 + 1)


# --- callbacks of Keras ----------------------------------------------------------------------------------------------


def stock_callbacks(folder) -> dict:
    """One of each class of keras.callbacks, as it is used by those who set nothing that they need not set."""
    return {
        "BackupAndRestore": lambda: keras.callbacks.BackupAndRestore(folder / "backup"),
        "CSVLogger": lambda: keras.callbacks.CSVLogger(folder / "log.csv"),
        "Callback": keras.callbacks.Callback,
        "EarlyStopping": keras.callbacks.EarlyStopping,
        "History": keras.callbacks.History,
        "LambdaCallback": keras.callbacks.LambdaCallback,
        "LearningRateScheduler": lambda: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
        "ModelCheckpoint": lambda: keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
        "ProgbarLogger": keras.callbacks.ProgbarLogger,
        "ReduceLROnPlateau": keras.callbacks.ReduceLROnPlateau,
        "RemoteMonitor": lambda: keras.callbacks.RemoteMonitor("http://127.0.0.1:9"),
        "SwapEMAWeights": keras.callbacks.SwapEMAWeights,
        "TensorBoard": lambda: keras.callbacks.TensorBoard(folder / "board"),
        "TerminateOnNaN": keras.callbacks.TerminateOnNaN,
    }


ELSEWHERE = {"CallbackList", "OrbaxCheckpoint"}  # a list of others; and one that needs a package


def test_the_table_of_stock_callbacks_is_whole(tmp_path):
    names = {name for name, value in vars(keras.callbacks).items() if inspect.isclass(value)}
    assert names - ELSEWHERE == set(stock_callbacks(tmp_path))


def test_stock_callbacks_run_under_the_defaults(tmp_path, capsys):
    """One model for all, which is compiled once: none of them looks at single batches."""
    made = model(keras.optimizers.Adam(1e-2, use_ema=True))
    for name, build in stock_callbacks(tmp_path).items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Could not reach RemoteMonitor")
            history = made.fit(X, batch_size=4, epochs=2, validation_data=X, verbose=0, callbacks=[build()]).history
        assert len(history["val_loss"]) == 2, name
        assert made.steps_per_execution == 3, name
    assert list((tmp_path / "board").rglob("events*"))
    assert (tmp_path / "2.keras").exists()
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "build",
    [
        lambda folder, seen: keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch)),
        lambda folder, seen: keras.callbacks.TensorBoard(folder, update_freq=1),
        lambda folder, seen: keras.callbacks.TensorBoard(folder, write_steps_per_second=True),
        lambda folder, seen: keras.callbacks.ModelCheckpoint(folder / "{batch}.keras", save_freq=2),
    ],
    ids=["lambda", "TensorBoard", "TensorBoard, speed", "ModelCheckpoint"],
)
def test_stock_callbacks_that_look_at_batches_see_each_of_them(build, tmp_path):
    seen, made = [], model()
    made.fit(X, batch_size=4, verbose=0, callbacks=[build(tmp_path, seen)])
    assert made.steps_per_execution == 1
    assert seen in ([], [0, 1, 2, 3, 4, 5])


# --- precision -------------------------------------------------------------------------------------------------------

POLICIES = ["float32", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16"]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_trains_under_the_defaults(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    made = model()
    history = made.fit(X, batch_size=4, epochs=4, verbose=0).history["loss"]
    assert made.steps_per_execution == 3
    assert history[-1] < history[0]
    made.save(tmp_path / "model.keras")
    loaded = kv.load_model(tmp_path / "model.keras")
    check_equal(loaded, made)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), made.predict(X, verbose=0))


RESUMES = [(policy, PLAIN) for policy in POLICIES] + [("mixed_float16", {})]


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "options"), usual_first(RESUMES, RESUMES[1], RESUMES[2]))
def test_every_policy_resumes_and_goes_on_after_a_reload(policy, options, tmp_path):
    keras.config.set_dtype_policy(policy)
    whole, first, resumed = (model(**options) for _ in range(3))
    whole.fit(X, batch_size=4, epochs=4, verbose=0)
    first.fit(X, batch_size=4, epochs=2, verbose=0, callbacks=[BackupAndRestore(tmp_path / "backup")])
    resumed.fit(X, batch_size=4, epochs=4, verbose=0, callbacks=[BackupAndRestore(tmp_path / "backup")])
    check_equal(resumed, whole)
    whole.save(tmp_path / "model.keras")
    loaded = kv.load_model(tmp_path / "model.keras")
    for made in (loaded, whole):
        made.fit(X, batch_size=4, initial_epoch=4, epochs=5, verbose=0)
    check_equal(loaded, whole)


@pytest.mark.parametrize("options", [{}, {"jit_compile": False}, {"run_eagerly": True}], ids=["XLA", "graph", "eager"])
def test_the_loss_scale_moves(options, tmp_path):
    """Twice as large after 3 good steps; half as large, and no update, after an overflow."""
    keras.config.set_dtype_policy("mixed_float16")
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1e-3), initial_scale=8.0, dynamic_growth_steps=3)
    made = model(scaled, **options)
    made.fit(X, batch_size=4, epochs=1, verbose=0)
    assert float(scaled.dynamic_scale) == 32.0
    assert int(scaled.iterations) == 6
    scaled.dynamic_scale.assign(2.0**40)
    before = made.get_weights()
    made.fit(X, batch_size=4, epochs=1, verbose=0)
    assert float(scaled.dynamic_scale) == 2.0**34
    assert int(scaled.iterations) == 6
    for old, new in zip(before, made.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    made.save(tmp_path / "model.keras")
    assert float(kv.load_model(tmp_path / "model.keras").optimizer.dynamic_scale) == 2.0**34


# --- small ones ------------------------------------------------------------------------------------------------------


def table_model(optimizer) -> kv.VAE:
    """Its encoder reads a table, each of whose rows several pixels of a batch use."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Embedding(2, 3), keras.layers.Flatten(), keras.layers.Dense(4)]
    encoder = keras.Sequential([keras.Input((6,)), *layers])
    made = kv.VAE(kv.Normal(2, encoder), kv.Bernoulli(6, kv.dense_decoder(2, units=[5])), kv.StandardNormal(2))
    made.compile(optimizer, kv.ELBO())
    return made


@pytest.mark.parametrize("grouped", [False, True])
def test_adam_squares_the_whole_gradient_of_a_row_that_is_used_twice(grouped):
    """After one step the second moment is the square of the first, but for their rates; of Keras alone it is not."""
    adam = keras.optimizers.Adam(0.01)
    made = table_model({"model": adam} if grouped else adam)
    made.train_on_batch(X)
    first, second = ([each.numpy() for each in kept] for kept in (adam._momentums, adam._velocities))
    assert len(first) == len(made.trainable_weights)
    for weight, m, v in zip(made.trainable_weights, first, second, strict=True):
        np.testing.assert_allclose(v / 0.001, (m / 0.1) ** 2, rtol=1e-3, atol=1e-6, err_msg=weight.path)
        assert np.abs(m).max() > 0


def test_a_table_is_clipped_by_the_norm_of_its_whole_gradient():
    """A rate of 1 and no more: the step of each weight is as long as the norm."""
    made = table_model(keras.optimizers.SGD(1.0, clipnorm=1e-3))
    made.build((None, 6))
    before = made.get_weights()
    made.train_on_batch(X)
    steps = [np.linalg.norm(b - a) for a, b in zip(before, made.get_weights(), strict=True)]
    np.testing.assert_allclose([step for step in steps if step > 0], 1e-3, rtol=0.02)


def test_accumulated_gradients_draw_new_noise_where_an_epoch_is_shorter():
    """An epoch of one batch, an update in every fourth: the mean gradient of equal noise would be that of one batch."""

    def trained(steps, epochs):
        made = model(keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps))
        seeds = []
        step_seed = type(made)._step_seed

        def seen(*numbers):
            seeds.append(tuple(step_seed(made, *numbers).numpy()))
            return step_seed(made, *numbers)

        made._step_seed, made.run_eagerly = seen, True
        made.fit(X, batch_size=24, epochs=epochs, verbose=0)
        return seeds

    assert len(set(trained(4, 8))) == 8
    assert trained(None, 2) == trained(2, 2), "the first steps are those of the plain case"


@pytest.mark.parametrize("kind", usual_first(["int8", "float8", "int4"], "int8"))
def test_a_quantized_model_is_saved_and_loaded(kind, tmp_path):
    made = model()
    made.fit(X, verbose=0)
    exact = made.predict(X, verbose=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*`quantize` method")
        made.quantize(kind)
    quantized = made.predict(X, verbose=0)
    assert 0 < np.abs(quantized - exact).max() < 0.2
    made.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of an optimizer's state that is left out, for one
        loaded = kv.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), quantized)
    assert made.evaluate(X, verbose=0) == loaded.evaluate(X, verbose=0)


def test_calls_after_the_first_trace_nothing():
    made, traced = model(), []
    call = type(made).call

    def counted(inputs, training=None):
        if not tf.executing_eagerly():
            traced.append(training)
        return call(made, inputs, training)

    made.call = counted
    counts = []
    for _ in range(3):
        made.fit(X, batch_size=4, epochs=2, validation_data=X, verbose=0)
        made.evaluate(X, verbose=0)
        made.predict(X, verbose=0)
        made.train_on_batch(X[:4])
        counts.append(len(traced))
    assert counts[0] == counts[1] == counts[2] > 0


def test_models_that_are_not_compiled_predict_each_its_own(tmp_path):
    """Loaded to use them, in several threads too."""
    for number in range(2):
        made = model(**PLAIN)
        made.set_weights([weight + number for weight in made.get_weights()])
        made.save(tmp_path / f"{number}.keras")
    first, second = (keras.saving.load_model(tmp_path / f"{number}.keras", compile=False) for number in range(2))
    for made in (first, second):
        np.testing.assert_allclose(made.predict(X, verbose=0), made.reconstruct(X), rtol=1e-5)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: second.predict(X, verbose=0), range(8)):
            np.testing.assert_allclose(found, second.reconstruct(X), rtol=1e-5)


def test_layers_that_xla_runs_slowly_are_left_to_tensorflow():
    def chosen(*layers):
        encoder = keras.Sequential([keras.Input((6,)), *layers])
        made = kv.VAE(kv.Normal(2, encoder), kv.Bernoulli(6, kv.dense_decoder(2, [5])), kv.StandardNormal(2))
        made.compile()
        return made.jit_compile

    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    layers = keras.layers
    assert chosen(layers.Dense(4), layers.LayerNormalization())
    for random in (
        layers.Dropout(0.1),
        layers.GaussianNoise(0.1),
        layers.GaussianDropout(0.1),
        layers.AlphaDropout(0.1),
    ):
        assert chosen(random) == on_gpu, random.name
    for recurrent in (layers.GRU(3), layers.LSTM(3), layers.SimpleRNN(3), layers.Bidirectional(layers.LSTM(3))):
        assert chosen(layers.Reshape((3, 2)), recurrent) == on_gpu, recurrent.name


def test_moving_averages_of_keras():
    """`use_ema` of Keras's optimizer: at the end of `fit` the weights are the averages of those of all steps."""
    models, trail = [linear_vae(shift=0.5), linear_vae(shift=0.5)], []
    for model, ema in zip(models, (False, True), strict=True):
        optimizer = keras.optimizers.Adam(1e-2, use_ema=ema, ema_momentum=0.5)
        model.compile(optimizer, kv.ELBO(), jit_compile=False)

    class Follow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            trail.append(self.model.get_weights())

    models[0].fit(REAL, epochs=2, batch_size=20, verbose=0, callbacks=[Follow()])
    models[1].fit(REAL, epochs=2, batch_size=20, verbose=0)
    averages = trail[0]  # where Keras begins
    for weights in trail[1:]:
        averages = [0.5 * average + 0.5 * weight for average, weight in zip(averages, weights, strict=True)]
    for ours, expected in zip(models[1].get_weights(), averages, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
