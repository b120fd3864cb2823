"""Variational autoencoders with several layers of latent variables."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer, Normal
from keras_vae.distributions.base import check_spaces
from keras_vae.distributions.codebooks import check_no_codes
from keras_vae.distributions.normal import independent_normal
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.models.base import LatentVariableModel
from keras_vae.models.inputs import answers_frames
from keras_vae.noise import DATA, fold
from keras_vae.serving import Rows, Signatures
from keras_vae.trace import Trace


class HierarchicalVAE(LatentVariableModel):
    """p(x, z1, ..., zL) = p(x | z1) p(z1 | z2) ... p(zL), inferred from the bottom up: q(z1 | x) q(z2 | z1) ...

    The priors of all but the top layer are conditional, given the layer above, and learned (deep latent Gaussian
    model). The draws of a layer decide those of the layers above, on which its own prior depends: its KL has no closed
    form, and is averaged over the draws.

    Args:
        posteriors: q(z1 | x), q(z2 | z1), ...: the first given x, each other one given the latents below.
        likelihood: p(x | z1), a layer given z1.
        priors: p(z1 | z2), ..., p(zL): each given the latents above, the last given nothing.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for an argument that is not a distribution layer.
        ValueError: for posteriors and priors that differ in number, event shapes or the kind of their draws.

    Reference: Rezende, Mohamed & Wierstra 2014, arXiv:1401.4082; Burda et al. 2016, arXiv:1509.00519 (two layers).
    """

    def __init__(
        self,
        posteriors: Sequence[DistributionLayer],
        likelihood: DistributionLayer,
        priors: Sequence[DistributionLayer],
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        for role, layer in [
            *(("posteriors", layer) for layer in posteriors),
            ("likelihood", likelihood),
            *(("priors", layer) for layer in priors),
        ]:
            if not isinstance(layer, DistributionLayer):
                raise TypeError(
                    f"{type(self).__name__} needs {role} of distribution layers, such as Normal(16, network). "
                    f"Received: {layer!r}."
                )
        shapes = [[layer.event_shape for layer in layers] for layers in (posteriors, priors)]
        if shapes[0] != shapes[1] or not posteriors:
            raise ValueError(
                f"{type(self).__name__} needs a posterior and a prior of one event shape for each layer of latents. "
                f"Received: posteriors {shapes[0]}, priors {shapes[1]}."
            )
        for posterior, prior in zip(posteriors, priors, strict=True):
            check_no_codes(type(self).__name__, posterior)
            check_spaces(type(self).__name__, posterior, prior)
        self.posteriors = list(posteriors)
        self.likelihood = likelihood
        self.priors = list(priors)

    @property
    def names(self) -> list[str]:
        """Of the latent variables, z1 next to the data."""
        return [f"z{number + 1}" for number in range(len(self.posteriors))]

    def build(self, input_shape):
        """Creates the weights for data of shape (batch, *event)."""
        self.check_shape(input_shape)
        self._build_generation()
        below = [(None, *input_shape[1:]), *((None, *layer.event_shape) for layer in self.posteriors)]
        for layer, context_shape in zip(self.posteriors, below, strict=False):
            _build(layer, context_shape)

    def _build_generation(self):
        for number, layer in enumerate(self.priors):
            top = number == len(self.priors) - 1
            _build(layer, None if top else (None, *self.priors[number + 1].event_shape))
        _build(self.likelihood, (None, *self.priors[0].event_shape))

    def call(self, inputs, training=None) -> Trace:
        """Draws the latents of a batch, shape (batch, *event), and returns the trace."""
        return self.tracer(inputs)()

    def tracer(self, x) -> Callable[[], Trace]:
        """A function that draws the latents and returns the trace; what does not depend on draws is done here."""
        x = self._as_batch(x)
        first, top = self.posteriors[0](self.likelihood.standardized(x)), self.priors[-1]()

        def draw_trace():
            draws = [self.draw(first, top)]
            for layer in self.posteriors[1:]:
                draws.append(self.draw(layer(draws[-1].value), top, opens=False))
            latents = {}
            for number, draw in enumerate(draws):
                if number + 1 < len(draws):
                    # This prior depends on draws that depend on this one: no closed form.
                    prior = self.priors[number](draws[number + 1].value)
                    draw = dataclasses.replace(draw, prior=prior, closed_form=False)
                latents[self.names[number]] = draw
            return Trace(x, self.likelihood(draws[0].value), latents)

        return draw_trace

    def encode(self, x) -> dict[str, tfd.Distribution]:
        """q of each latent variable by name, batch shape (batch,), those it is given at their means."""
        context, posteriors = self.likelihood.standardized(self._as_batch(x)), {}
        for name, layer in zip(self.names, self.posteriors, strict=True):
            posteriors[name] = layer(context)
            context = posteriors[name].mean()
        return posteriors

    def decode(self, z) -> tfd.Distribution:
        """p(x | z1), batch shape (...), for z1 of shape (..., *latent)."""
        bottom = self.priors[0]
        return self.likelihood(self._as_latent(z, bottom.event_shape, bottom.support.hull, "z1"))

    @answers_frames
    def reconstruct(self, x) -> Any:
        """Mean of p(x | z1) at the mean of q(z1 | x), shape (batch, *event); of a frame a frame."""
        return self.decode(self.encode(x)["z1"].mean()).mean()

    def sample_prior(self, count, seed=None, temperature=1.0) -> dict[str, tf.Tensor]:
        """Draws of all latents from the top down, by name, shape (count, *latent) each.

        Args:
            count: number of draws, 0 or more, an integer or an integer scalar tensor.
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: what the distance of each draw to the mean of its prior is multiplied by.
        """
        self._require_built("generate")
        count, seed, temperature = self._checked_count(count), self._as_seed(seed), self._as_temperature(temperature)
        draws = {}
        above = None
        for number in reversed(range(len(self.priors))):
            prior = self.priors[number]() if above is None else self.priors[number](above)
            each = [] if prior.batch_shape.rank else [count]  # a prior that ignores the layer above has one for all
            above = tempered_draws(prior, each, fold(seed, number), temperature, self.priors[number].support)
            draws[self.names[number]] = above
        return draws

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x | z1) for latents drawn by `sample_prior`, shape (count, *event)."""
        return self.decode(self.sample_prior(count, seed, temperature)["z1"]).mean()

    def sample(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(x | z1) for latents drawn by `sample_prior`, shape (count, *event): those of `generate`."""
        seed = self._as_seed(seed)
        z1 = self.sample_prior(count, seed, temperature)["z1"]
        return self.decode(z1).sample(seed=fold(seed, DATA))

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`: `z1`, `z2`, ... stand for `z`."""
        z1 = Rows("z1", self.priors[0].event_shape, self.priors[0].support.hull)
        make = Signatures(self, z1, **limits)
        return make.of("serving_default", "encode", "decode", "generate", "sample", "log_likelihood")


class LadderVAE(HierarchicalVAE):
    """p(x, z1, ..., zL) as in `HierarchicalVAE`, inferred from the top down: q(zL | x) ... q(z1 | z2, x).

    Networks go from x up to features d1, ..., dL; then each layer combines what it reads from its features with its
    prior, given the draw above, by their precisions: q(zl | z(l+1), x) is proportional to N(zl | loc(dl), scale(dl)^2)
    p(zl | z(l+1)). Each KL is in closed form.

    Args:
        encoders: networks from x to d1, from d1 to d2, ...
        posteriors: `Normal` layers, that of layer l given dl.
        likelihood: p(x | z1), a layer given z1.
        priors: `Normal` layers p(z1 | z2), ...; the last, given nothing, may be a `StandardNormal`.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for layers that are not of the classes above.
        ValueError: for encoders, posteriors and priors that differ in number or event shapes.

    Reference: Sonderby et al. 2016, arXiv:1602.02282.
    """

    def __init__(
        self,
        encoders: Sequence[keras.layers.Layer],
        posteriors: Sequence[Normal],
        likelihood: DistributionLayer,
        priors: Sequence[DistributionLayer],
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(posteriors, likelihood, priors, seed=seed, **kwargs)
        if len(encoders) != len(posteriors):
            raise ValueError(
                f"{type(self).__name__} needs an encoder for each layer of latents. "
                f"Received: {len(encoders)} encoders, {len(posteriors)} posteriors."
            )
        for layer in [*posteriors, *priors[:-1]]:
            if not isinstance(layer, Normal):
                raise TypeError(
                    f"{type(self).__name__} needs Normal layers, whose precisions can be added. Received: {layer!r}."
                )
        self.encoders = list(encoders)

    def build(self, input_shape):
        """Creates the weights for data of shape (batch, *event)."""
        self.check_shape(input_shape)
        self._build_generation()
        features = keras.KerasTensor((None, *input_shape[1:]))
        for encoder, layer in zip(self.encoders, self.posteriors, strict=True):
            features = encoder(features)
            _build(layer, tuple(features.shape))

    def tracer(self, x) -> Callable[[], Trace]:
        """A function that draws the latents and returns the trace; `x`, shape (batch, *event), is encoded here."""
        x = self._as_batch(x)
        readings, top = self._read(x), self.priors[-1]()

        def draw_trace():
            latents, prior = {}, top
            for number in reversed(range(len(self.priors))):
                posterior = readings[number] if prior is top else _product(readings[number], prior)
                latents[self.names[number]] = latent = self.draw(posterior, prior, opens=prior is top)
                if number:
                    prior = self.priors[number - 1](latent.value)
            latents = {name: latents[name] for name in self.names}
            return Trace(x, self.likelihood(latents["z1"].value), latents)

        return draw_trace

    def encode(self, x) -> dict[str, tfd.Distribution]:
        """q of each latent variable by name, batch shape (batch,), those it is given at their means."""
        readings = self._read(self._as_batch(x))
        posteriors, prior = {}, None
        for number in reversed(range(len(self.priors))):
            name = self.names[number]
            posteriors[name] = readings[number] if prior is None else _product(readings[number], prior)
            if number:
                prior = self.priors[number - 1](posteriors[name].mean())
        return {name: posteriors[name] for name in self.names}

    def _read(self, x: tf.Tensor) -> list[tfd.Distribution]:
        readings, features = [], self.likelihood.standardized(x)
        for encoder, layer in zip(self.encoders, self.posteriors, strict=True):
            features = encoder(features)
            readings.append(layer(features))
        return readings


def _product(first: tfd.Distribution, second: tfd.Distribution) -> tfd.Distribution:
    """The normal proportional to the product of two independent normals; its precision is the sum of theirs."""
    locs = first.mean(), second.mean()
    precisions = first.stddev() ** -2, second.stddev() ** -2
    precision = precisions[0] + precisions[1]
    loc = (locs[0] * precisions[0] + locs[1] * precisions[1]) / precision
    return independent_normal(loc, tf.math.rsqrt(precision), first.event_shape)


def _build(layer: DistributionLayer, context_shape) -> None:
    if not layer.built:  # a loaded layer is
        layer.build(context_shape)
