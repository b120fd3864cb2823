"""The model that every VAE must beat: one distribution per value, no latent variables."""

import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import Bernoulli, Columns, DistributionLayer
from keras_vae.distributions.standardized import InUnits
from keras_vae.evaluation.weighted_rows import weighted_rows

FITTED = 2**24  # values of training rows that are kept, where they can not be summed up


def independent_values(train, test, likelihood: type[DistributionLayer] | DistributionLayer) -> np.ndarray:
    """log p(x) of the test examples when each value has a distribution of its own, fitted to the training data.

    Bernoulli data get the posterior mean of the frequency under a uniform prior, (ones + 1) / (examples + 2); other
    data get the mean and standard deviation, the latter at least 1e-3, in units of the scale of a `Standardized` or of
    the white of `GreyLevels`.

    Args:
        train: iterable of batches (batch, *event).
        test: iterable of batches (batch, *event).
        likelihood: the model's, or its class.

    Returns:
        nats, shape (test examples,).

    Raises:
        TypeError: for the mass of other discrete values, which no normal density can be compared with.
        ValueError: for data that are not finite, and that are not from 0 to 1 under a Bernoulli.

    Reference: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    given: Any = likelihood
    units: InUnits | None = given if isinstance(given, InUnits) else None
    layer: Any = given if units is None else units.layer
    kind: type[DistributionLayer] = layer if isinstance(layer, type) else type(layer)
    if kind.discrete and not issubclass(kind, Bernoulli):
        raise TypeError(
            "independent_values needs a likelihood of binary or continuous values; Columns with independent_columns "
            f"takes counts and categories. Received: {kind.__name__}."
        )
    binary = issubclass(kind, Bernoulli)
    count, mean, scatter = 0, 0.0, 0.0  # scatter: sum of squared deviations from the mean, without cancellation
    for x in _checked(train, "train", binary, units):
        mean_of_batch, step = x.mean(axis=0), x.mean(axis=0) - mean
        scatter = scatter + np.square(x - mean_of_batch).sum(axis=0)
        scatter = scatter + np.square(step) * (count * len(x) / (count + len(x)))
        count += len(x)
        mean = mean + step * (len(x) / count)
    if binary:
        values = tfd.Bernoulli(probs=(mean * count + 1) / (count + 2))
    else:
        values = tfd.Normal(mean, np.sqrt(np.maximum(scatter / count, 1e-6)))
    independent = tfd.Independent(values, reinterpreted_batch_ndims=len(np.shape(mean)))
    log_volume = units.log_volume if units else 0.0
    scored = _checked(test, "test", binary, units)
    return np.concatenate([independent.log_prob(x).numpy() for x in scored]) - log_volume


def independent_columns(train, test, likelihood: Columns, steps: int = 1000) -> np.ndarray:
    """log p(value) of the test rows when each column has one distribution of its kind, fitted to the training data.

    The parameters of maximum likelihood, by Adam from 0: for columns that are standardised. They are those of all
    training rows, of any number, for columns of a normal kind and of at most 4,096 different values, such as counts and
    categories. Of others in more than 2^24 values of training data, they are those of rows drawn at random, from a
    fixed seed, and a warning says so.

    Args:
        train: iterable of batches of rows, shape (batch, values), with NaN where a value is missing.
        test: iterable of such batches.
        likelihood: the model's; its kinds are taken, not its weights.
        steps: of Adam.

    Returns:
        nats, shape (test examples, values), NaN where a value is missing; the sum over a row is log p(row).
    """
    columns = likelihood.without_context()
    found = weighted_rows(map(_observations, train), columns, FITTED)
    if found.sampled:
        names = ", ".join(map(repr, found.sampled))
        warnings.warn(
            f"independent_columns fits the columns {names} to {found.kept:,} random rows of {found.rows:,}.",
            stacklevel=2,
        )
    rows, weights = tf.constant(found.values, columns.value_dtype), tf.constant(found.weights, tf.float32)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, steps))
    columns.build(None)
    optimizer.build(columns.trainable_weights)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_sum(weights * tf.cast(columns().log_prob_by_column(rows), tf.float32))
        variables = columns.trainable_weights
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(steps):
        step()
    scored = []
    for batch in test:
        x = _observations(batch).astype(columns.value_dtype)
        scored.append(np.where(np.isnan(x), np.nan, columns().log_prob_by_column(x).numpy()))
    return np.concatenate(scored)


def _checked(batches, name: str, binary: bool, units: InUnits | None) -> Iterator[np.ndarray]:
    for number, batch in enumerate(batches, start=1):
        x = _observations(batch)
        if units is not None:
            x = np.asarray(units.standardized(x), np.float64)
        if not np.isfinite(x).all():
            needs, received = "finite data", "NaN or infinity"
        elif binary and not 0 <= x.min() <= x.max() <= 1:
            needs, received = "data from 0 to 1 for Bernoulli", x.min() if x.min() < 0 else x.max()
        else:
            yield x
            continue
        raise ValueError(f"independent_values needs {needs}. Received: {received} in batch {number} of {name}.")


def _observations(batch) -> np.ndarray:
    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    return np.asarray(x, dtype=np.float64)
