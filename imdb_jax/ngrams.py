"""A review as the set of its n-grams: the features of Wang and Manning's NB-SVM (2012).

Pure functions of NumPy arrays. A review becomes the ids of the distinct n-grams that it holds: runs
of 1 to `max_n` words, of which only those count that enough training reviews hold.

While they are counted and found, no n-gram is a Python object. It is a key: the id of its prefix,
the n-gram without the last word, and the id of that word, packed into one 64-bit number. Keys are
counted by sorting and found by hashing.
"""

from __future__ import annotations

import io
import itertools
import os
import struct
import zipfile
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int32, Int64
from numpy.typing import NDArray

from imdb_jax.encoding import PAD_ID, Sequences, Text
from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically
from imdb_jax.key_table import KeyTable, distinct, frequent_keys
from imdb_jax.ngram_tokens import TEXTS_AT_A_TIME, separated_blocks
from imdb_jax.word_counts import FirstOccurrence
from imdb_jax.word_table import WordTable


class NgramVocabulary:
    """The n-grams that enough training reviews hold; turns reviews into sets of their ids.

    Ids are consecutive: 0 is padding, then come the words from 1, the bigrams, the trigrams and so
    on. Words are sorted by code point, and n-grams of one length word by word.

    Attributes:
      words: the words, sorted; `words[i]` has id `i + 1`.
      keys: for the bigrams, the trigrams and so on, the keys, sorted: the id of the prefix times
        `len(words) + 1`, plus the id of the last word.
    """

    FILE: ClassVar[str] = "ngrams.npz"  # what it is saved as

    def __init__(
        self, words: Iterable[str], keys: Iterable[Int64[np.ndarray, " num_ngrams"]] = ()
    ) -> None:
        """Takes words and keys as the attributes hold them. Raises ValueError if they cannot be."""
        self.words = tuple(words)
        self.keys = tuple(keys)
        self._base = len(self.words) + 1
        if not self.words or any(
            word >= following for word, following in itertools.pairwise(self.words)
        ):
            raise ValueError("words must be sorted and distinct, and there must be one")
        # The first id of each length, from 1 on, and the end.
        self._firsts = [1, self._base]
        for keys_of_length in self.keys:
            prefixes, last = np.divmod(keys_of_length, self._base)
            first, end = self._firsts[-2:]
            known = (first <= prefixes) & (prefixes < end) & (last > 0)
            if not known.all() or (np.diff(keys_of_length) <= 0).any():
                raise ValueError(
                    "keys must be sorted and distinct, of prefixes and words there are"
                )
            self._firsts.append(end + len(keys_of_length))

    @classmethod
    def build(cls, texts: Iterable[Text], max_n: int = 4, min_df: int = 2) -> NgramVocabulary:
        """Collects the n-grams of `texts` (of the training reviews, that is).

        Args:
          texts: any number, each of which is read once.
          max_n: length of the longest n-grams.
          min_df: in how many texts an n-gram must occur at least; its document frequency.

        Raises:
          UserError: no word occurs in that many texts, or there are too many n-grams to count.
          ValueError: `max_n` or `min_df` is less than 1.
        """
        return cls.build_and_encode(texts, max_n, min_df)[0]

    @classmethod
    def build_and_encode(
        cls, texts: Iterable[Text], max_n: int = 4, min_df: int = 2
    ) -> tuple[NgramVocabulary, Sequences]:
        """Builds the vocabulary of `texts` and encodes them, for little more than either costs.

        Returns:
          The vocabulary, and what its `encode` gives for the texts.
        """
        if max_n < 1 or min_df < 1:
            raise ValueError(f"max_n and min_df must be at least 1, not {max_n} and {min_df}")
        words, ids = _frequent_words(texts, min_df)
        if not words:
            raise UserError(f"no word occurs in {min_df} of the {len(ids):,} reviews")
        places = _Places.of(ids)
        all_keys: list[NDArray[np.int64]] = []
        num_features = len(words) + 1
        for _ in range(2, max_n + 1):
            # What occurs in that many texts has parts that do: no other keys need be counted.
            candidates, keys = places.extend(len(words) + 1)
            frequent = frequent_keys(keys, places.rows[candidates], len(ids), min_df)
            places.add(candidates, KeyTable(frequent, num_features).look_up(keys))
            all_keys.append(frequent)
            num_features += len(frequent)
        return cls(words, all_keys), places.sets(num_features)

    def __len__(self) -> int:
        """The number of n-grams."""
        return self._firsts[-1] - 1

    @property
    def num_features(self) -> int:
        """The number of ids, padding included."""
        return self._firsts[-1]

    @property
    def max_n(self) -> int:
        """The length of the longest n-grams."""
        return len(self.keys) + 1

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, NgramVocabulary)
            and self.words == other.words
            and len(self.keys) == len(other.keys)
            and all(map(np.array_equal, self.keys, other.keys))
        )

    def __hash__(self) -> int:
        return hash((self.words, len(self)))

    def encode(self, texts: Iterable[Text]) -> Sequences:
        """Gives the distinct n-grams of each text that are in the vocabulary.

        Args:
          texts: any number of texts.

        Returns:
          Their ids, ascending, int32. What a text gives does not depend on the others.
        """
        return self.encode_with_unknown(texts)[0]

    def encode_with_unknown(
        self, texts: Iterable[Text]
    ) -> tuple[Sequences, Float[np.ndarray, " num_texts"]]:
        """Gives what `encode` does, and the share of each text's words that are unknown."""
        sets, shares = [], [np.zeros(0)]
        for block in separated_blocks(texts):
            places = self._places(block)
            sets.append(places.sets(self.num_features))
            shares.append(places.unknown_shares())
        nothing = Sequences(np.zeros(0, np.int32), np.zeros(1, np.int64))
        return Sequences.join(nothing, *sets), np.concatenate(shares)

    def occurrences(self, text: Text) -> list[tuple[int, int, int]]:
        """Where the n-grams of the vocabulary stand in a text.

        Returns:
          For each occurrence the id, the place of its first word, from 0, and its number of words.
        """
        grams = [grams for block in separated_blocks([text]) for grams in self._places(block).grams]
        return [
            (int(ids[place]), int(place), length)
            for length, ids in enumerate(grams, start=1)
            for place in np.flatnonzero(ids)
        ]

    def _places(self, texts: list[bytes]) -> _Places:
        numbers, lengths, _ = self._word_table.look_up(texts)
        places = _Places.of(Sequences.from_lengths(numbers, lengths))
        for table in self._key_tables:
            candidates, keys = places.extend(self._base)
            places.add(candidates, table.look_up(keys))
        return places

    @cached_property
    def _word_table(self) -> WordTable:
        return WordTable(self.words)

    @cached_property
    def _key_tables(self) -> list[KeyTable]:
        return list(map(KeyTable, self.keys, self._firsts[1:]))

    def ngram(self, i: int) -> str:
        """The words of the n-gram with this id, joined by spaces; nothing for padding (0).

        Raises:
          ValueError: an id beyond the vocabulary.
        """
        if not 0 <= i < self.num_features:
            raise ValueError(f"id {i} is not in this vocabulary of {len(self):,} n-grams")
        words: list[str] = []
        while i >= self._base:
            length = bisect_right(self._firsts, i)
            i, last = divmod(int(self.keys[length - 2][i - self._firsts[length - 1]]), self._base)
            words.append(self.words[last - 1])
        if i != PAD_ID:
            words.append(self.words[i - 1])
        return " ".join(reversed(words))

    def top(
        self, weights: Float[np.ndarray, " num_features"], count: int
    ) -> list[tuple[str, float]]:
        """The n-grams of the largest weights, the largest first; of equal ones the lowest id's."""
        largest = np.argsort(-weights[1:], kind="stable")[:count] + 1
        return [(self.ngram(i), float(weights[i])) for i in largest.tolist()]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a NumPy archive (.npz) without pickles: the words as a text, and the keys."""
        arrays: dict[str, Any] = {
            "format": np.array(_FORMAT),
            "max_n": np.array(self.max_n),
            "words": np.frombuffer("\n".join(self.words).encode(), np.uint8),
            **{f"keys_{length}": keys for length, keys in enumerate(self.keys, start=2)},
        }
        file = io.BytesIO()
        np.savez(file, **arrays)
        write_atomically(Path(path), file.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NgramVocabulary:
        """Reads a file that `save` wrote. Raises `UserError` if it is missing or damaged."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read the n-grams {path}: {error.strerror}") from error
        try:
            with np.lib.npyio.NpzFile(io.BytesIO(data), allow_pickle=False) as arrays:
                if arrays["format"] != _FORMAT:
                    raise ValueError(f"its format is {arrays['format']}, not {_FORMAT}")
                words = arrays["words"].tobytes().decode().split("\n")
                lengths = range(2, int(arrays["max_n"]) + 1)
                return cls(words, [arrays[f"keys_{length}"] for length in lengths])
        except _DAMAGE as error:
            raise UserError(f"{path} is not a file of n-grams, or is damaged: {error}") from error


_FORMAT = "imdb_jax n-grams, version 1"
# What reading a damaged archive raises; its parts have checksums.
_DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OSError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


def _frequent_words(texts: Iterable[Text], min_df: int) -> tuple[list[str], Sequences]:
    """The words of at least `min_df` texts, sorted; and the ids of each text's, 0 for others."""
    number_of = FirstOccurrence[bytes]()
    numbers, lengths = array("i"), array("q")
    for text in itertools.chain.from_iterable(separated_blocks(texts)):
        words = text.split()
        numbers.extend(map(number_of.__getitem__, words))
        lengths.append(len(words))
    sequences = Sequences.from_lengths(np.array(numbers, np.int32), np.array(lengths, np.int64))
    rows = np.repeat(np.arange(len(sequences), dtype=np.int32), sequences.lengths)
    frequent = frequent_keys(sequences.values.astype(np.int64), rows, len(sequences), min_df)
    words = list(number_of)
    by_rank = sorted(frequent.tolist(), key=words.__getitem__)
    ranks = np.zeros(len(words), np.int32)
    ranks[by_rank] = np.arange(1, len(by_rank) + 1)
    return [words[i].decode() for i in by_rank], Sequences(
        ranks[sequences.values], sequences.offsets
    )


@dataclass
class _Places:
    """What begins at each word of some texts, which stand end to end with a gap after each.

    Attributes:
      rows: which text a place is in, int32 `[num_places]`.
      offsets: text i has the places `offsets[i]:offsets[i + 1]`, int64 `[num_texts + 1]`.
      grams: ids of the words, of the bigrams, and so on, that begin there; 0 where none does that
        is in the vocabulary, and in gaps, so that no n-gram reaches over one. int32.
    """

    rows: Int32[np.ndarray, " num_places"]
    offsets: Int64[np.ndarray, " num_texts_plus_1"]
    grams: list[Int32[np.ndarray, " num_places"]]

    @classmethod
    def of(cls, ids: Sequences) -> _Places:
        """The places of texts that have these words."""
        rows = np.repeat(np.arange(len(ids), dtype=np.int32), ids.lengths + 1)
        offsets = ids.offsets + np.arange(len(ids) + 1)
        is_word = np.ones(len(rows), bool)
        is_word[offsets[1:] - 1] = False
        words = np.zeros(len(rows), np.int32)
        words[is_word] = ids.values
        return cls(rows, offsets, [words])

    def extend(
        self, base: int
    ) -> tuple[Int64[np.ndarray, " num_candidates"], Int64[np.ndarray, " num_candidates"]]:
        """Where the next longer n-grams may begin, since both parts are known there; and the keys.

        `base` is one more than the number of words in the vocabulary.
        """
        prefixes, words = self.grams[-1], self.grams[0]
        candidates = np.flatnonzero((prefixes[:-1] > 0) & (prefixes[1:] > 0))
        last = words[candidates + len(self.grams)]
        return candidates, prefixes[candidates].astype(np.int64) * base + last

    def add(self, candidates: Int64[np.ndarray, " num"], ids: Int32[np.ndarray, " num"]) -> None:
        """Takes the ids of the n-grams that were found at the candidates of `extend`."""
        grams = np.zeros(len(self.rows), np.int32)
        grams[candidates] = ids
        self.grams.append(grams)

    def unknown_shares(self) -> Float[np.ndarray, " num_texts"]:
        """The share of each text's words that are not in the vocabulary; 0 for one without any."""
        known = np.bincount(self.rows[self.grams[0] > 0], minlength=len(self.offsets) - 1)
        numbers = np.diff(self.offsets) - 1  # each text is followed by a gap
        return (numbers - known) / np.maximum(numbers, 1)

    def sets(self, num_features: int) -> Sequences:
        """The distinct ids, ascending, of each text."""
        nothing = Sequences(np.zeros(0, np.int32), np.zeros(1, np.int64))
        starts = range(0, len(self.offsets) - 1, TEXTS_AT_A_TIME)
        return Sequences.join(nothing, *(self._block_sets(i, num_features) for i in starts))

    def _block_sets(self, start: int, num_features: int) -> Sequences:
        """The same for `TEXTS_AT_A_TIME` texts from `start` on."""
        offsets = self.offsets[start : start + TEXTS_AT_A_TIME + 1]
        block = slice(offsets[0], offsets[-1])
        bits = num_features.bit_length()
        # Numbers of 32 bits are sorted faster, if both the row and the id fit.
        fits = bits + TEXTS_AT_A_TIME.bit_length() < 32
        rows = (self.rows[block] - start).astype(np.int32 if fits else np.int64) * (1 << bits)
        grams = [part[block] for part in self.grams]
        pairs = distinct(np.concatenate([(rows | ids)[ids > 0] for ids in grams]))
        lengths = np.bincount(pairs >> bits, minlength=len(offsets) - 1)
        return Sequences.from_lengths((pairs & ((1 << bits) - 1)).astype(np.int32), lengths)
