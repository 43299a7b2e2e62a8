"""A convolution along the words of a review, by look-ups.

A convolution is linear in each word, so every kernel position is a look-up in a table of its own,
`embedding @ kernel[position]`, and its gradient adds up rows of that table.
"""

from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import lax
from jaxtyping import Array, Float, Integer

from imdb_jax.models.layers import check_ids, computed_apart, look_up

# As many positions are left to a reduction, of which XLA's CPU backend compiles slow code for more.
_REDUCED_AT_ONCE = 4

Tables = list[Float[Array, "num_words dim"]]
IdsForEach = list[Integer[Array, "batch length"]]


class WordConv(nn.Module):
    """A convolution along the words of a review, rectified and max-pooled.

    Like Keras' Conv1D with padding 'same' and activation 'relu', and MaxPooling1D.

    Attributes:
      filters: number of filters.
      kernel_size: words that a filter sees at a time.
      pool_size: neighboring positions of which the largest counts; a remainder is left out. 0 pools
        the whole review.
      dtype: that of the result.
    """

    filters: int
    kernel_size: int
    pool_size: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        embedding: Float[Array, "num_words dim"],
        ids: Integer[Array, "batch length"],
        train: bool = False,
    ) -> Float[Array, "batch pools filters"]:
        """Convolve the vectors of words, given the vector of each word and word ids."""
        check_ids(ids)
        num_words, dim = embedding.shape
        size, filters, length = self.kernel_size, self.filters, ids.shape[1]
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), (size, dim, filters))
        bias = self.param("bias", nn.initializers.zeros_init(), (filters,))
        before = (size - 1) // 2
        # A position further from the middle than the review is long sees nothing but zeros.
        seeing = slice(max(0, before - length + 1), min(size, before + length))
        kernel, before = kernel[seeing], before - seeing.start
        # Beyond both ends of a review stands a word whose vector is zero.
        beyond = jnp.pad(embedding, ((0, 1), (0, 0)))
        products = beyond @ kernel.swapaxes(0, 1).reshape(dim, -1)
        tables = jnp.split(products, len(kernel), axis=1)
        sides = ((0, 0), (before, len(kernel) - 1 - before))
        padded = jnp.pad(ids.astype(jnp.int32), sides, constant_values=num_words)

        def pooled(tables: list[jax.Array], padded: jax.Array, bias: jax.Array) -> jax.Array:
            words = [padded[:, at : at + length] for at in range(len(tables))]
            if self.pool_size in (0, length):
                return _rectify(max_of_sums(tables, words)[:, None], bias, self.dtype)
            x = _rectify(sums_of_rows(tables, words), bias, self.dtype)
            return max_pool(x, self.pool_size)

        compute = pooled if train else partial(computed_apart, pooled)
        return compute(tables, padded, bias)


def _rectify(x: jax.Array, bias: jax.Array, dtype: Dtype) -> jax.Array:
    return nn.relu(x + bias[None, None]).astype(dtype)


def max_pool(x: Float[Array, "batch length channels"], size: int) -> Float[Array, "batch n c"]:
    """Take the maximum of each `size` neighboring positions; a remainder at the end is left out.

    Raises ValueError if `size` is greater than the length.
    """
    length = x.shape[1]
    if size > length:
        raise ValueError(f"pool_size {size} is longer than the review, {length} words")
    windows = length // size
    x = x[:, : windows * size].reshape(x.shape[0] * windows, size, x.shape[2])
    # The gradient of a maximum of slices costs a tenth of that of a reduction.
    pooled = reduce(jnp.maximum, [x[:, place] for place in range(size)])
    return pooled.reshape(-1, windows, x.shape[2])


def sums_of_rows(tables: Tables, ids: IdsForEach) -> Float[Array, "batch length dim"]:
    """Add up one row of each table, at every place. The ids must be in range."""
    # XLA compiles a flat look-up, of all words of the batch in one row, to faster code.
    rows = [look_up(table, own.reshape(-1)) for table, own in zip(tables, ids, strict=True)]
    return sum(rows[1:], rows[0]).reshape(*ids[0].shape, -1)


@jax.custom_vjp
def max_of_sums(tables: Tables, ids: IdsForEach) -> Float[Array, "batch dim"]:
    """Return the maximum of `sums_of_rows` over the places of each review, column by column.

    Its gradient is added to the rows on which a maximum depends, to a few of thousands. Of places
    with equal sums, the first one counts.
    """
    return _max_over_places(sums_of_rows(tables, ids))


def _max_over_places(x: jax.Array) -> jax.Array:
    while (length := x.shape[1]) > _REDUCED_AT_ONCE:
        half = (length + 1) // 2
        x = jnp.maximum(x[:, :half], x[:, length - half :])
    return x.max(axis=1)


def _forward(tables: Tables, ids: IdsForEach) -> tuple[jax.Array, Any]:
    maxima = max_of_sums(tables, ids)
    return maxima, (tables, ids, maxima)


def _backward(kept: Any, gradients: jax.Array) -> tuple[list[jax.Array], None]:
    tables, ids, maxima = kept
    # The sums are made again, from the last place to the first. If XLA saw that they are the same,
    # it would write all rows to memory and read them twice, which takes longer.
    ids = [own[:, ::-1] for own in ids]
    sums = sums_of_rows(tables, ids)
    positions = lax.broadcasted_iota(jnp.int32, sums.shape, 1)
    # Nothing equals NaN, so another position stands for it: one in range.
    at = _max_over_places(jnp.where(sums == maxima[:, None], positions, 0))
    columns = jnp.arange(sums.shape[2])[None]

    def add(table: jax.Array, own: jax.Array) -> jax.Array:
        rows = jnp.take_along_axis(own, at, axis=1, mode="promise_in_bounds")
        places = jnp.zeros_like(table).at[rows, columns]
        return places.add(gradients, mode="promise_in_bounds", wrap_negative_indices=False)

    return [add(table, own) for table, own in zip(tables, ids, strict=True)], None


max_of_sums.defvjp(_forward, _backward)
