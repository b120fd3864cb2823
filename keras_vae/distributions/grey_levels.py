"""Images in grey levels, as files have them."""

import numpy as np
import tensorflow as tf

from keras_vae.arguments import positive
from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.other_units import OtherUnits
from keras_vae.distributions.standardized import InUnits
from keras_vae.distributions.supports import Grid, Interval, RealNumbers, Support, UnitInterval, ZerosAndOnes


class GreyLevels(InUnits):
    """Images whose grey levels, or colours, go from 0 to white: x = white y, where another layer has y.

    A model takes and gives x, in `fit`, `sample`, `generate` and as a SavedModel, and its networks see y, from 0 to 1.

    - Of a layer of real numbers, or of numbers in (0, 1), the density is that of x: log p(x) = log p(y) - values x log
      white (`log_volume`). Of one of levels from 0 to 1, such as `DiscretizedLogistic`, it is their probability mass.
    - Of a `Bernoulli` y is binary, 1 where x is above the half of white, and log p(x) is its probability mass. Training
      on binary draws of the grey levels is a matter of the data: `datasets.load(..., grey_levels=True)` draws white
      with the probability x / white, else 0. A mean is the expected grey level.

    Args:
        layer: the distribution layer of y: of real numbers, of numbers or levels from 0 to 1, or a `Bernoulli`.
        white: the largest grey level, 255 for bytes.

    Raises:
        TypeError: for a layer that is no distribution layer.
        ValueError: for a layer of other values, and for a white that is not a positive number.

    Example:

    >>> likelihood = GreyLevels(LearnedScaleNormal((8, 8, 3), dense_decoder(4)), white=255)
    >>> likelihood.standardized(np.full((1, 8, 8, 3), 51, "uint8")).numpy().max().round(3)
    np.float32(0.2)
    """

    def __init__(self, layer: DistributionLayer, white: float = 255.0, **kwargs):
        super().__init__(layer, **kwargs)
        self.white = positive(self, "white", white)
        support = layer.support
        fractions = isinstance(support, Grid) and (support.low, support.high) == (0.0, 1.0)
        if not (isinstance(support, RealNumbers | UnitInterval | ZerosAndOnes) or fractions):
            raise ValueError(
                f"{self._title} needs a layer of real numbers, of numbers or levels from 0 to 1, or a Bernoulli. "
                f"Received: {type(layer).__name__} of {layer.support.description}."
            )
        self.offset = np.zeros([], np.float32)
        self.scale = np.full([], self.white, np.float32)

    @property
    def support(self) -> Support:  # type: ignore[override]
        """From 0 to white; of levels those."""
        levels = self.layer.support
        return Grid(levels.levels, 0.0, self.white) if isinstance(levels, Grid) else Interval(0.0, self.white)

    @property
    def other_units(self) -> OtherUnits | None:
        """Fractions of white."""
        if self.white < 2:
            return None
        needed = f"that are grey levels from 0 to {self.white:g}."
        advice = f"Multiply them by {self.white:g}."
        return OtherUnits(0.0, 1.0, False, needed, "values", "as fractions of white are", advice)

    @property
    def log_volume(self) -> float:
        """log p(y) - log p(x), nats: values x log white of a density, 0 of a mass."""
        return 0.0 if self.discrete else super().log_volume

    def standardized(self, values) -> tf.Tensor:
        """y, float32, for x of shape (..., *event)."""
        values = tf.cast(values, tf.float32)
        binary = isinstance(self.layer.support, ZerosAndOnes)
        return tf.cast(values > self.white / 2, tf.float32) if binary else values / self.white
