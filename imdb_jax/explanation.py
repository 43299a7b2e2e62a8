"""Which words moved a prediction, and how far: occlusion.

A word's weight is the log-odds of 'positive' for the text less those for the same text without the
word: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks"; Li, Monroe and
Jurafsky 2016, "Understanding neural networks through representation erasure". It asks the model
itself, so it holds for every architecture. Without the word means:

- to a model that reads words in order, with 'unknown' in the word's place;
- to a bag of words, with the word gone, all its occurrences, each of which shows the word's weight;
- to a bag of n-grams, with those gone that stand nowhere but over the word.

Weights need not add up to the log-odds, since words act together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int, UInt
from numpy.typing import NDArray

from imdb_jax import ngram_tokens
from imdb_jax.classifier import BATCH_SIZES, Classifier, Prediction, Predictor, fill_batch
from imdb_jax.encoding import INDEX_FROM, PAD_ID, UNKNOWN_ID, Sequences, Text, tokenize
from imdb_jax.ensemble import Ensemble
from imdb_jax.errors import UserError
from imdb_jax.models.ngram import contributions
from imdb_jax.step import logit_step

# A text is read in as many variants as it has words, this many at a time less one.
_BATCH_SIZE = BATCH_SIZES[-2]


class Word(NamedTuple):
    """A word of a text.

    Attributes:
      word: the word, in lower case.
      weight: how much it added to the log-odds of 'positive'; 0 if it was not read.
      read: whether the model read it as the word that it is: not if it is unknown to the model, or
        in the part of the text that is cut.
    """

    word: str
    weight: float
    read: bool


class Explanation(NamedTuple):
    """A prediction with its reasons.

    Attributes:
      prediction: what the model says of the text.
      words: the text's words, in order.
    """

    prediction: Prediction
    words: list[Word]


def explain(predictor: Predictor, text: Text) -> Explanation:
    """Predicts a text, and weighs its words.

    Raises:
      UserError: the models of an ensemble divide the text into different words.
    """
    if isinstance(predictor, Ensemble):
        return _explain_by_members(predictor, text)
    assert isinstance(predictor, Classifier)
    by_ngrams = predictor.input_format.ngrams
    return (_explain_by_ngrams if by_ngrams else _explain_by_words)(predictor, text)


def _explain_by_members(ensemble: Ensemble, text: Text) -> Explanation:
    """The same of a sum of log-odds: what a word adds to each of its terms."""
    if not ensemble.same_words:
        raise UserError("an ngram run divides texts into other words; explain it apart from others")
    (prediction,) = ensemble.stream([text])
    explained = [explain(member, text).words for member in ensemble.members]
    words = [
        Word(
            occurrences[0].word,
            sum(w * word.weight for w, word in zip(ensemble.weights, occurrences, strict=True)),
            any(word.read for word in occurrences),
        )
        for occurrences in zip(*explained, strict=True)
    ]
    return Explanation(prediction, words)


def _explain_by_words(classifier: Classifier, text: Text) -> Explanation:
    """The same of a model of words, read in order or as a bag."""
    (prediction,) = classifier.stream([text])
    ranks = classifier.vocabulary.rank_or_zero([text]).values
    ids = classifier.pad(Sequences(ranks[ranks > 0], np.array([0, (ranks > 0).sum()])))[0]
    places = _places(classifier, ranks)
    read = classifier.told_apart(ranks) & (places >= 0)
    which: Any = slice(None)
    if classifier.input_format.distinct:
        removed, which = np.unique(ranks[read] + INDEX_FROM, return_inverse=True)
        without = _without_ids
    else:
        removed, without = places[read], _without_places
    weights = np.zeros(len(ranks))
    weights[read] = _falls(classifier, ids, removed, without)[which]
    words = zip(tokenize(text), weights.tolist(), read.tolist(), strict=True)
    return Explanation(prediction, [Word(*word) for word in words])


def _explain_by_ngrams(classifier: Classifier, text: Text) -> Explanation:
    """The same of a sum over n-grams: without a word, those are gone of which it was a part."""
    (prediction,) = classifier.stream([text])
    tokens = ngram_tokens.tokenize(text)
    spans: dict[int, tuple[int, int]] = {}  # the places that all occurrences of an n-gram share
    read = np.zeros(len(tokens), bool)
    for ngram, place, length in classifier.vocabulary.occurrences(text):
        first, last = spans.get(ngram, (place, place + length - 1))
        spans[ngram] = max(first, place), min(last, place + length - 1)
        read[place] = True
    weights = np.zeros(len(tokens))
    contribution = contributions(classifier.params)
    for ngram, (first, last) in spans.items():
        weights[first : last + 1] += contribution[ngram]
    words = zip(tokens, weights.tolist(), read.tolist(), strict=True)
    return Explanation(prediction, [Word(*word) for word in words])


Ids = UInt[np.ndarray, " length"]
Variants = UInt[np.ndarray, "num_variants length"]
Removed = Int[np.ndarray, " num_variants"]


def _without_ids(ids: Ids, removed: Removed) -> Variants:
    kept = ids != removed[:, None]
    return np.where(kept, ids, ids.dtype.type(PAD_ID))


def _without_places(ids: Ids, removed: Removed) -> Variants:
    variants = np.tile(ids, (len(removed), 1))
    variants[np.arange(len(removed)), removed] = UNKNOWN_ID
    return variants


def _places(classifier: Classifier, ranks: NDArray[np.int32]) -> Int[np.ndarray, " num_words"]:
    """Where among the ids that the model reads each word stands; -1 if nowhere."""
    known = np.flatnonzero(ranks > 0)
    # Words numbered in order take the way of the words themselves: padded and cut alike.
    numbered = Sequences(np.arange(1, len(known) + 1), np.array([0, len(known)]))
    num_words = len(known) + INDEX_FROM + 1
    input_format = dataclasses.replace(classifier.input_format, num_words=num_words)
    numbers = input_format.ids(numbered)[0].astype(np.int64) - INDEX_FROM
    places = np.full(len(ranks), -1)
    places[known[numbers[numbers > 0] - 1]] = np.flatnonzero(numbers > 0)
    return places


def _falls(
    classifier: Classifier, ids: Ids, removed: Removed, without: Callable[[Ids, Removed], Variants]
) -> Float64[np.ndarray, " num_variants"]:
    """By how much the log-odds fall when each of `removed` is removed."""
    falls = [np.zeros(0)]
    for start in range(0, len(removed), _BATCH_SIZE - 1):
        variants = without(ids, removed[start : start + _BATCH_SIZE - 1])
        # The text itself is in every batch, so that both terms of a difference are rounded alike.
        filled = fill_batch(np.concatenate([ids[None], variants]))
        logits = np.asarray(logit_step(classifier.model.apply, classifier.params, filled))
        falls.append(logits[0].astype(np.float64) - logits[1 : len(variants) + 1])
    return np.concatenate(falls)
