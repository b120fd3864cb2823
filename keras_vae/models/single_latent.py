"""A model with one latent variable z: what follows from an encoder, a decoder and a prior."""

from collections.abc import Callable

import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.distributions.supports import RealNumbers, Support
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.models.base import LatentVariableModel
from keras_vae.noise import fold
from keras_vae.trace import Trace

tfd = tfp.distributions


class SingleLatentModel(LatentVariableModel):
    """p(x, z) = p(x | z) p(z): a subclass defines `encode`, `decode` and `prior_distribution`."""

    def encode(self, x) -> tfd.Distribution:
        """q(z | x), batch shape (batch,), for x of shape (batch, *event)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method encode(self, x).")

    def decode(self, z) -> tfd.Distribution:
        """p(x | z), batch shape (...), for z of shape (..., *latent)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method decode(self, z).")

    def prior_distribution(self) -> tfd.Distribution:
        """p(z), of batch shape ()."""
        raise NotImplementedError(f"{type(self).__name__} needs a method prior_distribution(self).")

    @property
    def latent_support(self) -> Support:
        """Where draws of the prior are."""
        return RealNumbers()

    def call(self, inputs) -> Trace:
        """Encodes a batch, shape (batch, *event), draws z, and returns the trace."""
        return self.tracer(inputs)()

    def tracer(self, x) -> Callable[[], Trace]:
        """A function that draws z and returns the trace; `x`, shape (batch, *event), is encoded here."""
        x = self._as_batch(x)
        posterior, prior = self.encode(x), self.prior_distribution()

        def draw_trace():
            z = self.draw(posterior, prior)
            return Trace(x, self.decode(z.value), {"z": z})

        return draw_trace

    def reconstruct(self, x, seed=None) -> tf.Tensor:
        """Mean of p(x | z), shape (batch, *event).

        Args:
            x: shape (batch, *event).
            seed: None decodes the mean of q(z | x); an integer, a scalar tensor or int32 of shape (2,) decodes a draw.
        """
        posterior = self.encode(x)
        z = posterior.mean() if seed is None else posterior.sample(seed=fold(seed))
        return self.decode(z).mean()

    def sample_prior(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(z), shape (count, *latent), their distance to its mean multiplied by `temperature`.

        How that is measured, so that the draws stay in their support, is said in `tempered_draws`.

        Args:
            count: number of draws, 0 or more, an integer or an integer scalar tensor.
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: 0 gives the mean of the prior, its mode where it is discrete, or what a flow makes of the mean
                of its noise; 1 its draws.
        """
        self._require_built("generate")
        count = self._checked_count(count)
        prior = self.prior_distribution()
        if seed is None:
            seed = tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        return tempered_draws(prior, [count], fold(seed), temperature, self.latent_support)

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x | z) for z drawn by `sample_prior`, shape (count, *event)."""
        return self.decode(self.sample_prior(count, seed, temperature)).mean()

    def serving_signatures(self) -> dict:
        """What `export` writes: by name, a function to a flat dict of tensors and the specs of its inputs."""
        x = tf.TensorSpec([None, *self.event_shape], tf.float32, name="x")
        z = tf.TensorSpec([None, *self.latent_shape], tf.float32, name="z")
        seed = tf.TensorSpec([], tf.int32, name="seed")
        num_samples = tf.TensorSpec([], tf.int32, name="num_samples")
        temperature = tf.TensorSpec([], tf.float32, name="temperature")

        def mean_and_stddev(x):
            posterior = self.encode(x)
            return {"mean": posterior.mean(), "stddev": posterior.stddev()}

        def generate(num_samples, seed, temperature):
            z = self.sample_prior(num_samples, seed, temperature)
            return {"z": z, "mean": self.decode(z).mean()}

        def log_likelihood(x, num_samples, seed):
            return {"log_likelihood": self.importance_weights(x, num_samples, seed)[0]}

        return {
            "serving_default": (lambda x: {"mean": self.reconstruct(x)}, [x]),
            "encode": (mean_and_stddev, [x]),
            "decode": (lambda z: {"mean": self.decode(z).mean()}, [z]),
            "reconstruct": (lambda x, seed: {"mean": self.reconstruct(x, seed)}, [x, seed]),
            "generate": (generate, [num_samples, seed, temperature]),
            "log_likelihood": (log_likelihood, [x, num_samples, seed]),
        }
