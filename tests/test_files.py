"""Files that are whole or not there, whoever writes them, and whatever kills the writer."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ROOT

from keras_vae import files
from keras_vae.files import locked, replacing, write_text

LINES = 20_000


def text(writer: int) -> str:
    """What a writer writes: of its own length, and in many pieces."""
    return f"{writer}\n" * (LINES + writer)


def is_whole(found: str) -> bool:
    """Whether a file holds all that one writer has written, and nothing else."""
    return found == text(int(found[: found.index("\n")]))


def test_threads_that_write_one_path_do_not_mix(tmp_path):
    path, stop, seen = tmp_path / "file.txt", threading.Event(), []
    write_text(path, text(0))

    def write(writer):
        for _ in range(20):
            with replacing(path) as temporary, temporary.open("w") as file:
                for _ in range(LINES + writer):
                    file.write(f"{writer}\n")

    def read():
        while not stop.is_set():
            seen.append(is_whole(path.read_text()))

    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read)
        try:
            list(pool.map(write, range(4)))  # raises what a writer has raised
        finally:
            stop.set()
        reader.result()
    assert len(seen) > 20
    assert all(seen)
    assert os.listdir(tmp_path) == ["file.txt"]


WRITER = """
import os, sys, time
from pathlib import Path
sys.argv = ["keras-vae", *sys.argv[1:]]  # the package is not imported whole
os.getpid = lambda: 1  # as in a container
from keras_vae.files import replacing
path, writer, lines = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
"""


def writer(code: str, *arguments) -> subprocess.Popen:
    """A process that calls itself number 1, and says when it stands in the block."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER + code, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_processes_of_one_number_do_not_mix(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, text(0))
    code = """
for _ in range(30):
    with replacing(path) as temporary, temporary.open("w") as file:
        for _ in range(lines):
            file.write(f"{writer}\\n")
"""
    processes = [writer(code, path, number, LINES + number) for number in (1, 2)]
    reads = 0
    while any(process.poll() is None for process in processes):
        assert is_whole(path.read_text())
        reads += 1
    assert [process.wait() for process in processes] == [0, 0]
    assert reads > 20
    assert os.listdir(tmp_path) == ["file.txt"]


STANDING = """
with replacing(path) as temporary:
    if lines:
        temporary.mkdir()
        (temporary / "part").write_text(writer)
    else:
        temporary.write_text(writer)
    print("in the block", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(files.fcntl is None, reason="no locks")
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_what_a_killed_writer_has_left_is_deleted_and_that_of_a_living_one_is_not(tmp_path, folder):
    path = tmp_path / "1"
    killed, living = (writer(STANDING, path, name, int(folder)) for name in ("killed", "living"))
    try:
        for process in (killed, living):
            assert process.stdout.readline() == "in the block\n"
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert not path.exists()
        assert len(list(tmp_path.glob(".1.*.tmp"))) == 2
        with replacing(path) as temporary:
            assert len(list(tmp_path.glob(".1.*.tmp"))) == 2, "the living one's and this one"
            assert not temporary.exists(), "nothing of anyone else is published"
            temporary.mkdir()
        assert len(list(tmp_path.glob(".1.*.tmp/1"))) == 1
        (left,) = tmp_path.glob(".1.*.tmp/1/part" if folder else ".1.*.tmp/1")
        assert left.read_text() == "living"
    finally:
        living.kill()
        living.wait()
    write_text(tmp_path / "another", "of any name in the folder")
    assert sorted(os.listdir(tmp_path)) == ["1", "another"]


def test_a_block_that_raises_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text(f"new {1 / 0}")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_folder_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "part").write_text("old")
    with pytest.raises(OSError, match="not empty"), replacing(tmp_path / "1") as temporary:
        temporary.mkdir()
    assert (tmp_path / "1" / "part").read_text() == "old"
    assert os.listdir(tmp_path) == ["1"]


def test_a_file_gets_the_rights_that_the_user_gives_to_files(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / ("n" * 250), "a name nearly as long as it may be")
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {(tmp_path / "plain").stat().st_mode}


def test_without_locks_nothing_is_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    left = tmp_path / ".file.txt.abc.tmp" / "writer.lock"
    left.parent.mkdir()
    left.touch()
    write_text(tmp_path / "file.txt", "new")
    assert sorted(os.listdir(tmp_path)) == [".file.txt.abc.tmp", "file.txt"]


@pytest.mark.skipif(files.fcntl is None, reason="no locks")
def test_a_lock_is_held_by_one(tmp_path):
    with locked(tmp_path / "lock") as first, locked(tmp_path / "lock") as second:
        assert (first, second) == (True, False)
    with locked(tmp_path / "lock") as first:
        assert first
        (tmp_path / "lock").unlink()
        with locked(tmp_path / "lock") as second:
            assert second, "of a new file"


@pytest.mark.skipif(files.fcntl is None, reason="no locks")
def test_a_folder_that_is_deleted_before_it_is_locked_is_not_written_to(tmp_path, monkeypatch):
    """The moment between the making of the folder and its lock, met by another writer that cleans up."""
    lock, times = files._lock, []

    def late(file, path):
        times.append(path)
        if len(times) == 1:
            files._delete_leftovers(tmp_path)
        return lock(file, path)

    monkeypatch.setattr(files, "_lock", late)
    with replacing(tmp_path / "file.txt") as temporary:
        assert len(times) == 3, "ours, the other writer's, and ours again in a new folder"
        temporary.write_text("new")
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.slow
def test_an_export_after_a_killed_one_publishes_its_own_files(tmp_path):
    code = """
import sys, time
import keras_vae as kv
from pathlib import Path
model = kv.VAE(kv.Normal(2), kv.Bernoulli(6), kv.StandardNormal(2))
model.build((None, 6))
model.export(Path(sys.argv[1]) / sys.argv[2])
"""
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "killed", "1"], cwd=ROOT)
    while not list((tmp_path / "killed").glob(".1.*.tmp/1/*")):
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "1").exists()
    for folder in ("killed", "fresh"):
        subprocess.run([sys.executable, "-c", code, tmp_path / folder, "1"], cwd=ROOT, check=True)
    found, wanted = (
        sorted(str(path.relative_to(tmp_path / folder)) for path in (tmp_path / folder).rglob("*"))
        for folder in ("killed", "fresh")
    )
    assert found == wanted
