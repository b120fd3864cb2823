"""Importance-sampled log p(x) over a data set."""

import math
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_vae.models import LatentVariableModel
from keras_vae.sampling import fold


@dataclass(frozen=True)
class LogLikelihood:
    """An estimate of log p(x) for each example of a data set; higher is better.

    Attributes:
        values: log p(x) by example, nats, shape (examples,).
        effective_samples: draws that each value rests on, between 1 and `samples`, shape (examples,).
        samples: draws per example.
        dimensions: number of values in one observation.
    """

    values: np.ndarray
    effective_samples: np.ndarray
    samples: int
    dimensions: int

    @property
    def mean(self) -> float:
        """Mean log p(x), nats per example."""
        return float(np.mean(self.values, dtype=np.float64))

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the examples, nats; NaN for a single example."""
        if len(self.values) < 2:
            return math.nan
        return float(np.std(self.values, ddof=1, dtype=np.float64) / math.sqrt(len(self.values)))

    @property
    def bits_per_dim(self) -> float:
        """-log2 p(x) per value of an observation; lower is better."""
        return -self.mean / (self.dimensions * math.log(2))

    def __str__(self) -> str:
        return (
            f"log p(x) = {self.mean:.3f} +- {self.standard_error:.3f} nats ({len(self.values):,} examples, "
            f"{self.samples:,} samples each, median effective samples {np.median(self.effective_samples):.0f})"
        )


def log_likelihood(
    model: LatentVariableModel,
    data,
    samples: int = 500,
    seed: int = 0,
    batch_size: int = 100,
    verbose: int | str = "auto",
) -> LogLikelihood:
    """Importance-sampled log p(x) of each example, log (1/K) sum_k p(x, z[k]) / q(z[k] | x).

    The estimate is a lower bound in expectation, and rises to log p(x) with the number of samples.

    Args:
        model: a built model.
        data: array (examples, *event), or a finite `tf.data.Dataset` or `PyDataset` of batches.
        samples: K, draws from q(z | x) per example.
        seed: integer; the same seed gives the same estimate in each process.
        batch_size: examples at a time, for an array.
        verbose: 0 for no progress bar.

    Returns:
        A `LogLikelihood`.

    Raises:
        ValueError: for data that the model does not allow, and for fewer than one sample.

    Reference: Burda et al. 2016, arXiv:1509.00519.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ValueError(
            f"log_likelihood needs samples to be a whole number, 1 or more. Received: samples={samples!r}."
        )
    batches = _batches(model, data, batch_size)
    score = tf.function(model.importance_weights, reduce_retracing=True)
    bar = keras.utils.Progbar(_count(batches), unit_name="batch") if verbose else None
    results = []
    for step, batch in enumerate(batches):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        results.append([part.numpy() for part in score(tf.cast(x, tf.float32), tf.constant(samples), fold(seed, step))])
        if bar:
            bar.update(step + 1)
    values, effective = (np.concatenate(part) for part in zip(*results, strict=True))
    return LogLikelihood(values, effective, samples, math.prod(model.event_shape))


def _batches(model, data, batch_size):
    data = model.checked(data, "log_likelihood")
    if not isinstance(data, np.ndarray):
        return data
    return [data[start : start + batch_size] for start in range(0, len(data), batch_size)]


def _count(batches) -> int | None:
    if isinstance(batches, tf.data.Dataset):
        count = int(batches.cardinality())
        return count if count > 0 else None
    return len(batches) if hasattr(batches, "__len__") else None
