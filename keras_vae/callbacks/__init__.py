"""What happens between the batches and epochs of `fit`: backups, history, figures, schedules."""

from keras_vae.callbacks.schedules import CyclicalSchedule, ExponentialSchedule, LinearSchedule, Schedule
from keras_vae.callbacks.training import BackupAndRestore, HistoryLogger, SaveFigure

__all__ = [
    "BackupAndRestore",
    "CyclicalSchedule",
    "ExponentialSchedule",
    "HistoryLogger",
    "LinearSchedule",
    "SaveFigure",
    "Schedule",
]
