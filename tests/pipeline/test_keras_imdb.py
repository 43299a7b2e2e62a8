"""The files behind `keras.datasets.imdb`, made from a small archive and, where there is one, a real
one; and what asks for Keras' very ids."""

import dataclasses
import hashlib
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fake_archives import tar_bytes

from imdb_jax import get_word_index, load_data
from imdb_jax.datasets.imdb import archive as archive_module
from imdb_jax.datasets.imdb.archive import read_archive
from imdb_jax.datasets.imdb.prepare import prepare
from imdb_jax.datasets.imdb.read import imdb_reviews
from imdb_jax.errors import UserError
from imdb_jax.pipeline import keras_imdb as look_alike
from imdb_jax.pipeline.corpus import load_corpus
from imdb_jax.text.python2_dict import python2_dict_order
from imdb_jax.text.tokens import tokenize
from imdb_jax.text.vocabulary import Vocabulary

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import keras_imdb

COUNTS = {"train": 24, "test": 12, "unsupervised": 2}
FOLDERS = {"train/pos": 12, "train/neg": 12, "test/pos": 6, "test/neg": 6, "train/unsup": 2}


def review_files() -> dict[str, bytes]:
    """Path -> text, in no particular order; most words occur as often as others."""
    rng = np.random.default_rng(0)
    files = {}
    for folder, count in FOLDERS.items():
        for i in range(count):
            words = [f"w{number}" for number in rng.zipf(1.3, rng.integers(1, 30)) if number < 99]
            text = " ".join([f"Film-{i}", *words, "caf\u00e9<br />"])
            files[f"aclImdb/{folder}/{i}_{rng.integers(11)}.txt"] = f" {text}\n".encode()
    names = sorted(files, key=lambda name: hashlib.md5(name.encode()).digest())
    return {name: files[name] for name in names}


@pytest.fixture(scope="module", autouse=True)
def _small_data():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_module, "COUNTS", COUNTS)
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("archive") / "aclImdb.tar"
    file.write_bytes(tar_bytes(review_files()))
    return file


@pytest.fixture(scope="module")
def made(archive, tmp_path_factory) -> Path:
    """A directory with the files."""
    out = tmp_path_factory.mktemp("made") / "keras"
    arguments = ["--archive", archive, "--out", out, "--allow-unverified", "--quiet"]
    keras_imdb.make_files([str(argument) for argument in arguments])
    return out


@pytest.fixture(scope="module")
def data_dir(archive, tmp_path_factory) -> Path:
    """The same reviews, prepared."""
    directory = tmp_path_factory.mktemp("data")
    prepare(directory, archive, verify=False, report=lambda line: None)
    return directory


# The files


def expected_words() -> list[str]:
    """The words by rank, by way of a Counter."""
    files = review_files()
    paths = sorted(path for path in files if re.match(r"aclImdb/train/(pos|neg)", path))
    paths.sort(key=lambda path: "neg" in path)
    counts = Counter(word for path in paths for word in tokenize(files[path]))
    words = list(counts)
    yielded = [words[i] for i in python2_dict_order([word.encode() for word in words])]
    return sorted(yielded, key=lambda word: -counts[word])


def test_the_word_index_ranks_the_words(made):
    word_index = json.loads((made / "imdb_word_index.json").read_text())
    assert sorted(word_index, key=word_index.__getitem__) == expected_words()
    assert sorted(word_index.values()) == list(range(1, len(word_index) + 1))


def test_the_arrays_hold_the_reviews(made, archive):
    reviews = read_archive(archive, verify=False, report=lambda line: None)
    arrays, vocabulary = keras_imdb.make_arrays(reviews)
    assert list(vocabulary.words) == expected_words()
    rank = {word: i for i, word in enumerate(vocabulary.words, start=1)}
    files = review_files()
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        half = COUNTS[split] // 2
        assert y.tolist() == [1] * half + [0] * half
        assert (x.dtype, y.dtype) == (object, np.int64)
        paths = [
            path
            for folder in ("pos", "neg")
            for path in sorted(files)
            if path.startswith(f"aclImdb/{split}/{folder}")
        ]
        for path, ranks in zip(paths, x, strict=True):
            assert type(ranks) is list
            assert all(type(number) is int for number in ranks)
            assert ranks == [rank[word] for word in tokenize(files[path]) if word in rank]


# The command


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command; gives exit status, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["keras_imdb", *map(str, arguments)])
        try:
            keras_imdb.cli.run_command(keras_imdb.make_files)
        except SystemExit as stop:
            return (stop.code, *capsys.readouterr())
        return (0, *capsys.readouterr())

    return run


def test_the_command_says_whether_the_index_is_the_published_one(command, archive, tmp_path):
    arguments = ("--archive", archive, "--out", tmp_path / "new" / "out", "--allow-unverified")
    status, out, errors = command(*arguments)
    assert (status, errors) == (0, "")
    assert "imdb_word_index.json is not the published file" in out
    names = sorted(path.name for path in (tmp_path / "new" / "out").iterdir())
    assert names == ["imdb.npz", "imdb_word_index.json"]
    status, out, errors = command(*arguments)
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: .*imdb.npz is there already; .*--overwrite\n", errors)
    assert command(*arguments, "--overwrite", "--quiet") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--archive"),
        (("--archive", "absent", "--out", "out"), "there is no file absent"),
        (("--archive", "aclImdb.tar", "--out", "out"), "not the published archive"),
        (("--archive", "aclImdb.tar", "--out", "out", "--allow"), "--allow-unverified"),
    ],
)
def test_mistakes_are_named_in_one_line(command, archive, monkeypatch, arguments, message):
    monkeypatch.chdir(archive.parent)
    status, _, errors = command(*arguments)
    assert status == 2
    assert re.fullmatch(r"error: .+\n", errors)
    assert message in errors
    assert os.listdir(archive.parent) == ["aclImdb.tar"]


# Asking for Keras' very ids


def test_exact_ids_of_reviews_prepared_here(data_dir, made):
    arrays = load_data(data_dir=data_dir, exact=True)
    assert [len(x) for x, _ in arrays] == [24, 12]
    word_index = get_word_index(data_dir=data_dir, exact=True)
    assert list(word_index) == expected_words()
    assert word_index == json.loads((made / "imdb_word_index.json").read_text())


@pytest.mark.parametrize("load", [load_data, get_word_index])
def test_no_exact_ids_of_what_others_prepared(load, monkeypatch, small_synthetic):
    with pytest.raises(UserError, match="synthetic is not the data set that Keras has"):
        load(dataset="synthetic", exact=True)
    elsewhere = dataclasses.replace(small_synthetic, name="imdb_reviews")
    monkeypatch.setattr(look_alike, "find_dataset", lambda options: elsewhere)
    with pytest.raises(UserError, match="--data-dir OTHER --archive aclImdb_v1"):
        load(exact=True)
    assert load()


def test_word_index_of_another_data_set(monkeypatch, small_synthetic):
    monkeypatch.setattr(look_alike, "find_dataset", lambda options: small_synthetic)
    word_index = get_word_index(dataset="synthetic")
    words = Vocabulary.build(small_synthetic.read("train").texts).words
    assert list(word_index.items()) == list(zip(words, range(1, len(words) + 1), strict=True))


# With Keras


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_words": 20},
        {"num_words": 30, "skip_top": 6, "maxlen": 25, "seed": 7},
        {"start_char": None, "oov_char": None, "index_from": 0, "num_words": 15},
        {"start_char": 0, "index_from": 10, "skip_top": 12, "oov_char": 9},
    ],
)
def test_keras_loads_from_the_file_what_load_data_gives(made, data_dir, monkeypatch, options):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    imdb = pytest.importorskip("keras.src.datasets.imdb", reason="Keras is not installed")
    # In place of a download, and of the checksum of the published file.
    monkeypatch.setattr(imdb, "get_file", lambda fname, origin, file_hash: fname)
    expected = imdb.load_data(path=str(made / "imdb.npz"), **options)
    found = load_data(data_dir=data_dir, exact=True, **options)
    for ours, theirs in zip(sum(found, ()), sum(expected, ()), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.tolist() == theirs.tolist()
    word_index = imdb.get_word_index(path=str(made / "imdb_word_index.json"))
    assert word_index == get_word_index(data_dir=data_dir, exact=True)


# The real reviews


@pytest.mark.real_data
def test_the_word_index_is_the_published_one(real_data_dir):
    dataset = imdb_reviews(real_data_dir)
    if dataset.ties != "keras":
        pytest.skip("the reviews were prepared elsewhere, without the names of their files")
    word_index = keras_imdb.published_word_index(load_corpus(dataset).vocabulary)
    digest = hashlib.md5(json.dumps(word_index).encode(), usedforsecurity=False).hexdigest()
    assert digest == keras_imdb._PUBLISHED_MD5
    (x_train, y_train), _ = load_data(data_dir=real_data_dir, exact=True)
    assert (len(x_train[0]), y_train[0]) == (218, 1)
    assert x_train[0][:10] == [1, 14, 22, 16, 43, 530, 973, 1622, 1385, 65]
