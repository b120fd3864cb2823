"""Model, data -> numbers."""

from keras_vae.evaluation.annealed import AnnealedBounds, Simulated, annealed_importance_sampling, simulate
from keras_vae.evaluation.baseline import independent_columns, independent_values
from keras_vae.evaluation.by_example import Bounds, bounds
from keras_vae.evaluation.diagnose import diagnose
from keras_vae.evaluation.diagnosis import Diagnosis, Finding, LatentDiagnosis
from keras_vae.evaluation.imputation import impute, log_likelihood_of_missing
from keras_vae.evaluation.log_likelihood import LogLikelihood, log_likelihood

__all__ = [
    "AnnealedBounds",
    "Bounds",
    "Diagnosis",
    "Finding",
    "LatentDiagnosis",
    "LogLikelihood",
    "Simulated",
    "annealed_importance_sampling",
    "bounds",
    "diagnose",
    "impute",
    "independent_columns",
    "independent_values",
    "log_likelihood",
    "log_likelihood_of_missing",
    "simulate",
]
