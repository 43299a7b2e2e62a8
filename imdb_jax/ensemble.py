"""Several trained models as one: the weighted sum of their log-odds.

Weights are fitted on reviews that no model has seen, by logistic regression without an intercept
and with no weight below zero: Wolpert 1992, "Stacked generalization"; Breiman 1996, "Stacked
regressions".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flax import linen as nn
from jaxtyping import Float, Float64, Num

from imdb_jax import classifier
from imdb_jax.classifier import Classifier, Enqueued, Predictor, fill_batch
from imdb_jax.encoding import Text
from imdb_jax.errors import UserError
from imdb_jax.metrics import sigmoid
from imdb_jax.progress import Report
from imdb_jax.step import logit_step

# What two runs must share, lest one has learnt the reviews that the other is tested on.
_SAME_REVIEWS = ("dataset", "test", "test_share", "text_column", "label_column", "positive")
_MOST_STEPS = 10_000


@dataclass(frozen=True)
class Ensemble(Predictor):
    """Several models whose log-odds are added up.

    Attributes:
      members: the models.
      weights: by what the log-odds of each are multiplied.
    """

    members: tuple[Classifier, ...]
    weights: tuple[float, ...]

    def enqueue(self, texts: list[Text]) -> Enqueued:
        """Has the device compute the probabilities; unknown shares are means over the models."""
        read = [member.read(texts) for member in self.members]
        terms = [
            weight * logit_step(member.model.apply, member.params, fill_batch(member.pad(ranks)))
            for member, weight, (ranks, _) in zip(self.members, self.weights, read, strict=True)
        ]
        unknown_shares = np.mean([shares for _, shares in read], axis=0)
        return Enqueued(nn.sigmoid(sum(terms[1:], start=terms[0])), unknown_shares)

    @property
    def same_words(self) -> bool:
        """Whether all members divide a text into the same words."""
        return len({member.input_format.ngrams for member in self.members}) == 1


def run_paths(runs: str) -> list[Path]:
    """The run directories that an argument names: one, or several joined by commas.

    Raises:
      UserError: there is nothing before or after a comma.
    """
    if Path(runs).exists():  # a comma may be part of its name
        return [Path(runs)]
    names = runs.split(",")
    if not all(names):
        raise UserError(f"there is a comma too many in {runs!r}, which joins run directories")
    return [Path(name) for name in names]


def load_members(paths: Sequence[Path]) -> tuple[Classifier, ...]:
    """Loads runs. Raises `UserError` if they were not trained and tested on the same reviews."""
    members = tuple(map(classifier.load, paths))
    for path, member in zip(paths, members, strict=True):
        for name in _SAME_REVIEWS:
            one, other = getattr(members[0].config, name), getattr(member.config, name)
            if one != other:
                raise UserError(
                    f"{paths[0]} and {path} were not trained on the same reviews: {name} is "
                    f"{one or 'not set'} and {other or 'not set'}"
                )
    return members


def parse_weights(text: str, number: int) -> tuple[float, ...]:
    """Reads weights joined by commas. Raises `UserError` if they are not one for each model."""
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
    """Those of a mean."""
    return (1 / number,) * number


def load_predictor(runs: str, weights: str, report: Report) -> Predictor:
    """Loads a run, or an ensemble of several.

    Args:
      runs: directories joined by commas.
      weights: one for each run, joined by commas; if empty, all are equal.
      report: receives a line where weights are missing.

    Raises:
      UserError: as `load_members` and `parse_weights`.
    """
    paths = run_paths(runs)
    if weights:
        chosen = parse_weights(weights, len(paths))
    members = load_members(paths)
    if len(paths) == 1:
        return members[0]
    if not weights:
        report("all runs have the same weight; imdb_jax.evaluate can fit --weights")
        chosen = equal_weights(len(paths))
    return Ensemble(members, chosen)


def fit_weights(
    logits: Float[np.ndarray, "num_reviews num_models"], labels: Num[np.ndarray, " num_reviews"]
) -> Float64[np.ndarray, " num_models"]:
    """Finds the weights, none of them negative, that give the least cross-entropy.

    Args:
      logits: log-odds of 'positive', of reviews that no model was trained on.
      labels: 1 for positive, 0 for negative.

    Returns:
      The weights; equal ones where no model tells anything.
    """
    logits = logits.astype(np.float64)
    weights = np.array(equal_weights(logits.shape[1]))
    # Projected gradient descent, by steps that the greatest curvature there can be allows.
    curvature = np.linalg.eigvalsh(logits.T @ logits)[-1] / 4 or 1.0
    for _ in range(_MOST_STEPS):
        gradient = logits.T @ (sigmoid(logits @ weights) - labels)
        following = np.maximum(weights - gradient / curvature, 0)
        if np.abs(following - weights).max() < 1e-7:
            break
        weights = following
    return weights if weights.any() else np.array(equal_weights(len(weights)))
