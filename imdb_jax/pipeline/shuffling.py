"""The order of an epoch's examples: a permutation that only (seed, epoch) determine.

Up to some millions of examples it is an array. Beyond, the examples of a batch are computed when
the batch is made, and the whole order is never in memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int64, UInt64

# An array of this many takes 134 MB, and less time than computing it batch by batch.
LARGEST_TABLE = 1 << 24
# Four rounds make neighbors look random; four more cost a hundredth of a training step.
_NUM_ROUNDS = 8
# Odd numbers without a pattern: the golden ratio's digits, and a prime number of xxHash.
_MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)


@dataclass(frozen=True, eq=False)
class Permutation:
    """A permutation of the numbers below `size`, any part of which can be computed alone.

    A Feistel network (Luby and Rackoff, 1988) permutes the numbers of as many bits as `size` needs:
    each round changes one half of the bits by a hash of the other half and the round's key. A
    number that is not below `size` is permuted again until it is ("cycle walking", Black and
    Rogaway, 2002), which takes less than two passes through the network on average.
    """

    size: int
    keys: UInt64[np.ndarray, " num_rounds"]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, places: Int[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Return the numbers at these places, which must be at least 0 and below `size`."""
        numbers = self._permute(places.astype(np.uint64))
        while len(outside := np.flatnonzero(numbers >= self.size)):
            numbers[outside] = self._permute(numbers[outside])
        return numbers.astype(np.int64)

    def _permute(self, numbers: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
        num_bits = max(2, (self.size - 1).bit_length())
        low_bits = np.uint64(num_bits // 2)
        masks = [(np.uint64(1) << bits) - np.uint64(1) for bits in (low_bits, num_bits - low_bits)]
        halves = [numbers & masks[0], numbers >> low_bits]
        for place, key in enumerate(self.keys):
            changed, other = place % 2, 1 - place % 2
            hashed = (halves[other] + key) * _MULTIPLIERS[0]
            hashed = (hashed ^ (hashed >> np.uint64(32))) * _MULTIPLIERS[1]
            halves[changed] = halves[changed] ^ ((hashed >> np.uint64(32)) & masks[changed])
        return halves[0] | (halves[1] << low_bits)


Order = Int64[np.ndarray, " num_examples"] | Permutation


def epoch_order(num_examples: int, seed: int, epoch: int, part: int | None = None) -> Order:
    """Return the order of an epoch's examples, or of a part of them, to be indexed by place."""
    entropy = [seed, epoch] if part is None else [seed, epoch, part]
    if num_examples <= LARGEST_TABLE:
        return np.random.default_rng(entropy).permutation(num_examples)
    keys = np.random.SeedSequence(entropy).generate_state(_NUM_ROUNDS, np.uint64)
    return Permutation(num_examples, keys)


def order_digest(seed: int) -> str:
    """Return a digest of an order that the installed NumPy draws from a seed.

    Another version may draw another order, in which a resumed run must not continue.
    """
    order = np.random.default_rng([seed, 1]).permutation(1000)
    return hashlib.sha256(order.tobytes()).hexdigest()
