"""What labels mean, which rows are left out, and which become the test split."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdb_jax.datasets.labelled import (
    Ratings,
    Source,
    choose_positive,
    choose_test_rows,
    class_names,
    label_name,
    summarize,
)
from imdb_jax.datasets.tables import Row
from imdb_jax.errors import UserError


def source(*values):
    rows = [Row((number, number), value) for number, value in enumerate(values, start=1)]
    return Source("reviews.csv", lambda: iter(rows))


# Labels


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        ([1, 1.0, "1", " 1 ", "1.0", np.int64(1), np.float32(1), b"1"], "1"),
        ([0, -0.0, "0", "00", np.int8(0)], "0"),
        (["Positive", "positive ", b"POSITIVE"], "positive"),
        ([True, "TRUE", np.bool_(True)], "true"),
        ([None, float("nan"), "", " ", np.nan], ""),
        ([0.5, "0.5"], "0.5"),
        (["5 stars"], "5 stars"),
        ([[1], {"a": 1}], None),
    ],
)
def test_one_name_for_labels_that_mean_the_same(spellings, name):
    assert [label_name(spelling) for spelling in spellings] == [name] * len(spellings)


@pytest.mark.parametrize(
    ("positive", "negative"),
    [
        *[("1", "0"), ("1", "-1"), ("2", "1"), ("5", "1"), ("10", "9"), ("0.5", "-0.5")],
        *[("positive", "negative"), ("pos", "neg"), ("yes", "no"), ("true", "false")],
        *[("good", "bad"), ("fresh", "rotten"), ("liked", "disliked"), ("y", "n")],
        *[("5 stars", "1 star"), ("spam", "ham"), ("b", "a")],
        *[("good", "other"), ("neutral", "negative"), ("fresh", "zzz"), ("aaa", "bad")],
    ],
)
def test_which_label_is_positive(positive, negative):
    for labels in ([positive, negative], [negative, positive]):
        counts = dict.fromkeys(labels, 3)
        assert choose_positive(counts, "", "x") == (positive, negative)
        assert choose_positive(counts, negative.upper(), "x") == (negative, positive)


def test_a_positive_label_that_is_not_there():
    with pytest.raises(UserError, match=r"reviews: unknown label 'god'.*did you mean 'good'"):
        choose_positive({"good": 1, "bad": 2}, "god", "reviews")


@pytest.mark.parametrize(
    ("counts", "match"),
    [
        ({}, "x must have two labels, not 0: none"),
        ({"a": 1200}, r"x must have two labels, not 1: 'a' \(1,200\)"),
        ({"a": 1, "b": 5, "c": 2}, r"not 3: 'b' \(5\), 'c' \(2\), 'a' \(1\)$"),
        (
            {str(n): 1 for n in range(1000)},
            "990 more; of ratings, --positive-from",
        ),
    ],
)
def test_anything_but_two_labels_is_refused(counts, match):
    with pytest.raises(UserError, match=match):
        choose_positive(counts, "", "x")


def test_classes_are_called_what_the_data_call_them():
    labels = (" Fresh", "ROTTEN", "fresh", 1.0, "\x1b[31mno", "it's \n")
    spellings = summarize(source(*(("text", label) for label in labels)), pytest.fail).spellings
    assert class_names("rotten", "fresh", spellings) == ("ROTTEN", "Fresh")
    assert class_names("it's", "1", spellings) == ("it's", "1")
    assert class_names("\x1b[31mno", "fresh", spellings) == (r"\x1b[31mno", "Fresh")
    assert class_names("0", "1", {"0": "0", "1": "1"}) == ("negative", "positive")


def test_ratings_become_two_classes():
    both, one = Ratings("stars", 7.5, -2.0), Ratings("a\tb", 7.0)
    assert (both.negative, both.positive) == ("stars <= -2", "stars >= 7.5")
    assert (one.negative, one.positive) == (r"a\tb < 7", r"a\tb >= 7")
    for rating in (-3, -2, -1.5, 0, 7, 7.25, 7.5, 8, 1e9):
        expected = both.positive if rating >= 7.5 else both.negative if rating <= -2 else None
        assert both.label(rating) == expected
        assert one.label(rating) == (one.positive if rating >= 7 else one.negative)


def test_ratings_between_the_classes_are_left_out_and_others_refused():
    values = [7, "4", " 8.0 ", 5, np.int64(1), "6.9", "8/10", "seven", True, "inf", None]
    lines = []
    rows = source(*(("text", value) for value in values))._replace(ratings=Ratings("stars", 7, 4))
    summary = summarize(rows, lines.append)
    assert summary.labels == ["stars >= 7", "stars <= 4", "stars >= 7", "stars <= 4"]
    assert [label for _, label in rows.examples()] == summary.labels
    assert lines == [
        "reviews.csv: 2 of 11 rows are left out, because their 'stars' is above 4 and below 7",
        "reviews.csv: 5 of 11 rows cannot be used: "
        "4 with a rating that is not a number (lines 7, 8, 9, 10); 1 with no label (line 11)",
    ]
    with pytest.raises(UserError, match="1 of 1 rows are left out"):
        summarize(source(("text", 5))._replace(ratings=Ratings("stars", 7, 4)), pytest.fail)


# Rows


def test_rows_that_cannot_be_used_are_counted_and_told():
    rows = source(
        ("good", "pos"),
        ("", "pos"),
        (" \n", "pos"),
        (None, "pos"),
        ("no label", ""),
        ("no label", None),
        (5, "pos"),
        ("caf\udce9", "pos"),
        ("list", [1]),
        (b"bytes", 1),
    )
    lines = []
    summary = summarize(rows, lines.append)
    assert summary.labels == ["pos", "1"]
    assert summary.digests == [hashlib.sha256(t).digest()[:16] for t in (b"good", b"bytes")]
    assert list(rows.examples()) == [("good", "pos"), (b"bytes", "1")]
    assert lines == [
        "reviews.csv: 8 of 10 rows cannot be used: 3 with no text (lines 2, 3, 4); "
        "2 with no label (lines 5, 6); 1 with a text that is not a string (line 7); "
        "1 with invalid UTF-8 (line 8); "
        "1 with a label that is neither a string nor a number (line 9)"
    ]


def test_only_the_first_lines_are_told():
    rows = [Row((n, n + (n == 2)), (), "damage") for n in range(1, 100)]
    told = r"x: 99 of 99 rows cannot be used: 99 with damage \(lines 1, 2-3, 3, 4, 5, \.\.\.\)"
    with pytest.raises(UserError, match=told):
        summarize(Source("x", lambda: iter(rows)), list)


def test_nothing_is_said_where_nothing_is_wrong():
    summarize(source(("a", "b")), pytest.fail)


# Rows to test on

digests = st.lists(st.binary(min_size=1, max_size=2), max_size=30)
shares = st.floats(0, 1)


@given(digests, shares, st.randoms())
def test_the_test_rows_depend_on_the_texts_alone(rows, share, random):
    chosen = choose_test_rows(rows, share)
    assert chosen.shape == (len(rows),)
    assert chosen.dtype == bool
    testing = {row for row, test in zip(rows, chosen, strict=True) if test}
    assert not testing & {row for row, test in zip(rows, chosen, strict=True) if not test}
    shuffled = random.sample(rows, len(rows))
    again = choose_test_rows(shuffled, share)
    assert {row for row, test in zip(shuffled, again, strict=True) if test} == testing


@given(st.sets(st.binary(min_size=1, max_size=2), max_size=30), shares)
def test_of_distinct_texts_as_many_as_asked_for_are_chosen(rows, share):
    assert choose_test_rows(sorted(rows), share).sum() == round(share * len(rows))


def test_a_larger_share_chooses_more_of_the_same():
    rows = [hashlib.sha256(bytes([n])).digest() for n in range(100)]
    masks = [choose_test_rows(rows, share) for share in (0.1, 0.2, 0.5)]
    assert [mask.sum() for mask in masks] == [10, 20, 50]
    assert all((small <= large).all() for small, large in itertools.pairwise(masks))
