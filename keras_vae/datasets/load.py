"""Where a name or path leads."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

from keras_vae.arguments import whole_seed
from keras_vae.datasets.arrays import array_source, memory_mapped_source, npz_source
from keras_vae.datasets.data import Data, Source, observe
from keras_vae.datasets.images import folder_source
from keras_vae.datasets.table import csv_source, typed_source
from keras_vae.datasets.tfds import tfds_source
from keras_vae.distributions import Columns, DistributionLayer

FILES = {".npz": npz_source, ".npy": memory_mapped_source, ".csv": csv_source}


def load(
    source: str | os.PathLike = "digits",
    batch_size: int = 128,
    likelihood: type[DistributionLayer] | Mapping[str, type[DistributionLayer] | None] | None = None,
    seed: int = 0,
    like: Data | None = None,
    drop_remainder: bool = False,
) -> Data:
    """Train, validation and test pipelines of a named data set or of your own files.

    - "digits": 1,797 handwritten digits of 8x8 pixels, embedded in scikit-learn.
    - the name of an image set of TensorFlow Datasets, "mnist", "binarized_mnist", "cifar10", ..., which is downloaded
      where it is not there yet; TFDS_DATA_DIR names another data directory than TFDS's default.
    - a path: `.npy` (memory-mapped), `.npz` (one array, or arrays train, validation and test), `.csv` (numeric
      columns), or a folder of images of one size (read when a batch needs them).

    Data without splits of their own are split 80, 10 and 10 % at random from the seed.

    Under `likelihood=Columns` each column of a `.csv` file has a kind of its own, and a cell that is empty, "NA" or
    "nan" is missing: NaN in the observation. Texts are `Categorical`; 0 and 1 `Bernoulli`; other whole numbers from 0
    to 100 `Poisson`, or `NegativeBinomial` where their variance is above 1.5 times their mean; positive numbers that
    are skewed, but their logarithms less so, `LogNormal`; all others `Normal`. Real numbers are standardised, positive
    ones divided by their geometric mean. The `table` of the data builds the likelihood, and takes observations to typed
    columns and back.

    Args:
        source: name or path.
        batch_size: examples in a batch; the last one may be smaller.
        likelihood: the distribution layer of the observations. `Bernoulli` makes binary observations of grey levels:
            drawn anew in each training batch, and once for validation and test. Any other keeps them continuous, in
            [0, 1], and standardises columns. None is `Bernoulli` for binary data and grey images, else
            `LearnedScaleNormal`. `Columns` reads a table whose columns are of different kinds; a dictionary does so
            too, and gives the kinds of some of them, {"age": Normal}, or leaves a column out, {"name": None}.
        seed: integer: of the splits, the order and the draws.
        like: data whose standardisation of columns is to be used, that of the training of a model for instance; their
            kinds and categories too, where they are of different kinds.
        drop_remainder: whether to leave out the last, smaller batch of each split: all batches then have one static
            shape, which TPUs need.

    Returns:
        A `Data`; `print` it to read what was chosen.

    Raises:
        ValueError: for files that do not hold what is described above, with what and where; for a split that has no
            whole batch under `drop_remainder`.
        FileNotFoundError: for a path that does not exist, and for a TFDS data set that can not be downloaded.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"datasets.load needs batch_size to be a whole number, 1 or more. Received: {batch_size!r}.")
    seed = whole_seed("datasets.load", seed)
    typed = likelihood is Columns or isinstance(likelihood, Mapping) or (like is not None and like.table is not None)
    if typed:
        return observe(_find_table(source, seed, likelihood, like), batch_size, None, seed, None, drop_remainder)
    kind = likelihood if _is_kind(likelihood) else None
    if kind is not likelihood:
        raise ValueError(f"datasets.load needs likelihood to be a class such as Bernoulli. Received: {likelihood!r}.")
    return observe(_find(source, seed), batch_size, kind, seed, like, drop_remainder)


def _is_kind(likelihood) -> TypeGuard[type[DistributionLayer]]:
    return isinstance(likelihood, type) and issubclass(likelihood, DistributionLayer)


def _find(source: str | os.PathLike, seed: int) -> Source:
    path = Path(source)
    if source == "digits":
        return _digits(seed)
    if path.is_dir():
        return folder_source(path, seed)
    if path.suffix in FILES or len(path.parts) > 1 or isinstance(source, os.PathLike):
        _require_file(path)
        return FILES[path.suffix](path, seed)
    return tfds_source(source)


def _find_table(source: str | os.PathLike, seed: int, likelihood, like: Data | None) -> Source:
    kinds = likelihood if isinstance(likelihood, Mapping) else {}
    for name, kind in kinds.items():
        if kind is not None and not _is_kind(kind):
            raise ValueError(
                "datasets.load needs the kind of a column to be a class such as Normal, or None to leave it out. "
                f"Received: {name!r}: {kind!r}."
            )
    if like is not None and like.table is None:
        raise ValueError(
            "datasets.load needs like to be data with columns of different kinds, loaded with likelihood=Columns. "
            f"Received: {like.name} with likelihood {like.likelihood.__name__}."
        )
    path = Path(source)
    _require_file(path)
    if path.suffix != ".csv":
        raise ValueError(f"datasets.load needs a .csv file for columns of different kinds. Received: {path}.")
    return typed_source(path, seed, kinds, like)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"datasets.load needs a file or folder that exists. Received: {path}.")
    if path.suffix not in FILES:
        raise ValueError(f"datasets.load needs a file that ends in {', '.join(FILES)}. Received: {path}.")


def _digits(seed: int) -> Source:
    from sklearn.datasets import load_digits

    images = load_digits().images.astype("uint8")[..., None]  # [1797, 8, 8, 1], grey levels 0 to 16
    return array_source("digits", images, seed, levels=16.0)
