"""Bag of words into dense layers: Donges, "How to build a neural network with Keras"."""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Integer

from imdb_jax.models.layers import Dense


def multi_hot(
    ids: Integer[Array, "batch length"], num_words: int
) -> Float[Array, "batch num_words"]:
    """Marks with a one which words each review holds; on the device, for one batch at a time.

    Args:
      ids: word ids below `num_words`, `[batch, length]`; order and repetition change nothing, and
        0 (padding) marks nothing.
      num_words: size of the vocabulary.

    Returns:
      float32 `[batch, num_words]`.
    """
    rows = jnp.arange(ids.shape[0])[:, None]
    # JAX adds the size of the axis to negative indices, and it need not fit the dtype of the ids.
    hot = jnp.zeros((ids.shape[0], num_words)).at[rows, ids.astype(jnp.int32)].set(1.0)
    return hot.at[:, 0].set(0.0)


# Numbers in a vector register, at least those of AVX-512.
_LANES = 16


def _fill_columns(matrix: Float[Array, "rows columns"]) -> Float[Array, "rows filled"]:
    """Adds columns of zeros until vector registers are full."""
    return jnp.pad(matrix, ((0, 0), (0, -matrix.shape[1] % _LANES)))


@jax.custom_vjp
def constant_product(
    x: Float[Array, "batch num_words"], kernel: Float[Array, "num_words width"]
) -> Float[Array, "batch width"]:
    """`x @ kernel`, of which only the kernel has a gradient.

    On a CPU, XLA takes a fifth longer for the product with 50 columns than with 64, and a quarter
    longer for the kernel's gradient as JAX would write it. A test compares the two.
    """
    return (x @ _fill_columns(kernel))[:, : kernel.shape[1]]


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    return constant_product(x, kernel), x


def _backward(x: jax.Array, gradient: jax.Array) -> tuple[None, jax.Array]:
    return None, (_fill_columns(gradient).T @ x)[: gradient.shape[1]].T


constant_product.defvjp(_forward, _backward)


def _dot_general(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """What Flax's Dense calls for its product."""
    return constant_product(x, kernel)


class MLP(nn.Module):
    """Dense layers with dropout over the set of words a review holds.

    Attributes:
      num_words: size of the vocabulary; ids are below it.
      hidden: width of each hidden layer.
      dropout: share of units dropped after each hidden layer but the last, in training.
    """

    bag_of_words: ClassVar[bool] = True  # which words a review holds is all that it reads

    num_words: int = 10_000
    hidden: Sequence[int] = (50, 50, 50)
    dropout: Sequence[float] = (0.3, 0.2)

    @nn.compact
    def __call__(
        self, ids: Integer[Array, "batch length"], train: bool = False
    ) -> Float[Array, " batch"]:
        """Gives the logit of 'positive' for each review.

        Args:
          ids: word ids, `[batch, length]`, 0 for padding; see `multi_hot`.
          train: whether to drop units, which needs `rngs={"dropout": key}`.

        Returns:
          float32 `[batch]`.
        """
        x = multi_hot(ids, self.num_words)
        for layer, width in enumerate(self.hidden):
            x = nn.relu(Dense(width, dot_general=None if layer else _dot_general)(x))
            if layer < len(self.dropout):
                x = nn.Dropout(self.dropout[layer], deterministic=not train)(x)
        return Dense(1)(x)[:, 0]
