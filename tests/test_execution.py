"""How steps are run: many for one call, compiled or not, on one device or several, with the same result."""

import importlib
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv
from keras_vae.evaluation.log_likelihood import draw_bytes
from keras_vae.evaluation.progress import Progress
from keras_vae.noise import fold
from keras_vae.replicas import global_mean
from keras_vae.training.choice import prefers_xla, steps_for

X = (np.random.default_rng(0).random((23, 6)) < 0.4).astype("float32")


def dense_model(**options) -> kv.VAE:
    keras.utils.set_random_seed(1)
    encoder, decoder = kv.dense_encoder(6, units=[5]), kv.dense_decoder(2, units=[5])
    model = kv.VAE(kv.Normal(2, encoder), kv.Bernoulli(6, decoder), kv.StandardNormal(2))
    model.compile(keras.optimizers.Adam(1e-2), kv.ELBO(), **options)
    return model


def convolutional_model() -> kv.VAE:
    encoder, decoder = kv.convolutional_encoder((4, 4, 1), [2]), kv.convolutional_decoder(2, (4, 4, 1), [2])
    return kv.VAE(kv.Normal(2, encoder), kv.Bernoulli((4, 4, 1), decoder), kv.StandardNormal(2))


def test_many_steps_in_one_program_equal_single_steps():
    """23 examples in batches of 4: five full ones and a last one of 3, compiled where XLA was asked for, else not."""
    results = []
    compiled = {"jit_compile": True}
    for options in (compiled | {"steps_per_execution": 1}, compiled | {"steps_per_execution": 4}, {}):
        model = dense_model(**options)
        history = model.fit(X, batch_size=4, epochs=2, validation_data=X, verbose=0).history
        assert model.jit_compile
        assert int(model.optimizer.iterations) == 12
        results.append((model.steps_per_execution, history, model.get_weights()))
    assert [steps for steps, _, _ in results] == [1, 4, 3]
    for _, history, weights in results[1:]:
        for name, values in results[0][1].items():
            np.testing.assert_allclose(history[name], values, rtol=1e-6, err_msg=name)
        for weight, expected in zip(weights, results[0][2], strict=True):
            np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-7)


def test_data_of_unknown_length_end_where_they_end():
    data = tf.data.Dataset.from_tensor_slices(X).filter(lambda x: True).batch(4)
    model = dense_model()
    model.fit(data, epochs=2, verbose=0)
    assert model.steps_per_execution == 50
    assert int(model.optimizer.iterations) == 12


@pytest.mark.slow
def test_limits_of_steps_are_met_exactly():
    data = tf.data.Dataset.from_tensor_slices(X).repeat().batch(4)
    model = dense_model()
    model.fit(data, epochs=2, steps_per_epoch=6, validation_data=data, validation_steps=4, verbose=0)
    assert model.steps_per_execution == 3
    assert int(model.optimizer.iterations) == 12
    assert int(model._loss_tracker.count) == 16
    model.evaluate(data, steps=7, verbose=0)
    assert int(model._loss_tracker.count) == 28


def test_what_is_chosen():
    assert prefers_xla(dense_model())
    assert prefers_xla(convolutional_model()) == bool(tf.config.list_logical_devices("GPU"))
    batches, few, many = (
        kv.batches.array_batches(x, size).by_epoch() for x, size in [(X, 4), (X[:3], 1), (np.zeros((120, 1)), 1)]
    )
    assert steps_for(batches, 100, []) == 3, "two calls for 6 batches"
    assert steps_for(few, 100, []) == 3, "no calls of one step"
    assert steps_for(many, 100, []) == 40, "120 are three times 40"
    assert steps_for(batches, 2**24, []) == 2, "two batches of 16 MiB fit"
    assert steps_for(batches, 2**40, []) == 1
    assert steps_for(X, 100, []) == 1

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            pass

    assert steps_for(batches, 100, [Watch()]) == 1
    assert steps_for(batches, 100, [keras.callbacks.ModelCheckpoint("a.keras", save_freq=3)]) == 1
    assert steps_for(batches, 100, [keras.callbacks.ModelCheckpoint("a.keras"), keras.callbacks.EarlyStopping()]) == 3


def test_a_callback_that_looks_at_batches_sees_each_of_them():
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((batch, logs["loss"]))

    dense_model().fit(X, batch_size=4, verbose=0, callbacks=[Watch()])
    assert [batch for batch, _ in seen] == list(range(6))
    assert len({float(loss) for _, loss in seen}) == 6


def test_choices_are_left_open_in_a_saved_model(tmp_path):
    model = dense_model()
    model.fit(X, batch_size=4, verbose=0)
    model.save(tmp_path / "auto.keras")
    config = kv.load_model(tmp_path / "auto.keras").get_compile_config()
    assert (config["jit_compile"], config["steps_per_execution"]) == ("auto", "auto")
    fixed = dense_model(jit_compile=False, steps_per_execution=2)
    fixed.fit(X, verbose=0)
    assert (fixed.jit_compile, fixed.steps_per_execution) == (False, 2)
    assert fixed.get_compile_config()["steps_per_execution"] == 2


@pytest.mark.parametrize("finished", [2, 5])
def test_a_score_goes_on_from_its_file(finished, tmp_path, monkeypatch):
    """From the middle, and from where only the last batch, of 3 examples, is left."""
    model, path = dense_model(), tmp_path / "scores.npz"
    model.build((None, 6))
    options = {"samples": 7, "batch_size": 4, "verbose": 0}
    expected = kv.evaluation.log_likelihood(model, X, **options)
    written = []

    def interrupted(self, values):
        if len(self.parts) == finished and not written:
            written.append(True)
            raise KeyboardInterrupt
        self.parts.append(values)

    monkeypatch.setattr(Progress, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kv.evaluation.log_likelihood(model, X, resume=path, **options)
    assert np.load(path)["sizes"].tolist() == [4] * finished
    score = kv.evaluation.log_likelihood(model, X, resume=path, **options)
    np.testing.assert_array_equal(score.values, expected.values)
    np.testing.assert_array_equal(score.effective_samples, expected.effective_samples)
    with pytest.raises(ValueError, match=r"resume.*samples=8.*samples=7"):
        kv.evaluation.log_likelihood(model, X, resume=path, samples=8, batch_size=4, verbose=0)
    with pytest.raises(ValueError, match="another batch 0"):
        kv.evaluation.log_likelihood(model, 1 - X, resume=path, **options)
    model.posterior.min_scale = 0.5  # the same weights, another model
    with pytest.raises(ValueError, match=r"resume to name a new file.*config="):
        kv.evaluation.log_likelihood(model, X, resume=path, **options)


def test_memory_bounds_the_draws_of_a_chunk():
    model = dense_model()
    model.build((None, 6))
    size = draw_bytes(model)
    assert 4 * (6 + 2 + 5) < size < 4096, "parameters, z and the hidden layer, and what TensorFlow puts between"
    with pytest.raises(ValueError, match=r"memory=100 bytes, a batch of 4 examples"):
        kv.evaluation.log_likelihood(model, X, samples=3, batch_size=4, memory=100, verbose=0)
    small = kv.evaluation.log_likelihood(model, X, samples=4000, batch_size=4, memory=40 * size, verbose=0)
    large = kv.evaluation.log_likelihood(model, X, samples=4000, batch_size=4, verbose=0)
    difference = small.values - large.values  # other draws: 10 at a time, and all at once
    assert np.abs(difference).max() > 0
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))


@pytest.mark.parametrize(("draws", "side_by_side"), [(8, True), (7, False)])
def test_two_batches_are_scored_side_by_side_where_memory_allows(draws, side_by_side, monkeypatch):
    model = dense_model()
    model.build((None, 6))
    both, met = threading.Barrier(2), []

    def score(compiled, x, seed, largest):
        try:
            both.wait(timeout=10 if side_by_side else 0.3)
            met.append(True)
        except threading.BrokenBarrierError:
            met.append(False)
            both.reset()
        names = ("values", "effective_samples", "pareto_k")
        return dict.fromkeys(names, np.full(len(x), seed[0]))

    module = importlib.import_module("keras_vae.evaluation.log_likelihood")
    monkeypatch.setattr(module, "_score", score)
    memory = draws * draw_bytes(model)
    score = kv.evaluation.log_likelihood(model, X[:16], samples=3, batch_size=4, memory=memory, verbose=0)
    assert met == [side_by_side] * 4
    np.testing.assert_array_equal(score.values, np.repeat([int(fold(0, step)[0]) for step in range(4)], 4))


def test_the_mean_over_one_replica_is_the_mean():
    assert float(global_mean(tf.constant([1.0, 2.0, 6.0]))) == 3.0
