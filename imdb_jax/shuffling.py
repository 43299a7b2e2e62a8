"""The order of an epoch's examples: a permutation that only (seed, epoch) determine.

Up to some millions of examples it is an array. Beyond, it is a function of the place: whoever wants
a batch computes where that batch's examples are, and nobody holds the whole order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int64, UInt64

# An array of so many takes 134 MB, and less time than computing them in batches.
LARGEST_TABLE = 1 << 24
# Four make neighbours look random; as many again cost a hundredth of a step.
_NUM_ROUNDS = 8
# Odd numbers without a pattern: the golden ratio's digits, and a prime of the hash xxHash.
_MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)


@dataclass(frozen=True, eq=False)
class Permutation:
    """A permutation of the numbers below `size`, of which any part can be computed alone.

    A Feistel network (Luby and Rackoff, 1988) permutes the numbers of as many bits as `size` needs:
    each round changes one half of the bits by a hash of the other, which whoever knows the other
    half can undo. A number that is not below `size` is permuted again until it is ("cycle walking",
    Black and Rogaway, 2002), which takes less than two rounds of the network on average.

    Attributes:
      size: how many numbers there are.
      keys: what makes the hash of each round another.
    """

    size: int
    keys: UInt64[np.ndarray, " num_rounds"]

    def __len__(self) -> int:
        return self.size

    def __getitem__(
        self, places: Int[np.ndarray, " num_places"]
    ) -> Int64[np.ndarray, " num_places"]:
        """The numbers at these places, which must be at least 0 and below `size`."""
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
    """The order of an epoch's examples; to be indexed with arrays of places.

    Args:
      num_examples: how many there are.
      seed: of the run.
      epoch: its number.
      part: the number of the part that they are, where several are shuffled separately.
    """
    entropy = [seed, epoch] if part is None else [seed, epoch, part]
    if num_examples <= LARGEST_TABLE:
        return np.random.default_rng(entropy).permutation(num_examples)
    keys = np.random.SeedSequence(entropy).generate_state(_NUM_ROUNDS, np.uint64)
    return Permutation(num_examples, keys)
