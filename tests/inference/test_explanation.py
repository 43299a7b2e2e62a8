"""Weights of words: what must hold of them, whatever the model."""

import dataclasses
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_to_read import ARCHITECTURES, WORDS, small
from rich.cells import cell_len

from imdb_jax.config import replace
from imdb_jax.inference.explanation import Explanation, Word, explain
from imdb_jax.inference.prediction import Prediction
from imdb_jax.text.tokens import tokenize
from imdb_jax.views import predictions

TOLD_APART = WORDS[:8]
TEXT = "The film is GOOD, very good! not heard bad and"


def log_odds(probability):
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_weights_are_what_the_prediction_loses(arch):
    """Each weight against two predictions: of the text, and of the text without the word."""
    classifier = small(arch)
    words = ["film", "good", "very", "good"]
    explanation = explain(classifier, " ".join(words))
    assert [word.word for word in explanation.words] == words
    texts = [words]
    for place, word in enumerate(words):
        if arch == "mlp":
            texts.append([other for other in words if other != word])
        else:
            texts.append([*words[:place], "rare", *words[place + 1 :]])  # read as unknown
    whole, *rest = map(log_odds, classifier.predict(map(" ".join, texts)).tolist())
    weights = [word.weight for word in explanation.words]
    assert weights == pytest.approx([whole - other for other in rest], abs=1e-4)
    assert max(map(abs, weights)) > 1e-3
    assert all(word.read for word in explanation.words)


@pytest.mark.parametrize("arch", ["mlp", "cnn"])
def test_unread_words_have_no_weight(arch):
    classifier = small(arch)
    explanation = explain(classifier, TEXT)
    words = explanation.words
    assert [word.word for word in words] == tokenize(TEXT)
    assert [TEXT[slice(*word.span)].lower() for word in words] == tokenize(TEXT)
    assert explanation.text == TEXT
    (prediction,) = classifier.stream([TEXT])
    assert explanation.prediction == prediction
    assert all(word.weight == 0 for word in words if not word.read)
    known = [word.word in TOLD_APART for word in words]
    if arch == "mlp":
        assert [word.read for word in words] == known
    else:
        # Of nine words that were ever seen (all but 'heard') the last eight are read.
        assert [word.read for word in words] == [False, *known[1:]]


def test_start_of_a_text_that_is_cut_at_the_end():
    config = replace(small().config, truncating="post")
    classifier = dataclasses.replace(small(), config=config)
    read = [word.read for word in explain(classifier, "good " * 10).words]
    assert read == [True] * 7 + [False] * 3  # the mark of the start is the eighth


@settings(max_examples=20)
@given(st.lists(st.sampled_from([*WORDS, "heard"]), max_size=7))
def test_weights_of_a_linear_bag_of_words_are_the_models(words):
    """Of a sum over words, leaving one out leaves out its term."""
    classifier = small("mlp", linear=True)
    kernel = np.asarray(classifier.params["Dense_0"]["kernel"])[:, 0]
    for word in explain(classifier, " ".join(words)).words:
        told_apart = word.word in TOLD_APART
        expected = kernel[WORDS.index(word.word) + 4] if told_apart else 0
        assert word.weight == pytest.approx(expected, abs=1e-5)


@settings(max_examples=20)
@given(st.lists(st.sampled_from(WORDS), max_size=7))
def test_weights_of_a_linear_mean_add_up(words):
    """To the log-odds of the text less those of as many unknown words."""
    classifier = small("pooled", linear=True)
    explanation = explain(classifier, " ".join(words))
    (nothing,) = classifier.predict([" ".join(["rare"] * len(words))])
    total = log_odds(explanation.prediction.probability) - log_odds(nothing)
    assert sum(word.weight for word in explanation.words) == pytest.approx(total, abs=1e-4)
    first = {word.word: word.weight for word in reversed(explanation.words)}
    for word in explanation.words:  # the same wherever it stands
        assert word.weight == pytest.approx(first[word.word], abs=2e-5)


@pytest.mark.parametrize("arch", ["mlp", "pooled"])
@pytest.mark.parametrize("text", ["", "\0", b"\xff", "heard", "😀 " * 70, "\ud800", "x" * 100_000])
def test_text_without_a_word_to_weigh(arch, text):
    explanation = explain(small(arch), text)
    assert [word.word for word in explanation.words] == tokenize(text)
    assert not any(word.read or word.weight for word in explanation.words)


def test_long_text_takes_several_batches():
    classifier = small(max_length=200)
    words = explain(classifier, "good bad film " * 50).words
    weights = np.array([word.weight for word in words]).reshape(50, 3)
    np.testing.assert_allclose(weights, np.tile(weights[0], (50, 1)), atol=1e-5)
    assert all(word.read for word in words)


# Views

SCRIPT = "<script>alert('x')</script>&\"\x1b[31m\x9b\u202e"


def explanation_of(*words):
    """As if of a text that has these words, weights and whether they were read, and no others."""
    text, located = "", []
    for word, weight, read in words:
        located.append(Word(word, weight, read, (len(text), len(text) + len(word))))
        text += word
    return Explanation(Prediction(0.9, "positive", 0.25), located, text)


EXPLANATION = explanation_of(("good", 0.5, True), (SCRIPT, -1.0, True), ("<b>", 0.0, False))


def test_lines_name_the_strongest_words_and_those_not_read():
    line, up, down, unread = predictions.explanation_lines(EXPLANATION)
    assert line == "0.9000  positive   25% unknown"
    assert up == "  up:       good +0.500"
    assert down.startswith("  down:     <script>")
    assert down.endswith("-1.000")
    assert unread == "  not read: <b>"
    assert predictions.explanation_lines(explanation_of()) == [line]
    many = [(f"w{i}", i - 20.0, i % 2 > 0) for i in range(41)]
    lines = predictions.explanation_lines(explanation_of(*many))
    assert lines[1].split()[:3] == ["up:", "w40", "+20.000"]
    assert lines[2].split()[:3] == ["down:", "w0", "-20.000"]
    assert lines[3].endswith("and 13 more")
    narrow = predictions.explanation_lines(explanation_of(*many), 40)
    assert max(map(len, narrow)) <= 40
    # No line begins with the weight of a word that ends the one before.
    assert not any(line.lstrip()[0] in "+-" for line in narrow)
    assert " ".join(narrow).split() == " ".join(lines).split()


def test_colors_by_sign_and_strength():
    colored = predictions.colored_words(EXPLANATION)
    assert "\x1b" not in colored.plain
    good, script, unread = (str(span.style) for span in colored.spans)
    red, green, blue = map(int, re.findall(r"\d+", good))
    assert 86 < red < green < blue  # a pale blue
    assert script == "black on rgb(255,169,77)"
    assert unread == "dim strike"


@given(st.text() | st.binary(), st.integers(0, 30))
def test_the_beginning_of_a_text_is_one_line_that_fits(text, width):
    shown = predictions.beginning(text, width)
    assert shown.isprintable()
    assert cell_len(shown) <= max(width, 1)
    assert predictions.beginning("電影" * 9, 6) == "電影 …"
    assert predictions.beginning(shown, max(width, 1)) == shown


def test_the_beginning_of_a_text():
    assert predictions.beginning("abcdef", 4) == "abc…"
    assert predictions.beginning("a\nb\x1bé", 9) == r"a b\x1bé"
    assert predictions.beginning(b"caf\xe9", 4) == "caf\ufffd"
