"""Which words moved a prediction, and how far: occlusion.

A word's weight is the log-odds of 'positive' for the text minus those for the text without the
word: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks"; Li, Monroe and
Jurafsky 2016, "Understanding neural networks through representation erasure". The model itself
answers, so this works for every architecture. "Without the word" means:

- for a model that reads words in order, that 'unknown' takes the word's place;
- for a bag of words, that all occurrences are gone; each of them shows the weight;
- for a bag of n-grams, that the n-grams are gone of which every occurrence holds the word.

Weights need not add up to the log-odds, since words act together.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from numpy.typing import NDArray

from imdb_jax.inference.prediction import BATCH_SIZES, Prediction, TrainedModel, fill_batch
from imdb_jax.models.ngram import contributions
from imdb_jax.text.sequences import INDEX_FROM, PAD_ID, UNKNOWN_ID, Sequences
from imdb_jax.text.tokens import (
    Text,
    locate_words,
    separate_tokens,
    separate_words,
    tokenize_with_punctuation,
    utf8,
)
from imdb_jax.training.step import logit_step

# What each word of a text added to the log-odds, and whether the model read it.
_Weights = tuple[Float64[np.ndarray, " num_words"], Bool[np.ndarray, " num_words"]]

# Size of a batch: the text itself, and variants of it without a word.
_BATCH_SIZE = BATCH_SIZES[-2]


class Word(NamedTuple):
    """A word of a text."""

    word: str  # in lower case
    weight: float  # what it added to the log-odds of 'positive'; 0 if it was not read
    read: bool  # False if the word is unknown to the model, or cut off
    span: tuple[int, int]  # where it stands in the text of the explanation: start and end


class Explanation(NamedTuple):
    """A prediction with its reasons: the words of the text, in order."""

    prediction: Prediction
    words: list[Word]
    text: str  # as it was written, but invalid UTF-8 as U+FFFD


def explain(model: TrainedModel, text: Text) -> Explanation:
    """Predict a text, and weigh its words."""
    text = utf8(text).decode()
    (prediction,) = model.stream([text])
    by_ngrams = model.input_format.ngrams
    located = locate_words(text, separate_tokens if by_ngrams else separate_words)
    weights, read = (_weigh_by_ngrams if by_ngrams else _weigh_by_words)(model, text)
    of_each = zip(located, weights.tolist(), read.tolist(), strict=True)
    words = [Word(word, weight, seen, span) for (word, span), weight, seen in of_each]
    return Explanation(prediction, words, text)


def _weigh_by_words(classifier: TrainedModel, text: str) -> _Weights:
    """Weigh the words for a model of words, read in order or as a bag."""
    ranks = classifier.vocabulary.rank_or_zero([text]).values
    ids = classifier.encode([text])[0]
    places = _places(classifier, ranks)
    read = classifier.told_apart(ranks) & (places >= 0)
    if classifier.input_format.distinct:
        keys, removed, filling = ids, ranks[read] + INDEX_FROM, PAD_ID
    else:
        keys, removed, filling = np.arange(len(ids)), places[read], UNKNOWN_ID
    removed, which = np.unique(removed, return_inverse=True)
    falls = np.zeros(len(removed))  # of the log-odds, as each key is removed
    for start in range(0, len(removed), _BATCH_SIZE - 1):
        part = removed[start : start + _BATCH_SIZE - 1]
        variants = np.where(keys == part[:, None], ids.dtype.type(filling), ids)
        # The text itself is in every batch, so that both terms of a difference round alike.
        filled = fill_batch(np.concatenate([ids[None], variants]))
        logits = np.asarray(logit_step(classifier.apply_fn, classifier.params, filled))
        falls[start : start + len(part)] = logits[0].astype(np.float64) - logits[1 : len(part) + 1]
    weights = np.zeros(len(ranks))
    weights[read] = falls[which]
    return weights, read


def _weigh_by_ngrams(classifier: TrainedModel, text: str) -> _Weights:
    """Weigh the words for a sum over n-grams: without a word, those that need the word are gone."""
    tokens = tokenize_with_punctuation(text)
    spans: dict[int, tuple[int, int]] = {}  # n-gram -> words that all its occurrences hold
    read = np.zeros(len(tokens), bool)
    for ngram, place, length in classifier.vocabulary.occurrences(text):
        first, last = spans.get(ngram, (place, place + length - 1))
        spans[ngram] = max(first, place), min(last, place + length - 1)
        read[place] = True
    weights = np.zeros(len(tokens))
    contribution = contributions(classifier.params)
    for ngram, (first, last) in spans.items():
        weights[first : last + 1] += contribution[ngram]
    return weights, read


def _places(classifier: TrainedModel, ranks: NDArray[np.int32]) -> Int[np.ndarray, " num_words"]:
    """Return the place of each word among the ids that the model reads; -1 if it has none."""
    known = np.flatnonzero(ranks > 0)
    # Numbers of the words, in order, are padded and cut as the words themselves.
    numbered = Sequences(np.arange(1, len(known) + 1), np.array([0, len(known)]))
    num_words = len(known) + INDEX_FROM + 1
    input_format = dataclasses.replace(classifier.input_format, num_words=num_words)
    numbers = input_format.ids(numbered)[0].astype(np.int64) - INDEX_FROM
    places = np.full(len(ranks), -1)
    places[known[numbers[numbers > 0] - 1]] = np.flatnonzero(numbers > 0)
    return places
