"""Layers -> keras.Model whose call returns a Trace."""

from keras_vae.models.autoencoder import Autoencoder
from keras_vae.models.base import LatentVariableModel, load_model
from keras_vae.models.linear import FactorAnalysis, ProbabilisticPCA
from keras_vae.models.vae import VAE

__all__ = ["VAE", "Autoencoder", "FactorAnalysis", "LatentVariableModel", "ProbabilisticPCA", "load_model"]
