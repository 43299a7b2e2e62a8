"""Texts to words and punctuation, many texts at a time: what n-grams are made of.

Punctuation counts here, unlike in `encoding`: "7 / 10" and "?!" say a lot about a film.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterable, Iterator

import numpy as np

from imdb_jax.encoding import Text, utf8

# About 300 kB of reviews: what is computed of them fits the processor's cache.
TEXTS_AT_A_TIME = 256

_SPACES = b" \t\n\r\f\v\0"
_LOWER = bytes.maketrans(
    string.ascii_uppercase.encode() + _SPACES,
    string.ascii_lowercase.encode() + b" " * len(_SPACES),
)
_BREAK = b"<br />"
# What follows the one apostrophe that a word may have ends it, unless it is another letter. (Python
# looks for the literal at the start of the expression much faster than for a class.)
_AFTER_APOSTROPHE = re.compile(rb"'(?<=[a-z0-9]')([a-z]+)('|(?=[0-9]))")


def tokenize(text: Text) -> list[str]:
    """Splits a text into words and punctuation.

    `<br />` counts as a space, and ASCII letters are lower-cased. A word is
    `[a-z0-9]+(?:'[a-z]+)?`; every other character but white space (and NUL) is a token of its own,
    those outside ASCII included, so that "café" is two tokens.

    Args:
      text: any text; bytes are read as UTF-8. What is not valid UTF-8 becomes U+FFFD.

    Returns:
      The tokens in order; empty for a text without any.
    """
    return [word.decode() for word in _separate([_lower(text)])[0].split()]


def _lower(text: Text) -> bytes:
    """A text in valid UTF-8, its white space being the space character alone."""
    return utf8(text).translate(_LOWER).replace(_BREAK, b" ")


def separated_blocks(texts: Iterable[Text]) -> Iterator[list[bytes]]:
    """Separates the words of texts, so many at a time that NumPy is fast and memory small."""
    if isinstance(texts, str | bytes):
        raise TypeError("expected several texts, such as a list of them, not a single one")
    lowered = map(_lower, texts)
    while block := list(itertools.islice(lowered, TEXTS_AT_A_TIME)):
        yield _separate(block)


# Classes of bytes.
_SPACE, _OTHER, _CONTINUATION, _DIGIT, _LETTER = range(5)
_CLASSES = np.full(256, _OTHER, np.uint8)
_CLASSES[list(b" \n")] = _SPACE
_CLASSES[0x80:0xC0] = _CONTINUATION  # in UTF-8, of a character that began before
_CLASSES[list(string.digits.encode())] = _DIGIT
_CLASSES[list(string.ascii_lowercase.encode())] = _LETTER
_TO_CLASSES = _CLASSES.tobytes()


def _separate(texts: list[bytes]) -> list[bytes]:
    """Puts spaces between the tokens of each `_lower` text."""
    joined = _AFTER_APOSTROPHE.sub(rb"'\1 \2 ", b"\n".join(texts))
    kinds = np.frombuffer(joined.translate(_TO_CLASSES), np.uint8)
    # Between two characters of a word there is no border, nor within a character.
    before, after = kinds[:-1], kinds[1:]
    border = (before != _SPACE) & (after != _SPACE) & (after != _CONTINUATION)
    border &= (before < _DIGIT) | (after < _DIGIT)
    data = np.frombuffer(joined, np.uint8)
    apostrophes = np.flatnonzero(data[1:-1] == ord("'")) + 1
    inner = apostrophes[(kinds[apostrophes - 1] >= _DIGIT) & (kinds[apostrophes + 1] == _LETTER)]
    border[inner - 1] = border[inner] = False
    # Each byte, and before it a space or nothing, for which NUL stands; no text has any.
    pairs = np.zeros((len(data), 2), np.uint8)
    pairs[:, 1] = data
    np.multiply(border, ord(" "), out=pairs[1:, 0], dtype=np.uint8)
    return pairs.tobytes().translate(None, b"\0").split(b"\n")
