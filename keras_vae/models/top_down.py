"""Very deep variational autoencoders: many layers of latent variables around one state."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import whole_number
from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.base import dimensions
from keras_vae.distributions.normal import independent_normal
from keras_vae.distributions.supports import RealNumbers
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.models.base import LatentVariableModel
from keras_vae.models.inputs import answers_frames
from keras_vae.networks.bottom_up import Bottleneck
from keras_vae.networks.shapes import as_shape
from keras_vae.noise import DATA, fold
from keras_vae.serializable import Serializable
from keras_vae.serving import Rows, Signatures
from keras_vae.trace import Latent, Trace

REAL = RealNumbers()


class TopDownBlock(Serializable, keras.layers.Layer):
    """One stochastic layer of a `TopDownVAE`: its latent variables z on a grid, and how they change the shared state h.

    1. The state above, on its grid, is brought to the grid of this block where that is another one, by a transposed
       convolution that does not overlap, plus a learned map. The top block begins with its map alone.
    2. p(z | h) = N(loc, scale^2), and q(z | h, x) = N(loc + scale shift, (scale factor)^2): the posterior is told in
       units of the prior, and equals it where a network says nothing; their KL is that of N(shift, factor^2) to
       N(0, 1). loc, log scale and a change of the state come from one `Bottleneck` of h, which begins near 0; shift
       and log factor from another, of h beside the features of x. Both logarithms are held between -5 and 5.
    3. h <- h + change + W z, and then h <- h + Bottleneck(h).

    Args:
        grid: (rows, columns) of the latent variables.
        filters: channels of the state.
        latent_size: latent variables at each place.
        hidden: channels inside of the networks; None is half of the filters.
        activation: a Keras activation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer. The state, and the parameters of prior and
            posterior, are float32 under every policy.

    Attributes:
        depth: number of blocks that share the state: each starts with changes of size 1 / sqrt(depth). The model says
            it before it builds.
        recompute: whether the networks are computed once more for their gradients; the model says it too.

    Reference: Child 2021, arXiv:2011.10650; the posterior relative to the prior: Vahdat & Kautz 2020, arXiv:2007.03898.
    """

    depth = 1
    recompute = False

    def __init__(
        self,
        grid: Sequence[int],
        filters: int,
        latent_size: int = 16,
        hidden: int | None = None,
        activation: str = "gelu",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.grid = as_shape(grid, type(self).__name__)
        if len(self.grid) != 2:
            raise ValueError(f"{type(self).__name__} needs a grid of (rows, columns). Received: {grid!r}.")
        self.filters = whole_number(self, "filters", filters)
        self.latent_size = whole_number(self, "latent_size", latent_size)
        self.hidden = None if hidden is None else whole_number(self, "hidden", hidden)
        self.activation = keras.activations.get(activation)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of z: (rows, columns, latent_size)."""
        return (*self.grid, self.latent_size)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Of h: (rows, columns, filters)."""
        return (*self.grid, self.filters)

    def factors(self, above_shape) -> tuple[int, int]:
        """How many rows and columns of this grid one of the grid above becomes.

        Raises:
            ValueError: for a grid that is not a multiple of the one above.
        """
        factors = [size // above for size, above in zip(self.grid, above_shape, strict=False)]
        if any(above * factor != size for above, factor, size in zip(above_shape, factors, self.grid, strict=False)):
            raise ValueError(
                f"{type(self).__name__} needs a grid whose rows and columns are multiples of those of the grid above. "
                f"Received: {self.grid} below {tuple(above_shape[:2])}."
            )
        return factors[0], factors[1]

    def build(self, above_shape, features_shape):
        """Creates the weights.

        Args:
            above_shape: of the state of the block above, (rows, columns, filters); None for the top block.
            features_shape: of what the encoder says about x on this grid, (rows, columns, channels).
        """
        hidden = self.hidden or max(self.filters // 2, 1)
        policy: dict[str, Any] = {"dtype": self.dtype_policy}
        self.enlarge = None
        self.map = None
        if above_shape is None or tuple(above_shape) != self.state_shape:
            start = keras.initializers.RandomNormal(stddev=0.1)
            self.map = self.add_weight(
                shape=self.state_shape, initializer=start, name="map", dtype="float32", autocast=False
            )
            if above_shape is not None:
                factors = self.factors(above_shape)
                self.enlarge = keras.layers.Conv2DTranspose(
                    self.filters, factors, strides=factors, use_bias=False, dtype="float32"
                )
                self.enlarge.build((None, *above_shape))
        small = 1 / math.sqrt(self.depth)
        self.of_prior = Bottleneck(self.filters + 2 * self.latent_size, hidden, self.activation, 0.01, **policy)
        self.of_posterior = Bottleneck(2 * self.latent_size, hidden, self.activation, 1.0, **policy)
        self.residual = Bottleneck(self.filters, hidden, self.activation, small, **policy)
        start = keras.initializers.RandomNormal(stddev=small / math.sqrt(self.latent_size))
        self.project = keras.layers.Dense(self.filters, kernel_initializer=start, use_bias=False, dtype="float32")
        self.of_prior.build((None, *self.state_shape))
        self.of_posterior.build((None, *self.grid, self.filters + features_shape[-1]))
        self.residual.build((None, *self.state_shape))
        self.project.build((None, *self.latent_shape))

    def _through(self, network: Bottleneck, inputs: tf.Tensor) -> tf.Tensor:
        # Of TensorFlow's function, which does not always run eagerly.
        recomputes = self.recompute and not tf.executing_eagerly()
        return tf.recompute_grad(network)(inputs) if recomputes else network(inputs)

    def start(self, above, rows) -> tf.Tensor:
        """The state on this grid, shape (rows, *state_shape).

        Args:
            above: the state of the block above, or None.
            rows: their number.
        """
        if above is None:
            return tf.broadcast_to(tf.convert_to_tensor(self.map), [rows, *self.state_shape])
        if self.enlarge is not None:
            above = self.enlarge(above)
        return above if self.map is None else above + tf.convert_to_tensor(self.map)

    def prior(self, state) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Location and scale of p(z | h), shape (rows, *latent_shape) both, and the state with its change."""
        change, loc, log_scale = tf.split(
            self._through(self.of_prior, state), [self.filters, self.latent_size, self.latent_size], axis=-1
        )
        return loc, tf.exp(held(log_scale)), state + change

    def posterior(self, state, features) -> tuple[tf.Tensor, tf.Tensor]:
        """Shift, in scales of p(z | h), and factor of its scale, of q(z | h, x), shape (rows, *latent_shape) both."""
        seen = tf.concat([state, tf.cast(features, tf.float32)], axis=-1)
        shift, log_factor = tf.split(self._through(self.of_posterior, seen), 2, axis=-1)
        return shift, tf.exp(held(log_factor))

    def after(self, state, z) -> tf.Tensor:
        """The state, shape (rows, *state_shape), after z of shape (rows, *latent_shape)."""
        state += self.project(z)
        return state + self._through(self.residual, state)


class TopDownVAE(LatentVariableModel):
    """p(x, zL, ..., z1) = p(zL) p(z(L-1) | zL) ... p(z1 | z2, ..., zL) p(x | z1, ..., zL), inferred from the top down.

    One state goes through all blocks, from the coarsest grid to the finest. Each block reads from it a prior of its
    latent variables, and beside features of x their posterior, relative to the prior; a draw changes the state for all
    blocks below. The likelihood sees the last state. Each KL is in closed form, given the draws above; the logs sum
    them by grid, `kl_1x1`, `kl_7x7`, ...

    Args:
        encoder: a network from x to a list of features (batch, rows, columns, channels), one for each grid, such as
            `bottom_up_encoder` makes.
        blocks: `TopDownBlock`s from the top down, from zL to z1.
        likelihood: p(x | z), a layer given the last state, shape (batch, rows, columns, filters).
        recompute: whether a training step forgets what is inside of the networks of the blocks and computes it once
            more for their gradients: less memory, and more time. Not where steps run eagerly.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for blocks and a likelihood of other classes.
        ValueError: without blocks, for grids that are no multiples of those above; when built, for a block on whose
            grid the encoder has no features.

    Example:

    >>> sizes = [(1, 128)] * 4 + [(7, 64)] * 4 + [(14, 32)] * 4
    >>> vae = kv.TopDownVAE(
    ...     encoder=kv.bottom_up_encoder((28, 28, 1), strides=[2, 2, 7], filters=[32, 64, 128]),
    ...     blocks=[kv.TopDownBlock((size, size), filters, latent_size=8) for size, filters in sizes],
    ...     likelihood=kv.Bernoulli((28, 28, 1), kv.residual_decoder((14, 14, 32), (28, 28, 1), filters=[16])),
    ... )

    Reference: Child 2021, arXiv:2011.10650; Vahdat & Kautz 2020, arXiv:2007.03898; Sonderby et al. 2016,
    arXiv:1602.02282.
    """

    def __init__(
        self,
        encoder: keras.layers.Layer,
        blocks: Sequence[TopDownBlock],
        likelihood: DistributionLayer,
        recompute: bool = False,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        title = type(self).__name__
        if not isinstance(likelihood, DistributionLayer):
            raise TypeError(
                f"{title} needs likelihood to be a distribution layer, such as Bernoulli((28, 28, 1), network). "
                f"Received: {likelihood!r}."
            )
        if not isinstance(blocks, Sequence) or not blocks:
            raise ValueError(f"{title} needs a list of one or more blocks, from the top down. Received: {blocks!r}.")
        for block in blocks:
            if not isinstance(block, TopDownBlock):
                raise TypeError(f"{title} needs blocks to be TopDownBlock layers. Received: {block!r}.")
            block.depth, block.recompute = len(blocks), bool(recompute)
        for above, block in itertools.pairwise(blocks):
            block.factors(above.grid)
        self.encoder = encoder
        self.blocks = list(blocks)
        self.likelihood = likelihood
        self.recompute = bool(recompute)

    @property
    def names(self) -> list[str]:
        """Of the latent variables, z1 next to the data."""
        return [f"z{number + 1}" for number in range(len(self.blocks))]

    @property
    def blocks_by_name(self) -> dict[str, TopDownBlock]:
        """The block of each latent variable, from the top down."""
        return dict(zip(reversed(self.names), self.blocks, strict=True))

    def build(self, input_shape):
        """Creates the weights for data of shape (batch, *event)."""
        self.check_shape(input_shape)
        features, above = self._by_grid(self.encoder(keras.KerasTensor((None, *input_shape[1:])))), None
        for block in self.blocks:
            if not block.built:  # a loaded one is
                block.build(above, tuple(features[block.grid].shape[1:]))
            above = block.state_shape
        if not self.likelihood.built:
            self.likelihood.build((None, *above))

    def _by_grid(self, features) -> dict[tuple[int, ...], Any]:
        """What the encoder says about x, by grid."""
        found = {tuple(each.shape[1:3]): each for each in keras.tree.flatten(features)}
        missing = {block.grid for block in self.blocks} - set(found)
        if missing:
            raise ValueError(
                f"{type(self).__name__} needs features of x on the grid of each block. Received: features on "
                f"{sorted(found)}, and blocks on {sorted(missing)}."
            )
        return found

    def call(self, inputs, training=None) -> Trace:
        """Draws the latents of a batch, shape (batch, *event), and returns the trace."""
        return self.tracer(inputs)()

    def tracer(self, x) -> Callable[[], Trace]:
        """A function that draws the latents and returns the trace; `x`, shape (batch, *event), is encoded here."""
        x = self._as_batch(x)
        features = self._features_of(x)

        def draw_trace():
            opened = {grid: self.open_samples(each) for grid, each in features.items()}
            leading = dimensions(next(iter(opened.values())))[:-3]  # [samples, batch]
            rows = {grid: _as_rows(each, 3) for grid, each in opened.items()}
            latents: dict[str, Latent] = {}

            def draw(name, block, state, loc, scale):
                shift, factor = block.posterior(state, rows[block.grid])
                parts = [tf.reshape(each, [*leading, *block.latent_shape]) for each in (loc, scale, shift, factor)]
                loc, scale, shift, factor = parts
                prior = independent_normal(loc, scale, block.latent_shape)
                posterior = independent_normal(loc + scale * shift, scale * factor, block.latent_shape)
                latents[name] = self.draw(posterior, prior, opens=False)
                return _as_rows(latents[name].value, 3)

            state = self._descend(math.prod(leading), draw)
            state = tf.reshape(state, [*leading, *state.shape[1:]])
            return Trace(x, self.likelihood(state), {name: latents[name] for name in self.names})

        return draw_trace

    def _features_of(self, x: tf.Tensor) -> dict[tuple[int, ...], tf.Tensor]:
        return self._by_grid(self.encoder(self.likelihood.standardized(x)))

    def _descend(self, rows, choose: Callable) -> tf.Tensor:
        """The state after all blocks, shape (rows, *state).

        Args:
            rows: their number.
            choose: from the name of a latent variable, its block, the state, and location and scale of its prior, shape
                (rows, *latent), to a value of that shape.
        """
        state = None
        for name, block in self.blocks_by_name.items():
            state = block.start(state, rows)
            loc, scale, changed = block.prior(state)
            state = block.after(changed, choose(name, block, state, loc, scale))
        return state

    def kl_by_name(self, trace: Trace) -> dict[str, tf.Tensor]:
        """The KL of each grid, summed over its latent variables, nats, shape (samples, batch): `kl_7x7`, say."""
        found: dict[str, tf.Tensor] = {}
        for name, block in self.blocks_by_name.items():
            grid = "x".join(map(str, block.grid))
            found[grid] = found.get(grid, 0.0) + trace.latents[name].kl
        return found

    def encode(self, x) -> dict[str, tfd.Distribution]:
        """q of each latent variable by name, batch shape (batch,), those above it at their means."""
        x = self._as_batch(x)
        features, posteriors = self._features_of(x), {}

        def mean(name, block, state, loc, scale):
            shift, factor = block.posterior(state, features[block.grid])
            posteriors[name] = independent_normal(loc + scale * shift, scale * factor, block.latent_shape)
            return loc + scale * shift

        self._descend(dimensions(x)[0], mean)
        return {name: posteriors[name] for name in self.names}

    def decode(self, z: dict) -> tfd.Distribution:
        """p(x | z1, ..., zL), batch shape (...), for latents by name, of shape (..., *latent) each."""
        title = type(self).__name__
        if not isinstance(z, dict) or set(z) != set(self.names):
            found = ", ".join(z) if isinstance(z, dict) else type(z).__name__
            raise ValueError(f"{title}.decode needs latents by name: {', '.join(self.names)}. Received: {found}.")
        values = {
            name: self._as_latent(z[name], block.latent_shape, REAL, name)
            for name, block in self.blocks_by_name.items()
        }
        first, *others = [value.shape[:-3] for value in values.values()]
        if not all(first.is_compatible_with(other) for other in others):
            found = ", ".join(f"{name} {tuple(values[name].shape)}" for name in self.names)
            raise ValueError(f"{title}.decode needs as many rows of each latent variable. Received: {found}.")
        leading = dimensions(next(iter(values.values())))[:-3]

        def given(name, block, state, loc, scale):
            return _as_rows(values[name], 3)

        state = self._descend(math.prod(leading), given)
        return self.likelihood(tf.reshape(state, [*leading, *state.shape[1:]]))

    @answers_frames
    def reconstruct(self, x) -> Any:
        """Mean of p(x | z) at the means of q(z | x), from the top down, shape (batch, *event); of a frame a frame."""
        return self.decode({name: posterior.mean() for name, posterior in self.encode(x).items()}).mean()

    def sample_prior(self, count, seed=None, temperature=1.0) -> dict[str, tf.Tensor]:
        """Draws of all latents from the top down, by name, shape (count, *latent) each.

        Args:
            count: number of draws, 0 or more, an integer or an integer scalar tensor.
            seed: None for fresh noise; an integer, a scalar tensor or int32 of shape (2,) for the same draws each time.
            temperature: what the distance of each draw to the mean of its prior is multiplied by.
        """
        self._require_built("generate")
        count, seed, temperature = self._checked_count(count), self._as_seed(seed), self._as_temperature(temperature)
        draws: dict[str, tf.Tensor] = {}

        def draw(name, block, state, loc, scale):
            prior = independent_normal(loc, scale, block.latent_shape)
            draws[name] = tempered_draws(prior, [], fold(seed, len(draws)), temperature)
            return draws[name]

        self._descend(count, draw)
        return {name: draws[name] for name in self.names}

    def generate(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Means of p(x | z) for latents drawn by `sample_prior`, shape (count, *event)."""
        return self.decode(self.sample_prior(count, seed, temperature)).mean()

    def sample(self, count, seed=None, temperature=1.0) -> tf.Tensor:
        """Draws from p(x | z) for latents drawn by `sample_prior`, shape (count, *event): those of `generate`."""
        seed = self._as_seed(seed)
        draws = self.sample_prior(count, seed, temperature)
        return self.decode(draws).sample(seed=fold(seed, DATA))

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes, see `VAE`: `z1`, `z2`, ... stand for `z`."""
        latents = [Rows(name, self.blocks_by_name[name].latent_shape, REAL) for name in self.names]
        make = Signatures(self, latents, **limits)
        return make.of("serving_default", "encode", "decode", "generate", "sample", "log_likelihood")


def held(log_number: tf.Tensor) -> tf.Tensor:
    """A logarithm held smoothly between -5 and 5: one odd layer of many would make all below it infinite."""
    return 5 * tf.tanh(log_number / 5)


def _as_rows(tensor: tf.Tensor, axes: int) -> tf.Tensor:
    """All but the last `axes` axes folded into one."""
    return tf.reshape(tensor, [-1, *tensor.shape[len(tensor.shape) - axes :]])
