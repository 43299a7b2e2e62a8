"""Statistics of an encoded data set: sizes, lengths and words of its reviews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from imdb_jax.corpus import Corpus, EncodedReviews, keras_orders
from imdb_jax.dataset import Dataset
from imdb_jax.encoding import INDEX_FROM, Sequences, Vocabulary, ranks_to_ids
from imdb_jax.errors import UserError

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class FrequentWord:
    """A word and its number of occurrences in the training reviews."""

    word: str
    count: int


@dataclass(frozen=True)
class TypicalWord:
    """A word that one class uses more than the other.

    Attributes:
      word: the word.
      score: a z-score, see `log_odds`.
      positive, negative: its number of occurrences in the training reviews of each class.
    """

    word: str
    score: float
    positive: int
    negative: int


@dataclass(frozen=True)
class Exploration:
    """The figures of a data set, over the reviews of both splits unless stated otherwise.

    Attributes:
      dataset: its name.
      num_reviews: number of reviews.
      class_counts: number of 'positive' and of 'negative' reviews.
      split_class_counts: the same for each split.
      num_words: ids from here on count as 'unknown'; None if all count.
      distinct_words: number of distinct ids, see `count_distinct_ids`.
      mean_length, std_length: mean and (population) standard deviation of the number of ids of a
        review, the start mark included.
      length_quantiles: quantiles of these numbers.
      max_length: a number of ids.
      share_cut: share of the reviews that have more ids.
      frequent_words: the most frequent words of the training reviews.
      typical_words: the words of the training reviews most tied to each class.
    """

    dataset: str
    num_reviews: int
    class_counts: Mapping[str, int]
    split_class_counts: Mapping[str, Mapping[str, int]]
    num_words: int | None
    distinct_words: int
    mean_length: float
    std_length: float
    length_quantiles: Mapping[str, float]
    max_length: int
    share_cut: float
    frequent_words: Sequence[FrequentWord]
    typical_words: Mapping[str, Sequence[TypicalWord]]


def explore(
    corpus: Corpus[Vocabulary], num_words: int | None = None, max_length: int = 500, top: int = 20
) -> Exploration:
    """Compute the figures of a data set.

    Args:
      corpus: the encoded reviews.
      num_words: ids from here on count as one, 'unknown'.
      max_length: number of ids that the longest uncut review has.
      top: number of words in each list.
    """
    lengths = review_lengths(corpus)
    words = corpus.vocabulary.words[:top]
    counts = count_words(corpus.train.ranks, len(corpus.vocabulary))[:top]
    frequent_words = [FrequentWord(word, int(n)) for word, n in zip(words, counts, strict=True)]
    splits = {name: class_counts(getattr(corpus, name)) for name in ("train", "test")}
    return Exploration(
        dataset=corpus.name,
        num_reviews=len(lengths),
        class_counts={name: sum(s[name] for s in splits.values()) for name in splits["train"]},
        split_class_counts=splits,
        num_words=num_words,
        distinct_words=count_distinct_ids(corpus, num_words),
        mean_length=float(lengths.mean()),
        std_length=float(lengths.std()),
        length_quantiles={f"{q:g}": float(np.quantile(lengths, q)) for q in QUANTILES},
        max_length=max_length,
        share_cut=float((lengths > max_length).mean()),
        frequent_words=frequent_words,
        typical_words=typical_words(corpus, top),
    )


def class_counts(reviews: EncodedReviews) -> dict[str, int]:
    """Count the positive and the negative reviews."""
    positive = int(np.count_nonzero(reviews.labels == 1))
    return {"positive": positive, "negative": len(reviews.labels) - positive}


def review_lengths(corpus: Corpus[Vocabulary]) -> Int[np.ndarray, " num_reviews"]:
    """Return the number of ids of each review, train then test, the start mark included."""
    return np.concatenate([corpus.train.ranks.lengths, corpus.test.ranks.lengths]) + 1


def count_words(ranks: Sequences, num_words: int) -> Int[np.ndarray, " num_words"]:
    """Count the occurrences of each word, by rank."""
    return np.bincount(ranks.values, minlength=num_words + 1)[1:]


def count_distinct_ids(corpus: Corpus[Vocabulary], num_words: int | None = None) -> int:
    """Count the distinct ids that `load_data(num_words)` returns, marks included.

    As in `load_data`, None cuts the one word with the highest id.
    """
    size = len(corpus.vocabulary)
    counts = count_words(corpus.train.ranks, size) + count_words(corpus.test.ranks, size)
    ids = np.flatnonzero(counts) + INDEX_FROM + 1
    if not len(ids):
        return 1
    kept = np.count_nonzero(ids < (num_words or ids[-1]))
    return int(1 + kept + (kept < len(ids)))  # the start mark, the words, the unknown mark


def typical_words(corpus: Corpus[Vocabulary], top: int) -> dict[str, list[TypicalWord]]:
    """Return the words of the training reviews most tied to each class, by `log_odds`."""
    train, words = corpus.train, corpus.vocabulary.words
    positive, negative = (
        count_words(train.ranks[np.flatnonzero(train.labels == label)], len(words))
        for label in (1, 0)
    )
    scores = log_odds(positive, negative)
    order = np.argsort(-scores, kind="stable")

    def listed(ranks: Int[np.ndarray, " number"]) -> list[TypicalWord]:
        return [
            TypicalWord(words[i], float(scores[i]), int(positive[i]), int(negative[i]))
            for i in ranks
        ]

    tied = {"positive": order[scores[order] > 0], "negative": order[::-1][scores[order[::-1]] < 0]}
    return {name: listed(ranks[:top]) for name, ranks in tied.items()}


def log_odds(
    first: Int[np.ndarray, " num_words"], second: Int[np.ndarray, " num_words"]
) -> Float[np.ndarray, " num_words"]:
    """Return the log-odds ratio of each word between two groups of texts, as a z-score.

    It has an informative Dirichlet prior, after Monroe, Colaresi and Quinn, "Fightin' Words"
    (2008), section 3. Let a word have counts y1, y2 in groups of n1, n2 words, and prior a out of
    A in all. Its odds in group i are (yi + a) / (ni + A - yi - a), the variance of the logarithm
    of their ratio is about 1 / (y1 + a) + 1 / (y2 + a), and the score is that logarithm over its
    standard deviation. The prior is the words of both groups together: a = y1 + y2. It draws rare
    words, whose counts say little, towards 0.

    Args:
      first: count of each word in the first group; each word occurs in at least one of the groups.
      second: count of each word in the second group.

    Returns:
      Scores, float64: positive where the first group uses the word more.
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
    """Return a review, whose number is its place in the split as `load_data` orders it.

    It is shown as text, as ids (from `num_words` on 'unknown') and decoded. Raises `UserError` if
    there is no such review.
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
        "label": "positive" if reviews.labels[row] == 1 else "negative",
        "text": text if isinstance(text, str) else text.decode("utf-8", "replace"),
        "ids": ids.tolist(),
        "decoded": corpus.vocabulary.decode(ids),
    }
