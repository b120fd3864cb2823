"""Training under a distribution strategy: the result of one device."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

import numpy as np
import pytest
from conftest import ROOT


@pytest.mark.slow
def test_two_devices_train_what_one_does(tmp_path, run_python):
    """Same logs, weights, scores and reconstructions, with uneven last batches, and resumed; other noise on each."""
    script = ROOT / "tests" / "on_replicas.py"
    code = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    assert run_python(code, script, tmp_path, PYTHONPATH=str(ROOT / "tests")).strip().endswith("all equal")


def two_workers(*arguments) -> list[tuple[int, str]]:
    """Exit codes and messages of two processes that train together over the loopback."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        command = [sys.executable, ROOT / "tests" / "on_workers.py", *map(str, arguments)]
        environment = os.environ | {"TF_CONFIG": json.dumps(task)}
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True))
    try:
        messages = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, message) for process, message in zip(processes, messages, strict=True)]


@pytest.mark.slow
def test_two_workers_train_what_one_does(tmp_path):
    for code, message in two_workers("equal", tmp_path):
        assert code == 0, message


@pytest.mark.slow
def test_a_lost_worker_stops_the_job_and_a_restart_goes_on(tmp_path):
    """Worker 1 is killed in its third epoch: all but that epoch is kept."""
    for folder in ("whole", "lost"):
        (tmp_path / folder).mkdir()
    for code, message in two_workers("train", tmp_path / "whole"):
        assert code == 0, message
    (stopped, message), (killed, _) = two_workers("crash", tmp_path / "lost", 2)
    assert killed == -signal.SIGKILL
    assert stopped != 0
    assert "VAE.fit on worker 0 lost another worker, and stops" in message
    assert (tmp_path / "lost" / "backup" / "worker-0" / "epoch-00002.weights.h5").exists()
    for code, message in two_workers("train", tmp_path / "lost"):
        assert code == 0, message
    for worker in range(2):
        whole, resumed = (np.load(tmp_path / folder / f"weights-{worker}.npz") for folder in ("whole", "lost"))
        for name in whole:
            np.testing.assert_array_equal(resumed[name], whole[name])
