"""Model, data -> numbers."""

from keras_vae.evaluation.baseline import independent_columns, independent_values
from keras_vae.evaluation.by_example import Bounds, bounds
from keras_vae.evaluation.grid import PosteriorGrid, posterior_on_grid
from keras_vae.evaluation.hamiltonian import PosteriorDraws, hamiltonian_monte_carlo
from keras_vae.evaluation.imputation import impute, log_likelihood_of_missing
from keras_vae.evaluation.log_likelihood import LogLikelihood, log_likelihood
from keras_vae.evaluation.refine import Estimates, RefinedPosterior, refine_posterior

__all__ = [
    "Bounds",
    "Estimates",
    "LogLikelihood",
    "PosteriorDraws",
    "PosteriorGrid",
    "RefinedPosterior",
    "bounds",
    "hamiltonian_monte_carlo",
    "impute",
    "independent_columns",
    "independent_values",
    "log_likelihood",
    "log_likelihood_of_missing",
    "posterior_on_grid",
    "refine_posterior",
]
