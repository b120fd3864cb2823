"""Networks whose outputs see only the values before them."""

from collections.abc import Sequence
from itertools import pairwise

import keras
import numpy as np
import tensorflow as tf

from keras_vae.serializable import Serializable


class MADE(Serializable, keras.layers.Layer):
    """Masked autoencoder for distribution estimation: the outputs for value i are functions of the values before it.

    Each unit has a degree: it sees the first `degree` values and no others, for a mask on each kernel removes the
    connections to units of a lower degree. The degrees of a hidden layer are spread evenly. A context is added to the
    first hidden layer, and is seen by all outputs.

    Called with `inputs`, shape (..., size), and, where it was built for one, `context`, shape (..., context_size),
    whose leading axes may be fewer; returns shape (..., size, params). The last kernel starts small: so do the outputs.

    Args:
        params: outputs for each value.
        units: width of each hidden layer, one or more.
        activation: a Keras activation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer.

    Example:

    >>> MADE(params=2, units=[32])(tf.zeros([5, 3])).shape
    TensorShape([5, 3, 2])

    Reference: Germain et al. 2015, arXiv:1502.03509.
    """

    def __init__(self, params: int = 2, units: Sequence[int] = (320,), activation: str = "elu", **kwargs):
        super().__init__(**kwargs)
        self.params = params
        self.units = tuple(units)
        self.activation = activation

    def build(self, inputs_shape, context_shape=None):
        """Creates kernels and masks for inputs of shape (..., size) and a context of shape (..., context_size)."""
        size = inputs_shape[-1]
        lowest = 1 if context_shape is None else 0  # a unit of degree 0 sees the context alone
        hidden = [lowest + np.arange(width) * (size - lowest) // width for width in self.units]
        degrees = [np.arange(size) + 1, *hidden, np.tile(np.arange(size), self.params)]
        self.masks = [below[:, None] <= above for below, above in pairwise(degrees)]
        self.kernels, self.biases = [], []
        for number, mask in enumerate(self.masks):
            initializer = small_normal() if number == len(self.units) else "glorot_uniform"
            self.kernels.append(self.add_weight(shape=mask.shape, initializer=initializer, name=f"kernel_{number}"))
            self.biases.append(self.add_weight(shape=mask.shape[1:], initializer="zeros", name=f"bias_{number}"))
        if context_shape is not None:
            shape = (context_shape[-1], self.masks[0].shape[1])
            self.context_kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="context_kernel")

    def call(self, inputs, context=None):
        x = tf.convert_to_tensor(inputs)
        for number, (kernel, bias, mask) in enumerate(zip(self.kernels, self.biases, self.masks, strict=True)):
            if number > 0:
                x = keras.activations.get(self.activation)(x)
            x = tf.tensordot(x, tf.convert_to_tensor(kernel) * tf.cast(mask, x.dtype), 1) + bias  # [..., units]
            if number == 0 and context is not None:
                x += tf.tensordot(context, tf.convert_to_tensor(self.context_kernel), 1)
        return tf.stack(tf.split(x, self.params, axis=-1), axis=-1)  # [..., size, params]

    def compute_output_shape(self, inputs_shape, context_shape=None) -> tuple:
        """(..., size, params)."""
        return (*inputs_shape, self.params)


def small_normal() -> keras.initializers.Initializer:
    """For a last kernel whose outputs are to start near 0: at 0, no gradient would reach the layers below."""
    return keras.initializers.RandomNormal(stddev=1e-2)
