"""Keras' files: read as the model that they hold or refused, written so that Keras reads them."""

import functools
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from small_models import NUM_WORDS, SMALL, TEXTS, small_classifier

from imdb_jax import load_keras_weights
from imdb_jax.config import load_recipe, replace
from imdb_jax.errors import UserError
from imdb_jax.exporting import keras_files
from imdb_jax.exporting.keras_files import to_keras
from imdb_jax.pipeline.input_format import create_configured_model

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed (extra `keras`)")
import h5py  # noqa: E402

pytestmark = [
    pytest.mark.keras,
    # Keras' variables implement __array__ as it was before NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]


@pytest.fixture(autouse=True)
def _rank_promotion():
    """Keras adds biases as NumPy does, which `conftest.py` forbids our own code to do."""
    with jax.numpy_rank_promotion("allow"):
        yield


VARIANTS = {
    **{arch: small_classifier(arch) for arch in SMALL if arch != "ngram"},
    "mlp, no hidden layer": small_classifier("mlp", model={"hidden": [], "dropout": []}),
    "mlp, many layers": small_classifier("mlp", model={"hidden": [8] * 11, "dropout": [0.5, 0.2]}),
    "embedding_mlp, no hidden layer": small_classifier(
        "embedding_mlp", model={"embedding_dim": 2, "hidden": 0}
    ),
    "cnn, pool 4": small_classifier(
        "cnn", model={**SMALL["cnn"], "kernel_size": 2, "pool_size": 4}
    ),
}
all_variants = pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS)


def assert_same(params, expected):
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)


@functools.cache
def files(arch: str) -> dict[str, bytes]:
    """What Keras writes of a small model."""
    model = small_classifier(arch)
    return to_keras(model.config, model.params)


def keras_probabilities(model, twin) -> np.ndarray:
    ids = model.encode(TEXTS).astype(np.int32)
    if model.config.arch == "mlp":
        hot = np.zeros((len(ids), NUM_WORDS), "f")
        hot[np.arange(len(ids))[:, None], ids] = 1
        hot[:, 0] = 0
        ids = hot
    return np.asarray(twin.predict_on_batch(ids))[:, 0]


# Both ways


@all_variants
def test_a_keras_file_tells_the_whole_model(model, tmp_path):
    """Keras reads what is written as the same model, and what it then writes is read as ours."""
    for name, content in to_keras(model.config, model.params).items():
        (tmp_path / name).write_bytes(content)
    expected = model.predict(TEXTS)
    assert expected.std() > 0.01  # else the comparison would say little
    twin = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(keras_probabilities(model, twin), expected, rtol=0, atol=1e-5)
    twin.set_weights([np.zeros_like(weight) for weight in twin.get_weights()])
    twin.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(keras_probabilities(model, twin), expected, rtol=0, atol=1e-5)

    twin.compile("adam", "binary_crossentropy")  # whose state is then saved as well
    twin.save(tmp_path / "theirs.keras")
    recipe = load_recipe(model.config.arch)
    for name in ("model.keras", "theirs.keras"):
        config, params = load_keras_weights(tmp_path / name)
        assert_same(params, model.params)
        assert config == replace(
            recipe,
            num_words=NUM_WORDS,
            max_length=model.config.input.max_length,
            model={**recipe.model, **model.config.model},
        )


@all_variants
def test_weights_and_a_configuration_tell_it_too(model, tmp_path):
    file = tmp_path / "model.weights.h5"
    file.write_bytes(to_keras(model.config, model.params)[file.name])
    recipe = load_recipe(model.config.arch).model
    # Of the sizes, only those that weights do not have count in what is given.
    given = replace(
        model.config, num_words=7, model={**recipe, **model.config.model, "embedding_dim": 99}
    )
    if model.config.arch == "mlp":
        given = replace(given, model=model.config.model)
    config, params = load_keras_weights(str(file), given)
    assert_same(params, model.params)
    assert create_configured_model(config) == create_configured_model(
        replace(model.config, model={**recipe, **model.config.model})
    )


def test_the_recipe_tells_the_side_of_padding(tmp_path):
    model = small_classifier("pooled", padding="pre", seed=5)
    file = tmp_path / "model.keras"
    file.write_bytes(files("pooled")["model.keras"])
    assert load_keras_weights(file)[0].input.padding == "post"
    config, _ = load_keras_weights(file, model.config)
    assert (config.input.padding, config.training.seed) == ("pre", 5)


def test_keras_runs_on_jax_unless_told_otherwise_and_leaves_its_numbering_alone():
    program = """
import sys
from small_models import small_classifier
from imdb_jax.exporting.keras_files import to_keras
model = small_classifier("pooled")
assert "keras" not in sys.modules
to_keras(model.config, model.params)
import keras
print(keras.backend.backend(), keras.Sequential().name)
"""
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "jax sequential\n"), done.stderr


# What is refused


def refusal(file: Path, recipe=None) -> str:
    with pytest.raises(UserError) as caught:
        load_keras_weights(file, recipe)
    assert str(file) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def written(tmp_path):
    """Writes files of a model, changed by functions of what they hold."""

    def write(arch="cnn", change_config=None, change_weights=None, suffix=".keras") -> Path:
        weights = io.BytesIO(files(arch)["model.weights.h5"])
        if change_weights:
            with h5py.File(weights, "r+") as root:
                change_weights(root)
        file = tmp_path / f"model{suffix}"
        if suffix != ".keras":
            file.write_bytes(weights.getvalue())
            return file
        with zipfile.ZipFile(io.BytesIO(files(arch)["model.keras"])) as archive:
            described = json.loads(archive.read("config.json"))
        if change_config:
            described = change_config(described) or described
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", json.dumps(described))
            archive.writestr("model.weights.h5", weights.getvalue())
        return file

    return write


def with_option(number: int, **options):
    def change(described):
        described["config"]["layers"][number]["config"].update(options)

    return change


def test_a_file_changed_by_nothing_is_read(written):
    config, params = load_keras_weights(written())
    assert config.arch == "cnn"
    assert_same(params, small_classifier("cnn").params)


@pytest.mark.parametrize(
    ("number", "options", "message"),
    [
        (1, {"mask_zero": True}, "Embedding layer has mask_zero True, that of cnn False"),
        (2, {"padding": "valid"}, "Conv1D layer has padding 'valid'"),
        (2, {"strides": [2]}, "Conv1D layer has strides [2]"),
        (2, {"dilation_rate": [2]}, "dilation_rate"),
        (2, {"activation": "tanh"}, "activation 'tanh'"),
        (2, {"data_format": "channels_first"}, "data_format"),
        (2, {"filters": 9}, "filters 9"),
        (3, {"strides": [1]}, "MaxPooling1D layer has strides [1]"),
        (3, {"pool_size": [3]}, "its weights are not those of cnn"),
        (3, {"pool_size": [3], "strides": [3]}, "its weights are not those of cnn"),
        (5, {"use_bias": False}, "use_bias False"),
        (6, {"activation": "tanh"}, "activation 'tanh', that of cnn 'sigmoid'"),
        (0, {"batch_shape": [None, 500]}, "its weights are not those of cnn with 500 ids a review"),
    ],
)
def test_layers_that_compute_something_else_are_refused(written, number, options, message):
    assert message in refusal(written(change_config=with_option(number, **options)))


def test_lstm_that_returns_sequences_is_refused(written):
    for options in ({"return_sequences": True}, {"go_backwards": True}, {"activation": "relu"}):
        assert "LSTM layer has" in refusal(written("lstm", with_option(2, **options)))


def test_what_changes_nothing_is_ignored(written):
    def change(described):
        layers = described["config"]["layers"]
        dropout = {"rate": 0.5, "name": "dropout_7"}
        entry = {"module": "keras.layers", "class_name": "Dropout", "config": dropout}
        layers[2:2] = [{**entry, "class_name": "SpatialDropout1D"}]
        layers[-1:-1] = [entry]
        for layer in layers:
            layer["config"] |= {"name": "mine", "trainable": False}
        layers[-1]["config"]["activation"] = "linear"  # a model of logits has the same weights

    _, params = load_keras_weights(written(change_config=change))
    assert_same(params, small_classifier("cnn").params)


def test_pool_over_the_whole_review_in_one_layer(written):
    def change(described):
        layers = described["config"]["layers"]
        options = {"data_format": "channels_last", "keepdims": False}
        entry = {"module": "keras.layers", "class_name": "GlobalMaxPooling1D", "config": options}
        layers[3:5] = [entry]

    config, params = load_keras_weights(written("cnn_global", change))
    assert (config.arch, config.model["pool_size"]) == ("cnn_global", 0)
    assert_same(params, small_classifier("cnn_global").params)


def replaced(number: int, **entries):
    def change(described):
        described["config"]["layers"][number].update(entries)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            replaced(2, class_name="LSTM"),
            "none of our architectures has the layers Embedding, LSTM",
        ),
        (replaced(2, class_name="Lambda"), "the layers Embedding, Lambda"),
        (replaced(2, module="mine"), "Conv1D is not one of Keras' own"),
        (lambda described: described | {"class_name": "Functional"}, "it is a Functional model"),
        (lambda described: described | {"config": {}}, "not Keras 3's"),
        (lambda described: [described], "not Keras 3's"),
        (lambda described: described | {"config": {"layers": []}}, "none of our architectures"),
        (replaced(0, config=None), "not Keras 3's"),
        (replaced(2, config=[]), "not Keras 3's"),
        (with_option(0, batch_shape=[None, "nine"]), "cannot have nine ids"),
        (with_option(0, batch_shape=[None, -9]), "cannot have -9 ids"),
        (with_option(0, batch_shape=[None, 1 << 60]), "a review cannot have"),
        (with_option(3, pool_size=["two"]), "must be a number or a list of numbers, not 'two'"),
        (with_option(3, pool_size=[2, 3], strides=[2, 3]), "has pool_size [2, 3]"),
    ],
)
def test_other_models_are_refused(written, change, message):
    assert message in refusal(written(change_config=change))


def test_another_recipe_than_the_model_is_refused(written):
    assert "its layers are those of cnn, not of lstm" in refusal(written(), "lstm")
    assert "did you mean 'lstm'" in refusal(written(suffix=".weights.h5"), "lsmt")


def test_weights_alone_need_a_recipe(written):
    file = written(suffix=".weights.h5")
    assert "name the recipe" in refusal(file)
    for arch in ("mlp", "embedding_mlp", "pooled", "lstm"):
        assert f"its weights are not those of {arch}" in refusal(file, arch)
    # The recipe's reviews are longer.
    assert "with 500 ids a review" in refusal(file, "cnn")


def delete(name):
    def change(root):
        del root[name]

    return change


def put(name, values, **options):
    def change(root):
        if name in root:
            del root[name]
        root.create_dataset(name, data=values, **options)

    return change


KERNEL = "layers/dense_1/vars/0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (delete("layers"), "its weights are not those of cnn"),
        (delete("layers/dense_1"), "its weights are not those of cnn"),
        (delete(KERNEL), "its weights are not those of cnn"),
        (put("layers/dense_2/vars/0", np.ones(3, "f")), "its weights are not those of cnn"),
        (put("layers/gru/vars/0", np.ones(3, "f")), "its weights are not those of cnn"),
        (put("layers/dense_1/vars/7", np.ones(3, "f")), "its weights are not those of cnn"),
        (put(KERNEL, np.ones((5, 2), "f")), "its weights are not those of cnn"),
        (put(KERNEL, np.ones(5, "f")), "damaged or not Keras 3's"),
        (put("layers/embedding/vars/0", np.float32(1)), "its weights are not those of cnn"),
        (put(KERNEL, np.ones((5, 1), int)), "of type int64"),
        (put(KERNEL, b"text"), "not floating point"),
        (put("layers", np.ones(3, "f")), "its weights are not those of cnn"),
        (put("layers/dense_1", np.ones(3, "f")), "its weights are not those of cnn"),
        (put("layers/dense_1/vars", np.ones(3, "f")), "its weights are not those of cnn"),
        (put("layers/dense_1/vars/x", np.ones(3, "f")), "its weights are not those of cnn"),
    ],
)
def test_other_weights_are_refused(written, change, message):
    assert message in refusal(written(change_weights=change))


def test_half_and_double_precision_become_single(written):
    expected = small_classifier("cnn").params["Dense_1"]["kernel"]
    for dtype in (np.float16, np.float64):
        change = put(KERNEL, expected.astype(dtype))
        params = load_keras_weights(written(change_weights=change))[1]
        assert params["Dense_1"]["kernel"].dtype == np.float32
        np.testing.assert_array_equal(params["Dense_1"]["kernel"], expected.astype(dtype))


def link(name, target):
    def change(root):
        del root[name]
        root[name] = target

    return change


def test_nothing_else_is_read(written, tmp_path):
    """No file but the one asked for, and no place in it but where Keras keeps weights."""
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as root:
        root["x"] = np.ones((5, 1), "f")
        root["vars/0"] = np.ones((5, 1), "f")
        root["vars/1"] = np.ones(1, "f")

    def virtual(root):
        del root[KERNEL]
        layout = h5py.VirtualLayout((5, 1), "f")
        layout[:] = h5py.VirtualSource(str(secret), "x", (5, 1))
        root.create_virtual_dataset(KERNEL, layout)

    def external(root):
        del root[KERNEL]
        raw = [(str(secret), 0, 20)]
        root.create_dataset(KERNEL, (5, 1), "f", external=raw)

    for change in (
        link(KERNEL, h5py.ExternalLink(str(secret), "x")),
        link("layers/dense_1", h5py.ExternalLink(str(secret), "/")),
        link(KERNEL, h5py.SoftLink("/layers/dense/vars/1")),
        link("layers", h5py.ExternalLink(str(secret), "/")),
        virtual,
        external,
    ):
        for suffix in (".keras", ".weights.h5"):
            file = written(change_weights=change, suffix=suffix)
            assert "it refers to other" in refusal(file, small_classifier("cnn").config)


def test_too_large_files_are_refused_before_they_fill_the_memory(written, monkeypatch):
    # Zeros that take no room in the file.
    huge = {
        "shape": (1 << 20, 1 << 10),
        "dtype": "f",
        "compression": "gzip",
        "chunks": (1, 1 << 10),
    }

    def change(root):
        del root[KERNEL]
        root.create_dataset(KERNEL, **huge)

    assert "it holds more than" in refusal(written(change_weights=change))
    monkeypatch.setattr(keras_files, "_MAX_CONFIG_BYTES", 100)
    assert "config.json has more than 100 bytes" in refusal(written())
    monkeypatch.undo()
    monkeypatch.setattr(keras_files, "_MAX_WEIGHT_BYTES", 1000)
    assert "model.weights.h5 has more than 1,000 bytes" in refusal(written())


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_damage_is_a_user_error_or_harmless(written, suffix):
    file = written(suffix=suffix)
    intact = file.read_bytes()
    rng = np.random.default_rng(0)
    config = small_classifier("cnn").config
    refusals = []
    for _ in range(60):
        data = bytearray(intact)
        if rng.random() < 0.3:
            del data[rng.integers(1, len(data)) :]
        for place in rng.integers(0, len(data), 8):
            data[place] = rng.integers(256)
        file.write_bytes(data)
        try:
            load_keras_weights(file, config)
        except UserError as error:
            refusals.append(str(error))
    assert len(refusals) > 10
    assert all(str(file) in refusal and "\n" not in refusal for refusal in refusals)


def test_what_is_not_there_or_no_keras_file(tmp_path):
    assert "there is no file" in refusal(tmp_path / "absent.keras")
    assert "is a device" in refusal(Path("/dev/zero"), "cnn")
    for name in ("text.keras", "text.weights.h5", "text.txt"):
        (tmp_path / name).write_text("text")
        assert "damaged or not Keras 3's" in refusal(tmp_path / name, "cnn")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("other", "")
    assert "damaged or not Keras 3's" in refusal(tmp_path / "other.keras")


@pytest.mark.parametrize("package", ["keras", "h5py"])
def test_what_is_missing_is_asked_for(written, monkeypatch, package):
    file = written()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package} is not installed; .*imdb_jax\[keras\]"):
        load_keras_weights(file)


def test_the_model_of_the_tutorial(tmp_path):
    """As people write it, with Keras' own defaults, then trained for a step."""
    layers = keras.layers
    twin = keras.Sequential(
        [
            keras.Input((9,)),
            layers.Embedding(NUM_WORDS, 3),
            layers.Conv1D(4, 3, padding="same", activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dropout(0.2),
            layers.Dense(5, activation=keras.activations.relu),
            layers.Dense(1),
        ]
    )
    twin.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    model = small_classifier("cnn_global")
    ids = model.encode(TEXTS).astype(np.int32)
    twin.train_on_batch(ids, np.array([[1.0], [0.0], [1.0]]))
    twin.save(tmp_path / "model.keras")
    config, params = load_keras_weights(tmp_path / "model.keras")
    assert (config.arch, config.input.max_length, config.model["hidden"]) == ("cnn_global", 9, 5)
    logits = create_configured_model(config).apply({"params": params}, ids)
    expected = keras_probabilities(model, twin)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
