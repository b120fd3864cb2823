"""Data, codes and draws that are larger than the memory given to them."""

import os

import numpy as np
import pytest
from conftest import USED

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="memory of a process is read from /proc"
)

MEGABYTE = 2**20
HEAD = """
import re, resource, sys
from pathlib import Path
import keras_vae as kv

folder = Path(sys.argv[1])

def own_memory(kind="RssAnon"):
    return int(re.search(kind + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

def model(shape, likelihood):
    encoder, decoder = kv.dense_encoder(shape, [64]), kv.dense_decoder(8, [64])
    made = kv.VAE(kv.Normal(8, encoder), likelihood(shape, decoder), kv.StandardNormal(8))
    made.build((None, *shape))
    made.compile()
    return made
"""


@pytest.mark.slow
def test_training_on_ten_times_the_memory_given(tmp_path, run_python):
    """2 GB of rows, in random order, under a limit of 200 MB on what the process may still allocate."""
    size = 2000 * MEGABYTE
    for name, rows in {"small": 10_000, "large": size // 1000}.items():
        np.lib.format.open_memmap(tmp_path / f"{name}.npy", mode="w+", dtype="uint8", shape=(rows, 1000))
    code = (
        HEAD
        + """
def train(name, first, last, steps):
    data = kv.datasets.load(folder / name, batch_size=64, likelihood=kv.LearnedScaleNormal)
    vae.fit(data.train, initial_epoch=first, epochs=last, steps_per_epoch=steps, verbose=0)

vae = model((1000,), kv.LearnedScaleNormal)
train("small.npy", 0, 1, 200)  # compiled, and all threads started
limit = own_memory("VmData") + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
train("large.npy", 1, 2, 200)
before = own_memory()
train("large.npy", 2, 6, 200)
print(own_memory() - before, int(vae.optimizer.iterations))
"""
    )
    growth, steps = map(int, run_python(code, tmp_path, size // 10, **USED).split())
    assert steps == 1200
    assert growth < 50 * MEGABYTE


@pytest.mark.slow
def test_drawing_and_encoding_100_000_rows(tmp_path, run_python):
    """300 MB of draws go to a file, and the same number of rows through the encoder, at the memory of a few batches."""
    code = (
        HEAD
        + """
from keras_vae.run import Run

vae = model((784,), kv.Bernoulli)
vae.save(folder / "model.keras")
run = Run(folder, settings=None)
run.generate(folder / "few.npz", 10_000, seed=0, temperature=1.0)
before = own_memory()
run.generate(folder / "many.npz", 100_000, seed=0, temperature=1.0)
drawn = own_memory() - before
data = kv.datasets.load(folder / "rows.npy", batch_size=1000)
encode = lambda batches: sum(len(vae.encode(batch).mean()) for batch in batches)
rows = encode(data.test)
before = own_memory()
rows += encode(data.train) + encode(data.validation)
print(drawn, own_memory() - before, rows)
"""
    )
    np.lib.format.open_memmap(tmp_path / "rows.npy", mode="w+", dtype="uint8", shape=(100_000, 784))
    drawn, encoded, rows = map(int, run_python(code, tmp_path, **USED).split())
    assert rows == 100_000
    assert drawn < 10 * MEGABYTE
    assert encoded < 10 * MEGABYTE
    with np.load(tmp_path / "many.npz") as many, np.load(tmp_path / "few.npz") as few:
        assert many["mean"].shape == (100_000, 784)
        np.testing.assert_allclose(many["mean"][:10_000], few["mean"], rtol=1e-5)
        np.testing.assert_array_equal(many["z"][:10_000], few["z"])
