"""Reviews a second: raw text to word ids against Keras, and to probabilities against fastText."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark_children import Bench, python
from benchmark_training import spread
from rich.table import Table

from imdb_jax.config import Config
from imdb_jax.datasets.find import find_dataset
from imdb_jax.progress import Report
from imdb_jax.text.vocabulary import Vocabulary

RATES = {
    "adapt": "vocabulary, reviews/s",
    "encode": "encoding, reviews/s",
    "prepare": "both, reviews/s",
}
"""What is measured of encoding, and how the table calls it."""

_KERAS_BATCH = 512  # reviews that TextVectorization turns into ids at a time
_KERAS_TOKENS = 10_000
_EPOCHS = 3  # of the model that predicts: what its weights are changes no rate

NOTES = [
    "encoding is on one core; ours encodes the training reviews while it makes the vocabulary of "
    "all their words, Keras' adapt makes its vocabulary only, of 10,000 words; Keras then encodes "
    "512 reviews at a time as ragged tensors, which spares it the padding; 'both' is from raw "
    "texts of train and test reviews to the ids of all of them",
    "predicting is by scripts/benchmark_predict.py, on all cores, with fastText as the rival",
]
NO_FASTTEXT = (
    "fasttext is not installed (it has no wheel for Python 3.12 and later), so that predicting was "
    "not measured"
)


def measure_text(bench: Bench, repeats: int, report: Report) -> dict[str, Any]:
    """Measures encoding in turns, and prediction if fastText is there.

    Args:
      bench: what the measurements share.
      repeats: measurements of each.
      report: is told of every measurement.
    """
    backends = {"ours": "", "keras": "tensorflow"}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in backends}
    for repeat in range(repeats):
        # Each is the first in every other repeat.
        for name in list(backends)[:: 1 if repeat % 2 == 0 else -1]:
            figures = bench.measure(f"encode_{name}", {}, backends[name])
            found[name].append(figures)
            report(f"repeat {repeat + 1}/{repeats}, {name}: {figures['encode']:.0f} reviews/s")
    rates = {
        name: {rate: spread([figures[rate] for figures in runs]) for rate in RATES}
        for name, runs in found.items()
    }
    predicting = measure_predicting(bench, repeats, report)
    return {
        "text": rates,
        **{f"ratio_{rate}": _ratio(rates, rate) for rate in RATES},
        "predict": predicting,
        "ratio_predict": predicting and predicting["ratio_reviews_per_second"],
        "text_notes": [NOTES[0], NOTES[1] if predicting else NO_FASTTEXT],
    }


def _ratio(rates: Mapping[str, Any], rate: str) -> float:
    ratio: float = rates["ours"][rate]["median"] / rates["keras"][rate]["median"]
    return ratio


def measure_predicting(bench: Bench, repeats: int, report: Report) -> dict[str, Any] | None:
    """What `benchmark_predict.py` says of a model trained here; None without fastText."""
    if importlib.util.find_spec("fasttext") is None:
        return None
    config, workdir = bench.config, bench.directory / "predicts"
    command = ["-m", "imdb_jax.train", "--arch", "pooled", "--dataset", config.data.dataset]
    command += ["--data-dir", str(config.data.data_dir)] if config.data.data_dir else []
    command += ["--epochs", str(_EPOCHS), "--quiet", "--workdir", str(workdir)]
    report("training a model to predict with")
    python(command, bench.environment)
    script = str(Path(__file__).with_name("benchmark_predict.py"))
    report("predicting")
    repetitions = str(max(9, repeats))
    finished = python([script, str(workdir), "--repetitions", repetitions], bench.environment)
    result: dict[str, Any] = json.loads(finished.output)
    return result


def _stay_on_one_core() -> None:
    """Threads that are made from here on stay there too."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def encode_ours(config: Config) -> dict[str, float]:
    """Reviews a second: making the vocabulary, ranking the test reviews' words, and both."""
    _stay_on_one_core()
    dataset = find_dataset(config.data)
    train, test = (dataset.read(split).texts for split in ("train", "test"))
    started = time.perf_counter()
    vocabulary, _ = Vocabulary.build_and_rank(train, dataset.ties)
    vocabulary.rank(test[:1])  # what it builds when first used is part of making it
    adapted = time.perf_counter()
    vocabulary.rank(test)
    encoded = time.perf_counter()
    return {
        "adapt": len(train) / (adapted - started),
        "encode": len(test) / (encoded - adapted),
        "prepare": (len(train) + len(test)) / (encoded - started),
    }


def encode_keras(config: Config) -> dict[str, float]:
    """The same of Keras' TextVectorization, from texts that are TensorFlow's already."""
    _stay_on_one_core()
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    dataset = find_dataset(config.data)
    train, test = (tf.constant(list(dataset.read(split).texts)) for split in ("train", "test"))

    def vectorization() -> keras.layers.TextVectorization:
        return keras.layers.TextVectorization(
            max_tokens=_KERAS_TOKENS,
            standardize="lower_and_strip_punctuation",
            split="whitespace",
            ragged=True,
        )

    first = vectorization()  # bears what TensorFlow does once only
    first.adapt(train[:8])
    first(test[:8])
    layer = vectorization()

    def encode(texts: tf.Tensor) -> float:
        started = time.perf_counter()
        for start in range(0, len(texts), _KERAS_BATCH):
            layer(texts[start : start + _KERAS_BATCH])
        return time.perf_counter() - started

    started = time.perf_counter()
    layer.adapt(train)
    adapting = time.perf_counter() - started
    train_seconds, test_seconds = encode(train), encode(test)
    return {
        "adapt": len(train) / adapting,
        "encode": len(test) / test_seconds,
        "prepare": (len(train) + len(test)) / (adapting + train_seconds + test_seconds),
    }


def table(title: str, measured: Mapping[str, Any]) -> Table:
    """Rates of ours and Keras', with their spread, and those of predicting if they were taken."""
    result = Table(title=title, title_justify="left")
    result.add_column("", no_wrap=True)
    for heading in [*RATES.values(), "predicting, reviews/s"]:
        result.add_column(heading, justify="right", no_wrap=True)
    predicting = measured["predict"] or {}
    for name, rival in (("ours", "imdb_jax"), ("keras", ""), ("fasttext", "fasttext")):
        rates = measured["text"].get(name, {})
        cells = [_cell(rates.get(rate)) for rate in RATES]
        predicted = predicting.get(rival, {}).get("reviews_per_second")
        if rates or predicted:
            result.add_row(name, *cells, f"{predicted:,}" if predicted else "-")
    return result


def _cell(rate: Mapping[str, float] | None) -> str:
    if rate is None:
        return "-"
    return f"{rate['median']:,.0f}\n({rate['min']:,.0f}..{rate['max']:,.0f})"


def verdict(measured: Mapping[str, Any]) -> list[str]:
    """The ratios, a line each, and the notes."""
    ratios = {f"ratio_{name}": measured[f"ratio_{name}"] for name in [*RATES, "predict"]}
    lines = [f"{name}: {r:.2f}" for name, r in ratios.items() if r is not None]
    return lines + [f"note: {note}" for note in measured["text_notes"]]
