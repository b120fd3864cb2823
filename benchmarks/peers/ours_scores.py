"""keras_vae: `evaluation.log_likelihood` with its defaults, compilation included."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from ours import build
from workloads import PIXELS, WORKLOADS, binary_images, measure_score

import keras_vae as kv


def score(images: int, samples: int) -> float:
    model, _ = build(WORKLOADS["dense 200-200, z 50, batch 100"])
    model.build((None, PIXELS))
    return kv.evaluation.log_likelihood(model, binary_images(images), samples=samples, verbose=0).mean


if __name__ == "__main__":
    measure_score(score, sys.argv[1:])
