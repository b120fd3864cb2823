"""An agent that learns in a dream: DreamingVAE on mazes, and a small DQN that never acts in the real one.

A random policy is recorded in many mazes; the model learns what a step leads to, and is asked about mazes that it has
not seen. The agent learns in the dream of another unseen maze, of which the dream is given the first image alone:
episodes begin where random walks have led in the dream, and the weights kept are those of the best return in it. Then
it acts in the real one. Prints for each seed the share of next states that are exact, the drift of dreams after one
epoch and after all, and the agent's return beside that of the shortest path. With `--partial` the player sees 2 cells
to each side; the model is then one of the agent's own maze, and dreams are snapped to the states recorded there.

    TF_NUM_INTRAOP_THREADS=1 python examples/dreaming.py --seeds 0 1 2 3 4
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from dqn import Agent
from gymnasium.wrappers import TimeLimit

import keras_vae as kv
from keras_vae.environments import DreamEnvironment, Maze, NearestKnown, joined, record

CHANNELS, FILTERS, UNITS, BATCH, EPOCHS = 6, 16, 256, 64, 5
SHORT = 10  # steps of a recorded episode, which begins anywhere: few random walks would find the goal from the corner


def local(shape: tuple[int, ...], whole: bool) -> keras.Model:
    """Features at each place of a grid, or of all of it, from codes on the grid."""
    layers = [keras.Input(shape), keras.layers.Conv2D(FILTERS, 3, padding="same", activation="relu")]
    pooled = [keras.layers.Conv2D(FILTERS, 1, activation="relu"), keras.layers.GlobalMaxPooling2D()]
    return keras.Sequential(layers + pooled * whole)


def beside(shape: tuple[int, ...]) -> keras.Model:
    """Features at each place of a maze, from the image and the action."""
    state, action = keras.Input(shape), keras.Input((4,))
    planes = keras.layers.Reshape((*shape[:2], 4))(keras.layers.RepeatVector(shape[0] * shape[1])(action))
    features = keras.layers.Concatenate()([state, planes])
    first, second = (keras.layers.Conv2D(FILTERS, 3, padding="same", activation="relu") for _ in range(2))
    return keras.Model([state, action], second(first(features)))


def build(shape: tuple[int, ...], seed: int, partial: bool) -> kv.DreamingVAE:
    """Convolutions and a code at each place, for any maze; of a partial view dense layers, which learn one by heart."""
    keras.utils.set_random_seed(seed)
    z = (32,) if partial else (*shape[:2], CHANNELS)

    def network(whole):
        return kv.dense_decoder(32, [UNITS]) if partial else local(z, whole)

    encoder = kv.Concatenated(kv.dense_encoder(int(np.prod(shape)) + 4, [UNITS])) if partial else beside(shape)
    return kv.DreamingVAE(
        posterior=kv.Normal(z, encoder),
        state=kv.Bernoulli(shape, network(whole=False)),
        reward=kv.FixedScaleNormal(1, network(whole=True), scale=0.1),
        end=kv.Bernoulli(1, network(whole=True)),
        prior=kv.StandardNormal(z),
        action_shape=4,
        seed=seed,
    )


def one_seed(seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Records, trains model and agent, and scores both."""
    view, first, count = 2 if options.partial else None, 1_000_000 * (seed + 1), options.mazes
    real = Maze(options.size, first, view=view)
    if options.partial:
        own = Maze(options.size, first, view=view, anywhere=True)
        train, held_out = record(TimeLimit(own, SHORT), 100 * count, seed), record(own, 5_000, seed + 1)
    else:
        mazes = [Maze(options.size, first + 1 + number, anywhere=True) for number in range(count + 50)]
        train = joined([record(TimeLimit(maze, SHORT), 100, first + n) for n, maze in enumerate(mazes[:count])])
        held_out = joined([record(maze, 100, first - n) for n, maze in enumerate(mazes[count:])])
    print(f"seed {seed}: {train}", flush=True)
    snaps = {"means": None, "rounded": tf.round, "nearest known": NearestKnown(held_out.next_state)}
    model = build(train.state.shape[1:], seed, options.partial)
    falling = keras.optimizers.schedules.CosineDecay(5e-3, EPOCHS * len(train) // BATCH)
    model.compile(keras.optimizers.Adam(falling), kv.ELBO(beta=0.01))
    for begin, stop in ((0, 1), (1, EPOCHS)):
        model.fit(train.x, train.y, batch_size=BATCH, initial_epoch=begin, epochs=stop, verbose=2)
        print(kv.evaluation.drift(model, *held_out.paths(100), snaps))
    snap, rewards = NearestKnown(train.next_state) if options.partial else tf.round, NearestKnown(train.reward)
    image, limit = real.reset()[0], 10 * options.size
    walks = np.random.default_rng(seed).integers(0, 4, (100, limit))  # at random, in the dream too
    found = model.rollout(np.tile(image, (100, 1, 1, 1)), walks, snap)
    starts = np.unique(found.state.numpy()[found.end.numpy() < 0.5], axis=0)
    dream, begun = (TimeLimit(DreamEnvironment(model, at, snap, rewards), limit) for at in (starts, image[None]))
    agent = Agent(image.shape, 4, seed).learn(dream, options.agent_steps, begun)
    states, received = agent.play(TimeLimit(real, limit))
    dreamed, in_dream = agent.play(begun)
    strip = kv.plotting.film_strip(*(np.stack(each[: min(len(states), len(dreamed))]) for each in (states, dreamed)))
    strip.savefig(options.output / f"dream_{options.size}{'_partial' * options.partial}_{seed}.png")
    right = np.round(model.predict(held_out.x, batch_size=500, verbose=0)["state"]) == held_out.next_state
    row = {
        "exact, %": 100 * float(right.all(axis=(1, 2, 3)).mean()),
        "steps / shortest": len(received) / real.shortest,
        "return in the dream": sum(in_dream),
        "return": sum(received),
        "return / optimal, %": 100 * sum(received) / real.best_return,
    }
    print(row, flush=True)
    return row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/dreaming"), help="a folder")
    parser.add_argument("--size", type=int, default=8, help="rows and columns")
    parser.add_argument("--partial", action="store_true", help="the player sees 2 cells to each side")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--mazes", type=int, default=400, help="to record, 100 steps of each")
    parser.add_argument("--agent-steps", type=int, default=10_000, help="in the dream")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    rows = {seed: one_seed(seed, given) for seed in given.seeds}
    print("| seed | " + " | ".join(rows[given.seeds[0]]) + " |\n|" + "---|" * (1 + len(rows[given.seeds[0]])))
    for seed, row in rows.items():
        print(f"| {seed} | " + " | ".join(f"{value:.4g}" for value in row.values()) + " |")
