"""Tensor -> tfp distribution: layers that are posterior, prior or likelihood, whichever role they are given."""

from keras_vae.distributions.autoregressive import PixelCNN
from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.boxes import ObjectBoxes
from keras_vae.distributions.codebooks import FiniteScalarQuantized, GradientVectorQuantized, VectorQuantized
from keras_vae.distributions.columns import Columns
from keras_vae.distributions.continuous import ContinuousBernoulli, Laplace, LogNormal, StudentT
from keras_vae.distributions.correlated import FullCovarianceNormal, LowRankNormal
from keras_vae.distributions.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from keras_vae.distributions.discrete import Bernoulli, Categorical, OneHotCategorical, UniformCategorical
from keras_vae.distributions.discretized import DiscretizedLogistic, DiscretizedLogisticMixture
from keras_vae.distributions.flow_priors import AutoregressiveFlow, CouplingFlow
from keras_vae.distributions.flows import HouseholderFlow, InverseAutoregressiveFlow, PlanarFlow
from keras_vae.distributions.grey_levels import GreyLevels
from keras_vae.distributions.mixtures import NormalMixture, VampPrior
from keras_vae.distributions.normal import (
    FixedScaleNormal,
    LearnedScaleNormal,
    Normal,
    NormalAround,
    OptimalScaleNormal,
    StandardNormal,
)
from keras_vae.distributions.patches import PatchImages
from keras_vae.distributions.per_example import PerExample, PerExampleOnDisk
from keras_vae.distributions.relaxed import RelaxedBernoulli, RelaxedOneHotCategorical
from keras_vae.distributions.series import TimeSeries
from keras_vae.distributions.slots import SlotMixture
from keras_vae.distributions.sphere import PowerSpherical, SphericalUniform
from keras_vae.distributions.standardized import Standardized
from keras_vae.distributions.tokens import LogisticNormalTokens, TokenSequence

__all__ = [
    "AutoregressiveFlow",
    "Bernoulli",
    "Categorical",
    "Columns",
    "ContinuousBernoulli",
    "CouplingFlow",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "DistributionLayer",
    "FiniteScalarQuantized",
    "FixedScaleNormal",
    "FullCovarianceNormal",
    "GradientVectorQuantized",
    "GreyLevels",
    "HouseholderFlow",
    "InverseAutoregressiveFlow",
    "Laplace",
    "LearnedScaleNormal",
    "LogNormal",
    "LogisticNormalTokens",
    "LowRankNormal",
    "NegativeBinomial",
    "Normal",
    "NormalAround",
    "NormalMixture",
    "ObjectBoxes",
    "OneHotCategorical",
    "OptimalScaleNormal",
    "PatchImages",
    "PerExample",
    "PerExampleOnDisk",
    "PixelCNN",
    "PlanarFlow",
    "Poisson",
    "PowerSpherical",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "SlotMixture",
    "SphericalUniform",
    "StandardNormal",
    "Standardized",
    "StudentT",
    "TimeSeries",
    "TokenSequence",
    "UniformCategorical",
    "VampPrior",
    "VectorQuantized",
    "ZeroInflatedNegativeBinomial",
]
