"""What a model says about the values that are missing in a row."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_seed
from keras_vae.datasets.frames import filled as with_filled
from keras_vae.datasets.frames import is_frame
from keras_vae.distributions import Columns
from keras_vae.evaluation.batches import inputs_of
from keras_vae.evaluation.programs import kept
from keras_vae.models import LatentVariableModel
from keras_vae.models.base import ROWS
from keras_vae.noise import fold, standard_normal
from keras_vae.sampling import sampling
from keras_vae.trace import Trace


def impute(
    model: LatentVariableModel,
    data,
    samples: int = 1000,
    draws: int | None = None,
    seed: int = 0,
    batch_size: int = 100,
):
    """Fills missing values with their expectation given the observed ones, or with draws.

    E[missing | observed] is estimated by sum_k w[k] E[missing | z[k]] / sum_k w[k], w[k] = p(observed, z[k]) /
    q(z[k] | observed): consistent for any q, and the better the closer q is to the posterior; `importance_weights`
    gives the effective number of draws. A category becomes the most probable one, a binary value its probability.

    Args:
        model: a built model whose likelihood is `Columns`.
        data: rows, shape (examples, values), with NaN where a value is missing, or a finite `tf.data.Dataset` or
            `PyDataset` of batches of them; for a conditional model a pair, (rows, condition), or batches of pairs. Or
            a pandas or Polars frame, a pyarrow table, or a dictionary of columns.
        samples: K, draws from q(z | observed) per row.
        draws: None for expectations; a number for as many draws from p(missing | observed), multiple imputation: z is
            drawn from the K with probabilities proportional to w (sampling importance resampling), then the missing
            values from p(missing | z).
        seed: integer; the same seed and batches give the same values in each process.
        batch_size: rows at a time, for an array.

    Returns:
        Shape (examples, values), or (draws, examples, values), float32, or float64 where columns have units of their
        own. Observed values are unchanged. Of a frame, a table or a dictionary another one, or a list of `draws` of
        them: with all columns, those that the model does not know too, in their types, and with whole numbers in
        columns of counts and binary values.

    Raises:
        TypeError: for a model whose likelihood knows no missing values.
        ValueError: for data that the model does not allow, and for numbers that are not whole and positive.

    Reference: Mattei & Frellsen 2019, arXiv:1812.02633.
    """
    return next(impute_in_parts(model, [data], samples, draws, seed, batch_size))


def impute_in_parts(
    model: LatentVariableModel,
    parts: Iterable,
    samples: int = 1000,
    draws: int | None = None,
    seed: int = 0,
    batch_size: int = 100,
) -> Iterator:
    """What `impute` gives for consecutive rows, part by part: the values are those of all rows at once.

    Args:
        parts: data as for `impute`, each but the last of a multiple of `batch_size` rows.
        model, samples, draws, seed, batch_size: as for `impute`.
    """
    seed = whole_seed("impute", seed)
    _check(model, "impute", samples=samples, draws=1 if draws is None else draws, batch_size=batch_size)
    number = itertools.count()  # of the batch
    for data in parts:
        found = model.look_at("impute", data)
        estimate = kept(model, lambda: _Expectation(model) if draws is None else _Draws(model, draws), "impute", draws)
        batches, filled = [], []
        for inputs in inputs_of(model, found, batch_size):
            batches.append(_rows(model, inputs))
            filled.append(estimate(samples, fold(seed, next(number)), inputs))
        rows, new = np.concatenate(batches), np.concatenate(filled, axis=-2)
        missing = np.isnan(rows)
        source = data[0] if isinstance(data, tuple | list) and model.takes.y is not None else data
        if is_frame(source):
            frames = [with_filled(model.likelihood, source, each, missing) for each in new.reshape(-1, *rows.shape)]
            yield frames[0] if draws is None else frames
        else:
            yield np.where(missing, new, rows).astype(rows.dtype)


def log_likelihood_of_missing(
    model: LatentVariableModel, data, truth, samples: int = 1000, seed: int = 0, batch_size: int = 100
) -> np.ndarray:
    """log p(true value | observed values of its row) for each value that is missing in `data` and known in `truth`.

    Each by itself, not jointly: log of sum_k w[k] p(value | z[k]) / sum_k w[k], with the weights of `impute`.

    Args:
        model: a built model whose likelihood is `Columns`.
        data: as for `impute`.
        truth: array of the same rows with values in some of the places of NaN.
        samples, seed, batch_size: as for `impute`.

    Returns:
        nats, float32 of shape (examples, values), NaN where there is nothing to score. Of real numbers it is a density,
        in the units of the data.

    Raises:
        TypeError: for a model whose likelihood knows no missing values.
        ValueError: for data that the model does not allow, and for shapes that differ.

    Reference: Nazabal et al. 2020, arXiv:1807.03653.
    """
    seed = whole_seed("log_likelihood_of_missing", seed)
    _check(model, "log_likelihood_of_missing", samples=samples, batch_size=batch_size)
    model.likelihood.check_values(truth, "truth")
    truth = np.asarray(truth, model.likelihood.value_dtype)
    found = model.look_at("log_likelihood_of_missing", data)
    estimate = kept(model, lambda: _LogLikelihood(model), "log_likelihood_of_missing")
    scores, first = [], 0
    for number, inputs in enumerate(inputs_of(model, found, batch_size)):
        x = _rows(model, inputs)
        true = truth[first : first + len(x)]
        first += len(x)
        if len(true) == len(x):
            score = estimate(samples, fold(seed, number), inputs, true)
            scores.append(np.where(np.isnan(x) & ~np.isnan(true), score, np.nan))
    if first != len(truth):
        raise ValueError(
            f"log_likelihood_of_missing needs truth for each of {first} rows. Received: shape {truth.shape}."
        )
    return np.concatenate(scores).astype(np.float32)


class _Estimate:
    """A figure of p(missing | observed) by self-normalised importance sampling, from chunks of draws.

    A subclass says what is kept of a chunk, how that of two chunks is merged, and what it gives in the end. Chunks are
    merged in float64: a log sum of many chunks would stand still in float32 where log w is in the thousands.
    """

    def __init__(self, model: LatentVariableModel):
        self.model = model
        self.chunk = tf.function(self._chunk, reduce_retracing=True, autograph=False)

    def __call__(self, samples: int, seed: tf.Tensor, *batch) -> np.ndarray:
        batch = tf.nest.map_structure(tf.constant, batch)
        size = max(1, ROWS // len(tf.nest.flatten(batch)[0]))
        kept: Any = None
        for first in range(0, samples, size):
            count = tf.constant(min(size, samples - first))
            new = [part.numpy().astype(np.float64) for part in self.chunk(count, fold(seed, first), *batch)]
            kept = new if kept is None else self.merge(kept, new)
        return self.result(*kept)

    def _chunk(self, count, seed, inputs, *others):
        with sampling(count, seed):
            trace = self.model.tracer(inputs)()
        return self.keep(trace, fold(seed, 0), *others)  # the sampler's own seeds count from 1

    def keep(self, trace: Trace, seed: tf.Tensor, *others) -> tuple[tf.Tensor, ...]:
        raise NotImplementedError

    def merge(self, kept, new) -> list[np.ndarray]:
        raise NotImplementedError

    def result(self, *kept) -> np.ndarray:
        raise NotImplementedError


class _Expectation(_Estimate):
    """E[values | observed], as rows; kept are log sum_k w[k], shape (batch,), and the weighted mean of the codes."""

    def keep(self, trace, seed):
        log_sum = tf.reduce_logsumexp(trace.log_weight, axis=0)
        weights = tf.nn.softmax(trace.log_weight, axis=0)  # [chunk, batch]; log_sum itself is rounded
        return log_sum, tf.reduce_sum(weights[..., None] * trace.likelihood.expected_codes(), axis=0)

    def merge(self, kept, new):
        log_sum = np.logaddexp(kept[0], new[0])
        return [log_sum, sum(np.exp(part - log_sum)[:, None] * codes for part, codes in (kept, new))]

    def result(self, log_sum, codes):
        return self.model.likelihood.values_of(tf.constant(codes, tf.float32)).numpy()


class _LogLikelihood(_Estimate):
    """log p(value | observed); kept are log sum_k w[k] and log sum_k w[k] p(value | z[k])."""

    def keep(self, trace, seed, truth):
        joint = trace.log_weight[..., None] + trace.likelihood.log_prob_by_column(truth)  # [chunk, batch, values]
        return tf.reduce_logsumexp(trace.log_weight, axis=0), tf.reduce_logsumexp(joint, axis=0)

    def merge(self, kept, new):
        return [np.logaddexp(*pair) for pair in zip(kept, new, strict=True)]

    def result(self, log_sum, joint):
        return joint - log_sum[:, None]


class _Draws(_Estimate):
    """Draws from p(values | observed), the rows of the largest log w[k] + Gumbel noise.

    The argument of the largest sum is k with a probability proportional to w[k], over all chunks. Kept are the two
    parts of the largest sum, the largest log w of its chunk and the rest, and the rows.
    """

    def __init__(self, model: LatentVariableModel, draws: int):
        super().__init__(model)
        self.draws = draws

    def keep(self, trace, seed):
        chunk, batch = tf.unstack(tf.shape(trace.log_weight))
        noise = standard_normal([self.draws, chunk, batch], fold(seed, 1))
        gumbel = -tf.math.log(-tfd.Normal(0.0, 1.0).log_cdf(noise))
        largest = tf.reduce_max(trace.log_weight, axis=0)
        scores = (trace.log_weight - largest) + gumbel  # [draws, chunk, batch]
        best = tf.argmax(scores, axis=1, output_type=tf.int32)  # [draws, batch]
        places = tf.stack([best, tf.broadcast_to(tf.range(batch), tf.shape(best))], axis=-1)
        # Each draw has noise of its own, though two draws may choose one z.
        values = trace.likelihood.at(places).sample(seed=fold(seed, 2))
        return largest, tf.reduce_max(scores, axis=1), values

    def merge(self, kept, new):
        better = new[0] + new[1] > kept[0] + kept[1]  # [draws, batch]
        pairs = zip([better, better, better[..., None]], new, kept, strict=True)
        return [np.where(which, of_new, of_kept) for which, of_new, of_kept in pairs]

    def result(self, largest, scores, values):
        return values


def _rows(model: LatentVariableModel, inputs) -> np.ndarray:
    """The rows of a batch, in the type of the model's values, without what they are conditioned on."""
    return np.asarray(inputs if model.takes.y is None else inputs[0], model.likelihood.value_dtype)


def _check(model: LatentVariableModel, owner: str, **numbers: int) -> None:
    if not isinstance(model.likelihood, Columns):
        raise TypeError(
            f"{owner} needs a model whose likelihood is Columns, which knows missing values. "
            f"Received: {type(model).__name__} with {model.likelihood!r}."
        )
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{owner} needs {name} to be a whole number, 1 or more. Received: {name}={value!r}.")
