"""keras_vae on a file of rows: as `datasets.load` reads it, or on its first rows in memory."""

import json
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np
from ours import build
from workloads import LEARNING_RATE, WORKLOADS

import keras_vae as kv

BATCH, STEPS = 100, 200


def memory(kind: str) -> int:
    """Bytes, from the system's account of this process."""
    return int(re.search(kind + r":\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def main(path: Path, disk: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if not disk:
            few = Path(folder) / "few.npz"  # which is read into memory
            np.savez(few, np.load(path, mmap_mode="r")[: BATCH * STEPS * 5 // 4])
            path = few
        train = kv.datasets.load(path, batch_size=BATCH, likelihood=kv.Bernoulli).train
    model, _ = build(WORKLOADS["dense 200-200, z 50, batch 100"])
    model.compile(keras.optimizers.Adam(LEARNING_RATE), kv.ELBO())
    model.fit(train, steps_per_epoch=STEPS, verbose=0)
    limit = memory("VmData") + 200 * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    before, start = memory("RssAnon"), time.perf_counter()
    model.fit(train, initial_epoch=1, epochs=6, steps_per_epoch=STEPS, verbose=0)
    seconds = time.perf_counter() - start
    growth = (memory("RssAnon") - before) / 2**20
    print(json.dumps({"ms": 1e3 * seconds / 5 / STEPS, "growth_mib": growth}))


if __name__ == "__main__":
    main(Path(sys.argv[-1]), disk="--disk" in sys.argv)
