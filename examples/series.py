"""State-space models of series: a bound beside the Kalman filter's exact likelihood, and calibrated forecasts.

First a linear-Gaussian system, of whose series log p(x) is known: the bound of a trained `DeepKalmanFilter` on series
that were held out, with the standard error of the difference. Then noisy oscillations that are not linear, with random
phases: how many of the last steps lie inside of the 90 % intervals that the model forecasts from the steps before.
Writes a figure of three forecasts beside what came.

    TF_NUM_INTRAOP_THREADS=1 python examples/series.py --seeds 0 1 2
"""

import argparse
import time
from pathlib import Path

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import keras_vae as kv

matplotlib.use("Agg")
STEPS, AHEAD = 30, 15  # of the linear system; forecast ones of oscillations of 45 steps


def linear_system() -> tfd.Distribution:
    """A damped rotation with noise, of which two channels are observed with errors."""
    rotation = 0.95 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]], "float32")
    return tfd.LinearGaussianStateSpaceModel(
        STEPS,
        tf.linalg.LinearOperatorFullMatrix(rotation),
        tfd.MultivariateNormalDiag(scale_diag=[0.3, 0.3]),
        tf.linalg.LinearOperatorFullMatrix(np.array([[1.0, 0.5], [-0.3, 1.0]], "float32")),
        tfd.MultivariateNormalDiag(scale_diag=[0.4, 0.4]),
        tfd.MultivariateNormalDiag(scale_diag=[1.0, 1.0]),
    )


def oscillations(count: int, seed: int) -> np.ndarray:
    """sin a + 0.5 sin 2a with errors, where the angle a begins anywhere and goes on by 0.4 +- 0.1 a step."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, (count, 1)) + np.cumsum(0.4 + 0.1 * rng.normal(size=(count, 3 * AHEAD)), axis=1)
    x = np.sin(angles) + 0.5 * np.sin(2 * angles) + 0.1 * rng.normal(size=angles.shape)
    return x[..., None].astype("float32")


def train(model: kv.DeepKalmanFilter, series: np.ndarray, epochs: int) -> float:
    """Adam, whose rate falls along a cosine; returns the minutes."""
    start, rate = time.perf_counter(), keras.optimizers.schedules.CosineDecay(1e-2, epochs * (len(series) // 100), 0.02)
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=10.0), kv.ELBO(), jit_compile=True)
    model.fit(series, batch_size=100, epochs=epochs, verbose=0)
    return (time.perf_counter() - start) / 60


def kalman(seed: int, epochs: int) -> dict[str, float]:
    """The bound of all that is learned from the series beside the exact likelihood of the system they are from."""
    system = linear_system()
    held_out = system.sample(500, seed=[seed, 1]).numpy()
    model = kv.DeepKalmanFilter(
        encoder=kv.recurrent_smoother((None, 2), 32),
        posterior=kv.FullCovarianceNormal(2, kv.dense_encoder(2 + 32, [32])),
        transition=kv.LearnedScaleNormal(2),
        likelihood=kv.LearnedScaleNormal(2),
        initial=kv.FullCovarianceNormal(2),
        seed=seed,
    )
    minutes = train(model, system.sample(4000, seed=[seed, 0]).numpy(), epochs)
    bound, exact = kv.evaluation.bounds(model, held_out, samples=50).elbo, system.log_prob(held_out).numpy()
    gap = exact - bound
    return {
        "exact": exact.mean(),
        "bound": bound.mean(),
        "gap": gap.mean(),
        "+-": gap.std() / len(gap) ** 0.5,
        "gap in %": 100 * gap.mean() / abs(exact.mean()),
        "minutes": minutes,
    }


def forecasts(seed: int, epochs: int, path: Path) -> dict[str, float]:
    """Coverage of the intervals on oscillations that were held out, and a figure."""
    model = kv.DeepKalmanFilter(
        encoder=kv.recurrent_smoother((None, 1), 32),
        posterior=kv.Normal(3, kv.dense_encoder(3 + 32, [64])),
        transition=kv.Normal(3, kv.dense_encoder(3, [64])),
        likelihood=kv.LearnedScaleNormal(1, kv.dense_decoder(3, [64])),
        initial=kv.Normal(3),
        seed=seed,
    )
    minutes, held_out = train(model, oscillations(4000, seed), epochs), oscillations(500, 10_000 + seed)
    found = kv.evaluation.forecast_coverage(model, held_out, AHEAD, 0.9, samples=500, seed=seed)
    kv.plotting.forecasts(model, held_out[:3], AHEAD, seed=seed).savefig(path)
    of_climate = 2 * 1.645 * held_out.std()  # the interval of one who knows the moments of the series alone
    names = ["coverage in %", "+-", "first step", "last step", "mean width", "width without a model", "minutes"]
    shares = 100 * np.array([found.share, found.standard_error, found.by_step[0], found.by_step[-1]])
    return dict(zip(names, [*shares, found.width, of_climate, minutes], strict=True))


def main(options: argparse.Namespace) -> None:
    """Trains with each seed, and prints two tables."""
    options.output.mkdir(parents=True, exist_ok=True)
    for title, run in {
        "linear-Gaussian system, nats per series": lambda seed: kalman(seed, 2 * options.epochs),
        "oscillations": lambda seed: forecasts(seed, options.epochs, options.output / f"forecasts_{seed}.png"),
    }.items():
        for number, seed in enumerate(options.seeds):
            keras.utils.set_random_seed(seed)
            row = run(seed)
            if not number:
                print(f"\n{title}\n| seed | " + " | ".join(row) + " |\n|" + "---|" * (len(row) + 1))
            print(f"| {seed} | " + " | ".join(f"{value:.4g}" for value in row.values()) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/series"), help="a folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=40, help="of the oscillations; twice as many of the system")
    main(parser.parse_args())
