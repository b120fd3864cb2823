"""Habits of people who come from Keras, pandas and scikit-learn."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import decoder, encoder

import keras_vae as kv

X = (np.random.default_rng(0).random((10, 5)) < 0.4).astype("float32")


def vae(likelihood=kv.Bernoulli, seed=0) -> kv.VAE:
    keras.utils.set_random_seed(seed)
    return kv.VAE(kv.Normal(2, encoder(5)), likelihood(5, decoder(2)), kv.StandardNormal(2))


def compiled(objective=None, **options) -> kv.VAE:
    model = vae(**options)
    model.compile("adam", objective, jit_compile=False)
    return model


class Frame:
    """What a data frame is to NumPy: an object with `__array__`, of float64."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype or np.float64)

    def __len__(self):
        return len(self.values)


@pytest.mark.parametrize(
    "given",
    [
        X.tolist(),
        Frame(X),
        *(pytest.param(each, marks=pytest.mark.slow) for each in (list(X), tf.constant(X), np.ma.masked_array(X))),
    ],
)
def test_fit_counts_the_same_steps_for_whatever_holds_rows(given):
    losses = []
    for x in (X, given):
        model = compiled()
        losses.append(model.fit(x, batch_size=4, epochs=2, verbose=0).history["loss"])
        assert int(model.optimizer.iterations) == 6
    assert losses[0] == losses[1]
    assert model.evaluate(given, batch_size=3, verbose=0) == model.evaluate(X, batch_size=3, verbose=0)
    np.testing.assert_array_equal(model.predict(given, verbose=0), model.predict(X, verbose=0))


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_what_comes_with_the_data_has_their_length(method):
    call = getattr(compiled(), method)
    weights = ({"sample_weight": np.ones(9)}, {"sample_weight": np.ones((11, 1))})
    for part in ({"y": np.zeros(9)}, {"y": ["a"] * 11}, *weights):
        with pytest.raises(ValueError, match=rf"VAE\.{method} needs as many of each.*Received: 10, (9|11) in"):
            call(X, **part, verbose=0)
    with pytest.raises(ValueError, match=r"sample weights of shape \(examples,\).*\(10, 2\)"):
        call(X, sample_weight=np.ones((10, 2)), verbose=0)


def test_weights_in_a_column_are_weights():
    weights = np.arange(10.0)
    flat, column = (compiled().evaluate(X, sample_weight=w, verbose=0) for w in (weights, weights[:, None]))
    assert flat == column
    model = compiled()
    model.fit(X, sample_weight=weights[:, None], batch_size=5, verbose=0)
    batches = tf.data.Dataset.from_tensor_slices((X, X, weights[:, None])).batch(5)
    assert compiled().evaluate(batches, verbose=0) == pytest.approx(
        compiled().evaluate(X, sample_weight=weights, batch_size=5, verbose=0), rel=1e-6
    )


@pytest.mark.slow
def test_targets_that_are_texts_are_ignored():
    texts = np.array(["a", "b"] * 5)
    model = vae()
    model.compile("adam")  # by XLA, which knows no texts
    plain = model.fit(X, batch_size=5, verbose=0).history["loss"]
    for data in ({"x": X, "y": texts, "batch_size": 5}, {"x": tf.data.Dataset.from_tensor_slices((X, texts)).batch(5)}):
        again = vae()
        again.compile("adam")
        loss = again.fit(**data, verbose=0).history["loss"]
        assert loss == plain or "batch_size" not in data  # a dataset has its own order
        assert np.isfinite(again.evaluate(**data, verbose=0)).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (tf.ragged.constant([[1.0], [0.0, 1.0]]), "VAE.fit needs dense arrays.*Received: a RaggedTensor"),
        ([[1.0], [0.0, 1.0]], "VAE.fit needs arrays, all examples of one shape"),
        ({"a": X}, "VAE needs x to be one array. Received: a dictionary of a"),
        (X.astype(str), "needs data that are numbers. Received: dtype <U"),
        (X.astype(object), "VAE.fit needs arrays of numbers.*object"),
        (np.zeros((0, 5)), "VAE.fit needs at least one example"),
        ([], "VAE.fit needs at least one example|needs data of shape"),
    ],
    ids=["ragged", "uneven", "dictionary", "texts", "objects", "nothing", "no rows"],
)
def test_data_that_are_no_arrays_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        compiled().fit(given, verbose=0)


def test_a_network_of_two_outputs_is_named():
    inputs = keras.Input((5,))
    two = keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(2)(inputs)])
    model = kv.VAE(kv.Normal(2, two), kv.Bernoulli(5, decoder(2)), kv.StandardNormal(2))
    model.compile("adam")
    with pytest.raises(ValueError, match=r"Normal\(event_shape=\(2,\)\) needs a network with one output.*Received: 2"):
        model.fit(X, verbose=0)


class Batches(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return (self.batches[index],)


FORMS = {
    "dataset": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(4),
    "sequence": lambda x: Batches([x[:4], x[4:8], x[8:]]),
    "generator": lambda x: (batch for batch in (x[:4], x[4:8], x[8:])),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("value", "reason"), [(np.nan, "finite data.*NaN"), (-5.0, r"in \[0, 1\].*-5")])
def test_a_late_batch_that_can_not_be_used_is_named(form, value, reason):
    model = compiled()
    model.fit(X, verbose=0)
    bad = X.copy()
    bad[6, 3] = value
    for method in (model.evaluate, model.predict):
        with pytest.raises(ValueError, match=rf"{reason}.*In batch 2"):
            method(FORMS[form](bad), verbose=0)
        method(FORMS[form](X), verbose=0)
    np.testing.assert_allclose(model.predict(FORMS[form](X), verbose=0), model.predict(X, verbose=0), rtol=1e-6)


def test_missing_values_of_a_late_batch_are_missing_values():
    likelihood = kv.Columns({"a": kv.Normal(2), "b": kv.Bernoulli(3)}, decoder(2))
    model = kv.VAE(kv.Normal(2, likelihood.encoder([4])), likelihood, kv.StandardNormal(2))
    model.compile("adam", jit_compile=False)
    missing = X.copy()
    missing[6, 3] = np.nan
    model.fit(missing, verbose=0)
    assert np.isfinite(model.evaluate(FORMS["dataset"](missing), verbose=0)).all()
    missing[6, 3] = 7.0
    with pytest.raises(ValueError, match=r"column 'b'.*in \[0, 1\].*In batch 2"):
        model.evaluate(FORMS["dataset"](missing), verbose=0)


def test_one_objective_may_be_that_of_two_models():
    objective, weights = kv.ELBO(beta=2.0), []
    first, second = compiled(objective), compiled(objective, seed=1)
    schedule = kv.callbacks.LinearSchedule("beta", start=0.0, end=0.5, epochs=1)
    for model, callbacks in ((first, [schedule]), (second, [])):
        history = model.fit(X, epochs=2, verbose=0, callbacks=callbacks).history
        weights.append((np.array(history["loss"]) + history["log_likelihood"]) / history["kl"])
    np.testing.assert_allclose(weights, [[0.0, 0.5], [2.0, 2.0]], atol=1e-5)
    assert float(first.scheduled_numbers["beta"]) == 0.5


def test_a_dictionary_of_betas_is_scheduled_by_name():
    model = compiled(kv.ELBO(beta={"z": 2.0}))
    schedule = kv.callbacks.LinearSchedule("beta.z", start=0.0, end=1.0, epochs=1)
    history = model.fit(X, epochs=2, verbose=0, callbacks=[schedule]).history
    weight = (np.array(history["loss"]) + history["log_likelihood"]) / history["kl"]
    np.testing.assert_allclose(weight, [0.0, 1.0], atol=1e-5)
    assert history["beta.z"] == [0.0, 1.0]


def test_a_model_of_ones_own_says_what_it_lacks():
    class Unfinished(kv.LatentVariableModel):
        pass

    class OnlyCall(kv.LatentVariableModel):
        takes = kv.Inputs(kv.Field((3,)))

    class OnlyTrace(OnlyCall):
        def __init__(self):
            super().__init__()
            self.likelihood = kv.FixedScaleNormal(3)

        def call(self, inputs, training=None):
            return kv.Trace(inputs, self.likelihood(self.open_samples(inputs)))

    x = np.ones((4, 3), "float32")
    for kind, message in ((Unfinished, "needs a property takes"), (OnlyCall, r"needs a method call\(self, inputs")):
        model = kind()
        model.compile("adam", jit_compile=False)
        with pytest.raises(NotImplementedError, match=rf"{kind.__name__} {message}"):
            model.fit(x, verbose=0)
    model = OnlyTrace()
    model.compile("adam", jit_compile=False)
    model.fit(x, verbose=0)
    assert model.event_shape == (3,)
    with pytest.raises(NotImplementedError, match=r"OnlyTrace needs a method reconstruct\(self, inputs\)"):
        model.predict(x, verbose=0)
    with pytest.raises(NotImplementedError, match=r"OnlyTrace needs a method generate\("):
        model.generate(2)


@pytest.mark.parametrize(
    ("objective", "likelihood"),
    [
        (kv.InfoVAE(alpha=0.5, weight=3.0), kv.Bernoulli),
        (kv.BetaTC(3.0, examples=10), kv.Bernoulli),
        (kv.ELBO(), kv.OptimalScaleNormal),
        (kv.ELBO(free_nats=0.3), kv.Bernoulli),  # the mean KL is 0.33 of those that count, 0.27 or 0.35 of all
        (kv.ScoreFunction(baseline=kv.MovingAverageBaseline()), kv.Bernoulli),
    ],
    ids=lambda value: repr(value) if isinstance(value, kv.Objective) else value.__name__,
)
def test_examples_of_weight_zero_are_not_there(objective, likelihood):
    """Whatever stands in them, the step is the same."""
    weights, results = np.repeat([1.0, 0.0], 5), []
    for other in (0.0, 1.0):
        x = X.copy()
        x[5:] = other
        model = compiled(type(objective).from_config(objective.get_config()), likelihood=likelihood)
        history = model.fit(x, sample_weight=weights, batch_size=10, shuffle=False, epochs=3, verbose=0).history
        results.append((history["loss"], model.get_weights()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    for first, second in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)


def test_free_nats_of_evaluation_do_not_depend_on_the_batches():
    model = compiled(kv.ELBO(free_nats=0.5))
    model.fit(X, epochs=3, verbose=0)
    logs = [model.evaluate(X, batch_size=size, verbose=0, return_dict=True) for size in (1, 10)]
    for log in logs:
        assert log["loss"] == pytest.approx(log["kl"] - log["log_likelihood"], rel=1e-5)
    assert logs[0]["kl"] == pytest.approx(logs[1]["kl"], rel=1e-5)
