"""Recurrent network over word vectors: what readers of Brownlee's tutorial compare its CNN with."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, PRNGKey, Shape
from jaxtyping import Array, Float, Integer

from imdb_jax.models.layers import Dense, Embed


def _forget_bias_one(key: PRNGKey, shape: Shape, dtype: Dtype = jnp.float32) -> jax.Array:
    """Zeros, but ones for the forget gate, the second of the four (Jozefowicz et al. 2015)."""
    return jnp.zeros((4, shape[0] // 4), dtype).at[1].set(1.0).reshape(shape)


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
        x = Embed(self.num_words, self.embedding_dim)(ids.T)  # time first, as scan wants it
        # What the words add to the gates does not depend on the state: one product for all steps.
        gate_inputs = Dense(4 * self.units, bias_init=_forget_bias_one, name="input")(x)
        recurrent_kernel = self.param(
            "recurrent_kernel", nn.initializers.orthogonal(), (self.units, 4 * self.units)
        )

        def step(
            carry: tuple[jax.Array, jax.Array], gate_input: jax.Array
        ) -> tuple[tuple[jax.Array, jax.Array], None]:
            cell, hidden = carry
            gates = jnp.split(gate_input + hidden @ recurrent_kernel, 4, axis=-1)
            let_in, keep, let_out = (nn.sigmoid(gates[i]) for i in (0, 1, 3))
            cell = keep * cell + let_in * jnp.tanh(gates[2])
            return (cell, let_out * jnp.tanh(cell)), None

        start = jnp.zeros((ids.shape[0], self.units), gate_inputs.dtype)
        (_, hidden), _ = jax.lax.scan(step, (start, start), gate_inputs)
        return Dense(1)(hidden)[:, 0]
