"""Runs on tables: from a file to typed rows, with the data that they were begun with, and early stopping."""

import io
import json
import re

import keras
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import keras_vae as kv
from keras_vae import callbacks, cli
from keras_vae.callbacks.best import stopped_at

RNG = np.random.default_rng(0)


def people(count=150) -> pd.DataFrame:
    cause = RNG.normal(size=count)
    return pd.DataFrame(
        {
            "height": (170 + 8 * cause + 3 * RNG.normal(size=count)).round(1),
            "visits": RNG.poisson(np.exp(0.5 + 0.4 * cause)),
            "town": np.where(cause + RNG.normal(size=count) > 0, "Oslo", "Bergen"),
            "id": np.arange(count) + 5000,
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run on a table with texts and missing cells, and what was printed."""
    folder = tmp_path_factory.mktemp("people")
    frame = people()
    frame.loc[::7, "height"] = np.nan
    frame.loc[::9, "town"] = None
    frame.to_csv(folder / "people.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        output = io.StringIO()
        patch.setattr("sys.stdout", output)
        assert (
            cli.main(["train", "people.csv", "--output", "run", "--kinds", "visits=Poisson,id=-", "--epochs", "3"]) == 0
        )
    return folder, output.getvalue()


def command(*arguments) -> None:
    assert cli.main([str(argument) for argument in arguments]) == 0


def test_kinds_are_found_and_printed(trained):
    folder, output = trained
    for words in ("height: Normal, (height - 1", "visits: Poisson, as stored", "town: Categorical, 2 categories: Ber",
                  "id: left out, as asked"):  # fmt: skip
        assert words in output
    settings = json.loads((folder / "run" / "run.json").read_text())
    assert settings["data"] == str(folder / "people.csv"), "a run can be resumed from another folder"
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert metrics["log_likelihood"] > metrics["elbo"] - 1
    assert np.isfinite(metrics["baseline_log_likelihood"])


@pytest.mark.slow
def test_answers_are_typed_rows_in_the_units_of_the_table(trained, tmp_path):
    run = trained[0] / "run"
    others = people(23)[["town", "id", "visits", "height"]]  # in another order
    others.loc[:4, "height"] = np.nan
    others.to_parquet(tmp_path / "others.parquet")
    data = tmp_path / "others.parquet"

    further = ["--background", run, "--reference", trained[0] / "people.csv"]
    command("score", run, data, "--output", tmp_path / "scores.csv", "--samples", "50", *further)
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert list(scores) == ["row", "log_likelihood", "elbo", "reconstruction_error", "likelihood_ratio", "typicality"]
    assert (scores["likelihood_ratio"] == 0).all(), "the background is the run itself"
    model = kv.load_model(run / "model.keras")
    rows = np.concatenate(list(kv.datasets.load(others, like=model, whole=True).test))
    expected = kv.evaluation.log_likelihood(model, rows, samples=50, verbose=0, batch_size=32).values
    np.testing.assert_allclose(scores["log_likelihood"], expected, atol=1e-4)
    train = kv.datasets.load(trained[0] / "people.csv", like=model, whole=True).test
    mean = kv.evaluation.log_likelihood(model, np.concatenate(list(train)), samples=50, verbose=0, batch_size=32).mean
    np.testing.assert_allclose(scores["typicality"], np.abs(mean - expected), atol=1e-3)
    assert (scores["elbo"] < scores["log_likelihood"] + 2).all()

    command("impute", run, data, "--output", tmp_path / "filled.csv", "--samples", "50")
    filled = pd.read_csv(tmp_path / "filled.csv")
    assert list(filled) == ["town", "id", "visits", "height"], "all columns of the file, in its order"
    assert filled["id"].tolist() == others["id"].tolist()
    np.testing.assert_allclose(filled["height"][5:], others["height"][5:])
    assert filled["height"][:5].between(120, 220).all()
    assert filled["town"].tolist() == others["town"].tolist()

    command("generate", run, "--count", "40", "--output", tmp_path / "new.csv")
    new = pd.read_csv(tmp_path / "new.csv")
    assert len(new) == 40
    assert new["visits"].dtype.kind == "i"
    assert set(new["town"]) == {"Oslo", "Bergen"}
    assert new["height"].between(100, 250).all()

    command("reconstruct", run, data, "--output", tmp_path / "means.arrow")
    command("encode", run, data, "--output", tmp_path / "codes.parquet")
    command("encode", run, data, "--output", tmp_path / "codes.npz")
    codes = pd.read_parquet(tmp_path / "codes.parquet")
    assert codes.shape == (23, 32)
    np.testing.assert_allclose(
        codes[[f"mean_{number}" for number in range(16)]], np.load(tmp_path / "codes.npz")["mean"]
    )
    assert cli.main(["encode", str(run), str(data), "--output", str(tmp_path / "codes.npz")]) == 1, (
        "it is there already"
    )


def test_impute_keeps_the_other_columns_of_a_text_file(trained, tmp_path):
    others = people(12).assign(id=[f"{row:03d}" for row in range(12)], share="1,50", day="2024-01-02")
    others.loc[:4, "height"] = np.nan
    others.to_csv(tmp_path / "others.csv", index=False)
    for name in ("filled.csv", "filled.parquet", "filled.npz"):
        command("impute", trained[0] / "run", tmp_path / "others.csv", "--output", tmp_path / name, "--samples", "5")
    filled = pd.read_csv(tmp_path / "filled.csv", dtype=str)
    assert list(filled) == list(others)
    for name in ("id", "share", "day", "town"):
        assert filled[name].tolist() == others[name].tolist()
    typed = pd.read_parquet(tmp_path / "filled.parquet")
    assert typed["visits"].tolist() == others["visits"].tolist()
    np.testing.assert_array_equal(typed["height"][5:], others["height"][5:])
    assert typed["height"].notna().all()
    assert np.load(tmp_path / "filled.npz")["x"].shape == (12, 3)


@pytest.mark.slow
def test_a_file_is_scored_whole_and_by_the_units_of_the_run(tmp_path, capsys):
    """10 x + 100 is other data; one row is enough."""
    x = RNG.normal(size=(100, 2)) * [5, 30] + [40, -20]
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "other.npy", 10 * x + 100)
    np.save(tmp_path / "one.npy", x[:1])
    command("train", tmp_path / "x.npy", "--output", tmp_path / "run", "--epochs", "20", "--latent-size", "1")
    scores = {}
    for name in ("x", "other", "one"):
        capsys.readouterr()
        command("evaluate", tmp_path / "run", tmp_path / f"{name}.npy", "--samples", "20", "--simulated", "0")
        lines = capsys.readouterr().out.splitlines()
        scores[name] = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert [scores[name]["test_examples"] for name in scores] == ["100", "100", "1"]
    assert float(scores["other"]["log_likelihood"]) < float(scores["x"]["log_likelihood"]) - 100
    volume = float(scores["x"]["log_volume"])
    assert volume == pytest.approx(np.log(x.std(axis=0)).sum(), abs=0.2)
    command("generate", tmp_path / "run", "--count", "300", "--output", tmp_path / "new.npz")
    assert abs(np.load(tmp_path / "new.npz")["mean"].mean(axis=0) - x.mean(axis=0)).max() < 15


@pytest.mark.slow
def test_changed_data_stop_a_run(trained, tmp_path, capsys):
    folder = tmp_path / "moved"
    folder.mkdir()
    frame = people(60)
    frame.to_csv(folder / "t.csv", index=False)
    command("train", folder / "t.csv", "--output", folder / "run", "--epochs", "1", "--batch-size", "50")
    frame.loc[3, "height"] += 1
    frame.to_csv(folder / "t.csv", index=False)
    for arguments in (["train", "--resume", "--output"], ["evaluate"]):
        assert cli.main([*arguments, str(folder / "run")]) == 1
        error = capsys.readouterr().err
        assert "needs the data that the run was begun with. Received: " in error
        assert "t.csv, which has changed since" in error


def test_runs_of_older_versions_are_not_asked_in_other_units(tmp_path, capsys):
    """Their models were trained on standardised numbers."""
    np.save(tmp_path / "x.npy", RNG.normal(size=(60, 2)) * 5 + 40)
    model = kv.VAE(
        kv.Normal(1, kv.dense_encoder(2)), kv.LearnedScaleNormal(2, kv.dense_decoder(1)), kv.StandardNormal(1)
    )
    model.compile()
    model.build((None, 2))
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "model.keras")
    (tmp_path / "run" / "run.json").write_text(json.dumps({"data": str(tmp_path / "x.npy"), "id": "old"}))
    for arguments in (["evaluate"], ["evaluate", tmp_path / "x.npy"], ["encode", tmp_path / "x.npy"]):
        command_, *rest = map(str, arguments)
        output = ["--output", str(tmp_path / "z.csv")] if command_ == "encode" else []
        assert cli.main([command_, str(tmp_path / "run"), *rest, *output]) == 1
        assert "of an older one, trained on standardised numbers" in capsys.readouterr().err


@pytest.mark.slow
def test_overwrite_deletes_what_a_run_wrote_and_nothing_else(tmp_path):
    folder = tmp_path / "run"
    options = ["--output", folder, "--epochs", "1", "--batch-size", "500"]
    command("train", *options)
    (folder / "notes.txt").write_text("mine")
    command("train", *options, "--overwrite")
    assert (folder / "notes.txt").read_text() == "mine"


# --- early stopping ---------------------------------------------------------------------------------------------------


def small() -> kv.VAE:
    keras.utils.set_random_seed(0)
    model = kv.VAE(kv.Normal(1, kv.dense_encoder(3, [64])), kv.LearnedScaleNormal(3, kv.dense_decoder(1, [64])),
                   kv.StandardNormal(1))  # fmt: skip
    model.compile(keras.optimizers.Adam(2e-2), jit_compile=False)
    return model


X, HELD_OUT = RNG.normal(size=(20, 3)).astype("float32"), RNG.normal(size=(30, 3)).astype("float32")


def train(folder, epochs: int, patience=4):
    history = callbacks.HistoryLogger(folder / "history.csv")
    best = callbacks.KeepBest(folder / "best.weights.h5", history, patience)
    backup = callbacks.BackupAndRestore(folder / "checkpoint")
    model = small()
    model.fit(X, epochs=epochs, validation_data=HELD_OUT, verbose=0, callbacks=[history, best, backup])
    return model, pd.read_csv(folder / "history.csv")["val_loss"]


def test_training_stops_early_with_the_best_weights_and_so_does_a_resumed_run(tmp_path):
    whole, losses = train(tmp_path / "whole", 60)
    assert len(losses) < 60
    assert losses.idxmin() == len(losses) - 1 - 4
    assert stopped_at(losses, 4) == len(losses)
    assert whole.evaluate(HELD_OUT, verbose=0, return_dict=True)["loss"] == pytest.approx(losses.min(), rel=1e-5)
    train(tmp_path / "cut", len(losses) - 2)  # interrupted after the best epoch
    resumed, again = train(tmp_path / "cut", 60)
    np.testing.assert_array_equal(again, losses)
    for first, second in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_early_stopping_needs_validation(tmp_path):
    history = callbacks.HistoryLogger(tmp_path / "history.csv")
    with pytest.raises(ValueError, match="KeepBest needs validation_data in fit"):
        small().fit(X, verbose=0, callbacks=[history, callbacks.KeepBest(tmp_path / "b.weights.h5", history)])


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_of_epochs(terminal):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=150, highlight=False, no_color=True)
    lines = callbacks.EpochLines(console)
    with lines:
        history = (
            small().fit(X, epochs=23, batch_size=7, validation_data=HELD_OUT, verbose=0, callbacks=[lines]).history
        )
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).replace("\r", "\n")
    rows = re.findall(r"^ *(\d+)/23 +([-\d.]+) .* ([-\d.]+) \((\d+)\) ", text, flags=re.MULTILINE)
    shown = range(1, 24) if terminal else [1, 10, 20, 23]
    assert [int(epoch) for epoch, *_ in rows] == list(shown)
    for epoch, loss, best, best_epoch in rows:
        assert loss == f"{history['loss'][int(epoch) - 1]:.2f}"
        seen = history["val_loss"][: int(epoch)]
        assert best == f"{min(seen):.2f}"
        assert int(best_epoch) == int(np.argmin(seen)) + 1
    assert "4/3" not in text, "the last step is the last"
    assert ("3/3" in text) == terminal


@pytest.mark.slow
def test_lines_fit_into_a_terminal():
    for width, figures in ((80, 2), (90, 4), (120, 6)):
        file = io.StringIO()
        console = Console(file=file, force_terminal=True, width=width, highlight=False, no_color=True, soft_wrap=True)
        with callbacks.EpochLines(console) as lines:
            small().fit(X, epochs=2, validation_data=HELD_OUT, verbose=0, callbacks=[lines])
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).replace("\r", "\n")
        rows = [row for row in text.split("\n") if re.match(r" *(epoch +loss|[12]/2 )", row)]
        assert len(rows) == 3
        assert max(map(len, rows)) <= width
        assert {len(re.findall(r"-?\d+\.\d\d", row)) for row in rows[1:]} == {figures + 1}, "and the best"


def test_the_best_epoch_of_a_resumed_run(tmp_path):
    """It was before the interruption."""
    history = callbacks.HistoryLogger(tmp_path / "history.csv")
    history.rows = [{"epoch": 1, "val_loss": "1.5"}, {"epoch": 2, "val_loss": "2.5"}]
    file = io.StringIO()
    lines = callbacks.EpochLines(Console(file=file, width=150), history)
    small().fit(X, epochs=4, initial_epoch=2, validation_data=HELD_OUT, verbose=0, callbacks=[lines, history])
    assert re.findall(r"([-\d.]+) \((\d+)\)", file.getvalue()) == [("1.50", "1")] * 2
