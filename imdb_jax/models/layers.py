"""What several architectures share: Keras' initialisers, and pooling over words."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, PRNGKey, Shape
from jaxtyping import Array, Float

# Keras' Dense starts from Glorot uniform kernels and zero biases (Linen's from LeCun normal ones).
Dense = functools.partial(nn.Dense, kernel_init=nn.initializers.glorot_uniform())
Conv = functools.partial(nn.Conv, kernel_init=nn.initializers.glorot_uniform())


def _uniform_embedding(key: PRNGKey, shape: Shape, dtype: Dtype = jnp.float32) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -0.05, 0.05)


# Keras' Embedding starts uniform in +-0.05. Padding is a word like any other: it has a vector too.
Embed = functools.partial(nn.Embed, embedding_init=_uniform_embedding)


def max_pool(x: Float[Array, "batch length channels"], size: int) -> Float[Array, "batch n c"]:
    """Maximum over each `size` neighbouring positions; a remainder at the end is left out.

    Args:
      x: float `[batch, length, channels]`.
      size: positions per window; 0 pools over the whole length.

    Returns:
      `[batch, length // size, channels]`, or `[batch, 1, channels]` for size 0.
    """
    length = x.shape[1]
    if size == 0 or size == length:
        return x.max(axis=1, keepdims=True)
    if size > length:
        raise ValueError(f"pool_size {size} is longer than the review, {length} words")
    x = x[:, : length // size * size]
    # The gradient of a maximum of strided slices costs a tenth of that of reshape and max.
    return functools.reduce(jnp.maximum, [x[:, first::size] for first in range(size)])
