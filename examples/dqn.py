"""A small double DQN for environments of Gymnasium with numbered actions, which examples/dreaming.py trains.

Mnih et al. 2015, "Human-level control through deep reinforcement learning"; van Hasselt et al. 2016, arXiv:1509.06461.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

DISCOUNT, BATCH, COPIED, TESTED = 0.97, 64, 200, 500  # the target network is copied each 200 steps


class Agent:
    """Values of actions by a dense network of the observation.

    Args:
        shape: of an observation.
        actions: number of them.
        seed: of weights, exploration and replay.
    """

    def __init__(self, shape: Sequence[int], actions: int, seed: int):
        keras.utils.set_random_seed(seed)
        layers = [keras.layers.Dense(units, "relu") for units in (128, 64)]
        self.values = keras.Sequential(
            [keras.Input(shape), keras.layers.Flatten(), *layers, keras.layers.Dense(actions)]
        )
        self.target, self.optimizer = keras.models.clone_model(self.values), keras.optimizers.Adam(1e-3)
        self.target.set_weights(self.values.get_weights())
        self.optimizer.build(self.values.trainable_variables)
        self.rng, self.actions = np.random.default_rng(seed), actions
        self.update = tf.function(self._update, autograph=False)
        self.best = tf.function(lambda state: tf.argmax(self.values(state[None])[0]), autograph=False)

    def _update(self, state, action, reward, after, end):
        chosen = tf.argmax(self.values(after), axis=1, output_type=tf.int32)
        later = tf.gather(self.target(after), chosen, axis=1, batch_dims=1)
        wanted = reward + DISCOUNT * (1 - end) * later
        with tf.GradientTape() as tape:
            found = tf.gather(self.values(state), action, axis=1, batch_dims=1)
            loss = tf.reduce_mean(keras.losses.huber(wanted[:, None], found[:, None]))
        weights = self.values.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    def learn(self, environment, steps: int, tested) -> "Agent":
        """Acts, at random less and less, and learns from all that it has seen.

        Each 500 steps it plays one episode of `tested` by the best actions; the weights of the best return are kept.
        """
        best, kept = -np.inf, self.values.get_weights()
        size = environment.observation_space.shape
        memory = [np.zeros((steps, *each), kind) for each, kind in self._columns(size)]
        state, _ = environment.reset(seed=int(self.rng.integers(2**31)))
        for step in range(steps):
            explores = self.rng.random() < max(0.1, 1 - 1.5 * step / steps)
            action = int(self.rng.integers(self.actions) if explores else self.best(state))
            after, reward, end, cut, _ = environment.step(action)
            for column, value in zip(memory, (state, action, reward, after, end), strict=True):
                column[step] = value
            state = environment.reset()[0] if end or cut else after
            if step >= BATCH:
                rows = self.rng.integers(0, step + 1, BATCH)
                self.update(*(tf.constant(column[rows]) for column in memory))
            if step % COPIED == 0:
                self.target.set_weights(self.values.get_weights())
            if (step + 1) % TESTED == 0:
                found = sum(self.play(tested)[1])
                if found > best:
                    best, kept = found, self.values.get_weights()
        self.values.set_weights(kept)
        return self

    @staticmethod
    def _columns(size):
        return [(size, "float32"), ((), "int32"), ((), "float32"), (size, "float32"), ((), "float32")]

    def play(self, environment) -> tuple[list[np.ndarray], list[float]]:
        """One episode by the best actions: its states, and its rewards."""
        state, _ = environment.reset(seed=0)
        states, rewards, over = [state], [], False
        while not over:
            state, reward, end, cut, _ = environment.step(int(self.best(state)))
            states.append(state)
            rewards.append(float(reward))
            over = end or cut
        return states, rewards
