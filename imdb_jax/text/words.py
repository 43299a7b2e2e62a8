"""Words to numbers by Arrow: splitting, counting and finding the words of many texts.

Arrow splits a block of texts and numbers its distinct words. Only these, some thousands of hundreds
of thousands, become Python strings, which a dict counts or finds.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Int32, Int64

from imdb_jax.text.blocks import blocks_of, map_in_order
from imdb_jax.text.sequences import Sequences
from imdb_jax.text.tokens import Separate, Text

# Each word once, in order of first occurrence, and the position there of each word of each text.
_NumberedWords = tuple[list[str], Sequences]


def _number_words(separated: bytes) -> _NumberedWords:
    """Number the words of separated texts."""
    data = np.frombuffer(separated, np.uint8)
    blank = data == ord(" ")
    # Leave one space after each word, and none before the first.
    data = data[~(blank & np.append(True, blank[:-1]))]
    offsets = np.append(0, np.flatnonzero(data == ord(" ")) + 1)
    buffers = pa.py_buffer(offsets), pa.py_buffer(data)
    words = pa.LargeStringArray.from_buffers(len(offsets) - 1, *buffers).dictionary_encode()
    numbers = np.asarray(words.indices)
    # The line feed has number 0, as the first word is the one before the first text.
    lengths = np.diff(np.flatnonzero(numbers == 0)) - 1
    texts = Sequences.from_lengths(numbers[numbers > 0] - np.int32(1), lengths)
    # All at once, which is faster than `to_pylist`: each word still ends with its space.
    _, ends, spelled = words.dictionary.buffers()
    size = np.frombuffer(ends, np.int64)[len(words.dictionary)]
    return spelled[:size].to_pybytes().decode().split(" ")[1:-1], texts


def _numbered_blocks(texts: Iterable[Text], separate: Separate) -> Iterator[_NumberedWords]:
    return map_in_order(lambda block: _number_words(separate(block)), blocks_of(texts))


class WordCounts:
    """How often each word occurs in some texts; `numbers` counts words as they first occur, from 0.

    The counts of parts (blocks of texts, or the shares of several machines) that are added in order
    equal the counts of the whole, numbers included.
    """

    def __init__(self) -> None:
        """Start without a word."""
        self.numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
        self._counts = np.zeros(0, np.int64)  # by number, with room for more

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def counts(self) -> Int64[np.ndarray, " num_words"]:
        """How often each word occurs, by its number."""
        return self._counts[: len(self)]

    def add(
        self, words: Sequence[str], counts: Int[np.ndarray, " num_words"]
    ) -> Int32[np.ndarray, " num_words"]:
        """Add occurrences of distinct words, and return the number of each."""
        numbers = np.fromiter(map(self.numbers.__getitem__, words), np.int32, len(words))
        missing = len(self) - len(self._counts)
        if missing > 0:  # make room for twice as many, so that few blocks copy the array
            self._counts = np.pad(self._counts, (0, max(missing, len(self._counts))))
        self._counts[numbers] += counts
        return numbers

    def to_bytes(self) -> bytes:
        """Serialize the counts and the words, of which none has a line feed."""
        return len(self).to_bytes(8) + self.counts.tobytes() + "\n".join(self.numbers).encode()

    def add_bytes(self, data: bytes) -> None:
        """Add what `to_bytes` returned for the texts that follow those counted so far."""
        size = int.from_bytes(data[:8])
        words = data[8 * (size + 1) :].decode().split("\n") if size else []
        self.add(words, np.frombuffer(data, np.int64, size, offset=8))


def count_words(
    texts: Iterable[Text], separate: Separate, counts: WordCounts
) -> Iterator[Sequences]:
    """Add the words of texts to `counts`, and yield their numbers there, some texts at a time."""
    for words, positions in _numbered_blocks(texts, separate):
        numbers = counts.add(words, np.bincount(positions.values, minlength=len(words)))
        yield Sequences(numbers[positions.values], positions.offsets)


def find_words(
    texts: Iterable[Text], separate: Separate, known: Mapping[str, int]
) -> Iterator[Sequences]:
    """Yield the known numbers (int32) of the words of texts, 0 for others, some texts at a time."""
    for words, positions in _numbered_blocks(texts, separate):
        found = map(known.get, words, itertools.repeat(0))
        numbers = np.fromiter(found, np.int32, len(words))
        yield Sequences(numbers[positions.values], positions.offsets)
