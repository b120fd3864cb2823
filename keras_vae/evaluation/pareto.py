"""How far importance weights can be trusted, from the tail of their distribution."""

import math

import numpy as np

LEAST = 5  # weights in a tail to which a distribution can be fitted
ROUNDING = 1e-3  # nats, between weights of float32 that may be equal


def tail_size(samples: int) -> int:
    """How many of the largest weights are the tail: a fifth, and at most 3 sqrt(samples); 0 where that is under 5.

    Reference: Vehtari et al. 2024, "Pareto smoothed importance sampling", arXiv:1507.02646.
    """
    size = min(samples // 5, math.ceil(3 * math.sqrt(samples)))
    return size if size >= LEAST else 0


def threshold(samples: int) -> float:
    """The k-hat up to which an estimate by so many draws can be trusted: min(1 - 1 / log10(samples), 0.7).

    Reference: Vehtari et al. 2024, arXiv:1507.02646, section 3.2.4.
    """
    return min(1 - 1 / math.log10(samples), 0.7) if samples > 1 else -math.inf


def pareto_k(largest: np.ndarray) -> np.ndarray:
    """k-hat: the shape of the generalised Pareto distribution of the largest importance weights.

    Weights have 1 / k finite moments: above 0.5 no variance, so that no number of draws makes an error bar; above 0.7 a
    mean that no practical number of draws finds. Below 0 they are bounded.

    Args:
        largest: logarithms of the largest weights, in descending order, shape (size + 1, examples): the tail, and the
            largest weight that is not in it.

    Returns:
        k-hat, shape (examples,); -inf where the weights of the tail differ by no more than rounding, as those of an
        exact posterior do; NaN for a tail of fewer than 5.

    Reference: Vehtari et al. 2024, arXiv:1507.02646; Zhang & Stephens 2009, "A new and efficient estimation method for
    the generalized Pareto distribution".
    """
    if len(largest) <= LEAST:
        return np.full(largest.shape[1:], np.nan)
    weights = np.exp(np.asarray(largest, np.float64) - largest[0])
    shapes = np.array([_shape(tail) for tail in (weights[:-1] - weights[-1]).T[:, ::-1]])
    return np.where(largest[0] - largest[-1] > ROUNDING, shapes, -np.inf)


def _shape(excess: np.ndarray) -> float:
    """The shape, from ascending values above the threshold: a posterior mean, drawn a little towards 0.5."""
    size, top = len(excess), excess[-1]
    if not top > 0:
        return -math.inf
    excess = np.maximum(excess, top * 1e-12)  # a weight may equal the threshold
    grid = 30 + int(math.sqrt(size))
    quartile = excess[(size + 2) // 4 - 1]
    b = 1 / top + (1 - np.sqrt(grid / (np.arange(grid) + 0.5))) / (3 * quartile)
    k = np.mean(np.log1p(-b[:, None] * excess), axis=1)  # that of maximum likelihood for each b = -k / scale
    log_likelihood = size * (np.log(-b / k) - k - 1)
    posterior = np.exp(log_likelihood - log_likelihood.max())
    best = np.sum(b * posterior) / np.sum(posterior)
    return float((size * np.mean(np.log1p(-best * excess)) + 10 * 0.5) / (size + 10))
