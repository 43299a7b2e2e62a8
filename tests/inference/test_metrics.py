"""Figures of merit against naive implementations, cases computed by hand, and scikit-learn."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imdb_jax.inference import metrics

# Few different scores, so that many are tied.
reviews = st.lists(st.tuples(st.integers(0, 1), st.integers(-4, 4)), max_size=30).map(
    lambda pairs: (
        np.array([label for label, _ in pairs], np.float32),
        np.array([score / 2 for _, score in pairs], np.float32),
    )
)
both_classes = reviews.filter(lambda pair: len(set(pair[0].tolist())) == 2)
LABELS = np.array([1, 1, 1, 0, 0], np.float32)
LOGITS = np.array([2, 1, -1, 1, -3], np.float32)


def naive_auc(labels, scores):
    """The share of pairs of a positive and a negative review that are in order."""
    pairs = itertools.product(scores[labels == 1].tolist(), scores[labels == 0].tolist())
    order = [1 if p > n else 0.5 if p == n else 0 for p, n in pairs]
    return sum(order) / len(order) if order else None


def naive_ece(labels, probabilities, num_bins):
    total = 0.0
    for number in range(num_bins):
        low, high = number / num_bins, (number + 1) / num_bins
        inside = []
        for label, p in zip(labels.tolist(), probabilities.tolist(), strict=True):
            confidence = p if p > 0.5 else 1 - p
            if low < confidence <= high:
                inside.append((confidence, (p > 0.5) == (label == 1)))
        if inside:
            mean_confidence = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(right for _, right in inside) / len(inside)
            total += len(inside) / len(labels) * abs(mean_confidence - accuracy)
    return total


def test_cases_by_hand():
    found = metrics.summary(LABELS, LOGITS)
    assert found["confusion_matrix"] == [[1, 1], [1, 2]]
    assert found["precision"] == found["recall"] == found["f1"] == pytest.approx(2 / 3)
    # Of the six pairs: 2 above both, 1 ties with 1 and is above -3, -1 is above -3 alone.
    assert found["roc_auc"] == (2 + 1.5 + 1) / 6
    curve = metrics.roc_curve(LABELS, LOGITS)
    assert curve.false_positive.tolist() == [0, 0, 0.5, 0.5, 1]
    assert curve.true_positive.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])


def test_calibration_by_hand():
    labels = np.array([1, 0, 0, 1])
    probabilities = np.array([0.9, 0.8, 0.2, 0.55])
    # Confidences 0.9 and 0.55 right; of 0.8 and 0.8, in one bin, one is right.
    expected = (abs(0.9 - 1) + abs(0.8 - 0.5) * 2 + abs(0.55 - 1)) / 4
    assert metrics.expected_calibration_error(labels, probabilities) == pytest.approx(expected)
    bins = metrics.reliability(labels, probabilities, 10)
    assert bins.counts.tolist() == [0] * 5 + [1, 0, 2, 1, 0]
    assert bins.correct.tolist() == [0] * 5 + [1, 0, 1, 1, 0]


def test_a_bin_includes_its_upper_end():
    bins = metrics.reliability(np.ones(3), np.array([0.5, 0.75, 1.0]), 4)
    assert bins.counts.tolist() == [0, 1, 1, 1]


@given(reviews)
def test_auc_is_that_of_all_pairs(pair):
    assert metrics.roc_auc(*pair) == naive_auc(*pair)


@given(both_classes)
def test_auc_is_the_area_under_the_curve(pair):
    curve = metrics.roc_curve(*pair)
    area = np.trapezoid(curve.true_positive, curve.false_positive)
    assert metrics.roc_auc(*pair) == pytest.approx(area)
    assert (curve.false_positive[0], curve.true_positive[0]) == (0, 0)
    assert (curve.false_positive[-1], curve.true_positive[-1]) == (1, 1)
    assert (np.diff(curve.false_positive) >= 0).all()
    assert (np.diff(curve.true_positive) >= 0).all()


@given(both_classes)
def test_auc_depends_on_the_order_alone_and_turns_with_it(pair):
    labels, scores = pair
    assert metrics.roc_auc(labels, np.exp(scores)) == metrics.roc_auc(labels, scores)
    assert metrics.roc_auc(labels, -scores) == pytest.approx(1 - metrics.roc_auc(labels, scores))


@given(reviews, st.integers(1, 20))
def test_calibration_error_agrees_with_a_naive_one(pair, num_bins):
    labels, probabilities = pair[0], metrics.sigmoid(pair[1])
    found = metrics.expected_calibration_error(labels, probabilities, num_bins)
    if not len(labels):
        assert found is None
        return
    assert found == pytest.approx(naive_ece(labels, probabilities, num_bins))
    bins = metrics.reliability(labels, probabilities, num_bins)
    assert bins.counts.sum() == len(labels)
    assert bins.correct.sum() == ((pair[1] > 0) == (labels == 1)).sum()


@settings(max_examples=10)
@given(both_classes)
def test_agrees_with_scikit_learn(pair):
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, logits = pair
    predicted = logits > 0
    found = metrics.summary(labels, logits)
    assert found["roc_auc"] == pytest.approx(sklearn.roc_auc_score(labels, logits))
    assert found["confusion_matrix"] == sklearn.confusion_matrix(labels, predicted).tolist()
    options = {"zero_division": np.nan}
    for name, score in (("precision", sklearn.precision_score), ("recall", sklearn.recall_score)):
        value = score(labels, predicted, **options)
        assert found[name] == (None if math.isnan(value) else pytest.approx(value))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone(label):
    labels, logits = np.full(3, label, np.float32), np.array([-1, 1, 2], np.float32)
    found = metrics.summary(labels, logits)
    assert found["roc_auc"] is None
    assert metrics.roc_curve(labels, logits) is None
    assert found["recall"] == (2 / 3 if label else None)
    assert found["precision"] == label
    assert found["ece"] > 0


def test_nothing_is_predicted_or_there_is_nothing():
    never = metrics.summary(np.array([1.0, 0.0]), np.array([-1.0, -1.0]))
    assert (never["precision"], never["recall"], never["f1"]) == (None, 0, 0)
    empty = metrics.summary(np.zeros(0), np.zeros(0))
    assert empty.pop("confusion_matrix") == [[0, 0], [0, 0]]
    assert set(empty.values()) == {None}


def test_extreme_logits():
    extreme = np.array([-1e30, -1000, 0, 1000, 1e30], np.float32)
    assert metrics.sigmoid(extreme).tolist() == [0, 0, 0.5, 1, 1]
    assert metrics.summary(np.array([0, 0, 0, 1, 1]), extreme)["ece"] == pytest.approx(0.1)


def test_scores_that_are_not_numbers_are_refused():
    for function in (metrics.roc_auc, metrics.roc_curve):
        with pytest.raises(ValueError, match="no order"):
            function(np.array([0, 1]), np.array([0.5, np.nan]))
