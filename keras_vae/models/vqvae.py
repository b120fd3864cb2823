"""Autoencoders whose latent variables are codes."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.base import check_spaces
from keras_vae.distributions.codebooks import Quantized, Quantizer
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.models.codes import CodeModel, check_quantizer
from keras_vae.models.conditional import ConditionalPrior
from keras_vae.models.inputs import Inputs, answers_frames
from keras_vae.models.one_grid import OneGrid
from keras_vae.models.single_latent import UnconditionalPrior, build_layers
from keras_vae.networks.shapes import as_shape
from keras_vae.noise import DATA, fold
from keras_vae.serving import Rows, Signatures


class VQVAE(OneGrid, UnconditionalPrior):
    """Vector-quantized variational autoencoder: p(x, z) = p(x | z) p(z), with codes z, and q(z | x) that is one point.

    The bound log p(x) >= log p(x | z) + log p(z) holds for the codes of x: its `kl` is -log p(z), of a uniform prior
    places x log(levels). It leaves out what other codes add to p(x), and more draws do not bring it closer.

    Trained in two stages as published: with a `UniformCategorical` prior, and then, `with_prior`, a prior of the codes.

    Args:
        posterior: q(z | x), a layer given x: `VectorQuantized`, `GradientVectorQuantized` or `FiniteScalarQuantized`.
        likelihood: p(x | z), a layer given the vectors of the codes, shape (batch, *grid, vector_size).
        prior: p(z), a layer given nothing, of the same event shape and as many levels: `UniformCategorical`,
            `Categorical` or `PixelCNN`.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for an argument that is not a distribution layer, and for another posterior.
        ValueError: for a prior of another event shape, or fewer levels.

    Example:

    >>> posterior = VectorQuantized((4, 4, 1), residual_encoder((8, 8, 1), [16]), levels=32, vector_size=8)
    >>> likelihood = Bernoulli((8, 8, 1), residual_decoder((4, 4, 8), (8, 8, 1), [16]))
    >>> model = VQVAE(posterior, likelihood, UniformCategorical((4, 4, 1), levels=32))
    >>> model.compile("adam", Weighted(ELBO(), {"commitment": 0.25}))
    >>> model.build((None, 8, 8, 1))
    >>> model.encode(np.zeros((3, 8, 8, 1))).shape
    TensorShape([3, 4, 4, 1])

    Reference: van den Oord, Vinyals & Kavukcuoglu 2017, arXiv:1711.00937.
    """

    def with_conditional_prior(
        self, prior: DistributionLayer, condition_shape: int | Sequence[int]
    ) -> "ConditionalVQVAE":
        """The second stage given a condition, such as a label: as `with_prior`, with a prior p(z | c).

        Args:
            prior: p(z | c), a layer given c, not built yet: `PixelCNN((7, 7, 1), levels=256)`.
            condition_shape: shape of one condition, 10 for a one-hot vector of ten classes.
        """
        self._require_built("with_conditional_prior")
        return self._frozen_copy(ConditionalVQVAE, prior=prior, condition_shape=condition_shape)

    def prior_distribution(self) -> tfd.Distribution:
        """p(z), of batch shape ()."""
        return self.prior()

    def sample_prior(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws of codes from p(z), int32, shape (count, *grid, codes of each place); see `VAE.sample_prior`."""
        return super().sample_prior(count, seed, temperature)

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`: `codes`, int32, stand for `z`."""
        codes = Rows("codes", self.latent_shape, self.latent_support, "int32")
        make = Signatures(self, codes, **limits)
        return make.of("serving_default", "encode", "decode", "generate", "sample", "log_likelihood")


class ConditionalVQVAE(OneGrid, ConditionalPrior):
    """p(x, z | c) = p(x | z) p(z | c): a `VQVAE` whose prior of the codes, and nothing else, is given a condition.

    The second stage of a `VQVAE`, `vqvae.with_conditional_prior(PixelCNN(...), 10)`, draws images of a class. The
    condition is what Keras calls `y`: `fit(images, labels)`, datasets of pairs. A label is given as a one-hot vector.

    Args:
        posterior, likelihood: as of a `VQVAE`.
        prior: p(z | c), a layer given c, of the same event shape and as many levels: `PixelCNN`, which takes a vector
            as it is, or `Categorical`; one that ignores its context, such as `UniformCategorical`, is fine.
        condition_shape: shape of one condition, 10 for a one-hot vector of ten classes.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for an argument that is not a distribution layer, and for another posterior.
        ValueError: for a prior of another event shape, or fewer levels, and, in use, for conditions that are missing or
            of another shape.

    Reference: van den Oord et al. 2016, arXiv:1606.05328 (a PixelCNN given a label); van den Oord, Vinyals &
    Kavukcuoglu 2017, arXiv:1711.00937.
    """

    def __init__(
        self,
        posterior: Quantizer,
        likelihood: DistributionLayer,
        prior: DistributionLayer,
        condition_shape: int | Sequence[int],
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(posterior, likelihood, prior, seed, **kwargs)
        self.condition_shape = as_shape(condition_shape, type(self).__name__)

    @property
    def takes(self) -> Inputs:
        """Observations, or what `keep` has made of them, and conditions as y."""
        return Inputs(super().takes.x, y=self.condition)

    def decode(self, codes, condition=None) -> tfd.Distribution:
        """p(x | codes), batch shape (...), as of a `VQVAE`; the condition is not used."""
        return super().decode(codes)

    @answers_frames
    def reconstruct(self, x, condition=None) -> Any:
        """Mean of p(x | codes of x), shape (batch, *event); x may be the pair (x, condition), of which x is used."""
        x = x[0] if isinstance(x, tuple) and len(x) == 2 and not self.takes.stands_for_x(x) else x
        return super().reconstruct(x)

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VQVAE`; `encode` and `decode` take no condition."""
        codes = Rows("codes", self.latent_shape, self.latent_support, "int32")
        of_codes = Signatures(self, codes, **limits)
        of_codes.given = []
        given = Signatures(self, codes, **limits).of("serving_default", "generate", "sample", "log_likelihood")
        return given | of_codes.of("encode", "decode")


class VQVAE2(CodeModel):
    """Codes on several grids: p(x | z1, ..., zL) p(z1 | z2) ... p(zL), found from the top, the coarsest, down.

    Networks go from x up to features d1, ..., dL; the codes of the top are those of dL, and those of each other level
    are found from its features and the vectors of the level above. The decoder is given the vectors of all levels.

    Args:
        encoders: networks from x to d1, from d1 to d2, ...
        posteriors: quantizers: that of the top given dL, each other one, l, given (vectors of level l + 1, dl).
        likelihood: a layer given the vectors of all levels, (vectors of z1, vectors of z2, ...).
        priors: p(z1 | z2), ..., p(zL): each given the vectors of the level above, as `PixelCNN` with a network, or
            nothing, as `UniformCategorical`; the last given nothing.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for layers that are not of the classes above.
        ValueError: for encoders, posteriors and priors that differ in number or event shapes, or one level alone.

    Example, with two grids:

    >>> x, fine, coarse = (8, 8, 1), (4, 4, 8), (2, 2, 8)
    >>> encoders = [residual_encoder(x, [16]), residual_encoder((4, 4, 16), [16])]
    >>> bottom = VectorQuantized((4, 4, 1), merged_grids([coarse, (4, 4, 16)]), levels=32, vector_size=8)
    >>> top = VectorQuantized((2, 2, 1), levels=32, vector_size=8)
    >>> likelihood = Bernoulli(x, residual_decoder([fine, coarse], x, [16]))
    >>> priors = [UniformCategorical((4, 4, 1), levels=32), UniformCategorical((2, 2, 1), levels=32)]
    >>> model = VQVAE2(encoders, [bottom, top], likelihood, priors)
    >>> model.compile("adam", Weighted(ELBO(), {"commitment_z1": 0.25, "commitment_z2": 0.25}))
    >>> model.build((None, *x))
    >>> {name: tuple(codes.shape) for name, codes in model.encode(np.zeros((3, *x))).items()}
    {'z1': (3, 4, 4, 1), 'z2': (3, 2, 2, 1)}

    Reference: Razavi, van den Oord & Vinyals 2019, arXiv:1906.00446.
    """

    def __init__(
        self,
        encoders: Sequence[keras.layers.Layer],
        posteriors: Sequence[Quantizer],
        likelihood: DistributionLayer,
        priors: Sequence[DistributionLayer],
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        title = type(self).__name__
        for name, layers in {"encoders": encoders, "posteriors": posteriors, "priors": priors}.items():
            if not isinstance(layers, Sequence) or not all(isinstance(layer, keras.layers.Layer) for layer in layers):
                raise TypeError(
                    f"{title} needs {name} to be a list of layers, one for each level. Received: {layers!r}."
                )
        if not len(encoders) == len(posteriors) == len(priors) > 1:
            raise ValueError(
                f"{title} needs an encoder, a posterior and a prior for each of two or more levels. "
                f"Received: {len(encoders)} encoders, {len(posteriors)} posteriors, {len(priors)} priors."
            )
        for layer in (likelihood, *priors):
            if not isinstance(layer, DistributionLayer):
                raise TypeError(f"{title} needs distribution layers, such as Bernoulli(...). Received: {layer!r}.")
        for posterior, prior in zip(posteriors, priors, strict=True):
            check_quantizer(self, posterior)
            if posterior.event_shape != prior.event_shape:
                raise ValueError(
                    f"{title} needs a prior and a posterior of one event shape at each level. "
                    f"Received: {prior.event_shape} and {posterior.event_shape}."
                )
            check_spaces(title, posterior, prior)
        self.encoders = list(encoders)
        self.posteriors = list(posteriors)
        self.likelihood = likelihood
        self.priors = list(priors)

    @property
    def names(self) -> list[str]:
        """Of the latent variables, z1 next to the data."""
        return [f"z{number + 1}" for number in range(len(self.posteriors))]

    @property
    def quantizers(self) -> dict[str, Quantizer]:
        """The posteriors, from the top down."""
        return dict(reversed(list(zip(self.names, self.posteriors, strict=True))))

    @property
    def priors_by_name(self) -> dict[str, DistributionLayer]:
        """The priors, from the top down."""
        return dict(reversed(list(zip(self.names, self.priors, strict=True))))

    def build(self, input_shape):
        """Creates the weights for data of shape (batch, *event)."""
        self.check_shape(input_shape)
        features, above = keras.KerasTensor((None, *input_shape[1:])), None
        shapes = []
        for encoder in self.encoders:
            features = encoder(features)
            shapes.append(tuple(features.shape))
        contexts: dict[DistributionLayer, Any] = {}
        for posterior, prior, shape in reversed(list(zip(self.posteriors, self.priors, shapes, strict=True))):
            contexts |= {posterior: shape if above is None else [above, shape], prior: above}
            above = (None, *posterior.params_shape)
        contexts[self.likelihood] = [(None, *posterior.params_shape) for posterior in self.posteriors]
        build_layers(contexts)

    def posteriors_of(self, x: tf.Tensor) -> dict[str, Quantized]:
        """By name, from the top down, of batch shape (batch,): points, which no draw changes."""
        features = [self.likelihood.standardized(x)]
        for encoder in self.encoders:
            features.append(encoder(features[-1]))
        found, above = {}, None
        for (name, quantizer), seen in zip(self.quantizers.items(), features[:0:-1], strict=True):
            found[name] = posterior = quantizer(seen if above is None else (above, seen))
            above = quantizer.seen(posterior.codes, posterior)
        return found

    def with_priors(self, priors: Sequence[DistributionLayer]) -> Self:
        """The second stage: a model of frozen copies of the networks with other priors, which `fit` then trains.

        Codes of arrays are found once, before the first epoch; see `keep` for datasets.

        Args:
            priors: p(z1 | z2), ..., p(zL), not built yet.
        """
        self._require_built("with_priors")
        return self._frozen_copy(type(self), priors=priors)

    def encode(self, x) -> dict[str, tf.Tensor]:
        """The codes by name, int32, shape (batch, *grid, codes of each place), of x of shape (batch, *event)."""
        posteriors = self.posteriors_of(self._observations(x))
        return {name: tf.cast(posteriors[name].codes, tf.int32) for name in self.names}

    def decode(self, codes: dict) -> tfd.Distribution:
        """p(x | codes), batch shape (...), for codes by name, of shape (..., *grid, codes of each place) each."""
        title = type(self).__name__
        if not isinstance(codes, dict) or set(codes) != set(self.names):
            found = ", ".join(codes) if isinstance(codes, dict) else type(codes).__name__
            raise ValueError(f"{title}.decode needs codes by name: {', '.join(self.names)}. Received: {found}.")
        pairs = list(zip(self.names, self.posteriors, strict=True))
        parts = [self._as_latent(codes[name], layer.event_shape, layer.support, name) for name, layer in pairs]
        first, *others = [part.shape[: -len(layer.event_shape)] for part, (_, layer) in zip(parts, pairs, strict=True)]
        if not all(first[len(first) - len(other) :].is_compatible_with(other) for other in others):
            found = ", ".join(f"{name} {tuple(part.shape)}" for name, part in zip(self.names, parts, strict=True))
            raise ValueError(f"{title}.decode needs as many codes of each level. Received: {found}.")
        return self.likelihood([layer.embed(part) for part, (_, layer) in zip(parts, pairs, strict=True)])

    @answers_frames
    def reconstruct(self, x) -> Any:
        """Mean of p(x | codes of x), shape (batch, *event); of a frame a frame."""
        return self.decode(self.encode(x)).mean()

    def sample_prior(self, count, seed=None, temperature=1.0) -> dict[str, tf.Tensor]:
        """Draws of codes from the top down, by name, int32, shape (count, *grid, codes of each place).

        Args:
            count: number of draws, 0 or more, an integer or an integer scalar tensor.
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: what the noise of each code is multiplied by: at 0 it is the most probable one.
        """
        self._require_built("generate")
        count, seed, temperature = self._checked_count(count), self._as_seed(seed), self._as_temperature(temperature)
        draws, above = {}, None
        for number, (name, layer) in enumerate(self.priors_by_name.items()):
            prior = layer(above)
            each = [] if prior.batch_shape.rank else [count]  # a prior that ignores the level above has one for all
            draws[name] = tempered_draws(prior, each, fold(seed, number), temperature, layer.support)
            above = self._vectors(name, draws[name])
        return {name: tf.cast(draws[name], tf.int32) for name in self.names}

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x | codes) for codes drawn by `sample_prior`, shape (count, *event)."""
        return self.decode(self.sample_prior(count, seed, temperature)).mean()

    def sample(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(x | codes) for codes drawn by `sample_prior`, shape (count, *event): those of `generate`."""
        seed = self._as_seed(seed)
        draws = self.sample_prior(count, seed, temperature)
        return self.decode(draws).sample(seed=fold(seed, DATA))

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`: codes `z1`, `z2`, ..., int32, stand for `z`."""
        codes = [
            Rows(name, layer.event_shape, layer.support, "int32")
            for name, layer in zip(self.names, self.posteriors, strict=True)
        ]
        make = Signatures(self, codes, **limits)
        return make.of("serving_default", "encode", "decode", "generate", "sample", "log_likelihood")
