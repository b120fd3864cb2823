"""The variational autoencoder of data that come with a condition, such as a label."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer
from keras_vae.models.inputs import Field, Inputs, answers_frames
from keras_vae.models.single_latent import SingleLatentModel, build_layers, check_parts
from keras_vae.networks.shapes import as_shape
from keras_vae.noise import DATA, fold


class ConditionalPrior(SingleLatentModel):
    """A model whose prior is given a condition: what needs one for each draw, and a seed."""

    condition_shape: tuple[int, ...]

    @property
    def condition(self) -> Field:
        """What the model takes as y."""
        return Field(self.condition_shape, "condition", words="conditions")

    def prior_distribution(self, condition) -> tfd.Distribution:
        """p(z | c), of batch shape (batch,), or () for a prior that ignores its condition."""
        return self.prior(self._as_condition(condition))

    def _as_condition(self, condition) -> tf.Tensor:
        return self._as_batch(condition, Inputs(self.condition))

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

    def sample(self, condition, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(x | z, c), one for each condition, z drawn by `sample_prior`: shape (batch, *event)."""
        seed = self._as_seed(seed)
        return self.decode(self.sample_prior(condition, seed, temperature), condition).sample(seed=fold(seed, DATA))


class ConditionalVAE(ConditionalPrior):
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
        return Inputs(Field(self.likelihood.event_shape, observed=self.likelihood), y=self.condition)

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
        return self.posterior(self.posterior_context(*self._as_batch((x, condition))))

    def posterior_context(self, x, condition):
        """What the layer `posterior` is given: the observation as networks are to see it, and the condition."""
        return self.likelihood.standardized(x), condition

    def decode(self, z, condition) -> tfd.Distribution:
        """p(x | z, c), batch shape (...), for z of shape (..., *latent) and conditions of shape (batch, ...)."""
        z = self._as_latent(z, self.latent_shape, self.latent_support)
        return self.likelihood((z, self._as_condition(condition)))

    @answers_frames
    def reconstruct(self, x, condition=None, seed=None) -> Any:
        """Mean of p(x | z, c), shape (batch, *event); the arguments are those of `VAE.reconstruct`.

        x may be the pair (x, condition).
        """
        x, condition = x if condition is None else (x, condition)
        return self._reconstruction(x, (condition,), seed)
