"""Words counted and found by Arrow, against plain Python, whatever the blocks and parts are."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdb_jax.text import blocks
from imdb_jax.text.blocks import blocks_of, map_in_order
from imdb_jax.text.tokens import separate_tokens, separate_words, tokenize, utf8
from imdb_jax.text.vocabulary import Vocabulary
from imdb_jax.text.words import KnownWords, WordCounts, count_words

# White space that separates no words, words that begin alike, NUL, and what is not ASCII.
words = st.sampled_from(["a", "b", "film", "films", "e\rf", "g\x0bh", "i\x0cj", "\x1c", "a\0"])
words |= st.text("xyz\xe9\x85\xa0\u2028\0'", min_size=1, max_size=9)
lists_of_words = st.lists(st.lists(words, max_size=6), max_size=12)


def texts_of(lists: list[list[str]]) -> list[str]:
    return [" ".join(row) for row in lists]


def counted(texts: list[str]) -> tuple[WordCounts, list[list[int]]]:
    counts = WordCounts()
    parts = list(count_words(texts, separate_words, counts))
    assert all(part.values.dtype == np.int32 for part in parts)
    return counts, [numbers.tolist() for part in parts for numbers in part]


def assert_counts(counts: WordCounts, expected: list[str]) -> None:
    """Counter keeps the order of first occurrence."""
    assert dict(zip(counts.numbers, counts.counts.tolist(), strict=True)) == Counter(expected)
    assert list(counts.numbers) == list(Counter(expected))
    assert list(counts.numbers.values()) == list(range(len(counts)))


@given(lists_of_words)
def test_words_are_counted_and_numbered_as_they_first_occur(lists):
    counts, numbers = counted(texts_of(lists))
    assert_counts(counts, list(itertools.chain(*lists)))
    assert numbers == [[counts.numbers[word] for word in row] for row in lists]


@pytest.mark.parametrize("block_bytes", [1, 200, 1 << 20])
@pytest.mark.parametrize("cores", [1, 3])
def test_blocks_and_threads_change_nothing(block_bytes, cores, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(blocks, "num_cores", lambda: cores)
    generator = np.random.default_rng(block_bytes)
    spelled = [f"word{n}" for n in (generator.pareto(1, 3000) * 5).astype(int)]
    lists = [spelled[start : start + 30] for start in range(0, 3000, 30)]
    counts, numbers = counted(texts_of(lists))
    assert_counts(counts, spelled)
    assert numbers == [[counts.numbers[word] for word in row] for row in lists]


@given(lists_of_words, st.data())
def test_counts_of_parts_add_up_to_those_of_all(lists, data):
    """As if several machines had each read a range of the texts and sent their counts."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lists)), max_size=4)))
    merged = WordCounts()
    for first, end in itertools.pairwise([0, *cuts, len(lists)]):
        merged.add_bytes(counted(texts_of(lists[first:end]))[0].to_bytes())
    assert_counts(merged, list(itertools.chain(*lists)))
    for ties in ("alphabetical", "keras"):
        assert Vocabulary.from_counts(merged, ties) == Vocabulary.build(texts_of(lists), ties)


def found(known: KnownWords, texts, separate=separate_words) -> list[list[int]]:
    parts = list(known.find(texts, separate))
    assert all(part.values.dtype == np.int32 for part in parts)
    return [numbers.tolist() for part in parts for numbers in part]


@given(st.lists(words, unique=True), lists_of_words)
def test_finds_what_a_dict_finds(known, lists):
    number = {word: i for i, word in enumerate(known, start=1)}
    expected = [[number.get(word, 0) for word in row] for row in lists]
    assert found(KnownWords(known), texts_of(lists)) == expected


@pytest.mark.parametrize("separate", [separate_words, separate_tokens])
@given(
    st.lists(words, unique=True, max_size=9),
    st.lists(
        st.binary(max_size=60) | st.text(max_size=40) | st.lists(words, max_size=6).map(" ".join),
        max_size=6,
    ),
)
def test_few_texts_and_many_are_found_alike(separate, known, texts):
    """Many words are looked up by Arrow, few in a dict."""
    known, filler = KnownWords(known), ["a " * 12, "<br />,;"]
    together = found(known, filler + texts, separate)
    assert together[2:] == [row for text in texts for row in found(known, [text], separate)]


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 17, 1000, 100_000])
def test_words_of_any_length(length, many):
    word = "x" * length
    known = KnownWords([word, word + "\0", word[:-1] + "y", "z" + word])
    texts = [f"  {other} {word}x" for other in known.words] + ["a a a"] * many
    assert found(known, texts)[:4] == [[1, 0], [2, 0], [3, 0], [4, 0]]


@pytest.mark.parametrize("known", [["a"], ["b", "c", "a", *"defghijklmn"]])
def test_texts_without_words_keep_their_places(known):
    texts = ["", " ", "a", "...", "\n"]
    (number,) = found(KnownWords(known), ["a"])[0]
    assert found(KnownWords(known), texts) == [[], [], [number], [], []]
    assert found(KnownWords([]), texts) == [[], [], [0], [], []]
    assert found(KnownWords(known), []) == []
    assert len(counted([])[0]) == 0


@given(st.lists(st.binary(max_size=60) | st.text(max_size=40), max_size=6))
def test_any_texts_are_split_alike_together_and_alone(texts):
    counts, numbers = counted(texts)
    spelled = list(counts.numbers)
    assert [[spelled[i] for i in row] for row in numbers] == [tokenize(text) for text in texts]


@given(st.lists(st.binary(max_size=60).map(utf8), max_size=6))
def test_separated_texts_keep_every_letter(texts):
    for separate in (separate_words, separate_tokens):
        separated = separate(texts)
        assert separated.count(b"\n") == len(texts) + 1
        separated.decode()


def test_blocks_hold_every_text_once(monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 100)
    texts = [b"x" * size for size in (0, 60, 60, 5, 0)]
    found = list(blocks_of(texts))
    assert [len(block) for block in found] == [3, 2]
    assert list(itertools.chain(*found)) == texts
    assert list(blocks_of([])) == []


def test_results_come_in_order_and_an_error_ends_them():
    assert list(map_in_order(lambda x: x * x, range(50))) == [x * x for x in range(50)]
    results = map_in_order(lambda x: 1 / (20 - x), range(50))
    with pytest.raises(ZeroDivisionError):
        list(results)
