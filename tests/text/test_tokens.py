"""Where the words of a text stand in it, by both rules."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imdb_jax.text.tokens import (
    locate_words,
    separate_tokens,
    separate_words,
    tokenize,
    tokenize_with_punctuation,
    utf8,
)


@pytest.mark.parametrize(
    ("separate", "split"),
    [(separate_words, tokenize), (separate_tokens, tokenize_with_punctuation)],
)
@given(st.text("aBr<>/ '9\t\n\0\u0130\xe9") | st.text() | st.binary())
@example("b<br />B<BR\t/>b br<br/> It's 'B'b9'c9'd'e\u2026")
@example("caf\xe9".encode("latin-1"))
def test_words_and_what_stands_between_them_are_the_text(separate, split, text):
    shown = utf8(text).decode()
    located = locate_words(shown, separate)
    assert [word for word, _ in located] == split(text)
    pieces, position = [], 0
    for word, (start, end) in located:
        assert shown[start:end].encode().lower().decode() == word  # only ASCII is lowered
        pieces += [shown[position:start], shown[start:end]]
        position = end
    pieces.append(shown[position:])
    assert "".join(pieces) == shown
    assert not split(" ".join(pieces[::2]))


def test_spans_by_hand():
    text = "B.<br />B, it's"
    words = [("b", (0, 1)), ("br", (3, 5)), ("b", (8, 9)), ("it's", (11, 15))]
    assert locate_words(text, separate_words) == words
    tokens = [("b", (0, 1)), (".", (1, 2)), ("b", (8, 9)), (",", (9, 10)), ("it's", (11, 15))]
    assert locate_words(text, separate_tokens) == tokens
