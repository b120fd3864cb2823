"""Sprites and canvases of digits: what is drawn against what is said of it, splits, refusals; frames as data."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import keras_vae as kv
from keras_vae import cli
from keras_vae.datasets import Canvases, MNISTCanvases, Scenes, Sprites, load
from keras_vae.datasets.canvases import Pictures, scaled

SPLITS = ("train", "validation", "test")


def made(recipe, count=300, seed=0):
    return recipe.make(count, np.random.default_rng(seed), recipe.material(0)["train"])


@pytest.fixture(scope="module")
def sprites():
    return made(Sprites())


@pytest.fixture(scope="module")
def canvases():
    return made(Canvases())


# --- sprites ----------------------------------------------------------------------------------------------------------


def test_masks_are_where_the_colours_are(sprites):
    images, truth = sprites
    for image, mask, count, colours in zip(images, truth["masks"], truth["counts"], truth["colours"], strict=True):
        assert set(np.unique(mask)) == set(range(count + 1))
        assert len({tuple(colour) for colour in image[mask == 0]}) == 1, "a plain ground"
        assert image[mask == 0].max() <= 64, "which is dark"
        assert (colours >= 0).sum() == len(set(colours[:count])) == count, "of different colours"
        for number in range(count):
            paint = {"red": "R", "green": "G", "blue": "B", "yellow": "RG", "magenta": "RB", "cyan": "GB"}
            name = Sprites.colours[colours[number]]
            expected = [255 * (channel in paint[name]) for channel in "RGB"]
            assert (image[mask == number + 1] == expected).all()


def test_what_is_said_of_each_shape_is_what_the_mask_measures(sprites):
    _, truth = sprites
    for number in range(4):
        there = np.flatnonzero(truth["counts"] > number)
        masks = truth["masks"][there] == number + 1
        areas = masks.sum(axis=(1, 2))
        scales = truth["scales"][there, number]
        assert np.abs(areas - scales**2).max() < 12, "pixels, of the 19 or more at the edge"
        assert np.abs(areas / scales**2 - 1).mean() < 0.03
        centres = np.array([ndimage.center_of_mass(mask) for mask in masks])[:, ::-1]  # x, y from 0
        np.testing.assert_allclose((2 * centres + 1) / 32 - 1, truth["positions"][there, number], atol=0.4 / 16)
        slices = [ndimage.find_objects(mask.astype(int))[0] for mask in masks]
        boxes = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in slices]
        np.testing.assert_array_equal(truth["boxes"][there, number], boxes)
        gone = np.flatnonzero(truth["counts"] <= number)
        assert np.isnan(truth["boxes"][gone, number]).all()
        assert np.isnan(truth["scales"][gone, number]).all()
        assert (truth["shapes"][gone, number] == -1).all()


def test_shapes_are_what_they_are_called(sprites):
    """A disc of the same second moments: an ellipse is twice as long as it is high, the others are not."""
    _, truth = sprites
    for shape, ratio in {"square": 1.0, "ellipse": 2.0}.items():
        found = []
        for row, number in np.argwhere(truth["shapes"] == Sprites.shapes.index(shape)):
            y, x = np.nonzero(truth["masks"][row] == number + 1)
            low, high = np.linalg.eigvalsh(np.cov(np.stack([x, y]), bias=True) + np.eye(2) / 12)
            found.append(np.sqrt(high / low))
        assert abs(np.mean(found) - ratio) < 0.1
    shares = np.bincount(truth["shapes"][truth["shapes"] >= 0]) / (truth["shapes"] >= 0).sum()
    assert np.abs(shares - 1 / 3).max() < 0.08


def test_rotations_are_counter_clockwise(sprites):
    _, truth = sprites
    ellipse = Sprites.shapes.index("ellipse")
    for row, number in np.argwhere(truth["shapes"] == ellipse)[:40]:
        y, x = np.nonzero(truth["masks"][row] == number + 1)
        axis = np.linalg.eigh(np.cov(np.stack([x, -y])))[1][:, 1]
        angle = np.degrees(np.arctan2(axis[1], axis[0])) - truth["rotations"][row, number]
        assert abs((angle + 90) % 180 - 90) < 12


def test_equal_colours_overlaps_and_textures():
    images, truth = made(Sprites(equal_colours=True, overlap=True, textured=True))
    for colours in truth["colours"]:
        assert len(set(colours[colours >= 0])) == 1
    areas = np.stack([(truth["masks"] == number + 1).sum(axis=(1, 2)) for number in range(4)], axis=1)
    seen = areas / truth["scales"] ** 2
    assert np.nanmin(seen) > 0.4
    assert 0.2 < np.mean(seen[np.isfinite(seen)] < 0.85) < 0.5, "many are partly hidden"
    grounds = [len(np.unique(image[mask == 0], axis=0)) for image, mask in zip(images, truth["masks"], strict=True)]
    assert min(grounds) > 20
    assert all(image[mask == 0].max() < 150 for image, mask in zip(images, truth["masks"], strict=True))


def test_counts_are_as_frequent(sprites):
    counts = np.bincount(sprites[1]["counts"], minlength=5)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 75).max() < 4 * np.sqrt(75)


def test_loaded_sprites_are_a_function_of_the_seed():
    recipe = Sprites(side=64, most=3, examples=30, held_out=20)
    data, again, other = (load(recipe, batch_size=10, seed=seed) for seed in (0, 0, 1))
    assert (data.shape, data.kind, data.value_range) == ((64, 64, 3), kv.LearnedScaleNormal, (0.0, 1.0))
    assert data.sizes == {"train": 30, "validation": 20, "test": 20}
    images = [np.concatenate(list(each.test)) for each in (data, again, other)]
    np.testing.assert_array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    for number in (1, 2, 3):  # truth in the order of the batches
        there = data.truth["test"]["masks"] == number
        assert images[0][there].max(axis=-1).min() == 1
    assert "truth: masks (64 x 64), counts, shapes (3), colours (3), scales (3)" in str(data)
    assert data.classes == ("1", "2", "3")
    np.testing.assert_array_equal(data.labels["test"] + 1, data.truth["test"]["counts"])
    assert data.name.startswith("Sprites(")
    assert load("digits").truth is None


# --- canvases ---------------------------------------------------------------------------------------------------------


def test_a_canvas_is_the_sum_of_its_digits():
    """Marks of a few pixels in the place of digits: how many, where, and that none is covered."""
    dot = np.zeros((3, 8, 8), np.uint8)
    for number, size in enumerate((2, 4, 6)):
        dot[number, 1 : 1 + size, 1 : 1 + size] = 255
    pictures = Pictures(dot, np.array([2, 4, 6]), np.array([20, 40, 60]))
    images, truth = Canvases(most=3).make(200, np.random.default_rng(0), pictures)
    parts = [ndimage.label(image[..., 0] >= 100)[1] for image in images]
    assert (np.array(parts) <= truth["counts"]).all()
    assert np.mean(np.array(parts) == truth["counts"]) > 0.8, "others touch"
    for image, boxes, digits, numbers in zip(images, truth["boxes"], truth["digits"], truth["images"], strict=True):
        covered = np.zeros((32, 32), bool)
        for left, top, right, bottom in boxes[np.isfinite(boxes[:, 0])].astype(int):
            covered[top:bottom, left:right] = True
            assert image[top:bottom, left:right, 0].max(axis=0).min() >= 16, "no empty column"
            assert image[top:bottom, left:right, 0].max(axis=1).min() >= 16
        assert image[~covered].max() < 16
        np.testing.assert_array_equal(numbers[digits >= 0], 10 * digits[digits >= 0])


def test_digits_are_seen_at_their_boxes(canvases):
    """Against the pictures of scikit-learn's set, scaled by SciPy."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, truth = canvases
    likeness = []
    for row in np.flatnonzero(truth["counts"] == 1):
        number = truth["images"][row, 0]
        assert truth["digits"][row, 0] == digits.target[number]
        ink = digits.images[number]
        ink = ink[np.ix_(ink.max(axis=1) > 0, ink.max(axis=0) > 0)]
        left, top, right, bottom = truth["boxes"][row, 0].astype(int)
        found = images[row, top:bottom, left:right, 0]
        scaled = ndimage.zoom(ink, np.divide(found.shape, ink.shape), order=1, grid_mode=True, mode="nearest")
        likeness.append(np.corrcoef(scaled.ravel(), found.ravel())[0, 1])
    assert np.mean(likeness) > 0.9


@pytest.mark.parametrize("width", [5, 8, 13])
def test_digits_are_scaled_as_pillow_does(width):
    levels = np.random.default_rng(0).integers(0, 256, (3, 8, 8)).astype(np.uint8)
    expected = [Image.fromarray(each).resize((width, width), Image.Resampling.BILINEAR) for each in levels]
    np.testing.assert_allclose(scaled(levels, width).astype(int), np.stack(expected), atol=1)


def test_digits_of_test_are_in_no_other_split():
    source = Canvases(examples=1500, held_out=300).source(3)
    seen = {split: set(source.truth[split]["images"].ravel()) - {-1} for split in SPLITS}
    assert [len(seen[split]) > 100 for split in SPLITS] == [True] * 3
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]
    assert source.labels.classes == ("0", "1", "2", "3")
    other = Canvases(examples=1500, held_out=300).source(4)
    assert set(other.truth["test"]["images"].ravel()) != seen["test"] | {-1}


def test_canvases_of_another_size_and_number():
    images, truth = made(Canvases(side=50, most=5), 60)
    assert images.shape == (60, 50, 50, 1)
    assert truth["boxes"].shape == (60, 5, 4)
    assert set(truth["counts"]) == set(range(6))
    heights = truth["boxes"][..., 3] - truth["boxes"][..., 1]
    assert 14 <= np.nanmax(heights) <= 22
    assert np.nanmax(truth["boxes"]) <= 50


def test_canvases_of_mnist(monkeypatch):
    """The sets are TFDS's, with all of its digits at their places; here three small ones in their place."""

    def source(name):
        asked.append(name)
        return dataclasses.replace(load_source, name=name)

    asked = []
    digits = Canvases().material(0)
    load_source = kv.datasets.data.Source(
        "mnist",
        {split: kv.datasets.rows.ArrayRows(digits[split].levels[..., None]) for split in SPLITS},
        labels=kv.datasets.labels.Labels(tuple("0123456789"), {split: digits[split].classes for split in SPLITS}),
    )
    monkeypatch.setattr("keras_vae.datasets.canvases.tfds_source", source)
    data = load(MNISTCanvases(most=2, examples=20, held_out=10), likelihood=kv.FixedScaleNormal)
    assert asked == ["mnist"]
    assert data.shape == (32, 32, 1)
    assert data.value_range[0] == 0
    for split in SPLITS:
        places = data.truth[split]["images"]
        expected = digits[split].classes[places]
        np.testing.assert_array_equal(data.truth[split]["digits"], np.where(places < 0, -1, expected))


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (Sprites, {"most": 5}, r"Sprites needs most to be a whole number from 1 to 4\. Received: most=5"),
        (Sprites, {"side": 8}, r"Sprites needs side to be a whole number from 16 to 1024\. Received: side=8"),
        (Sprites, {"examples": 0}, "Sprites needs examples to be a whole number, 1 or more. Received: examples=0"),
        (Canvases, {"most": 2.0}, r"Canvases needs most to be a whole number from 1 to 9\. Received: most=2.0"),
        (MNISTCanvases, {"held_out": -1}, "MNISTCanvases needs held_out to be a whole number"),
    ],
)
def test_recipes_say_what_they_need(recipe, options, message):
    with pytest.raises(ValueError, match=message):
        recipe(**options)


def test_no_room_is_said(monkeypatch):
    monkeypatch.setattr("keras_vae.datasets.scenes.ROUNDS", 40)
    full = Pictures(np.full((1, 8, 8), 255, np.uint8), np.zeros(1, int), np.zeros(1, int))
    with pytest.raises(
        ValueError, match=r"Canvases needs room for all objects of a scene\. Received: Canvases\(side=16"
    ):
        Canvases(side=16, most=9).make(20, np.random.default_rng(0), full)


# --- recipes, images and frames of one's own --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Stripes(Scenes):
    """Frames of a line that moves to the right."""

    width: int
    examples: int = 12
    held_out: int = 4

    name = "stripes"

    def make(self, count, rng, material):
        starts = rng.integers(self.width, size=count)
        frames = np.zeros((count, 3, 4, self.width, 1), np.uint8)
        for time in range(3):
            frames[np.arange(count), time, :, (starts + time) % self.width] = 255
        return frames, {"starts": starts}


def test_a_recipe_of_ones_own():
    data = load(Stripes(6), batch_size=4)
    assert data.name == "Stripes(width=6, examples=12, held_out=4)"
    assert data.shape == (3, 4, 6, 1)
    assert "3x4x6x1 frames (time first), 12 train" in str(data)
    frames = np.concatenate(list(data.test))
    np.testing.assert_array_equal(frames[:, 0, 0, :, 0].argmax(axis=1), data.truth["test"]["starts"])
    with pytest.raises(ValueError, match=r"source that has labels .* Received: Stripes"):
        load(Stripes(6), labels=True)


FRAMES = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 6, 3)).astype(np.uint8)


@pytest.mark.parametrize("ending", ["array", "npy", "npz", "channels first"])
def test_frames_of_ones_own(tmp_path, ending):
    source = FRAMES
    if ending == "npy":
        source = tmp_path / "frames.npy"
        np.save(source, FRAMES)
    elif ending == "npz":
        source = tmp_path / "frames.npz"
        np.savez(source, FRAMES)
    elif ending == "channels first":
        source = np.moveaxis(FRAMES, -1, 2)
    data = load(source, batch_size=5, whole=True)
    assert (data.shape, data.levels, data.kind) == ((3, 8, 6, 3), 255.0, kv.LearnedScaleNormal)
    np.testing.assert_allclose(np.concatenate(list(data.test)), FRAMES / np.float32(255), atol=1e-6)
    assert ("channels first" in str(data)) == (ending == "channels first")


def test_binary_frames_and_floats():
    assert load((FRAMES > 127).astype(np.float32)).kind is kv.Bernoulli
    data = load(FRAMES / 7 - 10.0)
    assert data.levels is None
    assert data.observation == "continuous, as stored"
    with pytest.raises(ValueError, match=r"or \(examples, time, height, width, channels\), and at least one example"):
        load(np.zeros((2, 2, 2, 2, 2, 2)))


def test_a_model_takes_frames():
    data = load(FRAMES, batch_size=5)
    model = kv.VAE(
        kv.Normal(2, kv.dense_encoder(data.shape, [4])),
        data.likelihood(kv.dense_decoder(2, [4])),
        kv.StandardNormal(2),
    )
    model.compile("adam", run_eagerly=True)
    history = model.fit(data.train, epochs=1, validation_data=data.validation, verbose=0).history
    assert np.isfinite(history["val_loss"]).all()
    assert model.generate(2, seed=1).shape == (2, *data.shape)


def test_a_folder_of_images_and_a_model_of_them(tmp_path):
    images, _ = made(Sprites(most=2), 20)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number:02}.png")
    data = load(tmp_path, batch_size=5, whole=True)
    np.testing.assert_allclose(np.concatenate(list(data.test)), images / np.float32(255), atol=1e-6)


def test_the_command_line_refuses_frames(tmp_path, capsys):
    np.save(tmp_path / "frames.npy", FRAMES)
    assert cli.main(["train", str(tmp_path / "frames.npy"), "--output", str(tmp_path / "run")]) == 1
    assert "train needs rows, series or images. Received: " in capsys.readouterr().err
