"""Labelled rows of any source: what their labels mean, and which rows become the test split.

Rows are not kept but read again whenever they are needed: once to summarize their labels and
texts, and once for every split to encode its texts.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from imdb_jax.encoding import Text
from imdb_jax.errors import UserError, unknown_name
from imdb_jax.progress import Report
from imdb_jax.tables import Row, is_unicode

_POSITIVE = {"positive", "pos", "yes", "y", "true", "good", "fresh", "like", "liked"}
_NEGATIVE = {"negative", "neg", "no", "n", "false", "bad", "rotten", "dislike", "disliked"}
_SHOWN = 5  # line numbers, or labels, that a message lists


@dataclass(frozen=True)
class Source:
    """Labelled texts that can be read again and again.

    Attributes:
      name: what messages call the source.
      rows: reads the rows; the values of a row are its text and its label.
    """

    name: str
    rows: Callable[[], Iterator[Row]]

    def examples(self) -> Iterator[tuple[Text, str]]:
        """Read the text and the label of every usable row, in order."""
        for row in self.rows():
            text, label, problem = check(row)
            if not problem:
                yield text, label


class Summary(NamedTuple):
    """The label, and a hash of the text (16 bytes), of every usable row of a source."""

    labels: Sequence[str]
    digests: Sequence[bytes]


def check(row: Row) -> tuple[Text, str, str]:
    """Return the text, the label as `label_name` spells it, and why the row is unusable, if so."""
    if row.problem:
        return "", "", row.problem
    text, value = row.values
    label = label_name(value)
    if text is None or (isinstance(text, str | bytes) and not text.strip()):
        return "", "", "no text"
    if not isinstance(text, str | bytes):
        return "", "", "a text that is not a string"
    if label is None:
        return "", "", "a label that is neither a string nor a number"
    if not label:
        return "", "", "no label"
    if not (is_unicode(label) and (isinstance(text, bytes) or is_unicode(text))):
        return "", "", "invalid UTF-8"
    return text, label, ""


def label_name(value: Any) -> str | None:
    """Return one spelling for labels with the same meaning: 1, 1.0 and '1', or 'Pos' and 'pos '.

    Returns:
      The label in lower case; empty if it is missing; None if it is neither a string nor a number.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str | int | float):
        return None
    name = str(value).strip().casefold()
    number = _number(name)
    return str(int(number)) if number is not None and number.is_integer() else name


def _number(name: str) -> float | None:
    try:
        number = float(name)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def summarize(source: Source, report: Report) -> Summary:
    """Read a source once, and report which rows cannot be used, and why.

    Raises:
      UserError: no row can be used.
    """
    labels: list[str] = []
    digests: list[bytes] = []
    unusable: dict[str, list[tuple[int, int]]] = {}
    same: dict[str, str] = {}  # so that equal labels are one object rather than one for each row
    for row in source.rows():
        text, label, problem = check(row)
        if problem:
            unusable.setdefault(problem, []).append(row.lines)
        else:
            labels.append(same.setdefault(label, label))
            data = text if isinstance(text, bytes) else text.encode()
            digests.append(hashlib.sha256(data).digest()[:16])
    message = f"{source.name} has no rows"
    if unusable:
        skipped = sum(map(len, unusable.values()))
        remark = f"{skipped:,} of {skipped + len(labels):,} rows cannot be used"
        message = f"{source.name}: {remark}: {'; '.join(_describe(unusable))}"
        if labels:
            report(message)
    if not labels:
        raise UserError(message)
    return Summary(labels, digests)


def _describe(unusable: Mapping[str, Sequence[tuple[int, int]]]) -> Iterator[str]:
    """Describe the rows that cannot be used, given the first and last line of each by reason."""
    for problem, places in unusable.items():
        shown = [str(a) if a == b else f"{a}-{b}" for a, b in places[:_SHOWN]]
        more = ", ..." if len(places) > _SHOWN else ""
        lines = "line" if len(places) == 1 and places[0][0] == places[0][1] else "lines"
        yield f"{len(places):,} with {problem} ({lines} {', '.join(shown)}{more})"


def choose_positive(counts: Mapping[str, int], wanted: str, name: str) -> tuple[str, str]:
    """Decide which of two labels is positive and which is negative.

    A label with a name like 'pos', 'yes' or 'good' is positive; otherwise the second label is, in
    numerical order if both are numbers, else in alphabetical order.

    Args:
      counts: how often each label occurs.
      wanted: the positive label; empty to go by the names.
      name: what messages call the data.

    Returns:
      The positive and the negative label.

    Raises:
      UserError: there are not two labels, or the wanted one is not among them.
    """
    if len(counts) != 2:
        common = Counter(counts).most_common(2 * _SHOWN)
        listed = ", ".join(f"{label!r} ({count:,})" for label, count in common)
        more = f" and {len(counts) - len(common):,} more" if len(counts) > len(common) else ""
        raise UserError(f"{name} must have two labels, not {len(counts)}: {listed or 'none'}{more}")
    first, second = sorted(counts, key=_order)
    if wanted:
        positive = label_name(wanted)
        if positive not in counts:
            raise UserError(f"{name}: {unknown_name('label', wanted, counts)}")
    elif (first in _POSITIVE) != (second in _POSITIVE):
        positive = first if first in _POSITIVE else second
    else:
        positive = first if second in _NEGATIVE else second
    return (first, second) if positive == first else (second, first)


def _order(label: str) -> tuple[bool, float, str]:
    number = _number(label)
    return (number is None, number or 0.0, label)


def choose_test_rows(digests: Sequence[bytes], share: float) -> Bool[np.ndarray, " num_rows"]:
    """Choose the rows of the test split: those whose texts have the smallest hashes.

    This choice is as good as random, but depends on the texts alone: not on their order in the
    file, nor on a seed. Rows with the same text are always on the same side.

    Args:
      digests: a hash of every row's text.
      share: share of the rows to choose, from 0 to 1. If the last chosen text occurs again, its
        other rows are chosen as well.
    """
    order = sorted(range(len(digests)), key=digests.__getitem__)
    cut = round(share * len(order))
    while 0 < cut < len(order) and digests[order[cut]] == digests[order[cut - 1]]:
        cut += 1
    chosen = np.zeros(len(order), bool)
    chosen[order[:cut]] = True
    return chosen
