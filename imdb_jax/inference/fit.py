"""Training from Python, as from the shell."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from imdb_jax.config import Config, load_config, load_recipe, override, replace
from imdb_jax.errors import UserError
from imdb_jax.inference.classifier import Classifier, load
from imdb_jax.inference.self_training import run
from imdb_jax.parallel.exchange import num_processes

# Options that mean something only if a run directory stays, and those that start processes.
_OF_DIRECTORIES = ("resume", "overwrite", "checkpoint_every", "keep", "tensorboard", "profile")
_OF_PROCESSES = ("coordinator", "num_processes", "process_id")


def fit(
    arch: str | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    workdir: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    **options: Any,
) -> Classifier:
    """Train a recipe as `python -m imdb_jax.train` does, and return the model.

        model = imdb_jax.fit("cnn", epochs=3, model={"hidden": 0})
        print(model.history[-1].val_accuracy, model.predict("A wonderful film!"))

    Args:
      arch: the recipe, such as 'ngram', or 'debug'; by default 'cnn'.
      config: a recipe of your own, a TOML file.
      workdir: directory to keep the run in, for `load` and the commands. Without it the model is
        kept in memory only; its `save` writes a run directory later.
      quiet: print nothing but notes on standard error.
      **options: options of the command, by their names in TOML files, such as `learning_rate`;
        `model` is a dict of hyper-parameters. `python -m imdb_jax.train --help` describes all.

    Raises:
      UserError: an option is unknown, has a wrong value, or does not go with another; there are no
        such reviews; the run cannot be written; or the loss diverges.
      Terminated: SIGTERM came.
    """
    chosen, temporary = _configure(arch, config, options), workdir is None
    with contextlib.ExitStack() as stack:
        if workdir is None:
            _refuse(options, _OF_DIRECTORIES, "needs a run directory; give workdir, too")
            if num_processes() > 1:
                raise UserError("several processes need a workdir that all of them can see")
            # One that is gone afterwards, so that all runs take the same path.
            workdir = stack.enter_context(tempfile.TemporaryDirectory(prefix="imdb_jax-"))
            keep = 1 if chosen.stopping.patience else 0  # to return to the best epoch
            chosen = replace(chosen, keep=keep)
        if quiet:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        run(replace(chosen, workdir=Path(workdir), quiet=quiet), temporary)
        return load(workdir)


def _configure(
    arch: str | None, config: str | os.PathLike[str] | None, options: dict[str, Any]
) -> Config:
    """Return the recipe with the options, or raise `UserError`."""
    _refuse(options, _OF_PROCESSES, "starts processes; use python -m imdb_jax.train for it")
    if config is None:
        recipe = load_recipe(arch or "cnn", unlabelled=bool(options.get("unlabelled")))
    else:
        recipe = load_config(Path(config))
        if arch not in (None, recipe.arch):
            raise UserError(f"arch {arch} contradicts {config}: arch {recipe.arch}")
    given = {name: _as_in_toml(value) for name, value in options.items() if value is not None}
    chosen = override(recipe, given, "option")
    if chosen.training.seeds > 1:
        raise UserError("fit trains one model; leave out seeds, or use python -m imdb_jax.train")
    return chosen


def _refuse(options: dict[str, Any], names: tuple[str, ...], why: str) -> None:
    for name in names:
        if name in options:
            raise UserError(f"{name} {why}")


def _as_in_toml(value: Any) -> Any:
    """Return a path as a string, a NumPy scalar as a number, and a tuple as a list."""
    if isinstance(value, dict):
        return {name: _as_in_toml(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_as_in_toml, value)]
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value
