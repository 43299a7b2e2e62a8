"""What several architectures share: checked sizes, Keras' initializers, pooling over words."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, PRNGKey, Shape
from jaxtyping import Array, Float, Integer

from imdb_jax.errors import UserError, check_integer, check_share

# In mixed precision (`dtype`) parameters are float32, and so are look-ups: the gradient of a
# frequent word is a sum of too many terms for bfloat16. The layer that makes the logits has no
# `dtype`: Linen then computes in the dtype of its parameters.

# Keras' Dense starts from Glorot uniform kernels and zero biases (Linen's from LeCun normal ones).
Dense = functools.partial(nn.Dense, kernel_init=nn.initializers.glorot_uniform())


# Fields of modules that are no hyper-parameters: how to compute, and Linen's own.
EXECUTION_FIELDS = {"dtype", "parts", "skip_padding", "parent", "name"}


class Model(nn.Module):
    """An architecture, which refuses sizes that no layer can have when it is made."""

    def __post_init__(self) -> None:
        """Raise `UserError` for a size or a share of dropout that is wrong or of another type."""
        for field in dataclasses.fields(self):
            if field.name not in EXECUTION_FIELDS:
                _check_field(field.name, getattr(self, field.name), field.default)
        super().__post_init__()


def _check_field(name: str, value: Any, default: Any) -> None:
    """Check the value of a field, which is a number or a sequence of numbers as its default is."""
    shown = name if name.startswith("num_") else f"model.{name}"
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple):
            raise UserError(f"{shown} must be a list of numbers, not {value!r}")
        for number in value:
            if name == "dropout":
                check_share(f"each of {shown}", number)
            else:
                check_integer(f"each of {shown}", number, 1)
    else:
        # 0 has a meaning for these: no hidden layer, a pool as long as the review, and n-grams that
        # are not counted yet.
        least = 0 if name in ("hidden", "pool_size", "num_features") else 1
        check_integer(shown, value, least)


def check_ids(ids: Any) -> None:
    """Raise `TypeError` unless word ids are an array `[batch, length]` of integers."""
    shape, dtype = getattr(ids, "shape", None), getattr(ids, "dtype", type(ids).__name__)
    if shape is None or len(shape) != 2 or not jnp.issubdtype(dtype, jnp.integer):
        raise TypeError(f"ids must be integers [batch, length], not {dtype} {shape or ''}")


def _uniform_embedding(key: PRNGKey, shape: Shape, dtype: Dtype = jnp.float32) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -0.05, 0.05)


class Embed(nn.Embed):
    """A vector per word id, Keras' Embedding: padding is a word like any other, it has one too."""

    embedding_init: nn.initializers.Initializer = _uniform_embedding

    def __call__(self, ids: Integer[Array, "batch length"]) -> Float[Array, "batch length dim"]:
        """Look up the vectors of words."""
        check_ids(ids)
        vectors = look_up(self.embedding, ids.reshape(-1)).reshape(*ids.shape, self.features)
        return vectors.astype(self.dtype)


def look_up(
    table: Float[Array, "num_words dim"], ids: Integer[Array, " n"]
) -> Float[Array, "n dim"]:
    """Take rows of a table. The ids must be in range: they are not checked, which costs time."""
    return jnp.asarray(table).at[ids].get(mode="promise_in_bounds", wrap_negative_indices=False)


def add_rows(
    table: Float[Array, "num_words dim"],
    ids: Integer[Array, " n"],
    rows: Float[Array, "n dim"],
) -> Float[Array, "num_words dim"]:
    """Add to rows of a table, as the gradient of `look_up` does. The ids must be in range."""
    places = table.at[ids]
    return places.add(rows, mode="promise_in_bounds", wrap_negative_indices=False)


class WordConv(nn.Module):
    """A convolution along the words of a review, like Keras' Conv1D with padding 'same'.

    A convolution is linear in each word, so every kernel position is a look-up in a table of its
    own, `embedding @ kernel[position]`, and the gradient is a scatter into the tables: on a CPU,
    the whole training step takes half the time. `dtype` is that of the result.
    """

    filters: int
    kernel_size: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, embedding: Float[Array, "num_words dim"], ids: Integer[Array, "batch length"]
    ) -> Float[Array, "batch length filters"]:
        """Convolve the vectors of words, given the vector of each word and word ids."""
        check_ids(ids)
        num_words, dim = embedding.shape
        shape = (self.kernel_size, dim, self.filters)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.filters,))
        # Beyond both ends of a review stands a word whose vector is zero.
        beyond = jnp.pad(embedding, ((0, 1), (0, 0)))
        before = (self.kernel_size - 1) // 2
        sides = ((0, 0), (before, self.kernel_size - 1 - before))
        padded = jnp.pad(ids.astype(jnp.int32), sides, constant_values=num_words)
        length = ids.shape[1]
        # A position further from the middle than the review is long sees nothing but zeros.
        seeing = range(max(0, before - length + 1), min(self.kernel_size, before + length))
        # XLA compiles a flat look-up, of all words of the batch in one row, to faster code.
        looked_up = [
            look_up(beyond @ kernel[position], padded[:, position : position + length].reshape(-1))
            for position in seeing
        ]
        return (sum(looked_up) + bias[None]).reshape(*ids.shape, self.filters).astype(self.dtype)


def max_pool(x: Float[Array, "batch length channels"], size: int) -> Float[Array, "batch n c"]:
    """Take the maximum of each `size` neighboring positions; a remainder at the end is left out.

    Size 0 pools over the whole length. Raises ValueError if `size` is greater than the length.
    """
    length = x.shape[1]
    if size == 0 or size == length:
        return x.max(axis=1, keepdims=True)
    if size > length:
        raise ValueError(f"pool_size {size} is longer than the review, {length} words")
    windows = length // size
    x = x[:, : windows * size].reshape(x.shape[0] * windows, size, x.shape[2])
    # The gradient of a maximum of slices costs a tenth of that of a reduction.
    pooled = functools.reduce(jnp.maximum, [x[:, place] for place in range(size)])
    return pooled.reshape(-1, windows, x.shape[2])
