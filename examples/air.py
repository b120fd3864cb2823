"""Attend, infer, repeat on canvases of 0 to 2 digits: how many there are, and where, without a label.

Of each seed, of canvases, weights and noise, the table has the part of canvases on which as many digits are found as
there are: of validation, where the settings below were chosen; of test, whose digits are in no other split; and of
those with 3 digits, more than were ever there in training, by the same weights with 5 steps. Writes boxes and
reconstructions of the first seed.

    python examples/air.py --data mnist_canvases --seeds 5
    python examples/air.py --data mnist_canvases --presence nvil
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np

import keras_vae as kv
from keras_vae.datasets import Canvases, MNISTCanvases

EPOCH = 100  # steps: the prior of presence falls from one to the next
MORE_STEPS = 5

# Of the data: recipe, side of patches, location and scale of the log-odds of the size of boxes, log-odds of one more
# digit where training starts, of the posterior and of the prior.
DATA: dict = {
    "canvases": (Canvases, 12, (-0.55, 0.3), 1.0, 3.0),
    "mnist_canvases": (MNISTCanvases, 14, (-0.25, 0.2), 0.0, 0.0),
}


def build(shape, options: argparse.Namespace, seed: int) -> kv.AIR:
    """A model of up to 3 digits."""
    _, side, size, log_odds, _ = DATA[options.data]
    paint = keras.Sequential([keras.Input((options.latent_size,)), keras.layers.Dense(128, "relu")])
    dark = keras.initializers.Constant(-2.0)  # first patches are nearly black, so that they do not hurt
    paint.add(keras.layers.Dense(side * side, "sigmoid", bias_initializer=dark))
    paint.add(keras.layers.Reshape((side, side, 1)))
    return kv.AIR(
        encoder=kv.dense_encoder(shape, [256]),
        finder=kv.ObjectFinder(128, size, log_odds),
        posterior=kv.Normal(options.latent_size, kv.dense_encoder((side, side, 1), [128])),
        decoder=paint,
        likelihood=kv.NormalAround(shape, options.scale),
        prior=kv.StandardNormal(options.latent_size),
        difference=options.difference,
        seed=seed,
    )


def train(model: kv.AIR, data, options: argparse.Namespace) -> float:
    """Trains a model; returns minutes."""
    objectives = {
        "relaxed": kv.RelaxedELBO(),
        "nvil": kv.NVIL(baseline=kv.LearnedBaseline(kv.dense_encoder(128, [64]))),
        "vimco": kv.VIMCO(options.draws),
    }
    epochs = -(-options.steps // EPOCH)

    def adam(rate: float, **clip) -> keras.optimizers.Optimizer:
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, options.steps, alpha=0.1), **clip)

    optimizers = {"model": adam(1e-3, global_clipnorm=1.0)}
    if options.presence == "nvil":
        optimizers["baseline"] = adam(1e-2)
    model.compile(optimizers, objectives[options.presence])
    fall = kv.callbacks.LinearSchedule("current_log_odds", DATA[options.data][-1], -4.6, epochs / 2)
    start = time.perf_counter()
    model.fit(data.train.repeat(), epochs=epochs, steps_per_epoch=EPOCH, callbacks=[fall], verbose=options.verbose)
    return (time.perf_counter() - start) / 60


def with_steps(model: kv.AIR, steps: int) -> kv.AIR:
    """A model of more steps, with the layers of this one."""
    roles = ("encoder", "finder", "posterior", "decoder", "likelihood", "prior", "difference")
    parts = {role: getattr(model, role) for role in roles}
    more = kv.AIR(**parts, steps=steps, log_odds=float(model.current_log_odds))
    more.build((None, *model.likelihood.event_shape))
    return more


def of_split(data, split: str) -> tuple[np.ndarray, dict]:
    """Canvases, and the truth about them."""
    return np.concatenate(list(getattr(data, split).as_numpy_iterator())), data.truth[split]


def accuracy(model: kv.AIR, x: np.ndarray, counts: np.ndarray) -> kv.evaluation.CountAccuracy:
    """How often as many digits are found as there are."""
    return kv.evaluation.count_accuracy(counts, model.find(x)["counts"])


def draw(model: kv.AIR, x: np.ndarray, truth: dict, folder: Path) -> None:
    """Writes boxes, and reconstructions."""
    found = model.find(x[:16])
    there = np.arange(model.steps) < np.asarray(found["counts"])[:, None]
    boxes = np.where(there[..., None], found["boxes"], np.nan)
    kv.plotting.boxes(x[:16], truth["boxes"][:16], boxes).savefig(folder / "boxes.png")
    kv.plotting.reconstructions(model, x).savefig(folder / "reconstructions.png")


def main(options: argparse.Namespace) -> None:
    """Trains each seed, and prints a table."""
    recipe = DATA[options.data][0]
    print("| seed | validation | test | test, 3 digits | test, -ELBO, nats | minutes |\n|---|---|---|---|---|---|")
    tested = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        data = kv.datasets.load(recipe(most=2), 64, kv.NormalAround, seed=seed)
        many, truth_of_many = of_split(
            kv.datasets.load(recipe(most=3, examples=1), 64, kv.NormalAround, seed=seed), "test"
        )
        three = truth_of_many["counts"] == 3
        keras.utils.set_random_seed(seed)
        model = build(data.shape, options, seed)
        minutes = train(model, data, options)
        folder = options.output / f"{options.data}-{options.presence}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "model.keras")
        scores = {
            split: accuracy(model, x, truth["counts"])
            for split in ("validation", "test")
            for x, truth in [of_split(data, split)]
        }
        more = accuracy(with_steps(model, MORE_STEPS), many[three], truth_of_many["counts"][three])
        x, truth = of_split(data, "test")
        loss = model.evaluate(x, batch_size=100, verbose=0, return_dict=True)["loss"]
        shown = " | ".join(f"{score.accuracy:.4f}" for score in (*scores.values(), more))
        print(f"| {seed} | {shown} | {loss:.1f} | {minutes:.1f} |", flush=True)
        tested.append(scores["test"])
        if seed == options.first_seed:
            draw(model, x, truth, folder)
            print(tested[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="canvases", choices=DATA)
    parser.add_argument("--presence", default="relaxed", choices=["relaxed", "nvil", "vimco"])
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4400)
    parser.add_argument("--scale", type=float, default=0.2, help="standard deviation of pixels")
    parser.add_argument("--latent-size", type=int, default=16)
    parser.add_argument("--difference", action="store_true", help="the finder sees what is left of the canvas")
    parser.add_argument("--draws", type=int, default=5, help="of VIMCO")
    parser.add_argument("--verbose", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/air"), help="a folder")
    main(parser.parse_args())
