"""Numbers in the units of the data, standardised inside of the model."""

from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.supports import Support

PART = 2**18  # values of an array that are looked at together


class InUnits(DistributionLayer):
    """x = offset + scale y, where y is distributed as another layer says: a layer whose values have units.

    A model takes and gives x, and its networks see y. A subclass sets `offset` and `scale`, which broadcast to the
    event.

    Args:
        layer: the distribution layer of y.

    Raises:
        TypeError: for a layer that is no distribution layer.
    """

    offset: np.ndarray
    scale: np.ndarray

    def __init__(self, layer: DistributionLayer, **kwargs):
        if not isinstance(layer, DistributionLayer):
            raise TypeError(f"{type(self).__name__} needs layer to be a distribution layer. Received: {layer!r}.")
        super().__init__(layer.event_shape, **kwargs)
        self.layer = layer

    @property
    def log_volume(self) -> float:
        """Sum of log scale over the event, nats: log p(y) - log p(x)."""
        return float(np.log(np.broadcast_to(self.scale, self.event_shape)).sum())

    @property
    def discrete(self) -> bool:  # type: ignore[override]
        """Whether log_prob is a probability mass."""
        return self.layer.discrete

    def build(self, context_shape=None):
        """Creates the weights of the layer; see `DistributionLayer.build`."""
        if not self.layer.built:  # a loaded layer is
            self.layer.build(context_shape)
        if context_shape is not None:
            self.context_shapes = self.layer.context_shapes

    def call(self, context=None) -> tfd.Distribution:
        """The distribution of x given a context; see `DistributionLayer.call`."""
        return DistributionInUnits(self.layer(context), self)


class Standardized(InUnits):
    """x = offset + scale y, where y is distributed as another layer says: numbers in the units of the data.

    The likelihood of data that are not of size 1. A model takes and gives x, in `fit`, `log_likelihood`, `sample` and
    as a SavedModel, and its networks see y. The density is that of x: log p(x) = log p(y) - `log_volume`. Numbers are
    standardised in float64, so that times in seconds keep their digits.

    Args:
        layer: the distribution layer of y. Its values must be real numbers, or, without an offset, positive ones.
        offset, scale: numbers, or arrays that broadcast to the layer's event shape; the scale is positive. `adapt`
            takes them from data.
        names: None, or the names of the values of a vector, such as the columns of a table, kept with the model.

    Raises:
        TypeError: for a layer that is no distribution layer.
        ValueError: for an offset or scale that is not finite, is of another shape, or would leave the layer's support,
            and for names that are not different texts, one for each value.

    Example:

    >>> likelihood = Standardized(Normal(2, dense_decoder(4)))
    >>> likelihood.adapt(np.array([[1000.0, 0.1], [1020.0, 0.3]]))
    >>> likelihood.offset.tolist(), likelihood.scale.round(6).tolist()
    ([1010.0, 0.2], [10.0, 0.1])
    """

    def __init__(self, layer: DistributionLayer, offset=0.0, scale=1.0, names: Sequence[str] | None = None, **kwargs):
        super().__init__(layer, **kwargs)
        self._set(offset, scale)
        self.names = None if names is None else list(names)
        if names is not None and not (
            (len(set(names)),) == (len(names),) == self.event_shape and all(isinstance(name, str) for name in names)
        ):
            raise ValueError(
                f"{self._title} needs names to be different texts, one for each value. Received: {names!r}."
            )

    def _set(self, offset, scale) -> None:
        self.offset = self._of_event("offset", offset)
        self.scale = self._of_event("scale", scale)
        if not (self.scale > 0).all():
            raise ValueError(f"{self._title} needs scale to be positive. Received: {scale!r}.")
        support = self.layer.support
        if not (support.has_scale or (self.scale == 1).all()) or not (support.has_offset or (self.offset == 0).all()):
            raise ValueError(
                f"{self._title} needs a layer of real numbers, or of positive ones without an offset. "
                f"Received: {type(self.layer).__name__} of {support.description}, offset={offset!r}, scale={scale!r}."
            )

    def _of_event(self, name: str, given) -> np.ndarray:
        """float64 of the event shape."""
        try:
            array = np.broadcast_to(np.asarray(given, np.float64), self.event_shape).copy()
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{self._title} needs {name} to be numbers that broadcast to {self.event_shape}. "
                f"Received: {given!r}: {error}"
            ) from None
        if not np.isfinite(array).all():
            raise ValueError(f"{self._title} needs a finite {name}. Received: {given!r}.")
        return array

    def adapt(self, data) -> None:
        """Takes offset and scale from data: mean and standard deviation, of positive numbers the geometric mean.

        Missing values (NaN) are left out. A value that is the same in all examples keeps the scale 1.

        Args:
            data: array of shape (examples, *event), or batches of such, in tuples of (x, ...) too.

        Raises:
            ValueError: for a layer that is built already, for data of another shape, and for infinite numbers.
        """
        if self.built:
            raise ValueError(f"{self._title}.adapt needs a layer that has no weights yet. Received: a built one.")
        batches: Iterable = in_parts(data) if hasattr(data, "__array__") or isinstance(data, list) else data
        logged = not self.layer.support.has_offset
        moments = _Moments(self.event_shape)
        for batch in batches:
            x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
            x = np.asarray(x, np.float64)
            self.check_values(np.where(np.isnan(x), self.layer.support.stand_in, x), "data")
            moments.add(np.log(x) if logged else x)
        if logged:
            self._set(0.0, np.exp(moments.mean))
        else:
            self._set(moments.mean, np.where(moments.low < moments.high, moments.deviation, 1.0))

    @property
    def support(self) -> Support:  # type: ignore[override]
        """That of the layer: the map takes it to itself."""
        return self.layer.support

    @property
    def value_dtype(self) -> str:  # type: ignore[override]
        """float64."""
        return "float64"

    def standardized(self, values) -> tf.Tensor:
        """y, float32, for x of shape (..., *event)."""
        return tf.cast((tf.cast(values, tf.float64) - self.offset) / self.scale, tf.float32)


class DistributionInUnits(tfd.Distribution):
    """The distribution of x = offset + scale y, with a density in the units of x.

    Args:
        distribution: of y.
        layer: the `InUnits`, with offset and scale.
    """

    def __init__(self, distribution: tfd.Distribution, layer: InUnits):
        super().__init__(
            dtype=tf.as_dtype(layer.value_dtype),
            reparameterization_type=distribution.reparameterization_type,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"distribution": distribution, "layer": layer},
            name=type(layer).__name__,
        )
        self.distribution = distribution
        self.layer = layer

    def _log_prob(self, value):
        return self.distribution.log_prob(self.layer.standardized(value)) - self.layer.log_volume

    def _entropy(self):
        return self.distribution.entropy() + self.layer.log_volume

    def _sample_n(self, n, seed=None):
        return self._in_units(self.distribution.sample(n, seed=seed))

    def _mean(self):
        return self._in_units(self.distribution.mean())

    def _mode(self):
        return self._in_units(self.distribution.mode())

    def _stddev(self):
        return tf.cast(self.distribution.stddev(), self.dtype) * self.layer.scale

    def _variance(self):
        return tf.cast(self.distribution.variance(), self.dtype) * self.layer.scale**2

    def _in_units(self, values: tf.Tensor) -> tf.Tensor:
        return self.layer.offset + tf.cast(values, self.dtype) * self.layer.scale

    def _batch_shape(self):
        return self.distribution.batch_shape

    def _batch_shape_tensor(self):
        return self.distribution.batch_shape_tensor()

    def _event_shape(self):
        return self.distribution.event_shape

    def _event_shape_tensor(self):
        return self.distribution.event_shape_tensor()


def mean_for_networks(distribution: tfd.Distribution) -> tf.Tensor:
    """The mean of what networks see of draws, with gradients to all parameters, shape (*batch, *event).

    It is in the units of the layer inside of one with units; of levels on a grid it is the mean before they are
    rounded.
    """
    if isinstance(distribution, DistributionInUnits) or hasattr(distribution, "reinterpreted_batch_ndims"):
        return mean_for_networks(distribution.distribution)
    return distribution.unrounded_mean() if hasattr(distribution, "unrounded_mean") else distribution.mean()


def in_parts(data) -> Iterator[np.ndarray]:
    """An array in parts, whose copies in float64 are small."""
    array = np.asarray(data)
    rows = max(1, PART // max(1, array[:1].size))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


class _Moments:
    """Mean, standard deviation and range of each value, over the examples in which it is not NaN, in float64.

    Reference: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """

    def __init__(self, shape: tuple[int, ...]):
        self.count = np.zeros(shape)
        self.mean = np.zeros(shape)
        self.scatter = np.zeros(shape)  # sum of squared deviations from the mean
        self.low, self.high = np.full(shape, np.inf), np.full(shape, -np.inf)

    def add(self, x: np.ndarray) -> None:
        """Adds examples, shape (batch, *shape)."""
        known = ~np.isnan(x)
        count = known.sum(axis=0)
        mean = np.where(known, x, 0.0).sum(axis=0) / np.maximum(count, 1)
        total = np.maximum(self.count + count, 1)
        step = mean - self.mean
        self.scatter += np.where(known, np.square(x - mean), 0.0).sum(axis=0) + step**2 * self.count * count / total
        self.mean += step * count / total
        self.count += count
        self.low = np.fmin(self.low, np.fmin.reduce(x, axis=0, initial=np.inf))
        self.high = np.fmax(self.high, np.fmax.reduce(x, axis=0, initial=-np.inf))

    @property
    def deviation(self) -> np.ndarray:
        """0 where no example has a value."""
        return np.sqrt(self.scatter / np.maximum(self.count, 1))
