"""Distributions of real, positive and bounded numbers other than the normal."""

import math

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.distributions.base import DistributionLayer, Independent, ScaledLayer, TensorDistribution
from keras_vae.distributions.special import exp_in_range, in_support, log1mexp, log_gamma_half_step
from keras_vae.distributions.supports import PositiveNumbers, UnitInterval
from keras_vae.noise import fold, standard_normal, uniform


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
        return Independent(_Laplace(loc, self.scale(raw_scale)), self.event_shape)


class StudentT(ScaledLayer):
    """Student's t with independent values; location, scale and degrees of freedom are predicted from the context.

    value = loc + scale t(df), scale = min_scale + softplus(raw), df = 2.000001 + softplus(raw): more than 2, so that
    the variance is finite. Outliers widen the tails instead of moving the location.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        min_scale: the smallest scale, in units of the data, more than 0.

    Reference: Takahashi et al. 2018, "Student-t variational autoencoder for robust density estimation" (IJCAI).
    """

    params_per_value = 3

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale, raw_df = tf.unstack(params, axis=-1)
        beyond = 1e-6 + tf.math.softplus(raw_df)
        return Independent(_StudentT(beyond, loc, self.scale(raw_scale)), self.event_shape)


class LogNormal(ScaledLayer):
    """Independent positive values whose logarithms are normal, N(log value | loc, scale^2) / value.

    scale = min_scale + softplus(raw). The mean, exp(loc + scale^2 / 2), is large where the scale is: mean, standard
    deviation and draws are held inside of the range of float32, between e^-87 and e^88.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        min_scale: the smallest standard deviation of the logarithm, more than 0.
    """

    support = PositiveNumbers()
    params_per_value = 2

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale = tf.unstack(params, axis=-1)
        return Independent(_LogNormal(loc, self.scale(raw_scale)), self.event_shape)


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
        return Independent(_ContinuousBernoulli(logits=tf.squeeze(params, axis=-1)), self.event_shape)


class _Laplace(tfd.Laplace):
    """`tfd.Laplace` with the noise of `uniform`."""

    def _sample_n(self, n, seed=None):
        shape = tf.concat([[n], self.batch_shape_tensor()], axis=0)
        sides = 2 * uniform(shape, tfp.random.sanitize_seed(seed)) - 1
        return self.loc - self.scale * tf.sign(sides) * tf.math.log1p(-tf.abs(sides))


class _StudentT(TensorDistribution):
    """loc + scale t, t of 2 + `beyond` degrees of freedom."""

    def __init__(self, beyond, loc, scale):
        super().__init__(loc, beyond=beyond, loc=loc, scale=scale)
        self.beyond, self.loc, self.scale = beyond, loc, scale
        self.df = 2 + beyond

    def _log_prob(self, value):
        distance = (value - self.loc) / self.scale
        constant = log_gamma_half_step(self.df / 2) - 0.5 * tf.math.log(math.pi * self.df) - tf.math.log(self.scale)
        return constant - 0.5 * (self.df + 1) * tf.math.log1p(distance**2 / self.df)

    def _sample_n(self, n, seed=None):
        """Bailey's polar method, with gradients to all parameters: df (uniform^(-2 / df) - 1) cos^2(angle)."""
        seed, shape = tfp.random.sanitize_seed(seed), tf.concat([[n], tf.shape(self.loc)], axis=0)
        square = self.df * tf.math.expm1(-2 * tf.math.log(uniform(shape, fold(seed, 0))) / self.df)
        return self.loc + self.scale * tf.sqrt(square) * tf.cos(2 * math.pi * uniform(shape, fold(seed, 1)))

    def _mean(self):
        return tf.identity(self.loc)

    def _variance(self):
        return self.scale**2 * self.df / self.beyond


class _LogNormal(TensorDistribution):
    """exp of N(loc, scale^2)."""

    def __init__(self, loc, scale):
        super().__init__(loc, loc=loc, scale=scale)
        self.loc, self.scale = loc, scale

    def _log_prob(self, value):
        inside = value > 0
        log_value = tf.math.log(tf.where(inside, value, 1.0))
        distance = (log_value - self.loc) / self.scale
        log_prob = -0.5 * (distance**2 + math.log(2 * math.pi)) - tf.math.log(self.scale) - log_value
        return in_support(log_prob, value, inside)

    def _sample_n(self, n, seed=None):
        shape = tf.concat([[n], tf.shape(self.loc)], axis=0)
        return exp_in_range(self.loc + self.scale * standard_normal(shape, tfp.random.sanitize_seed(seed)))

    def _mean(self):
        return exp_in_range(self.loc + self.scale**2 / 2)

    def _variance(self):
        square = self.scale**2
        return exp_in_range(2 * self.loc + 2 * square + log1mexp(square))

    def _stddev(self):
        square = self.scale**2
        return exp_in_range(self.loc + square + log1mexp(square) / 2)


@tfd.RegisterKL(_LogNormal, _LogNormal)
def _kl_of_logarithms(first: _LogNormal, second: _LogNormal, name=None) -> tf.Tensor:
    return tfd.kl_divergence(tfd.Normal(first.loc, first.scale), tfd.Normal(second.loc, second.scale))


class _ContinuousBernoulli(tfd.ContinuousBernoulli):
    """`tfd.ContinuousBernoulli` with the noise of `uniform`."""

    def _sample_n(self, n, seed=None):
        logits = self.logits
        noise = uniform(tf.concat([[n], tf.shape(logits)], axis=0), tfp.random.sanitize_seed(seed))
        # The inverse of its distribution function where the density falls, and its mirror image where it rises.
        steep = -tf.maximum(tf.abs(logits), 1e-3)
        falling = tf.math.log1p(noise * tf.math.expm1(steep)) / steep
        flat = noise - tf.abs(logits) * noise * (1 - noise) / 2
        falling = tf.where(tf.abs(logits) < 1e-3, flat, falling)
        return tf.where(logits < 0, falling, 1 - falling)
