"""Series: observations by time step, of which any may be missing, and paths of latent variables over time."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions.base import DistributionLayer, dimensions
from keras_vae.distributions.columns import Columns
from keras_vae.distributions.supports import Support
from keras_vae.networks.missing import ObservedSeries
from keras_vae.noise import fold

UNUSED = 3  # number of the seed of a draw that nothing sees, beyond those of a step of the particle filter


class TimeSeries(DistributionLayer):
    """A series, whose steps are each distributed as a layer says; NaN is a value that is missing.

    log p(series | context) = sum over steps and observed values of log p(value | features of the step). Missing values
    drop out, in value and in gradient, and so does padding: steps of NaN after the end. Series of different lengths are
    made equal so.

    Args:
        layer: the distribution layer of one step, of a vector of channels whose values are independent, such as
            `Normal(3)` or `StudentT(3)`; or `Columns` for channels of different kinds. Its units are those of the
            series.
        steps: of a series; None is any number, as the features of the steps have it.
        network: from the context to features of shape (batch, steps, features), such as `recurrent_decoder`; None
            uses the context, of shape (..., steps, features), itself.

    Raises:
        TypeError: for a layer that is no distribution layer.
        ValueError: for a layer of other events than vectors, and when built for a network of other steps.

    Example:

    >>> likelihood = TimeSeries(StudentT(3), 20, recurrent_decoder(4, (20, 3)))
    >>> posterior = Normal(4, recurrent_encoder((20, 3)))
    >>> VAE(posterior, likelihood, StandardNormal(4)).event_shape
    (20, 3)
    """

    def __init__(self, layer: DistributionLayer, steps: int | None = None, network=None, **kwargs):
        if not isinstance(layer, DistributionLayer):
            raise TypeError(f"{type(self).__name__} needs layer to be a distribution layer. Received: {layer!r}.")
        if len(layer.event_shape) != 1:
            raise ValueError(
                f"{type(self).__name__} needs a layer of event shape (channels,), of one step. "
                f"Received: {type(layer).__name__} of event shape {layer.event_shape}."
            )
        super().__init__(layer.event_shape, network, **kwargs)
        self.layer = layer
        self.steps = None if steps is None else whole_number(self, "steps", steps)
        self.event_shape: tuple[int | None, ...] = (self.steps, *layer.event_shape)  # type: ignore[assignment]
        self.rows = layer if isinstance(layer, Columns) else Columns({"channels": layer})

    @property
    def support(self) -> Support:  # type: ignore[override]
        """That of the channels, with NaN."""
        return self.rows.support

    @property
    def value_dtype(self) -> str:  # type: ignore[override]
        """float64 where the layer has units, else float32."""
        return self.rows.value_dtype

    def standardized(self, values) -> tf.Tensor:
        """Series as networks are to see them, with NaN, float32."""
        return self.rows.standardized(values)

    def inputs(self) -> ObservedSeries:
        """The first layer of an encoder: logarithms of positive numbers and counts, one-hot categories, mask."""
        found = self.rows.inputs()
        return ObservedSeries(found.levels, found.log_offsets)

    def build(self, context_shape=None):
        """Creates the weights."""
        if context_shape is None:
            raise ValueError(f"{self._title} needs a context, for it has no steps of its own. Received: None.")
        if self.network is None:
            self.context_shapes = [tuple(context_shape)]
            features = self.context_shapes[0]
        else:
            features = self.build_network(context_shape)
        if len(features) != 3 or (self.steps is not None and features[1] not in (None, self.steps)):
            needed = "steps" if self.steps is None else self.steps
            raise ValueError(
                f"{self._title} needs features of shape (batch, {needed}, features). Received: {features}."
            )
        if not self.rows.built:  # a loaded layer is
            self.rows.build((None, features[-1]))

    def call(self, context=None) -> tfd.Distribution:
        """The distribution of series given a context of shape (..., *context), of batch shape (...)."""
        features = tf.convert_to_tensor(context)
        if self.network is not None:
            rows, leading = self.features_of(context)
            features = tf.reshape(rows, [*leading, *dimensions(rows)[1:]])  # [..., steps, features]
        return tfd.Independent(self.rows(features), 1)

    def check_values(self, values, name: str = "values") -> None:
        """Raises `ValueError` where series, shape (batch, steps, channels), could not be draws; NaN may be.

        Args:
            values: array or tensor.
            name: what the message calls them.
        """
        values = np.asarray(values)
        expected = ", ".join(["batch", *("any" if size is None else str(size) for size in self.event_shape)])
        if not tf.TensorShape([None, *self.event_shape]).is_compatible_with(values.shape):
            raise ValueError(f"{self._title} needs {name} of shape ({expected}). Received: shape {values.shape}.")
        if values.dtype.kind == "f" and np.isinf(values).any():
            place = tuple(np.argwhere(np.isinf(values))[0].tolist())
            raise ValueError(
                f"{self._title} needs finite {name}, or NaN for those that are missing. "
                f"Received: infinity, first in series {place[0]}, step {place[1]}, channel {place[2]}."
            )
        self.rows.check_values(values.reshape(-1, self.event_shape[-1]), name)


class Steps(tfd.Distribution):
    """Steps of a series as one event, of shape (steps, *event): those that are not there do not count.

    Its log_prob is the sum of those of the steps, as for a density along a path, z[t] given z[t-1]. So is the KL of two
    of them, where the families of the steps have one in closed form.

    Args:
        distribution: of the steps, the last axis of its batch shape.
        there: None, or which steps count, bool, of a shape that broadcasts to (*batch, steps).
        first: None, or the distribution of one more step before them.
    """

    def __init__(
        self,
        distribution: tfd.Distribution,
        there: tf.Tensor | None = None,
        first: tfd.Distribution | None = None,
    ):
        super().__init__(
            dtype=distribution.dtype,
            reparameterization_type=distribution.reparameterization_type,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"distribution": distribution, "there": there, "first": first},
            name="Steps",
        )
        self.distribution = distribution
        self.there = there
        self.first = first

    def _log_prob(self, value):
        if self.first is None:
            return self.summed(self.distribution.log_prob(value))
        axis = len(value.shape) - 1 - self.distribution.event_shape.rank
        head, rest = tf.split(value, [1, dimensions(value)[axis] - 1], axis=axis)
        first = self.first.log_prob(tf.squeeze(head, axis=axis))
        return self.summed(self.distribution.log_prob(rest), first)

    def summed(self, later: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
        """The sum over the steps that are there.

        Args:
            later: by step of `distribution`, shape (..., steps).
            first: None, or of the first step, shape (...).
        """
        if first is not None:
            later = tf.concat([tf.broadcast_to(first, dimensions(later)[:-1])[..., tf.newaxis], later], axis=-1)
        return tf.reduce_sum(later if self.there is None else tf.where(self.there, later, 0.0), axis=-1)

    def _joined(self, later: tf.Tensor, first: tf.Tensor | None) -> tf.Tensor:
        """Moments or draws of all steps."""
        if first is None:
            return later
        axis = len(later.shape) - 1 - self.distribution.event_shape.rank
        shape = dimensions(later)
        first = tf.broadcast_to(first, [*shape[:axis], *shape[axis + 1 :]])
        return tf.concat([tf.expand_dims(first, axis), later], axis=axis)

    def _mean(self):
        return self._joined(self.distribution.mean(), None if self.first is None else self.first.mean())

    def _stddev(self):
        return self._joined(self.distribution.stddev(), None if self.first is None else self.first.stddev())

    def _batch_shape(self):
        return self.distribution.batch_shape[:-1]

    def _batch_shape_tensor(self):
        return self.distribution.batch_shape_tensor()[:-1]

    def _event_shape(self):
        steps = self.distribution.batch_shape[-1]
        return tf.TensorShape([steps if self.first is None or steps is None else steps + 1]).concatenate(
            self.distribution.event_shape
        )

    def _event_shape_tensor(self):
        steps = self.distribution.batch_shape_tensor()[-1:] + (0 if self.first is None else 1)
        return tf.concat([steps, self.distribution.event_shape_tensor()], axis=0)


@tfd.RegisterKL(Steps, Steps)
def _kl_of_steps(one: Steps, other: Steps, name=None) -> tf.Tensor:
    later = tfd.kl_divergence(one.distribution, other.distribution)
    if one.first is None or other.first is None:
        return one.summed(later)
    return one.summed(later, tfd.kl_divergence(one.first, other.first))


class Either(tfd.Distribution):
    """One distribution where a condition holds, another where it does not.

    Args:
        condition: bool scalar tensor.
        one: of a batch shape that broadcasts to that of the other.
        other: of the batch shape of the whole.
    """

    def __init__(self, condition: tf.Tensor, one: tfd.Distribution, other: tfd.Distribution):
        super().__init__(
            dtype=other.dtype,
            reparameterization_type=other.reparameterization_type,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"condition": condition, "one": one, "other": other},
            name="Either",
        )
        self.condition, self.one, self.other = condition, one, other

    def _chosen(self, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        return tf.where(self.condition, one, other)

    def _log_prob(self, value):
        return self._chosen(self.one.log_prob(value), self.other.log_prob(value))

    def _sample_n(self, n, seed=None):
        missing = self.other.batch_shape.rank - self.one.batch_shape.rank
        shape = tf.concat([[n], self.other.batch_shape_tensor()[:missing]], axis=0)
        seed = tfp.random.sanitize_seed(seed)
        unused = fold(seed, UNUSED)  # no two draws share their noise
        one = self.one.sample(shape, seed=self._chosen(seed, unused))
        return self._chosen(one, self.other.sample(n, seed=self._chosen(unused, seed)))

    def _mean(self):
        return self._chosen(self.one.mean(), self.other.mean())

    def _mode(self):
        return self._chosen(self.one.mode(), self.other.mode())

    def _batch_shape(self):
        return self.other.batch_shape

    def _batch_shape_tensor(self):
        return self.other.batch_shape_tensor()

    def _event_shape(self):
        return self.other.event_shape

    def _event_shape_tensor(self):
        return self.other.event_shape_tensor()
