"""Gradients from the probability of the draws, for discrete latent variables."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_vae.arguments import fraction, whole_number
from keras_vae.networks import by_rows
from keras_vae.objectives.base import Objective, in_training, needs_likelihood, with_gradient_of
from keras_vae.objectives.importance import log_mean
from keras_vae.sampling import StoppedPath, mean_of_examples
from keras_vae.serializable import Serializable
from keras_vae.trace import Signal, Trace


def log_scored(trace: Trace) -> tf.Tensor:
    """log q, at the draws, of all latent variables whose draws carry no gradient, nats, shape (samples, batch).

    Those that are reparameterized get their gradient along their path, with far less noise.
    """
    scored = [latent.log_posterior for latent in trace.latents.values() if latent.needs_score]
    return sum(scored, tf.zeros_like(trace.log_likelihood))


class MovingAverageBaseline(Serializable, keras.layers.Layer):
    """Baseline of `ScoreFunction`: its signal is centred by a moving mean and divided by a moving deviation above 1.

    Args:
        decay: of the averages, in [0, 1).

    Reference: Mnih & Gregor 2014, arXiv:1402.0030.
    """

    def __init__(self, decay: float = 0.8, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.decay = fraction(self, "decay", decay)

    def build(self, seen_shape):
        options = {"shape": (), "trainable": False, "dtype": "float32", "aggregation": "mean", "autocast": False}
        self.mean = self.add_weight(initializer="zeros", name="mean", **options)
        self.variance = self.add_weight(initializer="ones", name="variance", **options)

    def call(self, seen) -> tf.Tensor:
        """What is expected of the signal of each example, nats, shape (batch,), for what is seen of it."""
        return tf.fill([tf.shape(tf.nest.flatten(seen)[0])[0]], tf.convert_to_tensor(self.mean))

    def scale(self) -> tf.Tensor:
        """What the centred signal is divided by, a scalar of 1 or more."""
        return tf.maximum(1.0, tf.sqrt(tf.convert_to_tensor(self.variance)))

    def update(self, rest: tf.Tensor) -> None:
        """Takes what was left of a batch's signals, shape (samples, batch), into the averages."""
        rest = tf.stop_gradient(rest)
        mean = mean_of_examples(rest)
        variance = mean_of_examples((rest - mean) ** 2)
        self.mean.assign_add((1 - self.decay) * mean)
        self.variance.assign(self.decay * self.variance + (1 - self.decay) * variance)


class LearnedBaseline(MovingAverageBaseline):
    """A `MovingAverageBaseline` and a network that learns, by least squares, what to expect of each example (NVIL).

    Args:
        network: from what is seen of an example, the `seen` of the trace, to features; a dense unit follows. That is
            the data, shape (batch, *event), unless a model says more: a tensor, or a sequence of several.
        decay: of the averages, in [0, 1).

    Reference: Mnih & Gregor 2014, arXiv:1402.0030.
    """

    def __init__(self, network: keras.layers.Layer, decay: float = 0.8, **kwargs):
        super().__init__(decay, **kwargs)
        self.network = network

    def build(self, seen_shape):
        super().build(seen_shape)
        several = isinstance(seen_shape[0], Sequence)
        inputs = [keras.KerasTensor(tuple(shape)) for shape in (seen_shape if several else [seen_shape])]
        self.head = keras.layers.Dense(1, dtype="float32", name="expected")
        self.head.build(self.network(inputs if several else inputs[0]).shape)

    def call(self, seen) -> tf.Tensor:
        return super().call(seen) + self.head(tf.cast(self.network(seen), tf.float32))[:, 0]


class ScoreFunction(Objective):
    """The negative ELBO, for posteriors of any kind, by the score-function gradient (REINFORCE).

    d/dphi E log w = E[(log w - b(x)) d log q(z | x)], w = p(x, z) / q(z | x): the draws need no gradient, and the
    baseline b takes noise away. It also divides the signal by its deviation where that is above 1. Latent variables
    whose draws carry gradients keep those, and have no part in log q.

    Args:
        samples: draws from the posterior per example, 1 or more.
        baseline: None, `MovingAverageBaseline()`, or `LearnedBaseline(network)` (NVIL).

    Reference: Williams 1992 (REINFORCE); Mnih & Gregor 2014, arXiv:1402.0030 (NVIL).
    """

    path = StoppedPath

    def __init__(self, samples: int = 1, baseline: MovingAverageBaseline | None = None):
        self.samples = whole_number(self, "samples", samples)
        if not (baseline is None or isinstance(baseline, MovingAverageBaseline)):
            raise TypeError(
                "ScoreFunction needs baseline to be MovingAverageBaseline() or LearnedBaseline(network). "
                f"Received: baseline={baseline!r}."
            )
        self.baseline = baseline

    @property
    def groups(self) -> dict[str, Sequence[keras.layers.Layer]]:
        """The baseline, if there is one: it may have an optimizer of its own."""
        return {} if self.baseline is None else {"baseline": [self.baseline]}

    def __call__(self, trace: Trace) -> tf.Tensor:
        log_weight, log_q = trace.log_weight, log_scored(trace)
        signal, fit = tf.stop_gradient(log_weight), tf.zeros([])
        if self.baseline is not None:
            expected = self.baseline(trace.seen)  # [batch]
            rest = signal - expected
            fit = 0.5 * rest**2  # its gradient trains a network, and nothing else
            signal = tf.stop_gradient(rest / self.baseline.scale())
            if in_training():
                self.baseline.update(rest)
        log_joint = log_weight + log_q  # without log q, whose gradient has mean zero, and noise
        surrogate = signal * log_q + log_joint
        return tf.reduce_mean(with_gradient_of(-log_weight, fit - surrogate), axis=0)

    def check(self, trace: Trace) -> None:
        """Any posterior will do."""
        needs_likelihood(self, trace)


class NVIL(ScoreFunction):
    """`ScoreFunction` with a signal of its own for each latent variable, where the model says it (local signals).

    The signal of a draw is what of the bound depends on it: what was decided before it is left out, and with that the
    noise. The bound has each KL in closed form where there is one. The baseline expects a signal by what the model
    says is known before the draw.

    Args:
        samples: draws from the posterior per example, 1 or more.
        baseline: None, `MovingAverageBaseline()`, or `LearnedBaseline(network)`, a network from features; one for all
            latent variables.

    Reference: Mnih & Gregor 2014, arXiv:1402.0030.
    """

    def __call__(self, trace: Trace) -> tf.Tensor:
        bound = trace.log_likelihood - trace.kl  # [samples, batch]
        signals = self._signals(trace)
        if not signals:  # in evaluation of a model whose draws all carry gradients
            return -tf.reduce_mean(bound, axis=0)
        latents = [trace.latents[name] for name in signals]
        log_q = tf.stack([latent.log_posterior for latent in latents])  # [signals, samples, batch]
        signal, fit = tf.stop_gradient(tf.stack([each.gain for each in signals.values()])), tf.zeros([])
        if self.baseline is not None:
            there = tf.stack([tf.ones_like(bound) if each.present is None else each.present for each in latents])
            seen = tf.stop_gradient(tf.stack([each.seen for each in signals.values()]))
            rest = tf.stop_gradient(there) * (signal - by_rows(self.baseline, seen))
            fit = 0.5 * tf.reduce_sum(rest**2, axis=0)
            signal = tf.stop_gradient(rest / self.baseline.scale())
            if in_training():
                self.baseline.update(tf.reshape(rest, [-1, rest.shape[-1] or tf.shape(rest)[-1]]))
        surrogate = bound + tf.reduce_sum(signal * log_q, axis=0)
        return tf.reduce_mean(with_gradient_of(-bound, fit - surrogate), axis=0)

    @staticmethod
    def _signals(trace: Trace) -> dict[str, Signal]:
        """Those of the latent variables whose draws carry no gradient."""
        signals = trace.signals() if trace.signals is not None else {}
        return {name: signal for name, signal in signals.items() if trace.latents[name].needs_score}

    def check(self, trace: Trace) -> None:
        """Refuses models that do not say what a draw is to be credited with."""
        super().check(trace)
        scored = {name for name, latent in trace.latents.items() if latent.needs_score}
        missing = scored - set(self._signals(trace))
        if missing:
            raise TypeError(
                "NVIL needs a model whose trace has a signal for each latent variable whose draws carry no gradient, "
                f"such as AIR. Received: one without that of {', '.join(sorted(missing))}. Use ScoreFunction."
            )


class VIMCO(Objective):
    """The bound of `IWAE`, for posteriors of any kind: each draw's signal is what it adds to the bound of the others.

    signal[j] = L - log (1/K) (sum_{i != j} w[i] + exp mean_{i != j} log w[i]), and the gradient is
    sum_j signal[j] d log q(z[j] | x) + sum_j w~[j] d log w[j]: no baseline is learned. Latent variables whose draws
    carry gradients keep those, and have no part in log q.

    Args:
        samples: K, 2 or more.

    Reference: Mnih & Rezende 2016, arXiv:1602.06725.
    """

    path = StoppedPath

    def __init__(self, samples: int = 5):
        self.samples = whole_number(self, "samples", samples, least=2)

    def __call__(self, trace: Trace) -> tf.Tensor:
        log_weight = trace.log_weight  # [samples, batch]
        count = log_weight.shape[0]
        bound = log_mean(log_weight)
        same = tf.eye(count, dtype=tf.bool)[:, :, None]
        others = tf.where(same, 0.0, log_weight[:, None])  # [i, j, batch]; no difference, for log w may be -inf
        mean_of_others = tf.reduce_sum(others, axis=0) / (count - 1)  # [j, batch]
        without = log_mean(tf.where(same, mean_of_others[None], log_weight[:, None]))  # of draw j: [j, batch]
        # A draw whose gain has no finite size, for all others weigh nothing, gets no signal.
        signal = tf.stop_gradient(tf.where(tf.math.is_finite(without), bound - without, 0.0))
        share = tf.stop_gradient(tf.nn.softmax(log_weight, axis=0))
        counted = tf.where(share > 0, log_weight, 0.0)
        surrogate = tf.reduce_sum(signal * log_scored(trace) + share * counted, axis=0)
        return with_gradient_of(-bound, -surrogate)

    def check(self, trace: Trace) -> None:
        """Any posterior will do; refuses models without latent variables, which have nothing to draw."""
        needs_likelihood(self, trace)
        if not trace.latents:
            raise TypeError("VIMCO needs a model with latent variables. Received: one without, such as Autoencoder.")
