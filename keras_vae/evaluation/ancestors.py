"""Draws from the prior of any model, by its own traces."""

import tensorflow as tf

from keras_vae.evaluation.joint import Joint
from keras_vae.noise import fold
from keras_vae.trace import draw_from


def prior_draws(joint: Joint, samples: int, seed: tf.Tensor) -> list[tf.Tensor]:
    """Draws from p(z) for each example, by variable, shape (samples, batch, *event) each.

    The trace at any z knows the prior of each variable given its parents, whichever these are. Drawn from these priors
    over and over with the same noise, variables without parents are right after the first time, their children after
    the second one.

    Args:
        joint: of the model and a batch.
        samples: for each example.
        seed: int32 tensor of shape (2,).
    """
    values = joint.draws(samples, fold(seed, 0))
    leading = tf.shape(values[0])[:2]
    for _ in joint.names:
        latents = joint.trace(values).latents
        values = [
            tf.broadcast_to(_draw(latents[name].prior, leading, fold(seed, 1, place)), tf.shape(value))
            for place, (name, value) in enumerate(zip(joint.names, values, strict=True))
        ]
    return values


def _draw(prior, leading, seed) -> tf.Tensor:
    """Shape (samples, batch, *event), of a prior of batch shape (), (batch,) or (samples, batch)."""
    return draw_from(prior, leading[: 2 - prior.batch_shape.rank], seed).value
