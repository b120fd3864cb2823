"""Models with one grid of codes: what follows from an encoder, a decoder and a prior of the codes."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.codebooks import Quantized, Quantizer
from keras_vae.models.codes import CodeModel, check_quantizer
from keras_vae.models.inputs import answers_frames
from keras_vae.models.single_latent import SingleLatentModel, build_layers, check_parts
from keras_vae.trace import Trace


class OneGrid(CodeModel, SingleLatentModel):
    """p(x, z | c) = p(x | z) p(z | c), with codes z, and q(z | x) that is one point; with or without a condition c.

    A subclass defines what the prior is given, and what is served.
    """

    def __init__(
        self,
        posterior: Quantizer,
        likelihood: DistributionLayer,
        prior: DistributionLayer,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        check_parts(self, posterior=posterior, likelihood=likelihood, prior=prior)
        check_quantizer(self, posterior)
        self.posterior = posterior
        self.likelihood = likelihood
        self.prior = prior

    @property
    def latent_support(self):
        """The codes: none lie between them."""
        return self.posterior.support

    def build(self, input_shape):
        """Creates the weights of the three layers for data of shape (batch, *event); the shape of y is known."""
        if isinstance(input_shape[0], Sequence):  # of the pair that `call` takes
            input_shape = input_shape[0]
        self.check_shape(input_shape)
        condition = None if self.takes.y is None else (None, *self.takes.y.shape)
        build_layers(
            {
                self.posterior: (None, *input_shape[1:]),
                self.prior: condition,
                self.likelihood: (None, *self.posterior.params_shape),
            }
        )

    @property
    def quantizers(self) -> dict[str, Quantizer]:
        """The posterior, as that of z."""
        return {"z": self.posterior}

    @property
    def priors_by_name(self) -> dict[str, DistributionLayer]:
        """The prior, as that of z."""
        return {"z": self.prior}

    def with_prior(self, prior: DistributionLayer) -> Self:
        """The second stage: a model of frozen copies of the networks with another prior, which `fit` then trains.

        Codes of arrays are found once, before the first epoch; see `keep` for datasets.

        Args:
            prior: a layer of the same event shape, not built yet: `PixelCNN((7, 7, 1), levels=256)`.
        """
        self._require_built("with_prior")
        return self._frozen_copy(type(self), prior=prior)

    def posteriors_of(self, x: tf.Tensor) -> dict[str, Quantized]:
        """q(z | x), as that of z."""
        return {"z": self.posterior(self.likelihood.standardized(x))}

    def tracer(self, inputs) -> Callable[[], Trace]:  # type: ignore[override]
        """A function that returns the trace, see `VAE`; x is encoded here, and no other posterior can stand for it."""
        return super().tracer(inputs)

    def encode(self, x) -> tf.Tensor:
        """The codes, int32, shape (batch, *grid, codes of each place), of x of shape (batch, *event)."""
        return tf.cast(self.posteriors_of(self._observations(x))["z"].codes, tf.int32)

    def decode(self, codes) -> tfd.Distribution:
        """p(x | codes), batch shape (...), for codes of shape (..., *grid, codes of each place)."""
        codes = self._as_latent(codes, self.latent_shape, self.latent_support, "codes")
        return self.likelihood(self.posterior.embed(codes))

    @answers_frames
    def reconstruct(self, x) -> Any:
        """Mean of p(x | codes of x), shape (batch, *event); of a frame a frame."""
        return self.decode(self.encode(x)).mean()

    def _draws_of_prior(self, *arguments) -> tf.Tensor:
        """Codes, int32."""
        return tf.cast(super()._draws_of_prior(*arguments), tf.int32)
