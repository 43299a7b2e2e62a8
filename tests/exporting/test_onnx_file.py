"""ONNX files: ONNX Runtime computes from them what the model computes, where JAX is not."""

import io
import logging

import numpy as np
import pytest
from exported_examples import assert_example_predicts_without
from small_models import SMALL, TEXTS, small_classifier

from imdb_jax.exporting.directory import write_export
from imdb_jax.exporting.formats import length_axis
from imdb_jax.exporting.onnx_file import to_onnx

pytest.importorskip("jax2onnx", reason="jax2onnx is not installed (extra `onnx`)")
import onnx
import onnxruntime

VARIANTS = {
    **{arch: small_classifier(arch) for arch in SMALL},
    "mlp, no hidden layer": small_classifier("mlp", model={"hidden": [], "dropout": []}),
    "embedding_mlp, no hidden layer": small_classifier(
        "embedding_mlp", model={"embedding_dim": 2, "hidden": 0}
    ),
    "cnn, wide kernel": small_classifier(
        "cnn", model={**SMALL["cnn"], "kernel_size": 12, "pool_size": 4}
    ),
}


def convert(model) -> bytes:
    return to_onnx(model, length_axis(model))


def logits(model, session, texts) -> np.ndarray:
    ids = model.encode(texts).astype(np.int32)
    [found] = session.run(["logits"], {"ids": ids})
    assert found.dtype == np.float32
    assert found.shape == (len(texts),)
    return found


def assert_same(probabilities, found, atol=1e-6):
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), probabilities, rtol=0, atol=atol)


@pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS)
def test_onnx_runtime_gives_the_same_probabilities(model, capfd, caplog):
    with caplog.at_level(logging.WARNING):
        data = convert(model)
    onnx.checker.check_model(data, full_check=True)
    session = onnxruntime.InferenceSession(data)
    [ids], [output] = session.get_inputs(), session.get_outputs()
    assert (ids.name, ids.type, ids.shape[0]) == ("ids", "tensor(int32)", "batch")
    assert ids.shape[1] == ("length" if model.config.arch in ("mlp", "ngram") else 9)
    assert (output.name, output.type, output.shape) == ("logits", "tensor(float)", ["batch"])
    for texts in (TEXTS, TEXTS[:1]):  # any size of batch
        assert_same(model.predict(texts), logits(model, session, texts))
    # Nobody has to read what a library thinks of a file that another one wrote.
    assert (caplog.text, capfd.readouterr().err) == ("", "")


def test_a_model_in_bfloat16_computes_in_float32():
    model = small_classifier("lstm", dtype="bfloat16")
    session = onnxruntime.InferenceSession(convert(model))
    same = small_classifier("lstm")
    assert_same(same.predict(TEXTS), logits(model, session, TEXTS))


@pytest.mark.parametrize("arch", ["mlp", "ngram"])
def test_sets_of_words_may_have_any_length(arch):
    session = onnxruntime.InferenceSession(convert(small_classifier(arch)))
    [short], [padded] = (
        session.run(["logits"], {"ids": np.array([ids], np.int32)})[0]
        for ids in ([1, 5, 7], [0, 0, 1, 5, 0, 7])
    )
    assert short == pytest.approx(padded, abs=1e-6)


def test_the_file_says_what_it_is():
    model = small_classifier("pooled")
    model.result.update(dataset="synthetic", test_accuracy=0.75)
    found = onnx.load_model(io.BytesIO(convert(model)))
    assert found.producer_name == "imdb_jax"
    assert "'positive' against 'negative'" in found.doc_string
    assert {entry.key: entry.value for entry in found.metadata_props} == {
        "arch": "pooled",
        "negative": "negative",
        "positive": "positive",
        "dataset": "synthetic",
        "test_accuracy": "0.75",
    }


@pytest.mark.parametrize("arch", SMALL)
def test_the_example_needs_onnx_runtime_only(arch, tmp_path):
    model = small_classifier(arch)
    write_export(model, "onnx", tmp_path)
    assert_example_predicts_without(["imdb_jax", "jax", "flax", "jax2onnx"], tmp_path, model)
