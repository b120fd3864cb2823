"""Reading tables and folders of images: seconds and peak memory of `datasets.load`, beside pandas and pyarrow.

Each reader runs in a process of its own, in turn; the table has medians over the rounds. What `load` is timed for is
more than reading: the split, the check of each cell, and the standardisation. Memory is that of the process, beyond
what it took before reading.

A table that is larger than memory: seconds until the first batch can be made, examples per second of one epoch, and
peak memory that is the process's own, without pages of files, which the system takes back when it needs them.

    python benchmarks/data.py
    python benchmarks/data.py --rows 100000 --images 1000 --gib 1.5 --rounds 1
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import csv, parquet

PREPARE = """
import json, resource, sys, threading, time
path = sys.argv[1]
def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
"""
WATCH = """
before, most, done = memory(), 0, threading.Event()
def watch():
    global most
    while not done.wait(0.005):
        most = max(most, memory())
threading.Thread(target=watch).start()
start = time.perf_counter()
"""
READ = """
read(path)
seconds = time.perf_counter() - start
done.set()
print(json.dumps({"seconds": seconds, "MiB": (max(most, memory()) - before) / 2**20}))
"""
EPOCH = """
batches = read(path)
seconds = time.perf_counter() - start
examples = sum(len(batch) for batch in batches)
epoch = time.perf_counter() - start - seconds
done.set()
print(json.dumps({"seconds": seconds, "rate": examples / epoch, "MiB": (most - before) / 2**20}))
"""
OWN = """
import re
def memory():
    with open("/proc/self/status") as file:
        return int(re.search("RssAnon:[^0-9]+([0-9]+)", file.read())[1]) * 1024
"""
READERS = {
    "keras_vae": """
import keras_vae as kv
kv.datasets.load("digits")  # what TensorFlow does once
def read(path):
    kv.datasets.load(path)
""",
    "keras_vae, columns of kinds": """
import keras_vae as kv
kv.datasets.load("digits")
def read(path):
    kv.datasets.load(path, likelihood=kv.Columns)
""",
    "pandas": """
import pandas as pd
def read(path):
    (pd.read_parquet if path.endswith("parquet") else pd.read_csv)(path).to_numpy()
""",
    "pyarrow": """
import pyarrow.csv, pyarrow.parquet
def read(path):
    (pyarrow.parquet.read_table if path.endswith("parquet") else pyarrow.csv.read_csv)(path)
""",
}


LARGE_READERS = {
    "keras_vae": """
import keras_vae as kv
kv.datasets.load("digits")
def read(path):
    return kv.datasets.load(path, batch_size=256).train
""",
    "keras_vae, columns of kinds": """
import keras_vae as kv
kv.datasets.load("digits")
def read(path):
    return kv.datasets.load(path, batch_size=256, likelihood=kv.Columns).train
""",
    "pyarrow.dataset, in the order of the file": """
import numpy as np
import pyarrow.dataset
def read(path):
    for part in pyarrow.dataset.dataset(path).to_batches():
        rows = np.stack([column.to_numpy() for column in part.columns], axis=1)
        yield from (rows[first : first + 256] for first in range(0, len(rows), 256))
""",
}


def measured(code: str, path: Path) -> dict:
    """What a program prints of a file, in a new process."""
    done = subprocess.run([sys.executable, "-c", PREPARE + code, str(path)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a reader ended with {done.returncode}:\n{code}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(title: str, path: Path, readers: list[str], rounds: int) -> None:
    """Prints a table of the readers of one file."""
    results = [{name: measured(READERS[name] + WATCH + READ, path) for name in readers} for _ in range(rounds)]
    print(f"\n| {title} | s | over keras_vae | MiB |\n|---|---|---|---|")
    for reader in readers:
        seconds, mib = (statistics.median(r[reader][key] for r in results) for key in ("seconds", "MiB"))
        ratio = statistics.median(r[reader]["seconds"] / r["keras_vae"]["seconds"] for r in results)
        print(f"| {reader} | {seconds:.2f} | {ratio:.2f} | {mib:,.0f} |", flush=True)


def compare_large(path: Path, gib: float, rounds: int) -> None:
    """Writes a table of so many GiB as float64, and prints a table of the readers of one epoch of it."""
    rows, part, rng = int(gib * 2**30 / 160), 2**18, np.random.default_rng(0)
    with parquet.ParquetWriter(path, pa.schema([(f"x{column}", pa.float64()) for column in range(20)])) as writer:
        for first in range(0, rows, part):
            values = rng.normal(size=(20, min(part, rows - first)))
            writer.write_table(pa.table({f"x{column}": values[column] for column in range(20)}))
    readers = LARGE_READERS.items()
    results = [{name: measured(code + OWN + WATCH + EPOCH, path) for name, code in readers} for _ in range(rounds)]
    print(f"\n| {rows:,} x 20, {gib:g} GiB, Parquet | s before | examples/s | over keras_vae | MiB |")
    print("|---|---|---|---|---|")
    for reader in LARGE_READERS:
        seconds, rate, mib = (statistics.median(r[reader][key] for r in results) for key in ("seconds", "rate", "MiB"))
        ratio = statistics.median(r[reader]["rate"] / r["keras_vae"]["rate"] for r in results)
        print(f"| {reader} | {seconds:.1f} | {rate:,.0f} | {ratio:.2f} | {mib:,.0f} |", flush=True)


def examples_per_second(path: Path) -> float:
    """Of one pass over the training split of a folder of images."""
    import keras_vae as kv

    data = kv.datasets.load(path, batch_size=128)
    start = time.perf_counter()
    for _ in data.train:
        pass
    return data.sizes["train"] / (time.perf_counter() - start)


def main(options: argparse.Namespace) -> None:
    """Writes the files to a temporary folder, and reads them."""
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), np.random.default_rng(0)
        table = pa.table({f"x{column}": rng.normal(size=options.rows) for column in range(20)})
        csv.write_csv(table, folder / "table.csv")
        parquet.write_table(table, folder / "table.parquet")
        del table
        readers = list(READERS)
        compare(f"{options.rows:,} x 20, CSV", folder / "table.csv", readers, options.rounds)
        compare(f"{options.rows:,} x 20, Parquet", folder / "table.parquet", readers, options.rounds)
        images = folder / "images"
        images.mkdir()
        for number in range(options.images):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype="uint8")).save(images / f"{number}.png")
        compare(f"{options.images:,} images of 32 x 32, PNG", images, ["keras_vae"], options.rounds)
        print(f"\n{examples_per_second(images):,.0f} images a second in training", flush=True)
        compare_large(folder / "large.parquet", options.gib, options.rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--gib", type=float, default=4.0, help="size of the table that is larger than memory")
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args())
