"""A trained model as an ONNX file, which ONNX Runtime and others compute without JAX."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from imdb_jax import __version__
from imdb_jax.errors import require
from imdb_jax.inference.classifier import Classifier
from imdb_jax.models import create_model

# With it jax2onnx writes IR version 10: both belong to ONNX 1.16, and ONNX Runtime has read them
# since 1.18.
_OPSET = 21


def to_onnx(classifier: Classifier, length: str) -> bytes:
    """Convert a model, parameters included, to ONNX. Needs jax2onnx.

    The file maps `ids`, padded ids, int32 `[batch, length]`, to `logits`, the log-odds of
    'positive', float32 `[batch]`. The batch may have any size; `length` is a number, or a name
    where any length will do. A model that was trained in bfloat16 computes in float32.
    """
    jax2onnx, ir = require("jax2onnx", "onnx"), require("onnx_ir", "onnx")
    config = classifier.config
    model = create_model(config.arch, config.input.num_words, config.model)
    params = jax.device_get(classifier.params)
    shape = ("batch", int(length) if length.isdigit() else length)
    converted = jax2onnx.to_onnx(
        lambda ids: model.apply({"params": params}, ids),
        [jax.ShapeDtypeStruct(shape, np.int32)],
        model_name=config.arch,
        opset=_OPSET,
        input_names=["ids"],
        output_names=["logits"],
        return_mode="ir",
    )
    _tidy(converted)
    _describe(converted, classifier)
    data: bytes = ir.to_proto(converted).SerializeToString(deterministic=True)
    return data


def _tidy(model: Any) -> None:
    """Remove what nobody uses, of which onnx_ir and ONNX Runtime would warn line by line."""
    for graph in model.graphs():
        for name, value in list(graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                del graph.initializers[name]
        for node in graph:
            for value in node.outputs:
                if value.type is None:  # a shape is written as part of its type
                    value.shape = None


def _describe(model: Any, classifier: Classifier) -> None:
    """Say in the file what it is."""
    config, (negative, positive) = classifier.config, classifier.label_names
    known = {name: classifier.result.get(name) for name in ("dataset", "test_accuracy")}
    model.producer_name, model.producer_version = "imdb_jax", __version__
    model.doc_string = (
        f"The log-odds of {positive!r} against {negative!r} for reviews ({config.arch})."
    )
    model.metadata_props.update(
        {
            "arch": config.arch,
            "negative": negative,
            "positive": positive,
            **{name: str(value) for name, value in known.items() if value is not None},
        }
    )
