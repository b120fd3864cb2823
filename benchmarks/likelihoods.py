"""Trains the models of published tables on MNIST, scores them, and writes a table beside the published figures.

    python benchmarks/likelihoods.py --output runs/likelihoods                  # every row, seed 0: most of a day
    python benchmarks/likelihoods.py --output runs/likelihoods --rows vae iwae-5 --seeds 3
    python benchmarks/likelihoods.py --output runs/likelihoods --table          # what there is so far

Each row and seed is a run in a folder of its own. A command that was stopped goes on where it was, and commands that
share a folder share the work: each takes the next run that no other one has. Few cores are used best by one
command for each core, with `--threads 1`.
"""

import argparse
import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import papers
import tensorflow as tf

import keras_vae as kv
from keras_vae.files import locked, write_text

BATCH = 100
ACTIVE_OF = 500  # test images that active units are counted on, by the limit of Burda et al.
BURDA = "Burda et al. 2016"
TOMCZAK = "Tomczak & Welling 2018"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        title: what the line is called.
        build: from a seed to a model.
        published: the figure of a paper, -log p(x) in nats, and of a replication, in words; "" where there is none.
        epochs: of training, at a learning rate that falls from `rate` to a hundredth along a cosine.
        loss: the objective.
        rate: the learning rate at the start.
        warm_up: epochs in which beta rises from 0 to 1.
        patience: epochs without a better validation loss after which training stops, and goes back; None never stops.
        data: arguments of `papers.dynamic`; None for the static set.
    """

    title: str
    build: Callable[[int], kv.LatentVariableModel]
    published: str
    epochs: int
    loss: kv.objectives.Objective = field(default_factory=kv.ELBO)
    rate: float = 3e-3
    warm_up: int = 0
    patience: int | None = None
    data: dict | None = field(default_factory=dict)

    def load(self, folder: Path, seed: int) -> kv.datasets.Data:
        if self.data is None:
            return papers.static(BATCH, seed)
        return papers.dynamic(folder, BATCH, seed, **self.data)


TOMCZAKS = {"train": 50_000}
ROWS = {
    "vae-minutes": Row("VAE, 250 epochs", papers.one_layer, "", 250),
    "vae": Row("VAE", papers.one_layer, f"86.76 ({BURDA}); 86.35", 800),
    "iwae-5": Row("IWAE, 5 samples", papers.one_layer, f"85.54 ({BURDA}); 85.18", 150, kv.IWAE(5)),
    "dreg-5": Row("DReG, 5 samples", papers.one_layer, "84.90", 150, kv.DoublyReparameterized(5)),
    "two-layers": Row("two stochastic layers", papers.two_layers, f"85.33 ({BURDA}); 84.83", 300, rate=1e-3),
    "conditional": Row("VAE given the label", papers.conditional, "82.32", 300, data={"labels": True}),
    "flow": Row("VAE with an inverse autoregressive flow", papers.flow, "", 150),
    "static": Row("VAE, static binarization", papers.one_layer, f"88.71 ({BURDA})", 150, patience=50, data=None),
    "gated": Row("gated VAE", papers.gated_vae, f"84.50 ({TOMCZAK}); 84.45", 150, data=TOMCZAKS),
    "vamp": Row("gated VAE, VampPrior", papers.vamp, f"82.38 ({TOMCZAK}); 82.43", 80, data=TOMCZAKS),
    "two-levels-vamp": Row(
        "gated VAE of two levels, VampPrior", papers.TwoLevels, f"81.24 ({TOMCZAK}); 81.56", 80, data=TOMCZAKS
    ),
}


def train(row: Row, folder: Path, seed: int, epochs: int) -> tuple[kv.LatentVariableModel, kv.datasets.Data]:
    """The trained model of a run, which goes on where it was stopped, and its data."""
    keras.utils.set_random_seed(seed)
    data = row.load(folder.parent, seed)
    model = row.build(seed)
    model.likelihood.adapt(data.train)
    model.build((None, *data.shape))
    steps = epochs * math.ceil(data.sizes["train"] / BATCH)
    rate = keras.optimizers.schedules.CosineDecay(row.rate, steps, alpha=0.01)
    model.compile(keras.optimizers.Adam(rate), row.loss)
    history = kv.callbacks.HistoryLogger(folder / "history.csv")
    callbacks = [kv.callbacks.LinearSchedule("beta", 0.0, 1.0, row.warm_up)] if row.warm_up else []
    callbacks += [history]
    if row.patience:
        callbacks += [kv.callbacks.KeepBest(folder / "best.weights.h5", history, row.patience)]
    callbacks += [kv.callbacks.BackupAndRestore(folder / "checkpoint")]
    model.fit(
        data.train,
        epochs=epochs,
        validation_data=data.validation,
        validation_freq=1 if row.patience else 10,
        callbacks=callbacks,
        verbose=0,
    )
    return model, data


def active_units(model: kv.LatentVariableModel, data: kv.datasets.Data) -> str:
    """By layer, from the data up: "16+5"."""
    found = kv.evaluation.diagnose(model, data.test, samples=2, examples=ACTIVE_OF, verbose=0)
    return "+".join(str(int(found.latents[name].active.sum())) for name in sorted(found.latents))


def run(name: str, seed: int, options: argparse.Namespace) -> None:
    """Trains and scores what is not there yet."""
    row, folder = ROWS[name], options.output / f"{name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "run.lock") as held:
        if held is False:
            print(f"{folder.name} is another command's", flush=True)
            return
        file = folder / "metrics.json"
        metrics = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if metrics.get("log_likelihood_samples", 0) >= options.samples:
            return
        epochs = metrics.get("epochs_planned", options.epochs or row.epochs)
        print(f"{folder.name}: {epochs} epochs", flush=True)
        model, data = train(row, folder, seed, epochs)
        if not metrics:
            with (folder / "history.csv").open(encoding="utf-8") as lines:
                history = list(csv.DictReader(lines))
            metrics = {
                "row": name,
                "data": f"MNIST, {'static' if row.data is None else 'dynamic'} binarization",
                "train_images": data.sizes["train"],
                "seed": seed,
                "epochs": len(history),
                "epochs_planned": epochs,
                "seconds": round(sum(float(line["seconds"]) for line in history)),
                "threads": options.threads,
                "active_units": active_units(model, data),
                "command": f"python benchmarks/likelihoods.py --rows {name} --seeds {seed + 1}",
                "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "keras_vae": kv.__version__},
            }
            model.save(folder / "model.keras")
            write_text(file, json.dumps(metrics, indent=2) + "\n")
        metrics |= score(model, data, options.samples, folder / f"scores-{options.samples}.npz")
        write_text(file, json.dumps(metrics, indent=2) + "\n")


def score(model: kv.LatentVariableModel, data: kv.datasets.Data, samples: int, resume: Path) -> dict:
    """ELBO and log p(x) of the test images."""
    model.compile(loss=kv.ELBO())
    elbo = -model.evaluate(data.test, verbose=0, return_dict=True)["loss"]
    found = kv.evaluation.log_likelihood(model, data.test, samples, resume=resume, verbose=0)
    print(found, flush=True)
    return {
        "elbo": elbo,
        "log_likelihood": found.mean,
        "log_likelihood_standard_error": found.standard_error,
        "log_likelihood_error_of_draws": found.error_of_draws,
        "log_likelihood_samples": samples,
        "unreliable": float(np.mean(found.unreliable)),
        "images": len(found.values),
    }


def table(folder: Path) -> str:
    """Of all runs that have a score, in the form of Markdown."""
    lines = [
        "| model | -log p(x), nats | published; replicated | -ELBO | active units | epochs, minutes |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in ROWS.items():
        files = sorted(folder.glob(f"{name}-[0-9]*/metrics.json"))
        runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        runs = [found for found in runs if found["row"] == name and "log_likelihood" in found]
        if not runs:
            continue
        values = np.asarray([-found["log_likelihood"] for found in runs])
        errors = [found["log_likelihood_standard_error"] for found in runs]
        spread = f"; seeds {', '.join(f'{value:.2f}' for value in values)}" if len(values) > 1 else ""
        samples = sorted({found["log_likelihood_samples"] for found in runs})
        marked = "" if samples == [5000] else f", {' and '.join(map(str, samples))} samples"
        cells = [
            f"{row.title}, {runs[0]['train_images']:,} images",
            f"{values.mean():.2f} +- {np.mean(errors):.2f}{spread}{marked}",
            row.published,
            f"{-np.mean([found['elbo'] for found in runs]):.2f}",
            ", ".join(found["active_units"] for found in runs),
            f"{runs[0]['epochs']}, {np.mean([found['seconds'] for found in runs]) / 60:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(options: argparse.Namespace) -> None:
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        raise SystemExit(f"--rows needs some of {', '.join(ROWS)}. Received: {', '.join(sorted(unknown))}.")
    if not options.table:
        if options.threads:
            tf.config.threading.set_intra_op_parallelism_threads(options.threads)
            tf.config.threading.set_inter_op_parallelism_threads(options.threads)
        for seed in range(options.seeds):
            for name in options.rows:
                run(name, seed, options)
    print(table(options.output))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/likelihoods"), help="folder of all runs")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0")
    parser.add_argument("--samples", type=int, default=5000, help="draws for each test image")
    parser.add_argument("--epochs", type=int, help="in the place of those of each row, to try it")
    parser.add_argument("--threads", type=int, help="of TensorFlow; its own choice where left out")
    parser.add_argument("--table", action="store_true", help="print the table of what there is, and do nothing")
    main(parser.parse_args())
