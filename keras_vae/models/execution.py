"""How `fit` and `evaluate` run their steps: compiled by XLA or not, and how many for each call of the runtime."""

import math

import keras
import tensorflow as tf

from keras_vae.replicas import single

STEPS = 50  # the most steps of one call; the progress bar moves once for each call
BYTES = 2**25  # the most memory for the batches of one call

CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def prefers_xla(model: keras.Model) -> bool:
    """Whether XLA is the faster way to run a model here, and one that its layers allow.

    It is on a GPU, and on a CPU but for convolutions, which TensorFlow runs through oneDNN there
    (benchmarks/training_speed.py). A strategy with several replicas runs without XLA; one on TPUs always compiles.
    """
    layers = list(model._flatten_layers())
    if not single(model.distribute_strategy) or not all(layer.supports_jit for layer in layers):
        return False
    on_cpu = not tf.config.list_logical_devices("GPU")
    return not (on_cpu and any(isinstance(layer, CONVOLUTIONS) for layer in layers))


def steps_for(batches, bytes_of_batch: int, callbacks, limits=()) -> int:
    """A number of steps for each call: at most STEPS, and 1 where a callback looks at single batches.

    An epoch has two calls or more, of equal length: its first full batches need not wait for the program that a smaller
    last one takes, and the progress bar moves before its end.

    Args:
        batches: what Keras will train on: a `tf.data.Dataset`, or data of any other kind, which get 1.
        bytes_of_batch: the memory of the observations in one batch.
        callbacks: those of the user.
        limits: numbers of steps after which a pass stops although the data may go on: a call must not step over them.
    """
    if not isinstance(batches, tf.data.Dataset) or any(map(_looks_at_batches, callbacks)):
        return 1
    specs = tf.nest.flatten(batches.element_spec)
    if not all(isinstance(spec, tf.TensorSpec) and spec.shape.rank for spec in specs):
        return 1
    most = min(STEPS, max(1, BYTES // max(1, bytes_of_batch)))
    if limits:
        return max(steps for steps in range(1, most + 1) if math.gcd(*limits) % steps == 0)
    count = int(batches.cardinality())
    if count < 1:
        return most
    calls = max(math.ceil(count / most), min(2, count // 2))
    return math.ceil(count / calls)


def sizes_of_calls(count: int, steps: int) -> list[int]:
    """The steps of each call in an epoch of `count` steps, `steps` at most.

    >>> sizes_of_calls(7, 3)
    [3, 3, 1]
    """
    return [min(steps, count - first) for first in range(0, count, steps)]


def _looks_at_batches(callback: keras.callbacks.Callback) -> bool:
    if isinstance(callback, keras.callbacks.ModelCheckpoint | keras.callbacks.BackupAndRestore):
        return callback.save_freq != "epoch"
    if isinstance(callback, keras.callbacks.TensorBoard):
        return callback.update_freq != "epoch" or callback.profile_batch not in (0, None)
    if isinstance(callback, keras.callbacks.TerminateOnNaN):
        return False  # the figures of a call are means that a NaN of any step makes NaN
    hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
    return any(getattr(type(callback), hook) is not getattr(keras.callbacks.Callback, hook) for hook in hooks)


def compiled_loop(model: keras.Model, step, steps: int, size: int | None, otherwise, most=None):
    """A function like Keras's `train_function`, whose steps are one XLA program.

    The host pulls batches until there are `steps` of one size, and hands them to a compiled loop over the steps: the
    weights, the optimizer and the means stay inside of it. A batch of another size, such as the last one of an epoch,
    ends a loop and begins the next.

    Args:
        model: whose metrics are the logs.
        step: `model.train_step` or `model.test_step`.
        steps: batches for each call, at most.
        size: examples in the batches that XLA compiles; those of another size run without it, for a program of their
            own takes seconds to compile. None compiles all.
        otherwise: Keras's function, for iterators that are not of `tf.data`, as in `train_on_batch`.
        most: called before each call for the number of batches that it may take; None is always `steps`.

    Returns:
        A function from an iterator of batches to logs, which raises `StopIteration` when the iterator is at its end.
    """

    def run(batches, count):
        def one_step(number):
            step(tf.nest.map_structure(lambda batch: batch[number], batches))
            return (number + 1,)

        tf.while_loop(lambda number: number < count, one_step, [tf.constant(0)])

    def pull(iterator, following, most):
        return _stack(iterator, following, steps, most)

    compiled, plain = _of_its_own(run, jit_compile=True), _of_its_own(run)
    pull, results = _of_its_own(pull), _of_its_own(model.get_metrics_result)

    def function(iterator):
        if not isinstance(iterator, tf.data.Iterator):
            return otherwise(iterator)
        left = steps if most is None else most()
        following = iterator.get_next_as_optional()
        if not following.has_value():
            raise StopIteration
        while following.has_value():
            batches, count, following = pull(iterator, following, tf.constant(left))
            examples = tf.nest.flatten(batches)[0].shape[1]
            (compiled if size in (None, examples) else plain)(batches, count)
            left -= int(count)
        return results()

    return function


def _of_its_own(function, jit_compile=None):
    """A function of TensorFlow that each model has anew: no reason to warn of the fifth that is traced."""
    made = tf.function(function, jit_compile=jit_compile, reduce_retracing=True, autograph=False)
    made._omit_frequent_tracing_warning = True
    return made


def _stack(iterator: tf.data.Iterator, following: tf.experimental.Optional, size: int, most):
    """Pulls batches of one size.

    Args:
        iterator: of batches.
        following: the first batch, as an optional that has a value.
        size: length of the axis in front, always the same: each other one would be another program for XLA.
        most: batches that may be pulled, an int32 scalar.

    Returns:
        batches: with an axis in front, of which the first `count` are filled.
        count: int32 scalar.
        following: an optional: without a value at the end of the data and when `most` batches are there, else the
            batch of another size.
    """
    batch = following.get_value()
    tensors = tf.nest.flatten(batch)
    examples = tf.shape(tensors[0])[0]

    def fits(count, stacks, following):
        def same_size():
            return tf.shape(tf.nest.flatten(following.get_value())[0])[0] == examples

        return tf.cond(following.has_value(), same_size, lambda: tf.constant(False))

    def add(count, stacks, following):
        tensors = tf.nest.flatten(following.get_value())
        stacks = [stack.write(count, tensor) for stack, tensor in zip(stacks, tensors, strict=True)]
        following = tf.cond(
            count + 1 < most,
            iterator.get_next_as_optional,
            lambda: tf.experimental.Optional.empty(iterator.element_spec),
        )
        return count + 1, stacks, following

    stacks = [tf.TensorArray(tensor.dtype, size=size, element_shape=tensor.shape) for tensor in tensors]
    count, stacks, following = tf.while_loop(fits, add, [tf.constant(0), stacks, following])
    return tf.nest.pack_sequence_as(batch, [stack.stack() for stack in stacks]), count, following
