"""Networks of one leading axis, for any number of them."""

import keras
import tensorflow as tf


def by_rows(network: keras.layers.Layer, tensor: tf.Tensor, axes: int = 1) -> tf.Tensor:
    """The outputs of a network that takes (batch, ...), for a tensor with more leading axes, such as (samples, batch).

    Args:
        network: a Keras model or layer of one input and one output.
        tensor: shape (..., *event).
        axes: how many of its axes, the last ones, are the event's.

    Returns:
        A tensor of shape (..., *output).
    """
    event = tensor.shape[len(tensor.shape) - axes :]
    leading = [tf.shape(tensor)[axis] if size is None else size for axis, size in enumerate(tensor.shape[:-axes])]
    outputs = network(tf.reshape(tensor, [-1, *event]))
    return tf.reshape(outputs, [*leading, *outputs.shape[1:]])
