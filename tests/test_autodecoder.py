"""A model without an encoder: a posterior for each example of the training data."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import AUTODECODERS, encoder
from test_posteriors import COVARIANCE, LATENT, LOG_P, MEAN, POSTERIOR_MEAN, SIZE, VARIANCE, W, X

import keras_vae as kv

DATA, NUMBERS = AUTODECODERS["PerExample"].arrays()
BOTH = pytest.mark.parametrize("posterior", [kv.PerExample, kv.PerExampleOnDisk])


class DiesAt(keras.callbacks.Callback):
    """Ends a run in the middle of an epoch."""

    def __init__(self, epoch: int, batch: int):
        super().__init__()
        self.epoch, self.batch = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch + 1) == (self.epoch, self.batch):
            raise InterruptedError


def parameters(model) -> np.ndarray:
    """Of all examples, shape (examples, ...)."""
    stored = getattr(model.posterior, "stored", None)
    return model.posterior.params.numpy() if stored is None else stored.read(tf.range(stored.size)).numpy()[:, 0]


def moments(model) -> np.ndarray:
    """The two of Adam, shape (examples, 2, ...)."""
    stored = getattr(model.posterior, "stored", None)
    if stored is not None:
        return stored.read(tf.range(stored.size)).numpy()[:, 1:]
    place = model.optimizer._get_variable_index(model.posterior.params)
    return np.stack([each[place].numpy() for each in (model.optimizer._momentums, model.optimizer._velocities)], axis=1)


def linear_model(examples=12, posterior=kv.PerExample):
    """The linear normal model of tests/test_posteriors.py, whose likelihood is known."""
    likelihood = kv.FixedScaleNormal(SIZE, scale=float(np.sqrt(VARIANCE)))
    of_examples = posterior(kv.FullCovarianceNormal(LATENT), examples)
    model = kv.VariationalAutodecoder(of_examples, likelihood, kv.StandardNormal(LATENT))
    model.build((None, SIZE))
    likelihood.head.set_weights([W.T, MEAN])
    likelihood.trainable = False
    return model


@BOTH
def test_training_reaches_the_exact_posteriors(posterior, tmp_path):
    model = linear_model(posterior=posterior)
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 600)
    model.compile(kv.RowwiseAdam(schedule), kv.StickingTheLanding())
    numbers = np.arange(len(X))
    model.fit(np.tile(X, (50, 1)), np.tile(numbers, 50), batch_size=12, epochs=12, verbose=0)
    found = model.encode(X, numbers)
    np.testing.assert_allclose(found.mean(), POSTERIOR_MEAN, atol=0.01)
    np.testing.assert_allclose(found.covariance(), np.broadcast_to(COVARIANCE, (12, 2, 2)), atol=0.01)
    options = {"samples": 100, "verbose": 0, "resume": tmp_path / "scores.npz"}
    score = kv.evaluation.log_likelihood(model, (X, numbers), **options)
    np.testing.assert_allclose(score.values, LOG_P, atol=0.02)
    refined = kv.evaluation.refine_posterior(model, (X, numbers), steps=100, draws=200, verbose=0)
    assert abs(refined.amortization_gap.mean) < 1e-2, "there is no encoder that could lose anything"
    set_parameters(model, parameters(model) + 1)
    with pytest.raises(ValueError, match="needs resume to name a new file, or one of the same model"):
        kv.evaluation.log_likelihood(model, (X, numbers), **options)


def test_new_examples_begin_at_the_prior():
    model = linear_model(examples=3)
    new = np.full(len(X), -1)
    found = kv.evaluation.refine_posterior(model, (X, new), posterior=kv.FullCovarianceNormal(LATENT), verbose=0)
    np.testing.assert_allclose(found.posterior.mean(), POSTERIOR_MEAN, atol=2e-3)
    np.testing.assert_allclose(found.log_likelihood.values, LOG_P, atol=1e-3)
    np.testing.assert_array_equal(model.encode(X, new).mean(), np.zeros((12, LATENT)))


@BOTH
def test_a_step_moves_the_rows_of_its_batch_alone(posterior):
    model = linear_model(posterior=posterior)
    model.compile(kv.RowwiseAdam(0.1), jit_compile=False)
    before = parameters(model)
    for _ in range(2):
        model.train_on_batch(X[[3, 7, 7]], np.array([3, 7, 7]))
    model.train_on_batch(X[:1], np.array([0]))
    moved = np.any(parameters(model) != before, axis=1)
    assert np.flatnonzero(moved).tolist() == [0, 3, 7]
    for of_rows in np.moveaxis(moments(model), 1, 0):
        assert np.flatnonzero(np.any(of_rows != 0, axis=1)).tolist() == [0, 3, 7]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_rows_are_trained_as_adam_trains_all_of_a_weight(jit_compile):
    """Where every row is in each batch, once or twice, the two are one."""
    start = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    rows = tf.constant([2, 0, 1, 3, 0])

    def trained(optimizer):
        variable = keras.Variable(start)
        optimizer.build([variable])

        @tf.function(jit_compile=jit_compile, autograph=False)
        def step():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.sin(tf.gather(variable.value, rows)))
            gradient = tape.gradient(loss, variable.value)
            assert isinstance(gradient, tf.IndexedSlices)
            dense = tf.math.unsorted_segment_sum(gradient.values, gradient.indices, 4)
            optimizer.apply([gradient if isinstance(optimizer, kv.RowwiseAdam) else dense], [variable])

        for _ in range(5):
            step()
        return variable.numpy()

    np.testing.assert_allclose(trained(kv.RowwiseAdam(0.1)), trained(keras.optimizers.Adam(0.1)), rtol=1e-5)


@pytest.mark.parametrize("case", AUTODECODERS.values(), ids=AUTODECODERS)
def test_saved_reloaded_and_resumed(case, tmp_path):
    """Two epochs, a file and two more epochs are four; so are two, a process that dies in the third, and a backup."""
    whole = case.compiled(kv.RowwiseAdam(0.01))
    whole.fit(DATA, NUMBERS, batch_size=4, epochs=2, verbose=0)
    whole.save(tmp_path / "model.keras")
    whole.save(tmp_path / "folder", zipped=False)
    np.testing.assert_array_equal(moments(keras.saving.load_model(tmp_path / "folder")), moments(whole))
    again = keras.saving.load_model(tmp_path / "model.keras")
    config = json.dumps(keras.saving.serialize_keras_object(whole))
    assert json.dumps(keras.saving.serialize_keras_object(again)) == config

    killed, resumed = case.compiled(kv.RowwiseAdam(0.01)), case.compiled(kv.RowwiseAdam(0.01))
    options = {"batch_size": 4, "epochs": 4, "verbose": 0}
    backup = kv.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(InterruptedError):
        killed.fit(DATA, NUMBERS, callbacks=[DiesAt(2, 2), backup], **options)
    resumed.fit(DATA, NUMBERS, callbacks=[kv.callbacks.BackupAndRestore(tmp_path / "backup")], **options)
    for model in (whole, again):
        model.fit(DATA, NUMBERS, initial_epoch=2, **options)
    for model in (again, resumed):
        np.testing.assert_array_equal(parameters(model), parameters(whole))
        for one, other in zip(model.weights, whole.weights, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(*(each.predict((DATA, NUMBERS), verbose=0) for each in (model, whole)))
    assert np.any(parameters(killed) != parameters(whole))


def test_keras_own_adam_trains_what_is_in_memory():
    logs = AUTODECODERS["PerExample"].compiled("adam").fit((DATA, NUMBERS), epochs=1, verbose=0).history
    assert np.isfinite(logs["loss"]).all()


# --- parameters on disk ----------------------------------------------------------------------------------------------


def with_parameters(name: str, **options):
    """A model with the same first weights whatever it is made of."""
    model, rng = AUTODECODERS[name].model(), np.random.default_rng(0)
    model.build((None, 5))
    set_parameters(model, rng.normal(size=(12, 2, 2)))
    for weight in model.weights:
        if weight.shape != (12, 2, 2):
            weight.assign(rng.normal(size=weight.shape))
    model.compile(kv.RowwiseAdam(0.1), **options)
    return model


def set_parameters(model, values) -> None:
    if isinstance(model.posterior, kv.PerExampleOnDisk):
        rows = np.zeros((len(values), 3, *values.shape[1:]), np.float32)
        rows[:, 0] = values
        model.posterior.stored.load({"0": rows})
    else:
        model.posterior.params.assign(values)


@pytest.mark.slow
def test_on_disk_the_same_is_trained():
    """To the last bit, with rows in several batches of one call, and one that is not of the training data."""
    numbers = np.tile(NUMBERS, 5)
    numbers[7] = -1
    found = []
    for name, steps in {"PerExample": 1, "PerExampleOnDisk": 5}.items():
        model = with_parameters(name, jit_compile=False, steps_per_execution=steps)
        history = model.fit(np.tile(DATA, (5, 1)), numbers, batch_size=8, epochs=2, verbose=0).history
        new = model.evaluate(DATA, np.full(12, -1), verbose=0)
        found.append([parameters(model), *model.likelihood.get_weights(), history["loss"], new])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_optimizer_begins_without_moments():
    model = AUTODECODERS["PerExampleOnDisk"].compiled(kv.RowwiseAdam(0.1), run_eagerly=True)
    model.fit(DATA, NUMBERS, verbose=0)
    assert np.all(np.any(moments(model) != 0, axis=2))
    before = parameters(model)
    model.compile(kv.RowwiseAdam(0.1), run_eagerly=True)
    model.fit(DATA[:4], NUMBERS[:4], verbose=0)
    assert np.flatnonzero(np.any(moments(model) != 0, axis=(1, 2, 3))).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(parameters(model)[4:], before[4:])
    model.posterior.trainable = False
    model.compile(kv.RowwiseAdam(0.1), run_eagerly=True)
    before = parameters(model)
    model.fit(DATA, NUMBERS, verbose=0)
    np.testing.assert_array_equal(parameters(model), before)


def test_on_disk_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = AUTODECODERS["PerExampleOnDisk"].compiled(kv.RowwiseAdam(0.05), run_eagerly=True)
    losses = model.fit(DATA, NUMBERS, epochs=10, batch_size=12, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    keras.config.set_dtype_policy("mixed_float16")
    with pytest.raises(ValueError, match=r"RowwiseAdam for parameters on disk\. Received: LossScaleOptimizer"):
        AUTODECODERS["PerExampleOnDisk"].compiled()


def test_what_can_not_be_done_on_disk_is_refused(tmp_path, monkeypatch):
    case = AUTODECODERS["PerExampleOnDisk"]
    for optimizer, words in {
        "adam": r"needs optimizer to be RowwiseAdam for parameters on disk\. Received: Adam",
        kv.RowwiseAdam(clipnorm=1.0): r"without options that Keras applies .* Received: {'clipnorm': 1\.0}",
        kv.RowwiseAdam(use_ema=True): r"Received: {'use_ema': True}",
    }.items():
        with pytest.raises(ValueError, match=f"VariationalAutodecoder.compile .*{words}"):
            case.compiled(optimizer)
    with pytest.raises(ValueError, match=r"compile needs jit_compile=False for parameters on disk\. Received: True"):
        case.compiled(jit_compile=True)
    model = case.compiled(run_eagerly=True)
    stopping = keras.callbacks.EarlyStopping("loss", restore_best_weights=True)
    with pytest.raises(TypeError, match=r"get_weights has no parameters that are on disk: .*KeepBest"):
        model.fit(DATA, NUMBERS, verbose=0, callbacks=[stopping])
    monkeypatch.setattr("keras_vae.models.autodecoder.LARGE", 100)
    with pytest.raises(ValueError, match=r"save needs zipped=False, and a folder .* of 576 bytes.*model\.keras"):
        model.save(tmp_path / "model.keras")
    room = shutil.disk_usage(tmp_path)._replace(free=500)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: room)
    with pytest.raises(OSError, match=r"params needs 576 bytes on disk\. Received: 500 bytes free in .*TMPDIR names"):
        case.compiled().build((None, 5))
    assert list(tmp_path.iterdir()) == []


def test_a_backup_never_keeps_rows_that_are_not_finite(tmp_path):
    model = AUTODECODERS["PerExampleOnDisk"].compiled(run_eagerly=True)

    class Breaks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            set_parameters(self.model, np.full((12, 2, 2), np.inf))

    backup = kv.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(FloatingPointError, match=r"Received: \S*per_example_on_disk\S*/params with NaN or infinity"):
        model.fit(DATA, NUMBERS, verbose=0, callbacks=[Breaks(), backup])


def test_files_of_other_rows_are_refused(tmp_path):
    model = linear_model(examples=11, posterior=kv.PerExampleOnDisk)
    stored, before = model.posterior.stored, parameters(model)
    needs = r"params needs a file of 11 rows of shape \(5,\) with two moments each, in parts of shape \(11, 3, 5\)\. "
    for file, received in {"1": "none", "2": r"\(12, 3, 5\)", "3": r"\(11, 3, 5\), \(1, 3, 5\)"}.items():
        parts = {"2": [12], "3": [11, 1]}.get(file, [])
        with pytest.raises(ValueError, match=f"{needs}Received: {received}"):
            stored.load({str(number): np.ones((size, 3, 5)) for number, size in enumerate(parts)})
    linear_model(posterior=kv.PerExampleOnDisk).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match=needs):
        model.load_weights(tmp_path / "other.weights.h5")
    np.testing.assert_array_equal(parameters(model), before)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "jit_compile"), [("PerExample", "auto"), ("PerExampleOnDisk", False)])
def test_numbers_of_later_batches_are_looked_at_in_the_step(name, jit_compile):
    """Also under XLA, which would take the last row in the place of one that there is not."""
    model = AUTODECODERS[name].compiled(kv.RowwiseAdam(0.01), jit_compile=jit_compile)
    numbers = np.array([*range(11), 40], np.int32)
    batches = tf.data.Dataset.from_tensor_slices((DATA, numbers)).batch(3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"needs numbers of examples from 0 to 11, or -1(.|\n)*40"):
        model.fit(batches, verbose=0)


@pytest.mark.parametrize("numbers", [[0, 12], [0, -2], [0, 0.5]])
def test_numbers_of_examples_that_there_are_not(numbers):
    model = AUTODECODERS["PerExample"].compiled()
    with pytest.raises(ValueError, match=r"numbers of examples that are whole, from 0 to 11, or -1.*Received: numbers"):
        model.fit(DATA[:2], np.array(numbers), verbose=0)


def test_what_can_not_be_a_posterior_for_each_example():
    with pytest.raises(ValueError, match=r"PerExample needs a posterior without a network\. Received: Normal with one"):
        kv.PerExample(kv.Normal(2, encoder(5)), 3)
    with pytest.raises(ValueError, match=r"belong to one example each\. Received: InverseAutoregressiveFlow with \d"):
        kv.PerExample(kv.InverseAutoregressiveFlow(2), 3)
    with pytest.raises(ValueError, match=r"Received: StandardNormal with 0 weights that examples share, and no param"):
        kv.PerExample(kv.StandardNormal(2), 3)
    with pytest.raises(TypeError, match=r"needs layer to be a distribution layer\. Received: 'normal'"):
        kv.PerExample("normal", 3)
    with pytest.raises(TypeError, match=r"posterior to be PerExample\(layer, examples\)\. Received: Normal"):
        kv.VariationalAutodecoder(kv.Normal(2), kv.Normal(5), kv.StandardNormal(2))
