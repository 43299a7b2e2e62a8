"""Every order is a permutation that seed and epoch determine, be it a table or computed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdb_jax.pipeline import shuffling
from imdb_jax.pipeline.shuffling import LARGEST_TABLE, Permutation, epoch_order, order_digest


@pytest.fixture(params=["table", "computed"], autouse=True)
def _kind(request, monkeypatch):
    if request.param == "computed":
        monkeypatch.setattr(shuffling, "LARGEST_TABLE", 0)


def whole(count, seed, epoch):
    return epoch_order(count, seed, epoch)[np.arange(count)]


@given(count=st.integers(0, 100), seed=st.integers(0, 2**40), epoch=st.integers(1, 1000))
def test_order_is_a_permutation_that_seed_and_epoch_determine(count, seed, epoch):
    order = whole(count, seed, epoch)
    assert sorted(order.tolist()) == list(range(count))
    np.testing.assert_array_equal(order, whole(count, seed, epoch))


def test_order_differs_between_seeds_and_epochs():
    orders = {tuple(whole(50, seed, epoch)) for seed in range(5) for epoch in range(1, 6)}
    assert len(orders) == 25


def test_order_does_not_depend_on_what_was_drawn_before():
    np.random.seed(3)  # noqa: NPY002
    before = whole(50, 1, 2)
    epoch_order(50, 1, 1)
    np.random.random()  # noqa: NPY002
    np.testing.assert_array_equal(before, whole(50, 1, 2))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64, 65, 4097])
def test_any_part_of_an_order_is_that_part_of_the_whole(count):
    order = epoch_order(count, 5, 3)
    assert len(order) == count
    everything = order[np.arange(count)]
    assert everything.dtype == np.int64
    for places in (np.arange(count // 2, count), np.array([0, count - 1, 0]), np.arange(0)):
        np.testing.assert_array_equal(order[places], everything[places])


def test_orders_of_a_few_are_all_equally_likely():
    found = [tuple(whole(4, seed, 1).tolist()) for seed in range(2400)]
    counts = np.unique(found, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert ((counts - 100) ** 2 / 100).sum() < 60  # chi squared with 23 degrees of freedom


def test_where_an_example_stands_says_nothing_of_where_it_goes():
    count, cells = 100_003, 16
    order = whole(count, 1, 2)
    spread = np.histogram2d(np.arange(count), order, bins=cells)[0]
    expected = count / cells**2
    assert ((spread - expected) ** 2 / expected).sum() < 1.3 * (cells - 1) ** 2
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.02


def test_beyond_a_number_of_examples_the_order_is_no_table(monkeypatch):
    monkeypatch.setattr(shuffling, "LARGEST_TABLE", 100)
    assert isinstance(epoch_order(100, 0, 1), np.ndarray)
    assert isinstance(epoch_order(101, 0, 1), Permutation)


def test_a_billion_examples_are_shuffled_without_a_table():
    order = epoch_order(10**9, 0, 1)
    places = np.arange(10**9 - 1000, 10**9)
    rows = order[places]
    assert len(set(rows.tolist())) == 1000
    assert rows.min() >= 0
    assert rows.max() < 10**9
    assert 3e8 < rows.mean() < 7e8


# Of what NumPy 2.4 draws.
DIGEST = "53ce90c59fb11cadea4787fc7f924d5675da4fe35bcbd7f88efa11815071ac45"


def test_the_digest_tells_whether_numpy_draws_what_it_drew(monkeypatch):
    assert order_digest(7) == DIGEST
    assert order_digest(8) != order_digest(7)
    rng = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda entropy: rng([*entropy, 1]))
    assert order_digest(7) != DIGEST


def test_small_orders_are_those_of_numpy():
    """Which runs that were begun earlier go on with."""
    assert LARGEST_TABLE == 1 << 24
    if shuffling.LARGEST_TABLE:
        expected = np.random.default_rng([7, 2]).permutation(1000)
        np.testing.assert_array_equal(epoch_order(1000, 7, 2), expected)
