"""Train a model on IMDb reviews.

python -m imdb_jax.train --arch cnn
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imdb_jax import cli
from imdb_jax.config import UNSUPERVISED, Config, OptionalPath, load_config, load_recipe, replace
from imdb_jax.errors import Terminated, UserError
from imdb_jax.parallel.host_memory import share_one_heap
from imdb_jax.progress import note

# What --help shows first.
EVERYDAY = (
    *("arch", "config", "dataset", "epochs", "batch_size", "learning_rate", "seed"),
    *("validation", "workdir", "resume", "overwrite", "quiet"),
)


@dataclass(frozen=True)
class Options(Config):
    """A configuration, and the file that gives its defaults."""

    config: OptionalPath = None
    """Recipe of your own, a TOML file; options given here override it."""


def parse_arguments(arguments: Sequence[str]) -> Options:
    """Read the recipe that the arguments name, then the options that override it."""
    arguments = _complete(arguments)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--arch", nargs="?")
    first.add_argument("--config", nargs="?", type=Path)
    first.add_argument("--unlabelled", nargs="?")
    named, _ = first.parse_known_args(arguments)
    if named.config:
        recipe = load_config(named.config)
    else:
        arch = "cnn" if named.arch is None else named.arch
        recipe = load_recipe(arch, unlabelled=bool(named.unlabelled))
    if named.config and named.arch not in (None, recipe.arch):
        raise UserError(f"--arch {named.arch} contradicts {named.config}: arch {recipe.arch}")
    default, described = Options(**vars(recipe)), hyper_parameters(recipe.arch)
    options = cli.parse("imdb_jax.train", default, __doc__ or "", arguments, EVERYDAY, described)
    # A value that begins with a dash is one for the second parser only.
    if named.arch is None and options.arch != recipe.arch:
        load_recipe(options.arch)
    if options.config != named.config:
        raise UserError(f"a configuration's name cannot begin with a dash: {options.config}")
    # The recipe's name need not be that of its architecture.
    return replace(options, arch=recipe.arch)


def hyper_parameters(arch: str) -> dict[str, str]:
    """Return what the docstring of an architecture's module says of each attribute.

    Reads the source: importing it would make --help wait for JAX.
    """
    modules = (Path(__file__).parent / "models").glob("*.py")
    # `cnn_global` is a recipe of `cnn`.
    path = max((path for path in modules if arch.startswith(path.stem)), key=lambda p: len(p.stem))
    (architecture,) = (
        doc
        for doc in re.findall(r'"""(.+?)"""', path.read_text("utf-8"), re.DOTALL)
        if "Attributes:" in doc
    )
    _, _, attributes = inspect.cleandoc(architecture).partition("Attributes:\n")
    entries = re.findall(r"^  (\w+): (.+(?:\n    .+)*)", attributes, re.MULTILINE)
    texts = ((name, " ".join(text.split())) for name, text in entries)
    return {name: text[:1].upper() + text[1:] for name, text in texts}


def _complete(arguments: Sequence[str]) -> list[str]:
    """Make `--unlabelled` without a value mean the unlabeled reviews of the data set."""
    complete: list[str] = []
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue="--"):
        complete.append(argument)
        if argument == "--unlabelled" and following.startswith("--"):
            complete.append(UNSUPERVISED)
    return complete


def train(arguments: Sequence[str]) -> None:
    """Parse the arguments, train, and print the result.

    If SIGTERM or Ctrl-C comes during training, a checkpoint and a line that says how to continue
    are written, and the exit status is 143 or 130. Another Ctrl-C ends the command at once.
    """
    options = parse_arguments(arguments)
    from imdb_jax.parallel.processes import processes

    try:
        with processes(options):
            from imdb_jax.inference.self_training import run

            run(options)
    except Terminated as end:
        note(str(end))
        sys.exit(end.status)


def main() -> None:
    """Run the command."""
    share_one_heap()  # before there is any other thread, which would bring a heap of its own
    cli.run_command(train)


if __name__ == "__main__":
    main()
