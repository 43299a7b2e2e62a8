"""Counting and looking up millions of 64-bit numbers, the keys of n-grams, in NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int32, Int64
from numpy.typing import NDArray

from imdb_jax.errors import UserError

_FREE = -1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, and without a pattern: the golden ratio's digits


class KeyTable:
    """Numbers keys from `first` on, in the order given: a hash table.

    Five times as fast as a binary search among a million keys, which waits for memory twenty times
    where this waits about once. A key lies in the slot that its hash names or, where another lies
    there, in the next free one.
    """

    def __init__(self, keys: Int64[np.ndarray, " num_keys"], first: int) -> None:
        """Takes distinct keys, not negative, of which none is numbered beyond int32."""
        self._bits = max(1, (2 * len(keys)).bit_length())
        wanted = self._slots(keys)
        order = np.argsort(wanted, kind="stable")
        place = np.arange(len(keys))
        # Each key after the one before it, and not before the slot that it wants.
        slots = np.maximum.accumulate(wanted[order] - place) + place
        # One slot beyond the last remains free, where every search ends.
        size = max(1 << self._bits, int(slots.max(initial=0)) + 1) + 1
        self._keys = np.full(size, _FREE, np.int64)
        self._numbers = np.zeros(size, np.int32)
        self._keys[slots] = keys[order]
        self._numbers[slots] = order + first

    def look_up(self, keys: Int64[np.ndarray, " total"]) -> Int32[np.ndarray, " total"]:
        """Gives the number of each key, 0 for those not in the table."""
        numbers = np.zeros(len(keys), np.int32)
        for first in range(0, len(keys), _KEYS_AT_A_TIME):
            block = slice(first, first + _KEYS_AT_A_TIME)
            self._look_up(keys[block], numbers[block])
        return numbers

    def _look_up(self, keys: NDArray[np.int64], numbers: NDArray[np.int32]) -> None:
        """Writes the numbers of the keys found; the others stay 0."""
        rows, slots = np.arange(len(keys)), self._slots(keys)
        while len(rows):
            found = self._keys[slots]
            here = found == keys[rows]
            numbers[rows[here]] = self._numbers[slots[here]]
            on = ~here & (found != _FREE)
            rows, slots = rows[on], slots[on] + 1

    def _slots(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slot that each key wants: the upper bits of a product (Knuth)."""
        mixed = keys.view(np.uint64) * _MULTIPLIER
        return (mixed >> np.uint64(64 - self._bits)).view(np.int64)


# So few that what is computed of them fits the processor's cache.
_KEYS_AT_A_TIME = 1 << 16


def frequent_keys(
    keys: Int64[np.ndarray, " total"], rows: Int32[np.ndarray, " total"], num_rows: int, min_df: int
) -> Int64[np.ndarray, " num_frequent"]:
    """The keys, sorted, that occur in at least `min_df` rows, however often in each."""
    bits = num_rows.bit_length()
    if int(keys.max(initial=0)) >> (63 - bits):
        raise UserError("these are too many n-grams and reviews to count; raise min_df")
    # One sort of (key, row) pairs packed into single numbers.
    pairs = keys << bits
    pairs |= rows
    found = distinct(pairs)
    found >>= bits
    # Each row where a key occurs is a repetition of it; its first and the min_df-th must be there.
    repeated = found[: max(0, len(found) - min_df + 1)] == found[min_df - 1 :]
    first = np.ones(len(repeated), bool)
    np.not_equal(found[1 : len(repeated)], found[: max(0, len(repeated) - 1)], out=first[1:])
    return found[: len(repeated)][repeated & first]


def distinct(values: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[Any]:
    """Sorts values in place and gives each once; much faster than `np.unique`, which hashes."""
    values.sort()
    new = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return values[new]
