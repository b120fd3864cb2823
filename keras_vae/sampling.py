"""Randomness as an input: how many draws a model makes, and from which seed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.noise import fold
from keras_vae.trace import Draw, draw_from, is_reparameterized

ROWS = 2**12  # examples x draws that are decoded together: more do not fit into the caches of a CPU


class Sampler:
    """Says how many draws are made and hands out one seed for each random variable.

    Args:
        samples: draws per example, an integer or an integer scalar tensor; None draws once and opens no sample axis.
        seed: int32 tensor of shape (2,), or None for noise that differs at each call (and follows
            `keras.utils.set_random_seed`).
        path: what makes an object that takes a draw and returns what the model uses in its place, such as the class
            `StoppedPath`; None is the draw itself.
        weights: of the examples of the batch, shape (batch,), for what is computed of all of them together; None is 1
            for each.
        given: None, or values that stand in the place of the draws, in the order in which the model makes them, each
            of shape (samples, batch, *event).

    Attributes:
        made: the values of the draws so far, in that order.
    """

    def __init__(
        self,
        samples=1,
        seed: tf.Tensor | None = None,
        path: Callable | None = None,
        weights=None,
        given: Sequence[tf.Tensor] | None = None,
    ):
        self.samples = samples
        self.seed = seed
        self.path = path
        self.weights = weights
        self.given = given
        self.made: list[tf.Tensor] = []
        self.drawn = 0

    def next_seed(self) -> tf.Tensor:
        """A seed, int32 of shape (2,), that no other random variable of this pass gets."""
        if self.seed is None:
            return tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        self.drawn += 1
        return fold(self.seed, self.drawn)

    def draw(self, posterior: tfd.Distribution, sample_shape: Sequence) -> Draw:
        """A draw from a posterior, or what is given in its place."""
        seed = self.next_seed()  # one for each draw, given or not
        drawn = draw_from(posterior, sample_shape, seed) if self.given is None else Draw(self.given[len(self.made)])
        self.made.append(drawn.value)
        return drawn

    def path_of(self, posterior: tfd.Distribution):
        """What draws of this posterior go through on their way to the model, or None."""
        path = None if self.path is None else self.path()
        return path if path is not None and path.wanted(posterior) else None


# A context variable and not an attribute of the model: replicas of a distribution strategy run in threads of their own.
_current: ContextVar[Sampler | None] = ContextVar("sampler", default=None)


def current_sampler() -> Sampler:
    """The sampler of the innermost `sampling` block; one draw of fresh noise outside of any."""
    return _current.get() or Sampler()


def within_sampling() -> bool:
    """Whether a `sampling` block is open: what is inside of it is a step, whose data were looked at before."""
    return _current.get() is not None


@contextmanager
def sampling(
    samples=1, seed: tf.Tensor | None = None, path: Callable | None = None, weights=None, given=None
) -> Iterator[Sampler]:
    """Sets the number of draws and the seed of every model called inside the block; see `Sampler`."""
    with _as_current(Sampler(samples, seed, path, weights, given)) as sampler:
        yield sampler


@contextmanager
def iteration(number, seed: tf.Tensor | None = None) -> Iterator[Sampler]:
    """For the body of a loop: inside the block the seeds are those of iteration `number`.

    The body of `tf.while_loop` and `tf.scan` is traced once: without this, all iterations would draw the same noise.

    Args:
        number: of the iteration, an integer or an integer scalar tensor.
        seed: None, or that of the loop, which `current_sampler().next_seed()` has given before it: then a loop that
            runs eagerly draws what it draws in a graph.

    Raises:
        TypeError: where values stand in the place of draws, or an objective weights their gradient afterwards.
    """
    outer = current_sampler()
    if outer.given is not None:
        raise TypeError(
            "Values that stand in the place of draws need a model that draws outside of loops. "
            "Received: a draw inside of an `iteration` block."
        )
    if outer.path is WeightedPath:
        raise TypeError(
            "Draws whose gradient is weighted afterwards need a model that draws outside of loops: train it with IWAE "
            "in the place of DoublyReparameterized. Received: a draw inside of an `iteration` block."
        )
    seed = fold(outer.next_seed() if seed is None else seed, number)
    with _as_current(Sampler(outer.samples, seed, outer.path, outer.weights)) as sampler:
        yield sampler


@contextmanager
def _as_current(sampler: Sampler) -> Iterator[Sampler]:
    token = _current.set(sampler)
    try:
        yield sampler
    finally:
        _current.reset(token)


def example_weights(tensor: tf.Tensor, axis: int) -> tf.Tensor:
    """Weights of the examples along an axis of a tensor, shape (batch,); 1 where the step has none."""
    weights = current_sampler().weights
    return tf.ones([tf.shape(tensor)[axis]]) if weights is None else weights


def mean_of_examples(values: tf.Tensor) -> tf.Tensor:
    """Mean over the draws and the examples of a batch, by their weights, of values of shape (samples, batch)."""
    weights = current_sampler().weights
    if weights is None:
        return tf.reduce_mean(values)
    return tf.math.divide_no_nan(tf.reduce_sum(tf.reduce_mean(values, axis=0) * weights), tf.reduce_sum(weights))


class Path:
    """What draws go through on their way to the model; a subclass says for which posteriors, by `wanted`."""

    def drawn_from(self, posterior: tfd.Distribution) -> tfd.Distribution:
        """What is drawn from in the place of a posterior: itself, unless a subclass says otherwise."""
        return posterior


class StoppedPath(Path):
    """Draws that carry no gradient: what a score-function estimator differentiates is their probability alone."""

    @staticmethod
    def wanted(posterior: tfd.Distribution) -> bool:
        """For draws that carry no gradient of their own; others keep their path."""
        return not is_reparameterized(posterior)

    def __call__(self, value: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(value)


class RelaxedPath(Path):
    """Binary draws in whose place are continuous ones, that carry gradients: see `RelaxedELBO`.

    Args:
        temperature: more than 0; at 0 they would be the binary draws of the same noise.
    """

    def __init__(self, temperature: float):
        self.temperature = temperature

    @staticmethod
    def wanted(posterior: tfd.Distribution) -> bool:
        """For independent binary variables; others keep their path."""
        return hasattr(getattr(posterior, "distribution", None), "relaxed")

    def drawn_from(self, posterior: tfd.Distribution) -> tfd.Distribution:
        """Its draws are continuous; its probabilities, and so its KL, are those of the binary variables."""
        return posterior.copy(distribution=posterior.distribution.relaxed(self.temperature))

    def __call__(self, value: tf.Tensor) -> tf.Tensor:
        return value


class WeightedPath(Path):
    """Draws whose gradient, on its way back to the parameters of their posterior, is multiplied by `factor`.

    Attributes:
        factor: shape (samples, batch), set by the objective, which knows it only after the draws have been used.
    """

    def __init__(self):
        self.factor = None

    @staticmethod
    def wanted(posterior: tfd.Distribution) -> bool:
        """For all draws."""
        return True

    def __call__(self, value: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient
        def passed_on(value):
            def gradient(upstream):
                axes = [1] * (len(value.shape) - 2)
                return upstream * tf.reshape(self.factor, tf.concat([tf.shape(value)[:2], axes], axis=0))

            return tf.identity(value), gradient

        return passed_on(value)
