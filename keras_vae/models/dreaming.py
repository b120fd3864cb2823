"""A model of what an environment does: dreams in which an agent can act."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_vae.arguments import not_negative
from keras_vae.distributions import DistributionLayer
from keras_vae.distributions.temperature import tempered_draws
from keras_vae.distributions.together import Together
from keras_vae.models.inputs import Field, Inputs
from keras_vae.models.single_latent import UnconditionalPrior, build_layers, check_parts
from keras_vae.networks.shapes import as_shape
from keras_vae.noise import DATA, fold
from keras_vae.serving import Rows, Signatures
from keras_vae.trace import Latent, Trace


class Outcome(NamedTuple):
    """What a step leads to.

    Attributes:
        state: the next one, shape (batch, *state).
        reward: shape (batch,).
        end: the probability that the episode is over, or 0 or 1 where it is drawn, shape (batch,).
    """

    state: tf.Tensor
    reward: tf.Tensor
    end: tf.Tensor


class DreamingVAE(UnconditionalPrior):
    """p(s', r, e | z) = p(s' | z) p(r | z) p(e | z), with q(z | s, a): the next state, reward and end of a step.

    Data are pairs, as Keras has them: x = {"state": s, "action": a}, y = {"state": s', "reward": r, "end": e}, such as
    `fit(transitions.x, transitions.y)` of what `environments.record` gives. An action is a vector, one-hot where
    actions are numbered; reward and end have the shape (batch, 1).

    What is minimised is the paper's, KL(q(z | s, a) || p(z)) - E_q log p(s', r, e | z). The encoder does not see s', so
    q is no posterior of it, but a random map from (s, a) to z. The loss bounds two numbers from above:

    - -log p(s', r, e) with z from the prior: an ELBO holds for any q, and is tight where q is the posterior;
    - -log p(s', r, e | s, a) = -log E_q p(s', r, e | z), of the dream itself, for which the likelihood alone is a bound
      already (Jensen): the KL is what is paid for each nat that z knows of (s, a).

    Scores are of the dream: `evaluation.log_likelihood` and the served one say log p(s', r, e | s, a), the logarithm of
    the mean of p(s', r, e | z) over draws from q, to which `log_likelihood` in the logs is a bound. The logs have it
    by part too: `log_likelihood_state`, `log_likelihood_reward`, `log_likelihood_end`, in nats.

    Where the same step may lead to several states, the values of s' are independent given z and z can not know which
    one it will be: means are mixtures of them.

    Args:
        posterior: q(z | s, a), a layer whose network takes [s, a]; `Concatenated` makes one of any network.
        state: p(s' | z), a layer given z, whose event shape is that of a state.
        reward: p(r | z), a layer of event shape (1,), such as `FixedScaleNormal(1, network, scale=0.1)`.
        end: p(e | z), a `Bernoulli` of event shape (1,).
        prior: p(z), a layer given nothing.
        action_shape: shape of an action, 4 for one of four as a one-hot vector.
        seed: integer, of the noise of training and evaluation.
        **kwargs: `name`, `trainable` and `dtype` of a Keras model.

    Raises:
        TypeError: for an argument that is not a distribution layer.
        ValueError: for layers whose event shapes do not fit, or whose kind of draws.

    Example:

    >>> dream = DreamingVAE(
    ...     posterior=Normal(8, Concatenated(dense_encoder(6 + 2))),
    ...     state=Bernoulli(6, dense_decoder(8)),
    ...     reward=FixedScaleNormal(1, dense_decoder(8), scale=0.1),
    ...     end=Bernoulli(1, dense_decoder(8)),
    ...     prior=StandardNormal(8),
    ...     action_shape=2,
    ... )
    >>> dream.build()
    >>> dream.step(np.zeros((3, 6)), np.array([0, 1, 1])).state.shape
    TensorShape([3, 6])

    Reference: Andersen, Goodwin & Granmo 2018, arXiv:1810.01112.
    """

    def __init__(
        self,
        posterior: DistributionLayer,
        state: DistributionLayer,
        reward: DistributionLayer,
        end: DistributionLayer,
        prior: DistributionLayer,
        action_shape: int | Sequence[int],
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        check_parts(self, posterior=posterior, state=state, reward=reward, end=end, likelihood=state, prior=prior)
        for role, layer in {"reward": reward, "end": end}.items():
            if layer.event_shape != (1,):
                raise ValueError(
                    f"{type(self).__name__} needs {role} to be a layer of event shape (1,). "
                    f"Received: {layer.event_shape}."
                )
        self.posterior = posterior
        self.state = state
        self.reward = reward
        self.end = end
        self.prior = prior
        self.action_shape = as_shape(action_shape, type(self).__name__)

    @property
    def outcomes(self) -> dict[str, DistributionLayer]:
        """The layers of p(s' | z), p(r | z) and p(e | z) by name."""
        return {"state": self.state, "reward": self.reward, "end": self.end}

    @property
    def takes(self) -> Inputs:
        """State and action; the next state, reward and end as y."""
        names = {"state": "next_state", "reward": "reward", "end": "end"}
        words = {"state": "next states", "reward": "rewards", "end": "ends"}
        return Inputs(
            {
                "state": Field(self.state.event_shape, "state", self.state.value_dtype, words="states"),
                "action": Field(self.action_shape, "action", words="actions"),
            },
            y={
                name: Field(layer.event_shape, names[name], words=words[name], observed=layer)
                for name, layer in self.outcomes.items()
            },
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of a state."""
        return self.state.event_shape

    @property
    def dimensions(self) -> int:
        """Numbers of an outcome: those of a state, reward and end."""
        return sum(int(np.prod(layer.event_shape)) for layer in self.outcomes.values())

    @property
    def discrete(self) -> bool:
        """Whether all parts of an outcome can be counted."""
        return all(layer.discrete for layer in self.outcomes.values())

    def build(self, input_shape=None):
        """Creates the weights of all layers; the shapes of what the model takes are known."""
        z = (None, *self.latent_shape)
        seen = ((None, *self.state.event_shape), (None, *self.action_shape))
        build_layers({self.posterior: seen, self.prior: None} | dict.fromkeys(self.outcomes.values(), z))
        self.built = True

    # --- training and scoring ----------------------------------------------------------------------------------------

    def call(self, inputs, training=None) -> Trace:
        """Draws z of steps, and returns the trace, whose KL is that to the prior."""
        (x, y) = self._as_batch(inputs)
        z = self.draw(self._encoded(x), self.prior())
        return Trace(y, self.decode(z.value), {"z": z}, context=x)

    def tracer(self, inputs, posterior: tfd.Distribution | None = None) -> Callable[[], Trace]:
        """A function that draws and returns a trace of the dream, for scores.

        There z is drawn from q(z | s, a) as a part of the model: its weights are p(s', r, e | z).
        """
        x, y = self._as_batch(inputs)
        posterior = self._encoded(x) if posterior is None else posterior

        def draw_trace():
            drawn = self.draw(posterior, posterior)
            z = Latent(drawn.value, posterior, posterior)
            return Trace(y, self.decode(z.value), {"z": z}, context=x)

        return draw_trace

    def _logged(self, losses, extra, trace) -> dict[str, tuple]:
        by_name = trace.likelihood.log_prob_by_name(trace.observed)
        parts = {f"log_likelihood_{name}": (tf.reduce_mean(nats, axis=0), None) for name, nats in by_name.items()}
        return super()._logged(losses, extra, trace) | parts

    # --- encoding and decoding ---------------------------------------------------------------------------------------

    def encode(self, x) -> tfd.Distribution:
        """q(z | s, a), batch shape (batch,), of {"state": ..., "action": ...}; of pairs (x, y) y does not matter."""
        return self._encoded(self._as_steps(x))

    def _encoded(self, x: Mapping[str, tf.Tensor]) -> tfd.Distribution:
        return self.posterior((self.state.standardized(x["state"]), x["action"]))

    def decode(self, z) -> Together:
        """p(s', r, e | z), batch shape (...), for z of shape (..., *latent); its mean is a dictionary."""
        z = self._as_latent(z, self.latent_shape, self.latent_support)
        return Together({name: layer(z) for name, layer in self.outcomes.items()})

    def prior_distribution(self) -> tfd.Distribution:
        """p(z), of batch shape ()."""
        return self.prior()

    def reconstruct(self, x) -> dict[str, tf.Tensor]:
        """Means of the next states, rewards and ends at the mean of q(z | s, a), each of shape (batch, ...)."""
        return self.decode(self.encode(x).mean()).mean()

    def predict(self, x, batch_size=None, verbose="auto", **kwargs) -> Any:
        """`reconstruct` as `keras.Model.predict`, of {"state": ..., "action": ...}, or of what `fit` takes."""
        if isinstance(x, Mapping):
            x = (x, self._any_targets(len(next(iter(x.values())))) if x else {})
        return super().predict(x, batch_size, verbose, **kwargs)

    def _any_targets(self, count: int) -> dict[str, np.ndarray]:
        """Targets that no prediction depends on."""
        return {
            name: np.full((count, *layer.event_shape), layer.support.stand_in, layer.value_dtype)
            for name, layer in self.outcomes.items()
        }

    # --- dreams ------------------------------------------------------------------------------------------------------

    def step(self, state, action, seed=None, temperature=0.0) -> Outcome:
        """One step of the dream.

        Args:
            state: shape (batch, *state).
            action: numbers of shape (batch,), integers, or vectors of shape (batch, *action_shape).
            seed: None for fresh noise; an integer or int32 of shape (2,) for the same each time. At temperature 0 there
                is no noise.
            temperature: 0 gives means, at the mean of q(z | s, a); what is more draws z and the outcome, 1 from the
                dream itself.

        Returns:
            An `Outcome`.

        Raises:
            ValueError: for a model without weights, and values of another shape or not finite.
        """
        temperature = not_negative(f"{type(self).__name__}.step", "temperature", temperature)
        self._require_built("step")
        x = self._as_steps({"state": state, "action": self._as_actions(action, axes=1)})
        if not temperature:
            return self._mean_step(x["state"], x["action"])
        return self._drawn_step(x["state"], x["action"], self._as_seed(seed), tf.constant(temperature, tf.float32))

    @functools.cached_property
    def _mean_step(self) -> Callable:
        """As a graph: agents take thousands of steps."""
        return tf.function(self._means, autograph=False, reduce_retracing=True)

    @functools.cached_property
    def _drawn_step(self) -> Callable:
        return tf.function(self._draws, autograph=False, reduce_retracing=True)

    def _means(self, state, action) -> Outcome:
        mean = self.decode(self._encoded({"state": state, "action": action}).mean()).mean()
        return _outcome(mean)

    def _draws(self, state, action, seed, temperature) -> Outcome:
        posterior = self._encoded({"state": state, "action": action})
        z = tempered_draws(posterior, [], fold(seed, 0), temperature, self.posterior.support)
        supports = {name: layer.support for name, layer in self.outcomes.items()}
        return _outcome(self.decode(z).tempered(fold(seed, DATA), temperature, supports))

    def rollout(self, state, actions, snap: Callable | None = None, seed=None, temperature=0.0) -> Outcome:
        """Many steps of the dream, each from where the last one led to, whether an episode is over or not.

        Args:
            state: the first ones, shape (batch, *state).
            actions: numbers of shape (batch, steps), integers, or vectors of shape (batch, steps, *action_shape).
            snap: None, as in the paper, or what each next state goes through before the next step, a function of a
                tensor (batch, *state): `tf.round` for binary states, `environments.NearestKnown(states)`.
            seed, temperature: as in `step`.

        Returns:
            An `Outcome` of shapes (batch, steps, *state), (batch, steps) and (batch, steps).
        """
        actions = self._as_actions(actions, axes=2)
        expected = 2 + len(self.action_shape)
        if len(actions.shape) != expected or not actions.shape[1]:
            raise ValueError(
                f"{type(self).__name__}.rollout needs actions of shape (batch, steps) or (batch, steps, "
                f"{', '.join(map(str, self.action_shape))}), of 1 step or more. Received: {tuple(actions.shape)}."
            )
        seed = self._as_seed(seed)
        steps = []
        for number in range(actions.shape[1]):
            found = self.step(state, actions[:, number], fold(seed, number), temperature)
            state = found.state if snap is None else tf.cast(snap(found.state), found.state.dtype)
            steps.append(found._replace(state=state))
        return Outcome(*(tf.stack(part, axis=1) for part in zip(*steps, strict=True)))

    def _as_steps(self, x) -> dict[str, tf.Tensor]:
        """State and action of a batch, alone or with y beside them."""
        x = x[0] if isinstance(x, tuple | list) and len(x) == 2 else x
        return self._as_batch(x, Inputs(self.takes.x))

    def _as_actions(self, actions, axes: int) -> tf.Tensor:
        """Vectors, float32: of integers that have `axes` axes one-hot ones."""
        actions = tf.convert_to_tensor(actions)
        if not actions.dtype.is_integer or len(actions.shape) != axes or len(self.action_shape) != 1:
            return tf.cast(actions, tf.float32)
        count = self.action_shape[0]
        if tf.executing_eagerly() and not np.isin(actions, np.arange(count)).all():
            raise ValueError(
                f"{type(self).__name__} needs actions from 0 to {count - 1}. Received: {np.unique(actions).tolist()}."
            )
        return tf.one_hot(actions, count)

    # --- serving -----------------------------------------------------------------------------------------------------

    def serving_signatures(self, **limits: int) -> dict:
        """What `export` writes.

        `step`, which is `serving_default` too: state, action -> state, reward and the probability of an end, means of
        the next ones, each with the batch axis first. `encode`: state, action -> mean and stddev of q(z | s, a).
        `decode`: z -> state, reward, end. `log_likelihood`: state, action, next_state, reward, end, num_samples, seed
        -> log p(s', r, e | s, a).

        Args:
            **limits: `max_bytes` and `max_samples`, see `keras_vae.serving.Signatures`.
        """
        make = Signatures(self, Rows("z", self.latent_shape, self.latent_support), **limits)
        given = make.x  # state and action, in the order of tf.nest

        def step(*rows):
            return self.reconstruct(tf.nest.pack_sequence_as(self.takes.x, rows))

        def encode(*rows):
            posterior = self.encode(tf.nest.pack_sequence_as(self.takes.x, rows))
            return {"mean": posterior.mean(), "stddev": posterior.stddev()}

        return {
            "serving_default": make.by_rows("serving_default", step, given),
            "step": make.by_rows("step", step, given),
            "encode": make.by_rows("encode", encode, given),
            "decode": make.by_rows("decode", lambda z: self.decode(z).mean(), make.z),
        } | make.of("log_likelihood")


def _outcome(parts: Mapping[str, tf.Tensor]) -> Outcome:
    return Outcome(parts["state"], parts["reward"][..., 0], parts["end"][..., 0])
