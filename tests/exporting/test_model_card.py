"""Model cards: metadata that the Hub can read, nothing false in them, and no path of a machine."""

import dataclasses
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from small_models import small_classifier

from imdb_jax.exporting import Format
from imdb_jax.exporting.directory import write_export
from imdb_jax.exporting.model_card import escape
from imdb_jax.exporting.readme import readme

RESULT = {"test_accuracy": 0.8843, "test_loss": 0.28, "test_reviews": 25_000, "ended": "2026-11-30"}
FORMATS = Format.__args__


def model_of(dataset: str, arch: str = "cnn", names=("negative", "positive"), **changes):
    model = small_classifier(arch, dataset=dataset, **changes)
    result = RESULT | {"dataset": Path(dataset).name}
    return dataclasses.replace(model, result=result, label_names=names)


def front_matter(text: str) -> dict:
    opening, metadata, body = text.split("---\n", 2)
    assert opening == ""
    assert body.startswith("\n# ")
    return yaml.safe_load(metadata)


@pytest.mark.parametrize("to", FORMATS)
def test_the_metadata_name_the_data_set_and_the_accuracy(to):
    metadata = front_matter(readme(model_of("imdb_reviews"), to))
    assert metadata["language"] == ["en"]
    assert metadata["datasets"] == ["stanfordnlp/imdb"]
    assert to in metadata["tags"]
    if to == "word2vec":  # word vectors classify nothing
        assert not {"pipeline_tag", "metrics", "model-index"} & metadata.keys()
        return
    assert metadata["pipeline_tag"] == "text-classification"
    [entry] = metadata["model-index"]
    [result] = entry["results"]
    assert result["task"]["type"] == "text-classification"
    assert result["dataset"]["type"] == "stanfordnlp/imdb"
    assert result["dataset"]["split"] == "test"
    [metric] = result["metrics"]
    assert (metric["type"], metric["value"]) == ("accuracy", 0.8843)


def test_a_test_on_other_reviews_is_not_called_the_split_test():
    metadata = front_matter(readme(model_of("imdb_reviews", test_share=0.2), "npz"))
    [result] = metadata["model-index"][0]["results"]
    assert "split" not in result["dataset"]
    assert "the first 20%" in result["dataset"]["name"]


@pytest.mark.parametrize(
    ("dataset", "license_name"), [("synthetic", "apache-2.0"), ("mine.csv", "unknown")]
)
def test_the_metadata_claim_nothing_of_other_data(dataset, license_name):
    text = readme(model_of(dataset), "safetensors")
    metadata = front_matter(text)
    assert not {"datasets", "model-index"} & metadata.keys()
    assert metadata["license"] == license_name
    assert "0.8843" in text.partition("## Evaluation")[2]
    assert ("mean nothing for real reviews" in text) == (dataset == "synthetic")


def test_a_model_without_a_result_has_no_figures():
    text = readme(small_classifier("cnn"), "npz")
    assert "model-index" not in front_matter(text)
    assert "No test accuracy is recorded." in text


@pytest.mark.parametrize("to", FORMATS)
def test_what_people_name_breaks_neither_yaml_nor_markdown(to):
    names = ("a|b", "x: *y* `z` <b>\n---\n```")
    model = model_of("my: [set]|\n---\n```python.csv", names=names)
    text = readme(model, to)
    front_matter(text)
    assert len(re.findall("^---$", text, re.MULTILINE)) == 2
    assert len(re.findall("^```", text, re.MULTILINE)) % 2 == 0
    assert "<b>" not in text
    for line in text.splitlines():
        if line.startswith("|"):  # each row of a table has two cells
            assert len(re.findall(r"(?<!\\)\|", line)) == 3


def test_names_that_cannot_be_encoded_are_replaced():
    assert escape("caf\udce9\x1b.csv") == "caf\ufffd\ufffd.csv"
    readme(model_of("caf\udce9.csv"), "npz").encode()


def test_no_path_of_this_machine_leaves_it(tmp_path):
    home = "/home/someone/private"
    model = model_of(
        f"{home}/mine.csv",
        data_dir=Path(home),
        test=Path(home, "test.csv"),
        unlabelled=f"{home}/more.txt",
        teacher=Path(home, "teacher"),
    )
    write_export(model, "npz", tmp_path)
    for path in tmp_path.iterdir():
        assert b"someone" not in path.read_bytes(), path.name
    data = tomllib.loads((tmp_path / "config.toml").read_text())
    assert (data["dataset"], data["unlabelled"]) == ("mine.csv", "more.txt")
    assert "mine.csv" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("arch", ["cnn", "mlp", "ngram"])
def test_limits_are_those_of_the_model(arch):
    limits = readme(small_classifier(arch), "npz").partition("## Limits")[2]
    assert ("the last 9 words" in limits) == (arch == "cnn")
    assert ("neither where nor how often" in limits) == (arch == "mlp")
    assert ("n-grams of up to" in limits) == (arch == "ngram")


def test_the_hub_reads_the_card(tmp_path):
    """In a program of its own, as its imports are slow and may warn."""
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    write_export(model_of("imdb_reviews"), "npz", tmp_path)
    program = (
        "from huggingface_hub import ModelCard\n"
        "[found] = ModelCard.load('README.md').data.eval_results\n"
        "print(found.dataset_type, found.metric_type, found.metric_value)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "stanfordnlp/imdb accuracy 0.8843\n"
