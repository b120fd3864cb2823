"""Training stops where something is not finite: which step it was, what went wrong in it, and the weights before it."""

import math
import re

import keras
import numpy as np
import tensorflow as tf

from keras_vae.keras_names import loss_mean

LOSS = "the loss"
_MARK = re.compile(r"keras_vae needs (.+?) to be finite")


class BrokenStepError(FloatingPointError):
    """A step that is not finite.

    Args:
        cause: what went wrong, in words.
        number: of the step, counted from 0 among those of one call.
        before: whether the step before it is the one that broke the weights.
    """

    def __init__(self, cause: str, number: int = 0, before: bool = False):
        super().__init__(cause)
        self.cause, self.number, self.before = cause, number, before

    def after(self, steps: int) -> "BrokenStepError":
        """The same, after so many steps more."""
        return BrokenStepError(self.cause, self.number + steps, self.before)


def finite_or_stop(model: keras.Model, losses: dict, gradients: list[tuple]) -> list[tf.Operation]:
    """Operations that a step waits for before it updates the weights: they fail unless all is finite.

    XLA leaves them out; what it has compiled is watched from outside (`Loop`), and so are several replicas.

    Args:
        losses: scalars by group.
        gradients: pairs of a gradient, or None, and its weight.
    """
    if tf.distribute.has_strategy():
        return []
    total = tf.add_n([tf.cast(loss, tf.float32) for loss in losses.values()])
    # The figures are read here so that they are up to date when the first assertion fails.
    figures = list(model.get_metrics_result().values())
    needed = [tf.debugging.Assert(tf.math.is_finite(total), [_needs(LOSS), *figures])]
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        return needed  # it leaves out steps whose gradients are not finite, and scales the loss down
    with tf.control_dependencies(needed):
        sums = [(_sum(gradient), weight) for gradient, weight in gradients if gradient is not None]
        return needed + [
            tf.debugging.Assert(tf.math.is_finite(value), [_needs(f"the gradient of {weight.path}")])
            for value, weight in sums
        ]


def weights_are_finite(model: keras.Model) -> tf.Tensor:
    """Whether the trainable weights are: NaN and infinity stay in their sum."""
    return tf.math.is_finite(tf.add_n([tf.zeros([]), *map(_sum, model.trainable_weights)]))


def all_is_finite(model: keras.Model) -> tf.Tensor:
    """Whether the trainable weights and the mean loss of the epoch are."""
    return weights_are_finite(model) & tf.math.is_finite(loss_mean(model).result())


def first_broken(variables) -> str | None:
    """The path of the first variable with a value that is not finite."""
    for variable in variables:
        values = keras.ops.convert_to_numpy(variable)
        if values.dtype.kind not in "biu" and not np.isfinite(values.astype(np.float32)).all():
            return variable.path
    return None


def broken_step(model: keras.Model, error: tf.errors.InvalidArgumentError | None, number: int) -> Exception:
    """What a failed assertion means; the error itself where it is another one.

    Args:
        error: of the runtime; None for weights that are not finite after a step.
        number: of the step among those of one call.
    """
    if error is None:
        return BrokenStepError(_of_weights(first_broken(model.trainable_weights)), number)
    failed = _MARK.search(str(error))
    if failed is None:
        return error
    logs = {name: float(value) for name, value in model.get_metrics_result().items()}
    if math.isfinite(logs["loss"]) and failed[1] != LOSS:
        return BrokenStepError(f"{failed[1]} is not finite, though the loss is", number)
    return broken_figures(model, logs, number)


def broken_figures(model: keras.Model, logs: dict, number: int = 0) -> BrokenStepError:
    """What figures mean of which the loss is not finite."""
    weight = first_broken(model.trainable_weights)
    if weight is not None:
        return BrokenStepError(_of_weights(weight), number, before=True)
    derived = ("loss", "bits_per_dim", "skipped_steps")
    terms = {name: value for name, value in logs.items() if name not in derived and not name.startswith("nats_per_")}
    bad = [f"{name} is {value:g}" for name, value in terms.items() if not math.isfinite(value)]
    named = (
        " and ".join(bad) or f"{' and '.join(terms)} are finite, but not what the objective, or add_loss, makes of them"
    )
    return BrokenStepError(named, number)


class State:
    """All variables that a training step changes."""

    def __init__(self, model: keras.Model):
        of_means = [variable for metric in model.means() for variable in metric.variables]
        found = [*model.variables, *model.optimizer.variables, *of_means]
        self.variables = list({id(variable): variable for variable in found}.values())
        self._read = tf.function(lambda: [tf.identity(variable.value) for variable in self.variables], autograph=False)

    def read(self) -> list[tf.Tensor]:
        """Their values."""
        return self._read()

    def write(self, values: list[tf.Tensor]) -> None:
        """Sets them."""
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)


def _needs(name: str) -> str:
    return f"keras_vae needs {name} to be finite"


def _of_weights(path: str | None) -> str:
    return f"the weight {path} is not finite"


def _sum(value) -> tf.Tensor:
    value = value.values if isinstance(value, tf.IndexedSlices) else value
    return tf.reduce_sum(tf.cast(value, tf.float32))
