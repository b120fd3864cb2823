"""Texts, and rows of texts: train, validation and test."""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_vae.arguments import whole_seed
from keras_vae.datasets.grammar import grammar_pairs
from keras_vae.datasets.rows import split_of_rows
from keras_vae.datasets.vocabulary import lines_of, vocabulary

SPLITS = ("train", "validation", "test")
ENDINGS = (".txt", ".tsv", ".csv", ".jsonl")


@dataclass(frozen=True)
class Texts:
    """Texts by split and column, as `fit` of a model with a vocabulary takes them.

    Attributes:
        name: where they are from.
        columns: their names; ("text",) of a file of lines.
        train, validation, test: by column an array of texts, shape (examples,).
    """

    name: str
    columns: tuple[str, ...]
    train: dict[str, np.ndarray]
    validation: dict[str, np.ndarray]
    test: dict[str, np.ndarray]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of texts in each split."""
        return {split: len(getattr(self, split)[self.columns[0]]) for split in SPLITS}

    def vocabulary(self, column: str | None = None, **options) -> keras.layers.TextVectorization:
        """The words of a column in `train`; `options` are those of `datasets.vocabulary`.

        Args:
            column: its name; None is the first one.
        """
        return vocabulary(list(self.train[self._known(column)]), **options)

    def longest(self, column: str | None = None) -> int:
        """The most words, with spaces between them, of a text of a column in any split."""
        column = self._known(column)
        return max(len(text.split()) for split in SPLITS for text in getattr(self, split)[column])

    def _known(self, column: str | None) -> str:
        column = self.columns[0] if column is None else column
        if column not in self.columns:
            raise ValueError(f"Texts needs a column of {', '.join(self.columns)}. Received: {column!r}.")
        return column

    def __str__(self) -> str:
        sizes = ", ".join(f"{count:,} {split}" for split, count in self.sizes.items())
        lines = [f"{self.name}: {sizes}"]
        lines += [f"  {column}: {self.train[column][0]}" for column in self.columns]
        return "\n".join(lines)

    __repr__ = __str__  # what a notebook shows


def load_texts(
    source: str | os.PathLike = "grammar",
    columns: Sequence[str] | None = None,
    seed: int = 0,
    whole: bool = False,
) -> Texts:
    """Texts of a file, or made here, split 80, 10 and 10 % at random from the seed.

    - "grammar": 2,000 pairs of a question and its logical form, made here from the seed.
    - `.txt`: a text in each line that is not empty.
    - `.tsv` and `.csv`: rows of texts. Without `columns` the first row has their names; with it there is no such row.
    - `.jsonl`: an object in each line; `columns` picks some of its keys.

    Args:
        source: name or path. Files are in UTF-8.
        columns: names of the columns.
        seed: integer, of the split, and of what is made here.
        whole: whether each split is all texts, for files that are one split of their own.

    Raises:
        ValueError: for rows of different lengths, keys that are missing, cells that are no texts, fewer than 3 texts,
            and a file of another ending.
        FileNotFoundError: for a path to no file.
    """
    seed = whole_seed("datasets.load_texts", seed)
    if columns is not None and (isinstance(columns, str) or not all(isinstance(name, str) for name in columns)):
        raise ValueError(f"datasets.load_texts needs columns to be a list of names. Received: {columns!r}.")
    found = grammar_pairs(2_000, seed) if source == "grammar" else _of_file(Path(source), columns)
    size = len(next(iter(found.values())))
    if size < 3:
        raise ValueError(f"datasets.load_texts needs 3 texts or more. Received: {size} in {source}.")
    arrays = {name: np.asarray(texts, object) for name, texts in found.items()}
    places = None if whole else split_of_rows(size, seed, str(source))
    train, validation, test = (
        {name: array if places is None else array[places == number] for name, array in arrays.items()}
        for number in range(len(SPLITS))
    )
    return Texts(str(source), tuple(arrays), train, validation, test)


def _of_file(path: Path, columns: Sequence[str] | None) -> dict[str, list[str]]:
    if path.suffix not in ENDINGS:
        raise ValueError(
            f"datasets.load_texts needs a name, grammar, or a file that ends in {', '.join(ENDINGS)}. Received: {path}."
        )
    lines = lines_of(path)
    if path.suffix == ".txt":
        return {"text" if columns is None else columns[0]: lines}
    if path.suffix == ".jsonl":
        objects = [_object(path, number, line) for number, line in enumerate(lines, start=1)]
        names = list(objects[0]) if columns is None and objects else list(columns or ())
        return {name: [_text(path, number, row, name) for number, row in enumerate(objects, start=1)] for name in names}
    rows = list(csv.reader(lines)) if path.suffix == ".csv" else [line.split("\t") for line in lines]
    names = list(columns) if columns is not None else rows.pop(0) if rows else []
    for number, row in enumerate(rows, start=1 + (columns is None)):
        if len(row) != len(names):
            raise ValueError(
                f"datasets.load_texts needs {len(names)} cells in each row, {', '.join(names)}. "
                f"Received: {len(row)} in line {number} of {path}."
            )
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _object(path: Path, number: int, line: str) -> dict:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"datasets.load_texts needs an object in each line. Received: line {number} of {path}: {error}."
        ) from None
    if not isinstance(found, dict):
        raise ValueError(f"datasets.load_texts needs an object in each line. Received: line {number} of {path}.")
    return found


def _text(path: Path, number: int, row: dict, name: str) -> str:
    if not isinstance(row.get(name), str):
        raise ValueError(
            f"datasets.load_texts needs a text in {name}. Received: {row.get(name)!r} in line {number} of {path}."
        )
    return row[name]
