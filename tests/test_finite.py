"""Training that breaks: which step it was, what went wrong in it, and which weights are left."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv
from keras_vae.callbacks import BackupAndRestore

X = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")  # six batches of 4, in XLA two calls of 3
MODES = {"XLA": {}, "graph": {"jit_compile": False}, "graph, 3 steps": {"jit_compile": False, "steps_per_execution": 3}}
MODES |= {"eager": {"run_eagerly": True}}


@keras.saving.register_keras_serializable("tests")
class Broken(keras.layers.Layer):
    """A weight whose gradient is NaN on batches with a number above 50; what it gives is as good as ever."""

    def build(self, shape):
        self.factor = self.add_weight(name="factor", initializer="ones")

    def call(self, x):
        @tf.custom_gradient
        def product(x, factor):
            def gradient(upstream):
                bad = tf.reduce_max(x) > 50
                return upstream * factor, tf.where(bad, tf.cast(np.nan, x.dtype), tf.reduce_sum(upstream * x))

            return x * factor, gradient

        return product(x, tf.cast(self.factor, x.dtype))


def model(mode: str = "XLA", optimizer=None) -> kv.VAE:
    keras.utils.set_random_seed(1)
    encoder = keras.Sequential([keras.Input((3,)), Broken(), keras.layers.Dense(4, "tanh")])
    made = kv.VAE(kv.Normal(2, encoder), kv.FixedScaleNormal(3, kv.dense_decoder(2, [4])), kv.StandardNormal(2))
    made.build((None, 3))
    made.compile(optimizer or keras.optimizers.Adam(1e-2), **MODES[mode])
    return made


def batches(x=X) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(x).batch(4)


def with_value(row: int, value: float) -> np.ndarray:
    changed = X.copy()
    changed[row] = value
    return changed


def check_weights(stopped, steps: int) -> None:
    """All variables are those after so many steps."""
    good = model("graph")
    good.fit(batches(X[: 4 * steps]), verbose=0)
    for a, b in zip(
        stopped.weights + stopped.optimizer.variables, good.weights + good.optimizer.variables, strict=True
    ):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6, err_msg=a.path)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", [5])
def test_a_batch_with_nan_stops_its_step(mode, step):
    made = model(mode)
    with pytest.raises(FloatingPointError, match=rf"VAE.fit stopped in epoch 1 at step {step}: log_likelihood is nan"):
        made.fit(batches(with_value(4 * step - 1, np.nan)), verbose=0)
    check_weights(made, step - 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", [6])
def test_a_gradient_of_nan_stops_its_step_and_is_named(mode, step):
    """Also where the broken step is the last one of a call, and of the epoch, whose losses are all finite."""
    made = model(mode)
    words = rf"epoch 1 at step {step}: the gradient of \S*broken\S*/factor is not finite, though the loss is"
    with pytest.raises(FloatingPointError, match=words):
        made.fit(batches(with_value(4 * step - 1, 60.0)), verbose=0)
    check_weights(made, step - 1)


@pytest.mark.parametrize("mode", MODES)
def test_a_learning_rate_that_overflows_is_told_from_bad_data(mode):
    """In epoch 3: epochs before it do not count as steps of it."""

    class Overflow(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 1e-3 if epoch < 2 else 3e38

    made = model(mode, keras.optimizers.SGD(1e-3))
    words = r"epoch 3 at step 1: the weight \S+ is not finite"
    with pytest.raises(FloatingPointError, match=words):
        made.fit(batches(10 * X), epochs=5, verbose=0, callbacks=[Overflow()])


@pytest.mark.parametrize("mode", MODES)
def test_the_last_step_of_an_epoch_may_not_break_the_weights_either(mode, tmp_path):
    made = model(mode, keras.optimizers.SGD(3e38))
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "last.keras")
    with pytest.raises(FloatingPointError, match=r"epoch 1 at step 1: the weight \S+ is not finite"):
        made.fit(batches(10 * X[:4]), verbose=0, callbacks=[checkpoint])
    assert not list(tmp_path.iterdir())


def test_weights_that_were_broken_before_are_named():
    made = model("graph")
    made.posterior.head.bias.assign([np.nan] * 4)
    with pytest.raises(FloatingPointError, match=r"before step 1 of epoch 1: the weight \S+bias is not finite"):
        made.fit(batches(), verbose=0)


@pytest.mark.parametrize(
    ("mode", "words"), [("XLA", r"the weight \S+ is not"), ("graph", r"the gradient of \S+ is not")]
)
def test_train_on_batch_stops_too(mode, words):
    made = model(mode)
    made.train_on_batch(X)
    with pytest.raises(FloatingPointError, match=f"VAE.train_on_batch stopped in epoch 1 at step 1: {words}"):
        made.train_on_batch(with_value(3, 60.0))


@pytest.mark.slow
def test_a_checkpoint_is_named_where_there_is_one_and_resumes(tmp_path):
    bad = tf.Variable(False)
    data = batches().map(lambda x: tf.where(bad, np.nan, x))

    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            bad.assign(epoch == 2)

    made = model("graph")
    with pytest.raises(FloatingPointError, match=rf"epoch 3 at step 1: .*{tmp_path} keeps the weights of 2 epochs\. "):
        made.fit(data, epochs=5, verbose=0, callbacks=[Break(), BackupAndRestore(tmp_path)])
    bad.assign(False)
    resumed, whole = model("graph"), model("graph")
    history = resumed.fit(data, epochs=4, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    assert history.epoch == [2, 3]
    whole.fit(data, epochs=4, verbose=0)
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(FloatingPointError, match="in epoch 1") as error:
        model("graph").fit(batches(with_value(7, np.nan)), verbose=0, callbacks=[BackupAndRestore(tmp_path / "none")])
    assert "keeps" not in str(error.value)


def test_a_backup_never_keeps_what_is_not_finite(tmp_path):
    made = model("graph")

    class Break(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                moment = self.model.optimizer.variables[-1]
                moment.assign(np.full(moment.shape, np.inf))

    words = r"BackupAndRestore needs finite weights and optimizer .*velocity.* after epoch 2. That of epoch 1 is kept"
    with pytest.raises(FloatingPointError, match=words):
        made.fit(batches(), epochs=5, verbose=0, callbacks=[Break(), BackupAndRestore(tmp_path)])
    assert BackupAndRestore(tmp_path).finished_epochs == 1


def test_a_step_that_scales_its_loss_down_goes_on():
    keras.config.set_dtype_policy("mixed_float16")
    made = model(optimizer=keras.optimizers.Adam(1e-2))
    made.fit(batches(with_value(11, 60.0)), verbose=0)
    assert int(made.optimizer.iterations) == 5
    assert float(made.optimizer.dynamic_scale) == 2.0**14
