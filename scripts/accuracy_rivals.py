"""Trains a model of another program on the same reviews: `python scripts/accuracy_rivals.py nbsvm`.

- `tfidf`: scikit-learn's TF-IDF of words and bigrams, and its logistic regression.
- `nbsvm`: Wang and Manning's naive Bayes log-ratios of words to trigrams as features of liblinear's
  logistic regression.
- `fasttext`: fastText with bigrams.

Each as its users would write it; what has to be chosen was chosen on reviews held out of train,
by film. Prints the test accuracy as imdb_jax.train does, then the peak of memory.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from imdb_jax import cli
from imdb_jax.config import DataOptions
from imdb_jax.datasets.find import find_dataset
from imdb_jax.parallel.host_memory import peak_rss_mb
from imdb_jax.text.tokens import utf8

Predicted = NDArray[np.bool_]


@dataclass(frozen=True)
class Options:
    """What to train, on what."""

    model: tyro.conf.Positional[Literal["tfidf", "nbsvm", "fasttext"]]
    """Which model."""

    dataset: str = "imdb_reviews"
    """Data set."""

    data_dir: Path | None = None
    """TFDS data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""


def train(arguments: Sequence[str]) -> None:
    """Parses the arguments, trains, and prints the result."""
    default = Options(model=tyro.MISSING)
    options = cli.parse("accuracy_rivals", default, __doc__ or "", arguments)
    dataset = find_dataset(DataOptions(dataset=options.dataset, data_dir=options.data_dir))
    reviews = [dataset.read(split) for split in ("train", "test")]
    texts, tests = ([utf8(text).decode() for text in part.texts] for part in reviews)
    labels, expected = (part.labels > 0 for part in reviews)
    predicted = MODELS[options.model](texts, labels, tests)
    print(f"test accuracy {(predicted == expected).mean():.4f}", flush=True)
    print(f"peak memory {peak_rss_mb():.0f} MB")


def tfidf(texts: list[str], labels: Predicted, tests: list[str]) -> Predicted:
    """TF-IDF of words and bigrams, and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = LogisticRegression(C=TFIDF_C, max_iter=1000)
    model.fit(vectorizer.fit_transform(texts), labels)
    predicted: Predicted = model.predict(vectorizer.transform(tests))
    return predicted


def nbsvm(texts: list[str], labels: Predicted, tests: list[str]) -> Predicted:
    """Naive Bayes' log-ratios of words to trigrams, and liblinear's logistic regression."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    # Punctuation marks are words, as they are to the recipe `ngram`.
    vectorizer = CountVectorizer(
        ngram_range=(1, 3), min_df=2, binary=True, token_pattern=r"\w+|[^\w\s]"
    )
    counts = vectorizer.fit_transform(texts)
    p, q = (np.asarray(counts[labels == label].sum(axis=0)).ravel() + 1 for label in (True, False))
    ratios = np.log(p / p.sum()) - np.log(q / q.sum())
    model = LogisticRegression(C=NBSVM_C, solver="liblinear")
    model.fit(counts.multiply(ratios).tocsr(), labels)
    predicted: Predicted = model.predict(vectorizer.transform(tests).multiply(ratios).tocsr())
    return predicted


def fasttext(texts: list[str], labels: Predicted, tests: list[str]) -> Predicted:
    """FastText with bigrams, on all cores, of texts prepared as its tutorial does."""
    import fasttext as program

    def prepared(text: str) -> str:
        return re.sub(r"([.!?,'/()])", r" \1 ", text.lower()).replace("\n", " ")

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "train.txt")
        pairs = zip(texts, labels.tolist(), strict=True)
        lines = (f"__label__{int(label)} {prepared(text)}\n" for text, label in pairs)
        file.write_text("".join(lines), encoding="utf-8")
        model = program.train_supervised(
            str(file), wordNgrams=2, **FASTTEXT, thread=os.cpu_count() or 1, verbose=0
        )
    # `predict` of the last release does not go with NumPy 2; what it wraps does.
    found = [model.f.predict(prepared(text) + "\n", 1, 0.0, "strict") for text in tests]
    return np.array([best[0][1] == "__label__1" for best in found])


TFIDF_C, NBSVM_C = 10.0, 0.1
FASTTEXT: dict[str, Any] = {"lr": 0.5, "epoch": 5}
MODELS: dict[str, Callable[[list[str], Predicted, list[str]], Predicted]] = {
    "tfidf": tfidf,
    "nbsvm": nbsvm,
    "fasttext": fasttext,
}


if __name__ == "__main__":
    cli.run_command(train)
