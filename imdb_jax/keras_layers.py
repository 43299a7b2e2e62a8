"""What our models are in Keras, layer by layer."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import flax
import numpy as np
from flax import linen as nn
from numpy.typing import NDArray

from imdb_jax.config import Config, load_recipe
from imdb_jax.errors import UserError, require
from imdb_jax.models import ARCHITECTURES, CNN, LSTM, MLP, EmbeddingMLP, Pooled


class KerasLayer(NamedTuple):
    """A layer of a Keras model.

    Attributes:
      kind: name of the class in `keras.layers`.
      options: arguments of the class; all others are Keras' defaults.
      weights: names of the weights in our parameters, in Keras' order.
    """

    kind: str
    options: dict[str, Any]
    weights: tuple[str, ...] = ()


def keras_layers(module: nn.Module, length: int) -> list[KerasLayer]:
    """Describe one of our models in Keras: the layers after the input, in order.

    Args:
      module: the model.
      length: ids per review, which is the window of a pool over the whole review.
    """
    layers = [*_hidden_layers(module, length)]
    number = sum(layer.kind == "Dense" for layer in layers)
    return [*layers, _dense(number, 1, "sigmoid")]


# Else the person's Keras configuration would decide.
_CHANNELS_LAST = {"data_format": "channels_last"}
_FLATTEN = KerasLayer("Flatten", _CHANNELS_LAST)


def _hidden_layers(module: nn.Module, length: int) -> Iterable[KerasLayer]:
    match module:
        case MLP():
            for i, width in enumerate(module.hidden):
                yield _dense(i, width)
                if i < len(module.dropout):
                    yield KerasLayer("Dropout", {"rate": module.dropout[i]})
        case EmbeddingMLP():
            yield from (_embedding(module), _FLATTEN, *_dense_if(module.hidden))
        case CNN():
            pool = {"pool_size": module.pool_size or length, **_CHANNELS_LAST}
            yield from (_embedding(module), _convolution(module))
            yield from (KerasLayer("MaxPooling1D", pool), _FLATTEN, *_dense_if(module.hidden))
        case Pooled():
            mean = KerasLayer("GlobalAveragePooling1D", _CHANNELS_LAST)
            yield from (_embedding(module), mean, *_dense_if(module.hidden))
        case LSTM():
            yield _embedding(module)
            weights = ("kernel", "recurrent_kernel", "bias")
            yield KerasLayer("LSTM", {"units": module.units}, weights)
        case _:
            raise NotImplementedError(f"{type(module).__name__} has no Keras twin")


def _dense(number: int, units: int, activation: str = "relu") -> KerasLayer:
    options = {"units": units, "activation": activation}
    return KerasLayer("Dense", options, (f"Dense_{number}.kernel", f"Dense_{number}.bias"))


def _dense_if(units: int) -> list[KerasLayer]:
    return [_dense(0, units)] if units else []


def _embedding(module: EmbeddingMLP | CNN | Pooled | LSTM) -> KerasLayer:
    options = {"input_dim": module.num_words, "output_dim": module.embedding_dim}
    return KerasLayer("Embedding", options, ("Embed_0.embedding",))


def _convolution(module: CNN) -> KerasLayer:
    options = {
        "filters": module.filters,
        "kernel_size": module.kernel_size,
        "padding": "same",
        "activation": "relu",
        **_CHANNELS_LAST,
    }
    return KerasLayer("Conv1D", options, ("Conv_0.kernel", "Conv_0.bias"))


def build_keras(config: Config, layers: Sequence[KerasLayer]) -> Any:
    """Build a Keras model, not compiled: a `keras.Sequential`, from ids to probabilities.

    It runs on JAX, unless KERAS_BACKEND or an earlier import of Keras has chosen otherwise.

    Raises:
      UserError: Keras is not installed.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = require("keras", "keras")
    width = config.num_words if config.arch == "mlp" else config.max_length
    made = [
        # Names that are given leave Keras' own numbering of names alone.
        getattr(keras.layers, layer.kind)(**layer.options, name=f"{layer.kind.lower()}_{number}")
        for number, layer in enumerate(layers)
    ]
    return keras.Sequential([keras.Input((width,), name="input"), *made], name="model")


# The kinds of an architecture's layers, in order, but for dropout.
_PATTERNS = {
    "mlp": r"(Dense )+",
    "embedding_mlp": r"Embedding Flatten (Dense ){1,2}",
    "cnn": r"Embedding Conv1D MaxPooling1D Flatten (Dense ){1,2}",
    "cnn_global": r"Embedding Conv1D GlobalMaxPooling1D (Dense ){1,2}",
    "pooled": r"Embedding GlobalAveragePooling1D (Dense ){1,2}",
    "lstm": r"Embedding LSTM Dense ",
}


def described_config(
    layers: Sequence[dict[str, Any]], length: int | None, recipe: str | Config | None
) -> Config:
    """Return a recipe with all that a description of layers tells but the sizes of weights.

    Args:
      layers: the layers after the input, as Keras describes them in JSON, without dropout, whose
        rate is the entry 'dropout' of the layer before.
      length: size of the input; None if it is free.
      recipe: the recipe, or its name; by default that of the architecture with these layers.

    Raises:
      UserError: no architecture has these layers, or the recipe is for another architecture.
    """
    kinds = [layer["class_name"] for layer in layers]
    written = "".join(f"{kind} " for kind in kinds)
    arch = next((arch for arch, kinds in _PATTERNS.items() if re.fullmatch(kinds, written)), None)
    if arch is None:
        raise UserError(f"none of our architectures has the layers {', '.join(kinds)}")
    size = layers[2]["config"]["pool_size"][0] if arch == "cnn" else 0
    if arch == "cnn" and size == length:
        arch, size = "cnn_global", 0
    base = as_config(recipe or arch)
    if ARCHITECTURES.get(base.arch) is not ARCHITECTURES[arch]:
        raise UserError(f"its layers are those of {arch}, not of {base.arch}")
    model = dict(base.model)
    if arch == "mlp":
        model["dropout"] = [layer.get("dropout", 0.0) for layer in layers[:-1]]
        while model["dropout"] and not model["dropout"][-1]:
            model["dropout"].pop()
        return dataclasses.replace(base, model=model)
    if ARCHITECTURES[arch] is CNN:
        model["pool_size"] = size
    return dataclasses.replace(base, max_length=length or base.max_length, model=model)


def as_config(recipe: str | Config) -> Config:
    """Load a recipe that is given by its name."""
    return load_recipe(recipe) if isinstance(recipe, str) else recipe


def to_flax_params(module: nn.Module, weights: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    """Arrange the weights of a Keras model as the parameters of ours.

    Args:
      module: our model.
      weights: what `get_weights()` of the Keras model returns.

    Returns:
      The tree that our model's `init` returns under 'params', with these weights.

    Raises:
      ValueError: there are more or fewer weights than the model has.
    """
    # The length of a pool's window changes no weight.
    names = [name for layer in keras_layers(module, 1) for name in layer.weights]
    return flax.traverse_util.unflatten_dict(dict(zip(names, weights, strict=True)), sep=".")
