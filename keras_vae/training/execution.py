"""One call of fit, evaluate or predict: how its steps run."""

import itertools
import math
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

from keras_vae import keras_names
from keras_vae.refusals import in_both
from keras_vae.replicas import one_device
from keras_vae.training.choice import sizes_of_calls, steps_for
from keras_vae.training.feed import Feed
from keras_vae.training.finite import (
    BrokenStepError,
    all_is_finite,
    broken_figures,
    broken_step,
    weights_are_finite,
)
from keras_vae.training.loop import Loop

# A context variable: threads that use one model do not see each other's calls.
_running: ContextVar[tuple["Execution", ...]] = ContextVar("running", default=())


class Programs:
    """What `compile` was asked for, and the functions that were made since, which later calls use again.

    Args:
        jit_compile, steps_per_execution: of `compile`.
    """

    def __init__(self, jit_compile: bool | str = "auto", steps_per_execution: int | str = "auto"):
        self.requested = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
        self._made: dict[tuple, Callable] = {}

    def get(self, key: tuple, make: Callable):
        """The function of this key, made when it is first asked for."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def made(self, kind: str) -> bool:
        """Whether there is a function of this kind."""
        return any(key[0] == kind for key in self._made)

    def forget(self) -> None:
        """Makes all functions anew."""
        self._made.clear()


class Execution:
    """One call of a method of a model: chooses how many steps run for each call of the runtime, and by which program.

    Keras's own loops over epochs and batches ask the model for `train_function`, `test_function`, `predict_function`
    and `steps_per_execution`: in the `with` block they are those of this call, and after it those of the call that it
    was made in, such as `fit`, one of whose callbacks calls `evaluate`. The means of that call stay, too.

    Args:
        model: the model.
        method: "fit", "evaluate", "predict", "train_on_batch" ...; "validation" is the `evaluate` of `fit`.
        batches: what Keras runs over.
        first: arrays of the first batch; None where only Keras can read it.
        callbacks: those of the user.
        count: steps of one pass over the data, or None: as many as there are batches.
        steps: steps for each call, where they are given already.
        feed: of `fit`.
    """

    def __init__(
        self,
        model,
        method: str,
        batches=None,
        first=None,
        callbacks=None,
        count=None,
        steps=None,
        feed: Feed | None = None,
    ):
        self.model, self.method = model, method
        self.feed: Any = feed
        self.count = feed.steps if feed else count
        self.callbacks = getattr(callbacks, "callbacks", keras.tree.flatten(callbacks or []))
        self.size = None if first is None else len(first[0])
        self.trains = method in ("fit", "train_on_batch")
        self.compiles = bool(model.jit_compile) and (self.trains or model.programs.requested["jit_compile"] is True)
        self.steps = steps or self._steps(batches, first)
        self._begin(0)
        self._kept: list = []
        self._looked = False  # whether the last steps have looked at the weights that they leave, as a `Loop` does

    def _steps(self, batches, first) -> int:
        requested = self.model.programs.requested["steps_per_execution"]
        if self.model.run_eagerly and one_device(self.model.distribute_strategy):
            return 1
        if requested != "auto":
            return requested
        if first is None or not self.model.jit_compile:
            return 1
        return steps_for(
            batches,
            sum(array.nbytes for array in first),
            self.callbacks,
            self.count,
            "train" if self.trains else "test",
        )

    def __enter__(self) -> "Execution":
        outer = [each for each in _running.get() if each.model is self.model]
        if self.method == "fit" and any(each.method == "fit" for each in outer):
            name = type(self.model).__name__
            raise RuntimeError(
                f"{name}.fit needs the fit that is running to end first. Received: a call from one of its callbacks, "
                f"which may call every other method, such as train_on_batch."
            )
        if outer and self.method != "validation":
            self._kept = [(variable, variable.numpy()) for mean in self.model.means() for variable in mean.variables]
        self._token = _running.set((*_running.get(), self))
        self.install()
        return self

    def __exit__(self, *error) -> None:
        _running.reset(self._token)
        for variable, value in self._kept:
            variable.assign(value)
        if self.method == "fit":
            keras_names.start_at(self.model, None)
        outer = running(self.model)
        if outer:
            outer.install()

    def install(self) -> None:
        """Makes the functions of this call those of the model."""
        self.model.steps_per_execution = self.steps
        self.model.train_function, self.model.test_function = self.train, self.test
        self.model.predict_function = self.predict

    # --- the functions that Keras calls ------------------------------------------------------------------------------

    def train(self, iterator) -> dict:
        """Training steps: the logs after them.

        Raises:
            FloatingPointError: at the first step that is not finite.
        """
        steps = next(self._sizes)
        try:
            logs = self._function("train")(iterator, steps)
        except BrokenStepError as error:
            raise self._stopped(error) from None
        except tf.errors.InvalidArgumentError as error:
            found: Any = broken_step(self.model, error, 0)
            if found is error:
                raise
            raise self._stopped(found) from None
        if not one_device(self.model.distribute_strategy):  # no assertions in the step
            figures = {name: float(tf.reduce_mean(value)) for name, value in logs.items()}
            if not math.isfinite(figures["loss"]):
                raise self._stopped(broken_figures(self.model, figures))
        elif self.method != "fit" and not all_is_finite(self.model):  # nor in one step that XLA has compiled
            broken = broken_figures(self.model, {name: float(value) for name, value in logs.items()})
            raise self._stopped(BrokenStepError(broken.cause))
        self._done += steps
        return logs

    def test(self, iterator) -> dict:
        """Test steps: the logs after them."""
        return self._function("test")(iterator, next(self._sizes))

    def predict(self, data):
        """Predictions of one or several batches."""
        return self._function("predict")(data)

    def _function(self, kind: str) -> Callable:
        """A function of the model's programs: from an iterator of batches and their number to logs."""
        model, one = self.model, one_device(self.model.distribute_strategy)
        jit_compile = bool(model.jit_compile) and (kind == "train" or model.programs.requested["jit_compile"] is True)
        key = (kind, self.steps, jit_compile, bool(model.run_eagerly))
        if kind == "predict":
            return model.programs.get(key, lambda: model.keras_function(kind, jit_compile))
        keras_function = model.programs.get(key, lambda: _ignoring_number(model.keras_function(kind, jit_compile)))
        if model.run_eagerly or not one or not (jit_compile or self.steps > 1):
            return keras_function
        size = None if model.programs.requested["jit_compile"] is True else self.size
        step = model.train_step if kind == "train" else model.test_step
        loop = model.programs.get(
            (*key, size), lambda: Loop(model, step, self.steps, jit_compile, size, trains=kind == "train")
        )

        def run(iterator, most):
            self._looked = isinstance(iterator, tf.data.Iterator)
            return (loop if self._looked else keras_function)(iterator, most)

        return run

    # --- what happens in time ----------------------------------------------------------------------------------------

    def followed(self, callbacks):
        """The callbacks of the user after one that tells this object which epoch begins."""
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(Follow(self))
            return callbacks
        return [Follow(self), *keras.tree.flatten(callbacks or [])]

    def begin_epoch(self, epoch: int) -> None:
        """Tells the data which epoch begins."""
        if self.feed.differs and keras_names.starts_at(self.model):
            warnings.warn(
                f"{type(self.model).__name__}.fit goes on from epoch {epoch} with other batches than an uninterrupted "
                f"run has: {self.feed.differs}.",
                stacklevel=2,
            )
            keras_names.start_at(self.model, None)  # Keras has read it
        self._begin(epoch)
        self.feed.begin(epoch)

    def end_epoch(self) -> None:
        """Raises `FloatingPointError` for weights that the last step has broken, before any callback keeps them."""
        if not self._looked and not weights_are_finite(self.model):
            raise self._stopped(broken_figures(self.model, {}))

    def _begin(self, epoch: int) -> None:
        self.epoch, self._done = epoch, 0  # steps of the epoch
        self._sizes = (
            itertools.repeat(self.steps)
            if self.count is None
            else itertools.chain(sizes_of_calls(self.count, self.steps), itertools.repeat(self.steps))
        )

    def _stopped(self, error: BrokenStepError) -> FloatingPointError:
        step = self._done + error.number + (0 if error.before else 1)
        kept = [
            f"{callback.directory} keeps the weights of {callback.finished_epochs} epochs. "
            for callback in self.callbacks
            if getattr(callback, "finished_epochs", 0)
        ]
        where = f"in epoch {self.epoch + 1} at step {step}" if step else f"before step 1 of epoch {self.epoch + 1}"
        what = f"stopped {where}: {error.cause}. {''.join(kept)}Lower"
        return in_both(
            FloatingPointError(
                f"{type(self.model).__name__}.{self.method} {what} the learning rate, clip the gradients "
                "(clipnorm=1.0), or look for outliers."
            ),
            f"train {what} --learning-rate, or look for outliers.",
        )


class Follow(keras.callbacks.Callback):
    """Tells an `Execution` of `fit` which epoch begins; it comes before the callbacks of the user."""

    def __init__(self, execution: Execution):
        super().__init__()
        self.execution = execution

    def on_epoch_begin(self, epoch, logs=None):
        self.execution.begin_epoch(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.execution.end_epoch()


def running(model: keras.Model) -> Execution | None:
    """The innermost call of a method of this model that is running in this thread."""
    return next((each for each in reversed(_running.get()) if each.model is model), None)


def _ignoring_number(function: Callable) -> Callable:
    return lambda iterator, number: function(iterator)
