"""Where objects are in an image, and how large: a box for each of them."""

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.normal import independent_normal

# Of half the width, height / width, and the middle (x, y), where the edges of the image are -1 and 1.
LEAST, MOST = (0.1, 0.75, -0.9, -0.9), (0.5, 1.25, 0.9, 0.9)
PRIOR_LOC, PRIOR_SCALE = (0.3, 1.0, 0.0, 0.0), (0.1, 0.1, 0.6, 0.6)


class ObjectBoxes(DistributionLayer):
    """Normal boxes of objects: half the width, height / width, x and y of the middle, shape (objects, 4).

    x is to the right and y downwards, in the frame of the image, whose edges are at -1 and 1. Given an image, the
    locations are within (0.1, 0.75, -0.9, -0.9) and (0.5, 1.25, 0.9, 0.9), and the scales below 0.3. Without a context
    it is their prior, which has no weights: N(0.3, 0.1^2), N(1, 0.1^2), and N(0, 0.6^2) for x and y.

    Args:
        objects: number of objects.
        network: from an image to features of each object, shape (batch, objects, features), such as `ObjectEncoder`;
            None for the prior.

    Raises:
        ValueError: for a number of objects that is not 1 or more; when built, for features that do not fit.

    Example of a model of single images:

    >>> vae = kv.VAE(
    ...     posterior=kv.ObjectBoxes(3, kv.ObjectEncoder(3)),
    ...     likelihood=kv.PatchImages((32, 32, 1)),
    ...     prior=kv.ObjectBoxes(3),
    ... )

    Reference: after Stelzner et al. 2019, "Faster attend-infer-repeat with tractable probabilistic models", and Kossen
    et al. 2020, arXiv:1910.02425.
    """

    params_per_value = 2

    def __init__(self, objects: int, network: keras.layers.Layer | None = None, **kwargs):
        self.objects = whole_number(self, "objects", objects)
        super().__init__((self.objects, 4), network, **kwargs)

    def build(self, context_shape=None):
        """Creates the weights; there are none without a context."""
        if context_shape is None:
            self.check_no_network()
        else:
            super().build(context_shape)

    def call(self, context=None) -> tfd.Distribution:
        """The boxes given images of shape (..., height, width, channels), or their prior, of batch shape ()."""
        if context is not None:
            return super().call(context)
        loc, scale = (tf.tile([values], [self.objects, 1]) for values in (PRIOR_LOC, PRIOR_SCALE))
        return independent_normal(loc, scale, self.event_shape)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        raw, raw_scale = tf.unstack(params, axis=-1)
        loc = LEAST + (tf.constant(MOST) - LEAST) * tf.sigmoid(raw)
        return independent_normal(loc, 1e-3 + 0.3 * tf.sigmoid(raw_scale), self.event_shape)
