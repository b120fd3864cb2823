"""The variational autoencoder of data that come with a condition, such as a label."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.models.vae import VAE
from keras_vae.networks.shapes import as_shape
from keras_vae.noise import fold
from keras_vae.trace import Trace

tfd = tfp.distributions


class ConditionalVAE(VAE):
    """p(x, z | c) = p(x | z, c) p(z | c), with q(z | x, c) for inference: a density of x for each condition c.

    The condition is what Keras calls `y`: `fit(images, labels)`, `evaluate(images, labels)`, datasets of pairs. A label
    is given as a one-hot vector.

    Args:
        posterior: q(z | x, c), a layer whose network takes [x, c]; `networks.Concatenated` makes one of any network.
        likelihood: p(x | z, c), a layer whose network takes [z, c].
        prior: p(z | c), a layer given c; one that ignores its context, such as `StandardNormal`, is fine.
        condition_shape: shape of one condition, 10 for a one-hot vector of ten classes.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for an argument that is not a distribution layer.
        ValueError: for a prior whose event shape is not the posterior's, and, in use, for conditions that are missing
            or of another shape.

    Reference: Sohn, Lee & Yan 2015, "Learning structured output representation using deep conditional generative
    models" (NeurIPS).
    """

    def __init__(
        self,
        posterior: DistributionLayer,
        likelihood: DistributionLayer,
        prior: DistributionLayer,
        condition_shape: int | Sequence[int],
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(posterior, likelihood, prior, seed=seed, **kwargs)
        self.condition_shape = as_shape(condition_shape, type(self).__name__)

    def build(self, input_shape):
        """Creates the weights for data of shape (batch, *event); the shape of conditions is known."""
        if isinstance(input_shape[0], Sequence):  # of the pair that `call` takes
            input_shape = input_shape[0]
        self.check_shape(input_shape)
        condition = (None, *self.condition_shape)
        contexts = {
            self.posterior: ((None, *input_shape[1:]), condition),
            self.prior: condition,
            self.likelihood: ((None, *self.posterior.event_shape), condition),
        }
        for layer, context_shape in contexts.items():
            if not layer.built:  # a loaded layer is
                layer.build(context_shape)

    def as_inputs(self, x, y):
        """The pair that `call` takes: x, and its conditions, shape (batch, *condition_shape)."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} needs the condition of each example as y: fit(x, y), evaluate(x, y), datasets "
                "of pairs, predict((x, y)). Received: y=None."
            )
        return x, self._as_condition(y)

    def _as_condition(self, y) -> tf.Tensor:
        """Conditions of a batch, float32; raises `ValueError` for another shape."""
        y = y if tf.is_tensor(y) else np.asarray(y)
        if not y.shape or tuple(y.shape[1:]) != self.condition_shape:
            expected = ", ".join(["batch", *map(str, self.condition_shape)])
            hint = " Make one-hot vectors of labels: keras.utils.to_categorical." if len(y.shape) == 1 else ""
            raise ValueError(
                f"{type(self).__name__} needs conditions of shape ({expected}). Received: {tuple(y.shape)}.{hint}"
            )
        return tf.cast(tf.convert_to_tensor(y), tf.float32)

    def call(self, inputs) -> Trace:
        """Encodes a pair (x, condition), draws z, and returns the trace."""
        return self.tracer(inputs)()

    def tracer(self, x) -> Callable[[], Trace]:
        """A function that draws z and returns the trace; the pair (x, condition) is encoded here."""
        x, condition = self._as_batch(x)
        posterior, prior = self.posterior((x, condition)), self.prior(condition)

        def draw_trace():
            z = self.draw(posterior, prior)
            return Trace(x, self.likelihood((z.value, condition)), {"z": z})

        return draw_trace

    def encode(self, x, condition) -> tfd.Distribution:
        """q(z | x, c), batch shape (batch,), for x of shape (batch, *event)."""
        return self.posterior(self._as_batch((x, condition)))

    def decode(self, z, condition) -> tfd.Distribution:
        """p(x | z, c), batch shape (...), for z of shape (..., *latent) and conditions of shape (batch, ...)."""
        return self.likelihood(self._as_batch((z, condition)))

    def reconstruct(self, x, condition, seed=None) -> tf.Tensor:
        """Mean of p(x | z, c), shape (batch, *event); the arguments are those of `VAE.reconstruct`."""
        posterior = self.encode(x, condition)
        z = posterior.mean() if seed is None else posterior.sample(seed=fold(seed))
        return self.decode(z, condition).mean()

    def sample_prior(self, condition, seed=None, temperature=1.0) -> tf.Tensor:
        """One draw from p(z | c) for each condition, shape (batch, *latent).

        Args:
            condition: shape (batch, *condition_shape).
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: 0 gives the mean of the prior, 1 its draws.
        """
        self._require_built("generate")
        condition = self._as_condition(condition)
        prior = self.prior(condition)
        if seed is None:
            seed = tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        each = [] if prior.batch_shape.rank else [tf.shape(condition)[0]]
        return tempered_draws(prior, each, fold(seed), temperature, self.prior.support)

    def generate(self, condition, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x | z, c), one for each condition, z drawn by `sample_prior`: shape (batch, *event)."""
        return self.decode(self.sample_prior(condition, seed, temperature), condition).mean()

    def predict_step(self, data) -> tf.Tensor:
        """Reconstructions of one batch of pairs."""
        return self.reconstruct(*self.as_inputs(*_pair(data)))

    def _as_batch(self, x) -> tuple[tf.Tensor, tf.Tensor]:
        part, condition = x
        return tf.cast(tf.convert_to_tensor(part), tf.float32), self._as_condition(condition)

    def example_inputs(self, x=None) -> tuple[tf.Tensor, tf.Tensor]:
        """A pair of batch size 1: the observation `x`, shape (1, *event), or zeros, and a condition of zeros."""
        return super().example_inputs(x), tf.zeros([1, *self.condition_shape])

    def serving_signatures(self) -> dict:
        """What `export` writes: by name, a function to a flat dict of tensors and the specs of its inputs."""
        x = tf.TensorSpec([None, *self.event_shape], tf.float32, name="x")
        z = tf.TensorSpec([None, *self.posterior.event_shape], tf.float32, name="z")
        condition = tf.TensorSpec([None, *self.condition_shape], tf.float32, name="condition")
        seed = tf.TensorSpec([], tf.int32, name="seed")
        num_samples = tf.TensorSpec([], tf.int32, name="num_samples")
        temperature = tf.TensorSpec([], tf.float32, name="temperature")

        def mean_and_stddev(x, condition):
            posterior = self.encode(x, condition)
            return {"mean": posterior.mean(), "stddev": posterior.stddev()}

        def generate(condition, seed, temperature):
            z = self.sample_prior(condition, seed, temperature)
            return {"z": z, "mean": self.decode(z, condition).mean()}

        def log_likelihood(x, condition, num_samples, seed):
            return {"log_likelihood": self.importance_weights((x, condition), num_samples, seed)[0]}

        return {
            "serving_default": (lambda x, condition: {"mean": self.reconstruct(x, condition)}, [x, condition]),
            "encode": (mean_and_stddev, [x, condition]),
            "decode": (lambda z, condition: {"mean": self.decode(z, condition).mean()}, [z, condition]),
            "reconstruct": (
                lambda x, condition, seed: {"mean": self.reconstruct(x, condition, seed)},
                [x, condition, seed],
            ),
            "generate": (generate, [condition, seed, temperature]),
            "log_likelihood": (log_likelihood, [x, condition, num_samples, seed]),
        }


def _pair(data):
    while isinstance(data, tuple | list) and len(data) == 1:  # Keras wraps what predict is given
        (data,) = data
    return data[:2] if isinstance(data, tuple | list) else (data, None)
