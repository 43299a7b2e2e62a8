"""The Keras twins of our architectures, written as the tutorials write them.

The baseline trains them, and the tests compare our models with them. Keras runs on the backend that
the environment variable KERAS_BACKEND names.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from flax import linen as nn
from jaxtyping import Float32, Int32, UInt
from numpy.typing import NDArray

from imdb_jax.config import Config
from imdb_jax.models import CNN, LSTM, MLP, EmbeddingMLP, Pooled, create_model


def build(config: Config, length: int) -> keras.Model:
    """Builds the Keras model of a recipe, from `inputs` to the probability of 'positive'.

    Args:
      config: its `arch`, `num_words` and `model` count; what `model` leaves out is as in ours.
      length: ids per review; `mlp`, which reads multi-hot vectors, does not depend on it.

    Returns:
      A model that gives probabilities `[batch, 1]`, not yet compiled.

    Raises:
      UserError: an unknown architecture, or a field that the architecture does not have.
    """
    module = create_model(config.arch, config.num_words, config.model)
    width = config.num_words if isinstance(module, MLP) else length
    output = keras.layers.Dense(1, activation="sigmoid")
    return keras.Sequential([keras.Input((width,)), *_layers(module, length), output])


def _layers(module: nn.Module, length: int) -> list[keras.layers.Layer]:
    """All layers but the last."""
    match module:
        case MLP():
            return _mlp_layers(module)
        case EmbeddingMLP():
            return [_embedding(module), keras.layers.Flatten(), *_hidden(module)]
        case CNN():
            return [
                _embedding(module),
                keras.layers.Conv1D(
                    module.filters, module.kernel_size, padding="same", activation="relu"
                ),
                keras.layers.MaxPooling1D(module.pool_size or length),
                keras.layers.Flatten(),
                *_hidden(module),
            ]
        case Pooled():
            pooling = keras.layers.GlobalAveragePooling1D()
            return [_embedding(module), pooling, *_hidden(module)]
        case LSTM():
            return [_embedding(module), keras.layers.LSTM(module.units)]
        case _:
            raise NotImplementedError(f"{type(module).__name__} has no Keras twin")


def _mlp_layers(module: MLP) -> list[keras.layers.Layer]:
    layers = []
    for i, width in enumerate(module.hidden):
        layers.append(keras.layers.Dense(width, activation="relu"))
        if i < len(module.dropout):
            layers.append(keras.layers.Dropout(module.dropout[i]))
    return layers


def _embedding(module: EmbeddingMLP | CNN | Pooled | LSTM) -> keras.layers.Layer:
    return keras.layers.Embedding(module.num_words, module.embedding_dim)


def _hidden(module: EmbeddingMLP | CNN | Pooled) -> list[keras.layers.Layer]:
    return [keras.layers.Dense(module.hidden, activation="relu")] if module.hidden else []


def inputs(
    config: Config, ids: UInt[np.ndarray, "num_reviews length"]
) -> Float32[np.ndarray, "num_reviews num_words"] | Int32[np.ndarray, "num_reviews length"]:
    """Turns padded ids into what the Keras model of a recipe reads.

    Returns:
      For `mlp` dense multi-hot vectors, in which padding (0) marks nothing: 1.6 GB for 40,000
      reviews and 10,000 words. For all others the ids, as `keras.utils.pad_sequences` gives them.
    """
    if config.arch != "mlp":
        return ids.astype(np.int32)
    hot = np.zeros((len(ids), config.num_words), np.float32)
    for row, review in zip(hot, ids, strict=True):
        row[review] = 1
    hot[:, 0] = 0
    return hot


def to_flax_params(config: Config, weights: list[NDArray[np.float32]]) -> dict[str, Any]:
    """Arranges the weights of a Keras model as the parameters of ours.

    Args:
      config: the configuration that the Keras model was built from.
      weights: what its `get_weights()` gives.

    Returns:
      The tree that our model's `init` gives under 'params', with these weights.
    """
    names = list(_FIRST_WEIGHTS[config.arch])
    # Whatever else a model has are dense layers, in order.
    for i in range((len(weights) - len(names)) // 2):
        names += [f"Dense_{i}/kernel", f"Dense_{i}/bias"]
    params: dict[str, Any] = {}
    for name, weight in zip(names, weights, strict=True):
        *layer, leaf = name.split("/")
        target = params.setdefault(layer[0], {}) if layer else params
        target[leaf] = weight
    return params


# Our names of a model's first weights, in the order in which Keras gives them.
_CNN_WEIGHTS = ("Embed_0/embedding", "Conv_0/kernel", "Conv_0/bias")
_FIRST_WEIGHTS = {
    "mlp": (),
    "embedding_mlp": ("Embed_0/embedding",),
    "cnn": _CNN_WEIGHTS,
    "cnn_global": _CNN_WEIGHTS,
    "pooled": ("Embed_0/embedding",),
    "lstm": ("Embed_0/embedding", "kernel", "recurrent_kernel", "bias"),
}
