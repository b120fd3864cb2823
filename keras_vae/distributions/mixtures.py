"""Mixtures: priors with more than one mode."""

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import positive, whole_number
from keras_vae.distributions.base import DistributionLayer, Independent, ScaledLayer, dimensions
from keras_vae.distributions.normal import IndependentNormal
from keras_vae.distributions.supports import Support
from keras_vae.noise import categorical, fold


class NormalMixture(ScaledLayer):
    """sum_k w[k] N(value | loc[k], scale[k]^2), with independent values inside of each component.

    Without a context, as a prior, weights, locations and scales are learned; the locations start from N(0, 1). Draws
    carry no gradient to the weights, so that it is no posterior for the ELBO.

    Args:
        event_shape: shape of one draw.
        network: from the context to features; None uses the context itself.
        components: number of normals in the mixture, 2 or more.
        min_scale: the smallest standard deviation, more than 0.

    Reference: Dilokthanakul et al. 2016, arXiv:1611.02648.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        components: int = 10,
        min_scale: float = 1e-3,
        **kwargs,
    ):
        super().__init__(event_shape, network, min_scale, **kwargs)
        self.components = whole_number(self, "components", components, least=2)

    @property
    def params_shape(self) -> tuple[int, ...]:
        """Of each component its weight, then locations, then scales."""
        return (self.components, 1 + 2 * math.prod(self.event_shape))

    @property
    def params_initializer(self) -> keras.initializers.Initializer:  # type: ignore[override]
        """Equal components would stay equal."""
        return keras.initializers.RandomNormal(stddev=1.0)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        logits, loc, raw_scale = tf.split(params, [1, *[math.prod(self.event_shape)] * 2], axis=-1)
        shape = [*dimensions(params)[:-2], self.components, *self.event_shape]
        scale = self.scale(tf.reshape(raw_scale, shape))
        components = Independent(IndependentNormal(tf.reshape(loc, shape), scale), self.event_shape)
        return Mixture(tfd.Categorical(logits=tf.squeeze(logits, axis=-1)), components)


class VampPrior(DistributionLayer):
    """The mean of the model's own posterior over learned inputs, (1 / K) sum_k q(z | u[k]).

    The best prior for the ELBO is the mean of the posteriors of all data; K pseudo-inputs u stand in for them, and are
    trained with the networks. `set_pseudo_inputs` starts them from data.

    Args:
        event_shape: shape of one draw, that of the posterior.
        components: K, 2 or more.
        mean, stddev: of the normal that the pseudo-inputs start from, as the networks see the data: of a `Standardized`
            likelihood 0 and 1 are right.
        low, high: range of the data, as the networks see them, which the pseudo-inputs are clipped to; None leaves a
            side open.

    Raises:
        ValueError: when it is built or called outside of a model that has a posterior.

    Reference: Tomczak & Welling 2018, arXiv:1705.07120.
    """

    params_per_value = 0

    def __init__(
        self,
        event_shape: int | Sequence[int],
        components: int = 500,
        mean: float = 0.5,
        stddev: float = 0.1,
        low: float | None = 0.0,
        high: float | None = 1.0,
        **kwargs,
    ):
        super().__init__(event_shape, **kwargs)
        self.components = whole_number(self, "components", components, least=2)
        self.mean, self.stddev = float(mean), positive(self, "stddev", stddev)
        self.low, self.high = low, high
        self._posterior: Any = None  # a weak reference, once there is one
        self._likelihood: Any = None

    @property
    def support(self) -> Support:  # type: ignore[override]
        """Where draws of the posterior are."""
        return super().support if self._posterior is None else self._posterior().support

    def relate(self, posterior: DistributionLayer, likelihood: DistributionLayer) -> None:
        """Takes the posterior that the mixture is made of, and the units of the data; the model remains their owner."""
        # Keras would save a second attribute of the model twice.
        self._posterior, self._likelihood = weakref.ref(posterior), weakref.ref(likelihood)

    def get_build_config(self) -> None:
        """Nothing: a loaded layer is built by its model, after the posterior."""

    def build(self, context_shape=None):
        """Creates the pseudo-inputs, of the shape of the posterior's context."""
        if self._posterior is None:
            raise ValueError(f"{self._title} needs a model with a posterior, VAE(posterior, likelihood, prior=...).")
        if len(self._posterior().context_shapes) > 1:
            raise ValueError(
                f"{self._title} needs a posterior whose context is one tensor, the data. "
                f"Received: one with contexts of shapes {self._posterior().context_shapes}."
            )
        initializer = keras.initializers.RandomNormal(self.mean, self.stddev)
        (context_shape,) = self._posterior().context_shapes
        shape = (self.components, *context_shape[1:])
        self.pseudo_inputs = self.add_weight(
            shape=shape, initializer=initializer, name="pseudo_inputs", dtype="float32"
        )

    def set_pseudo_inputs(self, x) -> None:
        """Starts from data in their own units, shape (components, *event of the data); the layer must be built."""
        values = self._likelihood().standardized(np.asarray(x)).numpy()
        if values.shape != tuple(self.pseudo_inputs.shape):
            raise ValueError(
                f"{self._title} needs pseudo-inputs of shape {tuple(self.pseudo_inputs.shape)}. "
                f"Received: {values.shape}."
            )
        self.pseudo_inputs.assign(values)

    def call(self, context=None) -> tfd.Distribution:
        inputs = tf.convert_to_tensor(self.pseudo_inputs)
        low, high = (-np.inf if self.low is None else self.low), (np.inf if self.high is None else self.high)
        components = self._posterior()(tf.clip_by_value(inputs, low, high))
        return Mixture(tfd.Categorical(logits=tf.zeros([self.components])), components)


class Mixture(tfd.MixtureSameFamily):
    """`tfd.MixtureSameFamily` with the noise of `keras_vae.noise`, and with draws of each component."""

    def _sample_n(self, n, seed=None):
        def draw(sample_shape, seed, temperature):
            return self.components_distribution.sample(sample_shape, seed=seed)

        return self.chosen(draw, [n], tfp.random.sanitize_seed(seed), 1.0)

    def chosen(self, draw: Callable, sample_shape, seed, temperature) -> tf.Tensor:
        """Draws, shape (*sample_shape, *batch, *event), those of the components from draw(sample_shape, seed, ...).

        Args:
            draw: from sample shape, seed and temperature to draws of all components, (*sample_shape, *batch,
                components, *event).
            sample_shape, seed: of the draws.
            temperature: what the noise is multiplied by; at 0 the most probable component is chosen.
        """
        shape = tf.concat([sample_shape, self.batch_shape_tensor()], axis=0)
        places = categorical(self.mixture_distribution.logits_parameter(), shape, fold(seed, 0), temperature)
        axes = len(sample_shape) + len(self.batch_shape)
        return tf.gather(draw(sample_shape, fold(seed, 1), temperature), places, axis=axes, batch_dims=axes)

    def strata(self, samples, count, seed) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws of each component apart, whose weighted mean is that of the mixture with gradients to all parameters.

        E f(value) = sum_k w[k] E f(draw of k): a draw of the mixture itself has no gradient to the weights.

        Args:
            samples: how many sets of draws.
            count: draws of the mixture that these stand for: count / components of each, at least 2.
            seed: int32 tensor of shape (2,).

        Returns:
            weights: w, shape (components,).
            draws: shape (samples, components, draws of each, *event).
        """
        weights = self.mixture_distribution.probs_parameter()
        each = tf.maximum(-(-count // weights.shape[-1]), 2)
        draws = self.components_distribution.sample([samples, each], seed=seed)  # [samples, each, components, *event]
        return weights, tf.transpose(draws, [0, 2, 1, *range(3, len(draws.shape))])
