"""Predictions, explanations and evaluations for people, as lines of text."""

from __future__ import annotations

import csv
import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from imdb_jax.console.terminal import printable
from imdb_jax.text.tokens import Text

if TYPE_CHECKING:
    from rich import text as rich_text

    from imdb_jax.inference.explanation import Explanation, Word
    from imdb_jax.inference.prediction import Prediction

_NO_WORD = "no known word"  # in place of a label
_FIXED = "\xa0"  # a space where no line breaks; `printable` leaves none in a text
_STRONGEST = 8  # words listed for and against
# The colors of the strongest words. Color-blind people tell them apart, and a terminal with 16
# colors shows bright cyan and bright red.
_UP, _DOWN = (86, 180, 233), (255, 169, 77)


def beginning(text: Text, width: int) -> str:
    """Return the beginning of a text in one printable line, at most `width` columns wide.

    Characters of East Asia take two columns of a terminal.
    """
    text = text[: 4 * width + 4]  # enough even if each character takes four bytes
    shown = printable(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
    if (len(shown) if shown.isascii() else cell_len(shown)) <= width:
        return shown
    room = max(width - 1, 0)
    return (shown[:room] if shown.isascii() else set_cell_size(shown, room)) + "…"


def prediction_line(prediction: Prediction, label_width: int = 8) -> str:
    """Return probability, label and share of unknown words, in columns."""
    probability, label, unknown_share = prediction
    if label is None:
        return f"{probability:.4f}  {_NO_WORD:{label_width + len('  100% unknown')}}"
    return f"{probability:.4f}  {label:{label_width}}  {unknown_share:4.0%} unknown"


class Records:
    """Predictions for programs, as CSV or JSON lines: the columns given, then the model's.

    One of the model's columns whose name a given column has already is called `predicted_NAME`.
    """

    def __init__(self, given: Sequence[str], own: Sequence[str]) -> None:
        """Take the names of the given columns and of the model's."""
        self.names = [*given]
        for name in own:
            while name in self.names:
                name = f"predicted_{name}"
            self.names.append(name)
        # With both line ends as its own, it quotes texts that hold one of them.
        self._writer = csv.writer(_Echo(), lineterminator="\r\n")

    def header(self) -> str:
        """Return the first row of a CSV file, without its end."""
        return self.csv(self.names, ())

    def csv(self, given: Iterable[Any], own: Iterable[Any]) -> str:
        """Return a row of a CSV file, without its end; None becomes an empty field."""
        return str(self._writer.writerow([*map(_cell, given), *own])).removesuffix("\r\n")

    def json(self, given: Iterable[Any], own: Iterable[Any]) -> str:
        """Return a JSON object in one line."""
        return json.dumps(dict(zip(self.names, [*given, *own], strict=True)), default=_readable)


class _Echo:
    """A file for `csv.writer`, which returns what `write` returns."""

    def write(self, row: str) -> str:
        return row


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else _readable(value)


def _readable(value: Any) -> Any:
    """Return bytes as text, with U+FFFD for what is not UTF-8, and others as Python prints them."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value is None else str(value)


def explanation_lines(explanation: Explanation, width: int = sys.maxsize) -> list[str]:
    """Return the prediction, the words with the greatest weights, and those that were not read.

    Lines break between words where they would be longer than `width` characters.
    """
    by_weight = sorted(explanation.words, key=lambda word: word.weight)
    # Of a word that occurs several times, the greatest weight in either direction.
    down = {word.word: word.weight for word in reversed(by_weight) if word.weight < 0}
    up = {word.word: word.weight for word in by_weight if word.weight > 0}
    unread = list(dict.fromkeys(word.word for word in explanation.words if not word.read))
    lines = [prediction_line(explanation.prediction)]
    for title, weights in (("up", up), ("down", down)):
        strongest = sorted(weights.items(), key=lambda item: -abs(item[1]))[:_STRONGEST]
        if strongest:
            shown = (f"{printable(word)}{_FIXED}{weight:+.3f}" for word, weight in strongest)
            lines += _wrapped(f"  {title + ':':10}{'  '.join(shown)}", width)
    if unread:
        more = f"  and {len(unread) - _STRONGEST} more" if len(unread) > _STRONGEST else ""
        first = map(printable, unread[:_STRONGEST])
        lines += _wrapped(f"  not read: {'  '.join(first)}{more}", width)
    return lines


def _wrapped(line: str, width: int) -> list[str]:
    lines = textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * len("  not read: "),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_FIXED, " ") for line in lines]


def explanation_dict(explanation: Explanation) -> dict[str, Any]:
    """Return the prediction, the words with their weights, and the places of unread words."""
    return {
        **explanation.prediction._asdict(),
        "words": [(word.word, word.weight) for word in explanation.words],
        "unread": [place for place, word in enumerate(explanation.words) if not word.read],
    }


def colored_words(explanation: Explanation) -> rich_text.Text:
    """Color words that push up blue and those that push down orange; strike out unread ones."""
    from rich.text import Text as RichText

    colored = RichText()
    for word, share in with_shares(explanation.words):
        strongest = _UP if share > 0 else _DOWN
        color = ",".join(str(round(255 - (255 - part) * abs(share))) for part in strongest)
        style = f"black on rgb({color})" if abs(share) > 0.05 else ""
        colored.append(printable(word.word), style if word.read else "dim strike")
        colored.append(" ")
    return colored


def with_shares(words: Sequence[Word]) -> Iterable[tuple[Word, float]]:
    """Pair each word with its weight as a share of the greatest weight in the text, -1 to 1."""
    greatest = max((abs(word.weight) for word in words), default=0) or 1
    return ((word, word.weight / greatest) for word in words)


def evaluation_lines(result: dict[str, Any]) -> list[str]:
    """Return the result of an evaluation as a table."""
    lines = [f"{result['dataset']}, {result['split']}: {result['num_reviews']} reviews"]
    if "runs" in result:
        weighted = zip(result["weights"], result["runs"], strict=True)
        lines += [f"  {weight:.4f} of the log-odds of {run}" for weight, run in weighted]
    for name in ("loss", "accuracy", "precision", "recall", "f1", "roc_auc", "ece"):
        value = result[name]
        lines.append(f"  {name:10} {'undefined' if value is None else format(value, '.4f')}")
    (a, b), (c, d) = result["confusion_matrix"]
    names = result["labels"]
    predicted = [f"{f'predicted {name}':>20}" for name in names]
    width, (left, right) = max(10, *map(len, names)), map(len, predicted)
    lines += [
        f"  {'':{width}} {predicted[0]} {predicted[1]}",
        f"  {names[0]:{width}} {a:{left}} {b:{right}}",
        f"  {names[1]:{width}} {c:{left}} {d:{right}}",
    ]
    if result["wrong"]:
        lines.append("most confidently wrong:")
    for review in result["wrong"]:
        lines.append(f"  {review['probability']:.4f} but {review['label']}: {review['text']}")
    return lines
