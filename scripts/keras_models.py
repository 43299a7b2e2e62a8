"""The Keras twins of our architectures, written as the tutorials write them.

The baseline trains them, and the tests compare our models with them. Keras runs on the backend that
the environment variable KERAS_BACKEND names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from jaxtyping import Float32, Int32, UInt
from numpy.typing import NDArray

from imdb_jax.config import Config

# Our models, hence JAX and Flax, are imported where they are asked what they are in Keras:
# `assemble` and `inputs` need neither, so that a process that measures Keras need not hold them.


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
    from imdb_jax.exporting import keras_layers
    from imdb_jax.models import create_model

    module = create_model(config.arch, config.input.num_words, config.model)
    layers = keras_layers.keras_layers(module, length)
    return assemble(config, length, ((layer.kind, layer.options) for layer in layers))


def assemble(
    config: Config, length: int, layers: Iterable[tuple[str, dict[str, Any]]]
) -> keras.Model:
    """Puts the layers of a model after its input, as `build` does.

    Args:
      config: as in `build`; only `arch` and `num_words` count.
      length: as in `build`.
      layers: class in `keras.layers` and its arguments, of each layer in order.
    """
    width = config.input.num_words if config.arch == "mlp" else length
    made = [getattr(keras.layers, kind)(**options) for kind, options in layers]
    return keras.Sequential([keras.Input((width,)), *made])


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
    hot = np.zeros((len(ids), config.input.num_words), np.float32)
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
    from imdb_jax.exporting import keras_layers
    from imdb_jax.models import create_model

    module = create_model(config.arch, config.input.num_words, config.model)
    return keras_layers.to_flax_params(module, weights)
