"""Normal distributions of independent values."""

from collections.abc import Sequence

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import fraction, positive
from keras_vae.distributions.base import DistributionLayer, Independent, ScaledLayer
from keras_vae.distributions.special import reached
from keras_vae.noise import standard_normal
from keras_vae.sampling import mean_of_examples


class Normal(ScaledLayer):
    """Normal with independent values, whose location and scale are predicted from the context.

    N(value | loc, scale^2), scale = min_scale + softplus(raw). As a likelihood its density has no bound where the data
    is constant, except for `min_scale`.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        min_scale: the smallest standard deviation, in units of the data, more than 0.

    Reference: Kingma & Welling 2014, arXiv:1312.6114.
    """

    params_per_value = 2

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale = tf.unstack(params, axis=-1)
        return independent_normal(loc, self.scale(raw_scale), self.event_shape)


class FixedScaleNormal(DistributionLayer):
    """Normal with independent values, whose location is predicted and whose scale is a constant.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        scale: the standard deviation of every value, in units of the data, more than 0.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        scale: float = 1.0,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        self.scale = positive(self, "scale", scale)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc = tf.squeeze(params, axis=-1)
        return independent_normal(loc, tf.fill(tf.shape(loc), self.scale), self.event_shape)


class NormalAround(DistributionLayer):
    """N(value | context, scale^2): normal around what it is given, without weights. For what a model paints itself.

    Args:
        event_shape: shape of one draw, and of the context.
        scale: the standard deviation of every value, in units of the data, more than 0.
    """

    params_per_value = 0

    def __init__(self, event_shape: int | Sequence[int], scale: float = 1.0, **kwargs):
        super().__init__(event_shape, **kwargs)
        self.scale = positive(self, "scale", scale)

    def build(self, context_shape=None):
        """Checks the shape; there is nothing to create."""
        if context_shape is None or tuple(context_shape[1:]) != self.event_shape:
            raise ValueError(
                f"{self._title} needs a context of shape {('batch', *self.event_shape)}. Received: {context_shape}."
            )

    def call(self, context=None) -> tfd.Distribution:
        """The distribution around a context of shape (..., *event_shape)."""
        loc = tf.cast(context, tf.float32)
        return independent_normal(loc, tf.fill(tf.shape(loc), self.scale), self.event_shape)


class LearnedScaleNormal(DistributionLayer):
    """Normal with independent values, whose location is predicted and whose scale is one learned number.

    scale = min_scale + exp(log_scale), one weight for all values: the standard deviation of the noise is estimated
    together with the networks.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        initial_scale: the standard deviation that training starts from, in units of the data, more than `min_scale`.
        min_scale: the smallest standard deviation, in units of the data, more than 0.

    Reference: Rybkin, Daniilidis & Levine 2021, arXiv:2006.13202 (there "shared sigma").
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        initial_scale: float = 1.0,
        min_scale: float = 1e-3,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        self.min_scale = positive(self, "min_scale", min_scale)
        self.initial_scale = positive(self, "initial_scale", initial_scale)
        if self.initial_scale <= self.min_scale:
            raise ValueError(
                f"{type(self).__name__} needs initial_scale > min_scale. "
                f"Received: initial_scale={initial_scale}, min_scale={min_scale}."
            )

    def build(self, context_shape=None):
        super().build(context_shape)
        log_scale = tf.math.log(self.initial_scale - self.min_scale)
        self.log_scale = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(float(log_scale)), name="log_scale", dtype="float32"
        )

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc = tf.squeeze(params, axis=-1)
        scale = self.min_scale + tf.exp(reached(tf.convert_to_tensor(self.log_scale)))
        return independent_normal(loc, tf.fill(tf.shape(loc), scale), self.event_shape)


class OptimalScaleNormal(DistributionLayer):
    """Normal with independent values, whose location is predicted and whose scale is the best one for each batch.

    In training log_prob takes the standard deviation at which the batch is most likely, scale^2 = mean (value - loc)^2
    over draws, examples by their weights, and values: each bound is that of the best shared scale, which costs no
    weight and no steps. A moving average of the variance is kept, and is the scale outside of training, where a
    density must not look at the data it is asked for.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        momentum: of the moving average, in [0, 1).
        min_scale: the smallest standard deviation, in units of the data, more than 0.

    Reference: Rybkin, Daniilidis & Levine 2021, arXiv:2006.13202.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        momentum: float = 0.99,
        min_scale: float = 1e-3,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        self.momentum = fraction(self, "momentum", momentum)
        self.min_scale = positive(self, "min_scale", min_scale)

    def build(self, context_shape=None):
        super().build(context_shape)
        options = {"trainable": False, "dtype": "float32", "aggregation": "mean"}
        self.variance = self.add_weight(shape=(), initializer="ones", name="variance", **options)
        self.updates = self.add_weight(shape=(), initializer="zeros", name="updates", **options)

    def call(self, context=None, training=None) -> tfd.Distribution:
        normal = super().call(context)
        return _BestScaleNormal(normal.distribution.loc, self) if training else normal

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc = tf.squeeze(params, axis=-1)
        variance = tf.maximum(tf.convert_to_tensor(self.variance), self.min_scale**2)
        return independent_normal(loc, tf.fill(tf.shape(loc), tf.sqrt(variance)), self.event_shape)

    def update(self, variance: tf.Tensor) -> None:
        """Takes the variance of a batch, a scalar, into the moving average; the first ones count alike."""
        updates = tf.convert_to_tensor(self.updates)
        momentum = tf.minimum(self.momentum, updates / (updates + 1))
        self.variance.assign(momentum * self.variance + (1 - momentum) * tf.stop_gradient(variance))
        self.updates.assign_add(1)


class _BestScaleNormal(Independent):
    """The normal whose log_prob takes the best scale for the values it is given, and tells the layer."""

    def __init__(self, loc: tf.Tensor, layer: OptimalScaleNormal):
        super().__init__(IndependentNormal(loc, tf.ones_like(loc)), layer.event_shape)
        self._layer = layer

    def _log_prob(self, value):
        loc = self._flat(self.distribution.loc)
        variance = mean_of_examples(tf.reduce_mean(tf.math.squared_difference(self._flat(value), loc), axis=-1))
        self._layer.update(variance)
        scale = tf.sqrt(tf.maximum(variance, self._layer.min_scale**2))
        return tf.reduce_sum(tfd.Normal(loc, scale).log_prob(self._flat(value)), axis=-1)


class StandardNormal(DistributionLayer):
    """N(0, I): the prior of the plain VAE. It has no weights and ignores its context.

    Args:
        event_shape: shape of one draw.
    """

    params_per_value = 0

    def __init__(self, event_shape: int | Sequence[int], **kwargs):
        super().__init__(event_shape, **kwargs)

    def build(self, context_shape=None):
        """There is nothing to create."""

    def call(self, context=None) -> tfd.Distribution:
        loc = tf.zeros(self.event_shape)
        return independent_normal(loc, tf.ones_like(loc), self.event_shape)


class IndependentNormal(tfd.Normal):
    """`tfd.Normal` with the noise of `standard_normal`."""

    def _sample_n(self, n, seed=None):
        loc, scale = tf.convert_to_tensor(self.loc), tf.convert_to_tensor(self.scale)
        shape = tf.concat([[n], self._batch_shape_tensor(loc=loc, scale=scale)], axis=0)
        return loc + scale * standard_normal(shape, tfp.random.sanitize_seed(seed))


def independent_normal(loc, scale, event_shape) -> tfd.Distribution:
    """N(loc, scale^2), loc and scale of shape (..., *event_shape), of batch shape (...)."""
    return Independent(IndependentNormal(loc, scale), event_shape)
