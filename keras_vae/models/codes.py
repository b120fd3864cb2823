"""What models whose latent variables are codes have in common: two stages of training."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.base import TensorDistribution
from keras_vae.distributions.codebooks import Quantized, Quantizer
from keras_vae.models.base import LatentVariableModel
from keras_vae.models.given import Given
from keras_vae.models.inputs import Field, Inputs
from keras_vae.noise import fold
from keras_vae.sampling import sampling
from keras_vae.trace import Latent, Trace

M = TypeVar("M", bound="CodeModel")
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

    A subclass defines `quantizers` and `priors_by_name`, both from the top down, `posteriors_of` and what every model
    does. The decoder is given the vectors of the one latent variable, or a list of those of all, from the bottom up.
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

    def posteriors_of(self, x: tf.Tensor) -> dict[str, Quantized]:
        """q(codes | x) of each latent variable, batch shape (batch,): points, which no draw changes."""
        raise NotImplementedError(f"{type(self).__name__} needs a method posteriors_of(self, x).")

    def priors_given(self, codes: dict[str, tf.Tensor], condition=None) -> dict[str, tfd.Distribution]:
        """The prior of each latent variable, given the codes of the one above it, shape (samples, batch, *event).

        Args:
            codes: by latent variable.
            condition: what the top one is given, shape (batch, ...); None for nothing.
        """
        priors, above = {}, condition
        for name, prior in self.priors_by_name.items():
            priors[name] = prior(above)
            above = self._vectors(name, codes[name])
        return priors

    def _vectors(self, name: str, codes: tf.Tensor) -> tf.Tensor:
        """What a prior sees of the level above it: it teaches neither the networks nor the codebook."""
        return tf.stop_gradient(self.quantizers[name].embed(codes))

    def call(self, inputs, training=None) -> Trace:
        """Encodes a batch, or takes what is kept of it, and returns the trace."""
        return self.tracer(inputs)()

    def train_step(self, data) -> dict:
        """One step. Frozen networks encode as they do in evaluation, whatever they do in training."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        if isinstance(x, KeptCodes):
            self._require_frozen("fit")
        elif self._is_frozen():
            data = self._encoded(x, y), y, weights
        return super().train_step(data)

    def learn_from(self, trace: Trace) -> None:
        """The codebooks learn from what was encoded."""
        for name, quantizer in self.quantizers.items():
            if quantizer.trainable:
                quantizer.learn(trace.latents[name].posterior)

    def keep(self, x, y=None, batch_size: int = BATCH):
        """Encodes examples once, for `fit` and `evaluate` of a model whose priors alone are trained.

        `fit` does so by itself with arrays in memory. A dataset is read anew in each epoch, for its batches may differ,
        as those of pixels do that are drawn at random; this takes one pass over it.

        Args:
            x: examples in any form that `fit` takes, as many as fit into memory as codes.
            y: as `fit` takes it: where the model is given a condition, arrays of those.
            batch_size: examples at a time, for arrays.

        Returns:
            `KeptCodes` of NumPy arrays, in the place of x; a pair of them and the conditions where there are those.

        Raises:
            ValueError: for data that `fit` refuses, for an endless dataset, and for one with weights of examples:
                `fit(kept, sample_weight=...)` takes them.
        """
        found = self.look_at("keep", x, y)
        size = whole_number(self, "batch_size", batch_size)
        batches = self._watched(found) if found.arrays is None else found.in_batches(self.takes, size)
        if isinstance(batches, tf.data.Dataset) and batches.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError(f"{type(self).__name__}.keep needs data that end. Received: an endless dataset.")
        with self._naming_batches(found):
            return self._kept(batches)

    def _kept(self, batches):
        """What `keep` returns, of batches as Keras unpacks them."""
        encode = tf.function(self._encoded, autograph=False, reduce_retracing=True)
        numbers = range(len(batches)) if isinstance(batches, keras.utils.PyDataset) else None
        parts = []
        for batch in batches if numbers is None else (batches[number] for number in numbers):
            x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
            if weights is not None:
                raise ValueError(
                    f"{type(self).__name__}.keep needs data without weights, which fit(kept, sample_weight=...) takes. "
                    "Received: batches with weights."
                )
            given = () if self.takes.y is None else (y,)
            parts.append((encode(x, *given), *given) if given else encode(x))
        return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)

    def _encoded(self, x, y=None) -> KeptCodes:
        """What is kept of a batch."""
        with sampling(1, fold(0)):
            trace = self(self.as_inputs(x, y))
        codes = {name: tf.cast(latent.value[0], tf.int32) for name, latent in trace.latents.items()}
        return KeptCodes(codes, trace.log_likelihood[0])

    def to_train_on(self, data: Given) -> Given:
        """The codes of arrays, where the networks are frozen: they are the same in each epoch."""
        if isinstance(self._first_part(data.first), KeptCodes):
            self._require_frozen("fit")
        elif data.arrays is not None and self._is_frozen():
            inputs, weights = data.arrays
            inputs = self._kept(replace(data, arrays=(inputs, None)).in_batches(self.takes, BATCH))
            return Given(data.owner, (inputs, weights), None, inputs)
        return data

    def _first_part(self, inputs):
        """What stands for observations in what `call` takes."""
        return inputs if self.takes.y is None else inputs[0]

    def _is_frozen(self) -> bool:
        """Whether nothing but the priors is trained."""
        return not any(layer.trainable and layer.weights for layer in self._networks())

    def _require_frozen(self, method: str) -> None:
        if not self._is_frozen():
            raise ValueError(
                f"{type(self).__name__}.{method} needs observations where more than the prior is trained: kept codes "
                "are for the model that with_prior or with_priors gives. Received: kept codes."
            )

    def tracer(self, inputs) -> Callable[[], Trace]:
        """A function that returns the trace, see `VAE`; x is encoded here."""
        x, *given = self._parts(inputs)
        return self._of_kept(x, *given) if isinstance(x, KeptCodes) else self._of_observations(x, *given)

    def _of_observations(self, x: tf.Tensor, *given) -> Callable[[], Trace]:
        posteriors = self.posteriors_of(x)

        def draw_trace():
            latents, terms = self._drawn(posteriors, *given), {}
            vectors = [layer.seen(latents[name].value, posteriors[name]) for name, layer in self.quantizers.items()]
            for name, layer in self.quantizers.items():
                suffix = f"_{name}" if len(latents) > 1 else ""
                own = layer.terms(posteriors[name]) if layer.trainable else {}
                terms |= {f"{term}{suffix}": value for term, value in own.items()}
            likelihood = self.likelihood(vectors[::-1] if len(vectors) > 1 else vectors[0])
            return Trace(x, likelihood, latents, terms, uses=self._uses_of(posteriors))

        return draw_trace

    def _of_kept(self, kept: KeptCodes, *given) -> Callable[[], Trace]:
        posteriors = {}
        for name, layer in self.quantizers.items():
            codes = tf.cast(kept.codes[name], tf.float32)
            posteriors[name] = Quantized(codes, codes, len(layer.event_shape))

        def draw_trace():
            likelihood = _Known(self.open_samples(kept.log_likelihood))
            uses = self._uses_of(posteriors)
            return Trace(kept.log_likelihood, likelihood, self._drawn(posteriors, *given), uses=uses)

        return draw_trace

    def _drawn(self, posteriors: dict[str, Quantized], *given) -> dict[str, Latent]:
        """The latent variables, from the top down."""
        priors = self.priors_given({name: self.open_samples(each.codes) for name, each in posteriors.items()}, *given)
        return {name: self.draw(posterior, priors[name]) for name, posterior in posteriors.items()}

    def _uses_of(self, posteriors: dict[str, Quantized]) -> dict[str, tf.Tensor]:
        return {name: layer.uses(posteriors[name]) for name, layer in self.quantizers.items()}

    def _frozen_copy(self, kind: type[M], **others) -> M:
        """A model with frozen copies of the networks and what they have learned.

        Args:
            kind: its class.
            **others: arguments that are not those of this model.
        """
        for layer in self._flatten_layers():
            if isinstance(layer, keras.layers.Lambda) and getattr(layer.function, "__name__", "") == "<lambda>":
                raise TypeError(
                    f"{type(self).__name__} needs networks without Lambda layers of Python lambdas, which Keras does "
                    f"not copy: make it a layer class of your own. Received: {layer.name}."
                )
        with self.distribute_strategy.scope():
            arguments = {name: _copied(getattr(self, name)) for name in self._argument_names() if name not in others}
            made = kind(**arguments | others, dtype=self.dtype_policy)
            made.build((None, *self.event_shape))
            for source, target in zip(self._networks(), made._networks(), strict=True):
                target.set_weights(source.get_weights())
                target.trainable = False
        return made

    def _networks(self) -> list:
        """All layers but the priors and those of the objective."""
        others = {id(layer) for layer in (*self.priors_by_name.values(), *self.objective_layers)}
        return [layer for layer in self.layers if id(layer) not in others]

    def _observations(self, x):
        """As `_as_batch`, for methods that need more than codes."""
        if isinstance(x, KeptCodes):
            raise ValueError(f"{type(self).__name__} needs observations for this. Received: kept codes.")
        return self._as_batch(x, Inputs(self.takes.x))

    def check_data(self, x) -> None:
        """As `LatentVariableModel.check_data`, also for kept codes."""
        if not isinstance(x, KeptCodes):
            super().check_data(x)
            return
        title = type(self).__name__
        for name, quantizer in self.quantizers.items():
            codes = x.codes.get(name)
            if codes is None or codes.shape[1:] != quantizer.event_shape:
                found = None if codes is None else codes.shape
                wanted = ", ".join(["batch", *map(str, quantizer.event_shape)])
                raise ValueError(f"{title} needs codes {name} of shape ({wanted}). Received: {found}.")
            quantizer.support.check(title, codes, f"codes {name}")
        figures, count = x.log_likelihood, len(tf.nest.flatten(x.codes)[0])
        if figures.shape != (count,) or not np.isfinite(figures).all():
            raise ValueError(
                f"{title} needs a finite log_likelihood of each example beside the codes. "
                f"Received: shape {figures.shape}{'' if np.isfinite(figures).all() else ', NaN or infinity'}."
            )


def check_quantizer(model: CodeModel, posterior) -> None:
    """Raises `TypeError` for a posterior whose draws are no codes."""
    if not isinstance(posterior, Quantizer):
        raise TypeError(
            f"{type(model).__name__} needs a posterior whose draws are codes, such as VectorQuantized((7, 7, 1), "
            f"network). Received: {posterior!r}."
        )


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
    if not isinstance(value, keras.layers.Layer):
        return value
    classes = {type(layer).__name__: type(layer) for layer in value._flatten_layers()}  # which may not be registered
    with keras.saving.custom_object_scope(classes):
        return type(value).from_config(value.get_config())
