"""Images of one to three sprites, each of another colour, taken apart into objects without a word about objects.

A MONet of five slots. Prints for each seed the adjusted Rand index of the foreground on test images of two objects or
more, 1 where the pixels of each object are in a segment of their own, and writes figures. A seed below 0.95 has failed.

    TF_ENABLE_ONEDNN_OPTS=1 TF_NUM_INTRAOP_THREADS=1 python examples/monet.py --output runs/monet --seeds 3
    python examples/monet.py --equal-colours --overlap

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
EPOCH = 100  # steps


def build(shape, slots: int, scale: float, seed: int) -> kv.MONet:
    """A small MONet.

    Args:
        shape: of an image.
        slots: one for each object, one for the ground, and one to spare.
        scale: standard deviation of a value of a pixel.
        seed: of the noise.
    """
    seen = (*shape[:-1], shape[-1] + 1)  # an image beside the logarithm of a mask
    code = keras.Input((SIZE,))
    grid = kv.SpatialBroadcast(shape[:-1], waves=2)(code)
    paint = keras.ops.relu(keras.layers.Dense(32)(grid[..., :SIZE]) + keras.layers.Dense(32)(grid[..., SIZE:]))
    for _ in range(2):
        paint = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(paint)
    model = kv.MONet(
        attention=kv.unet(seen, filters=[12, 12, 24], units=64),
        posterior=kv.Normal(SIZE, kv.convolutional_encoder(seen, filters=[16, 32, 32])),
        likelihood=kv.SlotMixture(shape, keras.Model(code, paint), scale=scale),
        prior=kv.StandardNormal((slots, SIZE)),
        seed=seed,
    )
    model.build((None, *shape))
    bias = model.posterior.head.bias  # of locations and scales
    bias.assign(np.tile([0.0, -2.0], SIZE))  # scales begin at 0.13, so that codes are heard
    return model


def rand_index(model: kv.MONet, data: kv.datasets.Data, split: str) -> tuple[float, float]:
    """Mean of the adjusted Rand index over images of two objects or more, and its standard error."""
    parts = np.concatenate([model.decompose(x)["segments"] for x in getattr(data, split)])
    truth = data.truth[split]
    several = truth["counts"] > 1
    scores = kv.evaluation.foreground_rand_index(truth["masks"][several], parts[several])
    return float(scores.mean()), float(scores.std() / np.sqrt(len(scores)))


def train(options: argparse.Namespace, seed: int) -> tuple[float, float, float]:
    """Trains with one seed, of data, weights and noise, and writes figures and model: index, its error, minutes."""
    recipe = kv.datasets.Sprites(options.side, 3, overlap=options.overlap, equal_colours=options.equal_colours)
    data = kv.datasets.load(recipe, 16, kv.Normal, seed=seed)
    keras.utils.set_random_seed(seed)
    model = build(data.shape, options.slots, options.scale, seed)
    rate = keras.optimizers.schedules.CosineDecay(options.rate, options.steps, alpha=0.05)
    model.compile(keras.optimizers.Adam(rate), kv.ELBO(beta={"z": 0.5, "mask": 0.5}))
    start = time.perf_counter()

    def look(epoch, logs):
        if (epoch + 1) % options.every == 0:
            step, minutes = EPOCH * (epoch + 1), (time.perf_counter() - start) / 60
            words = ", ".join(f"{name} {value:.1f}" for name, value in logs.items())
            found, _ = rand_index(model, data, "validation")
            print(f"seed {seed}, step {step:,}, {minutes:.1f} minutes: {found:.3f} in validation; {words}", flush=True)

    looks = keras.callbacks.LambdaCallback(on_epoch_end=look)
    epochs = options.steps // EPOCH
    model.fit(data.train.repeat(), steps_per_epoch=EPOCH, epochs=epochs, verbose=0, callbacks=[looks])
    minutes = (time.perf_counter() - start) / 60
    x = next(iter(data.test.unbatch().batch(8)))
    folder = options.output / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    parts = model.decompose(x)
    figure = kv.plotting.components(x, parts["masks"], parts["components"], model.reconstruct(x))
    figure.savefig(folder / "components.png")
    kv.plotting.samples(model, 64, seed=1).savefig(folder / "samples.png")
    model.save(folder / "model.keras")
    return *rand_index(model, data, "test"), minutes


def main(options: argparse.Namespace) -> None:
    """Trains with each seed, and prints a table."""
    found = {seed: train(options, seed) for seed in range(options.first_seed, options.first_seed + options.seeds)}
    print("\n| seed | adjusted Rand index, two objects or more | minutes | |\n|---|---|---|---|")
    for seed, (index, error, minutes) in found.items():
        print(f"| {seed} | {index:.3f} +- {error:.3f} | {minutes:.1f} | {'' if index >= ENOUGH else 'failed'} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/monet"), help="a folder")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--slots", type=int, default=5)
    parser.add_argument("--scale", type=float, default=0.4, help="standard deviation of a value of a pixel")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--every", type=int, default=5, help="hundreds of steps from one print to the next")
    parser.add_argument("--side", type=int, default=32, help="height and width of the images")
    parser.add_argument("--overlap", action="store_true", help="objects may hide each other in part")
    parser.add_argument("--equal-colours", action="store_true", help="all objects of an image have one colour")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    main(parser.parse_args())
