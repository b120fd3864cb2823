"""How draws of a model compare with data: as two clouds of points in a space of features."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import scipy.linalg
from scipy.spatial.distance import cdist

from keras_vae.arguments import whole_number

BATCH = 500  # examples whose features are computed at a time
CELLS = 2**22  # distances in memory


@dataclass(frozen=True)
class DrawQuality:
    """Draws against data; the same figures of held-out data against data are what perfect draws would reach.

    Attributes:
        frechet_distance: between normal distributions of the same means and covariances, squared units of the features;
            0 where these are equal.
        precision: share of the draws that lie among the data, from 0 to 1: few odd ones.
        recall: share of the data that lie among the draws, from 0 to 1: nothing left out.
        density: how many neighbourhoods of data a draw lies in, over those that a point of the data has, 0 or more;
            about 1 for draws of the same distribution. Unlike precision it does not count a region for one outlier.
        coverage: share of the data with a draw in their neighbourhood, from 0 to 1.
    """

    frechet_distance: float
    precision: float
    recall: float
    density: float
    coverage: float

    def __str__(self) -> str:
        return (
            f"Frechet distance {self.frechet_distance:.4g}, precision {self.precision:.3f}, recall {self.recall:.3f}, "
            f"density {self.density:.3f}, coverage {self.coverage:.3f}"
        )

    __repr__ = __str__  # what a notebook shows


def draw_quality(
    data, draws, features: keras.layers.Layer | None = None, neighbours: int = 5, batch_size: int = BATCH
) -> DrawQuality:
    """Scores of draws of a model, `model.sample(count)` or `model.generate(count)`, against data.

    All depend on the features, and on the numbers of examples: compare models by the same features, as many draws each,
    and with held-out data in the place of the draws.

    Args:
        data: examples, shape (examples, *event).
        draws: shape (draws, *event).
        features: a Keras model from a batch to features, of any shape: all but the last layer of a classifier. None
            compares the values themselves.
        neighbours: of a point, up to which its neighbourhood reaches.
        batch_size: examples whose features are computed at a time.

    Raises:
        TypeError: for features that are no layer.
        ValueError: for data and draws of different shapes, not finite ones, and no more examples than neighbours.

    Reference: Heusel et al. 2017, arXiv:1706.08500 (Frechet distance); Kynkaanniemi et al. 2019, arXiv:1904.06991
    (precision and recall); Naeem et al. 2020, arXiv:2002.09797 (density and coverage).
    """
    neighbours = whole_number("draw_quality", "neighbours", neighbours)
    batch_size = whole_number("draw_quality", "batch_size", batch_size)
    shapes = np.shape(data), np.shape(draws)
    if shapes[0][1:] != shapes[1][1:] or min(map(len, shapes)) < 2:
        raise ValueError(
            "draw_quality needs data and draws of one shape, (examples, *event). "
            f"Received: {shapes[0]} and {shapes[1]}."
        )
    if features is not None and not isinstance(features, keras.layers.Layer):
        raise TypeError(f"draw_quality needs features to be a Keras model or layer, or None. Received: {features!r}.")
    real, drawn = (_features(each, features, batch_size, neighbours) for each in (data, draws))
    around_data, around_draws = (_radii(each, neighbours) for each in (real, drawn))
    # [data, draws], a part of the data at a time
    inside, covered, near, recalled = np.zeros(len(drawn)), [], np.zeros(len(drawn), bool), []
    for part, distances in _distances(real, drawn):
        within = distances <= around_data[part, None]
        inside += within.sum(axis=0)
        near |= within.any(axis=0)
        covered.append(within.any(axis=1))
        recalled.append((distances <= around_draws).any(axis=1))
    return DrawQuality(
        frechet_distance(real, drawn),
        precision=float(near.mean()),
        recall=float(np.concatenate(recalled).mean()),
        density=float(inside.mean() / neighbours),
        coverage=float(np.concatenate(covered).mean()),
    )


def frechet_distance(first, second) -> float:
    """Squared Frechet distance of the normal distributions with the means and covariances of two sets of features.

    |m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)), the square of their 2-Wasserstein distance.

    Args:
        first, second: shape (examples, features), two examples or more each.

    Raises:
        ValueError: for arrays of other shapes, and not finite ones.

    Reference: Dowson & Landau 1982, "The Frechet distance between multivariate normal distributions".
    """
    sets = [np.asarray(each, np.float64) for each in (first, second)]
    for each in sets:
        if each.ndim != 2 or len(each) < 2 or each.shape[1:] != sets[0].shape[1:] or not np.isfinite(each).all():
            raise ValueError(
                "frechet_distance needs two arrays of finite features, (examples, features), of two examples or more. "
                f"Received: {', '.join(str(part.shape) for part in sets)}."
            )
    means = [each.mean(axis=0) for each in sets]
    covariances = [np.atleast_2d(np.cov(each, rowvar=False)) for each in sets]
    # The trace of (C1 C2)^(1/2) is that of the root of R C2 R, R^2 = C1, which is symmetric: no complex numbers, and no
    # trouble where a covariance is singular.
    values, vectors = scipy.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = scipy.linalg.eigvalsh(root @ covariances[1] @ root)
    traces = sum(np.trace(each) for each in covariances)
    return float(max(np.sum((means[0] - means[1]) ** 2) + traces - 2 * np.sum(np.sqrt(np.maximum(product, 0))), 0.0))


def sharpness(images) -> np.ndarray:
    """How sharp images are: variance of their Laplacian, shape (images,); compare it with that of data.

    Args:
        images: shape (images, height, width, channels), 3 x 3 pixels or more.

    Raises:
        ValueError: for arrays of another shape.

    Reference: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy: a comparative study".
    """
    x = np.asarray(images, np.float64)
    if x.ndim != 4 or min(x.shape[1:3]) < 3:
        raise ValueError(
            f"sharpness needs images of shape (images, height, width, channels), 3 x 3 or more. Received: {x.shape}."
        )
    around = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    return np.var(around - 4 * x[:, 1:-1, 1:-1], axis=(1, 2, 3))


def _features(examples, features, batch_size: int, neighbours: int) -> np.ndarray:
    """Rows, float64, shape (examples, features)."""
    values = np.asarray(examples)
    if features is not None and len(values):
        parts = range(0, len(values), batch_size)
        values = np.concatenate([np.asarray(features(values[at : at + batch_size], training=False)) for at in parts])
    rows = values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float64)
    if len(rows) <= neighbours or not np.isfinite(rows).all():
        raise ValueError(
            f"draw_quality needs more than {neighbours} examples and draws, with finite features. "
            f"Received: {len(rows)}{'' if np.isfinite(rows).all() else ', some of them not finite'}."
        )
    return rows


def _radii(points: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance of each point to its neighbour of this number, itself left out."""
    return np.concatenate(
        [np.partition(each, neighbours, axis=1)[:, neighbours] for _, each in _distances(points, points)]
    )


def _distances(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Distances of some of the first points to all second ones, with which they are: exactly 0 where they are equal."""
    size = max(1, CELLS // len(second))
    for start in range(0, len(first), size):
        part = slice(start, start + size)
        yield part, cdist(first[part], second)
