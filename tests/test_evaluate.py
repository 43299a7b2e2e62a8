"""Evaluation: the training run's own figures, and those on other reviews."""

import dataclasses
import functools
import json
import re
import sys

import jax
import numpy as np
import pytest

from imdb_jax import evaluate
from imdb_jax.config import load_recipe, replace
from imdb_jax.datasets import find
from imdb_jax.datasets.dataset import Reviews
from imdb_jax.inference import classifier, scoring
from imdb_jax.inference.classifier import load
from imdb_jax.parallel.devices import data_mesh
from imdb_jax.pipeline.splits import Examples
from imdb_jax.runs import data, experiment
from imdb_jax.training.evaluation import evaluate_each as evaluate_examples
from imdb_jax.views import figures, predictions

KEYS = ["loss", "accuracy", "precision", "recall", "f1", "roc_auc", "ece", "confusion_matrix"]


@pytest.fixture(scope="module")
def own_file(tmp_path_factory, small_synthetic):
    path = tmp_path_factory.mktemp("data") / "reviews.jsonl"
    reviews = small_synthetic.read("train")
    rows = zip(reviews.texts, reviews.labels, strict=True)
    lines = [json.dumps({"review": as_text(x), "label": ["bad", "good"][y]}) for x, y in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def as_text(text):
    return text if isinstance(text, str) else text.decode()


@pytest.fixture(autouse=True, scope="module")
def _few_reviews(small_synthetic):
    """Gives a few invented reviews for all of them; files are read as they are."""
    find_others = find.find_dataset

    def find_few(options, report):
        few = options.dataset in ("auto", "synthetic")
        return small_synthetic if few else find_others(options, report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "find_dataset", find_few)
        patch.setattr(data, "find_dataset", find_few)
        # A model that is loaded once is compiled once.
        patch.setattr(classifier, "load", functools.cache(load))
        yield


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Trains a tiny network, once for each request."""
    finished = {}

    def train(arch, **changes):
        key = arch, repr(changes)
        if key not in finished:
            workdir = tmp_path_factory.mktemp("runs") / arch
            small = {"num_words": 200, "epochs": 1, "batch_size": 10, "quiet": True}
            config = replace(load_recipe(arch), **small, workdir=workdir, **changes)
            finished[key] = workdir, experiment.run(config)
        return finished[key]

    return train


def command(capsys, *arguments):
    """The JSON object that the command prints."""
    capsys.readouterr()
    evaluate.evaluate([*map(str, arguments), "--json", "--quiet"])
    out, errors = capsys.readouterr()
    assert errors == ""
    return json.loads(out)


MLP = {"loss": "mse", "model": {"hidden": [4], "dropout": [0.3]}}
RUNS = [
    ("pooled", {"max_length": 16}),  # holds out reviews for validation
    ("mlp", MLP),  # merges train and test reviews, and reads whole ones
]


@pytest.mark.parametrize(
    ("arch", "changes"), [*RUNS, ("cnn_global", {"max_length": 16, "dtype": "bfloat16"})]
)
def test_figures_are_exactly_those_of_the_run(capsys, train, arch, changes):
    run, result = train(arch, **changes)
    found = command(capsys, run)
    assert found["loss"] == result["test_loss"]
    assert found["accuracy"] == result["test_accuracy"]


@pytest.mark.parametrize(("arch", "changes"), RUNS)
def test_splits_are_those_of_training(train, arch, changes, small_synthetic):
    trained = load(train(arch, **changes)[0])
    splits = data.load_data_for(trained.config).splits
    for split in ("train", "test", "validation"):
        expected = getattr(splits, split)
        if expected is not None:
            reviews = scoring.read_split(small_synthetic, trained.config, split)
            ids = trained.encode(reviews.texts)
            width = expected.ids.shape[1]
            if arch == "mlp":  # the order of a set, and how far it is filled, are nobody's concern
                ids = np.sort(ids)[:, -width:]
            np.testing.assert_array_equal(ids, expected.ids)
            np.testing.assert_array_equal(reviews.labels, expected.labels)
    assert len(scoring.read_split(small_synthetic, trained.config, "all").texts) == 90


def test_figures_on_ones_own_file(capsys, train, own_file, tmp_path, monkeypatch):
    run, result = train("pooled", max_length=16, dataset=str(own_file), validation=0.0)
    found = command(capsys, run)
    assert (found["loss"], found["accuracy"]) == (result["test_loss"], result["test_accuracy"])
    assert (found["dataset"], found["split"]) == (own_file.name, "test")
    assert result["labels"] == found["labels"] == ["bad", "good"]
    assert {review["label"] for review in found["wrong"]} <= {"bad", "good"}
    assert {prediction.label for prediction in load(run).stream(["", "great"])} <= {
        "bad",
        "good",
        None,
    }
    monkeypatch.chdir(own_file.parent)
    assert command(capsys, run, "--dataset", own_file.name) == found


def test_other_reviews_are_read_by_the_runs_vocabulary(capsys, train, own_file):
    run, _ = train("pooled", max_length=16)
    found = command(capsys, run, "--dataset", own_file)
    assert (found["split"], found["num_reviews"]) == ("all", 60)
    assert found["labels"] == ["negative", "positive"]  # those of the run
    rows = [json.loads(line) for line in own_file.read_text().splitlines()]
    predicted = load(run).predict(row["review"] for row in rows) > 0.5
    right = predicted == [row["label"] == "good" for row in rows]
    assert found["accuracy"] == pytest.approx(right.mean())
    apart = command(capsys, run, "--dataset", own_file, "--split", "test")
    assert 0 < apart["num_reviews"] < 60


def test_keys_order_and_the_worst_reviews(capsys, train, small_synthetic):
    run, _ = train("pooled", max_length=16)
    found = command(capsys, run, "--wrong", "3")
    assert list(found) == ["dataset", "split", "num_reviews", "labels", *KEYS, "wrong"]
    texts = {as_text(text)[:200] for text in small_synthetic.read("test").texts}
    extremes = [abs(review["probability"] - 0.5) for review in found["wrong"]]
    assert extremes == sorted(extremes, reverse=True)
    for review in found["wrong"]:
        assert review["label"] == ("negative" if review["probability"] > 0.5 else "positive")
        assert review["text"][:200] in texts
    assert command(capsys, run, "--wrong", "0")["wrong"] == []


def test_table_and_figures(capsys, train, tmp_path):
    run, result = train("pooled", max_length=16)
    capsys.readouterr()
    for suffix, begins in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        plot = tmp_path / f"figure{suffix}"
        evaluate.evaluate([str(run), "--plot", str(plot)])
        assert plot.read_bytes().startswith(begins)
    out = capsys.readouterr().out
    assert out.startswith("synthetic, test: 30 reviews\n")
    assert f"  accuracy   {result['test_accuracy']:.4f}\n" in out
    assert "\x1b" not in out


def test_one_label_alone_is_reported_and_drawn(tmp_path, train, small_synthetic):
    run, _ = train("pooled", max_length=16)
    reviews = Reviews(["good", "bad"], np.ones(2, np.int8))
    measured, logits = load(run).measure(reviews)
    assert measured["roc_auc"] is None
    figures.plot_evaluation(tmp_path / "one.png", "one", reviews.labels, logits)
    names = ["dull", "thoroughly delightful"]
    result = {"dataset": "d", "split": "test", "num_reviews": 2, "labels": names}
    lines = predictions.evaluation_lines({**result, **measured, "wrong": []})
    assert "  roc_auc    undefined" in lines
    header, *rows = lines[-3:]
    assert re.split("  +", header.strip()) == ["predicted dull predicted thoroughly delightful"]
    assert {len(row) for row in rows} == {len(header)}
    assert [row[2:].split("  ")[0] for row in rows] == names


def test_nothing_to_evaluate():
    empty = Examples(np.zeros((0, 4), np.uint8), np.zeros(0, np.float32))
    with pytest.raises(ValueError, match="no reviews"):
        evaluate_examples(None, empty, data_mesh())


def test_model_without_finite_output(train):
    run, _ = train("pooled", max_length=16)
    params = jax.tree.map(lambda leaf: leaf * np.nan, load(run).params)
    broken = dataclasses.replace(load(run), params=params)
    with pytest.raises(evaluate.UserError, match="not a finite number"):
        broken.evaluate(["good"], [1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "RUN"),
        ("absent", "not a run directory"),
        ("RUN --splt test", "--split"),
        ("RUN --split dev", "dev"),
        ("RUN --wrong -1", "wrong must be at least 0"),
        ("RUN --plot figure.gif", ".png, .svg, .pdf"),
        ("RUN --positive good", "--dataset"),
        ("RUN --dataset absent.csv", "absent.csv"),
        ("RUN --dataset FILE --split validation", "no validation reviews"),
        ("MLP --split validation", "held out no reviews"),
    ],
)
def test_mistakes_take_one_line(capsys, monkeypatch, train, own_file, arguments, message):
    places = {"RUN": str(train("pooled", max_length=16)[0]), "FILE": str(own_file)}
    if "MLP" in arguments:
        places["MLP"] = str(train("mlp", **MLP)[0])
    words = [places.get(word, word) for word in arguments.split()]
    monkeypatch.setattr(sys, "argv", ["imdb-jax-evaluate", *words, *(["--quiet"] * bool(words))])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        evaluate.main()
    assert stop.value.code == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: .+\n", errors)
    assert message in errors
