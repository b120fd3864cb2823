"""One layer of each kind of distribution, without a context; the VampPrior needs the posterior of a model."""

import functools

import numpy as np

import keras_vae as kv

LAYERS = {
    "DiscretizedLogistic": functools.partial(kv.DiscretizedLogistic, 3, levels=5, low=-1.0),
    "DiscretizedLogisticMixture": functools.partial(kv.DiscretizedLogisticMixture, 3, levels=5, low=-1.0),
    "Categorical": functools.partial(kv.Categorical, 3, levels=4),
    "OneHotCategorical": functools.partial(kv.OneHotCategorical, (2, 3)),
    "RelaxedOneHotCategorical": functools.partial(kv.RelaxedOneHotCategorical, (2, 3), temperature=0.1),
    "RelaxedBernoulli": functools.partial(kv.RelaxedBernoulli, 3, temperature=0.05),
    "Columns": lambda: kv.Columns({"a": kv.Poisson(1), "b": kv.Normal(2), "c": kv.Bernoulli(1)}),
} | {
    cls.__name__: functools.partial(cls, 3)
    for cls in (
        kv.StandardNormal, kv.Normal, kv.FixedScaleNormal, kv.LearnedScaleNormal, kv.OptimalScaleNormal, kv.Laplace,
        kv.StudentT, kv.LogNormal, kv.ContinuousBernoulli, kv.Bernoulli, kv.Poisson, kv.NegativeBinomial,
        kv.ZeroInflatedNegativeBinomial, kv.PowerSpherical, kv.SphericalUniform, kv.FullCovarianceNormal,
        kv.LowRankNormal, kv.NormalMixture, kv.CouplingFlow, kv.AutoregressiveFlow,
    )
}  # fmt: skip


def without_context(kind: str) -> kv.DistributionLayer:
    """The layer of this name, built, with random weights; those of a flow's networks leave numbers in their size."""
    layer = LAYERS[kind]()
    layer.build(None)
    for weight in layer.trainable_weights:
        size = weight.shape[0] if "Flow" in kind and len(weight.shape) == 2 else 1
        weight.assign(np.random.default_rng(0).normal(size=weight.shape) / np.sqrt(size))
    return layer
