"""Structured object-aware video prediction: objects in frames, and how they move."""

import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import positive, whole_number
from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.base import dimensions
from keras_vae.distributions.normal import independent_normal
from keras_vae.distributions.supports import RealNumbers
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.models.base import LatentVariableModel
from keras_vae.models.inputs import Field, Inputs
from keras_vae.models.single_latent import build_layers, check_parts
from keras_vae.networks.matching import best_assignment
from keras_vae.networks.rows import by_rows
from keras_vae.noise import DATA, fold
from keras_vae.sampling import current_sampler, iteration
from keras_vae.serving import Rows, Signatures
from keras_vae.trace import Latent, Trace

BOX = 4  # numbers of a state that say where an object is: half width, height / width, x, y
SEEN = 6  # those that frames say something about: the box, and the velocity
FASTEST = 0.1  # standard deviation of the velocity in the first frame
FASTER = 10.0  # factor by which the dynamics see velocities, which are small
GENTLE = 0.1  # factor of what the dynamics change


class STOVE(LatentVariableModel):
    """p(x, z) = p(z[1]) product over t > 1 of p(z[t] | z[t-1]), times the product over t of p(x[t] | z[t]).

    The state z[t] has for each object, shape (objects, 6 + hidden_size): half the width of its box, height / width, the
    middle (x, y), the velocity (x, y), which is the way for a frame, and hidden values. Places are in the frame of the
    image, whose edges are at -1 and 1, x to the right and y downwards.

    - Dynamics: p(z[t] | z[t-1]) = N(loc(z[t-1]), transition_scale^2). The size stays, the place moves by the velocity
      plus 0.1 m, the velocity changes by 0.1 m', and the hidden values are tanh(m''), where m, m', m'' are told by a
      graph network: with m = m' = 0 objects go straight on.
    - Filter: q(z[t] | z[t-1], x[1..t]) is the product of two normals: what the frame says, boxes, whose difference to
      those of the frame before is a velocity; and what the dynamics say, N(loc(z[t-1]), s^2), where s is told by the
      graph network too. Objects of the frame are put in the order in which they are nearest to where the dynamics
      expect them. Hidden values are what the dynamics say.
    - In the first frame the boxes have the `prior`, velocities N(0, 0.1^2), hidden values N(0, transition_scale^2);
      there q takes the velocity from the second frame.

    The loss of `ELBO` is a bound of -log p(x) in nats per clip; its KL is in closed form given the states before. The
    paper's image model is a sum-product network; any layer of images given boxes has its place here, such as
    `PatchImages`. Train posterior and likelihood first, as a `VAE` of single frames: see examples/stove.py.

    Args:
        posterior: q(boxes | frame), a layer of event shape (objects, 4) given a frame, such as
            `ObjectBoxes(3, ObjectEncoder(3))`. It has at most 7 objects.
        dynamics: a network from states (batch, objects, 6 + hidden_size) to features (batch, objects, features), such
            as `GraphNetwork()`. Dense layers make loc and s of them.
        likelihood: p(frame | boxes), a layer of event shape (height, width, channels), such as `PatchImages`.
        prior: p(boxes) in the first frame, a layer of event shape (objects, 4), such as `ObjectBoxes(3)`.
        frames: of a clip, 2 or more.
        hidden_size: hidden values of an object, 1 or more.
        transition_scale: standard deviation of p(z[t] | z[t-1]).
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for layers that are no distribution layers.
        ValueError: for layers whose event shapes do not fit, and numbers out of their range.

    Example:

    >>> stove = kv.STOVE(
    ...     posterior=kv.ObjectBoxes(3, kv.ObjectEncoder(3)),
    ...     dynamics=kv.GraphNetwork(),
    ...     likelihood=kv.PatchImages((32, 32, 1)),
    ...     prior=kv.ObjectBoxes(3),
    ... )

    Reference: Kossen et al. 2020, arXiv:1910.02425.
    """

    def __init__(
        self,
        posterior: DistributionLayer,
        dynamics: keras.layers.Layer,
        likelihood: DistributionLayer,
        prior: DistributionLayer,
        frames: int = 8,
        hidden_size: int = 12,
        transition_scale: float = 0.01,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        check_parts(self, posterior=posterior, likelihood=likelihood, prior=prior)
        title = type(self).__name__
        if len(posterior.event_shape) != 2 or posterior.event_shape[1] != BOX:
            raise ValueError(
                f"{title} needs a posterior of event shape (objects, {BOX}). Received: {posterior.event_shape}."
            )
        if len(likelihood.event_shape) != 3:
            raise ValueError(
                f"{title} needs a likelihood of event shape (height, width, channels), of one frame. "
                f"Received: {likelihood.event_shape}."
            )
        self.posterior = posterior
        self.dynamics = dynamics
        self.likelihood = likelihood
        self.prior = prior
        self.frames = whole_number(self, "frames", frames, least=2)
        self.hidden_size = whole_number(self, "hidden_size", hidden_size)
        self.transition_scale = positive(self, "transition_scale", transition_scale)

    @property
    def takes(self) -> Inputs:
        """Clips, shape (batch, frames, height, width, channels)."""
        return Inputs(Field((self.frames, *self.likelihood.event_shape), words="clips"))

    def _check_field(self, field: Field, array) -> None:
        super()._check_field(field, array)
        if self.likelihood.other_units is not None:
            self.likelihood.other_units.check(type(self).__name__, array, field.words)

    @property
    def state_shape(self) -> tuple[int, int]:
        """Of z[t]: (objects, 6 + hidden_size)."""
        return self.posterior.event_shape[0], SEEN + self.hidden_size

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Of z: (frames, objects, 6 + hidden_size)."""
        return self.frames, *self.state_shape

    def build(self, input_shape):
        """Creates the weights for clips of shape (batch, frames, height, width, channels)."""
        self.check_shape(input_shape)
        objects = self.state_shape[0]
        build_layers(
            {
                self.posterior: (None, *self.likelihood.event_shape),
                self.likelihood: (None, objects, BOX),
                self.prior: None,
            }
        )
        features = self.dynamics(keras.KerasTensor((None, *self.state_shape)))
        small = keras.initializers.RandomNormal(stddev=0.01)
        self.changes = keras.layers.Dense(
            SEEN - 2 + self.hidden_size, kernel_initializer=small, dtype="float32", name="changes"
        )
        self.doubts = keras.layers.Dense(self.state_shape[1], kernel_initializer=small, dtype="float32", name="doubts")
        for head in (self.changes, self.doubts):
            head.build(tuple(features.shape))

    # --- how states move ---------------------------------------------------------------------------------------------

    def expected(self, states) -> tuple[tf.Tensor, tf.Tensor]:
        """What the dynamics say of the next states: loc of p(z[t] | z[t-1]), and their scale s in the filter.

        Args:
            states: z[t-1], shape (..., objects, 6 + hidden_size).

        Returns:
            Two tensors of the same shape.
        """
        size, place, velocity, hidden = tf.split(states, [2, 2, 2, self.hidden_size], axis=-1)
        seen = tf.concat([size, place, FASTER * velocity, hidden], axis=-1)
        features = tf.cast(by_rows(self.dynamics, seen, axes=2), tf.float32)
        moved, pushed, told = tf.split(self.changes(features), [2, 2, self.hidden_size], axis=-1)
        loc = [size, place + velocity + GENTLE * moved, velocity + GENTLE * pushed, tf.tanh(told)]
        return tf.concat(loc, axis=-1), self.transition_scale * tf.math.softplus(self.doubts(features) + 2)

    def _chosen(self, choose: Callable, number, loc, scale) -> tf.Tensor:
        """The state in frame `number`: what `choose` makes of the number and the normal of these moments."""
        z = choose(number, independent_normal(loc, scale, self.state_shape))
        return tf.ensure_shape(z, loc.shape)  # in the loop XLA has to know all shapes

    def _transition_scales(self, like: tf.Tensor) -> tf.Tensor:
        return self.transition_scale * tf.ones_like(like)

    def _first_prior(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Location and scale of p(z[1]), shape (objects, 6 + hidden_size)."""
        boxes = self.prior()
        numbers = [FASTEST] * 2 + [self.transition_scale] * self.hidden_size
        others = tf.tile([numbers], [self.state_shape[0], 1])
        loc = tf.concat([boxes.mean(), tf.zeros_like(others)], axis=-1)
        return loc, tf.concat([boxes.stddev(), others], axis=-1)

    # --- what frames say of them -------------------------------------------------------------------------------------

    def _filter(self, boxes: tuple[tf.Tensor, tf.Tensor], choose: Callable) -> tuple[tf.Tensor, ...]:
        """The states of all frames.

        Args:
            boxes: what each frame says, location and scale, shape (..., time, objects, 4); 2 frames or more.
            choose: from the number of a frame and q(z[t] | z[t-1], x) to z[t]; see `_chosen`.

        Returns:
            z, location and scale of q, and location and scale of p, all of shape (..., time, objects, state).
        """
        loc, scale = map(_time_first, boxes)
        order = best_assignment(_squared_distances(loc[0][..., 2:], loc[1][..., 2:]))
        velocity = _difference(_ordered(order, loc[1], scale[1]), (loc[0], scale[0]))
        prior = [tf.broadcast_to(each, [*dimensions(loc)[1:-1], self.state_shape[1]]) for each in self._first_prior()]
        hidden = prior[0][..., SEEN:], prior[1][..., SEEN:]
        parts = zip((loc[0], scale[0]), velocity, hidden, strict=True)
        posterior = [tf.concat(part, axis=-1) for part in parts]
        first = (self._chosen(choose, 0, *posterior), *posterior, *prior, loc[0], scale[0])

        def step(before, given):
            number, *frame = given
            z, *_, loc_before, scale_before = before
            expected = self.expected(z)
            order = best_assignment(_squared_distances(expected[0][..., 2:BOX], frame[0][..., 2:]))
            frame = _ordered(order, *frame)
            velocity = _difference(frame, (loc_before, scale_before))
            said = [tf.concat(part, axis=-1) for part in zip(frame, velocity, strict=True)]
            loc, scale = product_of_normals(*said, *(each[..., :SEEN] for each in expected))
            posterior = [
                tf.concat([seen, each[..., SEEN:]], axis=-1) for seen, each in zip((loc, scale), expected, strict=True)
            ]
            z = self._chosen(choose, number, *posterior)
            return z, *posterior, expected[0], self._transition_scales(z), *frame

        given = tf.range(1, dimensions(loc)[0]), loc[1:], scale[1:]
        later = tf.scan(step, given, first)
        states = [tf.concat([one[tf.newaxis], rest], axis=0) for one, rest in zip(first[:5], later[:5], strict=True)]
        return tuple(map(_time_last, states))

    def _boxes_of(self, frames) -> tuple[tf.Tensor, tf.Tensor]:
        """What each frame says, location and scale, shape (batch, time, objects, 4)."""
        said = self.posterior(self.likelihood.standardized(frames))
        return said.mean(), said.stddev()

    def call(self, inputs, training=None) -> Trace:
        """Filters the states of clips, shape (batch, frames, height, width, channels), and returns the trace."""
        return self.tracer(inputs)()

    def tracer(self, x) -> Callable[[], Trace]:
        """A function that draws the states and returns the trace; the clips are encoded here."""
        x = self._as_batch(x)
        boxes = self._boxes_of(x)

        def draw_trace():
            seed = current_sampler().next_seed()  # of the loop

            def draw(number, posterior):
                with iteration(number, seed):
                    return self.draw(posterior, posterior, opens=False).value  # the prior is told to the trace below

            z, *moments = self._filter(tuple(map(self.open_samples, boxes)), draw)
            posterior, prior = (independent_normal(*pair, self.latent_shape) for pair in (moments[:2], moments[2:]))
            return Trace(x, self._images(z), {"z": Latent(z, posterior, prior)})

        return draw_trace

    def _images(self, states: tf.Tensor) -> tfd.Distribution:
        """p(x | z) of states of shape (..., time, objects, state); time belongs to the event."""
        return tfd.Independent(self.likelihood(states[..., :BOX]), 1)

    def encode(self, x) -> tfd.Distribution:
        """q of the states of clips, those of the frames before at their means; batch shape (batch,)."""
        _, loc, scale, *_ = self._filter(self._boxes_of(self._as_batch(x)), _mean)
        return independent_normal(loc, scale, self.latent_shape)

    def decode(self, z) -> tfd.Distribution:
        """p(x | z), batch shape (...), for states of shape (..., frames, objects, 6 + hidden_size)."""
        return self._images(self._as_latent(z, self.latent_shape, RealNumbers()))

    def reconstruct(self, x) -> tf.Tensor:
        """Mean of p(x | z) at the means of the filter, shape (batch, frames, height, width, channels)."""
        return self.decode(self.encode(x).mean()).mean()

    # --- what comes next ---------------------------------------------------------------------------------------------

    def rollout(self, frames, steps: int, seed=None, temperature=0.0) -> tuple[tf.Tensor, tf.Tensor]:
        """What comes after the frames of clips, and the states it is of.

        Args:
            frames: shape (batch, time, height, width, channels), of 2 frames or more, as many as there are.
            steps: number of frames to predict, 1 or more.
            seed: None for fresh noise; an integer or int32 of shape (2,) for the same each time. At temperature 0 there
                is no noise.
            temperature: what the noise of the filter and of the dynamics is multiplied by: 0 goes on at the means, 1
                draws.

        Returns:
            frames: means of p(x[t] | z[t]), shape (batch, steps, height, width, channels).
            states: z[t], shape (batch, steps, objects, 6 + hidden_size); places are `states[..., 2:4]`, velocities
                `states[..., 4:6]`.

        Raises:
            ValueError: for a model without weights, frames of another shape or not finite, and numbers out of range.
        """
        title = f"{type(self).__name__}.rollout"
        self._require_built("rollout")
        steps = whole_number(title, "steps", steps)
        seed, temperature = self._as_seed(seed), self._as_temperature(temperature)
        frames = self._as_frames(title, frames)
        return self._predict(frames, steps, seed, temperature)

    @functools.cached_property
    def _predict(self) -> Callable:
        """`_predicted` as a graph, one for each number of steps: hundreds of them one by one would take a minute."""
        return tf.function(self._predicted, autograph=False)

    def _predicted(self, frames, steps: int, seed, temperature) -> tuple[tf.Tensor, tf.Tensor]:
        def choose(number, distribution):
            return tempered_draws(distribution, [], fold(seed, number), temperature)

        def choose_later(number, distribution):
            return choose(dimensions(frames)[1] + number, distribution)

        z = self._filter(self._boxes_of(frames), choose)[0]  # [batch, time, objects, state]
        states = self._onwards(z[:, -1], steps, choose_later)
        return self._images(states).mean(), states

    def filtered(self, frames) -> tf.Tensor:
        """The states of frames, at the means of the filter, shape (batch, time, objects, 6 + hidden_size).

        Args:
            frames: shape (batch, time, height, width, channels), of 2 frames or more, as many as there are; places are
                `states[..., 2:4]`, velocities `states[..., 4:6]`.

        Raises:
            ValueError: for a model without weights, and frames of another shape or not finite.
        """
        self._require_built("filtered")
        frames = self._as_frames(f"{type(self).__name__}.filtered", frames)
        return self._filter(self._boxes_of(frames), _mean)[0]

    def _as_frames(self, title: str, frames) -> tf.Tensor:
        frames = Field((None, *self.likelihood.event_shape), words="frames").tensor(title, frames)
        if frames.shape[1] is not None and frames.shape[1] < 2:
            raise ValueError(f"{title} needs 2 frames or more, for velocities. Received: {frames.shape[1]}.")
        if tf.executing_eagerly() and not tf.reduce_all(tf.math.is_finite(frames)):
            raise ValueError(f"{title} needs finite frames. Received: NaN or infinity.")
        return frames

    def _onwards(self, state: tf.Tensor, steps: int, choose: Callable) -> tf.Tensor:
        """The states after one of shape (..., objects, state), shape (..., steps, objects, state)."""

        def step(z, number):
            loc, _ = self.expected(z)
            return self._chosen(choose, number, loc, self._transition_scales(loc))

        return _time_last(tf.scan(step, tf.range(steps), state))

    def sample_prior(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws of the states of `frames` frames, shape (count, frames, objects, 6 + hidden_size).

        Args:
            count: number of draws, 0 or more, an integer or an integer scalar tensor.
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: what the distance of each draw to its mean is multiplied by.
        """
        self._require_built("generate")
        count, seed, temperature = self._checked_count(count), self._as_seed(seed), self._as_temperature(temperature)

        def choose(number, distribution, shape=()):
            return tempered_draws(distribution, list(shape), fold(seed, number), temperature)

        first = choose(
            0, independent_normal(*self._first_prior(), self.state_shape), [count]
        )  # [count, objects, state]
        later = self._onwards(first, self.frames - 1, lambda number, each: choose(number + 1, each))
        return tf.concat([first[:, tf.newaxis], later], axis=1)

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x | z) for states drawn by `sample_prior`, shape (count, frames, height, width, channels)."""
        return self.decode(self.sample_prior(count, seed, temperature)).mean()

    def sample(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(x | z) for states drawn by `sample_prior`, shape (count, frames, height, width, channels)."""
        seed = self._as_seed(seed)
        return self.decode(self.sample_prior(count, seed, temperature)).sample(seed=fold(seed, DATA))

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`; `z` are the states of clips."""
        make = Signatures(self, Rows("z", self.latent_shape, RealNumbers()), **limits)
        return make.of("serving_default", "encode", "decode", "generate", "sample", "log_likelihood")


def product_of_normals(loc, scale, other_loc, other_scale) -> tuple[tf.Tensor, tf.Tensor]:
    """Location and scale of the normal whose density is that of N(loc, scale^2) times that of another, normalised.

    All of one shape. It is the update of a Kalman filter for one number, with 1 / scale^2 as precisions.
    """
    precision, other = scale**-2, other_scale**-2
    total = precision + other
    return (precision * loc + other * other_loc) / total, total**-0.5


def _mean(number, distribution: tfd.Distribution) -> tf.Tensor:
    return distribution.mean()


def _squared_distances(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Of each place of one to each place of another, [..., objects, objects]."""
    return tf.reduce_sum((one[..., :, tf.newaxis, :] - other[..., tf.newaxis, :, :]) ** 2, axis=-1)


def _ordered(order: tf.Tensor, *tensors: tf.Tensor) -> list[tf.Tensor]:
    """Objects, the axis before the last one, in an order of shape (..., objects)."""
    chosen = tf.one_hot(order, order.shape[-1])  # a product, which XLA runs faster than a gather
    return [tf.linalg.matmul(chosen, each) for each in tensors]


def _difference(boxes: Sequence[tf.Tensor], before: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Location and scale of the velocities that boxes of two frames say, shape (..., objects, 2)."""
    (loc, scale), (loc_before, scale_before) = ([each[..., 2:BOX] for each in pair] for pair in (boxes, before))
    return loc - loc_before, tf.sqrt(scale**2 + scale_before**2)


def _time_first(tensor: tf.Tensor) -> tf.Tensor:
    """[..., time, objects, size] -> [time, ..., objects, size]."""
    time = len(tensor.shape) - 3
    return tf.transpose(tensor, [time, *range(time), time + 1, time + 2])


def _time_last(tensor: tf.Tensor) -> tf.Tensor:
    """[time, ..., objects, size] -> [..., time, objects, size]."""
    time = len(tensor.shape) - 3
    return tf.transpose(tensor, [*range(1, time + 1), 0, time + 1, time + 2])
