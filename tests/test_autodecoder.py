"""A model without an encoder: a posterior for each example of the training data."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import AUTODECODERS, encoder
from test_posteriors import COVARIANCE, LATENT, LOG_P, MEAN, POSTERIOR_MEAN, SIZE, VARIANCE, W, X

import keras_vae as kv

CASE = AUTODECODERS["PerExample"]
DATA, NUMBERS = CASE.arrays()


def linear_model(examples=12):
    """The linear normal model of tests/test_posteriors.py, whose likelihood is known."""
    likelihood = kv.FixedScaleNormal(SIZE, scale=float(np.sqrt(VARIANCE)))
    posterior = kv.PerExample(kv.FullCovarianceNormal(LATENT), examples)
    model = kv.VariationalAutodecoder(posterior, likelihood, kv.StandardNormal(LATENT))
    model.build((None, SIZE))
    likelihood.head.set_weights([W.T, MEAN])
    likelihood.trainable = False
    return model


def test_training_reaches_the_exact_posteriors():
    model = linear_model()
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 600)
    model.compile(kv.RowwiseAdam(schedule), kv.StickingTheLanding())
    numbers = np.arange(len(X))
    model.fit(np.tile(X, (50, 1)), np.tile(numbers, 50), batch_size=12, epochs=12, verbose=0)
    posterior = model.encode(X, numbers)
    np.testing.assert_allclose(posterior.mean(), POSTERIOR_MEAN, atol=0.01)
    np.testing.assert_allclose(posterior.covariance(), np.broadcast_to(COVARIANCE, (12, 2, 2)), atol=0.01)
    score = kv.evaluation.log_likelihood(model, (X, numbers), samples=100, verbose=0)
    np.testing.assert_allclose(score.values, LOG_P, atol=0.02)
    refined = kv.evaluation.refine_posterior(model, (X, numbers), steps=100, draws=200, verbose=0)
    assert abs(refined.amortization_gap.mean) < 1e-2, "there is no encoder that could lose anything"


def test_new_examples_begin_at_the_prior():
    model = linear_model(examples=3)
    new = np.full(len(X), -1)
    found = kv.evaluation.refine_posterior(model, (X, new), posterior=kv.FullCovarianceNormal(LATENT), verbose=0)
    np.testing.assert_allclose(found.posterior.mean(), POSTERIOR_MEAN, atol=2e-3)
    np.testing.assert_allclose(found.log_likelihood.values, LOG_P, atol=1e-3)
    np.testing.assert_array_equal(model.encode(X, new).mean(), np.zeros((12, LATENT)))


def test_a_step_moves_the_rows_of_its_batch_alone():
    model = linear_model()
    model.compile(kv.RowwiseAdam(0.1), jit_compile=False)
    before = model.posterior.params.numpy()
    for _ in range(2):
        model.train_on_batch(X[[3, 7, 7]], np.array([3, 7, 7]))
    model.train_on_batch(X[:1], np.array([0]))
    moved = np.any(model.posterior.params.numpy() != before, axis=1)
    assert np.flatnonzero(moved).tolist() == [0, 3, 7]
    for moments in (*model.optimizer._momentums, *model.optimizer._velocities):
        assert np.flatnonzero(np.any(moments.numpy() != 0, axis=1)).tolist() == [0, 3, 7]


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


def test_saved_reloaded_and_resumed(tmp_path):
    """Two epochs, a file and two more epochs are four; Keras's own Adam trains the model as well."""
    whole = CASE.compiled(kv.RowwiseAdam(0.01))
    whole.fit(DATA, NUMBERS, batch_size=4, epochs=2, verbose=0)
    whole.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for model in (whole, again):
        model.fit(DATA, NUMBERS, batch_size=4, epochs=4, initial_epoch=2, verbose=0)
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(*(model.predict((DATA, NUMBERS), verbose=0) for model in (again, whole)))
    config = json.dumps(keras.saving.serialize_keras_object(whole))
    assert json.dumps(keras.saving.serialize_keras_object(again)) == config
    logs = CASE.compiled("adam").fit((DATA, NUMBERS), epochs=1, verbose=0).history
    assert np.isfinite(logs["loss"]).all()


def test_served(tmp_path):
    model = CASE.compiled()
    model.build((None, 5))
    model.export(tmp_path / "1")
    signatures = tf.saved_model.load(str(tmp_path / "1")).signatures
    encoded = signatures["encode"](x=tf.constant(DATA), number=tf.constant(NUMBERS))
    np.testing.assert_allclose(encoded["mean"], model.encode(DATA, NUMBERS).mean(), rtol=1e-6)
    made = signatures["generate"](num_samples=tf.constant(3), seed=tf.constant(1), temperature=tf.constant(1.0))
    np.testing.assert_allclose(made["mean"], model.generate(3, seed=1), rtol=1e-5)
    assert model.sample(3, seed=1).shape == (3, 5)


def test_gradients_reach_every_weight_as_rows():
    model = CASE.compiled()
    model.build((None, 5))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.loss(model((DATA[:4], NUMBERS[:4]))))
    gradients = tape.gradient(loss, model.trainable_weights)
    assert sum(isinstance(gradient, tf.IndexedSlices) for gradient in gradients) == 1
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.parametrize("numbers", [[0, 12], [0, -2], [0, 0.5]])
def test_numbers_of_examples_that_there_are_not(numbers):
    model = CASE.compiled()
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
