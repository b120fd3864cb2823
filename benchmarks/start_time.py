"""Seconds until things begin: imports, `keras-vae --help`, first steps and first epoch of `keras-vae train`, in turn.

python benchmarks/start_time.py
"""

import argparse
import os
import pty
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = {
    "import tensorflow": ["-c", "import tensorflow"],
    "import keras_vae": ["-c", "import keras_vae"],
    "keras-vae --help": ["-m", "keras_vae", "--help"],
}


def until_end(arguments: list[str]) -> float:
    """Seconds that a Python process takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def until_training() -> dict[str, float]:
    """Seconds from the start of `keras-vae train`, on digits, to the end of its first steps and of its first epoch.

    The progress bar moves at the end of the first call of the runtime, which holds the first half of the epoch.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "digits"
        terminal, inner = pty.openpty()  # the progress bar moves in a terminal only
        start = time.perf_counter()
        command = [sys.executable, "-m", "keras_vae", "train", "--output", str(run)]
        with subprocess.Popen(command, stdout=inner, stderr=inner) as process:
            shown, first_steps = b"", None
            while not (run / "history.csv").exists():
                if process.poll() is not None:
                    raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{shown.decode()}")
                if select.select([terminal], [], [], 0.01)[0]:
                    shown += os.read(terminal, 2**16)
                if first_steps is None and b"/step" in shown:
                    first_steps = time.perf_counter() - start
            epoch = time.perf_counter() - start
            process.kill()
        os.close(terminal)
        os.close(inner)
    return {"to the end of its first steps": first_steps, "to the end of its first epoch": epoch}


def main(options: argparse.Namespace) -> None:
    rounds = []
    for _ in range(options.rounds):
        seconds = {name: until_end(arguments) for name, arguments in COMMANDS.items()}
        seconds["keras_vae beyond tensorflow"] = seconds["import keras_vae"] - seconds["import tensorflow"]
        seconds |= {f"keras-vae train, {what}": taken for what, taken in until_training().items()}
        rounds.append(seconds)
    print(f"Medians of {options.rounds} rounds.\n\n| | s |\n|---|---|")
    for name in rounds[0]:
        print(f"| {name} | {statistics.median(seconds[name] for seconds in rounds):.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args())
