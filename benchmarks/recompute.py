"""What `TopDownVAE(recompute=True)` saves: the memory of a training step of twelve blocks, and its time.

Each way runs in a process of its own: how far its peak is above what the process had before, and seconds of a step.

    python benchmarks/recompute.py --batch-size 400
"""

import argparse
import os
import resource
import subprocess
import sys
import time

import numpy as np


def measure(recompute: bool, batch_size: int) -> None:
    """Prints MiB and seconds."""
    import keras

    import keras_vae as kv

    keras.utils.set_random_seed(0)
    sizes = [(1, 128)] * 2 + [(7, 64)] * 6 + [(14, 32)] * 4
    network = keras.Sequential([keras.Input((14, 14, 32)), keras.layers.Conv2DTranspose(16, 4, 2, "same")])
    model = kv.TopDownVAE(
        encoder=kv.bottom_up_encoder((28, 28, 1), strides=[2, 2, 7], filters=[32, 64, 128], blocks=1),
        blocks=[kv.TopDownBlock((size, size), filters, latent_size=8) for size, filters in sizes],
        likelihood=kv.Bernoulli((28, 28, 1), network),
        recompute=recompute,
    )
    model.compile(keras.optimizers.SGD(1e-5), kv.ELBO(), jit_compile=False)
    x = np.random.default_rng(0).integers(0, 2, (batch_size, 28, 28, 1)).astype("float32")
    model.train_on_batch(x[:8])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model.train_on_batch(x)
    start = time.perf_counter()
    for _ in range(3):
        model.train_on_batch(x)
    seconds = (time.perf_counter() - start) / 3
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, seconds)


def main(options: argparse.Namespace) -> None:
    """Both ways."""
    if options.way:
        measure(options.way == "recompute", options.batch_size)
        return
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    found = {}
    for way in ("keep", "recompute"):
        command = [sys.executable, __file__, "--batch-size", str(options.batch_size), "--way", way]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        found[way] = [float(word) for word in answer.split()]
        print(f"{way:9s} {found[way][0]:6.0f} MiB {found[way][1]:6.2f} s per step", flush=True)
    memory, seconds = (new / old for new, old in zip(found["recompute"], found["keep"], strict=True))
    print(f"recompute takes {memory:.2f} of the memory and {seconds:.2f} of the time")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=400)
    parser.add_argument("--way", choices=["keep", "recompute"], help="one alone, in this process")
    main(parser.parse_args())
