"""Other data sets of TFDS: found on disk, read without TensorFlow, refused in one line."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from tfds_writer import prepare_tfds

from imdb_jax.datasets import tfds
from imdb_jax.errors import UserError

SPLITS = {
    "train": [("good", 1), ("bad", 0), ("fine", 1)],
    "validation": [("dull", 0), ("great", 1)],
    "test": [("hidden", -1)],
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    prepare_tfds(directory, "glue", "sst2", SPLITS, "sentence")
    prepare_tfds(directory, "plain", "", {"train": SPLITS["train"]}, "text", version="1.0.0")
    prepare_tfds(directory, "plain", "", SPLITS, "text", version="1.10.0")
    prepare_tfds(directory, "plain", "", SPLITS, "text", version="1.9.0")
    return directory


def rows(found, split):
    return sorted(row.values for row in found.rows(split, found.features[-1], "label"))


def test_sets_are_found_with_their_features_and_splits(data_dir):
    found = tfds.find("glue/sst2", data_dir)
    assert (found.name, found.directory) == ("glue/sst2", data_dir / "glue" / "sst2" / "2.0.0")
    assert found.features == ("label", "sentence")
    assert set(found.splits) == set(SPLITS)
    assert tfds.names(data_dir) == ["glue/sst2", "plain"]


def test_classes_come_by_name_and_hidden_ones_not_at_all(data_dir):
    found = tfds.find("glue/sst2", data_dir)
    names = ["negative", "positive"]
    for split in ("train", "validation"):
        expected = sorted((text.encode(), names[label]) for text, label in SPLITS[split])
        assert rows(found, split) == expected
    assert rows(found, "test") == [(b"hidden", None)]


def test_records_are_read_in_chunks_without_losing_any(data_dir, monkeypatch):
    found = tfds.find("plain", data_dir)
    whole = list(found.rows("train", "text", "label"))
    monkeypatch.setattr(tfds, "_CHUNK", 2)
    assert list(found.rows("train", "text", "label")) == whole
    assert [row.lines for row in whole] == [(1, 1), (2, 2), (3, 3)]


def test_the_highest_version_unless_one_is_named(data_dir):
    assert tfds.find("plain", data_dir).directory.name == "1.10.0"
    old = tfds.find("plain:1.0.0", data_dir)
    assert (old.name, old.directory.name, old.splits) == ("plain", "1.0.0", ("train",))
    assert tfds.find("plain:3.0.0", data_dir) is None


@pytest.mark.parametrize(
    "name", ["glue", "glue/cola", "other", "", "../data/glue", "/glue", "glue/..", "Ж"]
)
def test_what_is_not_there_is_not_found(data_dir, name):
    assert tfds.find(name, data_dir) is None


def test_labels_that_are_no_classes_come_as_they_are(tmp_path):
    import tensorflow_datasets

    features = {"label": np.int64, "review": tensorflow_datasets.features.Text()}
    prepare_tfds(tmp_path, "stars", "", {"train": [("good", 5), ("bad", 1)]}, "review", features)
    assert rows(tfds.find("stars", tmp_path), "train") == [(b"bad", 1), (b"good", 5)]


def test_files_that_only_tensorflow_reads_are_refused(tmp_path):
    directory = tmp_path / "old" / "1.0.0"
    directory.mkdir(parents=True)
    (directory / "dataset_info.json").write_text(json.dumps({"name": "old"}))
    with pytest.raises(UserError, match=r"in tfrecord format.*tfds convert_format"):
        tfds.find("old", tmp_path)
    for text, message in [("{", "is not valid JSON"), ("[]", "is damaged: it is not an object")]:
        (directory / "dataset_info.json").write_text(text)
        with pytest.raises(UserError, match=rf"dataset_info\.json {message}"):
            tfds.find("old", tmp_path)
    (directory / "dataset_info.json").write_text(json.dumps({"fileFormat": "array_record"}))
    (directory / "features.json").write_text("{}")
    with pytest.raises(UserError, match="TFDS cannot read"):
        tfds.find("old", tmp_path)


NESTED = json.dumps({"feature": {"type": "trap.Feature", "content": {}}})


@pytest.mark.parametrize(
    "label",
    [
        {"pythonClassName": "trap.Feature", "text": {}},
        {"python_class_name": "trap.Feature", "text": {}},
        {"type": "trap.Feature", "content": {}},
        {"pythonClassName": "tensorflow_datasets_trap.Feature", "text": {}},
        {
            "pythonClassName": "tensorflow_datasets.core.features.sequence_feature.Sequence",
            "jsonFeature": {"json": NESTED},
        },
    ],
    ids=str,
)
def test_no_module_is_imported_because_a_feature_names_it(tmp_path, monkeypatch, label):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    (tmp_path / "tensorflow_datasets_trap.py").write_text("raise SystemExit('imported')")
    prepare_tfds(tmp_path, "plain", "", {"train": SPLITS["train"]}, "text")
    path = tmp_path / "plain" / "2.0.0" / "features.json"
    features = json.loads(path.read_text())
    features["featuresDict"]["features"]["label"] = label
    path.write_text(json.dumps(features))
    with pytest.raises(UserError, match=r"names '.*trap\.Feature', which is not a feature of TFDS"):
        tfds.find("plain", tmp_path)


def test_damaged_records_are_an_error(tmp_path):
    prepare_tfds(tmp_path, "plain", "", {"train": SPLITS["train"]}, "text")
    found = tfds.find("plain", tmp_path)
    [file] = found.directory.glob("*train*")
    file.write_bytes(b"\xff" * file.stat().st_size)
    with pytest.raises(UserError, match=r"the train split in .* is damaged after record 0"):
        rows(found, "train")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UserError, match="is a device or a pipe, not a file"):
        rows(found, "train")
    [names] = found.directory.glob("label.labels.txt")
    names.write_bytes(bytes(1 << 19))
    with pytest.raises(UserError, match=r"label\.labels\.txt has 524,288 bytes"):
        tfds.find("plain", tmp_path)


def test_nothing_of_tfds_reaches_the_terminal(data_dir):
    program = (
        "import sys, pathlib; from imdb_jax.datasets import tfds; "
        f"found = tfds.find('glue/sst2', pathlib.Path({str(data_dir)!r})); "
        "print(len(list(found.rows('train', 'sentence', 'label'))), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 False\n", "")
