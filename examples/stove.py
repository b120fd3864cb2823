"""STOVE on billiards or gravity: objects in frames, how they move, and what comes next.

First the image model alone, a VAE of single frames with boxes of objects as latent variables; then the whole, on clips
of 8 frames, from there. Prints for each seed, on sequences that were held out: the distance of the filtered places to
the true ones, the error of 8 predicted frames beside straight lines and the true physics, and how many balls are inside
of the frame after 500 predicted ones. Writes a film strip and an animation of a rollout beside the truth.

    TF_NUM_INTRAOP_THREADS=1 python examples/stove.py --seeds 0 1 2
    python examples/stove.py --data gravity --seeds 0
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np

import keras_vae as kv

RECIPES = {"billiards": kv.datasets.Billiards, "gravity": kv.datasets.Gravity}
CLIP = 8  # frames
LONG = 500  # predicted frames


def build(objects: int, shape: tuple[int, ...], seed: int) -> tuple[kv.VAE, kv.STOVE]:
    """The image model, and the whole, which has the layers of it."""
    parts = {
        "posterior": kv.ObjectBoxes(objects, kv.ObjectEncoder(objects)),
        "likelihood": kv.PatchImages(shape),
        "prior": kv.ObjectBoxes(objects),
    }
    return kv.VAE(**parts, seed=seed), kv.STOVE(**parts, dynamics=kv.GraphNetwork(), frames=CLIP, seed=seed)


def train(model, examples: np.ndarray, batch_size: int, steps: int, rate: float, seed: int) -> None:
    """Adam, whose rate falls to a twentieth along a cosine; gradients are clipped.

    Args:
        model: not compiled.
        examples: bytes.
        batch_size, steps, rate: as they say.
        seed: of the order of the examples.
    """
    data = kv.datasets.load(examples, batch_size, kv.FixedScaleNormal, seed, whole=True, drop_remainder=True)
    falling = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.05)
    model.compile(keras.optimizers.Adam(falling, global_clipnorm=1.0), kv.ELBO())
    epoch = max(1, steps // 10)
    model.fit(data.train.repeat(), epochs=-(-steps // epoch), steps_per_epoch=epoch, verbose=2)


def main(options: argparse.Namespace) -> None:
    """Trains with each seed, and prints the table."""
    options.output.mkdir(parents=True, exist_ok=True)
    recipe = RECIPES[options.data](examples=options.sequences, held_out=options.held_out)
    table = []
    for seed in options.seeds:
        frames, _ = recipe.make(recipe.examples, np.random.default_rng(seed))
        shape = frames.shape[2:]
        keras.utils.set_random_seed(seed)
        image, stove = build(recipe.balls, shape, seed)
        start = time.perf_counter(), time.process_time()
        train(image, frames.reshape(-1, *shape), 256, options.image_steps, 1e-3, seed)
        clips = frames[:, : recipe.frames // CLIP * CLIP].reshape(-1, CLIP, *shape)
        train(stove, clips, 32, options.steps, 2e-3, seed)
        ends = time.perf_counter(), time.process_time()
        minutes = [(end - begin) / 60 for end, begin in zip(ends, start, strict=True)]
        stove.save(options.output / f"{options.data}_{seed}.keras")
        row = scores(stove, recipe, options.held_out) | {"minutes": minutes[0], "of the processor": minutes[1]}
        print(f"seed {seed}: " + ", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
        table.append(row)
        draw(stove, recipe, options.output / f"{options.data}_{seed}")
    names = list(table[0])
    print("| seed | " + " | ".join(names) + " |")
    print("|" + "---|" * (len(names) + 1))
    for seed, row in zip(options.seeds, table, strict=True):
        print(f"| {seed} | " + " | ".join(f"{row[name]:.4g}" for name in names) + " |")


def held_out(recipe, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Sequences that no seed trains on, in [0, 1], and the truth about them."""
    frames, truth = recipe.make(count, np.random.default_rng(10_000))
    return frames.astype("float32") / 255, truth


def scores(stove: kv.STOVE, recipe, count: int) -> dict[str, float]:
    """What is printed of one model."""
    frames, truth = held_out(recipe, count)
    near = slice(0, 2 * CLIP)
    given = frames[:, near], truth["positions"][:, near], truth["velocities"][:, near]
    error = kv.evaluation.rollout_error(stove, *given, steps=CLIP, physics=recipe)
    print(error)
    print("by predicted frame: " + " ".join(f"{value:.4f}" for value in error.model))
    states = stove.rollout(frames[: min(50, count), :CLIP], LONG, seed=0)[1].numpy()
    places, speeds = states[..., 2:4], states[..., 4:6]
    energy = 0.5 * np.sum(speeds**2, axis=(-1, -2))  # [sequences, steps]
    inside = np.abs(places).max(axis=-1) < 1  # [sequences, steps, objects]
    return {
        "filtered": error.filtered,
        "rollout": error.model.mean(),
        "linear": error.linear.mean(),
        "rollout / linear": error.ratio,
        "physics": error.physics.mean(),
        "first 4 frames / linear": error.model[:4].mean() / error.linear[:4].mean(),
        f"inside for all {LONG}": inside.all(axis=(1, 2)).mean(),
        "speed energy at 100 / first": np.median(energy[:, 99] / energy[:, 0]),
        f"at {LONG}": np.median(energy[:, -1] / energy[:, 0]),
    }


def draw(stove: kv.STOVE, recipe, path: Path) -> None:
    """A film strip of 40 predicted frames, and an animation of 92, below and beside the truth."""
    frames, _ = held_out(recipe, 1)
    steps = recipe.frames - CLIP
    predicted = stove.rollout(frames[:, :CLIP], steps, seed=0)[0].numpy()[0]
    true = frames[0, CLIP:]
    kv.plotting.film_strip(true[:40], predicted[:40]).savefig(f"{path}_strip.png")
    kv.plotting.animation(f"{path}.gif", true, predicted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/stove"), help="a folder")
    parser.add_argument("--data", default="billiards", choices=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sequences", type=int, default=1000, help="of 100 frames, to train on")
    parser.add_argument("--held-out", type=int, default=300, help="sequences to score")
    parser.add_argument("--image-steps", type=int, default=1500, help="of the image model alone")
    parser.add_argument("--steps", type=int, default=2500, help="of the whole")
    main(parser.parse_args())
