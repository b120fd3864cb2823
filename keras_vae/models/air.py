"""Attend, infer, repeat: an image is as many objects as there are, found one after another."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import positive, whole_number
from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.base import check_spaces, dimensions
from keras_vae.distributions.discrete import independent_bernoulli
from keras_vae.distributions.normal import NormalAround, independent_normal
from keras_vae.distributions.supports import RealNumbers, Support, ZerosAndOnes
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.models.base import LatentVariableModel
from keras_vae.models.inputs import answers_frames
from keras_vae.networks import SpatialTransformer, by_rows, inverse_box
from keras_vae.noise import DATA, fold
from keras_vae.serializable import Serializable
from keras_vae.serving import Rows, Signatures
from keras_vae.trace import Latent, Signal, Trace

PLACE = 3  # values of where: of the size, of x, of y
LARGEST = 10.0  # log-odds of presence, which an early certainty would keep from learning


class Object(NamedTuple):
    """Latent variables of an object, shape (...), or of the objects of all steps, shape (..., steps).

    Attributes:
        presence: 1 where it is there, and all before it are, else 0, shape (...).
        where: shape (..., 3): the size of its box is sigmoid(where[0]) of the image, its middle at tanh(where[1:]).
        what: what it looks like, shape (..., *event).
    """

    presence: tf.Tensor
    where: tf.Tensor
    what: tf.Tensor


class ObjectFinder(Serializable, keras.layers.Layer):
    """The recurrent network of `AIR`: where is the next object, if there is one?

    An LSTM is given features of the image and the object before. A dense layer of its state says the log-odds that
    there is one more object, held smoothly between -10 and 10, and where: a normal whose location and scale are told in
    units of the prior, and begin near them.

    Args:
        units: of the LSTM, and of the dense layer after it.
        size: location and scale of p(where[0]), log-odds of the side of a box as a part of the image's: (-0.25, 0.2)
            for boxes of 0.35 to 0.54 of it.
        log_odds: of one more object, where training starts.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer. It computes in float32 under every policy.

    Reference: Eslami et al. 2016, arXiv:1603.08575.
    """

    def __init__(self, units: int = 128, size: Sequence[float] = (-0.25, 0.2), log_odds: float = 0.0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.units = whole_number(self, "units", units)
        if not isinstance(size, Sequence) or len(size) != 2:
            raise ValueError(f"{type(self).__name__} needs size to be (location, scale). Received: size={size!r}.")
        self.size = [float(size[0]), positive(self, "the scale of size", size[1])]
        self.log_odds = float(log_odds)

    def build(self, features_shape, object_size: int):
        """Creates the weights.

        Args:
            features_shape: of what the encoder says about x, (batch, features).
            object_size: values of presence, where and what of an object.
        """
        small = keras.initializers.RandomNormal(stddev=0.01)
        self.of_image = keras.layers.Dense(4 * self.units, dtype="float32", name="of_image")
        self.of_state = keras.layers.Dense(4 * self.units, use_bias=False, dtype="float32", name="of_state")
        self.hidden = keras.layers.Dense(self.units, "relu", dtype="float32", name="hidden")
        self.head = keras.layers.Dense(1 + 2 * PLACE, kernel_initializer=small, dtype="float32", name="next")
        self.of_image.build(features_shape)
        self.of_state.build((None, object_size + self.units))
        self.hidden.build((None, self.units))
        self.head.build((None, self.units))
        self.head.bias.assign(tf.one_hot(0, 1 + 2 * PLACE) * self.log_odds)

    def start(self, image: tf.Tensor, object_size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The state before the first step: no object before, shape (..., object_size), and output and cell of 0.

        Args:
            image: what `of_image` makes of the features, shape (..., 4 units).
            object_size: see `build`.
        """
        leading = dimensions(image)[:-1]
        nothing = tf.zeros([*leading, self.units])
        return tf.zeros([*leading, object_size]), nothing, nothing

    def look(self, image: tf.Tensor, before: tf.Tensor, output: tf.Tensor, cell: tf.Tensor) -> tuple:
        """Output and cell of the LSTM after one step, shape (..., units) both; see `start`."""
        gates = image + self.of_state(tf.concat([before, output], axis=-1))
        enter, keep, leave, new = tf.split(gates, 4, axis=-1)
        cell = tf.sigmoid(keep + 1) * cell + tf.sigmoid(enter) * tf.tanh(new)
        return tf.sigmoid(leave) * tf.tanh(cell), cell

    def call(self, output) -> tuple[tfd.Distribution, tfd.Distribution]:
        """q of the presence of the next object and of where it is, of batch shape (...), of output (..., units)."""
        raw = self.head(self.hidden(output))
        log_odds, shift, factor = tf.split(raw, [1, PLACE, PLACE], axis=-1)
        loc, scale = self._prior_parameters()
        where = independent_normal(loc + scale * shift, scale * (1e-3 + tf.math.softplus(factor - 0.5)), (PLACE,))
        return independent_bernoulli(LARGEST * tf.tanh(log_odds / LARGEST), (1,)), where

    def prior(self) -> tfd.Distribution:
        """p(where), of batch shape ()."""
        return independent_normal(*self._prior_parameters(), (PLACE,))

    def _prior_parameters(self) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.constant([self.size[0], 0.0, 0.0]), tf.constant([self.size[1], 1.0, 1.0])


class AIR(LatentVariableModel):
    """Attend, infer, repeat: p(x, z) with z = a number of objects, and where each is and what it looks like.

    One step after another there is one more object or not, presence ~ Bernoulli, and after the first that is not there
    none: their number is geometric, up to `steps`. An object that is there is painted: a network makes a small image,
    the patch, of what ~ p(what), and a spatial transformer puts it into the box that where ~ N(...) says. The canvas is
    the sum of the patches, and the likelihood that of a normal around it. The posterior finds the objects in turn,
    given the image and those before: presence, where, and what given the glimpse of the image in the box. All
    densities, and the KL, of where and what count where the object is there, those of presence where the one before
    is.

    How presence is trained is said by the objective: `RelaxedELBO` makes its draws continuous in training (the loss in
    its logs is then no bound), `NVIL` is the score function with the remaining cost of each step as its signal, less
    the log-likelihood of the canvas before, `VIMCO` and `ScoreFunction` take that of whole draws. Evaluation always
    draws zeros and ones: then the loss is a bound of -log p(x).

    The prior needs a schedule, or nothing is ever found, or all of the steps are used: let `current_log_odds` fall, as
    `LinearSchedule("current_log_odds", 0.0, -4.6, epochs)` does.

    Args:
        encoder: a network from x to features, of shape (batch, features).
        finder: an `ObjectFinder`.
        posterior: q(what | glimpse), a layer given glimpses of the shape of patches.
        decoder: a network from what to patches, shape (batch, height, width, channels), in the units of networks.
        likelihood: `NormalAround` the canvas.
        prior: p(what), a layer given nothing.
        steps: the largest number of objects. No weight depends on it.
        log_odds: of one more object, that of the prior from where no schedule has changed `current_log_odds`.
        difference: whether the finder sees what is left of the image, x less the canvas so far, and not x at each step
            (DAIR). It takes longer.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for a finder, posterior, likelihood or prior of other classes.
        ValueError: for a posterior and prior of different shapes or kinds, for x that is no image, and, when built, for
            patches or glimpses of other shapes.

    Example:

    >>> paint = [keras.layers.Dense(144, "sigmoid"), keras.layers.Reshape((12, 12, 1))]
    >>> air = AIR(
    ...     encoder=dense_encoder((32, 32, 1), [256]),
    ...     finder=ObjectFinder(128),
    ...     posterior=Normal(16, dense_encoder((12, 12, 1), [128])),
    ...     decoder=keras.Sequential([keras.Input((16,)), keras.layers.Dense(128, "relu"), *paint]),
    ...     likelihood=NormalAround((32, 32, 1), scale=0.2),
    ...     prior=StandardNormal(16),
    ... )
    >>> air.build((None, 32, 32, 1))
    >>> air.find(np.zeros([2, 32, 32, 1], "float32"))["boxes"].shape
    TensorShape([2, 3, 4])

    Reference: Eslami et al. 2016, arXiv:1603.08575; DAIR is in section 4.2 of it.
    """

    def __init__(
        self,
        encoder: keras.layers.Layer,
        finder: ObjectFinder,
        posterior: DistributionLayer,
        decoder: keras.layers.Layer,
        likelihood: NormalAround,
        prior: DistributionLayer,
        steps: int = 3,
        log_odds: float = -4.6,
        difference: bool = False,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        title = type(self).__name__
        for role, layer, kind in [
            ("finder", finder, ObjectFinder),
            ("posterior", posterior, DistributionLayer),
            ("likelihood", likelihood, NormalAround),
            ("prior", prior, DistributionLayer),
        ]:
            if not isinstance(layer, kind):
                raise TypeError(
                    f"{title} needs {role} to be a layer of the class {kind.__name__}. Received: {layer!r}."
                )
        if posterior.event_shape != prior.event_shape:
            raise ValueError(
                f"{title} needs a prior and a posterior of one event shape. "
                f"Received: {prior.event_shape} and {posterior.event_shape}."
            )
        check_spaces(title, posterior, prior)
        if len(likelihood.event_shape) != 3:
            raise ValueError(
                f"{title} needs images, a likelihood of event shape (height, width, channels). "
                f"Received: {likelihood.event_shape}."
            )
        self.encoder, self.finder, self.decoder = encoder, finder, decoder
        self.posterior, self.likelihood, self.prior = posterior, likelihood, prior
        self.steps = whole_number(self, "steps", steps)
        self.log_odds = float(log_odds)
        self.difference = bool(difference)

    def build(self, input_shape):
        """Creates the weights for images of shape (batch, height, width, channels)."""
        self.check_shape(input_shape)
        event, what = self.likelihood.event_shape, self.prior.event_shape
        patch = tuple(self.decoder(keras.KerasTensor((None, *what))).shape[1:])
        if len(patch) != 3 or patch[-1] != event[-1]:
            raise ValueError(
                f"{type(self).__name__} needs a decoder to patches of shape (height, width, {event[-1]}). "
                f"Received: {patch}."
            )
        self.patch_shape = patch
        self.glimpse, self.canvas = SpatialTransformer(patch[:2]), SpatialTransformer(event[:2])
        self.current_log_odds = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.log_odds),
            name="log_odds",
            trainable=False,
            dtype="float32",
            autocast=False,
        )
        features = tuple(self.encoder(keras.KerasTensor((None, *event))).shape)
        for layer, shapes in [
            (self.prior, [None]),
            (self.posterior, [(None, *patch)]),
            (self.finder, [features, self._object_size]),
            (self.likelihood, [(None, *event)]),
        ]:
            if not layer.built:  # a loaded one is
                layer.build(*shapes)

    @property
    def _object_size(self) -> int:
        """Values of presence, where and what."""
        return 1 + PLACE + math.prod(self.prior.event_shape)

    def call(self, inputs, training=None) -> Trace:
        """Draws the objects of a batch, shape (batch, height, width, channels), and returns the trace."""
        return self.tracer(inputs)()

    def tracer(self, x) -> Callable[[], Trace]:
        """A function that draws the objects and returns the trace; `x` is encoded here."""
        x = self._as_batch(x)
        images, features = self._read(x)

        def draw_trace():
            latents: dict[str, Latent] = {}
            priors = {"presence": self._presence_prior(), "where": self.finder.prior(), "what": self.prior()}

            def draw(kind, step, posterior, there):
                latent = self.draw(posterior, priors[kind], opens=False, present=there)
                latents[f"{kind}_{step}"] = latent
                return latent.value

            _, canvases, states = self._look(images, self.open_samples(features), draw)

            @functools.cache
            def signals():
                return self._signals(trace, canvases, states)

            trace = Trace(x, self.likelihood(canvases[-1]), latents, signals=signals)
            return trace

        return draw_trace

    def _read(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Images in the units of networks, and what the finder is given of them, shape (batch, 4 units)."""
        images = self.likelihood.standardized(x)
        return images, self._features(images)

    def _features(self, images: tf.Tensor) -> tf.Tensor:
        """What the finder is given of images of shape (..., *event), shape (..., 4 units)."""
        return self.finder.of_image(tf.cast(by_rows(self.encoder, images, 3), tf.float32))

    def _look(self, images, features, choose: Callable) -> tuple[list[Object], list[tf.Tensor], list[tf.Tensor]]:
        """The objects of all steps, the canvases before the first and after each, and the LSTM's outputs of each.

        Args:
            images: shape (batch, height, width, channels).
            features: of the images, shape (..., batch, 4 units).
            choose: from a kind, "presence", "where" or "what", the number of the step, a posterior and how far the
                variable is there, None or shape (..., batch), to a value.
        """
        before, output, cell = self.finder.start(features, self._object_size)
        canvases = [tf.zeros([*dimensions(features)[:-1], *self.likelihood.event_shape])]
        there, objects, states = None, [], []
        for step in range(1, self.steps + 1):
            if self.difference and step > 1:
                features = self._features(images - canvases[-1])
            output, cell = self.finder.look(features, before, output, cell)
            of_presence, of_where = self.finder(output)
            presence = choose("presence", step, of_presence, there)
            there = presence[..., 0] if there is None else there * presence[..., 0]
            where = choose("where", step, of_where, there)
            what = choose("what", step, self.posterior(self.glimpse(images, box_of(where))), there)
            found = Object(there, where, what)
            flat = tf.reshape(what, [*dimensions(presence)[:-1], self._object_size - 1 - PLACE])
            before = tf.concat([presence, where, flat], axis=-1)
            objects.append(found)
            states.append(output)
            canvases.append(canvases[-1] + _on_images(there) * self._painted(found))
        return objects, canvases, states

    def _painted(self, objects: Object) -> tf.Tensor:
        """Patches in their boxes on black canvases, shape (..., *event)."""
        return tf.cast(self.canvas(self._patches(objects.what), inverse_box(box_of(objects.where))), tf.float32)

    def _patches(self, what: tf.Tensor) -> tf.Tensor:
        """Shape (..., *patch_shape)."""
        return tf.cast(by_rows(self.decoder, what, len(self.prior.event_shape)), tf.float32)

    def _signals(self, trace: Trace, canvases: list[tf.Tensor], states: list[tf.Tensor]) -> dict[str, Signal]:
        """What of the bound depends on the presence of each step: all that comes after the canvas before it."""
        signals, later = {}, tf.zeros([])  # the KL of what follows
        for step in reversed(range(1, self.steps + 1)):
            presence, where, what = (trace.latents[f"{kind}_{step}"] for kind in Object._fields)
            later += where.kl + what.kl
            so_far = self.likelihood(canvases[step - 1]).log_prob(trace.observed)
            signals[f"presence_{step}"] = Signal(trace.log_likelihood - so_far - later, states[step - 1])
            later += presence.kl
        return signals

    def _presence_prior(self) -> tfd.Distribution:
        return independent_bernoulli(tf.reshape(tf.convert_to_tensor(self.current_log_odds), [1]), (1,))

    def kl_by_name(self, trace: Trace) -> dict[str, tf.Tensor]:
        """The KL of presence, where and what, summed over the steps, nats, shape (samples, batch)."""
        of_steps = range(1, self.steps + 1)
        return {kind: sum(trace.latents[f"{kind}_{step}"].kl for step in of_steps) for kind in Object._fields}

    def encode(self, x) -> dict[str, tf.Tensor]:
        """The most probable presences, and the means of where and what, in turn, each given those before it.

        Returns:
            presence, shape (batch, steps), zeros and ones; where, shape (batch, steps, 3); what, shape (batch, steps,
            *event). Where and what of an object that is not there mean nothing.
        """

        def choose(kind, step, posterior, there):
            return tf.round(posterior.mean()) if kind == "presence" else posterior.mean()

        objects, *_ = self._look(*self._read(self._as_batch(x)), choose)
        return {kind: tf.stack(values, axis=1) for kind, *values in zip(Object._fields, *objects, strict=True)}

    def find(self, x) -> dict[str, tf.Tensor]:
        """How many objects are in images, and where, from `encode`.

        Returns:
            counts: int32 of shape (batch,).
            boxes: left, top, right and bottom edges in pixels, shape (batch, steps, 4), 0 where there is no object.
            patches: what is painted there, in the units of networks, shape (batch, steps, *patch_shape), 0 where there
                is no object.
        """
        found = Object(**self.encode(x))
        boxes = edges_of(box_of(found.where), self.likelihood.event_shape[:2])
        return {
            "counts": tf.cast(tf.reduce_sum(found.presence, axis=-1), tf.int32),
            "boxes": found.presence[..., None] * boxes,
            "patches": _on_images(found.presence) * self._patches(found.what),
        }

    def decode(self, z: dict) -> tfd.Distribution:
        """p(x | z), batch shape (...), for presence, where and what as `encode` gives them, shape (..., steps, ...).

        An object after one that is not there is not there either.
        """
        title = type(self).__name__
        if not isinstance(z, dict) or set(z) != set(Object._fields):
            found = ", ".join(z) if isinstance(z, dict) else type(z).__name__
            raise ValueError(f"{title}.decode needs latents by name: {', '.join(Object._fields)}. Received: {found}.")
        kinds = self._kinds().items()
        objects = Object(*(self._as_latent(z[name], shape, where.hull, name) for name, (shape, where) in kinds))
        there = _on_images(tf.math.cumprod(objects.presence, axis=-1))
        return self.likelihood(tf.reduce_sum(there * self._painted(objects), axis=-4))

    def _kinds(self) -> dict[str, tuple[tuple[int, ...], Support]]:
        """Shape and support of presence, where and what of all steps."""
        of_what = (self.steps, *self.prior.event_shape), self.prior.support
        return {
            "presence": ((self.steps,), ZerosAndOnes()),
            "where": ((self.steps, PLACE), RealNumbers()),
            "what": of_what,
        }

    @answers_frames
    def reconstruct(self, x) -> tf.Tensor:
        """Mean of p(x | z) at what `encode` finds, shape (batch, *event)."""
        return self.decode(self.encode(x)).mean()

    def sample_prior(self, count, seed=None, temperature=1.0) -> dict[str, tf.Tensor]:
        """Draws of objects, of the shapes that `encode` gives, with `count` in the place of batch.

        Args:
            count: number of draws, 0 or more, an integer or an integer scalar tensor.
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: what the distance of a draw to the mean of its prior is multiplied by, of presence the noise.
        """
        self._require_built("generate")
        count, seed, temperature = self._checked_count(count), self._as_seed(seed), self._as_temperature(temperature)
        draws = {}
        priors = self._presence_prior(), self.finder.prior(), self.prior()
        for number, ((name, (_, support)), prior) in enumerate(zip(self._kinds().items(), priors, strict=True)):
            draws[name] = tempered_draws(prior, [count, self.steps], fold(seed, number), temperature, support)
        return draws | {"presence": tf.math.cumprod(draws["presence"][..., 0], axis=-1)}

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x | z) for objects drawn by `sample_prior`, shape (count, *event)."""
        return self.decode(self.sample_prior(count, seed, temperature)).mean()

    def sample(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(x | z) for objects drawn by `sample_prior`, shape (count, *event): those of `generate`."""
        seed = self._as_seed(seed)
        draws = self.sample_prior(count, seed, temperature)
        return self.decode(draws).sample(seed=fold(seed, DATA))

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`: presence, where and what stand for `z`; `find` is that of this class."""
        latents = [Rows(name, shape, support.hull) for name, (shape, support) in self._kinds().items()]
        make = Signatures(self, latents, **limits)
        made = make.of("serving_default", "encode", "decode", "generate", "sample", "log_likelihood")
        return made | {"find": make.by_rows("find", self.find, make.x)}


def box_of(where: tf.Tensor) -> tf.Tensor:
    """(x, y, half width, half height) in the frame of the image, shape (..., 4), of where, shape (..., 3)."""
    half = tf.sigmoid(where[..., :1])
    return tf.concat([tf.tanh(where[..., 1:]), half, half], axis=-1)


def edges_of(box: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """Left, top, right and bottom edges in pixels, shape (..., 4), of boxes in the frame of an image.

    Args:
        box: (x, y, half width, half height), shape (..., 4).
        size: (height, width) of the image in pixels.
    """
    middle, half = tf.split(box, 2, axis=-1)
    pixels = tf.constant([size[1], size[0]] * 2, tf.float32) / 2
    return pixels * (1 + tf.concat([middle - half, middle + half], axis=-1))


def _on_images(presence: tf.Tensor) -> tf.Tensor:
    return presence[..., None, None, None]
