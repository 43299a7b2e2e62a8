"""Metrics of a binary classifier, in NumPy: pure functions of labels and scores.

Labels are 1 for positive and 0 for negative. An undefined figure, such as the recall where no
review is positive, is None, never NaN. ROC curve and area raise `ValueError` if a score is NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64, Num

NUM_BINS = 15

Labels = Num[np.ndarray, " num_reviews"]
Scores = Float[np.ndarray, " num_reviews"]


def _ratio(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None


def sigmoid(logits: Scores) -> Float64[np.ndarray, " num_reviews"]:
    """Return the probabilities of logits, in float64, without overflow."""
    # As scipy.special.expit, whose import takes longer than all of an evaluation's arithmetic.
    return np.exp(-np.logaddexp(0, -np.asarray(logits, np.float64)))


class RocCurve(NamedTuple):
    """Shares of the negative and of the positive reviews scored at each threshold or above."""

    false_positive: Float64[np.ndarray, " num_points"]
    true_positive: Float64[np.ndarray, " num_points"]


def _roc_counts(labels: Labels, scores: Scores) -> RocCurve:
    """Count what `roc_curve` gives the shares of."""
    if np.isnan(scores).any():
        raise ValueError("scores that are not numbers have no order")
    positive = np.asarray(labels) > 0.5
    # Reviews of equal score pass a threshold together: the curve has one point for them.
    thresholds = np.unique(-scores, return_inverse=True)[1]
    false, true = (np.cumsum(np.bincount(thresholds, x)) for x in (~positive, positive))
    return RocCurve(np.append(0.0, false), np.append(0.0, true))


def roc_curve(labels: Labels, scores: Scores) -> RocCurve | None:
    """Return the receiver operating characteristic: a point per score, from the highest score on.

    It begins at (0, 0) and ends at (1, 1). If all labels are the same, there is none.
    """
    false, true = _roc_counts(labels, scores)
    return RocCurve(false / false[-1], true / true[-1]) if false[-1] and true[-1] else None


def roc_auc(labels: Labels, scores: Scores) -> float | None:
    """Return the area under the ROC curve, exactly; None if all labels are the same.

    The area is the probability that a positive review scores above a negative one, where ties count
    half (Mann and Whitney 1947).
    """
    false, true = _roc_counts(labels, scores)
    # Twice the area below the counts, a sum of whole numbers.
    doubled = (np.diff(false) * (true[1:] + true[:-1])).sum()
    return _ratio(doubled, 2 * false[-1] * true[-1])


class Reliability(NamedTuple):
    """Number of reviews, sum of their confidences and number of correct ones, by confidence."""

    counts: Int64[np.ndarray, " num_bins"]
    confidence: Float64[np.ndarray, " num_bins"]
    correct: Float64[np.ndarray, " num_bins"]


def reliability(labels: Labels, probabilities: Scores, num_bins: int = NUM_BINS) -> Reliability:
    """Bin reviews by the probability of the predicted class, which is at least 0.5.

    The bins are equally wide, from 0 to 1, and each includes its upper end (Guo et al. 2017, "On
    calibration of modern neural networks").
    """
    predicted = probabilities > 0.5
    confidence = np.where(predicted, probabilities, 1 - probabilities)
    correct = predicted == (np.asarray(labels) > 0.5)
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    return Reliability(*(np.bincount(bins, x, num_bins) for x in (None, confidence, correct)))


def expected_calibration_error(
    labels: Labels, probabilities: Scores, num_bins: int = NUM_BINS
) -> float | None:
    """Return the mean distance of confidence and accuracy, over bins weighted by their reviews."""
    bins = reliability(labels, probabilities, num_bins)
    return _ratio(np.abs(bins.confidence - bins.correct).sum(), len(probabilities))


def summary(labels: Labels, logits: Scores) -> dict[str, Any]:
    """Compute the figures that follow from logits; a logit above 0 means 'positive'.

    Rows of the confusion matrix are labels, columns predictions; negative comes first.
    """
    cells = np.bincount(2 * (np.asarray(labels) > 0.5) + (logits > 0), minlength=4)
    true_negative, false_positive, false_negative, true_positive = cells.tolist()
    return {
        "precision": _ratio(true_positive, true_positive + false_positive),
        "recall": _ratio(true_positive, true_positive + false_negative),
        "f1": _ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative),
        "roc_auc": roc_auc(labels, logits),
        "ece": expected_calibration_error(labels, sigmoid(logits)),
        "confusion_matrix": [[true_negative, false_positive], [false_negative, true_positive]],
    }
