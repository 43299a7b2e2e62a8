"""The order in which a CPython 2.7 dict yields its keys.

Keras' IMDb word index ranks words by how often they occur in the training reviews. All but one in a
hundred of its 88,584 words share their count with others (36,579 occur just once). The index was
made in Python 2 by a stable sort of a dict's items, so words of one count stand as the dict yielded
them. That order follows from the words and the order of their insertion, so it can be computed, and
with it the published ids.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_UINT64 = 2**64 - 1


def _string_hash(word: bytes) -> int:
    """Hash a byte string as CPython 2.7 does (64-bit, not randomized), as an unsigned number."""
    value = word[0] << 7 if word else 0
    for byte in word:
        value = (value * 1000003 & _UINT64) ^ byte
    value ^= len(word)
    return value if value != _UINT64 else _UINT64 - 1  # -1 means an error in C: -2 replaces it


def python2_dict_order(words: Sequence[bytes]) -> NDArray[np.int64]:
    """Return the positions of `words` in the order in which a CPython 2.7 dict yields them.

    `words` are distinct, in the order of their insertion into an empty dict: UTF-8 as in Python 2's
    `str`, as `unicode` keys hash differently where they are not ASCII.

    Source: CPython 2.7's Objects/stringobject.c (`string_hash`) and Objects/dictobject.c
    (`PyDict_SetItem`, `dictresize`), where a C long has 64 bits (not on Windows) and hash
    randomization is off, as it is by default.
    """
    if len(set(words)) != len(words):
        raise ValueError("words must be distinct: a dict holds each of its keys once")
    hashes = [_string_hash(word) for word in words]
    slots = [-1] * 8  # the position of the word in each slot of the hash table, -1 where free

    def insert(position: int) -> None:
        mask = len(slots) - 1
        perturbation = hashes[position]
        slot = perturbation & mask
        while slots[slot] >= 0:
            slot = (5 * slot + perturbation + 1) & mask
            perturbation >>= 5
        slots[slot] = position

    for position in range(len(words)):
        insert(position)
        used = position + 1
        if used * 3 >= len(slots) * 2:
            # No size may be skipped: the order within one table is the order of insertion into
            # the next, which decides who keeps a slot where two words collide.
            previous = slots
            least = used * (2 if used > 50000 else 4)
            slots = [-1] * (1 << least.bit_length())  # the first power of two above `least`
            for occupant in previous:
                if occupant >= 0:
                    insert(occupant)
    return np.array([position for position in slots if position >= 0], dtype=np.int64)
