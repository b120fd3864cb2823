"""Image sets of TensorFlow Datasets."""

import math
import os
import socket

import numpy as np
import tensorflow as tf

from keras_vae.datasets.data import Source
from keras_vae.datasets.labels import Labels
from keras_vae.datasets.rows import ArrayRows, Rows, StreamRows

IN_MEMORY = 2**30  # bytes of a split that is held in memory
MIRROR = ("storage.googleapis.com", 443)  # where TFDS looks first


def tfds_source(name: str, labels: bool = False) -> Source:
    """An image set by its TFDS name, "mnist" or "mnist:3.0.1"; without a validation split, the end of train is it.

    Args:
        name: of the set.
        labels: whether the labels of a set that is larger than memory are read, too, which means to read all of it.

    Raises:
        ValueError: for an unknown name, and for a set without images of one size.
        FileNotFoundError: for a set that is neither prepared nor can be downloaded.
    """
    builder = _prepared_builder(name)
    feature = dict(builder.info.features).get("image")
    if feature is None or None in (feature.shape or [None]):
        raise ValueError(
            "datasets.load needs a TFDS set with a feature `image` of one fixed size. "
            f"Received: {name} with {builder.info.features!r}."
        )
    label = dict(builder.info.features).get("label")
    classes = tuple(getattr(label, "names", None) or ())  # of a ClassLabel
    names = ["image", "label"] if classes else ["image"]
    read = {split: _read(builder, part, names, labels) for split, part in _instructions(builder, name).items()}
    splits = {split: rows for split, (rows, _) in read.items()}
    found, notes = _named({split: places for split, (_, places) in read.items()}, classes) if classes else (None, ())
    sample = splits["train"].sample(1000)
    if sample.dtype != np.uint8 and not (sample.min() >= 0 and sample.max() <= 1):
        raise ValueError(
            f"datasets.load needs images of bytes or of values in [0, 1]. Received: {name}, {sample.dtype}."
        )
    return Source(name, splits, levels=255.0 if sample.max() > 1 else 1.0, notes=notes, labels=found)


def _prepared_builder(name: str):
    import tensorflow_datasets as tfds

    directory = os.environ.get("TFDS_DATA_DIR")
    try:
        builder = tfds.builder(name, data_dir=directory)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise ValueError(
            "datasets.load needs digits, shapes, the name of a TFDS image set such as mnist, another set that is made "
            "here (sprites, canvases, mnist_canvases, billiards, gravity), or a path to .npz, .npy, .csv or a folder "
            f"of images. Received: {name!r}."
        ) from error
    if not builder.is_prepared():
        _require_network(name, builder.data_dir)
        builder.download_and_prepare()
    return builder


def _require_network(name: str, directory) -> None:
    """Fails within seconds where TFDS itself would try for minutes."""
    try:
        socket.create_connection(MIRROR, timeout=10).close()
    except OSError as error:
        raise FileNotFoundError(
            f"datasets.load needs {name!r} in {directory}, or a network to download it. Received: no such folder, and "
            f"no connection to {MIRROR[0]} ({error}). Set TFDS_DATA_DIR to a TFDS data directory that holds it."
        ) from error


def _instructions(builder, name: str) -> dict[str, str]:
    """Parts of the stored splits, in TFDS's notation."""
    stored = builder.info.splits
    missing = {"train", "test"} - set(stored)
    if missing:
        raise ValueError(f"datasets.load needs splits train and test. Received: {name} with {', '.join(stored)}.")
    if "validation" in stored:
        return {split: split for split in ("train", "validation", "test")}
    size = stored["train"].num_examples
    held_out = 10_000 if size >= 50_000 else size // 10
    return {"train": f"train[:{size - held_out}]", "validation": f"train[{size - held_out}:]", "test": "test"}


def _read(builder, instruction: str, names: list[str], labels: bool) -> tuple[Rows, np.ndarray | None]:
    """The images of a part, and their labels, where they have any and are at hand or asked for."""
    feature = builder.info.features["image"]
    size = builder.info.splits[instruction].num_examples
    examples = builder.as_dataset(split=instruction, shuffle_files=False)
    if size * math.prod(feature.shape) * np.dtype(feature.np_dtype).itemsize > IN_MEMORY:
        images = StreamRows(examples.map(lambda example: example["image"]), size, feature.shape)
        return images, _labels(builder, instruction) if labels and "label" in names else None
    wanted = examples.map(lambda example: {name: example[name] for name in names})
    parts = list(wanted.batch(1000).prefetch(tf.data.AUTOTUNE).as_numpy_iterator())
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return ArrayRows(arrays["image"]), arrays.get("label")


def _labels(builder, instruction: str) -> np.ndarray:
    """The labels of a part, without decoding its images."""
    import tensorflow_datasets as tfds

    without = {"image": tfds.decode.SkipDecoding()}
    examples = builder.as_dataset(split=instruction, shuffle_files=False, decoders=without)
    batches = examples.map(lambda example: example["label"]).batch(10_000)
    return np.concatenate(list(batches.as_numpy_iterator()))


def _named(numbers: dict[str, np.ndarray | None], classes: tuple[str, ...]) -> tuple[Labels | None, tuple[str, ...]]:
    """The labels of all splits, and what to say where they are left out."""
    read = {split: places.astype(np.int64) for split, places in numbers.items() if places is not None}
    if len(read) < len(numbers):
        return None, ("labels: read with labels=True alone, for the set is larger than memory",)
    without = [split for split, places in read.items() if places.min() < 0]
    if without:
        return None, (f"labels: left out, for there are none of {' and '.join(without)}",)
    return Labels(classes, read), ()
