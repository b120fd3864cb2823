"""A folder of image files."""

from pathlib import Path

import numpy as np

from keras_vae.datasets.data import Source
from keras_vae.datasets.rows import ReadRows, split_rows, whole_rows

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif"}
GREY = {"1", "L", "I;16", "I"}  # Pillow's modes with one channel


def folder_source(path: Path, seed: int, whole: bool = False) -> Source:
    """All images of a folder and its subfolders, in the order of their paths, split at random.

    Every file is checked here; its pixels are read when a batch needs them.

    Raises:
        ValueError: for a folder without images, a file that can not be read, and images of different sizes.
    """
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS)
    if not files:
        raise ValueError(
            f"datasets.load needs a folder with images ({', '.join(sorted(ENDINGS))}). Received: {path}, with none."
        )
    shape = _checked_shape(files[0])
    for file in files[1:]:
        other = _checked_shape(file)
        if other != shape:
            raise ValueError(
                "datasets.load needs images of one height, width and number of channels. "
                f"Received: {files[0]} with {shape} and {file} with {other}."
            )

    def read(rows):
        return np.stack([_read(files[row], grey=shape[-1] == 1) for row in rows])

    parts = whole_rows(len(files)) if whole else split_rows(len(files), seed, str(path))
    splits = {name: ReadRows(read, rows, shape, np.uint8) for name, rows in parts.items()}
    return Source(str(path), splits, levels=255.0)


def _checked_shape(file: Path) -> tuple[int, int, int]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            width, height = image.size
            channels = 1 if image.mode in GREY else 3
            image.verify()
    except Exception as error:  # Pillow raises errors of many classes for broken files
        raise ValueError(f"datasets.load needs images that can be read. Received: {file}: {error}") from error
    return height, width, channels


def _read(file: Path, grey: bool) -> np.ndarray:
    from PIL import Image

    with Image.open(file) as image:
        pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels[..., None] if grey else pixels
