"""The words of the training reviews by rank: texts to ids and back, with the semantics of Keras.

The rules are those by which the word ids of `keras.datasets.imdb` were made, so that a model
trained here sees the same numbers as one trained there:

1. split texts into words as `tokens.tokenize` does;
2. rank the words by how often they occur in the training reviews, most frequent first;
3. id = rank + 3; below that, 0 is padding, 1 the start of a review, 2 an unknown word.
"""

from __future__ import annotations

import io
import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np
from jaxtyping import Int32

from imdb_jax.errors import UserError, check_choice, shown
from imdb_jax.files import read_file, write_atomically
from imdb_jax.text.python2_dict import python2_dict_order
from imdb_jax.text.sequences import INDEX_FROM, PAD_ID, START_ID, Sequences, ranks_to_ids
from imdb_jax.text.tokens import Text, separate_words, tokenize
from imdb_jax.text.words import KnownWords, WordCounts, count_words

Ties = Literal["alphabetical", "keras"]


class Vocabulary(Mapping[str, int]):
    """Words by rank, the most frequent first; encodes texts to ids and decodes ids to text.

    It is a mapping: `vocabulary[word]` is the word's id, as `encode` gives it, which is the rank
    plus 3. Ids do not depend on `num_words`, of which only models know.

    Attributes:
      words: the words, `words[0]` being the most frequent.
      ties: the order of words that occur equally often. 'alphabetical' (by code point) makes the
        ranks a function of the counts alone; 'keras' makes them those of `keras.datasets.imdb`,
        provided that the texts were read in Keras' order.
    """

    FILE: ClassVar[str] = "vocabulary.txt"  # its name in a run directory

    def __init__(self, words: Iterable[str], ties: Ties = "alphabetical") -> None:
        """Take distinct words in order of rank, such as `tokenize` returns.

        Raises:
          UserError: a word twice, or something that `tokenize` does not return as one word.
        """
        check_choice("ties", ties, get_args(Ties))
        self.words = tuple(words)
        _check_words(self.words)
        self.ties = ties
        self._known = KnownWords(self.words)
        self._rank = self._known.numbers
        if len(self._rank) != len(self.words):
            ranked = enumerate(self.words, start=1)
            twice = next(word for rank, word in ranked if self._rank[word] != rank)
            raise UserError(f"words must be distinct, but {shown(twice)} occurs twice")

    @classmethod
    def build(cls, texts: Iterable[Text], ties: Ties = "alphabetical") -> Vocabulary:
        """Count the words of `texts`, the training reviews, and rank them."""
        return cls.build_and_rank(texts, ties)[0]

    @classmethod
    def build_and_rank(
        cls,
        texts: Iterable[Text],
        ties: Ties = "alphabetical",
        count_all: Callable[[WordCounts], WordCounts] = lambda counts: counts,
    ) -> tuple[Vocabulary, Sequences]:
        """Build the vocabulary of `texts` and `rank` them, reading each text once.

        `count_all` adds the counts of texts that other processes have to those of `texts`.
        """
        counts = WordCounts()
        numbers = Sequences.join(*count_words(texts, separate_words, counts))
        vocabulary = cls.from_counts(count_all(counts), ties)
        return vocabulary, Sequences(vocabulary.ranks_of(counts)[numbers.values], numbers.offsets)

    @classmethod
    def from_counts(cls, counts: WordCounts, ties: Ties = "alphabetical") -> Vocabulary:
        """Rank counted words."""
        words = list(counts.numbers)
        if ties == "keras":
            tied = python2_dict_order([word.encode() for word in words])
        else:
            tied = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
        by_rank = tied[np.argsort(-counts.counts[tied], kind="stable")]
        return cls((words[i] for i in by_rank.tolist()), ties)

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __getitem__(self, word: str) -> int:
        return self._rank[word] + INDEX_FROM

    def __repr__(self) -> str:
        shown = [*self.words[:3], *["..."] * (len(self) > 3)]
        return f"<Vocabulary of {len(self):,} words: {', '.join(shown)}>"

    def __eq__(self, other: object) -> bool:
        mine = self.words, self.ties
        return isinstance(other, Vocabulary) and mine == (other.words, other.ties)

    def __hash__(self) -> int:
        return hash(self.words)

    def ranks_of(self, counts: WordCounts) -> Int32[np.ndarray, " num_words"]:
        """Return the rank of each counted word, by its number; all must be in the vocabulary."""
        return np.fromiter(map(self._rank.__getitem__, counts.numbers), np.int32, len(counts))

    def rank(self, texts: Iterable[Text]) -> Sequences:
        """Rank each text's words (int32, from 1); words never seen in training are dropped."""
        return Sequences.join(*self.rank_blocks(texts))

    def rank_blocks(self, texts: Iterable[Text]) -> Iterator[Sequences]:
        """Yield what `rank` returns, some texts at a time."""
        return self._known.find(texts, separate_words, others=False)

    def rank_or_zero(self, texts: Iterable[Text]) -> Sequences:
        """Rank each text's words (int32, from 1), with 0 for words never seen in training."""
        return Sequences.join(*self._known.find(texts, separate_words))

    def encode(self, texts: Text | Iterable[Text], **options: Any) -> Any:
        """Encode one text, or many, as Keras encodes the IMDb reviews.

        Args:
          texts: a text, or an iterable of texts.
          **options: those of `load_data`: num_words, skip_top, start_char, oov_char, index_from.

        Returns:
          Ids of one text, int32 `[length]`; or `Sequences` of them.
        """
        if isinstance(texts, str | bytes):
            return self.encode([texts], **options)[0]
        return ranks_to_ids(self.rank(texts), **options)

    def decode(self, ids: Iterable[int], index_from: int = INDEX_FROM) -> str:
        """Return the words of ids, joined by spaces.

        Padding (0) and start (1) are left out; an unknown word (2) becomes `<UNK>`.

        Raises:
          ValueError: an id beyond the vocabulary.
          TypeError: an id that is not an integer.
        """
        words = []
        for i in map(_index, ids):
            if i > index_from + len(self) or i < 0:
                raise ValueError(f"id {i} is not in this vocabulary of {len(self)} words")
            if i > index_from:
                words.append(self.words[i - index_from - 1])
            elif i not in (PAD_ID, START_ID):
                words.append("<UNK>")
        return " ".join(words)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a plain UTF-8 text file: a line that describes it, then one word a line."""
        header = _HEADER.format(len(self), self.ties)
        write_atomically(Path(path), "\n".join([header, *self.words, ""]).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Read a file that `save` wrote; raise `UserError` if it is missing or damaged."""
        data = read_file(Path(path), _MAX_BYTES)
        lines = io.BytesIO(data)
        header = lines.readline(_MAX_HEADER).removesuffix(b"\n")
        try:
            found = re.fullmatch(_HEADER.format(r"(\d+)", "(alphabetical|keras)"), header.decode())
            if found is None or data[-1:] != b"\n" or data.count(b"\n") != int(found[1]) + 1:
                raise ValueError("its first line does not give its number of words")
            words: dict[str, None] = {}
            # Word by word, since the same word again and again would make a very long list.
            for line in lines:
                word = line.decode().removesuffix("\n")
                if word in words:
                    raise ValueError(f"it holds the word {word!r} twice")
                words[word] = None
            return cls(words, cast(Ties, found[2]))
        except ValueError as error:
            raise UserError(f"{path} is not a vocabulary file, or is damaged: {error}") from error


def _check_words(words: tuple[str, ...]) -> None:
    """Raise `UserError` unless all are what `tokenize` returns."""
    for first in range(0, len(words), _WORDS_AT_A_TIME):
        block = words[first : first + _WORDS_AT_A_TIME]
        strings = all(isinstance(word, str) for word in block)
        if not strings or tuple(tokenize(" ".join(block))) != block:
            wrong = next(w for w in block if not isinstance(w, str) or tokenize(w) != [w])
            raise UserError(
                "words must be strings as tokenize returns them, lower-case and without spaces or "
                f"punctuation, not {shown(wrong)}"
            )


_WORDS_AT_A_TIME = 4096  # checked together, which is faster than one by one


def _index(i: Any) -> int:
    try:
        return operator.index(i)
    except TypeError:
        raise TypeError(f"ids must be integers, not {shown(i)}") from None


_MAX_BYTES, _MAX_HEADER = 1 << 26, 1 << 8  # of a file, which has some 10 bytes a word
# No word can begin with '#', which is punctuation.
_HEADER = "# imdb_jax vocabulary, version 1: {} words, the most frequent first, ties {}"
