"""Trace -> loss per example, in nats."""

from keras_vae.objectives.adversarial import Adversarial
from keras_vae.objectives.aggregate import BetaTC, InfoVAE
from keras_vae.objectives.base import Objective
from keras_vae.objectives.elbo import ELBO, Capacity, RelaxedELBO, StickingTheLanding
from keras_vae.objectives.importance import IWAE, DoublyReparameterized, Renyi
from keras_vae.objectives.score_function import NVIL, VIMCO, LearnedBaseline, MovingAverageBaseline, ScoreFunction
from keras_vae.objectives.weighted import Weighted

__all__ = [
    "ELBO",
    "IWAE",
    "NVIL",
    "VIMCO",
    "Adversarial",
    "BetaTC",
    "Capacity",
    "DoublyReparameterized",
    "InfoVAE",
    "LearnedBaseline",
    "MovingAverageBaseline",
    "Objective",
    "RelaxedELBO",
    "Renyi",
    "ScoreFunction",
    "StickingTheLanding",
    "Weighted",
]
