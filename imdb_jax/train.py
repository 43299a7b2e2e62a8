"""Trains a model on IMDb reviews: `python -m imdb_jax.train --arch cnn`."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imdb_jax import cli
from imdb_jax.config import UNSUPERVISED, Config, load_config, load_recipe
from imdb_jax.errors import Terminated, UserError


@dataclass(frozen=True)
class Options(Config):
    """A configuration, and the file that gives its defaults."""

    config: Path | None = None
    """Recipe of your own, a TOML file; options given here override it."""


def parse_arguments(arguments: Sequence[str]) -> Options:
    """Reads the recipe that the arguments name, then the options that override it."""
    arguments = _complete(arguments)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--arch", nargs="?")
    first.add_argument("--config", nargs="?", type=Path)
    first.add_argument("--unlabelled", nargs="?")
    named, _ = first.parse_known_args(arguments)
    if named.config:
        recipe = load_config(named.config)
    else:
        recipe = load_recipe(named.arch or "cnn", unlabelled=bool(named.unlabelled))
    if named.config and named.arch not in (None, recipe.arch):
        raise UserError(
            f"--arch {named.arch} contradicts {named.config}, whose arch is {recipe.arch}"
        )
    options = cli.parse("imdb_jax.train", Options(**vars(recipe)), __doc__ or "", arguments)
    # The recipe's name need not be that of its architecture.
    return dataclasses.replace(options, arch=recipe.arch)


def _complete(arguments: Sequence[str]) -> list[str]:
    """Has `--unlabelled` without a value mean the reviews of the data set that have no labels."""
    complete: list[str] = []
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue="--"):
        complete.append(argument)
        if argument == "--unlabelled" and following.startswith("--"):
            complete.append(UNSUPERVISED)
    return complete


def train(arguments: Sequence[str]) -> None:
    """Parses the arguments, trains, and prints the result.

    Exit status 143, as of a process that SIGTERM ended, if it came while the model was in training:
    after a checkpoint was written, and a line that says how to continue.
    """
    options = parse_arguments(arguments)
    # Imported here so that --help and mistaken options need not wait for JAX.
    from imdb_jax.processes import processes

    try:
        with processes(options):
            from imdb_jax.self_training import run

            run(options)
    except Terminated as end:
        print(end, file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)


def main() -> None:
    """Entry point of the console script."""
    cli.run_command(train)


if __name__ == "__main__":
    main()
