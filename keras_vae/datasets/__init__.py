"""Name or file -> tf.data of batches."""

from keras_vae.datasets.columns import Column, Table
from keras_vae.datasets.data import Data
from keras_vae.datasets.load import load

__all__ = ["Column", "Data", "Table", "load"]
