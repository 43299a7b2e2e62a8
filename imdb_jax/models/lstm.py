"""Recurrent network over word vectors: what readers of Brownlee's tutorial compare its CNN with."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.initializers import glorot_uniform, orthogonal
from flax.typing import Dtype, PRNGKey, Shape
from jaxtyping import Array, Float, Int, Integer

from imdb_jax.models.layers import Dense, Embed, Model, check_ids
from imdb_jax.models.recurrence import Gates, last_state, loop_sizes


def _forget_bias_one(key: PRNGKey, shape: Shape, dtype: Dtype = jnp.float32) -> jax.Array:
    """Return zeros, but ones for the forget gate, the second of four (Jozefowicz et al. 2015)."""
    return jnp.zeros((4, shape[0] // 4), dtype).at[1].set(1.0).reshape(shape)


@jax.custom_batching.custom_vmap
def _in_common(places: Int[Array, " n"]) -> Int[Array, " n"]:
    """Return the least of these places over all that is mapped over: loops must end together."""
    return places


@_in_common.def_vmap
def _least(axis_size: int, mapped: list[bool], places: jax.Array) -> tuple[jax.Array, bool]:
    return _in_common(places.min(axis=0)), False


def _sorted_states(
    dtype: Dtype, gates: Gates, ids: Integer[Array, "batch length"]
) -> Float[Array, "batch units"]:
    """Do what `last_state` does to reviews in any order, without reading all of their padding."""
    is_word = ids != 0
    padding = jnp.where(is_word.any(axis=1), jnp.argmax(is_word, axis=1), ids.shape[1])
    order = jnp.argsort(padding)
    # A loop's last review has read nothing but padding, and so have the shorter ones after it.
    last = np.array(loop_sizes(len(ids))[:-1], int) - 1
    ends = _in_common(padding[order[last]].astype(jnp.int32))
    states = last_state(dtype, gates, ids[order], ends)
    return states[jnp.argsort(order)]


class LSTM(Model):
    """A long short-term memory network whose last state is classified (Hochreiter 1997).

    Padding is read like a word, as Keras does unless told otherwise, so reviews are padded at the
    front.

    Attributes:
      num_words: size of the vocabulary; ids are below it.
      embedding_dim: length of a word's vector.
      units: length of the state.
      dtype: what the model computes in; parameters and logits are float32.
      parts: how many devices share a batch. The logits do not depend on it, nor on the next.
      skip_padding: compute the states after padding once for all reviews. The numbers of steps in
        the loops then depend on the reviews.
    """

    one_core: ClassVar[bool] = True  # XLA runs the loop over time on one core of a CPU

    num_words: int = 5_000
    embedding_dim: int = 32
    units: int = 100
    dtype: Dtype = jnp.float32
    parts: int = 1
    skip_padding: bool = False

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
        gates = Gates(embed.embedding, kernel, bias, recurrent_kernel)
        # Each part has gradients of its own, so that devices add them up once, after the loops.
        number = math.gcd(self.parts, len(ids)) if self.parts > 1 else 1
        parts = jnp.asarray(ids).reshape(number, -1, ids.shape[1])
        run = _sorted_states if self.skip_padding else last_state
        states = jax.vmap(run, (None, None, 0))(self.dtype, gates, parts)
        return Dense(1)(states.reshape(-1, self.units))[:, 0]
