"""Billiards and gravity: paths against closed forms, SciPy and the laws of mechanics; frames against positions."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import keras_vae as kv
from keras_vae.datasets import Billiards, Gravity, Motion, load
from keras_vae.datasets.mechanics import collide


def path(recipe, count=20, seed=0):
    return recipe.move(*recipe.begin(count, np.random.default_rng(seed)))


def folded(places, low, high):
    """Points that are reflected at two walls, from where they would be without them."""
    wide = high - low
    return low + wide - np.abs((places - low) % (2 * wide) - wide)


# --- billiards --------------------------------------------------------------------------------------------------------


def test_one_ball_is_reflected_at_the_walls():
    recipe = Billiards(balls=1, frames=300)
    start, velocity = recipe.begin(10, np.random.default_rng(0))
    positions, velocities = recipe.move(start, velocity)
    times = np.arange(300)[:, None, None]
    expected = folded(start[:, None] + times * velocity[:, None], -1 + recipe.radius, 1 - recipe.radius)
    np.testing.assert_allclose(positions, expected, atol=1e-11)
    np.testing.assert_allclose(np.abs(velocities), np.abs(velocity)[:, None] + 0 * times, atol=1e-15)


def test_balls_on_a_line_are_points_that_pass_each_other():
    """Rods of one mass on a line exchange velocities: without their widths they are points, sorted."""
    rng, radius = np.random.default_rng(1), 0.1
    points = np.sort(rng.uniform(-1, 1 - 6 * radius, (10, 3)), axis=1)
    widths = 2 * radius * np.arange(3) + radius
    starts = np.stack([points + widths, np.zeros_like(points)], axis=-1)
    speeds = rng.normal(scale=0.05, size=points.shape)
    found, _ = collide(starts, np.stack([speeds, np.zeros_like(speeds)], axis=-1), radius, 200)
    free = points[:, None] + np.arange(200)[:, None] * speeds[:, None]
    expected = np.sort(folded(free, -1, 1 - 6 * radius), axis=-1) + widths
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-10)
    assert not found[..., 1].any()


def test_a_collision_keeps_momentum_and_turns_the_relative_speed():
    _, v = collide(np.array([[[-0.3, 0.05], [0.3, -0.05]]]), np.array([[[0.1, 0.01], [-0.05, 0.0]]]), 0.1, 6)
    np.testing.assert_allclose(v.sum(axis=2), [[[0.05, 0.01]] * 6], atol=1e-15)
    assert np.ptp(v[0, :3], axis=0).max() == 0, "straight until they touch"
    # The place of the collision, found by solving for the distance of two radii.
    apart, towards = np.array([-0.6, 0.1]), np.array([0.15, 0.01])
    when = min(np.roots([towards @ towards, 2 * apart @ towards, apart @ apart - 0.04]).real)
    along = (apart + when * towards) / 0.2
    change = v[0, -1, 0] - v[0, 0, 0]
    np.testing.assert_allclose(change, -(towards @ along) * along, atol=1e-12)
    assert (v[0, -1, 0] - v[0, -1, 1]) @ along == pytest.approx(-(towards @ along))


def test_billiards_keep_their_energy_and_never_overlap():
    recipe = Billiards(frames=1000)
    positions, velocities = path(recipe, 8)
    energies = 0.5 * np.sum(velocities**2, axis=(-1, -2))
    np.testing.assert_allclose(energies, 0.5 * 0.1**2, rtol=1e-9)
    np.testing.assert_array_equal(recipe.energy(positions, velocities), energies)
    for one, other in itertools.combinations(range(3), 2):
        assert np.linalg.norm(positions[:, :, one] - positions[:, :, other], axis=-1).min() > 2 * recipe.radius - 1e-9
    assert np.abs(positions).max() < 1 - recipe.radius + 1e-9
    speeds = np.linalg.norm(velocities, axis=-1)
    assert (np.abs(np.diff(speeds, axis=1)) > 1e-6).any(axis=1).sum() > 20, "they collide"


def test_billiards_go_back_the_way_they_came():
    recipe = Billiards(frames=60)
    positions, velocities = path(recipe)
    back, _ = recipe.move(positions[:, -1], -velocities[:, -1])
    np.testing.assert_allclose(back[:, ::-1], positions, atol=1e-6)


# --- gravity ----------------------------------------------------------------------------------------------------------


def potential(x):
    """The text of the class in its own units: a frame 30 wide, one planet at x, shape (..., planets, 2)."""
    x = 15 * x
    pairs = itertools.combinations(range(x.shape[-2]), 2)
    soft = sum(-2 / np.sqrt(np.sum((x[..., i, :] - x[..., j, :]) ** 2, axis=-1) + 4) for i, j in pairs)
    return (soft + 0.00025 / 4 * np.sum(np.sum(x**2, axis=-1) ** 2, axis=-1)) / 15**2


def test_gravity_keeps_its_energy():
    recipe = Gravity(frames=1000)
    positions, velocities = path(recipe)
    kinetic = 0.5 * np.sum(velocities**2, axis=(-1, -2))
    energies = kinetic + potential(positions)
    change = np.abs(energies - energies[:, :1]).max(axis=1)
    assert (change < 1e-3 * kinetic.mean(axis=1)).all()
    assert (change < 1e-3 * np.abs(energies[:, 0])).all()
    np.testing.assert_allclose(recipe.energy(positions, velocities), energies, atol=1e-12)
    spin = np.sum(positions[..., 0] * velocities[..., 1] - positions[..., 1] * velocities[..., 0], axis=-1)
    np.testing.assert_allclose(spin, spin[:, :1] + 0 * spin, atol=1e-10)
    assert np.abs(positions).max() < 1, "all are in the frame"


def test_gravity_goes_where_scipy_says():
    recipe = Gravity(balls=3, frames=50)
    positions, velocities = path(recipe, 2)

    def force(x, step=1e-5):
        """Less the slope of the potential, by finite differences."""
        x = x.reshape(3, 2)
        slopes = [(potential(x + step * d) - potential(x - step * d)) / (2 * step) for d in np.eye(6).reshape(6, 3, 2)]
        return -np.array(slopes)

    for x, v in zip(positions, velocities, strict=True):
        start = np.concatenate([x[0].ravel(), v[0].ravel()])
        solved = solve_ivp(
            lambda _, y: np.concatenate([y[6:], force(y[:6])]),
            (0, 49),
            start,
            method="DOP853",
            t_eval=np.arange(50),
            rtol=1e-9,
            atol=1e-9,
        )
        np.testing.assert_allclose(solved.y[:6].T.reshape(50, 3, 2), x, atol=2e-4)


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [Billiards(frames=4), Gravity(frames=4, side=50)])
def test_frames_show_balls_where_they_are(recipe):
    frames, truth = recipe.make(5, np.random.default_rng(0))
    side = recipe.side
    assert frames.shape == (5, 4, side, side, 1)
    places = (2 * np.arange(side) + 1) / side - 1
    x, y = (truth["positions"][..., axis, None, None] for axis in (0, 1))  # [5, 4, 3, 1, 1]
    distances = np.sqrt((places - x) ** 2 + (places[:, None] - y) ** 2)
    expected = np.exp(-((distances / recipe.radius) ** 8)).sum(axis=2)
    np.testing.assert_allclose(frames[..., 0] / 255, np.minimum(expected, 1), atol=2.5 / 255)


def test_each_colour_follows_its_ball():
    frames, truth = Billiards(balls=4, frames=10, coloured=True).make(6, np.random.default_rng(0))
    pixels = frames.astype(float)
    blue = pixels[..., 2]
    yellow = np.minimum(pixels[..., 0], pixels[..., 1])  # of the fourth ball alone
    places = (2 * np.arange(32) + 1) / 32 - 1
    for ball, levels in {2: blue, 3: yellow}.items():
        total = levels.sum(axis=(-1, -2))
        centre = np.stack([(levels.sum(axis=-2) @ places) / total, (levels.sum(axis=-1) @ places) / total], axis=-1)
        np.testing.assert_allclose(centre, truth["positions"][:, :, ball], atol=0.02)
    assert frames.shape == (6, 10, 32, 32, 3)


def test_balls_beyond_the_edges_are_drawn_as_far_as_they_are_seen():
    frames = Gravity(balls=2)._drawn(np.array([[[1.0, 0.0], [3.0, -9.0]]]))
    assert frames[0, 15, -1, 0] == 255
    assert frames[0, :, :16].max() == 0


def test_loaded_frames_have_positions_and_velocities():
    data = load(Billiards(frames=8, examples=12, held_out=5), batch_size=4)
    assert (data.shape, data.kind) == ((8, 32, 32, 1), kv.LearnedScaleNormal)
    assert "truth: positions (8 x 3 x 2), velocities (8 x 3 x 2)" in str(data)
    assert data.labels is None
    frames = np.concatenate(list(data.test))
    assert frames.shape == (5, 8, 32, 32, 1)
    columns = np.rint((data.truth["test"]["positions"] + 1) * 16 - 0.5).astype(int)  # [5, 8, 3, 2]
    assert frames[np.arange(5)[:, None, None], np.arange(8)[:, None], columns[..., 1], columns[..., 0], 0].min() > 0.95
    moved = np.diff(data.truth["test"]["positions"], axis=1)
    straight = np.abs(np.diff(data.truth["test"]["velocities"], axis=1)).max(axis=(2, 3)) < 1e-7
    np.testing.assert_allclose(moved[straight], data.truth["test"]["velocities"][:, 1:][straight], atol=1e-6)


@dataclasses.dataclass(frozen=True)
class Flight(Motion):
    """Balls of one's own, which fly straight on."""

    name = "flight"
    radius = 0.2

    def begin(self, count, rng):
        return rng.uniform(-0.5, 0.5, (count, self.balls, 2)), rng.uniform(-0.02, 0.02, (count, self.balls, 2))

    def move(self, positions, velocities):
        velocities = np.repeat(velocities[:, None], self.frames, axis=1)
        return positions[:, None] + np.arange(self.frames)[:, None, None] * velocities, velocities

    def energy(self, positions, velocities):
        return 0.5 * np.sum(velocities**2, axis=(-1, -2))


def test_motion_of_ones_own():
    data = load(Flight(balls=1, frames=5, examples=8, held_out=4), batch_size=4)
    frames = np.concatenate(list(data.test)).astype(float)[..., 0]  # [4, 5, 32, 32]
    middle = (frames.sum(axis=-2) @ ((2 * np.arange(32) + 1) / 32 - 1)) / frames.sum(axis=(-1, -2))
    np.testing.assert_allclose(middle, data.truth["test"]["positions"][:, :, 0, 0], atol=0.01)


@pytest.mark.parametrize(("recipe", "options"), [(Billiards, {"balls": 7}), (Gravity, {"frames": 0})])
def test_recipes_of_motion_say_what_they_need(recipe, options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"{recipe.__name__} needs {name} to be a whole number .* {name}={value}"):
        recipe(**options)
