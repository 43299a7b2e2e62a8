"""What a trained model becomes for other programs: files, as pure functions of the model.

There is no pickle among them: reading them runs no code of theirs.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import flax
import jax
import numpy as np
from jax import export
from numpy.typing import NDArray

from imdb_jax import keras_weights
from imdb_jax.classifier import Classifier
from imdb_jax.extras import require
from imdb_jax.step import predict_step
from imdb_jax.word_vectors import to_word2vec, word_vectors

_PLATFORMS = ("cpu", "cuda", "tpu")


def named_params(params: Any) -> dict[str, NDArray[Any]]:
    """Parameters by name, such as `Dense_0.kernel`: the tree's keys joined by dots."""
    flat: dict[str, Any] = flax.traverse_util.flatten_dict(params, sep=".")
    return {name: np.ascontiguousarray(jax.device_get(leaf)) for name, leaf in flat.items()}


def length_axis(classifier: Classifier) -> str:
    """How many ids a model reads per review: a number, or 'length' where it may be any."""
    any_length = (
        getattr(classifier.model, "bag_of_words", False) or not classifier.config.max_length
    )
    return "length" if any_length else str(classifier.config.max_length)


def stablehlo(classifier: Classifier) -> bytes:
    """Compiles a model, parameters included, to a StableHLO program (`jax.export`).

    The program maps padded ids, int32 `[batch, length]`, to the probability of 'positive', float32
    `[batch]`, on CPU, CUDA or TPU. The size of the batch is free; the length is `length_axis`.

    Raises:
      UserError: flatbuffers is not installed.
    """
    require("flatbuffers", "export")  # jax.export writes with it, and does not ask for it
    params = jax.device_get(classifier.params)

    def probabilities(ids: jax.Array) -> jax.Array:
        return predict_step(classifier.model.apply, params, ids)

    shape = export.symbolic_shape(f"batch, {length_axis(classifier)}")
    ids = jax.ShapeDtypeStruct(shape, np.int32)
    exported = export.export(jax.jit(probabilities), platforms=_PLATFORMS)(ids)
    return bytes(exported.serialize())


def safetensors(classifier: Classifier) -> bytes:
    """Writes the parameters in the safetensors format, named as by `named_params`."""
    library = require("safetensors.numpy", "export")
    data: bytes = library.save(named_params(classifier.params), {"arch": classifier.config.arch})
    return data


def npz(classifier: Classifier) -> bytes:
    """Writes the parameters as a NumPy archive, named as by `named_params`."""
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, **named_params(classifier.params))
    return data.getvalue()


def _keras(classifier: Classifier) -> dict[str, bytes]:
    config, params = classifier.config, jax.device_get(classifier.params)
    return {
        "model.keras": keras_weights.to_keras(config, params),
        "model.weights.h5": keras_weights.to_weights_h5(config, params),
    }


# Format -> the files, name -> content, that a model becomes in it.
FORMATS: dict[str, Callable[[Classifier], dict[str, bytes]]] = {
    "stablehlo": lambda classifier: {"model.stablehlo": stablehlo(classifier)},
    "safetensors": lambda classifier: {"model.safetensors": safetensors(classifier)},
    "npz": lambda classifier: {"model.npz": npz(classifier)},
    "keras": _keras,
    "word2vec": lambda classifier: {"vectors.txt": to_word2vec(word_vectors(classifier))},
}
