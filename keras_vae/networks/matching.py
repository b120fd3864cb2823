"""Which object is which: assignments of the least cost, and the same order of objects over time."""

import itertools

import numpy as np
import tensorflow as tf

MOST = 7  # objects, whose 5,040 orders are all looked at


def best_assignment(costs: tf.Tensor) -> tf.Tensor:
    """For each object of one set the object of the other that it is, so that the sum of the costs is the least.

    All orders of the objects are looked at, so that it runs in a graph and under XLA; of orders with the same cost it
    is the first. There is no gradient through the choice; it goes through what is gathered by it.

    >>> best_assignment(np.array([[2.0, 1.0], [1.0, 2.0]])).numpy().tolist()
    [1, 0]

    Args:
        costs: of object i of the one being object j of the other, shape (..., objects, objects), of 7 objects at most.

    Returns:
        j for each i, int32 of shape (..., objects).

    Raises:
        ValueError: for costs of another shape, and for more objects.
    """
    costs = tf.convert_to_tensor(costs)
    objects = costs.shape[-1]
    if costs.shape.rank < 2 or costs.shape[-2] != objects or objects is None or not 1 <= objects <= MOST:
        raise ValueError(
            f"best_assignment needs costs of shape (..., objects, objects), of 1 to {MOST} objects. "
            f"Received: {costs.shape}."
        )
    orders = np.array(list(itertools.permutations(range(objects))), np.int32)  # [orders, objects]
    chosen = np.zeros([len(orders), objects, objects], costs.dtype.as_numpy_dtype)
    chosen[np.arange(len(orders))[:, None], np.arange(objects), orders] = 1
    flat = tf.reshape(costs, [-1, objects**2])
    sums = tf.linalg.matmul(flat, chosen.reshape(len(orders), -1), transpose_b=True)  # [..., orders]
    best = tf.gather(orders, tf.argmin(sums, axis=-1, output_type=tf.int32))
    return tf.reshape(best, tf.shape(costs)[:-1])


def match_over_time(features: tf.Tensor) -> tf.Tensor:
    """The order of the objects of each frame in which each stays itself: next to where it was in the frame before.

    Frame by frame the sum of the squared distances to the frame before is the least.

    >>> path = tf.constant([[[0.0], [5.0]], [[5.1], [0.1]], [[0.2], [5.2]]])  # of two objects
    >>> match_over_time(path).numpy().tolist()
    [[0, 1], [1, 0], [0, 1]]

    Args:
        features: what objects are known by, such as positions, shape (..., time, objects, size), of 7 objects at most
            and a number of frames that is known.

    Returns:
        Places in each frame of the objects of the first, int32 of shape (..., time, objects):
        `tf.gather(features, order, axis=-2, batch_dims=...)` has the objects in one order at all times.

    Raises:
        ValueError: for features of another shape, and for more objects.
    """
    features = tf.convert_to_tensor(features)
    if features.shape.rank < 3 or features.shape[-3] is None:
        raise ValueError(
            "match_over_time needs features of shape (..., time, objects, size), whose number of frames is known. "
            f"Received: {features.shape}."
        )
    before, after = features[..., :-1, :, None, :], features[..., 1:, None, :, :]
    steps = best_assignment(tf.reduce_sum((before - after) ** 2, axis=-1))  # [..., time - 1, objects]
    leading = len(features.shape) - 3
    order = tf.broadcast_to(tf.range(features.shape[-2]), tf.shape(features[..., 0, :, 0]))
    orders = [order]
    for time in range(features.shape[-3] - 1):
        order = tf.gather(steps[..., time, :], order, axis=-1, batch_dims=leading)
        orders.append(order)
    return tf.stack(orders, axis=-2)
