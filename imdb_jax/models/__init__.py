"""The architectures: Flax Linen modules from word ids `[batch, length]` to logits `[batch]`.

All are called alike: `train` turns dropout on, in the models that have it. Ids may be of any
integer dtype; logits are float32.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from imdb_jax.errors import UserError, check_choice, check_type, unknown_name
from imdb_jax.models.cnn import CNN
from imdb_jax.models.embedding_mlp import EmbeddingMLP
from imdb_jax.models.layers import EXECUTION_FIELDS
from imdb_jax.models.lstm import LSTM
from imdb_jax.models.mlp import MLP
from imdb_jax.models.ngram import Ngram
from imdb_jax.models.pooled import Pooled

__all__ = ["ARCHITECTURES", "CNN", "LSTM", "MLP", "EmbeddingMLP", "Ngram", "Pooled", "create_model"]

ARCHITECTURES: dict[str, type[nn.Module]] = {
    "mlp": MLP,
    "embedding_mlp": EmbeddingMLP,
    "cnn": CNN,
    "cnn_global": CNN,
    "pooled": Pooled,
    "lstm": LSTM,
    "ngram": Ngram,
}


def create_model(
    arch: str, num_words: int, fields: Mapping[str, Any], dtype: str = "float32"
) -> nn.Module:
    """Make the module of an architecture.

    Args:
      arch: a key of `ARCHITECTURES`.
      num_words: size of the vocabulary, whether of words or of n-grams.
      fields: hyper-parameters, by the names of the module's attributes.
      dtype: what to compute in, float32 or bfloat16; parameters and logits are float32.

    Raises:
      UserError: an unknown architecture, a field that the architecture does not have, a value of
        another type or out of range, or a dtype that it does not compute in.
    """
    check_type("architecture", arch, str)
    check_choice("dtype", dtype, ("bfloat16", "float32"))
    if arch not in ARCHITECTURES:
        raise UserError(unknown_name("architecture", arch, ARCHITECTURES))
    module = ARCHITECTURES[arch]
    # The first is the size of the vocabulary.
    _, *attributes = (field.name for field in dataclasses.fields(module))
    known = {*attributes} - EXECUTION_FIELDS
    for name in fields:
        if name not in known:
            raise UserError(unknown_name(f"{arch} field", name, known))
    # TOML has lists only, and a module is to be hashable.
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    if "dtype" in attributes:
        return module(num_words, dtype=jnp.dtype(dtype), **fields)
    if dtype != "float32":
        raise UserError(f"{arch} computes in float32 only, not in {dtype}")
    return module(num_words, **fields)
