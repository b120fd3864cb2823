"""Rows of a table: columns of different kinds, some of their values missing."""

import warnings
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.distributions.base import DistributionLayer, dimensions
from keras_vae.distributions.discrete import Categorical
from keras_vae.distributions.normal import OptimalScaleNormal
from keras_vae.networks.missing import ObservedValues
from keras_vae.sampling import fold

tfd = tfp.distributions


class Columns(DistributionLayer):
    """A row of a table: each column has a distribution of its own kind, and NaN is a value that is missing.

    log p(row | context) = sum over the observed values of log p(value | context). A missing value drops out, in value
    and in gradient, as if its column did not exist; the log-likelihood of a row that misses everything is 0. This is
    the likelihood to maximise where whether a value is missing does not depend on the value ("missing at random").

    All columns share the features of one network; each column's layer has its own parameters of them, and may have a
    network of its own on top. A row is one float32 vector with the values in the order of the columns, that of a
    `Categorical` as its code 0, 1, ..., levels - 1.

    Args:
        columns: distribution layers by name. A layer of event shape (1,) is one column; one of (n,), whose values must
            be independent, is n columns of one kind next to each other, at the cost of one.
        network: from the context to the features that all columns share; None uses the context itself.

    Raises:
        ValueError: for columns that are no distribution layers of vectors, and for `OptimalScaleNormal`.

    Example:

    >>> likelihood = Columns({"age": Normal(1), "smoker": Bernoulli(1)}, dense_decoder(4))
    >>> posterior = Normal(4, likelihood.encoder())

    Reference: Nazabal et al. 2020, arXiv:1807.03653; Mattei & Frellsen 2019, arXiv:1812.02633.
    """

    def __init__(self, columns: Mapping[str, DistributionLayer], network: keras.layers.Layer | None = None, **kwargs):
        if not isinstance(columns, Mapping) or not columns or not all(map(_is_column, columns.items())):
            raise ValueError(
                f"{type(self).__name__} needs columns to be distribution layers of vectors by name, such as "
                f'{{"age": Normal(1), "smoker": Bernoulli(1)}}. Received: columns={columns!r}.'
            )
        for name, layer in columns.items():
            if isinstance(layer, OptimalScaleNormal):  # it would count what stands in for missing values
                raise ValueError(
                    f"{type(self).__name__} needs columns whose density does not depend on the batch, such as "
                    f"LearnedScaleNormal. Received: {layer!r} as column {name!r}."
                )
        super().__init__(sum(layer.event_shape[0] for layer in columns.values()), network, **kwargs)
        self.columns = dict(columns)
        self._stand_ins = tuple(_stand_in(layer) for layer in columns.values())

    @property
    def sizes(self) -> list[int]:
        """Number of values by column."""
        return [layer.event_shape[0] for layer in self.columns.values()]

    def build(self, context_shape=None):
        """Creates the weights of all columns; see `DistributionLayer.build`."""
        if context_shape is None and self.network is not None:
            raise ValueError(f"{self._title} has a network, and so needs a context. Received: None.")
        features = None if context_shape is None else self.build_network(context_shape)
        for layer in self.columns.values():
            if not layer.built:  # a loaded layer is
                layer.build(features)

    def call(self, context=None) -> tfd.Distribution:
        """The distribution of rows given a context; see `DistributionLayer.call`."""
        if context is None:
            return RowDistribution(self, [layer() for layer in self.columns.values()])
        rows, leading = self.features_of(context)
        features = tf.reshape(tf.cast(rows, tf.float32), [*leading, *rows.shape[1:]])
        return RowDistribution(self, [layer(features) for layer in self.columns.values()])

    def without_context(self) -> "Columns":
        """New layers of the same kinds, with parameters of their own in the place of functions of a context."""
        configs = {name: layer.get_config() for name, layer in self.columns.items()}
        for config in configs.values():
            config.update({name: None for name in config if name == "network"})
        return Columns({name: type(layer).from_config(configs[name]) for name, layer in self.columns.items()})

    def inputs(self) -> ObservedValues:
        """The first layer of an encoder: logarithms of positive numbers and counts, one-hot categories, mask."""
        levels, offsets = [], []
        for layer in self.columns.values():
            levels += [_levels(layer)] * layer.event_shape[0]
            offsets += [_log_offset(layer)] * layer.event_shape[0]
        return ObservedValues(levels, offsets)

    def encoder(self, units: Sequence[int] = (200, 200), activation: str = "relu") -> keras.Model:
        """A multilayer perceptron from incomplete rows to features; the counterpart of `dense_encoder`.

        Args:
            units: width of each hidden layer.
            activation: a Keras activation.

        Returns:
            A Keras model from (batch, values) to (batch, units[-1]).
        """
        rows = keras.Input(self.event_shape)
        features = self.inputs()(rows)
        for width in units:
            features = keras.layers.Dense(width, activation=activation)(features)
        return keras.Model(rows, features, name="encoder")

    def values_of(self, codes: tf.Tensor) -> tf.Tensor:
        """The rows, shape (..., values), of expected codes as `RowDistribution.expected_codes` gives them.

        A number is its own code; a category becomes the most probable one.
        """
        sizes = [size * (_levels(layer) or 1) for size, layer in zip(self.sizes, self.columns.values(), strict=True)]
        values = []
        for part, size, layer in zip(tf.split(codes, sizes, axis=-1), self.sizes, self.columns.values(), strict=True):
            if levels := _levels(layer):
                probabilities = tf.reshape(part, [*dimensions(part)[:-1], size, levels])
                part = tf.cast(tf.argmax(probabilities, axis=-1), tf.float32)
            values.append(part)
        return tf.concat(values, axis=-1)

    def check_values(self, values, name: str = "values") -> None:
        """Raises `ValueError` where rows, shape (batch, values), could not be draws; NaN, a missing value, may be.

        Args:
            values: array or tensor.
            name: what the message calls them.
        """
        values = np.asarray(values)
        numbers = values.dtype.kind == "f"
        super().check_values(np.where(np.isfinite(values), values, 0) if numbers else values, name)
        first = 0
        for column, layer, stand_in in zip(self.columns, self.columns.values(), self._stand_ins, strict=True):
            part = values[:, first : first + layer.event_shape[0]]
            first += layer.event_shape[0]
            if numbers:
                finite = part[np.isfinite(part)]
                part = np.where(np.isnan(part), finite[0] if finite.size else stand_in, part)
            layer.check_values(part, f"{name} of column {column!r}")


class RowDistribution(tfd.Distribution):
    """The joint distribution of independent columns, of which any may be missing (NaN) in a row.

    Args:
        layer: the `Columns`.
        parts: the distribution of each column, of one batch shape.
    """

    def __init__(self, layer: Columns, parts: Sequence[tfd.Distribution]):
        parameters = {"layer": layer, "parts": parts}
        reparameterized = all(part.reparameterization_type == tfd.FULLY_REPARAMETERIZED for part in parts)
        super().__init__(
            dtype=tf.float32,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED if reparameterized else tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name="RowDistribution",
        )
        self.layer = layer
        self.parts = list(parts)
        for name, part in zip(layer.columns, parts, strict=True):
            if part.event_shape != [1] and not _has_independent_values(part):
                raise ValueError(
                    f"{layer._title} needs columns of several values to have independent ones. "
                    f"Received: {layer.columns[name]!r} as column {name!r}."
                )

    def log_prob_by_column(self, value) -> tf.Tensor:
        """Log-likelihood of each value, nats, shape (..., values); 0 where it is missing.

        Args:
            value: rows, shape (..., values).
        """
        value = tf.cast(tf.convert_to_tensor(value), tf.float32)
        observed = ~tf.math.is_nan(value)
        # Twice `where`: log_prob must not see a NaN, for a gradient of 0 times NaN is NaN.
        stand_ins = np.repeat(np.float32(self.layer._stand_ins), self.layer.sizes)
        values = tf.split(tf.where(observed, value, stand_ins), self.layer.sizes, axis=-1)
        log_probs = tf.concat([_log_prob(*pair) for pair in zip(self.parts, values, strict=True)], axis=-1)
        return tf.where(observed, log_probs, 0.0)

    def expected_codes(self) -> tf.Tensor:
        """Expectation of each value, and for a category its probabilities, shape (..., numbers + levels)."""
        codes = []
        for part, layer in zip(self.parts, self.layer.columns.values(), strict=True):
            if _levels(layer):
                probabilities = part.distribution.probs_parameter()  # [..., size, levels]
                shape = dimensions(probabilities)
                codes.append(tf.reshape(probabilities, [*shape[:-2], shape[-2] * shape[-1]]))
            else:
                codes.append(part.mean())
        return tf.concat(codes, axis=-1)

    def _log_prob(self, value):
        return tf.reduce_sum(self.log_prob_by_column(value), axis=-1)

    def _sample_n(self, n, seed=None):
        seed = tfp.random.sanitize_seed(seed)
        draws = [part.sample(n, seed=fold(seed, number)) for number, part in enumerate(self.parts)]
        return tf.concat(draws, axis=-1)

    def _mean(self):
        """The expectation of each value, of a category the most probable code."""
        return self.layer.values_of(self.expected_codes())

    def _batch_shape(self):
        return self.parts[0].batch_shape

    def _batch_shape_tensor(self):
        return self.parts[0].batch_shape_tensor()

    def _event_shape(self):
        return tf.TensorShape(self.layer.event_shape)

    def _event_shape_tensor(self):
        return tf.constant(self.layer.event_shape, tf.int32)


def accepts(layer: DistributionLayer, value: float) -> bool:
    """Whether a value lies in the support of a layer, as its `check_values` sees it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            layer.check_values(np.full((1, *layer.event_shape), value, np.float32))
        except ValueError:
            return False
    return True


def _is_column(item: tuple) -> bool:
    name, layer = item
    return isinstance(name, str) and isinstance(layer, DistributionLayer) and len(layer.event_shape) == 1


def _stand_in(layer: DistributionLayer) -> float:
    """A number in the support of a layer, for log_prob to see where a value is missing."""
    return next((value for value in (1.0, 0.5, 0.0, -1.0) if accepts(layer, value)), 1.0)


def _levels(layer: DistributionLayer) -> int:
    """The number of categories; 0 for numbers."""
    return layer.levels if isinstance(layer, Categorical) else 0


def _log_offset(layer: DistributionLayer) -> float | None:
    """The c of log(c + value) for values of many magnitudes: 0 for positive numbers, 1 where 0 may be; else None."""
    if _levels(layer) or accepts(layer, -1.0) or not accepts(layer, 1000.0):
        return None
    return 1.0 if accepts(layer, 0.0) else 0.0


def _has_independent_values(part: tfd.Distribution) -> bool:
    return isinstance(part, tfd.Independent) and part.distribution.event_shape.rank == 0


def _log_prob(part: tfd.Distribution, values: tf.Tensor) -> tf.Tensor:
    """By value, shape (..., values)."""
    return part.log_prob(values)[..., None] if part.event_shape == [1] else part.distribution.log_prob(values)
