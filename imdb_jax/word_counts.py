"""Counting words in parts: blocks of texts, on several cores, or on several machines.

Words are bytes, and are numbered in the order in which they first occur. What is counted in parts
is merged in the order of the parts, and then equals what would have been counted at once, numbers
included. Imports NumPy only, since every worker process starts with this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from imdb_jax.word_table import WordTable

if TYPE_CHECKING:
    from jaxtyping import Int32, Int64

Word = TypeVar("Word", str, bytes)

# So much text at a time that what is computed of it fits the processor's cache.
_BLOCK_BYTES = 1 << 18


class FirstOccurrence(dict[Word, int]):
    """Numbers words in the order in which they are first looked up."""

    def __missing__(self, word: Word) -> int:
        self[word] = number = len(self)
        return number


class NumberedTexts(NamedTuple):
    """Texts whose words are numbers: of words known before, or of words new in these texts.

    Attributes:
      numbers: those of all texts' words end to end, int32 `[total]`; from `num_known` on, the
        word is `new_words[number - num_known]`.
      lengths: how many words each text has, int64 `[num_texts]`.
      num_known: how many words were known.
      new_words: the others, in the order in which they first occur.
    """

    numbers: Int32[np.ndarray, " total"]
    lengths: Int64[np.ndarray, " num_texts"]
    num_known: int
    new_words: list[bytes]


class KnownWords:
    """The words that were found in earlier texts, which makes it fast to number those of others."""

    def __init__(self) -> None:
        """Knows no word."""
        self._words: list[bytes] = []
        self._table = WordTable([])

    def __len__(self) -> int:
        return len(self._words)

    def learn(self, words: Sequence[bytes]) -> None:
        """Adds words, which get the next numbers."""
        self._words.extend(words)
        self._table = WordTable(self._words)

    def keep_up_with(self, counts: WordCounts) -> None:
        """Adds the words that were counted since, when these are as many as the known ones."""
        if len(counts) > 2 * len(self):
            self.learn(counts.words[len(self) :])

    def number(self, texts: Sequence[bytes]) -> NumberedTexts:
        """Numbers the words of texts, in which spaces separate them."""
        numbers, lengths, unknown = self._table.look_up(texts)
        number_of = FirstOccurrence[bytes]()
        new_numbers = [number_of[word] for word in unknown]
        new = np.flatnonzero(numbers == 0)
        numbers -= 1
        numbers[new] = np.array(new_numbers, np.int32) + np.int32(len(self))
        return NumberedTexts(numbers, lengths, len(self), list(number_of))


class WordCounts:
    """How often each word occurs in some texts, the words numbered as they first occur."""

    def __init__(
        self,
        words: Iterable[bytes] = (),
        counts: Sequence[int] | Int64[np.ndarray, " num_words"] = (),
    ) -> None:
        """Takes distinct words in the order of their first occurrence, and the count of each."""
        self._number = FirstOccurrence[bytes]((word, i) for i, word in enumerate(words))
        self._counts = np.array(counts, np.int64)
        if len(self._counts) != len(self._number):
            raise ValueError("there must be a count for each word, and no word twice")

    def __len__(self) -> int:
        return len(self._number)

    @property
    def words(self) -> list[bytes]:
        """The words, the one that occurs first before the others."""
        return list(self._number)

    @property
    def counts(self) -> Int64[np.ndarray, " num_words"]:
        """How often each of them occurs."""
        return self._counts[: len(self)]

    def add(self, texts: NumberedTexts) -> Int32[np.ndarray, " total"]:
        """Counts texts that stand after all that was counted before.

        Args:
          texts: the words known to whoever numbered them are the first ones of these.

        Returns:
          The number of each of their words.
        """
        numbers = _renumbered(texts, [self._number[word] for word in texts.new_words])
        self._make_room()
        np.add.at(self._counts, numbers, 1)
        return numbers

    def look_up(self, texts: NumberedTexts) -> Int32[np.ndarray, " total"]:
        """The number of each word of texts that are not counted, -1 for words that never were."""
        return _renumbered(texts, [self._number.get(word, -1) for word in texts.new_words])

    def merge(self, later: WordCounts) -> Int32[np.ndarray, " num_later_words"]:
        """Adds the counts of texts that stand after all that was counted before.

        Returns:
          The number here of each word there: numbers that were given there become numbers here by
          indexing with them.
        """
        numbers = np.array([self._number[word] for word in later._number], np.int32)
        self._make_room()
        self._counts[numbers] += later.counts
        return numbers

    def to_bytes(self) -> bytes:
        """All of it, for another process; see `from_bytes`."""
        return np.int64(len(self)).tobytes() + self.counts.tobytes() + b" ".join(self.words)

    @classmethod
    def from_bytes(cls, data: bytes) -> WordCounts:
        """Reads what `to_bytes` gave."""
        number = int(np.frombuffer(data, np.int64, 1)[0])
        counts = np.frombuffer(data, np.int64, number, offset=8)
        return cls(data[8 * (number + 1) :].split(), counts)

    def _make_room(self) -> None:
        missing = len(self) - len(self._counts)
        if missing > 0:  # for twice as many, lest every block copies all
            room = np.zeros(max(missing, len(self._counts)), np.int64)
            self._counts = np.concatenate([self._counts, room])


def _renumbered(texts: NumberedTexts, numbers_of_new: Sequence[int]) -> Int32[np.ndarray, " total"]:
    numbers = texts.numbers.copy()
    new = np.flatnonzero(numbers >= texts.num_known)
    numbers[new] = np.array(numbers_of_new, np.int32)[numbers[new] - texts.num_known]
    return numbers


def blocks_of(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Gathers texts to be numbered together."""
    block, size = [], 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size > _BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block
