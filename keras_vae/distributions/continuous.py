"""Distributions of real, positive and bounded numbers other than the normal."""

import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.distributions.base import DistributionLayer, Independent, ScaledLayer
from keras_vae.distributions.supports import PositiveNumbers, UnitInterval

tfd = tfp.distributions


class Laplace(ScaledLayer):
    """Laplace with independent values: exp(-|value - loc| / scale) / (2 scale), scale = min_scale + softplus(raw).

    As a likelihood it weighs errors by their absolute value: outliers count less than under a normal.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        min_scale: the smallest scale, in units of the data, more than 0.
    """

    params_per_value = 2

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale = tf.unstack(params, axis=-1)
        return Independent(tfd.Laplace(loc, self.scale(raw_scale)), self.event_shape)


class StudentT(ScaledLayer):
    """Student's t with independent values; location, scale and degrees of freedom are predicted from the context.

    value = loc + scale t(df), scale = min_scale + softplus(raw), df = 2 + softplus(raw): more than 2, so that the
    variance is finite. Outliers widen the tails instead of moving the location.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        min_scale: the smallest scale, in units of the data, more than 0.

    Reference: Takahashi et al. 2018, "Student-t variational autoencoder for robust density estimation" (IJCAI).
    """

    params_per_value = 3

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale, raw_df = tf.unstack(params, axis=-1)
        scale = self.scale(raw_scale)
        return Independent(tfd.StudentT(2 + tf.math.softplus(raw_df), loc, scale), self.event_shape)


class LogNormal(ScaledLayer):
    """Independent positive values whose logarithms are normal, N(log value | loc, scale^2) / value.

    scale = min_scale + softplus(raw). The mean, exp(loc + scale^2 / 2), is large where the scale is.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        min_scale: the smallest standard deviation of the logarithm, more than 0.
    """

    support = PositiveNumbers()
    params_per_value = 2

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale = tf.unstack(params, axis=-1)
        return Independent(tfd.LogNormal(loc, self.scale(raw_scale)), self.event_shape)


class ContinuousBernoulli(DistributionLayer):
    """Independent values in [0, 1] with the density C(p) p^value (1 - p)^(1 - value), p = sigmoid(logit).

    C(p) makes it integrate to one, which the Bernoulli mass of grey levels, the binary cross-entropy, does not.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.

    Reference: Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845.
    """

    support = UnitInterval()

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return Independent(tfd.ContinuousBernoulli(logits=tf.squeeze(params, axis=-1)), self.event_shape)
