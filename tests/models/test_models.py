"""What the architectures promise, stated as properties, and checked against plain NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ScopeParamShapeError

from imdb_jax.config import load_recipe
from imdb_jax.errors import UserError
from imdb_jax.models import ARCHITECTURES, create_model
from imdb_jax.models.inputs import fold
from imdb_jax.models.mlp import multi_hot_on_device
from imdb_jax.models.word_conv import WordConv, max_of_sums, max_pool, sums_of_rows
from imdb_jax.pipeline.input_format import create_configured_model
from imdb_jax.text.sequences import Sequences

NUM_WORDS, LENGTH, BATCH = 60, 12, 6
SMALL = {
    "mlp": {"hidden": (5, 4), "dropout": (0.4,)},
    "embedding_mlp": {"embedding_dim": 3, "hidden": 5},
    "cnn": {"embedding_dim": 3, "filters": 4, "hidden": 5},
    "cnn_global": {"embedding_dim": 3, "filters": 4, "hidden": 5, "pool_size": 0},
    "pooled": {"embedding_dim": 3, "hidden": 5},
    "lstm": {"embedding_dim": 3, "units": 4},
    "ngram": {},
}
every_arch = pytest.mark.parametrize("arch", SMALL)


def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0), random_ids())["params"]


def random_params(model):
    """Parameters that all matter, where initial ones may be zero or tiny; nothing to compile."""
    leaves, tree = jax.tree.flatten(shapes(model))
    random = np.random.default_rng(1)
    return tree.unflatten([random.normal(0, 0.5, leaf.shape).astype("f") for leaf in leaves])


@functools.cache
def small(arch, **fields):
    """A small model as a compiled function of (params, ids), and parameters for it."""
    model = create_model(arch, NUM_WORDS, SMALL[arch] | fields)
    return jax.jit(lambda params, ids: model.apply({"params": params}, ids)), random_params(model)


def random_ids(batch=BATCH, length=LENGTH, seed=0):
    return np.random.default_rng(seed).integers(0, NUM_WORDS, (batch, length), np.int32)


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"]


# Mixed precision

mixed = [arch for arch in SMALL if arch != "ngram"]


@pytest.mark.parametrize("arch", mixed)
def test_bfloat16_computes_nearly_the_same_from_the_same_parameters(arch):
    half = create_model(arch, NUM_WORDS, SMALL[arch], "bfloat16")
    params = random_params(half)
    assert shapes(half) == shapes(create_model(arch, NUM_WORDS, SMALL[arch]))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(shapes(half))} == {"float32"}
    ids, weights = random_ids(), jnp.linspace(0.5, 1, BATCH)

    @functools.partial(jax.jit, static_argnums=0)
    def logits_and_gradients(model, params):
        def total(params):
            logits = model.apply({"params": params}, ids)
            return (logits * weights).sum(), logits

        gradients, logits = jax.grad(total, has_aux=True)(params)
        return logits, gradients

    found = logits_and_gradients(half, params)
    expected = logits_and_gradients(create_model(arch, NUM_WORDS, SMALL[arch]), params)
    # bfloat16 has eight bits, float32 24.
    for leaf, like in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert leaf.dtype == like.dtype == np.float32
        np.testing.assert_allclose(leaf, like, rtol=0, atol=0.03 * np.abs(like).max())
    assert any((leaf != like).any() for leaf, like in zip(found[:1], expected[:1], strict=True))


def test_words_that_occur_often_are_learned_exactly():
    """In bfloat16, adding up 2,000 equal gradients would end at a few hundred of them."""
    model = create_model("pooled", NUM_WORDS, {"embedding_dim": 2, "hidden": 0}, "bfloat16")
    params, ids = random_params(model), np.full((20, 100), 7)
    gradients = jax.grad(lambda p: model.apply({"params": p}, ids).sum())(params)
    expected = 20 * params["Dense_0"]["kernel"][:, 0]
    np.testing.assert_allclose(gradients["Embed_0"]["embedding"][7], expected, rtol=0.02)


def test_ngrams_are_counted_in_float32_only():
    with pytest.raises(UserError, match="ngram computes in float32 only, not in bfloat16"):
        create_model("ngram", NUM_WORDS, {}, "bfloat16")


# All architectures


@pytest.mark.parametrize(
    ("arch", "num_params"),
    [
        ("mlp", 505_201),
        ("embedding_mlp", 4_160_501),
        ("cnn", 2_163_605),
        ("cnn_global", 171_605),
        ("pooled", 160_289),
        ("lstm", 213_301),
    ],
)
def test_recipe_has_the_parameters_of_the_tutorial(arch, num_params):
    config = load_recipe(arch)
    model = create_configured_model(config)
    ids = jax.ShapeDtypeStruct((1, config.input.max_length or 10), np.uint16)
    params = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == num_params
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))


def test_every_architecture_is_covered():
    assert set(SMALL) == set(ARCHITECTURES)


@every_arch
def test_gives_one_finite_logit_per_review(arch):
    apply, params = small(arch)
    logits = apply(params, random_ids())
    assert logits.shape == (BATCH,)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert len(set(logits.tolist())) == BATCH


@every_arch
def test_review_is_judged_alone(arch):
    apply, params = small(arch)
    ids = random_ids()
    logits = apply(params, ids)
    for row in (0, BATCH - 1):
        alone = apply(params, ids[row : row + 1])
        np.testing.assert_allclose(alone, logits[row : row + 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(apply(params, ids[::-1]), logits[::-1], rtol=1e-5, atol=1e-6)


@every_arch
def test_same_call_gives_same_logits_and_leaves_its_arguments_alone(arch):
    apply, params = small(arch)
    ids, before = random_ids(), jax.tree.map(np.copy, params)
    first, second = apply(params, ids), apply(params, ids)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(ids, random_ids())
    jax.tree.map(np.testing.assert_array_equal, params, before)


@every_arch
def test_works_without_jit_and_under_vmap_over_parameters(arch):
    apply, params = small(arch)
    model = create_model(arch, NUM_WORDS, SMALL[arch])
    ids = random_ids()
    plain = model.apply({"params": params}, ids)
    np.testing.assert_allclose(plain, apply(params, ids), rtol=1e-5, atol=1e-6)
    other = jax.tree.map(lambda leaf: -2 * leaf, params)
    both = jax.tree.map(lambda *leaves: np.stack(leaves), params, other)
    logits = jax.vmap(apply, in_axes=(0, None))(both, ids)
    for given, expected in zip(logits, (apply(params, ids), apply(other, ids)), strict=True):
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5)


@every_arch
def test_gradient_is_finite_and_reaches_every_parameter(arch):
    apply, params = small(arch)
    gradients = jax.grad(lambda params: apply(params, random_ids(batch=64)).sum())(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all()
        constant = "log_ratio" in jax.tree_util.keystr(path)  # set before training
        assert np.any(gradient) != constant


@every_arch
def test_dtype_of_the_ids_does_not_matter(arch):
    model = create_model(arch, 300, SMALL[arch])  # more words than the smaller dtypes can count
    params = random_params(model)
    ids = np.array([[0, 1, 126, 127] * 3], np.int32)
    dtypes = "int32", "uint8", "int8", "uint16", "int64"
    apply = jax.jit(lambda *many: [model.apply({"params": params}, ids) for ids in many])
    expected, *found = apply(*map(ids.astype, dtypes))
    for dtype, logits in zip(dtypes[1:], found, strict=True):
        np.testing.assert_array_equal(logits, expected, err_msg=dtype)


@every_arch
def test_initializer_is_a_function_of_the_key_and_has_keras_ranges(arch):
    model = create_model(arch, NUM_WORDS, SMALL[arch])

    @jax.jit
    def init(seed):
        key = jax.random.key(seed, impl="unsafe_rbg")  # the default takes longer to compile
        return model.init(key, random_ids())["params"]

    first, again, other = init(0), init(0), init(1)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    for path, leaf in jax.tree_util.tree_leaves_with_path(first):
        name = jax.tree_util.keystr(path)
        same = functools.reduce(lambda tree, key: tree[key.key], path, other)
        if arch == "ngram":
            assert not np.any(leaf), name
            continue
        assert ("bias" in name) == bool((leaf == same).all()), name
        if "embedding" in name:
            assert leaf.min() < -0.04
            assert leaf.max() > 0.04
            assert abs(leaf).max() <= 0.05
        elif "recurrent" in name:
            np.testing.assert_allclose(leaf @ leaf.T, np.eye(len(leaf)), atol=1e-5)
        elif "kernel" in name:  # Glorot
            receptive = np.prod(leaf.shape[:-2], dtype=int)
            limit = np.sqrt(6 / (receptive * sum(leaf.shape[-2:])))
            assert 0.5 * limit < abs(leaf).max() <= limit
        elif leaf.shape == (16,):  # the gates of the LSTM, of which the second is to remember
            np.testing.assert_array_equal(leaf.reshape(4, -1), [[0], [1], [0], [0]] * np.ones(4))
        else:
            assert not leaf.any()


@pytest.mark.parametrize(
    ("arch", "fields"),
    [
        ("embedding_mlp", {"hidden": 0}),
        ("cnn", {"hidden": 0}),
        ("cnn", {"pool_size": 5}),
        ("cnn", {"pool_size": 1}),
        ("cnn", {"pool_size": LENGTH}),
        ("cnn", {"kernel_size": 4}),
        ("cnn", {"embedding_dim": 1, "filters": 1}),
        ("pooled", {"hidden": 0}),
        ("mlp", {"hidden": (), "dropout": ()}),
        ("mlp", {"hidden": (3, 2, 3, 2), "dropout": (0.1, 0.1)}),
        ("lstm", {"units": 1}),
    ],
)
def test_variants_that_readers_tried(arch, fields):
    model = create_model(arch, NUM_WORDS, SMALL[arch] | fields)
    logits = jax.eval_shape(model.apply, {"params": shapes(model)}, random_ids())
    assert (logits.shape, logits.dtype) == ((BATCH,), np.float32)


@pytest.mark.parametrize("arch", ["embedding_mlp", "cnn", "pooled"])
def test_no_hidden_layer_means_one_dense_layer(arch):
    params = shapes(create_model(arch, NUM_WORDS, SMALL[arch] | {"hidden": 0}))
    assert [name for name in params if "Dense" in name] == ["Dense_0"]


@pytest.mark.parametrize("arch", ["mlp", "cnn_global", "pooled", "lstm"])
def test_reads_reviews_of_any_length(arch):
    model = create_model(arch, NUM_WORDS, SMALL[arch])
    for length in (1, 5, LENGTH + 7):
        ids = random_ids(length=length)
        logits = jax.eval_shape(model.apply, {"params": shapes(model)}, ids)
        assert logits.shape == (BATCH,)


@pytest.mark.parametrize("arch", ["embedding_mlp", "cnn"])
def test_reads_reviews_of_the_length_it_was_made_for_only(arch):
    model = create_model(arch, NUM_WORDS, SMALL[arch])
    with pytest.raises(ScopeParamShapeError, match="Dense_0"):
        jax.eval_shape(model.apply, {"params": shapes(model)}, random_ids(length=LENGTH + 2))


def test_architecture_that_is_misspelled():
    with pytest.raises(
        UserError, match=r"'ccn' .did you mean 'cnn'.*; choose from: cnn, cnn_global"
    ):
        create_model("ccn", NUM_WORDS, {})


def test_field_that_is_misspelled():
    with pytest.raises(UserError, match=r"'filter' .did you mean 'filters'.*kernel_size"):
        create_model("cnn", NUM_WORDS, {"filter": 3})


@pytest.mark.parametrize("field", ["parent", "name", "num_words", "units"])
def test_field_that_the_architecture_does_not_have(field):
    with pytest.raises(UserError, match=f"'{field}'"):
        create_model("pooled", NUM_WORDS, {field: 3})


# MLP


def test_mlp_is_what_numpy_computes():
    apply, params = small("mlp")
    ids = random_ids()
    hot = np.zeros((BATCH, NUM_WORDS), "f")
    for row, review in zip(hot, ids, strict=True):
        row[[i for i in set(review.tolist()) if i != 0]] = 1
    x = relu(dense(params["Dense_0"], hot))
    x = relu(dense(params["Dense_1"], x))
    expected = dense(params["Dense_2"], x)[:, 0]
    np.testing.assert_allclose(apply(params, ids), expected, rtol=1e-5, atol=1e-5)


def test_mlp_reads_a_set_of_words():
    apply, params = small("mlp")
    ids = random_ids()
    shuffled = np.random.default_rng(1).permuted(ids, axis=1)
    repeated = np.concatenate([ids, ids[:, :5]], axis=1)
    padded = np.pad(ids, ((0, 0), (3, 4)))
    for variant in (shuffled, repeated, padded):
        np.testing.assert_allclose(apply(params, variant), apply(params, ids), rtol=1e-6)


def test_mlp_reads_sets_as_it_reads_what_they_were_made_of():
    apply, params = small("mlp")
    ids = np.pad(random_ids(), ((0, 0), (5, 0)))
    ids[1] = 0  # a review without words
    sets = [np.unique(review[review > 0]) for review in ids]
    lengths = np.array([len(distinct) for distinct in sets])
    folded = fold(Sequences.from_lengths(np.concatenate(sets), lengths))

    def loss(params, ids):
        return (apply(params, ids) ** 2).sum()

    expected, found = (jax.value_and_grad(loss)(params, given) for given in (ids, folded))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), found, expected)


def test_multi_hot_never_marks_padding():
    np.testing.assert_array_equal(
        multi_hot_on_device(np.array([[0, 2, 2], [1, 3, 1], [0, 0, 0]], np.uint8), 4),
        [[0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]],
    )


@functools.cache
def mlp_in_training():
    model = create_model("mlp", NUM_WORDS, SMALL["mlp"])
    return jax.jit(
        lambda params, ids, key: model.apply(
            {"params": params}, ids, train=True, rngs={"dropout": key}
        )
    )


def test_dropout_is_a_function_of_its_key():
    apply, params = small("mlp")
    train, ids = mlp_in_training(), random_ids()
    first = train(params, ids, jax.random.key(1))
    np.testing.assert_array_equal(first, train(params, ids, jax.random.key(1)))
    assert np.any(first != train(params, ids, jax.random.key(2)))
    assert np.any(first != apply(params, ids))


def test_dropout_keeps_the_mean_of_a_linear_readout():
    apply, params = small("mlp", hidden=(50,), dropout=(0.4,))
    model = create_model("mlp", NUM_WORDS, {"hidden": (50,), "dropout": (0.4,)})
    ids = random_ids(batch=1).repeat(4000, axis=0)
    key = {"dropout": jax.random.key(0)}
    dropped = jax.jit(lambda params: model.apply({"params": params}, ids, train=True, rngs=key))(
        params
    )
    error = dropped.std() / np.sqrt(len(dropped))
    assert abs(dropped.mean() - apply(params, ids[:1])[0]) < 4 * error


@pytest.mark.parametrize("arch", [arch for arch in SMALL if arch != "mlp"])
def test_train_changes_nothing_without_dropout(arch):
    apply, params = small(arch)
    model = create_model(arch, NUM_WORDS, SMALL[arch])
    train = jax.jit(lambda params, ids: model.apply({"params": params}, ids, train=True))
    np.testing.assert_allclose(
        train(params, random_ids()), apply(params, random_ids()), rtol=1e-6, atol=1e-6
    )


# Embeddings, means and convolutions


def test_embedding_mlp_is_what_numpy_computes():
    apply, params = small("embedding_mlp")
    ids = random_ids()
    x = params["Embed_0"]["embedding"][ids].reshape(BATCH, -1)
    expected = dense(params["Dense_1"], relu(dense(params["Dense_0"], x)))[:, 0]
    np.testing.assert_allclose(apply(params, ids), expected, rtol=1e-5, atol=1e-5)


def test_pooled_is_the_mean_of_all_vectors_padding_included():
    apply, params = small("pooled")
    ids = np.pad(random_ids(length=8), ((0, 0), (0, LENGTH - 8)))
    x = params["Embed_0"]["embedding"][ids].sum(axis=1) / LENGTH
    expected = dense(params["Dense_1"], relu(dense(params["Dense_0"], x)))[:, 0]
    np.testing.assert_allclose(apply(params, ids), expected, rtol=1e-5, atol=1e-5)


def test_pooled_does_not_see_order_but_counts_repetitions():
    apply, params = small("pooled")
    ids = random_ids()
    shuffled = np.random.default_rng(1).permuted(ids, axis=1)
    twice = np.repeat(ids, 2, axis=1)
    for variant in (shuffled, twice):
        np.testing.assert_allclose(apply(params, variant), apply(params, ids), rtol=1e-4, atol=1e-5)
    once_more = np.concatenate([ids, ids[:, :1]], axis=1)
    assert np.all(apply(params, once_more) != apply(params, ids))


@pytest.mark.parametrize("arch", ["embedding_mlp", "cnn", "cnn_global", "lstm"])
def test_order_of_words_matters(arch):
    apply, params = small(arch)
    ids = np.array([np.random.default_rng(0).permutation(NUM_WORDS)[:LENGTH]])
    assert apply(params, ids)[0] != apply(params, ids[:, ::-1])[0]


@pytest.mark.parametrize(("pool_size", "kernel_size"), [(2, 3), (5, 3), (2, 4), (0, 3), (12, 2)])
def test_cnn_is_what_numpy_computes(pool_size, kernel_size):
    apply, params = small("cnn", pool_size=pool_size, kernel_size=kernel_size)
    ids = random_ids()
    vectors = params["Embed_0"]["embedding"][ids]
    before = (kernel_size - 1) // 2  # as TensorFlow splits the padding of an even kernel
    vectors = np.pad(vectors, ((0, 0), (before, kernel_size - 1 - before), (0, 0)))
    kernel, bias = params["Conv_0"]["kernel"], params["Conv_0"]["bias"]
    x = np.stack(
        [
            np.einsum("bke,kef->bf", vectors[:, i : i + kernel_size], kernel) + bias
            for i in range(LENGTH)
        ],
        axis=1,
    )
    size = pool_size or LENGTH
    pooled = [relu(x[:, i * size : (i + 1) * size]).max(axis=1) for i in range(LENGTH // size)]
    x = np.concatenate(pooled, axis=1)
    expected = dense(params["Dense_1"], relu(dense(params["Dense_0"], x)))[:, 0]
    np.testing.assert_allclose(apply(params, ids), expected, rtol=1e-4, atol=1e-4)


def test_global_pool_finds_a_phrase_wherever_it_stands():
    apply, params = small("cnn_global")
    phrase = random_ids(length=4)
    logits = [apply(params, np.pad(phrase, ((0, 0), (at, 8 - at)))) for at in (3, 4, 5)]
    longer = apply(params, np.pad(phrase, ((0, 0), (30, 50))))
    for other in (*logits[1:], longer):
        np.testing.assert_allclose(other, logits[0], rtol=1e-5, atol=1e-6)


def test_global_pool_does_not_see_further_padding():
    apply, params = small("cnn_global")
    ids = np.pad(random_ids(), ((0, 0), (3, 0)))  # what a filter of 3 sees is then all there
    more = np.pad(ids, ((0, 0), (40, 0)))
    np.testing.assert_allclose(apply(params, more), apply(params, ids), rtol=1e-5, atol=1e-6)


def test_local_pool_sees_where_a_phrase_stands():
    apply, params = small("cnn")
    early, late = (np.pad(random_ids(length=4), ((0, 0), (at, 8 - at))) for at in (2, 6))
    assert np.all(apply(params, early) != apply(params, late))


def test_pool_longer_than_the_review_is_refused():
    model = create_model("cnn", NUM_WORDS, {"pool_size": LENGTH + 1})
    with pytest.raises(ValueError, match="pool_size 13 is longer than the review, 12 words"):
        jax.eval_shape(model.init, jax.random.key(0), random_ids())


@pytest.mark.parametrize(("length", "size"), [(12, 2), (13, 2), (12, 5), (7, 7), (7, 1)])
def test_max_pool_and_its_gradient_are_those_of_the_plain_version(length, size):
    x = np.random.default_rng(0).normal(size=(2, length, 3)).astype("f")

    def plain(x):
        whole = x[:, : length // size * size]
        return whole.reshape(2, length // size, size, 3).max(axis=2)

    scale = np.random.default_rng(1).normal(size=(2, length // size, 3)).astype("f")

    @jax.jit
    def both(x):
        (pooled, pull), (expected, pull_plain) = (
            jax.vjp(pool, x) for pool in (lambda x: max_pool(x, size), plain)
        )
        return (pooled, expected), (pull(scale), pull_plain(scale))

    for ours, plainly in both(x):
        jax.tree.map(np.testing.assert_array_equal, ours, plainly)


def test_max_pool_shares_the_gradient_among_two_equals():
    gradient = jax.grad(lambda x: max_pool(x, 2).sum())(jnp.ones((1, 4, 1)))
    np.testing.assert_array_equal(gradient, np.full((1, 4, 1), 0.5))


@pytest.mark.parametrize("length", [1, 2, 9, 64])
def test_maximum_over_all_words_and_its_gradient_are_those_of_the_plain_version(length):
    """Reviews of equal words, and NaN, included."""
    rng = np.random.default_rng(length)
    tables = list(rng.normal(size=(3, NUM_WORDS, 5)).astype("f"))
    ids = list(rng.integers(NUM_WORDS, size=(3, BATCH, length)))
    for own in ids:
        own[0] = own[0, 0]
    scale = rng.normal(size=(BATCH, 5)).astype("f")

    def plainly(tables, ids):
        return sums_of_rows(tables, ids).max(axis=1)

    @functools.partial(jax.jit, static_argnums=0)
    def with_gradient(maximum, tables):
        maxima, pull = jax.vjp(lambda tables: maximum(tables, ids), tables)
        return maxima, pull(scale)[0]

    (ours, gradients), (plain, expected) = (
        with_gradient(maximum, tables) for maximum in (max_of_sums, plainly)
    )
    np.testing.assert_array_equal(ours, plain)
    np.testing.assert_allclose(gradients, expected, rtol=1e-5, atol=1e-6)
    broken, gradients = with_gradient(max_of_sums, [np.full_like(tables[0], np.nan), *tables[1:]])
    assert np.isnan(broken).all()
    assert np.isfinite(gradients).all()


# LSTM


def lstm_states(params, ids):
    """Hidden states after each word, `[batch, length, units]`, word by word and gate by gate."""
    by_shape = {leaf.shape: leaf for leaf in jax.tree.leaves(params)}
    kernels = np.split(by_shape[3, 16], 4, axis=1)
    biases = np.split(by_shape[16,], 4)
    recurrent = np.split(by_shape[4, 16], 4, axis=1)
    states = []
    for review in ids:
        hidden, cell = np.zeros(4), np.zeros(4)
        for word in review:
            x = params["Embed_0"]["embedding"][word]
            i, f, c, o = (
                x @ kernels[gate] + hidden @ recurrent[gate] + biases[gate] for gate in range(4)
            )
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
            hidden = sigmoid(o) * np.tanh(cell)
            states.append(hidden)
    return np.reshape(states, (*ids.shape, 4))


def test_lstm_is_what_a_loop_computes():
    apply, params = small("lstm")
    ids = random_ids()
    states = lstm_states(params, ids)
    for length in (1, LENGTH):  # the state after a word does not depend on later words
        expected = dense(params["Dense_0"], states[:, length - 1])[:, 0]
        np.testing.assert_allclose(apply(params, ids[:, :length]), expected, rtol=1e-4, atol=1e-5)


def test_lstm_forgets_the_beginning_if_its_gate_is_shut():
    apply, params = small("lstm")
    shut = {
        (16,): np.repeat(np.float32([0, -1e4, 0, 0]), 4),  # the second gate forgets
        (4, 16): np.zeros((4, 16), "f"),
    }
    forgetful = jax.tree.map(lambda leaf: shut.get(leaf.shape, leaf), params)
    one, other = random_ids(seed=1), random_ids(seed=2)
    other[:, -1] = one[:, -1]
    np.testing.assert_array_equal(apply(forgetful, one), apply(forgetful, other))
    assert np.all(apply(params, one) != apply(params, other))


@pytest.mark.parametrize(
    ("arch", "fields"),
    [
        ("cnn", {"filters": 0}),
        ("cnn", {"kernel_size": 0}),
        ("lstm", {"units": 0}),
        ("pooled", {"embedding_dim": 0}),
        ("cnn", {"hidden": [3]}),
        ("cnn", {"hidden": -1}),
        ("cnn", {"filters": 2.5}),
        ("cnn", {"filters": True}),
        ("cnn", {"filters": "8"}),
        ("cnn", {"kernel_size": 2**70}),
        ("mlp", {"hidden": 50}),
        ("mlp", {"hidden": [50, 0]}),
        ("mlp", {"hidden": [2.5]}),
        ("mlp", {"dropout": 0.5}),
        ("mlp", {"dropout": [1.0]}),
        ("mlp", {"dropout": [float("nan")]}),
        ("ngram", {"max_n": 0}),
    ],
)
def test_sizes_that_no_layer_has_are_refused(arch, fields):
    named = rf"model\.{next(iter(fields))} must be"
    with pytest.raises(UserError, match=named):
        create_model(arch, 100, fields)
    with pytest.raises(UserError, match=named):
        ARCHITECTURES[arch](**fields)


@pytest.mark.parametrize("size", [0, -1, 2.5, float("nan"), True, None, "100", [100], 2**70])
@pytest.mark.parametrize("arch", sorted({*SMALL} - {"ngram"}))
def test_vocabularies_of_no_size_are_refused(arch, size):
    with pytest.raises(UserError, match="num_words must be "):
        create_model(arch, size, SMALL[arch])


@pytest.mark.parametrize("dtype", ["float16", "", 3, None])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(UserError, match="dtype"):
        create_model("cnn", 100, SMALL["cnn"], dtype)


@every_arch
@pytest.mark.parametrize("ids", [np.zeros((2, 4), "f"), np.zeros((2, 4), bool), np.zeros(4, int)])
def test_ids_are_integers_in_rows(arch, ids):
    model = create_model(arch, NUM_WORDS, SMALL[arch])
    with pytest.raises(TypeError, match=r"ids must be integers \[batch, length\], not "):
        jax.eval_shape(model.init, jax.random.key(0), ids)


def test_positions_of_a_kernel_that_see_no_word_are_skipped():
    """So their number is no reason to loop, and changes nothing."""
    rng = np.random.default_rng(0)
    table, ids = rng.normal(size=(NUM_WORDS, 3)), random_ids(length=3)
    kernel, bias = rng.normal(size=(13, 3, 2)), np.zeros(2)

    def convolve(kernel):
        params = {"kernel": kernel, "bias": bias}
        return WordConv(2, len(kernel)).apply({"params": params}, table, ids)

    np.testing.assert_array_equal(convolve(kernel), convolve(kernel[4:-4]))
    jax.eval_shape(WordConv(2, 10**7).init, jax.random.key(0), table, ids)
