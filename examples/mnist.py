"""MNIST with dynamic binarization: trains for about ten minutes on two cores, scores all test images, draws figures.

The network is that of Burda et al. 2016 (arXiv:1509.00519) with one stochastic layer: 200-200 tanh units, 50 latents.

    python examples/mnist.py --output runs/mnist
"""

import argparse
import csv
import json
import math
import shlex
import sys
from pathlib import Path

import keras
import tensorflow as tf

import keras_vae as kv

LATENTS = 50


def load_data(batch_size: int) -> kv.datasets.Data:
    """MNIST from TensorFlow Datasets: 50,000 images to train on, 10,000 to watch, 10,000 to test."""
    return kv.datasets.load("mnist", batch_size=batch_size, likelihood=kv.Bernoulli)


def build_model(data: kv.datasets.Data) -> kv.VAE:
    """One stochastic layer between two networks of 200-200 tanh units; pixels begin at their mean."""
    return kv.VAE(
        posterior=kv.Normal(LATENTS, kv.dense_encoder(data.shape, units=[200, 200], activation="tanh")),
        likelihood=data.likelihood(kv.dense_decoder(LATENTS, units=[200, 200], activation="tanh")),
        prior=kv.StandardNormal(LATENTS),
    )


def main(options: argparse.Namespace) -> None:
    """Trains, scores and draws."""
    keras.utils.set_random_seed(0)
    data = load_data(options.batch_size)
    print(data)
    vae = build_model(data)
    steps = options.epochs * math.ceil(data.sizes["train"] / options.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(options.learning_rate, steps, alpha=0.01)
    vae.compile(keras.optimizers.Adam(rate), loss=kv.ELBO())

    vae.fit(
        data.train,
        epochs=options.epochs,
        verbose=2,
        validation_data=data.validation,
        validation_freq=10,
        callbacks=[
            kv.callbacks.HistoryLogger(options.output / "history.csv"),
            kv.callbacks.BackupAndRestore(options.output / "checkpoint"),  # the same command goes on after a stop
        ],
    )
    vae.save(options.output / "model.keras")

    with (options.output / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    seconds = sum(float(row["seconds"]) for row in rows)

    score = kv.evaluation.log_likelihood(vae, data.test, samples=500)
    logs = vae.evaluate(data.test, verbose=0, return_dict=True)
    print(f"{score}\nELBO = {-logs['loss']:.3f} nats, {seconds:.0f} s of training")
    metrics = {
        "data": data.name,
        "log_likelihood": score.mean,
        "log_likelihood_standard_error": score.standard_error,
        "log_likelihood_samples": score.samples,
        "elbo": -logs["loss"],
        "seconds": round(seconds),
        "epochs": options.epochs,
        "seed": 0,
        "command": shlex.join(["python", "examples/mnist.py", *sys.argv[1:]]),
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "keras_vae": kv.__version__},
    }
    (options.output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    test = next(iter(data.test)).numpy()
    kv.plotting.reconstructions(vae, test).savefig(options.output / "reconstructions.png")
    kv.plotting.samples(vae, 100).savefig(options.output / "samples.png")
    kv.plotting.curves({name: [row[name] for row in rows] for name in rows[0]}).savefig(options.output / "curves.png")
    vae.export(options.output / "saved_model" / "1")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/mnist"), help="a new folder")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=400)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    main(parser.parse_args())
