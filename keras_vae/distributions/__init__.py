"""Tensor -> tfp distribution: layers that are posterior, prior or likelihood, whichever role they are given."""

from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.continuous import FixedScaleNormal, LearnedScaleNormal, Normal, StandardNormal
from keras_vae.distributions.discrete import Bernoulli
from keras_vae.distributions.flows import (
    AutoregressiveFlow,
    CouplingFlow,
    HouseholderFlow,
    InverseAutoregressiveFlow,
    PlanarFlow,
)

__all__ = [
    "AutoregressiveFlow",
    "Bernoulli",
    "CouplingFlow",
    "DistributionLayer",
    "FixedScaleNormal",
    "HouseholderFlow",
    "InverseAutoregressiveFlow",
    "LearnedScaleNormal",
    "Normal",
    "PlanarFlow",
    "StandardNormal",
]
