"""Images of one to three sprites, each of another colour, taken apart into objects without a word about objects.

A MONet of five slots. Prints for each seed the adjusted Rand index of the
foreground on test images of two objects or more, 1 where the pixels of each object are in a segment of their own, and
writes figures. A seed below 0.95 has failed.

    TF_ENABLE_ONEDNN_OPTS=1 TF_NUM_INTRAOP_THREADS=1 python examples/monet.py --output runs/monet --seeds 3

On CPUs that TensorFlow does not use oneDNN on by itself, TF_ENABLE_ONEDNN_OPTS=1 makes convolutions faster.
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np

import keras_vae as kv

SIZE = 8  # of the code of a slot
ENOUGH = 0.95
EPOCH = 100  # steps: the weight of the KL of the codes rises from one to the next


def build(shape, slots: int, scale: float, seed: int) -> kv.MONet:
    """A small MONet.

    Args:
        shape: of an image.
        slots: one for each object, one for the ground, and one to spare.
        scale: standard deviation of a value of a pixel.
        seed: of the noise.
    """
    seen = (*shape[:-1], shape[-1] + 1)  # an image beside the logarithm of a mask
    edges = keras.initializers.RandomNormal(stddev=1.0)  # as steep as those of an object are
    paint = [
        keras.Input((SIZE,)),
        kv.SpatialBroadcast(shape[:-1]),
        keras.layers.Dense(32, "relu", kernel_initializer=edges),  # of each place by itself
        *[keras.layers.Conv2D(16, 3, padding="same", activation="relu") for _ in range(2)],
    ]
    model = kv.MONet(
        attention=kv.unet(seen, filters=[12, 12, 24], units=64),
        posterior=kv.Normal(SIZE, kv.convolutional_encoder(seen, filters=[16, 32, 32])),
        likelihood=kv.SlotMixture(shape, keras.Sequential(paint), scale=scale),
        prior=kv.StandardNormal((slots, SIZE)),
        seed=seed,
    )
    model.build((None, *shape))
    bias = model.posterior.head.bias  # of locations and scales
    bias.assign(np.tile([0.0, -2.0], SIZE))  # scales begin at 0.13, so that codes are heard
    return model


def rand_index(model: kv.MONet, x: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Mean of the adjusted Rand index over images, and its standard error."""
    parts = [model.decompose(x[start : start + 100])["segments"] for start in range(0, len(x), 100)]
    scores = kv.evaluation.foreground_rand_index(masks, np.concatenate(parts))
    return float(scores.mean()), float(scores.std() / np.sqrt(len(scores)))


def train(options: argparse.Namespace, seed: int) -> tuple[float, float, float]:
    """Trains with one seed, of data, weights and noise, and writes figures and model: index, its error, minutes."""
    recipe = kv.datasets.Sprites(options.side, 3, overlap=options.overlap, equal_colours=options.equal_colours)
    data = kv.datasets.load(recipe, 16, kv.Normal, seed=seed)
    x = np.concatenate(list(data.test))
    truth = data.truth["test"]
    several = truth["counts"] > 1
    keras.utils.set_random_seed(seed)
    model = build(data.shape, options.slots, options.scale, seed)
    rate = keras.optimizers.schedules.CosineDecay(options.rate, options.steps, alpha=0.05)
    model.compile(keras.optimizers.Adam(rate), kv.ELBO(beta={"z": 0.5, "mask": 0.5}))
    start, epochs, found = time.perf_counter(), options.steps // EPOCH, [0.0, 0.0]

    def look(epoch, logs):
        if (epoch + 1) % options.every and epoch + 1 < epochs:
            return
        found[:] = rand_index(model, x[several], truth["masks"][several])
        minutes = (time.perf_counter() - start) / 60
        words = ", ".join(f"{name} {value:.1f}" for name, value in logs.items())
        print(f"seed {seed}, step {EPOCH * (epoch + 1):,}, {minutes:.1f} minutes: {found[0]:.3f}; {words}", flush=True)

    warm_up = kv.callbacks.LinearSchedule("beta.z", 0.02, 0.5, max(1, int(options.warm_up * epochs)))
    looks = keras.callbacks.LambdaCallback(on_epoch_end=look)
    model.fit(data.train.repeat(), steps_per_epoch=EPOCH, epochs=epochs, verbose=0, callbacks=[warm_up, looks])
    minutes = (time.perf_counter() - start) / 60
    folder = options.output / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    parts = model.decompose(x[:8])
    figure = kv.plotting.components(x[:8], parts["masks"], parts["components"], model.reconstruct(x[:8]))
    figure.savefig(folder / "components.png")
    kv.plotting.samples(model, 64, seed=1).savefig(folder / "samples.png")
    model.save(folder / "model.keras")
    return *found, minutes


def main(options: argparse.Namespace) -> None:
    """Trains with each seed, and prints a table."""
    found = {seed: train(options, seed) for seed in range(options.first_seed, options.first_seed + options.seeds)}
    print("\n| seed | adjusted Rand index, two objects or more | minutes | |\n|---|---|---|---|")
    for seed, (index, error, minutes) in found.items():
        print(f"| {seed} | {index:.3f} +- {error:.3f} | {minutes:.1f} | {'' if index >= ENOUGH else 'failed'} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/monet"), help="a folder")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--slots", type=int, default=5)
    parser.add_argument("--scale", type=float, default=0.4, help="standard deviation of a value of a pixel")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--warm-up", type=float, default=0.0, help="part of the steps in which the codes' KL comes in")
    parser.add_argument("--every", type=int, default=5, help="hundreds of steps from one print to the next")
    parser.add_argument("--side", type=int, default=32, help="height and width of the images")
    parser.add_argument("--overlap", action="store_true", help="objects may hide each other in part")
    parser.add_argument("--equal-colours", action="store_true", help="all objects of an image have one colour")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    main(parser.parse_args())
