"""Layers -> keras.Model whose call returns a Trace."""

from keras_vae.models.base import LatentVariableModel, load_model
from keras_vae.models.conditional import ConditionalVAE
from keras_vae.models.hierarchical import HierarchicalVAE, LadderVAE
from keras_vae.models.vae import VAE

__all__ = ["VAE", "ConditionalVAE", "HierarchicalVAE", "LadderVAE", "LatentVariableModel", "load_model"]
