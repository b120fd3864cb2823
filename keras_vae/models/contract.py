"""The Keras side of a model: compile, fit, evaluate, predict, save and export."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import tensorflow as tf

from keras_vae import keras_names
from keras_vae.arguments import positive
from keras_vae.export import write_saved_model
from keras_vae.files import replacing, require_space
from keras_vae.models import quantized
from keras_vae.models.checked import CheckedModel
from keras_vae.models.given import Given
from keras_vae.models.inputs import answer_of
from keras_vae.objectives import ELBO, Objective
from keras_vae.optimizers import OptimizerGroups
from keras_vae.replicas import check_strategy, one_device, workers_watched
from keras_vae.stored_rows import stored_in
from keras_vae.training.choice import prefers_xla
from keras_vae.training.execution import Execution, Programs, running
from keras_vae.training.feed import Feed


class KerasContract(keras_names.BuiltBeforehand, CheckedModel):
    """What `LatentVariableModel` overrides of Keras's public methods, and nothing of its mathematics."""

    objective_layers: Sequence = ()  # those that `compile` got with the objective
    skip_above: float | None = None  # norm of the gradient of steps that are left out, as `compile` got it
    scheduled_numbers: Mapping = MappingProxyType({})  # of the objective, that callbacks may set: variables by name

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.programs = Programs()  # until `compile` makes others: also a model that is not compiled predicts

    def compile(
        self,
        optimizer="adam",
        loss: Objective | None = None,
        *,
        steps_per_execution: int | str = "auto",
        jit_compile: bool | str = "auto",
        skip_above: float | None = None,
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
            skip_above: None, or a norm of the gradient of all weights, beyond which, or where it is not finite, a step
                is left out: nothing is updated but the count of steps, and the logs count it in `skipped_steps`. For
                very deep models, whose gradients explode now and then; where most steps are left out it is too low.
            **kwargs: `run_eagerly` and `auto_scale_loss` of Keras's `compile`.

        Raises:
            TypeError: for a loss that is not an objective, and for Keras metrics, which have no target to compare with.
            ValueError: for `skip_above` that is not a positive number, and under a strategy.
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
            {
                "optimizer": optimizer,
                "jit_compile": jit_compile,
                "steps_per_execution": steps_per_execution,
                "skip_above": skip_above,
            },
        )
        self._require_idle("compile")
        self.skip_above = None if skip_above is None else positive(self, "skip_above", skip_above)
        self.programs = Programs(jit_compile, steps_per_execution)
        self._adopt([layer for layers in loss.groups.values() for layer in layers])
        if jit_compile == "auto":
            jit_compile = not kwargs.get("run_eagerly") and prefers_xla(self)
        steps = 1 if steps_per_execution == "auto" else steps_per_execution
        if isinstance(optimizer, Mapping):
            optimizer = OptimizerGroups(optimizer)
        with self.distribute_strategy.scope():
            super().compile(optimizer, loss, steps_per_execution=steps, jit_compile=jit_compile, **kwargs)
            self.scheduled_numbers = {
                name: tf.Variable(value, trainable=False, name=name) for name, value in loss.numbers().items()
            }

    def _adopt(self, layers) -> None:
        """Makes layers of the objective layers of the model: trained with it, and saved with it."""
        if layers or self.objective_layers:
            with keras_names.unlocked(self) as untrack:
                for layer in self.objective_layers:
                    untrack(layer)
                self.objective_layers = list(layers)

    def get_compile_config(self) -> dict | None:
        """What `compile` was asked for; another machine chooses for itself what was left to be chosen."""
        config = super().get_compile_config()
        return config and config | self.programs.requested | {"skip_above": self.skip_above}

    def compile_from_config(self, config: dict):
        """Compiles a loaded model, with the variables of its optimizer."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self._create_variables(to_train=False)

    def quantize(self, mode=None, config=None, filters=None, **kwargs):
        """Quantizes the weights, as `keras.Model.quantize`; the optimizer begins anew, for other weights."""
        self._require_idle("quantize")
        super().quantize(mode, config, filters, **kwargs)
        if self.compiled:
            optimizer = type(self.optimizer).from_config(self.optimizer.get_config())
            self.compile(
                optimizer,
                self.loss,
                run_eagerly=self.run_eagerly,
                skip_above=self.skip_above,
                **self.programs.requested,
            )
            self._create_variables(to_train=False)

    def get_build_config(self) -> dict | None:
        """The shapes that the model was built with, and which of its layers are quantized."""
        config = super().get_build_config()
        return config and config | {"quantized": quantized.modes(self)}

    def build_from_config(self, config: dict):
        """Builds a model that is being loaded."""
        shapes = dict(config)
        modes = shapes.pop("quantized", {})
        super().build_from_config(shapes)  # Keras keeps what it gets, and would save the modes as a shape
        quantized.restore(self, modes)

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
        data, held_out = self.to_train_on(data), None if held_out is None else self.to_train_on(held_out)
        x = data.to_train_on(self.takes, batch_size, shuffle, self.seed)
        if held_out is not None:
            sizes = kwargs.pop("validation_batch_size", None) or batch_size
            validation_data = held_out.in_batches(self.takes, sizes)
        first_batch = data.first_batch(batch_size)
        feed = Feed(x, kwargs.pop("steps_per_epoch", None), one_device(self.distribute_strategy), shuffle)
        with (
            workers_watched(self.distribute_strategy, f"{type(self).__name__}.fit"),
            Execution(self, "fit", feed.batches, first_batch, callbacks, feed=feed) as execution,
        ):
            return super().fit(
                x=feed.batches,
                steps_per_epoch=feed.steps,
                epochs=epochs,
                verbose=verbose,
                callbacks=execution.followed(callbacks),
                validation_data=validation_data,
                shuffle=feed.shuffle,
                **kwargs,
            )

    def to_train_on(self, data: Given) -> Given:
        """What `fit` trains on in the place of data: for a model that can compute once what no epoch changes."""
        return data

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, **kwargs):
        """Loss and figures over a data set, as `keras.Model.evaluate`; the noise is the same at each call.

        Raises:
            ValueError: for data that the model can not use, in whichever batch.
        """
        self._require_compiled("evaluate")
        if keras_names.validates_for_fit(kwargs):
            with Execution(self, "validation", steps=keras_names.steps_of_validation(self), count=kwargs.get("steps")):
                return super().evaluate(x, y, batch_size, verbose, sample_weight, **kwargs)
        data = self.look_at("evaluate", x, y, sample_weight)
        batches = self._watched(data) if data.arrays is None else data.in_batches(self.takes, batch_size)
        given = batches, data.first_batch(batch_size), kwargs.get("callbacks"), kwargs.get("steps")
        with self._naming_batches(data), Execution(self, "evaluate", *given):
            return super().evaluate(batches, verbose=verbose, **kwargs)

    def predict(self, x, batch_size=None, verbose="auto", **kwargs):
        """Reconstructions (means of p(x | z) at the mean of q(z | x)), as `keras.Model.predict`.

        Returns:
            An array; of a frame, a table or a dictionary of columns what `reconstruct` gives for it, such as another
            frame.

        Raises:
            ValueError: for data that the model can not use, in whichever batch.
        """
        data = self.look_at("predict", x)
        batches = self._watched(data) if data.arrays is None else data.in_batches(self.takes, batch_size)
        with self._naming_batches(data), Execution(self, "predict"):
            rows = super().predict(batches, verbose=verbose, **kwargs)
        return answer_of(self, x, rows)

    def _look_at_pair(self, validation_data):
        """What `validation_data` holds: data in any form, or (x, y) or (x, y, sample_weight) of arrays."""
        method = "fit(validation_data=...)"
        if any(field.is_instead(validation_data) for field in self.takes.fields):
            return self.look_at(method, validation_data)
        if isinstance(validation_data, tuple | list) and 2 <= len(validation_data) <= 3:
            return self.look_at(method, *validation_data)
        return self.look_at(method, validation_data[0] if isinstance(validation_data, tuple) else validation_data)

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Writes a `.keras` file as `keras.Model.save` does, in one step: an interrupted save leaves the old file."""
        if zipped is False or (not overwrite and Path(filepath).exists()):  # a folder, or Keras asks the user
            return super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
        if not str(filepath).endswith(".keras"):
            raise ValueError(f"{type(self).__name__}.save needs a path that ends in .keras. Received: {filepath}.")
        with replacing(filepath) as temporary:
            super().save(temporary, zipped=zipped, **kwargs)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """Writes a `.weights.h5` file as `keras.Model.save_weights` does, in one step."""
        if max_shard_size is not None or (not overwrite and Path(filepath).exists()):
            return super().save_weights(filepath, overwrite=overwrite, max_shard_size=max_shard_size)
        if not str(filepath).endswith(".weights.h5"):
            raise ValueError(
                f"{type(self).__name__}.save_weights needs a path that ends in .weights.h5. Received: {filepath}."
            )
        with replacing(filepath) as temporary:
            # HDF5 that meets a full disk ends the process, when Python ends: with a segmentation fault.
            require_space(temporary, self._size_of_weights())
            super().save_weights(temporary)

    def _size_of_weights(self) -> int:
        """Bytes of a file of weights and optimizer, an upper estimate."""
        variables = [*self.variables, *(self.optimizer.variables if self.compiled else ())]
        on_disk = sum(rows.bytes for rows in stored_in(self))
        return on_disk + 2**16 + sum(2**12 + math.prod(each.shape) * tf.as_dtype(each.dtype).size for each in variables)

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
        with Execution(self, "export"):  # for Keras takes the functions of the model away
            write_saved_model(self, signatures, filepath, verbose=bool(verbose))

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """One step on one batch, as `keras.Model.train_on_batch`."""
        self._require_compiled("train_on_batch")
        with Execution(self, "train_on_batch"):
            return super().train_on_batch(x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """Loss and figures of one batch, as `keras.Model.test_on_batch`."""
        self._require_compiled("test_on_batch")
        with Execution(self, "test_on_batch"):
            return super().test_on_batch(x, y, sample_weight, return_dict)

    def predict_on_batch(self, x):
        """Reconstructions of one batch, as `keras.Model.predict_on_batch`."""
        with Execution(self, "predict_on_batch"):
            return super().predict_on_batch(x)

    # --- how steps are run: see keras_vae/training -------------------------------------------------------------------

    def make_train_function(self, force=False):
        """Sets `train_function` to that of the call that runs; `force` makes it anew."""
        self._set_functions(force)

    def make_test_function(self, force=False):
        """Sets `test_function` to that of the call that runs; `force` makes it anew."""
        self._set_functions(force)

    def make_predict_function(self, force=False):
        """Sets `predict_function` to that of the call that runs; `force` makes it anew."""
        self._set_functions(force)

    def _set_functions(self, force: bool) -> None:
        if force:
            self.programs.forget()
        (running(self) or Execution(self, "train_on_batch")).install()

    def keras_function(self, kind: str, jit_compile: bool):
        """The function that Keras would make of `train_step`, `test_step` or `predict_step`.

        Args:
            kind: "train", "test" or "predict".
            jit_compile: whether XLA compiles it.
        """
        name = f"{kind}_function"
        current: Any = getattr(self, name)
        chosen: bool = self.jit_compile  # type: ignore[has-type]
        self.jit_compile = jit_compile
        try:
            getattr(super(), f"make_{name}")(force=True)
            return getattr(self, name)
        finally:
            setattr(self, name, current)
            self.jit_compile = chosen

    def _require_idle(self, method: str) -> None:
        outer = running(self)
        if outer:
            raise RuntimeError(
                f"{type(self).__name__}.{method} needs the {outer.method} that is running to end first. "
                "Received: a call from one of its callbacks."
            )
