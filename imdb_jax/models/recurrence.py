"""The loop of a long short-term memory over the words of reviews, and its derivative.

Reviews are padded at the front, so all of them begin with the same states. If they are sorted by
length, a first loop can go over the longest alone. Later loops take in more and more reviews, which
continue from the state of the last one in the loop before: that one has read nothing but padding.
The lengths in a batch decide where a loop ends. They are no part of the compiled program, which
serves batches of all lengths.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float, Int, Integer

from imdb_jax.models.layers import add_rows, look_up

_LOOPS = 4  # over a quarter of the reviews, over half of them, and so on
_BLOCK = 25  # steps whose share in the kernels' gradients is computed at once


class Gates(NamedTuple):
    """Parameters; the gates stand side by side: input, forget, candidate, output."""

    embedding: Float[Array, "num_words dim"]
    kernel: Float[Array, "dim gates"]
    bias: Float[Array, " gates"]
    recurrent_kernel: Float[Array, "units gates"]

    def table(self) -> Float[Array, "num_words gates"]:
        """Return what each word adds to the gates: it depends on nothing but the word."""
        return self.embedding @ self.kernel + self.bias[None]


class _Steps(NamedTuple):
    """The words of all reviews, and the bounds of the loops over them.

    Loops, and so all steps, consist of whole blocks. The first block may begin `before` its words.
    """

    words: jax.Array  # [steps, batch]
    before: int
    block: int
    sizes: list[int]  # number of reviews in each loop
    bounds: list[jax.Array | int]


# The gates after their activation, the cell and the hidden state before: [steps, batch, units] each
_Saved = tuple[jax.Array, ...]
# What the derivative needs.
_Residuals = tuple[_Saved, Gates, jax.Array, jax.Array]


def loop_sizes(num_reviews: int) -> list[int]:
    """Return the number of reviews in each loop; the last loop goes over all."""
    return sorted({-(-num_reviews * loop // _LOOPS) for loop in range(1, _LOOPS + 1)})


def last_state(
    dtype: Dtype,
    gates: Gates,
    ids: Integer[Array, "batch length"],
    ends: Int[Array, " loops_but_the_last"] | None = None,
) -> Float[Array, "batch units"]:
    """Run a long short-term memory over the words of reviews, and return its last hidden state.

    Args:
      dtype: what to compute in; the cell and the sums of gradients are float32.
      gates: the parameters.
      ids: word ids.
      ends: for each of `loop_sizes(batch)` but the last, the place in the reviews where it ends at
        the latest, in ascending order. Up to there, the last review of that loop and all after it
        must have the same words. None: one loop goes over all reviews.
    """
    return _last_state(dtype, gates, ids, jnp.zeros(0, jnp.int32) if ends is None else ends)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _last_state(dtype: Dtype, gates: Gates, ids: jax.Array, ends: jax.Array) -> jax.Array:
    return _forward(dtype, gates, ids, ends, save=False)[0]


def _steps(ids: jax.Array, ends: jax.Array, blocks: bool = True) -> _Steps:
    """Lay out the words; without a derivative to come, `blocks` may be of one step."""
    batch, length = ids.shape
    block = min(_BLOCK, max(1, length // 8)) if blocks else 1
    before, words = -length % block, ids.T
    if before:
        words = jnp.pad(words, ((before, 0), (0, 0)))
    sizes = loop_sizes(batch) if len(ends) else [batch]
    inner = ((ends[loop] + before) // block * block for loop in range(len(ends)))
    return _Steps(words, before, block, sizes, [0, *inner, len(words)])


def _sigmoid(x: jax.Array) -> jax.Array:
    # On a CPU, XLA makes vector code of tanh, but not of nn.sigmoid's division.
    return 0.5 + 0.5 * jnp.tanh(0.5 * x)


def _forward(
    dtype: Dtype, gates: Gates, ids: jax.Array, ends: jax.Array, save: bool = True
) -> tuple[jax.Array, _Residuals]:
    words, before, _, sizes, bounds = _steps(ids, ends, blocks=save)
    table, kernel = gates.table(), gates.recurrent_kernel.astype(dtype)
    cell = jnp.zeros((sizes[0], len(kernel)), jnp.float32)
    hidden, saved = cell.astype(dtype), ()
    if save:
        # Zeros in front of the words make all gradients there zero. Zeros everywhere take time.
        dtypes = [dtype] * 4 + [cell.dtype, dtype]
        empty = [jax.lax.empty((*words.shape, len(kernel)), of) for of in dtypes]
        saved = tuple(steps.at[:before].set(0) for steps in empty)

    def read(cell: jax.Array, hidden: jax.Array, words: jax.Array) -> tuple[Any, ...]:
        word = look_up(table, words)
        activations = jnp.split(word.astype(dtype) + hidden @ kernel, 4, axis=-1)
        let_in, keep, candidate, let_out = (
            jnp.tanh(x) if gate == 2 else _sigmoid(x) for gate, x in enumerate(activations)
        )
        states = let_in, keep, candidate, let_out, cell, hidden
        cell = keep * cell + let_in * candidate
        return cell, let_out * jnp.tanh(cell).astype(dtype), states

    if not (save or len(ends)):  # a scan, which other formats than JAX's know as well
        states = cell, hidden
        last: Any = jax.lax.scan(lambda at, now: (read(*at, now)[:2], None), states, words)[0]
        return last[1], (saved, gates, ids, ends)

    def step(size: int, now: jax.Array, carry: Any) -> Any:
        cell, hidden, saved = carry
        now_words = jax.lax.dynamic_slice(words, (now, 0), (1, size))[0]
        cell, hidden, states = read(cell, hidden, now_words)
        saved = tuple(
            jax.lax.dynamic_update_slice(steps, state[None], (now, 0, 0))
            for steps, state in zip(saved, states, strict=False)
        )
        return cell, hidden, saved

    starts = [before, *(jnp.maximum(bound, before) for bound in bounds[1:-1])]
    for size, start, end in zip(sizes, starts, bounds[1:], strict=True):
        carry = _take_in(cell, size), _take_in(hidden, size), saved
        cell, hidden, saved = jax.lax.fori_loop(start, end, partial(step, size), carry)
    return hidden, (saved, gates, ids, ends)


def _take_in(states: jax.Array, size: int) -> jax.Array:
    """Add reviews in the state of the last one, until there are `size`."""
    if states.shape[0] == size:
        return states
    added = jnp.broadcast_to(states[-1:], (size - states.shape[0], states.shape[1]))
    return jnp.concatenate([states, added])


def _backward(
    dtype: Dtype, residuals: _Residuals, of_hidden: jax.Array
) -> tuple[Gates, None, None]:
    saved, gates, ids, ends = residuals
    words, _, block, sizes, bounds = _steps(ids, ends)
    # One product per gate: XLA makes slow code of arrays joined from computed parts.
    kernels = [kernel.T for kernel in jnp.split(gates.recurrent_kernel.astype(dtype), 4, axis=1)]
    units = len(gates.recurrent_kernel)
    table, of_table = jax.vjp(Gates.table, gates)

    def step(size: int, carry: Any, now: jax.Array) -> Any:
        of_cell, of_hidden = carry
        let_in, keep, candidate, let_out, cell, _ = (
            jax.lax.dynamic_slice(steps, (now, 0, 0), (1, size, units))[0] for steps in saved
        )
        shown = jnp.tanh(keep * cell + let_in * candidate)
        of_cell += of_hidden * let_out * (1 - shown * shown)
        # An activation's derivative is a function of its result.
        of_gates = (
            of_cell * candidate * let_in * (1 - let_in),
            of_cell * cell * keep * (1 - keep),
            of_cell * let_in * (1 - candidate * candidate),
            of_hidden * shown * let_out * (1 - let_out),
        )
        of_gates = tuple(of_gate.astype(dtype) for of_gate in of_gates)
        of_hidden = sum(of_gate @ kernel for of_gate, kernel in zip(of_gates, kernels, strict=True))
        return (of_cell * keep, of_hidden), of_gates

    def take_block(size: int, end: jax.Array | int, number: jax.Array, carry: Any) -> Any:
        states, of_looked_up, of_kernel = carry
        first = end - (number + 1) * block
        states, of_gates = jax.lax.scan(
            partial(step, size), states, first + jnp.arange(block), reverse=True
        )
        of_steps = jnp.concatenate(of_gates, axis=-1).astype(jnp.float32)
        hidden = jax.lax.dynamic_slice(saved[-1], (first, 0, 0), (block, size, units))
        of_kernel += jnp.einsum("tbu,tbg->ug", hidden.astype(jnp.float32), of_steps)
        of_words = jax.lax.dynamic_slice(words, (first, 0), (block, size)).reshape(-1)
        of_looked_up = add_rows(of_looked_up, of_words, of_steps.reshape(-1, 4 * units))
        return states, of_looked_up, of_kernel

    sums = jnp.zeros_like(table), jnp.zeros_like(gates.recurrent_kernel)
    states = jnp.zeros(of_hidden.shape, jnp.float32), of_hidden
    for size, start, end in reversed([*zip(sizes, bounds, bounds[1:], strict=False)]):
        states = _let_go(states[0], size), _let_go(states[1], size)
        blocks, take = (end - start) // block, partial(take_block, size, end)
        states, *sums = jax.lax.fori_loop(0, blocks, take, (states, *sums))
    of_looked_up, of_kernel = sums
    (of_gates,) = of_table(of_looked_up)
    return of_gates._replace(recurrent_kernel=of_kernel), None, None


def _let_go(gradients: jax.Array, size: int) -> jax.Array:
    """Do `_take_in` backward: the last review that stays gets what the others leave."""
    if gradients.shape[0] == size:
        return gradients
    return gradients[:size].at[-1].add(gradients[size:].sum(axis=0))


_last_state.defvjp(_forward, _backward)
