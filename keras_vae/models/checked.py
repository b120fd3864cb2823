"""What a model is given is looked at before any work is done."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae.arguments import any_seed, not_negative, whole_number
from keras_vae.distributions.supports import Support
from keras_vae.models.given import Given, as_array, given, number_of_batch, watched
from keras_vae.models.inputs import Field, Inputs
from keras_vae.noise import fold
from keras_vae.replicas import one_device
from keras_vae.sampling import sampling, within_sampling
from keras_vae.serializable import Serializable


class CheckedModel(Serializable, keras.Model):
    """Refuses what the methods of a model can not use, by errors that name the class, what it needs and what it got."""

    @property
    def takes(self) -> Inputs:
        """What `call` takes: the observation, of the shape of the layer `likelihood`, unless a subclass says more."""
        if not hasattr(self, "likelihood"):
            raise NotImplementedError(
                f"{type(self).__name__} needs a property takes that returns Inputs(x=Field(shape)), or a layer "
                "self.likelihood, whose event shape is that of an observation."
            )
        return Inputs(Field(self.likelihood.event_shape, observed=self.likelihood))

    @property
    def event_shape(self) -> tuple:
        """Shape of one observation: of the first part of it where there are several."""
        shape: Any = self._observed[0].shape
        return shape

    @property
    def dimensions(self) -> int | None:
        """Number of values of one observation; None where observations differ in it."""
        shapes: list[Any] = [field.shape for field in self._observed]
        if any(shape is None or None in shape for shape in shapes):
            return None
        return sum(map(math.prod, shapes))

    @property
    def discrete(self) -> bool:
        """Whether the likelihood is a probability mass of a fixed number of values, which has bits per dimension."""
        layers = [field.observed for field in self._observed]
        known = all(field.shape is not None and None not in field.shape for field in self._observed)
        return known and all(layer is not None and layer.discrete for layer in layers)

    @property
    def _observed(self) -> list[Field]:
        """The fields of the observation, or all fields where the model does not say which are."""
        fields = tf.nest.flatten(self.takes.x)
        return [field for field in fields if field.observed is not None] or fields

    def as_inputs(self, x, y=None):
        """What `call` takes, of the data and targets of a batch; see `takes`. Targets without a place are ignored."""
        return self.takes.of(type(self).__name__, x, y)

    def example_inputs(self, x=None):
        """What `call` takes, of batch size 1: the observation `x`, shape (1, *event), or zeros, and zeros otherwise."""
        return self.takes.example(x)

    def check_shape(self, shape) -> None:
        """Raises `ValueError` for an observation whose shape, with the batch axis first, is another one."""
        self._observed[0].check_shape(type(self).__name__, shape)

    def check_data(self, x) -> None:
        """Raises `ValueError` for arrays of observations, in the structure of x, that the model can not use."""
        for field, array in zip(tf.nest.flatten(self.takes.x), tf.nest.flatten(x), strict=True):
            self._check_field(field, array)

    def _check_field(self, field: Field, array: np.ndarray) -> None:
        field.check_shape(type(self).__name__, array.shape)
        if field.optional and array.dtype.kind == "f":
            array = array[~np.isnan(array).reshape(len(array), -1).any(axis=1)]
        if field.observed is not None:
            field.observed.check_values(array, field.words)
        elif array.dtype.kind not in "biuf":
            raise ValueError(
                f"{type(self).__name__} needs {field.words} that are numbers. Received: dtype {array.dtype}."
            )
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{type(self).__name__} needs finite {field.words}. Received: NaN or infinity.")

    def _check_inputs(self, inputs) -> None:
        """Raises `ValueError` for arrays of what `call` takes that the model can not use."""
        takes = self.takes
        x, y = inputs if takes.y is not None else (inputs, None)
        self.check_data(x)
        for field, array in zip(_flat(takes.y), _flat(y), strict=True):
            self._check_field(field, array)

    def check_missing(self, inputs) -> None:
        """Raises `ValueError` for arrays with missing values (NaN) that a network passes on."""
        x = inputs[0] if self.takes.y is not None else inputs
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
            return
        missing = np.isnan(x).reshape(len(x), -1).any(axis=1)
        if not missing.any():
            return
        with sampling(samples=1, seed=fold(0)):
            trace = self(self.example_inputs(tf.constant(x[missing][:1])))
        if not np.isfinite(trace.log_likelihood + trace.kl):
            raise ValueError(
                f"{type(self).__name__} needs networks that take missing values, as the layer ObservedValues makes of "
                "any network that it comes first in. Received: data with NaN, which comes out of the networks as NaN."
            )

    def _require_compiled(self, method: str) -> None:
        if not self.compiled:
            raise ValueError(
                f"{type(self).__name__}.{method} needs compile(optimizer, loss=ELBO()) first. Received: a model that "
                "is not compiled."
            )

    def _require_built(self, method: str) -> None:
        if not self.built:
            raise ValueError(
                f"{type(self).__name__}.{method} needs weights: call fit, or build((None, *event_shape)), first. "
                "Received: a model that is not built."
            )

    def _checked_count(self, count):
        """A number of draws: an integer tensor, or a whole number; raises `ValueError` for anything else."""
        return count if tf.is_tensor(count) else whole_number(self, "count", count, least=0)

    def _as_seed(self, seed) -> tf.Tensor:
        """int32 of shape (2,): fresh noise for None; raises `ValueError` for what is not a seed."""
        if seed is None:
            return tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        return fold(any_seed(self, seed))

    def _as_temperature(self, temperature) -> tf.Tensor:
        """float32 scalar; raises `ValueError` for a number that is not finite or below 0."""
        if not tf.is_tensor(temperature):
            temperature = not_negative(self, "temperature", temperature)
        return tf.cast(temperature, tf.float32)

    def _as_latent(self, z, shape: tuple[int | None, ...], support: Support, name: str = "z") -> tf.Tensor:
        """float32 of shape (..., *shape); raises `ValueError` for others, and for values that no latent could have."""
        z = tf.cast(tf.convert_to_tensor(z), tf.float32)
        if not z.shape[-len(shape) :].is_compatible_with(shape):
            expected = ", ".join(["batch", *("any" if size is None else str(size) for size in shape)])
            raise ValueError(
                f"{type(self).__name__}.decode needs {name} of shape ({expected}). Received: {tuple(z.shape)}."
            )
        if tf.executing_eagerly() and not within_sampling():
            support.check(f"{type(self).__name__}.decode", z.numpy(), name)
        return z

    def _check_batch(self, inputs: Inputs, batch) -> None:
        """Raises `ValueError` for tensors of `inputs` that the model can not use."""
        for field, value in zip(inputs.fields, inputs.flat(batch), strict=True):
            if field.is_instead(value):
                continue
            in_units = field.observed is None or field.observed.other_units is None
            if not in_units or not field.contains(value):
                self._check_field(field, value.numpy())

    def look_at(self, method: str, x, y=None, sample_weight=None) -> Given:
        """What was given, after a look at all of an array or at the first batch of anything else; builds the model.

        Args:
            method: "fit", for messages.
            x, y, sample_weight: of a method of Keras.
        """
        found = given(f"{type(self).__name__}.{method}", self.takes, x, y, sample_weight)
        if found.first is None:
            return found
        self._check_inputs(found.first)
        if not self.built:
            with self.distribute_strategy.scope():
                x = found.first if self.takes.y is None else found.first[0]
                shapes = tf.nest.map_structure(lambda array: (None, *array.shape[1:]), x)
                self.build((None, *self.event_shape) if self.takes.stands_for_x(x) else shapes)
        self.check_missing(found.first)
        if self.compiled and (method == "fit" or not one_device(self.distribute_strategy)):
            self._create_variables(to_train=method == "fit")
        return found

    def checked(self, x, method: str):
        """`x`, as an array or in batches, after `look_at`."""
        found = self.look_at(method, x)
        return found.batches if found.arrays is None else found.arrays[0]

    def _watched(self, found: Given):
        """Batches that end with an error at the first one that the model can not use."""

        def contains(batch):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
            inputs = self.takes.matched(found.owner, x, y)
            pairs = zip(self.takes.fields, self.takes.flat(inputs), strict=True)
            return tf.reduce_all([field.contains(value) for field, value in pairs])

        def check(batch, number):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
            try:
                self._check_inputs(self.takes.matched(found.owner, x, y, _array_of(found.owner)))
            except ValueError as error:
                raise ValueError(f"{error} In batch {number}.") from None

        return watched(found.batches, contains, check)

    @contextlib.contextmanager
    def _naming_batches(self, found: Given) -> Iterator[None]:
        """Raises `ValueError` that says what is wrong with a batch that `_watched` has refused."""
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            number = number_of_batch(error)
            if number is None:
                raise
            x, y, _ = keras.utils.unpack_x_y_sample_weight(next(iter(found.batches.skip(number - 1).take(1))))
            try:
                self._check_inputs(self.takes.matched(found.owner, x, y, _array_of(found.owner)))
            except ValueError as reason:
                raise ValueError(f"{reason} In batch {number}.") from None
            raise ValueError(
                f"{found.owner} needs data that the model allows. Received: others in batch {number}."
            ) from None


def _flat(structure) -> list:
    return [] if structure is None else tf.nest.flatten(structure)


def _array_of(owner: str):
    return lambda field, value: as_array(owner, value, field.dtype)
