"""Tables with one text per row: CSV, TSV, JSON lines and Parquet, read row by row.

A damaged row is returned too, so that the caller can count it, report it or stop.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, AnyStr, NamedTuple, TextIO

from imdb_jax.datasets.columns import TEXT_COLUMNS, choose_column
from imdb_jax.errors import UserError
from imdb_jax.files import check_file

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_PARQUET = ".parquet"
SUFFIXES = (*_DELIMITERS, ".jsonl", ".ndjson", _PARQUET)

# Characters of a line, of a row of a CSV file, or of a text in a Parquet file, several times War
# and Peace. Without any limit, a file without line ends, or a quote that is never closed, would be
# read into memory whole. Python's own limit of a field, 131,072 characters, is less than a long
# text.
_LONGEST = 1 << 23
_MAX_FOOTER = 1 << 22  # bytes of the schema of a Parquet file, of which there are some hundred
# Texts have a hundredth of their size at best when compressed, and in a Parquet file some bytes a
# row; so a file of N bytes that has more than these is no file of texts, unless it is small.
_MAX_ROWS, _MAX_UNPACKED, _MAX_TEXT = (1, 1 << 20), (100, 1 << 26), (1000, 1 << 28)

_SURROGATE = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One row of a table, whose values are those of the chosen columns, None if missing.

    In a str, a lone surrogate stands for a byte that is not UTF-8 (see `is_unicode`).
    """

    lines: tuple[int, int]  # first and last line in the file, from 1; in a Parquet file, rows
    values: tuple[Any, ...]  # empty if the row is damaged
    problem: str = ""  # of a damaged row


def is_table(path: Path) -> bool:
    """Return whether a file name has the suffix of a format that this module reads."""
    return path.suffix.lower() in SUFFIXES


def column_names(path: Path) -> list[str]:
    """Return the columns: a CSV header, the keys of the first JSON object, or a Parquet schema.

    Raises `UserError` if there is no such file, or it has another format or no columns.
    """
    suffix = _checked_suffix(path)
    if suffix == _PARQUET:
        with _parquet_file(path) as file:
            return list(file.schema_arrow.names)
    if suffix in _DELIMITERS:
        return _header(path, _delimited_records(path))
    for _, record in _json_records(path):
        if isinstance(record, dict):
            return list(record)
    raise UserError(f"{path} has no line that is a JSON object")


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read some of the `column_names` of a file, row by row, in constant memory.

    Blank lines are skipped. Quoted fields of a CSV or TSV file may hold delimiters, doubled quotes
    and line ends. Raises `UserError` as `column_names`, or if damage hides the remaining rows.
    """
    suffix = _checked_suffix(path)
    if suffix == _PARQUET:
        return _parquet_rows(path, columns)
    if suffix in _DELIMITERS:
        return _delimited_rows(path, columns)
    return _json_rows(path, columns)


def read_column(path: Path, column: str = "", option: str = "--text-column") -> Iterator[str]:
    """Read one text per row of a table, or per line of a .txt file.

    No row is left out: a missing text is empty, and bytes that are not UTF-8 become U+FFFD. Raises
    `UserError` as `choose_column` and `read_rows`, or if a row is damaged or holds no string.
    """
    if path.suffix.lower() == ".txt":
        yield from (_replace_surrogates(line.rstrip("\r\n")) for _, line in _lines(path))
        return
    yield from (text for _, text, _ in read_texts(path, column, option))


def read_texts(
    path: Path, column: str = "", option: str = "--text-column", whole: bool = False
) -> Iterator[tuple[int, str, tuple[Any, ...]]]:
    """Read the texts of a table: for each row its first line, the text, and values.

    The values are those of all `column_names` if `whole`, else the text alone. Strings are as
    `read_column` returns them, which says what is raised.
    """
    names = column_names(path)
    column = choose_column(names, column, TEXT_COLUMNS, str(path), option)
    columns = names if whole else [column]
    place = columns.index(column)
    for (line, _), values, problem in read_rows(path, columns):
        value = values[place] if values else None
        if not isinstance(value, str | None):
            problem = f"the value of {column} is not a string"
        if problem:
            raise UserError(f"{path}, line {line}: {problem}")
        cleaned = (_replace_surrogates(v) if isinstance(v, str) else v for v in values)
        yield line, _replace_surrogates(value or ""), tuple(cleaned)


def _replace_surrogates(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def is_unicode(text: str) -> bool:
    """Return whether a text is free of the lone surrogates that stand for invalid UTF-8."""
    return text.isascii() or _SURROGATE.search(text) is None


def _checked_suffix(path: Path) -> str:
    _check_file(path)
    if not is_table(path):
        raise UserError(f"cannot read {path}: its name must end in one of {', '.join(SUFFIXES)}")
    return path.suffix.lower()


def _check_file(path: Path) -> None:
    if not check_file(path):
        raise UserError(f"{path} is empty")


def refuse_binary(stream: Any, name: str) -> None:
    """Raise `UserError` if what a buffered stream of bytes has next is no text in UTF-8."""
    head = stream.peek(4096)[:4096]
    # Parquet files, archives, spreadsheets and UTF-16 have a zero byte near the beginning.
    if b"\0" in head or head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{name} is not a text file in UTF-8")


def numbered_lines(stream: IO[AnyStr], name: str) -> Iterator[tuple[int, AnyStr]]:
    """Number the lines of a stream. Raises `UserError` if one of them takes too much memory."""
    for number in itertools.count(1):
        line = stream.readline(_LONGEST + 1)
        if not line:
            return
        if len(line) > _LONGEST:
            raise UserError(f"{name}, line {number}: longer than {_LONGEST:,} characters")
        yield number, line


def _open_text(path: Path, newline: str) -> TextIO:
    try:
        with path.open("rb") as file:
            refuse_binary(file, str(path))
        return path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number the lines, which end at line feeds only."""
    _check_file(path)
    with _open_text(path, newline="\n") as file:
        yield from numbered_lines(file, str(path))


def _json_records(path: Path) -> Iterator[tuple[int, Any]]:
    """Parse the JSON value of every line; None stands for a line that is not JSON."""
    for number, line in _lines(path):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    for number, record in _json_records(path):
        if isinstance(record, dict):
            yield Row((number, number), tuple(record.get(column) for column in columns))
        else:
            yield Row((number, number), (), "not a JSON object")


def _delimited_records(path: Path) -> Iterator[tuple[tuple[int, int], list[str] | None]]:
    """Read the first and last line of each row, and its fields; None for text behind a quote."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    size = 0

    def lines() -> Iterator[str]:
        nonlocal size
        for _, line in numbered_lines(file, str(path)):
            if (size := size + len(line)) > _LONGEST:
                raise UserError(f"{path}, line {first}: a row of more than {_LONGEST:,} characters")
            yield line

    with _open_text(path, newline="") as file:
        # Strict, because a parser that guesses would silently join rows at a stray quote.
        reader = csv.reader(lines(), delimiter=_DELIMITERS[path.suffix.lower()], strict=True)
        while True:
            first, size = reader.line_num + 1, 0
            try:
                fields: list[str] | None = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "expected after" not in str(error):
                    raise UserError(
                        f"{path} cannot be read after line {first - 1}: the quoted field that "
                        f"begins in line {first} is not closed ({error})"
                    ) from error
                fields = None
            if fields != []:
                yield (first, reader.line_num), fields


def _header(path: Path, records: Iterator[tuple[Any, list[str] | None]]) -> list[str]:
    _, fields = next(records, (None, None))
    if not fields:
        raise UserError(f"{path} does not begin with the names of its columns")
    return [name.strip() for name in fields]


def _delimited_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    records = _delimited_records(path)
    header = _header(path, records)
    places = [header.index(column) for column in columns]
    for lines, fields in records:
        if fields is None:
            yield Row(lines, (), "text after a closing quote")
        elif len(fields) != len(header):
            yield Row(lines, (), "more or fewer fields than the header")
        else:
            yield Row(lines, tuple(fields[place] for place in places))


def _parquet_file(path: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        with path.open("rb") as file:
            file.seek(-8, os.SEEK_END)
            footer = int.from_bytes(file.read(4), "little")
            if footer > _MAX_FOOTER and file.read() == b"PAR1":
                raise UserError(f"{path} has too large a schema, of {footer:,} bytes")
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a Parquet file, or is damaged: {error}") from error


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    import pyarrow

    with _parquet_file(path) as file:
        _check_parquet(path, file, columns)
        number = total = 0
        try:
            # Few rows, and one value at a time: a file may repeat one long text very often.
            for batch in file.iter_batches(batch_size=32, columns=list(columns)):
                for cells in zip(*(batch[column] for column in columns), strict=True):
                    number += 1
                    values = tuple(cell.as_py() for cell in cells)
                    lengths = [len(value) for value in values if isinstance(value, str | bytes)]
                    if max(lengths, default=0) > _LONGEST:
                        raise UserError(f"{path}, row {number}: more than {_LONGEST:,} characters")
                    total += sum(lengths)
                    _refuse_bomb(path, total, _MAX_TEXT)
                    yield Row((number, number), values)
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is damaged after row {number}: {error}") from error


def _check_parquet(path: Path, file: Any, columns: Sequence[str]) -> None:
    """Raise `UserError` if columns hold no plain values, or very many for the size of the file."""
    import pyarrow

    for column in columns:
        if pyarrow.types.is_nested(kind := file.schema_arrow.field(column).type):
            raise UserError(f"{path}: the column {column!r} holds values of type {kind}")
    metadata = file.metadata
    _refuse_bomb(path, metadata.num_rows, _MAX_ROWS)
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    _refuse_bomb(path, sum(group.total_byte_size for group in groups), _MAX_UNPACKED)


def _refuse_bomb(path: Path, number: int, limit: tuple[int, int]) -> None:
    per_byte, always = limit
    if number > always and number > per_byte * path.stat().st_size:
        raise UserError(f"{path} unpacks to far more data than a file of texts of its size")
