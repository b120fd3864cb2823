"""Where a name or path leads."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from keras_vae.arguments import whole_seed
from keras_vae.datasets.arrays import array_source, memory_mapped_source, npz_source
from keras_vae.datasets.balls import Billiards, Gravity
from keras_vae.datasets.canvases import Canvases, MNISTCanvases
from keras_vae.datasets.cells import BINARIES, TEXTS, is_table
from keras_vae.datasets.columns import Table
from keras_vae.datasets.data import Data, Source, observe
from keras_vae.datasets.images import Size, folder_source
from keras_vae.datasets.scenes import Scenes
from keras_vae.datasets.series import Series
from keras_vae.datasets.shapes import shapes_source
from keras_vae.datasets.sprites import Sprites
from keras_vae.datasets.table import numeric_source, typed_source
from keras_vae.datasets.tfds import tfds_source
from keras_vae.distributions import Columns, DistributionLayer, GreyLevels, Standardized
from keras_vae.refusals import in_both

FILES = {".npz": npz_source, ".npy": memory_mapped_source}
ENDINGS = (*TEXTS, *BINARIES)
TABLES = "a table (.csv, .tsv, .parquet, .arrow, perhaps compressed, a frame, or columns by name)"


def load(
    source: Any = "digits",
    batch_size: int = 128,
    likelihood: type[DistributionLayer] | Mapping[str, type[DistributionLayer] | None] | None = None,
    seed: int = 0,
    like: Any = None,
    drop_remainder: bool = False,
    whole: bool = False,
    resize: tuple[int, int] | None = None,
    crop: tuple[int, int] | None = None,
    grey_levels: bool = False,
    labels: bool = False,
    numbers: bool = False,
) -> Data:
    """Train, validation and test pipelines of a named data set or of your own files.

    - "digits": 1,797 handwritten digits of 8x8 pixels, embedded in scikit-learn.
    - "shapes": 13,824 binary images of 32x32 pixels that are made here, one for each setting of five factors: a square,
      ellipse or heart, its scale, rotation, column and row. `data.factors` and `data.factor_values` have them. No two
      are the same: their entropy is log(13,824) = 9.53 nats.
    - "sprites": images of 1 to 4 coloured shapes, "canvases" and "mnist_canvases": of 0 to 3 digits, "billiards" and
      "gravity": sequences of frames, all made here, from the seed. `data.truth` has their masks, counts, boxes,
      positions and velocities. `Sprites`, `Canvases`, `MNISTCanvases`, `Billiards` and `Gravity` take arguments:
      `load(Sprites(side=64, overlap=True))`; recipes of your own are subclasses of `Scenes`.
    - the name of an image set of TensorFlow Datasets, "mnist", "binarized_mnist", "cifar10", ..., which is downloaded
      where it is not there yet; TFDS_DATA_DIR names another data directory than TFDS's default.
    - a path: `.npy` (memory-mapped), `.npz` (one array, or arrays train, validation and test), or a folder of images
      of one size (read when a batch needs them), whose subfolders train, test and perhaps validation are the splits.
      Arrays of four axes are images, channels first where axes say so; of three axes grey images where the values are
      stored as bytes or other integers from 0 to 255, or lie in [0, 1], else series (examples, steps, channels); of two
      axes vectors; of five axes frames (examples, time, height, width, channels). A NumPy array is read as a file that
      holds it.
    - a table of numeric columns: `.csv` and `.tsv`, which may be compressed (`.gz`, `.bz2`, `.zst`), `.parquet`,
      `.arrow`, `.feather`; a pandas or Polars frame, a pyarrow table, or a dictionary of columns. Of a text file the
      separator, decimal commas, Windows-1252 and UTF-16 are recognised, and said by `print(data)`.

    - `LongSeries`, `WideSeries` and `ArraySeries`, which say how a table or array is read as time series, of one length
      or of several, whole or in windows: `load(LongSeries("visits.csv", series="patient", time="day"))`.

    In series NaN is a missing value, or padding after the end; `data.likelihood(network)` is then a `TimeSeries`.

    Names of sets that are made here are these sets even where there is a folder of that name: "./shapes" is the folder.

    Classes are those of digits, shapes and of TFDS, numbers of objects of sprites and canvases, subfolders of images,
    one for each class, and whole numbers, texts or booleans named y or labels in an `.npz` (y_train, y_test, ... beside
    splits): `data.labels` and `data.classes`.

    Text files and frames are held in memory. A Parquet or Arrow file of more than 1 GiB, as it is or as float64, is
    read in parts. Its numbers go, 8 bytes each, to temporary files on the disk of the folder that the environment
    variable TMPDIR names, which are gone with the data: kinds, units and batches are those of a table in memory.

    Data without splits of their own are split 80, 10 and 10 % at random from the seed.

    Under `likelihood=Columns` each column of a table has a kind of its own, and a cell that is empty, "NA", "null",
    "nan" and the like, or in a column of numbers "?" or "-", is missing: NaN in the observation. Texts are
    `Categorical`; 0 and 1 `Bernoulli`; other whole numbers from 0 to 100 `Poisson`, or `NegativeBinomial` where their
    variance is above 1.5 times their mean; positive numbers that are skewed, but their logarithms less so, `LogNormal`;
    all others `Normal`. Dates, columns that are the same in each row or empty, and texts of more than 256 kinds, or of
    more than half as many as there are cells, such as names, are left out, and named by `print(data)`. Numbers with
    signs of currency, percent or thousands, and numbers mixed with texts, are refused unless the kind is given. The
    `table` of the data takes observations to typed columns and back.

    Numbers stay in the units of the data: `data.likelihood(network)` builds the layer that standardises them, positive
    ones by their geometric mean, inside of the model.

    Args:
        source: name, recipe of scenes or series, path, NumPy array, frame, pyarrow table or dictionary of columns.
        batch_size: examples in a batch; the last one may be smaller.
        likelihood: the distribution layer of the observations. `Bernoulli` makes binary observations of grey levels:
            drawn anew in each training batch, and once for validation and test. Any other keeps them continuous, in
            [0, 1]. None is `Bernoulli` for binary data and grey images, else
            `LearnedScaleNormal`. `Columns` reads a table whose columns are of different kinds; a dictionary does so
            too, and gives the kinds of some of them, {"age": Normal}, or leaves a column out, {"name": None}.
        seed: integer: of the splits, the order and the draws.
        like: a model, its likelihood, or `Data`, whose columns are to be read, by their names; their kinds and
            categories too, where they are of different kinds. Arrays are read in its shape, images in its grey levels,
            and the labels of `labels=True` as places in the classes of `Data`.
        drop_remainder: whether to leave out the last, smaller batch of each split: all batches then have one static
            shape, which TPUs need.
        whole: whether to hold nothing out: each split is all rows of a table or array, for data that are to be scored.
            Data with splits of their own keep them.
        resize: (height, width) that images of a folder are scaled to.
        crop: (height, width) that is cut from the middle of images of a folder, after `resize`.
        grey_levels: whether images stay in the units of their files, from 0 to white, instead of fractions of white;
            binary draws are then 0 or white. `data.likelihood(network)` builds the `GreyLevels` that such a model
            needs, and it is asked, and served, in these units. Other data are as they are.
        labels: whether batches are pairs (x, y) of observations and labels, one-hot vectors, float32 of shape (batch,
            classes), for models with a condition.
        numbers: whether batches are pairs (x, y) of observations and their numbers, int32 of shape (batch,), for
            `VariationalAutodecoder`: of train from 0 to `sizes["train"]` - 1, in the order in which it is stored; of
            validation and test -1, for examples of which nothing is known.

    Returns:
        A `Data`; `print` it to read what was chosen.

    Raises:
        ValueError: for files that do not hold what is described above, with what and where; for a split that has no
            whole batch under `drop_remainder`, for a source without labels under `labels=True`, and for labels and
            numbers at once.
        OSError: for a table larger than memory, where the disk has no room for its numbers.
        FileNotFoundError: for a path that does not exist, and for a TFDS data set that can not be downloaded.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"datasets.load needs batch_size to be a whole number, 1 or more. Received: {batch_size!r}.")
    seed = whole_seed("datasets.load", seed)
    if labels and numbers:
        raise ValueError("datasets.load needs labels or numbers, one of the two. Received: both.")
    size = Size(resize, crop)
    if size != Size() and not _is_folder(source):
        raise ValueError(f"datasets.load needs a folder of images to resize or crop. Received: {_title(source)}.")
    names, table = _columns_of(like)
    typed = likelihood is Columns or isinstance(likelihood, Mapping) or table is not None
    kind = likelihood if _is_kind(likelihood) and not typed else None
    if kind is not likelihood and not typed:
        raise ValueError(f"datasets.load needs likelihood to be a class such as Bernoulli. Received: {likelihood!r}.")
    if typed:
        found = _find_table(source, seed, likelihood, like, table, whole)
    else:
        found = _find(source, seed, names, whole, size, _shape_of(like), labels)
    if labels:
        found = found.labelled(like.classes if isinstance(like, Data) else None)
    if numbers:
        found = found.numbered()
    white = _white_of(like)
    if white is not None:
        found, grey_levels = replace(found, levels=white), True  # whatever the largest value is
    return observe(found, batch_size, kind, seed, drop_remainder, grey_levels)


def _columns_of(like) -> tuple[tuple[str, ...] | None, Table | None]:
    """The names of the columns of data or a model, where they have any, and of typed columns the table."""
    if like is None or isinstance(like, Data):
        return (None, None) if like is None else (like.columns, like.table)
    layer = getattr(like, "likelihood", like)
    if isinstance(layer, Columns):
        table = Table.of(layer)
        return table.names, table
    if not isinstance(layer, DistributionLayer):
        raise ValueError(f"datasets.load needs like to be Data, a model or its likelihood. Received: {like!r}.")
    names = layer.names if isinstance(layer, Standardized) else None
    return (None if names is None else tuple(names)), None


def _white_of(like) -> float | None:
    """The value of white of data or a model in grey levels."""
    if isinstance(like, Data):
        return like.levels if like.grey_levels else None
    layer = getattr(like, "likelihood", like)
    return layer.white if isinstance(layer, GreyLevels) else None


def _shape_of(like) -> tuple[int, ...] | None:
    """The shape of an observation of data or a model."""
    if like is None or isinstance(like, Data):
        return None if like is None else like.shape
    return tuple(getattr(like, "likelihood", like).event_shape)


def _is_kind(likelihood) -> TypeGuard[type[DistributionLayer]]:
    return isinstance(likelihood, type) and issubclass(likelihood, DistributionLayer)


def _find(
    source,
    seed: int,
    like: tuple[str, ...] | None,
    whole: bool,
    size: Size,
    shape: tuple[int, ...] | None,
    labels: bool,
) -> Source:
    if isinstance(source, Scenes):
        return source.source(seed)
    if isinstance(source, Series):
        return source.source(seed, whole)
    if isinstance(source, np.ndarray):
        return array_source("array", source, seed, whole=whole, like=shape)
    if not isinstance(source, str | os.PathLike):
        if not is_table(source):
            raise ValueError(
                f"datasets.load needs a name, a path or {TABLES}, a NumPy array, a recipe of scenes such as "
                f"Sprites(), or what says how series are read, such as LongSeries(...). "
                f"Received: a {type(source).__name__}."
            )
        return numeric_source(source, seed, like, whole)
    path = Path(source)
    if isinstance(source, str) and source in NAMED:
        return NAMED[source](seed)
    if _is_folder(source):
        return folder_source(path, seed, whole, size)
    if is_table(path):
        _require_file(path)
        return numeric_source(path, seed, like, whole)
    if path.suffix in FILES or len(path.parts) > 1 or isinstance(source, os.PathLike):
        _require_file(path)
        return FILES[path.suffix](path, seed, whole, shape)
    return tfds_source(source, labels)


def _find_table(source, seed: int, likelihood, like, table: Table | None, whole: bool) -> Source:
    kinds = likelihood if isinstance(likelihood, Mapping) else {}
    for name, kind in kinds.items():
        if kind is not None and not _is_kind(kind):
            raise ValueError(
                "datasets.load needs the kind of a column to be a class such as Normal, or None to leave it out. "
                f"Received: {name!r}: {kind!r}."
            )
    if like is not None and table is None:
        raise ValueError(
            "datasets.load needs like to have columns of different kinds, as data loaded with likelihood=Columns and "
            f"models of them have. Received: {like.name if isinstance(like, Data) else like!r}."
        )
    if isinstance(source, str | os.PathLike) and (is_table(source) or Path(source).suffix):
        _require_file(Path(source))
    if not is_table(source):
        raise in_both(
            ValueError(f"datasets.load needs {TABLES} for columns of different kinds. Received: {_title(source)}."),
            f"datasets.load needs a table ({', '.join(ENDINGS)}) for columns of different kinds. Received: {source}.",
        )
    return typed_source(source, seed, kinds, table, whole)


def _is_folder(source) -> bool:
    """Whether a path leads to a folder; the name of one of our sets is no path."""
    if isinstance(source, str) and source in NAMED:
        return False
    return isinstance(source, str | os.PathLike) and Path(source).is_dir()


def _title(source) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else f"a {type(source).__name__}"


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"datasets.load needs a file or folder that exists. Received: {path}.")
    if path.suffix not in FILES and not is_table(path):
        raise ValueError(f"datasets.load needs a file that ends in {', '.join((*FILES, *ENDINGS))}. Received: {path}.")


def _digits(seed: int) -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype("uint8")[..., None]  # [1797, 8, 8, 1], grey levels 0 to 16
    return array_source("digits", images, seed, levels=16.0, targets=digits.target)


SCENES = {recipe.name: recipe().source for recipe in (Sprites, Canvases, MNISTCanvases, Billiards, Gravity)}
NAMED = {"digits": _digits, "shapes": shapes_source} | SCENES  # from the seed of the split to a source
