"""The model in which nothing needs to be sampled: x = W z + mean + noise, all normal."""

import math

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions.base import Independent
from keras_vae.distributions.correlated import TriangularNormal
from keras_vae.distributions.normal import independent_normal
from keras_vae.distributions.supports import RealNumbers
from keras_vae.models.gaussian import (
    Moments,
    NormalAbout,
    condition,
    deviation,
    em_update,
    log_density,
    mean_log_prob,
    two_floats,
)
from keras_vae.models.inputs import Field, Inputs
from keras_vae.models.vae import UnconditionalModel
from keras_vae.sampling import within_sampling
from keras_vae.serving import Rows, Signatures

ROWS = 2**12  # rows of an array that are looked at together


class LinearGaussian(UnconditionalModel):
    """x = W z + mean + noise with z ~ N(0, I): what `ProbabilisticPCA` and `FactorAnalysis` share.

    The posterior p(z | x) is a normal with a full covariance, the same for all x: `call` draws from it, so that every
    draw has the importance weight p(x) itself and `ELBO` is log p(x) in expectation. All matrices that are inverted are
    of size latent_size x latent_size.

    Attributes:
        mean: weight, shape (*event).
        loadings: weight W, shape (*event, latent_size).
        noise_variance: weight, shape () or (*event), in squared units of the data; 0 before `fit`.

    The weights are float64, so that iterations go on after a reload where they stopped; all results are float32. `fit`,
    `encode` and `log_prob` take float64 data as they are, to the last digit, in arrays and batches alike; all other
    methods round data to float32, as Keras does.
    """

    noise_is_shared = False
    fitted_by = "expectation maximization, to a maximum of the likelihood"

    def __init__(self, latent_size: int, seed: int = 0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.latent_size = whole_number(self, "latent_size", latent_size)

    def build(self, input_shape):
        """Creates the weights, zeros, for data of shape (batch, *event)."""
        event_shape = tuple(input_shape[1:])
        size = math.prod(event_shape)
        if self.latent_size >= size:
            raise ValueError(
                f"{type(self).__name__} needs fewer latent variables than an observation has values. "
                f"Received: latent_size={self.latent_size} and data of shape {tuple(input_shape)}, with {size}."
            )
        options = {"initializer": "zeros", "dtype": "float64", "trainable": False, "autocast": False}
        self.mean = self.add_weight(shape=event_shape, name="mean", **options)
        self.loadings = self.add_weight(shape=(*event_shape, self.latent_size), name="loadings", **options)
        noise_shape = () if self.noise_is_shared else event_shape
        self.noise_variance = self.add_weight(shape=noise_shape, name="noise_variance", **options)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation, known once the model has seen one."""
        super()._require_built("event_shape")
        return tuple(self.mean.shape)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one z."""
        return (self.latent_size,)

    discrete = False
    latent_support = RealNumbers()

    @property
    def takes(self) -> Inputs:
        """One observation; the first data may have any shape."""
        return Inputs(Field(tuple(self.mean.shape) if self.built else None))

    # --- inference ---------------------------------------------------------------------------------------------------

    def encode(self, x) -> tfd.Distribution:
        """p(z | x) itself, a normal with one full covariance, batch shape (batch,), for x of shape (batch, *event)."""
        mean, loadings, variance = self._parameters("encode")
        scale, gain = condition(loadings, variance)
        centred = deviation(self._rows(x), mean)
        loc = tf.matmul(centred, tf.cast(gain, centred.dtype), transpose_b=True)  # [batch, latent]
        return TriangularNormal(tf.cast(loc, tf.float32), tf.cast(scale, tf.float32))

    def decode(self, z) -> tfd.Distribution:
        """p(x | z), batch shape (...), for z of shape (..., latent_size)."""
        mean, loadings, variance = self._parameters("decode")
        z = self._as_latent(z, self.latent_shape, self.latent_support)
        loc = tf.tensordot(z, tf.cast(loadings, tf.float32), [[-1], [1]])  # [..., size]
        shape = tf.concat([tf.shape(loc)[:-1], self.event_shape], axis=0)
        stddev = tf.cast(tf.sqrt(variance), tf.float32)
        parts = [tf.reshape(tf.broadcast_to(part, tf.shape(loc)), shape) for part in (loc, stddev, *two_floats(mean))]
        return Independent(NormalAbout(*parts), self.event_shape)

    def log_prob(self, x) -> tf.Tensor:
        """log p(x), exact, in nats, shape (batch,), for x of shape (batch, *event)."""
        mean, loadings, variance = self._parameters("log_prob")
        centred = tf.cast(self._rows(x), tf.float64) - mean
        return tf.cast(log_density(centred, loadings, variance), tf.float32)

    def prior_distribution(self) -> tfd.Distribution:
        """N(0, I)."""
        return independent_normal(tf.zeros([self.latent_size]), tf.ones([self.latent_size]), (self.latent_size,))

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`; the log-likelihood is exact, and needs neither samples nor a seed."""
        make = Signatures(self, Rows("z", self.latent_shape, self.latent_support), **limits)
        exact = make.by_rows("log_likelihood", lambda x: {"log_likelihood": self.log_prob(x)}, make.x)
        names = ("serving_default", "encode", "decode", "reconstruct", "generate", "sample")
        return make.of(*names) | {"log_likelihood": exact}

    def _rows(self, x) -> tf.Tensor:
        """Observations as rows, shape (batch, size), float64 where they are, else float32."""
        x = x if tf.is_tensor(x) else np.asarray(x)
        self.check_shape(x.shape)
        if tf.executing_eagerly() and not within_sampling():
            self.check_data(np.asarray(x))
        x = tf.convert_to_tensor(x)
        if tf.executing_eagerly() and not within_sampling():
            self._check_batch(self.takes, x)
        x = x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
        return tf.reshape(x, [-1, math.prod(self.event_shape)])

    def _parameters(self, method: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Mean (size,), loadings (size, latent) and noise variances (size,), float64."""
        self._require_built(method)
        mean = tf.reshape(self.mean, [-1])
        variance = tf.broadcast_to(tf.reshape(self.noise_variance, [-1]), tf.shape(mean))
        return mean, tf.reshape(self.loadings, [-1, self.latent_size]), variance

    # --- fitting -----------------------------------------------------------------------------------------------------

    def fit(
        self,
        x,
        y=None,
        batch_size=None,
        epochs=1000,
        verbose="auto",
        callbacks=None,
        validation_data=None,
        tolerance=1e-6,
    ):
        """Climbs to a maximum of the likelihood by expectation maximization; needs no `compile`.

        The data are read once, for their mean and covariance: (values of an observation)^2 numbers of 8 bytes, whatever
        the number of examples. A fitted model goes on from its weights, as Keras models do: 60 iterations are 25 and
        then 35.

        Args:
            x: array (examples, *event), or a finite `tf.data.Dataset` or `PyDataset` of batches.
            y: accepted and ignored.
            batch_size: rows of an array that are read together; None is 4096.
            epochs: iterations, at most; the log-likelihood never falls.
            verbose: 0 for no progress bar.
            callbacks: Keras callbacks that need no optimizer; each iteration is an epoch.
            validation_data: None, or data in the same forms.
            tolerance: nats per example; an iteration that gains less is the last one.

        Returns:
            `keras.callbacks.History` with log_likelihood, and val_log_likelihood: mean log p(x), nats per example,
            after each iteration.

        Raises:
            ValueError: for data of the wrong shape, with NaN, with fewer than latent_size + 2 examples, or without an
                upper bound of the likelihood.
        """
        epochs = whole_number(self, "epochs", epochs)
        moments = self._moments(x, "fit(x)", verbose, batch_size, at_least=self.latent_size + 2)
        start = self._parameters("fit")[1:] if self._fitted else self._start(moments)

        def update(*given):
            loadings, left_over = em_update(*given)
            return loadings, self._noise(left_over, moments)

        return self._iterate(update, start, moments, epochs, verbose, callbacks, validation_data, tolerance)

    def _start(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Loadings and noise variances that the first iteration starts from."""
        raise NotImplementedError

    def _noise(self, left_over, moments: Moments) -> tf.Tensor:
        """Noise variances, shape (size,), from the variance that the loadings leave in each value."""
        raise NotImplementedError

    def _iterate(self, update, start, moments, epochs, verbose, callbacks, validation_data, tolerance):
        """Repeats `update(covariance, loadings, variance)`, with the callbacks and the history of Keras."""
        covariances = {"log_likelihood": tf.constant(moments.covariance)}
        if validation_data is not None:
            held_out = self._moments(validation_data, "fit(validation_data=...)")
            covariances["val_log_likelihood"] = tf.constant(held_out.covariance_about(moments.mean))
        callbacks = keras.callbacks.CallbackList(callbacks, add_history=True, model=self, epochs=epochs, steps=1)
        bar = keras.utils.Progbar(
            epochs,
            verbose=1 if verbose == "auto" else verbose,
            unit_name="iteration",
            stateful_metrics=list(covariances),
        )
        loadings, variance = start
        before = float(mean_log_prob(covariances["log_likelihood"], loadings, variance))
        self.stop_training = False
        callbacks.on_train_begin()
        for epoch in range(epochs):
            callbacks.on_epoch_begin(epoch)
            loadings, variance = update(covariances["log_likelihood"], loadings, variance)
            self._assign(moments.mean, loadings, variance)
            logs = {name: float(mean_log_prob(given, loadings, variance)) for name, given in covariances.items()}
            callbacks.on_epoch_end(epoch, logs)
            last = self.stop_training or logs["log_likelihood"] - before < tolerance
            bar.update(epoch + 1, list(logs.items()), finalize=last or epoch + 1 == epochs)
            if last:
                break
            before = logs["log_likelihood"]
        callbacks.on_train_end()
        return self.history

    def _assign(self, mean, loadings, variance) -> None:
        self.mean.assign(np.reshape(mean, self.mean.shape))
        self.loadings.assign(np.reshape(loadings, self.loadings.shape))
        variance = variance[0] if self.noise_is_shared else np.reshape(variance, self.noise_variance.shape)
        self.noise_variance.assign(variance)

    def _moments(self, x, method: str, verbose=0, batch_size: int | None = None, at_least: int = 1) -> Moments:
        """The moments of all examples, `at_least` so many, after one pass in which each batch is checked."""
        found = self.look_at(method, x)
        x = found.batches if found.arrays is None else np.asarray(x)  # which has not been rounded to float32
        if found.first is None or (isinstance(x, tf.data.Dataset) and x.cardinality() == tf.data.INFINITE_CARDINALITY):
            raise ValueError(
                f"{type(self).__name__}.{method} needs an array, or a finite tf.data.Dataset or PyDataset of batches. "
                f"Received: {x!r}."
            )
        if hasattr(x, "epoch"):
            x.epoch.assign(0)  # binary draws of grey levels are those of the first epoch, at each call
        step, count = batch_size or ROWS, None
        if isinstance(x, np.ndarray):
            x = [x[start : start + step] for start in range(0, len(x), step)]
            verbose = 0
        elif isinstance(x, tf.data.Dataset) and x.cardinality() > 0:
            count = int(x.cardinality())
        bar = keras.utils.Progbar(count, verbose=1 if verbose == "auto" else verbose, unit_name="batch")
        moments = Moments(math.prod(self.event_shape))
        for number, batch in enumerate(x):
            rows, _, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
            if sample_weight is not None:
                raise ValueError(f"{type(self).__name__}.{method} has no sample weights. Received: batches with them.")
            rows = np.asarray(rows)
            self.check_data(rows)
            moments.add(rows.reshape(len(rows), -1))
            bar.update(number + 1)
        if moments.count < at_least:
            raise ValueError(
                f"{type(self).__name__}.{method} needs at least latent_size + 2 = {at_least} examples, for fewer leave "
                f"no noise. Received: {moments.count}."
            )
        return moments

    # --- the Keras side ----------------------------------------------------------------------------------------------

    def summary(self, *args, print_fn=None, **kwargs):
        """Prints Keras's table of weights, then how they are found."""
        keras.Model.summary(self, *args, print_fn=print_fn, **kwargs)
        (print_fn or print)(f" Fitted by {self.fitted_by}; fit needs no optimizer and no objective.")

    def train_step(self, data) -> dict:
        """Raises: `fit` is exact, and there is no weight for a gradient."""
        raise ValueError(f"{type(self).__name__} needs fit, which is exact. Received: a step along a gradient.")

    def check_shape(self, shape) -> None:
        """Raises `ValueError` for data of another shape than the data before; the first data may have any."""
        if self.built:
            super().check_shape(shape)

    def check_data(self, x) -> None:
        """Raises `ValueError` for an array (examples, *event) of the wrong shape, of no numbers, or not finite."""
        self.check_shape(x.shape)
        if x.dtype.kind not in "biuf":
            raise ValueError(f"{type(self).__name__} needs data that are numbers. Received: dtype {x.dtype}.")
        if not np.isfinite(x).all():
            bad = np.argwhere(~np.isfinite(x))
            raise ValueError(
                f"{type(self).__name__} needs finite data. Received: {len(bad)} that are NaN or infinite, the first at "
                f"index {tuple(bad[0].tolist())}."
            )

    @property
    def _fitted(self) -> bool:
        with tf.init_scope():  # outside of a graph that is being traced
            return self.built and bool(np.all(np.asarray(self.noise_variance) > 0))

    def _require_built(self, method: str) -> None:
        if not self._fitted:
            raise ValueError(
                f"{type(self).__name__}.{method} needs fit(x) first. Received: a model that has not seen any data."
            )

    def _require_compiled(self, method: str) -> None:
        self._require_built(method)
        if not self.compiled:  # there is nothing to choose: no optimizer is used, and the objective is exact
            self.compile()

    def _create_variables(self, to_train: bool) -> None:
        if self._fitted:
            super()._create_variables(to_train)
