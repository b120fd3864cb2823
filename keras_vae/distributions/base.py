"""The layer that turns a context into a distribution."""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import positive
from keras_vae.distributions.other_units import OtherUnits
from keras_vae.distributions.supports import RealNumbers, Support
from keras_vae.networks.shapes import as_shape
from keras_vae.serializable import Serializable


class DistributionLayer(Serializable, keras.layers.Layer):
    """p(value | context): context -> network -> one dense layer -> parameters -> `distribution`.

    A subclass says how many parameters a value has (`params_per_value`, 1 unless it says more) and, in `distribution`,
    what they mean; if its constructor has arguments of its own, it keeps each as an attribute of that name. Where its
    draws are not any real numbers it says so by `support`, an object of `keras_vae.distributions.supports`. Without a
    context, as a prior, the parameters are weights of the layer's own.

    Args:
        event_shape: shape of one draw, 16 or (28, 28, 1).
        network: any Keras model or layer from the context to features, of shape (batch, features) or, to keep the
            event's grid, (batch, *event_shape[:-1], channels). None uses the context itself.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer. The network computes in the precision of the
            policy; the parameters and the distribution are float32 under every policy.

    Raises:
        ValueError: for an event shape that is not one, and, when built, for a network whose features do not fit.
    """

    params_per_value = 1
    params_initializer = "zeros"  # of the parameters without a context
    discrete = False  # True where log_prob is a probability mass, which has bits per dimension
    value_dtype = "float32"  # of the values, as a model takes and gives them
    start: np.ndarray | None = None  # mean of the data that a layer was adapted to, where its parameters are to begin
    support: Support = RealNumbers()  # where draws are: a posterior's must lie within its prior's

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for former in {"space", "_check_support"} & set(vars(cls)):
            raise TypeError(
                f"{cls.__name__} needs `support`, an object of keras_vae.distributions.supports, to say where its "
                f"draws are. Received: {former}, which is no longer asked."
            )

    def __init__(self, event_shape: int | Sequence[int], network: keras.layers.Layer | None = None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.event_shape = as_shape(event_shape, type(self).__name__)
        self.network = network

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """The distribution with these parameters.

        Args:
            params: float32, shape (..., *params_shape), any real numbers.

        Returns:
            A distribution of batch shape (...) and event shape `event_shape`.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method distribution(self, params).")

    def build(self, context_shape=None):
        """Creates the weights.

        Args:
            context_shape: of the context, with one leading axis, the batch; of several tensors a sequence of shapes;
                None for a layer without a context.
        """
        if context_shape is None:
            self.check_no_network()
            self.params = self.add_weight(
                shape=self.params_shape, initializer=self.params_initializer, name="params", dtype="float32"
            )
        else:
            features = self.build_network(context_shape)
            self.head = keras.layers.Dense(self._head_units(features), dtype="float32", name="params")
            self.head.build(features)
        if self.start is not None:
            self.begin(self.params if context_shape is None else self.head.bias)

    def check_no_network(self) -> None:
        """Raises `ValueError` for a layer with a network, which is given no context."""
        if self.network is not None:
            raise ValueError(f"{self._title} has a network, and so needs a context. Received: None.")

    def add_weight(self, *args, **kwargs) -> keras.Variable:
        """As `keras.layers.Layer.add_weight`; the layer's own weights stay float32 under every policy."""
        # The outermost layer of a call casts them, whatever its `autocast` says: that of `model.decode(z)` is this one.
        return super().add_weight(*args, **{"autocast": False} | kwargs)

    def begin(self, bias: keras.Variable) -> None:
        """Lets the parameters begin at `start`.

        Args:
            bias: the parameters, shape `params_shape`, or what is added to them, of the features' last dense layer.
        """
        raise NotImplementedError(f"{self._title} needs a method begin(self, bias).")

    def _post_build(self):
        """Freezes the parts of a layer that was frozen before it had them, which Keras does not: of a loaded one."""
        super()._post_build()
        if not self.trainable:
            for part in self._layers:
                part.trainable = False

    def build_network(self, context_shape) -> tuple:
        """Builds the network for a context of this shape, see `build`, and returns the shape of its features."""
        several = isinstance(context_shape[0], Sequence)
        self.context_shapes = [tuple(shape) for shape in (context_shape if several else [context_shape])]
        if self.network is not None:
            inputs = [keras.KerasTensor(shape) for shape in self.context_shapes]
            features = self.network(inputs if several else inputs[0])
            if not hasattr(features, "shape"):
                raise ValueError(
                    f"{self._title} needs a network with one output, its features: the layer makes the parameters of "
                    f"them. Received: {len(features)} outputs."
                )
            return tuple(features.shape)
        if several:
            raise ValueError(f"{self._title} needs a network for a context of several tensors. Received: None.")
        return self.context_shapes[0]

    def standardized(self, values) -> tf.Tensor:
        """The values as networks are to see them, float32 of the same shape: a layer with units of its own has others.

        Args:
            values: shape (..., *event_shape).
        """
        return tf.cast(values, tf.float32)

    def units_of(self, values) -> dict[str, tf.Tensor]:
        """How many units each value has, by name, shape (batch,), where the logs are to have nats for each of them."""
        del values
        return {}

    @property
    def params_shape(self) -> tuple[int, ...]:
        """Shape of the parameters of one draw: (*event_shape, params_per_value), unless a subclass says otherwise."""
        return (*self.event_shape, self.params_per_value)

    def relate(self, posterior: "DistributionLayer", likelihood: "DistributionLayer") -> None:
        """Called by a model with its other layers, before anything is built: for a prior that is made of them."""

    @property
    def _title(self) -> str:
        return f"{type(self).__name__}(event_shape={self.event_shape})"

    def _head_units(self, features: tuple) -> int:
        grid = list(self.event_shape[:-1])
        if len(features) == 2:
            return math.prod(self.params_shape)
        if list(features[1:-1]) == grid == list(self.params_shape[: len(grid)]):
            return math.prod(self.params_shape[len(grid) :])
        flat = "" if len(self.event_shape) == 1 else " or (batch, features)"
        wanted = ", ".join(["batch", *map(str, grid), "features" if not grid else "channels"])
        raise ValueError(f"{self._title} needs features of shape ({wanted}){flat}. Received: {features}.")

    def call(self, context=None) -> tfd.Distribution:
        """The distribution given a context of shape (..., *context_shape), e.g. (samples, batch, features).

        All leading axes are folded into one for the network, and unfolded in the parameters. Of a sequence of several
        tensors the first says what the leading axes are; the others are broadcast to them.
        """
        params = tf.convert_to_tensor(self.params) if context is None else self.params_of(context)
        return self._checked(self.distribution(params))

    def params_of(self, context) -> tf.Tensor:
        """The parameters given a context, see `call`, float32, shape (..., *params_shape)."""
        features, leading = self.features_of(context)
        params = self.head(tf.cast(features, tf.float32))
        return tf.reshape(params, [*leading, *self.params_shape])

    def _checked(self, made) -> tfd.Distribution:
        """What `distribution` of a subclass has made, if it is what a model can use."""
        if not isinstance(made, tfd.Distribution):
            raise TypeError(
                f"{self._title} needs its method distribution to return a TensorFlow Probability distribution. "
                f"Received: {made!r}."
            )
        if made.event_shape.rank is not None and tuple(made.event_shape) != self.event_shape:
            raise ValueError(
                f"{self._title} needs its method distribution to return one of event shape {self.event_shape}: "
                "tfd.Independent makes values independent parts of one event. "
                f"Received: {made.name} of batch shape {made.batch_shape} and event shape {made.event_shape}."
            )
        return made

    def features_of(self, context) -> tuple[tf.Tensor, list]:
        """The features of a context, shape (rows, ...), and the sizes of the leading axes folded into the rows."""
        contexts = [tf.convert_to_tensor(part) for part in (context if isinstance(context, Sequence) else [context])]
        shapes = [shape[1:] for shape in self.context_shapes]
        leading = dimensions(contexts[0])[: len(contexts[0].shape) - len(shapes[0])]
        rows = []
        for part, shape in zip(contexts, shapes, strict=True):
            if len(part.shape) < len(leading) + len(shape):
                part = tf.broadcast_to(part, [*leading, *shape])
            rows.append(tf.reshape(part, [-1, *shape]))  # [rows, *context]
        if self.network is None:
            return rows[0], leading
        features = self.network(list(map(_some_rows, rows)) if len(rows) > 1 else _some_rows(rows[0]))
        return features if rows[0].shape[0] else features[: tf.shape(rows[0])[0]], leading

    def compute_output_shape(self, context_shape=None) -> tuple:
        """Shape of one draw per context, for `summary()`."""
        return (None, *self.event_shape)

    def check_values(self, values, name: str = "values") -> None:
        """Raises `ValueError` where the values, shape (batch, *event_shape), could not be draws of this layer.

        Args:
            values: array or tensor.
            name: what the message calls them.
        """
        values = self.checked_numbers(values, name)
        self.support.check(self._title, values, name)
        if self.other_units is not None:
            self.other_units.check(self._title, values, name)

    @property
    def other_units(self) -> OtherUnits | None:
        """Values that `check_values` refuses for what all of a batch are: of images of real numbers, grey levels."""
        shape = self.event_shape
        if self.support != RealNumbers() or len(shape) != 3 or shape[-1] not in (1, 3, 4):
            return None
        advice = (
            "Divide them by the value of white, 255 for bytes, or name it in the model: "
            f"GreyLevels({type(self).__name__}(...), white=255)."
        )
        return OtherUnits(1.0, 255.0, True, "of about size 1.", "whole numbers", "as grey levels of images are", advice)

    def checked_numbers(self, values, name: str) -> np.ndarray:
        """The values as an array, wherever they are; raises `ValueError` for another shape and what is not finite."""
        values = np.asarray(values)
        if values.shape[1:] != self.event_shape:
            expected = ", ".join(["batch", *map(str, self.event_shape)])
            raise ValueError(f"{self._title} needs {name} of shape ({expected}). Received: shape {values.shape}.")
        if values.dtype.kind not in "biuf":
            raise ValueError(f"{self._title} needs {name} that are numbers. Received: dtype {values.dtype}.")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = np.argwhere(~np.isfinite(values))
            raise ValueError(
                f"{self._title} needs finite {name}. Received: {len(bad)} that are NaN or infinite, the first at index "
                f"{tuple(bad[0].tolist())}."
            )
        return values


def _some_rows(rows: tf.Tensor) -> tf.Tensor:
    """The rows, or one of zeros where there are none: convolutions fail on an empty batch of 1 x 1 places."""
    if rows.shape[0] or len(rows.shape) < 3:
        return rows
    missing = tf.cast(tf.equal(tf.shape(rows)[0], 0), tf.int32)
    return tf.pad(rows, [[0, missing], *[[0, 0]] * (len(rows.shape) - 1)])


def check_spaces(owner: str, posterior: DistributionLayer, prior: DistributionLayer) -> None:
    """Raises `ValueError` where the ratio of the densities of a posterior and its prior would mean nothing."""
    if not posterior.support.within(prior.support):
        raise ValueError(
            f"{owner} needs a posterior and a prior whose draws are of one kind. Received: {type(posterior).__name__}, "
            f"{posterior.support.description}, and {type(prior).__name__}, {prior.support.description}."
        )


class ScaledLayer(DistributionLayer):
    """A layer that predicts scales too, and keeps them from 0.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        min_scale: the smallest scale, in units of the data, more than 0.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        min_scale: float = 1e-3,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        self.min_scale = positive(self, "min_scale", min_scale)

    def scale(self, raw: tf.Tensor) -> tf.Tensor:
        """min_scale + softplus(raw), for any real numbers."""
        return self.min_scale + tf.math.softplus(raw)


class TensorDistribution(tfd.Distribution):
    """A distribution whose dtype, batch shape and event shape are those of one tensor.

    Args:
        like: a tensor of shape (*batch, *event).
        event_axes: how many of its axes, the last ones, are the event's.
        reparameterized: whether draws carry gradients to the parameters.
        **parameters: of the subclass, by name.
    """

    def __init__(self, like: tf.Tensor, event_axes: int = 0, reparameterized: bool = True, **parameters):
        super().__init__(
            dtype=like.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED if reparameterized else tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
        )
        self._like = like
        self._batch_axes = len(like.shape) - event_axes

    def _batch_shape(self):
        return self._like.shape[: self._batch_axes]

    def _batch_shape_tensor(self):
        return tf.shape(self._like)[: self._batch_axes]

    def _event_shape(self):
        return self._like.shape[self._batch_axes :]

    def _event_shape_tensor(self):
        return tf.shape(self._like)[self._batch_axes :]


class Independent(tfd.Independent):
    """`tfd.Independent` over the whole event, whose log_prob runs over one flat axis.

    XLA on a CPU vectorizes the innermost axis, and that of a grey image has the length 1.

    Args:
        distribution: of batch shape (..., *event_shape), its parameters too.
        event_shape: shape of one draw.
    """

    def __init__(self, distribution: tfd.Distribution, event_shape: Sequence[int]):
        super().__init__(distribution, reinterpreted_batch_ndims=len(event_shape))
        self._event = tuple(event_shape)

    @property
    def parameters(self) -> dict:
        """What the constructor takes."""
        return {"distribution": self.distribution, "event_shape": self._event}

    def copy(self, **override) -> "Independent":
        """The same with other parameters."""
        return type(self)(**(self.parameters | override))

    def _log_prob(self, value):
        flat = self.distribution.copy(
            **{name: self._flat(given) for name, given in self.distribution.parameters.items() if tf.is_tensor(given)}
        )
        return tf.reduce_sum(flat.log_prob(self._flat(value)), axis=-1)

    def _flat(self, tensor: tf.Tensor) -> tf.Tensor:
        leading = dimensions(tensor)[: len(tensor.shape) - len(self._event)]
        return tf.reshape(tensor, [*leading, math.prod(self._event)])


def dimensions(tensor: tf.Tensor) -> list:
    """The sizes of the axes, as integers where they are known and as scalar tensors where they are not."""
    dynamic = tf.shape(tensor)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(tensor.shape)]
