"""Model, data -> numbers."""

from keras_vae.evaluation.baseline import independent_values
from keras_vae.evaluation.log_likelihood import LogLikelihood, log_likelihood

__all__ = ["LogLikelihood", "independent_values", "log_likelihood"]
