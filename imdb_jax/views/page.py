"""Explanations as a web page: the texts as they were written, with their words marked."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from imdb_jax.console.terminal import printable
from imdb_jax.views.predictions import prediction_line, with_shares

if TYPE_CHECKING:
    from imdb_jax.inference.explanation import Explanation

_LINE_BREAK = re.compile("<br />", re.IGNORECASE)
_LEAST_SHARE = 0.05  # of the greatest weight in a text; words below it are not marked


def explanations_html(title: str, positive: str, explanations: Iterable[Explanation]) -> str:
    """Return a page that needs no other file; `positive` is the name of the positive class.

    No part of a text is interpreted as HTML, except that `<br />` becomes a line break.
    """
    parts = []
    for explanation in explanations:
        line = html.escape(prediction_line(explanation.prediction))
        parts.append(f'<h2>{line}</h2>\n<p dir="auto">{"".join(_marked(explanation))}</p>')
    page = Template(Path(__file__).with_name("explanations.html").read_text(encoding="utf-8"))
    names = {"title": html.escape(printable(title)), "positive": html.escape(printable(positive))}
    return page.substitute(names, explanations="\n".join(parts))


def _marked(explanation: Explanation) -> Iterator[str]:
    """Yield the text in pieces of HTML: words with their marks, and what stands between them."""
    text, position = explanation.text, 0
    breaks = {match.start() + 1: match.end() for match in _LINE_BREAK.finditer(text)}
    for word, share in with_shares(explanation.words):
        start, end = word.span
        shown = _escaped(text[start:end])
        if start in breaks:  # a model of words reads the word "br" there
            start, end, shown = start - 1, breaks[start], "↵\n"
        yield _escaped(text[position:start])
        position = end
        if not word.read:
            yield f'<s title="not read">{shown}</s>'
        elif abs(share) < _LEAST_SHARE:
            yield f'<span title="{word.weight:+.4f}">{shown}</span>'
        else:
            sign, style = "up" if share > 0 else "down", f"--share: {abs(share):.2f}"
            yield f'<span class="{sign}" style="{style}" title="{word.weight:+.4f}">{shown}</span>'
    yield _escaped(text[position:])


def _escaped(text: str) -> str:
    """Return HTML that shows a text, in lines, without what commands the browser."""
    lines = _LINE_BREAK.sub("\n", text).split("\n")
    return html.escape("\n".join(map(printable, lines)))
