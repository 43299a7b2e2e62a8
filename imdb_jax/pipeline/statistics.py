"""Statistics of an encoded data set: sizes, lengths and words of its reviews."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from imdb_jax.datasets.dataset import Dataset
from imdb_jax.errors import UserError
from imdb_jax.pipeline.corpus import Corpus
from imdb_jax.pipeline.keras_imdb import keras_orders
from imdb_jax.text.sequences import INDEX_FROM, ranks_to_ids
from imdb_jax.text.vocabulary import Vocabulary

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


def explore(
    corpus: Corpus[Vocabulary], num_words: int | None = None, max_length: int = 500, top: int = 20
) -> dict[str, Any]:
    """Return the figures that `explore --json` prints, with `top` words in each list.

    Lengths count ids, the start mark included. Lists of words are from the training reviews only.
    Ids from `num_words` on count as one, 'unknown'; None cuts only the last.
    """
    lengths, words = review_lengths(corpus), corpus.vocabulary.words
    splits = {}
    for name, labels in (("train", corpus.train.labels), ("test", corpus.test.labels)):
        num_positive = int((labels == 1).sum())
        splits[name] = {"positive": num_positive, "negative": len(labels) - num_positive}
    train, train_labels = corpus.train.ranks, corpus.train.labels
    classes = [train[np.flatnonzero(train_labels == label)] for label in (1, 0)]
    positive, negative, in_test = (
        np.bincount(ranks.values, minlength=len(words) + 1)[1:]  # no rank is 0
        for ranks in (*classes, corpus.test.ranks)
    )
    in_train = positive + negative
    scores = log_odds(positive, negative)
    order = np.argsort(-scores, kind="stable")
    most_tied = {
        "positive": order[: np.count_nonzero(scores > 0)][:top],
        "negative": order[::-1][: np.count_nonzero(scores < 0)][:top],
    }
    return {
        "dataset": corpus.name,
        "num_reviews": len(lengths),
        "class_counts": {name: sum(s[name] for s in splits.values()) for name in splits["train"]},
        "split_class_counts": splits,
        "num_words": num_words,
        "distinct_words": count_distinct_ids(in_train + in_test, num_words),
        "mean_length": float(lengths.mean()),
        "std_length": float(lengths.std()),
        "length_quantiles": {f"{q:g}": float(np.quantile(lengths, q)) for q in _QUANTILES},
        "max_length": max_length,
        "share_cut": float((lengths > max_length).mean()),
        "frequent_words": [
            {"word": word, "count": int(count)}
            for word, count in zip(words[:top], in_train[:top], strict=True)
        ],
        "typical_words": {
            label: [
                {
                    "word": words[i],
                    "score": float(scores[i]),
                    "positive": int(positive[i]),
                    "negative": int(negative[i]),
                }
                for i in ranks
            ]
            for label, ranks in most_tied.items()
        },
    }


def review_lengths(corpus: Corpus[Vocabulary]) -> Int[np.ndarray, " num_reviews"]:
    """Return the number of ids of each review, train then test, the start mark included."""
    return np.concatenate([corpus.train.ranks.lengths, corpus.test.ranks.lengths]) + 1


def count_distinct_ids(counts: Int[np.ndarray, " num_words"], num_words: int | None) -> int:
    """Count the distinct ids that `load_data(num_words)` returns, marks included.

    As in `load_data`, None cuts the one word with the highest id. `counts` are those of the words.
    """
    ids = np.flatnonzero(counts) + INDEX_FROM + 1
    if not len(ids):
        return 1
    kept = np.count_nonzero(ids < (num_words or ids[-1]))
    return int(1 + kept + (kept < len(ids)))  # the start mark, the words, the unknown mark


def log_odds(
    first: Int[np.ndarray, " num_words"], second: Int[np.ndarray, " num_words"]
) -> Float[np.ndarray, " num_words"]:
    """Return the log-odds ratio of words between two groups of texts, as z-scores, float64.

    It has an informative Dirichlet prior, after Monroe, Colaresi and Quinn, "Fightin' Words"
    (2008), section 3. Let a word have counts y1, y2 in groups of n1, n2 words, and prior a out of
    A in all. Its odds in group i are (yi + a) / (ni + A - yi - a), the variance of the logarithm
    of their ratio is about 1 / (y1 + a) + 1 / (y2 + a), and the score is that logarithm over its
    standard deviation. The prior is the counts of both groups: a = y1 + y2, which must not be 0. It
    draws rare words towards 0.
    """
    if len(first) < 2:
        return np.zeros(len(first))  # a single word has no odds against others
    prior = first + second
    groups = [counts + prior for counts in (first, second)]
    odds = [counts / (counts.sum() - counts) for counts in groups]
    return np.log(odds[0] / odds[1]) / np.sqrt(1 / groups[0] + 1 / groups[1])


def show_review(
    dataset: Dataset, corpus: Corpus[Vocabulary], split: str, number: int, num_words: int | None
) -> dict[str, Any]:
    """Return a review, by its place in a split of `load_data`: as text, as ids and decoded.

    Ids from `num_words` on are 'unknown'. Raises `UserError` if there is no such review.
    """
    train_rows, test_rows = keras_orders(len(corpus.train.labels), len(corpus.test.labels))
    rows, reviews = (train_rows, corpus.train) if split == "train" else (test_rows, corpus.test)
    if not 0 <= number < len(rows):
        raise UserError(f"there is no {split} review {number}, only 0 to {len(rows) - 1}")
    row = rows[number]
    ids = ranks_to_ids(reviews.ranks[row : row + 1], num_words)[0]
    text = dataset.read(split).texts[row]
    return {
        "dataset": corpus.name,
        "split": split,
        "review": number,
        "label": dataset.label_names[reviews.labels[row]],
        "text": text if isinstance(text, str) else text.decode("utf-8", "replace"),
        "ids": ids.tolist(),
        "decoded": corpus.vocabulary.decode(ids),
    }
