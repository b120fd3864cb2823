"""Model, data -> numbers."""

from keras_vae.evaluation.annealed import AnnealedBounds, Simulated, annealed_importance_sampling, simulate
from keras_vae.evaluation.anomaly import (
    AnomalyScore,
    AnomalyScores,
    ComplexityCorrected,
    LikelihoodRatio,
    NegativeELBO,
    NegativeLogLikelihood,
    ReconstructionProbability,
    Typicality,
    anomaly_scores,
)
from keras_vae.evaluation.baseline import independent_columns, independent_values
from keras_vae.evaluation.by_example import Bounds, bounds
from keras_vae.evaluation.detector import AnomalyDetector
from keras_vae.evaluation.diagnose import diagnose
from keras_vae.evaluation.diagnosis import Diagnosis, Finding, LatentDiagnosis
from keras_vae.evaluation.disentanglement import Disentanglement, disentanglement
from keras_vae.evaluation.draws import DrawQuality, draw_quality, frechet_distance, sharpness
from keras_vae.evaluation.drift import Drift, drift
from keras_vae.evaluation.estimates import ByExample, Estimates
from keras_vae.evaluation.forecasts import Coverage, forecast_coverage, step_scores
from keras_vae.evaluation.grid import PosteriorGrid, posterior_on_grid
from keras_vae.evaluation.hamiltonian import PosteriorDraws, hamiltonian_monte_carlo
from keras_vae.evaluation.imputation import impute, log_likelihood_of_missing
from keras_vae.evaluation.log_likelihood import LogLikelihood, log_likelihood
from keras_vae.evaluation.rate_distortion import RateDistortion, RateDistortionPoint, rate_distortion
from keras_vae.evaluation.refine import RefinedPosterior, refine_posterior
from keras_vae.evaluation.rollouts import RolloutError, rollout_error
from keras_vae.evaluation.scenes import CountAccuracy, count_accuracy, foreground_rand_index

__all__ = [
    "AnnealedBounds",
    "AnomalyDetector",
    "AnomalyScore",
    "AnomalyScores",
    "Bounds",
    "ByExample",
    "ComplexityCorrected",
    "CountAccuracy",
    "Coverage",
    "Diagnosis",
    "Disentanglement",
    "DrawQuality",
    "Drift",
    "Estimates",
    "Finding",
    "LatentDiagnosis",
    "LikelihoodRatio",
    "LogLikelihood",
    "NegativeELBO",
    "NegativeLogLikelihood",
    "PosteriorDraws",
    "PosteriorGrid",
    "RateDistortion",
    "RateDistortionPoint",
    "ReconstructionProbability",
    "RefinedPosterior",
    "RolloutError",
    "Simulated",
    "Typicality",
    "annealed_importance_sampling",
    "anomaly_scores",
    "bounds",
    "count_accuracy",
    "diagnose",
    "disentanglement",
    "draw_quality",
    "drift",
    "forecast_coverage",
    "foreground_rand_index",
    "frechet_distance",
    "hamiltonian_monte_carlo",
    "impute",
    "independent_columns",
    "independent_values",
    "log_likelihood",
    "log_likelihood_of_missing",
    "posterior_on_grid",
    "rate_distortion",
    "refine_posterior",
    "rollout_error",
    "sharpness",
    "simulate",
    "step_scores",
]
