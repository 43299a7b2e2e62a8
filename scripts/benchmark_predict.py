"""Reviews a second from raw text to probability, against fastText's `predict`.

    python -m imdb_jax.train --arch pooled
    python scripts/benchmark_predict.py runs/pooled

fastText's model is trained here: unigrams, vectors as long as ours, on the same reviews. Both get
the same raw texts; only ours lower-cases them and takes off the punctuation. The two take turns in
one process, and medians are printed, of the time that passes and of that of all processors. Needs
the extra `bench`.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

import imdb_jax
from imdb_jax import cli, tokenize
from imdb_jax.datasets.dataset import Reviews
from imdb_jax.datasets.find import find_dataset


@dataclass(frozen=True)
class Options:
    """What to measure."""

    run: tyro.conf.Positional[Path]
    """Run directory, of the recipe `pooled` for models of like cost."""

    repetitions: int = 9
    """Times each predicts all test reviews; the median counts."""

    num_reviews: int = 25_000
    """Test reviews predicted."""


def train_fasttext(reviews: Reviews, dim: int) -> Any:
    """Trains a classifier of the mean of unigram vectors, as fastText does by default."""
    import fasttext

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "train.txt"
        with path.open("w", encoding="utf-8") as file:
            for text, label in zip(reviews.texts, reviews.labels, strict=True):
                file.write(f"__label__{label} {' '.join(tokenize(text))}\n")
        return fasttext.train_supervised(str(path), dim=dim, thread=1, verbose=0)


def measure(predict: Callable[[], object]) -> tuple[float, float]:
    """Seconds that pass, and seconds of processor time."""
    wall, processors = time.perf_counter(), time.process_time()
    predict()
    return time.perf_counter() - wall, time.process_time() - processors


def benchmark(arguments: list[str]) -> None:
    """Prints a JSON object with both rates and their ratio."""
    options = cli.parse("benchmark_predict", Options(tyro.MISSING), __doc__ or "", arguments)
    classifier = imdb_jax.load(options.run)
    dataset = find_dataset(classifier.config.data)
    test = dataset.read("test")
    texts = [
        text if isinstance(text, str) else text.decode("utf-8", "replace")
        for text in test.texts[: options.num_reviews]
    ]
    # fastText refuses texts of several lines.
    texts = [text.replace("\n", " ") for text in texts]
    rival = train_fasttext(dataset.read("train"), classifier.config.model.get("embedding_dim", 16))

    def ours() -> object:
        return classifier.predict(texts)

    def theirs() -> object:
        # What `predict` calls, which itself fails with NumPy 2.
        return [rival.f.predict(text, 1, 0.0, "strict") for text in texts]

    candidates = {"imdb_jax": ours, "fasttext": theirs}
    for predict in candidates.values():
        predict()  # compiles, and builds what is built once
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for _ in range(options.repetitions):
        for name, predict in candidates.items():
            seconds[name].append(measure(predict))
    rates = {}
    for name, pairs in seconds.items():
        wall, processors = (statistics.median(column) for column in zip(*pairs, strict=True))
        rates[name] = {
            "reviews_per_second": round(len(texts) / wall),
            "reviews_per_processor_second": round(len(texts) / processors),
        }
    ratios = {
        f"ratio_{key}": round(rates["imdb_jax"][key] / rates["fasttext"][key], 2)
        for key in rates["imdb_jax"]
    }
    print(json.dumps({"dataset": dataset.name, "reviews": len(texts), **rates, **ratios}, indent=2))


if __name__ == "__main__":
    cli.run_command(benchmark)
