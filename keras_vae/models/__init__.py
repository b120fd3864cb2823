"""Layers -> keras.Model whose call returns a Trace."""

from keras_vae.models.base import LatentVariableModel, load_model
from keras_vae.models.vae import VAE

__all__ = ["VAE", "LatentVariableModel", "load_model"]
