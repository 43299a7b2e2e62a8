"""Training from Python: the same models as from the shell, and what they can do afterwards."""

import dataclasses
import json
import math
import tempfile

import jax
import numpy as np
import pytest
from small_runs import SMALL, small

import imdb_jax
from imdb_jax import UserError, fit, load
from imdb_jax.config import dump_config
from imdb_jax.inference import self_training
from imdb_jax.inference.classifier import Classifier
from imdb_jax.inference.ensemble import Ensemble
from imdb_jax.runs import experiment
from imdb_jax.training.history import Epoch

TEXTS = ["a wonderful film", "dull, an awful bore", "", "qqq wonderful qqq"]
LABELS = [1, 0, 0, 1]
OPTIONS = {name: value for name, value in SMALL.items() if name != "checkpoint_every"}


@pytest.fixture(autouse=True, scope="module")
def _hastened(hastened):
    return hastened


@pytest.fixture(scope="module")
def model():
    return fit("pooled", **OPTIONS)


@pytest.fixture(scope="module")
def ngram():
    return fit("ngram", batch_size=np.int64(16), epochs=2, quiet=True, validation=0.2)


def same_params(one, other):
    return jax.tree.all(jax.tree.map(np.array_equal, one.params, other.params))


def test_trains_what_the_command_trains(model, tmp_path, capsys):
    run = tmp_path / "run"
    result = experiment.run(small(run))
    printed = capsys.readouterr().out
    trained = load(run)
    assert same_params(model, trained)
    assert model.vocabulary == trained.vocabulary
    assert dump_config(model.config) == dump_config(trained.config)
    assert trained.result == result == json.loads((run / "result.json").read_text())
    untimed = [row._replace(seconds=0) for row in model.history]
    assert untimed == [row._replace(seconds=0) for row in trained.history]
    assert [type(row) for row in model.history] == [Epoch] * SMALL["epochs"]
    fit("pooled", **OPTIONS)
    assert capsys.readouterr() == ("", "")
    fit("pooled", **OPTIONS | {"quiet": False}, workdir=tmp_path / "kept")
    out = capsys.readouterr().out
    assert out.endswith(f"written to {tmp_path / 'kept'}\n{printed}")
    assert same_params(model, load(tmp_path / "kept"))


def test_without_a_workdir_nothing_is_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fit("pooled", **OPTIONS | {"quiet": False, "patience": 1, "epochs": 2})
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in capsys.readouterr().out


def test_a_run_is_resumed_and_replaced_as_from_the_shell(model, tmp_path):
    fewer = OPTIONS | {"epochs": 1}
    fit("pooled", workdir=str(tmp_path / "run"), **fewer)
    with pytest.raises(UserError, match="already holds a run"):
        fit("pooled", workdir=tmp_path / "run", **OPTIONS)
    assert same_params(model, fit("pooled", workdir=tmp_path / "run", resume=True, **OPTIONS))
    assert len(fit("pooled", workdir=tmp_path / "run", overwrite=True, **fewer).history) == 1


def test_a_recipe_of_ones_own(model, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('arch = "pooled"\nlearning_rate = 3e-3\nworkdir = "unused"\n')
    found = fit(config=recipe, **OPTIONS | {"epochs": 1, "model": {"embedding_dim": 2}}).config
    assert (found.training.learning_rate, found.model["hidden"]) == (3e-3, 16)
    with pytest.raises(UserError, match=r"arch cnn contradicts .*mine\.toml: arch pooled"):
        fit("cnn", config=recipe)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": 3}, r"unknown option 'epoch' \(did you mean 'epochs'\?\)"),
        ({"model": {"hiden": 3}}, r"unknown option 'model.hiden' \(did you mean 'model.hidden'"),
        ({"arch": "cn"}, "unknown architecture 'cn' .did you mean 'cnn'"),
        ({"epochs": "3"}, "epochs must be of type int"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"seeds": 2}, "fit trains one model"),
        ({"resume": True}, "resume needs a run directory"),
        ({"process_id": 0}, "process_id starts processes"),
        ({"config": "absent.toml"}, r"absent\.toml"),
    ],
)
def test_mistaken_options_are_named(monkeypatch, options, message):
    monkeypatch.setattr(self_training, "run", lambda *_: pytest.fail("it trained"))
    with pytest.raises(UserError, match=message):
        fit(**options)


# What a classifier can do


def saved(model, path):
    model.save(path)
    return load(path)


@pytest.mark.parametrize("arch", ["pooled", "ngram"])
def test_a_saved_classifier_is_loaded_again(request, arch, tmp_path):
    model = request.getfixturevalue("model" if arch == "pooled" else arch)
    again = saved(model, tmp_path / "a" / "run")
    np.testing.assert_array_equal(again.predict(TEXTS), model.predict(TEXTS))
    assert (again.history, again.result) == (model.history, model.result)
    assert again.vocabulary == model.vocabulary
    assert repr(again) == repr(model)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["run"]
    with pytest.raises(UserError, match="run already exists"):
        model.save(tmp_path / "a" / "run")
    (tmp_path / "a" / "run" / "metrics.csv").write_text("epoch,loss\n1,x")
    assert load(tmp_path / "a" / "run").history == []


def test_a_model_from_elsewhere_is_saved(model, tmp_path):
    """Without a history and a result, such as one that Keras has trained."""
    own = Classifier(model.config, model.vocabulary, model.model, model.params)
    again = saved(own, tmp_path / "run")
    np.testing.assert_array_equal(again.predict(TEXTS), model.predict(TEXTS))
    assert (again.history, again.result) == ([], {"labels": ["negative", "positive"]})
    assert "accuracy" not in repr(again)


def test_a_save_that_fails_leaves_nothing(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        model.save(tmp_path / "file" / "run")
    broken = Classifier(model.config, model.vocabulary, model.model, {"a": object()})
    with pytest.raises(UserError, match="cannot be written"):
        broken.save(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("arch", ["pooled", "ngram", "ensemble"])
def test_evaluates_texts(request, model, ngram, arch):
    predictor = {"pooled": model, "ngram": ngram}.get(arch, Ensemble((model, ngram), (0.5, 0.4)))
    figures = predictor.evaluate(iter(TEXTS), np.array(LABELS, bool))
    probabilities = predictor.predict(TEXTS)
    right = (probabilities > 0.5) == LABELS
    chances = np.where(LABELS, probabilities, 1 - probabilities)
    assert figures["accuracy"] == right.mean()
    assert figures["loss"] == pytest.approx(-np.log(chances).mean(), rel=1e-4)
    assert {"f1", "roc_auc", "confusion_matrix"} < figures.keys()


@pytest.mark.parametrize("labels", [[1], [1, 0, 0, 2], ["1", "0", "0", "1"], [LABELS], []])
def test_labels_that_are_none(model, labels):
    named = dataclasses.replace(model, label_names=("rotten", "fresh"))
    with pytest.raises(UserError, match=r"a label for each: 1 \(fresh\) or 0 \(rotten\)"):
        named.evaluate(TEXTS if labels else [], labels)


def test_is_shown_in_a_few_lines(model, ngram):
    for shown in (repr(model), repr(ngram)):
        assert shown.count("\n") < 6
        assert max(map(len, shown.splitlines())) < 80
    assert f"test accuracy  {model.result['test_accuracy']:.4f}" in repr(model)
    assert "negative (0) and positive (1)" in repr(model)
    assert f"reads          96 of {len(model.vocabulary):,} words" in repr(model)
    assert f"{len(ngram.vocabulary):,} n-grams" in repr(ngram)
    both = repr(Ensemble((model, ngram), (0.5, 0.25)))
    assert "0.25 of the log-odds of Classifier: ngram" in both


def test_the_words_of_ngram_are_public(ngram):
    """From an n-gram to what it adds to the log-odds, with public names."""
    assert isinstance(ngram, imdb_jax.Classifier)
    assert isinstance(ngram.model, imdb_jax.Ngram)
    assert isinstance(ngram.vocabulary, imdb_jax.NgramVocabulary)
    word = next(iter(ngram.vocabulary))
    i = ngram.vocabulary[word]
    added = float(ngram.params["weight"][i] * ngram.params["log_ratio"][i])
    probability = float(ngram.predict(word)[0])
    log_odds = math.log(probability / (1 - probability))
    assert log_odds == pytest.approx(added + float(ngram.params["bias"]), abs=1e-4)
    (explained,) = ngram.explain(word).words
    assert explained.weight == pytest.approx(added, abs=1e-6)
