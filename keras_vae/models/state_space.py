"""State-space models: latent variables that follow each other in time, and a series that is observed of them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions import DistributionLayer, TimeSeries
from keras_vae.distributions.base import check_spaces, dimensions
from keras_vae.distributions.series import Either, Steps
from keras_vae.distributions.supports import Support
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.models.base import LatentVariableModel
from keras_vae.models.inputs import Field, Inputs
from keras_vae.models.single_latent import build_layers
from keras_vae.networks.missing import steps_there
from keras_vae.noise import DATA, fold, uniform
from keras_vae.sampling import current_sampler, iteration
from keras_vae.serving import Rows, Signatures
from keras_vae.trace import Latent, Trace

COIN, FROM_POSTERIOR, RESAMPLED = 0, 1, 2  # numbers of the seeds of one step of the particle filter


@dataclass(frozen=True)
class Forecast:
    """What comes after some series, in draws.

    Attributes:
        draws: shape (samples, series, steps, channels).
    """

    draws: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Shape (series, steps, channels)."""
        return self.draws.mean(axis=0)

    def quantile(self, share) -> np.ndarray:
        """The value that a share of the draws are below, by series, step and channel.

        Args:
            share: from 0 to 1, or several of them, which are then the first axis.
        """
        return np.quantile(self.draws, share, axis=0)

    def interval(self, share: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of the interval that has this share of the draws, and as many below as above it."""
        low, high = self.quantile([(1 - share) / 2, (1 + share) / 2])
        return low, high


class StateSpaceModel(LatentVariableModel):
    """Base of models of series, p(x, z) = product over t of p(z[t] | s[t-1]) p(x[t] | z[t], s[t-1]).

    s[t] is a function of s[t-1], z[t] and x[t], with s[0] = 0. The posterior is q(z[t] | s[t-1], features[t]), where
    the features are what a network says of the series at each step. Steps after the last observed value of a series
    are padding: nothing of them counts, and the noise of a step does not depend on what comes after it.

    A subclass has the layers `posterior` and `likelihood`, sets `series`, and defines `state_size` and the methods
    that raise `NotImplementedError` here.
    """

    posterior: DistributionLayer
    likelihood: DistributionLayer
    steps: int

    def _accept(self, likelihood: DistributionLayer, steps: int, posterior: DistributionLayer, **priors) -> None:
        """Keeps what all subclasses have, if it fits: raises `TypeError` or `ValueError`."""
        title = type(self).__name__
        for role, layer in {"posterior": posterior, "likelihood": likelihood, **priors}.items():
            if not isinstance(layer, DistributionLayer):
                raise TypeError(
                    f"{title} needs {role} to be a distribution layer, such as Normal(4, network). Received: {layer!r}."
                )
        if len(posterior.event_shape) != 1 or type(posterior).call is not DistributionLayer.call:
            raise ValueError(
                f"{title} needs a posterior of a vector whose parameters are all there is to it, such as Normal(4, "
                f"network). Received: {type(posterior).__name__} of event shape {posterior.event_shape}."
            )
        for role, layer in priors.items():
            if layer.event_shape != posterior.event_shape:
                raise ValueError(
                    f"{title} needs posterior and {role} of one event shape. "
                    f"Received: {posterior.event_shape} and {layer.event_shape}."
                )
            check_spaces(title, posterior, layer)
        self.posterior = posterior
        self.likelihood = likelihood
        self.series = TimeSeries(likelihood)
        self.steps = whole_number(self, "steps", steps)

    # --- what a subclass says ----------------------------------------------------------------------------------------

    @property
    def state_size(self) -> int:
        """Of s[t]."""
        raise NotImplementedError(f"{type(self).__name__} needs a property state_size.")

    @property
    def latent_support(self) -> Support:
        """Where z[t] may be."""
        raise NotImplementedError(f"{type(self).__name__} needs a property latent_support.")

    def _features(self, x: tf.Tensor) -> tf.Tensor:
        """What the posterior is given of standardised series at each step, shape (..., steps, features)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method _features(self, x).")

    def _next(self, state: tf.Tensor, z: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """s[t] of s[t-1], z[t] and the features of x[t], which are those of a single step where x[t] was drawn."""
        raise NotImplementedError(f"{type(self).__name__} needs a method _next(self, state, z, features).")

    def _told(self, state: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """What the likelihood is given of s[t-1] and z[t]."""
        raise NotImplementedError(f"{type(self).__name__} needs a method _told(self, state, z).")

    def _prior(self, state: tf.Tensor, number: tf.Tensor) -> tfd.Distribution:
        """p(z[t] | s[t-1]) of one step, the first one where its number is 0."""
        raise NotImplementedError(f"{type(self).__name__} needs a method _prior(self, state, number).")

    def _paths(self, states: tf.Tensor, params: tf.Tensor, there: tf.Tensor) -> tuple[Steps, Steps]:
        """q and p of all steps.

        Args:
            states: s[0], s[1], ..., before each step, shape (..., steps, state).
            params: of q, shape (..., steps, *params_shape of the posterior).
            there: which steps count, bool, shape (batch, steps).
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method _paths(self, states, params, there).")

    # --- training and evaluation -------------------------------------------------------------------------------------

    @property
    def takes(self) -> Inputs:
        """Series, shape (batch, steps, channels), of any number of steps, NaN where a value is missing."""
        return Inputs(Field((None, *self.likelihood.event_shape), words="series", observed=self.series))

    @property
    def latent_shape(self) -> tuple[int | None, int]:
        """Of z: (None, size), for any number of steps."""
        return None, self.posterior.event_shape[0]

    def call(self, inputs, training=None) -> Trace:
        """Infers the latent variables of series, shape (batch, steps, channels), and returns the trace."""
        return self.tracer(inputs)()

    def tracer(self, x) -> Callable[[], Trace]:
        """A function that draws z and returns the trace; the series are encoded here."""
        x = self._as_batch(x)
        features, there = self._features(self.series.standardized(x)), steps_there(x)

        def draw_trace():
            seed = current_sampler().next_seed()  # of the loop

            def draw(number, posterior):
                with iteration(number, seed):
                    return self.draw(posterior, posterior, opens=False).value  # the prior is told to the trace below

            states, z, params = self._walk(self.open_samples(features), there, draw)
            lengths = tf.reduce_sum(tf.cast(there, tf.float32), axis=1)
            latent = Latent(z, *self._paths(states, params, there))
            return Trace(x, self.series(self._told(states, z)), {"z": latent}, units={"step": lengths})

        return draw_trace

    def _walk(self, features: tf.Tensor, there: tf.Tensor, choose: Callable) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The latent variables of all steps.

        Args:
            features: shape (..., batch, steps, features).
            there: which steps count, bool, shape (batch, steps).
            choose: from the number of a step and q(z[t] | s[t-1], features) to z[t].

        Returns:
            states: before each step, shape (..., batch, steps, state).
            z: shape (..., batch, steps, size).
            params: of q, shape (..., batch, steps, *params_shape).
        """
        *leading, steps, _ = dimensions(features)
        start = tf.zeros([*leading, self.state_size])

        def step(before, given):
            number, seen, real = given
            state = before[0]
            params = self._posterior_params(state, seen)
            z = tf.ensure_shape(choose(number, self.posterior.distribution(params)), before[1].shape)
            after = tf.where(real[:, tf.newaxis], self._next(state, z, seen), state)
            return tf.ensure_shape(after, state.shape), z, params

        parts = [tf.zeros([*leading, *shape]) for shape in (self.posterior.event_shape, self.posterior.params_shape)]
        given = tf.range(steps), _time_first(features, 1), tf.transpose(there)
        states, z, params = tf.scan(step, given, (start, *parts))
        states = tf.concat([start[tf.newaxis], states[:-1]], axis=0)
        axes = len(leading)
        return _time_after(states, axes), _time_after(z, axes), _time_after(params, axes)

    def _posterior_params(self, state: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return self.posterior.params_of(tf.concat([state, features], axis=-1))

    def encode(self, x) -> Steps:
        """q of the latent variables, those before at their means; batch shape (batch,), event (steps, size)."""
        return self._inferred(x)[0]

    def reconstruct(self, x) -> tf.Tensor:
        """Mean of p(x | z) at the means of q, shape (batch, steps, channels); missing values are filled in."""
        _, states, z = self._inferred(x)
        return self.series(self._told(states, z)).mean()

    def _inferred(self, x) -> tuple[Steps, tf.Tensor, tf.Tensor]:
        x = self._as_batch(x)
        features, there = self._features(self.series.standardized(x)), steps_there(x)
        states, z, params = self._walk(features, there, lambda number, posterior: posterior.mean())
        return self._paths(states, params, there)[0], states, z

    # --- what comes next, and how likely it was ----------------------------------------------------------------------

    def forecast(self, series, steps: int, num_samples: int = 500, seed=None) -> Forecast:
        """Draws of what comes after the last observed step of series, of p(x[T+1..T+steps] | x[1..T]).

        The state at the end is that of a particle filter, see `step_log_likelihoods`: with more draws they are nearer
        to those of the model itself, however good its posterior is.

        Args:
            series: shape (batch, steps, channels), NaN where a value is missing, with a value in each series.
            steps: to predict, 1 or more.
            num_samples: draws for each series.
            seed: None for fresh noise; an integer or int32 of shape (2,) for the same draws each time.

        Returns:
            A `Forecast`, with draws, mean, quantiles and intervals.

        Raises:
            ValueError: for a model without weights, series that it can not use, and numbers out of range.
        """
        title = f"{type(self).__name__}.forecast"
        steps, num_samples = whole_number(title, "steps", steps), whole_number(title, "num_samples", num_samples)
        x = self._as_series("forecast", series)
        empty = np.flatnonzero(np.isnan(x.numpy()).all(axis=(1, 2)))
        if empty.size:
            raise ValueError(
                f"{title} needs a value in each series. Received: none in {empty.size}, the first is series {empty[0]}."
            )
        return Forecast(self._forecast(x, steps, num_samples, self._as_seed(seed)).numpy())

    def step_log_likelihoods(self, series, num_samples: int = 500, seed=None) -> np.ndarray:
        """log p(x[t] | x[1..t-1]) by step, nats, shape (batch, steps); NaN where nothing is observed.

        Estimated by a particle filter: at each step half of the particles, by chance, are drawn from p(z[t] | s[t-1])
        and half from q(z[t] | s[t-1], features[t]), all weighted by p(x[t], z[t] | s[t-1]) over the mean of the two
        densities, and resampled by their weights. The estimate is the log of the mean weight: e to the sum over the
        steps is p(x) in the mean, whatever q is; more particles make it more exact.

        Args:
            series: shape (batch, steps, channels), NaN where a value is missing.
            num_samples: particles for each series.
            seed: None for fresh noise; an integer or int32 of shape (2,) for the same each time.

        Raises:
            ValueError: for a model without weights, series that it can not use, and numbers out of range.

        Reference: Gordon, Salmond & Smith 1993; for the mean of two densities Hesterberg 1995.
        """
        num_samples = whole_number(f"{type(self).__name__}.step_log_likelihoods", "num_samples", num_samples)
        x = self._as_series("step_log_likelihoods", series)
        return self._step_log_likelihoods(x, num_samples, self._as_seed(seed)).numpy()

    def _as_series(self, method: str, series) -> tf.Tensor:
        self._require_built(method)
        return self._as_batch(series)

    @functools.cached_property
    def _forecast(self) -> Callable:
        """Draws of `forecast`, as a graph."""

        def forecast(x, steps, num_samples, seed):
            _, state = self._filter(x, num_samples, seed)
            _, draws, _ = self._onwards(state, steps, fold(seed, DATA))
            return draws

        return tf.function(forecast, autograph=False)

    @functools.cached_property
    def _step_log_likelihoods(self) -> Callable:
        """`step_log_likelihoods` as a graph."""

        def by_step(x, num_samples, seed):
            seen = tf.reduce_any(~tf.math.is_nan(x), axis=-1)
            return tf.where(seen, self._filter(x, num_samples, seed)[0], np.nan)

        return tf.function(by_step, autograph=False)

    def _filter(self, x: tf.Tensor, num_samples, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The particle filter of `step_log_likelihoods`.

        Returns:
            log_likelihoods: by step, nats, 0 where nothing is observed, shape (batch, steps).
            state: after the last observed step, shape (num_samples, batch, state).
        """
        features, there = self._features(self.series.standardized(x)), steps_there(x)
        batch, steps, _ = dimensions(features)
        start = tf.zeros([num_samples, batch, self.state_size])

        def step(before, given):
            number, values, now, real = given
            state = before[0]
            now = tf.repeat(now[tf.newaxis], num_samples, axis=0)
            seen = tf.reduce_any(~tf.math.is_nan(values), axis=-1)  # [batch]
            seeds = [fold(seed, number, each) for each in (COIN, FROM_POSTERIOR, RESAMPLED)]
            prior = self._prior(state, number)
            posterior = self.posterior.distribution(self._posterior_params(state, now))
            informed = (uniform([num_samples, batch], seeds[COIN]) < 0.5) & seen
            drawn = prior.sample(seed=fold(seed, number)), posterior.sample(seed=seeds[FROM_POSTERIOR])
            z = tf.where(informed[..., tf.newaxis], drawn[1], drawn[0])
            log_p, log_q = prior.log_prob(z), posterior.log_prob(z)
            log_mean = tf.math.reduce_logsumexp(tf.stack([log_p, log_q]), axis=0) - np.log(2)
            log_weight = self.series.rows(self._told(state, z)).log_prob(values) + log_p - log_mean
            log_weight = tf.where(seen, log_weight, 0.0)  # [samples, batch]
            after = _resampled(self._next(state, z, now), log_weight, uniform([batch], seeds[RESAMPLED]))
            after = tf.where(seen[:, tf.newaxis], after, self._next(state, z, now))
            after = tf.where(real[:, tf.newaxis], after, state)
            total = tf.math.reduce_logsumexp(log_weight, axis=0) - tf.math.log(tf.cast(num_samples, tf.float32))
            return tf.ensure_shape(after, state.shape), total

        given = tf.range(steps), _time_first(x, 1), _time_first(features, 1), tf.transpose(there)
        states, totals = tf.scan(step, given, (start, tf.zeros([batch])))
        return tf.transpose(totals), states[-1]

    def _onwards(self, state: tf.Tensor, steps: int, seed, temperature=1.0, first: bool = False) -> tuple:
        """What comes after a state of shape (..., state).

        Args:
            state: s[T], or s[0] where `first`.
            steps: their number.
            seed: int32 of shape (2,).
            temperature: of the latent variables.
            first: whether the first of the steps is the first of the series.

        Returns:
            z, draws of x and means of p(x | z), shape (..., steps, size).
        """
        leading = dimensions(state)[:-1]
        dtype = self.series.value_dtype
        channels = self.likelihood.event_shape

        def step(before, number):
            state = before[0]
            prior = self._prior(state, number if first else number + 1)
            z = tempered_draws(prior, [], fold(seed, number), temperature, self.latent_support)
            observed = self.series.rows(self._told(state, z))
            x = observed.sample(seed=fold(seed, number, DATA))
            after = self._next(state, z, self._features_of_step(x))
            made = (after, z, x, observed.mean())
            return tuple(tf.ensure_shape(each, known.shape) for each, known in zip(made, before, strict=True))

        empty = [tf.zeros([*leading, *channels], dtype)] * 2
        begin = (state, tf.zeros([*leading, *self.posterior.event_shape]), *empty)
        _, *made = tf.scan(step, tf.range(steps), begin)
        return tuple(_time_after(each, len(leading)) for each in made)

    def _features_of_step(self, x: tf.Tensor) -> Any:
        """The features of single steps that were drawn, shape (..., channels), for `_next`."""
        return None

    def _made(self, count, seed, temperature) -> tuple:
        """z, draws of x and means of p(x | z) of `steps` steps, shape (count, steps, size)."""
        self._require_built("generate")
        count, seed, temperature = self._checked_count(count), self._as_seed(seed), self._as_temperature(temperature)
        return self._onwards(tf.zeros([count, self.state_size]), self.steps, seed, temperature, first=True)

    def sample_prior(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws of the latent variables of `steps` steps, shape (count, steps, size).

        Args:
            count: number of draws, 0 or more, an integer or an integer scalar tensor.
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: what the distance of each draw to its mean is multiplied by.
        """
        return self._made(count, seed, temperature)[0]


class DeepKalmanFilter(StateSpaceModel):
    """p(x, z) = p(z[1]) product over t > 1 of p(z[t] | z[t-1]), times the product over t of p(x[t] | z[t]).

    The posterior is q(z[t] | z[t-1], features[t]), a path drawn forward in time. With the features of a
    `recurrent_smoother`, of x[t..T], it can be the exact one; with those of a `recurrent_filter`, of x[1..t], it infers
    z[t] without what comes later. Series may have any number of steps, NaN is a value that is missing, and steps after
    the last observed one are padding. The loss of `ELBO` is a bound of -log p(x) in nats per series; the logs have it
    per step too, `nats_per_step`.

    Args:
        encoder: a network from series (batch, steps, channels) to features (batch, steps, features), which takes NaN
            and leaves out padding, such as `recurrent_smoother((None, 3))`.
        posterior: q(z[t] | z[t-1], features[t]), a layer of event shape (size,) given the two as one vector; z[0] is 0.
        transition: p(z[t] | z[t-1]), a layer given z[t-1].
        likelihood: p(x[t] | z[t]), a layer of event shape (channels,) given z[t], such as `Normal(3, network)`,
            `StudentT(3, network)` or `Columns`; see `TimeSeries`.
        initial: p(z[1]), a layer given nothing, such as `Normal(size)`.
        steps: of the series that `generate` makes.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for layers that are no distribution layers.
        ValueError: for layers whose event shapes do not fit.

    Example:

    >>> model = DeepKalmanFilter(
    ...     encoder=recurrent_smoother((None, 3), 32),
    ...     posterior=Normal(2, dense_encoder(2 + 32, [32])),
    ...     transition=Normal(2, dense_encoder(2, [32])),
    ...     likelihood=Normal(3, dense_decoder(2, [32])),
    ...     initial=Normal(2),
    ... )
    >>> model.build((None, 20, 3))
    >>> model.generate(5, seed=1).shape
    TensorShape([5, 50, 3])

    Reference: Krishnan, Shalit & Sontag 2015, arXiv:1511.05121; 2017, arXiv:1609.09869.
    """

    def __init__(
        self,
        encoder: keras.layers.Layer,
        posterior: DistributionLayer,
        transition: DistributionLayer,
        likelihood: DistributionLayer,
        initial: DistributionLayer,
        steps: int = 50,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self._accept(likelihood, steps, posterior, transition=transition, initial=initial)
        if not isinstance(encoder, keras.layers.Layer):
            raise TypeError(
                f"{type(self).__name__} needs encoder to be a network, such as recurrent_smoother((None, 3)). "
                f"Received: {encoder!r}."
            )
        self.encoder = encoder
        self.transition = transition
        self.initial = initial

    @property
    def state_size(self) -> int:
        """Of z[t]."""
        return self.posterior.event_shape[0]

    @property
    def latent_support(self) -> Support:
        """Where z[t] may be."""
        return self.transition.support.hull

    def build(self, input_shape):
        """Creates the weights for series of shape (batch, steps, channels)."""
        self.check_shape(input_shape)
        features = tuple(self.encoder(keras.KerasTensor((None, None, *self.likelihood.event_shape))).shape)
        if len(features) != 3 or features[2] is None:
            raise ValueError(
                f"{type(self).__name__} needs an encoder whose features are of shape (batch, steps, features). "
                f"Received: {features}."
            )
        build_layers(
            {
                self.posterior: (None, self.state_size + features[2]),
                self.transition: (None, self.state_size),
                self.series: (None, None, self.state_size),
                self.initial: None,
            }
        )

    def _features(self, x):
        return tf.cast(self.encoder(x), tf.float32)

    def _next(self, state, z, features):
        return z

    def _told(self, state, z):
        return z

    def _prior(self, state, number):
        return Either(tf.equal(number, 0), self.initial(), self.transition(state))

    def _paths(self, states, params, there):
        axis = len(states.shape) - 2  # of time
        first, later = tf.split(params, [1, dimensions(states)[axis] - 1], axis=axis)
        head = self.posterior.distribution(tf.squeeze(first, axis=axis))
        prior = Steps(self.transition(states[..., 1:, :]), there, self.initial())
        return Steps(self.posterior.distribution(later), there, head), prior

    def decode(self, z) -> tfd.Distribution:
        """p(x | z), batch shape (...), for z of shape (..., steps, size)."""
        return self.series(self._as_latent(z, self.latent_shape, self.latent_support))

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x | z) for z drawn by `sample_prior`, shape (count, steps, channels)."""
        return self.decode(self.sample_prior(count, seed, temperature)).mean()

    def sample(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(x | z) for z drawn by `sample_prior`, shape (count, steps, channels)."""
        seed = self._as_seed(seed)
        return self.decode(self.sample_prior(count, seed, temperature)).sample(seed=fold(seed, DATA))

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`; `z` are the latent variables of all steps."""
        make = Signatures(self, Rows("z", self.latent_shape, self.latent_support), **limits)
        return make.of("serving_default", "encode", "decode", "generate", "sample", "log_likelihood")


class VariationalRNN(StateSpaceModel):
    """p(x, z) = product over t of p(z[t] | h[t-1]) p(x[t] | z[t], h[t-1]), with h[t] = cell(x[t], z[t], h[t-1]).

    The recurrent state h is a function of all that was drawn and observed, and h[0] = 0. The posterior
    q(z[t] | h[t-1], x[t]) is a filter. Of missing values the cell sees that they are missing. Series are as those of
    `DeepKalmanFilter`.

    Args:
        cell: a Keras cell with one state, such as `keras.layers.GRUCell(32)`.
        posterior: q(z[t] | h[t-1], x[t]), a layer of event shape (size,) given h[t-1] and x[t] as one vector: x[t] as
            `TimeSeries.inputs` has it, of numbers twice as many as there are channels.
        prior: p(z[t] | h[t-1]), a layer given h[t-1].
        likelihood: p(x[t] | h[t-1], z[t]), a layer of event shape (channels,) given h[t-1] and z[t] as one vector.
        steps: of the series that `generate` makes.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for layers that are no distribution layers, and a cell that is none.
        ValueError: for layers whose event shapes do not fit, and a cell with several states.

    Example:

    >>> model = VariationalRNN(
    ...     cell=keras.layers.GRUCell(32),
    ...     posterior=Normal(2, dense_encoder(32 + 2 * 3, [32])),
    ...     prior=Normal(2, dense_encoder(32, [32])),
    ...     likelihood=Normal(3, dense_decoder(32 + 2, [32])),
    ... )
    >>> model.build((None, 20, 3))
    >>> model.forecast(np.zeros((1, 20, 3)), steps=5, num_samples=10, seed=1).draws.shape
    (10, 1, 5, 3)

    Reference: Chung et al. 2015, arXiv:1506.02216, without its networks of x and z, whose place the layers' own have.
    """

    def __init__(
        self,
        cell: keras.layers.Layer,
        posterior: DistributionLayer,
        prior: DistributionLayer,
        likelihood: DistributionLayer,
        steps: int = 50,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self._accept(likelihood, steps, posterior, prior=prior)
        if not isinstance(cell, keras.layers.Layer) or not isinstance(getattr(cell, "state_size", None), int):
            raise TypeError(
                f"{type(self).__name__} needs cell to be a Keras cell with one state, such as "
                f"keras.layers.GRUCell(32). Received: {cell!r}."
            )
        self.cell = cell
        self.prior = prior
        self.inputs_of_step = self.series.inputs()

    @property
    def state_size(self) -> int:
        """Of h[t]."""
        return self.cell.state_size

    @property
    def latent_support(self) -> Support:
        """Where z[t] may be."""
        return self.prior.support.hull

    def build(self, input_shape):
        """Creates the weights for series of shape (batch, steps, channels)."""
        self.check_shape(input_shape)
        size, (channels,) = self.posterior.event_shape[0], self.likelihood.event_shape
        features = self.inputs_of_step.compute_output_shape((None, None, channels))[-1]
        if not self.cell.built:
            self.cell.build((None, features + size))
        build_layers(
            {
                self.posterior: (None, self.state_size + features),
                self.prior: (None, self.state_size),
                self.series: (None, None, self.state_size + size),
            }
        )

    def _features(self, x):
        return tf.cast(self.inputs_of_step(x), tf.float32)

    def _features_of_step(self, x):
        return self._features(self.series.standardized(x)[..., tf.newaxis, :])[..., 0, :]

    def _next(self, state, z, features):
        *leading, _ = dimensions(state)
        rows = [tf.reshape(part, [-1, part.shape[-1]]) for part in (tf.concat([features, z], axis=-1), state)]
        _, after = self.cell(rows[0], [rows[1]])
        after = after[0] if isinstance(after, list | tuple) else after
        return tf.reshape(tf.cast(after, tf.float32), [*leading, self.state_size])

    def _told(self, state, z):
        return tf.concat([state, z], axis=-1)

    def _prior(self, state, number):
        return self.prior(state)

    def _paths(self, states, params, there):
        return Steps(self.posterior.distribution(params), there), Steps(self.prior(states), there)

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x[t] | z[t], h[t-1]), where h is that of draws of x, shape (count, steps, channels)."""
        return self._made(count, seed, temperature)[2]

    def sample(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws of x, shape (count, steps, channels): those that `generate` has the means of."""
        return self._made(count, seed, temperature)[1]


def _time_first(tensor: tf.Tensor, after: int) -> tf.Tensor:
    """[..., time, *after] -> [time, ..., *after], with so many axes after time."""
    axis, axes = len(tensor.shape) - 1 - after, range(len(tensor.shape))
    return tf.transpose(tensor, [axis, *(each for each in axes if each != axis)])


def _time_after(tensor: tf.Tensor, leading: int) -> tf.Tensor:
    """[time, *leading, ...] -> [*leading, time, ...], with so many leading axes."""
    return tf.transpose(tensor, [*range(1, leading + 1), 0, *range(leading + 1, len(tensor.shape))])


def _resampled(states: tf.Tensor, log_weight: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """States of particles, each as often as its weight says, by systematic resampling.

    Args:
        states: shape (samples, batch, state).
        log_weight: shape (samples, batch).
        offset: from 0 to 1, shape (batch,).
    """
    samples = dimensions(log_weight)[0]
    ends = tf.cumsum(tf.transpose(tf.nn.softmax(log_weight, axis=0)), axis=1)  # [batch, samples]
    places = (tf.range(samples, dtype=tf.float32) + offset[:, tf.newaxis]) / tf.cast(samples, tf.float32)
    chosen = tf.minimum(tf.searchsorted(ends, places, side="right"), samples - 1)
    return tf.transpose(tf.gather(tf.transpose(states, [1, 0, 2]), chosen, batch_dims=1), [1, 0, 2])
