"""Files of one's own: what was written is read back, and nothing that is wrong goes unnoticed."""

import csv
import gzip
import itertools
import json

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from imdb_jax.datasets import tables
from imdb_jax.datasets.columns import TEXT_COLUMNS, choose_column
from imdb_jax.datasets.tables import Row, column_names, read_column, read_rows
from imdb_jax.errors import UserError

NASTY = [
    "plain",
    "",
    "a,b\tc",
    'say "yes"',
    '"',
    "two\nlines",
    "and\r\nmore\r",
    "Žluťoučký 映画 🎬",
    " x ",
]


def write_csv(path, rows, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([["id", "text", "label"], *rows])


def write_json(path, rows):
    lines = [
        json.dumps(dict(zip(("id", "text", "label"), row, strict=True)), ensure_ascii=False)
        for row in rows
    ]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="")


def write_parquet(path, rows):
    columns = dict(zip(("id", "text", "label"), map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(pyarrow.table(columns), path)


WRITERS = {
    ".csv": write_csv,
    ".tsv": lambda path, rows: write_csv(path, rows, "\t"),
    ".jsonl": write_json,
    ".ndjson": write_json,
    ".parquet": write_parquet,
}


def values_of(path, *columns):
    rows = list(read_rows(path, columns))
    assert not any(row.problem for row in rows)
    return [row.values for row in rows]


@pytest.mark.parametrize("suffix", WRITERS)
def test_what_was_written_is_read_back(tmp_path, suffix):
    path = tmp_path / f"reviews{suffix}"
    rows = [(str(number), text, "pos") for number, text in enumerate(NASTY)]
    WRITERS[suffix](path, rows)
    assert column_names(path) == ["id", "text", "label"]
    assert values_of(path, "label", "text") == [("pos", text) for text in NASTY]
    assert list(read_column(path)) == NASTY
    assert list(read_column(path, "id")) == [row[0] for row in rows]
    assert list(read_column(path.rename(tmp_path / f"R{suffix.upper()}"))) == NASTY


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@pytest.mark.parametrize("suffix", WRITERS)
@settings(max_examples=30)
@given(texts=st.lists(text, min_size=1, max_size=8))
def test_any_text_survives(tmp_path_factory, suffix, texts):
    path = tmp_path_factory.mktemp("texts") / f"reviews{suffix}"
    WRITERS[suffix](path, [("1", text, "0") for text in texts])
    assert values_of(path, "text") == [(text,) for text in texts]


def test_a_byte_order_mark_and_other_line_ends(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_bytes('\ufefftext, label\r\n"a ""b""\r\nc",1\r\n\r\nd,0'.encode())
    assert column_names(path) == ["text", "label"]
    assert list(read_rows(path, ["text", "label"])) == [
        Row((2, 3), ('a "b"\r\nc', "1")),
        Row((5, 5), ("d", "0")),
    ]
    path = tmp_path / "reviews.jsonl"
    path.write_bytes('\ufeff{"text": "a"}\r\n\r\n{"text": "b\u2028c"}'.encode())
    assert list(read_column(path)) == ["a", "b\u2028c"]


def test_fields_beyond_the_limit_of_csv(tmp_path):
    path = tmp_path / "reviews.csv"
    long = "word " * 100_000
    write_csv(path, [("1", long, "1")])
    assert list(read_column(path)) == [long]


def test_reading_is_streamed(tmp_path):
    path = tmp_path / "reviews.csv"
    write_csv(path, [("1", "good", "1")])
    with path.open("a") as file:
        file.write('2,"never closed')
    assert next(read_rows(path, ["text"])).values == ("good",)


def test_json_keeps_types_and_misses_what_is_not_there(tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"text": "a", "label": 1}\n{"label": true}\n{"text": null, "label": 0.5}\n')
    assert values_of(path, "text", "label") == [("a", 1), (None, True), (None, 0.5)]


# Rows that are damaged


def test_damaged_rows_of_csv_are_named_and_the_others_read(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text('text,label\n"a"b,1\nc\nd,1,2\n"e\n"f,1\ng,1\n')
    closing, fields = "text after a closing quote", "more or fewer fields than the header"
    assert list(read_rows(path, ["text"])) == [
        Row((2, 2), (), closing),
        Row((3, 3), (), fields),
        Row((4, 4), (), fields),
        Row((5, 6), (), closing),
        Row((7, 7), ("g",)),
    ]


def test_a_quote_that_never_ends_is_an_error(tmp_path):
    """Else all that follows would be lost in one field."""
    path = tmp_path / "reviews.csv"
    path.write_text('text,label\na,1\n"b,1\n' + "c,0\n" * 50)
    rows = read_rows(path, ["text"])
    assert next(rows).values == ("a",)
    with pytest.raises(
        UserError, match=r"reviews\.csv cannot be read after line 2: the quoted field .* line 3"
    ):
        next(rows)


def test_damaged_lines_of_json_are_named_and_the_others_read(tmp_path):
    path = tmp_path / "reviews.jsonl"
    nested = "[" * 100_000
    path.write_text(f'{{"text": "a"}}\n{{"text": \n"b"\n\n[1]\n{nested}\n{{"text": "c"}}\n')
    wrong = "not a JSON object"
    expected = [Row((number, number), (), wrong) for number in (2, 3, 5, 6)]
    assert list(read_rows(path, ["text"])) == [Row((1, 1), ("a",)), *expected, Row((7, 7), ("c",))]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_bytes_that_are_not_utf8_can_be_told(tmp_path, suffix):
    path = tmp_path / f"reviews{suffix}"
    WRITERS[suffix](path, [("1", "café", "1"), ("2", "ok", "1")])
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xe9"))
    (damaged,), (good,) = values_of(path, "text")
    assert not tables.is_unicode(damaged)
    assert tables.is_unicode(good)
    assert list(read_column(path)) == ["caf\ufffd", "ok"]


@pytest.mark.parametrize("text", ['"' + "never closed\n" * 100, '"\n",' * 300, "x" * 1001])
def test_rows_without_an_end_are_an_error(tmp_path, monkeypatch, text):
    monkeypatch.setattr(tables, "_LONGEST", 1000)
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + f"{'a' * 990},1\n" * 3 + text)
    rows = read_rows(path, ["text"])
    assert [next(rows).lines for _ in range(3)] == [(2, 2), (3, 3), (4, 4)]
    with pytest.raises(UserError, match=r"line 5: (a row of more|longer) than 1,000 characters"):
        next(rows)


@pytest.mark.parametrize(
    ("limit", "bound", "message"),
    [
        ("_LONGEST", 20, "row 2: more than 20 characters"),
        ("_MAX_FOOTER", 100, "too large a schema"),
        ("_MAX_ROWS", (0, 2), "far more data"),
        ("_MAX_UNPACKED", (0, 50), "far more data"),
        ("_MAX_TEXT", (0, 90), "far more data"),
    ],
)
def test_parquet_bombs(tmp_path, monkeypatch, limit, bound, message):
    """A file of a few kB may unpack to gigabytes."""
    path = tmp_path / "reviews.parquet"
    write_parquet(path, [("1", "short", "1"), *[("1", "long " * 10, "1")] * 2])
    assert len(list(read_rows(path, ["text"]))) == 3
    monkeypatch.setattr(tables, limit, bound)
    with pytest.raises(UserError, match=message):
        list(read_rows(path, ["text"]))


def test_parquet_columns_of_lists(tmp_path):
    path = tmp_path / "reviews.parquet"
    parquet.write_table(pyarrow.table({"text": [["a"]], "label": [1]}), path)
    with pytest.raises(UserError, match="the column 'text' holds values of type list"):
        next(read_rows(path, ["text"]))
    assert next(read_rows(path, ["label"])).values == (1,)


def test_parquet_that_is_cut_off_or_altered(tmp_path):
    path = tmp_path / "reviews.parquet"
    write_parquet(path, [("1", f"text {n}", "1") for n in range(3000)])
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(UserError, match="not a Parquet file, or is damaged"):
        column_names(path)
    path.write_bytes(content[:4] + b"\xff" * 2000 + content[2004:])
    with pytest.raises(UserError, match="damaged after row 0"):
        list(read_rows(path, ["text"]))


# Files that are none


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("reviews.csv", None, "there is no file"),
        ("reviews.csv", b"", "is empty"),
        ("reviews.csv", b"\n\n", "does not begin with the names of its columns"),
        ("reviews.csv", b'"a"b,c\n', "does not begin with the names of its columns"),
        ("reviews.csv", "text,label\n".encode("utf-16"), "not a text file in UTF-8"),
        ("reviews.csv", gzip.compress(b"text,label\n" * 9, mtime=0), "not a text file in UTF-8"),
        ("reviews.jsonl", b"", "is empty"),
        ("reviews.jsonl", b"text,label\na,1\n", "no line that is a JSON object"),
        ("reviews.parquet", b"", "is empty"),
        ("reviews.parquet", b"text,label\na,1\n", "not a Parquet file"),
        ("reviews.xlsx", b"PK", r"cannot read .*must end in one of \.csv, .*\.parquet"),
        ("reviews", b"text", "its name must end in one of"),
    ],
)
def test_files_that_are_none(tmp_path, name, content, match):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=match) as caught:
        column_names(path)
    assert str(path) in str(caught.value)


def test_parquet_under_another_name(tmp_path):
    path = tmp_path / "reviews.csv"
    write_parquet(path, [("1", "good", "1")])
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        column_names(path)


def test_a_directory(tmp_path):
    path = tmp_path / "reviews.csv"
    path.mkdir()
    for read in (column_names, lambda path: list(read_column(path))):
        with pytest.raises(UserError, match="is a directory"):
            read(path)


# Columns


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["id", "text", "review"], "text"),
        (["id", "Review"], "Review"),
        (["content", "id"], "content"),
    ],
)
def test_usual_names(names, chosen):
    assert choose_column(names, "", TEXT_COLUMNS, "x.csv", "--text-column") == chosen


@pytest.mark.parametrize(
    ("names", "wanted", "match"),
    [
        (["id", "words"], "", "no column 'text' among id, words; choose one with --text-column"),
        (["review", "content"], "", "several columns are possible: review, content; choose one"),
        (["text", "Text"], "", "several columns are possible: text, Text"),
        (["reviews", "id"], "review", "unknown column 'review'.*did you mean 'reviews'"),
        (["a", "a"], "a", "several columns are possible: a, a"),
    ],
)
def test_columns_that_cannot_be_chosen(names, wanted, match):
    with pytest.raises(UserError, match=match) as caught:
        choose_column(names, wanted, TEXT_COLUMNS, "x.csv", "--text-column")
    assert str(caught.value).startswith("x.csv: ")


# One column as texts


def test_lines_of_a_text_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes(
        "\ufeffone\r\n\ntwo\u0085three\ncaf\N{LATIN SMALL LETTER E WITH ACUTE}".encode()
    )
    assert list(read_column(path)) == ["one", "", "two\u0085three", "café"]
    path.write_bytes(b"\xff\nlast")
    assert list(read_column(path)) == ["\ufffd", "last"]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.csv", "text,x\na,1\nb\n", "line 3: more or fewer fields"),
        ("a.jsonl", '{"text": "a"}\n{"text": 5}\n', "line 2: the value of text is not a string"),
        ("a.jsonl", '{"text": "a"}\n{"text\n', "line 2: not a JSON object"),
    ],
)
def test_a_column_with_a_damaged_row_stops_there(tmp_path, name, content, match):
    """Results beside the wrong rows would be worse than none."""
    path = tmp_path / name
    path.write_text(content)
    texts = read_column(path)
    assert next(texts) == "a"
    with pytest.raises(UserError, match=match):
        next(texts)


def test_a_missing_text_is_an_empty_one(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": null}\n{}\n')
    assert list(read_column(path)) == ["a", "", ""]


def test_large_files_are_read_row_by_row(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, [(str(n), f"text {n}", "1") for n in range(3000)])
    rows = list(itertools.islice(read_rows(path, ["id"]), 2500, 2502))
    assert rows == [Row((2501, 2501), ("2500",)), Row((2502, 2502), ("2501",))]
