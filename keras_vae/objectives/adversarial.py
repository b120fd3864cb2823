"""An adversarial loss: a critic learns to tell what a model makes from data, and the model to keep it from that."""

import functools
from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_vae.arguments import not_negative
from keras_vae.networks import by_rows
from keras_vae.objectives.base import Objective, in_training
from keras_vae.trace import Trace


class Adversarial(Objective):
    """An objective, and the loss of a generator against a critic: objective + weight x -log sigmoid(critic(G)).

    The critic minimises -log sigmoid(critic(x)) - log(1 - sigmoid(critic(G))) for data x and what the model makes, G:
    means of p(x | z) for z of the prior and, where the model has an encoder, for z of q(z | x), half of each. At its
    best the critic is the log-density of data less that of G. The generator's loss trains the decoder, and a prior that
    learns, but not the encoder (unless the prior is made of it). The critic looks at observations alone, in the units
    that networks see, also where a model has a condition.

    In training the loss is that sum. The critic moves, so that the second term of different epochs can not be compared:
    evaluation has the objective alone, where there is one. The logs have the loss of the critic as `loss_critic`,
    2 log 2 = 1.386 nats where it can tell nothing. Dropout and batch statistics of the critic belong to its own loss:
    the generator meets it as it is in evaluation.

    Args:
        critic: a Keras network from observations, shape (batch, *event), to one logit, shape (batch, 1); its group
            of weights is "critic": `compile(optimizer={"model": ..., "critic": ...})`.
        objective: what trains the encoder, such as `ELBO()`; None for a `GAN`, which has none.
        weight: of the generator's loss, 0 or more; a callback may schedule it.

    Raises:
        TypeError: for a critic that is no Keras layer, an objective that is none, and in training for a model that it
            can not train.
        ValueError: for a critic of more than one logit.

    Example:

    >>> critic = keras.Sequential([dense_encoder(64), keras.layers.Dense(1)])
    >>> objective = Adversarial(critic, ELBO(), weight=10.0)

    Reference: Goodfellow et al. 2014, arXiv:1406.2661 (the non-saturating loss); Larsen et al. 2016, arXiv:1512.09300
    (VAE-GAN), whose reconstruction error in features of the critic is here the likelihood of the model.
    """

    schedulable = ("weight",)

    def __init__(self, critic: keras.layers.Layer, objective: Objective | None = None, weight: float = 1.0):
        if not isinstance(critic, keras.layers.Layer):
            raise TypeError(f"Adversarial needs critic to be a Keras network of one logit. Received: {critic!r}.")
        if not (objective is None or isinstance(objective, Objective)):
            raise TypeError(f"Adversarial needs an objective, such as ELBO(), or None. Received: {objective!r}.")
        self.critic = critic
        self.objective = objective
        self.weight = not_negative(self, "weight", weight)
        if objective is not None:
            self.samples, self.path = objective.samples, objective.path

    @property
    def groups(self) -> dict[str, Sequence[keras.layers.Layer]]:
        """The critic, and the groups of the objective."""
        return {"critic": [self.critic]} | (self.objective.groups if self.objective else {})

    def __call__(self, trace: Trace) -> tf.Tensor:
        if self.objective is None:
            return self.number("weight") * self._generator_loss(trace)
        loss = self.objective(trace)
        return loss + self.number("weight") * self._generator_loss(trace) if in_training() else loss

    def losses(self, trace: Trace) -> dict[str, tf.Tensor]:
        """That of the critic, and those of the objective."""
        real, generated = self._real_and_generated(trace)
        of_real = self._logits(real[tf.newaxis], in_training())[0]  # [batch]
        of_generated = self._logits(tf.stop_gradient(generated), in_training())  # [draws, batch]
        loss = tf.math.softplus(-of_real) + tf.reduce_mean(tf.math.softplus(of_generated), axis=0)
        return {"critic": loss} | (self.objective.losses(trace) if self.objective else {})

    def _generator_loss(self, trace: Trace) -> tf.Tensor:
        """-log sigmoid(critic(G)), nats, shape (batch,)."""
        _, generated = self._real_and_generated(trace)
        return tf.reduce_mean(tf.math.softplus(-self._logits(generated, training=False)), axis=0)

    def _real_and_generated(self, trace: Trace) -> tuple[tf.Tensor, tf.Tensor]:
        if trace.real_and_generated is None:
            raise TypeError(
                "Adversarial needs a model whose trace has real_and_generated, such as VAE, ConditionalVAE or GAN. "
                "Received: one without."
            )
        return trace.real_and_generated()

    def _logits(self, observations: tf.Tensor, training: bool) -> tf.Tensor:
        """What the critic says of observations, float32, shape (draws, batch)."""
        critic = functools.partial(self.critic, training=training)
        logits = by_rows(critic, observations, axes=len(observations.shape) - 2)
        if logits.shape[2:] != (1,):
            raise ValueError(
                "Adversarial needs a critic from observations, (batch, *event), to one logit, (batch, 1). "
                f"Received: a critic to {('batch', *logits.shape[2:])}."
            )
        return tf.cast(logits[..., 0], tf.float32)

    def weight_of(self, term: str):
        """As the objective."""
        return 1.0 if self.objective is None else self.objective.weight_of(term)

    def check(self, trace: Trace) -> None:
        """Refuses models that do not generate, and what the objective refuses."""
        self._real_and_generated(trace)
        if self.objective is not None:
            self.objective.check(trace)
        elif trace.likelihood is not None:
            raise TypeError(
                "Adversarial needs an objective for the encoder of a model, Adversarial(critic, ELBO()). "
                "Received: objective=None."
            )

    def numbers(self) -> dict[str, float]:
        """Its weight, and the numbers of the objective."""
        return super().numbers() | (self.objective.numbers() if self.objective else {})

    def describe(self) -> str:
        """The objective in words, and the generator's loss."""
        generator = f"{self.weight:g} x -log sigmoid(critic(mean of p(x | z)))"
        return f"{self.objective.describe()} + {generator}" if self.objective else f"{self!r}: loss = {generator}"
