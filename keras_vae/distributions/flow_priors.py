"""Normalizing flows as priors: N(0, I) through invertible maps with weights of their own."""

from collections.abc import Sequence
from functools import partial

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.correlated import require_vector
from keras_vae.distributions.flows import mades, with_reversals
from keras_vae.distributions.transforms import AffineAutoregressive, Coupling, Inverse, TransformedNormal
from keras_vae.networks.masked import small_normal
from keras_vae.networks.rows import by_rows

BOUND = 3.0  # of the absolute log-scale of one step, so that no step can overflow


class UnconditionalFlow(DistributionLayer):
    """Base of the priors: N(0, I) through maps whose networks are weights of the layer's own.

    A subclass creates the networks, one for each step, and makes the maps of them.
    """

    params_per_value = 0

    def __init__(self, event_shape, steps, units, activation, **kwargs):
        super().__init__(event_shape, **kwargs)
        require_vector(self)
        self.steps = whole_number(self, "steps", steps)
        self.units = tuple(whole_number(self, "units", width) for width in units)
        self.activation = activation

    @property
    def size(self) -> int:
        """Number of values in one draw."""
        return self.event_shape[0]

    def build(self, context_shape=None):
        """Creates the networks."""
        if context_shape is not None:
            raise ValueError(f"{self._title} takes no context. Received: one of shape {tuple(context_shape)}.")
        self.conditioners = self.networks()

    def networks(self) -> list[keras.layers.Layer]:
        """The network of each step, built."""
        raise NotImplementedError(f"{type(self).__name__} needs a method networks(self).")

    def maps(self) -> list:
        """The maps, in the order in which noise goes through them."""
        raise NotImplementedError(f"{type(self).__name__} needs a method maps(self).")

    def call(self, context=None) -> tfd.Distribution:
        """The distribution, of batch shape ()."""
        if context is not None:
            raise ValueError(f"{self._title} takes no context. Received: one of shape {tuple(context.shape)}.")
        zeros = tf.zeros([self.size])
        return TransformedNormal(zeros, tf.ones_like(zeros), self.maps())


class CouplingFlow(UnconditionalFlow):
    """Coupling flow (RealNVP): a prior with an exact density and exact draws, both in one pass.

    Each step keeps one half of the values and moves the other, z[i] <- exp(a[i]) z[i] + b[i], where a and b are dense
    networks of the half that is kept, |a| < 3. The order of the values is reversed between two steps, so that the
    halves alternate. The last layers start small: training starts near N(0, I).

    Args:
        event_shape: length of one draw, 2 or more, or a shape of one axis.
        steps: number of maps.
        units: width of each hidden layer of their networks.
        activation: a Keras activation of the hidden layers.

    Reference: Dinh, Sohl-Dickstein & Bengio 2017, arXiv:1605.08803.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        steps: int = 4,
        units: Sequence[int] = (64, 64),
        activation: str = "elu",
        **kwargs,
    ):
        super().__init__(event_shape, steps, units, activation, **kwargs)
        if self.size < 2:
            raise ValueError(f"{type(self).__name__} needs 2 values or more, to make halves. Received: {event_shape}.")
        self.kept = self.size // 2

    def networks(self) -> list[keras.layers.Layer]:
        moved = self.size - self.kept
        return [
            keras.Sequential(
                [
                    keras.Input((self.kept,), dtype="float32"),
                    *[keras.layers.Dense(width, self.activation, dtype="float32") for width in self.units],
                    keras.layers.Dense(2 * moved, kernel_initializer=small_normal(), dtype="float32"),
                    keras.layers.Reshape((moved, 2), dtype="float32"),
                ],
                name=f"step_{step}",
            )
            for step in range(self.steps)
        ]

    def maps(self) -> list:
        steps = [Coupling(self.kept, partial(_bounded, partial(by_rows, network))) for network in self.conditioners]
        return with_reversals(steps)


class AutoregressiveFlow(UnconditionalFlow):
    """Masked autoregressive flow: a prior with an exact density in one pass, and exact draws.

    Each step goes from the value to its noise, e[i] = exp(a[i]) z[i] + b[i] with a, b = MADE(z) and |a| < 3, the order
    of the values reversed between two steps. A draw inverts the steps: one pass for each value. The last layers start
    small: training starts near N(0, I).

    Args:
        event_shape: length of one draw, or a shape of one axis.
        steps: number of maps.
        units: width of each hidden layer of their MADEs.
        activation: a Keras activation of the hidden layers.

    Reference: Papamakarios, Pavlakou & Murray 2017, arXiv:1705.07057.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        steps: int = 2,
        units: Sequence[int] = (64, 64),
        activation: str = "elu",
        **kwargs,
    ):
        super().__init__(event_shape, steps, units, activation, **kwargs)

    def networks(self) -> list[keras.layers.Layer]:
        networks = mades(self)
        for made in networks:
            made.build((None, self.size))
        return networks

    def maps(self) -> list:
        steps = [Inverse(AffineAutoregressive(partial(_bounded, made))) for made in self.conditioners]
        return with_reversals(steps)


def _bounded(network, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A log-scale between -BOUND and BOUND, and a shift, from a network to shape (..., size, 2)."""
    raw, shift = tf.unstack(network(z), axis=-1)
    return BOUND * tf.tanh(raw / BOUND), shift
