"""An outlier detector as scikit-learn knows them: a model, a score, and a threshold of a known false-positive rate."""

import json
import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import stats
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from keras_vae.arguments import fraction, whole_seed
from keras_vae.datasets.cells import is_table
from keras_vae.evaluation.anomaly import (
    MEMORY,
    AnomalyScore,
    NegativeLogLikelihood,
    all_values,
    of_rows,
)
from keras_vae.export import write_saved_model
from keras_vae.files import replacing
from keras_vae.models import LatentVariableModel, load_model
from keras_vae.noise import fold
from keras_vae.serving import Signatures
from keras_vae.serving.inputs import SEED
from keras_vae.training.execution import Execution

ENTRY = "detector.json"  # in the `.keras` file of the model, which Keras reads past


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Tells anomalies by a model: an outlier detector with the methods of scikit-learn's.

    `fit` trains a copy of the model on a part of the data and sets the threshold by the others, which training has not
    seen; `calibrate` takes the model as it is. An example is an anomaly where its score is above the threshold, which
    is an order statistic of the n held-out scores: the ceil((n + 1) (1 - false_positive_rate))-th smallest. So a new
    normal example is called an anomaly with the wanted probability, or a lower one, whatever the model is.

    Args:
        model: a model, compiled where `fit` is to train it; or a function of the training data that returns one.
        anomaly_score: an `AnomalyScore`; None is `NegativeLogLikelihood()`.
        false_positive_rate: the wanted share of normal examples that are called anomalies.
        held_out: the share of the data of `fit` that sets the threshold.
        fit_options: None, or arguments of the model's `fit`, {"epochs": 50, "batch_size": 100}.
        confidence: of `false_positive_interval_`.
        seed: integer, of the split and of the draws of z.

    Attributes:
        model_: the trained model.
        score_: the score, with what it knows of the training data.
        threshold_: scores above it are anomalies, nats.
        offset_: -threshold_, that of `decision_function`.
        false_positive_rate_: share of the held-out examples above the threshold.
        false_positive_interval_: where the share of all normal examples lies, low and high, with the given confidence:
            the interval of Clopper and Pearson.
        n_features_in_: values of a row, for rows of numbers.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(200, 5)).astype("float32")
    >>> model = ProbabilisticPCA(2)
    >>> history = model.fit(x[:100], verbose=0)
    >>> detector = AnomalyDetector(model, false_positive_rate=0.05).calibrate(x[100:])
    >>> detector.predict(x[:1] + 100.0)  # -1 for anomalies, 1 for others
    array([-1])

    Reference: Vovk, Gammerman & Shafer 2005, "Algorithmic learning in a random world"; Clopper & Pearson 1934, "The use
    of confidence or fiducial limits".
    """

    model_: LatentVariableModel
    score_: AnomalyScore
    threshold_: float
    false_positive_rate_: float
    false_positive_interval_: tuple[float, float]

    def __init__(
        self,
        model: LatentVariableModel | Callable[[Any], LatentVariableModel],
        anomaly_score: AnomalyScore | None = None,
        false_positive_rate: float = 0.05,
        held_out: float = 0.2,
        fit_options: Mapping[str, Any] | None = None,
        confidence: float = 0.95,
        seed: int = 0,
    ):
        # As scikit-learn wants it: kept as they are, and looked at by `fit`.
        self.model = model
        self.anomaly_score = anomaly_score
        self.false_positive_rate = false_positive_rate
        self.held_out = held_out
        self.fit_options = fit_options
        self.confidence = confidence
        self.seed = seed

    @property
    def offset_(self) -> float:
        """-threshold_: an example is an anomaly where `score_samples` is below it."""
        return -self.threshold_

    def fit(self, X, y=None) -> "AnomalyDetector":
        """Trains a copy of the model, with new weights, on a part of the data, and sets the threshold by the others.

        The others must not have a say in training: it is not stopped early by them. For that, train the model yourself
        and `calibrate` it on data of a third kind.

        Args:
            X: array (examples, *event), or a frame: normal examples.
            y: accepted and ignored.

        Raises:
            TypeError: for a model that is none.
            ValueError: for data that the model does not allow, and fewer than the threshold needs.
        """
        self._check_arguments()
        rows = self._checked(X, reset=True)
        count = len(rows)
        held_out = math.ceil(count * fraction(self, "held_out", self.held_out))
        least = self._least()
        if held_out < least or count - held_out < 1:
            raise ValueError(
                f"AnomalyDetector.fit needs {least} held-out samples, 1 / false_positive_rate - 1, or more, and others "
                f"to train on. Received: {held_out} of n_samples = {count}."
            )
        order = np.random.default_rng(self.seed).permutation(count)
        train, rest = _rows(rows, np.sort(order[held_out:])), _rows(rows, np.sort(order[:held_out]))
        model = self._new_model(train)
        model.fit(train, **{"verbose": 0, **(self.fit_options or {})})
        return self._set_threshold(model, rest, train)

    def calibrate(self, data, reference=None) -> "AnomalyDetector":
        """Sets the threshold of the model as it is, which is trained.

        Args:
            data: normal examples that training has not seen, in all forms that `log_likelihood` takes.
            reference: None, or the data that the model was trained on, for a score that needs them: `Typicality`.

        Raises:
            TypeError: for a model that is none.
            ValueError: for a model without weights, for data that it does not allow, and fewer than the threshold
                needs.
        """
        self._check_arguments()
        if not isinstance(self.model, LatentVariableModel):
            raise TypeError(
                f"AnomalyDetector.calibrate needs model to be a trained model. Received: {self.model!r}; fit trains "
                "what a function returns."
            )
        self.model._require_built("calibrate")
        return self._set_threshold(self.model, self._checked(data, reset=True), reference)

    def _set_threshold(self, model: LatentVariableModel, data, reference) -> "AnomalyDetector":
        score = self._score().fitted(model, reference, self.seed)
        (found,) = all_values("AnomalyDetector", [score], model, data, self.seed)
        values = np.sort(found.astype(np.float64))
        if not np.isfinite(values).all():
            raise ValueError("AnomalyDetector needs finite scores. Received: NaN or infinity for held-out examples.")
        count, least = len(values), self._least()
        if count < least:
            raise ValueError(
                f"AnomalyDetector needs {least} held-out samples, 1 / false_positive_rate - 1, or more. "
                f"Received: n_samples = {count}."
            )
        threshold = values[_place(count, self.false_positive_rate)]
        above = int(np.sum(values > threshold))
        interval = stats.binomtest(above, count).proportion_ci(self.confidence, method="exact")
        self.model_, self.score_, self.threshold_ = model, score, float(threshold)
        self.false_positive_rate_ = above / count
        self.false_positive_interval_ = float(interval.low), float(interval.high)
        return self

    # --- answers ------------------------------------------------------------------------------------------------------

    def score_samples(self, X) -> np.ndarray:
        """The negative score of each example, nats, shape (examples,): higher is more normal, as scikit-learn has it.

        That of an example is the same wherever it stands: draws of z follow from the seed alone.
        """
        check_is_fitted(self)
        rows = self._checked(X, reset=False)
        (found,) = all_values("AnomalyDetector", [self.score_], self.model_, rows, self.seed)
        return -found.astype(np.float64)

    def decision_function(self, X) -> np.ndarray:
        """`score_samples` less `offset_`, shape (examples,): below 0 for anomalies."""
        return self.score_samples(X) - self.offset_

    def predict(self, X) -> np.ndarray:
        """-1 for anomalies and 1 for others, shape (examples,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    # --- files --------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Writes one `.keras` file, in one step: that of the model, which `load_model` reads, and the threshold in it.

        Raises:
            ValueError: for a path that does not end in `.keras`.
            sklearn.exceptions.NotFittedError: before `fit` or `calibrate`.
        """
        check_is_fitted(self)
        if not str(path).endswith(".keras"):
            raise ValueError(f"AnomalyDetector.save needs a path that ends in .keras. Received: {path}.")
        others = self.score_.models
        names = ("false_positive_rate", "confidence", "seed")
        fitted = ("threshold_", "false_positive_rate_", "false_positive_interval_", "n_features_in_")
        state = {
            "score": keras.saving.get_registered_name(type(self.score_)),
            "score_arguments": {
                name: getattr(self.score_, name) for name in self.score_._argument_names() if name not in others
            },
            "arguments": {name: getattr(self, name) for name in names},
            "fitted": {name: getattr(self, name) for name in fitted if hasattr(self, name)},
        }
        if hasattr(self, "feature_names_in_"):
            state["fitted"]["feature_names_in_"] = list(self.feature_names_in_)
        with replacing(path) as temporary, tempfile.TemporaryDirectory() as folder:
            self.model_.save(temporary)
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(ENTRY, json.dumps(state, indent=2))
                for name, model in others.items():
                    model.save(Path(folder) / f"{name}.keras")
                    archive.write(Path(folder) / f"{name}.keras", f"{name}.keras")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "AnomalyDetector":
        """The detector in a file that `save` has written, fitted.

        Raises:
            FileNotFoundError: when there is no such file.
            ValueError: for a file that holds no detector.
        """
        model = load_model(path)
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            if ENTRY not in archive.namelist():
                raise ValueError(
                    "AnomalyDetector.load needs a file that AnomalyDetector.save has written. "
                    f"Received: {path}, which holds a model alone."
                )
            state = json.loads(archive.read(ENTRY))
            kind = keras.saving.get_registered_object(state["score"])
            if not (isinstance(kind, type) and issubclass(kind, AnomalyScore)):
                raise ValueError(
                    "AnomalyDetector.load needs the class of the score to be registered and imported. "
                    f"Received: {path}, with a {state['score']}."
                )
            others = [name for name in kind._argument_names() if f"{name}.keras" in archive.namelist()]
            models = {name: load_model(archive.extract(f"{name}.keras", folder)) for name in others}
        score = kind(**state["score_arguments"], **models)
        detector = cls(model, score, **state["arguments"])
        detector.model_, detector.score_ = model, score
        for name, value in state["fitted"].items():
            setattr(detector, name, np.array(value, object) if name == "feature_names_in_" else value)
        low, high = detector.false_positive_interval_
        detector.false_positive_interval_ = low, high
        return detector

    def export(self, path: str | os.PathLike, max_bytes: int = MEMORY, max_samples: int = 10_000) -> None:
        """Writes a SavedModel with the signatures of the model and one more, `anomaly_score`.

        It takes x and a seed, and answers with `score`, nats, `threshold` and `is_anomaly`, one for each row: those of
        `score_samples`, with the opposite sign, and `predict` where the seed is that of the detector.

        Args:
            path: a folder that does not exist yet; its last part is a version, "detector/1".
            max_bytes, max_samples: see `VAE.export`.
        """
        signatures = self.serving_signatures(max_bytes=max_bytes, max_samples=max_samples)
        with Execution(self.model_, "export"):  # for Keras takes the functions of the model away
            write_saved_model(self.model_, signatures, path, others=list(self.score_.models.values()))

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes: by name, a function to a flat dict of tensors and the specs of its inputs.

        Args:
            **limits: `max_bytes` and `max_samples`, see `keras_vae.serving.Signatures`.
        """
        check_is_fitted(self)
        model, of_batch = self.model_, of_rows([self.score_], self.model_)
        make = Signatures(model, None, **limits)
        threshold = tf.constant(self.threshold_, tf.float32)

        def anomaly_score(*parts, seed):
            (found,) = of_batch(*parts, fold(seed))
            return {"score": found, "threshold": tf.fill(tf.shape(found), threshold), "is_anomaly": found > threshold}

        seed = replace(SEED, default=self.seed)
        served = make.at_once("anomaly_score", anomaly_score, make.x + make.given, [seed])
        return model.serving_signatures(**limits) | {"anomaly_score": served}

    # --- what it is made of -------------------------------------------------------------------------------------------

    def _score(self) -> AnomalyScore:
        return NegativeLogLikelihood() if self.anomaly_score is None else self.anomaly_score

    def _least(self) -> int:
        """How many held-out examples a threshold needs: with fewer, all scores could be below it."""
        return math.ceil(1 / self.false_positive_rate - 1 - 1e-9)

    def _check_arguments(self) -> None:
        if not isinstance(self._score(), AnomalyScore):
            raise TypeError(
                "AnomalyDetector needs anomaly_score to be one, such as NegativeELBO(). "
                f"Received: {self.anomaly_score!r}."
            )
        for name in ("false_positive_rate", "confidence"):
            if fraction(self, name, getattr(self, name)) == 0:
                raise ValueError(f"AnomalyDetector needs {name} to be more than 0. Received: {name}=0.")
        whole_seed(self, self.seed)

    def _new_model(self, train) -> LatentVariableModel:
        """The model that `fit` trains."""
        if isinstance(self.model, LatentVariableModel):
            return keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(self.model))
        made = self.model(train) if callable(self.model) else self.model
        if not isinstance(made, LatentVariableModel):
            raise TypeError(
                "AnomalyDetector needs model to be a model, or a function of the training data that returns one. "
                f"Received: {made!r}."
            )
        return made

    def _checked(self, X, reset: bool):
        """Arrays and frames looked at as scikit-learn does; what else the model reads as it is."""
        if is_table(X) and not issparse(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        if isinstance(X, tf.data.Dataset | tuple | keras.utils.PyDataset):
            return X
        return validate_data(self, X, reset=reset, allow_nd=True, dtype="numeric", ensure_all_finite=False)


def _place(count: int, false_positive_rate: float) -> int:
    """Of the threshold among the sorted scores, from 0; see `AnomalyDetector`."""
    return min(count, math.ceil((count + 1) * (1 - false_positive_rate) - 1e-9)) - 1


def _rows(data, places: np.ndarray):
    """Rows of an array, a frame, a table or a dictionary of columns."""
    if hasattr(data, "iloc"):
        return data.iloc[places]
    if isinstance(data, dict):
        return {name: np.asarray(column)[places] for name, column in data.items()}
    return data.take(places) if hasattr(data, "column_names") else data[places]
