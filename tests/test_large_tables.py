"""Parquet and Arrow files that are larger than memory: what is read, in which order, and what it takes."""

import dataclasses
import errno
import gc
import os
import re
import resource
import signal
import warnings
from collections import namedtuple
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import USED
from pyarrow import feather, parquet
from scipy import stats

import keras_vae as kv
from keras_vae.callbacks import BackupAndRestore
from keras_vae.cli import main
from keras_vae.datasets import cells, load, scratch, stored
from keras_vae.datasets.survey import Numbers
from keras_vae.run import Run, Settings
from keras_vae.run_folder import RunFolder

RNG = np.random.default_rng(0)
ROWS = 600
NUMBERS = pd.DataFrame(
    {"height": 170 + 10 * RNG.normal(size=ROWS), "age": RNG.integers(20, 80, ROWS), "member": RNG.random(ROWS) < 0.3}
)
PEOPLE = NUMBERS.assign(
    income=np.where(RNG.random(ROWS) < 0.1, np.nan, np.exp(3 + RNG.normal(size=ROWS))),
    visits=RNG.poisson(2.0, ROWS),
    falls=RNG.negative_binomial(1, 0.2, ROWS),
    time=1.7e9 + 1e6 * RNG.normal(size=ROWS),
    town=np.where(RNG.random(ROWS) < 0.2, None, RNG.choice(["Tromsø", "Bodø", "Moss"], ROWS)),
    shirt=pd.Categorical(RNG.choice(["S", "M", "L"], ROWS)),
    written=[f"{number:.3f}" for number in RNG.normal(size=ROWS)],
    day=pd.date_range("2024-01-01", periods=ROWS),
    name=[f"person {row}" for row in range(ROWS)],
    same=7,
    nothing=np.nan,
)
WRITERS = {
    "t.parquet": lambda frame, path: frame.to_parquet(path, index=False, row_group_size=250),
    "t.feather": lambda frame, path: feather.write_feather(frame, str(path), compression="lz4", chunksize=170),
    "t.arrow": lambda frame, path: feather.write_feather(frame, str(path), compression="uncompressed"),
}
LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="maps of a process are read from /proc")


@pytest.fixture
def on_disk(monkeypatch):
    """Switches to files as if no table fitted into memory, read 60 rows and fewer at a time, and back."""

    def switch(large: bool = True) -> None:
        monkeypatch.setattr(stored, "IN_MEMORY", 0 if large else 2**30)
        monkeypatch.setattr(cells, "VALUES", 180 if large else 2**20)
        monkeypatch.setattr(stored.StoredTable, "whole", refuse if large else whole)

    whole = stored.StoredTable.whole
    return switch


def refuse(table):
    raise AssertionError(f"{table.path} was read whole")


def written(folder: Path, frame: pd.DataFrame, name: str = "t.parquet") -> Path:
    WRITERS[name](frame, folder / name)
    return folder / name


def all_of(dataset) -> np.ndarray:
    return np.concatenate(list(dataset))


def in_both_ways(on_disk, path, **options):
    """The data of a file, held in memory, and read as if it were too large for it."""
    on_disk(False)
    memory = load(path, batch_size=32, **options)
    on_disk()
    return memory, load(path, batch_size=32, **options)


@pytest.mark.parametrize("likelihood", [None, kv.Columns], ids=["numbers", "kinds"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_table_on_disk_is_that_in_memory(tmp_path, on_disk, name, likelihood):
    frame = NUMBERS if likelihood is None else PEOPLE
    memory, disk = in_both_ways(on_disk, written(tmp_path, frame, name), likelihood=likelihood)
    assert str(disk) == str(memory)
    assert disk.fingerprint == memory.fingerprint
    for split in ("train", "validation", "test", "train"):  # train in the orders of two epochs
        np.testing.assert_array_equal(all_of(getattr(disk, split)), all_of(getattr(memory, split)))
    np.testing.assert_allclose([disk.offset, disk.scale], [memory.offset, memory.scale], rtol=1e-12)
    whole = load(tmp_path / name, likelihood=likelihood, whole=True)
    train = pd.DataFrame(all_of(disk.train), columns=disk.columns)
    if likelihood is None:
        np.testing.assert_array_equal(all_of(whole.test), frame)
        np.testing.assert_allclose(disk.offset, train.mean(), rtol=1e-12)
        np.testing.assert_allclose(disk.scale, train.std(ddof=0), rtol=1e-12)
        return
    found = {column.name: column for column in disk.table.columns}
    expected = {"height": kv.Normal, "age": kv.NegativeBinomial, "member": kv.Bernoulli, "income": kv.LogNormal,
                "visits": kv.Poisson, "falls": kv.NegativeBinomial, "time": kv.Normal, "town": kv.Categorical,
                "shirt": kv.Categorical, "written": kv.Normal}  # fmt: skip
    assert {name: column.kind for name, column in found.items()} == expected
    assert found["town"].categories == ("Bodø", "Moss", "Tromsø")
    assert found["shirt"].categories == ("L", "M", "S")
    for name in ("height", "time", "written"):
        assert found[name].offset == pytest.approx(train[name].mean(), rel=1e-13)
        assert found[name].scale == pytest.approx(train[name].std(ddof=0), rel=1e-12)
    assert found["income"].scale == pytest.approx(np.exp(np.log(train["income"]).mean()), rel=1e-12)
    assert found["income"].missing == pytest.approx(train["income"].isna().mean(), rel=1e-12)
    values = pd.DataFrame(all_of(whole.test), columns=whole.columns)
    for name in ("height", "age", "member", "income", "visits", "falls", "time"):
        np.testing.assert_array_equal(values[name], frame[name], name)
    np.testing.assert_array_equal(values["written"], frame["written"].astype(float))
    towns = whole.table.to_columns(all_of(whole.test))["town"]
    assert towns == [town if isinstance(town, str) else None for town in frame["town"]]
    for words in ("day: left out: dates", "name: left out: 600 different texts, such as 'person 0'",
                  "same: left out: only '7'", "nothing: left out: no value in the training rows"):  # fmt: skip
        assert words in str(disk)


def test_binary_numbers_are_so_in_all_rows(tmp_path, on_disk, monkeypatch):
    monkeypatch.setattr("keras_vae.datasets.data.SAMPLE", 1)
    frame = pd.DataFrame(RNG.integers(0, 2, (2000, 3)).astype(float), columns=["a", "b", "c"])
    on_disk()
    assert load(written(tmp_path, frame)).kind is kv.Bernoulli
    frame.loc[range(997, 1997, 100), "b"] = 0.5
    data = load(written(tmp_path, frame))
    assert data.kind is kv.LearnedScaleNormal
    assert len(data.train.element_spec.shape) == 2


def test_given_kinds_columns_that_are_left_out_and_others_by_name(tmp_path, on_disk):
    kinds = {"age": kv.Normal, "shirt": kv.Categorical, "visits": kv.Categorical, "time": None}
    path = written(tmp_path, PEOPLE)
    memory, disk = in_both_ways(on_disk, path, likelihood=kinds)
    assert str(disk) == str(memory)
    assert "time: left out, as asked" in str(disk)
    assert disk.table.columns[4].categories == tuple(map(str, sorted(set(PEOPLE["visits"]))))
    other = written(tmp_path, PEOPLE[PEOPLE.columns[::-1]].head(100), "t.feather")
    again = load(other, like=disk, whole=True)
    np.testing.assert_array_equal(all_of(again.test), all_of(load(path, like=memory, whole=True).test)[:100])
    np.testing.assert_array_equal(again.table.to_array(other), all_of(again.test))
    numbers = load(written(tmp_path, NUMBERS))
    np.testing.assert_array_equal(all_of(load(other, like=numbers, whole=True).test), NUMBERS.head(100))


def test_names_without_number_are_not_kept(tmp_path, on_disk):
    frame = pd.DataFrame({"x": RNG.normal(size=12_000), "id": [f"id {row}" for row in range(12_000)]})
    on_disk()
    assert "id: left out: more than 10,000 different texts, such as 'id 0'" in str(
        load(written(tmp_path, frame), likelihood=kv.Columns)
    )


def with_cell(frame: pd.DataFrame, row: int, name: str, cell) -> pd.DataFrame:
    frame = frame.astype({name: object}) if isinstance(cell, str) else frame
    return frame.assign(**{name: [cell if place == row else old for place, old in enumerate(frame[name])]})


@pytest.mark.parametrize(
    ("frame", "likelihood", "message"),
    [
        (with_cell(NUMBERS, 444, "height", np.nan), None, "finite number in each cell. Received: {}, row 444, column "
         "'height'"),
        (with_cell(NUMBERS, 445, "height", -np.inf), None, "Received: {}, row 445, column 'height': '-inf'"),
        (PEOPLE[["age", "town"]], None, "needs numeric columns. Received: text in {}, row "),
        (PEOPLE[["age", "day"]], None, "Received: dates in {}, row 0, column 'day': '2024-01-01 00:00:00'"),
        (with_cell(PEOPLE, 446, "height", np.inf), kv.Columns, "A column of kind Normal needs a finite number in each "
         "cell that is not empty. Received: {}, row 446, column 'height': 'inf'"),
        (with_cell(PEOPLE, 447, "written", "long"), kv.Columns, "'written' with 599 numbers and 1 texts, such as "
         "'long'"),
        (with_cell(PEOPLE, 448, "written", "far"), {"written": kv.Normal}, "{}, row 448, column 'written': 'far'"),
        (PEOPLE, {"same": kv.Normal}, "column 'same': only '7'. Leave it out with likelihood={{'same': None}}."),
        (PEOPLE, {"name": kv.Categorical}, "column 'name': 600 different texts, such as 'person 0'."),
        (PEOPLE, {"none": kv.Normal}, "needs likelihood to name columns of {}: "),
        (NUMBERS.assign(list=[[1]] * ROWS), None, "needs columns of numbers, texts or dates. Received: {}, column "
         "'list' of list<"),
        (NUMBERS.head(0), None, "needs a table with rows. Received: {}, which is empty."),
        (NUMBERS.head(9), None, "needs at least 10 examples to split. Received: 9 in {}."),
    ],
    ids=["NaN", "infinite", "text", "dates", "infinite, typed", "mixed", "word", "same", "names", "no column", "nested",
         "empty", "few"],
)  # fmt: skip
def test_refusals_are_those_in_memory(tmp_path, on_disk, frame, likelihood, message):
    path = written(tmp_path, frame)
    said = []
    for large in (False, True):
        on_disk(large)
        with pytest.raises(ValueError, match=re.escape(message.format(path))) as error:
            load(path, likelihood=likelihood)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_an_unknown_category_is_named(tmp_path, on_disk):
    on_disk()
    data = load(written(tmp_path, PEOPLE), likelihood=kv.Columns)
    path = written(tmp_path, with_cell(PEOPLE, 499, "town", "Oslo"), "t.arrow")
    words = (
        "one of Bodø, Moss, Tromsø in each cell that is not empty. Received: .*arrow, row 499, column 'town': 'Oslo'"
    )
    with pytest.raises(ValueError, match=words):
        load(path, like=data)


def test_damaged_files_are_named(tmp_path, on_disk):
    on_disk()
    for name in ("t.parquet", "t.feather"):
        path = written(tmp_path, NUMBERS, name)
        content = bytearray(path.read_bytes())
        content[2000:4000] = b"\xff" * 2000
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"needs a table that can be read. Received: .*{name}: "):
            load(path)
        path.write_bytes(b"no table")
        with pytest.raises(ValueError, match=rf"needs a table that can be read. Received: .*{name}: "):
            load(path)


def test_files_of_feathers_first_version_are_read_at_once(tmp_path, on_disk):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        feather.write_feather(NUMBERS, str(tmp_path / "old.feather"), version=1)
        on_disk()
        np.testing.assert_array_equal(all_of(load(tmp_path / "old.feather", whole=True).test), NUMBERS)


def test_sums_of_parts_are_those_of_all():
    values = np.exp(RNG.normal(size=1000)) + 5
    parts = [Numbers.of(part) for part in np.split(values, [0, 1, 17, 400])]
    total = sum(parts, Numbers())
    assert (total.low, total.high, total.whole) == (values.min(), values.max(), False)
    for moments, numbers in ((total.moments, values), (total.logs, np.log(values))):
        assert moments.mean == pytest.approx(numbers.mean(), rel=1e-13)
        assert moments.variance == pytest.approx(numbers.var(), rel=1e-12)
        assert moments.skewness == pytest.approx(stats.skew(numbers), rel=1e-10)
    huge = sum((Numbers.of(1e120 * part) for part in np.split(values, 4)), Numbers())
    assert huge.kind is kv.Normal
    np.testing.assert_allclose(huge.units(kv.Normal(1)), [1e120 * values.mean(), 1e120 * values.std()], rtol=1e-12)


def fitted(data, epochs: int, *callbacks) -> list[np.ndarray]:
    keras.utils.set_random_seed(1)
    likelihood = data.likelihood(kv.dense_decoder(1, [4]))
    model = kv.VAE(kv.Normal(1, kv.dense_encoder(data.shape, [4])), likelihood, kv.StandardNormal(1), seed=2)
    model.compile("adam", jit_compile=False)
    model.fit(data.train, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model.get_weights()


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, on_disk):
    path = written(tmp_path, NUMBERS)
    on_disk()
    assert load(path).train.indexed is not None, "one iterator for all epochs"
    whole = fitted(load(path, 32), 3)
    fitted(load(path, 32), 1, BackupAndRestore(tmp_path / "backup"))
    resumed = fitted(load(path, 32), 3, BackupAndRestore(tmp_path / "backup"))
    for a, b in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_disk_without_room_is_named_before_any_work(tmp_path, on_disk, monkeypatch):
    path = written(tmp_path, pd.concat([NUMBERS] * 100))
    on_disk()
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda folder: namedtuple("Usage", "free")(2**20))
    words = rf"needs 1,440,000 bytes on disk for a table .* 1,048,576 bytes free in {tmp_path}. TMPDIR names another"
    with pytest.raises(OSError, match=words):
        load(path)
    assert os.listdir(tmp_path) == ["t.parquet"]


@pytest.mark.parametrize("most", [4000, 4004, 9000], ids=["at a number", "within a number", "the last part"])
def test_a_disk_that_fills_up_is_named(tmp_path, on_disk, monkeypatch, capsys, most):
    """As on a full disk: no file may become larger than a few bytes, of the 11,520 that training rows take."""
    path = written(tmp_path, NUMBERS)
    on_disk()
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limit[1]))
    words = (
        f"needs 14,400 bytes on disk for a table that is larger than memory. Received: {os.strerror(errno.EFBIG)}, in "
        f"{tmp_path}. TMPDIR names another folder."
    )
    try:
        with pytest.raises(OSError, match="datasets.load " + re.escape(words)) as raised:
            load(path)
        status = main(["train", str(path), "--output", str(tmp_path / "run")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert raised.value.__cause__.errno == errno.EFBIG
    assert (status, capsys.readouterr().err) == (1, f"keras-vae: error: train {words}\n")
    assert os.listdir(tmp_path) == ["t.parquet"]


def maps(folder: Path) -> int:
    """Files of a folder that this process has mapped, and that no folder lists any more."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum(str(folder) in line and line.endswith("(deleted)") for line in lines)


@LINUX
def test_temporary_files_are_where_tmpdir_says_and_gone_with_the_data(tmp_path, on_disk, monkeypatch):
    monkeypatch.setattr(scratch.tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = written(tmp_path, NUMBERS)
    on_disk()
    data = load(path, 32)
    assert maps(tmp_path) == 3
    assert os.listdir(tmp_path) == ["t.parquet"]
    halves = iter(data.train.map(lambda x: x / 2).prefetch(1))
    del data
    gc.collect()
    assert maps(tmp_path) == 1, "what is trained on"
    assert sum(len(batch) for batch in halves) == 480
    del halves
    gc.collect()
    assert maps(tmp_path) == 0
    with pytest.raises(ValueError, match="row 444"):
        load(written(tmp_path, with_cell(NUMBERS, 444, "height", np.nan)))
    gc.collect()
    assert maps(tmp_path) == 0


def test_a_run_tells_kinds_and_changes_without_reading_a_file_whole(tmp_path, on_disk, capsys):
    path, folder = written(tmp_path, PEOPLE[["height", "town", "name"]]), tmp_path / "run"
    settings = Settings(str(path), latent_size=1)
    on_disk()
    data = Run.create(folder, settings)._load_data("train")
    assert [column.kind for column in data.table.columns] == [kv.Normal, kv.Categorical]
    RunFolder(folder).begin(dataclasses.asdict(settings), data.fingerprint)
    assert Run.open(folder)._load_data("evaluate").fingerprint == data.fingerprint
    likelihood = data.likelihood(kv.dense_decoder(1, [4]))
    model = kv.VAE(kv.Normal(1, likelihood.encoder([4])), likelihood, kv.StandardNormal(1))
    scored = Run.open(folder)._load_for(model, str(written(tmp_path, PEOPLE.head(100), "t.arrow"))).test
    np.testing.assert_array_equal(all_of(scored)[:, 0], PEOPLE["height"].head(100))
    written(tmp_path, PEOPLE[["height", "town", "name"]].assign(height=PEOPLE["height"] + 1))
    assert main(["train", "--output", str(folder), "--resume"]) == 1
    assert "needs the data that the run was begun with" in capsys.readouterr().err
    for frame, typed in ((NUMBERS, True), (NUMBERS.drop(columns="member"), False)):  # of booleans
        numbers = Settings(str(written(tmp_path, frame)))
        assert (Run.create(tmp_path / "other", numbers)._load_data("train").table is not None) == typed


@pytest.mark.slow
def test_the_command_line(tmp_path, on_disk):
    path, run = written(tmp_path, PEOPLE[["height", "town", "name"]].head(100)), tmp_path / "run"
    on_disk()
    given = ["--output", str(run), "--epochs"]
    assert main(["train", str(path), "--latent-size", "1", *given, "1"]) == 0
    assert main(["train", "--resume", *given, "2"]) == 0
    assert main(["evaluate", str(run), "--samples", "2", "--simulated", "0"]) == 0
    assert main(["score", str(run), str(path), "--output", str(tmp_path / "scores.csv"), "--samples", "2"]) == 0
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert len(scores) == 100
    assert np.isfinite(scores).all(axis=None)


@pytest.mark.slow
@LINUX
def test_memory_does_not_grow_with_the_file(tmp_path, run_python):
    """Of 46 and 137 MB as float64, one row group each, the larger may take half of what it is larger by."""
    for name, rows in {"small": 300_000, "large": 900_000}.items():
        columns = {f"x{place}": np.arange(rows) % (place + 5.5) for place in range(20)}
        parquet.write_table(pa.table(columns), tmp_path / f"{name}.parquet", row_group_size=rows)
    code = """
import re, sys, threading
import keras_vae as kv
from keras_vae.datasets import stored

stored.IN_MEMORY = 2**20
most, done = 0, threading.Event()

def own_memory():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

def watch():
    global most
    while not done.wait(0.002):
        most = max(most, own_memory())

def most_of(name):
    global most
    most = 0
    data = kv.datasets.load(f"{sys.argv[1]}/{name}.parquet", batch_size=1024, likelihood=kv.Columns)
    sum(len(batch) for batch in data.train)
    return most

threading.Thread(target=watch).start()
before = most_of("small")
print(before, most_of("large") - before)
done.set()
"""
    before, growth = map(float, run_python(code, tmp_path, **USED).split())
    assert before > 100
    assert growth < 46
