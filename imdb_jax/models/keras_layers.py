"""What our models are in Keras, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from flax import linen as nn

from imdb_jax.errors import UserError
from imdb_jax.models.cnn import CNN
from imdb_jax.models.embedding_mlp import EmbeddingMLP
from imdb_jax.models.lstm import LSTM
from imdb_jax.models.mlp import MLP
from imdb_jax.models.pooled import Pooled


class KerasLayer(NamedTuple):
    """A layer of a Keras model."""

    kind: str  # name of the class in `keras.layers`
    options: dict[str, Any]  # arguments of the class; all others are Keras' defaults
    weights: tuple[str, ...] = ()  # names in our parameters, in Keras' order


def keras_layers(module: nn.Module, length: int) -> list[KerasLayer]:
    """Describe one of our models in Keras: the layers after the input, in order.

    `length` is the number of ids per review, which is the window of a pool over the whole review.
    Raises `UserError` for a model that has no twin in Keras.
    """
    layers: list[KerasLayer] = []
    widths: Sequence[int] = ()
    dropout: Sequence[float] = ()
    options: dict[str, Any]
    # Keras would take the default from a file in the person's home.
    last = {"data_format": "channels_last"}
    if isinstance(module, EmbeddingMLP | CNN | Pooled | LSTM):
        options = {"input_dim": module.num_words, "output_dim": module.embedding_dim}
        layers.append(KerasLayer("Embedding", options, ("Embed_0.embedding",)))
    match module:
        case MLP():
            widths, dropout = module.hidden, module.dropout
        case EmbeddingMLP():
            layers.append(KerasLayer("Flatten", last))
        case Pooled():
            layers.append(KerasLayer("GlobalAveragePooling1D", last))
        case CNN():
            options = {"filters": module.filters, "kernel_size": module.kernel_size, **last}
            options |= {"padding": "same", "activation": "relu"}
            window = module.pool_size or length
            layers += [
                KerasLayer("Conv1D", options, ("Conv_0.kernel", "Conv_0.bias")),
                KerasLayer("MaxPooling1D", {"pool_size": window, **last}),
                KerasLayer("Flatten", last),
            ]
        case LSTM():
            weights = ("kernel", "recurrent_kernel", "bias")
            layers.append(KerasLayer("LSTM", {"units": module.units}, weights))
        case _:
            raise UserError(
                f"Keras has no layers for {type(module).__name__}, a sum over a set of any size; "
                "export it to stablehlo, safetensors or npz"
            )
    if isinstance(module, EmbeddingMLP | CNN | Pooled):
        widths = [module.hidden] * (module.hidden > 0)
    for i, width in enumerate([*widths, 1]):
        options = {"units": width, "activation": "relu" if i < len(widths) else "sigmoid"}
        layers.append(KerasLayer("Dense", options, (f"Dense_{i}.kernel", f"Dense_{i}.bias")))
        if i < min(len(widths), len(dropout)):
            layers.append(KerasLayer("Dropout", {"rate": dropout[i]}))
    return layers


def output_shape(layer: KerasLayer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a layer's output for one review, from that of its input."""
    options = layer.options
    match layer.kind:
        case "Embedding":
            return (*shape, options["output_dim"])
        case "Conv1D":
            return (shape[0], options["filters"])
        case "MaxPooling1D":
            return (shape[0] // options["pool_size"], shape[1])
        case "GlobalAveragePooling1D":
            return shape[1:]
        case "Flatten":
            return (math.prod(shape),)
        case "Dropout":
            return shape
    return (options["units"],)
