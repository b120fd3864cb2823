"""What the comparisons in this folder share: models that are trained for equal epochs and scored on the same images."""

import argparse
import math
import time
from collections.abc import Callable

import keras
import numpy as np

import keras_vae as kv


def arguments(text: str, epochs: int, **defaults) -> argparse.Namespace:
    """Options of a comparison: epochs, batch size, learning rate, samples of the score, images of the score."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {"epochs": epochs, "batch_size": 100, "learning_rate": 1e-3, "samples": 500, "images": 10_000} | defaults
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
    """Trains a model for each choice, and prints its ELBO and log p(x), and what the others have over the first.

    Args:
        trained: from a choice to a trained model.
        choices: by name.
        test: pipeline of test batches.
        options: see `arguments`.
    """
    test = test.take(math.ceil(options.images / options.batch_size))
    first, lines = None, []
    for name, choice in choices.items():
        print(f"\n{name}")
        keras.utils.set_random_seed(0)
        model = trained(choice)
        model.compile(loss=kv.ELBO())  # the score is the same for all, whatever they were trained with
        elbo = -model.evaluate(test, verbose=0, return_dict=True)["loss"]
        score = kv.evaluation.log_likelihood(model, test, samples=options.samples)
        line = f"{name:32s} ELBO {elbo:9.3f}   log p(x) {score.mean:9.3f} +- {score.standard_error:.3f}"
        if first is None:
            first = elbo, score
        else:
            gain = score.values.astype(np.float64) - first[1].values
            error = gain.std(ddof=1) / math.sqrt(len(gain))
            line += f"   over the first: ELBO {elbo - first[0]:+.3f}, log p(x) {gain.mean():+.3f} +- {error:.3f}"
        lines.append(line)
    print(f"\nNats for each of {len(score.values):,} test images, {options.epochs} epochs each")
    print("\n".join(lines))
