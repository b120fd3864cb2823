"""What `fit` hands to Keras: batches that begin where the epoch begins, in whatever form they were given."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_vae import keras_names
from keras_vae.batches import EpochBatches, IndexedBatches, sources


class Feed:
    """The batches of one call of `fit`, which go on through its epochs.

    With `steps_per_epoch=n` epoch e takes the batches from e x n on, counted through all passes over the data: finite
    data begin anew wherever a pass ends, so that `fit` makes n x epochs steps.

    Args:
        x: `IndexedBatches`, a `tf.data.Dataset`, `PyDataset`, generator, or what only Keras can read.
        steps: `steps_per_epoch` of `fit`, or None: one pass over the data.
        one_device: whether the model is under no strategy.
        shuffle: whether Keras may shuffle the batches of a PyDataset.

    Attributes:
        batches: for Keras.
        steps: `steps_per_epoch` for Keras; None is as many as there are.
        shuffle: for Keras, which warns of it where it does not apply.
        differs: None, or why a run that is resumed sees other batches than an uninterrupted one.
    """

    def __init__(self, x, steps: int | None, one_device: bool, shuffle: bool = True):
        indexed = x if isinstance(x, IndexedBatches) else getattr(x, "indexed", None)
        if indexed is x and not one_device:
            x = indexed.by_epoch()
        if steps is not None and steps == _length(x):
            steps = None
        self.batches: Any = x
        self.steps: Any = steps  # an integer or None
        self.shuffle = shuffle and isinstance(x, keras.utils.PyDataset) and steps is None
        self.differs = _why_it_differs(x, steps, shuffle)
        self._found = [part for part in sources(x) if isinstance(part, EpochBatches)] if _is_dataset(x) else []
        self._first = tf.Variable(0, dtype=tf.int64, trainable=False, name="first")  # batch that the iterator begins at
        self._count = _length(x)
        self._endless = self._goes_on = False
        if indexed is not None and self._count > 0 and one_device:
            self._endless = self._goes_on = True
            self.batches, self.steps = indexed.endless(self._first), steps or self._count
        elif _is_dataset(x) and steps is not None and (self._found or self._count != -1):
            self._goes_on = True
            self.batches = _from(self._first, x.repeat() if self._count != tf.data.INFINITE_CARDINALITY else x)
        elif isinstance(x, keras.utils.PyDataset) and steps is not None:
            self.batches = _around(x)
        self._begun = False

    def begin(self, epoch: int) -> None:
        """Tells the data which epoch begins, before Keras asks for its first batch."""
        if self._goes_on and self._begun:
            return  # its one iterator is where it has to be
        self._begun = True
        passes, first = epoch, 0
        if self._goes_on:
            first = epoch * self.steps
            if self._count > 0 and not self._endless:
                passes, first = divmod(first, self._count)
            elif not self._endless:
                passes, first = 0, first if self._found else 0
        for batches in self._found:
            batches.epoch.assign(passes)
        self._first.assign(first)


def _is_dataset(x) -> bool:
    return isinstance(x, tf.data.Dataset)


def _length(x) -> int:
    """Batches of one pass, or less than 0 where they are not known, or endless."""
    if isinstance(x, IndexedBatches):
        return x.count
    if isinstance(x, keras.utils.PyDataset):
        return len(x)
    return int(x.cardinality()) if _is_dataset(x) else tf.data.UNKNOWN_CARDINALITY


def _from(first: tf.Variable, dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without its first batches, whose number is read when an iterator of it is made."""

    @tf.autograph.experimental.do_not_convert
    def rest(_):
        return dataset.skip(first)

    return tf.data.Dataset.from_tensors(0).flat_map(rest).with_options(dataset.options())


def _around(x: keras.utils.PyDataset) -> Iterator:
    """The batches of a sequence, again and again."""
    while True:
        for index in range(len(x)):
            batch = x[index]
            yield batch if isinstance(batch, tuple) else (batch,)
        x.on_epoch_end()


def _why_it_differs(x, steps: int | None, shuffle: bool) -> str | None:
    """None for data of which a resumed run sees what an uninterrupted one would, as far as one can see from here."""
    if isinstance(x, IndexedBatches):
        return None
    if isinstance(x, keras.utils.PyDataset):
        if steps is not None:
            return "a PyDataset with steps_per_epoch begins at its first batch"
        return "Keras shuffles the batches of a PyDataset in another order" if shuffle else None
    if not _is_dataset(x):
        return "a generator begins with the batch that it is at"
    kinds = [keras_names.kind_of(part) for part in sources(x)]
    follows = any(isinstance(part, EpochBatches) for part in sources(x))
    if "shuffle" in kinds:
        return "tf.data.Dataset.shuffle draws another order"
    if "cache" in kinds and follows:
        return "tf.data.Dataset.cache keeps the batches of the first epoch that it sees"
    if steps is not None and not follows and x.cardinality() < 0:
        return "a dataset of unknown length, with steps_per_epoch, begins with its first batch"
    return None
