"""Sums of rows are products with counts of ids, by whichever way they are computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from imdb_jax.models import row_sums
from imdb_jax.models.row_sums import sum_rows_of

NUM_IDS = 40


def random_case(n, length, dim, dtype="uint8"):
    """A table, ids of which many are repeated and some are padding, and weights of the sums."""
    random = np.random.default_rng(0)
    table = random.normal(size=(NUM_IDS, dim)).astype("f")
    ids = random.integers(0, NUM_IDS, (n, length)).astype(dtype)
    ids[:, : length // 3] = 0
    return table, ids, random.normal(size=(n, dim)).astype("f")


def counts(ids):
    counted = np.zeros((len(ids), NUM_IDS), np.float32)
    np.add.at(counted, (np.arange(len(ids))[:, None], ids), 1)
    return counted


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("length", "dim", "dtype"),
    [(0, 3, "uint8"), (1, 1, "int32"), (31, 8, "uint8"), (32, 5, "uint16"), (100, 16, "uint8")],
)
def test_sums_and_gradients(length, dim, dtype):
    table, ids, weights = random_case(6, length, dim, dtype)
    sums, pull = jax.vjp(lambda table: sum_rows_of(table, jnp.asarray(ids)), table)
    close(sums, counts(ids) @ table)
    (gradient,) = pull(weights)
    close(gradient, counts(ids).T @ weights)


def test_accelerators_compute_the_same():
    table, ids, weights = random_case(6, 70, 5)
    weights, given = jnp.asarray(weights), jnp.asarray(ids)
    close(row_sums._sum_flat(table, given), counts(ids) @ table)
    close(row_sums._scatter_flat(NUM_IDS, weights, given), counts(ids).T @ weights)


def gradient_of_sums(table, ids, weights):
    return jax.grad(lambda table: (sum_rows_of(table, ids) * weights).sum())(table)


def test_devices_that_share_a_batch_exchange_its_gradient_once():
    table, ids, weights = random_case(8, 70, 5)
    mesh = Mesh(jax.devices(), ("data",), (AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec("data"))
    given = table, *jax.device_put((ids, weights), spread)
    program = jax.jit(gradient_of_sums).lower(*given).compile()
    close(program(*given), counts(ids).T @ weights)
    assert program.as_text().count(" all-reduce(") == 1


def test_models_that_differ_in_their_seeds():
    table, ids, weights = random_case(8, 70, 5)
    cases = [(table, ids, weights), (2 * table, (ids + 1) % NUM_IDS, 3 * weights)]
    stacked = [np.stack(arrays) for arrays in zip(*cases, strict=True)]
    sums = jax.vmap(sum_rows_of)(*stacked[:2])
    gradients = jax.vmap(gradient_of_sums)(*stacked)
    for (table, ids, weights), of_sums, gradient in zip(cases, sums, gradients, strict=True):
        close(of_sums, counts(ids) @ table)
        close(gradient, counts(ids).T @ weights)
