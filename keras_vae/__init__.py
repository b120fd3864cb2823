"""Variational autoencoders for Keras 3, with the distributions of TensorFlow Probability."""

import importlib
import sys

from keras_vae import backend, interrupts

__version__ = "0.2.0"

# Public names, in the order in which a newcomer meets them, and where they live.
_HOMES = {
    "VAE": "models",
    "Normal": "distributions",
    "Bernoulli": "distributions",
    "StandardNormal": "distributions",
    "Standardized": "distributions",
    "GreyLevels": "distributions",
    "LearnedScaleNormal": "distributions",
    "FixedScaleNormal": "distributions",
    "FullCovarianceNormal": "distributions",
    "LowRankNormal": "distributions",
    "OptimalScaleNormal": "distributions",
    "NormalMixture": "distributions",
    "VampPrior": "distributions",
    "PowerSpherical": "distributions",
    "SphericalUniform": "distributions",
    "Laplace": "distributions",
    "StudentT": "distributions",
    "LogNormal": "distributions",
    "ContinuousBernoulli": "distributions",
    "Categorical": "distributions",
    "OneHotCategorical": "distributions",
    "RelaxedBernoulli": "distributions",
    "RelaxedOneHotCategorical": "distributions",
    "DiscretizedLogistic": "distributions",
    "DiscretizedLogisticMixture": "distributions",
    "Poisson": "distributions",
    "NegativeBinomial": "distributions",
    "ZeroInflatedNegativeBinomial": "distributions",
    "TokenSequence": "distributions",
    "LogisticNormalTokens": "distributions",
    "ELBO": "objectives",
    "IWAE": "objectives",
    "DoublyReparameterized": "objectives",
    "StickingTheLanding": "objectives",
    "Renyi": "objectives",
    "VIMCO": "objectives",
    "ScoreFunction": "objectives",
    "MovingAverageBaseline": "objectives",
    "LearnedBaseline": "objectives",
    "Capacity": "objectives",
    "InfoVAE": "objectives",
    "BetaTC": "objectives",
    "Weighted": "objectives",
    "Adversarial": "objectives",
    "dense_encoder": "networks",
    "dense_decoder": "networks",
    "convolutional_encoder": "networks",
    "convolutional_decoder": "networks",
    "Concatenated": "networks",
    "ConditionalVAE": "models",
    "HierarchicalVAE": "models",
    "LadderVAE": "models",
    "load_model": "models",
    "DistributionLayer": "distributions",
    "Objective": "objectives",
    "LatentVariableModel": "models",
    "Latent": "trace",
    "Trace": "trace",
    "Draw": "trace",
    "Inputs": "models",
    "Field": "models",
    "Maybe": "models",
    "datasets": None,
    "evaluation": None,
    "plotting": None,
    "callbacks": None,
    "Columns": "distributions",
    "ObservedValues": "networks",
    "ProbabilisticPCA": "models",
    "FactorAnalysis": "models",
    "Autoencoder": "models",
    "VariationalAutodecoder": "models",
    "GAN": "models",
    "PerExample": "distributions",
    "PerExampleOnDisk": "distributions",
    "RowwiseAdam": "optimizers",
    "MaskingNoise": "networks",
    "GaussianNoise": "networks",
    "Dropout": "networks",
    "InverseAutoregressiveFlow": "distributions",
    "PlanarFlow": "distributions",
    "HouseholderFlow": "distributions",
    "CouplingFlow": "distributions",
    "AutoregressiveFlow": "distributions",
    "AnomalyDetector": "evaluation",
    "VQVAE": "models",
    "VQVAE2": "models",
    "ConditionalVQVAE": "models",
    "VectorQuantized": "distributions",
    "GradientVectorQuantized": "distributions",
    "FiniteScalarQuantized": "distributions",
    "UniformCategorical": "distributions",
    "PixelCNN": "distributions",
    "residual_encoder": "networks",
    "merged_grids": "networks",
    "residual_decoder": "networks",
    "TopDownVAE": "models",
    "TopDownBlock": "models",
    "Bottleneck": "networks",
    "bottom_up_encoder": "networks",
    "MONet": "models",
    "SlotMixture": "distributions",
    "unet": "networks",
    "SpatialTransformer": "networks",
    "inverse_box": "networks",
    "AIR": "models",
    "ObjectFinder": "models",
    "NormalAround": "distributions",
    "RelaxedELBO": "objectives",
    "NVIL": "objectives",
    "Signal": "trace",
    "SpatialBroadcast": "networks",
    "spatial_broadcast_decoder": "networks",
    "best_assignment": "networks",
    "match_over_time": "networks",
    "STOVE": "models",
    "SequenceVAE": "models",
    "SequentialAutoencoder": "models",
    "LanguageModel": "models",
    "ObjectBoxes": "distributions",
    "PatchImages": "distributions",
    "ObjectEncoder": "networks",
    "GraphNetwork": "networks",
    "CausalLSTM": "networks",
    "CausalTransformer": "networks",
    "TokenEncoder": "networks",
    "TokenMemory": "networks",
    "TimeSeries": "distributions",
    "DeepKalmanFilter": "models",
    "VariationalRNN": "models",
    "Forecast": "models",
    "ObservedSeries": "networks",
    "LastStep": "networks",
    "recurrent_decoder": "networks",
    "recurrent_encoder": "networks",
    "recurrent_filter": "networks",
    "recurrent_smoother": "networks",
    "temporal_convolutional_decoder": "networks",
    "temporal_convolutional_encoder": "networks",
    "temporal_convolutional_filter": "networks",
    "DreamingVAE": "models",
    "environments": None,
}

__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES[name] or name}")
    value = home if _HOMES[name] is None else getattr(home, name)
    globals()[name] = value
    return value


def _is_command() -> bool:
    """Whether Python was started as `keras-vae` or `python -m keras_vae`."""
    if sys.argv[:1] and sys.argv[0].rsplit("/", 1)[-1].rsplit("\\", 1)[-1].removesuffix(".exe") == "keras-vae":
        return True
    start = sys.orig_argv[1:]
    return "-m" in start and start[start.index("-m") + 1 :][:1] == [__name__]


# The command line answers --help without TensorFlow, and imports what it needs later. Everyone else gets everything
# now: a class must be imported to be known to `keras.saving.load_model`.
if _is_command():
    interrupts.begin()
else:
    backend.check_backend()
    for _name in __all__:
        __getattr__(_name)
