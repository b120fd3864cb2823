"""Model, data -> numbers."""

from keras_vae.evaluation.annealed import AnnealedBounds, Simulated, annealed_importance_sampling, simulate
from keras_vae.evaluation.baseline import independent_columns, independent_values
from keras_vae.evaluation.by_example import Bounds, bounds
from keras_vae.evaluation.imputation import impute, log_likelihood_of_missing
from keras_vae.evaluation.log_likelihood import LogLikelihood, log_likelihood

__all__ = [
    "AnnealedBounds",
    "Bounds",
    "LogLikelihood",
    "Simulated",
    "annealed_importance_sampling",
    "bounds",
    "impute",
    "independent_columns",
    "independent_values",
    "log_likelihood",
    "log_likelihood_of_missing",
    "simulate",
]
