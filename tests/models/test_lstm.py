"""The LSTM's loops over reviews of different lengths compute what one loop over all computes."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from imdb_jax.models.lstm import LSTM
from imdb_jax.models.recurrence import Gates, last_state, loop_sizes
from imdb_jax.parallel.devices import on_devices

NUM_WORDS, DIM, UNITS = 30, 3, 5


def random_gates(units=UNITS):
    shapes = (NUM_WORDS, DIM), (DIM, 4 * units), (4 * units,), (units, 4 * units)
    keys = jax.random.split(jax.random.key(0), len(shapes))
    draw = functools.partial(jax.random.normal, dtype=jnp.float32)
    return Gates(*(0.7 * draw(key, shape) for key, shape in zip(keys, shapes, strict=True)))


def reviews(lengths, length, side="pre"):
    """Reviews of so many words, padded to one length."""
    ids = np.random.default_rng(1).integers(1, NUM_WORDS, (len(lengths), length), np.uint16)
    for row, words in zip(ids, lengths, strict=True):
        row[: length - words] = 0
        row[:] = row if side == "pre" else row[::-1].copy()
    return ids


def plain_last_state(gates, ids):
    """The same in as few words as possible, for JAX to differentiate."""

    def step(state, word):
        cell, hidden = state
        inputs = gates.embedding[word] @ gates.kernel + gates.bias[None]
        let_in, keep, candidate, let_out = jnp.split(
            inputs + hidden @ gates.recurrent_kernel, 4, axis=-1
        )
        cell = nn.sigmoid(keep) * cell + nn.sigmoid(let_in) * jnp.tanh(candidate)
        return (cell, nn.sigmoid(let_out) * jnp.tanh(cell)), None

    start = jnp.zeros((len(ids), len(gates.recurrent_kernel)))
    return jax.lax.scan(step, (start, start), ids.T)[0][1]


def weighted(states):
    return (states * jnp.linspace(0.5, 1, states.size).reshape(states.shape)).sum()


def assert_close(found, expected, rtol=2e-4, atol=2e-5):
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), found, expected
    )


@pytest.mark.parametrize(
    ("length", "batch", "units"), [(1, 1, 1), (7, 3, 5), (40, 2, 8), (203, 2, 3)]
)
def test_the_derivative_is_the_plain_one(length, batch, units):
    gates, ids = random_gates(units), reviews([length] * batch, length)

    def gradients(run):
        return jax.jit(jax.value_and_grad(lambda gates: weighted(run(gates))))(gates)

    found = gradients(lambda gates: last_state(np.dtype("f"), gates, ids))
    assert_close(found, gradients(lambda gates: plain_last_state(gates, jnp.asarray(ids))))


@pytest.mark.parametrize(
    ("number", "sizes"), [(1, [1]), (2, [1, 2]), (6, [2, 3, 5, 6]), (64, [16, 32, 48, 64])]
)
def test_each_loop_goes_over_more_reviews(number, sizes):
    assert loop_sizes(number) == sizes


LENGTHS = {
    "spread": [3, 30, 0, 12, 7, 25, 19, 1],
    "empty": [0] * 8,
    "full": [30] * 8,
    "one long": [2, 2, 30, 2, 2, 2, 2, 2],
    "few": [9, 21],
    "one": [5],
    "odd": [3, 30, 0, 12, 7, 25, 19],
}


@functools.cache
def logits_and_gradients(dtype="float32", **fields):
    model = LSTM(NUM_WORDS, DIM, UNITS, jnp.dtype(dtype)).clone(**fields)

    @jax.jit
    def run(params, ids):
        logits = functools.partial(model.apply, ids=ids)
        gradients = jax.grad(lambda params: weighted(logits({"params": params})))(params)
        return logits({"params": params}), gradients

    return run


@functools.cache
def random_params():
    shapes = jax.eval_shape(LSTM(NUM_WORDS, DIM, UNITS).init, jax.random.key(0), reviews([3], 3))
    random = np.random.default_rng(2)
    return jax.tree.map(
        lambda leaf: random.normal(0, 0.7, leaf.shape).astype("f"), shapes["params"]
    )


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_skipping_padding_changes_neither_logits_nor_gradients(lengths, parts):
    ids = reviews(lengths, 30)
    expected = logits_and_gradients()(random_params(), ids)
    found = logits_and_gradients(parts=parts, skip_padding=True)(random_params(), ids)
    assert_close(found, expected)
    # The row of padding learns from the steps that are shared.
    of_padding = found[1]["Embed_0"]["embedding"][0]
    assert bool(of_padding.any()) == (min(lengths) < 30)


@pytest.mark.parametrize("length", [1, 9, 31, 250])
def test_reviews_may_have_any_length(length):
    lengths = np.linspace(0, length, 8).astype(int)
    ids = reviews(lengths, length)
    expected = logits_and_gradients()(random_params(), ids)
    assert_close(logits_and_gradients(skip_padding=True)(random_params(), ids), expected)


def test_padding_behind_is_read_like_words():
    ids = reviews(LENGTHS["spread"], 30, side="post")
    expected = logits_and_gradients()(random_params(), ids)
    assert_close(logits_and_gradients(skip_padding=True)(random_params(), ids), expected)


def test_padding_can_be_skipped_in_bfloat16():
    ids = reviews(LENGTHS["few"], 30)
    expected = logits_and_gradients("bfloat16")(random_params(), ids)
    found = logits_and_gradients("bfloat16", skip_padding=True)(random_params(), ids)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"float32"}
    assert_close(found, expected, rtol=0.05, atol=0.05)


def test_models_side_by_side_skip_padding_together():
    """As many seeds do: each with reviews of its own, whose lengths differ."""
    both = np.stack([reviews([30, 2], 30), reviews([1, 28], 30)])
    params = jax.tree.map(lambda leaf: np.stack([leaf, -leaf]), random_params())
    found = jax.vmap(logits_and_gradients(skip_padding=True))(params, both)
    assert_close(found, jax.vmap(logits_and_gradients())(params, both))


def test_loops_of_models_side_by_side_end_together():
    """Otherwise each of their steps would copy all that is saved."""
    both = np.stack([reviews([30, 2, 7, 9], 30), reviews([1, 28, 0, 16], 30)])
    params = jax.tree.map(lambda leaf: np.stack([leaf, -leaf]), random_params())
    run = jax.vmap(logits_and_gradients(parts=2, skip_padding=True))
    loops = re.findall(r"cond_jaxpr=\{ lambda(.*?)\}", str(jax.make_jaxpr(run)(params, both)), re.S)
    assert len(loops) > len(loop_sizes(2))
    assert not any(re.search(r"bool\[\d", condition) for condition in loops)


@pytest.mark.parametrize(("platform", "skipping"), [("cpu", True), ("tpu", False)])
def test_padding_is_skipped_on_cpus_only(platform, skipping, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    model = on_devices(LSTM(NUM_WORDS, DIM, UNITS), 4)
    assert (model.parts, model.skip_padding) == (4, skipping)
