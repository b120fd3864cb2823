"""Files of tables, frames and dictionaries of columns -> named columns, read by pyarrow."""

import csv
import io
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vae.datasets.stored import StoredTable

if TYPE_CHECKING:
    import pyarrow as pa

COMPRESSED = (".gz", ".bz2", ".zst")
TEXTS = (".csv", ".tsv")
BINARIES = (".parquet", ".arrow", ".feather")
VALUES = 2**20  # cells that are looked at together
HEAD = 2**16  # bytes of a text file that separator, encoding and names are told from
SIGN = "[+\u2212-]?\\s?[$€£¥]?\\s?[+\u2212-]?"  # before the digits of a number
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
EIGHT_BITS = {"cp1252": "Windows-1252", "latin-1": "Latin-1"}
NOT_WINDOWS = bytes([0x81, 0x8D, 0x8F, 0x90, 0x9D])  # no characters of Windows-1252
MISSING = ("", "NA", "N/A", "n/a", "nan", "NaN", "NAN", "null", "NULL", "#N/A")  # in any column
MISSING_NUMBERS = (*MISSING, "?", "-", "None", "none", ".")  # in a column of numbers; in others they may be categories


@dataclass(frozen=True)
class Cells:
    """A table as it was given.

    Attributes:
        title: the path, or what the object is, for messages.
        table: its columns: numbers, booleans, texts, dates; null where a cell is missing. A pyarrow table, or a file
            that is too large for memory.
        named: whether it came with names; they are column_1, column_2, ... where it did not.
        notes: what was recognised of a text file, in words.
        place: from the number of a row and a column to where the cell stands and what is in it, for messages.
    """

    title: str
    table: Any
    named: bool
    notes: tuple[str, ...]
    place: Callable[[int, str], str]

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return self.table.column_names

    @property
    def types(self) -> dict[str, Any]:
        """Arrow's types of the cells, by column."""
        return {name: _of_cells(kind) for name, kind in zip(self.names, self.table.schema.types, strict=True)}

    @property
    def on_disk(self) -> bool:
        """Whether the table is a file that is too large for memory."""
        return isinstance(self.table, StoredTable)

    @property
    def all_numbers(self) -> bool:
        """Whether each cell is a number, none is missing, and no column is of booleans or the same in each row."""
        import pyarrow as pa
        from pyarrow import compute

        kinds = self.types.values()
        if not all(map(holds_numbers, kinds)) or any(map(pa.types.is_boolean, kinds)):
            return False
        edges: dict[str, set] = {name: set() for name in self.names}
        for _, part in self.parts(self.names):
            for name, column in zip(part.column_names, part.columns, strict=True):
                if column.null_count:
                    return False
                edges[name].update(compute.min_max(column).as_py().values())
        return all(len(edge) > 1 for edge in edges.values())

    def __len__(self) -> int:
        return len(self.table)

    def parts(self, names: Sequence[str]) -> "Iterator[tuple[int, pa.Table]]":
        """Some of the columns, a few rows at a time, in their order, and the number of the first of these rows."""
        return _parts(self.title, self.table, names)


def is_table(source) -> bool:
    """Whether this is a path to a table, a frame, a pyarrow table or a dictionary of columns."""
    if isinstance(source, str | os.PathLike):
        return _ending(Path(source)) in (*TEXTS, *BINARIES)
    return isinstance(source, Cells | Mapping) or _is_frame(source)


def read_cells(source, texts: Collection[str] = ()) -> Cells:
    """The table that a path leads to, or that an object is.

    Args:
        source: a path, a pandas or Polars frame, a pyarrow table, a dictionary of columns, or what this has returned.
        texts: names of columns whose cells are texts, "007" too.

    Raises:
        ValueError: for a file that is empty or not such a table, for lines of different lengths, and for names that
            occur twice.
    """
    if isinstance(source, Cells):
        return source
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            cells = _read_text(path, texts) if _ending(path) in TEXTS else _read_binary(path)
        except (OSError, EOFError, csv.Error) as error:
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            raise ValueError(f"datasets.load needs a table that can be read. Received: {path}: {error}") from None
    else:
        cells = _of_object(source)
    twice = sorted({name for name in cells.names if cells.names.count(name) > 1})
    if twice:
        raise ValueError(
            f"datasets.load needs columns of different names. Received: {cells.title} with {twice[0]!r} twice."
        )
    return cells


def as_arrow(values) -> "pa.ChunkedArray":
    """A column as an Arrow array: a list of cells, an array, a pandas series, an Arrow array."""
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        array = values
    else:
        dtype = getattr(values, "dtype", None)
        if isinstance(dtype, np.dtype) and dtype.kind in "iuf":
            values = np.asarray(values).astype(dtype.newbyteorder("="), copy=False)  # of this machine
        try:
            array = pa.array(values, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # numbers and texts
            array = pa.array([None if _is_nothing(cell) else str(cell) for cell in values])
        array = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    if pa.types.is_dictionary(array.type):
        array = pa.chunked_array([_decoded(chunk) for chunk in array.chunks])
    return array


def _decoded(chunk):
    """An array of categories as their texts or numbers."""
    import pyarrow as pa

    if "string" in str(chunk.dictionary.type):  # Polars has views, which pyarrow can not take from
        chunk = pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.string()))
    return chunk.dictionary_decode()


def _is_nothing(cell) -> bool:
    return cell is None or cell != cell  # NaN is not itself


def _plain(title: str, name: str, column) -> "pa.ChunkedArray":
    """A column as an Arrow array of single values; raises `ValueError` for any other."""
    import pyarrow as pa

    try:
        array = as_arrow(column)
    except pa.ArrowException as error:
        raise ValueError(f"datasets.load needs columns of cells. Received: {title}, column {name!r}: {error}") from None
    _require_cells(title, name, array.type)
    return array


def _of_cells(kind: "pa.DataType") -> "pa.DataType":
    """The type of cells that are stored as they are, or by their number among the different ones."""
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _require_cells(title: str, name: str, kind: "pa.DataType") -> None:
    import pyarrow as pa

    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise ValueError(
            f"datasets.load needs columns of numbers, texts or dates. Received: {title}, column {name!r} of {kind}."
        )


def _parts(title: str, table, names: Sequence[str]) -> "Iterator[tuple[int, pa.Table]]":
    import pyarrow as pa

    rows = max(1, VALUES // len(names))
    if isinstance(table, StoredTable):
        first = 0
        for part in table.parts(names, rows):
            columns = [_plain(title, name, column) for name, column in zip(names, part.columns, strict=True)]
            yield first, pa.table(columns, names=list(names))
            first += len(part)
    else:
        columns = table.select(list(names))
        yield from ((first, columns.slice(first, rows)) for first in range(0, len(table), rows))


def holds_numbers(kind: "pa.DataType") -> bool:
    """Whether cells of this type are numbers or booleans, or all missing."""
    import pyarrow as pa

    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return numbers or pa.types.is_boolean(kind) or pa.types.is_null(kind)


def numbers_of(column: "pa.ChunkedArray") -> np.ndarray | None:
    """A column of numbers or booleans as float64, NaN where a cell is missing; None for any other column."""
    import pyarrow as pa

    if not holds_numbers(column.type):
        return None
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy(), np.float64)


def texts_of(column: "pa.ChunkedArray", missing: Collection[str] = MISSING) -> tuple[np.ndarray, list[str]]:
    """A column of texts: the number of each cell's text, int64, -1 where it is missing, and the different texts."""
    import pyarrow as pa

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        column = column.cast(pa.string())
    encoded = column.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    codes = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)
    stripped = [text.strip() for text in encoded.dictionary.to_pylist()]
    different = list(dict.fromkeys(text for text in stripped if text not in missing))
    number = {text: place for place, text in enumerate(different)}
    return np.array([*(number.get(text, -1) for text in stripped), -1], np.int64)[codes], different


def number_in(text: str) -> float | None:
    """The number that a text is, or None."""
    try:
        return None if "_" in text else float(text)  # Python reads 1_2 as 12
    except ValueError:
        return None


def is_written_otherwise(text: str) -> bool:
    """Whether a text is a number, also as people write it: 1,234.50, 7,5, $12, 12 %, 1 234."""
    return bool(re.fullmatch(rf"\(?{SIGN}(\d+|\d{{1,3}}([.,'\u2019\s]\d{{3}})+)([.,]\d+)?\s?[%$€£¥]?\)?", text))


def is_date(text: str) -> bool:
    """Whether a text is a day as 31.12.2024, 12/31/24 or 2024-12-31, perhaps with the time behind it."""
    return bool(re.fullmatch(r"\d{1,4}([./-])\d{1,2}\1\d{2,4}([ T]\d{1,2}:\d\d.*)?", text))


def holds_dates(kind: "pa.DataType") -> bool:
    """Whether cells of this type are dates or times."""
    import pyarrow as pa

    return pa.types.is_temporal(kind)


# --- objects ----------------------------------------------------------------------------------------------------------


def _is_frame(source) -> bool:
    return hasattr(source, "columns") and (hasattr(source, "__arrow_c_stream__") or hasattr(source, "dtypes"))


def _place_in(title: str, table) -> Callable[[int, str], str]:
    def place(row: int, name: str) -> str:
        first, part = next(found for found in _parts(title, table, [name]) if row < found[0] + len(found[1]))
        cell = part[name][row - first].as_py()
        return f"{title}, row {row}, column {name!r}: {('' if cell is None else str(cell))!r}"

    return place


def _of_object(source) -> Cells:
    import pyarrow as pa

    title = f"a {type(source).__name__}"
    if isinstance(source, Mapping):
        for name, column in source.items():
            if isinstance(column, str) or not hasattr(column, "__len__") or len(getattr(column, "shape", (1,))) != 1:
                raise ValueError(
                    "datasets.load needs a dictionary of columns, each a list or an array of one axis. "
                    f"Received: {name!r}: a {type(column).__name__} of shape {getattr(column, 'shape', ())}."
                )
        lengths = {str(name): len(column) for name, column in source.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"datasets.load needs columns of one length. Received: {lengths}.")
        columns = list(source.items())
    elif type(source).__module__.split(".")[0] == "pandas":
        columns = [(name, source.iloc[:, place]) for place, name in enumerate(source.columns)]
    else:
        table = pa.table(source)
        columns = list(zip(table.column_names, table.columns, strict=True))
    arrays = [_plain(title, str(name), column) for name, column in columns]
    table = pa.table(arrays, names=[str(name) for name, _ in columns])
    if not table.num_columns or not len(table):
        raise ValueError(f"datasets.load needs a table with rows. Received: {title}, which is empty.")

    return Cells(title, table, True, (), _place_in(title, table))


# --- files ------------------------------------------------------------------------------------------------------------


def _ending(path: Path) -> str:
    """Of the file that is compressed, in lower case."""
    if path.suffix.lower() in COMPRESSED:
        path = path.with_suffix("")
    return path.suffix.lower()


def _read_binary(path: Path) -> Cells:
    import pyarrow as pa

    title = str(path)
    try:
        table = _stored(path)
        if not table.column_names or not len(table):
            raise ValueError(f"datasets.load needs a table with rows. Received: {path}, which is empty.")
        if isinstance(table, StoredTable) and table.fits:
            table = table.whole()
    except pa.ArrowException as error:
        raise ValueError(f"datasets.load needs a table that can be read. Received: {path}: {error}") from None
    if isinstance(table, StoredTable):
        for name, kind in zip(table.column_names, table.schema.types, strict=True):
            _require_cells(title, name, _of_cells(kind))
    else:
        columns = zip(table.column_names, table.columns, strict=True)
        table = pa.table([_plain(title, name, column) for name, column in columns], names=table.column_names)
    return Cells(title, table, True, (), _place_in(title, table))


def _stored(path: Path) -> "StoredTable | pa.Table":
    """The table in a file; one of Feather's first version is read at once."""
    from pyarrow import feather

    with path.open("rb") as file:
        first_version = file.read(4) == b"FEA1"
    return feather.read_table(path) if first_version else StoredTable(path, is_parquet=_ending(path) == ".parquet")


@dataclass
class _Format:
    """How a text file is written."""

    encoding: str
    separator: str
    named: bool
    names: list[str]
    skipped: int  # lines before the first row
    marked: bool  # whether the first line names the separator, as for Excel
    unnamed: list[str]  # names that are not in the first line
    zeros: dict[str, str]  # by column, a cell such as 007
    decimal: str = "."


def _read_text(path: Path, texts: Collection[str]) -> Cells:
    found = _format_of(path)
    table = _parsed(path, found, texts)
    if any(str(kind) in ("binary", "large_binary") for kind in table.schema.types):  # beyond the head, not UTF-8
        found.encoding = _eight_bits(path)
        table = _parsed(path, found, texts)
    notes = []
    if found.separator != ("\t" if _ending(path) == ".tsv" else ","):
        notes.append(f"separated by {SEPARATORS[found.separator]}")
    if found.encoding not in ("utf-8", "utf-8-sig"):
        notes.append(f"read as {EIGHT_BITS.get(found.encoding, 'UTF-16')}")
    if found.separator != "," and _decimal_commas(table, texts):
        points = [name for name in table.column_names if str(table[name].type) == "double"]
        found.decimal = ","
        table = _parsed(path, found, texts)
        notes.append("with decimal commas")
        others = [*_decimal_commas(table, texts), *(name for name in points if numbers_of(table[name]) is None)]
        if others:
            raise ValueError(
                f"datasets.load needs numbers written in one way. Received: {path} with decimal commas in one "
                f"column and points, or both marks, in {others[0]!r}."
            )
    if found.named and any(name and not _is_text(name) for name in found.names):
        notes.append(f"the first line was read as names: {', '.join(found.names[:6])}")
    if found.named and found.unnamed:
        which = "the column without a name is" if len(found.unnamed) == 1 else "columns without a name are"
        notes.append(f"{which} called {', '.join(found.unnamed[:6])}")
    for name, cell in found.zeros.items():
        if holds_numbers(table[name].type):
            notes.append(f"{name}: read as numbers, without leading zeros: {cell!r}; as a Categorical it keeps them")
    if not found.named:
        notes.append(f"without a line of names: {found.names[0]}, ..., {found.names[-1]}")
    if not len(table):
        raise ValueError(f"datasets.load needs a table with rows. Received: {path}, which is empty but for names.")

    def place(row: int, name: str) -> str:
        for number, (line, cells) in enumerate(_lines(path, found), start=-found.named):
            if number == row:
                return f"{path}, line {line}, column {name!r}: {cells[found.names.index(name)].strip()!r}"
        return f"{path}, row {row}, column {name!r}"

    return Cells(str(path), table, found.named, tuple(notes), place)


def _open(path: Path):
    """The bytes of a file, decompressed."""
    import pyarrow as pa

    return pa.input_stream(str(path), compression="detect")


def _format_of(path: Path) -> _Format:
    with _open(path) as file:
        head = file.read(HEAD)
    if not head.strip():
        raise ValueError(f"datasets.load needs a table with rows. Received: {path}, which is empty.")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
        text = head[: len(head) // 2 * 2].decode(encoding, errors="ignore")
    else:
        whole_lines = head if len(head) < HEAD else head[: head.rfind(b"\n") + 1] or head
        try:
            encoding, text = "utf-8-sig", whole_lines.decode("utf-8-sig")
        except UnicodeDecodeError:
            encoding = _eight_bits(path)
            text = whole_lines.decode(encoding)
    mark = re.match(r"sep=([,;\t|])\r?\n", text)
    text = text[mark.end() :] if mark else text
    separator = mark[1] if mark else _separator(text, "\t" if _ending(path) == ".tsv" else ",")
    rows = csv.reader(io.StringIO(text), delimiter=separator)
    blank, first = next((i, row) for i, row in enumerate(rows) if row)
    named = any(_is_text(cell) for cell in first)
    names = [cell.strip() if named else "" for cell in first]
    names = [name or f"column_{place}" for place, name in enumerate(names, start=1)]
    unnamed = [name for name, cell in zip(names, first, strict=True) if not cell.strip()]
    zeros: dict[str, str] = {}
    for row in rows:
        cells = zip(names, map(str.strip, row), strict=False)
        zeros = {name: cell for name, cell in cells if re.fullmatch(r"0\d+", cell)} | zeros
    skipped = (mark is not None) + blank + named
    return _Format(encoding, separator, named, names, skipped, mark is not None, unnamed, zeros)


def _eight_bits(path: Path) -> str:
    """The encoding of a file that is not UTF-8: Windows-1252, which is Latin-1 with more characters, if it can be."""
    with _open(path) as file:
        while part := file.read(HEAD):
            if len(part.translate(None, NOT_WINDOWS)) < len(part):
                return "latin-1"
    return "cp1252"


def _separator(text: str, usual: str) -> str:
    """What stands as often in each of the first lines; the usual one where that says nothing."""
    # Commas last: where another one stands as often in each line, they are decimal.
    for separator in sorted(SEPARATORS, key=lambda separator: (separator == ",", separator != usual)):
        rows = [cells for cells in csv.reader(io.StringIO(text), delimiter=separator) if cells][:20]
        if len(rows) > 2 and len(text) >= HEAD // 2:
            rows = rows[:-1]  # the last line may be cut
        widths = {len(cells) for cells in rows}
        if len(widths) == 1 and widths.pop() > 1:
            return separator
    return usual


def _is_text(cell: str) -> bool:
    text = cell.strip()
    return text not in MISSING_NUMBERS and number_in(text.replace(",", ".")) is None


def _parsed(path: Path, found: _Format, texts: Collection[str]):
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    def read(missing: Sequence[str], types: Mapping[str, Any], columns: list[str] | None = None):
        try:  # line breaks inside of quotes cost a third of the speed, and few files have any
            return read_with(False, missing, types, columns)
        except pa.ArrowInvalid:
            return read_with(True, missing, types, columns)

    def read_with(breaks: bool, missing: Sequence[str], types: Mapping[str, Any], columns: list[str] | None):
        with _open(path) as file:
            return arrow_csv.read_csv(
                file,
                arrow_csv.ReadOptions(
                    column_names=found.names,
                    skip_rows_after_names=found.skipped,
                    encoding="utf8" if found.encoding.startswith("utf-8") else found.encoding,
                ),
                arrow_csv.ParseOptions(delimiter=found.separator, newlines_in_values=breaks),
                arrow_csv.ConvertOptions(
                    null_values=missing,
                    strings_can_be_null=True,
                    column_types=types,
                    include_columns=columns,
                    decimal_point=found.decimal,
                ),
            )

    types = {name: pa.string() for name in texts if name in found.names}
    if len(set(found.names)) < len(found.names):
        twice = next(name for name in found.names if found.names.count(name) > 1)
        raise ValueError(f"datasets.load needs columns of different names. Received: {path} with {twice!r} twice.")
    try:
        try:
            table = read(MISSING_NUMBERS, types)
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error) or not found.encoding.startswith("utf-8"):
                raise
            found.encoding = _eight_bits(path)  # beyond the head there are texts that are not UTF-8
            table = read(MISSING_NUMBERS, types)
        words = [name for name, kind in zip(table.column_names, table.schema.types, strict=True) if kind == pa.string()]
        if words:  # a mark that may be a category is kept
            again = read(MISSING, types, words)
            for name in words:
                table = table.set_column(table.column_names.index(name), name, again[name])
    except pa.ArrowInvalid as error:
        for line, cells in _lines(path, found):
            if len(cells) != len(found.names):
                raise ValueError(
                    f"datasets.load needs {len(found.names)} cells in each line. Received: {path}, line {line} with "
                    f"{len(cells)}."
                ) from None
        raise ValueError(f"datasets.load needs a table that can be read. Received: {path}: {error}") from None
    pa.default_memory_pool().release_unused()
    return table


def _lines(path: Path, found: _Format):
    """The number of each line that is not empty, and its cells; only for messages."""
    longest = csv.field_size_limit(2**31 - 1)
    try:
        with _open(path) as file, io.TextIOWrapper(file, encoding=found.encoding, newline="") as text:
            reader = csv.reader(text, delimiter=found.separator)
            for cells in reader:
                if cells and not (found.marked and reader.line_num == 1):
                    yield reader.line_num, cells
    finally:
        csv.field_size_limit(longest)


def _decimal_commas(table, texts: Collection[str]) -> list[str]:
    """Names of the columns of texts that are numbers with decimal commas, perhaps with points between thousands."""
    import pyarrow as pa

    names = []
    for name in table.column_names:
        if table[name].type == pa.string() and name not in texts:
            _, different = texts_of(table[name], MISSING_NUMBERS)
            numbers = all(
                re.fullmatch(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?([eE][+-]?\d+)?", text) for text in different
            )
            if numbers and any("," in text for text in different):
                names.append(name)
    return names
