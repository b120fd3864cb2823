"""Numbers in the units of the data: standardised inside of the model, answered in their own units."""

import keras
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.stats
import tensorflow as tf

import keras_vae as kv
from keras_vae.datasets import load

RNG = np.random.default_rng(0)
SECONDS = 1.7e9 + 3600 * RNG.normal(size=800)
TABLE = np.stack([SECONDS, 1e-6 * RNG.normal(size=800), 50 + 10 * RNG.normal(size=800)], axis=1)


def standardized(layer=None, data=TABLE) -> kv.Standardized:
    likelihood = kv.Standardized(layer or kv.FixedScaleNormal(3, scale=0.5))
    likelihood.adapt(data)
    return likelihood


def vae(likelihood) -> kv.VAE:
    keras.utils.set_random_seed(0)
    model = kv.VAE(kv.Normal(2, kv.dense_encoder(3, [16])), likelihood, kv.StandardNormal(2))
    model.compile(keras.optimizers.Adam(1e-2))
    model.build((None, 3))
    return model


# --- the layer --------------------------------------------------------------------------------------------------------


def test_offset_and_scale_are_mean_and_standard_deviation():
    holes = np.where(RNG.random(TABLE.shape) < 0.2, np.nan, TABLE)
    for data in (
        holes,
        list(holes),
        iter([holes[:300], holes[300:]]),
        tf.data.Dataset.from_tensor_slices(holes).batch(70),
    ):
        layer = standardized(data=data)
        np.testing.assert_allclose(layer.offset, np.nanmean(holes, axis=0), rtol=1e-12)
        np.testing.assert_allclose(layer.scale, np.nanstd(holes, axis=0), rtol=1e-9)
    assert standardized(data=np.ones((5, 3))).scale.tolist() == [1, 1, 1], "of what is the same in all examples"
    positive = np.exp(5 * TABLE[:, :1] / SECONDS.max() + RNG.normal(size=(800, 1)))
    layer = standardized(kv.LogNormal(1), positive)
    np.testing.assert_allclose(layer.scale, scipy.stats.gmean(positive), rtol=1e-12)
    assert layer.offset == 0


def test_digits_of_large_numbers_are_kept():
    seen = standardized().standardized(TABLE).numpy()
    assert len(np.unique(seen[:, 0])) > 790, "float32 has 79 different times of these"
    np.testing.assert_allclose(seen, (TABLE - TABLE.mean(axis=0)) / TABLE.std(axis=0), rtol=1e-5, atol=1e-6)


def test_the_density_is_that_of_the_units():
    layer = standardized(kv.FixedScaleNormal(3, scale=0.5))
    layer.build((None, 2))
    z = RNG.normal(size=(4, 800, 2)).astype("float32")
    loc = layer.layer(z).mean().numpy().astype(np.float64) * layer.scale + layer.offset
    expected = scipy.stats.norm(loc, 0.5 * layer.scale).logpdf(TABLE).sum(axis=-1)
    np.testing.assert_allclose(layer(z).log_prob(TABLE), expected, rtol=1e-4)
    np.testing.assert_allclose(layer(z).mean(), loc, rtol=1e-12)
    np.testing.assert_allclose(layer(z).stddev(), np.broadcast_to(0.5 * layer.scale, loc.shape), rtol=1e-6)
    np.testing.assert_allclose(layer(z).variance(), np.square(layer(z).stddev()), rtol=1e-6)
    np.testing.assert_allclose(layer(z).mode(), loc, rtol=1e-12)
    np.testing.assert_allclose(
        layer(z).entropy(), scipy.stats.norm(loc, 0.5 * layer.scale).entropy().sum(axis=-1), rtol=1e-4
    )
    draws = layer(z[0, 0]).sample(20_000, seed=1).numpy()
    assert draws.dtype == np.float64
    np.testing.assert_allclose(draws.mean(axis=0), loc[0, 0], atol=4 * 0.5 / 20_000**0.5 * layer.scale.max())
    np.testing.assert_allclose(draws.std(axis=0), 0.5 * layer.scale, rtol=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kv.Standardized(kv.Normal(3), scale=[1, 0, 2]), "needs scale to be positive"),
        (lambda: kv.Standardized(kv.Normal(3), offset=[1, 2]), r"offset to be numbers that broadcast to \(3,\)"),
        (lambda: kv.Standardized(kv.Normal(3), offset="x"), r"offset to be numbers that broadcast to \(3,\)"),
        (lambda: kv.Standardized(kv.Normal(3), offset=np.nan), "needs a finite offset"),
        (lambda: kv.Standardized(kv.Bernoulli(3), scale=2.0), "layer of real numbers, or of positive ones"),
        (lambda: kv.Standardized(kv.LogNormal(3), offset=2.0), "layer of real numbers, or of positive ones"),
        (lambda: kv.Standardized(kv.Normal(3), names=["a", "b", "a"]), "names to be different texts"),
        (lambda: kv.Standardized(kv.Normal(3), names=["a", "b"]), "names to be different texts"),
        (lambda: standardized(data=TABLE[:, :2]), r"data of shape \(batch, 3\). Received: shape \(800, 2\)"),
        (lambda: standardized(data=TABLE * np.inf), "needs finite data"),
        (lambda: standardized(kv.LogNormal(3), -TABLE), "needs data that are positive"),
        (lambda: vae(kv.Standardized(kv.Normal(3))).likelihood.adapt(TABLE), "adapt needs a layer that has no weights"),
    ],
)  # fmt: skip
def test_what_it_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_it_takes_a_layer():
    with pytest.raises(TypeError, match="needs layer to be a distribution layer"):
        kv.Standardized("normal")


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_model_in_units_is_the_model_of_standardised_data():
    """The same weights, losses and answers, but for units, and the density but for the volume."""
    likelihood = standardized(kv.LearnedScaleNormal(3, kv.dense_decoder(2, [16])))
    inside = vae(likelihood)
    seen = likelihood.standardized(TABLE).numpy()
    outside = vae(kv.LearnedScaleNormal(3, kv.dense_decoder(2, [16])))
    outside.set_weights(inside.get_weights())
    losses = [
        np.array(model.fit(x, epochs=3, batch_size=100, verbose=0).history["loss"])
        for model, x in ((inside, TABLE), (outside, seen))
    ]
    np.testing.assert_allclose(losses[0] - likelihood.log_volume, losses[1], rtol=1e-5)
    for first, second in zip(inside.get_weights(), outside.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
    scores = [
        kv.evaluation.log_likelihood(m, x, samples=20, verbose=0).values for m, x in ((inside, TABLE), (outside, seen))
    ]
    np.testing.assert_allclose(scores[0] + likelihood.log_volume, scores[1], atol=1e-3)
    np.testing.assert_allclose(
        inside.predict(TABLE, verbose=0),
        outside.predict(seen, verbose=0).astype(np.float64) * likelihood.scale + likelihood.offset,
        rtol=1e-6,
        atol=1e-9,
    )


@pytest.mark.slow
def test_other_units_change_the_density_by_the_jacobian():
    """10 x + 100 scores as x where the model was made for it, less log 10 for each value; else very differently."""
    scores, weights = [], None
    for table in (TABLE, 10 * TABLE + 100):
        model = vae(standardized(kv.FixedScaleNormal(3, kv.dense_decoder(2, [16])), table))
        weights = weights or model.get_weights()
        model.set_weights(weights)
        model.fit(table, epochs=2, batch_size=100, verbose=0)
        scores.append(kv.evaluation.log_likelihood(model, table, samples=50, verbose=0).values)
    np.testing.assert_allclose(scores[0] - scores[1], 3 * np.log(10), atol=1e-2)
    other = kv.evaluation.log_likelihood(model, TABLE, samples=50, verbose=0).values
    assert (other < scores[1] - 1000).all()


MODELS = {
    "ConditionalVAE": lambda layer: kv.ConditionalVAE(
        kv.Normal(2, kv.Concatenated(kv.dense_encoder(5, [8]))), layer(kv.Concatenated(kv.dense_decoder(4, [8]))),
        kv.StandardNormal(2), condition_shape=2),
    "HierarchicalVAE": lambda layer: kv.HierarchicalVAE(
        [kv.Normal(3, kv.dense_encoder(3, [8])), kv.Normal(2)], layer(kv.dense_decoder(3, [8])),
        [kv.Normal(3), kv.StandardNormal(2)]),
    "LadderVAE": lambda layer: kv.LadderVAE(
        [kv.dense_encoder(3, [8]), kv.dense_encoder(8, [8])], [kv.Normal(3), kv.Normal(2)],
        layer(kv.dense_decoder(3, [8])), [kv.Normal(3), kv.StandardNormal(2)]),
    "Autoencoder": lambda layer: kv.Autoencoder(
        keras.Sequential([kv.dense_encoder(3, [8]), keras.layers.Dense(2)]), layer(kv.dense_decoder(2, [8])),
        kv.GaussianNoise(0.1)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_the_networks_of_every_model_see_standardised_values(name):
    """Its loss on the raw data is that on the standardised ones, but for the volume."""
    units = standardized()
    y = np.eye(2, dtype="float32")[np.arange(800) % 2] if name == "ConditionalVAE" else None

    def raw(network):
        return kv.Standardized(kv.FixedScaleNormal(3, network), units.offset, units.scale)

    def plain(network):
        return kv.FixedScaleNormal(3, network)

    losses = []
    for layer, x in ((raw, TABLE), (plain, units.standardized(TABLE).numpy())):
        keras.utils.set_random_seed(1)
        model = MODELS[name](layer)
        model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
        losses.append(model.fit(x, y, epochs=2, batch_size=200, verbose=0).history["loss"])
    np.testing.assert_allclose(np.array(losses[0]) - units.log_volume, losses[1], rtol=1e-4)


def test_columns_answer_in_their_units():
    columns = {
        "time": kv.Standardized(kv.FixedScaleNormal(1), 1.7e9, 3600.0),
        "count": kv.Poisson(1),
        "price": kv.Standardized(kv.LogNormal(1), scale=2e5),
        "place": kv.FixedScaleNormal(1),
    }
    likelihood = kv.Columns(columns, kv.dense_decoder(2, [8]))
    model = kv.VAE(kv.Normal(2, likelihood.encoder([8])), likelihood, kv.StandardNormal(2))
    rows = np.array([[1.7e9 + 7, 2, 3e5, 0.5], [np.nan, np.nan, np.nan, np.nan], [1.7e9 - 3601, 0, np.nan, -1]])
    model.build((None, 4))
    likelihood = model.likelihood
    z = tf.constant(RNG.normal(size=(3, 2)), tf.float32)
    found = likelihood(z).log_prob_by_column(rows).numpy()
    parts = {type(part).__name__ + str(i): part for i, part in enumerate(likelihood(z).parts)}
    assert len(parts) == 3, "columns of one kind are one part, whatever their units"
    means = likelihood(z).mean().numpy()
    assert means.dtype == np.float64
    first = scipy.stats.norm(means[:, 0], 3600.0).logpdf(rows[:, 0])
    np.testing.assert_allclose(found[[0, 2], 0], first[[0, 2]], rtol=1e-3)
    last = scipy.stats.norm(means[:, 3], 1.0).logpdf(rows[:, 3])
    np.testing.assert_allclose(found[[0, 2], 3], last[[0, 2]], rtol=1e-4)
    np.testing.assert_array_equal(found[1], 0)
    assert found[2, 2] == 0
    plain = kv.LogNormal(1)
    plain.build((None, 8))
    plain.set_weights(next(part for part in likelihood.parts if isinstance(part, kv.LogNormal)).get_weights())
    price = plain(likelihood.network(z)).log_prob(np.float32([[1.5]])).numpy() - np.log(2e5)
    np.testing.assert_allclose(found[0, 2], price[0], rtol=1e-4)
    np.testing.assert_allclose(likelihood(z).log_prob(rows), found.sum(axis=1), rtol=1e-5)
    filled = kv.evaluation.impute(model, rows, samples=50)
    assert filled.dtype == np.float64
    np.testing.assert_array_equal(filled[~np.isnan(rows)], rows[~np.isnan(rows)])
    assert abs(filled[1, 0] - 1.7e9) < 1e5
    assert filled[1, 2] > 1e4
    draws = kv.evaluation.impute(model, rows, samples=50, draws=5)
    assert (abs(draws[:, 1, 0] - 1.7e9) > 1).all()


LOADED = """
import sys, numpy as np, pandas as pd, tensorflow as tf, keras_vae as kv
folder = sys.argv[1]
served = tf.saved_model.load(folder + "/served/1").signatures
people = pd.read_csv(folder + "/people.csv")
cells = {name: tf.constant(people[name].fillna("").tolist() if name == "town" else people[name].astype("float64"))
         for name in people}
seed = {"seed": tf.constant(3)}
frames = {
    "served_mean": served["serving_default"](**cells),
    "served_drawn": served["sample"](num_samples=tf.constant(5), temperature=tf.constant(1.0), **seed),
}
frames["served_drawn"].pop("z")
for name, found in frames.items():
    columns = {key: cell.numpy() for key, cell in found.items()}
    columns = {key: cell.astype(str) if cell.dtype == object else cell for key, cell in columns.items()}
    pd.DataFrame(columns).to_parquet(folder + "/" + name)
answers = {
    "served_score": served["log_likelihood"](
        num_samples=tf.constant(50), seed=tf.constant(2), **cells)["log_likelihood"],
}
model = kv.load_model(folder + "/model.keras")
frame = pd.read_csv(folder + "/people.csv")
data = kv.datasets.load(frame, like=model, whole=True)
rows = np.concatenate(list(data.test))
answers |= {
    "rows": rows, "mean": model.reconstruct(rows), "drawn": model.sample(5, seed=3),
    "score": model.importance_weights(rows, 50, 2)[0], "filled": kv.evaluation.impute(model, rows, samples=50),
}
np.savez(folder + "/answers.npz", **{name: np.asarray(value) for name, value in answers.items()})
table = kv.datasets.Table.of(model.likelihood)
pd.DataFrame(table.to_columns(answers["drawn"])).to_parquet(folder + "/drawn.parquet")
"""


@pytest.mark.slow
def test_frame_to_model_to_file_to_server_and_back(tmp_path, run_python):
    """A pandas frame is trained on; a new process reads `.keras` and SavedModel, and answers in its units and types."""
    cause = RNG.normal(size=300)
    frame = pd.DataFrame(
        {
            "born": 1.7e9 + 3600 * cause,
            "income": np.exp(10 + cause + 0.3 * RNG.normal(size=300)),
            "visits": RNG.poisson(np.exp(0.5 + 0.4 * cause)),
            "town": pd.Categorical(np.where(cause + RNG.normal(size=300) > 0, "Oslo", "Bergen")),
        }
    ).mask(RNG.random((300, 4)) < 0.1)
    data = load(frame, likelihood=kv.Columns, batch_size=50)
    assert [column.kind.__name__ for column in data.table.columns] == ["Normal", "LogNormal", "Poisson", "Categorical"]
    likelihood = data.likelihood(kv.dense_decoder(2, [16]))
    model = kv.VAE(kv.Normal(2, likelihood.encoder([16])), likelihood, kv.StandardNormal(2))
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(data.train, epochs=3, validation_data=data.validation, verbose=0)
    frame.to_csv(tmp_path / "people.csv", index=False)
    rows = np.concatenate(list(load(frame, like=model, whole=True).test))
    np.save(tmp_path / "x.npy", rows)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "served" / "1")
    run_python(LOADED, tmp_path)
    answers = np.load(tmp_path / "answers.npz")
    expected = {
        "rows": rows,
        "mean": model.reconstruct(rows),
        "drawn": model.sample(5, seed=3),
        "score": model.importance_weights(rows, 50, 2)[0],
        "filled": kv.evaluation.impute(model, rows, samples=50),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(answers[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    for name in ("mean", "drawn"):
        served = pd.read_parquet(tmp_path / f"served_{name}")[list(frame.columns)]
        towns = [["Bergen", "Oslo"][int(code)] for code in np.asarray(expected[name])[:, 3]]
        assert served["town"].tolist() == towns
        np.testing.assert_allclose(served.drop(columns="town"), expected[name][:, :3], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(answers["served_score"], expected["score"], rtol=1e-4, atol=1e-3)
    drawn = pd.read_parquet(tmp_path / "drawn.parquet")
    assert list(drawn.columns) == list(frame.columns)
    assert set(drawn["town"]) <= {"Oslo", "Bergen"}
    assert drawn["visits"].dtype.kind == "i"
    assert drawn["born"].between(1.69e9, 1.71e9).all()
    np.testing.assert_allclose(
        pd.DataFrame(data.table.to_columns(rows))[["born", "income"]], frame[["born", "income"]], rtol=1e-5
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda frame: frame,
        pytest.param(pl.from_pandas, marks=pytest.mark.slow),  # test_frames.py has them in each method
        pytest.param(dict, marks=pytest.mark.slow),
    ],
    ids=["pandas", "Polars", "dictionary"],
)
def test_frames_go_to_every_method(make):
    """In any order of their columns, with others between them, texts and missing cells."""
    cause = RNG.normal(size=60)
    frame = pd.DataFrame(
        {
            "more": ["x"] * 60,
            "town": np.where(cause > 0, "Oslo", "Bergen"),
            "height": 170 + 8 * cause,
            "visits": RNG.poisson(2, 60),
        }
    )
    data = load(frame.drop(columns="more"), likelihood=kv.Columns)
    likelihood = data.likelihood(kv.dense_decoder(1, [8]))
    model = kv.VAE(kv.Normal(1, likelihood.encoder([8])), likelihood, kv.StandardNormal(1))
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    shuffled = make(frame[["visits", "more", "height", "town"]])
    rows = data.table.to_array(frame)
    model.fit(shuffled, epochs=1, verbose=0)
    assert model.evaluate(shuffled, verbose=0) == model.evaluate(rows, verbose=0)
    answer = model.predict(shuffled, verbose=0)
    for name, cells in data.table.to_columns(model.predict(rows, verbose=0)).items():
        assert list(answer[name]) == cells
    np.testing.assert_array_equal(model.encode(shuffled).mean(), model.encode(rows).mean())
    scores = [kv.evaluation.log_likelihood(model, x, samples=5, verbose=0).values for x in (shuffled, rows)]
    np.testing.assert_array_equal(*scores)
    holes = frame.assign(height=frame["height"].where(cause > 0))
    filled = kv.evaluation.impute(model, make(holes), samples=20)
    assert type(filled) is type(make(holes))
    filled = filled.to_pandas() if isinstance(filled, pl.DataFrame) else pd.DataFrame(filled)
    assert list(filled) == list(holes)
    assert filled.notna().all().all()
    with pytest.raises(ValueError, match=r"needs the columns town, height, visits. Received: none named 'height'"):
        model.evaluate(make(frame.drop(columns="height")), verbose=0)
    with pytest.raises(ValueError, match=r"needs one of Bergen, Oslo in each .* column 'town': 'Moss'"):
        model.predict(make(frame.assign(town="Moss")), verbose=0)


def test_frames_of_numbers_are_matched_by_name():
    frame = pd.DataFrame(TABLE, columns=["time", "small", "size"])
    data = load(frame)
    model = vae(data.likelihood(kv.dense_decoder(2, [8])))
    expected = model.predict(TABLE, verbose=0)
    np.testing.assert_array_equal(model.predict(frame[["size", "time", "small"]], verbose=0)[list(frame)], expected)
    np.testing.assert_array_equal(model.predict(pd.DataFrame(TABLE), verbose=0), expected)
    with pytest.raises(
        ValueError, match=r"needs a finite number in each cell. Received: a DataFrame, row 0, column 'size'"
    ):
        model.predict(frame.assign(size=np.nan), verbose=0)
