"""Figures of merit of a binary classifier, in NumPy: pure functions of labels and scores.

Labels are 1 for positive and 0 for negative. What is undefined, such as the share of positive
reviews found where there is none, is None, never NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Num

NUM_BINS = 15

Labels = Num[np.ndarray, " num_reviews"]
Scores = Float[np.ndarray, " num_reviews"]


def ratio(part: float, whole: float) -> float | None:
    """A quotient; None where the divisor is 0."""
    return float(part) / float(whole) if whole else None


def sigmoid(logits: Scores) -> Float64[np.ndarray, " num_reviews"]:
    """Probabilities of logits, in float64, without overflow."""
    return np.exp(-np.logaddexp(0, -np.asarray(logits, np.float64)))


def confusion_matrix(
    labels: Labels, predicted: Bool[np.ndarray, " num_reviews"]
) -> Int64[np.ndarray, "2 2"]:
    """Counts reviews: by row as they are, by column as predicted; negative first."""
    cells = 2 * (np.asarray(labels) > 0.5) + predicted.astype(np.int64)
    return np.bincount(cells, minlength=4).reshape(2, 2)


class RocCurve(NamedTuple):
    """The receiver operating characteristic: a point per threshold, from the highest to the lowest.

    Attributes:
      false_positive: share of the negative reviews scored at the threshold or above, from 0 to 1.
      true_positive: the same of the positive reviews.
    """

    false_positive: Float64[np.ndarray, " num_points"]
    true_positive: Float64[np.ndarray, " num_points"]


def roc_curve(labels: Labels, scores: Scores) -> RocCurve | None:
    """The points at which the score changes; None if all labels are the same.

    Raises:
      ValueError: a score is NaN.
    """
    positive = np.asarray(labels) > 0.5
    if np.isnan(scores).any():
        raise ValueError("scores that are not numbers have no order")
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    # Reviews of equal score pass a threshold together: the curve has a point where they end.
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    true = np.append(0, np.cumsum(positive[order])[last])
    false = np.append(0, last + 1) - true
    return RocCurve(false / false[-1], true / true[-1])


def roc_auc(labels: Labels, scores: Scores) -> float | None:
    """Area under the ROC curve; None if all labels are the same.

    It is the probability that a positive review scores above a negative one, ties counting half,
    and is computed as that, exactly: from ranks (Mann and Whitney 1947), tied scores sharing the
    mean of theirs.

    Raises:
      ValueError: a score is NaN.
    """
    positive = np.asarray(labels) > 0.5
    if np.isnan(scores).any():
        raise ValueError("scores that are not numbers have no order")
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    _, distinct, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # Ranks from 1, doubled: the first and last rank of tied scores added, hence whole numbers.
    last = np.cumsum(counts)
    doubled = (2 * last - counts + 1)[distinct]
    above = int(doubled[positive].sum()) - num_positive * (num_positive + 1)
    return ratio(above, 2 * num_positive * num_negative)


class Reliability(NamedTuple):
    """How often a classifier is right when it says how sure it is, by bins of confidence.

    Attributes:
      counts: reviews in each bin, int64 `[num_bins]`.
      confidence: sum of their confidences.
      correct: number of those classified correctly.
    """

    counts: Int64[np.ndarray, " num_bins"]
    confidence: Float64[np.ndarray, " num_bins"]
    correct: Float64[np.ndarray, " num_bins"]


def reliability(labels: Labels, probabilities: Scores, num_bins: int = NUM_BINS) -> Reliability:
    """Bins reviews by the probability of the class predicted, which is at least 0.5.

    The bins are equally wide, from 0 to 1, and each includes its upper end (Guo et al. 2017, "On
    calibration of modern neural networks"). With two classes those below 0.5 are empty.

    Args:
      labels: 1 for positive, 0 for negative.
      probabilities: that each review is positive.
      num_bins: number of bins.
    """
    predicted = probabilities > 0.5
    confidence = np.where(predicted, probabilities, 1 - probabilities)
    correct = predicted == (np.asarray(labels) > 0.5)
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    counts, confidences, corrects = (
        np.bincount(bins, weights, num_bins) for weights in (None, confidence, correct)
    )
    return Reliability(counts, confidences, corrects)


def expected_calibration_error(
    labels: Labels, probabilities: Scores, num_bins: int = NUM_BINS
) -> float | None:
    """Mean distance between confidence and accuracy over the bins of `reliability`.

    Each bin counts as often as there are reviews in it. None if there are none.
    """
    bins = reliability(labels, probabilities, num_bins)
    return ratio(np.abs(bins.confidence - bins.correct).sum(), len(probabilities))


def summary(labels: Labels, logits: Scores) -> dict[str, Any]:
    """The figures that follow from logits: 'positive' is what is above 0.

    Returns:
      precision, recall, f1 and roc_auc (None where undefined), ece, confusion_matrix (nested lists,
      see the function of that name).
    """
    matrix = confusion_matrix(labels, logits > 0)
    (_, false_positive), (false_negative, true_positive) = matrix.tolist()
    return {
        "precision": ratio(true_positive, true_positive + false_positive),
        "recall": ratio(true_positive, true_positive + false_negative),
        "f1": ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative),
        "roc_auc": roc_auc(labels, logits),
        "ece": expected_calibration_error(labels, sigmoid(logits)),
        "confusion_matrix": matrix.tolist(),
    }
