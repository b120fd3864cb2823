"""States that are known, and what a dream is snapped to."""

import numpy as np
import tensorflow as tf


class NearestKnown:
    """From states that are dreamed to the nearest ones that are known: a cure for the drift of a dream.

    `NearestKnown(transitions.next_state)(states)`; nearest by the sum of the squared differences, and of two that are
    equally near the first one.

    Args:
        states: shape (known, *state), at least one; equal ones are kept once, in the order of their numbers.

    Raises:
        ValueError: for no states, and in use for states of another shape.

    Example:

    >>> from keras_vae.environments import NearestKnown
    >>> NearestKnown(np.array([[0.0, 1.0], [1.0, 0.0]]))(tf.constant([[0.2, 0.3], [0.9, 0.2]])).numpy().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """

    def __init__(self, states):
        states = np.asarray(states, np.float32)
        if states.ndim < 2 or not len(states):
            raise ValueError(f"NearestKnown needs states of shape (known, *state). Received: shape {states.shape}.")
        self.states = np.unique(states.reshape(len(states), -1), axis=0).reshape(-1, *states.shape[1:])

    def __call__(self, states) -> tf.Tensor:
        """The nearest known states, float32 of shape (batch, *state)."""
        states = tf.cast(tf.convert_to_tensor(states), tf.float32)
        if not states.shape[1:].is_compatible_with(self.states.shape[1:]):
            raise ValueError(
                f"NearestKnown needs states of shape (batch, {', '.join(map(str, self.states.shape[1:]))}). "
                f"Received: {tuple(states.shape)}."
            )
        known = tf.constant(self.states.reshape(len(self.states), -1))
        flat = tf.reshape(states, [-1, known.shape[1]])
        # |a - b|^2 without |a|^2, which is the same for all b.
        distances = tf.reduce_sum(known**2, axis=1) - 2 * tf.linalg.matmul(flat, known, transpose_b=True)
        return tf.gather(tf.constant(self.states), tf.argmin(distances, axis=1))
