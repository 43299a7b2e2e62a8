"""A trained model in other formats: the content of files, as pure functions of the model.

No format is pickle: reading a file runs no code of its author.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax import export

from imdb_jax.errors import require
from imdb_jax.exporting.keras_files import to_keras
from imdb_jax.exporting.named_params import named_params
from imdb_jax.exporting.onnx_file import to_onnx
from imdb_jax.exporting.web_page import web_page
from imdb_jax.inference.classifier import Classifier
from imdb_jax.inference.word_vectors import to_word2vec, word_vectors
from imdb_jax.training.step import predict_step


def length_axis(classifier: Classifier) -> str:
    """Return how many ids a model reads per review: a number, or 'length' where any will do."""
    form = classifier.input_format
    fixed = 0 if form.distinct or form.ngrams else form.max_length
    return str(fixed or "length")


def stablehlo(classifier: Classifier) -> bytes:
    """Compile a model, parameters included, to a StableHLO program (`jax.export`).

    The program maps padded ids, int32 `[batch, length]`, to the probability of 'positive', float32
    `[batch]`, on CPU, CUDA or TPU. The batch may have any size; the length is `length_axis`. The
    ids of `ngram` are those of the n-grams that a review holds.
    """
    require("flatbuffers", "export")  # jax.export writes with it, and does not ask for it
    params = jax.device_get(classifier.params)

    def probabilities(ids: jax.Array) -> jax.Array:  # the program is named after it
        return predict_step(classifier.model.apply, params, ids)

    shape = export.symbolic_shape(f"batch, {length_axis(classifier)}")
    exporter = export.export(jax.jit(probabilities), platforms=("cpu", "cuda", "tpu"))
    with _without_directories():
        return bytes(exporter(jax.ShapeDtypeStruct(shape, np.int32)).serialize())


@contextmanager
def _without_directories() -> Iterator[None]:
    """Make JAX name source files in a program without the directories of this machine."""
    option = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, option)
    jax.config.update(option, ".*/")
    try:
        yield
    finally:
        jax.config.update(option, before)


def safetensors(classifier: Classifier) -> bytes:
    """Write the parameters in the safetensors format, named as by `named_params`."""
    library = require("safetensors.numpy", "export")
    data: bytes = library.save(named_params(classifier.params), {"arch": classifier.config.arch})
    return data


def npz(classifier: Classifier) -> bytes:
    """Write the parameters as a NumPy archive, named as by `named_params`."""
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, **named_params(classifier.params))
    return data.getvalue()


# Format -> function from a model to the content of its files, by name.
FORMATS: dict[str, Callable[[Classifier], dict[str, bytes]]] = {
    "stablehlo": lambda classifier: {"model.stablehlo": stablehlo(classifier)},
    "safetensors": lambda classifier: {"model.safetensors": safetensors(classifier)},
    "npz": lambda classifier: {"model.npz": npz(classifier)},
    "onnx": lambda classifier: {"model.onnx": to_onnx(classifier, length_axis(classifier))},
    "keras": lambda classifier: to_keras(classifier.config, classifier.params),
    "html": lambda classifier: {"model.html": web_page(classifier)},
    "word2vec": lambda classifier: {"vectors.txt": to_word2vec(word_vectors(classifier))},
}
