"""Recurrent network over word vectors: what readers of Brownlee's tutorial compare its CNN with."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.initializers import glorot_uniform, orthogonal
from flax.typing import Dtype, PRNGKey, Shape
from jaxtyping import Array, Float, Integer

from imdb_jax.models.layers import Dense, Embed, look_up


def _forget_bias_one(key: PRNGKey, shape: Shape, dtype: Dtype = jnp.float32) -> jax.Array:
    """Zeros, but ones for the forget gate, the second of the four (Jozefowicz et al. 2015)."""
    return jnp.zeros((4, shape[0] // 4), dtype).at[1].set(1.0).reshape(shape)


def _sigmoid(x: jax.Array) -> jax.Array:
    # On a CPU, XLA makes vector code of tanh, but not of nn.sigmoid's division.
    return 0.5 + 0.5 * jnp.tanh(0.5 * x)


class LSTM(nn.Module):
    """A long short-term memory network whose last state is classified (Hochreiter 1997).

    Gates stand in Keras' order: input, forget, candidate, output. Padding is read like a word, as
    Keras does unless told otherwise, so reviews are padded at the front.

    Attributes:
      num_words: size of the vocabulary; ids are below it.
      embedding_dim: length of a word's vector.
      units: length of the state.
    """

    num_words: int = 5_000
    embedding_dim: int = 32
    units: int = 100

    @nn.compact
    def __call__(
        self, ids: Integer[Array, "batch length"], train: bool = False
    ) -> Float[Array, " batch"]:
        """Gives the logit of 'positive' for each review.

        Args:
          ids: word ids, `[batch, length]`.
          train: changes nothing here; all architectures are called alike.

        Returns:
          float32 `[batch]`.
        """
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

        def step(
            carry: tuple[jax.Array, jax.Array], word: jax.Array
        ) -> tuple[tuple[jax.Array, jax.Array], None]:
            cell, hidden = carry
            gates = word + hidden @ recurrent_kernel
            let_in, keep, candidate, let_out = jnp.split(gates, 4, axis=-1)
            cell = _sigmoid(keep) * cell + _sigmoid(let_in) * jnp.tanh(candidate)
            return (cell, _sigmoid(let_out) * jnp.tanh(cell)), None

        start = jnp.zeros((ids.shape[0], self.units), inputs.dtype)
        (_, hidden), _ = jax.lax.scan(step, (start, start), inputs)
        return Dense(1)(hidden)[:, 0]
