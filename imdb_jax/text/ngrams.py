"""A review as the set of its n-grams: the features of Wang and Manning's NB-SVM (2012).

A review becomes the ids of its distinct n-grams: runs of 1 to `max_n` words that occur in enough
training reviews. An n-gram is counted and found by its key, a 64-bit number that packs the id of
its prefix, the n-gram without the last word, and the id of that word.
"""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int64

from imdb_jax.errors import UserError, check_integer
from imdb_jax.files import read_arrays, write_atomically
from imdb_jax.text.blocks import map_in_order, num_cores
from imdb_jax.text.ngram_keys import Places, find_keys, frequent_keys
from imdb_jax.text.sequences import PAD_ID, Sequences, unknown_shares
from imdb_jax.text.tokens import Text, separate_tokens
from imdb_jax.text.words import KnownWords, WordCounts, count_words


class NgramVocabulary(Mapping[str, int]):
    """The n-grams that enough training reviews contain; turns reviews into sets of their ids.

    It is a mapping: `vocabulary["not good"]` is the id of an n-gram, its words joined by spaces.

    Ids are consecutive: 0 is padding, then come the words from 1, the bigrams, the trigrams and so
    on. Words are sorted by code point, and n-grams of one length word by word. `packed` has a
    sorted array of keys for each length from 2 on; a key is the id of the prefix times
    `len(words) + 1`, plus the id of the last word.
    """

    FILE: ClassVar[str] = "ngrams.npz"  # its name in a run directory

    def __init__(
        self, words: Iterable[str], keys: Iterable[Int64[np.ndarray, " num_ngrams"]] = ()
    ) -> None:
        """Take sorted words and keys; raise `ValueError` if they are not a vocabulary's."""
        self.words = tuple(_ascending(words))
        self.packed = tuple(keys)
        self._base = len(self.words) + 1
        if not self.words:
            raise ValueError("words must be sorted and distinct, and at least one")
        # The first id of each length, from 1 on, and the end.
        self._firsts = [1, self._base]
        for keys_of_length in self.packed:
            prefixes, last = np.divmod(keys_of_length, self._base)
            first, end = self._firsts[-2:]
            known = (first <= prefixes) & (prefixes < end) & (last > 0)
            if not known.all() or (np.diff(keys_of_length) <= 0).any():
                raise ValueError("keys must be sorted and distinct, of known prefixes and words")
            self._firsts.append(end + len(keys_of_length))

    @classmethod
    def build_and_encode(
        cls, texts: Iterable[Text], max_n: int = 4, min_df: int = 2
    ) -> tuple[NgramVocabulary, Sequences]:
        """Collect the n-grams of up to `max_n` words in at least `min_df` texts; encode the texts.

        Raises:
          UserError: no word occurs in `min_df` texts, there are too many n-grams to count, or
            `max_n` or `min_df` is not an integer from 1 on.
        """
        check_integer("max_n", max_n, 1)
        check_integer("min_df", min_df, 1)
        words, ids = _count_words(texts, min_df)
        if not words:
            raise UserError(f"no word occurs in {min_df} of the {len(ids):,} reviews")
        places = Places(ids)
        all_keys: list[Int64[np.ndarray, " num_ngrams"]] = []
        num_features = len(words) + 1
        for _ in range(2, max_n + 1):
            # The parts of a frequent n-gram are frequent, so no other keys need be counted.
            candidates, keys = places.extend(len(words) + 1)
            frequent = frequent_keys(keys, places.rows[candidates], len(ids), min_df)
            if not len(frequent):
                break  # no longer n-gram has frequent parts
            find = partial(find_keys, frequent, first=num_features)
            parts = np.array_split(keys, num_cores())
            places.add(candidates, np.concatenate(list(map_in_order(find, parts))))
            all_keys.append(frequent)
            num_features += len(frequent)
        sets = map_in_order(partial(places.sets, num_features=num_features), places.starts())
        return cls(words, all_keys), Sequences.join(*sets)

    def __len__(self) -> int:
        """Return the number of n-grams."""
        return self._firsts[-1] - 1

    def __iter__(self) -> Iterator[str]:
        return map(self.ngram, range(1, self.num_features))

    def __getitem__(self, ngram: str) -> int:
        first, *rest = ngram.split(" ") if isinstance(ngram, str) else [ngram]
        if len(rest) > len(self.packed):
            raise KeyError(ngram)
        numbers = self._known.numbers
        i = numbers[first]
        for keys, first_id, word in zip(self.packed, self._firsts[1:], rest, strict=False):
            (found,) = find_keys(keys, np.array([i * self._base + numbers[word]]), first_id)
            if not found:
                raise KeyError(ngram)
            i = int(found)
        return i

    def __repr__(self) -> str:
        return f"<NgramVocabulary of {len(self):,} n-grams of 1 to {self.max_n} words>"

    @property
    def num_features(self) -> int:
        """The number of ids, padding included."""
        return self._firsts[-1]

    @property
    def max_n(self) -> int:
        """The length of the longest n-grams."""
        return len(self.packed) + 1

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, NgramVocabulary)
            and self.words == other.words
            and len(self.packed) == len(other.packed)
            and all(map(np.array_equal, self.packed, other.packed))
        )

    def __hash__(self) -> int:
        return hash((self.words, len(self)))

    def encode(self, texts: Iterable[Text]) -> Sequences:
        """Return the distinct ids, ascending, int32, of the known n-grams of each text."""
        return self.encode_with_unknown(texts)[0]

    def encode_with_unknown(
        self, texts: Iterable[Text]
    ) -> tuple[Sequences, Float[np.ndarray, " num_texts"]]:
        """Return what `encode` does, and the share of each text's words that are unknown."""
        blocks = self._known.find(texts, separate_tokens)
        encoded = list(map_in_order(self._encode, blocks))
        shares = [np.zeros(0), *(shares for _, shares in encoded)]
        return Sequences.join(*(sets for sets, _ in encoded)), np.concatenate(shares)

    def _encode(self, ids: Sequences) -> tuple[Sequences, Float[np.ndarray, " num_texts"]]:
        """Encode texts that are given as the ids of their words, 0 for unknown ones."""
        places = self._places(ids)
        sets = [places.sets(start, self.num_features) for start in places.starts()]
        return Sequences.join(*sets), unknown_shares(ids.lengths, ids.count(ids.values > 0))

    def occurrences(self, text: Text) -> list[tuple[int, int, int]]:
        """Return each known n-gram in a text: id, place of its first word (from 0), and length."""
        (ids,) = self._known.find([text], separate_tokens)
        return [
            (int(grams[place]), int(place), length)
            for length, grams in enumerate(self._places(ids).grams, start=1)
            for place in np.flatnonzero(grams)
        ]

    def _places(self, ids: Sequences) -> Places:
        places = Places(ids)
        for keys, first in zip(self.packed, self._firsts[1:], strict=False):
            candidates, wanted = places.extend(self._base)
            places.add(candidates, find_keys(keys, wanted, first))
        return places

    @cached_property
    def _known(self) -> KnownWords:
        return KnownWords(self.words)

    def ngram(self, i: int) -> str:
        """Return the words of the n-gram with id `i`, joined by spaces; '' for padding (0)."""
        if not 0 <= i < self.num_features:
            raise ValueError(f"id {i} is not in this vocabulary of {len(self):,} n-grams")
        words: list[str] = []
        while i >= self._base:
            length = bisect_right(self._firsts, i)
            i, last = divmod(int(self.packed[length - 2][i - self._firsts[length - 1]]), self._base)
            words.append(self.words[last - 1])
        if i != PAD_ID:
            words.append(self.words[i - 1])
        return " ".join(reversed(words))

    def top(
        self, weights: Float[np.ndarray, " num_features"], count: int
    ) -> list[tuple[str, float]]:
        """Name the n-grams of the largest weights, the largest first; of equal ones lowest ids."""
        largest = np.argsort(-weights[1:], kind="stable")[:count] + 1
        return [(self.ngram(i), float(weights[i])) for i in largest.tolist()]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a NumPy archive (.npz) without pickles: the words as a text, and the keys."""
        arrays: dict[str, Any] = {
            "format": np.array(_FORMAT),
            "max_n": np.array(self.max_n),
            "words": np.frombuffer("\n".join(self.words).encode(), np.uint8),
            **{f"keys_{length}": keys for length, keys in enumerate(self.packed, start=2)},
        }
        file = io.BytesIO()
        np.savez(file, **arrays)
        write_atomically(Path(path), file.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NgramVocabulary:
        """Read a file that `save` wrote; raise `UserError` if it is missing or damaged."""
        arrays = read_arrays(Path(path))
        try:
            if arrays["format"] != _FORMAT:
                raise ValueError(f"its format is {arrays['format']}, not {_FORMAT}")
            # Word by word, since a text of line feeds alone would make a very long list.
            lines = io.BytesIO(arrays["words"].tobytes())
            words = (line.removesuffix(b"\n").decode() for line in lines)
            names = [f"keys_{length}" for length in range(2, len(arrays) - 1)]
            if arrays.keys() != {"format", "max_n", "words", *names}:
                raise ValueError("its arrays are not those of an n-gram file")
            if arrays["max_n"] != len(names) + 1:
                raise ValueError("max_n is not the number of its arrays of keys, plus 1")
            return cls(words, [arrays[name].astype(np.int64, casting="equiv") for name in names])
        except (ValueError, TypeError, LookupError) as error:
            raise UserError(f"{path} is not a file of n-grams, or is damaged: {error}") from error


_FORMAT = "imdb_jax n-grams, version 1"


def _ascending(words: Iterable[str]) -> Iterator[str]:
    """Yield words, or raise `ValueError` at the first that is empty or not after the last."""
    last = ""
    for word in words:
        if word <= last:
            raise ValueError("words must be sorted and distinct, and none empty")
        yield word
        last = word


def _count_words(texts: Iterable[Text], min_df: int) -> tuple[list[str], Sequences]:
    """Return the words of at least `min_df` texts, sorted, and each text's ids, 0 for others."""
    counts = WordCounts()
    numbers = Sequences.join(*count_words(texts, separate_tokens, counts))
    rows = np.repeat(np.arange(len(numbers), dtype=np.int32), numbers.lengths)
    frequent = frequent_keys(numbers.values.astype(np.int64), rows, len(numbers), min_df)
    words = list(counts.numbers)
    by_id = sorted(frequent.tolist(), key=words.__getitem__)
    ids = np.zeros(len(words), np.int32)
    ids[by_id] = np.arange(1, len(by_id) + 1)
    return [words[number] for number in by_id], Sequences(ids[numbers.values], numbers.offsets)
