"""Distributions of real numbers."""

from collections.abc import Sequence

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.distributions.base import DistributionLayer, Independent
from keras_vae.sampling import standard_normal

tfd = tfp.distributions


class Normal(DistributionLayer):
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

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        min_scale: float = 1e-3,
        **kwargs,
    ):
        super().__init__(event_shape, network, **kwargs)
        self.min_scale = _positive(self, "min_scale", min_scale)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale = tf.unstack(params, axis=-1)
        return _independent_normal(loc, self.min_scale + tf.math.softplus(raw_scale), self.event_shape)


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
        self.scale = _positive(self, "scale", scale)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc = tf.squeeze(params, axis=-1)
        return _independent_normal(loc, tf.fill(tf.shape(loc), self.scale), self.event_shape)


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
        self.min_scale = _positive(self, "min_scale", min_scale)
        self.initial_scale = _positive(self, "initial_scale", initial_scale)
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
        scale = self.min_scale + tf.exp(tf.convert_to_tensor(self.log_scale))
        return _independent_normal(loc, tf.fill(tf.shape(loc), scale), self.event_shape)


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
        return _independent_normal(loc, tf.ones_like(loc), self.event_shape)


class _Normal(tfd.Normal):
    """`tfd.Normal` with the noise of `standard_normal`."""

    def _sample_n(self, n, seed=None):
        loc, scale = tf.convert_to_tensor(self.loc), tf.convert_to_tensor(self.scale)
        shape = tf.concat([[n], self._batch_shape_tensor(loc=loc, scale=scale)], axis=0)
        return loc + scale * standard_normal(shape, tfp.random.sanitize_seed(seed))


def _independent_normal(loc, scale, event_shape) -> tfd.Distribution:
    return Independent(_Normal(loc, scale), event_shape)


def _positive(layer, name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{type(layer).__name__} needs {name} to be a positive number. Received: {name}={value!r}.")
    return float(value)
