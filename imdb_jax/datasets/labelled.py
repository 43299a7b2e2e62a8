"""Labelled rows of any source: what their labels mean, and which rows become the test split.

Rows are not kept but read again for each purpose: to summarize them, and to encode each split.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from imdb_jax.datasets.dataset import NEGATIVE_POSITIVE, LabelNames
from imdb_jax.datasets.tables import Row, is_unicode
from imdb_jax.errors import UserError, unknown_name
from imdb_jax.progress import Report
from imdb_jax.text.tokens import Text

_POSITIVE = {"positive", "pos", "yes", "y", "true", "good", "fresh", "like", "liked"}
_NEGATIVE = {"negative", "neg", "no", "n", "false", "bad", "rotten", "dislike", "disliked"}
_SHOWN = 5  # line numbers, or labels, that a message lists


class Ratings(NamedTuple):
    """Which numbers in a column are positive and which negative; the others are left out."""

    column: str
    positive_from: float
    negative_to: float | None = None

    @property
    def positive(self) -> str:
        """The name of the positive class, such as 'stars >= 7'."""
        return f"{printable_name(self.column)} >= {label_name(self.positive_from)}"

    @property
    def negative(self) -> str:
        """The name of the negative class, such as 'stars < 7' or 'stars <= 4'."""
        if self.negative_to is None:
            return f"{printable_name(self.column)} < {label_name(self.positive_from)}"
        return f"{printable_name(self.column)} <= {label_name(self.negative_to)}"

    def label(self, rating: float) -> str | None:
        """Return the class of a rating; None if the rating lies between the classes."""
        if rating >= self.positive_from:
            return self.positive
        is_negative = self.negative_to is None or rating <= self.negative_to
        return self.negative if is_negative else None


class Source(NamedTuple):
    """Labelled texts that can be read again and again, as rows of a text and a label."""

    name: str  # what messages call the source
    rows: Callable[[], Iterator[Row]]
    ratings: Ratings | None = None  # how to make labels of numbers, if that is what they are

    def examples(self) -> Iterator[tuple[Text, str]]:
        """Read the text and the label of every usable row, in order."""
        for row in self.rows():
            text, label, problem = _check(row, self.ratings)
            if not problem:
                yield text, label


class Summary(NamedTuple):
    """The label, and a hash of the text (16 bytes), of every usable row of a source."""

    labels: list[str]
    digests: list[bytes]
    spellings: dict[str, str]  # how the source first spells each label


_BETWEEN = "a rating between the classes"  # not a mistake, unlike the other problems of rows


def _check(row: Row, ratings: Ratings | None) -> tuple[Any, Any, str]:
    """Return the text, the label (by `label_name` or `Ratings`), and why the row is unusable."""
    text, label = row.values or (None, None)
    label = label_name(label)
    if row.problem:
        problem = row.problem
    elif text is None or (isinstance(text, str | bytes) and not text.strip()):
        problem = "no text"
    elif not isinstance(text, str | bytes):
        problem = "a text that is not a string"
    elif label is None:
        problem = "a label that is neither a string nor a number"
    elif not label:
        problem = "no label"
    elif not all(isinstance(value, bytes) or is_unicode(value) for value in (text, label)):
        problem = "invalid UTF-8"
    elif ratings and math.isnan(_number(label)):
        problem = "a rating that is not a number"
    else:
        problem = ""
    if ratings and label and not problem:
        label = ratings.label(_number(label))
        problem = "" if label else _BETWEEN
    return text, label, problem


def label_name(value: Any) -> str | None:
    """Return one spelling for labels with the same meaning: 1, 1.0 and '1', or 'Pos' and 'pos '.

    A missing label is ''; what is neither a string nor a number, None.
    """
    spelled = _spelling(value)
    if not spelled:
        return spelled
    name = spelled.casefold()
    number = _number(name)
    return str(int(number)) if number.is_integer() else name


def _spelling(value: Any) -> str | None:
    """Return a label as its source spells it, '' if it is missing, None if it cannot be one."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str | int | float):
        return None
    return str(value).strip()


def printable_name(name: str) -> str:
    """Return a name that commands no terminal: as it is, or else with escape sequences."""
    return name if name.isprintable() else repr(name)[1:-1]


def _number(name: str) -> float:
    """Return the finite number that a label spells, else NaN."""
    try:
        number = float(name)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def summarize(source: Source, report: Report) -> Summary:
    """Read a source once; report which rows are not used, raise `UserError` if none can be."""
    summary = Summary([], [], {})
    unusable: dict[str, list[tuple[int, int]]] = {}
    same: dict[str, str] = {}  # so that equal labels are one object rather than one for each row
    for row in source.rows():
        text, label, problem = _check(row, source.ratings)
        if problem:
            unusable.setdefault(problem, []).append(row.lines)
        else:
            if label not in summary.spellings:
                summary.spellings[label] = _name(label, row.values[1])
            summary.labels.append(same.setdefault(label, label))
            data = text if isinstance(text, bytes) else text.encode()
            summary.digests.append(hashlib.sha256(data).digest()[:16])
    total = len(summary.labels) + sum(map(len, unusable.values()))
    messages = []
    if source.ratings and (between := unusable.pop(_BETWEEN, None)):
        column, positive_from, negative_to = source.ratings
        what = f"{column!r} is above {negative_to:g} and below {positive_from:g}"
        share = f"{len(between):,} of {total:,} rows"
        messages.append(f"{source.name}: {share} are left out, because their {what}")
    if unusable:
        share = f"{sum(map(len, unusable.values())):,} of {total:,} rows"
        reasons = "; ".join(itertools.starmap(_describe, unusable.items()))
        messages.append(f"{source.name}: {share} cannot be used: {reasons}")
    if not summary.labels:
        raise UserError("; ".join(messages) or f"{source.name} has no rows")
    for message in messages:
        report(message)
    return summary


def _name(label: str, value: Any) -> str:
    """Return what people call a label that a source gives as `value`."""
    spelled = _spelling(value)
    # A number has one name, however it is written; other labels keep their capitals.
    return printable_name(spelled if spelled and spelled.casefold() == label else label)


def class_names(negative: str, positive: str, spellings: Mapping[str, str]) -> LabelNames:
    """Return the names of two labels. Those of 0 and 1, which say nothing, are the usual ones."""
    if (negative, positive) == ("0", "1"):
        return NEGATIVE_POSITIVE
    return spellings[negative], spellings[positive]


def _describe(problem: str, places: Sequence[tuple[int, int]]) -> str:
    """Describe a problem that rows have, given the first and last line of each row."""
    shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in places[:_SHOWN])
    more = ", ..." if len(places) > _SHOWN else ""
    lines = "line" if shown.isdigit() else "lines"
    return f"{len(places):,} with {problem} ({lines} {shown}{more})"


def choose_positive(counts: Mapping[str, int], wanted: str, name: str) -> tuple[str, str]:
    """Return the positive and the negative of two labels, whose counts are given.

    The `wanted` label is positive if it is not empty, else one with a name like 'pos', 'yes' or
    'good', else the second, in numerical order if both are numbers, else in alphabetical order.
    Raises `UserError` if there are not two labels, or the wanted one is not among them.
    """
    if len(counts) != 2:
        common = Counter(counts).most_common(2 * _SHOWN)
        listed = ", ".join(f"{label!r} ({count:,})" for label, count in common)
        more = f" and {len(counts) - len(common):,} more" if len(counts) > len(common) else ""
        ratings = len(counts) > 2 and not any(math.isnan(_number(label)) for label in counts)
        hint = "; of ratings, --positive-from makes two classes" if ratings else ""
        raise UserError(
            f"{name} must have two labels, not {len(counts)}: {listed or 'none'}{more}{hint}"
        )
    first, second = sorted(counts, key=_order)
    if wanted:
        positive = label_name(wanted)
        if positive not in counts:
            raise UserError(f"{name}: {unknown_name('label', wanted, counts)}")
        first_is_positive = positive == first
    elif (first in _POSITIVE) != (second in _POSITIVE):
        first_is_positive = first in _POSITIVE
    else:
        first_is_positive = second in _NEGATIVE
    return (first, second) if first_is_positive else (second, first)


def _order(label: str) -> tuple[bool, float, str]:
    number = _number(label)
    return (True, 0.0, label) if math.isnan(number) else (False, number, label)


def choose_test_rows(digests: Sequence[bytes], share: float) -> Bool[np.ndarray, " num_rows"]:
    """Choose the rows of the test split: those whose texts have the smallest hashes.

    This choice is as good as random, but depends on the texts alone: not on their order in the
    file, nor on a seed. Rows with the same text are always on the same side, so that the rows
    chosen may be a few more than `share`, from 0 to 1.
    """
    order = sorted(range(len(digests)), key=digests.__getitem__)
    cut = round(share * len(order))
    while 0 < cut < len(order) and digests[order[cut]] == digests[order[cut - 1]]:
        cut += 1
    chosen = np.zeros(len(order), bool)
    chosen[order[:cut]] = True
    return chosen
