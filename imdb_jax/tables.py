"""Files of one's own: CSV, TSV, JSON lines and Parquet, read row by row.

Nothing here knows what the columns mean. A row that is not as it should be is given all the same,
with what is wrong with it, so that whoever reads can count it, report it or stop.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from imdb_jax.errors import UserError, unknown_name

TEXT_COLUMNS = ("text", "review", "sentence", "content")
LABEL_COLUMNS = ("label", "sentiment", "class", "target")

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET = ".parquet"
SUFFIXES = (*_DELIMITERS, *_JSON_LINES, _PARQUET)

# Python's own limit, 131,072 characters, is less than a long text; without any, a quote that is
# never closed would read a whole file into one field.
_MAX_FIELD = 1 << 27


class Row(NamedTuple):
    """One row of a table.

    Attributes:
      lines: first and last line of the file that it takes, from 1; in a Parquet file, rows.
      values: those of the columns asked for, None where there is none; of a damaged row, empty.
        In a str, a byte that is not UTF-8 is a lone surrogate (see `is_unicode`).
      problem: what is wrong with a damaged row, else empty.
    """

    lines: tuple[int, int]
    values: tuple[Any, ...]
    problem: str = ""


def is_table(path: Path) -> bool:
    """Whether a file's name says that it is one of the formats read here."""
    return path.suffix.lower() in SUFFIXES


def column_names(path: Path) -> list[str]:
    """The columns of a file: a CSV header, the keys of the first JSON object, a Parquet schema.

    Raises:
      UserError: no such file, one of another format, or one with no columns.
    """
    suffix = _checked_suffix(path)
    if suffix == _PARQUET:
        with _parquet_file(path) as file:
            return list(file.schema_arrow.names)
    if suffix in _DELIMITERS:
        return _header(path, _delimited_records(path, suffix))
    for _, record in _json_records(path):
        if isinstance(record, dict):
            return list(record)
    raise UserError(f"{path} has no line that is a JSON object")


def choose_column(
    names: Sequence[str], wanted: str, usual: Sequence[str], where: str, option: str
) -> str:
    """Picks the column that is wanted, or else the one with a usual name.

    Args:
      names: the columns there are.
      wanted: name of a column; empty to go by `usual`.
      usual: lower-case names; the first of them is preferred, of the others only one may be there.
      where: what error messages say the columns belong to.
      option: the command-line option that names the column.

    Raises:
      UserError: there is no such column, or more than one.
    """
    if wanted:
        if wanted not in names:
            raise UserError(f"{where}: {unknown_name('column', wanted, names)}")
        found = [name for name in names if name == wanted]
    else:
        found = [name for name in names if name.lower() == usual[0]]
        found = found or [name for name in names if name.lower() in usual]
    if len(found) != 1:
        problem = f"which column of {', '.join(found)}" if found else f"no column {usual[0]!r}"
        raise UserError(f"{where}: {problem}; choose one by {option} of: {', '.join(names)}")
    return found[0]


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Reads some columns of a file, row by row, in constant memory.

    Blank lines are no rows. Of a CSV or TSV file, the first row gives the names; fields may be
    quoted, and then hold delimiters, doubled quotes and line ends.

    Args:
      path: the file.
      columns: some of its `column_names`.

    Raises:
      UserError: as `column_names`, or the file is damaged in such a way that what follows cannot be
        read either.
    """
    suffix = _checked_suffix(path)
    if suffix == _PARQUET:
        return _parquet_rows(path, columns)
    if suffix in _DELIMITERS:
        return _delimited_rows(path, suffix, columns)
    return _json_rows(path, columns)


def read_column(path: Path, column: str = "", option: str = "--text-column") -> Iterator[str]:
    """Reads one text per row of a file, or per line of a .txt file.

    Nothing is left out: the texts are as many as the rows, a missing one being empty, so that
    results can be put beside them. Bytes that are not UTF-8 become U+FFFD.

    Args:
      path: .csv, .tsv, .jsonl, .ndjson, .parquet or .txt.
      column: by default 'text', else 'review', 'sentence' or 'content', whichever there is.
      option: the command-line option that names the column.

    Raises:
      UserError: as `read_rows`, or a row that is damaged or whose value is no text.
    """
    if path.suffix.lower() == ".txt":
        yield from (_replace_surrogates(line.rstrip("\r\n")) for _, line in _lines(path))
        return
    column = choose_column(column_names(path), column, TEXT_COLUMNS, str(path), option)
    for (line, _), values, problem in read_rows(path, [column]):
        value = values[0] if values else None
        if value is not None and not isinstance(value, str):
            problem = f"its {column} is not a text"
        if problem:
            raise UserError(f"{path}, line {line}: {problem}")
        yield _replace_surrogates(value or "")


def is_unicode(text: str) -> bool:
    """Whether a text is free of the lone surrogates that stand for invalid UTF-8."""
    return text.isascii() or _SURROGATE.search(text) is None


_SURROGATE = re.compile("[\ud800-\udfff]")


def _replace_surrogates(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _checked_suffix(path: Path) -> str:
    _check_file(path)
    if not is_table(path):
        raise UserError(f"{path} is none of the files that can be read: {', '.join(SUFFIXES)}")
    return path.suffix.lower()


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a directory, not a file")
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if not path.stat().st_size:
        raise UserError(f"{path} is empty")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, which only a line feed ends."""
    _check_file(path)
    with _open_text(path, newline="\n") as file:
        yield from enumerate(file, start=1)


def _open_text(path: Path, newline: str) -> TextIO:
    try:
        with path.open("rb") as file:
            # Parquet files, archives, spreadsheets and UTF-16 have one near their beginning.
            if b"\0" in file.read(4096):
                raise UserError(f"{path} is not a text file in UTF-8, whatever its name says")
        return path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _json_records(path: Path) -> Iterator[tuple[int, Any]]:
    """The JSON value of each line, or the exception that came instead."""
    for number, line in _lines(path):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, error


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    for number, record in _json_records(path):
        if isinstance(record, dict):
            yield Row((number, number), tuple(record.get(column) for column in columns))
        else:
            yield Row((number, number), (), "not a JSON object")


Record = list[str] | csv.Error


def _delimited_records(path: Path, suffix: str) -> Iterator[tuple[tuple[int, int], Record]]:
    """The fields of each row, or the exception that came instead, with the lines it takes."""
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD))
    with _open_text(path, newline="") as file:
        # Strict, as a parser that guesses would silently join rows at a stray quote.
        reader = csv.reader(file, delimiter=_DELIMITERS[suffix], strict=True)
        while True:
            first = reader.line_num + 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "expected after" not in str(error):
                    raise UserError(
                        f"{path} cannot be read from line {first} on, where a quoted field begins "
                        f"that does not end ({error})"
                    ) from error
                yield (first, reader.line_num), error
            else:
                if record:
                    yield (first, reader.line_num), record


def _header(path: Path, records: Iterator[tuple[Any, Record]]) -> list[str]:
    _, record = next(records, (None, []))
    if not record or isinstance(record, csv.Error):
        raise UserError(f"{path} does not begin with the names of its columns")
    return [name.strip() for name in record]


def _delimited_rows(path: Path, suffix: str, columns: Sequence[str]) -> Iterator[Row]:
    records = _delimited_records(path, suffix)
    header = _header(path, records)
    places = [header.index(column) for column in columns]
    for lines, record in records:
        if isinstance(record, csv.Error):
            yield Row(lines, (), "text after a closing quote")
        elif len(record) != len(header):
            yield Row(lines, (), "another number of fields than the header")
        else:
            yield Row(lines, tuple(record[place] for place in places))


def _parquet_file(path: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a Parquet file, or is damaged: {error}") from error


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    import pyarrow

    with _parquet_file(path) as file:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=1024, columns=list(columns)):
                for values in zip(*(batch[column].to_pylist() for column in columns), strict=True):
                    number += 1
                    yield Row((number, number), values)
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is damaged after row {number}: {error}") from error
