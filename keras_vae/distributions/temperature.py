"""Draws that lie nearer to the middle of a distribution, or farther out, than its own."""

from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions.mixtures import Mixture
from keras_vae.distributions.supports import RealNumbers, Support


def tempered_draws(
    distribution: tfd.Distribution, sample_shape: Sequence, seed, temperature, support: Support | None = None
) -> tf.Tensor:
    """Draws at a temperature, which are in the support at any.

    Of flows, categories, binary values and levels of a grid the noise is multiplied: at 0 a category is the most
    probable one, a level that next to the location; of a mixture of these it is that of the most probable component.
    Of others it is the distance of the draw to the mean, as it is measured in their support: of real numbers the
    difference, of positive ones the ratio, of numbers from 0 to 1 and points of the simplex the ratio of the odds, on a
    sphere the angle; counts are measured from the mode, and rounded. A distribution on the sphere without a mean
    direction is the same at any temperature.

    Args:
        distribution: of any batch shape.
        sample_shape: leading axes of the draws.
        seed: int32 tensor of shape (2,).
        temperature: 0 or more, a number or scalar tensor. 0 gives the mean, or the mode of what can be counted; 1 the
            draws of `distribution.sample`, to the last bit.
        support: where the draws are; None is real numbers.

    Returns:
        shape (*sample_shape, *batch, *event).
    """
    temperature = tf.cast(temperature, tf.float32)
    support = RealNumbers() if support is None else support
    draw = _by_noise(distribution)
    if draw is not None:
        return draw(sample_shape, seed, temperature)
    draws = distribution.sample(sample_shape, seed=seed)
    return tf.where(temperature == 1, draws, support.tempered(support.center(distribution), draws, temperature))


def _by_noise(distribution: tfd.Distribution) -> Callable | None:
    """The method of a distribution that multiplies its noise, a function of (sample_shape, seed, temperature)."""
    if hasattr(distribution, "reinterpreted_batch_ndims"):  # tfd.Independent, of each class
        return _by_noise(distribution.distribution)
    if isinstance(distribution, Mixture):
        draw = _by_noise(distribution.components_distribution)
        return None if draw is None else lambda *arguments: distribution.chosen(draw, *arguments)
    return getattr(distribution, "tempered_sample", None)
