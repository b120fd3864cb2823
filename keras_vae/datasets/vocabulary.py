"""Which words a model knows."""

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_vae.arguments import whole_number


def vocabulary(
    texts: Sequence[str],
    max_tokens: int = 20_000,
    min_count: int = 1,
    standardize: str | None = "lower_and_strip_punctuation",
    split: str | None = "whitespace",
) -> keras.layers.TextVectorization:
    """The words of texts, for `TokenSequence(vocabulary=...)`: Keras's layer, with its words in its arguments.

    Token 0 is the end of a text, 1 a word that is not known; the others are words by their counts, the most frequent
    first.

    Args:
        texts: a sequence of them, or a path to a file that has one in each line.
        max_tokens: how many tokens there are at most.
        min_count: how often a word is there at least; others are not known.
        standardize: as `keras.layers.TextVectorization` takes it: "lower_and_strip_punctuation", "lower",
            "strip_punctuation", or None for texts as they are.
        split: "whitespace" or "character".

    Raises:
        ValueError: for no texts, for what is no text, and where no word is frequent enough.
        FileNotFoundError: for a path to no file.

    Example:

    >>> print(*vocabulary(["the cat", "the dog"]).get_vocabulary()[1:])
    [UNK] the dog cat
    """
    max_tokens = whole_number("datasets.vocabulary", "max_tokens", max_tokens, least=3)
    min_count = whole_number("datasets.vocabulary", "min_count", min_count)
    if isinstance(texts, str | os.PathLike):
        texts = lines_of(texts)
    texts = list(texts)
    others = [text for text in texts if not isinstance(text, str)]
    if not texts or others:
        received = f"{others[0]!r} among them" if others else "none"
        raise ValueError(f"datasets.vocabulary needs texts. Received: {received}.")
    options = {"standardize": standardize, "split": split}
    every = keras.layers.TextVectorization(**options)
    every.adapt(tf.constant(texts))
    found = np.asarray(every(tf.constant(texts)))
    counts = np.bincount(found.ravel(), minlength=every.vocabulary_size())
    words = [str(word) for word, count in zip(every.get_vocabulary(), counts, strict=True) if count >= min_count]
    words = [word for word in words if word not in ("", "[UNK]")][: max_tokens - 2]
    if not words:
        raise ValueError(
            f"datasets.vocabulary needs a word that is there {min_count} times. Received: {len(texts):,} texts without."
        )
    return keras.layers.TextVectorization(vocabulary=words, **options)


def lines_of(path: str | os.PathLike) -> list[str]:
    """The lines of a text file in UTF-8 that are not empty, without the spaces around them."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"datasets needs a text file that exists. Received: {path}.")
    return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
