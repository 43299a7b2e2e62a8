"""Several trained models as one: the weighted sum of their log-odds.

Weights are fitted on reviews that no model has seen, by logistic regression without an intercept
and without negative weights: Wolpert 1992, "Stacked generalization"; Breiman 1996, "Stacked
regressions".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Float, Float64, Num

from imdb_jax.datasets.custom import LAYOUT
from imdb_jax.datasets.dataset import LabelNames, Reviews
from imdb_jax.errors import UserError
from imdb_jax.inference import classifier, metrics
from imdb_jax.inference.classifier import Classifier
from imdb_jax.inference.explanation import Explanation, Word
from imdb_jax.inference.prediction import Enqueued, Logits, Predictor
from imdb_jax.progress import Report
from imdb_jax.text.tokens import Text
from imdb_jax.training.step import logit_step

# Options that runs must share. Else one may have learned the reviews that another is tested on.
_SAME_REVIEWS = ("dataset", *LAYOUT)
_MOST_STEPS = 10_000


@dataclass(frozen=True, repr=False)
class Ensemble(Predictor):
    """Several models whose log-odds are multiplied by weights and added up."""

    members: tuple[Classifier, ...]
    weights: tuple[float, ...]

    @property
    def label_names(self) -> LabelNames:
        """What the training data call the classes, the negative one first."""
        return self.members[0].label_names

    def enqueue(self, texts: list[Text], shares: bool = True) -> Enqueued:
        """Encode texts, and make the device compute their probabilities.

        Unknown shares are means over the models.
        """
        read = [member.read(texts, shares) for member in self.members]
        terms = [
            [
                weight * logit_step(member.apply_fn, member.params, ids)
                for ids in member.batches(ranks)
            ]
            for member, weight, (ranks, _) in zip(self.members, self.weights, read, strict=True)
        ]
        batches = [nn.sigmoid(sum(rest, start=first)) for first, *rest in zip(*terms, strict=True)]
        unknown = [of_member for _, of_member in read if of_member is not None]
        means = np.mean(unknown, axis=0) if unknown else None
        return Enqueued(batches, len(texts), means, self.label_names)

    def measure(self, reviews: Reviews) -> tuple[dict[str, Any], Logits]:
        """Do for the weighted sum of log-odds what a model's `measure` does.

        The loss is the cross-entropy, whatever loss the models were trained with.
        """
        logits = np.zeros(len(reviews.labels), np.float32)
        for member, weight in zip(self.members, self.weights, strict=True):
            logits += np.float32(weight) * member.measure(reviews)[1]
        positive = reviews.labels > 0
        figures = {
            "loss": float(np.logaddexp(0, np.where(positive, -logits, logits)).mean()),
            "accuracy": float(((logits > 0) == positive).mean()),
        }
        return figures | metrics.summary(positive.astype(np.float32), logits), logits

    def explain(self, text: Text) -> Explanation:
        """Explain the weighted sum of log-odds: a word adds to each of its terms.

        Raises `UserError` if the models divide the text into different words.
        """
        if len({member.input_format.ngrams for member in self.members}) > 1:
            raise UserError(
                "an ngram run splits texts into different words than other runs; explain it alone"
            )
        (prediction,) = self.stream([text])
        explained = [member.explain(text) for member in self.members]
        words = [
            Word(
                occurrences[0].word,
                sum(w * word.weight for w, word in zip(self.weights, occurrences, strict=True)),
                any(word.read for word in occurrences),
                occurrences[0].span,
            )
            for occurrences in zip(*(one.words for one in explained), strict=True)
        ]
        return Explanation(prediction, words, explained[0].text)

    def __repr__(self) -> str:
        terms = zip(self.weights, self.members, strict=True)
        lines = [f"{weight:g} of the log-odds of {member}" for weight, member in terms]
        return "\n".join(["Ensemble:", *lines])


def load_members(paths: Sequence[Path]) -> tuple[Classifier, ...]:
    """Load runs. Raises `UserError` if they were not trained and tested on the same reviews."""
    members = tuple(map(classifier.load, paths))
    for path, member in zip(paths, members, strict=True):
        for name in _SAME_REVIEWS:
            one, other = getattr(members[0].config.data, name), getattr(member.config.data, name)
            if one != other:
                raise UserError(
                    f"{paths[0]} and {path} were not trained on the same reviews: {name} is "
                    f"{_shown(one)} and {_shown(other)}"
                )
    return members


def _shown(value: Any) -> Any:
    return "not set" if value in (None, "") else value


def parse_weights(text: str, number: int) -> tuple[float, ...]:
    """Read weights joined by commas. Raises `UserError` unless there is one for each model."""
    try:
        weights = tuple(map(float, text.split(",")))
    except ValueError:
        raise UserError(f"weights must be numbers joined by commas, not {text!r}") from None
    if len(weights) != number:
        raise UserError(f"weights must be {number} numbers, one for each run, not {text!r}")
    if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        raise UserError(f"weights must not be negative, nor all 0, as in {text!r}")
    return weights


def equal_weights(number: int) -> tuple[float, ...]:
    """Return the weights of a mean."""
    return (1 / number,) * number


def load_predictor(paths: Sequence[Path], weights: str, report: Report) -> Classifier | Ensemble:
    """Load a run, or several as an ensemble, which `report` is told if it lacks weights."""
    chosen = parse_weights(weights, len(paths)) if weights else equal_weights(len(paths))
    members = load_members(paths)
    if len(paths) == 1:
        return members[0]
    if not weights:
        report("all runs have the same weight; imdb_jax.evaluate can fit --weights")
    return Ensemble(members, chosen)


def fit_weights(
    logits: Float[np.ndarray, "num_reviews num_models"], labels: Num[np.ndarray, " num_reviews"]
) -> Float64[np.ndarray, " num_models"]:
    """Find the weights, none of them negative, of log-odds that give the least cross-entropy.

    Give it reviews that no model was trained on. Weights are equal where no model is of any use.
    """
    logits = logits.astype(np.float64)
    weights = np.array(equal_weights(logits.shape[1]))
    # Projected gradient descent; an upper bound of the curvature gives the length of the steps.
    curvature = np.linalg.eigvalsh(logits.T @ logits)[-1] / 4 or 1.0
    for _ in range(_MOST_STEPS):
        gradient = logits.T @ (metrics.sigmoid(logits @ weights) - labels)
        following = np.maximum(weights - gradient / curvature, 0)
        if np.abs(following - weights).max() < 1e-7:
            break
        weights = following
    return weights if weights.any() else np.array(equal_weights(len(weights)))
