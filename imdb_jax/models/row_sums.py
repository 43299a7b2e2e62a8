"""Sums of rows of a table, one row per word, without an array of all the rows.

Such an array has as many rows as a batch has words. XLA writes it to memory and reads it again, and
likewise the array of as many gradients, which takes most of a step on a CPU.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from imdb_jax.models.layers import add_rows, look_up

_AT_ONCE = 8  # columns of ids; XLA makes their look-ups one loop, which it takes long to compile
_VECTOR = 8  # numbers that the CPU adds at once; rows of another length take twice as long


@jax.custom_vjp
def sum_rows_of(
    table: Float[Array, "num_ids dim"], ids: Integer[Array, "n length"]
) -> Float[Array, "n dim"]:
    """Sum the rows of a table that each line of ids names, repetitions included.

    The ids must be in range: they are not checked.
    """
    if not all(isinstance(size, int) for size in ids.shape):  # an exported program leaves one open
        return _sum_flat(table, ids)
    return lax.platform_dependent(table, ids, cpu=_sum_by_column, default=_sum_flat)


def _sum_flat(table: jax.Array, ids: jax.Array) -> jax.Array:
    return look_up(table, ids.reshape(-1)).reshape(*ids.shape, -1).sum(axis=1)


def _sum_by_column(table: jax.Array, ids: jax.Array) -> jax.Array:
    def add(columns: jax.Array) -> jax.Array:
        nothing = jnp.zeros((len(ids), table.shape[1]), table.dtype)
        return sum((look_up(table, column) for column in columns.T), nothing)

    blocks = ids.shape[1] // _AT_ONCE
    whole, rest = jnp.split(ids, [blocks * _AT_ONCE], axis=1)
    whole = whole.reshape(len(ids), blocks, _AT_ONCE).swapaxes(0, 1)
    return lax.scan(lambda sums, block: (sums + add(block), None), add(rest), whole)[0]


def _forward(table: jax.Array, ids: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return sum_rows_of(table, ids), (table, ids)


def _backward(kept: tuple[jax.Array, jax.Array], gradients: jax.Array) -> tuple[jax.Array, None]:
    table, ids = kept
    scatter = partial(_scatter_flat, len(table))
    if _spread(ids):
        return scatter(gradients, ids), None
    by_column = partial(_scatter_by_column, len(table))
    return lax.platform_dependent(gradients, ids, cpu=by_column, default=scatter), None


def _spread(ids: jax.Array) -> bool:
    """Return whether devices share a batch: each scatter would then be followed by an exchange."""
    return jax.typeof(ids).sharding.mesh.shape.get("data", 1) > 1


def _scatter_flat(num_ids: int, gradients: jax.Array, ids: jax.Array) -> jax.Array:
    nothing = jnp.zeros((num_ids, gradients.shape[1]), gradients.dtype)
    return add_rows(nothing, ids.reshape(-1), jnp.repeat(gradients, ids.shape[1], axis=0))


def _scatter_by_column(num_ids: int, gradients: jax.Array, ids: jax.Array) -> jax.Array:
    dim = gradients.shape[1]
    rows = jnp.pad(gradients, ((0, 0), (0, -dim % _VECTOR)))
    nothing = jnp.zeros((num_ids, rows.shape[1]), rows.dtype)
    added = lax.scan(lambda table, column: (add_rows(table, column, rows), None), nothing, ids.T)[0]
    return added[:, :dim]


sum_rows_of.defvjp(_forward, _backward)
