"""Exports: they give the model's own numbers, elsewhere too, and replace nothing unasked."""

import dataclasses
import importlib.util
import json
import re
import sys
from io import BytesIO
from pathlib import Path

import jax
import numpy as np
import pytest
from exported_examples import assert_example_predicts_without, example
from hypothesis import given
from hypothesis import strategies as st
from small_models import NGRAMS, NUM_WORDS, SMALL, TEXTS, VOCABULARY, small_classifier

import imdb_jax
from imdb_jax import export_model
from imdb_jax.config import load_config
from imdb_jax.errors import UserError
from imdb_jax.export import Options, main
from imdb_jax.exporting import Format, formats
from imdb_jax.exporting.directory import check_directory, write_export
from imdb_jax.exporting.readme import readme
from imdb_jax.files import write_directory
from imdb_jax.inference import classifier
from imdb_jax.text.vocabulary import Vocabulary

all_architectures = pytest.mark.parametrize("arch", SMALL)
# Keras' variables implement __array__ as it was before NumPy 2.
with_keras = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]
needs_flatbuffers = pytest.mark.skipif(
    importlib.util.find_spec("flatbuffers") is None, reason="flatbuffers is not installed"
)


# What the formats hold


@needs_flatbuffers
@pytest.mark.parametrize("arch", ["mlp", "cnn", "lstm", "ngram"])
def test_stablehlo_gives_the_same_probabilities(arch):
    model = small_classifier(arch)
    program = jax.export.deserialize(bytearray(formats.stablehlo(model)))
    assert program.platforms == ("cpu", "cuda", "tpu")
    [ids_shape] = (argument.shape for argument in program.in_avals)
    assert str(ids_shape[0]) == "batch"
    assert str(ids_shape[1]) == ("length" if arch in ("mlp", "ngram") else "9")
    probabilities = program.call(model.encode(TEXTS).astype(np.int32))
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, model.predict(TEXTS), rtol=0, atol=1e-6)


@needs_flatbuffers
def test_stablehlo_of_a_bag_of_words_reads_any_length():
    program = jax.export.deserialize(bytearray(formats.stablehlo(small_classifier("mlp"))))
    ids = np.array([[1, 7, 5]], np.int32)
    longer = np.array([[0, 0, 5, 5, 7, 1, 7]], np.int32)
    np.testing.assert_allclose(program.call(ids), program.call(longer), rtol=0, atol=1e-6)


@needs_flatbuffers
def test_stablehlo_names_no_directory_of_this_machine():
    before = jax.config.jax_hlo_source_file_canonicalization_regex
    program = formats.stablehlo(small_classifier("cnn"))
    assert b"cnn.py" in program  # source files are named, for error messages
    assert str(Path(imdb_jax.__file__).parent).encode() not in program
    assert jax.config.jax_hlo_source_file_canonicalization_regex == before


@all_architectures
@pytest.mark.parametrize("to", ["npz", "safetensors"])
def test_parameters_are_all_there(arch, to):
    model = small_classifier(arch)
    if to == "npz":
        found = dict(np.load(BytesIO(formats.npz(model)), allow_pickle=False))
    else:
        found = pytest.importorskip("safetensors.numpy").load(formats.safetensors(model))
    expected = jax.tree.leaves_with_path(model.params)
    assert len(found) == len(expected)
    for path, leaf in expected:
        values = found[jax.tree_util.keystr(path, simple=True, separator=".")]
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, leaf)


def test_word2vec_holds_the_words_with_an_id_of_their_own():
    model = small_classifier("pooled")
    [(name, content)] = formats.FORMATS["word2vec"](model).items()
    assert name == "vectors.txt"
    header, *lines = content.decode().split("\n")[:-1]
    assert header == f"{NUM_WORDS - 4} 3"
    words, *columns = zip(*(line.split(" ") for line in lines), strict=True)
    # The last ids are those of padding and the like, and two words are unknown to the model.
    assert words == VOCABULARY.words[:-2]
    vectors = np.array(columns, "f").T
    np.testing.assert_array_equal(vectors, model.params["Embed_0"]["embedding"][4:])


def test_word2vec_of_a_vocabulary_smaller_than_the_model():
    model = small_classifier("lstm", num_words=NUM_WORDS + 50)
    content = formats.FORMATS["word2vec"](model)["vectors.txt"].decode()
    assert content.startswith(f"{len(VOCABULARY)} 3\n")


@pytest.mark.parametrize(
    ("arch", "to", "message"),
    [
        ("mlp", "word2vec", "mlp has no word vectors; it only reads which words"),
        ("ngram", "word2vec", "ngram has no word vectors; it only reads which n-grams"),
        ("ngram", "keras", "Keras has no layers for Ngram.* stablehlo"),
        ("cnn", "pickle", "unknown format 'pickle'"),
    ],
)
def test_what_a_format_cannot_hold(arch, to, message, tmp_path):
    with pytest.raises(UserError, match=message):
        export_model(small_classifier(arch), to, tmp_path / "out")
    assert not list(tmp_path.iterdir())


# What lies beside them


def test_vocabulary_and_configuration_lie_beside_the_model(tmp_path):
    model = small_classifier("cnn", data_dir=Path("/home/someone/data"))
    model = dataclasses.replace(model, label_names=("rotten", "$fresh"))
    write_export(model, "npz", tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model.npz", "vocabulary.txt", "config.toml", "config.json", "README.md"}
    assert Vocabulary.load(tmp_path / "vocabulary.txt") == VOCABULARY
    config = load_config(tmp_path / "config.toml")
    assert (config.model, config.input.num_words) == (model.config.model, NUM_WORDS)
    assert config.data.data_dir is None
    described = json.loads((tmp_path / "config.json").read_text())
    assert described["id2label"] == {"0": "rotten", "1": "$fresh"}
    assert described["label2id"] == {"rotten": 0, "$fresh": 1}
    [module] = described["architectures"]
    assert getattr(imdb_jax, module)(described["num_words"], **described["model"]) == model.model
    assert described["input"]["max_length"] == 9
    assert r"the logit of '\$fresh'" in (tmp_path / "README.md").read_text()
    check_directory(tmp_path, overwrite=True)


@pytest.mark.parametrize(
    ("arch", "to", "dtype"),
    [
        ("cnn", "npz", "bfloat16"),
        ("mlp", "npz", "float32"),
        ("lstm", "safetensors", "float32"),
        ("ngram", "npz", "float32"),
        ("ngram", "safetensors", "float32"),
        pytest.param("mlp", "stablehlo", "float32", marks=needs_flatbuffers),
        pytest.param("lstm", "stablehlo", "bfloat16", marks=needs_flatbuffers),
        pytest.param("ngram", "stablehlo", "float32", marks=needs_flatbuffers),
        pytest.param("mlp", "keras", "float32", marks=with_keras),
        pytest.param("cnn", "keras", "float32", marks=with_keras),
    ],
)
def test_the_example_predicts(arch, to, dtype, tmp_path, monkeypatch, capsys):
    if to in ("safetensors", "keras"):
        monkeypatch.setenv("KERAS_BACKEND", "jax")
        pytest.importorskip(to)
    model = small_classifier(arch, dtype=dtype)
    # Keras adds biases as NumPy does, which `conftest.py` forbids our own code to do.
    with jax.numpy_rank_promotion("allow"):
        export_model(model, to, tmp_path)
        monkeypatch.chdir(tmp_path)
        exec(example((tmp_path / "README.md").read_text()), {})
    printed = float(capsys.readouterr().out.strip("[]\n"))
    assert printed == pytest.approx(float(model.predict(TEXTS[:1])[0]), abs=1e-6)


@needs_flatbuffers
def test_the_program_runs_where_this_package_is_not(tmp_path):
    model = small_classifier("cnn")
    write_export(model, "stablehlo", tmp_path)
    assert_example_predicts_without(["imdb_jax", "flax"], tmp_path, model)


def test_the_example_of_word2vec_reads_it(tmp_path, monkeypatch, capsys):
    write_export(small_classifier("pooled"), "word2vec", tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(example((tmp_path / "README.md").read_text()), {})
    assert capsys.readouterr().out.startswith(f"{NUM_WORDS - 4} 3 [")


CUTS = [
    (arch, side, length) for arch in ("cnn", "mlp") for side in ("pre", "post") for length in (4, 9)
]


@pytest.fixture(scope="module")
def assert_encodes_alike(tmp_path_factory):
    """Checks that `encode` of the README and of the model agree, for all ways to read a review."""
    directory = tmp_path_factory.mktemp("encoders")
    VOCABULARY.save(directory / VOCABULARY.FILE)
    NGRAMS.save(directory / NGRAMS.FILE)
    pairs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        for arch, side, length in [*CUTS, ("mlp", "pre", 0), ("ngram", "pre", 0)]:
            model = small_classifier(arch, padding=side, truncating=side, max_length=length)
            names: dict = {}
            exec(example(readme(model, "npz")).split("tensors =")[0], names)
            pairs.append((model, names["encode"]))

    def check(text):
        for model, encode in pairs:
            ids = model.encode([text])[0].tolist()
            if model.config.arch in (
                "mlp",
                "ngram",
            ):  # how much a set of words is padded does not matter
                assert set(encode(text)) - {0} == set(ids) - {0}
            else:
                assert encode(text) == ids

    return check


ODD = ["Dull", "new", "\t", "'", "isn't9", "<br />", "<BR\n/>", *TEXTS]


@given(st.lists(st.sampled_from([*VOCABULARY.words, *ODD]) | st.text()))
def test_the_example_encodes_as_the_model(assert_encodes_alike, parts):
    assert_encodes_alike(" ".join(parts))


# Directories


def fill(directory: Path, text: str = "new") -> None:
    (directory / "README.md").write_text(text)


@pytest.mark.parametrize("there", [False, True])
def test_a_directory_appears_whole_or_not_at_all(tmp_path, there):
    out = tmp_path / "out"
    if there:
        out.mkdir()
        fill(out, "old")

    def fail(directory):
        fill(directory)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_directory(out, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["out"] * there
    if there:
        assert (out / "README.md").read_text() == "old"
    write_directory(out, fill)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "README.md").read_text() == "new"


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        write_directory(tmp_path / "file" / "out", fill)


def refuse_to_replace(directory: Path, match: str) -> None:
    with pytest.raises(UserError, match=match):
        check_directory(directory, overwrite=True)


def test_what_may_be_replaced(tmp_path):
    check_directory(tmp_path / "absent", overwrite=False)
    check_directory(tmp_path, overwrite=False)  # empty
    write_export(small_classifier("mlp"), "npz", tmp_path)
    with pytest.raises(UserError, match="already holds an export"):
        check_directory(tmp_path, overwrite=False)
    check_directory(tmp_path, overwrite=True)
    (tmp_path / "result.json").touch()  # as in a run
    refuse_to_replace(tmp_path, "not an export: it holds result.json")
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    for name in ("result.json", "link"):
        refuse_to_replace(tmp_path / name, "not a directory")


def test_names_alone_make_no_export(tmp_path):
    """Many people have files of these names."""
    for name in ("README.md", "config.toml", "vocabulary.txt"):
        (tmp_path / name).write_text("title = 'ten years of work'")
        refuse_to_replace(tmp_path, "not an export: it holds README.md")


def test_an_export_of_an_earlier_version_may_be_replaced(tmp_path):
    write_export(small_classifier("mlp"), "npz", tmp_path)
    (tmp_path / "README.md").rename(tmp_path / "README.txt")
    export_model(small_classifier("mlp"), "npz", tmp_path, overwrite=True)
    assert (tmp_path / "README.md").exists()
    assert not (tmp_path / "README.txt").exists()


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_an_export_holds_files_only(tmp_path, kind):
    out = tmp_path / "out"
    write_directory(out, lambda directory: write_export(small_classifier("mlp"), "npz", directory))
    (out / "model.npz").rename(tmp_path / "mine")
    if kind == "directory":
        (out / "model.npz").mkdir()
    else:
        (out / "model.npz").symlink_to(tmp_path / "mine")
    refuse_to_replace(out, "not an export: it holds model.npz")


def test_what_a_killed_export_set_aside_stays(tmp_path):
    """Nobody but its owner knows what it is."""
    (tmp_path / ".out.replaced").mkdir()
    (tmp_path / ".out.replaced" / "README.md").touch()
    for _ in range(2):
        write_directory(tmp_path / "out", fill)
    assert {path.name for path in tmp_path.iterdir()} == {".out.replaced", "out"}
    assert (tmp_path / ".out.replaced" / "README.md").exists()


# The command


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command on a small model; gives exit status, output and errors."""
    monkeypatch.setattr(classifier, "load", lambda path: small_classifier("mlp"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["imdb-jax-export", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            return (stop.code, *capsys.readouterr())
        return (0, *capsys.readouterr())

    return run


def test_the_command_exports(command, tmp_path):
    status, out, errors = command(tmp_path / "mine", "--to", "npz")
    assert (status, errors) == (0, "")
    assert "mine-npz" in out
    assert (tmp_path / "mine-npz" / "model.npz").exists()
    status, _, errors = command(tmp_path / "mine", "--to", "npz")
    assert status == 2
    assert re.fullmatch(r"error: .*--overwrite\n", errors)
    (tmp_path / "mine-npz" / "model.npz").unlink()
    assert command(tmp_path / "mine", "--to", "npz", "--overwrite", "--quiet") == (0, "", "")
    assert (tmp_path / "mine-npz" / "model.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "RUN"),
        (["run"], "--to"),
        (["run", "--to", "pickle"], "stablehlo"),
        (["run", "--to", "npz", "--overwritten"], "--overwrite"),
        (["run", "--to", "word2vec"], "mlp has no word vectors"),
    ],
)
def test_mistakes_are_named_in_one_line(command, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, errors = command(*arguments)
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: .+\n", errors)
    assert message in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("to", "package"),
    [
        ("stablehlo", "flatbuffers"),
        ("safetensors", "safetensors"),
        ("onnx", "jax2onnx"),
        ("keras", "keras"),
    ],
)
def test_missing_packages_are_named(command, monkeypatch, tmp_path, to, package):
    for name in [package, f"{package}.numpy"]:
        monkeypatch.setitem(sys.modules, name, None)
    status, _, errors = command("run", "--to", to, "--out", tmp_path / "out")
    assert status == 2
    assert re.fullmatch(
        rf"error: {package} is not installed; .*imdb_jax\[(export|onnx|keras)\]'\n", errors
    )
    assert list(tmp_path.iterdir()) == []


def test_formats_of_the_option_are_those_there_are():
    assert set(formats.FORMATS) == set(Format.__args__)
    assert Options.__annotations__["to"] == "Format"
