"""Tables as people have them: files that pandas, Polars and pyarrow write, and frames."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import feather

from keras_vae import Bernoulli, Categorical, Columns, LearnedScaleNormal, Normal
from keras_vae.datasets import load
from keras_vae.datasets.cells import read_cells

RNG = np.random.default_rng(0)
NUMBERS = pd.DataFrame(
    {"height": 170 + 10 * RNG.normal(size=60), "weight": 70 + 9 * RNG.normal(size=60), "age": RNG.integers(20, 80, 60)}
)
PEOPLE = pd.DataFrame(
    {
        "height": 170 + 10 * RNG.normal(size=60),
        "smoker": RNG.integers(0, 2, 60),
        "town": RNG.choice(["Tromsø", "Bodø", "Moss"], 60),
    }
)


def rows(data) -> np.ndarray:
    return np.concatenate(list(data.test))


WRITERS = {
    "commas.csv": lambda path: NUMBERS.to_csv(path, index=False),
    "semicolons.csv": lambda path: NUMBERS.to_csv(path, index=False, sep=";"),
    "decimal.csv": lambda path: NUMBERS.to_csv(path, index=False, sep=";", decimal=","),
    "tabs.csv": lambda path: NUMBERS.to_csv(path, index=False, sep="\t"),
    "tabs.tsv": lambda path: NUMBERS.to_csv(path, index=False, sep="\t"),
    "bars.csv": lambda path: NUMBERS.to_csv(path, index=False, sep="|"),
    "quoted.csv": lambda path: NUMBERS.to_csv(path, index=False, quoting=1),
    "mark.csv": lambda path: NUMBERS.to_csv(path, index=False, encoding="utf-8-sig"),
    "wide.csv": lambda path: NUMBERS.to_csv(path, index=False, encoding="utf-16"),
    "lines.csv": lambda path: NUMBERS.to_csv(path, index=False, lineterminator="\r\n"),
    "UPPER.CSV": lambda path: NUMBERS.to_csv(path, index=False),
    "packed.csv.gz": lambda path: NUMBERS.to_csv(path, index=False),
    "packed.csv.bz2": lambda path: NUMBERS.to_csv(path, index=False),
    "table.parquet": lambda path: NUMBERS.to_parquet(path, index=False),
    "table.feather": NUMBERS.to_feather,
    "table.arrow": lambda path: feather.write_feather(pa.Table.from_pandas(NUMBERS), str(path)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_that_others_write(tmp_path, name):
    WRITERS[name](tmp_path / name)
    data = load(tmp_path / name, whole=True)
    assert data.columns == ("height", "weight", "age")
    np.testing.assert_allclose(rows(data), NUMBERS.to_numpy(), rtol=1e-15)
    said = {"semicolons.csv": "separated by semicolons", "decimal.csv": "decimal commas", "tabs.csv": "by tabs",
            "bars.csv": "separated by bars", "wide.csv": "read as UTF-16"}  # fmt: skip
    assert said.get(name, "") in str(data)


@pytest.mark.parametrize(
    "source",
    [NUMBERS, pl.from_pandas(NUMBERS), pa.Table.from_pandas(NUMBERS), {name: NUMBERS[name] for name in NUMBERS},
     {name: NUMBERS[name].tolist() for name in NUMBERS}, NUMBERS.set_index("height", drop=False)],
    ids=["pandas", "Polars", "pyarrow", "series", "lists", "with an index"],
)  # fmt: skip
def test_frames_go_where_a_path_goes(source):
    data = load(source, whole=True)
    assert data.columns == ("height", "weight", "age")
    np.testing.assert_array_equal(rows(data), NUMBERS.to_numpy())
    assert data.kind is LearnedScaleNormal


@pytest.mark.parametrize("make", [lambda frame: frame, pl.from_pandas, pa.Table.from_pandas], ids=["pd", "pl", "pa"])
def test_typed_frames(make, tmp_path):
    frame = PEOPLE.assign(town=PEOPLE["town"].astype("category"), smoker=PEOPLE["smoker"].astype(bool))
    data = load(make(frame), likelihood=Columns, whole=True)
    assert [column.kind for column in data.table.columns] == [Normal, Bernoulli, Categorical]
    codes = {"Bodø": 0, "Moss": 1, "Tromsø": 2}
    np.testing.assert_array_equal(rows(data)[:, 2], [codes[town] for town in PEOPLE["town"]])
    np.testing.assert_array_equal(rows(data)[:, 1], PEOPLE["smoker"])


@pytest.mark.parametrize(
    ("encoding", "said", "town"),
    [("cp1252", "Windows-1252", "„Moss“, 5 €"), ("latin-1", "Latin-1", "Moss\x81")],
    ids=["Excel's", "with control characters"],
)
def test_texts_that_are_not_utf_8(tmp_path, encoding, said, town):
    people = PEOPLE.replace({"town": {"Moss": town}})
    people.to_csv(tmp_path / "people.csv", index=False, encoding=encoding)
    data = load(tmp_path / "people.csv", likelihood=Columns)
    assert data.table.columns[2].categories == tuple(sorted(["Bodø", town, "Tromsø"]))
    assert f"read as {said}" in str(data)
    long = pd.concat([PEOPLE.replace({"town": {"Tromsø": "Moss", "Bodø": "Moss"}})] * 60 + [people])
    long.to_csv(tmp_path / "late.csv", index=False, encoding=encoding)
    assert (tmp_path / "late.csv").stat().st_size > 2**16
    late = load(tmp_path / "late.csv", likelihood=Columns)
    assert {"Tromsø", town} < set(late.table.columns[2].categories)
    np.testing.assert_array_equal(rows(load(tmp_path / "late.csv", like=late)), rows(late))


def test_marks_of_missing_cells(tmp_path):
    """Of numbers all of them; of texts only those that can not be a category."""
    marks = ["", "NA", "N/A", "nan", "NaN", "null", "NULL", "?", "-", "None"]
    cells = [f"{number:.3f}" for number in RNG.normal(size=40)] + marks
    text = ["red", "green"] * 20 + marks
    pd.DataFrame({"x": cells, "colour": text}).to_csv(tmp_path / "t.csv", index=False)
    data = load(tmp_path / "t.csv", likelihood=Columns, whole=True)
    assert data.table.columns[0].kind is Normal
    assert np.isnan(rows(data)[40:, 0]).all()
    assert not np.isnan(rows(data)[:40]).any()
    assert data.table.columns[1].categories == ("-", "?", "None", "green", "red")
    assert np.isnan(rows(data)[40:47, 1]).all()
    assert not np.isnan(rows(data)[47:, 1]).any()
    with pytest.raises(ValueError, match=r"t\.csv, line 49, column 'x': '\?'"):
        load(with_one_mark(tmp_path))


@pytest.mark.parametrize("form", ["pandas", "numbers and texts", "polars", "dictionary", "parquet", "stored"])
def test_marks_of_missing_cells_are_those_of_files(form, tmp_path, monkeypatch):
    """The mark stands in the last rows, which are not in the first part that is looked at."""
    if form == "stored":
        monkeypatch.setattr("keras_vae.datasets.stored.IN_MEMORY", 0)
        monkeypatch.setattr("keras_vae.datasets.cells.VALUES", 180)
    count = RNG.poisson(4, 40)
    last = ["?", "-", "None", "."]
    frame = pd.DataFrame(
        {
            "count": [*map(str, count), *last],
            "size": [*map("{:.3f}".format, RNG.normal(size=40)), *last],
            "sign": [*["+", "-"] * 20, *last],
            "code": [*["07", "7"] * 20, *last],
            "none": last * 11,
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    given = {
        "pandas": frame,
        "numbers and texts": frame.astype({"count": object}).assign(count=[*count, *last]),
        "polars": pl.from_pandas(frame),
        "dictionary": frame.to_dict("list"),
    }.get(form, tmp_path / "t.parquet")
    frame.to_parquet(tmp_path / "t.parquet")
    kinds = {"code": Categorical}
    of_file, data = (load(each, likelihood=kinds, whole=True) for each in (tmp_path / "t.csv", given))
    assert str(data.table) == str(of_file.table)
    assert data.notes == ("none: left out: no value in the training rows",) == of_file.notes[-1:]
    assert data.table.columns[2].categories == ("+", "-", ".", "?", "None")
    assert data.table.columns[3].categories == ("-", ".", "07", "7", "?", "None")
    np.testing.assert_array_equal(rows(data), rows(of_file))
    np.testing.assert_array_equal(rows(data)[:, 0], pd.to_numeric(frame["count"], errors="coerce"))
    again = load(given, like=data, whole=True)
    np.testing.assert_array_equal(rows(again), rows(of_file))
    split = load(given, likelihood={"size": Normal, "code": None})
    assert "size: Normal, (size" in str(split)
    with pytest.raises(ValueError, match=r"kind Normal needs .* Received: .*column 'sign': '\+'"):
        load(given, likelihood={"sign": Normal})


def with_one_mark(folder):
    path = folder / "t.csv"
    lines = ["x,y", *(f"{row},1" for row in range(47)), "?,1", "3,1"]
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        (["a;b", *["1,5;2"] * 12, "-;3", "?;1"], {"a": [1.5] * 12 + [None] * 2, "b": [2] * 12 + [3, 1]}),
        (["1,5;2,2;3,3"] * 14, {"column_1": [1.5] * 14, "column_2": [2.2] * 14, "column_3": [3.3] * 14}),
        (["a;b", *["1,5e-3;2"] * 14], {"a": [0.0015] * 14, "b": [2] * 14}),
    ],
    ids=["missing", "no names", "exponents"],
)
def test_decimal_commas(tmp_path, lines, columns):
    (tmp_path / "t.csv").write_text("\n".join(lines))
    cells = read_cells(tmp_path / "t.csv")
    assert cells.table.to_pydict() == columns
    assert "with decimal commas" in cells.notes


@pytest.mark.parametrize("other", ["0.25", "1.100,5"])
def test_two_decimal_marks_are_refused(tmp_path, other):
    (tmp_path / "t.csv").write_text("a;b\n" + f"1,5;{other}\n" * 12)
    with pytest.raises(ValueError, match=r"needs numbers written in one way. Received: .*t\.csv .* in 'b'"):
        load(tmp_path / "t.csv", likelihood=Columns)


def test_cells_that_only_python_takes_for_numbers():
    data = load({"id": ["3_1", "3_2"] * 20, "x": RNG.normal(size=40)}, likelihood=Columns)
    assert data.table.columns[0].categories == ("3_1", "3_2")


def test_binary_columns_keep_their_names():
    frame = pd.DataFrame(RNG.integers(0, 2, (60, 3)), columns=["a", "b", "c"])
    data = load(frame)
    assert data.kind is Bernoulli
    likelihood = data.likelihood()
    assert likelihood.names == ["a", "b", "c"]
    np.testing.assert_array_equal(rows(load(frame[["c", "a", "b"]], like=likelihood, whole=True)), frame)


def test_a_constant_column_has_the_scale_1():
    data = load(NUMBERS.assign(same=0.1))
    assert data.scale[-1] == 1
    np.testing.assert_allclose(data.scale[:2], NUMBERS.std()[:2], rtol=0.2)


def test_rules_for_columns_that_say_nothing(tmp_path):
    frame = PEOPLE.assign(
        day=pd.date_range("2024-01-01", periods=60), same=7, nothing=np.nan, name=[f"person {row}" for row in range(60)]
    )
    frame = pd.concat([frame] * 5).assign(name=[f"person {row}" for row in range(300)])
    frame.to_csv(tmp_path / "people.csv", index=False)
    for source in (tmp_path / "people.csv", frame):
        data = load(source, likelihood=Columns)
        assert data.columns == ("height", "smoker", "town")
        for words in ("day: left out: dates", "same: left out: only '7'", "nothing: left out: no value in the training",
                      "name: left out: 300 different texts, such as 'person 0'"):  # fmt: skip
            assert words in str(data)
    few = frame.head(60).assign(
        day=frame["day"].head(60).dt.strftime("%d.%m.%Y"), time=frame["day"].head(60).dt.strftime("%m/%d/%y 10:%M")
    )
    data = load(few, likelihood=Columns)
    assert data.columns == ("height", "smoker", "town")
    for words in ("day: left out: dates", "time: left out: dates",
                  "name: left out: 60 different texts in 60 cells, such as 'person 0'"):  # fmt: skip
        assert words in str(data)
    assert "name" in load(few, likelihood={"name": Categorical}).columns
    with pytest.raises(ValueError, match=r"dates in .*people\.csv, line 2, column 'day': '2024-01-01'"):
        load(frame[["height", "day"]].pipe(lambda part: part.to_csv(tmp_path / "people.csv", index=False) or tmp_path)
             / "people.csv")  # fmt: skip


def test_names_of_columns(tmp_path):
    path = tmp_path / "t.csv"
    NUMBERS.to_csv(path, index=False, header=False)
    data = load(path, whole=True)
    assert data.columns == ("column_1", "column_2", "column_3")
    assert "without a line of names: column_1, ..., column_3" in str(data)
    assert len(rows(data)) == 60
    NUMBERS.rename(columns={"weight": "2024"}).to_csv(path, index=False)
    assert "the first line was read as names: height, 2024, age" in str(load(path))
    NUMBERS.rename(columns={"weight": ""}).to_csv(path, index=False)
    assert load(path).columns == ("height", "column_2", "age")
    path.write_text("a,b,a\n" + "1,2,3\n" * 20)
    with pytest.raises(ValueError, match=r"columns of different names. Received: .*t\.csv with 'a' twice"):
        load(path)
    path.write_text("\n\n" + NUMBERS.to_csv(index=False))
    np.testing.assert_allclose(rows(load(path, whole=True)), NUMBERS, rtol=1e-15)


def test_columns_are_matched_by_name(tmp_path):
    data = load(NUMBERS)
    other = (NUMBERS + 1)[["age", "height", "weight"]].assign(more="text").head(1)
    matched = load(other, like=data, whole=True)
    np.testing.assert_array_equal(rows(matched), NUMBERS.head(1) + 1)
    likelihood = data.likelihood()
    np.testing.assert_array_equal(rows(load(other, like=likelihood, whole=True)), NUMBERS.head(1) + 1)
    with pytest.raises(ValueError, match=r"needs the columns height, weight, age. Received: .* without weight"):
        load(other.drop(columns="weight"), like=data, whole=True)
    typed = load(PEOPLE, likelihood=Columns)
    again = load(PEOPLE[["town", "smoker", "height"]].head(3), like=typed.likelihood(), whole=True)
    assert again.columns == typed.columns
    assert [column.categories for column in again.table.columns] == [c.categories for c in typed.table.columns]
    np.testing.assert_array_equal(again.table.to_columns(rows(again))["town"], PEOPLE["town"].head(3))


@pytest.mark.parametrize(
    "cells",
    [["1,234.50", "956.33"], ["1.234,50", "956,33"], ["$12", "$7"], ["12 €", "7,5 €"], ["12%", "7 %", "-"],
     ["\u22120.5", "0.5"], ["1\u202f234", "999"], ["1'234", "2'345"], ["(1,200)", "900"]],
    ids=["thousands", "German", "dollars", "euros", "percent", "minus", "narrow spaces", "Swiss", "accounting"],
)  # fmt: skip
def test_numbers_that_are_written_for_people_are_no_categories(tmp_path, cells):
    frame = pd.DataFrame({"pay": cells * 20, "x": RNG.normal(size=20 * len(cells))})
    frame.to_csv(tmp_path / "t.csv", index=False)
    for source in (tmp_path / "t.csv", frame):
        with pytest.raises(ValueError, match=r"column 'pay' with texts, such as .+ If they name categories, say"):
            load(source, likelihood=Columns)
        assert load(source, likelihood={"pay": None}).columns == ("x",)
        assert len(load(source, likelihood={"pay": Categorical}).table.columns[0].categories) == len(set(cells))


def test_what_a_first_line_and_cells_look_like_is_said(tmp_path):
    path = tmp_path / "t.csv"
    NUMBERS.to_csv(path)  # with the numbers of the rows, in a column without a name
    words = str(load(path))
    assert "columns: column_1, height, weight, age" in words
    assert "the column without a name is called column_1" in words
    wide = str(load({f"x{number}": RNG.normal(size=40) for number in range(21)}))
    assert "x19, ..." in wide
    assert "x20" not in wide
    NUMBERS.assign(zip=[f"{row:05}" for row in range(60)]).to_csv(path, index=False)
    assert "zip: read as numbers, without leading zeros: '00000'; as a Categorical it keeps them" in str(load(path))
    path.write_text("sep=;\n" + NUMBERS.to_csv(index=False, sep=";", decimal=","))  # for Excel
    data = load(path, whole=True)
    np.testing.assert_allclose(rows(data), NUMBERS, rtol=1e-15)
    path.write_text("sep=;\n" + NUMBERS.assign(age="old").to_csv(index=False, sep=";"))
    with pytest.raises(ValueError, match=r"t\.csv, line 3, column 'age': 'old'"):
        load(path)


def test_tables_of_numbers_alone():
    """What `keras-vae train` takes for such: 0 and 1, and what has no scale, are of a kind of their own."""
    assert read_cells(NUMBERS).all_numbers
    for other in ({"age": np.nan}, {"same": 7}, {"is_tall": NUMBERS["height"] > 170}, {"town": "Moss"}):
        assert not read_cells(NUMBERS.assign(**other)).all_numbers, other


def test_infinite_cells_are_no_missing_ones():
    with pytest.raises(ValueError, match=r"row 0, column 'age': 'inf'\.$"):
        load(NUMBERS.assign(age=np.inf))


def test_line_breaks_inside_of_quotes(tmp_path):
    frame = pd.DataFrame({"x": RNG.normal(size=60_000), "note": ["one\nline", "two,\n\nlines"] * 30_000})
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = load(tmp_path / "t.csv", likelihood=Columns, whole=True)
    np.testing.assert_allclose(rows(data)[:, 0], frame["x"], rtol=1e-15)
    assert data.table.columns[1].categories == ("one\nline", "two,\n\nlines")
    assert "note: Categorical, 2 categories: one line, two, lines; 0.0% missing" in str(data)


def test_texts_of_digits_stay_texts_where_they_are_categories(tmp_path):
    frame = pd.DataFrame({"zip": ["0150", "5003", "0150", "9008"] * 15, "x": RNG.normal(size=60)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = load(tmp_path / "t.csv", likelihood={"zip": Categorical})
    assert data.table.columns[0].categories == ("0150", "5003", "9008")
    assert load(tmp_path / "t.csv", like=data).table.columns[0].categories == ("0150", "5003", "9008")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"a,b\n1,2\n3\n", "needs 2 cells in each line. Received: {path}, line 3 with 1."),
        ("t.csv", b"a,b\n", "{path}, which is empty but for names."),
        ("t.csv", b"  \n", "{path}, which is empty."),
        ("t.csv.gz", b"a,b\n1,2\n", "needs a table that can be read. Received: {path}: "),
        ("t.parquet", b"PAR1 and no more", "needs a table that can be read. Received: {path}: "),
        ("t.parquet", b"", "needs a table that can be read. Received: {path}: "),
        ("t.arrow", b"ARROW1", "needs a table that can be read. Received: {path}: "),
        ("t.csv", b"x,y\n" + b"1,1e999\n" * 20, "line 2, column 'y': '1e999'"),
        ("t.csv", b'x,y\n"1' + b"1" * 200_000 + b'",2\n' * 20, "needs 2 cells in each line. Received: {path}, line"),
        ("t.csv", b"x,y\n" + b"a" * 200_000 + b",2\n", "text in {path}, line 2, column 'x': 'aaa"),
    ],
    ids=[
        "ragged",
        "names alone",
        "blank",
        "not packed",
        "cut",
        "empty parquet",
        "cut arrow",
        "too large",
        "quotes",
        "long field",
    ],
)
def test_files_that_can_not_be_read(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message.replace("{path}", str(path)))):
        load(path)


def test_objects_that_are_no_tables():
    for source, message in [
        (3, "needs a name, a path or a table"),
        (
            pd.DataFrame({"a": [[1], [2]] * 10}),
            r"of numbers, texts or dates. Received: a DataFrame, column 'a' of list",
        ),
        (pl.Series([1.0, 2.0]), "needs a name, a path or a table"),
        ({"a": 5}, r"needs a dictionary of columns, .* Received: 'a': a int"),
        ({"a": np.zeros((4, 2))}, r"Received: 'a': a ndarray of shape \(4, 2\)"),
        ({"a": [1, 2], "b": [1]}, r"columns of one length. Received: \{'a': 2, 'b': 1\}"),
        (NUMBERS.head(0), "a table with rows. Received: a DataFrame, which is empty"),
        (NUMBERS.assign(city="Oslo"), "text in a DataFrame, row 0, column 'city': 'Oslo'"),
        (NUMBERS.assign(age=np.nan), "finite number in each cell. Received: a DataFrame, row 0, column 'age': ''"),
    ]:
        with pytest.raises(ValueError, match=message):
            load(source)


def test_odd_columns_of_frames():
    frame = pd.DataFrame({"mixed": [1, "b"] * 20, "x": RNG.normal(size=40).astype(">f8")})
    data = load(frame, likelihood={"mixed": Categorical}, whole=True)
    assert data.table.columns[0].categories == ("1", "b")
    np.testing.assert_array_equal(rows(data)[:, 1], frame["x"])


def test_what_was_observed_is_written_as_it_was(tmp_path):
    frame = pd.DataFrame({"t": 1.7e9 + 1e7 * RNG.normal(size=50), "income": np.exp(RNG.normal(size=50)) * 1234567.25})
    frame["t"] = frame["t"].round()
    data = load(frame, likelihood=Columns, whole=True)
    for name in ("t.csv", "t.parquet", "t.TSV"):
        data.table.write(tmp_path / name, rows(data))
        again = rows(load(tmp_path / name, like=data, whole=True))
        np.testing.assert_array_equal(again, frame)


def test_numbers_that_may_be_no_quantities_are_said(tmp_path):
    """A counter of the rows and codes of categories are kept; a reader of what is printed knows how they were read."""
    frame = NUMBERS.assign(id=np.arange(101, 161), group=RNG.integers(0, 3, 60), shuffled=RNG.permutation(60))
    frame.to_csv(tmp_path / "coded.csv", index=False)
    counted = "id: counts the rows, and was read as a quantity; leave it out if it is none"
    coded = "group: few different whole numbers, read as quantities; if they are codes, a Categorical is right"
    assert load(tmp_path / "coded.csv").notes == (counted, coded)
    assert counted in str(load(frame))
    kinds = {"group": Categorical, "height": Normal}
    assert load(frame, likelihood=kinds).notes == (counted,)
    assert load(frame, likelihood=kinds | {"id": None}).notes == ("id: left out, as asked",)
    assert load(frame.iloc[::2].reset_index(drop=True)).notes == (coded,), "every second id is no counter"
    assert load(NUMBERS).notes == ()
    assert load(frame, like=load(frame)).notes == ()
