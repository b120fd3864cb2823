"""Scoring: what is compiled is kept, every batch is looked at, and chunks add up."""

import importlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import decoder, encoder

import keras_vae as kv

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(20, 3)).astype("float32")
HOLES = np.where(RNG.random(ROWS.shape) < 0.3, np.nan, ROWS).astype("float32")
BINARY = RNG.integers(0, 2, (20, 6)).astype("float32")


def binary_vae():
    model = kv.VAE(kv.Normal(2, encoder((6,))), kv.Bernoulli(6, decoder(2)), kv.StandardNormal(2))
    model.build((None, 6))
    return model


def columns_vae(prior=None):
    columns = kv.Columns({"a": kv.Normal(1), "b": kv.Normal(1), "c": kv.Normal(1)}, decoder(2))
    network = keras.Sequential([kv.ObservedValues(), keras.layers.Dense(4, "tanh")])
    model = kv.VAE(kv.Normal(2, network), columns, prior or kv.StandardNormal(2))
    model.build((None, 3))
    return model


SCORES = {
    "log_likelihood": (
        binary_vae,
        lambda model, **options: (
            kv.evaluation.log_likelihood(model, BINARY, **{"samples": 5, "verbose": 0} | options).values
        ),
    ),
    "impute": (columns_vae, lambda model, **options: kv.evaluation.impute(model, HOLES, **{"samples": 5} | options)),
    "draws": (columns_vae, lambda model, **options: kv.evaluation.impute(model, HOLES, samples=5, draws=2, **options)),
    "log_likelihood_of_missing": (
        columns_vae,
        lambda model, **options: kv.evaluation.log_likelihood_of_missing(
            model, HOLES, ROWS, **{"samples": 5} | options
        ),
    ),
}


@pytest.fixture(autouse=True)
def _without_xla(request, monkeypatch):
    """XLA compiles for seconds; the first test of this file is of it."""
    if "compiles_nothing" not in request.node.name:
        module = importlib.import_module("keras_vae.evaluation.log_likelihood")  # the name is the function's too
        monkeypatch.setattr(module, "prefers_xla", lambda model: False)


@pytest.fixture
def traces(monkeypatch):
    """One entry for each time that a graph of a model was traced."""
    times, tracer = [], kv.VAE.tracer

    def counted(self, inputs):
        if not tf.executing_eagerly():
            times.append(self.name)
        return tracer(self, inputs)

    monkeypatch.setattr(kv.VAE, "tracer", counted)
    return times


@pytest.mark.parametrize("name", SCORES)
def test_a_second_call_compiles_nothing(name, traces):
    make, score = SCORES[name]
    model = make()
    first = score(model)
    traces.clear()
    np.testing.assert_array_equal(score(model), first)
    assert np.any(score(model, seed=1) != first)
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    assert np.any(score(model) != first), "the program reads the weights that are there"
    assert not traces


@pytest.mark.parametrize("name", SCORES)
def test_a_model_of_another_configuration_is_compiled_anew(name):
    make, score = SCORES[name]
    model = make()
    first = score(model)
    model.posterior.min_scale = 2.0
    assert np.any(score(model) != first)
    model.posterior.min_scale = 1e-3
    np.testing.assert_array_equal(score(model), first)


def test_another_number_of_samples_is_another_program(traces, monkeypatch):
    monkeypatch.setattr("keras_vae.evaluation.programs.MOST", 3)
    model = binary_vae()
    times = []
    for samples in (5, 6, 5, 6, 7, 6, 5):
        assert kv.evaluation.log_likelihood(model, BINARY, samples=samples, verbose=0).samples == samples
        times.append(len(traces))
        traces.clear()
    # The first call also measures a draw, as two examples less one; 5 was used longest ago when 7 came, and goes.
    assert times == [3, 1, 0, 0, 1, 0, 1]
    assert len(model.scoring_programs.made) == 3


def test_a_model_that_was_scored_can_be_saved_exported_and_forgotten(tmp_path):
    import gc
    import weakref

    model = binary_vae()
    score = SCORES["log_likelihood"][1]
    first = score(model)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "1")
    np.testing.assert_array_equal(score(kv.load_model(tmp_path / "model.keras")), first)
    forgotten = weakref.ref(model)
    del model
    gc.collect()
    assert forgotten() is None


# --- bad values in later batches -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models():
    return {"binary": binary_vae(), "columns": columns_vae()}


class Sequence(keras.utils.PyDataset):
    """Batches of five rows."""

    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return len(self.x) // 5

    def __getitem__(self, index):
        return self.x[5 * index : 5 * (index + 1)]


FORMS = {
    "tf.data": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(5),
    "PyDataset": Sequence,
    "generator": lambda x: (x[start : start + 5] for start in range(0, len(x), 5)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "Bernoulli(event_shape=(6,)) needs finite data. Received: 1 that are NaN or infinite"),
        (-5.0, "Bernoulli(event_shape=(6,)) needs data"),
    ],
    ids=["NaN", "support"],
)
def test_log_likelihood_looks_at_every_batch(models, form, value, message):
    x = BINARY.copy()
    x[12, 4] = value
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        kv.evaluation.log_likelihood(models["binary"], FORMS[form](x), samples=2, verbose=0)
    assert str(error.value).endswith(" In batch 3.")
    with pytest.raises(ValueError, match=re.escape(message)):
        kv.evaluation.log_likelihood(models["binary"], FORMS[form](x[10:]), samples=2, verbose=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["impute", "log_likelihood_of_missing"])
def test_imputation_looks_at_every_batch(models, form, name):
    x = HOLES.copy()
    x[13, 1] = np.inf
    score = getattr(kv.evaluation, name)
    with pytest.raises(ValueError, match=r"infinite.* In batch 3\.$"):
        score(models["columns"], FORMS[form](x), **({"truth": ROWS} if name != "impute" else {}), samples=2)


def test_a_network_that_passes_missing_values_on_is_named_in_a_later_batch():
    columns = kv.Columns({"a": kv.Normal(1), "b": kv.Normal(1), "c": kv.Normal(1)}, decoder(2))
    model = kv.VAE(kv.Normal(2, encoder((3,))), columns, kv.StandardNormal(2))
    x = ROWS.copy()
    x[13, 1] = np.nan
    for score in (kv.evaluation.log_likelihood, kv.evaluation.impute):
        with pytest.raises(ValueError, match=r"VAE needs networks that take missing values.* In batch 3\.$"):
            score(model, FORMS["tf.data"](x), samples=2)


def test_a_condition_is_looked_at_in_every_batch():
    network = kv.Concatenated(keras.layers.Dense(4))
    model = kv.ConditionalVAE(
        kv.Normal(2, network), kv.Bernoulli(6, kv.Concatenated(keras.layers.Dense(4))), kv.StandardNormal(2), 3
    )
    conditions = ROWS.copy()
    conditions[13, 1] = np.nan
    data = tf.data.Dataset.from_tensor_slices((BINARY, conditions)).batch(5)
    with pytest.raises(ValueError, match=r"ConditionalVAE needs finite conditions.* In batch 3\.$"):
        kv.evaluation.log_likelihood(model, data, samples=2, verbose=0)


@pytest.mark.parametrize("which", ["train", "test"])
@pytest.mark.parametrize(
    ("likelihood", "value", "message"),
    [
        (kv.Normal, np.nan, "independent_values needs finite data. Received: NaN or infinity in batch 2 of {which}."),
        (kv.Bernoulli, 7.0, "independent_values needs data from 0 to 1 for Bernoulli. Received: 7.0 in batch 2"),
    ],
)
def test_the_baseline_looks_at_every_batch(which, likelihood, value, message):
    bad = BINARY.copy()
    bad[8, 1] = value
    data = {"train": [BINARY[:5], BINARY[5:]], "test": [BINARY[:5], BINARY[5:]]} | {which: [bad[:5], bad[5:]]}
    with pytest.raises(ValueError, match=re.escape(message.format(which=which))):
        kv.evaluation.independent_values(data["train"], data["test"], likelihood)


def test_the_baseline_far_from_the_origin_equals_numpy():
    x = RNG.normal(size=(1000, 3)) + [1e9, -1e6, 0.0]
    scores = kv.evaluation.independent_values(np.split(x, 10), np.split(x, 10), kv.Normal)
    centred = x - x.mean(axis=0)
    variance = np.mean(centred**2, axis=0)
    expected = np.sum(-0.5 * (np.log(2 * np.pi * variance) + centred**2 / variance), axis=1)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


# --- chunks ----------------------------------------------------------------------------------------------------------


class FarNormal(kv.StandardNormal):
    """N(0, I), with a constant beside its log-density."""

    def call(self, context=None):
        made = super().call(context)

        class Far(type(made)):
            def _log_prob(self, value):
                return super()._log_prob(value) - 1e5

        return Far(**made.parameters)


@pytest.mark.parametrize("name", ["impute", "log_likelihood_of_missing"])
def test_estimates_of_one_draw_at_a_time_equal_float64(name, monkeypatch):
    """600 chunks where log w is -100,000 and its last digit 0.008: against sums of the same chunks in one go."""
    imputation = importlib.import_module("keras_vae.evaluation.imputation")
    monkeypatch.setattr(imputation, "ROWS", 1)
    parts = []
    kind = {"impute": imputation._Expectation, "log_likelihood_of_missing": imputation._LogLikelihood}[name]
    init = kind.__init__

    def recorded(self, model):
        init(self, model)
        chunk = self.chunk
        self.chunk = lambda *given: parts.append(chunk(*given)) or parts[-1]

    monkeypatch.setattr(kind, "__init__", recorded)
    x, truth = np.array([[0.3, np.nan, -1.0]], "float32"), np.array([[0.3, 0.8, -1.0]], "float32")
    model = columns_vae(FarNormal(2))
    assert kv.evaluation.log_likelihood(model, x, samples=2, verbose=0).mean < -99_000
    if name == "impute":
        got = kv.evaluation.impute(model, x, samples=600)[0, 1]
        log_w, codes = (np.stack(part).astype(np.float64)[:, 0] for part in zip(*parts, strict=True))
        weights = np.exp(log_w - log_w.max())
        expected = (weights[:, None] * codes).sum(axis=0) / weights.sum()
        expected = model.likelihood.values_of(tf.constant(expected[None], tf.float32))[0, 1]
    else:
        got = kv.evaluation.log_likelihood_of_missing(model, x, truth, samples=600)[0, 1]
        log_w, joint = (np.stack(part).astype(np.float64)[:, 0] for part in zip(*parts, strict=True))
        expected = np.logaddexp.reduce(joint[:, 1]) - np.logaddexp.reduce(log_w)
    assert len(parts) == 600
    assert got == pytest.approx(float(expected), abs=1e-4)
