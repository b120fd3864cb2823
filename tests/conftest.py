"""What several test files use."""

import gc
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# XLA without the optimisations of machine code, which take longer than what tests run; `XLA_FLAGS= pytest` has them in.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import pytest

ROOT = Path(__file__).resolve().parent.parent

# How much of what was freed glibc keeps, in stores of its threads, follows the machine. In this environment the memory
# of a process is what it uses.
USED = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}

LONGEST = ("test_contract.py", "test_cli.py", "test_conformance.py", "test_replicas.py")


def usual_first(cases, *usual) -> list:
    """Parameters of a test that takes long: the usual ones in each run, the others marked slow."""
    rest = [case for case in cases if case not in usual]
    arguments = [pytest.param(*case if isinstance(case, tuple) else (case,), marks=pytest.mark.slow) for case in rest]
    return [*usual, *arguments]


def pytest_collection_modifyitems(items):
    """The longest files first: begun last, one of them would run alone beside an idle process."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def _fresh_state():
    """Each test starts from one seed and the float32 policy, and leaves no garbage.

    An iterator of tf.data that Python finds later has a thread that sleeps for up to a minute, and is waited for. What
    is left is frozen: a million objects that each collection would look through.
    """
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def run_python():
    """Runs Python code in a new process, from the root of the project, and returns what it printed."""

    def run(code: str, *arguments: object, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
