"""What several architectures share: checked sizes, Keras' initializers, look-ups of words."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, PRNGKey, Shape
from jax import lax
from jaxtyping import Array, Float, Integer

from imdb_jax.errors import UserError, check_integer, check_share

# In mixed precision (`dtype`) parameters are float32, and so are look-ups: the gradient of a
# frequent word is a sum of too many terms for bfloat16. The layer that makes the logits has no
# `dtype`: Linen then computes in the dtype of its parameters.

# Keras' Dense starts from Glorot uniform kernels and zero biases (Linen's from LeCun normal ones).
Dense = partial(nn.Dense, kernel_init=nn.initializers.glorot_uniform())


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

    def __call__(
        self, ids: Integer[Array, "batch length"], train: bool = False
    ) -> Float[Array, "batch length dim"]:
        """Look up the vectors of words."""
        check_ids(ids)

        def vectors(table: Array, ids: Array) -> Array:
            return look_up(table, ids.reshape(-1)).reshape(*ids.shape, -1).astype(self.dtype)

        compute = vectors if train else partial(computed_apart, vectors)
        return compute(self.embedding, ids)


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


def computed_apart(compute: Callable[..., Array], *operands: Any) -> Array:
    """Compute an array that a program for a CPU writes to memory before it does more with it.

    XLA makes one loop of look-ups and a reshape that follows, which finds the row of every single
    number: six times as slow as copying rows. A branch, always taken, is a program of its own. If
    there is a gradient to compute, the array is written anyway, and a branch costs time.
    """
    result = jax.eval_shape(compute, *operands)
    if not all(isinstance(size, int) for size in result.shape):  # an exported program leaves one
        return compute(*operands)

    def in_a_branch(*operands: Any) -> Array:
        always = lax.optimization_barrier(jnp.array(True))
        nothing = jnp.zeros(result.shape, result.dtype)
        return lax.cond(always, compute, lambda *_: nothing, *operands)

    return lax.platform_dependent(*operands, cpu=in_a_branch, default=compute)
