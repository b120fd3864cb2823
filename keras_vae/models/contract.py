"""The Keras side of a model: compile, fit, evaluate, predict, save and export."""

import contextlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import keras
import tensorflow as tf

from keras_vae.callbacks.training import FollowEpoch, StopAtNonFinite
from keras_vae.export import write_saved_model
from keras_vae.files import whole
from keras_vae.models.checked import CheckedModel
from keras_vae.models.execution import compiled_loop, prefers_xla, sizes_of_calls, steps_for
from keras_vae.objectives import ELBO, Objective
from keras_vae.optimizers import OptimizerGroups
from keras_vae.replicas import check_strategy, single, workers_watched


class KerasContract(CheckedModel):
    """What `LatentVariableModel` overrides of Keras's public methods, and nothing of its mathematics."""

    objective_layers = ()  # those that `compile` got with the objective
    scheduled_numbers: Mapping = MappingProxyType({})  # of the objective, that callbacks may set: variables by name

    def compile(
        self,
        optimizer="adam",
        loss: Objective | None = None,
        *,
        steps_per_execution: int | str = "auto",
        jit_compile: bool | str = "auto",
        **kwargs,
    ):
        """Configures training.

        Args:
            optimizer: a Keras optimizer or its name; or a dictionary of them by groups of weights, "model" and the
                groups of the objective, {"model": "adam", "critic": Adam(1e-4)}.
            loss: an objective such as `ELBO(beta=1.0)`; None is `ELBO()`.
            steps_per_execution: steps for each call of the runtime. "auto" is as many as are worth it, and 1 where a
                callback looks at single batches.
            jit_compile: whether XLA compiles. "auto" is where that is faster, compilation included: the training steps,
                on batches of the size of the first one, but for convolutions on a CPU and under a strategy with several
                replicas. The smaller last batch, `evaluate` and `predict` then run without. True compiles all of them.
            **kwargs: `run_eagerly` and `auto_scale_loss` of Keras's `compile`.

        Raises:
            TypeError: for a loss that is not an objective, and for Keras metrics, which have no target to compare with.
        """
        loss = ELBO() if loss is None else loss
        if not isinstance(loss, Objective):
            raise TypeError(
                f"{type(self).__name__}.compile needs loss to be an objective of keras_vae, such as ELBO(). "
                f"Received: loss={loss!r}."
            )
        for name in ("metrics", "weighted_metrics", "loss_weights"):
            if kwargs.get(name) is not None:
                raise TypeError(
                    f"{type(self).__name__}.compile has no {name}: the logs are loss, log_likelihood and kl. "
                    f"Received: {name}={kwargs[name]!r}."
                )
        check_strategy(
            self,
            f"{type(self).__name__}.compile",
            {"optimizer": optimizer, "jit_compile": jit_compile, "steps_per_execution": steps_per_execution},
        )
        self._requested = {"steps_per_execution": steps_per_execution, "jit_compile": jit_compile}
        if jit_compile == "auto":
            jit_compile = not kwargs.get("run_eagerly") and prefers_xla(self)
        steps = 1 if steps_per_execution == "auto" else steps_per_execution
        self._functions = {}  # train and test functions by name, number of steps and examples in a full batch
        self._full_batch = None
        self._calls = itertools.repeat(steps)  # the steps of each call of the train function
        if isinstance(optimizer, Mapping):
            optimizer = OptimizerGroups(optimizer)
        with self.distribute_strategy.scope():
            super().compile(optimizer, loss, steps_per_execution=steps, jit_compile=jit_compile, **kwargs)
            self.scheduled_numbers = {
                name: tf.Variable(value, trainable=False, name=name) for name, value in loss.numbers().items()
            }
            self._adopt([layer for layers in loss.groups.values() for layer in layers])

    def _adopt(self, layers) -> None:
        """Makes layers of the objective layers of the model: trained with it, and saved with it."""
        if layers or self.objective_layers:
            locked = self._tracker.locked
            self._tracker.unlock()
            for layer in self.objective_layers:
                self._tracker.untrack(layer)
            self.objective_layers = list(layers)
            if locked:
                self._tracker.lock()

    def get_compile_config(self) -> dict | None:
        """What `compile` was asked for; another machine chooses for itself what was left to be chosen."""
        config = super().get_compile_config()
        return config and config | self._requested

    def compile_from_config(self, config: dict):
        """Compiles a loaded model, with the variables of its optimizer."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self._create_variables(to_train=False)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        **kwargs,
    ):
        """Trains as `keras.Model.fit` does.

        Arrays are checked whole, datasets by their first batch, before the first step. The order of arrays in memory is
        drawn from the model's seed and the epoch, so that a resumed run sees what an uninterrupted one would. Targets
        `y` are accepted and, by a model that takes none, ignored. A loss that is not finite raises
        `FloatingPointError` and names the term.

        Args:
            x: what the model takes of all examples, an array (examples, *event) or a list of rows, a frame, for some
                models a dictionary or tuple of arrays; or a `tf.data.Dataset`, `keras.utils.PyDataset` or generator of
                batches.
            y, batch_size, ..., sample_weight: as in `keras.Model.fit`.
            **kwargs: its other arguments: `initial_epoch`, `steps_per_epoch`, `validation_steps`, ...

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: before `compile`, for empty data, for a wrong shape, for NaN, and for values that the likelihood
                does not allow.
            ConnectionError: when another worker of a multi-worker strategy is lost.
        """
        self._require_compiled("fit")
        if class_weight is not None:
            raise ValueError(f"{type(self).__name__}.fit has no classes to weight. Received: {class_weight=}.")
        data, held_out = self.look_at("fit", x, y, sample_weight), None
        if validation_data is not None:
            held_out = self._look_at_pair(validation_data)
        elif validation_split:
            data, held_out = data.split(validation_split)
        x = data.in_batches(self.takes, batch_size, shuffle, self.seed)
        if held_out is not None:
            sizes = kwargs.pop("validation_batch_size", None) or batch_size
            validation_data = held_out.in_batches(self.takes, sizes)
        first_batch = data.first_batch(batch_size)
        self._choose_steps(x, first_batch, callbacks, kwargs.get("steps_per_epoch"), kwargs.get("validation_steps"))
        guards = [StopAtNonFinite()]
        if hasattr(x, "epoch"):
            guards.append(FollowEpoch(x.epoch))
            if kwargs.get("steps_per_epoch") is None and x.cardinality() > 0 and single(self.distribute_strategy):
                x, kwargs["steps_per_epoch"] = self._endless(x), int(x.cardinality())
        with workers_watched(self.distribute_strategy, f"{type(self).__name__}.fit"):
            return super().fit(
                x=x,
                epochs=epochs,
                verbose=verbose,
                callbacks=_with(guards, callbacks),
                validation_data=validation_data,
                shuffle=shuffle and not isinstance(x, tf.data.Dataset),  # Keras warns of it for every dataset
                **kwargs,
            )

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, **kwargs):
        """Loss and figures over a data set, as `keras.Model.evaluate`; the noise is the same at each call.

        Raises:
            ValueError: for data that the model can not use, in whichever batch.
        """
        self._require_compiled("evaluate")
        if kwargs.get("_use_cached_eval_dataset"):  # set by Keras's fit, which has checked the data already
            return super().evaluate(x, y, batch_size, verbose, sample_weight, **kwargs)
        data = self.look_at("evaluate", x, y, sample_weight)
        batches = self._watched(data) if data.arrays is None else data.in_batches(self.takes, batch_size)
        self._choose_steps(batches, data.first_batch(batch_size), kwargs.get("callbacks"), kwargs.get("steps"))
        with self._naming_batches(data):
            return super().evaluate(batches, verbose=verbose, **kwargs)

    def predict(self, x, batch_size=None, verbose="auto", **kwargs):
        """Reconstructions (means of p(x | z) at the mean of q(z | x)), as `keras.Model.predict`.

        Raises:
            ValueError: for data that the model can not use, in whichever batch.
        """
        if self.compiled:
            self._choose_steps(None, None)
        data = self.look_at("predict", x)
        batches = self._watched(data) if data.arrays is None else data.in_batches(self.takes, batch_size)
        with self._naming_batches(data):
            return super().predict(batches, verbose=verbose, **kwargs)

    def _look_at_pair(self, validation_data):
        """What `validation_data` holds: data in any form, or (x, y) or (x, y, sample_weight) of arrays."""
        method = "fit(validation_data=...)"
        if isinstance(validation_data, tuple | list) and 2 <= len(validation_data) <= 3:
            return self.look_at(method, *validation_data)
        return self.look_at(method, validation_data[0] if isinstance(validation_data, tuple) else validation_data)

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Writes a `.keras` file as `keras.Model.save` does, in one step: an interrupted save leaves the old file."""
        if zipped is False or (not overwrite and Path(filepath).exists()):  # a folder, or Keras asks the user
            return super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
        if not str(filepath).endswith(".keras"):
            raise ValueError(f"{type(self).__name__}.save needs a path that ends in .keras. Received: {filepath}.")
        with whole(filepath) as temporary:
            super().save(temporary, zipped=zipped, **kwargs)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """Writes a `.weights.h5` file as `keras.Model.save_weights` does, in one step."""
        if max_shard_size is not None or (not overwrite and Path(filepath).exists()):
            return super().save_weights(filepath, overwrite=overwrite, max_shard_size=max_shard_size)
        if not str(filepath).endswith(".weights.h5"):
            raise ValueError(
                f"{type(self).__name__}.save_weights needs a path that ends in .weights.h5. Received: {filepath}."
            )
        with whole(filepath) as temporary:
            super().save_weights(temporary)

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        verbose=None,
        max_bytes: int = 2**28,
        max_samples: int = 10_000,
        **kwargs,
    ):
        """Writes a SavedModel with the model's serving signatures, for TF Serving: `filepath` ends in a version, "m/1".

        Args:
            filepath: a folder that does not exist yet.
            format: "tf_saved_model".
            verbose: whether to print the signatures.
            max_bytes: memory that one request may take, beside its inputs: larger batches are worked off in chunks, and
                more draws are refused. From an upper estimate: all tensors of an example, as if none were freed.
            max_samples: draws for each example that a request for `log_likelihood` may ask for.

        Raises:
            ValueError: for another format, for a model that is not built, and for a limit below one example.
            FileExistsError: when there is something at `filepath`.
        """
        if format != "tf_saved_model" or kwargs:
            raise ValueError(
                f'{type(self).__name__}.export needs format="tf_saved_model" and no further options. '
                f"Received: format={format!r}, {kwargs}."
            )
        self._require_built("export")
        signatures = self.serving_signatures(max_bytes=max_bytes, max_samples=max_samples)
        write_saved_model(self, signatures, filepath, verbose=bool(verbose))

    # --- how steps are run -------------------------------------------------------------------------------------------

    def make_train_function(self, force=False):
        """Builds `train_function`: Keras's, or one XLA program for several steps."""
        if self.train_function is None or force:
            super().make_train_function(force)
            size = None if self._requested["jit_compile"] is True else self._full_batch
            self.train_function = self._looped(
                "train", self.train_step, self.train_function, size, most=lambda: next(self._calls)
            )

    def make_test_function(self, force=False):
        """Builds `test_function`: Keras's, or one XLA program for several steps where XLA was asked for."""
        if self.test_function is None or force:
            with self._xla_where_asked_for():
                super().make_test_function(force)
                self.test_function = self._looped("test", self.test_step, self.test_function, None)

    def make_predict_function(self, force=False):
        """Builds `predict_function`: Keras's, with XLA where it was asked for."""
        with self._xla_where_asked_for():
            return super().make_predict_function(force)

    @contextlib.contextmanager
    def _xla_where_asked_for(self):
        """Left to choose, only training is compiled: a pass without gradients is too short to earn it."""
        chosen = self.jit_compile
        self.jit_compile = chosen and self._requested["jit_compile"] is True
        try:
            yield
        finally:
            self.jit_compile = chosen

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Keras would trace a step here, which fails for several workers; `_look_at` has built everything."""

    @property
    def _loops(self) -> bool:
        return bool(self.jit_compile) and self.steps_per_execution > 1 and single(self.distribute_strategy)

    def _looped(self, name: str, step, function, size: int | None, most=None):
        steps = self.steps_per_execution
        if self._loops:
            function = compiled_loop(self, step, steps, size, otherwise=function, most=most)
        self._functions[name, steps, self._full_batch] = function
        return function

    def _choose_steps(self, batches, first_batch, callbacks=None, *limits: int | None) -> None:
        self._full_batch = None if first_batch is None else len(first_batch[0])
        if self._requested["steps_per_execution"] == "auto":
            steps = 1
            if self.jit_compile and first_batch is not None:
                limits = [limit for limit in limits if limit is not None]
                steps = steps_for(
                    batches, sum(array.nbytes for array in first_batch), keras.tree.flatten(callbacks or []), limits
                )
            self.steps_per_execution = steps
        self._calls = itertools.repeat(self.steps_per_execution)
        key = self.steps_per_execution, self._full_batch
        self.train_function = self._functions.get(("train", *key))
        self.test_function = self._functions.get(("test", *key))

    def _endless(self, batches):
        """One dataset for all epochs of `fit` where its calls can end with the epoch; else the dataset of one."""
        if not hasattr(batches, "endless") or not (self._loops or self.steps_per_execution == 1):
            return batches
        self._calls = itertools.cycle(sizes_of_calls(int(batches.cardinality()), self.steps_per_execution))
        return batches.endless


def _with(guards: list, callbacks):
    if isinstance(callbacks, keras.callbacks.CallbackList):
        for guard in guards:
            callbacks.append(guard)
        return callbacks
    return guards + keras.tree.flatten(callbacks or [])
