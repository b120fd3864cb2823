"""A Keras model whose call returns a Trace and whose loss is an Objective."""

import collections
import functools
import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.models.contract import KerasContract
from keras_vae.noise import fold
from keras_vae.replicas import global_mean, multi_worker
from keras_vae.sampling import current_sampler, sampling
from keras_vae.trace import Latent, Trace, draw_from

tfd = tfp.distributions

TRAIN, TEST = 0, 1  # streams of noise that never share a seed
ROWS = 2**12  # examples x draws that are decoded together: more do not fit into the caches of a CPU


class Trackers(collections.UserDict):
    """Means by name, created when first asked for; no part of a model's saved state."""

    def __missing__(self, name: str) -> keras.metrics.Mean:
        with tf.init_scope():
            self[name] = keras.metrics.Mean(name=name)
        return self[name]


class LatentVariableModel(KerasContract):
    """Base of all models: a subclass defines `call(inputs) -> Trace` and `generate(...)`.

    Trained with `compile(optimizer, loss=<Objective>)` and `fit`. Loss and logs are in nats per example: summed over
    the event, averaged over the examples. The logs are `loss`, `log_likelihood`, `kl`, `kl_<name>` for each latent
    variable when there are several, and `bits_per_dim` for discrete data; all but `loss` are unweighted by beta.

    Args:
        seed: integer; the noise of training and evaluation is drawn from it and the step, so that a resumed run equals
            an uninterrupted one.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.
    """

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(autocast=False, **kwargs)  # data and log-probabilities stay float32 under every policy
        self.seed = seed
        self._trackers = Trackers()
        self._seen = Trackers()  # its count is the number of examples, whatever their weights

    def call(self, inputs) -> Trace:
        """Infers the latent variables of a batch, shape (batch, *event), and returns what the model says about it."""
        raise NotImplementedError(f"{type(self).__name__} needs a method call(self, inputs) that returns a Trace.")

    def as_inputs(self, x, y):
        """What `call` takes, of the data and targets of a batch: the data. Targets are ignored."""
        return x

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws latent variables from the prior and returns the means of their observations, (count, *event)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method generate(self, count, seed, temperature).")

    def build(self, input_shape):
        """Creates all weights, by one call without a sample axis on a batch of zeros of this shape."""
        with tf.init_scope(), sampling(samples=None, seed=fold(0)):
            self.call(tf.zeros([1, *input_shape[1:]]))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation: that of the layer `likelihood`."""
        return self.likelihood.event_shape

    @property
    def discrete(self) -> bool:
        """Whether the likelihood is a probability mass, which has bits per dimension."""
        return self.likelihood.discrete

    def draw(self, posterior: tfd.Distribution, prior: tfd.Distribution) -> Latent:
        """Samples a latent variable; the one place where a model does.

        The first draw, from a posterior of batch shape (batch,), opens the sample axis; a posterior that already has
        batch shape (samples, batch) rides on it.
        """
        sampler = current_sampler()
        opens = sampler.samples is not None and posterior.batch_shape.rank == 1
        drawn = draw_from(posterior, [sampler.samples] if opens else [], sampler.next_seed())
        path = None if sampler.path is None else sampler.path()
        if path is not None:
            drawn = drawn.along(path)
        return Latent(drawn.value, posterior, prior, path, drawn=drawn)

    # --- training and evaluation: the hooks that Keras documents -----------------------------------------------------

    def train_step(self, data) -> dict:
        """One step on one batch: draws, bound, gradients, update."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            seed = self._step_seed(TRAIN, self.optimizer.iterations)
            with sampling(self.loss.samples, seed, self.loss.path):
                trace = self(self.as_inputs(x, y), training=True)
                loss = self.compute_loss(x, y_pred=trace, sample_weight=sample_weight)
            scaled_loss = self.optimizer.scale_loss(loss)
        weights = self.trainable_weights
        gradients = tape.gradient(scaled_loss, weights)
        self.optimizer.build(weights)  # outside of the block below, whose variables XLA could not create
        # Data of unknown length end with a step that has no data: without this its count would go up all the same.
        with tf.control_dependencies([x]):
            self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return self._logs()

    def test_step(self, data) -> dict:
        """The same figures on one batch, without an update; each pass over the data draws the same noise."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with sampling(self.loss.samples, self._step_seed(TEST)):
            trace = self(self.as_inputs(x, y), training=False)
            self.compute_loss(x, y_pred=trace, sample_weight=sample_weight, training=False)
        return self._logs()

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> tf.Tensor:
        """The scalar that is minimised: mean over the batch of sample_weight x loss, plus `add_loss` terms, nats.

        Args:
            x, y: unused; the trace holds what was observed.
            y_pred: the `Trace` of the batch.
            sample_weight: None or shape (batch,). In the logs an example of weight 2 counts as two examples.
            training: whether the objective's numbers are the scheduled ones.
        """
        trace = y_pred
        if training:
            self.loss.check(trace)
            losses = self.loss(trace)  # [batch]
        else:
            with self.loss.at_rest():
                losses = self.loss(trace)
        extra = tf.add_n([tf.reduce_sum(tf.cast(loss, tf.float32)) for loss in self.losses] or [tf.zeros([])])
        for name, figures in self._figures(losses + extra, trace).items():
            self._mean(name).update_state(figures, sample_weight=sample_weight)
        self._seen["examples"].update_state(tf.zeros_like(losses))
        if sample_weight is not None:
            losses = losses * tf.cast(tf.reshape(sample_weight, tf.shape(losses)), losses.dtype)
        return global_mean(losses) + extra / tf.distribute.get_strategy().num_replicas_in_sync

    def _step_seed(self, stream: int, *numbers) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        replica_id = replica.replica_id_in_sync_group if replica else 0
        # The examples seen since the figures were reset tell apart batches that share a step: those of evaluation, and
        # those of one update under gradient accumulation.
        return fold(self.seed, stream, self._seen["examples"].count, replica_id, *numbers)

    def _figures(self, losses: tf.Tensor, trace: Trace) -> dict[str, tf.Tensor]:
        """The logs by name, for each example, shape (batch,)."""
        figures = {"log_likelihood": trace.log_likelihood, "kl": trace.kl}
        if len(trace.latents) > 1:
            figures |= {f"kl_{name}": latent.kl for name, latent in trace.latents.items()}
        if self.discrete:
            nats_per_bit = trace.observed.shape[1:].num_elements() * tf.math.log(2.0)
            figures["bits_per_dim"] = (trace.kl - trace.log_likelihood) / nats_per_bit
        return {"loss": losses} | {name: tf.reduce_mean(values, axis=0) for name, values in figures.items()}

    def _mean(self, name: str) -> keras.metrics.Mean:
        return self._loss_tracker if name == "loss" else self._trackers[name]

    def _logs(self) -> dict:
        logs = self.get_metrics_result()
        if multi_worker(self.distribute_strategy):  # Keras averages the first axis over the workers
            logs = {name: tf.reshape(value, [1]) for name, value in logs.items()}
        return logs

    def _create_variables(self, to_train: bool) -> None:
        """Those that the first step would create, which it can not on a replica.

        Args:
            to_train: whether to ask the objective first if it can train the model.
        """
        with self.distribute_strategy.scope(), sampling(self.loss.samples, fold(0)):
            trace = self(self.example_inputs())
            if to_train:
                self.loss.check(trace)
            for name in self._figures(self.loss(trace), trace):
                self._mean(name)
            self._seen["examples"]
            self.optimizer.build(self.trainable_weights)

    def reset_metrics(self):
        """Begins the means anew, as Keras does at the start of each epoch and pass."""
        super().reset_metrics()
        self._seen["examples"].reset_state()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Means over the examples of an epoch: loss, log_likelihood, kl, ..."""
        return [*super().metrics, *self._trackers.values()]

    # --- scoring -----------------------------------------------------------------------------------------------------

    def tracer(self, x) -> Callable[[], Trace]:
        """A function that draws and returns a trace of `x` at each call.

        A subclass does here, once, what does not depend on the draws, such as encoding `x`.
        """
        return functools.partial(self, x, training=False)

    def importance_weights(self, x, num_samples, seed=0, rows: int = ROWS) -> tuple[tf.Tensor, tf.Tensor]:
        """Importance-sampled log p(x), and how many draws it rests on.

        log p(x) is estimated by log (1/K) sum_k w[k], w[k] = p(x, z[k]) / q(z[k] | x): a lower bound in expectation,
        that rises to log p(x) with K. `x` is encoded once; draws are made in chunks, so that memory does not grow with
        their number.

        Args:
            x: what `call` takes, shape (batch, *event).
            num_samples: K, an integer or an integer scalar tensor; under XLA an integer.
            seed: integer, integer scalar tensor or int32 of shape (2,).
            rows: examples x draws in one chunk, at most; at least one draw for each example is made.

        Returns:
            log_likelihood: nats, shape (batch,).
            effective_samples: (sum w)^2 / sum w^2, between 1 and K, shape (batch,).

        Reference: Burda et al. 2016, arXiv:1509.00519.
        """
        x = self._as_batch(x)
        first = tf.nest.flatten(x)[0]
        batch = first.shape[0] if first.shape[0] is not None and isinstance(num_samples, int) else tf.shape(first)[0]
        seed = fold(seed)
        chunks = -(-num_samples // _at_least_one(rows // _at_least_one(batch)))
        chunk = -(-num_samples // chunks)  # all of one size, but for draws beyond the last one
        draw_trace = self.tracer(x)

        def add_chunk(done, log_sum, log_sum_of_squares):
            with sampling(chunk, fold(seed, done)):
                log_weight = draw_trace().log_weight  # [chunk, batch]
            wanted = done + tf.range(chunk) < num_samples
            log_weight = tf.where(wanted[:, None], log_weight, -float("inf"))
            log_sum = tf.experimental.numpy.logaddexp(log_sum, tf.reduce_logsumexp(log_weight, axis=0))
            squares = tf.reduce_logsumexp(2 * log_weight, axis=0)
            return done + chunk, log_sum, tf.experimental.numpy.logaddexp(log_sum_of_squares, squares)

        nothing = tf.fill([batch], -float("inf"))
        _, log_sum, log_squares = tf.while_loop(
            lambda done, *_: done < num_samples, add_chunk, [tf.constant(0), nothing, nothing]
        )
        return log_sum - tf.math.log(tf.cast(num_samples, tf.float32)), tf.exp(2 * log_sum - log_squares)

    def example_inputs(self, x=None):
        """What `call` takes, of batch size 1: the observation `x`, shape (1, *event), or zeros, and zeros otherwise."""
        return tf.zeros([1, *self.event_shape]) if x is None else x

    def _as_batch(self, x) -> tf.Tensor:
        return tf.cast(tf.convert_to_tensor(x), tf.float32)

    def summary(self, *args, print_fn=None, **kwargs):
        """Prints Keras's table of layers, then the objective in words."""
        super().summary(*args, print_fn=print_fn, **kwargs)
        if self.compiled:
            (print_fn or print)(f" Objective: {self.loss.describe()}")


def load_model(path: str | os.PathLike) -> LatentVariableModel:
    """Loads a model that was saved by `model.save`, compiled as it was, to use it or to train on.

    Args:
        path: a `.keras` file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a file that does not hold a model of this package.
    """
    path = Path(path)
    needs = "load_model needs a .keras file that holds a keras_vae model."
    if not path.is_file():
        raise FileNotFoundError(f"{needs} Received: {path}, which is not a file.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{needs} Received: {path}, which is not in the .keras format.")
    with zipfile.ZipFile(path) as archive:
        if "config.json" not in archive.namelist():
            raise ValueError(f"{needs} Received: {path}, a zip file without a config.json.")
        config = json.loads(archive.read("config.json"))
    name = config.get("registered_name") or config.get("class_name")
    known = keras.saving.get_registered_object(name)
    if not (isinstance(known, type) and issubclass(known, LatentVariableModel)):
        raise ValueError(
            f"{needs} Received: {path}, which holds a {name}. If that is a model of your own, import its class first."
        )
    try:
        return keras.saving.load_model(path)
    except TypeError as error:  # Keras's has thousands of characters, with the reason among them
        missing = re.search(r"Could not locate class '([^']+)'", str(error))
        if missing is None:
            raise
        raise ValueError(
            "load_model needs each class of the file to be registered, with keras.saving.register_keras_serializable, "
            f"and imported. Received: {path}, which names {missing[1]}."
        ) from None


def _at_least_one(number):
    return max(number, 1) if isinstance(number, int) else tf.maximum(number, 1)
