"""The variational autoencoder of data that come with a condition, such as a label."""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.distributions import DistributionLayer
from keras_vae.models.inputs import Field, Inputs
from keras_vae.models.single_latent import SingleLatentModel, build_layers, check_parts
from keras_vae.networks.shapes import as_shape

tfd = tfp.distributions


class ConditionalVAE(SingleLatentModel):
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
        super().__init__(seed=seed, **kwargs)
        check_parts(self, posterior=posterior, likelihood=likelihood, prior=prior)
        self.posterior = posterior
        self.likelihood = likelihood
        self.prior = prior
        self.condition_shape = as_shape(condition_shape, type(self).__name__)

    @property
    def takes(self) -> Inputs:
        """An observation, and its condition as y."""
        condition = Field(self.condition_shape, "condition", words="conditions")
        return Inputs(Field(self.likelihood.event_shape, observed=self.likelihood), y=condition)

    def build(self, input_shape):
        """Creates the weights for data of shape (batch, *event); the shape of conditions is known."""
        if isinstance(input_shape[0], Sequence):  # of the pair that `call` takes
            input_shape = input_shape[0]
        self.check_shape(input_shape)
        condition = (None, *self.condition_shape)
        build_layers(
            {
                self.posterior: ((None, *input_shape[1:]), condition),
                self.prior: condition,
                self.likelihood: ((None, *self.posterior.event_shape), condition),
            }
        )

    def encode(self, x, condition) -> tfd.Distribution:
        """q(z | x, c), batch shape (batch,), for x of shape (batch, *event)."""
        return self.posterior(self._as_batch((x, condition)))

    def decode(self, z, condition) -> tfd.Distribution:
        """p(x | z, c), batch shape (...), for z of shape (..., *latent) and conditions of shape (batch, ...)."""
        return self.likelihood((tf.cast(tf.convert_to_tensor(z), tf.float32), self._as_condition(condition)))

    def prior_distribution(self, condition) -> tfd.Distribution:
        """p(z | c), of batch shape (batch,), or () for a prior that ignores its condition."""
        return self.prior(self._as_condition(condition))

    def _as_condition(self, condition) -> tf.Tensor:
        return self.takes.y.tensor(type(self).__name__, condition)

    def reconstruct(self, x, condition=None, seed=None) -> tf.Tensor:
        """Mean of p(x | z, c), shape (batch, *event); the arguments are those of `VAE.reconstruct`.

        x may be the pair (x, condition).
        """
        x, condition = x if condition is None else (x, condition)
        return self._reconstruction(x, (condition,), seed)

    def sample_prior(self, condition, seed=None, temperature=1.0) -> tf.Tensor:
        """One draw from p(z | c) for each condition, shape (batch, *latent).

        Args:
            condition: shape (batch, *condition_shape).
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: 0 gives the mean of the prior, 1 its draws.
        """
        condition = self._as_condition(condition)
        return self._draws_of_prior(tf.shape(condition)[0], (condition,), seed, temperature)

    def generate(self, condition, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x | z, c), one for each condition, z drawn by `sample_prior`: shape (batch, *event)."""
        return self.decode(self.sample_prior(condition, seed, temperature), condition).mean()

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
