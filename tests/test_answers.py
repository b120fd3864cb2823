"""Files of answers that are written a part at a time: the rows of all parts are those of one."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from pyarrow import feather, parquet

import keras_vae as kv
from keras_vae import answers
from keras_vae.datasets.cells import read_cells
from keras_vae.datasets.writing import write_parts

RNG = np.random.default_rng(0)
PEOPLE = pd.DataFrame(
    {
        "height": 170 + 8 * RNG.normal(size=230),
        "floors": RNG.integers(1, 9, 230),
        "visits": RNG.poisson(2, 230),
        "town": RNG.choice(["Oslo", "Bergen"], 230),
        "id": [f"person {row}" for row in range(230)],
    }
)
READERS = {
    ".csv": pd.read_csv,
    ".tsv": lambda path: pd.read_csv(path, sep="\t"),
    ".parquet": pd.read_parquet,
    ".arrow": pd.read_feather,
}


@pytest.fixture(scope="module")
def model():
    data = kv.datasets.load(PEOPLE, likelihood={"id": None, "floors": kv.Normal})
    likelihood = data.likelihood(kv.dense_decoder(2, [8]))
    made = kv.VAE(kv.Normal(2, likelihood.encoder([8])), likelihood, kv.StandardNormal(2))
    made.build((None, 4))
    made.compile(jit_compile=False)
    return made


@pytest.fixture
def few(monkeypatch):
    """A few rows at a time, and fewer cells."""
    monkeypatch.setattr(answers, "ROWS", 16)
    monkeypatch.setattr(answers, "FILLED", 100)
    monkeypatch.setattr("keras_vae.datasets.cells.VALUES", 130)
    monkeypatch.setattr("keras_vae.datasets.writing.CELLS", 70)


@pytest.fixture(scope="module")
def batches(model):
    return kv.datasets.load(PEOPLE, like=model, whole=True, batch_size=32).test


@pytest.mark.parametrize("ending", READERS)
def test_types_are_those_of_all_parts(tmp_path, few, ending):
    parts = [
        {"a": [1, 2], "b": [None, None], "c": ["x", None], "d": np.array([1.5, np.nan])},
        {"a": [3], "b": [True], "c": ['y, "z"'], "d": np.array([2.0])},
        {"a": [4.5], "b": [False], "c": [None], "d": np.array([3.0])},
        {"a": list(range(40)), "b": [None] * 40, "c": ["x"] * 40, "d": np.arange(40.0)},
    ]
    write_parts(tmp_path / f"t{ending}", iter(parts))
    expected = pd.DataFrame({name: [cell for part in parts for cell in part[name]] for name in parts[0]})
    read = READERS[ending](tmp_path / f"t{ending}")
    found, expected = (frame.astype(object).where(frame.notna(), None) for frame in (read, expected))
    pd.testing.assert_frame_equal(found, expected)
    assert read.dtypes[["a", "d"]].tolist() == [np.float64] * 2
    assert [path.name for path in tmp_path.iterdir()] == [f"t{ending}"]


def test_small_parts_become_large_groups_of_rows(tmp_path, few):
    write_parts(tmp_path / "t.parquet", ({"a": np.full(9, part)} for part in range(50)))
    groups = parquet.ParquetFile(tmp_path / "t.parquet")
    assert [groups.metadata.row_group(number).num_rows for number in range(groups.num_row_groups)] == [70] * 6 + [30]
    np.testing.assert_array_equal(groups.read()["a"], np.repeat(np.arange(50), 9))


@pytest.mark.parametrize("ending", [*READERS, ".npz"])
def test_a_part_that_fails_leaves_the_old_file(tmp_path, ending):
    def parts():
        yield {"a": [1]}
        raise ValueError("broken")

    (tmp_path / f"t{ending}").write_text("old")
    with pytest.raises(ValueError, match="broken"):
        write_parts(tmp_path / f"t{ending}", parts())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_the_first_draws_are_those_of_a_smaller_count(model, tmp_path, few):
    for count in (10, 90):
        answers.generate(model, tmp_path / f"{count}.csv", count, seed=3, temperature=1.0)
    found = {count: pd.read_csv(tmp_path / f"{count}.csv") for count in (10, 90)}
    expected = pd.DataFrame(kv.datasets.Table.of(model.likelihood).to_columns(model.sample(16, 3)))
    for count, frame in found.items():
        assert len(frame) == count
        pd.testing.assert_frame_equal(frame[:16], expected[:count], check_dtype=False, rtol=1e-6)
        pd.testing.assert_frame_equal(frame, found[90][:count], rtol=1e-6)
        assert frame["height"].is_unique, "each part has noise of its own"


def test_codes_and_means_in_parts(model, tmp_path, few, monkeypatch):
    monkeypatch.setattr(answers, "VALUES", 20)  # five rows are decoded at a time
    for count in (0, 16, 90):
        answers.generate(model, tmp_path / f"{count}.npz", count, seed=3, temperature=0.5)
    with np.load(tmp_path / "90.npz") as many, np.load(tmp_path / "16.npz") as some, np.load(tmp_path / "0.npz") as no:
        assert (no["z"].shape, no["mean"].shape) == ((0, 2), (0, 4))
        np.testing.assert_array_equal(some["z"], model.sample_prior(16, 3, 0.5))
        np.testing.assert_allclose(some["mean"], model.generate(16, 3, 0.5), rtol=1e-5)
        np.testing.assert_array_equal(many["z"][:16], some["z"])
        np.testing.assert_allclose(many["mean"], model.decode(many["z"]).mean(), rtol=1e-5)
        assert len(np.unique(many["z"])) == 180
        assert many["mean"].dtype == np.float32


@pytest.mark.parametrize("ending", [".parquet", ".npz"])
def test_filled_cells_are_those_of_the_whole_table(model, tmp_path, few, ending):
    """Whole numbers with one missing cell in a late part, whose expectation is none."""
    holes = PEOPLE.astype({"floors": "Int64"}).mask(RNG.random(PEOPLE.shape) < [0.1, 0, 0.1, 0.1, 0])
    holes.loc[220, "floors"] = None
    feather.write_feather(holes, str(tmp_path / "holes.arrow"))
    cells = read_cells(tmp_path / "holes.arrow")
    answers.impute(model, cells, tmp_path / f"t{ending}", samples=3, seed=5)
    if ending == ".npz":
        rows = kv.evaluation.impute(model, kv.datasets.Table.of(model.likelihood).to_array(holes), samples=3, seed=5)
        np.testing.assert_array_equal(np.load(tmp_path / "t.npz")["x"], rows)
        return
    found = READERS[ending](tmp_path / f"t{ending}")
    assert found["floors"].dtype == np.float64
    assert found["floors"].drop(220).tolist() == PEOPLE["floors"].drop(220).tolist()
    assert found.notna().all(axis=None)
    whole = kv.evaluation.impute(model, cells.table, samples=3, seed=5).to_pandas()
    pd.testing.assert_frame_equal(found, whole, check_dtype=False)


def test_scores_of_all_batches(tmp_path):
    model = kv.VAE(
        kv.Normal(1, kv.dense_encoder(2, [4])), kv.LearnedScaleNormal(2, kv.dense_decoder(1, [4])), kv.StandardNormal(1)
    )
    batches = tf.data.Dataset.from_tensor_slices(RNG.normal(size=(70, 2)).astype("f4")).batch(32)
    labels = np.array(["a", "bc"])[np.arange(70) % 2]
    answers.score(model, batches, tmp_path / "t.csv", samples=4, seed=2, labels=labels)
    answers.score(model, batches, tmp_path / "t.npz", samples=4, seed=2, labels=labels)
    found = pd.read_csv(tmp_path / "t.csv")
    assert list(found) == ["row", "log_likelihood", "elbo", "reconstruction_error", "label"]
    assert found["row"].tolist() == list(range(70))
    assert found["label"].tolist() == labels.tolist()
    expected = kv.evaluation.log_likelihood(model, batches, samples=4, seed=2, verbose=0).values
    bounds = kv.evaluation.bounds(model, batches, seed=2)
    np.testing.assert_allclose(found["log_likelihood"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["elbo"], bounds.elbo, rtol=1e-5)
    np.testing.assert_allclose(found["reconstruction_error"], -bounds.log_likelihood, rtol=1e-5)
    with np.load(tmp_path / "t.npz") as arrays:
        np.testing.assert_allclose(arrays["elbo"], bounds.elbo, rtol=1e-5)
        assert arrays["label"].tolist() == labels.tolist()


def test_codes_and_reconstructions_of_all_batches(model, batches, tmp_path, few):
    rows = np.concatenate(list(batches))
    for name in ("encode", "reconstruct"):
        for ending in (".parquet", ".npz"):
            getattr(answers, name)(model, batches, tmp_path / f"{name}{ending}")
    posterior, means = model.encode(rows), model.reconstruct(rows).numpy()
    codes = pd.read_parquet(tmp_path / "encode.parquet")
    np.testing.assert_allclose(codes[["mean_0", "mean_1"]], posterior.mean(), rtol=1e-4, atol=1e-5)
    with np.load(tmp_path / "encode.npz") as arrays:
        np.testing.assert_allclose(arrays["stddev"], posterior.stddev(), rtol=1e-4)
    np.testing.assert_allclose(np.load(tmp_path / "reconstruct.npz")["x"], means, rtol=1e-4)
    found = pd.read_parquet(tmp_path / "reconstruct.parquet")
    assert list(found) == ["height", "floors", "visits", "town"]
    np.testing.assert_allclose(found[["height", "floors"]], means[:, :2], rtol=1e-4)
    assert found["visits"].dtype.kind == "i"
