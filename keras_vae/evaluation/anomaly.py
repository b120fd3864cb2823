"""How anomalous each example is under a model: scores in nats, higher for the stranger."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import tensorflow as tf

from keras_vae.arguments import whole_number, whole_seed
from keras_vae.evaluation.batches import inputs_of
from keras_vae.evaluation.complexity import check_images, code_length, has_levels
from keras_vae.evaluation.programs import kept, structure_of
from keras_vae.models import Autoencoder, LatentVariableModel
from keras_vae.noise import fold
from keras_vae.sampling import ROWS, sampling
from keras_vae.serializable import Serializable
from keras_vae.serving import draw_bytes

MEMORY = 2**28  # bytes that draws may take
AT_ONCE = 8  # examples that are scored side by side


class Scoring:
    """One example that is scored: what scores have in common is computed once.

    Each example is scored by itself, so that its score is a function of it and of the seed: of no other example of its
    batch, nor of its place there.

    Args:
        model: a built model.
        inputs: what its `call` takes, of batch size 1.
        seed: int32 of shape (2,).
        draws: that are decoded together, at most.
    """

    def __init__(self, model: LatentVariableModel, inputs, seed: tf.Tensor, draws: int):
        self.model, self.inputs, self.seed, self.draws = model, inputs, seed, draws
        self._found: dict = {}

    @property
    def observed(self) -> tf.Tensor:
        """The observation, shape (1, *event)."""
        return tf.nest.flatten(self.inputs)[0]

    def log_likelihood(self, samples: int, model: LatentVariableModel | None = None) -> tf.Tensor:
        """log p(x) by importance sampling, nats, shape (1,), under the model or another one."""
        by = self.model if model is None else model
        key = id(by), samples
        if key not in self._found:
            self._found[key], _ = by.importance_weights(self.inputs, samples, self.seed, self.draws)
        return self._found[key]

    def bound(self, samples: int) -> tuple[tf.Tensor, tf.Tensor]:
        """E log p(x | z) and the KL, nats, shape (1,) each: means over draws from q(z | x)."""
        if samples not in self._found:
            self._found[samples] = self._means(samples)
        return self._found[samples]

    def _means(self, samples: int) -> tuple[tf.Tensor, tf.Tensor]:
        draw_trace = self.model.tracer(self.inputs)

        def add(done, *sums):
            drawn = tf.minimum(self.draws, samples - done)
            with sampling(drawn, fold(self.seed, done)):
                trace = draw_trace()
            parts = (tf.reduce_mean(part, axis=0) for part in (trace.log_likelihood, trace.kl))
            weight = tf.cast(drawn, tf.float32)
            return done + drawn, *(total + weight * part for total, part in zip(sums, parts, strict=True))

        start = [tf.constant(0), tf.zeros([1]), tf.zeros([1])]
        _, *sums = tf.while_loop(lambda done, *_: done < samples, add, start)
        first, second = (total / samples for total in sums)
        return first, second


class AnomalyScore(Serializable):
    """A number for each example that is the higher, the less it looks like what the model was trained on.

    A subclass says how it is computed of one example, `of`, by operations of TensorFlow: it can be served.

    Args:
        samples: draws of z for each example.
    """

    def __init__(self, samples: int = 100):
        self.samples = whole_number(self, "samples", samples)

    def of(self, scoring: Scoring) -> tf.Tensor:
        """The score of an example, nats, shape (1,)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method of(self, scoring).")

    def check(self, model: LatentVariableModel) -> None:
        """Raises `TypeError` for a model that has no such score."""

    def fitted(self, model: LatentVariableModel, reference, seed: int = 0) -> "AnomalyScore":
        """The score with what it has to know of the training data; most have nothing to know.

        Args:
            model: a built model.
            reference: the data that it was trained on, or None.
            seed: integer, of the draws.
        """
        return self

    @property
    def models(self) -> dict[str, LatentVariableModel]:
        """Further models that it is made of, by the name of the argument."""
        found = {name: getattr(self, name) for name in self._argument_names()}
        return {name: value for name, value in found.items() if isinstance(value, LatentVariableModel)}

    def values(self, model: LatentVariableModel, data, seed: int = 0) -> np.ndarray:
        """The scores of a data set, nats, shape (examples,).

        Args:
            model: a built model.
            data: as for `log_likelihood`.
            seed: integer, of the draws: an example has the same score wherever it stands, and in each process.

        Raises:
            TypeError: for a model that has no such score.
            ValueError: for data that the model does not allow.
        """
        (found,) = all_values(type(self).__name__, [self], model, data, seed)
        return found


class NegativeELBO(AnomalyScore):
    """The negative evidence lower bound: an upper bound of -log p(x), from few draws.

    Args:
        samples: draws of z for each example.

    Reference: Kingma & Welling 2014, arXiv:1312.6114.
    """

    def __init__(self, samples: int = 10):
        super().__init__(samples)

    def of(self, scoring: Scoring) -> tf.Tensor:
        log_likelihood, kl = scoring.bound(self.samples)
        return kl - log_likelihood

    def check(self, model: LatentVariableModel) -> None:
        _check_prior(self, model)


class ReconstructionProbability(AnomalyScore):
    """-E log p(x | z) under q(z | x): how badly the model says x again, whatever p(z) is. Autoencoders have it too.

    Args:
        samples: draws of z for each example.

    Reference: An & Cho 2015, "Variational autoencoder based anomaly detection using reconstruction probability".
    """

    def __init__(self, samples: int = 10):
        super().__init__(samples)

    def of(self, scoring: Scoring) -> tf.Tensor:
        return -scoring.bound(self.samples)[0]


class NegativeLogLikelihood(AnomalyScore):
    """-log p(x), by importance sampling.

    Args:
        samples: draws of z for each example.

    Reference: Burda et al. 2016, arXiv:1509.00519.
    """

    def of(self, scoring: Scoring) -> tf.Tensor:
        return -scoring.log_likelihood(self.samples)

    def check(self, model: LatentVariableModel) -> None:
        _check_prior(self, model)


class LikelihoodRatio(NegativeLogLikelihood):
    """log p(x) under a background model less log p(x) under the model: what both know of x cancels.

    The background is a trained model of the same observations that has seen what is common to all of them and not what
    makes them normal: other data, or the same ones with noise.

    Args:
        background: a built model.
        samples: draws of z for each example, from both models.

    Raises:
        TypeError: for a background that is no model.

    Reference: Ren et al. 2019, arXiv:1906.02845.
    """

    def __init__(self, background: LatentVariableModel, samples: int = 100):
        super().__init__(samples)
        if not isinstance(background, LatentVariableModel):
            raise TypeError(f"{type(self).__name__} needs background to be a model. Received: {background!r}.")
        self.background = background

    def of(self, scoring: Scoring) -> tf.Tensor:
        return scoring.log_likelihood(self.samples, self.background) + super().of(scoring)

    def check(self, model: LatentVariableModel) -> None:
        _check_prior(self, model)
        _check_prior(self, self.background)
        for each in (model, self.background):
            each._require_built("anomaly_scores")
        if model.event_shape != self.background.event_shape:
            raise ValueError(
                f"{type(self).__name__} needs a background of the observations of the model, of shape "
                f"{model.event_shape}. Received: one of shape {self.background.event_shape}."
            )


class Typicality(NegativeLogLikelihood):
    """How far -log p(x) is from its mean over the training data, on either side: too likely is strange too.

    Args:
        mean: -log p(x) of the training data, nats; None until `fitted` has computed it.
        samples: draws of z for each example.

    Reference: Nalisnick et al. 2019, arXiv:1906.02994, for sets of one example.
    """

    def __init__(self, mean: float | None = None, samples: int = 100):
        super().__init__(samples)
        self.mean = mean if mean is None else float(mean)

    def of(self, scoring: Scoring) -> tf.Tensor:
        if self.mean is None:
            raise ValueError(
                "Typicality needs the data that the model was trained on: reference=, or fitted(model, reference). "
                "Received: none."
            )
        return tf.abs(super().of(scoring) - self.mean)

    def fitted(self, model: LatentVariableModel, reference, seed: int = 0) -> "Typicality":
        if self.mean is not None:
            return self
        if reference is None:
            raise ValueError("Typicality needs reference to be the data that the model was trained on. Received: None.")
        scores = NegativeLogLikelihood(self.samples).values(model, reference, seed)
        return Typicality(float(np.mean(scores, dtype=np.float64)), self.samples)


class ComplexityCorrected(NegativeLogLikelihood):
    """-log p(x) less the length of x as a PNG file: a likelihood ratio against a compressor of all images.

    It is for images of levels, whose log p(x) is a probability or, under `GreyLevels`, a density in grey levels; the
    difference is then one of code lengths, and plain images are no longer the most likely ones.

    Args:
        samples: draws of z for each example.

    Reference: Serra et al. 2020, arXiv:1909.11480.
    """

    def of(self, scoring: Scoring) -> tf.Tensor:
        return super().of(scoring) - code_length(scoring.model, scoring.observed)

    def check(self, model: LatentVariableModel) -> None:
        super().check(model)
        check_images(type(self).__name__, model)


@dataclass(frozen=True)
class AnomalyScores:
    """Scores of a data set by example: higher is more anomalous, nats, shape (examples,) each.

    Attributes:
        negative_elbo: see `NegativeELBO`.
        negative_log_likelihood: see `NegativeLogLikelihood`.
        reconstruction: see `ReconstructionProbability`.
        likelihood_ratio: see `LikelihoodRatio`; None without a background.
        typicality: see `Typicality`; None without a reference.
        complexity_corrected: see `ComplexityCorrected`; None for what is no image of levels.
    """

    negative_elbo: np.ndarray
    negative_log_likelihood: np.ndarray
    reconstruction: np.ndarray
    likelihood_ratio: np.ndarray | None = None
    typicality: np.ndarray | None = None
    complexity_corrected: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Those that are there, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: values for name, values in found.items() if values is not None}


def anomaly_scores(
    model: LatentVariableModel,
    data,
    background: LatentVariableModel | None = None,
    reference=None,
    samples: int = 100,
    seed: int = 0,
) -> AnomalyScores:
    """All scores of a data set that the model has.

    None is the best for all data: a likelihood is high for images that are plainer than those of training, a
    reconstruction good where a code has room for anything. Compare them on anomalies that you know.

    Args:
        model: a built model.
        data: as for `log_likelihood`.
        background: None, or a model for `LikelihoodRatio`.
        reference: None, or the data that the model was trained on, in any of these forms, for `Typicality`.
        samples: draws from q(z | x) for each example; of the bound and its parts a tenth of them.
        seed: integer; an example has the same scores wherever it stands, and in each process.

    Raises:
        TypeError: for a model without latent variables.
        ValueError: for data that a model does not allow, and for fewer than one sample.
    """
    owner = "anomaly_scores"
    if not model.built:
        model.look_at(owner, data)  # builds it
    few = -(-whole_number(model, "samples", samples) // 10)
    scores: dict[str, AnomalyScore] = {
        "negative_elbo": NegativeELBO(few),
        "negative_log_likelihood": NegativeLogLikelihood(samples),
        "reconstruction": ReconstructionProbability(few),
    }
    if background is not None:
        scores["likelihood_ratio"] = LikelihoodRatio(background, samples)
    if reference is not None:
        scores["typicality"] = Typicality(samples=samples).fitted(model, reference, seed)
    if has_levels(model):
        scores["complexity_corrected"] = ComplexityCorrected(samples)
    values = all_values(owner, list(scores.values()), model, data, seed)
    return AnomalyScores(**dict(zip(scores, values, strict=True)))


def all_values(owner: str, scores: Sequence[AnomalyScore], model: LatentVariableModel, data, seed) -> list[np.ndarray]:
    """Several scores of a data set, what they have in common computed once.

    Args:
        owner: for messages.
        scores, model, data, seed: see `AnomalyScore.values`.
    """
    seed = whole_seed(owner, seed)
    found = model.look_at(owner, data)
    for score in scores:
        score.check(model)
    program = kept(model, lambda: _program(scores, model), "anomaly", *map(_key, scores))
    parts = []
    for inputs in inputs_of(model, found, ROWS):
        pairs = zip(model.takes.fields, tf.nest.flatten(inputs), strict=True)
        values = program(*(tf.cast(tf.constant(part), field.dtype) for field, part in pairs), fold(seed))
        parts.append([value.numpy() for value in values])
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def of_rows(scores: Sequence[AnomalyScore], model: LatentVariableModel) -> Callable:
    """A function of tensors of a batch, and of a seed, int32 of shape (2,): the scores, nats, shape (batch,) each.

    Args:
        scores, model: see `AnomalyScore.values`. What the model takes comes in the order of its fields.
    """
    models = [model, *(other for score in scores for other in score.models.values())]
    most = max(kept(each, functools.partial(draw_bytes, each), "draw_bytes") for each in models)
    draws = max(1, min(ROWS, MEMORY // most // AT_ONCE))

    def of_row(seed, *row):
        inputs = tf.nest.pack_sequence_as(model.takes.structure, [part[tf.newaxis] for part in row])
        scoring = Scoring(model, inputs, seed, draws)
        return [score.of(scoring)[0] for score in scores]

    made = [tf.TensorSpec([], tf.float32) for _ in scores]

    def of_batch(*arguments):
        *parts, seed = arguments
        return tf.map_fn(lambda row: of_row(seed, *row), parts, parallel_iterations=AT_ONCE, fn_output_signature=made)

    return of_batch


def _program(scores: Sequence[AnomalyScore], model: LatentVariableModel):
    specs = [*model.takes.specs(), tf.TensorSpec([2], tf.int32)]  # batches of any size: traced once

    return tf.function(of_rows(scores, model), input_signature=specs, autograph=False)


def _key(score: AnomalyScore) -> str:
    """What a program of the score depends on, beside the scored model."""
    models = {name: [id(each), structure_of(each)] for name, each in score.models.items()}
    numbers = {name: getattr(score, name) for name in score._argument_names() if name not in models}
    return json.dumps([type(score).__name__, models, numbers])


def _check_prior(score: AnomalyScore, model: LatentVariableModel) -> None:
    if isinstance(model, Autoencoder):
        raise TypeError(
            f"{type(score).__name__} needs a model with a prior. Received: an autoencoder, which has none; "
            "ReconstructionProbability needs no prior."
        )
