"""The training command: options over recipes, mistakes in one line, a whole run from a shell."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imdb_jax import train
from imdb_jax.config import (
    Config,
    dump_config,
    flatten,
    load_config,
    load_recipe,
    recipe_names,
    replace,
)
from imdb_jax.errors import UserError
from imdb_jax.runs import data, experiment
from imdb_jax.train import EVERYDAY, hyper_parameters, main, parse_arguments


def as_config(options):
    return Config(
        **{field.name: getattr(options, field.name) for field in dataclasses.fields(Config)}
    )


def shell(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


# Options


@pytest.mark.parametrize("arch", recipe_names())
def test_architecture_alone_means_its_recipe(arch):
    assert as_config(parse_arguments(["--arch", arch])) == load_recipe(arch)
    assert parse_arguments([f"--arch={arch}"]).arch == arch


def test_recipe_to_debug_with_is_a_tiny_cnn_beside_the_others(tmp_path):
    options = parse_arguments(["--arch", "debug", "--epochs", "1"])
    assert (options.arch, options.training.epochs, options.data.dataset) == ("cnn", 1, "synthetic")
    assert options.run.workdir == Path("runs/debug")
    assert options.model.keys() == load_recipe("cnn").model.keys()
    saved = tmp_path / "saved.toml"
    saved.write_text(dump_config(options))
    assert load_config(saved).arch == "cnn"


@pytest.mark.parametrize("rest", ["", "--epochs 3", "--model.min-df 3"])
def test_unlabelled_without_a_value_means_the_reviews_without_labels(rest):
    for value in ("", "unsupervised"):
        options = parse_arguments(f"--arch ngram --unlabelled {value} {rest}".split())
        assert options.self_training.unlabelled == "unsupervised"
    assert parse_arguments(["--unlabelled=texts.txt"]).self_training.unlabelled == "texts.txt"


def test_no_arguments_mean_the_cnn():
    assert as_config(parse_arguments([])) == load_recipe("cnn")


def test_options_override_the_recipe_and_leave_the_rest():
    arguments = "--arch pooled --epochs 3 --learning-rate 0.01 --loss mse --padding pre "
    arguments += "--overwrite --workdir here --data-dir there --model.hidden 8"
    options = parse_arguments(arguments.split())
    assert as_config(options) == replace(
        load_recipe("pooled"),
        epochs=3,
        learning_rate=0.01,
        loss="mse",
        padding="pre",
        overwrite=True,
        workdir=Path("here"),
        data_dir=Path("there"),
        model={"embedding_dim": 16, "hidden": 8},
    )


def test_lists_are_options_too():
    arguments = "--arch mlp --model.hidden 8 4 --model.dropout 0.5"
    options = parse_arguments(arguments.split())
    assert options.model == {"hidden": [8, 4], "dropout": [0.5]}


def test_recipe_of_ones_own_is_overridden_by_options(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('arch = "pooled"\nepochs = 7\nseed = 5\n[model]\nhidden = 3\n')
    options = parse_arguments(["--config", str(recipe), "--seed", "6"])
    assert (options.arch, options.training.epochs, options.training.seed) == ("pooled", 7, 6)
    assert options.model == {"embedding_dim": 16, "hidden": 3}
    assert options.training.batch_size == load_recipe("pooled").training.batch_size
    assert parse_arguments(["--config", str(recipe), "--arch", "pooled"]).training.epochs == 7


def test_help_shows_every_option_and_its_default(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        parse_arguments(["--arch", "pooled", "--help"])
    assert stop.value.code == 0
    text, errors = capsys.readouterr()
    assert errors == ""
    for name in ["config", *flatten(Config())]:
        assert f"--{name.replace('_', '-')}" in text
    for name in load_recipe("pooled").model:
        assert f"--model.{name.replace('_', '-')}" in text
    plain = re.sub(r"[│\s]+", " ", text)
    assert "Number of times that every training review is seen. (default: 40)" in plain
    assert "Length of a word's vector. (default: 16)" in plain
    first, _, _ = text.partition("data options")
    assert [name for name in EVERYDAY if f"--{name.replace('_', '-')} " in first] == [*EVERYDAY]


@pytest.mark.parametrize("arch", recipe_names())
def test_every_hyper_parameter_is_described(arch):
    assert hyper_parameters(arch).keys() >= load_recipe(arch).model.keys()
    assert all(text[:1].isupper() for text in hyper_parameters(arch).values())


# Mistakes


def mistake(capsys, monkeypatch, *arguments, run=pytest.fail):
    """The one line that the command prints before it exits with status 2."""
    monkeypatch.setattr(sys, "argv", ["imdb-jax-train", *arguments])
    monkeypatch.setattr(experiment, "run", run)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: .+\n", errors)  # one line: a dot is anything but a line's end
    return errors


SIZES = (
    *("num-words", "max-length", "epochs", "batch-size", "seed", "seeds", "shards", "patience"),
    *("checkpoint-every", "keep", "model-parallel", "num-processes", "process-id"),
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--arch ccn", "did you mean 'cnn'"),
        ("--arch", "arch"),
        ("--arch=", "unknown architecture ''"),
        ("--arch -inf", "unknown architecture '-inf'"),
        ("--config -inf", "cannot begin with a dash: -inf"),
        ("--epoch 3", "--epochs"),
        ("--epochs three", "three"),
        ("--epochs 0", "error: epochs must be at least 1, not 0\n"),
        ("--epochs", "--epochs"),
        ("--learning-rate -1", "learning_rate must be positive"),
        ("--learning-rate nan", "learning_rate must be positive"),
        ("--learning-rate 1e300", "learning_rate must be at most 3.4e+38"),
        *((f"--{name} {2**70}", "must be at most") for name in SIZES),
        ("--loss hinge", "loss"),
        ("--validation 1", "validation must be at least 0"),
        ("--num-words 4", "error: num_words must be at least 5, not 4\n"),
        ("--resume --overwrite", "error: resume continues a run and overwrite replaces it"),
        ("--model.filter 3", "--model.filters"),
        ("--model.hidden -3", "hidden"),
        ("--config absent.toml", "absent.toml"),
        ("cnn", "cnn"),
    ],
)
def test_mistake_is_named_in_one_line(capsys, monkeypatch, arguments, message):
    assert message in mistake(capsys, monkeypatch, *arguments.split())


def test_architecture_that_contradicts_the_file(capsys, monkeypatch, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('arch = "pooled"\n')
    line = mistake(capsys, monkeypatch, "--config", str(recipe), "--arch", "cnn")
    assert "--arch cnn contradicts" in line


def test_typing_error_in_a_recipe(capsys, monkeypatch, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('arch = "pooled"\nepoch = 3\n')
    line = mistake(capsys, monkeypatch, "--config", str(recipe))
    assert str(recipe) in line
    assert "did you mean 'epochs'" in line


def test_error_with_several_lines_is_printed_in_one(capsys, monkeypatch):
    def fail(config, temporary):
        raise UserError("first\nsecond")

    assert mistake(capsys, monkeypatch, run=fail) == "error: first second\n"


def test_unknown_data_set(capsys, monkeypatch, tmp_path):
    arguments = ["--dataset", "syntetic", "--quiet", "--workdir", str(tmp_path / "run")]
    assert "did you mean 'synthetic'" in mistake(
        capsys, monkeypatch, *arguments, run=experiment.run
    )


# Runs


def test_command_trains(capsys, monkeypatch, tmp_path, small_synthetic):
    asked = []
    monkeypatch.setattr(
        data, "find_dataset", lambda *request: asked.append(request) or small_synthetic
    )
    train.train(
        f"--arch pooled --dataset synthetic --data-dir there --num-words 50 --max-length 8 "
        f"--epochs 1 --quiet --workdir {tmp_path}/run".split()
    )
    options = asked[0][0]
    assert (options.dataset, options.data_dir) == ("synthetic", Path("there").absolute())
    out, errors = capsys.readouterr()
    assert re.fullmatch(r"test accuracy 0\.\d{4} \(synthetic corpus\)\n", out)
    assert errors == ""


def test_command_in_a_shell(tmp_path):
    """The recipe for that; the only test that starts the real command."""
    done = shell("-m", "imdb_jax.train", "--arch", "debug", "--workdir", str(tmp_path / "run"))
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    last = done.stdout.splitlines()[-1]
    assert last == f"test accuracy {result['test_accuracy']:.4f} (synthetic corpus)"
    assert (result["arch"], result["dataset"]) == ("cnn", "synthetic")

    refused = shell("-m", "imdb_jax.train", "--arch", "poled")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.fullmatch(r"error: .*did you mean 'pooled'.*\n", refused.stderr)
