"""What models whose latent variables are codes have in common: two stages of training."""

from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.batches import array_batches
from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.base import TensorDistribution
from keras_vae.distributions.codebooks import Quantized, Quantizer
from keras_vae.models.base import LatentVariableModel
from keras_vae.models.given import Given
from keras_vae.models.inputs import Field, Inputs
from keras_vae.noise import fold
from keras_vae.sampling import sampling
from keras_vae.trace import Trace

BATCH = 100  # examples that are encoded at a time


class KeptCodes(NamedTuple):
    """What is left of examples once nothing but the priors of a model is trained.

    Attributes:
        codes: by latent variable, int32, shape (examples, *grid, codes of each place).
        log_likelihood: log p(x | codes), nats, shape (examples,).
    """

    codes: dict[str, Any]
    log_likelihood: Any


class CodeModel(LatentVariableModel):
    """A model whose latent variables are codes; q(codes | x) is one point.

    A subclass defines `quantizers`, `priors_by_name`, `priors_given` and what every model does.
    """

    one_point = True

    @property
    def takes(self) -> Inputs:
        """Observations, or what `keep` has made of them."""
        shape, likelihood = self.likelihood.event_shape, self.likelihood
        return Inputs(Field(shape, observed=likelihood, instead=KeptCodes))

    @property
    def quantizers(self) -> dict[str, Quantizer]:
        """The posterior of each latent variable."""
        raise NotImplementedError(f"{type(self).__name__} needs quantizers, its posteriors by name.")

    @property
    def priors_by_name(self) -> dict[str, DistributionLayer]:
        """The prior layer of each latent variable."""
        raise NotImplementedError(f"{type(self).__name__} needs priors_by_name.")

    def priors_given(self, codes: dict[str, tf.Tensor]) -> dict[str, tfd.Distribution]:
        """The prior of each latent variable, given the codes of those above it, shape (samples, batch, *event)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method priors_given(self, codes).")

    def call(self, inputs, training=None) -> Trace:
        """Encodes a batch and returns the trace; in training the codebooks then learn from it."""
        trace = self.tracer(inputs)()
        for name, quantizer in self.quantizers.items() if training else ():
            if quantizer.trainable:
                quantizer.learn(trace.latents[name].posterior)
        return trace

    def keep(self, x, batch_size: int = BATCH) -> KeptCodes:
        """Encodes examples once, for `fit` and `evaluate` of a model whose priors alone are trained.

        `fit` does so by itself with arrays in memory. A dataset is read anew in each epoch, for its batches may differ,
        as those of pixels do that are drawn at random; this takes one pass over it. Weights of examples are left out.

        Args:
            x: examples in any form that `fit` takes, as many as fit into memory as codes.
            batch_size: examples at a time, for arrays.

        Returns:
            NumPy arrays, in the place of x: codes, and log p(x | codes).
        """
        found = self.look_at("keep", x)
        size = whole_number(self, "batch_size", batch_size)
        batches = self._watched(found) if found.arrays is None else found.in_batches(self.takes, size)
        with self._naming_batches(found):
            return self._kept(batches)

    def _kept(self, batches) -> KeptCodes:
        @tf.function(autograph=False, reduce_retracing=True)
        def encode(x):
            with sampling(1, fold(0)):
                trace = self(self.as_inputs(x))
            codes = {name: tf.cast(latent.value[0], tf.int32) for name, latent in trace.latents.items()}
            return KeptCodes(codes, trace.log_likelihood[0])

        numbers = range(len(batches)) if hasattr(batches, "__getitem__") else None  # of a PyDataset
        each = batches if numbers is None else (batches[number] for number in numbers)
        parts = [encode(batch[0] if isinstance(batch, tuple) else batch) for batch in each]
        return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)

    def to_train_on(self, data: Given) -> Given:
        """The codes of arrays, where the networks are frozen: they are the same in each epoch."""
        if data.arrays is None or self._learns_more_than_priors():
            return data
        inputs, weights = data.arrays
        if not isinstance(inputs, KeptCodes):
            inputs = self._kept(array_batches((inputs,), BATCH, shuffle=False).by_epoch())
        return Given(data.owner, (inputs, weights), None, inputs)

    def _learns_more_than_priors(self) -> bool:
        own = {id(weight) for prior in self.priors_by_name.values() for weight in prior.trainable_weights}
        return any(id(weight) not in own for weight in self.trainable_weights) or any(
            quantizer.trainable for quantizer in self.quantizers.values()
        )

    def _of_kept(self, kept: KeptCodes):
        """As `tracer`: a function that returns the trace of examples that `keep` has encoded."""

        def draw_trace():
            codes = {name: self.open_samples(tf.cast(kept.codes[name], tf.float32)) for name in self.quantizers}
            priors, latents, uses = self.priors_given(codes), {}, {}
            for name, quantizer in self.quantizers.items():
                each = tf.cast(kept.codes[name], tf.float32)
                posterior = Quantized(each, each, len(quantizer.event_shape))
                latents[name] = self.draw(posterior, priors[name])
                uses[name] = quantizer.uses(posterior)
            return Trace(kept.log_likelihood, _Known(self.open_samples(kept.log_likelihood)), latents, uses=uses)

        return draw_trace

    def _frozen_copy(self, **others) -> Self:
        """A model with frozen copies of the networks and what they have learned, but for these arguments."""
        arguments = {name: _copied(getattr(self, name)) for name in self._argument_names() if name not in others}
        made = type(self)(**arguments | others, dtype=self.dtype_policy)
        made.build((None, *self.event_shape))
        ours, theirs = self._networks(), made._networks()
        for source, target in zip(ours, theirs, strict=True):
            target.set_weights(source.get_weights())
            target.trainable = False
        return made

    def _networks(self) -> list:
        """All layers but the priors."""
        priors = {id(prior) for prior in self.priors_by_name.values()}
        return [layer for layer in self.layers if id(layer) not in priors]

    def _check_inputs(self, inputs) -> None:
        if not isinstance(inputs, KeptCodes):
            super()._check_inputs(inputs)
            return
        title = type(self).__name__
        for name, quantizer in self.quantizers.items():
            codes = inputs.codes.get(name)
            if codes is None or codes.shape[1:] != quantizer.event_shape:
                found = None if codes is None else codes.shape
                wanted = ", ".join(["batch", *map(str, quantizer.event_shape)])
                raise ValueError(f"{title} needs codes {name} of shape ({wanted}). Received: {found}.")
            quantizer.support.check(title, codes, f"codes {name}")


class _Known(TensorDistribution):
    """Of the likelihood of examples that are not there any more: a density that was computed before."""

    def __init__(self, log_likelihood: tf.Tensor):
        super().__init__(log_likelihood, 0, log_likelihood=log_likelihood)
        self.log_likelihood = log_likelihood

    def _log_prob(self, value):
        return self.log_likelihood


def _copied(value):
    """Another layer of the same config; a list of them; any other value as it is."""
    if isinstance(value, list | tuple):
        return [_copied(each) for each in value]
    return type(value).from_config(value.get_config()) if hasattr(value, "get_config") else value
