"""Named columns -> files that other programs read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_vae.files import replacing

ENDINGS = (".csv", ".tsv", ".parquet", ".arrow", ".npz")


def write_columns(path: str | os.PathLike, columns: Mapping[str, object]) -> None:
    """Writes columns by name, each a list or an array of one cell for each row, in one step.

    Args:
        path: a file that ends in `.csv`, `.tsv`, `.parquet`, `.arrow` or `.npz`; None and NaN are empty cells in text.
        columns: numbers, texts and None.
    """
    import pyarrow as pa
    from pyarrow import csv, feather, parquet

    ending = Path(path).suffix.lower()
    with replacing(path) as temporary:
        if ending == ".npz":
            arrays: dict[str, Any] = {name: np.asarray(column) for name, column in columns.items()}
            with temporary.open("wb") as file:  # NumPy would change another ending than .npz
                np.savez(file, **arrays)
            return
        table = pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()})
        if ending == ".parquet":
            parquet.write_table(table, temporary)
        elif ending == ".arrow":
            feather.write_feather(table, str(temporary), compression="uncompressed")
        else:
            options = csv.WriteOptions(delimiter="\t" if ending == ".tsv" else ",", quoting_style="needed")
            csv.write_csv(table, temporary, options)
