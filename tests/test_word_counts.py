"""Words counted in parts against words counted at once, whatever the parts are."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdb_jax import word_counts
from imdb_jax.encoding import Vocabulary
from imdb_jax.word_counts import KnownWords, WordCounts, blocks_of

words = st.sampled_from([b"a", b"b", b"c", b"film", b"awordofmorethan16bytes"]) | st.binary(
    min_size=1, max_size=9
).map(lambda data: data.hex().encode())
texts_of_words = st.lists(st.lists(words, max_size=6).map(b" ".join), max_size=12)


def counted(texts: list[bytes]) -> tuple[WordCounts, list[int]]:
    """Counts texts, block by block; with the number of each word."""
    counts, known, numbers = WordCounts(), KnownWords(), []
    for block in blocks_of(texts):
        numbered = known.number(block)
        assert numbered.lengths.tolist() == [len(text.split()) for text in block]
        numbers += counts.add(numbered).tolist()
        known.keep_up_with(counts)
    return counts, numbers


def assert_counts(counts: WordCounts, expected: list[bytes]) -> None:
    """Counter keeps the order of first occurrence."""
    assert dict(zip(counts.words, counts.counts.tolist(), strict=True)) == Counter(expected)
    assert counts.words == list(Counter(expected))
    assert len(counts) == len(counts.words)
    assert counts.counts.dtype == np.int64


@pytest.fixture(params=[1, 20, 1 << 18], ids="blocks of {} bytes".format)
def block_bytes(request, monkeypatch):
    monkeypatch.setattr(word_counts, "_BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("seed", range(5))
def test_any_size_of_blocks_gives_the_same_counts_and_numbers(seed):
    generator = np.random.default_rng(seed)
    spelt = [b"word%d" % n for n in (generator.pareto(1, 3000) * 5).astype(int)]
    texts = [b" ".join(spelt[start : start + 30]) for start in range(0, 3000, 30)]
    counts, numbers = counted(texts)
    assert_counts(counts, spelt)
    assert [counts.words[number] for number in numbers] == spelt


@given(texts_of_words, st.data())
def test_counts_of_parts_merge_to_those_of_all(texts, data):
    """As if several machines had read a range of the texts each."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(texts)), max_size=4)))
    borders = [0, *cuts, len(texts)]
    parts = [counted(texts[a:b]) for a, b in itertools.pairwise(borders)]
    merged, numbers = WordCounts(), []
    for counts, own_numbers in parts:
        renumbered = merged.merge(WordCounts(counts.words, counts.counts))
        numbers += renumbered[own_numbers].tolist() if own_numbers else []
    whole, expected = counted(texts)
    assert numbers == expected
    assert_counts(merged, b" ".join(texts).split())
    for ties in ("alphabetical", "keras"):
        vocabulary, ranks = Vocabulary.from_counts(merged, ties)
        assert vocabulary == Vocabulary.build(texts, ties)
        np.testing.assert_array_equal(ranks, Vocabulary.from_counts(whole, ties)[1])


@given(texts_of_words, texts_of_words)
def test_words_that_were_never_counted_have_no_number(texts, others):
    counts, _ = counted(texts)
    known = KnownWords()
    known.learn(counts.words[: len(counts) // 2])
    number = {word: i for i, word in enumerate(counts.words)}
    expected = [number.get(word, -1) for word in b" ".join(others).split()]
    assert counts.look_up(known.number(others)).tolist() == expected
    assert counts.words == list(number)


def test_blocks_hold_every_text_once():
    texts = [b"x" * size for size in (0, 1 << 17, 1 << 18, 5, 0)]
    blocks = list(blocks_of(texts))
    assert len(blocks) == 2
    assert [text for block in blocks for text in block] == texts
    assert list(blocks_of([])) == []


def test_counts_pass_as_bytes():
    counts, _ = counted([b"one two one", "drei été".encode(), b""])
    passed = WordCounts.from_bytes(counts.to_bytes())
    assert passed.words == counts.words
    np.testing.assert_array_equal(passed.counts, counts.counts)
    assert len(WordCounts.from_bytes(WordCounts().to_bytes())) == 0


def test_counts_must_fit_the_words():
    for spelt, numbers in (([b"a"], []), ([b"a", b"a"], [1, 1])):
        with pytest.raises(ValueError, match="a count for each word, and no word twice"):
            WordCounts(spelt, numbers)
