"""The one command that runs the others."""

import importlib
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import imdb_jax
from imdb_jax.__main__ import COMMANDS, main


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["imdb-jax", *arguments])
    try:
        main()
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_gets_its_own_arguments(monkeypatch, name):
    given = []
    module = importlib.import_module(f"imdb_jax.{name}")
    monkeypatch.setattr(module, "main", lambda: given.extend(sys.argv))
    assert run(monkeypatch, name, "runs/cnn", "--help") == 0
    assert given == ["imdb-jax", "runs/cnn", "--help"]


def test_help_has_a_line_for_each_command_that_is_installed(monkeypatch, capsys):
    for arguments in ([], ["-h"], ["--help"]):
        assert run(monkeypatch, *arguments) == 0
        out = capsys.readouterr().out
        assert all(f"\n  {name} " in out for name in COMMANDS)
        assert max(map(len, out.splitlines())) <= 80
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    scripts = {f"imdb-jax-{name}": f"imdb_jax.{name}:main" for name in COMMANDS}
    assert project["scripts"] == {"imdb-jax": "imdb_jax.__main__:main", **scripts}


def test_version_names_what_computes(monkeypatch, capsys):
    assert run(monkeypatch, "--version") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"imdb_jax {imdb_jax.__version__}, jax {version('jax')}, flax ")
    assert "Python 3." in out


def test_unknown_command_is_one_line_with_the_nearest_name(monkeypatch, capsys):
    assert run(monkeypatch, "trian", "--arch", "cnn") == 2
    out, errors = capsys.readouterr()
    assert (out, errors.count("\n")) == ("", 1)
    assert errors.startswith("error: unknown command 'trian' (did you mean 'train'?)")
