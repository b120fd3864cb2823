"""Tensor -> tfp distribution: layers that are posterior, prior or likelihood, whichever role they are given."""

from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.columns import Columns
from keras_vae.distributions.continuous import FixedScaleNormal, LearnedScaleNormal, Normal, StandardNormal
from keras_vae.distributions.discrete import Bernoulli

__all__ = [
    "Bernoulli",
    "Columns",
    "DistributionLayer",
    "FixedScaleNormal",
    "LearnedScaleNormal",
    "Normal",
    "StandardNormal",
]
