"""Keras models from our descriptions of them, and back."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import flax
import numpy as np
from flax import linen as nn
from numpy.typing import NDArray

from imdb_jax.config import Config, load_recipe, replace
from imdb_jax.errors import UserError, require
from imdb_jax.models import ARCHITECTURES, CNN
from imdb_jax.models.keras_layers import KerasLayer
from imdb_jax.models.keras_layers import keras_layers as keras_layers


def build_keras(config: Config, layers: Sequence[KerasLayer]) -> Any:
    """Build a `keras.Sequential` from ids to probabilities, not compiled.

    It runs on JAX, unless KERAS_BACKEND or an earlier import of Keras has chosen otherwise.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = require("keras", "keras")
    width = config.input.num_words if config.arch == "mlp" else config.input.max_length
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
    model: dict[str, Any], recipe: str | Config | None
) -> tuple[list[dict[str, Any]], Config]:
    """Read `config.json` of a `.keras` file: its layers, and the recipe with what they tell.

    The recipe, by default that of the architecture, keeps its own sizes of weights. Layers of
    dropout are left out; their rate is the entry 'dropout' of the layer before. Raises `UserError`
    if no architecture has these layers, or another one than the recipe's.
    """
    if model["class_name"] != "Sequential":
        raise UserError(f"it is a {model['class_name']} model; only Sequential models can be read")
    layers: list[dict[str, Any]] = []
    length = ((model.get("build_config") or {}).get("input_shape") or (None, None))[1]
    for layer in model["config"]["layers"]:
        kind = layer["class_name"]
        if layer["module"] != "keras.layers":
            raise UserError(f"its layer {kind} is not one of Keras' own")
        if kind == "InputLayer":
            length = layer["config"]["batch_shape"][1]
        elif kind not in ("Dropout", "SpatialDropout1D"):
            layers.append(layer)
        elif layers:
            layers[-1]["dropout"] = layer["config"]["rate"]
    if length is not None and length not in range(1, 1 << 24):
        raise UserError(f"a review cannot have {length} ids")
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
        return layers, replace(base, model=model)
    if ARCHITECTURES[arch] is CNN:
        model["pool_size"] = size
    return layers, replace(base, max_length=length or base.input.max_length, model=model)


def as_config(recipe: str | Config) -> Config:
    """Load a recipe that is given by its name."""
    return load_recipe(recipe) if isinstance(recipe, str) else recipe


def to_flax_params(module: nn.Module, weights: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    """Arrange the `get_weights()` of a Keras model as parameters of ours, if the numbers agree."""
    # The length of a pool's window changes no weight.
    names = [name for layer in keras_layers(module, 1) for name in layer.weights]
    return flax.traverse_util.unflatten_dict(dict(zip(names, weights, strict=True)), sep=".")
