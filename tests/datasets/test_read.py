"""Reading back what is prepared, whole or damaged."""

import gzip
import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fake_archives import COUNTS, prepare_fake, review_files

from imdb_jax.datasets.imdb import archive
from imdb_jax.datasets.imdb import read as reading
from imdb_jax.datasets.imdb.read import (
    DIRECTORY,
    default_data_dir,
    fingerprint,
    is_prepared,
    read_file_names,
    read_split,
    split_sizes,
)
from imdb_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("small_counts")


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_fake(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def prepared(prepared_once: Path, tmp_path: Path) -> Path:
    """A copy, for the test to damage."""
    return Path(shutil.copytree(prepared_once, tmp_path / "data"))


def test_records_hold_the_reviews_and_their_labels(prepared: Path) -> None:
    files = review_files()
    for split, count in COUNTS.items():
        texts, labels = read_split(prepared, split)
        folder = "train" if split == "unsupervised" else split
        wanted = [
            (content.strip(), {"pos": 1, "neg": 0, "unsup": -1}[path.split("/")[2]])
            for path, content in files.items()
            if path.split("/")[1] == folder and ("unsup" in path) == (split == "unsupervised")
        ]
        assert labels.dtype == np.int8
        assert len(texts) == len(labels) == count
        assert sorted(zip(texts, labels.tolist(), strict=True)) == sorted(wanted)


def test_any_neighboring_records_can_be_read_alone(prepared: Path) -> None:
    assert split_sizes(prepared) == COUNTS
    texts, labels = read_split(prepared, "train")
    number = len(texts)
    for rows in (range(0), range(3), range(2, number - 1), range(number - 1, number)):
        found, found_labels = read_split(prepared, "train", rows)
        assert found == [texts[row] for row in rows]
        np.testing.assert_array_equal(found_labels, labels[rows.start : rows.stop])


def test_file_names_follow_the_records(prepared: Path) -> None:
    files = review_files()
    for split in ("train", "test"):
        names = read_file_names(prepared, split)
        assert names is not None
        assert len(set(names)) == COUNTS[split]
        texts, labels = read_split(prepared, split)
        assert texts == [files[f"aclImdb/{split}/{name}"].strip() for name in names]
        assert labels.tolist() == [int(name.startswith("pos/")) for name in names]
    with pytest.raises(UserError, match="no file names for split 'unsupervised'"):
        read_file_names(prepared, "unsupervised")


def test_default_directory_is_that_of_tfds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", "/some/where")
    assert default_data_dir() == Path("/some/where")
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert default_data_dir() == Path.home() / "tensorflow_datasets"


@pytest.mark.parametrize("split", ["train", "test", "unsupervised"])
def test_missing_file_means_unfinished(prepared: Path, split: str) -> None:
    (prepared / DIRECTORY / f"imdb_reviews-{split}.array_record-00000-of-00001").unlink()
    assert not is_prepared(prepared)
    for read in (read_split, read_file_names):
        with pytest.raises(UserError, match="no prepared IMDb reviews"):
            read(prepared, "train")


def test_tfrecord_directory(prepared: Path) -> None:
    for file in (prepared / DIRECTORY).iterdir():
        if "array_record" in file.name:
            file.rename(file.with_name(file.name.replace("array_record", "tfrecord")))
    description = prepared / DIRECTORY / "dataset_info.json"
    description.write_text(description.read_text().replace("array_record", "tfrecord"))
    assert is_prepared(prepared)
    for read in (partial(read_split, split="train"), fingerprint):
        with pytest.raises(UserError, match=r"tfrecord format.*--data-dir OTHER --archive"):
            read(prepared)


def test_unknown_split(prepared: Path) -> None:
    with pytest.raises(UserError, match="no split 'validation', only test, train, unsupervised"):
        read_split(prepared, "validation")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "exchanged"])
def test_damaged_records(prepared: Path, damage: str) -> None:
    file = prepared / DIRECTORY / "imdb_reviews-train.array_record-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    other = file.with_name(file.name.replace("train", "test")).read_bytes()
    size = len(content)
    file.write_bytes(
        {
            "truncated": content[: size // 2],
            "flipped": content,
            "empty": b"",
            "exchanged": other,
        }[damage]
    )
    with pytest.raises(UserError, match=file.name):
        read_split(prepared, "train")


def test_file_names_absent_or_damaged(prepared: Path) -> None:
    file = prepared / DIRECTORY / "file_names.json.gz"
    content = file.read_bytes()
    document = json.loads(gzip.decompress(content))
    document["names"]["train"].reverse()
    reordered = gzip.compress(json.dumps(document).encode())
    for damaged in (b"", content[:-20], b"x" * 100, gzip.compress(b"[]"), reordered):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"file_names\.json\.gz is damaged"):
            read_file_names(prepared, "train")
    file.unlink()
    assert read_file_names(prepared, "train") is None


def test_the_fingerprint_follows_from_the_reviews(prepared: Path, tmp_path: Path) -> None:
    """Not from times, from where the files are, or from which process has written them."""
    before = fingerprint(prepared)
    for file in (prepared / DIRECTORY).iterdir():
        os.utime(file, ns=(1, 1))
    assert fingerprint(prepared) == before
    assert fingerprint(prepare_fake(tmp_path)) == before
    description = prepared / DIRECTORY / "dataset_info.json"
    info = json.loads(description.read_text())
    description.write_text(json.dumps(info | {"downloadSize": "1", "citation": ""}))
    assert fingerprint(prepared) == before


def test_the_order_of_features_in_a_record_does_not_matter(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is random: it differs between two processes that prepare the same reviews."""
    from tensorflow_datasets.proto import tf_example_pb2

    def swapped(record: bytes) -> bytes:
        header, features = record[:2], record[2:]  # no length takes more than one byte
        first = 2 + features[1]
        found = header + features[first:] + features[:first]
        parse = tf_example_pb2.Example.FromString
        assert found != record
        assert parse(found) == parse(record)
        return found

    before, read = fingerprint(prepared), reading._read_records
    monkeypatch.setattr(
        reading, "_read_records", lambda *args: [swapped(found) for found in read(*args)]
    )
    assert fingerprint(prepared) == before


@pytest.mark.parametrize("change", ["text", "label", "order", "size", "number", "names"])
def test_the_fingerprint_sees_a_change(
    prepared: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read = fingerprint(prepared), reading._read_records
    changes = {
        "text": lambda records: [records[0].replace(b"mero", b"nero"), *records[1:]],
        "label": lambda records: [record.replace(b"\3\n\1\0", b"\3\n\1\1") for record in records],
        "order": lambda records: records[::-1],
    }
    description = prepared / DIRECTORY / "dataset_info.json"
    info = json.loads(description.read_text())
    if change == "size":
        info["splits"][0]["numBytes"] = "1"
    elif change == "number":
        info["splits"][0]["shardLengths"] = ["5"]
    elif change == "names":
        (prepared / DIRECTORY / "file_names.json.gz").unlink()
    description.write_text(json.dumps(info))
    act = changes.get(change, list)
    monkeypatch.setattr(reading, "_read_records", lambda *args: act(read(*args)))
    if change == "number":
        with pytest.raises(UserError, match="has 6 records"):
            fingerprint(prepared)
    else:
        assert fingerprint(prepared) != before


def test_no_fingerprint_of_what_cannot_be_read(prepared: Path) -> None:
    with pytest.raises(UserError, match="no prepared"):
        fingerprint(prepared / "elsewhere")
    file = prepared / DIRECTORY / "imdb_reviews-test.array_record-00000-of-00001"
    file.write_bytes(b"damaged")
    with pytest.raises(UserError, match=file.name):
        fingerprint(prepared)


@pytest.mark.real_data
def test_real_reviews(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if "TFDS_DATA_DIR" not in os.environ or not is_prepared(default_data_dir()):
        pytest.skip("no prepared reviews in TFDS_DATA_DIR")
    for split, count in archive.COUNTS.items():
        texts, labels = read_split(default_data_dir(), split)
        assert len(texts) == len(labels) == count
        assert set(labels.tolist()) == ({-1} if split == "unsupervised" else {0, 1})
        names = None if split == "unsupervised" else read_file_names(default_data_dir(), split)
        assert names is None or len(names) == count
