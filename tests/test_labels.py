"""The class of each example: found beside images and arrays, given as conditions, drawn and written by the commands."""

import os
import re

import keras
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

import keras_vae as kv
from keras_vae import cli
from keras_vae.datasets import load
from keras_vae.datasets.rows import StreamRows, as_they_are, one_hot

RNG = np.random.default_rng(0)
SPLITS = ("train", "validation", "test")
NUMBERS = RNG.integers(0, 3, 60)
MARKED = NUMBERS[:, None] * 10.0 + RNG.uniform(1, 2, (60, 2))  # a row says its class: 1 to 2, 11 to 12, 21 to 22


def saved(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


def rows(dataset) -> np.ndarray:
    return np.concatenate(list(dataset))


def marked(x) -> np.ndarray:
    """The classes that rows of `MARKED` say."""
    return np.floor(np.asarray(x)[:, 0] / 10).astype(int)


# --- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (NUMBERS, ("0", "1", "2")),
        (NUMBERS[:, None] - 1, ("-1", "0", "1")),
        (NUMBERS.astype(">i2") * 50, ("0", "50", "100")),
        (np.array(["cat", "dog", "emu"])[NUMBERS], ("cat", "dog", "emu")),
        (np.array([b"cat", b"dog", b"emu"])[NUMBERS], ("cat", "dog", "emu")),
        (NUMBERS > 0, ("False", "True")),
    ],
    ids=["integers", "one column", "big-endian", "texts", "bytes", "booleans"],
)
@pytest.mark.parametrize("name", ["y", "labels", "target"])
def test_labels_beside_an_array(tmp_path, values, classes, name):
    data = load(saved(tmp_path, x=MARKED, **{name: values}))
    assert data.classes == classes
    by_number = dict(zip(NUMBERS.tolist(), np.ravel(values), strict=True))  # the stored value of each class
    for split in ("validation", "test"):
        found = np.array(data.classes)[data.labels[split]]
        stored = [by_number[number] for number in marked(rows(getattr(data, split)))]
        assert found.tolist() == [value.decode() if isinstance(value, bytes) else str(value) for value in stored]
    assert data.labels["train"].dtype == np.int64
    assert {split: len(numbers) for split, numbers in data.labels.items()} == data.sizes
    assert f"labels: {len(classes)} classes: {', '.join(classes)}" in str(data)
    whole = load(tmp_path / "a.npz", whole=True)
    assert [classes[number] for number in whole.labels["test"]] == [
        value.decode() if isinstance(value, bytes) else str(value) for value in np.ravel(values)
    ]


@pytest.mark.parametrize("names", ["x_{}", "{}_images"])
def test_labels_of_splits(tmp_path, names):
    """As in Keras's mnist.npz, and as in MedMNIST."""
    x, y = (names, "y_{}") if names == "x_{}" else (names, "{}_labels")
    train, test = np.s_[:40], np.s_[40:]
    arrays = {y.format("test"): NUMBERS[test] + 7, x.format("test"): MARKED[test], x.format("train"): MARKED[train],
              y.format("train"): NUMBERS[train] + 7}  # fmt: skip
    data = load(saved(tmp_path, **arrays))
    assert data.sizes == {"train": 36, "validation": 4, "test": 20}
    assert data.classes == ("7", "8", "9")
    np.testing.assert_array_equal(data.labels["test"], NUMBERS[test])
    np.testing.assert_array_equal(data.labels["validation"], marked(rows(data.validation)))
    assert sorted([*data.labels["train"], *data.labels["validation"]]) == sorted(NUMBERS[train])
    three = {"val_images": MARKED[:5], "val_labels": NUMBERS[:5, None]} if names != "x_{}" else {"x_val": MARKED[:5]}
    data = load(saved(tmp_path, **arrays, **three))
    assert data.sizes == {"train": 40, "validation": 5, "test": 20}
    if names == "x_{}":
        assert data.labels is data.classes is None
        assert "labels: left out, for there are none of validation" in str(data)
    else:
        assert data.classes == ("0", "1", "2", "7", "8", "9"), "those of all splits"
        np.testing.assert_array_equal(data.labels["validation"], NUMBERS[:5])


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (RNG.normal(size=60), "labels: left out, for targets of dtype float64 are no classes"),
        (np.eye(3, dtype=int)[NUMBERS], "labels: left out, for targets of shape (60, 3) are no classes"),
        (np.arange(60), "labels: left out, for all 60 are different"),
        (np.array(["cat", None] * 30, dtype=object), "y: left out, for Python objects are not read"),
    ],
    ids=["fractions", "axes", "numbers of rows", "objects"],
)
def test_targets_that_are_no_classes_are_left_out_and_named(tmp_path, values, note):
    path = saved(tmp_path, x=MARKED, y=values, more=np.zeros(3))
    data = load(path)
    assert data.labels is data.classes is None
    assert {note, "more: left out"} <= set(data.notes)
    assert data.shape == (2,)
    with pytest.raises(ValueError, match=rf"source that has labels for labels=True.*{re.escape(note)}"):
        load(path, labels=True)


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"one label for each of the 60 examples\. Received: .*a\.npz with .*\(59,\)"):
        load(saved(tmp_path, x=MARKED, y=NUMBERS[1:]))
    with pytest.raises(ValueError, match=r"each of the 20 examples of test\. .*\(19,\)"):
        load(saved(tmp_path, x_train=MARKED[:40], y_train=NUMBERS[:40], x_test=MARKED[40:], y_test=NUMBERS[41:]))
    with pytest.raises(ValueError, match=r"one array for each split .*a\.npz with train and x_train"):
        load(saved(tmp_path, train=MARKED, x_train=MARKED, test=MARKED))
    with pytest.raises(ValueError, match=r"Received: .*a\.npz with x_test, x_validation, y_train"):
        load(saved(tmp_path, x_test=MARKED, x_validation=MARKED, y_train=NUMBERS))


def test_sources_without_labels_say_so(tmp_path):
    np.save(tmp_path / "x.npy", MARKED)
    pd.DataFrame(MARKED, columns=["a", "b"]).to_csv(tmp_path / "x.csv", index=False)
    for name in ("x.npy", "x.csv"):
        assert load(tmp_path / name).labels is None
        with pytest.raises(ValueError, match=rf"labels=True: .* Received: .*{name}, without labels\."):
            load(tmp_path / name, labels=True)


# --- digits and folders -----------------------------------------------------------------------------------------------


def test_digits_have_theirs():
    data = load("digits", likelihood=kv.LearnedScaleNormal)
    known = {image.tobytes(): target for image, target in zip(load_digits().images, load_digits().target, strict=True)}
    for split in ("validation", "test"):
        images = np.round(16 * rows(getattr(data, split)).astype(np.float64))[..., 0]
        assert [known[image.tobytes()] for image in images] == data.labels[split].tolist()
    assert "labels: 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in str(data)


def images(folder, counts) -> None:
    """Grey images whose level is their class, by subfolder."""
    for name, (level, count) in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("L", (4, 4), level).save(folder / name / f"{number}.png")


def levels(dataset) -> list[int]:
    return np.round(255 * rows(dataset)[:, 0, 0, 0]).astype(int).tolist()


def test_folders_of_classes(tmp_path):
    images(tmp_path, {"dogs": (50, 9), "cats": (200, 7)})
    data = load(tmp_path, likelihood=kv.LearnedScaleNormal)
    assert data.classes == ("cats", "dogs")
    for split in ("validation", "test"):
        assert [(200, 50)[number] for number in data.labels[split]] == levels(getattr(data, split))
    assert np.bincount(np.concatenate(list(data.labels.values()))).tolist() == [7, 9]
    whole = load(tmp_path, whole=True)
    assert whole.labels["test"].tolist() == [0] * 7 + [1] * 9
    images(tmp_path, {".": (90, 1)})
    assert load(tmp_path).labels is None, "one image is in no folder"
    assert "labels" not in str(load(tmp_path))
    assert re.search(r"\nno classes: 1 of 17 images is in no folder, .*\.png$", str(load(tmp_path)))


def test_folders_of_splits_and_classes(tmp_path):
    images(tmp_path, {"train/dogs": (50, 12), "train/cats": (200, 11), "test/emus": (90, 2), "test/cats": (200, 1)})
    data = load(tmp_path, likelihood=kv.LearnedScaleNormal)
    assert data.classes == ("cats", "dogs", "emus"), "those of all splits"
    for split in ("validation", "test"):
        assert [(200, 50, 90)[number] for number in data.labels[split]] == levels(getattr(data, split))
    assert data.notes == ("splits by folder: train, test",)
    images(tmp_path, {"val/dogs": (50, 3)})
    data = load(tmp_path)
    assert data.sizes == {"train": 23, "validation": 3, "test": 3}
    assert data.labels["validation"].tolist() == [1, 1, 1]
    images(tmp_path, {"test": (10, 1)})
    assert "labels: left out, for there are none of test" in load(tmp_path).notes


def test_folders_named_as_splits_are_no_classes(tmp_path):
    images(tmp_path, {"train": (50, 8), "val": (200, 8)})
    data = load(tmp_path)
    assert data.labels is None
    assert data.notes == ("folders train, val: pooled, for splits are train, test and perhaps validation",)


# --- pairs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["digits", "folder"])
def test_pairs_have_the_order_and_the_draws_of_data_without_labels(tmp_path, source):
    if source == "folder":
        images(tmp_path, {"dogs": (50, 70), "cats": (200, 63), "emus": (130, 29)})
    source = tmp_path if source == "folder" else source
    data, pairs = load(source, batch_size=16), load(source, batch_size=16, labels=True)
    assert data.fingerprint == pairs.fingerprint
    assert pairs.shape == data.shape
    shape = (len(data.classes),)
    for split in SPLITS:
        assert [spec.shape[1:].as_list() for spec in getattr(pairs, split).element_spec] == [[*data.shape], [*shape]]
        for _ in range(2):  # two epochs
            batches = list(getattr(pairs, split))
            np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), rows(getattr(data, split)))
        y = np.concatenate([y for _, y in batches])
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.sum(axis=1), 1)
        found, stored = y.argmax(axis=1), data.labels[split]
        if split == "train":
            found, stored = np.sort(found), np.sort(stored)
        np.testing.assert_array_equal(found, stored)
    data.train.epoch.assign(5)
    later = rows(data.train)
    pairs.train.epoch.assign(5)  # as a run does that goes on
    np.testing.assert_array_equal(np.concatenate([x for x, _ in pairs.train]), later)
    first = tf.constant(5 * len(pairs.train), tf.int64)
    endless = pairs.train.indexed.endless(first).take(len(pairs.train))  # what `fit` reads
    np.testing.assert_array_equal(np.concatenate([x for x, _ in endless]), later)
    grey = load(source, batch_size=16, labels=True, likelihood=kv.LearnedScaleNormal, drop_remainder=True)
    assert all(spec.shape.is_fully_defined() for spec in grey.train.element_spec)
    for x, y in grey.train:
        if source == "digits":
            break
        level = np.round(255 * x.numpy()[:, 0, 0, 0])
        np.testing.assert_array_equal(y.numpy().argmax(axis=1), np.array([{200: 0, 50: 1, 130: 2}[n] for n in level]))


def test_streams_have_labels_too():
    stream = StreamRows(tf.data.Dataset.range(40).map(lambda i: i[None]), 40, (1,), buffer=16)
    labelled = stream.paired(one_hot(np.arange(40) % 3, 3))
    plain, pairs = (
        part.training(0, lambda stored, epoch, number: stored, batch_size=8, drop_remainder=False)
        for part in (stream, labelled)
    )
    for _ in range(2):
        batches = list(pairs)
        x, y = (np.concatenate([batch[part] for batch in batches]) for part in (0, 1))
        np.testing.assert_array_equal(x, rows(plain))
        np.testing.assert_array_equal(y, np.eye(3)[x[:, 0] % 3])
    np.testing.assert_array_equal(labelled.sample(5), stream.sample(5))


# --- numbers in the place of labels -----------------------------------------------------------------------------------


def test_examples_are_numbered(tmp_path):
    """In the order in which those of train are stored, whatever the order of an epoch."""
    np.save(tmp_path / "a.npy", np.arange(60.0)[:, None] * [1.0, 2.0])
    data = load(tmp_path / "a.npy", batch_size=7, numbers=True, seed=3)
    assert data.train.element_spec[1] == tf.TensorSpec([None], tf.int32)
    for _ in range(2):
        x, numbers = (np.concatenate(part) for part in zip(*data.train, strict=True))
        assert not np.array_equal(numbers, np.sort(numbers))
        np.testing.assert_array_equal(np.sort(numbers), np.arange(data.sizes["train"]))
        assert np.all(np.diff(x[np.argsort(numbers), 0]) > 0)
    for split in (data.validation, data.test):
        assert {-1} == {number for _, numbers in split for number in numbers.numpy().tolist()}
    with pytest.raises(ValueError, match=r"load needs labels or numbers, one of the two\. Received: both"):
        load("digits", labels=True, numbers=True)


def test_streams_have_numbers_too():
    pairs = StreamRows(tf.data.Dataset.range(40), 40, ()).paired(as_they_are)
    for x, numbers in pairs.training(0, lambda stored, *_: stored, 16, False):
        np.testing.assert_array_equal(x, numbers)
        assert numbers.dtype == tf.int32


def test_examples_on_disk_are_trained_with_parameters_on_disk(tmp_path):
    x = RNG.normal(size=(60, 1)) * [1.0, -2.0, 0.5]
    np.save(tmp_path / "a.npy", x)
    data = load(tmp_path / "a.npy", batch_size=12, numbers=True)
    posterior = kv.PerExampleOnDisk(kv.Normal(1), examples=data.sizes["train"])
    model = kv.VariationalAutodecoder(posterior, data.likelihood(kv.dense_decoder(1, [8])), kv.StandardNormal(1))
    model.compile(kv.RowwiseAdam(0.05))
    history = model.fit(data.train, epochs=8, verbose=0, validation_data=data.validation).history
    assert history["loss"][-1] < history["loss"][0]
    new = kv.evaluation.refine_posterior(model, data.test, kv.Normal(1), steps=50, draws=20, samples=2, verbose=0)
    assert new.amortization_gap.mean > 0, "of new examples nothing was known"


def test_classes_are_those_of_the_data_that_are_like(tmp_path):
    texts = np.array(["cat", "dog", "emu"])
    first = load(saved(tmp_path, x=MARKED, y=texts[NUMBERS]))
    some = NUMBERS > 0
    others = load(saved(tmp_path, x=MARKED[some], y=texts[NUMBERS[some]]), like=first, labels=True, whole=True)
    assert others.classes == ("cat", "dog", "emu")
    x, y = (np.concatenate(part) for part in zip(*others.test, strict=True))
    np.testing.assert_array_equal(y.argmax(axis=1), marked(x))
    alone = load(tmp_path / "a.npz", labels=True, whole=True)
    assert alone.classes == ("dog", "emu")
    with pytest.raises(ValueError, match=r"classes of like: dog, emu\. Received: .*a\.npz with cat\."):
        load(saved(tmp_path, x=MARKED, y=texts[NUMBERS]), like=alone, labels=True)


def conditional() -> kv.ConditionalVAE:
    keras.utils.set_random_seed(0)
    model = kv.ConditionalVAE(
        kv.Normal(2, kv.Concatenated(kv.dense_encoder(64 + 10, [16]))),
        kv.Bernoulli((8, 8, 1), kv.Concatenated(kv.dense_decoder(2 + 10, [16]))),
        kv.StandardNormal(2),
        condition_shape=10,
    )
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    model.build((None, 8, 8, 1))
    return model


def test_a_conditional_model_trains_on_pairs():
    data = load("digits", batch_size=200, labels=True)
    model = conditional()
    history = model.fit(data.train, epochs=4, validation_data=data.validation, verbose=0).history
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert np.isfinite(kv.evaluation.log_likelihood(model, data.test, samples=2, verbose=0).mean)
    assert model.generate(np.eye(10, dtype="float32"), seed=1).shape == (10, 8, 8, 1)


def test_a_keras_classifier_trains_on_pairs():
    data = load("digits", labels=True, likelihood=kv.LearnedScaleNormal)
    model = keras.Sequential([keras.Input(data.shape), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])
    model.compile(keras.optimizers.Adam(1e-2), "categorical_crossentropy", metrics=["accuracy"])
    model.fit(data.train, epochs=5, shuffle=False, verbose=0)
    assert model.evaluate(data.test, verbose=0)[1] > 0.85


# --- figures and scores -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table_model():
    model = kv.VAE(kv.Normal(3, kv.dense_encoder(2, [4])), kv.Normal(2, kv.dense_decoder(3, [4])), kv.StandardNormal(3))
    model.build((None, 2))
    return model


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_a_figure_names_its_classes_in_their_order(table_model):
    names = ("9", "10", "11")
    figure = kv.plotting.latent_plane(table_model, MARKED, NUMBERS, classes=names)
    assert legend(figure) == ["9", "10", "11"]
    assert [len(points.get_offsets()) for points in figure.axes[0].collections] == np.bincount(NUMBERS).tolist()
    assert legend(kv.plotting.latent_plane(table_model, MARKED, NUMBERS, classes=("a", *names))) == ["a", "9", "10"]
    for labels in (NUMBERS + 1, NUMBERS - 1, NUMBERS / 2, None):
        with pytest.raises(ValueError, match="latent_plane needs labels that are places in the 3 classes"):
            kv.plotting.latent_plane(table_model, MARKED, labels, classes=names)


@pytest.mark.parametrize("texts", [False, True])
def test_of_many_classes_the_most_frequent_have_colours(table_model, texts):
    labels = np.concatenate([np.arange(25), np.arange(3, 25), np.arange(12, 25)])  # 0, 1 and 2 once, 3 to 11 twice
    names = [f"{number:02d}" for number in range(25)]
    given = (np.array(names)[labels], None) if texts else (labels, names)
    figure = kv.plotting.latent_plane(table_model, MARKED, given[0], classes=given[1])
    assert legend(figure) == [*names[3:9], *names[12:], "6 others"]
    assert len(figure.axes[0].collections[-1].get_offsets()) == 3 + 2 * 3


@pytest.mark.slow
def test_a_run_on_series_with_labels(tmp_path, capsys, monkeypatch):
    """From an .npz to scores by label, new series and figures of curves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kv.VAE, "export", lambda *_: None)  # it takes seconds, and is tested elsewhere
    size = RNG.uniform(0.5, 2, (60, 1))
    steps = np.arange(12)
    channels = [1000 + 100 * size * np.sin(steps / 3), 1e-3 * size * steps]
    x = np.stack(channels, axis=-1) + RNG.normal(size=(60, 12, 2)) * [5, 5e-5]
    y = np.where(size[:, 0] > 1, "loud", "quiet")
    np.savez("series.npz", x=x, y=y)

    def command(*arguments) -> str:
        assert cli.main(list(arguments)) == 0
        return capsys.readouterr().out

    said = command(
        "train", "series.npz", "--output", "run", "--epochs", "4", "--latent-size", "3", "--batch-size", "24"
    )
    assert "12x2 series (steps x channels), 48 train, 6 validation, 6 test" in said
    assert "labels: 2 classes: loud, quiet" in said
    model = kv.load_model("run/model.keras")
    train = np.concatenate(list(load("series.npz").train)).reshape(-1, 2)
    np.testing.assert_allclose(model.likelihood.offset, np.tile(train.mean(axis=0), (12, 1)), rtol=1e-9)
    np.testing.assert_allclose(model.likelihood.scale, np.tile(train.std(axis=0), (12, 1)), rtol=1e-9)
    for name in ("reconstructions", "samples", "latent"):
        assert min(matplotlib.image.imread(f"run/{name}.png").shape[:2]) > 300
    said = command("score", "run", "series.npz", "--output", "scores.csv", "--samples", "5")
    assert said == "Wrote scores.csv: 60 series of series.npz\n"
    scores = pd.read_csv("scores.csv")
    assert scores["label"].tolist() == y.tolist()
    assert np.isfinite(scores["log_likelihood"]).all()
    np.save("calm.npy", np.full((3, 12, 2), 0.5))  # by its values it could be images
    calm = load("calm.npy", like=model, likelihood=kv.LearnedScaleNormal, whole=True)
    assert calm.shape == (12, 2)
    assert np.isfinite(model.encode(next(iter(calm.test))).mean()).all()
    command("generate", "run", "--count", "4", "--output", "new.npz")
    assert np.load("new.npz")["mean"].shape == (4, 12, 2)


mnist = pytest.mark.skipif(
    not os.path.isdir(os.path.join(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"), "mnist")),
    reason="MNIST is not in TFDS_DATA_DIR",
)


@mnist
@pytest.mark.parametrize("streamed", [False, True])
def test_tfds_mnist(streamed, monkeypatch):
    import tensorflow_datasets as tfds

    from keras_vae.datasets import tfds as source

    # Told here: TFDS looks at the variable once, when it is imported, in a test that may have set it to another folder.
    folder = os.environ.get("TFDS_DATA_DIR")
    expected = tfds.load("mnist", split="test[:300]", batch_size=-1, data_dir=folder)
    monkeypatch.setattr(source, "_instructions", lambda *_: dict.fromkeys(SPLITS, "test[:300]"))
    monkeypatch.setattr(source, "IN_MEMORY", 1000 if streamed else 2**30)
    data = load("mnist", batch_size=100, likelihood=kv.LearnedScaleNormal)
    if streamed:
        assert data.labels is None
        assert "labels: read with labels=True alone, for the set is larger than memory" in data.notes
    data = load("mnist", batch_size=100, likelihood=kv.LearnedScaleNormal, labels=True)
    assert data.classes == tuple("0123456789")
    np.testing.assert_array_equal(data.labels["test"], expected["label"])
    x, y = (np.concatenate(part) for part in zip(*data.test, strict=True))
    np.testing.assert_array_equal(np.round(255 * x), expected["image"])
    np.testing.assert_array_equal(y.argmax(axis=1), expected["label"])
