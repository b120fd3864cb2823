"""The set of shapes: pictures and factors against SciPy, splits, scores of disentanglement, and whose the name is."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import keras_vae as kv
from keras_vae import cli, run_folder
from keras_vae.datasets import load
from keras_vae.datasets.load import NAMED
from keras_vae.datasets.shapes import every_image

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def data():
    return load("shapes", batch_size=500)


@pytest.fixture(scope="module")
def images():
    """All of them, shape (shapes, scales, rotations, x, y, 32, 32)."""
    return every_image()[0].reshape(3, 4, 8, 12, 12, 32, 32)


def everything(dataset) -> np.ndarray:
    return np.concatenate(list(dataset))[..., 0]


def values_of(data, split: str, name: str) -> np.ndarray:
    column = list(data.factor_values).index(name)
    return np.array(data.factor_values[name])[data.factors[split][:, column]]


def test_all_images_are_different(images):
    rows = images.reshape(-1, 32 * 32)
    assert len({row.tobytes() for row in rows}) == len(rows) == 13824
    assert set(np.unique(rows)) == {0, 1}


def test_areas_are_the_square_of_the_scale_whatever_the_rotation_and_the_place(data):
    images, scales = everything(data.test), values_of(data, "test", "scale")
    error = images.sum(axis=(1, 2)) - scales**2
    assert np.abs(error).max() < 6, "pixels, of the 26 or more at the edge"
    assert np.abs(error / scales**2).mean() < 0.02


def test_a_picture_is_the_same_at_each_place(images):
    areas = images.sum(axis=(-1, -2))
    assert (areas == areas[..., :1, :1]).all(), "none is cut at a side"
    moved = ndimage.shift(images[2, 3, 1, 0, 0], (4, 7), order=0)  # y, then x
    np.testing.assert_array_equal(moved, images[2, 3, 1, 7, 4])


@pytest.mark.parametrize("split", ["validation", "test"])
def test_centres_of_mass_are_where_x_and_y_say(data, split):
    centres = np.array([ndimage.center_of_mass(image) for image in everything(getattr(data, split))])
    expected = np.stack([values_of(data, split, name) for name in ("y", "x")], axis=1)
    assert np.abs(centres - expected).max() < 0.26, "pixels"


def centred(image):
    """In grey, with its centre of mass in the middle."""
    image = image.astype(float)
    return ndimage.shift(image, 15.5 - np.array(ndimage.center_of_mass(image)), order=1)


@pytest.mark.parametrize(("shape", "turned"), [(0, 0.95), (1, 0.9), (2, 0.95)], ids=["square", "ellipse", "heart"])
def test_rotations_are_those_of_scipy(data, images, shape, turned):
    upright = centred(images[shape, 3, 0, 5, 5])

    def likeness(step, angle):
        rotated = ndimage.rotate(upright, angle, reshape=False, order=1)
        return np.corrcoef(rotated.ravel(), centred(images[shape, 3, step, 5, 5]).ravel())[0, 1]

    for step, angle in enumerate(data.factor_values["rotation"]):
        assert likeness(step, angle) > 0.98
    for step in (1, 2, 3):
        assert likeness(step, -data.factor_values["rotation"][step]) < turned, "the other way round"


def test_splits_hold_each_image_once_and_say_what_it_is(data):
    images, numbers = every_image()
    known = {image.tobytes(): tuple(row) for image, row in zip(images[..., 0], numbers.tolist(), strict=True)}
    found = []
    for split in SPLITS:
        rows = [known[image.astype(np.uint8).tobytes()] for image in everything(getattr(data, split))]
        said = list(map(tuple, data.factors[split].tolist()))
        assert (sorted(rows) == sorted(said)) if split == "train" else (rows == said)
        np.testing.assert_array_equal(data.labels[split], data.factors[split][:, 0])
        assert data.factors[split].dtype == np.int64
        found += rows
    assert sorted(found) == sorted(known.values())
    assert data.sizes == {"train": 11060, "validation": 1382, "test": 1382}
    assert data.classes == data.factor_values["shape"] == ("square", "ellipse", "heart")


def test_the_first_images_are_as_varied_as_all(data):
    """Figures show the first ones."""
    for column, values in enumerate(data.factor_values.values()):
        counts = np.bincount(data.factors["test"][:144, column], minlength=len(values))
        expected = 144 / len(values)
        assert np.abs(counts - expected).max() < 4 * np.sqrt(expected), "standard errors of images drawn at random"


def test_it_says_what_it_is(data):
    assert (data.kind, data.shape, data.value_range) == (kv.Bernoulli, (32, 32, 1), (0.0, 1.0))
    text = str(data)
    assert "shapes: 32x32x1 images, 11,060 train, 1,382 validation, 1,382 test" in text
    assert "binary, as stored" in text
    assert "factors: shape (square, ellipse, heart), scale (4 values from 7 to 13), rotation (8 values" in text
    assert load("digits").factors is load("digits").factor_values is None


def test_order_is_a_function_of_seed_and_epoch(data):
    again, other = load("shapes", batch_size=64), load("shapes", batch_size=500, seed=1)
    np.testing.assert_array_equal(everything(again.test), everything(data.test))
    assert not np.array_equal(other.factors["test"], data.factors["test"])
    data.train.epoch.assign(3)
    first, second = everything(data.train), everything(data.train)
    assert not np.array_equal(first, second)
    data.train.epoch.assign(3)
    np.testing.assert_array_equal(everything(data.train), first)


def test_pairs_are_images_and_their_shape(data):
    pairs = load("shapes", batch_size=500, labels=True)
    x, y = (np.concatenate(part) for part in zip(*pairs.test, strict=True))
    np.testing.assert_array_equal(y.argmax(axis=1), data.labels["test"])
    np.testing.assert_array_equal(x[..., 0], everything(data.test))


def test_factors_are_perfect_codes_and_rotated_ones_are_not(data):
    factors = data.factors["test"]
    codes = (factors - factors.mean(axis=0)) / factors.std(axis=0)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    perfect, rotated = (kv.evaluation.disentanglement(each, factors, trees=5) for each in (codes, codes @ rotation))
    assert perfect.mutual_information_gap > 0.95
    assert perfect.disentanglement > 0.99
    assert perfect.informativeness > 0.99
    assert perfect.factor_vae > 0.99
    assert rotated.mutual_information_gap < 0.4
    assert rotated.disentanglement < 0.6


# --- whose the name is ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of images of this name, where we are."""
    (tmp_path / "shapes").mkdir()
    for level in range(20):
        Image.new("L", (4, 4), 10 * level).save(tmp_path / "shapes" / f"{level}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_name_is_that_of_the_set_and_a_path_that_of_a_folder(folder):
    assert load("shapes").shape == (32, 32, 1)
    for path in ("./shapes", Path("shapes"), folder / "shapes"):
        assert load(path).shape == (4, 4, 1)
    with pytest.raises(ValueError, match=r"needs a folder of images to resize or crop\. Received: shapes"):
        load("shapes", resize=(8, 8))
    assert load("./shapes", resize=(8, 8)).shape == (8, 8, 1)


def test_sets_of_tensorflow_datasets_keep_their_names(monkeypatch):
    asked = []

    def source(name, labels):
        asked.append(name)
        return NAMED["digits"](0)

    monkeypatch.setattr(sys.modules["keras_vae.datasets.load"], "tfds_source", source)
    for name in ("shapes3d", "shapes:1.0.0"):  # with its version also a set of this name
        load(name)
    assert asked == ["shapes3d", "shapes:1.0.0"]


@pytest.mark.parametrize(("given", "taken"), [("shapes", "shapes"), ("./shapes", "{folder}/shapes")])
def test_the_command_line_takes_the_same(folder, monkeypatch, given, taken):
    asked = []

    def create(path, settings, overwrite):
        asked.append(settings.data)
        raise ValueError("train needs no more than that")

    monkeypatch.setattr("keras_vae.run.Run.create", create)
    assert cli.main(["train", given, "--output", str(folder / "run")]) == 1
    assert asked == [taken.format(folder=folder)]
    assert set(run_folder.NAMED) == set(NAMED)
