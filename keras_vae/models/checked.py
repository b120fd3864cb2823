"""What a model is given is looked at before any work is done."""

import keras
import numpy as np
import tensorflow as tf

from keras_vae.arguments import whole_number
from keras_vae.models.given import as_array, is_array, peek
from keras_vae.noise import fold
from keras_vae.replicas import single
from keras_vae.sampling import sampling
from keras_vae.serializable import Serializable


class CheckedModel(Serializable, keras.Model):
    """Refuses what the methods of a model can not use, by errors that name the class, what it needs and what it got."""

    def check_shape(self, shape) -> None:
        """Raises `ValueError` for data whose shape, with the batch axis first, is not that of the observations."""
        if tuple(shape[1:]) != self.event_shape:
            expected = ", ".join(["batch", *map(str, self.event_shape)])
            raise ValueError(f"{type(self).__name__} needs data of shape ({expected}). Received: {tuple(shape)}.")

    def check_data(self, x) -> None:
        """Raises `ValueError` for an array (examples, *event) that the likelihood could not have produced."""
        self.check_shape(x.shape)
        self.likelihood.check_values(x, "data")

    def check_missing(self, x) -> None:
        """Raises `ValueError` for an array with missing values (NaN) that a network passes on."""
        missing = np.isnan(x).reshape(len(x), -1).any(axis=1) if x.dtype.kind == "f" else np.zeros(1, bool)
        if not missing.any():
            return
        with sampling(samples=1, seed=fold(0)):
            trace = self(self.example_inputs(tf.constant(x[missing][:1])))
        if not np.isfinite(trace.log_likelihood + trace.kl):
            raise ValueError(
                f"{type(self).__name__} needs networks that take missing values, as the layer ObservedValues makes of "
                "any network that it comes first in. Received: data with NaN, which comes out of the networks as NaN."
            )

    def _check_targets(self, x, y) -> None:
        """Raises `ValueError` for targets of arrays that the model can not use."""
        self.as_inputs(x[:1], None if y is None else np.asarray(y)[:1])

    def _check_weights(self, sample_weight, method: str) -> None:
        """Raises `ValueError` for weights of examples that are not finite."""
        if sample_weight is not None and not np.isfinite(np.asarray(sample_weight, np.float64)).all():
            raise ValueError(
                f"{type(self).__name__}.{method} needs finite sample weights. Received: some that are NaN or infinite."
            )

    def _require_compiled(self, method: str) -> None:
        if not self.compiled:
            raise ValueError(
                f"{type(self).__name__}.{method} needs compile(optimizer, loss=ELBO()) first. Received: a model that "
                "is not compiled."
            )

    def _require_built(self, method: str) -> None:
        if not self.built:
            raise ValueError(
                f"{type(self).__name__}.{method} needs weights: call fit, or build((None, *event_shape)), first. "
                "Received: a model that is not built."
            )

    def _checked_count(self, count):
        """A number of draws: an integer tensor, or a whole number; raises `ValueError` for anything else."""
        return count if tf.is_tensor(count) else whole_number(self, "count", count, least=0)

    def checked(self, x, method: str):
        """`x`, after a look at all of an array or at the first batch of anything else; builds the model for it."""
        return self._look_at(x, method)[0]

    def _look_at(self, x, method: str):
        """`x`, and what was looked at: all of an array, the first batch of anything else, None where only Keras can."""
        if is_array(x):
            x = batch = as_array(x)
        else:
            x, batch = peek(x)
        if batch is None:
            return x, None
        if len(batch.shape) == 0 or len(batch) == 0:
            raise ValueError(f"{type(self).__name__}.{method} needs at least one example. Received: empty data.")
        self.check_data(batch)
        if not self.built:
            with self.distribute_strategy.scope():
                self.build((None, *batch.shape[1:]))
        self.check_missing(batch)
        if self.compiled and (method == "fit" or not single(self.distribute_strategy)):
            self._create_variables(to_train=method == "fit")
        return x, batch

    def _checked_pair(self, validation_data):
        if is_array(validation_data) or not isinstance(validation_data, tuple | list):
            return self.checked(validation_data, "fit(validation_data=...)")
        x, *rest = validation_data
        if len(rest) == 2 and rest[0] is None:
            rest[0] = rest[1]  # Keras drops weights that come without targets
        return (self.checked(x, "fit(validation_data=...)"), *rest)

    def _split(self, arrays, fraction: float):
        """The first examples for training and the last `fraction` of them for validation, as Keras splits."""
        if not is_array(arrays[0]):
            raise ValueError(
                f"{type(self).__name__}.fit needs x to be an array for validation_split. Received: {arrays[0]!r}."
            )
        size = len(arrays[0])
        at = int(size * (1 - fraction))
        if not 0 < at < size:
            raise ValueError(
                f"{type(self).__name__}.fit needs validation_split to leave examples on both sides. "
                f"Received: {fraction} of {size} examples."
            )
        first, last = ([None if a is None else as_array(a)[part] for a in arrays] for part in (np.s_[:at], np.s_[at:]))
        return first, tuple(last)
