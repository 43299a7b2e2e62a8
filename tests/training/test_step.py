"""The training step: pure, exact about which reviews count, and Adam as Keras has it."""

import functools

import jax
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from imdb_jax.models import create_model
from imdb_jax.models.inputs import Batch
from imdb_jax.parallel.devices import data_mesh, replicated
from imdb_jax.pipeline.batching import batches
from imdb_jax.pipeline.shuffling import epoch_order
from imdb_jax.pipeline.splits import Examples
from imdb_jax.training.optimizer import keras_adam
from imdb_jax.training.step import (
    Sums,
    create_train_state,
    eval_step,
    example_losses,
    mean_metrics,
    train_step,
)

NUM_WORDS, LENGTH = 40, 8
ADAM = keras_adam(0.01)  # one object: another would be compiled again
MODELS = {
    "mlp": create_model("mlp", NUM_WORDS, {"hidden": (6, 5), "dropout": (0.4, 0.3)}),
    "pooled": create_model("pooled", NUM_WORDS, {"embedding_dim": 3, "hidden": 4}),
}


@functools.cache
def created(arch, seed=0, optimizer=ADAM):
    return create_train_state(MODELS[arch], np.zeros((1, LENGTH), np.int32), seed, optimizer)


@functools.cache
def initial(arch):
    """A state in which every parameter matters: biases are zero and embeddings tiny at first."""
    random = np.random.default_rng(0)
    leaves, tree = jax.tree.flatten(created(arch).params)
    params = tree.unflatten([random.normal(0, 0.5, leaf.shape).astype("f") for leaf in leaves])
    return created(arch).replace(params=params)


def fresh(arch):
    """A state with buffers of its own, since a step reuses them."""
    return jax.tree.map(lambda leaf: leaf.copy(), jax.device_put(initial(arch)))


def random_batch(size=6, seed=0, weights=None):
    random = np.random.default_rng(seed)
    return Batch(
        random.integers(0, NUM_WORDS, (size, LENGTH), np.int32),
        random.integers(0, 2, size).astype("f"),
        np.ones(size, "f") if weights is None else np.array(weights, "f"),
    )


def on_host(state):
    return jax.device_get((state.step, state.params, state.opt_state))


def assert_close(tree, other, rtol=1e-5, atol=1e-6):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), tree, other)


def assert_equal(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def sums_of(state, batch):
    return eval_step(state, batch)[0]


def logits_of(state, batch):
    return np.asarray(jax.jit(state.apply_fn)({"params": state.params}, batch.ids), np.float64)


# Losses


def test_cross_entropy_is_the_textbook_formula():
    logits = np.linspace(-8, 8, 33, dtype="f")
    for label in (0.0, 1.0):
        labels = np.full_like(logits, label)
        p = 1 / (1 + np.exp(-logits.astype(float)))
        expected = -(label * np.log(p) + (1 - label) * np.log(1 - p))
        losses = example_losses(logits, labels, "binary_crossentropy")
        np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_cross_entropy_of_extreme_logits_is_exact():
    logits = np.array([1e4, -1e4, 1e4, -1e4], "f")
    labels = np.array([1, 0, 0, 1], "f")
    np.testing.assert_array_equal(
        example_losses(logits, labels, "binary_crossentropy"), [0, 0, 1e4, 1e4]
    )
    slope = jax.grad(lambda x: example_losses(x, labels, "binary_crossentropy").sum())(logits)
    np.testing.assert_array_equal(slope, [0, 0, 1, -1])


def test_mse_is_the_squared_error_of_the_probability():
    logits = np.array([0, 2, -2, 1e4, -1e4], "f")
    labels = np.array([1, 1, 1, 0, 0], "f")
    p = np.array([0.5, 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2)), 1, 0])
    losses = example_losses(logits, labels, "mse")
    np.testing.assert_allclose(losses, (p - labels) ** 2, rtol=1e-5)
    slope = jax.grad(lambda x: example_losses(x, labels, "mse").sum())(logits)
    assert np.isfinite(slope).all()


# Sums and means


@pytest.mark.parametrize("loss", ["binary_crossentropy", "mse"])
def test_sums_count_the_reviews_that_have_weight(loss):
    state = initial("pooled").replace(loss=loss)
    batch = random_batch(weights=[1, 0, 1, 1, 0, 1])
    counted = batch.weights == 1
    logits, labels = logits_of(state, batch)[counted], batch.labels[counted]
    p = 1 / (1 + np.exp(-logits))
    losses = (p - labels) ** 2 if loss == "mse" else -np.log(np.where(labels == 1, p, 1 - p))
    sums = sums_of(state, batch)
    np.testing.assert_allclose(sums.loss, losses.sum(), rtol=1e-5)
    assert sums.correct == np.sum((p > 0.5) == (labels == 1))
    assert sums.examples == 4


def test_batch_without_reviews_sums_to_nothing_and_moves_nothing():
    batch = random_batch(weights=np.zeros(6))
    assert_equal(sums_of(initial("pooled"), batch), Sums(0, 0, 0))
    state, sums = train_step(fresh("pooled"), batch)
    assert_equal(sums, Sums(0, 0, 0))
    assert_equal(on_host(state)[1], on_host(initial("pooled"))[1])


def test_means_weigh_reviews_not_batches():
    state, whole = initial("pooled"), random_batch(11)
    ragged = [Batch(*(part[rows] for part in whole)) for rows in np.split(np.arange(11), [4, 8])]
    metrics = mean_metrics([sums_of(state, batch) for batch in ragged])
    assert metrics == pytest.approx(mean_metrics([sums_of(state, whole)]), rel=1e-6)


def test_means_lose_nothing_over_many_batches():
    # In float32, adding 1 to 2**24 changes nothing.
    one = Sums(np.float32(0.1), np.float32(1), np.float32(2))
    many = Sums(np.float32(2**24), np.float32(2**24), np.float32(2**25))
    metrics = mean_metrics([many, *[one] * 1000])
    assert metrics.accuracy == 0.5
    assert metrics.loss == pytest.approx((2**24 + 100) / (2**25 + 2000), rel=1e-9)


# The step


@pytest.mark.parametrize("arch", MODELS)
def test_step_is_a_pure_function(arch):
    batch = random_batch()
    first, second = (train_step(fresh(arch), batch) for _ in range(2))
    assert_equal(on_host(first[0]), on_host(second[0]))
    assert_equal(first[1], second[1])
    assert first[0].step == 1
    assert_equal(batch, random_batch())
    assert np.any(np.asarray(jax.tree.leaves(first[0].params)[0]) != 0)


def test_step_reuses_the_buffers_of_the_state():
    state = fresh("pooled")
    train_step(state, random_batch())
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))


def test_evaluation_leaves_the_state_alone():
    state = fresh("pooled")
    first, second = sums_of(state, random_batch()), sums_of(state, random_batch())
    assert_equal(first, second)
    assert_equal(on_host(state), on_host(initial("pooled")))


@pytest.mark.parametrize("arch", MODELS)
def test_reviews_of_weight_zero_change_nothing(arch):
    """Not even the dropout of the others: the mask of a review depends on its place only."""
    small = random_batch(6)
    filler = random_batch(2, seed=9, weights=np.zeros(2))
    padded = Batch(*(np.concatenate(pair) for pair in zip(small, filler, strict=True)))
    alone, alone_sums = train_step(fresh(arch), small)
    filled, filled_sums = train_step(fresh(arch), padded)
    assert_close(on_host(filled), on_host(alone))
    assert_close(filled_sums, alone_sums)


def test_step_reports_sums_from_before_the_update():
    batch = random_batch()
    _, sums = train_step(fresh("pooled"), batch)
    assert_close(sums, sums_of(initial("pooled"), batch))


def test_dropout_is_a_function_of_seed_and_step():
    def loss(seed, step):
        state = fresh("mlp").replace(dropout_key=jax.random.key(seed), step=np.int32(step))
        return float(train_step(state, random_batch())[1].loss)

    losses = {(seed, step): loss(seed, step) for seed in (1, 2) for step in (3, 4)}
    assert len(set(losses.values())) == 4
    assert losses[2, 3] == loss(2, 3)


def test_evaluation_drops_nothing():
    state, batch = initial("mlp"), random_batch()
    p = 1 / (1 + np.exp(-logits_of(state, batch)))
    expected = -np.log(np.where(batch.labels == 1, p, 1 - p)).sum()
    sums, logits = eval_step(state, batch)
    np.testing.assert_allclose(sums.loss, expected, rtol=1e-5)
    np.testing.assert_allclose(logits, logits_of(state, batch), rtol=1e-5)


def test_seed_determines_parameters_and_dropout_key():
    again = create_train_state(MODELS["pooled"], random_batch().ids, 0, ADAM)
    same, other = created("pooled"), created("pooled", seed=1, optimizer=None)
    keys = [jax.random.key_data(state.dropout_key).tolist() for state in (again, same, other)]
    assert keys[0] == keys[1] != keys[2]
    kernels = [state.params["Dense_0"]["kernel"] for state in (again, same, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.all(kernels[0] != kernels[2])
    assert same.step == 0


# Adam


def test_adam_is_that_of_keras():
    """Keras' formula and constants, in float64."""
    optimizer, rate = keras_adam(), 1e-3
    random = np.random.default_rng(0)
    x = random.normal(size=5)
    # Gradients so small that another epsilon, or one added elsewhere, would show.
    gradients = random.normal(size=(20, 5)) * [1e-8, 1e-7, 1e-6, 1e-3, 1]
    params, m, v = x.astype("f"), np.zeros(5), np.zeros(5)
    opt_state = optimizer.init(params)
    for t, gradient in enumerate(gradients, start=1):
        updates, opt_state = optimizer.update(gradient.astype("f"), opt_state, params)
        params = optax.apply_updates(params, updates)
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        x -= rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
        np.testing.assert_allclose(params, x, rtol=0, atol=2e-6)


def test_default_optimizer_is_that_of_keras():
    state = created("pooled", seed=1, optimizer=None)
    gradients = jax.tree.map(lambda leaf: np.full(leaf.shape, 1e-7, "f"), state.params)
    updates, _ = state.optimizer.update(gradients, state.opt_state, state.params)
    root = np.sqrt(0.001)  # of what one gradient leaves in the second moment
    for update in jax.tree.leaves(updates):
        np.testing.assert_allclose(update, -1e-3 * root / (root + 1), rtol=1e-4)


# Many steps


def train_epochs(arch, mesh, epochs=2, batch_size=6):
    batch = random_batch(20)
    examples = Examples(batch.ids.astype(np.uint8), batch.labels)
    state, sums = jax.device_put(fresh(arch), replicated(mesh)), []
    for epoch in range(1, epochs + 1):
        order = epoch_order(len(examples), 0, epoch)
        for batch in batches(examples, batch_size, mesh, [order]):
            state, step_sums = train_step(state, batch)
            # Steps in flight on virtual devices can wait for each other forever.
            sums.append(jax.block_until_ready(step_sums))
    return on_host(state), mean_metrics(sums)


@pytest.mark.parametrize("arch", MODELS)
def test_number_of_devices_does_not_matter(arch):
    # Over four devices, batches of 6 are filled up to 8.
    alone = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    assert jax.device_count() == 4
    one_state, one_metrics = train_epochs(arch, alone)
    four_state, four_metrics = train_epochs(arch, data_mesh())
    assert one_state[0] == four_state[0] == 8
    assert_close(four_state, one_state, rtol=1e-4, atol=1e-5)
    assert four_metrics == pytest.approx(one_metrics, rel=1e-5)


def test_interrupted_training_goes_on_as_if_it_had_not_been():
    data = [random_batch(seed=seed) for seed in range(4)]

    def go_on(state, given):
        for batch in given:
            state, _ = train_step(state, batch)
        return state

    straight = go_on(fresh("mlp"), data)
    saved = jax.device_get(go_on(fresh("mlp"), data[:2]).replace(dropout_key=None))
    key = initial("mlp").dropout_key.copy()
    resumed = go_on(jax.device_put(saved).replace(dropout_key=key), data[2:])
    assert_equal(on_host(resumed), on_host(straight))


def test_learns_a_few_reviews_by_heart():
    state, batch = fresh("pooled"), random_batch(12)
    before = mean_metrics([sums_of(state, batch)])
    for _ in range(300):
        state, _ = train_step(state, batch)
    after = mean_metrics([sums_of(state, batch)])
    assert after.loss < 0.1 < before.loss
    assert after.accuracy == 1


def test_steps_of_one_shape_are_compiled_once():
    state = fresh("pooled")
    state, _ = train_step(state, random_batch())
    compiled = train_step._cache_size()
    for seed in range(3):
        state, _ = train_step(state, random_batch(seed=seed))
    assert train_step._cache_size() == compiled


# Arguments


@pytest.mark.parametrize("loss", ["hinge", None])
def test_another_loss_is_refused(loss):
    with pytest.raises(ValueError, match="loss"):
        create_train_state(MODELS["pooled"], random_batch().ids, loss=loss)
    state = create_train_state(MODELS["pooled"], random_batch().ids, 0, ADAM)
    with pytest.raises(ValueError, match="loss"):
        jax.eval_shape(train_step, state.replace(loss=loss), random_batch())


@pytest.mark.parametrize("seed", [-1, 2.5, float("nan"), True, "0", 2**63, 2**70])
def test_another_seed_is_refused(seed):
    with pytest.raises(ValueError, match="seed must be "):
        create_train_state(MODELS["pooled"], random_batch().ids, seed)


def test_ids_that_are_no_integers_are_refused():
    batch = random_batch()
    state = create_train_state(MODELS["pooled"], batch.ids, 0, ADAM)
    with pytest.raises(TypeError, match="ids must be integers"):
        jax.eval_shape(train_step, state, batch._replace(ids=np.ones((2, 3), np.float32)))
