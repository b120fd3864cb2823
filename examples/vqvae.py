"""Codes on a grid in two stages, on MNIST: one grid, two grids, a prior of the codes, and a convolutional VAE beside.

All have the same likelihood, a discretized logistic over 256 grey levels, so that their bits per dimension compare:

- one grid of 7 x 7 places with 256 codes, a uniform prior, then a PixelCNN of the frozen codes;
- two grids, 7 x 7 and 4 x 4;
- a VAE with the same convolutions and 32 normal latents.

The error is the mean squared difference of the reconstruction, over the variance of the data. Means of images
whose codes or latents are drawn are compared with test images in the features of a small classifier
(examples/classifier.py), beside validation images in their place.

    python examples/vqvae.py --output runs/vqvae
    python examples/vqvae.py --only "one grid" "normal latents" --prior-epochs 1       # 15 minutes on two cores
    python examples/vqvae.py --data digits --epochs 20 --prior-epochs 20
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np
from classifier import digit_features, frechet

import keras_vae as kv

CODES, SIZE = 256, 16
DRAWS = 2000


def likelihood(shape, network) -> kv.DiscretizedLogistic:
    """256 grey levels, of 8x8 digits 17."""
    return kv.DiscretizedLogistic(shape, network, levels=256 if shape[0] == 28 else 17)


def grid_of(shape) -> tuple[int, int]:
    """28 x 28 pixels have 7 x 7 places, 8 x 8 have 4 x 4."""
    return (7, 7) if shape[0] == 28 else (4, 4)


def filters_of(shape) -> list[int]:
    """One convolution for each halving."""
    return [16, 32] if shape[0] == 28 else [32]


def one_grid(shape, seed: int) -> kv.VQVAE:
    """Convolutions to the grid and back."""
    grid, filters = grid_of(shape), filters_of(shape)
    posterior = kv.VectorQuantized((*grid, 1), kv.residual_encoder(shape, filters), CODES, SIZE)
    decode = kv.residual_decoder(posterior.params_shape, shape, filters[::-1])
    return kv.VQVAE(posterior, likelihood(shape, decode), kv.UniformCategorical((*grid, 1), CODES), seed)


def two_grids(shape, seed: int) -> kv.VQVAE2:
    """The same grid, and one of half its height and width above it."""
    grid, filters = grid_of(shape), filters_of(shape)
    above = tuple(-(-size // 2) for size in grid)
    features, fine, coarse = (*grid, filters[-1]), (*grid, SIZE), (*above, SIZE)
    bottom = kv.VectorQuantized((*grid, 1), kv.merged_grids([coarse, features], 32), CODES, SIZE)
    top = kv.VectorQuantized((*above, 1), levels=CODES, vector_size=SIZE)
    return kv.VQVAE2(
        encoders=[kv.residual_encoder(shape, filters), kv.residual_encoder(features, [32])],
        posteriors=[bottom, top],
        likelihood=likelihood(shape, kv.residual_decoder([fine, coarse], shape, filters[::-1])),
        priors=[kv.UniformCategorical((*grid, 1), CODES), kv.UniformCategorical((*above, 1), CODES)],
        seed=seed,
    )


def normal_latents(shape, seed: int) -> kv.VAE:
    """The same convolutions around 32 normal latents."""
    grid, filters = grid_of(shape), filters_of(shape)
    start = keras.Sequential(
        [keras.Input((32,)), keras.layers.Dense(grid[0] * grid[1] * SIZE), keras.layers.Reshape((*grid, SIZE))]
    )
    decode = keras.Model(start.inputs, kv.residual_decoder((*grid, SIZE), shape, filters[::-1])(start.outputs[0]))
    encode = keras.Sequential([kv.residual_encoder(shape, filters), keras.layers.Flatten()])
    encode.build((None, *shape))
    return kv.VAE(kv.Normal(32, encode), likelihood(shape, decode), kv.StandardNormal(32), seed)


def with_pixel_cnn(model):
    """The second stage."""
    if isinstance(model, kv.VQVAE):
        shape = model.posterior.event_shape
        return model.with_prior(kv.PixelCNN(shape, levels=CODES, kernel_size=3))
    fine, coarse = (posterior.params_shape for posterior in model.posteriors)
    network = kv.residual_decoder(coarse, (*fine[:2], 1), [64])
    return model.with_priors(
        [
            kv.PixelCNN((*fine[:2], 1), network, CODES, kernel_size=3),
            kv.PixelCNN((*coarse[:2], 1), levels=CODES, kernel_size=3),
        ]
    )


def commitment(model) -> dict[str, float]:
    """Weights of the terms of a first stage."""
    levels = model.names if isinstance(model, kv.VQVAE2) else []
    return {f"commitment_{name}": 0.25 for name in levels} or {"commitment": 0.25}


def train(model, data, epochs: int, rate: float, weights: dict | None = None, batch_size: int = 100) -> float:
    """Fits a model at a rate that falls along a cosine; returns minutes."""
    x, held_out = data
    steps = epochs * -(-len(x) // batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
    model.compile(keras.optimizers.Adam(schedule), kv.Weighted(kv.ELBO(), weights) if weights else kv.ELBO())
    start = time.perf_counter()
    model.fit(x, epochs=epochs, batch_size=batch_size, validation_data=held_out, verbose=2)
    return (time.perf_counter() - start) / 60


def report(title: str, model, x: np.ndarray, minutes: float, features: keras.Model) -> None:
    """One line of the table."""
    model.compile(loss=kv.ELBO())
    logs = model.evaluate(x, batch_size=100, verbose=0, return_dict=True)
    error = np.mean((model.predict(x, batch_size=100, verbose=0) - x) ** 2) / np.mean((x - x.mean(axis=0)) ** 2)
    used = ", ".join(f"{value:.2f}" for name, value in logs.items() if name.startswith("used_codes"))
    bound = logs["kl"] - logs["log_likelihood"]
    draws = frechet(features, x, model.generate(min(DRAWS, len(x)), seed=0))
    print(
        f"| {title} | {error:.4f} | {used} | {-logs['log_likelihood']:.1f} | {logs['kl']:.1f} | {bound:.1f} | "
        f"{logs['bits_per_dim']:.3f} | {draws.frechet_distance:.2f} | {draws.precision:.2f}, {draws.recall:.2f} | "
        f"{minutes:.1f} |",
        flush=True,
    )


def main(options: argparse.Namespace) -> None:
    """Trains all, and prints a table."""
    data = kv.datasets.load(options.data, 1000, kv.DiscretizedLogistic)
    train_set, held_out, test = (
        np.concatenate([np.asarray(batch) for batch in part]) for part in (data.train, data.validation, data.test)
    )
    print(data)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for title, build in {"one grid": one_grid, "two grids": two_grids, "normal latents": normal_latents}.items():
        if options.only and title not in options.only:
            continue
        keras.utils.set_random_seed(options.seed)
        model = build(data.shape, options.seed)
        weights = None if title == "normal latents" else commitment(model)
        rows.append((title, model, train(model, (train_set, held_out), options.epochs, options.rate, weights)))
        if weights:
            second = with_pixel_cnn(model)
            minutes = train(second, (train_set, held_out), options.prior_epochs, options.rate)
            rows.append((f"{title}, PixelCNN", second, minutes))
    features, accuracy = digit_features(options.data)
    print(f"Draws are compared in the features of a classifier whose accuracy is {accuracy:.3f}.")
    floor = frechet(features, test, held_out[:DRAWS])
    names = ["", "error / variance", "used codes", "-log p(x given z)", "KL", "-ELBO, nats", "bits per dim"]
    print(f"| {' | '.join([*names, 'Frechet distance', 'precision, recall', 'minutes'])} |")
    print("|---" * 10 + "|")
    of_data = f"{floor.frechet_distance:.2f} | {floor.precision:.2f}, {floor.recall:.2f}"
    print(f"| validation images | | | | | | | {of_data} | |")
    for title, model, minutes in rows:
        report(title, model, test, minutes, features)
        name = title.replace(", ", "-").replace(" ", "-").lower()
        kv.plotting.samples(model, 64).savefig(options.output / f"{name}-samples.png")
        kv.plotting.reconstructions(model, test[:16]).savefig(options.output / f"{name}-reconstructions.png")
        model.save(options.output / f"{name}.keras")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/vqvae"), help="a folder")
    parser.add_argument("--data", default="mnist", help='"mnist" or "digits"')
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--prior-epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help='some of "one grid", "two grids", "normal latents"')
    main(parser.parse_args())
