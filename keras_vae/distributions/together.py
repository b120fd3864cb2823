"""Several observed parts, each with a distribution of its own."""

from collections.abc import Mapping

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.distributions.supports import Support
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.noise import fold


class Together(tfd.Distribution):
    """The joint distribution of parts that are independent of each other: values are dictionaries.

    Args:
        parts: distributions by name, of one batch shape.
    """

    def __init__(self, parts: Mapping[str, tfd.Distribution]):
        reparameterized = all(part.reparameterization_type == tfd.FULLY_REPARAMETERIZED for part in parts.values())
        super().__init__(
            dtype={name: part.dtype for name, part in parts.items()},
            reparameterization_type=tfd.FULLY_REPARAMETERIZED if reparameterized else tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"parts": dict(parts)},
            name="Together",
        )
        self.parts = dict(parts)

    def log_prob_by_name(self, value: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Log-likelihood of each part, nats, shape (*sample, *batch)."""
        return {name: part.log_prob(value[name]) for name, part in self.parts.items()}

    def tempered(self, seed, temperature, supports: Mapping[str, Support]) -> dict[str, tf.Tensor]:
        """One draw of each part at a temperature, see `tempered_draws`."""
        return {
            name: tempered_draws(part, [], fold(seed, number), temperature, supports[name])
            for number, (name, part) in enumerate(self.parts.items())
        }

    def _log_prob(self, value):
        return tf.add_n([tf.cast(each, tf.float32) for each in self.log_prob_by_name(value).values()])

    def _sample_n(self, n, seed=None):
        seed = tfp.random.sanitize_seed(seed)
        return {
            name: part.sample([n], seed=fold(seed, number)) for number, (name, part) in enumerate(self.parts.items())
        }

    def _mean(self):
        return {name: part.mean() for name, part in self.parts.items()}

    def _batch_shape(self):
        return next(iter(self.parts.values())).batch_shape

    def _batch_shape_tensor(self):
        return next(iter(self.parts.values())).batch_shape_tensor()

    def _event_shape(self):
        return {name: part.event_shape for name, part in self.parts.items()}

    def _event_shape_tensor(self):
        return {name: part.event_shape_tensor() for name, part in self.parts.items()}
