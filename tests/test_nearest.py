"""Nearest words: those of the largest cosine, and an error that helps for words without vector."""

import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from small_models import VOCABULARY, small_classifier

from imdb_jax.console.terminal import printable
from imdb_jax.errors import UserError
from imdb_jax.inference import classifier
from imdb_jax.inference.word_vectors import WordVectors, nearest_words, word_vectors
from imdb_jax.nearest import main

WORDS = ("good", "bad", "film", "it's", "8")
VALUES = st.floats(-100, 100, width=32).filter(lambda value: value == 0 or abs(value) > 1e-3)


@given(npst.arrays(np.float32, (5, 3), elements=VALUES), st.sampled_from(WORDS), st.integers(1, 9))
def test_the_nearest_have_the_largest_cosine(vectors, word, top):
    found = nearest_words(WordVectors(WORDS, vectors), word, top)
    assert len(found) == min(top, 4)
    assert word not in dict(found)
    own = vectors[WORDS.index(word)].astype(float)
    for other, cosine in found:
        vector = vectors[WORDS.index(other)].astype(float)
        lengths = np.linalg.norm(own) * np.linalg.norm(vector)
        assert cosine == pytest.approx(own @ vector / lengths if lengths else 0, abs=1e-5)
    cosines = [cosine for _, cosine in found]
    assert cosines == sorted(cosines, reverse=True)
    if top < 4:
        every = nearest_words(WordVectors(WORDS, vectors), word, 4)
        assert every[:top] == found


def test_a_word_is_normalized_as_reviews_are():
    known = WordVectors(WORDS, np.eye(5, dtype="f"))
    assert nearest_words(known, "  It's! ") == nearest_words(known, "it's")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("god", "'god' is not among the 5 words with a vector; did you mean 'good'?"),
        ("xyzzy", "'xyzzy' is not among the 5 words with a vector$"),
        ("good film", "'good film' is not a single word but 2"),
        ("?!", "'\\?!' is not a single word but 0"),
        ("", "'' is not a single word but 0"),
    ],
)
def test_words_without_a_vector(word, message):
    with pytest.raises(UserError, match=message.replace("mean 'good'?", "mean 'good'\\?")):
        nearest_words(WordVectors(WORDS, np.eye(5, dtype="f")), word)


def test_words_too_rare_for_an_id_have_no_vector():
    known = word_vectors(small_classifier("cnn"))
    assert known.words == VOCABULARY.words[:-2]
    assert known.vectors.shape == (len(known.words), 3)
    with pytest.raises(UserError, match="is not among"):
        nearest_words(known, VOCABULARY.words[-1])


# The command


def run(monkeypatch, capsys, *arguments, arch="pooled"):
    monkeypatch.setattr(classifier, "load", lambda path: small_classifier(arch))
    monkeypatch.setattr(sys, "argv", ["imdb-jax-nearest", *arguments])
    try:
        main()
    except SystemExit as stop:
        return (stop.code, *capsys.readouterr())
    return (0, *capsys.readouterr())


def test_the_command_prints_a_word_a_line(monkeypatch, capsys):
    found = nearest_words(word_vectors(small_classifier("pooled")), "film", 3)
    expected = [(printable(word), cosine) for word, cosine in found]
    assert expected != found  # one of the words holds a line separator
    status, out, errors = run(monkeypatch, capsys, "run", "film", "--top", "3")
    assert (status, errors) == (0, "")
    assert out == "".join(f"{cosine:6.3f}  {word}\n" for word, cosine in expected)
    quiet = run(monkeypatch, capsys, "run", "film", "--top", "3", "--quiet")
    assert quiet == (0, "".join(f"{word}\n" for word, _ in expected), "")


@pytest.mark.parametrize(
    ("arguments", "arch", "message"),
    [
        (["run"], "pooled", "WORD"),
        (["run", "fillm"], "pooled", "did you mean 'film'"),
        (["run", "film", "--top", "0"], "pooled", "top must be at least 1"),
        (["run", "film"], "mlp", "mlp has no word vectors"),
    ],
)
def test_mistakes_are_named_in_one_line(monkeypatch, capsys, arguments, arch, message):
    status, out, errors = run(monkeypatch, capsys, *arguments, arch=arch)
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: .+\n", errors)
    assert message in errors
