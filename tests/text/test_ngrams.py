"""N-grams: against sets and dictionaries of tuples of words, which are slow and obvious."""

import contextlib
import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imdb_jax.errors import UserError
from imdb_jax.models.ngram import nb_log_ratios
from imdb_jax.text.ngram_keys import find_keys, frequent_keys
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.text.sequences import Sequences
from imdb_jax.text.tokens import tokenize_with_punctuation

WORDS = ["a", "b", "good", "don't", ".", "é", "an-extraordinarily-long-word", "z" * 20, "<br />"]
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), max_size=8)
FILMS = ["Not worth the money.", "Worth the money, not worth the time.", "NOT WORTH IT"]


def naive_tokenize(text: str) -> list[str]:
    lowered = "".join(c.lower() if c.isascii() else c for c in text).replace("<br />", " ")
    return re.findall(r"(?a:[a-z0-9]+(?:'[a-z]+)?|[^\s\0])", lowered)


def naive_ngrams(text: str, max_n: int) -> list[tuple[str, ...]]:
    words = naive_tokenize(text)
    return [tuple(words[i : i + n]) for n in range(1, max_n + 1) for i in range(len(words) - n + 1)]


def naive_vocabulary(texts, max_n: int, min_df: int) -> list[tuple[str, ...]]:
    """The n-grams that enough texts hold, in the order of their ids."""
    df = Counter(gram for text in texts for gram in set(naive_ngrams(text, max_n)))
    kept = [gram for gram, count in df.items() if count >= min_df]
    return sorted(kept, key=lambda gram: (len(gram), gram))


def naive_encode(text: str, grams: list[tuple[str, ...]], max_n: int) -> list[int]:
    id_of = {gram: i for i, gram in enumerate(grams, start=1)}
    return sorted({id_of[gram] for gram in naive_ngrams(text, max_n) if gram in id_of})


def as_lists(sequences: Sequences) -> list[list[int]]:
    assert sequences.values.dtype == np.int32
    return [ids.tolist() for ids in sequences]


def build(*arguments, **options) -> NgramVocabulary:
    return NgramVocabulary.build_and_encode(*arguments, **options)[0]


def names(vocabulary: NgramVocabulary) -> list[str]:
    return [vocabulary.ngram(i) for i in range(1, vocabulary.num_features)]


# Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n ", []),
        ("Good, GOOD film!", ["good", ",", "good", "film", "!"]),
        ("7/10...", ["7", "/", "10", ".", ".", "."]),
        ("the end.<br /><br />Start", ["the", "end", ".", "start"]),
        ("don't 'quote' it's'", ["don't", "'", "quote", "'", "it's", "'"]),
        ("rock'n'roll", ["rock'n", "'", "roll"]),
        ("a'b'c'd", ["a'b", "'", "c'd"]),
        ("a'b2'c x'1 '90s'", ["a'b", "2'c", "x", "'", "1", "'", "90s", "'"]),
        ("caf\u00e9 \u2014ok", ["caf", "\u00e9", "\u2014", "ok"]),
        ("a\0b\x0bc\xa0d", ["a", "b", "c", "\xa0", "d"]),
    ],
)
def test_tokenize_by_the_rules(text, words):
    assert tokenize_with_punctuation(text) == tokenize_with_punctuation(text.encode()) == words


@given(st.text("aB9'. \n\0é—<br />", max_size=30) | st.text(st.characters(codec="utf-8")))
def test_tokenize_agrees_with_a_regular_expression(text):
    assert (
        tokenize_with_punctuation(text)
        == tokenize_with_punctuation(text.encode())
        == naive_tokenize(text)
    )


def test_invalid_utf8_becomes_the_replacement_character():
    assert tokenize_with_punctuation(b"caf\xe9 ok") == ["caf", "\ufffd", "ok"]


# Keys


@given(st.lists(st.integers(0, 1 << 44), unique=True, max_size=40), st.integers(1, 1000))
def test_keys_are_found_as_in_a_dict(keys, first):
    keys.sort()
    wanted = keys[::-1] + [key ^ 1 for key in keys] + keys + [0, 1 << 40]
    number_of = {key: i for i, key in enumerate(keys, start=first)}
    found = find_keys(np.array(keys, np.int64), np.array(wanted, np.int64), first)
    assert found.tolist() == [number_of.get(key, 0) for key in wanted]


def test_more_keys_than_are_found_at_a_time():
    keys = np.arange(200_000) * 3
    wanted = np.random.default_rng(0).permutation(np.concatenate([keys, keys + 1]))
    expected = np.where(wanted % 3 == 0, wanted // 3 + 1, 0)
    np.testing.assert_array_equal(find_keys(keys, wanted, 1), expected)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3))), st.integers(1, 4))
def test_frequent_keys_counts_rows_not_occurrences(pairs, min_df):
    df = Counter(key for key, _ in set(pairs))
    keys, rows = np.array(pairs, np.int64).reshape(-1, 2).T
    frequent = frequent_keys(keys.copy(), rows.astype(np.int32), 4, min_df)
    assert frequent.tolist() == sorted(key for key in df if df[key] >= min_df)


def test_too_many_to_count():
    with pytest.raises(UserError, match="too many n-grams and reviews to count; raise min_df"):
        frequent_keys(np.array([1 << 50]), np.zeros(1, np.int32), 1 << 14, 2)


# The vocabulary


@given(texts, texts, st.integers(1, 5), st.integers(1, 3))
def test_agrees_with_sets_of_tuples(train, others, max_n, min_df):
    grams = naive_vocabulary(train, max_n, min_df)
    if not grams:
        with pytest.raises(UserError, match="no word occurs in"):
            build(train, max_n, min_df)
        return
    vocabulary, encoded = NgramVocabulary.build_and_encode(iter(train), max_n, min_df)
    assert names(vocabulary) == list(map(" ".join, grams))
    assert len(vocabulary) == vocabulary.num_features - 1 == len(grams)
    assert vocabulary.max_n == max(map(len, grams))
    assert {**vocabulary} == {name: i for i, name in enumerate(names(vocabulary), start=1)}
    absent = ["unheard of", "a unheard", "", " ".join(grams[0] * (max_n + 1)), 3]
    assert not any(name in vocabulary for name in absent)
    assert vocabulary == build(train, max_n, min_df)
    assert as_lists(encoded) == [naive_encode(text, grams, max_n) for text in train]
    assert as_lists(vocabulary.encode(train)) == as_lists(encoded)
    expected = [naive_encode(text, grams, max_n) for text in others]
    assert as_lists(vocabulary.encode(text.encode() for text in others)) == expected
    assert [as_lists(vocabulary.encode([text]))[0] for text in others] == expected


def test_an_ngram_occurs_in_reviews_not_in_one_review_twice():
    vocabulary = build(["so so so", "so what"], max_n=2, min_df=2)
    assert names(vocabulary) == ["so"]


def test_ids_are_in_the_order_of_length_then_words():
    vocabulary = build(FILMS, max_n=3)
    assert names(vocabulary) == [
        *(".", "money", "not", "the", "worth"),
        *("not worth", "the money", "worth the"),
        *("not worth the", "worth the money"),
    ]
    assert as_lists(vocabulary.encode(["worth the money", "the worth", "", "unheard of"])) == [
        [2, 4, 5, 7, 8, 10],
        [4, 5],
        [],
        [],
    ]


def test_both_shorter_ngrams_of_an_ngram_are_in_the_vocabulary():
    names_of = set(names(build(FILMS * 2, max_n=4)))
    for words in map(str.split, names_of):
        assert len(words) == 1 or {" ".join(words[:-1]), " ".join(words[1:])} <= names_of


def test_no_ngram_reaches_from_one_review_into_the_next():
    assert names(build(["a", "b", "a", "b"], max_n=2)) == ["a", "b"]


def test_more_texts_than_are_processed_at_a_time(monkeypatch):
    many = [f"word{i // 2} of {i % 7} films" for i in range(1500)]
    grams = naive_vocabulary(many, 3, 2)
    vocabulary, encoded = NgramVocabulary.build_and_encode(many, 3, 2)
    assert names(vocabulary) == list(map(" ".join, grams))
    assert as_lists(encoded) == [naive_encode(text, grams, 3) for text in many]
    assert as_lists(vocabulary.encode(many)) == as_lists(encoded)
    # So many that a text and an id do not fit in 16 bits.
    monkeypatch.setattr("imdb_jax.text.ngram_keys._TEXTS_AT_A_TIME", 1 << 30)
    assert as_lists(vocabulary.encode(many)) == as_lists(encoded)


def test_encoding_nothing():
    vocabulary = build(FILMS)
    assert as_lists(vocabulary.encode([])) == []
    assert as_lists(vocabulary.encode(["", ""])) == [[], []]


@pytest.mark.parametrize(("max_n", "min_df"), [(0, 2), (4, 0)])
def test_limits_are_positive(max_n, min_df):
    with pytest.raises(ValueError, match="must be at least 1"):
        build(FILMS, max_n, min_df)


@pytest.mark.parametrize("empty", [[], [""], ["one", "two"]])
def test_texts_without_a_frequent_word_are_refused(empty):
    with pytest.raises(UserError, match=f"no word occurs in 2 of the {len(empty)} reviews"):
        build(empty)


def test_a_single_text_is_no_list_of_texts():
    for one in ("a film", b"a film"):
        with pytest.raises(TypeError, match="several texts"):
            build(one)
        with pytest.raises(TypeError, match="several texts"):
            build(FILMS).encode(one)
    with pytest.raises(TypeError, match="must be str or bytes, not int"):
        build([3])


def test_names_of_ids():
    vocabulary = build(FILMS, max_n=3)
    assert vocabulary.ngram(0) == ""
    assert vocabulary.ngram(9) == "not worth the"
    for outside in (-1, vocabulary.num_features):
        with pytest.raises(ValueError, match="is not in this vocabulary of 10 n-grams"):
            vocabulary.ngram(outside)


def test_top_features_are_the_largest_in_order_and_never_padding():
    vocabulary = build(FILMS, max_n=3)
    weights = np.array([9, 0, 0, 2, 0, 0, 0, 0, 0, 3, 2.0])
    assert vocabulary.top(weights, 3) == [
        ("not worth the", 3.0),
        ("not", 2.0),
        ("worth the money", 2.0),
    ]
    assert len(vocabulary.top(weights, 99)) == len(vocabulary)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ([], []),
        (["b", "a"], []),
        (["a", "a"], []),
        (["a", "b"], [[5, 4]]),
        (["a", "b"], [[4, 4]]),
        (["a", "b"], [[1]]),  # a prefix that is padding
        (["a", "b"], [[3]]),  # a last word that is padding
        (["a", "b"], [[9]]),  # a prefix that is no word
        (["a", "b"], [[4], [4]]),  # a trigram whose prefix is a word
    ],
)
def test_impossible_vocabularies_are_refused(words, keys):
    with pytest.raises(ValueError, match="must be sorted and distinct"):
        NgramVocabulary(words, [np.array(part) for part in keys])


# Ratios


def test_nb_log_ratios_by_hand():
    features = Sequences.from_lengths(np.array([1, 2, 1, 3], np.int32), np.array([2, 1, 1]))
    ratios = nb_log_ratios(features, np.array([1, 0.25, 0]), 4)
    # p: 1 and 1 for the first review, 0.25 for the second; q: the rest of each review.
    p, q = [2.25, 2, 1], [1.75, 1, 2]
    expected = [0, *(math.log(a / 5.25 / (b / 4.75)) for a, b in zip(p, q, strict=True))]
    assert ratios.dtype == np.float32
    np.testing.assert_allclose(ratios, expected, rtol=1e-6)


@given(texts.filter(any), st.data())
def test_nb_log_ratios_agree_with_a_naive_sum(reviews, data):
    vocabulary, features = NgramVocabulary.build_and_encode([*reviews, "a"], 2, 1)
    shares = st.lists(st.floats(0, 1), min_size=len(features), max_size=len(features))
    positive = np.array(data.draw(shares))
    p = [1.0] * len(vocabulary)
    q = [1.0] * len(vocabulary)
    for ids, share in zip(features, positive, strict=True):
        for i in ids:
            p[i - 1] += share
            q[i - 1] += 1 - share
    expected = [math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True)]
    ratios = nb_log_ratios(features, positive, vocabulary.num_features)
    np.testing.assert_allclose(ratios, [0, *expected], rtol=1e-5, atol=1e-6)


def test_ratios_of_reviews_in_many_blocks_and_of_none():
    features = Sequences.from_lengths(np.ones(1000, np.int32), np.ones(1000, np.int64))
    ratios = nb_log_ratios(features, np.ones(1000, np.float32), 3)
    np.testing.assert_allclose(ratios[1:], np.log([1001 / 1002 * 2, 1 / 1002 * 2]), rtol=1e-6)
    assert nb_log_ratios(features[:0], np.zeros(0), 3).tolist() == [0, 0, 0]


def test_ratios_refuse_what_does_not_fit():
    features = Sequences.from_lengths(np.array([1, 2], np.int32), np.array([2]))
    with pytest.raises(ValueError, match="1 reviews, but 2 values"):
        nb_log_ratios(features, np.zeros(2), 3)
    with pytest.raises(ValueError, match="an id is 2, of 2 features"):
        nb_log_ratios(features, np.zeros(1), 2)


# Files


@settings(deadline=None, max_examples=20)
@given(texts.filter(any), st.integers(1, 4))
def test_saved_and_loaded_it_is_the_same(tmp_path_factory, reviews, max_n):
    path = tmp_path_factory.mktemp("ngrams") / "ngrams.npz"
    vocabulary = build([*reviews, "a"], max_n, 1)
    vocabulary.save(path)
    loaded = NgramVocabulary.load(path)
    assert loaded == vocabulary
    assert hash(loaded) == hash(vocabulary)
    assert loaded.max_n == vocabulary.max_n
    assert as_lists(loaded.encode(reviews)) == as_lists(vocabulary.encode(reviews))
    first = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == first


def load_error(path) -> str:
    with pytest.raises(UserError) as caught:
        NgramVocabulary.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[100:],
        lambda data: data.replace(b"\nworth", b"\nwortH"),
        lambda data: data.replace(b"keys_3", b"keys_4"),
        lambda data: b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    ],
)
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "ngrams.npz"
    build(FILMS, max_n=3).save(path)
    path.write_bytes(damage(path.read_bytes()))
    assert "or is damaged" in load_error(path)


def test_no_damage_goes_unnoticed_or_is_an_error_of_another_kind(tmp_path):
    path = tmp_path / "ngrams.npz"
    vocabulary = build(FILMS, max_n=3)
    vocabulary.save(path)
    data = path.read_bytes()
    for i in range(0, len(data), 5):
        path.write_bytes(data[:i] + bytes([data[i] ^ (1 << i % 8)]) + data[i + 1 :])
        with contextlib.suppress(UserError):
            assert NgramVocabulary.load(path) == vocabulary  # it was in what nobody reads


@pytest.mark.parametrize(
    "other",
    [
        {"words": np.zeros(3, np.uint8)},
        {"max_n": np.array(10**9)},
        {"max_n": np.arange(3)},
        {"keys_2": np.zeros(1)},
        {"keys_9": np.zeros(1, np.int64)},
    ],
    ids=str,
)
def test_archives_of_something_else_are_refused(tmp_path, other):
    path = tmp_path / "ngrams.npz"
    build(FILMS, max_n=3).save(path)
    np.savez(path, **{**np.load(path), **other})
    assert "is not a file of n-grams, or is damaged" in load_error(path)
    np.savez(path, **other)
    assert "is not a file of n-grams, or is damaged" in load_error(path)


def test_files_of_another_version_are_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr("imdb_jax.text.ngrams._FORMAT", "imdb_jax n-grams, version 2")
        build(FILMS).save(tmp_path / "ngrams.npz")
    assert "its format is imdb_jax n-grams, version 2, not" in load_error(tmp_path / "ngrams.npz")
