"""Words to numbers by Arrow: splitting, counting and finding the words of many texts.

Arrow splits a block of texts and finds known words in it. Words to count are numbered by Arrow
within their block; only the distinct ones, some thousands of hundreds of thousands, become Python
strings, which a dict counts.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int, Int32, Int64
from numpy.typing import NDArray

from imdb_jax.text.blocks import blocks_of, map_in_order
from imdb_jax.text.sequences import Sequences
from imdb_jax.text.tokens import Separate, Text

# Words are cut out together with the space that ends them. The first ones of separated texts are an
# empty one, which stands wherever there is more than one space, and the line feed.
_NOT_OF_A_TEXT = ["", "\n"]


def _split(separated: bytes) -> pa.LargeStringArray:
    """Cut separated texts after each space."""
    blank = np.frombuffer(separated, np.uint8) == ord(" ")
    offsets = np.flatnonzero(np.append(True, blank))
    buffers = pa.py_buffer(offsets), pa.py_buffer(separated)
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, *buffers)


def _distinct(words: pa.LargeStringArray) -> tuple[list[str], NDArray[np.int32]]:
    """Return each word once, as it first occurs, and the position there of every word."""
    encoded = words.dictionary_encode()
    # All at once, which is faster than `to_pylist`.
    _, ends, spelled = encoded.dictionary.buffers()
    size = np.frombuffer(ends, np.int64)[len(encoded.dictionary)]
    return spelled[:size].to_pybytes().decode().split(" ")[:-1], np.asarray(encoded.indices)


def _texts_of(
    numbers: NDArray[np.int32], chosen: NDArray[np.bool_], is_line_feed: NDArray[np.bool_]
) -> Sequences:
    """Return the numbers chosen of each text: of those between two line feeds."""
    lengths = np.add.reduceat(chosen, np.flatnonzero(is_line_feed), dtype=np.int64)
    return Sequences.from_lengths(numbers[chosen], lengths[:-1])


def _number_words(separated: bytes) -> tuple[list[str], Sequences]:
    """Return the distinct words of separated texts, and the position there of each text's words."""
    words, positions = _distinct(_split(separated))
    positions = positions - np.int32(len(_NOT_OF_A_TEXT))
    return words[len(_NOT_OF_A_TEXT) :], _texts_of(positions, positions >= 0, positions == -1)


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
    blocks = map_in_order(lambda block: _number_words(separate(block)), blocks_of(texts))
    for words, positions in blocks:
        numbers = counts.add(words, np.bincount(positions.values, minlength=len(words)))
        yield Sequences(numbers[positions.values], positions.offsets)


class KnownWords:
    """Words that have numbers, from 1 on in their order; finds them in texts."""

    def __init__(self, words: Sequence[str]) -> None:
        """Take distinct words; of a word that comes twice, the last number counts."""
        self.words = words
        self.numbers = {word: number for number, word in enumerate(words, start=1)}

    def find(
        self, texts: Iterable[Text], separate: Separate, others: bool = True
    ) -> Iterator[Sequences]:
        """Yield the numbers (int32) of the words of texts, some texts at a time.

        Other words have number 0, or are left out if `others` is false.
        """
        return map_in_order(lambda block: self._find(separate(block), others), blocks_of(texts))

    def _find(self, separated: bytes, others: bool) -> Sequences:
        words, most = _split(separated), len(self.words)
        # Arrow builds a table of all known words at every call, which takes longer than to look up
        # as many words in it. The dict is there already, but takes longer for a word.
        if len(words) > most:
            found = pc.index_in(words, value_set=self._spelled)
            numbers = np.asarray(found.fill_null(-1)) + np.int32(1)
        else:
            distinct, positions = _distinct(words)
            found = map(self.numbers.get, distinct, itertools.repeat(0))
            number = np.fromiter(found, np.int32, len(distinct))
            number[: len(_NOT_OF_A_TEXT)] = most + 1, most + 2
            numbers = number[positions]
        chosen = numbers <= most
        if not others:
            chosen &= numbers > 0
        return _texts_of(numbers, chosen, numbers == most + 2)

    @cached_property
    def _spelled(self) -> pa.LargeStringArray:
        """The known words, and what is no word of a text, as `_split` returns them."""
        words = [*self.words, *_NOT_OF_A_TEXT]
        return pa.array([f"{word} " for word in words], pa.large_string())
