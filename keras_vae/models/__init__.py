"""Layers -> keras.Model whose call returns a Trace."""

from keras_vae.models.air import AIR, ObjectFinder
from keras_vae.models.autodecoder import VariationalAutodecoder
from keras_vae.models.autoencoder import Autoencoder
from keras_vae.models.base import LatentVariableModel
from keras_vae.models.conditional import ConditionalVAE
from keras_vae.models.dreaming import DreamingVAE, Outcome
from keras_vae.models.gan import GAN
from keras_vae.models.hierarchical import HierarchicalVAE, LadderVAE
from keras_vae.models.inputs import Field, Inputs, Maybe
from keras_vae.models.linear import FactorAnalysis, ProbabilisticPCA
from keras_vae.models.loading import load_model
from keras_vae.models.monet import MONet
from keras_vae.models.sequences import LanguageModel, SequenceVAE
from keras_vae.models.sequential_autoencoder import SequentialAutoencoder
from keras_vae.models.state_space import DeepKalmanFilter, Forecast, StateSpaceModel, VariationalRNN
from keras_vae.models.stove import STOVE
from keras_vae.models.top_down import TopDownBlock, TopDownVAE
from keras_vae.models.vae import VAE
from keras_vae.models.vqvae import VQVAE, VQVAE2, ConditionalVQVAE

__all__ = [
    "AIR",
    "GAN",
    "STOVE",
    "VAE",
    "VQVAE",
    "VQVAE2",
    "Autoencoder",
    "ConditionalVAE",
    "ConditionalVQVAE",
    "DeepKalmanFilter",
    "DreamingVAE",
    "FactorAnalysis",
    "Field",
    "Forecast",
    "HierarchicalVAE",
    "Inputs",
    "LadderVAE",
    "LanguageModel",
    "LatentVariableModel",
    "MONet",
    "Maybe",
    "ObjectFinder",
    "Outcome",
    "ProbabilisticPCA",
    "SequenceVAE",
    "SequentialAutoencoder",
    "StateSpaceModel",
    "TopDownBlock",
    "TopDownVAE",
    "VariationalAutodecoder",
    "VariationalRNN",
    "load_model",
]
