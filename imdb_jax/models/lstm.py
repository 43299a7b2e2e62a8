"""Recurrent network over word vectors: what readers of Brownlee's tutorial compare its CNN with."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.initializers import glorot_uniform, orthogonal
from flax.typing import Dtype, PRNGKey, Shape
from jaxtyping import Array, Float, Integer

from imdb_jax.models.layers import Dense, Embed, Model, check_ids, look_up


def _forget_bias_one(key: PRNGKey, shape: Shape, dtype: Dtype = jnp.float32) -> jax.Array:
    """Return zeros, but ones for the forget gate, the second of four (Jozefowicz et al. 2015)."""
    return jnp.zeros((4, shape[0] // 4), dtype).at[1].set(1.0).reshape(shape)


def _sigmoid(x: jax.Array) -> jax.Array:
    # On a CPU, XLA makes vector code of tanh, but not of nn.sigmoid's division.
    return 0.5 + 0.5 * jnp.tanh(0.5 * x)


@jax.custom_vjp
def last_state(
    inputs: Float[Array, "time batch gates"], kernel: Float[Array, "units gates"]
) -> Float[Array, "batch units"]:
    """Run a long short-term memory over time from zeros, and return its last state.

    `inputs` are what each word adds to the gates before their activation, `kernel` (of the same
    dtype) makes what the state before adds. The gates stand side by side: input, forget, candidate,
    output. The cell is always float32. The derivative is written out, because JAX's own adds up the
    kernel's gradient step by step, instead of in one matrix product after the loop.
    """
    return _forward(inputs, kernel)[0]


# A step's gates after their activation, and the state that it began with.
_Step = tuple[jax.Array, jax.Array, jax.Array]


def _forward(inputs: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[_Step, jax.Array]]:
    def step(
        state: tuple[jax.Array, jax.Array], word: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], _Step]:
        cell, hidden = state
        let_in, keep, candidate, let_out = jnp.split(word + hidden @ kernel, 4, axis=-1)
        let_in, keep, let_out = _sigmoid(let_in), _sigmoid(keep), _sigmoid(let_out)
        candidate = jnp.tanh(candidate)
        gates = jnp.concatenate([let_in, keep, candidate, let_out], axis=-1)
        next_cell = keep * cell + let_in * candidate
        shown = jnp.tanh(next_cell).astype(word.dtype)
        return (next_cell, let_out * shown), (gates, cell, hidden)

    start = jnp.zeros((inputs.shape[1], kernel.shape[0]), jnp.float32)
    (_, hidden), steps = jax.lax.scan(step, (start, start.astype(inputs.dtype)), inputs)
    return hidden, (steps, kernel)


def _backward(
    saved: tuple[_Step, jax.Array], hidden_gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    (gates, cells, hiddens), kernel = saved

    def step(
        gradients: tuple[jax.Array, jax.Array], at_step: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        of_cell, of_hidden = gradients
        gates, cell = at_step
        let_in, keep, candidate, let_out = jnp.split(gates, 4, axis=-1)
        shown = jnp.tanh(keep * cell + let_in * candidate)
        of_cell += of_hidden * let_out * (1 - shown * shown)
        # An activation's derivative is a function of its result.
        of_gates = jnp.concatenate(
            [
                of_cell * candidate * let_in * (1 - let_in),
                of_cell * cell * keep * (1 - keep),
                of_cell * let_in * (1 - candidate * candidate),
                of_hidden * shown * let_out * (1 - let_out),
            ],
            axis=-1,
        ).astype(gates.dtype)
        return (of_cell * keep, of_gates @ kernel.T), of_gates

    last = (jnp.zeros_like(cells[0]), hidden_gradient)
    _, of_inputs = jax.lax.scan(step, last, (gates, cells), reverse=True)
    # This way round, XLA computes the product on all cores.
    return of_inputs, jnp.einsum("tbg,tbu->gu", of_inputs, hiddens).T


last_state.defvjp(_forward, _backward)


class LSTM(Model):
    """A long short-term memory network whose last state is classified (Hochreiter 1997).

    Padding is read like a word, as Keras does unless told otherwise, so reviews are padded at the
    front.

    Attributes:
      num_words: size of the vocabulary; ids are below it.
      embedding_dim: length of a word's vector.
      units: length of the state.
      dtype: what the model computes in; parameters and logits are float32.
    """

    one_core: ClassVar[bool] = True  # XLA runs the loop over time on one core of a CPU

    num_words: int = 5_000
    embedding_dim: int = 32
    units: int = 100
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, ids: Integer[Array, "batch length"], train: bool = False
    ) -> Float[Array, " batch"]:
        """Return the logit of 'positive' for each review."""
        check_ids(ids)
        embed = Embed(self.num_words, self.embedding_dim)
        kernel = self.param("kernel", glorot_uniform(), (self.embedding_dim, 4 * self.units))
        recurrent_kernel = self.param(
            "recurrent_kernel", orthogonal(), (self.units, 4 * self.units)
        )
        bias = self.param("bias", _forget_bias_one, (4 * self.units,))
        # What a word adds to the gates depends on nothing but the word: one look-up in a table.
        table = embed.embedding @ kernel + bias[None]
        words = ids.T  # time first, as scan wants it
        inputs = look_up(table, words.reshape(-1)).reshape(*words.shape, 4 * self.units)
        state = last_state(inputs.astype(self.dtype), recurrent_kernel.astype(self.dtype))
        return Dense(1)(state)[:, 0]
