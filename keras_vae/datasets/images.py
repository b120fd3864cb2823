"""A folder of image files."""

import collections
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_vae.datasets.data import Source
from keras_vae.datasets.labels import Labels, labels_of
from keras_vae.datasets.rows import SPLITS, ReadRows, named_split, split_rows, whole_rows
from keras_vae.refusals import in_both

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I", "F")  # Pillow's modes of one channel, perhaps with transparency


@dataclass(frozen=True)
class Size:
    """How images get one size.

    Attributes:
        resize: (height, width) that each image is scaled to, whatever its own; or None.
        crop: (height, width) that is cut from the middle of each image, after `resize`; or None.

    Raises:
        ValueError: for what is not two whole numbers.
    """

    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None

    def __post_init__(self):
        for name in ("resize", "crop"):
            given = getattr(self, name)
            whole = isinstance(given, tuple | list) and len(given) == 2 and all(type(n) is int and n > 0 for n in given)
            if given is not None and not whole:
                raise ValueError(
                    f"datasets.load needs {name} to be (height, width), whole numbers above 0. Received: {given!r}."
                )

    def words(self) -> tuple[str, ...]:
        """What is done to the images."""
        named = {"resized to": self.resize, "cropped to": self.crop}
        return tuple(f"images {does} {size[0]} x {size[1]}" for does, size in named.items() if size is not None)

    def of(self, image: "Image") -> "Image":
        """The image in this size."""
        if self.resize is not None:
            image = image.resize((self.resize[1], self.resize[0]))
        if self.crop is not None:
            height, width = self.crop
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))
        return image

    def after(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image that had these; those of one that is too small to crop are its own."""
        height, width = self.resize or (height, width)
        if self.crop is not None and height >= self.crop[0] and width >= self.crop[1]:
            return self.crop
        return height, width


def folder_source(path: Path, seed: int, whole: bool = False, size: Size | None = None) -> Source:
    """All images of a folder and its subfolders, in the order of their paths.

    Subfolders train, test and perhaps validation (val) are the splits; other folders are split at random. Subfolders
    that hold all images of a folder, or of each split, are their classes. Every file is opened here; its pixels are
    read when a batch needs them. Images are turned as their EXIF data say, 16 bits become 8, palettes and CMYK become
    RGB, transparency is dropped. Hidden files are left out.

    Raises:
        ValueError: for a folder without images, files that can not be read (all of them are named), and images of
            different sizes.
    """
    size = size or Size()
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in ENDINGS and not _hidden(file, path)]
    if not files:
        raise ValueError(
            f"datasets.load needs a folder with images ({', '.join(ENDINGS)}). Received: {path}, with none."
        )
    sizes, grey = _looked_at(files, size)
    if size.crop is not None:
        for file, (height, width) in zip(files, sizes, strict=True):
            if (height, width) != tuple(size.crop):
                raise ValueError(
                    f"datasets.load needs images of {size.crop[0]} x {size.crop[1]} or more to crop. "
                    f"Received: {file} of {height} x {width}."
                )
    shape = (*_one_size(path, files, sizes), 1 if all(grey) else 3)

    def read(rows):
        return np.stack([_read(files[row], shape[-1] == 1, size) for row in rows])

    parts, labels, notes = _parts(path, files, seed, whole)
    if any(grey) and not all(grey):
        notes.append(f"{sum(grey):,} grey images of {len(files):,} read as colours")
    splits = {name: ReadRows(read, rows, shape, np.uint8) for name, rows in parts.items()}
    return Source(str(path), splits, levels=255.0, notes=(*size.words(), *notes), labels=labels)


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _parts(
    path: Path, files: list[Path], seed: int, whole: bool
) -> tuple[dict[str, np.ndarray], Labels | None, list[str]]:
    """Row numbers by split, the classes that subfolders are, and what to say of them."""
    folders = [file.relative_to(path).parent.parts for file in files]
    found = [named_split(parts[0]) if parts else None for parts in folders]
    if None not in found and {"train", "test"} <= set(found):
        parts = {name: np.flatnonzero(np.array(found) == name) for name in SPLITS}
        if not len(parts["validation"]):
            drawn = split_rows(len(parts["train"]), seed, f"{path}/train")
            train = parts["train"]
            parts["validation"] = train[drawn["validation"]]
            parts["train"] = train[np.sort(np.concatenate([drawn["train"], drawn["test"]]))]
        classes = {name: _classes([folders[row][1:] for row in rows]) for name, rows in parts.items()}
        labels = _labels(path, classes, parts)
        notes = [f"splits by folder: {', '.join(name for name in SPLITS if name in found)}"]
    else:
        parts = whole_rows(len(files)) if whole else split_rows(len(files), seed, str(path))
        pooled = sorted({folder[0] for folder, split in zip(folders, found, strict=True) if split})
        notes = [f"folders {', '.join(pooled)}: pooled, for splits are train, test and perhaps validation"] * bool(
            pooled
        )
        labels = None if pooled else _labels(path, {"all": _classes(folders)}, {"all": np.arange(len(files))})
        labels = labels.at(parts) if isinstance(labels, Labels) else labels
        alone = [file for file, folder in zip(files, folders, strict=True) if not folder]
        if 0 < len(alone) < len(files) and not pooled:
            are = "is" if len(alone) == 1 else "are"
            notes.append(f"no classes: {len(alone):,} of {len(files):,} images {are} in no folder, such as {alone[0]}")
    if isinstance(labels, str):
        return parts, None, [*notes, labels]
    return parts, labels, notes


def _classes(folders: list[tuple[str, ...]]) -> np.ndarray | None:
    """The names of the folders of images, where each is in one."""
    return np.array([folder[0] for folder in folders]) if {len(folder) for folder in folders} == {1} else None


def _labels(path: Path, classes: dict[str, np.ndarray | None], parts: dict[str, np.ndarray]) -> Labels | str | None:
    known = {name: names for name, names in classes.items() if names is not None}
    return labels_of(known, {name: len(rows) for name, rows in parts.items()}, str(path)) if known else None


def _looked_at(files: list[Path], size: Size) -> tuple[list[tuple[int, int]], list[bool]]:
    """Height and width of each image, and whether it is grey.

    Raises:
        ValueError: for files that can not be read, with the reason for each of the first ten.
    """
    from PIL import Image

    sizes, grey, broken = [], [], []
    for file in files:
        try:
            with Image.open(file) as image:
                height, width = (image.height, image.width)[:: -1 if _orientation(image) >= 5 else 1]
                grey.append(image.mode in GREY)
                jpeg = image.format == "JPEG"
                image.verify()
            if jpeg and not _ends(file):
                raise OSError("image file is truncated")
        except Exception as error:  # Pillow raises errors of many classes for broken files
            broken.append(f"{file}: {error}".replace("\n", " "))
        else:
            sizes.append(size.after(height, width))
    if broken:
        more = f" and {len(broken) - 10:,} more" if len(broken) > 10 else ""
        raise ValueError(
            f"datasets.load needs images that can be read. Received: {len(broken):,} others of {len(files):,}: "
            f"{'; '.join(broken[:10])}{more}."
        )
    return sizes, grey


def _ends(file: Path) -> bool:
    """Whether a JPEG file has its end, which Pillow's `verify` does not look at."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - 2**16))
        return b"\xff\xd9" in opened.read()


def _orientation(image: "Image") -> int:
    """As EXIF data say, without decoding the pixels; 5 and more exchange height and width."""
    from PIL import Image

    if image.info.get("exif"):
        exif = Image.Exif()
        exif.load(image.info["exif"])
        return exif.get(0x0112, 1)
    return getattr(image, "tag_v2", {}).get(0x0112, 1)  # of a TIFF


def _one_size(path: Path, files: list[Path], sizes: list[tuple[int, int]]) -> tuple[int, int]:
    counts = collections.Counter(sizes)
    if len(counts) == 1:
        return sizes[0]
    found = [
        f"{count:,} of {height} x {width}, such as {files[sizes.index((height, width))]}"
        for (height, width), count in counts.most_common(5)
    ]
    message = (
        f"datasets.load needs images of one height and width. Received: {path} with {len(counts):,} sizes: "
        f"{'; '.join(found)}."
    )
    raise in_both(
        ValueError(f"{message} resize=(height, width) scales all of them, crop=(height, width) cuts their middle."),
        f"{message} train --resize HEIGHTxWIDTH scales all of them, --crop HEIGHTxWIDTH cuts their middle.",
    )


def _read(file: Path, grey: bool, size: Size) -> np.ndarray:
    """uint8, shape (height, width, 1 or 3)."""
    from PIL import Image, ImageOps

    with Image.open(file) as image:
        turned: Image.Image = ImageOps.exif_transpose(image)
        if turned.mode == "F" or turned.mode.startswith("I"):
            turned = Image.fromarray(_eight_bits(np.asarray(turned), turned.mode, file))
        pixels = np.asarray(size.of(turned.convert("L" if grey else "RGB")))
    return pixels[..., None] if grey else pixels


def _eight_bits(values: np.ndarray, mode: str, file: Path) -> np.ndarray:
    """Grey levels of 16 bits, or of mode F fractions, as bytes: white is the same in all images."""
    white = 1.0 if mode == "F" else 65535.0
    if not 0 <= values.min() <= values.max() <= white:
        raise ValueError(
            f"datasets.load needs grey levels from 0 to {white:g} in images of mode {mode}. Received: {file} with "
            f"values from {values.min():g} to {values.max():g}."
        )
    return np.round(values.astype(np.float64) / white * 255).astype(np.uint8)
