"""How much memory an example takes, and the work on many examples in chunks that have a bound."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_vae.noise import fold
from keras_vae.sampling import sampling


def draw_bytes(model) -> int:
    """Bytes of all tensors between one example and the last one of a draw: an upper bound of what both take."""

    def work(inputs):
        with sampling(1, fold(0)):
            return model.work_of(inputs)

    example = tf.nest.map_structure(tf.TensorSpec.from_tensor, model.example_inputs())
    return bytes_for_each(
        lambda count: (
            work,
            tf.nest.map_structure(lambda spec: of_rows(count, spec.shape[1:], spec.dtype), example),
        )
    )


def of_rows(count: int, shape: Sequence, dtype) -> tf.TensorSpec:
    """Of `count` rows of a shape."""
    return tf.TensorSpec([count, *shape], dtype)


def bytes_for_each(of: Callable[[int], tuple]) -> int:
    """Bytes of all tensors of a function that one more example takes, as if none were freed.

    What does not grow with the examples is left out: weights, and what a prior makes of its pseudo-inputs.

    Args:
        of: from a number of examples to a function of tensors, and the specs of its arguments.
    """
    return max(1, _graph_bytes(*of(2)) - _graph_bytes(*of(1)))


def _graph_bytes(function: Callable, *specs) -> int:
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    tensors = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    return sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in tensors if tensor.shape.is_fully_defined())


def in_chunks(function: Callable, batch: Sequence[tf.Tensor], size) -> dict[str, tf.Tensor]:
    """`function` of all rows, in chunks, the last one smaller than the others.

    Args:
        function: of the number of a chunk and the rows in it, to a flat dict of tensors of shape (rows, ...).
        batch: tensors of as many rows each.
        size: rows of a chunk, an integer or an integer scalar tensor.
    """
    total = tf.shape(batch[0])[0]
    full = tf.maximum(total - 1, 0) // size

    def rows(first, count):
        """Of a shape that is known where the count is: runtimes that have no lists can convert the loop then."""
        return [tf.slice(part, [first, *[0] * (len(part.shape) - 1)], [count, *sizes(part)]) for part in batch]

    function = tf.function(function, autograph=False)  # traced once
    rest = function(full, *rows(full * size, total - full * size))
    static = size if isinstance(size, int) else None
    arrays = {
        name: tf.TensorArray(part.dtype, full, element_shape=[static, *part.shape[1:]]) for name, part in rest.items()
    }

    def add(number, arrays):
        found = function(number, *rows(number * size, size))
        shaped = {name: tf.reshape(part, [size, *sizes(rest[name])]) for name, part in found.items()}
        return number + 1, {name: arrays[name].write(number, part) for name, part in shaped.items()}

    _, arrays = tf.while_loop(lambda number, _: number < full, add, [0, arrays], parallel_iterations=1)

    def stacked_of(name, part):
        shape = [full * size, *sizes(part)]
        if static is not None and part.shape[1:].is_fully_defined():
            return tf.reshape(arrays[name].stack(), shape)
        # An empty list of elements with open axes can not be stacked.
        made = tf.cond(full > 0, lambda: arrays[name].stack(), lambda: tf.zeros([0, 0, *sizes(part)], part.dtype))
        return tf.reshape(made, shape)

    stacked = {name: stacked_of(name, part) for name, part in rest.items()}
    return {name: tf.concat([stacked[name], part], axis=0) for name, part in rest.items()}


def sizes(part: tf.Tensor) -> list:
    """Those of the axes behind the first, as integers where they are known."""
    dynamic = tf.shape(part)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(part.shape)][1:]
