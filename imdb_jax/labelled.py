"""Rows of one's own as reviews: what their labels mean, and which of them are held out to test on.

Rows are read as often as need be rather than kept: once here, to learn their labels, and once for
each split, to encode its texts.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from imdb_jax.encoding import Text
from imdb_jax.errors import UserError, unknown_name
from imdb_jax.tables import Row, is_unicode

_POSITIVE = {"positive", "pos", "yes", "y", "true", "good", "fresh", "like", "liked"}
_NEGATIVE = {"negative", "neg", "no", "n", "false", "bad", "rotten", "dislike", "disliked"}
_SHOWN = 5  # line numbers, or labels, that a message lists


@dataclass(frozen=True)
class Source:
    """Labelled texts that can be read again and again.

    Attributes:
      name: what messages call it.
      rows: reads it; the values of a row are its text and its label.
    """

    name: str
    rows: Callable[[], Iterator[Row]]

    def examples(self) -> Iterator[tuple[Text, str]]:
        """The text and the label of each row that has both, in order."""
        for row in self.rows():
            text, label, problem = check(row)
            if not problem:
                yield text, label


@dataclass(frozen=True)
class Summary:
    """What one reading of a source tells.

    Attributes:
      labels: the label of each row that can be used.
      digests: a hash of the text of each, 16 bytes.
      unusable: for each thing that can be wrong with a row, the lines of the rows with which it is.
    """

    labels: Sequence[str]
    digests: Sequence[bytes]
    unusable: Mapping[str, Sequence[tuple[int, int]]]


def check(row: Row) -> tuple[Text, str, str]:
    """The text of a row, its label as `label_name` spells it, and what makes it unusable, if so."""
    if row.problem:
        return "", "", row.problem
    text, value = row.values
    label = label_name(value)
    if text is None or (isinstance(text, str | bytes) and not text.strip()):
        return "", "", "no text"
    if not isinstance(text, str | bytes):
        return "", "", "a text that is none"
    if label is None:
        return "", "", "a label that is neither text nor number"
    if not label:
        return "", "", "no label"
    if (isinstance(text, str) and not is_unicode(text)) or not is_unicode(label):
        return "", "", "invalid UTF-8"
    return text, label, ""


def label_name(value: Any) -> str | None:
    """One spelling for labels that mean the same, such as 1, 1.0 and '1', or 'Pos' and 'pos '.

    Returns:
      The label in lower case; empty if it is missing; None if it is neither text nor number.
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


def summarize(source: Source) -> Summary:
    """Reads a source once."""
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
            digests.append(_digest(text))
    return Summary(labels, digests, unusable)


def _digest(text: Text) -> bytes:
    data = text if isinstance(text, bytes) else text.encode()
    return hashlib.sha256(data).digest()[:16]


def describe_unusable(summary: Summary, name: str) -> str:
    """One line on the rows that cannot be used, with the first line numbers; empty if all can."""
    if not summary.unusable:
        return ""
    parts = []
    for problem, places in summary.unusable.items():
        shown = [str(a) if a == b else f"{a}-{b}" for a, b in places[:_SHOWN]]
        more = ", ..." if len(places) > _SHOWN else ""
        lines = "line" if len(places) == 1 and places[0][0] == places[0][1] else "lines"
        parts.append(f"{len(places):,} with {problem} ({lines} {', '.join(shown)}{more})")
    left_out = sum(map(len, summary.unusable.values()))
    total = left_out + len(summary.labels)
    return f"{name}: {left_out:,} of {total:,} rows cannot be used: {'; '.join(parts)}"


def choose_positive(counts: Mapping[str, int], wanted: str, name: str) -> tuple[str, str]:
    """Says which of two labels is positive, and which negative.

    A label that is called so (such as 'pos', 'yes', 'good') is positive; of others the second, in
    numerical order if both are numbers, else in alphabetical order.

    Args:
      counts: how often each label occurs.
      wanted: the one that is positive; empty to go by the names.
      name: what messages call the data.

    Raises:
      UserError: there are not two labels, or the wanted one is not among them.
    """
    if len(counts) != 2:
        common = Counter(counts).most_common(2 * _SHOWN)
        listed = ", ".join(f"{label!r} ({count:,})" for label, count in common)
        more = f" and {len(counts) - len(common):,} more" if len(counts) > len(common) else ""
        raise UserError(
            f"{name} has {len(counts)} label{'s' * (len(counts) != 1)} where there must be two: "
            f"{listed or 'none'}{more}"
        )
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


def held_out(digests: Sequence[bytes], share: float) -> Bool[np.ndarray, " num_rows"]:
    """Chooses the rows to test on: those whose texts' hashes are the smallest.

    So the choice is as good as random, and yet depends on the texts alone: not on their order in
    the file, nor on a seed. A text that occurs twice is never on both sides.

    Args:
      digests: a hash of each row's text.
      share: how many of the rows to choose, from 0 to 1; more by the repetitions of the last one.
    """
    order = sorted(range(len(digests)), key=digests.__getitem__)
    cut = round(share * len(order))
    while 0 < cut < len(order) and digests[order[cut]] == digests[order[cut - 1]]:
        cut += 1
    chosen = np.zeros(len(order), bool)
    chosen[order[:cut]] = True
    return chosen
