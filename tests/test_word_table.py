"""The table of words against the dict that it stands in for."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdb_jax.word_table import WordTable

# Words of every length around 8 and 16 bytes, that differ in a single byte, the NUL included.
letters = st.text("ab\0\x7f\xe9", max_size=40)
lists_of_words = st.lists(letters, unique=True, max_size=40)


def look_up(table, texts):
    numbers, lengths, unknown = table.look_up([text.encode() for text in texts])
    assert numbers.dtype == np.int32
    words = [word.encode() for text in texts for word in text.split(" ") if word]
    assert unknown == [word for word, number in zip(words, numbers, strict=True) if not number]
    rows = np.split(numbers, np.cumsum(lengths)[:-1])
    return [row.tolist() for row in rows]


def naive(words, texts):
    number = {word: i for i, word in enumerate(words, start=1)}
    return [[number.get(word, 0) for word in text.split(" ") if word] for text in texts]


@given(lists_of_words, st.data())
def test_finds_what_a_dict_finds(words, data):
    word = st.sampled_from(words) | letters if words else letters
    text = st.lists(word, max_size=8).map(" ".join)
    texts = data.draw(st.lists(text, min_size=1, max_size=5))
    assert look_up(WordTable(words), texts) == naive(words, texts)


def test_words_that_share_a_slot():
    generator = random.Random(0)
    words = sorted(
        {"".join(generator.choices("abc", k=generator.randint(1, 12))) for _ in "a" * 5000}
    )
    generator.shuffle(words)
    table = WordTable(words[::2])
    assert 0 < len(table._others) < len(words) / 4
    assert look_up(table, [" ".join(words)]) == naive(words[::2], [" ".join(words)])


@pytest.mark.parametrize("length", [*range(1, 20), 1000, 100_000])
def test_words_of_any_length(length):
    word = "x" * length
    words = [word, word + "\0", word[:-1] + "y", "z" + word]
    texts = [f"  {other} {word[1:]}" for other in reversed(words)]
    assert look_up(WordTable(words), texts) == naive(words, texts)


def test_words_that_no_text_has_are_not_found():
    table = WordTable(["", " ", "a b", "a ", " b", "b"])
    assert look_up(table, ["a b", "", "  a  "]) == [[0, 6], [], [0]]
    assert look_up(WordTable([]), ["a"]) == [[0]]


def test_no_texts():
    numbers, lengths, unknown = WordTable(["a"]).look_up([])
    assert (len(numbers), len(lengths), len(unknown)) == (0, 0, 0)
