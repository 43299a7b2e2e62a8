"""What a model reads: a batch of reviews, each of them ids in order or a set of ids.

The largest set of a batch may have ten times as many ids as the average: padded to it, a batch
would be mostly padding. Instead, a set is folded into as many lines of equal length as it needs.
"""

from typing import NamedTuple, Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Integer

from imdb_jax.models.layers import check_ids, look_up
from imdb_jax.models.row_sums import sum_rows_of
from imdb_jax.text.sequences import Sequences

_WIDTH = 32  # ids in a line


class Sets(struct.PyTreeNode):
    """The sets of ids of a batch of reviews."""

    ids: Integer[Array | np.ndarray, "lines width"]  # 0 fills a line
    reviews: Int[Array | np.ndarray, " lines"]  # int32: number of a line's review in the batch
    size: int = struct.field(pytree_node=False)  # number of reviews

    def as_part(self, number: int, of: int) -> Self:
        """Return these sets as part `number`, from 0, of a batch of `of` parts of one size."""
        return self.replace(reviews=self.reviews + number * self.size, size=of * self.size)


class Batch(NamedTuple):
    """Reviews that are processed together.

    Attributes:
      ids: word ids, any integer dtype, `[batch, length]`; or `Sets`, for a model that reads sets.
      labels: 1 for positive, 0 for negative, float32 `[batch]`.
      weights: 1 for a review that counts, 0 for one that only fills the batch, float32 `[batch]`.
    """

    ids: Integer[Array | np.ndarray, "batch length"] | Sets
    labels: Float[Array | np.ndarray, " batch"]
    weights: Float[Array | np.ndarray, " batch"]


def num_lines(sizes: Int[np.ndarray, " num_sets"]) -> Int[np.ndarray, " num_sets"]:
    """Return the number of lines that sets of these sizes need."""
    return -(-sizes // _WIDTH)


def fold(sequences: Sequences, multiple: int = 1, least: int = 0) -> Sets:
    """Fold sets of ids, none of them 0, into at least `least` lines, a multiple of `multiple`."""
    lengths = sequences.lengths
    lines = num_lines(lengths)
    number = lines.sum()
    room = max(number, least)
    # Rounded up by a sixteenth to an eighth, so that steps are compiled for a few numbers only.
    multiple = int(np.lcm(multiple, 1 << max(4, int(room).bit_length() - 4)))
    ids = np.zeros((max(1, -(-room // multiple)) * multiple, _WIDTH), sequences.values.dtype)
    # A set's ids follow one another from the beginning of its first line.
    shift = np.repeat((np.cumsum(lines) - lines) * _WIDTH - sequences.offsets[:-1], lengths)
    ids.reshape(-1)[shift + np.arange(len(sequences.values))] = sequences.values
    reviews = np.zeros(len(ids), np.int32)
    reviews[:number] = np.repeat(np.arange(len(sequences), dtype=np.int32), lines)
    return Sets(ids, reviews, len(sequences))


def sum_rows(
    table: Float[Array, "num_ids ..."], ids: Sets | Integer[Array, "batch length"]
) -> Float[Array, "batch ..."]:
    """Sum the rows of a table over each set of ids: the product of multi-hot vectors with it.

    Row 0 of the table, the row of padding, must be zeros; ids may also be arrays padded with 0.
    """
    lines = jnp.asarray(ids.ids if isinstance(ids, Sets) else ids)
    check_ids(lines)
    if table.ndim == 1:
        sums = look_up(table, lines.reshape(-1)).reshape(lines.shape).sum(axis=1)
    else:
        sums = sum_rows_of(table, lines)
    if not isinstance(ids, Sets):
        return sums
    nothing = jnp.zeros((ids.size, *table.shape[1:]), table.dtype)
    return nothing.at[ids.reviews].add(sums, mode="promise_in_bounds")
