"""Seconds until things begin: imports, `keras-vae --help`, and the first epoch of `keras-vae train`, in turn.

python benchmarks/start_time.py
"""

import argparse
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


def until_first_epoch() -> float:
    """Seconds from the start of `keras-vae train` to the end of its first epoch of digits, which is on disk then."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "digits"
        start = time.perf_counter()
        command = [sys.executable, "-m", "keras_vae", "train", "--output", str(run)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not (run / "history.csv").exists():
                if process.poll() is not None:
                    raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
                time.sleep(0.01)
            seconds = time.perf_counter() - start
            process.kill()
    return seconds


def main(options: argparse.Namespace) -> None:
    rounds = []
    for _ in range(options.rounds):
        seconds = {name: until_end(arguments) for name, arguments in COMMANDS.items()}
        seconds["keras_vae beyond tensorflow"] = seconds["import keras_vae"] - seconds["import tensorflow"]
        seconds["keras-vae train, to the end of its first epoch"] = until_first_epoch()
        rounds.append(seconds)
    print(f"Medians of {options.rounds} rounds.\n\n| | s |\n|---|---|")
    for name in rounds[0]:
        print(f"| {name} | {statistics.median(seconds[name] for seconds in rounds):.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args())
