"""Sets folded into lines: nothing of them is lost, and sums over them are those of each alone."""

import jax
import numpy as np
import pytest

from imdb_jax.models.inputs import fold, sum_rows
from imdb_jax.parallel.devices import data_mesh
from imdb_jax.pipeline.batching import batches
from imdb_jax.pipeline.splits import Examples
from imdb_jax.text.sequences import Sequences

NUM_IDS = 300


def random_sets(*lengths):
    random = np.random.default_rng(0)
    sets = [1 + random.permutation(NUM_IDS - 1)[:length] for length in lengths]
    values = np.concatenate([np.zeros(0, int), *sets]).astype(np.uint16)
    return Sequences.from_lengths(values, np.array(lengths, int))


def unfolded(sets):
    ids, reviews = np.asarray(sets.ids), np.asarray(sets.reviews)
    return [ids[reviews == review][ids[reviews == review] > 0] for review in range(sets.size)]


@pytest.mark.parametrize("lengths", [(), (0,), (1,), (32,), (33, 0, 31), (0, 200, 5, 64, 0, 299)])
@pytest.mark.parametrize("multiple", [1, 3, 8])
def test_folded_and_unfolded(lengths, multiple):
    sets = random_sets(*lengths)
    folded = fold(sets, multiple)
    assert folded.ids.dtype == sets.values.dtype
    assert len(folded.ids) == len(folded.reviews)
    assert len(folded.ids) % multiple == 0
    found = unfolded(folded)
    assert len(found) == len(sets)
    for one, other in zip(found, sets, strict=True):
        np.testing.assert_array_equal(one, other)


def test_batches_of_similar_size_have_few_shapes():
    random = np.random.default_rng(1)
    lengths = random.integers(1, 200, (40, 256))
    lines = {len(fold(random_sets(*batch)).ids) for batch in lengths}
    assert len(lines) <= 3


@pytest.mark.parametrize("columns", [(), (4,)])
def test_sums_over_lines_are_sums_over_reviews(columns):
    sets = random_sets(40, 0, 100, 7)
    table = np.random.default_rng(2).normal(size=(NUM_IDS, *columns)).astype(np.float32)
    table[0] = 0
    weights = np.random.default_rng(3).normal(size=(4, *columns)).astype(np.float32)
    hot = np.zeros((4, NUM_IDS), np.float32)
    padded = np.zeros((4, 120), np.uint16)
    for row, ids in enumerate(sets):
        hot[row, ids] = 1
        padded[row, 120 - len(ids) :] = ids
    gradient = np.tensordot(hot, weights, (0, 0))
    for given in (fold(sets), padded):
        sums, pull = jax.vjp(lambda table, given=given: sum_rows(table, given), table)
        np.testing.assert_allclose(sums, np.tensordot(hot, table, 1), rtol=1e-4, atol=1e-4)
        (found,) = pull(weights)
        np.testing.assert_allclose(found[1:], gradient[1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padded", [False, True])
def test_batches_of_sets(padded):
    sets = random_sets(3, 100, 0, 40, 9, 1, 70)
    ids = sets
    if padded:
        ids = np.stack([np.pad(row, (100 - len(row), 0)) for row in sets])
    examples = Examples(ids, np.zeros(7, np.float32), sets=True)
    seen = []
    for batch in batches(examples, 3, data_mesh()):
        assert batch.ids.size == len(batch.weights)
        weights = np.asarray(batch.weights)
        seen += [row for row, weight in zip(unfolded(batch.ids), weights, strict=True) if weight]
    for one, other in zip(seen, sets, strict=True):
        np.testing.assert_array_equal(one, other)
