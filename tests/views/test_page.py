"""Explanations as a web page: the text as it was written, and marks that everybody can see."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from contrast import contrast
from hypothesis import given
from hypothesis import strategies as st

from imdb_jax.console.terminal import printable
from imdb_jax.inference.explanation import Explanation, Word
from imdb_jax.inference.prediction import Prediction
from imdb_jax.text.tokens import locate_words, separate_tokens, separate_words, utf8
from imdb_jax.views import page

SCRIPT = "<script>alert('x')</script>&\"\x1b[31m\x9b\u202e"
TEXT = f"GOOD, good<br /><BR />{SCRIPT} It's  <b>bad</b>\n7/10!"
PAGE = {"html", "head", "meta", "title", "style", "body", "h1"}
WEIGHTS = (0.5, -1.0, 0.01, 0.0)


def explanation_of(text, separate):
    """Every fourth word is not read, and the others have weights of both signs."""
    shown = utf8(text).decode()
    words = [
        Word(word, WEIGHTS[i % 4], i % 4 < 3, span)
        for i, (word, span) in enumerate(locate_words(shown, separate))
    ]
    return Explanation(Prediction(0.9, "positive", 0.25), words, shown)


class Parsed(HTMLParser):
    """The texts of a page as a browser shows them, with the marks of their words."""

    def __init__(self, title, *explanations):
        super().__init__()
        self.texts, self.marks, self.tags = [], [], set()
        self.feed(page.explanations_html(title, "positive", explanations))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        if tag == "p":
            self.texts.append("")
            self.marks.append([])
        elif tag in ("span", "s"):
            self.marks[-1].append((tag, attributes.get("class"), attributes.get("title")))

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data


@pytest.mark.parametrize("separate", [separate_words, separate_tokens])
@given(st.text("aBr<>/ &;'\"\n\u202e\xe9") | st.text() | st.binary() | st.just(TEXT))
def test_a_page_shows_each_text_as_it_was_written(separate, text):
    explanation = explanation_of(text, separate)
    parsed = Parsed(SCRIPT, explanation)
    assert parsed.tags <= PAGE | {"h2", "p", "span", "s"}
    # Nothing is missing but what a browser might obey; line breaks are lines.
    lines = re.sub("(?i)<br />", "\n", explanation.text)
    expected = "\n".join(map(printable, lines.split("\n")))
    shown = parsed.texts[1].rstrip("\n")  # what follows is between the elements
    assert shown.replace("↵", "") == expected.replace("↵", "").rstrip("\n")
    kinds = [("span", "up", "+0.5000"), ("span", "down", "-1.0000")]
    kinds += [("span", None, "+0.0100"), ("s", None, "not read")]
    if len(explanation.words) > 1:  # so that -1 is the greatest weight
        assert parsed.marks[1] == [kinds[i % 4] for i in range(len(explanation.words))]


def test_words_carry_their_case_and_line_breaks_their_weight():
    shown = page.explanations_html("A title", "fresh", [explanation_of(TEXT, separate_words)])
    assert '<span class="up" style="--share: 0.50" title="+0.5000">GOOD</span>, ' in shown
    assert '<span title="+0.0100">↵\n</span><s title="not read">↵\n</s>&lt;' in shown
    shown = page.explanations_html("A title", "fresh", [explanation_of(TEXT, separate_tokens)])
    assert "log-odds of &quot;fresh&quot;" in shown
    assert '>good</span>\n\n<s title="not read">&lt;</s>' in shown
    assert "http" not in shown  # it needs no other file


def seen_without(kind, color):
    """A color as dichromats see it (Vi\xe9not, Brettel and Mollon 1999), in linear RGB."""
    r, g, b = ((c / 255) ** 2.2 for c in color)
    share = {"protan": 0.11238, "deutan": 0.29275}[kind]
    yellow = share * r + (1 - share) * g
    return yellow, yellow, b + {"protan": 0.00401, "deutan": -0.02234}[kind] * (r - g)


def test_colors_have_contrast_and_differ_for_the_color_blind():
    style = (Path(page.__file__).with_name("explanations.html")).read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert "prefers-color-scheme: dark" in style
    for mode in (light, dark):
        colors = {
            name: tuple(int(part, 16) for part in re.findall("..", value[1:]))
            if value.startswith("#")
            else tuple(map(int, value.split()))
            for name, value in re.findall(r"--(\w+): ([#\w ]+);", mode)
        }
        assert contrast(colors["unread"], colors["page"]) >= 4.5
        for hundredths in range(101):
            share = hundredths / 100
            for sign in ("up", "down"):
                mixed = zip(colors[sign], colors["page"], strict=True)
                background = [share * color + (1 - share) * page for color, page in mixed]
                assert contrast(colors["text"], background) >= 4.5
        for kind in ("protan", "deutan"):
            up, down = (seen_without(kind, colors[sign]) for sign in ("up", "down"))
            # The one is blue, the other yellow.
            assert up[2] > 1.5 * up[0]
            assert down[0] > 1.5 * down[2]


def test_names_are_no_markup():
    shown = page.explanations_html(SCRIPT, SCRIPT, [])
    assert "<script" not in shown
    assert shown.count(html.escape("<script>alert('x')</script>&\"")) == 3
