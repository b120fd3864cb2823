"""Models with one latent variable z: what follows from an encoder, a decoder and a prior."""

import functools
from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.base import check_spaces, dimensions
from keras_vae.distributions.codebooks import check_no_codes
from keras_vae.distributions.standardized import mean_for_networks
from keras_vae.distributions.supports import RealNumbers, Support
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.models.base import LatentVariableModel
from keras_vae.noise import DATA, fold
from keras_vae.sampling import current_sampler
from keras_vae.serving import Rows, Signatures
from keras_vae.trace import Trace, draw_from


class SingleLatentModel(LatentVariableModel):
    """p(x, z | c) = p(x | z, c) p(z | c), with or without a condition c.

    A subclass defines `encode(x, *c)`, `decode(z, *c)` and `prior_distribution(*c)`. What all of them share takes the
    condition as `given`, a tuple of none or one.
    """

    def encode(self, x, *given, **options) -> tfd.Distribution:
        """q(z | x), batch shape (batch,), for x of shape (batch, *event)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method encode(self, x).")

    def decode(self, z, *given, **options) -> tfd.Distribution:
        """p(x | z), batch shape (...), for z of shape (..., *latent)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method decode(self, z).")

    def prior_distribution(self, *given, **options) -> tfd.Distribution:
        """p(z), of batch shape ()."""
        raise NotImplementedError(f"{type(self).__name__} needs a method prior_distribution(self).")

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one z."""
        return self.posterior.event_shape

    @property
    def latent_support(self) -> Support:
        """Where z may be: draws of the prior, and means of them."""
        return self.prior_support.hull

    @property
    def prior_support(self) -> Support:
        """Where draws of the prior are."""
        return self.prior.support if hasattr(self, "prior") else RealNumbers()

    def call(self, inputs, training=None) -> Trace:
        """Encodes a batch, draws z, and returns the trace."""
        return self.tracer(inputs)()

    def tracer(self, inputs, posterior: tfd.Distribution | None = None) -> Callable[[], Trace]:
        """A function that draws z and returns the trace; the batch is encoded here.

        Args:
            inputs: what `call` takes.
            posterior: where z is drawn from, of batch shape (batch,); None is q(z | x).
        """
        x, *given = self._parts(inputs)
        posterior = self.encode(x, *given) if posterior is None else posterior
        prior = self.prior_distribution(*given)

        def draw_trace():
            z = self.draw(posterior, prior)

            @functools.cache
            def real_and_generated():
                return self._real_and_generated(x, prior, given, z.value[:1])

            units = self.likelihood.units_of(x) if hasattr(self, "likelihood") else {}
            decoded = self.decode(z.value, *given)
            return Trace(x, decoded, {"z": z}, units=units, real_and_generated=real_and_generated)

        return draw_trace

    def _real_and_generated(self, x, prior: tfd.Distribution, given: tuple = (), *inferred) -> tuple:
        """What a `Trace` says of it: means at a draw of the prior for each example, and at draws of its posterior.

        Args:
            x: observations, shape (batch, *event).
            prior: p(z), batch shape () or (batch,).
            given: the condition, or nothing.
            *inferred: draws from q(z | x), shape (1, batch, *latent).
        """
        count = [1] if prior.batch_shape.rank else [1, dimensions(x)[0]]
        drawn = draw_from(prior, count, current_sampler().next_seed()).value  # [1, batch, *latent]
        z = tf.concat([drawn, *map(tf.stop_gradient, inferred)], axis=0)
        return self.likelihood.standardized(x), mean_for_networks(self.decode(z, *given))

    def _reconstruction(self, x, given: tuple, seed) -> tf.Tensor:
        """Mean of p(x | z, c), at the mean of q(z | x, c) or at a draw."""
        posterior = self.encode(x, *given)
        z = posterior.mean() if seed is None else posterior.sample(seed=self._as_seed(seed))
        return self.decode(z, *given).mean()

    def _draws_of_prior(self, count, given: tuple, seed, temperature) -> tf.Tensor:
        """`count` draws from p(z | c), or of one for each condition; shape (count, *latent)."""
        self._require_built("generate")
        prior = self.prior_distribution(*given)
        each = [] if prior.batch_shape.rank else [count]  # a prior that ignores its condition has one for all
        seed, temperature = self._as_seed(seed), self._as_temperature(temperature)
        return tempered_draws(prior, each, seed, temperature, self.prior_support)

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes: by name, a function to a flat dict of tensors and the specs of its inputs.

        Args:
            **limits: `max_bytes` and `max_samples`, see `keras_vae.serving.Signatures`.
        """
        make = Signatures(self, Rows("z", self.latent_shape, self.latent_support), **limits)
        names = ("serving_default", "encode", "decode", "reconstruct", "generate", "sample", "log_likelihood")
        return make.of(*names)


class UnconditionalPrior(SingleLatentModel):
    """A model whose prior and decoder are given no condition: what needs but a number of draws and a seed."""

    def sample_prior(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(z), shape (count, *latent), their distance to its mean multiplied by `temperature`.

        How that is measured, so that the draws stay in their support, is said in `tempered_draws`.

        Args:
            count: number of draws, 0 or more, an integer or an integer scalar tensor.
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: 0 gives the mean of the prior, or its mode where it can be counted; 1 its draws.
        """
        return self._draws_of_prior(self._checked_count(count), (), seed, temperature)

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x | z) for z drawn by `sample_prior`, shape (count, *event)."""
        return self.decode(self.sample_prior(count, seed, temperature)).mean()

    def sample(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(x | z) for z drawn by `sample_prior`, shape (count, *event): those of `generate`."""
        seed = self._as_seed(seed)
        return self.decode(self.sample_prior(count, seed, temperature)).sample(seed=fold(seed, DATA))


def check_parts(model: LatentVariableModel, **layers: DistributionLayer) -> None:
    """Raises an error for layers that are no distribution layers, or whose draws are not of one kind.

    Args:
        model: for messages.
        **layers: `posterior`, `likelihood` and `prior`.
    """
    for role, layer in layers.items():
        if not isinstance(layer, DistributionLayer):
            raise TypeError(
                f"{type(model).__name__} needs {role} to be a distribution layer, such as Normal(16, network). "
                f"Received: {layer!r}."
            )
    posterior, prior = layers["posterior"], layers["prior"]
    if not model.one_point:
        check_no_codes(type(model).__name__, posterior)
    if prior.event_shape != posterior.event_shape:
        raise ValueError(
            f"{type(model).__name__} needs a prior and a posterior of one event shape. "
            f"Received: {prior.event_shape} and {posterior.event_shape}."
        )
    prior.relate(posterior, layers["likelihood"])
    check_spaces(type(model).__name__, posterior, prior)


def build_layers(contexts: dict[DistributionLayer, tuple | None]) -> None:
    """Creates the weights of layers for contexts of these shapes; those of a loaded layer are there."""
    for layer, context_shape in contexts.items():
        if not layer.built:
            layer.build(context_shape)
