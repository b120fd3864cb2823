"""What is found in scenes against what is in them: scores against scikit-learn, and figures of both."""

import itertools

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from keras_vae import plotting
from keras_vae.datasets import Billiards, Canvases, Sprites
from keras_vae.evaluation import count_accuracy, foreground_rand_index

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def sprites():
    return Sprites(most=3).make(40, np.random.default_rng(0))


def picture(figure):
    return np.asarray(figure.axes[0].images[0].get_array())


# --- scores -----------------------------------------------------------------------------------------------------------


def test_the_index_of_the_truth_is_1_whatever_the_ground_and_the_names(sprites):
    masks = sprites[1]["masks"]
    names = np.array([9, 5, 7, 2])[masks]
    names[masks == 0] = RNG.integers(10, size=(masks == 0).sum())
    assert (foreground_rand_index(masks, names) == 1).all()
    weights = np.eye(4)[masks] + 0.3 * RNG.random((*masks.shape, 4))
    assert (foreground_rand_index(masks, weights) == 1).all()


def test_the_index_is_that_of_pairs_of_pixels():
    """By its definition: agreements of all pairs of pixels, over what is expected of names that are shuffled."""
    masks = RNG.integers(0, 4, (3, 5, 6))
    found = np.where(RNG.random(masks.shape) < 0.7, masks, RNG.integers(0, 4, masks.shape))
    for true, ours, score in zip(masks, found, foreground_rand_index(masks, found), strict=True):
        true, ours = true[true > 0], ours[true > 0]
        pairs = np.array(list(itertools.combinations(range(len(true)), 2)))
        same, together = (each[pairs[:, 0]] == each[pairs[:, 1]] for each in (true, ours))
        chance = same.sum() * together.sum() / len(pairs)
        expected = ((same & together).sum() - chance) / ((same.sum() + together.sum()) / 2 - chance)
        assert score == pytest.approx(expected)
        assert score == adjusted_rand_score(true, ours)


def test_the_index_of_chance_and_of_single_objects():
    masks = RNG.integers(0, 3, (50, 16, 16))
    scores = foreground_rand_index(masks, RNG.integers(0, 3, masks.shape))
    assert abs(scores.mean()) < 4 * scores.std() / np.sqrt(50)
    one = np.ones((3, 4, 4), int)
    one[2] = 0
    found = one.copy()
    found[1, 0, 0] = 5
    np.testing.assert_array_equal(foreground_rand_index(one, found), [1, 0, np.nan])


def test_counts_are_right_as_often_as_they_are():
    counts, found = np.array([0, 1, 1, 2, 2, 2, 3, 3]), np.array([0.2, 1, 2, 2, 2, 1.6, 4, 2])
    score = count_accuracy(counts, found)
    assert score.accuracy == 5 / 8
    assert score.standard_error == pytest.approx(np.std([1, 1, 0, 1, 1, 1, 0, 0]) / np.sqrt(8))
    assert score.table[3, 4] == score.table[3, 2] == score.table[1, 2] == 1
    assert score.table.sum() == 8
    expected = "count accuracy 0.6250 +- 0.1712: 1.000 of 1 with 0, 0.500 of 2 with 1, 1.000 of 3 with 2, 0.000 of 2"
    assert expected in str(score)


def test_scores_say_what_they_need(sprites):
    masks = sprites[1]["masks"]
    with pytest.raises(
        ValueError, match=r"foreground_rand_index needs masks .* Received: \(40, 32, 32\) and \(40, 32\)"
    ):
        foreground_rand_index(masks, masks[:, 0])
    with pytest.raises(ValueError, match=r"foreground_rand_index needs found to be whole numbers"):
        foreground_rand_index(masks, masks + 0.5)
    with pytest.raises(ValueError, match=r"count_accuracy needs counts and found of one shape.* \(2,\) and \(3,\)"):
        count_accuracy([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match=r"count_accuracy needs found to be finite numbers, 0 or more"):
        count_accuracy([1, 2], [1, np.nan])


# --- figures ----------------------------------------------------------------------------------------------------------


def test_boxes_are_around_the_ink():
    recipe = Canvases()
    images, truth = recipe.make(12, np.random.default_rng(0), recipe.material(0)["test"])
    figure = plotting.boxes(images / 255, truth["boxes"], truth["boxes"] + 1, count=10)
    factor, drawn = 3, figure.axes[0].patches
    assert picture(figure).shape == (2 * (factor * 32 + 1) + 1, 8 * (factor * 32 + 1) + 1, 3)
    assert len(drawn) == 2 * truth["counts"][:10].sum()
    shown = picture(figure)[..., 0]
    for patch in (patch for patch in drawn if patch.get_edgecolor()[0] > 0.9):  # orange
        left, top = np.rint(np.array(patch.get_xy()) + 0.5).astype(int)  # edges of a pixel are at halves
        right, bottom = left + round(patch.get_width()), top + round(patch.get_height())
        inside = shown[top:bottom, left:right]
        assert inside.max(axis=0).min() > 0
        assert inside.max(axis=1).min() > 0


def test_components_stand_beside_their_image(sprites):
    images, truth = sprites
    masks = np.stack([truth["masks"] == number for number in range(4)], axis=1)  # [images, parts, height, width]
    parts = np.repeat(images[:, None], 4, axis=1) / 255
    figure = plotting.components(images / 255, masks, parts, images / 255, count=3)
    shown = picture(figure)
    assert shown.shape == (3 * 33 + 1, 10 * 33 + 1, 3)
    for row in range(3):
        tiles = [shown[row * 33 + 1 : row * 33 + 33, at * 33 + 1 : at * 33 + 33] for at in range(10)]
        np.testing.assert_allclose(tiles[0], images[row] / 255, atol=1e-6)
        np.testing.assert_allclose(tiles[1], tiles[0])
        np.testing.assert_array_equal(sum(tiles[2:6]), np.ones((32, 32, 3)))
        np.testing.assert_allclose(sum(tiles[6:]), tiles[0], atol=1e-6)
    assert plotting.components(images, masks[:, :2]).axes[0].images[0].get_array().shape[1] == 3 * 33 + 1


def test_a_film_strip_has_the_first_and_the_last_frame():
    frames, _ = Billiards(frames=25).make(2, np.random.default_rng(0))
    first, second = frames / np.float32(255)
    shown = picture(plotting.film_strip(first, second, count=4))
    assert shown.shape == (2 * 33 + 1, 4 * 33 + 1, 3)
    for column, time in enumerate((0, 8, 16, 24)):
        for row, sequence in enumerate((first, second)):
            tile = shown[row * 33 + 1 : row * 33 + 33, column * 33 + 1 : column * 33 + 33]
            np.testing.assert_allclose(tile, np.repeat(sequence[time], 3, axis=-1), atol=1e-6)
    assert picture(plotting.film_strip(first[:3])).shape == (34, 3 * 33 + 1, 3)


@pytest.mark.parametrize("coloured", [False, True])
def test_an_animation_has_all_frames_and_their_time(tmp_path, coloured):
    frames, _ = Billiards(frames=6, coloured=coloured).make(2, np.random.default_rng(0))
    frames[:, 3] = frames[:, 2]  # a frame that is as the one before is shown for twice the time
    plotting.animation(tmp_path / "balls.gif", frames[0], frames[1], seconds=0.05)
    with Image.open(tmp_path / "balls.gif") as film:
        assert film.info["loop"] == 0
        times = []
        for place in range(film.n_frames):
            film.seek(place)
            times += [(place, part) for part in range(film.info["duration"] // 50)]
        for time, (place, _) in enumerate(times):
            film.seek(place)
            shown = np.asarray(film.convert("RGB")).astype(float)
            for at in range(2):
                tile = shown[2:97:3, at * 97 + 2 : at * 97 + 97 : 3]  # the middle of each enlarged pixel
                assert np.abs(tile - np.broadcast_to(frames[at, time], (32, 32, 3))).mean() < 2
    assert len(times) == 6


def test_figures_say_what_they_need(tmp_path, sprites):
    images, truth = sprites
    with pytest.raises(
        ValueError, match=r"plotting\.boxes needs boxes of shape \(40, objects, 4\)\. Received: \(40, 3, 2\)"
    ):
        plotting.boxes(images, truth["positions"])
    with pytest.raises(ValueError, match=r"plotting\.boxes needs images of shape"):
        plotting.boxes(images[0], truth["boxes"])
    with pytest.raises(ValueError, match=r"components needs masks of shape \(40, parts, 32, 32\)\. .* \(40, 32, 32\)"):
        plotting.components(images, truth["masks"])
    with pytest.raises(ValueError, match=r"components needs parts of shape \(40, 1, 32, 32, 3\)"):
        plotting.components(images, truth["masks"][:, None], images)
    with pytest.raises(ValueError, match=r"film_strip needs sequences of one shape, .* \(40, 32, 32, 3\) and \(39, "):
        plotting.film_strip(images, images[1:])
    with pytest.raises(ValueError, match=r"animation needs a path that ends in \.gif\. Received: .*film\.mp4"):
        plotting.animation(tmp_path / "film.mp4", images)
    with pytest.raises(ValueError, match=r"animation needs seconds to be 0\.01 or more"):
        plotting.animation(tmp_path / "film.gif", images, seconds=0.001)
