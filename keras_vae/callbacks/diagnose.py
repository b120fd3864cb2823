"""The use of the latent variables while a model is trained."""

import keras

from keras_vae.arguments import whole_number
from keras_vae.evaluation import Diagnosis, diagnose
from keras_vae.files import replacing


class Diagnose(keras.callbacks.Callback):
    """Diagnoses the model at the end of epochs, and adds the numbers to their logs.

    The logs of these epochs have what `Diagnosis.numbers` names: active_units, mutual_information, aggregate_kl,
    reconstruction_gain, inference_gap, log_p, kl_z_0, kl_z_1, ... It belongs before the callbacks that write logs,
    `HistoryLogger` and `keras.callbacks.TensorBoard`. It draws from seeds of its own: training is that without it.

    Args:
        data: as for `evaluation.diagnose`; not those of training.
        every: epochs between two diagnoses.
        figure: None, or the file name of a figure of each, with a place for the epoch, "diagnosis-{epoch:04d}.png";
            without one the latest stays.
        samples, examples: of `evaluation.diagnose`.

    Attributes:
        latest: the last `Diagnosis`, None before the first.
    """

    def __init__(self, data, every: int = 1, figure: str | None = None, samples: int = 100, examples: int = 1000):
        super().__init__()
        self.data = data
        self.every = whole_number(self, "every", every)
        self.figure = figure
        self.samples = whole_number(self, "samples", samples, least=2)
        self.examples = whole_number(self, "examples", examples, least=2)
        self.latest: Diagnosis | None = None

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        self.latest = diagnose(self.model, self.data, samples=self.samples, examples=self.examples, verbose=0)
        logs.update(self.latest.numbers())
        if self.figure is not None:
            from keras_vae import plotting  # which needs matplotlib

            with replacing(self.figure.format(epoch=epoch + 1)) as temporary:
                plotting.diagnosis(self.latest).savefig(temporary)
