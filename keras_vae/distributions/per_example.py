"""Posteriors whose parameters are looked up: free for each example, with no encoder."""

import random

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions.base import DistributionLayer
from keras_vae.distributions.supports import Support
from keras_vae.stored_rows import StoredRows

SPREAD = 0.1  # standard deviation of the parameters at first: at 0 some families have no gradient


class PerExample(DistributionLayer):
    """q(z) of each example of a data set, with parameters of its own: an embedding of the examples' numbers.

    Its context is the number of the example, from 0; -1 is an example that is not among them, whose parameters are all
    0. The gradient of a batch is that of its rows alone.

    Parameters and the two moments of Adam are in memory, 12 bytes for each parameter: of `Normal(16)` 384 bytes for
    each example, 3.8 GB for ten million. `PerExampleOnDisk` is for more.

    Args:
        layer: the family, a layer without a network, such as `Normal(16)`.
        examples: how many there are.

    Raises:
        TypeError: for a layer that is no distribution layer.
        ValueError: for a layer with a network, or with weights that examples would share.

    Reference: Zadeh et al. 2019, arXiv:1903.00840; Blei, Kucukelbir & McAuliffe 2017, arXiv:1601.00670.
    """

    def __init__(self, layer: DistributionLayer, examples: int, **kwargs):
        if not isinstance(layer, DistributionLayer):
            raise TypeError(f"{type(self).__name__} needs layer to be a distribution layer. Received: {layer!r}.")
        super().__init__(layer.event_shape, **kwargs)
        check_free(type(self).__name__, layer)
        self.layer = layer
        self.examples = whole_number(self, "examples", examples)

    @property
    def support(self) -> Support:  # type: ignore[override]
        """That of the family."""
        return self.layer.support

    @property
    def params_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.layer.params_shape

    def build(self, context_shape=None):
        """Creates the parameters, shape (examples, *params_shape)."""
        self.context_shapes = [(None,)]
        self.params = self.add_weight(
            shape=(self.examples, *self.params_shape),
            initializer=keras.initializers.RandomNormal(stddev=SPREAD),
            name="params",
            dtype="float32",
        )

    def params_of(self, context) -> tf.Tensor:
        """The parameters of examples by their numbers, int32 of shape (batch,): shape (batch, *params_shape)."""
        inside = (context >= -1) & (context < self.examples)
        words = f"{self._title} needs numbers of examples from 0 to {self.examples - 1:,}, or -1 for others. Received:"
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(inside), [words, context])]):
            rows = self._rows(tf.clip_by_value(context, -1, self.examples - 1))

        def of_each(condition):
            return tf.reshape(condition, [-1, *[1] * len(self.params_shape)])

        rows = tf.where(of_each(context >= 0), rows, 0.0)
        return tf.where(of_each(inside), rows, float("nan"))  # for XLA, which leaves out assertions

    def _rows(self, numbers: tf.Tensor) -> tf.Tensor:
        """Parameters of these numbers, and anything for those below 0."""
        return tf.gather(self.params.value, tf.maximum(numbers, 0))

    def call(self, context=None) -> tfd.Distribution:
        """q(z) of the examples of these numbers, int32 of shape (batch,)."""
        if context is None:
            raise ValueError(f"{self._title} needs the numbers of examples. Received: None.")
        return super().call(context)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return self.layer.distribution(params)


class PerExampleOnDisk(PerExample):
    """The same for more examples than memory holds: parameters, and the moments of Adam, are in a temporary file.

    A step reads and writes the rows of its batch, without XLA. The file has no name, is in the folder that the
    environment variable TMPDIR names, and is gone with the layer; `save` and `BackupAndRestore` write what is in it, so
    that runs are saved and resumed as others are. The parameters are no weights for Keras: `model.weights` has none of
    them.

    Args:
        layer: the family, a layer without a network, such as `Normal(16)`.
        examples: how many there are.

    Raises:
        TypeError, ValueError: as `PerExample`.
        OSError: where the disk has no room, as soon as the model is built.

    Reference: Zadeh et al. 2019, arXiv:1903.00840.
    """

    def __init__(self, layer: DistributionLayer, examples: int, **kwargs):
        super().__init__(layer, examples, **kwargs)
        self.supports_jit = False

    def build(self, context_shape=None):
        """Creates the file, of `examples` rows."""
        self.context_shapes = [(None,)]
        draws = np.random.default_rng(random.getrandbits(32))  # as Keras's initializers: from `set_random_seed`

        def draw(count: int) -> np.ndarray:
            return SPREAD * draws.standard_normal((count, *self.params_shape), np.float32)

        self.stored = StoredRows(f"{self.path}/params", self.examples, self.params_shape, draw)

    def _rows(self, numbers: tf.Tensor) -> tf.Tensor:
        return self.stored.take(numbers, train=self.trainable)

    def save_own_variables(self, store):
        """Writes the file to that of the model."""
        self.stored.save(store)

    def load_own_variables(self, store):
        """Reads it."""
        self.stored.load(store)


def check_free(owner: str, layer: DistributionLayer) -> None:
    """Raises `ValueError` for a layer whose parameters can not be given to each example by itself."""
    name = type(layer).__name__
    if layer.network is not None:
        raise ValueError(f"{owner} needs a posterior without a network. Received: {name} with one.")
    built = type(layer).from_config(layer.get_config())  # the one that was given is left as it is
    built.build((None, 1))
    own = set(map(id, built.head.weights)) if hasattr(built, "head") else set()
    shared = [weight for weight in built.weights if id(weight) not in own]
    if shared or not own:
        raise ValueError(
            f"{owner} needs a posterior all of whose parameters belong to one example each. Received: {name} with "
            f"{len(shared)} weights that examples share, and {'some' if own else 'no'} parameters."
        )
