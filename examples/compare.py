"""What the comparisons in this folder share: models that are trained for equal epochs and scored on the same images."""

import argparse
import math
import time
from collections.abc import Callable

import keras
import numpy as np

import keras_vae as kv


def arguments(text: str, epochs: int, **defaults) -> argparse.Namespace:
    """Options of a comparison: epochs, batch size, learning rate, samples and images of the score, how many seeds."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {
        "epochs": epochs,
        "batch_size": 100,
        "learning_rate": 1e-3,
        "samples": 500,
        "images": 10_000,
        "seeds": 1,
    } | defaults
    for name, value in numbers.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default {value:g}")
    return parser.parse_args()


def train(model, data, options: argparse.Namespace, objective=None, callbacks=()):
    """Adam, at a rate that falls to a hundredth along a cosine."""
    steps = options.epochs * math.ceil(data.sizes["train"] / options.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(options.learning_rate, steps, alpha=0.01)
    model.compile(keras.optimizers.Adam(rate), objective)
    start = time.perf_counter()
    model.fit(data.train, epochs=options.epochs, callbacks=list(callbacks), verbose=2)
    print(f"{time.perf_counter() - start:.0f} s of training")
    return model


def compare(trained: Callable, choices: dict, test, options: argparse.Namespace) -> None:
    """Trains a model for each choice and seed, prints ELBO and log p(x), and what the others have over the first.

    Args:
        trained: from a choice and a seed to a trained model.
        choices: by name.
        test: pipeline of test batches.
        options: see `arguments`.
    """
    test = test.take(math.ceil(options.images / options.batch_size))
    elbos: dict[str, list[float]] = {name: [] for name in choices}
    values: dict[str, list[np.ndarray]] = {name: [] for name in choices}
    for seed in range(options.seeds):
        for name, choice in choices.items():
            print(f"\n{name}, seed {seed}", flush=True)
            keras.utils.set_random_seed(seed)
            model = trained(choice, seed)
            model.compile(loss=kv.ELBO())  # the score is the same for all, whatever they were trained with
            elbos[name].append(-model.evaluate(test, verbose=0, return_dict=True)["loss"])
            score = kv.evaluation.log_likelihood(model, test, samples=options.samples, verbose=0)
            values[name].append(score.values.astype(np.float64))
    images = len(values[name][0])
    print(f"\nNats for each of {images:,} test images, {options.epochs} epochs each, {options.seeds} seeds")
    first = next(iter(choices))
    for name in choices:
        line = f"{name:32s} ELBO {np.mean(elbos[name]):9.3f}   log p(x) {mean_and_error(values[name])}"
        if name != first:
            gains = [ours - theirs for ours, theirs in zip(values[name], values[first], strict=True)]
            elbo = np.mean(elbos[name]) - np.mean(elbos[first])
            line += f"   over the first: ELBO {elbo:+.3f}, log p(x) {mean_and_error(gains, sign='+')}"
        print(line)


def mean_and_error(by_seed: list[np.ndarray], sign: str = "") -> str:
    """The mean of values by seed and image, and its standard error: over the seeds, or of one seed over the images."""
    means = [values.mean() for values in by_seed]
    of = means if len(means) > 1 else by_seed[0]
    text = f"{np.mean(means):{sign}.3f} +- {np.std(of, ddof=1) / math.sqrt(len(of)):.3f}"
    return text + (f" ({', '.join(f'{mean:{sign}.2f}' for mean in means)})" if len(means) > 1 else "")
