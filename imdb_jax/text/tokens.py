"""Texts to words: those of `keras.datasets.imdb`, and those with punctuation that n-grams need.

Many texts are separated at once: joined to one byte string with a space after each word, and a line
feed, which counts as a word, before the first text and after each. `words` cuts the string after
each space.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable

import numpy as np

Text = str | bytes
Separate = Callable[[list[bytes]], bytes]
"""Separates the words of valid UTF-8 texts: `separate_words` or `separate_tokens`."""

# Separates texts until their own line feeds are gone; no UTF-8 has this byte.
_MARK = b"\xff"
_PUNCTUATION = string.punctuation.replace("'", "").encode()


def _to_lower_and_spaces(spaces: bytes) -> bytes:
    """Make a translation table that lowers ASCII letters and turns some bytes into spaces."""
    upper, lower = string.ascii_uppercase.encode(), string.ascii_lowercase.encode()
    return bytes.maketrans(upper + spaces + _MARK, lower + b" " * len(spaces) + b"\n")


_WORDS = _to_lower_and_spaces(_PUNCTUATION + b"\t\n")
_TOKENS = _to_lower_and_spaces(b"\t\n\r\f\v\0")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_BREAK = re.compile("<br[ \t\n\r\f\v\0]/>")


def utf8(text: Text) -> bytes:
    """Encode a text as valid UTF-8, invalid parts as U+FFFD; raise `TypeError` on another type."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if not isinstance(data, bytes):
        raise TypeError(f"a text must be str or bytes, not {type(text).__name__}")
    return data if data.isascii() else data.decode("utf-8", "replace").encode()


def tokenize(text: Text) -> list[str]:
    """Split a text into words by the rule that made the word ids of `keras.datasets.imdb`.

    Only ASCII letters are lower-cased; only ASCII punctuation other than the apostrophe, tab, line
    feed and space separate words. `<br />` therefore leaves the word `br`.

    Args:
      text: any text; bytes are read as UTF-8. Invalid UTF-8 becomes U+FFFD.

    Returns:
      The words in order; empty for a text without any.
    """
    return _words_of(separate_words([utf8(text)]))


def tokenize_with_punctuation(text: Text) -> list[str]:
    """Split a text into words and punctuation: "7 / 10" and "?!" say a lot about a film.

    `<br />` counts as a space, and ASCII letters are lower-cased. A word is
    `[a-z0-9]+(?:'[a-z]+)?`; every other character but ASCII white space and NUL is a token of its
    own, those outside ASCII included, so that "café" is two tokens.
    """
    return _words_of(separate_tokens([utf8(text)]))


def locate_words(text: str, separate: Separate) -> list[tuple[str, tuple[int, int]]]:
    """Return the words of a text, each with the start and the end of where it stands.

    Args:
      text: any text without surrogates.
      separate: the rule: `separate_words` for the words of `tokenize`, `separate_tokens` for those
        of `tokenize_with_punctuation`.
    """
    # As long as the text. What stands between two words is part of none, so that each word is the
    # first of its letters after the word before.
    lowered = text.translate(_LOWER)
    if separate is separate_tokens:
        lowered = _BREAK.sub(" " * len("<br />"), lowered)
    located, end = [], 0
    for word in _words_of(separate([text.encode()])):
        start = lowered.index(word, end)
        end = start + len(word)
        located.append((word, (start, end)))
    return located


def _words_of(separated: bytes) -> list[str]:
    return [word for word in separated.decode().split(" ") if word not in ("", "\n")]


def separate_words(texts: list[bytes]) -> bytes:
    """Separate the words of valid UTF-8 texts as `tokenize` does."""
    return _join(texts).translate(_WORDS)


def _join(texts: list[bytes]) -> bytes:
    return (b" " + _MARK + b" ").join([b"", *texts, b""])


# Classes of bytes.
_BLANK, _OTHER, _CONTINUATION, _DIGIT, _LETTER = range(5)
_CLASSES = np.full(256, _OTHER, np.uint8)
_CLASSES[list(b" \n")] = _BLANK
_CLASSES[0x80:0xC0] = _CONTINUATION  # in UTF-8, of a character that began before
_CLASSES[list(string.digits.encode())] = _DIGIT
_CLASSES[list(string.ascii_lowercase.encode())] = _LETTER
_TO_CLASSES = _CLASSES.tobytes()
# A word may have one apostrophe. What follows the letters after it ends the word, unless it is
# another letter. (Python finds the literal at the start of the expression faster than a class.)
_AFTER_APOSTROPHE = re.compile(rb"'(?<=[a-z0-9]')([a-z]+)('|(?=[0-9]))")


def separate_tokens(texts: list[bytes]) -> bytes:
    """Separate the tokens of valid UTF-8 texts as `tokenize_with_punctuation` does."""
    joined = _join(texts).translate(_TOKENS).replace(b"<br />", b" ")
    joined = _AFTER_APOSTROPHE.sub(rb"'\1 \2 ", joined)
    kinds = np.frombuffer(joined.translate(_TO_CLASSES), np.uint8)
    # There is no border between two characters of a word, nor within a character.
    before, after = kinds[:-1], kinds[1:]
    border = (before != _BLANK) & (after != _BLANK) & (after != _CONTINUATION)
    border &= (before < _DIGIT) | (after < _DIGIT)
    data = np.frombuffer(joined, np.uint8)
    apostrophes = np.flatnonzero(data[1:-1] == ord("'")) + 1
    inner = apostrophes[(kinds[apostrophes - 1] >= _DIGIT) & (kinds[apostrophes + 1] == _LETTER)]
    border[inner - 1] = border[inner] = False
    # Each byte, and before it a space or NUL, which no text has and which is deleted.
    pairs = np.zeros((len(data), 2), np.uint8)
    pairs[:, 1] = data
    np.multiply(border, ord(" "), out=pairs[1:, 0], dtype=np.uint8)
    return pairs.tobytes().translate(None, b"\0")
