"""Answers in the class that was asked with: pandas, Polars, pyarrow, dictionaries; compared with these libraries."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import keras_vae as kv

RNG = np.random.default_rng(0)
COUNT = 40
KNOWN = ["height", "visits", "town", "smokes", "share"]


def people() -> pd.DataFrame:
    """Whole rows, with columns that no model is to know."""
    frame = pd.DataFrame(
        {
            "id": [f"person {row}" for row in range(COUNT)],
            "height": 170 + 8 * RNG.normal(size=COUNT),
            "visits": pd.array(RNG.poisson(2, COUNT), "Int64"),
            "town": pd.Categorical(RNG.choice(["Oslo", "Bergen"], COUNT)),
            "smokes": pd.array(RNG.random(COUNT) < 0.5, "boolean"),
            "day": pd.date_range("2024-01-01", periods=COUNT),
            "share": RNG.normal(size=COUNT).astype("float32"),
        },
        index=[f"row {row}" for row in range(COUNT)],
    )
    frame.columns.name = "figures"
    return frame


FRAME = people()
HOLES = FRAME.copy()
for place, name in enumerate(KNOWN[:4]):
    HOLES.loc[HOLES.index[place::7], name] = None
MISSING = HOLES[KNOWN].isna()


@pytest.fixture(scope="module")
def model():
    data = kv.datasets.load(FRAME, likelihood={"id": None, "day": None}, batch_size=16)
    likelihood = data.likelihood(kv.dense_decoder(2, [8]))
    model = kv.VAE(kv.Normal(2, likelihood.encoder([8])), likelihood, kv.StandardNormal(2))
    model.compile(jit_compile=False)
    model.build((None, 5))
    return model


@pytest.fixture(scope="module")
def filled(model):
    return kv.evaluation.impute(model, HOLES, samples=5)


@pytest.fixture(scope="module")
def rows(model):
    """What the same model says of rows of numbers."""
    table = kv.datasets.Table.of(model.likelihood).to_array(HOLES)
    return kv.evaluation.impute(model, table, samples=5), model.reconstruct(table).numpy()


def test_impute_is_a_drop_in_for_a_pandas_frame(filled, rows):
    assert not HOLES.equals(FRAME)
    assert filled.columns.equals(HOLES.columns)
    assert filled.columns.name == "figures"
    assert filled.index.equals(HOLES.index)
    assert filled.dtypes.equals(HOLES.dtypes)
    pd.testing.assert_frame_equal(filled[~MISSING.any(axis=1)], HOLES[~MISSING.any(axis=1)])
    pd.testing.assert_frame_equal(filled[["id", "day", "share"]], HOLES[["id", "day", "share"]])
    assert filled.notna().all().all()
    numbers = rows[0]
    np.testing.assert_array_equal(filled["height"], numbers[:, 0])
    np.testing.assert_array_equal(filled["visits"], numbers[:, 1].round())
    np.testing.assert_array_equal(filled["town"] == "Oslo", numbers[:, 2])
    np.testing.assert_array_equal(filled["smokes"], numbers[:, 3].round())


def test_impute_of_a_polars_frame(model, filled):
    given = pl.from_pandas(HOLES)
    answer = kv.evaluation.impute(model, given, samples=5)
    assert isinstance(answer, pl.DataFrame)
    assert answer.schema == given.schema
    assert answer.rows() == pl.from_pandas(filled).rows()


def test_impute_of_a_pyarrow_table(model, filled):
    given = pa.Table.from_pandas(HOLES, preserve_index=False)
    answer = kv.evaluation.impute(model, given, samples=5)
    assert answer.schema.equals(given.schema)
    assert answer.to_pylist() == pa.Table.from_pandas(filled, preserve_index=False).to_pylist()


def test_impute_of_a_dictionary(model, filled):
    given = {
        "height": HOLES["height"].to_numpy(),
        "visits": HOLES["visits"],
        "town": [None if pd.isna(town) else town for town in HOLES["town"]],
        "smokes": tuple(None if pd.isna(cell) else bool(cell) for cell in HOLES["smokes"]),
        "share": HOLES["share"].to_numpy(),
        7: list(range(COUNT)),
    }
    answer = kv.evaluation.impute(model, given, samples=5)
    assert list(answer) == list(given)
    assert [type(column) for column in answer.values()] == [type(column) for column in given.values()]
    np.testing.assert_array_equal(answer["height"], filled["height"])
    pd.testing.assert_series_equal(answer["visits"], filled["visits"])
    assert answer["town"] == filled["town"].tolist()
    assert answer["smokes"] == tuple(filled["smokes"])
    assert {type(cell) for cell in answer["smokes"]} == {bool}
    assert answer["share"].dtype == np.float32
    assert answer[7] is given[7]


def test_draws_are_frames(model):
    first, second = kv.evaluation.impute(model, HOLES, samples=5, draws=2)
    assert first.dtypes.equals(HOLES.dtypes)
    assert (first["height"] != second["height"]).equals(HOLES["height"].isna())


def test_reconstructions_are_typed_columns_of_the_model(model, rows):
    numbers = rows[1]
    answer = model.reconstruct(HOLES[::-1])
    assert list(answer) == KNOWN
    assert answer.index.equals(HOLES.index[::-1])
    assert answer.dtypes.equals(HOLES[KNOWN].dtypes)
    np.testing.assert_allclose(answer["height"][::-1], numbers[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(answer["visits"][::-1], numbers[:, 1].round())
    assert set(answer["town"]) <= {"Oslo", "Bergen"}
    assert model.reconstruct(pl.from_pandas(HOLES)).rows() == pl.from_pandas(answer[::-1]).rows()
    assert isinstance(model.reconstruct(pa.Table.from_pandas(HOLES)), pa.Table)
    seeded = model.reconstruct(HOLES, seed=1)
    assert list(seeded) == KNOWN


@pytest.mark.parametrize("make", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas, lambda frame: dict(frame)])
def test_predict_answers_as_reconstruct_does(model, make):
    given = make(HOLES[::-1])
    answer, expected = model.predict(given, batch_size=16, verbose=0), model.reconstruct(given)
    assert type(answer) is type(expected) is type(given)
    answer, expected = (
        each.to_pandas() if isinstance(each, pl.DataFrame | pa.Table) else pd.DataFrame(each)
        for each in (answer, expected)
    )
    pd.testing.assert_frame_equal(answer, expected, rtol=1e-5)


def test_arrays_in_arrays_out(model, rows):
    table = kv.datasets.Table.of(model.likelihood).to_array(HOLES)
    assert isinstance(model.predict(table, verbose=0), np.ndarray)
    batches = kv.datasets.load(HOLES, like=model, whole=True, batch_size=16).test
    np.testing.assert_allclose(model.predict(batches, verbose=0), rows[1], rtol=1e-5)
    assert isinstance(kv.evaluation.impute(model, table, samples=2), np.ndarray)
    assert model.reconstruct(table).shape == (COUNT, 5)


def numbers_model(likelihood) -> kv.VAE:
    size = likelihood.event_shape[0]
    model = kv.VAE(kv.Normal(1, kv.dense_encoder(size, [4])), likelihood, kv.StandardNormal(1))
    model.build((None, size))
    return model


def test_models_of_numbers(rows):
    frame = pd.DataFrame({"a": RNG.poisson(5, 30), "b": RNG.poisson(9, 30), "note": "x"})
    layer = kv.Standardized(kv.LearnedScaleNormal(2, kv.dense_decoder(1, [4])), [5, 9], [2, 3], ["a", "b"])
    answer = numbers_model(layer).reconstruct(frame)
    assert list(answer) == ["a", "b"]
    assert answer.dtypes.tolist() == [np.float64] * 2, "a mean of whole numbers is none"
    unnamed = numbers_model(kv.LearnedScaleNormal(2, kv.dense_decoder(1, [4])))
    given = pd.DataFrame({"p": RNG.normal(size=30), "q": RNG.normal(size=30)}, index=range(5, 35))
    expected = unnamed.reconstruct(given.to_numpy()).numpy()
    pd.testing.assert_frame_equal(
        unnamed.reconstruct(given), pd.DataFrame(expected.astype(float), index=given.index, columns=["p", "q"])
    )
    autoencoder = kv.Autoencoder(kv.dense_encoder(2, [4]), kv.LearnedScaleNormal(2, kv.dense_decoder(4, [4])))
    autoencoder.build((None, 2))
    assert list(autoencoder.reconstruct(given)) == ["p", "q"]
    fitted = kv.ProbabilisticPCA(1)
    fitted.fit(given.to_numpy(), verbose=0)
    for answer in (fitted.reconstruct(given), fitted.predict(given, verbose=0), unnamed.predict(given, verbose=0)):
        assert answer.index.equals(given.index)


def test_a_frame_beside_its_conditions():
    given, conditions = pd.DataFrame({"p": RNG.normal(size=9), "q": RNG.normal(size=9)}), RNG.normal(size=(9, 3))
    encoder = kv.Concatenated(kv.dense_encoder(5, [4]))
    likelihood = kv.LearnedScaleNormal(2, kv.Concatenated(kv.dense_decoder(4, [4])))
    model = kv.ConditionalVAE(kv.Normal(1, encoder), likelihood, kv.StandardNormal(1), condition_shape=3)
    answer = model.predict((given, conditions), verbose=0)
    pd.testing.assert_frame_equal(answer, model.reconstruct(given, conditions), rtol=1e-5)


class Means(kv.VAE):
    """A model of one's own, which predicts something else than rows of the table."""

    def reconstruct(self, x):
        return self.encode(x).mean()


def test_what_is_no_reconstruction_of_a_frame_is_no_frame():
    given = pd.DataFrame({"p": RNG.normal(size=9), "q": RNG.normal(size=9)})
    model = Means(
        kv.Normal(2, kv.dense_encoder(2, [4])), kv.LearnedScaleNormal(2, kv.dense_decoder(2, [4])), kv.StandardNormal(2)
    )
    np.testing.assert_allclose(model.predict(given, verbose=0), model.encode(given).mean(), rtol=1e-5)


def test_whole_numbers_of_texts_and_marks(model):
    """A column of texts stays one; what a mark of a missing number stood for is filled."""
    given = HOLES.assign(visits=HOLES["visits"].astype(object).where(HOLES["visits"].notna(), "NA").map(str))
    answer = kv.evaluation.impute(model, given, samples=5)
    there = given["visits"] != "NA"
    assert answer["visits"][there].equals(given["visits"][there])
    assert answer["visits"][~there].str.isdecimal().all()
