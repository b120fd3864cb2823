"""An agent that learns in a dream: DreamingVAE on mazes, and a small DQN that never acts in the real one.

A random policy is recorded in many mazes; the model learns what a step leads to, and is asked about mazes that it has
not seen. The agent learns in the dream of another unseen maze, of which the dream is given the first image alone:
episodes begin where random walks have led in the dream. Then it acts in the real one. Prints for each seed the share of
next states that are exact, the drift of dreams after one epoch and after all, and the agent's return beside that of the
shortest path. With `--partial` the player sees 2 cells to each side; the model is then one of the agent's own maze, as
in the paper, and dreams are snapped to the states that were recorded there.

    TF_NUM_INTRAOP_THREADS=1 python examples/dreaming.py --seeds 0 1 2 3 4
    TF_NUM_INTRAOP_THREADS=1 python examples/dreaming.py --size 11 --seeds 0 1 2
    TF_NUM_INTRAOP_THREADS=1 python examples/dreaming.py --partial --seeds 0 1 2
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from dqn import Agent
from gymnasium.wrappers import TimeLimit

import keras_vae as kv
from keras_vae.environments import DreamEnvironment, Maze, NearestKnown, joined, record

CHANNELS, FILTERS, UNITS, BATCH = 6, 16, 256, 64
SHORT = 10  # steps of a recorded episode, which begins anywhere: few random walks would find the goal from the corner


def local(shape: tuple[int, ...], whole: bool) -> keras.Model:
    """Features at each place of a grid, or of all of it, from codes on the grid."""
    layers = [keras.Input(shape), keras.layers.Conv2D(FILTERS, 3, padding="same", activation="relu")]
    if whole:
        layers += [keras.layers.Conv2D(FILTERS, 1, activation="relu"), keras.layers.GlobalMaxPooling2D()]
    return keras.Sequential(layers)


def beside(shape: tuple[int, ...]) -> keras.Model:
    """Features at each place of a maze, from the image and the action."""
    state, action = keras.Input(shape), keras.Input((4,))
    planes = keras.layers.Reshape((*shape[:2], 4))(keras.layers.RepeatVector(shape[0] * shape[1])(action))
    features = keras.layers.Concatenate()([state, planes])
    for _ in range(2):
        features = keras.layers.Conv2D(FILTERS, 3, padding="same", activation="relu")(features)
    return keras.Model([state, action], features)


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
        reward=kv.LearnedScaleNormal(1, network(whole=True)),
        end=kv.Bernoulli(1, network(whole=True)),
        prior=kv.StandardNormal(z),
        action_shape=4,
        seed=seed,
    )


def one_seed(seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Records, trains model and agent, and scores both."""
    view, first = 2 if options.partial else None, 1_000_000 * (seed + 1)
    real, count = Maze(options.size, first, view=view), options.mazes
    if options.partial:
        own = Maze(options.size, first, view=view, anywhere=True)
        train, held_out = record(TimeLimit(own, SHORT), 100 * count, seed), record(own, 5_000, seed + 1)
    else:
        mazes = [Maze(options.size, first + 1 + number, anywhere=True) for number in range(count + 50)]
        train = joined([record(TimeLimit(maze, SHORT), 100, seed) for maze in mazes[:count]])
        held_out = joined([record(maze, 100, seed) for maze in mazes[count:]])
    print(f"seed {seed}: {train}", flush=True)
    snaps = {"means": None, "rounded": tf.round, "nearest known": NearestKnown(held_out.next_state)}
    model, started = build(train.state.shape[1:], seed, options.partial), time.perf_counter()
    steps = options.epochs * -(-len(train) // BATCH)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, steps)), kv.ELBO(beta=0.01))
    for begin, stop in ((0, 1), (1, options.epochs)):
        model.fit(train.x, train.y, batch_size=BATCH, initial_epoch=begin, epochs=stop, verbose=2)
        print(kv.evaluation.drift(model, *held_out.paths(100), snaps))
    minutes = (time.perf_counter() - started) / 60
    snap, rewards = NearestKnown(train.next_state) if options.partial else tf.round, NearestKnown(train.reward)
    image, limit = real.reset()[0], 10 * options.size
    walks = np.random.default_rng(seed).integers(0, 4, (100, limit))  # of a random policy, in the dream too
    found = model.rollout(np.tile(image, (100, 1, 1, 1)), walks, snap)
    starts = np.unique(found.state.numpy()[found.end.numpy() < 0.5], axis=0)
    agent = Agent(image.shape, 4, seed)
    agent.learn(TimeLimit(DreamEnvironment(model, starts, snap, rewards), limit), options.agent_steps)
    dream = DreamEnvironment(model, image[None], snap, rewards)
    states, received = agent.play(TimeLimit(real, limit))
    dreamed, in_dream = agent.play(TimeLimit(dream, limit))
    strip = kv.plotting.film_strip(*(np.stack(each[: min(len(states), len(dreamed))]) for each in (states, dreamed)))
    strip.savefig(options.output / f"dream_{options.size}{'_partial' * options.partial}_{seed}.png")
    means = model.predict(held_out.x, batch_size=500, verbose=0)["state"]
    row = {
        "exact, %": 100 * (np.round(means) == held_out.next_state).all(axis=(1, 2, 3)).mean(),
        "minutes of the model": minutes,
        "steps": len(received),
        "shortest": real.shortest,
        "return in the dream": sum(in_dream),
        "return": sum(received),
        "return / optimal, %": 100 * sum(received) / real.best_return,
    }
    print(", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    return row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/dreaming"), help="a folder")
    parser.add_argument("--size", type=int, default=8, help="rows and columns")
    parser.add_argument("--partial", action="store_true", help="the player sees 2 cells to each side")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--mazes", type=int, default=300, help="to record, 100 steps of each")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--agent-steps", type=int, default=8_000, help="in the dream")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    rows = {seed: one_seed(seed, given) for seed in given.seeds}
    names = list(next(iter(rows.values())))
    print("| seed | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for seed, row in rows.items():
        print(f"| {seed} | " + " | ".join(f"{row[name]:.4g}" for name in names) + " |")
