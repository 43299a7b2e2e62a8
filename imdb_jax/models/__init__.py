"""The architectures: Flax Linen modules from word ids `[batch, length]` to logits `[batch]`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from imdb_jax.errors import UserError
from imdb_jax.models.cnn import CNN
from imdb_jax.models.embedding_mlp import EmbeddingMLP
from imdb_jax.models.lstm import LSTM
from imdb_jax.models.mlp import MLP
from imdb_jax.models.pooled import Pooled
from imdb_jax.suggestions import unknown_name

__all__ = ["ARCHITECTURES", "CNN", "LSTM", "MLP", "EmbeddingMLP", "Pooled", "create_model"]

ARCHITECTURES: dict[str, type[nn.Module]] = {
    "mlp": MLP,
    "embedding_mlp": EmbeddingMLP,
    "cnn": CNN,
    "cnn_global": CNN,
    "pooled": Pooled,
    "lstm": LSTM,
}


def create_model(arch: str, num_words: int, fields: Mapping[str, Any]) -> nn.Module:
    """Makes the module of an architecture.

    Args:
      arch: a key of `ARCHITECTURES`.
      num_words: size of the vocabulary.
      fields: hyper-parameters, by the names of the module's attributes.

    Raises:
      UserError: an unknown architecture, or a field that the architecture does not have.
    """
    if arch not in ARCHITECTURES:
        raise UserError(unknown_name("architecture", arch, ARCHITECTURES))
    module = ARCHITECTURES[arch]
    known = {field.name for field in dataclasses.fields(module)} - {"parent", "name", "num_words"}
    for name in fields:
        if name not in known:
            raise UserError(unknown_name(f"{arch} field", name, known))
    return module(num_words=num_words, **fields)
