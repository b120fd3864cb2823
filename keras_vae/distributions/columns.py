"""Rows of a table: columns of different kinds, some of their values missing."""

import itertools
import json
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.distributions.base import DistributionLayer, dimensions
from keras_vae.distributions.discrete import Categorical
from keras_vae.distributions.normal import OptimalScaleNormal
from keras_vae.distributions.standardized import Standardized
from keras_vae.distributions.supports import Product, Support
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.networks.missing import ObservedValues
from keras_vae.noise import fold
from keras_vae.trace import with_parameters

NO_MARK = ("name", "event_shape", "categories")  # of a layer's config, what layers of one kind may differ in


class Columns(DistributionLayer):
    """A row of a table: each column has a distribution of its own kind, and NaN is a value that is missing.

    log p(row | context) = sum over the observed values of log p(value | context). A missing value drops out, in value
    and in gradient, as if its column did not exist; the log-likelihood of a row that misses everything is 0. This is
    the likelihood to maximise where whether a value is missing does not depend on the value ("missing at random").

    All columns share the features of one network, and may have one of their own on top. Columns of one kind, with equal
    arguments and no weights but those of the last dense layer, are computed together. A row is one vector with the
    values in the order of the columns, that of a `Categorical` as its code 0, 1, ..., levels - 1, and that of a
    `Standardized` column in its own units: rows are then float64.

    Args:
        columns: distribution layers by name. A layer of event shape (1,) is one column; one of (n,), whose values must
            be independent, is n columns of one kind next to each other.
        network: from the context to the features that all columns share; None uses the context itself.

    Attributes:
        parts: the layers that are called, of one or several columns each, without their units.
        offset, scale: of each value of a row, float64 of shape (values,), as in `Standardized`; else 0 and 1.

    Raises:
        ValueError: for columns that are no distribution layers of vectors, for `OptimalScaleNormal`, and for priors
            without parameters, such as `StandardNormal`.

    Example:

    >>> likelihood = Columns({"age": Normal(1), "smoker": Bernoulli(1)}, dense_decoder(4))
    >>> posterior = Normal(4, likelihood.encoder())
    >>> posterior(np.array([[33.0, np.nan]])).mean().shape
    TensorShape([1, 4])

    Reference: Nazabal et al. 2020, arXiv:1807.03653; Mattei & Frellsen 2019, arXiv:1812.02633.
    """

    def __init__(self, columns: Mapping[str, DistributionLayer], network: keras.layers.Layer | None = None, **kwargs):
        if not isinstance(columns, Mapping) or not columns or not all(map(_is_column, columns.items())):
            raise ValueError(
                f"{type(self).__name__} needs columns to be distribution layers of vectors by name, such as "
                f'{{"age": Normal(1), "smoker": Bernoulli(1)}}. Received: columns={columns!r}.'
            )
        for name, layer in columns.items():
            kind, needs = _without_units(layer), ""
            if isinstance(kind, OptimalScaleNormal):  # it would count what stands in for missing values
                needs = "density does not depend on the batch, such as LearnedScaleNormal"
            elif 0 in kind.params_shape:
                needs = "distribution depends on a context, such as Normal"
            if needs:
                raise ValueError(
                    f"{type(self).__name__} needs columns whose {needs}. Received: {layer!r} as column {name!r}."
                )
        super().__init__(sum(layer.event_shape[0] for layer in columns.values()), network, **kwargs)
        self.columns = dict(columns)
        stops = np.cumsum([layer.event_shape[0] for layer in columns.values()]).tolist()
        self._slices = tuple(zip([0, *stops], stops, strict=False))  # of the columns in a row
        self.offset = np.concatenate([_of_values(layer, "offset", 0.0) for layer in columns.values()])
        self.scale = np.concatenate([_of_values(layer, "scale", 1.0) for layer in columns.values()])
        self.has_units = any(isinstance(layer, Standardized) for layer in columns.values())
        groups: dict[str, list[int]] = {}
        layers = [_without_units(layer) for layer in columns.values()]
        for number, layer in enumerate(layers):
            groups.setdefault(_mark(layer) or f"column {number}", []).append(number)
        self.parts = [_merged([layers[number] for number in numbers]) for numbers in groups.values()]
        in_parts = [range(*self._slices[number]) for numbers in groups.values() for number in numbers]
        self._places = tuple(itertools.chain(*in_parts))  # in a row, of each value of the parts
        self._stand_ins = tuple(layer.support.stand_in for layer in self.parts)

    @property
    def support(self) -> Support:  # type: ignore[override]
        """The supports of the columns, in their order."""
        layers = self.columns.values()
        return Product(tuple(layer.support for layer in layers), tuple(layer.event_shape[0] for layer in layers))

    @property
    def value_dtype(self) -> str:  # type: ignore[override]
        """float64 where a column has units, else float32."""
        return "float64" if self.has_units else "float32"

    def standardized(self, values) -> tf.Tensor:
        """Rows, shape (..., values), with each column as its layer without units has it, float32."""
        if not self.has_units:
            return tf.cast(values, tf.float32)
        return tf.cast((tf.cast(values, tf.float64) - self.offset) / self.scale, tf.float32)

    def in_units(self, rows: tf.Tensor) -> tf.Tensor:
        """The inverse of `standardized`."""
        return self.offset + tf.cast(rows, tf.float64) * self.scale if self.has_units else rows

    @property
    def sizes(self) -> list[int]:
        """Number of values by part."""
        return [layer.event_shape[0] for layer in self.parts]

    def split(self, rows: tf.Tensor) -> list[tf.Tensor]:
        """The values of each part, shape (..., size), of rows, shape (..., values)."""
        ordered = self._places == tuple(sorted(self._places))
        return tf.split(rows if ordered else tf.gather(rows, self._places, axis=-1), self.sizes, axis=-1)

    def join(self, values: Sequence[tf.Tensor]) -> tf.Tensor:
        """Rows, shape (..., values), of the values of each part."""
        rows = tf.concat(values, axis=-1)
        ordered = self._places == tuple(sorted(self._places))
        return rows if ordered else tf.gather(rows, np.argsort(self._places), axis=-1)

    def build(self, context_shape=None):
        """Creates the weights of all columns; see `DistributionLayer.build`."""
        features = None
        if context_shape is None:
            self.check_no_network()
        else:
            features = self.build_network(context_shape)
        for layer in self.parts:
            if not layer.built:  # a loaded layer is
                layer.build(features)

    def call(self, context=None) -> tfd.Distribution:
        """The distribution of rows given a context; see `DistributionLayer.call`."""
        if context is None:
            return RowDistribution(self, [layer() for layer in self.parts])
        rows, leading = self.features_of(context)
        features = tf.reshape(tf.cast(rows, tf.float32), [*leading, *rows.shape[1:]])
        return RowDistribution(self, [layer(features) for layer in self.parts])

    def without_context(self) -> "Columns":
        """New layers of the same kinds, with parameters of their own in the place of functions of a context."""
        return Columns({name: _without_context(layer) for name, layer in self.columns.items()})

    def inputs(self) -> ObservedValues:
        """The first layer of an encoder: logarithms of positive numbers and counts, one-hot categories, mask."""
        levels, offsets = [], []
        for layer in map(_without_units, self.columns.values()):
            levels += [_levels(layer)] * layer.event_shape[0]
            offsets += [layer.support.log_offset] * layer.event_shape[0]
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

        A number is its own code, in the units of its column; a category becomes the most probable one.
        """
        sizes = [size * (_levels(layer) or 1) for size, layer in zip(self.sizes, self.parts, strict=True)]
        values = []
        for part, size, layer in zip(tf.split(codes, sizes, axis=-1), self.sizes, self.parts, strict=True):
            if levels := _levels(layer):
                probabilities = tf.reshape(part, [*dimensions(part)[:-1], size, levels])
                part = tf.cast(tf.argmax(probabilities, axis=-1), tf.float32)
            values.append(part)
        return self.in_units(self.join(values))

    def check_values(self, values, name: str = "values") -> None:
        """Raises `ValueError` where rows, shape (batch, values), could not be draws; NaN, a missing value, may be.

        Args:
            values: array or tensor.
            name: what the message calls them.
        """
        values = np.asarray(values)
        numbers = values.dtype.kind == "f"
        self.checked_numbers(np.where(np.isfinite(values), values, 0) if numbers else values, name)
        for (column, layer), (start, stop) in zip(self.columns.items(), self._slices, strict=True):
            part = values[:, start:stop]
            if numbers:
                finite = part[np.isfinite(part)]
                part = np.where(np.isnan(part), finite[0] if finite.size else layer.support.stand_in, part)
            layer.check_values(part, f"{name} of column {column!r}")


class RowDistribution(tfd.Distribution):
    """The joint distribution of independent columns, of which any may be missing (NaN) in a row.

    Args:
        layer: the `Columns`.
        parts: the distribution of each of its parts, of one batch shape.
    """

    def __init__(self, layer: Columns, parts: Sequence[tfd.Distribution]):
        parameters = {"layer": layer, "parts": parts}
        reparameterized = all(part.reparameterization_type == tfd.FULLY_REPARAMETERIZED for part in parts)
        super().__init__(
            dtype=tf.as_dtype(layer.value_dtype),
            reparameterization_type=tfd.FULLY_REPARAMETERIZED if reparameterized else tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name="RowDistribution",
        )
        self.layer = layer
        self.parts = list(parts)
        for maker, part in zip(layer.parts, parts, strict=True):
            if part.event_shape != [1] and not _has_independent_values(part):
                raise ValueError(
                    f"{layer._title} needs columns of several values to have independent ones. Received: {maker!r}."
                )

    def log_prob_by_column(self, value) -> tf.Tensor:
        """Log-likelihood of each value, nats, shape (..., values); 0 where it is missing.

        Args:
            value: rows, shape (..., values).
        """
        return self._in_units(self.layer.join(self._log_probs(value)), value)

    def _log_probs(self, value) -> list[tf.Tensor]:
        """By part, each in the units of its own layer."""
        values = self.layer.split(self.layer.standardized(value))
        return [_log_prob(*each) for each in zip(self.parts, values, self.layer._stand_ins, strict=True)]

    def _in_units(self, log_probs: tf.Tensor, value) -> tf.Tensor:
        """Densities in the units of the columns, of those in the units of the parts' layers, shape (..., values)."""
        if not self.layer.has_units:
            return log_probs
        log_scale = np.log(self.layer.scale).astype(np.float32)
        return log_probs - tf.where(tf.math.is_nan(tf.cast(value, tf.float64)), 0.0, log_scale)

    def at(self, places: tf.Tensor) -> "RowDistribution":
        """The distributions at some places of a batch of distributions.

        Args:
            places: indices into the batch shape, int32 of shape (..., batch axes).

        Returns:
            A distribution of batch shape (...).
        """

        def gather(parameter):
            return tf.gather_nd(parameter, places) if len(parameter.shape) > places.shape[-1] else parameter

        return RowDistribution(self.layer, [with_parameters(part, gather) for part in self.parts])

    def expected_codes(self) -> tf.Tensor:
        """Expectation of each number, and the probabilities of each category, shape (..., numbers + levels).

        In the order of the layer's parts and without units; `Columns.values_of` makes rows of them and their averages.
        """
        codes = []
        for part, layer in zip(self.parts, self.layer.parts, strict=True):
            if _levels(layer):
                probabilities = part.distribution.probs_parameter()  # [..., size, levels]
                shape = dimensions(probabilities)
                codes.append(tf.reshape(probabilities, [*shape[:-2], shape[-2] * shape[-1]]))
            else:
                codes.append(part.mean())
        return tf.concat(codes, axis=-1)

    def _log_prob(self, value):
        if self.layer.has_units:
            return tf.reduce_sum(self.log_prob_by_column(value), axis=-1)
        return tf.reduce_sum(tf.concat(self._log_probs(value), axis=-1), axis=-1)

    def _sample_n(self, n, seed=None):
        return self.tempered_sample([n], tfp.random.sanitize_seed(seed), 1.0)

    def tempered_sample(self, sample_shape, seed, temperature) -> tf.Tensor:
        """Draws at a temperature; see `tempered_draws`."""
        parts = zip(self.parts, self.layer.parts, strict=True)
        draws = [
            tempered_draws(part, sample_shape, fold(seed, number), temperature, layer.support)
            for number, (part, layer) in enumerate(parts)
        ]
        return self.layer.in_units(self.layer.join(draws))

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


def _is_column(item: tuple) -> bool:
    name, layer = item
    return isinstance(name, str) and isinstance(layer, DistributionLayer) and len(layer.event_shape) == 1


def _without_units(layer: DistributionLayer) -> DistributionLayer:
    return layer.layer if isinstance(layer, Standardized) else layer


def _of_values(layer: DistributionLayer, name: str, default: float) -> np.ndarray:
    """Offset or scale of the values of a column."""
    return getattr(layer, name) if isinstance(layer, Standardized) else np.full(layer.event_shape, default)


def _without_context(layer: DistributionLayer) -> DistributionLayer:
    """A new layer of the same kind, without a network."""
    if isinstance(layer, Standardized):
        return Standardized(_without_context(layer.layer), layer.offset, layer.scale)
    config = layer.get_config()
    return type(layer).from_config(config | {name: None for name in config if name == "network"})


def _levels(layer: DistributionLayer) -> int:
    """The number of categories; 0 for numbers."""
    return layer.levels if isinstance(layer, Categorical) else 0


def _mark(layer: DistributionLayer) -> str | None:
    """Equal for layers that are one layer of more values; None for a layer with weights or a method of its own."""
    base = DistributionLayer
    if layer.network is not None or layer.built or (type(layer).build, type(layer).call) != (base.build, base.call):
        return None
    if not _has_independent_values(layer.distribution(tf.zeros(layer.params_shape))):
        return None
    config = {name: value for name, value in layer.get_config().items() if name not in NO_MARK}
    return json.dumps([keras.saving.get_registered_name(type(layer)), _anywhere(config)])


def _anywhere(config):
    """A config without the numbers that Keras gives to objects while it saves or loads a model."""
    if isinstance(config, Mapping):
        return {name: _anywhere(value) for name, value in config.items() if name != "shared_object_id"}
    return [_anywhere(value) for value in config] if isinstance(config, list | tuple) else config


def _merged(layers: Sequence[DistributionLayer]) -> DistributionLayer:
    """One layer of the values of layers with equal marks."""
    if len(layers) == 1:
        return layers[0]
    config = {name: value for name, value in layers[0].get_config().items() if name not in ("name", "categories")}
    merged = type(layers[0]).from_config(config | {"event_shape": [sum(layer.event_shape[0] for layer in layers)]})
    if all(layer.start is not None for layer in layers):
        merged.start = np.concatenate([layer.start for layer in layers])
    return merged


def _has_independent_values(part: tfd.Distribution) -> bool:
    return isinstance(part, tfd.Independent) and part.distribution.event_shape.rank == 0


def _log_prob(part: tfd.Distribution, values: tf.Tensor, stand_in: float) -> tf.Tensor:
    """By value, shape (..., values), and 0 where it is missing."""
    observed = ~tf.math.is_nan(values)
    # Twice `where`: log_prob must not see a NaN, for a gradient of 0 times NaN is NaN.
    values = tf.where(observed, values, stand_in)
    log_prob = part.log_prob(values)[..., None] if part.event_shape == [1] else part.distribution.log_prob(values)
    return tf.where(observed, log_prob, 0.0)
