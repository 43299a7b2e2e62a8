"""Text to word ids and back: pure functions of NumPy arrays, with the semantics of Keras.

The rules are those by which the word ids of `keras.datasets.imdb` were made, so that a model
trained here sees the same numbers as one trained there:

1. lower-case the ASCII letters, turn ASCII punctuation (but not the apostrophe), tab and newline
   into spaces, split on the space character alone;
2. rank the words by how often they occur in the training reviews, most frequent first;
3. id = rank + 3; below that, 0 is padding, 1 the start of a review, 2 an unknown word.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args, overload

import numpy as np
from jaxtyping import Int, Num, UInt8
from numpy.typing import DTypeLike, NDArray

from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically
from imdb_jax.python2_dict import python2_dict_order
from imdb_jax.word_counts import KnownWords, WordCounts, blocks_of
from imdb_jax.word_table import WordTable

Text = str | bytes
Side = Literal["pre", "post"]
Ties = Literal["alphabetical", "keras"]

PAD_ID, START_ID, UNKNOWN_ID, INDEX_FROM = 0, 1, 2, 3

_SEPARATORS = (string.punctuation.replace("'", "") + "\t\n").encode()
_NORMALIZE = bytes.maketrans(
    string.ascii_uppercase.encode() + _SEPARATORS,
    string.ascii_lowercase.encode() + b" " * len(_SEPARATORS),
)


def tokenize(text: Text) -> list[str]:
    """Splits a text into words as Keras' IMDb ids were made.

    Works on UTF-8 bytes: only ASCII letters are lower-cased, only ASCII punctuation, tab, newline
    and space separate words. `<br />` therefore leaves the word `br`.

    Args:
      text: any text; bytes are read as UTF-8. What is not valid UTF-8 becomes U+FFFD.

    Returns:
      The words in order; empty for a text without any.
    """
    return [word for word in _normalize(text).decode().split(" ") if word]


def _normalize(text: Text) -> bytes:
    """The words of a text in valid UTF-8, with spaces (any number of them) between them."""
    return utf8(text).translate(_NORMALIZE)


def utf8(text: Text) -> bytes:
    """A text in valid UTF-8; what is not becomes U+FFFD. Raises TypeError for other types."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if not isinstance(data, bytes):
        raise TypeError(f"a text must be str or bytes, not {type(text).__name__}")
    return data if data.isascii() else data.decode("utf-8", "replace").encode()


@dataclass(frozen=True, eq=False)
class Sequences:
    """Integer sequences of different lengths, stored end to end.

    Behaves as a sequence of 1-D arrays, at the cost of two arrays instead of one per review.

    Attributes:
      values: all sequences one after the other, `[total]`, any integer dtype.
      offsets: sequence i is `values[offsets[i]:offsets[i + 1]]`; int64 `[num_sequences + 1]`.
    """

    values: Int[np.ndarray, " total"]
    offsets: Int[np.ndarray, " num_sequences_plus_1"]

    @classmethod
    def from_lengths(cls, values: NDArray[Any], lengths: NDArray[Any]) -> Sequences:
        """Makes sequences of the given lengths (`[num_sequences]`) out of joined values."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    @property
    def lengths(self) -> Int[np.ndarray, " num_sequences"]:
        """Length of each sequence, int64."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any]) -> Sequences: ...
    def __getitem__(self, index: int | slice | NDArray[Any]) -> NDArray[Any] | Sequences:
        """One sequence as an array, or several as `Sequences`, neighbours as a view."""
        if isinstance(index, slice) and index.step in (None, 1):
            first, end, _ = index.indices(len(self))
            offsets = self.offsets[first : max(first, end) + 1]
            return Sequences(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])
        if isinstance(index, slice) or (isinstance(index, np.ndarray) and index.ndim):
            rows = self._rows(index)
            lengths = self.offsets[rows + 1] - self.offsets[rows]
            # The position of every value: its row's start, plus its place within the row.
            shift = np.repeat(self.offsets[rows] - (np.cumsum(lengths) - lengths), lengths)
            return Sequences.from_lengths(self.values[shift + np.arange(lengths.sum())], lengths)
        row = range(len(self))[index]
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def _rows(self, index: slice | NDArray[Any]) -> NDArray[np.int64]:
        if isinstance(index, slice) or index.dtype == bool:
            return np.arange(len(self))[index]
        # Without making an array of all rows, of which there may be a billion.
        rows = np.where(index < 0, index + len(self), index)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"there are {len(self)} sequences, and no others")
        return rows

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[row] for row in range(len(self)))

    @classmethod
    def join(cls, *parts: Sequences) -> Sequences:
        """Puts the sequences of several parts one after the other."""
        return cls.from_lengths(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.lengths for part in parts]),
        )

    def select(self, keep: NDArray[np.bool_]) -> Sequences:
        """Keeps the values where `keep` (`[total]`) holds; no sequence is removed."""
        kept_before = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
        return Sequences(self.values[keep], kept_before[self.offsets])


class Vocabulary:
    """Words by rank, the most frequent first; encodes texts to ids and decodes ids to text.

    Attributes:
      words: the words, `words[0]` being the most frequent.
      ties: the order of words that occur equally often. 'alphabetical' (by code point) makes the
        ranks a function of the counts alone; 'keras' makes them those of `keras.datasets.imdb`,
        provided that the texts were read in Keras' order.
    """

    FILE: ClassVar[str] = "vocabulary.txt"  # what it is saved as

    def __init__(self, words: Iterable[str], ties: Ties = "alphabetical") -> None:
        """Takes distinct words in order of rank. Raises ValueError on a repeated word."""
        if ties not in get_args(Ties):
            raise ValueError(f"ties must be 'alphabetical' or 'keras', not {ties!r}")
        self.words = tuple(words)
        self.ties = ties
        self._rank = {word: rank for rank, word in enumerate(self.words, start=1)}
        if len(self._rank) != len(self.words):
            raise ValueError("a vocabulary cannot hold the same word twice")

    @classmethod
    def build(cls, texts: Iterable[Text], ties: Ties = "alphabetical") -> Vocabulary:
        """Counts the words of `texts` (of the training reviews, that is) and ranks them."""
        return cls.build_and_rank(texts, ties)[0]

    @classmethod
    def build_and_rank(
        cls,
        texts: Iterable[Text],
        ties: Ties = "alphabetical",
        count_all: Callable[[WordCounts], WordCounts] | None = None,
    ) -> tuple[Vocabulary, Sequences]:
        """Builds the vocabulary of `texts` and gives their `rank`s, reading each text once.

        Args:
          texts: those of the training reviews.
          ties: see `Vocabulary`.
          count_all: see `from_counts`.

        Returns:
          The vocabulary, and the ranks of each text's words (int32, from 1).
        """
        counts, known = WordCounts(), KnownWords()
        numbers, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
        for block in blocks_of(normalized(texts)):
            numbered = known.number(block)
            numbers.append(counts.add(numbered))
            lengths.append(numbered.lengths)
            known.keep_up_with(counts)
        vocabulary, rank_of_number = cls.from_counts(counts, ties, count_all)
        ranks = rank_of_number[np.concatenate(numbers)]
        return vocabulary, Sequences.from_lengths(ranks, np.concatenate(lengths))

    @classmethod
    def from_counts(
        cls,
        counts: WordCounts,
        ties: Ties = "alphabetical",
        count_all: Callable[[WordCounts], WordCounts] | None = None,
    ) -> tuple[Vocabulary, Int[np.ndarray, " num_words"]]:
        """Ranks counted words.

        Args:
          counts: of texts; if others hold more texts, it learns their words.
          ties: see `Vocabulary`.
          count_all: given these, gives the counts of all texts, if others hold more.

        Returns:
          The vocabulary; and the rank (int32, from 1) of each word, by its number in `counts`.
        """
        if count_all:
            whole = count_all(counts)
            vocabulary, rank_of_number = cls.from_counts(whole, ties)
            here = counts.merge(whole)  # words keep their numbers; how often they occur is settled
            ranks = np.empty_like(rank_of_number)
            ranks[here] = rank_of_number
            return vocabulary, ranks
        words = counts.words
        if ties == "keras":
            tied = python2_dict_order(words)
        else:  # UTF-8 sorts as the characters do
            tied = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
        by_rank = tied[np.argsort(-counts.counts[tied], kind="stable")]
        rank_of_number = np.empty(len(words), np.int32)
        rank_of_number[by_rank] = np.arange(1, len(words) + 1)
        return cls((words[i].decode() for i in by_rank.tolist()), ties), rank_of_number

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._rank

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.words, self.ties) == (
            other.words,
            other.ties,
        )

    def __hash__(self) -> int:
        return hash(self.words)

    def rank(self, texts: Iterable[Text]) -> Sequences:
        """Ranks (int32, from 1) of each text's words; words never seen in training are dropped."""
        ranks = self.rank_or_zero(texts)
        return ranks.select(ranks.values > 0)

    def rank_or_zero(self, texts: Iterable[Text]) -> Sequences:
        """Ranks (int32, from 1) of each text's words, with 0 for words never seen in training."""
        ranks, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
        for block in blocks_of(normalized(texts)):
            block_ranks, block_lengths, _ = self._table.look_up(block)
            ranks.append(block_ranks)
            lengths.append(block_lengths)
        return Sequences.from_lengths(np.concatenate(ranks), np.concatenate(lengths))

    @cached_property
    def _table(self) -> WordTable:
        return WordTable(self.words)

    @overload
    def encode(self, texts: Text, **options: Any) -> Int[np.ndarray, " length"]: ...
    @overload
    def encode(self, texts: Iterable[Text], **options: Any) -> Sequences: ...
    def encode(
        self, texts: Text | Iterable[Text], **options: Any
    ) -> Int[np.ndarray, " length"] | Sequences:
        """Encodes one text, or many, as Keras encodes the IMDb reviews.

        Args:
          texts: a text, or an iterable of texts.
          **options: those of `ranks_to_ids`: num_words, skip_top, start_char, oov_char, index_from.

        Returns:
          Ids of one text, int32 `[length]`; or `Sequences` of them.
        """
        if isinstance(texts, str | bytes):
            return self.encode([texts], **options)[0]
        return ranks_to_ids(self.rank(texts), **options)

    def decode(self, ids: Iterable[int], index_from: int = INDEX_FROM) -> str:
        """Gives the words behind ids, joined by spaces.

        Padding (0) and start (1) leave nothing, an unknown word (2) leaves `<UNK>`.

        Raises:
          ValueError: an id beyond the vocabulary.
        """
        words = []
        for i in map(int, ids):
            if i > index_from + len(self) or i < 0:
                raise ValueError(f"id {i} is not in this vocabulary of {len(self)} words")
            if i > index_from:
                words.append(self.words[i - index_from - 1])
            elif i not in (PAD_ID, START_ID):
                words.append("<UNK>")
        return " ".join(words)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a plain UTF-8 text file: a line that describes it, then one word a line."""
        header = _HEADER.format(len(self), self.ties)
        write_atomically(Path(path), "\n".join([header, *self.words, ""]).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Reads a file that `save` wrote. Raises `UserError` if it is missing or damaged."""
        try:
            header, *words = Path(path).read_bytes().decode().split("\n")
            found = re.fullmatch(_HEADER.format(r"(\d+)", "(alphabetical|keras)"), header)
            if found is None or words.pop() != "" or len(words) != int(found[1]):
                raise ValueError("its first line and its number of words do not agree")
            return cls(words, cast(Ties, found[2]))
        except OSError as error:
            raise UserError(f"cannot read the vocabulary {path}: {error.strerror}") from error
        except (ValueError, IndexError) as error:
            raise UserError(f"{path} is not a vocabulary file, or is damaged: {error}") from error


# No word can begin with '#', which is punctuation.
_HEADER = "# imdb_jax vocabulary, version 1: {} words, the most frequent first, ties {}"


def normalized(texts: Iterable[Text]) -> Iterator[bytes]:
    """Texts in which nothing but spaces separates words, in UTF-8, one at a time.

    Raises:
      TypeError: a single text, or among the texts something that is none.
    """
    if isinstance(texts, str | bytes):
        raise TypeError("expected several texts, such as a list of them, not a single one")
    return map(_normalize, texts)


def ranks_to_ids(
    ranks: Sequences,
    num_words: int | None = None,
    skip_top: int = 0,
    start_char: int | None = START_ID,
    oov_char: int | None = UNKNOWN_ID,
    index_from: int = INDEX_FROM,
) -> Sequences:
    """Turns word ranks (from 1) into ids by the rules of `keras.datasets.imdb.load_data`.

    Args:
      ranks: ranks of each review's words.
      num_words: ids from here on become `oov_char`; None keeps all.
      skip_top: so do ids below this.
      start_char: put before each review; None puts nothing.
      oov_char: stands for words cut by the two limits; None leaves such words out.
      index_from: added to each rank.

    Returns:
      The ids, int32. As in Keras, `start_char` counts as an id that the limits may cut.
    """
    ids, offsets = ranks.values.astype(np.int32) + np.int32(index_from), ranks.offsets
    if start_char is not None:
        ids = np.insert(ids, offsets[:-1], start_char)
        offsets = offsets + np.arange(len(offsets))
    return limit_ids(Sequences(ids, offsets), num_words, skip_top, oov_char)


def limit_ids(
    sequences: Sequences, num_words: int | None, skip_top: int, oov_char: int | None
) -> Sequences:
    """Replaces ids outside `skip_top..num_words - 1` by `oov_char`, or leaves them out if None."""
    ids = sequences.values
    inside = ids >= skip_top
    if num_words is not None:
        inside &= ids < num_words
    if oov_char is None:
        return sequences.select(inside)
    return Sequences(np.where(inside, ids, np.int32(oov_char)), sequences.offsets)


def pad_sequences(
    sequences: Sequences | Sequence[Any] | NDArray[Any],
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: Side = "pre",
    truncating: Side = "pre",
    value: Any = 0,
) -> Num[np.ndarray, "num_sequences maxlen ..."]:
    """Makes one array of sequences of different lengths, like `keras.utils.pad_sequences`.

    Args:
      sequences: `Sequences`, or a list or array of lists or arrays. Steps may have a shape.
      maxlen: length of the result; the longest sequence's if None.
      dtype: of the result.
      padding: side on which short sequences are filled.
      truncating: side on which long sequences lose what is too much.
      value: what fills them.

    Returns:
      `[num_sequences, maxlen, *step_shape]` of `dtype`.

    Raises:
      ValueError: `padding` or `truncating` is neither 'pre' nor 'post', or steps differ in shape.
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in ("pre", "post"):
            raise ValueError(f"{name} must be 'pre' or 'post', not {side!r}")
    if isinstance(sequences, Sequences):
        return _pad_joined(sequences, maxlen, dtype, padding, truncating, value)
    try:
        number, longest = len(sequences), max(map(len, sequences), default=0)
        first = next((sequence for sequence in sequences if len(sequence)), ())
    except TypeError as error:
        raise ValueError("sequences must be a list of lists or arrays") from error
    length = longest if maxlen is None else maxlen
    step_shape = np.shape(first)[1:]
    padded = np.full((number, length, *step_shape), value, dtype)
    for row, sequence in zip(padded, sequences, strict=True):
        # Counting from the end would go wrong where nothing is cut or kept: -0 is the start.
        cut = max(0, len(sequence) - length)
        kept = np.asarray(sequence[cut:] if truncating == "pre" else sequence[:length], dtype)
        if not len(kept):
            continue
        if kept.shape[1:] != step_shape:
            raise ValueError(f"a step of shape {kept.shape[1:]} among steps of shape {step_shape}")
        if padding == "pre":
            row[length - len(kept) :] = kept
        else:
            row[: len(kept)] = kept
    return padded


def _pad_joined(
    sequences: Sequences,
    maxlen: int | None,
    dtype: DTypeLike,
    padding: Side,
    truncating: Side,
    value: Any,
) -> NDArray[Any]:
    """What `pad_sequences` does, for many sequences at a time."""
    length = int(sequences.lengths.max(initial=0)) if maxlen is None else maxlen
    padded = np.full((len(sequences), length), value, dtype)
    for first in range(0, len(sequences), _ROWS_AT_A_TIME):
        rows = padded[first : first + _ROWS_AT_A_TIME]
        start, end = sequences.offsets[[first, first + len(rows)]]
        offsets = sequences.offsets[first : first + len(rows) + 1] - start
        lengths = np.diff(offsets)
        # How many values stand before, or after, each one in its sequence.
        if truncating == "pre":
            others = np.repeat(offsets[1:], lengths) - np.arange(1, end - start + 1)
        else:
            others = np.arange(end - start) - np.repeat(offsets[:-1], lengths)
        kept = np.minimum(lengths, length)[:, None]
        column = np.arange(length)
        filled = column < kept if padding == "post" else column >= length - kept
        rows[filled] = sequences.values[start:end][others < length]
    return padded


# Enough for NumPy to be fast, few enough for the intermediate arrays to be small.
_ROWS_AT_A_TIME = 1024


def multi_hot(
    sequences: Sequences | Sequence[Any], num_words: int, dtype: DTypeLike = np.uint8
) -> UInt8[np.ndarray, "num_sequences num_words"]:
    """Marks with a one which ids each sequence holds, however often; Donges' `vectorize`.

    Meant for a batch at a time: 50,000 reviews would make 50,000 x 10,000 numbers.

    Returns:
      `[num_sequences, num_words]` of zeros and ones.

    Raises:
      ValueError: an id that is negative or not below `num_words`.
    """
    if not isinstance(sequences, Sequences):
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        joined = np.concatenate([np.zeros(0, np.int64), *map(np.asarray, sequences)])
        sequences = Sequences.from_lengths(joined.astype(np.int64), lengths)
    ids = sequences.values
    if len(ids) and (ids.min() < 0 or ids.max() >= num_words):
        raise ValueError(f"ids must lie in 0..{num_words - 1}, found {ids.min()}..{ids.max()}")
    hot = np.zeros((len(sequences), num_words), dtype)
    hot[np.repeat(np.arange(len(sequences)), sequences.lengths), ids] = 1
    return hot
