"""What happens between the batches and epochs of `fit`: backups, history, figures, diagnoses, schedules."""

from keras_vae.callbacks.best import KeepBest
from keras_vae.callbacks.diagnose import Diagnose
from keras_vae.callbacks.lines import EpochLines
from keras_vae.callbacks.schedules import CyclicalSchedule, ExponentialSchedule, LinearSchedule, Schedule
from keras_vae.callbacks.training import BackupAndRestore, HistoryLogger, SaveFigure

__all__ = [
    "BackupAndRestore",
    "CyclicalSchedule",
    "Diagnose",
    "EpochLines",
    "ExponentialSchedule",
    "HistoryLogger",
    "KeepBest",
    "LinearSchedule",
    "SaveFigure",
    "Schedule",
]
