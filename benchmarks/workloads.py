"""What is timed: networks, batches and data, the same for every peer."""

import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

LEARNING_RATE = 1e-3
SIDE = 28
PIXELS = SIDE * SIDE


@dataclass(frozen=True)
class Workload:
    """A VAE of binary 28x28 images, trained by Adam, float32."""

    units: tuple[int, ...]  # of both dense networks, or the filters of both convolutional ones
    latent: int
    batch: int
    steps: int  # in an epoch
    convolutional: bool = False
    activation: str = "relu"
    samples: int = 1  # draws for each image: one for the ELBO, more for the importance-weighted bound

    def images(self) -> np.ndarray:
        """Binary images, float32, shape (batch * steps, 784)."""
        return binary_images(self.batch * self.steps)


def binary_images(count: int) -> np.ndarray:
    """Random images with the share of ones that MNIST has, float32, shape (count, 784)."""
    return (np.random.default_rng(0).random((count, PIXELS)) < 0.13).astype(np.float32)


WORKLOADS = {
    "dense 200-200, z 50, batch 20": Workload((200, 200), 50, 20, 300, activation="tanh"),
    "dense 200-200, z 50, batch 100": Workload((200, 200), 50, 100, 150, activation="tanh"),
    "dense 512-256, z 32, batch 128": Workload((512, 256), 32, 128, 100),
    "convolutional 32-64, z 32, batch 128": Workload((32, 64), 32, 128, 10, convolutional=True),
    "IWAE with 50 samples, 200-200, z 50, batch 20": Workload((200, 200), 50, 20, 100, activation="tanh", samples=50),
}


@dataclass(frozen=True)
class ImageModel:
    """Another model of 28x28 images, float32, trained by Adam; `peers/image_losses.py` says what it is."""

    loss: str  # the name of its function there
    batch: int
    steps: int  # in an epoch
    beta_1: float = 0.9
    convolutional: bool = True

    def data(self) -> np.ndarray:
        """Grey levels or binary values, float32, (examples, 28, 28, 1), or codes, int32, (examples, 7, 7)."""
        rng, count = np.random.default_rng(0), self.batch * self.steps
        if self.loss == "pixel_cnn":
            return rng.integers(0, CODES, (count, *GRID), dtype=np.int32)
        if self.loss == "top_down":
            return binary_images(count).reshape(-1, SIDE, SIDE, 1)
        return (rng.integers(0, 256, (count, SIDE, SIDE, 1)) / 255).astype(np.float32)


GRID, CODES, VECTOR = (7, 7), 256, 16  # places, codes, and the length of the vector of a code
LATENT, UNITS, WEIGHT = 32, (400, 200), 4.0  # of the VAE against a critic; the weight is that of the generator's loss
TOP = (5, 1, 128, 16)  # blocks, the side of their grid, channels and latent variables at a place
FINE = (6, 7, 32, 4)

IMAGE_MODELS = {
    "VQVAE, 7x7 of 256 codes, batch 100": ImageModel("vqvae", 100, 10),
    "PixelCNN of 7x7 codes, batch 100": ImageModel("pixel_cnn", 100, 20),
    "TopDownVAE, 11 layers, batch 100": ImageModel("top_down", 100, 10),
    "VAE against a critic, 400-200, z 32, batch 100": ImageModel("vae_gan", 100, 100, 0.5, convolutional=False),
}


def measure(epochs: Callable[[Any], Iterator[None]], names: list[str]) -> None:
    """Prints, as one line of JSON, what a peer takes for a step of each workload.

    Args:
        epochs: trains one epoch between each two of its yields, without end; the first epoch may compile.
        names: of the workloads.
    """
    results = {}
    for name in names:
        workload = (WORKLOADS | IMAGE_MODELS)[name]
        training = epochs(workload)
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            next(training)
            seconds.append(time.perf_counter() - start)
        training.close()
        results[name] = {"ms": 1e3 * float(np.median(seconds[1:])) / workload.steps, "first_epoch_s": seconds[0]}
    print(json.dumps(results))


def measure_score(score: Callable[[int, int], float], arguments: list[str]) -> None:
    """Prints, as one line of JSON, what a peer takes to score images.

    Args:
        score: from numbers of images and samples to the mean log p(x).
        arguments: the two numbers.
    """
    start = time.perf_counter()
    mean = score(*map(int, arguments))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "log_likelihood": mean}))
