"""Name or file -> tf.data of batches."""

from keras_vae.datasets.balls import Billiards, Gravity, Motion
from keras_vae.datasets.canvases import Canvases, MNISTCanvases
from keras_vae.datasets.columns import Column, Table
from keras_vae.datasets.data import Data
from keras_vae.datasets.load import load
from keras_vae.datasets.scenes import Scenes
from keras_vae.datasets.series import ArraySeries, LongSeries, Series, WideSeries
from keras_vae.datasets.sprites import Sprites
from keras_vae.datasets.texts import Texts, load_texts
from keras_vae.datasets.vocabulary import vocabulary

__all__ = [
    "ArraySeries",
    "Billiards",
    "Canvases",
    "Column",
    "Data",
    "Gravity",
    "LongSeries",
    "MNISTCanvases",
    "Motion",
    "Scenes",
    "Series",
    "Sprites",
    "Table",
    "Texts",
    "WideSeries",
    "load",
    "load_texts",
    "vocabulary",
]
