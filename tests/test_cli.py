"""The command line as a user runs it: in processes of its own, killed and resumed, and with mistakes."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

import keras_vae as kv
from keras_vae import cli
from keras_vae.run import Run, Settings

OPTIONS = ["--epochs", "4", "--batch-size", "256", "--latent-size", "3", "--seed", "5"]


def start(*arguments) -> subprocess.Popen:
    """A `keras-vae` process."""
    return subprocess.Popen(
        [sys.executable, "-m", "keras_vae", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("TF_")},
        preexec_fn=heed_ctrl_c,
    )


def heed_ctrl_c() -> None:
    """In a new process: as started from a terminal, also where these tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: subprocess.Popen) -> tuple[str, str]:
    """Its output and its messages, once it has ended well."""
    output, messages = process.communicate()
    assert process.returncode == 0, messages
    return output, messages


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, and what its process printed."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return folder, *finish(start("train", "--output", folder, *OPTIONS))


def test_train_leaves_everything_about_the_run(trained):
    folder, output, messages = trained
    assert messages == "", "TensorFlow's start-up noise stays out of the terminal"
    assert {path.name for path in folder.iterdir()} == {
        "run.json", "checkpoint", "history.csv", "model.keras", "saved_model", "metrics.json",
        "reconstructions.png", "samples.png", "latent.png", "curves.png",
    }  # fmt: skip
    assert "binary, drawn from the grey levels anew in each training batch" in output
    assert "ELBO(beta=1.0, samples=1, free_nats=0.0)" in output
    assert re.findall(r"^ *(\d+)/4 .*$", output, flags=re.MULTILINE) == ["1", "4"], "a few lines without a terminal"
    (wrote,) = re.findall(rf"^Wrote {re.escape(str(folder))}: (.*)$", output, flags=re.MULTILINE)
    assert wrote.split(", ") == sorted(path.name for path in folder.iterdir())
    rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 5
    assert {"loss", "log_likelihood", "kl", "bits_per_dim", "val_loss"} <= set(rows[0].split(","))
    for figure in folder.glob("*.png"):
        assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_command_says_which_rows_it_answers(trained, tmp_path, capsys):
    codes = tmp_path / "codes.npz"
    assert cli.main(["encode", str(trained[0]), "digits", "--output", str(codes)]) == 0
    assert capsys.readouterr().out == f"Wrote {codes}: 179 test images of digits\n"
    assert np.load(codes)["mean"].shape[0] == 179
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 17, (15, 8, 8, 1)).astype("uint8"))
    assert cli.main(["encode", str(trained[0]), str(tmp_path / "x.npy"), "--output", str(codes), "--overwrite"]) == 0
    assert capsys.readouterr().out == f"Wrote {codes}: 15 images of {tmp_path / 'x.npy'}\n"


def test_metrics_are_those_of_the_saved_model(trained):
    folder, output, _ = trained
    metrics = json.loads((folder / "metrics.json").read_text())
    model = kv.load_model(folder / "model.keras")
    data = kv.datasets.load("digits", seed=5, like=model)
    estimate = kv.evaluation.log_likelihood(model, data.test, samples=500, verbose=0)
    error = metrics["log_likelihood_standard_error"]
    assert metrics["log_likelihood"] == pytest.approx(estimate.mean, abs=0.2)  # other batches, other draws
    assert error == pytest.approx(estimate.standard_error, rel=0.1)
    assert metrics["elbo"] < metrics["log_likelihood"]
    assert metrics["bits_per_dim"] == pytest.approx(-metrics["log_likelihood"] / (64 * np.log(2)))
    assert metrics["baseline_log_likelihood"] < 0
    assert metrics["log_likelihood_samples"] == 500
    assert metrics["seed"] == 5
    assert metrics["seconds"] > 0
    assert metrics["command"].startswith("keras-vae train --output")
    assert metrics["versions"]["keras"] == keras.__version__
    assert f"{metrics['log_likelihood']:.2f}" in output


def test_saved_model_of_the_run_serves(trained):
    folder, _, _ = trained
    served = tf.saved_model.load(str(folder / "saved_model" / "1"))
    z = served.signatures["generate"](num_samples=tf.constant(2), seed=tf.constant(1), temperature=tf.constant(1.0))[
        "z"
    ]
    assert z.shape == (2, 3)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(trained, tmp_path):
    whole, _, _ = trained
    folder = tmp_path / "killed"
    process = start("train", "--output", folder, *OPTIONS)
    deadline = time.monotonic() + 300
    while not list(folder.glob("checkpoint/epoch-*.weights.h5")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "model.keras").exists()
    output, _ = finish(start("train", "--output", folder, "--resume"))
    assert not re.search(r"^ *1/4 ", output, flags=re.MULTILINE)
    models = [kv.load_model(path / "model.keras") for path in (whole, folder)]
    weights = [[*model.weights, *model.optimizer.variables] for model in models]
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    histories = [
        [re.sub(r"^(\d+),[^,]+", r"\1", row) for row in (path / "history.csv").read_text().splitlines()]
        for path in (whole, folder)
    ]
    assert histories[0] == histories[1], "all but the seconds"


FIT_ON_PAIRS = """
import sys
sys.path.insert(0, "tests")
from test_labels import conditional
import keras_vae as kv
data = kv.datasets.load("digits", batch_size=200, labels=True)
model = conditional()
backup = kv.callbacks.BackupAndRestore(sys.argv[1])
model.fit(data.train, epochs=60, validation_data=data.validation, verbose=0, callbacks=[backup])
model.save(sys.argv[1] + ".keras")
"""


@pytest.mark.slow
def test_a_killed_fit_on_labelled_pairs_resumes_to_the_same_weights_bit_for_bit(tmp_path):
    def fit(folder):
        return subprocess.Popen(
            [sys.executable, "-c", FIT_ON_PAIRS, str(folder)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    finish(fit(tmp_path / "whole"))
    process, deadline = fit(tmp_path / "killed"), time.monotonic() + 300
    while not list((tmp_path / "killed").glob("epoch-*.weights.h5")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert 1 <= kv.callbacks.BackupAndRestore(tmp_path / "killed").finished_epochs < 60
    finish(fit(tmp_path / "killed"))
    models = [kv.load_model(tmp_path / f"{name}.keras") for name in ("whole", "killed")]
    for a, b in zip(*(model.weights + model.optimizer.variables for model in models), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_the_backup_is_the_last_callback_of_a_run(tmp_path, monkeypatch, capsys):
    """What comes behind it would miss the epoch in which a run is killed."""
    seen = []

    def fit(model, *_, callbacks, **__):
        seen.extend(callbacks)
        raise FloatingPointError("enough")

    monkeypatch.setattr(kv.VAE, "fit", fit)
    assert cli.main(["train", "--output", str(tmp_path / "run")]) == 1
    assert "enough" in capsys.readouterr().err
    assert [type(callback).__name__ for callback in seen] == [
        "EpochLines", "HistoryLogger", "KeepBest", "BackupAndRestore",
    ]  # fmt: skip


def test_evaluate_generate_export(trained, tmp_path, capsys):
    folder, _, _ = trained
    assert cli.main(["evaluate", str(folder), "--samples", "500"]) == 0
    output = capsys.readouterr().out
    scores = dict(line.split(": ", 1) for line in output.splitlines() if ": " in line)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert float(scores["log_likelihood"]) == pytest.approx(metrics["log_likelihood"], rel=1e-4)
    assert re.search(r"\nDiagnosis of 179 examples(.|\n)*of 3 units active(.|\n)*\nWrote .*diagnosis.png\n", output)
    bounds = re.search(r"\nOf 10 examples drawn from the model: log p\(x\) from (-[\d.]+) to (-[\d.]+) \+- ", output)
    assert float(bounds[1]) == pytest.approx(float(bounds[2]), abs=1)
    assert (folder / "diagnosis.png").read_bytes().startswith(b"\x89PNG")
    (folder / "diagnosis.png").unlink()  # other tests look at what train leaves

    assert cli.main(["generate", str(folder), "--count", "9", "--output", str(tmp_path / "a.png")]) == 0
    assert cli.main(["generate", str(folder), "--count", "9", "--output", str(tmp_path / "a.npz")]) == 0
    drawn = np.load(tmp_path / "a.npz")
    assert drawn["z"].shape == (9, 3)
    assert drawn["mean"].shape == (9, 8, 8, 1)
    assert cli.main(["generate", str(folder), "--output", str(tmp_path / "a.npz")]) == 1
    assert "needs a new file, or --overwrite" in capsys.readouterr().err

    assert cli.main(["export", str(folder), str(tmp_path / "served" / "2")]) == 0
    assert "encode" in tf.saved_model.load(str(tmp_path / "served" / "2")).signatures
    assert cli.main(["export", str(folder), str(tmp_path / "served" / "2")]) == 1
    assert "which exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--output", "{run}"], "which holds another run"),
        (["train", "--output", "{run}", "--resume", "--beta", "2"], "beta=2.0 (the run has 1.0)"),
        (["train", "--output", "{empty}", "--resume"], "needs the folder of a run"),
        (["train", "--output", "{other}"], "which is not a run"),
        (["train", "--output", "{other}", "--overwrite"], "which is not a run"),
        (["train", "--output", "{new}", "--epochs", "0"], "--epochs to be 1 or more. Received: 0"),
        (["train", "--output", "{new}", "--learning-rate", "-1"], "--learning-rate to be a positive number"),
        (["train", "none.csv", "--output", "{new}"], "none.csv"),
        (
            ["train", "{text}", "--output", "{run}", "--overwrite"],
            "20 examples, two for each split. Received: 1",
        ),
        (["train", "{text}", "--output", "{new}", "--likelihood", "normal"], "numeric columns"),
        (["train", "{text}", "--output", "{new}", "--kinds", "city=Name"], "--kinds of the names of distributions"),
        (["train", "{text}", "--output", "{new}", "--kinds", "city"], "train needs --kinds such as age=Normal"),
        (["score", "{run}", "{text}", "--output", "{new}.txt"], "score needs --output to end in .csv"),
        (["reconstruct", "{run}", "digits", "--output", "{new}.csv"], "end in .npz for data without columns"),
        (["evaluate", "{empty}"], "needs the folder of a run"),
        (["generate", "{unfinished}"], "needs a run that has finished training"),
        (["generate", "{run}", "--output", "{new}.gif"], "generate needs --output to end in .png, .csv"),
    ],
)
def test_mistakes(trained, tmp_path, capsys, arguments, message):
    places = {name: tmp_path / name for name in ("empty", "other", "unfinished", "new", "text.csv")}
    places["text"] = places.pop("text.csv")
    places["text"].write_text("city\nOslo\n")
    for name in ("empty", "other", "unfinished"):
        places[name].mkdir()
    (places["other"] / "thesis.txt").write_text("mine")
    (places["unfinished"] / "run.json").write_text("{}")
    before = {path: path.stat().st_mtime_ns for path in trained[0].rglob("*")}
    assert cli.main([argument.format(run=trained[0], **places) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("keras-vae: error: ")
    assert message in error
    assert (places["other"] / "thesis.txt").read_text() == "mine"
    assert not places["new"].exists(), "a run that can not start leaves nothing"
    assert {path: path.stat().st_mtime_ns for path in trained[0].rglob("*")} == before


@pytest.fixture
def begun(tmp_path):
    """A run that was killed after its first epoch, as far as the command line looks before it loads TensorFlow."""
    folder = tmp_path / "run"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"epochs": 4, "id": "first"}))
    (folder / "checkpoint" / "epoch-00001.weights.h5").write_text("weights")
    (folder / "checkpoint" / "run-id.txt").write_text("first\n")
    return folder


@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
def test_a_folder_that_another_process_trains_in_is_left_alone(begun, capsys, option):
    code = f"""
import sys, time
sys.argv = ["keras-vae"]
from pathlib import Path
from keras_vae.run_folder import RunFolder
with RunFolder(Path({str(begun)!r}), "first", resumes=True).alone():
    print("trains", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "trains\n"
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    assert cli.main(["train", "--output", str(begun), option]) == 1
    assert "needs a folder that no other process trains in. Received: " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before
    process.kill()
    process.wait()
    run = Run.resume(begun, {}) if option == "--resume" else Run.create(begun, Settings(), overwrite=True)
    with run.folder.alone():
        run.folder.begin({"epochs": 4})
        left = {path.name for path in begun.rglob("*")}
    assert left - {"run.lock", "run.json", "checkpoint", "run-id.txt"} == (
        {"epoch-00001.weights.h5"} if option == "--resume" else set()
    )
    assert not (begun / "run.lock").exists()


def test_two_runs_that_begin_in_one_folder(tmp_path):
    first, second = (Run.create(tmp_path / "run", Settings()) for _ in range(2))
    with first.folder.alone():
        first.folder.begin({})
        with (
            pytest.raises(BlockingIOError, match="needs a folder that no other process trains in"),
            second.folder.alone(),
        ):
            pass
    with pytest.raises(FileExistsError, match="which holds another run"), second.folder.alone():
        pass
    first.folder.check_identity()


def test_a_checkpoint_of_another_run_is_not_resumed(begun, capsys):
    Run.resume(begun, {})
    (begun / "checkpoint" / "run-id.txt").write_text("second\n")
    assert cli.main(["train", "--output", str(begun), "--resume"]) == 1
    assert "needs the checkpoint of its run. Received: " in capsys.readouterr().err
    (begun / "checkpoint" / "run-id.txt").unlink()
    assert cli.main(["train", "--output", str(begun), "--resume"]) == 1
    (begun / "run.json").write_text("{}")  # as older versions wrote it, and no mark
    Run.resume(begun, {})


def test_where_there_are_no_locks_a_run_that_was_overwritten_reports_nothing(tmp_path, capsys, monkeypatch):
    """Two processes in one folder: the first one's epochs end after the second has begun its run."""
    folder = tmp_path / "run"
    monkeypatch.setattr("keras_vae.files.fcntl", None)

    def fit(model, *data, **options):
        second = Run.create(folder, Settings(), overwrite=True)
        with second.folder.alone():
            second.folder.begin({})

    monkeypatch.setattr(kv.VAE, "fit", fit)
    assert cli.main(["train", "--output", str(folder), "--epochs", "1"]) == 1
    assert "in which another process has begun a run" in capsys.readouterr().err
    assert {path.name for path in folder.iterdir()} == {"run.json", "checkpoint"}


INTERRUPTED = "keras-vae: interrupted.\n"
RESUMABLE = "keras-vae: interrupted. `keras-vae train --resume` goes on from the last epoch.\n"


def interrupt(process: subprocess.Popen) -> tuple[int, str]:
    """The exit status after Ctrl-C, and the messages; the process has ten seconds."""
    process.send_signal(signal.SIGINT)
    try:
        _, messages = process.communicate(timeout=10)
    finally:
        process.kill()
    return process.returncode, messages


@pytest.mark.parametrize(
    "seconds",
    [0.5, 2.5]
    + [pytest.param(moment, marks=pytest.mark.slow) for moment in (1, 1.5, 2, 3, 3.5, 4, 5, 6, 8, 10, 12, 15)],
)
def test_ctrl_c_ends_the_program_at_any_moment(tmp_path, seconds):
    process = start("train", "--output", tmp_path / "run", "--epochs", "5000")
    time.sleep(seconds)
    status, message = interrupt(process)
    kept = any((tmp_path / "run" / "checkpoint").glob("epoch-*"))
    assert (status, message) == (130, RESUMABLE if kept else INTERRUPTED)
    assert not (tmp_path / "run" / "run.lock").exists()
    assert not list(tmp_path.rglob("*.tmp")), "what was under way is cleaned up"


HANDLED = """
import sys, time
sys.argv = ["keras-vae"]
from keras_vae import interrupts
interrupts.GRACE = 0.5
print("started", flush=True)
"""


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(60)",
        """
with interrupts.raised():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
""",
        """
from keras_vae import cli
def command(*_):
    with interrupts.raised():
        try:
            time.sleep(60)
        except BaseException:
            raise SystemError("of an extension module")
cli._export = command
cli.main(["export", "a", "b"])
""",
        """
from keras_vae import cli
def command(*_):
    with interrupts.raised():
        eval("time.sleep(60)")  # Python remembers an interrupt of such code, and would end by the signal
cli._export = command
sys.exit(cli.main(["export", "a", "b"]))
""",
    ],
    ids=["at the start", "swallowed", "another error", "evaluated code"],
)
def test_ctrl_c_is_one_line_and_130_wherever_it_comes_out(code):
    process = subprocess.Popen(
        [sys.executable, "-c", HANDLED + code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_ctrl_c,
    )  # fmt: skip
    assert process.stdout.readline() == "started\n"
    time.sleep(0.3)
    assert interrupt(process) == (130, INTERRUPTED)


def test_a_command_that_was_started_to_ignore_ctrl_c_ignores_it():
    """As nohup and shells start what runs in the background."""
    code = HANDLED + "with interrupts.raised():\n    time.sleep(1)\nprint('done')"
    process = subprocess.Popen(
        ["/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-c", code],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10) == ("done\n", "")
    assert process.returncode == 0


@pytest.mark.slow
def test_the_package_leaves_ctrl_c_to_programs_that_import_it(run_python):
    code = "import signal; first = signal.getsignal(signal.SIGINT); import keras_vae"
    run_python(f"{code}; assert signal.getsignal(signal.SIGINT) is first")


def test_muting_tensorflow_needs_no_temporary_folder(monkeypatch, capfd):
    def none(*_, **__):
        raise FileNotFoundError("No usable temporary directory found")

    def fail():
        for _ in range(3):
            os.write(2, b"noise\n" * 20_000)  # more than a pipe takes: it is not waited for
        raise RuntimeError("no devices")

    with monkeypatch.context() as patched:
        patched.setattr("tempfile._get_default_tempdir", none)
        patched.setattr("tempfile.tempdir", None)
        patched.setattr(tf.config, "list_logical_devices", lambda: os.write(2, b"noise\n"))
        with cli._quiet_tensorflow():
            os.write(2, b"message\n")
        patched.setattr(tf.config, "list_logical_devices", fail)
        with pytest.raises((RuntimeError, BlockingIOError)), cli._quiet_tensorflow():
            pass
    messages = capfd.readouterr().err
    assert messages.startswith("message\nnoise\nnoise\n"), "what was muted is shown where the start fails"


def test_wrong_usage_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "--output"])
    assert stop.value.code == 2
