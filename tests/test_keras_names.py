"""The private names of Keras and TensorFlow, each held against what it is used for."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vae import keras_names


def dense() -> keras.Sequential:
    model = keras.Sequential([keras.Input((2,)), keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def test_layers_of_finds_the_inner_ones():
    assert any(isinstance(layer, keras.layers.Dense) for layer in keras_names.layers_of(dense()))


def test_loss_mean_is_the_metric_of_that_name():
    model = dense()
    model.fit(np.ones((3, 2)), np.ones((3, 1)), verbose=0)
    assert keras_names.loss_mean(model) is model.metrics[0]
    assert float(keras_names.loss_mean(model).result()) == pytest.approx(model.history.history["loss"][0])


def test_unlocked_lets_a_built_layer_have_others():
    layer = keras.layers.Dense(1)
    layer.build((None, 2))
    with pytest.raises(ValueError, match="cannot add new elements"):
        layer.inner = keras.layers.Dense(1)
    with keras_names.unlocked(layer) as untrack:
        layer.inner = keras.layers.Dense(3)
        layer.inner.build((None, 2))
        assert len(layer.weights) == 4
        untrack(layer.inner)
    assert len(layer.weights) == 2
    with pytest.raises(ValueError, match="cannot add new elements"):
        layer.other = keras.layers.Dense(1)


def test_the_validation_of_fit_says_so_and_how_many_steps_it_has():
    seen = []

    class Watched(keras.Sequential):
        def evaluate(self, *arguments, **options):
            if keras_names.validates_for_fit(options):
                seen.append(keras_names.steps_of_validation(self))
            return super().evaluate(*arguments, **options)

    model = Watched([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=3)
    data = np.ones((12, 2)), np.ones((12, 1))
    model.fit(*data, validation_data=data, batch_size=4, verbose=0)
    assert seen == [3]
    model.evaluate(*data, verbose=0)
    assert seen == [3]


def test_start_at_is_where_fit_starts():
    class Resumes(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            keras_names.start_at(self.model, 3)

    model = dense()
    history = model.fit(np.ones((3, 2)), np.ones((3, 1)), epochs=5, verbose=0, callbacks=[Resumes()])
    assert history.epoch == [3, 4]
    assert keras_names.starts_at(model) == 3


def test_batches_trained_counts_those_of_accumulated_gradients():
    weight = keras.Variable(1.0)
    for wrap in (lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = wrap(keras.optimizers.SGD(gradient_accumulation_steps=3))
        for _ in range(4):
            optimizer.apply_gradients([(tf.constant(1.0), weight)])
        assert int(optimizer.iterations) == 1
        assert int(keras_names.batches_trained(optimizer)) == 4


def test_profiles_tells_a_profiling_callback(tmp_path):
    assert not keras_names.profiles(keras.callbacks.TensorBoard(tmp_path))
    assert keras_names.profiles(keras.callbacks.TensorBoard(tmp_path, profile_batch=2))


def test_without_warnings_traces_in_silence(caplog):
    for quiet in (True, False):
        caplog.clear()
        for number in range(8):
            function = tf.function(lambda x, n=number: x + n, autograph=False)
            function = keras_names.without_warnings(function) if quiet else function
            for size in range(3):
                function(tf.zeros([size]))
        assert ("retracing" in caplog.text) != quiet


def test_models_are_built_beforehand():
    """Keras asks for a symbolic step where there is a strategy, by a method of this name."""
    assert hasattr(keras.Model, "_maybe_symbolic_build")
    assert keras_names.BuiltBeforehand()._maybe_symbolic_build(iterator=None, data_batch=None) is None


def test_datasets_know_what_they_were_made_of():
    source = tf.data.Dataset.range(3)
    assert keras_names.inputs_of(source.map(lambda x: x))[0] is source
    assert len(keras_names.inputs_of(tf.data.Dataset.zip(source, source))) == 2
    assert keras_names.inputs_of(source) == []
    made = {"shuffle": source.shuffle(2), "cache": source.cache()}
    for kind, dataset in made.items():
        assert keras_names.kind_of(dataset) == kind


def test_the_same_dataset_has_the_same_elements():
    source = tf.data.Dataset.range(3).map(lambda x: (x, 2 * x))
    same = keras_names.SameDataset(source)
    assert list(same.as_numpy_iterator()) == [(0, 0), (1, 2), (2, 4)]
    assert same.element_spec == source.element_spec
    assert same.cardinality() == 3
    assert list(same.map(lambda x, y: y).as_numpy_iterator()) == [0, 2, 4]
