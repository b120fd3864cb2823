"""Time of a training step on rows in memory and on a file of ten times the memory given, in turn.

The file holds 2 GiB of random bytes in rows of 784, read in random order; after the first epoch the process may
allocate no more than 200 MiB. Dense networks 200-200, 50 latents, batch 100. Each is a process of its own in each
round; the table has medians over the rounds.

    python benchmarks/data_on_disk.py
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from rounds import in_turn

ROWS, PIXELS = 2 * 2**30 // 784, 784


def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        rows = np.lib.format.open_memmap(path, mode="w+", dtype="uint8", shape=(ROWS, PIXELS))
        rng = np.random.default_rng(0)
        for start in range(0, ROWS, 2**16):
            part = rows[start : start + 2**16]
            part[:] = np.frombuffer(rng.bytes(part.size), "uint8").reshape(part.shape)
        rows.flush()
        peers = {kind: (f"rows.py --{kind}", "keras_vae") for kind in ("memory", "disk")}
        results = in_turn(peers, [str(path)], options.rounds)
    print(f"Medians of {options.rounds} rounds. growth: of the process's own memory during 1,000 steps.\n")
    print("| rows in | ms for a step | memory/this | growth, MiB |\n|---|---|---|---|")
    for kind in peers:
        ms, growth = (statistics.median(r[kind][key] for r in results) for key in ("ms", "growth_mib"))
        ratio = statistics.median(r["memory"]["ms"] / r[kind]["ms"] for r in results)
        print(f"| {kind} | {ms:.2f} | {ratio:.2f} | {growth:.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args())
