"""Distributions on the unit sphere."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.correlated import require_vector

tfd = tfp.distributions


class PowerSpherical(DistributionLayer):
    """Power spherical on the unit sphere in R^d, density proportional to (1 + direction' value)^concentration.

    Like von Mises-Fisher, with draws that need no rejection and carry gradients. Direction and concentration
    1 + softplus(raw) are predicted from the context.

    Args:
        event_shape: d, 2 or more.
        network: from the context to features; None uses the context itself.

    Reference: De Cao & Aziz 2020, arXiv:2006.04437; Davidson et al. 2018, arXiv:1804.00891.
    """

    def __init__(self, event_shape: int | Sequence[int], network=None, **kwargs):
        super().__init__(event_shape, network, **kwargs)
        _require_sphere(self)

    @property
    def params_shape(self) -> tuple[int, ...]:
        """The direction, of any length, then the concentration."""
        return (self.event_shape[0] + 1,)

    @property
    def params_initializer(self) -> str:
        """The zero vector has no direction."""
        return "ones"

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        direction = tf.math.l2_normalize(params[..., :-1], axis=-1)
        return _PowerSpherical(direction, 1 + tf.math.softplus(params[..., -1]))

    def _check_support(self, values: np.ndarray, name: str) -> None:
        _check_unit_length(self, values, name)


class SphericalUniform(DistributionLayer):
    """The uniform distribution on the unit sphere in R^d. It has no weights and ignores its context.

    Args:
        event_shape: d, 2 or more.
    """

    params_per_value = 0

    def __init__(self, event_shape: int | Sequence[int], **kwargs):
        super().__init__(event_shape, **kwargs)
        _require_sphere(self)

    def build(self, context_shape=None):
        """There is nothing to create."""

    def call(self, context=None) -> tfd.Distribution:
        return tfd.SphericalUniform(self.event_shape[0])

    def _check_support(self, values: np.ndarray, name: str) -> None:
        _check_unit_length(self, values, name)


class _PowerSpherical(tfd.PowerSpherical):
    """`tfd.PowerSpherical` with the variance of each coordinate."""

    def _variance(self):
        return tf.linalg.diag_part(self.covariance())


def _require_sphere(layer: DistributionLayer) -> None:
    require_vector(layer)
    if layer.event_shape[0] < 2:
        raise ValueError(
            f"{type(layer).__name__} needs a space of 2 or more dimensions. Received: {layer.event_shape[0]}."
        )


def _check_unit_length(layer: DistributionLayer, values: np.ndarray, name: str) -> None:
    lengths = np.linalg.norm(values, axis=-1)
    if (np.abs(lengths - 1) > 1e-3).any():
        raise ValueError(
            f"{layer._title} needs {name} of length 1. Received: lengths from {lengths.min()} to {lengths.max()}."
        )
