"""Mazes, with one pixel for each cell."""

import collections
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from keras_vae.arguments import fraction, whole_number, whole_seed
from keras_vae.environments.extra import gymnasium

MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # (row, column) of up, right, down and left
STEP, GOAL = -0.01, 1.0  # rewards
FLOOR = (255, 255, 255)
COLOURS = {0: (60, 60, 60), 1: (0, 120, 255), 2: (230, 60, 30)}  # of walls, player and goal


class Maze(gymnasium.Env):
    """A maze by Prim's algorithm: from the upper left corner to the open cell that is nearest to the lower right one.

    All open cells are joined, by one path between each two: cell by cell a random neighbour of the maze is opened, if
    it has exactly one open neighbour itself. The maze is the same in each episode.

    - Observations: binary images, float32 of shape (height, width, 3), one pixel for each cell: walls, player, goal.
    - Actions: 0 up, 1 right, 2 down, 3 left; against a wall, and the edge, the player stays.
    - Rewards: 1 on reaching the goal, which ends the episode, and -0.01 in every other step. There is no limit of
      steps: `gymnasium.wrappers.TimeLimit` sets one.

    Args:
        size: number of rows and of columns, or (rows, columns), each 2 or more.
        seed: integer, of the maze.
        slip: probability that a random action takes the place of the one chosen, 0 or more and below 1.
        view: None for all of the maze, or how many cells the player sees to each side: images are then of shape
            (2 view + 1, 2 view + 1, 3), with the player in the middle, and walls beyond the edge.
        anywhere: whether episodes begin at any open cell but the goal, by chance, in place of the corner; an episode of
            `reset(options={"start": (row, column)})` begins there.
        render_mode: None or "rgb_array", of all of the maze.

    Attributes:
        walls: bool of shape (rows, columns).
        start, goal: (row, column).
        distances: steps from each cell to the goal by the shortest path, int64 of shape (rows, columns), -1 in walls.
        shortest: that of `start`.
        player: (row, column).

    Raises:
        ImportError: without Gymnasium.
        ValueError: for arguments out of their range, and a start in a wall or on the goal.

    Reference: the mazes of Andersen, Goodwin & Granmo 2018, arXiv:1810.01112, and their repository deep-maze.
    """

    metadata: ClassVar[dict] = {"render_modes": ["rgb_array"], "render_fps": 8}

    def __init__(
        self,
        size: int | Sequence[int] = 8,
        seed: int = 0,
        slip: float = 0.0,
        view: int | None = None,
        anywhere: bool = False,
        render_mode: str | None = None,
    ):
        sizes = tuple(size) if isinstance(size, Sequence) else (size, size)
        if len(sizes) != 2:
            raise ValueError(f"Maze needs size to be a number or (rows, columns). Received: size={size!r}.")
        rows, columns = (whole_number(self, "size", each, least=2) for each in sizes)
        self.slip = fraction(self, "slip", slip)
        self.view = None if view is None else whole_number(self, "view", view)
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f'Maze needs render_mode to be None or "rgb_array". Received: {render_mode!r}.')
        self.anywhere, self.render_mode = anywhere, render_mode
        self.walls = _prim(rows, columns, np.random.default_rng(whole_seed(self, seed) % 2**32))
        self.start = (0, 0)
        cells = np.argwhere(~self.walls)
        self.goal = _cell(cells[np.argmax(cells.sum(axis=1))])
        self.distances = self._distances()
        self.shortest = int(self.distances[self.start])
        self.player = self.start
        shape = (rows, columns, 3) if self.view is None else (2 * self.view + 1, 2 * self.view + 1, 3)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, shape, np.float32)
        self.action_space = gymnasium.spaces.Discrete(4)

    @property
    def best_return(self) -> float:
        """The sum of the rewards on the shortest path."""
        return GOAL + STEP * (self.shortest - 1)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Puts the player to the start; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self.player = self.start
        if options and "start" in options:
            self.player = self._checked(options["start"])
        elif self.anywhere:
            cells = np.argwhere(self.distances > 0)
            self.player = _cell(cells[self.np_random.integers(len(cells))])
        return self.observation(), {}

    def step(self, action):
        """Moves the player; see `gymnasium.Env.step`."""
        if not self.action_space.contains(action):
            raise ValueError(f"Maze.step needs an action from 0 to 3. Received: {action!r}.")
        if self.slip and self.np_random.random() < self.slip:
            action = self.np_random.integers(4)
        moved = _cell(np.array(self.player) + MOVES[action])
        if self._open(moved):
            self.player = moved
        end = self.player == self.goal
        return self.observation(), GOAL if end else STEP, end, False, {}

    def observation(self) -> np.ndarray:
        """What the player sees now."""
        image = np.zeros((*self.walls.shape, 3), np.float32)
        image[..., 0] = self.walls
        image[(*self.player, 1)] = 1
        image[(*self.goal, 2)] = 1
        if self.view is None:
            return image
        around = [(self.view, self.view)] * 2
        wide = np.stack([np.pad(image[..., each], around, constant_values=each == 0) for each in range(3)], axis=-1)
        row, column = self.player
        return wide[row : row + 2 * self.view + 1, column : column + 2 * self.view + 1]

    def render(self) -> np.ndarray | None:
        """All of the maze in colours, bytes of shape (8 rows, 8 columns, 3); None without a render mode."""
        if self.render_mode is None:
            return None
        picture = np.full((*self.walls.shape, 3), FLOOR, np.uint8)
        picture[self.walls] = COLOURS[0]
        picture[self.goal] = COLOURS[2]
        picture[self.player] = COLOURS[1]
        return picture.repeat(8, axis=0).repeat(8, axis=1)

    def _open(self, cell: tuple[int, int]) -> bool:
        inside = all(0 <= place < size for place, size in zip(cell, self.walls.shape, strict=True))
        return inside and not self.walls[cell]

    def _checked(self, start) -> tuple[int, int]:
        cell = _cell(start)
        if len(start) != 2 or not self._open(cell) or cell == self.goal:
            raise ValueError(f"Maze.reset needs a start at an open cell that is not the goal. Received: {start!r}.")
        return cell

    def _distances(self) -> np.ndarray:
        """By breadth-first search from the goal."""
        found = np.full(self.walls.shape, -1)
        found[self.goal] = 0
        waiting = collections.deque([self.goal])
        while waiting:
            cell = waiting.popleft()
            for move in MOVES:
                near = _cell(np.array(cell) + move)
                if self._open(near) and found[near] < 0:
                    found[near] = found[cell] + 1
                    waiting.append(near)
        return found


def _cell(place) -> tuple[int, int]:
    return int(place[0]), int(place[1])


def _prim(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Where walls are, bool of shape (rows, columns): a tree of open cells, to which no cell can be added."""
    walls = np.ones((rows + 2, columns + 2), bool)  # with a wall all around
    waiting = [(1, 1)]
    while waiting:
        place = int(rng.integers(len(waiting)))
        waiting[place], waiting[-1] = waiting[-1], waiting[place]
        cell = waiting.pop()
        near = [_cell(np.array(cell) + move) for move in MOVES]
        near = [(row, column) for row, column in near if 1 <= row <= rows and 1 <= column <= columns]
        opened = [each for each in near if not walls[each]]
        if walls[cell] and len(opened) == (cell != (1, 1)):
            walls[cell] = False
            waiting += [each for each in near if walls[each]]
    return walls[1:-1, 1:-1]
