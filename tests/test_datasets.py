"""Which reviews are found, in which order, and what is said when there are none."""

import numpy as np
import pytest

from imdb_jax import preparation
from imdb_jax.datasets import find_dataset, imdb_reviews, synthetic_dataset
from imdb_jax.encoding import Vocabulary
from imdb_jax.errors import UserError
from imdb_jax.preparation import DownloadUnreachable

NAMES = {
    "train": ["neg/1_1.txt", "pos/2_8.txt", "neg/0_3.txt", "pos/10_9.txt", "pos/1_7.txt"],
    "test": ["neg/0_2.txt", "pos/0_10.txt"],
}


def never(*_, **__):
    raise AssertionError("not to be called")


@pytest.fixture
def prepared(monkeypatch):
    """A prepared directory of a few reviews, each of which says what it is called."""

    def read_split(data_dir, split):
        texts = [f"{split}/{name}".encode() for name in NAMES[split]]
        return texts, np.array([name.startswith("pos") for name in NAMES[split]], np.int8)

    monkeypatch.setattr(preparation, "is_prepared", lambda data_dir: True)
    monkeypatch.setattr(preparation, "prepare", never)
    monkeypatch.setattr(preparation, "read_split", read_split)
    monkeypatch.setattr(preparation, "read_file_names", lambda data_dir, split: NAMES[split])
    monkeypatch.setattr(preparation, "fingerprint", lambda data_dir: f"fingerprint of {data_dir}")
    return preparation


def test_reviews_with_file_names_come_in_the_order_of_keras(prepared, tmp_path):
    dataset = imdb_reviews(tmp_path)
    assert dataset.ties == "keras"
    train = dataset.read("train")
    # All positive reviews first; names compare as strings, so that 10 comes before 1 and 2.
    names = ["pos/10_9.txt", "pos/1_7.txt", "pos/2_8.txt", "neg/0_3.txt", "neg/1_1.txt"]
    assert train.texts == [f"train/{name}".encode() for name in names]
    assert train.labels.tolist() == [1, 1, 1, 0, 0]
    assert dataset.read("test").texts == [b"test/pos/0_10.txt", b"test/neg/0_2.txt"]


def test_reviews_without_file_names_come_as_they_stand(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "read_file_names", lambda data_dir, split: None)
    dataset = imdb_reviews(tmp_path)
    assert dataset.ties == "alphabetical"
    train = dataset.read("train")
    assert train.texts == [f"train/{name}".encode() for name in NAMES["train"]]
    assert train.labels.tolist() == [0, 1, 0, 1, 1]
    assert train.labels.dtype == np.int8


@pytest.mark.parametrize("name", ["auto", "imdb_reviews"])
def test_prepared_reviews_are_taken_without_preparing_them(prepared, tmp_path, name):
    dataset = find_dataset(name, tmp_path, report=never)
    assert dataset.name == "imdb_reviews"
    assert dataset.fingerprint == f"fingerprint of {tmp_path}"


def test_the_default_directory_is_that_of_tfds(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert find_dataset().fingerprint == f"fingerprint of {tmp_path}"


def test_what_is_not_prepared_is_prepared_first(prepared, tmp_path, monkeypatch):
    calls = []

    def prepare(data_dir, archive, *, verify, report):
        calls.append((data_dir, archive, verify))
        report("prepared")

    monkeypatch.setattr(preparation, "is_prepared", lambda data_dir: False)
    monkeypatch.setattr(preparation, "prepare", prepare)
    lines = []
    archive = tmp_path / "archive"
    find_dataset("auto", tmp_path, report=lines.append)
    find_dataset("imdb_reviews", tmp_path, archive, allow_unverified=True, report=lines.append)
    assert calls == [(tmp_path, None, True), (tmp_path, archive, False)]
    assert lines == ["prepared", "prepared"]


@pytest.fixture
def unreachable(monkeypatch):
    def prepare(*_, **__):
        raise DownloadUnreachable("http://reviews.invalid cannot be reached (no route to host)")

    monkeypatch.setattr(preparation, "prepare", prepare)


def test_auto_falls_back_to_the_synthetic_corpus_and_says_so(unreachable, tmp_path):
    lines = []
    dataset = find_dataset("auto", tmp_path, report=lines.append)
    assert dataset.name == "synthetic"
    assert dataset.fingerprint == synthetic_dataset().fingerprint
    assert 1 <= len(lines) <= 3
    assert not any("\n" in line for line in lines)
    said = " ".join(lines)
    for part in (str(tmp_path), "no route to host", "synthetic", "not IMDb's"):
        assert part in said


def test_imdb_reviews_does_not_fall_back(unreachable, tmp_path):
    with pytest.raises(UserError, match="no route to host"):
        find_dataset("imdb_reviews", tmp_path, report=never)


@pytest.mark.parametrize("name", ["auto", "imdb_reviews"])
def test_a_bad_archive_is_an_error_under_either_name(tmp_path, name):
    with pytest.raises(UserError, match=r"no file or directory .*none\.tar\.gz"):
        find_dataset(name, tmp_path / "data", tmp_path / "none.tar.gz", report=never)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("imdb_review", "imdb_reviews"), ("imdb-reviews", "imdb_reviews"), ("synthetc", "synthetic")],
)
def test_unknown_names_are_refused_naming_the_nearest(name, nearest):
    with pytest.raises(UserError, match=f"unknown data set '{name}'.*mean '{nearest}'") as caught:
        find_dataset(name)
    assert "there are: auto, imdb_reviews, synthetic" in str(caught.value)


@pytest.mark.parametrize("name", ["", "Ж", "a b\nc"])
def test_names_like_none_are_refused_without_a_guess(name):
    with pytest.raises(UserError, match="unknown data set") as caught:
        find_dataset(name)
    assert "did you mean" not in str(caught.value)


# The synthetic corpus as a data set


def test_synthetic_reads_neither_disk_nor_network(monkeypatch):
    monkeypatch.setattr(preparation, "is_prepared", never)
    monkeypatch.setattr(preparation, "prepare", never)
    assert find_dataset("synthetic", report=never).name == "synthetic"


def test_synthetic_sizes_are_part_of_the_fingerprint():
    sizes = [(None, None), (10, None), (None, 10), (10, 10)]
    datasets = [synthetic_dataset(*size) for size in sizes]
    assert len({dataset.fingerprint for dataset in datasets}) == len(sizes)
    assert len(datasets[3].read("train").texts) == len(datasets[3].read("test").labels) == 10


def test_synthetic_splits_share_words_but_no_review(small_synthetic):
    train, test = small_synthetic.read("train"), small_synthetic.read("test")
    assert not set(train.texts) & set(test.texts)
    known = Vocabulary.build(train.texts)
    assert sum(word in known for word in Vocabulary.build(test.texts).words) > 100
    for reviews in (train, test):
        assert reviews.labels.dtype == np.int8
        assert set(reviews.labels.tolist()) == {0, 1}


@pytest.mark.real_data
def test_real_reviews_are_all_there(real_data_dir):
    dataset = find_dataset("imdb_reviews", real_data_dir, report=never)
    for split in ("train", "test"):
        reviews = dataset.read(split)
        assert len(reviews.texts) == len(reviews.labels) == 25_000
        assert reviews.labels.sum() == 12_500
