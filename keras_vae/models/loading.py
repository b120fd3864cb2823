"""Files that hold a model, looked at before they are read."""

import json
import os
import re
import zipfile
import zlib
from pathlib import Path

import keras

from keras_vae.models.base import LatentVariableModel

TEXT = 2**26  # bytes of the configuration and other texts, at most
GROWTH = 20  # bytes that come out of each compressed byte of other parts, beyond as many
BROKEN = (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error)  # of the readers of its parts


def load_model(path: str | os.PathLike) -> LatentVariableModel:
    """Loads a model that was saved by `model.save`, compiled as it was, to use it or to train on.

    Args:
        path: a `.keras` file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a file that does not hold a model of this package, and for one that would unpack to far more
            than it holds: texts to more than 64 MiB, weights to more than that and 20 times their size in the file.
    """
    path = Path(path)
    needs = "load_model needs a .keras file that holds a keras_vae model."
    if not path.is_file():
        raise FileNotFoundError(f"{needs} Received: {path}, which is not a file.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{needs} Received: {path}, which is not in the .keras format.")
    with zipfile.ZipFile(path) as archive:
        if "config.json" not in archive.namelist():
            raise ValueError(f"{needs} Received: {path}, a zip file without a config.json.")
        _check_sizes(archive, needs, path)
        try:
            config = json.loads(archive.read("config.json"))
        except BROKEN as error:
            raise ValueError(f"{needs} Received: {path}, with a config.json that can not be read: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{needs} Received: {path}, whose config.json is not that of a model.")
    name = config.get("registered_name") or config.get("class_name")
    known = keras.saving.get_registered_object(name)
    if not (isinstance(known, type) and issubclass(known, LatentVariableModel)):
        raise ValueError(
            f"{needs} Received: {path}, which holds a {name}. If that is a model of your own, import its class first."
        )
    try:
        return keras.saving.load_model(path)
    except TypeError as error:  # Keras's has thousands of characters, with the reason among them
        missing = re.search(r"Could not locate class '([^']+)'", str(error))
        if missing is None:
            raise _unreadable(needs, path, error) from error
        raise ValueError(
            "load_model needs each class of the file to be registered, with keras.saving.register_keras_serializable, "
            f"and imported. Received: {path}, which names {missing[1]}."
        ) from None
    except BROKEN as error:
        raise _unreadable(needs, path, error) from error


def _unreadable(needs: str, path: Path, error: Exception) -> ValueError:
    """What Keras, h5py or zipfile say of a part of the file: the first line, and not the whole configuration."""
    said = str(error).strip().splitlines()[:1]
    return ValueError(f"{needs} Received: {path}, of which a part can not be read: {''.join(said)}")


def _check_sizes(archive: zipfile.ZipFile, needs: str, path: Path) -> None:
    """Raises `ValueError` for parts that are larger than those of any model, before one of them is unpacked."""
    for part in archive.infolist():
        is_text = part.filename.endswith(".json")
        if part.file_size > (TEXT if is_text else TEXT + GROWTH * part.compress_size):
            raise ValueError(
                f"{needs} Received: {path}, whose {part.filename} would unpack from {part.compress_size:,} to "
                f"{part.file_size:,} bytes."
            )
