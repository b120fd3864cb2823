"""Every source of data: splits, draws, reproducibility, and files that are not what they should be."""

import os
import re
import warnings

import numpy as np
import pytest
import tensorflow as tf
from conftest import USED
from PIL import Image

import keras_vae as kv
from keras_vae.datasets import load
from keras_vae.datasets.axes import read_axes
from keras_vae.datasets.data import draw_binary
from keras_vae.datasets.rows import StreamRows

RNG = np.random.default_rng(0)


def everything(dataset) -> np.ndarray:
    """All batches of one pass."""
    return np.concatenate([batch.numpy() for batch in dataset])


def rows_of(data) -> np.ndarray:
    """All rows of all splits, sorted."""
    rows = np.concatenate([everything(split).reshape(-1, int(np.prod(data.shape))) for split in
                           (data.train, data.validation, data.test)])  # fmt: skip
    return rows[np.lexsort(rows.T)]


def sort_rows(array) -> np.ndarray:
    array = array.reshape(len(array), -1).astype("float32")
    return array[np.lexsort(array.T)]


def test_digits():
    data = load("digits", batch_size=100)
    assert data.shape == (8, 8, 1)
    assert data.kind is kv.Bernoulli
    assert data.sizes == {"train": 1439, "validation": 179, "test": 179}
    assert data.value_range == (0.0, 1.0)
    batches = list(data.train)
    assert [len(batch) for batch in batches] == [100] * 14 + [39]
    assert int(data.train.cardinality()) == 15
    for split in (data.train, data.validation, data.test):
        values = everything(split)
        assert values.dtype == np.float32
        assert set(np.unique(values)) == {0.0, 1.0}
    assert "digits: 8x8x1 images, 1,439 train, 179 validation, 179 test" in str(data)
    assert repr(data) == str(data)
    assert "binary, drawn from the grey levels anew in each training batch" in str(data)


def test_draws_are_fresh_in_training_and_fixed_in_evaluation():
    data, again = load("digits", batch_size=50), load("digits", batch_size=32)
    np.testing.assert_array_equal(everything(data.test), everything(again.test))
    np.testing.assert_array_equal(everything(data.test), everything(data.test))
    assert not np.array_equal(everything(data.test), everything(data.validation))
    data.train.epoch.assign(4)
    first, second = everything(data.train), everything(data.train)
    assert not np.array_equal(first, second)
    data.train.epoch.assign(4)
    np.testing.assert_array_equal(everything(data.train), first)
    other = load("digits", batch_size=50, seed=1)
    assert not np.array_equal(everything(other.test), everything(data.test))


def test_all_epochs_in_one_iterator_are_those_of_one_epoch_each():
    data = load("digits", batch_size=100)
    data.train.epoch.assign(3)
    epochs = [batch for _ in range(2) for batch in data.train]
    first = tf.constant(3 * len(data.train), tf.int64)
    for batch, expected in zip(data.train.indexed.endless(first).take(30), epochs, strict=True):
        np.testing.assert_array_equal(batch, expected)


def test_draws_have_the_probabilities_of_the_grey_levels(tmp_path):
    grey = RNG.integers(0, 256, (1, 6, 5), dtype="uint8")
    np.savez(tmp_path / "one.npz", np.repeat(grey, 5000, axis=0))
    data = load(tmp_path / "one.npz", batch_size=500)
    draws = everything(data.train)  # [4000, 6, 5, 1]
    p = grey[0, :, :, None] / 255
    error = np.sqrt(p * (1 - p) / len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - p) <= 5 * error)


def test_continuous_observations_are_explicit():
    data = load("digits", likelihood=kv.LearnedScaleNormal)
    assert data.kind is kv.LearnedScaleNormal
    assert data.value_range == (0.0, 1.0)
    assert "continuous, stored values divided by 16" in str(data)
    assert set(np.unique(everything(data.test) * 16)) <= set(range(17))


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_arrays_are_split_without_loss(tmp_path, ending):
    x = RNG.normal(size=(103, 4, 3, 2)).astype("float32")
    path = tmp_path / f"x{ending}"
    np.save(path, x) if ending == ".npy" else np.savez(path, x)
    data = load(path, batch_size=16)
    assert data.shape == (4, 3, 2)
    assert data.kind is kv.LearnedScaleNormal
    assert data.sizes == {"train": 83, "validation": 10, "test": 10}
    np.testing.assert_array_equal(rows_of(data), sort_rows(x))
    assert not np.array_equal(everything(data.train), everything(data.train)), "another order in each epoch"


def test_npz_with_splits(tmp_path):
    train, test = RNG.integers(0, 2, (50, 3)), RNG.integers(0, 2, (20, 3))
    np.savez(tmp_path / "split.npz", x_train=train, x_test=test, y_train=np.zeros(50), y_test=np.zeros(20))
    data = load(tmp_path / "split.npz")
    assert data.sizes == {"train": 45, "validation": 5, "test": 20}
    assert data.kind is kv.Bernoulli
    assert "binary, as stored" in str(data)
    np.testing.assert_array_equal(everything(data.test), test)


STACK = RNG.integers(0, 256, (40, 6, 5), dtype="uint8")
WHITE = STACK.copy()
WHITE[0, 0] = 255


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize(
    ("x", "series", "note"),
    [
        (STACK, False, None),
        (STACK > 99, False, None),
        ((STACK / 255).astype("f4"), False, "three axes, read as 6 x 5 grey images: all values lie in [0, 1]"),
        ((STACK > 99).astype("i8"), False, "three axes, read as 6 x 5 grey images: all values lie in [0, 1]"),
        (
            WHITE.astype("i8"),
            False,
            "three axes, read as 6 x 5 grey images: whole numbers from 0 to 255 of dtype int64",
        ),
        (STACK.astype(">u2"), False, "three axes, read as 6 x 5 grey images: whole numbers from 0 to 255 of dtype"),
        (STACK // 9 * 1.0, True, "three axes, read as series of 6 steps x 5 channels"),
        (STACK.astype("i8") + 9, True, "three axes, read as series of 6 steps x 5 channels"),
        (STACK / 10, True, "three axes, read as series of 6 steps x 5 channels: values are neither bytes nor all in"),
        (STACK.astype("i4") - 9, True, "three axes, read as series of 6 steps x 5 channels"),
        (np.where(np.arange(40) < 39, 0.5, 1.5)[:, None, None] * np.ones((6, 5)), True, "three axes, read as series"),
    ],
    ids=[
        *("bytes", "booleans", "fractions", "zeros and ones", "levels as int64", "levels as uint16", "whole floats"),
        *("beyond white", "numbers", "integers", "one value above 1"),
    ],
)
def test_three_axes_are_images_or_series(tmp_path, ending, x, series, note):
    path = tmp_path / f"x{ending}"
    np.save(path, x) if ending == ".npy" else np.savez(path, x)
    data = load(path, likelihood=kv.LearnedScaleNormal, whole=True)
    found = np.concatenate(list(data.test))
    if series:
        assert data.shape == (6, 5)
        assert "6x5 series (steps x channels)" in str(data)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, x)
    else:
        assert data.shape == (6, 5, 1)
        assert "6x5x1 images" in str(data)
        np.testing.assert_allclose(found[..., 0], x / (255 if x.max() > 1 else 1), rtol=1e-6)
    assert [text[: len(note)] for text in data.notes] == [note] if note else data.notes == ()


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_grey_levels_that_may_be_a_series_are_refused(tmp_path, ending, kind):
    path = tmp_path / f"x{ending}"
    np.save(path, WHITE.astype(kind)) if ending == ".npy" else np.savez(path, WHITE.astype(kind))
    with pytest.raises(ValueError, match=r"images or series\. Received: .*\(40, 6, 5\).*store x\.astype\('uint8'\)"):
        load(path)
    for like, shape in ((kv.Normal((6, 5, 1)), (6, 5, 1)), (kv.Normal((6, 5)), (6, 5))):
        assert load(path, like=like).shape == shape, "it says which"


def test_series_are_standardised_by_channel(tmp_path):
    x = RNG.normal(size=(200, 7, 3)) * [1e-4, 1, 0] + [1e9, -5, 2]
    np.savez(tmp_path / "x.npz", train=x[:150], validation=x[150:170], test=x[170:])
    data = load(tmp_path / "x.npz", batch_size=50)
    assert data.has_units
    np.testing.assert_allclose(data.offset, x[:150].mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(data.scale, [*x[:150, :, :2].std(axis=(0, 1)), 1], rtol=1e-3)
    likelihood = data.likelihood(kv.dense_decoder(2, [8]))
    seen = likelihood.standardized(x[:150]).numpy()
    np.testing.assert_allclose(seen, (x[:150] - x[:150].mean((0, 1))) / [*x[:150, :, :2].std((0, 1)), 1], atol=2e-3)
    assert "standardises them by mean and standard deviation of each channel of train" in str(data)
    model = kv.VAE(kv.Normal(2, kv.dense_encoder(data.shape, [8])), likelihood, kv.StandardNormal(2))
    model.compile("adam", jit_compile=False)
    history = model.fit(data.train, epochs=2, validation_data=data.validation, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    np.testing.assert_allclose(model.predict(x[:2], verbose=0)[..., 0], 1e9, rtol=1e-9)
    with pytest.raises(ValueError, match="needs grey levels or binary values for a Bernoulli"):
        load(tmp_path / "x.npz", likelihood=kv.Bernoulli)


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize(
    ("shape", "moved"),
    [((3, 6, 5), True), ((1, 6, 5), True), ((4, 6, 8), True), ((3, 6, 3), False), ((4, 3, 2), False),
     ((2, 6, 5), False), ((5, 6, 7), False)],
)  # fmt: skip
def test_channels_first(tmp_path, ending, shape, moved):
    x = RNG.integers(0, 256, (20, *shape), dtype="uint8")
    x[0] = 255
    path = tmp_path / f"x{ending}"
    np.save(path, x) if ending == ".npy" else np.savez(path, x)
    data = load(path, likelihood=kv.LearnedScaleNormal, whole=True)
    expected = np.moveaxis(x, 1, -1) if moved else x
    np.testing.assert_allclose(everything(data.test), expected / np.float32(255), rtol=1e-6)
    first, last = (", ".join(["N", *map(str, axes)]) for axes in (shape, expected.shape[1:]))
    assert data.notes == ((f"channels first, ({first}), read as ({last})",) if moved else ())
    assert np.shares_memory(read_axes([x], "x")[0][0], x), "nothing is copied"
    like = load(path, likelihood=kv.LearnedScaleNormal, like=kv.Normal(tuple(x.shape[1:])))
    assert like.shape == shape, "a model of such images takes them as they are"


def test_a_stream_is_shuffled_by_epoch_and_complete():
    rows = StreamRows(tf.data.Dataset.range(100).map(lambda i: i[None]), 100, (1,), buffer=30)

    def numbers(batches):
        return [int(i[0]) for batch in batches for i in batch]

    assert numbers(rows.stored(16)) == list(range(100))
    training = rows.training(0, lambda stored, epoch, number: stored, batch_size=16, drop_remainder=False)
    first, second = numbers(training), numbers(training)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    training.epoch.assign(0)
    assert numbers(training) == first


@pytest.mark.parametrize("source", ["digits", ".npy", "stream"])
def test_batches_without_a_remainder_have_static_shapes(tmp_path, source):
    if source == "stream":
        rows = StreamRows(tf.data.Dataset.range(100).map(lambda i: i[None]), 100, (1,), buffer=30)
        splits = {"train": rows.training(0, lambda stored, epoch, number: stored, batch_size=16, drop_remainder=True)}
        sizes = {"train": 100}
    else:
        np.save(tmp_path / "x.npy", RNG.normal(size=(200, 3)))
        data = load(tmp_path / "x.npy" if source == ".npy" else source, batch_size=16, drop_remainder=True)
        splits, sizes = {name: getattr(data, name) for name in data.sizes}, data.sizes
    for name, batches in splits.items():
        assert batches.element_spec.shape.is_fully_defined()
        assert int(batches.cardinality()) == len(list(batches)) == sizes[name] // 16
        assert {len(batch) for batch in batches} == {16}


def test_binary_draws_have_the_probability_of_their_grey_level():
    grey = tf.repeat(tf.constant([[0.0, 1 / 255, 0.5, 254 / 255, 1.0]]), 100_001, axis=0)
    draws = draw_binary(grey, tf.constant([1, 2])).numpy()
    assert draws[:, 0].max() == 0
    assert draws[:, 4].min() == 1
    error = np.sqrt(grey[0] * (1 - grey[0]) / len(draws))
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - grey[0]), 4 * error + 2**-17)
    assert abs(np.corrcoef(draws[:-1, 2], draws[1:, 2])[0, 1]) < 4 / np.sqrt(len(draws))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory of a process is read from /proc")
def test_npy_stays_on_disk(tmp_path, run_python):
    """160 MB of bytes, 640 MB as floats, pass through a process whose own memory may grow by 40 MB."""
    np.save(tmp_path / "large.npy", np.zeros((20_000, 8_000), "uint8"))
    np.save(tmp_path / "small.npy", np.zeros((10_000, 8_000), "uint8"))
    code = """
import re, sys
import keras_vae as kv

def own_memory():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

def most(path):
    data = kv.datasets.load(path, batch_size=64, likelihood=kv.LearnedScaleNormal)
    return max(own_memory() for split in (data.train, data.test) for _ in split)

before = most(sys.argv[1])  # of half as many rows: what batches and pipelines take
print(most(sys.argv[2]) - before)
"""
    assert float(run_python(code, tmp_path / "small.npy", tmp_path / "large.npy", **USED)) < 40


def test_tables_stay_in_their_units(tmp_path):
    table = RNG.normal(size=(200, 3)) * [1, 100, 0] + [5, -3, 7]
    path = tmp_path / "table.csv"
    path.write_text("height,weight,constant\n" + "\n".join(",".join(map(str, row)) for row in table))
    data = load(path)
    assert data.columns == ("height", "weight", "constant")
    assert data.shape == (3,)
    np.testing.assert_array_equal(sort_rows(rows_of(data)), sort_rows(table))
    train = everything(data.train)
    likelihood = data.likelihood()
    standardized = likelihood.standardized(train).numpy()
    np.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardized.std(axis=0), [1, 1, 0], atol=1e-5)
    assert likelihood.names == ["height", "weight", "constant"]
    assert "in the units of the data" in str(data)
    shifted = tmp_path / "shifted.csv"
    shifted.write_text("\n".join(",".join(map(str, row)) for row in table + 1))
    like = load(shifted, like=data)
    assert like.columns == data.columns, "a file without names has those of the data, in their order"
    np.testing.assert_array_equal(sort_rows(rows_of(like)), sort_rows(table + 1))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3)])
def test_folder_of_images(tmp_path, mode, channels):
    (tmp_path / "deeper").mkdir()
    pixels = RNG.integers(0, 256, (20, 6, 5, len(mode)), dtype="uint8")
    for number, image in enumerate(pixels):
        folder = tmp_path / "deeper" if number % 2 else tmp_path
        Image.fromarray(image[..., 0] if mode == "L" else image, mode).save(folder / f"{number:02d}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load(tmp_path, likelihood=kv.LearnedScaleNormal, batch_size=7)
    assert data.shape == (6, 5, channels)
    np.testing.assert_allclose(rows_of(data), sort_rows(pixels[..., :channels] / 255), rtol=1e-6)
    fitting = load(tmp_path).kind
    assert fitting is (kv.Bernoulli if channels == 1 else kv.LearnedScaleNormal)


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def save(name, array):
    return lambda folder: np.save(folder / name, array)


def swapped(name, saves):
    def make(folder):
        with (folder / name).open("wb") as file:
            saves(file, np.ones((20, 3)))

    return make


NAN = np.ones((20, 3))
NAN[12, 1] = np.nan


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (write("a.csv", "x,city,y,name\n" + "1,Oslo,2,Per\n" * 20), "a.csv",
         "a.csv, line 2, column 'city': 'Oslo', line 2, column 'name': 'Per'."),
        (write("a.csv", "x,y\n1,2\n1\n"), "a.csv", "line 3 with 1"),
        (write("a.csv", "x,y\n1,2\n1,\n" + "1,2\n" * 9), "a.csv", "line 3, column 'y': ''"),
        (write("a.csv", "x,y\n1,inf\n" + "1,2\n" * 9), "a.csv", "line 2, column 'y': 'inf'"),
        (write("a.csv", ""), "a.csv", "which is empty"),
        (write("a.csv", "x,y\n1,2\n"), "a.csv", "at least 10 examples to split. Received: 1"),
        (save("a.npy", NAN), "a.npy", "NaN or infinity in row 12"),
        (save("a.npy", np.array(["a", "b"])), "a.npy", "needs numbers. Received"),
        (save("a.npy", np.zeros(5)), "a.npy", "of shape (5,)"),
        (save("a.npy", np.zeros((0, 3))), "a.npy", "of shape (0, 3)"),
        (save("a.npy", np.array([{}], dtype=object)), "a.npy", "needs an .npy file of numbers"),
        (lambda folder: np.savez(folder / "a.npz", a=np.ones(3), b=np.ones(3)), "a.npz", "with a, b"),
        (lambda folder: (folder / "f").mkdir(), "f", "with none"),
        (write("a.txt", "1"), "a.txt", "that ends in .npz, .npy, .csv"),
        (save("a.npy", np.array(1.0)), "a.npy", "of shape ()"),
        (save("a.npy", np.ones((20, 3), complex)), "a.npy", "of dtype complex128"),
        (lambda folder: np.savez(folder / "a.npz", np.array(1.0)), "a.npz", "of shape ()"),
        (lambda folder: np.savez(folder / "a.npz", np.zeros((20, 0))), "a.npz", "of shape (20, 0)"),
        (lambda folder: np.savez(folder / "a.npz", np.array([{}], object)), "a.npz", "which holds something else"),
        (lambda folder: np.savez(folder / "a.npz"), "a.npz", "with none"),
        (write("a.npz", "PK"), "a.npz", "needs an .npz file of numbers. Received"),
        (write("a.npz", ""), "a.npz", "needs an .npz file of numbers. Received"),
        (write("a.npy", ""), "a.npy", "needs an .npy file of numbers. Received"),
        (swapped("a.npz", np.save), "a.npz", "a.npz: a file of another kind."),
        (swapped("a.npy", np.savez), "a.npy", "a.npy: a file of another kind."),
    ],
    ids=["text", "ragged", "empty cell", "infinite cell", "empty csv", "few rows", "NaN", "text array", "rank",
         "no rows", "objects", "npz names", "empty folder", "ending", "no axes", "complex", "npz no axes",
         "npz empty", "npz objects", "npz of nothing", "broken npz", "empty npz", "empty npy", "npy as npz",
         "npz as npy"],
)  # fmt: skip
def test_files_that_are_not_what_they_should_be(tmp_path, make, name, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        load(tmp_path / name)


def test_images_that_can_not_be_used_are_named(tmp_path):
    for number in range(12):
        Image.new("L", (5, 6)).save(tmp_path / f"{number:02d}.png")
    broken = tmp_path / "07.png"
    broken.write_bytes(broken.read_bytes()[:40])
    (tmp_path / "09.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"Received: 2 others of 12: .*07\.png: .*; .*09\.png: "):
        load(tmp_path)
    Image.fromarray(RNG.integers(0, 255, (90, 90), dtype="uint8")).save(tmp_path / "11.jpg")
    (tmp_path / "11.jpg").write_bytes((tmp_path / "11.jpg").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"Received: 3 others of 13: .*11\.jpg: image file is truncated"):
        load(tmp_path)
    (tmp_path / "11.jpg").unlink()
    Image.new("L", (5, 6)).save(tmp_path / "09.png")
    Image.new("L", (5, 7)).save(broken)
    with pytest.raises(
        ValueError, match=r"with 2 sizes: 11 of 6 x 5, such as .*00\.png; 1 of 7 x 5, such as .*07\.png"
    ):
        load(tmp_path)
    data = load(tmp_path, crop=(6, 4))
    assert data.shape == (6, 4, 1)
    assert "images cropped to 6 x 4" in str(data)
    assert load(tmp_path, resize=(8, 8)).shape == (8, 8, 1)
    with pytest.raises(ValueError, match=r"images of 7 x 5 or more to crop. Received: .*00\.png of 6 x 5"):
        load(tmp_path, crop=(7, 5))
    with pytest.raises(ValueError, match=r"needs resize to be \(height, width\)"):
        load(tmp_path, resize=8)
    with pytest.raises(ValueError, match="needs a folder of images to resize or crop"):
        load("digits", crop=(4, 4))


def pixels_of(data) -> np.ndarray:
    return np.round(255 * np.concatenate(list(data.test))).astype(int)


def saved_as(folder, name, image, **options) -> None:
    for number in range(12):
        image.save(folder / f"{number:02d}{name}", **options)


LEFT_TO_RIGHT = np.tile(np.arange(0, 250, 25, dtype="uint8"), (6, 1))  # [6, 10]


def turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    return exif


@pytest.mark.parametrize(
    ("name", "image", "options", "expected"),
    [
        (".PNG", Image.fromarray(LEFT_TO_RIGHT), {}, LEFT_TO_RIGHT[..., None]),
        (".png", Image.fromarray(LEFT_TO_RIGHT), {"exif": turned_exif()}, np.rot90(LEFT_TO_RIGHT, -1)[..., None]),
        (".png", Image.fromarray(LEFT_TO_RIGHT.astype("uint16") * 257), {}, LEFT_TO_RIGHT[..., None]),
        (
            ".png",
            Image.fromarray((LEFT_TO_RIGHT > 100).astype("uint16") * 199),
            {},
            (LEFT_TO_RIGHT > 100)[..., None] * 1,
        ),
        (".tif", Image.fromarray(LEFT_TO_RIGHT.astype("float32") / 255), {}, LEFT_TO_RIGHT[..., None]),
        (".png", Image.fromarray(LEFT_TO_RIGHT).convert("LA"), {}, LEFT_TO_RIGHT[..., None]),
        (".gif", Image.fromarray(LEFT_TO_RIGHT).convert("RGB").quantize(), {}, np.dstack([LEFT_TO_RIGHT] * 3)),
        (".webp", Image.fromarray(LEFT_TO_RIGHT).convert("RGB"), {"lossless": True}, np.dstack([LEFT_TO_RIGHT] * 3)),
        (".tiff", Image.fromarray(LEFT_TO_RIGHT).convert("RGB").convert("CMYK"), {}, np.dstack([LEFT_TO_RIGHT] * 3)),
    ],
    ids=["upper case", "EXIF", "16 bits", "dark", "fractions", "grey with alpha", "palette", "WebP", "CMYK"],
)
def test_images_as_pillow_writes_them(tmp_path, name, image, options, expected):
    saved_as(tmp_path, name, image, **options)
    (tmp_path / "._00.png").write_text("what a file manager leaves")
    (tmp_path / ".thumbs").mkdir()
    Image.new("L", (3, 3)).save(tmp_path / ".thumbs" / "00.png")
    data = load(tmp_path, likelihood=kv.LearnedScaleNormal, whole=True)
    found = pixels_of(data)
    assert found.shape == (12, *expected.shape)
    np.testing.assert_allclose(found[0], expected, atol=1)


def test_folders_that_are_splits(tmp_path):
    for split, count, level in (("train", 30, 50), ("test", 4, 200)):
        for number in range(count):
            (tmp_path / split / "cats").mkdir(parents=True, exist_ok=True)
            Image.new("L", (5, 5), level).save(tmp_path / split / "cats" / f"{number}.png")
    data = load(tmp_path, likelihood=kv.LearnedScaleNormal)
    assert data.sizes == {"train": 27, "validation": 3, "test": 4}
    assert set(pixels_of(data).flat) == {200}
    assert "splits by folder: train, test" in str(data)
    (tmp_path / "validation").mkdir()
    for number in range(2):
        Image.new("L", (5, 5), 99).save(tmp_path / "validation" / f"{number}.png")
    assert load(tmp_path).sizes == {"train": 30, "validation": 2, "test": 4}
    Image.new("RGB", (5, 5)).save(tmp_path / "train" / "colour.png")
    data = load(tmp_path)
    assert data.shape == (5, 5, 3)
    assert "36 grey images of 37 read as colours" in str(data)


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize("kind", ["f2", ">f2", "f8", "g", "i1", ">i2", ">u4", "i8", "u8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_types_of_numbers(tmp_path, ending, kind, order):
    x = np.asarray((RNG.normal(size=(20, 3)) * 50).clip(-100 if kind not in ("u8", ">u4") else 0), kind, order=order)
    path = tmp_path / f"x{ending}"
    np.save(path, x) if ending == ".npy" else np.savez(path, x)
    data = load(path, whole=True)
    np.testing.assert_array_equal(everything(data.test), x.astype(np.float64))
    assert data.kind is (kv.Bernoulli if kind == "?" else kv.LearnedScaleNormal)
    images = np.asarray(RNG.uniform(0, 2, (20, 4, 5, 3)), kind, order=order)
    np.save(path, images) if ending == ".npy" else np.savez(path, images)
    np.testing.assert_array_equal(everything(load(path, whole=True).test), images.astype(np.float32))


@pytest.mark.parametrize("kind", [">f4", ">f8", "<f4", ">i2"])
def test_numbers_of_other_machines(tmp_path, kind):
    x = RNG.normal(size=(40, 3)) * 100
    np.save(tmp_path / "x.npy", x.astype(kind))
    np.savez(tmp_path / "x.npz", x.astype(kind))
    for name in ("x.npy", "x.npz"):
        data = load(tmp_path / name, whole=True)
        np.testing.assert_allclose(np.concatenate(list(data.test)), x.astype(kind), rtol=1e-6)
    likelihood = data.likelihood(kv.dense_decoder(1, [4]))
    model = kv.VAE(kv.Normal(1, kv.dense_encoder(3, [4])), likelihood, kv.StandardNormal(1))
    model.build((None, 3))
    np.testing.assert_allclose(
        model.predict(x.astype(kind), verbose=0), model.predict(x.astype(kind).astype("f8"), verbose=0), rtol=1e-5
    )


def test_bernoulli_needs_grey_levels(tmp_path):
    np.save(tmp_path / "x.npy", RNG.normal(size=(30, 3)))
    with pytest.raises(ValueError, match="needs grey levels or binary values for a Bernoulli likelihood"):
        load(tmp_path / "x.npy", likelihood=kv.Bernoulli)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"likelihood": "normal"}, "normal"),
        ({"seed": 1.7}, r"datasets.load needs seed to be a whole number.*seed=1\.7"),
        ({"seed": 2**31}, "seed=2147483648"),
        ({"seed": "a"}, "seed='a'"),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        load("digits", **options)


def test_a_seed_below_0_is_one_of_its_own():
    first, again, other = (next(iter(load("digits", batch_size=8, seed=seed).train)) for seed in (-3, -3, 3))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        load(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match="some/folder"):
        load("some/folder")


def test_a_tfds_name_without_network_and_data(tmp_path, monkeypatch):
    from keras_vae.datasets import tfds

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(tfds, "MIRROR", ("127.0.0.1", 1))  # where nobody answers
    with pytest.raises(FileNotFoundError, match=r"needs 'mnist' in .*, or a network to download it"):
        load("mnist")
    with pytest.raises(ValueError, match="Received: 'no_such_set'"):
        load("no_such_set")


mnist = pytest.mark.skipif(
    not os.path.isdir(os.path.join(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"), "mnist")),
    reason="MNIST is not in TFDS_DATA_DIR",
)


@mnist
def test_tfds_mnist():
    data = load("mnist", batch_size=1000)
    assert data.shape == (28, 28, 1)
    assert data.sizes == {"train": 50_000, "validation": 10_000, "test": 10_000}
    assert data.kind is kv.Bernoulli
    mean = tf.reduce_mean(tf.stack([tf.reduce_mean(batch) for batch in data.train])).numpy()
    assert mean == pytest.approx(0.1306605, abs=1e-3)
    assert set(np.unique(everything(data.test))) == {0.0, 1.0}


@pytest.mark.slow
@mnist
def test_tfds_binarized_mnist():
    data = load("binarized_mnist", batch_size=1000)
    assert data.sizes == {"train": 50_000, "validation": 10_000, "test": 10_000}
    assert "binary, as stored" in str(data)
    data.train.epoch.assign(0)
    total = everything(data.train).sum()
    assert total == everything(data.train).sum(), "nothing is drawn"


@pytest.mark.parametrize("grey_levels", [False, True])
def test_a_bernoulli_of_the_data_begins_at_their_mean(grey_levels):
    """Of 20 epochs the mean of the draws is that of the grey levels: a hundredth is three standard errors and more."""
    data = kv.datasets.load("digits", 500, grey_levels=grey_levels)
    layer = data.likelihood(kv.dense_decoder(2))
    layer.build((None, 2))
    bernoulli = layer.layer if grey_levels else layer
    bernoulli.head.kernel.assign(tf.zeros_like(bernoulli.head.kernel))
    batches = [batch for _ in range(20) for batch in data.train]
    mean = np.concatenate(batches).mean(axis=0) / (16 if grey_levels else 1)
    np.testing.assert_allclose(bernoulli(tf.zeros([1, 2])).mean()[0], mean, atol=0.01)
    assert kv.datasets.load({"a": [1.5, 2.5, 3.5] * 10}, 5).mean is None
