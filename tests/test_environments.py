"""Mazes and recordings, against graphs of SciPy, a walk written out, and the checker of Gymnasium."""

import sys
import warnings

import gymnasium
import numpy as np
import pytest
import scipy.sparse
from conftest import ROOT
from gymnasium.utils.env_checker import check_env

import keras_vae as kv
from keras_vae.environments import Maze, NearestKnown, Transitions, joined, record

MAZES = [(2, 0), (5, 1), (8, 2), (8, 3), ((7, 11), 4), (21, 5)]


def graph(maze) -> tuple[np.ndarray, scipy.sparse.csr_array]:
    """Numbers of the open cells, -1 in walls, and the steps between them."""
    numbers = np.full(maze.walls.shape, -1)
    numbers[~maze.walls] = np.arange((~maze.walls).sum())
    pairs = [(numbers[:, :-1], numbers[:, 1:]), (numbers[:-1], numbers[1:])]
    edges = np.concatenate([np.stack([one.ravel(), other.ravel()]) for one, other in pairs], axis=1)
    edges = edges[:, (edges >= 0).all(axis=0)]
    size = numbers.max() + 1
    return numbers, scipy.sparse.csr_array((np.ones(edges.shape[1]), edges), (size, size))


@pytest.mark.parametrize(("size", "seed"), MAZES)
def test_a_maze_is_a_tree_to_which_no_cell_can_be_added(size, seed):
    maze = Maze(size, seed)
    numbers, steps = graph(maze)
    cells = numbers.max() + 1
    assert scipy.sparse.csgraph.connected_components(steps, directed=False)[0] == 1
    assert steps.nnz == cells - 1
    wide = np.pad(~maze.walls, 1).astype(int)
    near = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    assert (near[maze.walls] != 1).all()
    distances = scipy.sparse.csgraph.shortest_path(steps, directed=False, indices=numbers[maze.goal])
    np.testing.assert_array_equal(maze.distances[~maze.walls], distances)
    assert (maze.distances[maze.walls] == -1).all()
    assert maze.shortest == distances[numbers[0, 0]] > 0
    assert sum(maze.goal) == np.argwhere(~maze.walls).sum(axis=1).max()


def test_mazes_of_other_seeds_are_others():
    walls = {Maze(8, seed).walls.tobytes() for seed in range(50)}
    assert len(walls) == 50
    np.testing.assert_array_equal(Maze(8, 3).walls, Maze(8, 3).walls)


def test_the_player_moves_where_no_wall_is():
    maze, rng = Maze(6, 1), np.random.default_rng(0)
    image, _ = maze.reset()
    row, column = 0, 0
    for _ in range(500):
        np.testing.assert_array_equal(image[..., 0], maze.walls)
        np.testing.assert_array_equal(np.argwhere(image[..., 1]), [[row, column]])
        np.testing.assert_array_equal(np.argwhere(image[..., 2]), [maze.goal])
        action = int(rng.integers(4))
        image, reward, end, cut, _ = maze.step(action)
        to = {0: (row - 1, column), 1: (row, column + 1), 2: (row + 1, column), 3: (row, column - 1)}[action]
        if min(to) >= 0 and max(to) < 6 and not maze.walls[to]:
            row, column = to
        assert end == ((row, column) == maze.goal)
        assert reward == (1 if end else -0.01)
        assert not cut
        if end:
            image, _ = maze.reset()
            row, column = 0, 0


@pytest.mark.parametrize("seed", range(5))
def test_the_best_return_is_that_of_the_shortest_path(seed):
    maze, rewards, end = Maze(8, seed), [], False
    maze.reset()
    while not end:
        around = [tuple(np.array(maze.player) + move) for move in ((-1, 0), (0, 1), (1, 0), (0, -1))]
        inside = [min(cell) >= 0 and max(cell) < 8 for cell in around]
        far = [maze.distances[cell] if ok else -1 for cell, ok in zip(around, inside, strict=True)]
        _, reward, end, _, _ = maze.step(far.index(maze.distances[maze.player] - 1))
        rewards.append(reward)
    assert len(rewards) == maze.shortest
    assert maze.best_return == pytest.approx(sum(rewards))


def test_a_partial_view_is_a_window_with_walls_around():
    whole, part = Maze(7, 2, anywhere=True), Maze(7, 2, anywhere=True, view=2)
    for seed in range(20):
        image, window = whole.reset(seed=seed)[0], part.reset(seed=seed)[0]
        assert whole.player == part.player
        for row in range(5):
            for column in range(5):
                at = whole.player[0] + row - 2, whole.player[1] + column - 2
                inside = min(at) >= 0 and max(at) < 7
                np.testing.assert_array_equal(window[row, column], image[at] if inside else [1, 0, 0])


def test_slips_take_the_place_of_actions():
    maze, open_cell = Maze(8, 0, slip=0.4), (1, 1)
    moved = 0
    for number in range(2000):
        maze.reset(seed=0 if number == 0 else None, options={"start": open_cell})
        maze.step(1)
        moved += maze.player == (1, 2)
    share = 0.6 + 0.4 / 4
    assert abs(moved / 2000 - share) < 4 * np.sqrt(share * (1 - share) / 2000)


@pytest.mark.parametrize(
    "options", [{}, {"size": (4, 6), "slip": 0.3, "view": 1, "anywhere": True, "render_mode": "rgb_array"}]
)
def test_gymnasium_accepts_mazes(options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*does not have a spec|.*not having a spec.*")
        check_env(Maze(**options))


def test_a_picture_of_a_maze():
    maze = Maze(4, render_mode="rgb_array")
    maze.reset()
    picture = maze.render()
    assert picture.shape == (32, 32, 3)
    assert tuple(picture[0, 0]) == (0, 120, 255)
    assert Maze(4).render() is None


def test_mazes_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"Maze needs size to be a whole number, 2 or more.*size=1"):
        Maze(1)
    with pytest.raises(ValueError, match=r"Maze needs size to be a number or \(rows, columns\)"):
        Maze((3, 4, 5))
    with pytest.raises(ValueError, match="Maze needs slip to be a number of 0 or more and less than 1"):
        Maze(slip=1.0)
    with pytest.raises(ValueError, match="Maze needs view to be a whole number"):
        Maze(view=0)
    with pytest.raises(ValueError, match='Maze needs render_mode to be None or "rgb_array"'):
        Maze(render_mode="human")
    with pytest.raises(ValueError, match=r"Maze.step needs an action from 0 to 3. Received: 4"):
        Maze().step(4)
    maze = Maze(5)
    with pytest.raises(ValueError, match=r"Maze.reset needs a start at an open cell that is not the goal"):
        maze.reset(options={"start": maze.goal})


# --- recordings -------------------------------------------------------------------------------------------------------


def test_a_recording_is_what_happened():
    seen = []

    def policy(observation):
        seen.append(observation.copy())
        return len(seen) % 4

    maze = gymnasium.wrappers.TimeLimit(Maze(5, 1), 30)
    found = record(maze, 200, policy=policy)
    np.testing.assert_array_equal(found.state, seen)
    np.testing.assert_array_equal(found.action.argmax(axis=1), np.arange(1, 201) % 4)
    other = Maze(5, 1)
    other.reset()
    for row in range(200):
        image, reward, end, _, _ = other.step(int(found.action[row].argmax()))
        np.testing.assert_array_equal(image, found.next_state[row])
        assert found.reward[row, 0] == np.float32(reward)
        assert found.end[row, 0] == end
        if row + 1 < 200 and found.episode[row + 1] != found.episode[row]:
            other.reset()
    assert found.episode[-1] >= 5
    assert "200 transitions" in str(found)


def test_a_seed_says_what_is_recorded():
    def made(seed):
        return record(Maze(6, 1, slip=0.2, anywhere=True), 100, seed)

    for one, other in zip(vars(made(3)).values(), vars(made(3)).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (made(3).state != made(4).state).any()


@pytest.mark.parametrize(("name", "states", "actions"), [("CartPole-v1", (4,), 2), ("Pendulum-v1", (3,), 1)])
def test_other_environments_are_recorded(name, states, actions):
    found = record(gymnasium.make(name), 60, seed=1)
    assert found.state.shape == found.next_state.shape == (60, *states)
    assert found.action.shape == (60, actions)
    same = found.episode[1:] == found.episode[:-1]
    np.testing.assert_array_equal(found.next_state[:-1][same], found.state[1:][same])
    assert found.end.sum() == (found.episode[-1] if found.end[-1] == 0 else found.episode[-1] + 1)


def test_paths_have_no_gaps():
    found = joined([record(gymnasium.wrappers.TimeLimit(Maze(5, seed), 17), 100, seed) for seed in (1, 2)])
    assert len(found) == 200
    assert np.isin(np.diff(found.episode), (0, 1)).all()
    assert found.episode[100] == found.episode[99] + 1
    states, actions = found.paths(5)
    assert states.shape == (len(actions), 6, 5, 5, 3)
    lengths = np.bincount(found.episode)
    assert len(states) == (lengths // 5).sum()
    rows = {found.state[row].tobytes() + found.action[row].tobytes() + found.next_state[row].tobytes()
            for row in range(200)}  # fmt: skip
    for path, taken in zip(states, actions, strict=True):
        for step in range(5):
            assert path[step].tobytes() + taken[step].tobytes() + path[step + 1].tobytes() in rows
    assert len(found[found.end[:, 0] == 1]) == found.end.sum()


def test_recordings_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"environments.record needs steps to be a whole number"):
        record(Maze(4), 0)
    found = record(Maze(4), 10)
    with pytest.raises(ValueError, match=r"environments.joined needs transitions whose states.*one shape"):
        joined([found, record(Maze(5), 10)])
    with pytest.raises(TypeError, match=r"Transitions needs a slice.*Received: 3"):
        found[3]
    with pytest.raises(ValueError, match="Transitions needs steps to be a whole number"):
        found.paths(0)

    class Texts(Maze):
        observation_space = gymnasium.spaces.Text(3)

    maze = Maze(4)
    maze.observation_space = gymnasium.spaces.Text(3)
    with pytest.raises(ValueError, match=r"environments.record needs observations that are arrays.*Text"):
        record(maze, 3)
    assert isinstance(found, Transitions)


def test_the_nearest_known_state_is_that_of_all_distances():
    rng = np.random.default_rng(0)
    known, states = rng.random((30, 4, 3)), rng.random((50, 4, 3))
    distances = ((states[:, None] - known[None]) ** 2).sum(axis=(2, 3))
    nearest = NearestKnown(np.concatenate([known, known]))
    np.testing.assert_allclose(nearest(states), known[distances.argmin(axis=1)], rtol=1e-6)
    assert len(nearest.states) == 30
    with pytest.raises(ValueError, match=r"NearestKnown needs states of shape \(batch, 4, 3\). Received: \(50, 4\)"):
        nearest(states[..., 0])
    with pytest.raises(ValueError, match=r"NearestKnown needs states of shape \(known, \*state\)"):
        NearestKnown(np.zeros((0, 3)))


# --- without Gymnasium ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "home"), [("Maze", "maze"), ("DreamEnvironment", "dream")])
def test_without_gymnasium_it_says_what_to_install(monkeypatch, name, home):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    for module in (home, "extra"):
        monkeypatch.delitem(sys.modules, f"keras_vae.environments.{module}", raising=False)
    monkeypatch.delitem(vars(kv.environments), name, raising=False)  # where its `__getattr__` keeps it
    with pytest.raises(ImportError, match=r'environments needs Gymnasium: pip install "keras_vae\[gymnasium\]"'):
        getattr(kv.environments, name)


def test_only_one_file_imports_gymnasium():
    files = [path for path in (ROOT / "keras_vae").rglob("*.py") if "import gymnasium as" in path.read_text("utf-8")]
    assert [path.name for path in files] == ["extra.py"]
    with pytest.raises(AttributeError, match="has no attribute 'Labyrinth'"):
        kv.environments.Labyrinth  # noqa: B018


@pytest.mark.slow
def test_the_package_is_there_without_gymnasium(run_python):
    code = """
import sys
sys.modules["gymnasium"] = None
import keras_vae as kv
from keras_vae.environments import NearestKnown, Transitions
try:
    kv.environments.Maze
except ImportError as error:
    print(error)
"""
    assert "pip install" in run_python(code)
