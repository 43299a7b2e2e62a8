"""Our models, initializers, padding and training steps against those of Keras."""

import math
import os
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from imdb_jax.config import Config, load_recipe, recipe_names, replace
from imdb_jax.models import create_model
from imdb_jax.models.inputs import Batch
from imdb_jax.text.sequences import Sequences, pad_sequences
from imdb_jax.training.step import create_train_state, train_step

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed (extra `keras`)")
sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import keras_models  # noqa: E402

pytestmark = [
    pytest.mark.keras,
    # Keras' variables implement __array__ as it was before NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

NUM_PARAMS = {
    "mlp": 505_201,
    "embedding_mlp": 4_160_501,
    "cnn": 2_163_605,
    "cnn_global": 171_605,
    "pooled": 160_289,
    "lstm": 213_301,
}
LENGTH = 26  # of the reviews in small models; 4 does not divide it


@pytest.fixture(autouse=True)
def _rank_promotion():
    """Keras adds biases as NumPy does, which `conftest.py` forbids our own code to do."""
    with jax.numpy_rank_promotion("allow"):
        yield


def variant(arch: str, num_words: int = 200, **fields) -> Config:
    """A recipe with few words and other hyper-parameters."""
    recipe = load_recipe(arch)
    return replace(recipe, num_words=num_words, model={**recipe.model, **fields})


RECIPES = [arch for arch in recipe_names() if arch != "ngram"]  # which has no Keras twin
VARIANTS = {
    **{arch: variant(arch) for arch in RECIPES},
    "mlp, no hidden layer": variant("mlp", hidden=[], dropout=[]),
    "mlp, dropout after every layer": variant("mlp", hidden=[9, 5], dropout=[0.5, 0.5]),
    "embedding_mlp, no hidden layer": variant("embedding_mlp", hidden=0),
    "embedding_mlp, larger embedding": variant("embedding_mlp", embedding_dim=96),
    "cnn, no hidden layer": variant("cnn", hidden=0),
    "cnn, pool 1": variant("cnn", pool_size=1),
    "cnn, pool 4": variant("cnn", pool_size=4),
    "cnn, pool over the whole length": variant("cnn", pool_size=LENGTH),
    "cnn, kernel 2": variant("cnn", kernel_size=2),
    "cnn, kernel 6": variant("cnn", kernel_size=6, filters=5),
    "cnn, kernel longer than a review": variant("cnn", kernel_size=LENGTH + 3),
    "cnn, larger embedding": variant("cnn", embedding_dim=100),
    "cnn_global, no hidden layer, kernel 5": variant("cnn_global", hidden=0, kernel_size=5),
    "pooled, no hidden layer": variant("pooled", hidden=0),
    "pooled, larger embedding": variant("pooled", embedding_dim=50),
    "lstm, other sizes": variant("lstm", embedding_dim=11, units=7),
}
all_variants = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
all_recipes = pytest.mark.parametrize("arch", RECIPES)


def random_ids(config: Config, num_reviews: int, seed: int = 0) -> np.ndarray:
    """Reviews of random lengths, padded in front; the first two are all padding and all last id."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, config.input.num_words, (num_reviews, LENGTH))
    ids[np.arange(LENGTH) < rng.integers(0, LENGTH, (num_reviews, 1))] = 0
    ids[0], ids[1] = 0, config.input.num_words - 1
    return ids.astype(np.uint16)


def set_random_weights(model) -> None:
    """Gives a Keras model weights (and biases) that keep the size of what passes through."""
    rng = np.random.default_rng(1)

    def random(weight) -> np.ndarray:
        embeds = weight.name == "embeddings"
        fan_in = 1 if embeds else math.prod(weight.shape[:-1])
        return rng.normal(0, 1 / math.sqrt(fan_in), weight.shape)

    model.set_weights([random(weight) for weight in model.weights])


@all_variants
def test_parameters_and_probabilities(config):
    twin = keras_models.build(config, LENGTH)
    set_random_weights(twin)
    params = keras_models.to_flax_params(config, twin.get_weights())
    model = create_model(config.arch, config.input.num_words, config.model)
    ids = random_ids(config, 64)
    initial = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, initial)

    expected = twin.predict_on_batch(keras_models.inputs(config, ids))[:, 0]
    assert expected.std() > 0.01  # else the comparison would say little
    probabilities = jax.nn.sigmoid(jax.jit(model.apply)({"params": params}, ids))
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)


@all_recipes
def test_number_of_parameters(arch):
    recipe = load_recipe(arch)
    length = recipe.input.max_length or LENGTH
    model = create_model(arch, recipe.input.num_words, recipe.model)
    ids = np.zeros((1, length), np.uint16)
    ours = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(ours)) == NUM_PARAMS[arch]
    assert keras_models.build(recipe, length).count_params() == NUM_PARAMS[arch]


# Layers wide enough that the spread and the largest of the weights are those of the distribution.
# Equal shapes throughout save Keras, which compiles the initializer of each, time.
WIDE = [
    variant("mlp", 1_000, hidden=[500, 500], dropout=[]),
    variant("embedding_mlp", 1_000, hidden=500),
    variant("cnn", 1_000, hidden=500),
    variant("cnn_global", 1_000, hidden=500, kernel_size=6),
    variant("pooled", 1_000, embedding_dim=32, hidden=500),
    variant("lstm", 1_000, units=200),
]


@pytest.mark.parametrize("config", WIDE, ids=lambda config: config.arch)
def test_initializers(config):
    keras.utils.set_random_seed(0)
    weights = keras_models.build(config, LENGTH).get_weights()
    theirs = keras_models.to_flax_params(config, weights)
    model = create_model(config.arch, config.input.num_words, config.model)
    ours = create_train_state(model, random_ids(config, 2)).params
    if config.arch == "lstm":
        # Orthogonal weights have no bound; it is the products of rows that they determine.
        for params in (ours, theirs):
            recurrent = np.asarray(params.pop("recurrent_kernel"))
            np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(200), atol=1e-5)

    def check(our_leaf, their_leaf):
        assert our_leaf.shape == their_leaf.shape
        assert our_leaf.dtype == their_leaf.dtype
        if our_leaf.ndim == 1:  # biases
            np.testing.assert_array_equal(our_leaf, their_leaf)
        else:
            assert np.abs(our_leaf).max() == pytest.approx(np.abs(their_leaf).max(), rel=0.05)
            assert our_leaf.std() == pytest.approx(their_leaf.std(), rel=0.15)
            assert abs(our_leaf.mean()) < 4 * our_leaf.std() / math.sqrt(our_leaf.size)

    jax.tree.map(check, ours, theirs)


def without_dropout(config: Config) -> Config:
    if "dropout" not in config.model:
        return config
    return variant(
        config.arch, config.input.num_words, dropout=[0.0] * len(config.model["dropout"])
    )


@pytest.mark.parametrize(
    ("arch", "loss", "num_reviews"),
    [*((arch, "binary_crossentropy", 160) for arch in RECIPES), ("pooled", "mse", 138)],
)
def test_training(arch, loss, num_reviews):
    """Two passes over the same batches, the last of which may be smaller, lose the same."""
    if keras.backend.backend() == "tensorflow" and arch != "mlp":
        # Where a word occurs several times in a batch, Adam should square the sum of its gradients.
        pytest.skip("Keras' Adam on TensorFlow sums the squares of a word's gradients")
    # Most words are rare: their small gradients tell one kind of Adam from another.
    config = without_dropout(variant(arch, 3_000))
    batch_size = 32
    ids = random_ids(config, num_reviews)
    labels = (ids.astype(int).sum(1) % 3 == 0).astype(np.float32)
    keras.utils.set_random_seed(0)
    twin = keras_models.build(config, LENGTH)
    twin.compile("adam", loss)
    model = create_model(config.arch, config.input.num_words, config.model)
    params = keras_models.to_flax_params(config, twin.get_weights())
    state = create_train_state(model, ids[:1], loss=loss)
    state = state.replace(params=jax.tree.map(jax.numpy.array, params))

    losses, expected = [], []
    for start in 2 * list(range(0, num_reviews, batch_size)):
        rows = np.arange(start, min(start + batch_size, num_reviews))
        x = keras_models.inputs(config, ids[rows])
        expected.append(float(twin.train_on_batch(x, labels[rows])))
        filled = np.resize(rows, batch_size)
        weights = (np.arange(batch_size) < len(rows)).astype(np.float32)
        state, sums = train_step(state, Batch(ids[filled], labels[filled], weights))
        losses.append(float(sums.loss / sums.examples))
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    trained = keras_models.to_flax_params(config, twin.get_weights())
    # A weight moves by up to 0.001 a step, however small its gradient.
    for ours, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(trained), strict=True):
        assert np.abs(ours - theirs).mean() < 1e-5


INTEGERS = st.integers(-100, 100)
STEP_SHAPES = st.sampled_from([(), (2,), (1, 3)])


@st.composite
def ragged_arrays(draw) -> list[np.ndarray]:
    shape = draw(STEP_SHAPES)
    lengths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    return [draw(npst.arrays(np.int16, (n, *shape), elements=INTEGERS)) for n in lengths]


# Left out are the arguments that Keras itself cannot handle: maxlen=0 (it cuts at the index -0 and
# so keeps all of a sequence, which then does not fit), and no sequences at all without a maxlen (it
# asks for the largest of no lengths). In both cases ours gives an array that is empty.
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "maxlen": st.none() | st.integers(1, 8) | st.just(50),
        "dtype": st.sampled_from(["int32", "int8", "int64", "float32", np.float64, object]),
        "padding": st.sampled_from(["pre", "post"]),
        "truncating": st.sampled_from(["pre", "post"]),
        "value": INTEGERS | st.just(0.0) | st.just(2.75),
    },
)


def assert_pads_like_keras(ours, theirs, arguments) -> None:
    padded = pad_sequences(ours, **arguments)
    expected = keras.utils.pad_sequences(theirs, **arguments)
    assert padded.dtype == expected.dtype
    np.testing.assert_array_equal(padded, expected)


@given(ragged_arrays(), ARGUMENTS)
def test_pad_sequences_of_arrays(sequences, arguments):
    assert_pads_like_keras(sequences, sequences, arguments)


@given(st.lists(st.lists(INTEGERS), min_size=1), ARGUMENTS)
def test_pad_sequences_of_lists(sequences, arguments):
    assert_pads_like_keras(sequences, sequences, arguments)
    joined = np.array([value for sequence in sequences for value in sequence], np.int32)
    lengths = np.array([len(sequence) for sequence in sequences])
    assert_pads_like_keras(Sequences.from_lengths(joined, lengths), sequences, arguments)


@given(npst.arrays(np.int16, st.tuples(st.integers(1, 4), st.integers(0, 9))), ARGUMENTS)
def test_pad_sequences_of_a_matrix(matrix, arguments):
    assert_pads_like_keras(matrix, matrix, arguments)


@given(st.integers(1, 9))
def test_pad_sequences_of_nothing(maxlen):
    assert_pads_like_keras([], [], {"maxlen": maxlen})


@given(st.lists(st.lists(st.text(max_size=3)), min_size=1), ARGUMENTS)
def test_pad_sequences_of_words(sequences, arguments):
    assert_pads_like_keras(sequences, sequences, {**arguments, "dtype": object, "value": "<pad>"})
