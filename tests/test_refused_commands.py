"""What ends a command: one line in the words of the command line, whatever is broken, before any work is lost."""

import errno
import json
import os
import resource
import signal
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

import keras_vae as kv
from keras_vae import cli

RNG = np.random.default_rng(0)
PYTHON = (
    "likelihood=",
    "={",
    "whole=",
    "like=",
    "resize=",
    "crop=",
    "samples=",
    "datasets.load",
    "allow_pickle",
    "(event",
)
TOWNS = pd.DataFrame(
    {
        "height": 170 + 8 * RNG.normal(size=40),
        "visits": RNG.poisson(2, 40),
        "town": RNG.choice(["Oslo", "Bergen"], 40),
        "id": [f"person {row}" for row in range(40)],
    }
)


def refusal(capsys, *arguments) -> str:
    """The one line of a command that is refused."""
    assert cli.main([str(argument) for argument in arguments]) == 1
    message = capsys.readouterr().err
    assert message.startswith("keras-vae: error: ")
    assert message.count("\n") == 1, message
    assert [word for word in PYTHON if word in message] == []
    return message


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Runs of models that were not trained, and files that pandas, NumPy and Pillow write."""
    folder = tmp_path_factory.mktemp("refused")
    TOWNS.to_csv(folder / "people.csv", index=False)
    TOWNS[["height", "visits"]].to_csv(folder / "numbers.csv", index=False)
    TOWNS[["visits"]].assign(same=1).to_csv(folder / "same.csv", index=False)
    TOWNS.assign(visits=TOWNS["visits"] + 0.5).to_csv(folder / "half.csv", index=False)
    TOWNS.assign(town="Paris").to_csv(folder / "paris.csv", index=False)
    TOWNS.assign(town=["3"] * 30 + ["x"] * 10).to_csv(folder / "mixed.csv", index=False)
    TOWNS[["height", "visits"]].assign(height=[np.nan, *TOWNS["height"][1:]]).to_csv(folder / "holes.csv", index=False)
    np.save(folder / "x.npy", RNG.normal(size=(40, 3)))
    np.save(folder / "long.npy", np.ones(40))
    np.save(folder / "texts.npy", np.array(["a", "b"] * 20))
    np.savez(folder / "objects.npz", np.array([{}, 1], object))
    for name, height in (("images", 8), ("sizes", 9)):
        (folder / name).mkdir()
        for number in range(20):
            pixels = RNG.integers(0, 255, (8 if number else height, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    typed = kv.datasets.load(folder / "people.csv", likelihood={"id": None})
    columns = typed.likelihood(kv.dense_decoder(2, [4]))
    layers = {
        "typed": (columns.encoder([4]), columns),
        "plain": (kv.dense_encoder(3, [4]), kv.Normal(3, kv.dense_decoder(2, [4]))),
        "grey": (kv.dense_encoder((8, 8, 1), [4]), kv.Bernoulli((8, 8, 1), kv.dense_decoder(2, [4]))),
    }
    for name, (encoder, likelihood) in layers.items():
        model = kv.VAE(kv.Normal(2, encoder), likelihood, kv.StandardNormal(2))
        model.build((None, *model.event_shape))
        (folder / name).mkdir()
        model.save(folder / name / "model.keras")
        (folder / name / "run.json").write_text(json.dumps({"data": "digits", "id": "1", "fingerprint": "1"}))
    return folder


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train people.csv --likelihood normal", "train needs numeric columns. * train --likelihood columns reads"),
        ("train holes.csv --likelihood normal", "line 2, column 'height': '' * train --likelihood columns reads"),
        ("train mixed.csv", "30 numbers and 10 texts, such as 'x' * --kinds town=Categorical; town=- leaves the col"),
        ("train same.csv --kinds same=Normal", "column 'same': only '1' * Leave it out with --kinds same=-."),
        ("train people.csv --kinds age=Normal", "needs --kinds to name columns of * Received: 'age'"),
        ("train people.csv --kinds town=Poisson", "line 2, column 'town': '"),
        ("train half.csv --kinds visits=Poisson", "of column 'visits' that are counts, * half.csv, line 2, column"),
        ("train people.csv --kinds height=StandardNormal", "needs --kinds of the names * height=StandardNormal"),
        ("train people.csv --kinds height=DistributionLayer", "needs --kinds of the names * height=DistributionLayer"),
        ("train x.npy --likelihood columns", "train needs a table (.csv, * x.npy"),
        ("train x.npy --kinds a=Normal", "train needs a table (.csv, * x.npy"),
        ("train x.npy --likelihood bernoulli", "train needs grey levels or binary values"),
        ("train x.npy --network convolutional", "train needs images for --network convolutional. * of 3 values"),
        ("train x.npy --seed 99999999999", "train needs --seed to be a whole number from 0 to 2,147,483,647"),
        ("train x.npy --beta nan", "train needs --beta to be 0 or more. Received: nan"),
        ("train people.csv --resize 8x8", "train needs a folder of images for --resize and --crop. * people.csv"),
        ("train images --resize 0x8", "train needs --resize to be HEIGHTxWIDTH, 28x28. Received: 0x8"),
        ("train images --crop 9x9", "train needs images of 9 x 9 or more to crop. * of 8 x 8"),
        ("train sizes", "19 of 8 x 8, * train --resize HEIGHTxWIDTH scales all of them, --crop HEIGHTxWIDTH cuts"),
        ("train long.npy", "train needs arrays of shape"),
        ("train texts.npy", "train needs numbers. * texts.npy"),
        ("train objects.npz", "train needs an .npz file of numbers. * objects.npz: which holds something else"),
        ("train none.npy", "train needs a file or folder that exists"),
        ("train nosuchset", "train needs digits, shapes, the name of a TFDS image set"),
        ("score typed x.npy", "score needs a table (.csv, * x.npy"),
        ("score typed paris.csv", "needs one of Bergen, Oslo * paris.csv, line 2, column 'town': 'Paris'"),
        ("score typed half.csv", "that are counts, * half.csv, line 2, column 'visits'"),
        ("score typed numbers.csv", "the columns height, visits, town. Received: none named 'town' in * numbers.csv"),
        ("score plain people.csv", "score needs numeric columns."),
        ("score grey sizes", "train --resize HEIGHTxWIDTH scales all of them"),
        ("score typed people.csv --samples 0", "score needs --samples to be 1 or more. Received: 0."),
        ("encode typed people.csv --output people.csv/codes.csv", "encode needs a path in a folder. * is a file"),
        ("reconstruct plain x.npy", "reconstruct needs --output to end in .npz"),
        ("impute plain x.npy", "impute needs a run whose model knows missing cells: * --likelihood columns or --kinds"),
        ("impute typed people.csv --seed 99999999999", "impute needs --seed to be a whole number from -2,147,483,648"),
        ("generate typed --count 1000000000000 --output x.png", "generate needs --count to be at most * for a .png, * "
         "files of other endings are written in parts. Received: 1,000,000,000,000."),
        ("generate grey --count 100000 --output x.png", "generate needs --count to be at most * Received: 100,000."),
        ("generate typed --temperature nan", "generate needs --temperature to be 0 or more. Received: nan."),
        ("generate typed --output images.csv --overwrite", "--output to be a file. * images.csv, which is a folder"),
        ("evaluate typed --samples 0", "evaluate needs --samples to be 1 or more. Received: 0."),
        ("export typed served", "export needs PATH to end in a version, * Received: served; served/1 would be one."),
        ("export typed versions", "Received: versions; versions/8 would be one."),
        ("export typed v1", "Received: v1; v1/1 would be one."),
        ("export typed people.csv/1", "export needs a path in a folder."),
    ],
)  # fmt: skip
def test_refusals_speak_of_options(places, capsys, monkeypatch, command, words):
    monkeypatch.chdir(places)
    for folder in ("images.csv", "versions/7", "versions/old"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    name, *rest = command.split()
    if name in ("score", "encode", "impute", "reconstruct", "train") and "--output" not in rest:
        rest += ["--output", "new" if name == "train" else "new.csv"]
    message = refusal(capsys, name, *rest)
    for part in words.split(" * "):
        assert part in message
    assert not list(places.glob("new*")), "nothing was begun"


def test_python_speaks_python(places):
    with pytest.raises(ValueError, match=r"datasets.load needs numeric columns.* likelihood=Columns reads"):
        kv.datasets.load(places / "people.csv")
    with pytest.raises(ValueError, match=r"Leave it out with likelihood=\{'same': None\}"):
        kv.datasets.load(places / "same.csv", likelihood={"same": kv.Normal})


# --- files that are broken --------------------------------------------------------------------------------------------


def zipped(path: Path, change) -> bytes:
    """A model file in which the bytes of each part are changed, or the part left out."""
    other = path.with_suffix(".zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            part = change(name, old.read(name))
            if part is not None:
                new.writestr(name, part)
    content = other.read_bytes()
    other.unlink()
    return content


def changed(whole: bytes) -> bytes:
    """With another byte in the middle."""
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]


BREAKS = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) * 2 // 3],
    "text": lambda whole: b"a text\nand no more\n",
    "bytes": lambda whole: bytes(range(256)) * 20,
    "changed": changed,
}


@pytest.mark.parametrize("how", BREAKS)
def test_broken_models(places, capsys, tmp_path, how):
    content = BREAKS[how]((places / "typed" / "model.keras").read_bytes())
    (tmp_path / "model.keras").write_bytes(content)
    message = refusal(capsys, "score", tmp_path, places / "people.csv", "--output", tmp_path / "new.csv")
    assert str(tmp_path / "model.keras") in message


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("config.json", lambda whole: b"{"),
        ("config.json", lambda whole: b"[]"),
        ("config.json", lambda whole: whole.replace(b'"prior"', b'"before"')),
        ("model.weights.h5", lambda whole: b""),
        ("model.weights.h5", lambda whole: whole[: len(whole) // 2]),
        ("model.weights.h5", lambda whole: None),
    ],
)
def test_models_with_a_broken_part(places, capsys, tmp_path, part, change):
    content = zipped(places / "typed" / "model.keras", lambda name, whole: change(whole) if name == part else whole)
    (tmp_path / "model.keras").write_bytes(content)
    message = refusal(capsys, "encode", tmp_path, places / "people.csv", "--output", tmp_path / "new.csv")
    assert "keras-vae needs a .keras file that holds a keras_vae model. Received: " in message
    assert len(message) < 1000, "not the whole configuration"


BROKEN = [(name, how) for name in ("x.npy", "x.npz", "t.parquet", "0.png") for how in ("empty", "cut", "text")]


@pytest.mark.parametrize(("name", "how"), [*BROKEN, ("t.csv", "empty"), ("t.csv", "bytes")])
def test_broken_data(capsys, tmp_path, name, how):
    folder = tmp_path / "ø and spaces"
    folder.mkdir()
    path = folder / name
    np.save(folder / "x.npy", RNG.normal(size=(40, 3)))
    np.savez(folder / "x.npz", RNG.normal(size=(40, 3)))
    TOWNS.to_parquet(folder / "t.parquet")
    TOWNS.to_csv(folder / "t.csv")
    Image.fromarray(RNG.integers(0, 255, (80, 80), dtype=np.uint8)).save(folder / "0.png")
    path.write_bytes(BREAKS[how](path.read_bytes()))
    message = refusal(capsys, "train", folder if name == "0.png" else path, "--output", tmp_path / "run")
    assert message.startswith("keras-vae: error: train needs ")
    assert str(path) in message
    assert not (tmp_path / "run").exists()


RUN_JSON = ["", "{", "[1]", '{"epochs": "a"}', '{"kinds": 3}', '{"data": null}', '{"likelihood": "x"}', '{"epochs": 0}']


@pytest.mark.parametrize("text", RUN_JSON)
def test_a_broken_run_json(capsys, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    for arguments in (["evaluate", tmp_path], ["train", "--resume", "--output", tmp_path]):
        message = refusal(capsys, *arguments)
        assert f"needs the run.json that train wrote. Received: {tmp_path / 'run.json'}" in message


@pytest.fixture
def interrupted(tmp_path):
    """A run as one of two epochs leaves it behind, but for the weights."""
    run = tmp_path / "run"
    (run / "checkpoint").mkdir(parents=True)
    np.save(tmp_path / "x.npy", RNG.normal(size=(40, 2)))
    fingerprint = kv.datasets.load(tmp_path / "x.npy").fingerprint
    settings = {"data": str(tmp_path / "x.npy"), "epochs": 3, "id": "1", "fingerprint": fingerprint}
    (run / "run.json").write_text(json.dumps(settings))
    (run / "history.csv").write_text("epoch,seconds,val_loss\n1,0.1,2.5\n2,0.1,2.4\n")
    (run / "metrics.json").write_text("{}")
    (run / "checkpoint" / "run-id.txt").write_text("1\n")
    (run / "checkpoint" / "epoch-00002.weights.h5").write_text("no weights")
    return run


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("history.csv", b"", "history.csv, without epochs"),
        ("history.csv", b"a text\nand no more\n", "history.csv: no column epoch"),
        ("history.csv", bytes(range(256)), "history.csv: 'utf-8' codec"),
        ("history.csv", b"epoch,loss\n1,2\n2", "history.csv: a line with more or fewer cells than names"),
        ("history.csv", None, "needs the files of a run. "),
        ("metrics.json", None, "needs the files of a run. "),
        ("checkpoint/epoch-00002.weights.h5", b"", "epoch-00002.weights.h5: Unable to"),
        ("checkpoint/epoch-00002.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), "epoch-00002.weights.h5: Unable to"),
        ("checkpoint/run-id.txt", b"\xff\xfe", "needs the checkpoint of its run"),
    ],
)
def test_a_run_that_can_not_go_on(interrupted, capsys, name, content, words):
    run = interrupted
    (run / name).unlink()
    if content is None:
        (run / name).mkdir()
    else:
        (run / name).write_bytes(content)
    message = refusal(capsys, "train", "--resume", "--output", run, "--epochs", "3")
    assert words in message
    assert str(run) in message


# --- places that can not be written to --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [("rows.png", 2000)]
    + [(f"rows.{ending}", count) for ending in ("csv", "parquet", "arrow", "npz") for count in (2000, 10**12)],
)
def test_a_file_that_does_not_fit_leaves_nothing(places, capsys, tmp_path, name, count):
    """As on a full disk: no file may become larger than a few bytes; memory holds a part of the rows at a time."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limit[1]))
    try:
        message = refusal(capsys, "generate", places / "typed", "--count", count, "--output", tmp_path / "out" / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert os.strerror(errno.EFBIG) in message
    assert message.endswith(f": {tmp_path / 'out' / name}\n"), "not a file on the way there"
    assert list((tmp_path / "out").iterdir()) == []


def test_weights_that_do_not_fit_are_not_begun(places, tmp_path, monkeypatch):
    """HDF5 does not survive a full disk: Python would end with a segmentation fault."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    model = kv.load_model(places / "typed" / "model.keras")
    path = tmp_path / "checkpoint" / "epoch-00001.weights.h5"
    with pytest.raises(OSError, match="No space left on device: ") as raised:
        model.save_weights(path)
    assert raised.value.filename == str(path)
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("rows", [9, 10, 19])
def test_too_few_examples_are_refused_before_training(capsys, tmp_path, rows):
    np.save(tmp_path / "x.npy", RNG.normal(size=(rows, 2)))
    assert "train needs at least 20 examples" in refusal(
        capsys, "train", tmp_path / "x.npy", "--output", tmp_path / "run"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(20, 1), (20, 1, 1), (20, 2, 3), (20, 5, 7)])
def test_the_smallest_data_are_trained_on_to_the_last_figure(tmp_path, shape):
    np.save(tmp_path / "x.npy", RNG.random(shape))
    options = ["--epochs", "1", "--latent-size", "1", "--batch-size", "1000"]
    options += ["--network", "convolutional"] if len(shape) > 2 else []
    assert cli.main(["train", str(tmp_path / "x.npy"), "--output", str(tmp_path / "run"), *options]) == 0
    assert len(list((tmp_path / "run").glob("*.png"))) == 4


def test_an_export_that_does_not_fit_leaves_nothing(places, capsys, tmp_path, monkeypatch):
    def full(root, path, **_):
        Path(path).mkdir()
        (Path(path) / "part").write_text("half")
        raise tf.errors.ResourceExhaustedError(None, None, f"{path}/variables; No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    message = refusal(capsys, "export", places / "typed", tmp_path / "1")
    assert message.endswith(
        f"needs a place that can be written to. Received: {tmp_path / '1'}: No space left on device\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_printed(places, capsys, tmp_path, monkeypatch):
    """The last line of a command goes to a full disk; Python's own end does not try it again."""
    with open("/dev/full", "w") as full:
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", full)
            message = refusal(capsys, "generate", places / "typed", "--output", tmp_path / "new.csv")
        full.flush()
    assert message == "keras-vae: error: No space left on device\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(places, capsys, tmp_path):
    tmp_path.chmod(0o500)
    try:
        commands = (
            ["train", "--output", tmp_path / "run"],
            ["export", places / "typed", tmp_path / "served" / "1"],
            ["encode", places / "typed", places / "people.csv", "--output", tmp_path / "codes.csv"],
        )
        for arguments in commands:
            assert f"can be written to. Received: {tmp_path}" in refusal(capsys, *arguments)
    finally:
        tmp_path.chmod(0o700)


def test_a_warning_is_a_line(capsys, tmp_path, monkeypatch):
    def fit(*_, **__):
        warnings.warn("of two\nlines", stacklevel=2)
        raise FloatingPointError("enough")

    monkeypatch.setattr(kv.VAE, "fit", fit)
    assert cli.main(["train", "--output", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == "keras-vae: warning: of two lines\nkeras-vae: error: enough\n"


def test_an_empty_name_is_wrong_usage(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "", "--output", str(tmp_path / "run")])
    assert stop.value.code == 2
    assert "needs a name or a path" in capsys.readouterr().err
