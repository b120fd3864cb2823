"""Normalizing flows: vectors of normal noise, sent through invertible maps whose volume is known.

A flow is a distribution of vectors, its event shape one axis. Maps and densities are float32 under every policy.
"""

from collections.abc import Sequence
from functools import partial

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.correlated import require_vector
from keras_vae.distributions.transforms import (
    AffineAutoregressive,
    Planar,
    Reflection,
    Reverse,
    TransformedNormal,
)
from keras_vae.networks.masked import MADE

GATE = 1.5  # sigmoid(1.5) = 0.82: a step of an inverse autoregressive flow begins by keeping most of its input


class ConditionalFlow(DistributionLayer):
    """Base of the posteriors: context -> network -> one dense layer -> noise and maps.

    The noise is N(loc, scale^2), scale = 0.001 + softplus(raw). A subclass says how many parameters its maps take from
    the dense layer, and makes the maps of them.
    """

    min_scale = 1e-3  # the smallest standard deviation of the noise

    def __init__(self, event_shape, network, steps, **kwargs):
        super().__init__(event_shape, network, **kwargs)
        require_vector(self)
        self.steps = whole_number(self, "steps", steps)

    @property
    def size(self) -> int:
        """Number of values in one draw."""
        return self.event_shape[0]

    @property
    def params_shape(self) -> tuple[int, ...]:
        """The locations, the raw scales, and what the maps take."""
        return (2 * self.size + self.params_of_maps(),)

    def params_of_maps(self) -> int:
        """How many numbers the maps take from the features of one context."""
        raise NotImplementedError(f"{type(self).__name__} needs a method params_of_maps(self).")

    def maps(self, params: tf.Tensor) -> list:
        """The maps, in the order in which noise goes through them, for params of shape (..., params_of_maps())."""
        raise NotImplementedError(f"{type(self).__name__} needs a method maps(self, params).")

    def build(self, context_shape=None):
        """Creates the weights for a context whose shape has one leading axis, the batch."""
        if context_shape is None:
            raise ValueError(
                f"{self._title} needs a context. Received: None. AutoregressiveFlow is a flow without one."
            )
        super().build(context_shape)

    def _head_units(self, features: tuple) -> int:
        if len(features) != 2:
            raise ValueError(f"{self._title} needs features of shape (batch, features). Received: {features}.")
        return super()._head_units(features)

    def call(self, context=None) -> tfd.Distribution:
        """The distribution given a context of shape (..., *context_shape), of batch shape (...)."""
        if context is None:
            raise ValueError(f"{self._title} needs a context. Received: None.")
        return super().call(context)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale, params = tf.split(params, [self.size, self.size, self.params_of_maps()], axis=-1)
        return TransformedNormal(loc, self.min_scale + tf.math.softplus(raw_scale), self.maps(params))


class InverseAutoregressiveFlow(ConditionalFlow):
    """Inverse autoregressive flow: a posterior whose values depend on each other.

    Normal noise, and a vector h that is linear in the features, go through steps

        m, s = MADE(z, h)        gate = sigmoid(s + 1.5)        z <- gate z + (1 - gate) m

    with log q -= sum log gate, and the order of the values reversed between two steps. A draw and its density take one
    pass; the density of any other value takes one pass for each of its values. Mean and standard deviation are those of
    fixed draws, as in `TransformedNormal`.

    Args:
        event_shape: length of one draw, or a shape of one axis.
        network: from the context to features of shape (batch, features); None uses the context itself.
        steps: number of maps, each with a MADE of its own.
        units: width of each hidden layer of a MADE.
        context_size: length of h.
        activation: a Keras activation of the hidden layers.

    Example:

    >>> posterior = InverseAutoregressiveFlow(32, dense_encoder(784), steps=2, units=[320])
    >>> posterior(tf.zeros([5, 784])).sample(seed=1).shape
    TensorShape([5, 32])

    Reference: Kingma et al. 2016, arXiv:1606.04934.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        steps: int = 2,
        units: Sequence[int] = (320,),
        context_size: int = 64,
        activation: str = "elu",
        **kwargs,
    ):
        super().__init__(event_shape, network, steps, **kwargs)
        self.units = tuple(whole_number(self, "units", width) for width in units)
        self.context_size = whole_number(self, "context_size", context_size)
        self.activation = activation

    def build(self, context_shape=None):
        super().build(context_shape)
        self.conditioners = mades(self)
        for made in self.conditioners:
            made.build((None, self.size), (None, self.context_size))

    def params_of_maps(self) -> int:
        return self.context_size

    def maps(self, params: tf.Tensor) -> list:
        steps = [AffineAutoregressive(partial(_gated, made, params)) for made in self.conditioners]
        return with_reversals(steps)


class PlanarFlow(ConditionalFlow):
    """Planar flow: a posterior of normal noise through steps z <- z + u tanh(w'z + b).

    u, w and b of each step are linear in the features, u moved along w where the step could not be inverted (see
    `Planar`). A draw and its density take one pass; the density of any other value solves one equation in one unknown
    for each step. Mean and standard deviation are those of fixed draws, as in `TransformedNormal`.

    Args:
        event_shape: length of one draw, or a shape of one axis.
        network: from the context to features of shape (batch, features); None uses the context itself.
        steps: number of maps.

    Reference: Rezende & Mohamed 2015, arXiv:1505.05770.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        steps: int = 10,
        **kwargs,
    ):
        super().__init__(event_shape, network, steps, **kwargs)

    def params_of_maps(self) -> int:
        return self.steps * (2 * self.size + 1)

    def maps(self, params: tf.Tensor) -> list:
        steps = tf.split(params, self.steps, axis=-1)
        return [Planar(*tf.split(step, [self.size, self.size, 1], axis=-1)) for step in steps]


class HouseholderFlow(ConditionalFlow):
    """Householder flow: a posterior of normal noise, reflected at one plane after the other: a full covariance.

    The vector of each reflection, z <- z - 2 v v'z / |v|^2, is linear in the features. Draws and densities take one
    pass. As the maps are linear, `mean` and `stddev` are exact.

    Args:
        event_shape: length of one draw, or a shape of one axis.
        network: from the context to features of shape (batch, features); None uses the context itself.
        steps: number of reflections; as many as there are values make any orthogonal matrix.

    Reference: Tomczak & Welling 2016, arXiv:1611.09630.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        steps: int = 8,
        **kwargs,
    ):
        super().__init__(event_shape, network, steps, **kwargs)

    def params_of_maps(self) -> int:
        return self.steps * self.size

    def maps(self, params: tf.Tensor) -> list:
        return [Reflection(v) for v in tf.split(params, self.steps, axis=-1)]


def _gated(made: MADE, context: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """log gate and (1 - gate) m of an inverse autoregressive flow."""
    m, s = tf.unstack(made(z, context), axis=-1)
    return tf.math.log_sigmoid(s + GATE), tf.sigmoid(-s - GATE) * m


def mades(layer: DistributionLayer) -> list[MADE]:
    """A masked network for each step of a flow."""
    return [MADE(2, layer.units, layer.activation, name=f"made_{step}", dtype="float32") for step in range(layer.steps)]


def with_reversals(steps: list) -> list:
    """The steps of a flow with a reversal of the order between each two of them."""
    return [part for step in steps for part in (step, Reverse())][:-1]
