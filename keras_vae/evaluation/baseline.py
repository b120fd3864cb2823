"""The model that every VAE must beat: one distribution per value, no latent variables."""

import keras
import numpy as np
import tensorflow_probability as tfp

from keras_vae.distributions import Bernoulli, DistributionLayer

tfd = tfp.distributions


def independent_values(train, test, likelihood: type[DistributionLayer]) -> np.ndarray:
    """log p(x) of the test examples when each value has a distribution of its own, fitted to the training data.

    Bernoulli data get the posterior mean of the frequency under a uniform prior, (ones + 1) / (examples + 2); other
    data get the mean and standard deviation, the latter at least 1e-3.

    Args:
        train: iterable of batches (batch, *event).
        test: iterable of batches (batch, *event).
        likelihood: the class of the model's likelihood.

    Returns:
        nats, shape (test examples,).
    """
    count, total, squares = 0, 0.0, 0.0
    for batch in train:
        x = _observations(batch)
        count += len(x)
        total = total + x.sum(axis=0)
        squares = squares + np.square(x).sum(axis=0)
    if issubclass(likelihood, Bernoulli):
        values = tfd.Bernoulli(probs=(total + 1) / (count + 2))
    else:
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 1e-6)
        values = tfd.Normal(mean, np.sqrt(variance))
    independent = tfd.Independent(values, reinterpreted_batch_ndims=len(np.shape(total)))
    return np.concatenate([independent.log_prob(_observations(batch)).numpy() for batch in test])


def _observations(batch) -> np.ndarray:
    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    return np.asarray(x, dtype=np.float64)
