"""Several runs as one: what they say together, with what weights, and which go together."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_runs import hasten, small

from imdb_jax import cli, evaluate, load, predict
from imdb_jax.config import dump_config, load_config, load_recipe, replace
from imdb_jax.datasets import find
from imdb_jax.errors import UserError
from imdb_jax.inference.ensemble import Ensemble, fit_weights, load_predictor, parse_weights
from imdb_jax.runs import experiment
from imdb_jax.runs.manifest import files_in, write_manifest

TEXTS = ["a wonderful film", "dull, an awful bore", "", "qqq wonderful qqq"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, small_synthetic):
    """Two of words, that held out the same reviews, and one of n-grams that held out others."""
    directory = tmp_path_factory.mktemp("runs")
    ngram = replace(load_recipe("ngram"), batch_size=16, epochs=2, quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        hasten(patch, small_synthetic)
        experiment.run(small(directory / "a", dataset="synthetic"))
        experiment.run(small(directory / "b", dataset="synthetic", seed=1, learning_rate=0.03))
        experiment.run(replace(ngram, dataset="synthetic", workdir=directory / "c", validation=0.2))
    return directory


@pytest.fixture(autouse=True, scope="module")
def _few_reviews(small_synthetic):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "synthetic_dataset", lambda: small_synthetic)
        yield


def several(runs, names):
    return [runs / name for name in names]


def log_odds(probability):
    return math.log(probability / (1 - probability))


def evaluated(capsys, *arguments):
    evaluate.evaluate([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


def test_log_odds_add_up(runs):
    together = load_predictor(several(runs, "abc"), "0.5,0.3,0.2", pytest.fail)
    apart = [load(runs / name) for name in "abc"]
    for text, found in zip(TEXTS, together.stream(TEXTS), strict=True):
        each = [next(model.stream([text])) for model in apart]
        terms = [w * log_odds(p.probability) for w, p in zip((0.5, 0.3, 0.2), each, strict=True)]
        assert log_odds(found.probability) == pytest.approx(sum(terms), abs=1e-5)
        assert found.unknown_share == pytest.approx(np.mean([p.unknown_share for p in each]))
    np.testing.assert_allclose(
        together.predict(TEXTS * 200), np.tile(together.predict(TEXTS), 200), atol=1e-6
    )


def test_without_weights_all_count_the_same(runs):
    said = []
    together = load_predictor(several(runs, "ab"), "", said.append)
    assert together.weights == (0.5, 0.5)
    assert "same weight" in said[0]


def test_evaluate_fits_the_weights_that_predict_takes(runs, capsys, small_synthetic):
    found, said = evaluated(capsys, *several(runs, "ab"))
    assert "20 reviews held out" in said
    assert f"--weights {','.join(map(str, found['weights']))}" in said
    option = said.split("--weights ")[1].strip()
    again, _ = evaluated(capsys, *several(runs, "ab"), "--weights", option)
    assert again == found
    reviews = small_synthetic.read("test")
    together = load_predictor(several(runs, "ab"), option, pytest.fail)
    right = (together.predict(reviews.texts) > 0.5) == (reviews.labels > 0)
    assert found["accuracy"] == pytest.approx(right.mean())
    chances = np.where(reviews.labels > 0, *[p := together.predict(reviews.texts), 1 - p])
    assert found["loss"] == pytest.approx(-np.log(chances).mean(), rel=1e-4)


def test_runs_that_held_out_different_reviews_count_the_same(runs, capsys):
    found, said = evaluated(capsys, *several(runs, "ac"))
    assert found["weights"] == [0.5, 0.5]
    assert "same --validation" in said
    assert found["runs"] == [str(runs / "a"), str(runs / "c")]


def test_the_table_names_the_runs(runs, capsys):
    evaluate.evaluate([*map(str, several(runs, "ab")), "--weights", "0.25,1", "--wrong", "0"])
    assert f"0.2500 of the log-odds of {runs / 'a'}" in capsys.readouterr().out


def test_options_may_stand_between_runs_and_texts(runs, capsys):
    a, b = map(str, several(runs, "ab"))
    printed = []
    for arguments in (
        [a, b, "--weights", "0.25,1", "a fine film"],
        [a, b, "a fine film", "--weights", "0.25,1"],
        ["--weights", "0.25,1", a, b, "a fine film"],
        [f"{a},{b}", "--weights=0.25,1", "--", "a fine film"],
    ):
        predict.predict(arguments)
        printed.append(capsys.readouterr().out)
    assert len(set(printed)) == 1


def test_fitted_weights_have_the_least_cross_entropy():
    generator = np.random.default_rng(0)
    labels = (generator.random(500) < 0.5).astype(np.int8)
    noise = generator.normal(size=(500, 3)) * [1, 2, 4]
    logits = 3 * (2.0 * labels[:, None] - 1) + 3 * noise

    def loss(weights):
        return np.logaddexp(0, np.where(labels > 0, -1, 1) * (logits @ weights)).mean()

    found = fit_weights(logits, labels)
    assert found[0] > found[1] > found[2] >= 0
    for change in generator.normal(size=(50, 3)) * 0.01:
        assert loss(np.maximum(found + change, 0)) >= loss(found) - 1e-9


def test_a_model_that_is_always_wrong_counts_nothing():
    labels = np.array([0, 1] * 20)
    right = np.where(labels > 0, 1.0, -1.0) * np.tile([1, 1, 1, -0.5], 10)
    assert fit_weights(np.stack([right, -right], axis=1), labels)[1] == 0
    np.testing.assert_array_equal(fit_weights(-right[:, None], labels), [1])


def test_words_weigh_the_sum_of_what_they_weigh(runs):
    together = load_predictor(several(runs, "ab"), "0.5,0.25", pytest.fail)
    text = "an awful script, but a wonderful film"
    found = together.explain(text)
    one, other = (load(runs / name).explain(text) for name in "ab")
    for word, a, b in zip(found.words, one.words, other.words, strict=True):
        assert word.word == a.word == b.word
        assert word.weight == pytest.approx(0.5 * a.weight + 0.25 * b.weight)
        assert word.read == (a.read or b.read)
    assert found.prediction == next(together.stream([text]))


def test_words_of_different_kinds_are_not_mixed(runs):
    together = load_predictor(several(runs, "ac"), "1,1", pytest.fail)
    with pytest.raises(UserError, match="explain it alone"):
        together.explain("a film")


def test_runs_of_different_reviews_do_not_go_together(runs, tmp_path):
    other = shutil.copytree(runs / "b", tmp_path / "other")
    config = replace(load_config(runs / "b" / "config.toml"), test_share=0.5)
    (other / "config.toml").write_text(dump_config(config))
    (other / "manifest.json").unlink()
    write_manifest(other, files_in(other))
    with pytest.raises(UserError, match=r"not trained on the same reviews: test_share is .* 0\.5"):
        load_predictor([runs / "a", other], "", pytest.fail)


def test_a_text_follows_the_runs(runs, capsys):
    predict.predict(
        [*map(str, several(runs, "ab")), "a wonderful film", "--format", "csv", "--quiet"]
    )
    _, row = capsys.readouterr().out.splitlines()
    both = load_predictor(several(runs, "ab"), "0.5,0.5", pytest.fail)
    assert isinstance(both, Ensemble)
    assert float(row.split(",")[1]) == pytest.approx(float(both.predict("a wonderful film")[0]))


def test_runs_come_before_texts(runs):
    a, b, c = (str(runs / name) for name in "abc")
    paths, options = predict.parse_arguments([a, b, c, "a text", b])
    assert paths == [runs / name for name in "abc"]
    assert options.texts == ("a text", b)
    # The first argument is a run, whatever it is.
    paths, options = predict.parse_arguments(["absent", a, "--quiet"])
    assert (paths, options.texts) == ([Path("absent"), runs / "a"], ())
    assert evaluate.parse_arguments([a, "absent"]).runs == (a, "absent")


def test_runs_may_be_joined_by_commas(runs, tmp_path):
    a, b, c = (str(runs / name) for name in "abc")
    paths, options = predict.parse_arguments([f"{a},{b}", c, "a text"])
    assert paths == [runs / name for name in "abc"]
    assert options.texts == ("a text",)
    (tmp_path / "a,b").mkdir()  # a comma may be part of a name
    assert cli.run_paths(str(tmp_path / "a,b"), "c,d") == [tmp_path / "a,b", Path("c"), Path("d")]


@pytest.mark.parametrize("weights", ["1", "1,2,3", "a,b", "1,-1", "0,0", "nan,1", "inf,1"])
def test_bad_weights(weights):
    with pytest.raises(UserError, match="weights must"):
        parse_weights(weights, 2)


def test_a_run_that_is_not_there(runs, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["predict", f"{runs / 'a'},{runs / 'absent'}", "a text"])
    with pytest.raises(SystemExit) as stop:
        cli.run_command(predict.predict)
    assert stop.value.code == 2
    assert "not a run directory" in capsys.readouterr().err
