"""Integer sequences of different lengths: as word ids, cut, padded, or as sets, by Keras' rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Num, UInt8
from numpy.typing import DTypeLike, NDArray

from imdb_jax.errors import check_choice, check_integer

Side = Literal["pre", "post"]

PAD_ID, START_ID, UNKNOWN_ID, INDEX_FROM = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of different lengths, stored end to end: two arrays instead of one per review.

    Sequence i is `values[offsets[i]:offsets[i + 1]]`, of any integer dtype; offsets are int64.
    """

    values: Int[np.ndarray, " total"]
    offsets: Int[np.ndarray, " num_sequences_plus_1"]

    @classmethod
    def from_lengths(cls, values: NDArray[Any], lengths: NDArray[Any]) -> Sequences:
        """Cut joined values into sequences of these lengths (`[num_sequences]`)."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    @property
    def lengths(self) -> Int[np.ndarray, " num_sequences"]:
        """Length of each sequence, int64."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int | slice | NDArray[Any]) -> Any:
        """Return one sequence as an array, or several as `Sequences`, neighbors as a view."""
        if isinstance(index, slice) and index.step in (None, 1):
            first, end, _ = index.indices(len(self))
            offsets = self.offsets[first : max(first, end) + 1]
            return Sequences(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])
        if isinstance(index, slice) or (isinstance(index, np.ndarray) and index.ndim):
            rows = self._rows(index)
            starts, ends = self.offsets[rows], self.offsets[rows + 1]
            values = np.asarray(self.values)  # views of a memory map take ten times as long
            spans = zip(starts.tolist(), ends.tolist(), strict=True)
            chosen = [values[:0], *(values[start:end] for start, end in spans)]
            return Sequences.from_lengths(np.concatenate(chosen), ends - starts)
        row = range(len(self))[index]
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def _rows(self, index: slice | NDArray[Any]) -> NDArray[np.int64]:
        if isinstance(index, slice) or index.dtype == bool:
            return np.arange(len(self))[index]
        # An array of all rows, of which there may be a billion, is not needed here.
        rows = np.where(index < 0, index + len(self), index)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"there are {len(self)} sequences, and no others")
        return rows

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[row] for row in range(len(self)))

    @classmethod
    def join(cls, *parts: Sequences) -> Sequences:
        """Put the sequences of several parts one after the other; no parts make none, of int32."""
        if len(parts) == 1:
            return parts[0]
        values = [part.values for part in parts] or [np.zeros(0, np.int32)]
        lengths = [np.zeros(0, np.int64), *(part.lengths for part in parts)]
        return cls.from_lengths(np.concatenate(values), np.concatenate(lengths))

    def select(self, keep: NDArray[np.bool_]) -> Sequences:
        """Keep the values where `keep` (`[total]`) holds; no sequence is removed."""
        return Sequences.from_lengths(self.values[keep], self.count(keep))

    def count(self, which: NDArray[np.bool_]) -> Int[np.ndarray, " num_sequences"]:
        """Count the values of each sequence where `which` (`[total]`) holds."""
        # For an empty sequence reduceat returns the value that follows: False after the last.
        counts = np.add.reduceat(np.append(which, False), self.offsets[:-1], dtype=np.int64)
        return np.where(self.lengths > 0, counts, 0)


def ranks_to_ids(
    ranks: Sequences,
    num_words: int | None = None,
    skip_top: int = 0,
    start_char: int | None = START_ID,
    oov_char: int | None = UNKNOWN_ID,
    index_from: int = INDEX_FROM,
) -> Sequences:
    """Turn word ranks (from 1) into int32 ids by the rules of `keras.datasets.imdb.load_data`.

    The options are those of `load_data`, but `num_words` None keeps all ids. As in Keras, the
    limits may cut `start_char` too. Raises `UserError` for an option that is not an integer, or
    negative.
    """
    check_id_options(num_words, skip_top, start_char, oov_char, index_from)
    ids, offsets = ranks.values.astype(np.int32) + np.int32(index_from), ranks.offsets
    if start_char is not None:
        ids = np.insert(ids, offsets[:-1], start_char)
        offsets = offsets + np.arange(len(offsets))
    return limit_ids(Sequences(ids, offsets), num_words, skip_top, oov_char)


def check_id_options(
    num_words: int | None,
    skip_top: int,
    start_char: int | None,
    oov_char: int | None,
    index_from: int,
) -> None:
    """Raise `UserError` unless these options of `ranks_to_ids` are integers from 0, or None."""
    required = {"skip_top": skip_top, "index_from": index_from}
    optional = {"num_words": num_words, "start_char": start_char, "oov_char": oov_char}
    given = {name: value for name, value in optional.items() if value is not None}
    for name, value in (required | given).items():
        check_integer(name, value)


def limit_ids(
    sequences: Sequences, num_words: int | None, skip_top: int, oov_char: int | None
) -> Sequences:
    """Replace ids outside `skip_top..num_words - 1` by `oov_char`, or leave them out if None."""
    ids = sequences.values
    inside = ids >= skip_top
    if num_words is not None:
        inside &= ids < num_words
    if oov_char is None:
        return sequences.select(inside)
    return Sequences(np.where(inside, ids, np.int32(oov_char)), sequences.offsets)


def cut(sequences: Sequences, length: int, side: Side) -> Sequences:
    """Keep the first (side 'post') or last ('pre') `length` ids of each sequence; 0 keeps all."""
    if length == 0:
        return sequences
    return sequences.select(_distance(sequences, side) < length)


def _distance(sequences: Sequences, side: Side) -> NDArray[np.int64]:
    """Count the values that stand after ('pre') or before ('post') each one in its sequence."""
    places = np.arange(len(sequences.values))
    if side == "pre":
        return np.repeat(sequences.offsets[1:] - 1, sequences.lengths) - places
    return places - np.repeat(sequences.offsets[:-1], sequences.lengths)


def distinct_ids(sequences: Sequences, num_ids: int) -> Sequences:
    """Keep each id of a sequence once, in ascending order, int32; all are below `num_ids`."""
    # One sort of (row, id) pairs, packed into the smallest dtype, for all sequences at once: ten
    # times as fast as np.unique.
    dtype = np.min_scalar_type(len(sequences) * num_ids)
    rows = np.arange(len(sequences), dtype=dtype)
    pairs = np.repeat(rows * dtype.type(num_ids), sequences.lengths)
    pairs += sequences.values.astype(dtype)
    rows, ids = np.divmod(distinct(pairs), dtype.type(num_ids))
    lengths = np.bincount(rows.astype(np.int64), minlength=len(sequences))
    return Sequences.from_lengths(ids.astype(np.int32), lengths)


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Sort values in place and return each once."""
    values.sort()
    new = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return values[new]


def pad_sequences(
    sequences: Sequences | Sequence[Any] | NDArray[Any],
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: Side = "pre",
    truncating: Side = "pre",
    value: Any = 0,
) -> Num[np.ndarray, "num_sequences maxlen ..."]:
    """Make one array of sequences of different lengths, like `keras.utils.pad_sequences`.

    Args:
      sequences: `Sequences`, or a list or array of lists or arrays. Steps may have a shape.
      maxlen: length of the result; the longest sequence's if None.
      dtype: of the result.
      padding: side on which short sequences are filled.
      truncating: side on which long sequences are cut.
      value: fills short sequences.

    Returns:
      `[num_sequences, maxlen, *step_shape]` of `dtype`.

    Raises:
      ValueError: `padding` or `truncating` is neither 'pre' nor 'post', `maxlen` is negative or not
        an integer, steps differ in shape, or a number does not fit `dtype`.
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        check_choice(name, side, ("pre", "post"))
    if maxlen is not None:
        check_integer("maxlen", maxlen)
    if not isinstance(sequences, Sequences):
        sequences = _join_lists(sequences, dtype)
    length = int(sequences.lengths.max(initial=0)) if maxlen is None else maxlen
    shape = (len(sequences), length, *sequences.values.shape[1:])
    padded = np.full(shape, value, dtype)
    kept = np.minimum(sequences.lengths, length)
    firsts = sequences.offsets[1:] - kept if truncating == "pre" else sequences.offsets[:-1]
    values = np.asarray(sequences.values)  # views of a memory map take ten times as long
    for row, first, number in zip(padded, firsts.tolist(), kept.tolist(), strict=True):
        place = slice(length - number, length) if padding == "pre" else slice(number)
        row[place] = values[first : first + number]
    return padded


def _join_lists(lists: Sequence[Any] | NDArray[Any], dtype: DTypeLike) -> Sequences:
    """Join lists or arrays of steps, which may have a shape."""
    try:
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    except TypeError as error:
        raise ValueError("sequences must be a list of lists or arrays") from error
    try:
        arrays = [np.asarray(steps, dtype) for steps in lists if len(steps)]
    except OverflowError as error:
        raise ValueError(f"sequences holds a number that does not fit {dtype}: {error}") from error
    arrays = arrays or [np.zeros(0, dtype)]
    for steps in arrays:
        if steps.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"steps must have one shape, not both {arrays[0].shape[1:]} and {steps.shape[1:]}"
            )
    return Sequences.from_lengths(np.concatenate(arrays), lengths)


def unknown_shares(
    lengths: Int[np.ndarray, " num_texts"], known: Int[np.ndarray, " num_texts"]
) -> Float[np.ndarray, " num_texts"]:
    """Return the share of each text's words that are unknown; 1 for a text without words."""
    return np.where(lengths > 0, (lengths - known) / np.maximum(lengths, 1), 1.0)


def multi_hot(
    sequences: Sequences | Sequence[Any], num_words: int, dtype: DTypeLike = np.uint8
) -> UInt8[np.ndarray, "num_sequences num_words"]:
    """Mark with a one which ids each sequence holds, however often; Donges' `vectorize`.

    Meant for a batch at a time: 50,000 reviews would make 50,000 x 10,000 numbers.

    Returns:
      `[num_sequences, num_words]` of zeros and ones.

    Raises:
      ValueError: `num_words` is not a positive integer, or an id is negative or not below it.
    """
    check_integer("num_words", num_words, 1)
    if not isinstance(sequences, Sequences):
        sequences = _join_lists(sequences, np.int64)
    ids = sequences.values
    if len(ids) and (ids.min() < 0 or ids.max() >= num_words):
        raise ValueError(f"ids must lie in 0..{num_words - 1}, found {ids.min()}..{ids.max()}")
    hot = np.zeros((len(sequences), num_words), dtype)
    hot[np.repeat(np.arange(len(sequences)), sequences.lengths), ids] = 1
    return hot
