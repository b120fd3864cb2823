"""What `diagnose` measures of a batch: programs from inputs and a seed to numbers for each example."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer, FixedScaleNormal
from keras_vae.distributions.columns import RowDistribution
from keras_vae.distributions.standardized import InUnits
from keras_vae.keras_names import layers_of
from keras_vae.models import LatentVariableModel
from keras_vae.noise import fold
from keras_vae.sampling import sampling
from keras_vae.trace import Latent, Trace, at_points, draw_from

PRIOR = 2**16  # of the seed of draws from the prior: a model has fewer random variables


def measures(model: LatentVariableModel):
    """A program from a batch, a number of draws and a seed to numbers of each example.

    It returns a dictionary of "log_likelihood", "shuffled" and "log_weight", shape (samples, batch) each, "elbo",
    shape (batch,), and "latents", by name, those of `_of_latent`; where the model has them also "scales_at_limit" and
    "squared_residual", shape (batch,), of the likelihood. "shuffled" is log p(x | z) with the draws of z of the
    example before.
    """
    of_data, others = _floors(model)
    fixed = isinstance(_without_units(getattr(model, "likelihood", None)), FixedScaleNormal)

    @tf.function(reduce_retracing=True, autograph=False)
    def program(inputs, samples, seed):
        draw_trace = model.tracer(model.takes.of(type(model).__name__, inputs))
        with sampling(samples, seed) as sampler:
            trace = draw_trace()
        if not trace.latents:
            raise TypeError(
                f"diagnose needs a model with latent variables. Received: a {type(model).__name__}, which has none."
            )
        found = {
            "log_likelihood": trace.log_likelihood,
            "log_weight": trace.log_weight,
            "elbo": tf.reduce_mean(trace.log_likelihood - trace.kl, axis=0),
            "shuffled": _shuffled(model, draw_trace, trace, samples, seed, sampler.made),
            "latents": {
                name: _of_latent(latent, others, fold(seed, PRIOR, number))
                for number, (name, latent) in enumerate(trace.latents.items())
            },
        }
        at_limit = scales_at_limit(trace.likelihood, of_data)
        if at_limit is not None:
            found["scales_at_limit"] = tf.reduce_mean(at_limit, axis=0)
        if fixed:
            residual = (trace.observed - trace.likelihood.mean()) / trace.likelihood.stddev()
            axes = [0, *range(2, len(residual.shape))]
            found["squared_residual"] = tf.reduce_mean(tf.cast(residual, tf.float32) ** 2, axis=axes)
        return found

    return program


def aggregate(model: LatentVariableModel):
    """A program from a batch, a seed and points by latent variable to log sum over the batch of q(point | x[j]).

    The points are draws of any examples, shape (points, *event). Of each variable it returns "joint", shape (points,),
    and, where the posterior is made of independent values, "by_dimension", shape (points, dimensions).
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def program(inputs, seed, points):
        with sampling(1, seed):
            trace = model.tracer(model.takes.of(type(model).__name__, inputs))()
        found = {}
        for name, point in points.items():
            posterior, factors = in_coordinates(trace.latents[name]), factors_of(trace.latents[name])
            if factors is None:
                log_q = posterior.log_prob(point[:, tf.newaxis])  # [points, batch]: with one draw its axis is theirs
                found[name] = {"joint": tf.reduce_logsumexp(log_q, axis=1)}
            else:
                by_dimension = _flat(factors.log_prob(point[:, tf.newaxis]), 2)  # [points, batch, dimensions]
                joint = tf.reduce_logsumexp(tf.reduce_sum(by_dimension, axis=-1), axis=1)
                found[name] = {"joint": joint, "by_dimension": tf.reduce_logsumexp(by_dimension, axis=1)}
        return found

    return program


def _shuffled(model, draw_trace, trace: Trace, samples, seed, made: Sequence[tf.Tensor]) -> tf.Tensor:
    """log p(x | z) with the draws of z of the example before, shape (samples, batch).

    Without a condition an example is held against the likelihood of another one's latents; with one its latents are
    replaced, and its condition stays its own.
    """
    if model.takes.y is None:
        following = tf.nest.map_structure(lambda part: tf.roll(part, -1, axis=0), trace.observed)
        return tf.roll(trace.likelihood.log_prob(following), 1, axis=1)
    with sampling(samples, seed, given=[tf.roll(value, 1, axis=1) for value in made]):
        return draw_trace().log_likelihood


def _of_latent(latent: Latent, floors: np.ndarray, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Numbers of one latent variable, each with the batch in its first axis.

    - "kl", shape (batch,), and, where posterior and prior are made of independent values, "kl_by_dimension", shape
      (batch, dimensions).
    - "mean" and "square", over the draws that the posterior is given, of its mean, shape (batch, values).
    - "scales_at_limit", shape (batch,), where the posterior has scales with a limit.
    - "given_data_alone", whether it is given none, and "one_prior", whether the prior is the same for all examples,
      shape (batch,).
    - Of the first draw "value", shape (batch, values), with "prior", as many draws from the prior; and, of a variable
      whose posterior can be asked for the density of other draws, "point", shape (batch, *event), "log_q" and
      "log_ratio", to the density of the prior, shape (batch,), and, of independent values, the same "_by_dimension",
      shape (batch, dimensions).
    """
    found = {"kl": tf.reduce_mean(latent.kl, axis=0)}
    at_limit = scales_at_limit(latent.posterior, floors)
    if at_limit is not None:
        found["scales_at_limit"] = tf.reduce_mean(at_limit, axis=list(range(len(at_limit.shape) - 1)))
    if latent.value is None:
        return found
    kl = _kl_by_dimension(latent)
    if kl is not None:
        found["kl_by_dimension"] = tf.reduce_mean(kl, axis=0)
    found |= _mean(latent)
    batch = tf.shape(latent.value)[1]
    rank = latent.prior.batch_shape.rank
    found["given_data_alone"] = tf.fill([batch], latent.posterior.batch_shape.rank == 1)
    found["one_prior"] = tf.fill([batch], rank == 0)
    prior = draw_from(latent.prior, [] if rank else [batch], seed).value
    found["prior"] = _flat(tf.cast(prior[0] if rank == 2 else prior, tf.float32), 1)
    found["value"] = _flat(tf.cast(latent.value[0], tf.float32), 1)
    if not has_surgery(latent):
        return found
    point, factors = points_of(latent), factors_of(latent)
    found["point"] = point[0]
    found["log_q"], found["log_ratio"] = latent.log_posterior[0], -latent.log_ratio[0]
    if factors is not None:
        log_q, prior = factors.log_prob(point), factors_of(latent, prior=True)
        found["log_q_by_dimension"] = _flat(log_q[0], 1)
        if prior is not None:
            found["log_ratio_by_dimension"] = _flat((log_q - prior.log_prob(point))[0], 1)
    return found


def has_surgery(latent: Latent) -> bool:
    """Whether the posteriors of other examples say how dense they are at a draw.

    Not where a variable may be absent, or is made in a loop: posteriors of later steps are then given the draws.
    """
    return latent.drawn is not None and latent.present is None


def points_of(latent: Latent) -> tf.Tensor:
    """The draws in the coordinates of `in_coordinates`, shape (samples, batch, *event)."""
    point = None if latent.drawn is None else latent.drawn.point
    return latent.value if point is None else point


def in_coordinates(latent: Latent, prior: bool = False) -> tfd.Distribution:
    """The posterior, or the prior, whose log_prob takes `points_of`."""
    distribution = latent.prior if prior else latent.posterior
    return distribution if latent.drawn is None or latent.drawn.point is None else at_points(distribution)


def factors_of(latent: Latent, prior: bool = False) -> tfd.Distribution | None:
    """The distribution of the values of a posterior, or a prior, that are independent; None where they are not."""
    distribution = in_coordinates(latent, prior)
    return distribution.distribution if isinstance(distribution, tfd.Independent) else None


def _kl_by_dimension(latent: Latent) -> tf.Tensor | None:
    """KL of each independent value, nats, shape (samples or 1, batch, dimensions)."""
    posterior, prior = factors_of(latent), factors_of(latent, prior=True)
    if posterior is None or prior is None:
        return None
    if latent.exact_kl is None:
        point = points_of(latent)
        kl = posterior.log_prob(point) - prior.log_prob(point)
    else:
        kl = latent.posterior.distribution.kl_divergence(latent.prior.distribution)
        kl = kl[tf.newaxis] if latent.posterior.batch_shape.rank == 1 else kl
    kl = _flat(kl, 2)
    return kl if latent.present is None else tf.math.multiply_no_nan(kl, latent.present[..., tf.newaxis])


def _mean(latent: Latent) -> dict[str, tf.Tensor]:
    """The mean of the posterior, averaged over the draws that it is given, and the average of its square."""
    try:
        means = tf.cast(latent.posterior.mean(), tf.float32)
        means = means[tf.newaxis] if latent.posterior.batch_shape.rank == 1 else means
    except NotImplementedError:  # TFP's answer for a distribution without a mean
        means = tf.cast(latent.value, tf.float32)
    if latent.present is not None:
        means *= tf.reshape(latent.present, [*tf.unstack(tf.shape(latent.present)), *[1] * (len(means.shape) - 2)])
    means = _flat(means, 2)  # [samples or 1, batch, values]
    return {"mean": tf.reduce_mean(means, axis=0), "square": tf.reduce_mean(means**2, axis=0)}


def _flat(tensor: tf.Tensor, axes: int) -> tf.Tensor:
    """All but the first axes as one, of length 1 where there are no more."""
    sizes = tf.shape(tensor)
    size = int(np.prod(tensor.shape[axes:])) if tensor.shape[axes:].is_fully_defined() else -1
    return tf.reshape(tensor, tf.concat([sizes[:axes], [size]], axis=0))


# --- scales ----------------------------------------------------------------------------------------------------------

NEAR = 0.01  # of a limit: closer than a hundredth of it, where softplus(raw) has a hundredth of its slope at 0 or less


def scales_at_limit(distribution: tfd.Distribution, floors: np.ndarray) -> tf.Tensor | None:
    """Share of the scales of a distribution that are at a limit, of its batch shape; None where it has no scales.

    Args:
        distribution: of a posterior or a likelihood.
        floors: the smallest scales of the layers that may have made it.
    """
    shares = []
    rank = distribution.batch_shape.rank
    for scale in _scales(distribution) if len(floors) else ():
        ratio = scale[..., tf.newaxis] / floors.astype(np.float32)
        near = tf.reduce_any(tf.abs(ratio - 1) < NEAR, axis=-1) | tf.reduce_all(ratio < 1, axis=-1)
        shares.append(tf.reshape(tf.cast(near, tf.float32), tf.concat([tf.shape(near)[:rank], [-1]], axis=0)))
    return tf.reduce_mean(tf.concat(shares, axis=-1), axis=-1) if shares else None


def _scales(distribution: tfd.Distribution) -> list[tf.Tensor]:
    """The scales of a distribution and of those that it is made of."""
    if isinstance(distribution, RowDistribution):
        return [scale for part in distribution.parts for scale in _scales(part)]
    given = distribution.parameters
    if tf.is_tensor(given.get("scale_tril")):
        diagonal = tf.linalg.diag_part(given["scale_tril"])
        return [diagonal + tf.zeros_like(distribution.loc)]  # one of each example
    if tf.is_tensor(given.get("scale")):
        return [given["scale"]]
    parts = [part for name, part in given.items() if name != "mixture_distribution"]
    return [scale for part in parts if isinstance(part, tfd.Distribution) for scale in _scales(part)]


def _floors(model: LatentVariableModel) -> tuple[np.ndarray, np.ndarray]:
    """The smallest scales that the layers of the likelihood allow, and those of all other distribution layers."""
    layers = [layer for layer in layers_of(model) if isinstance(layer, DistributionLayer)]
    likelihood = set(map(id, layers_of(model.likelihood))) if hasattr(model, "likelihood") else set(map(id, layers))
    found: tuple[set, set] = set(), set()
    for layer in layers:
        if hasattr(layer, "min_scale"):
            found[0 if id(layer) in likelihood else 1].add(layer.min_scale)
    if not hasattr(model, "likelihood"):
        found = found[0], found[0]
    return np.array(sorted(found[0])), np.array(sorted(found[1]))


def _without_units(layer):
    return layer.layer if isinstance(layer, InUnits) else layer
