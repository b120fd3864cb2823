"""Several steps for each call of the runtime, compiled by XLA or not."""

from typing import Any

import keras
import tensorflow as tf

from keras_vae.keras_names import without_warnings
from keras_vae.training.finite import BrokenStepError, State, all_is_finite, broken_step, weights_are_finite


class Loop:
    """Runs a step on several batches for each call.

    The host pulls batches until there are enough of one size, and hands them to a loop over the steps in one program:
    the weights, the optimizer and the means stay inside of it. A batch of another size, such as the last one of an
    epoch, ends a loop and begins the next.

    Args:
        model: whose metrics are the logs.
        step: `model.train_step` or `model.test_step`.
        steps: batches for each call, at most.
        jit_compile: whether XLA compiles.
        size: examples in the batches that XLA compiles; those of another size run without it, for a program of their
            own takes seconds to compile. None compiles all.
        trains: whether the step changes the weights, which then have to stay finite.
    """

    def __init__(self, model: keras.Model, step, steps: int, jit_compile: bool, size: int | None, trains: bool):
        self.model, self.step, self.steps, self.trains = model, step, steps, trains
        self.sizes = () if not jit_compile else (size,)
        self.done = tf.Variable(0, trainable=False, name="done")  # steps of the last call without XLA
        self._compiled = _own(self._run, jit_compile=True)
        self._plain = _own(self._run_and_count)
        self._pull = _own(self._pulled)
        self._results = _own(model.get_metrics_result)
        self._state: Any = None  # a `State`, from the first compiled call on

    def __call__(self, iterator: tf.data.Iterator, most: int) -> dict:
        """The logs after so many batches at most.

        Raises:
            StopIteration: when the iterator is at its end.
            BrokenStepError: at the first step whose figures, gradients or weights are not finite.
        """
        left = most
        following = iterator.get_next_as_optional()
        if not following.has_value():
            raise StopIteration
        while following.has_value():
            batches, count, following = self._pull(iterator, following, tf.constant(left))
            examples = tf.nest.flatten(batches)[0].shape[1]
            try:
                self._run_checked(batches, count, compiled=None in self.sizes or examples in self.sizes)
            except BrokenStepError as error:
                raise error.after(most - left) from error.__cause__
            left -= int(count)
        return self._results()

    def _run_checked(self, batches, count, compiled: bool) -> None:
        """All of the batches; in training the weights are then those of the last good step, and an error says which."""
        if not compiled:
            try:
                finite = self._plain(batches, count)
            except tf.errors.InvalidArgumentError as error:
                raise broken_step(self.model, error, int(self.done)) from error
            if not finite:
                raise broken_step(self.model, None, int(self.done))
        elif not self.trains:
            self._compiled(batches, count)
        else:
            self._state = self._state or State(self.model)
            before = self._state.read()  # no copies: XLA puts new tensors in the place of these
            if not self._compiled(batches, count):
                self._state.write(before)
                self._step_by_step(batches, int(count))

    def _run(self, batches, count):
        """The steps in one program; whether all figures and weights are finite after them."""

        def one_step(number):
            self.step(tf.nest.map_structure(lambda batch: batch[number], batches))
            return (number + 1,)

        tf.while_loop(lambda number: number < count, one_step, [tf.constant(0)])
        return all_is_finite(self.model) if self.trains else True

    def _run_and_count(self, batches, count):
        def one_step(number):
            with tf.control_dependencies([self.done.assign(number)]):
                self.step(tf.nest.map_structure(lambda batch: batch[number], batches))
            return (number + 1,)

        tf.while_loop(lambda number: number < count, one_step, [tf.constant(0)])
        return weights_are_finite(self.model) if self.trains else True

    def _step_by_step(self, batches, count: int) -> None:
        """The same steps once more without XLA, each of which stops where something is not finite."""
        for number in range(count):
            before = self._state.read()
            one = tf.nest.map_structure(lambda batch, n=number: batch[n : n + 1], batches)
            try:
                finite = self._plain(one, tf.constant(1))
            except tf.errors.InvalidArgumentError as error:
                raise broken_step(self.model, error, number) from error
            if not finite:
                broken = broken_step(self.model, None, number)
                self._state.write(before)
                raise broken

    def _pulled(self, iterator, following, most):
        return _stack(iterator, following, self.steps, most)


def _own(function, jit_compile=None):
    return without_warnings(tf.function(function, jit_compile=jit_compile, reduce_retracing=True, autograph=False))


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
