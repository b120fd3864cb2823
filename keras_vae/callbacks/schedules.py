"""Numbers that change in training: callbacks that are functions of the epoch, and so survive a resume."""

import math

import keras

from keras_vae.arguments import positive


class Schedule(keras.callbacks.Callback):
    """Sets a number at the beginning of each epoch; a subclass defines `value(epoch)`.

    It adds the number to the logs of the epoch, for `history` and the callbacks that come after it.

    Args:
        name: a number of the objective that can be scheduled, such as "beta", or a weight of the model by its path,
            such as "posterior.current_temperature".

    Raises:
        ValueError: from `fit`, for a name that the model does not have.
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def value(self, epoch: int) -> float:
        """The number in this epoch, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} needs a method value(self, epoch).")

    def on_train_begin(self, logs=None):
        self._variable()

    def on_epoch_begin(self, epoch, logs=None):
        self._variable().assign(self.value(epoch))

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.value(epoch)

    def _variable(self):
        if self.name in self.model.scheduled_numbers:
            return self.model.scheduled_numbers[self.name]
        found = self.model
        for part in self.name.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, keras.Variable) or found.trainable:
            names = ", ".join(self.model.scheduled_numbers) or "none"
            raise ValueError(
                f"{type(self).__name__} needs the name of a number that can be scheduled: of the objective "
                f"{type(self.model.loss).__name__} ({names}), or of the model, such as posterior.current_temperature. "
                f"Received: {self.name!r}."
            )
        return found


class LinearSchedule(Schedule):
    """From `start` in the first epoch to `end` after `epochs` epochs, in equal steps; then `end`. A warm-up of beta.

    Args:
        name: see `Schedule`.
        start, end: the numbers.
        epochs: how long it takes.

    Reference: Bowman et al. 2016, arXiv:1511.06349; Sonderby et al. 2016, arXiv:1602.02282.
    """

    def __init__(self, name: str = "beta", start: float = 0.0, end: float = 1.0, epochs: float = 10):
        super().__init__(name)
        self.start, self.end, self.epochs = start, end, positive(self, "epochs", epochs)

    def value(self, epoch: int) -> float:
        return self.start + (self.end - self.start) * min(1.0, epoch / self.epochs)


class CyclicalSchedule(Schedule):
    """From `start` to `end`, in equal steps in the first part of each period, and at `end` for the rest of it.

    Args:
        name: see `Schedule`.
        start, end: the numbers.
        period: epochs of one cycle.
        rising: the part of a period in which the number rises, more than 0 and at most 1.

    Reference: Fu et al. 2019, arXiv:1903.10145.
    """

    def __init__(
        self, name: str = "beta", start: float = 0.0, end: float = 1.0, period: float = 10, rising: float = 0.5
    ):
        super().__init__(name)
        self.start, self.end, self.period = start, end, positive(self, "period", period)
        self.rising = positive(self, "rising", rising)
        if self.rising > 1:
            raise ValueError(f"CyclicalSchedule needs rising of at most 1. Received: rising={rising!r}.")

    def value(self, epoch: int) -> float:
        position = math.fmod(epoch, self.period) / self.period
        return self.start + (self.end - self.start) * min(1.0, position / self.rising)


class ExponentialSchedule(Schedule):
    """From `start` to `end` after `epochs` epochs, by one factor in each; then `end`. For a temperature.

    Args:
        name: see `Schedule`.
        start, end: the numbers, more than 0.
        epochs: how long it takes.

    Reference: Jang, Gu & Poole 2017, arXiv:1611.01144.
    """

    def __init__(
        self, name: str = "posterior.current_temperature", start: float = 1.0, end: float = 0.5, epochs: float = 10
    ):
        super().__init__(name)
        self.start, self.end = positive(self, "start", start), positive(self, "end", end)
        self.epochs = positive(self, "epochs", epochs)

    def value(self, epoch: int) -> float:
        return self.start * (self.end / self.start) ** min(1.0, epoch / self.epochs)
