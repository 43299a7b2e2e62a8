"""The directory of a run: whether it may be used, how it begins, what it says when it ended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from imdb_jax.checkpoint import discard
from imdb_jax.config import Config, differences, dump_config, load_config
from imdb_jax.encoding import Vocabulary
from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically
from imdb_jax.ngrams import NgramVocabulary

CONFIG, METRICS = "config.toml", "metrics.csv"
HISTORY, PARAMS, RESULT = "history.png", "params", "result.json"
SOFT_LABELS, TEACHER = "soft_labels.npz", "teacher"  # of a run that learns from unlabelled texts
_FILES = (CONFIG, Vocabulary.FILE, NgramVocabulary.FILE, METRICS, HISTORY, RESULT, SOFT_LABELS)
CHECKPOINTS, TENSORBOARD, PROFILE = "checkpoints", "tensorboard", "profile"


def earlier_run(workdir: Path, config: Config) -> Config | None:
    """Finds the run to continue.

    Returns:
      Its configuration; None if a run is to start here from the beginning.

    Raises:
      UserError: the directory is taken by something else, by a run that is neither to be continued
        nor to be replaced, or by one that a newer version wrote.
    """
    if not workdir.exists():
        return None
    if not workdir.is_dir():
        raise UserError(f"{workdir} is a file; choose another --workdir")
    # A run that was killed while it wrote its first file leaves a temporary one; while its teacher
    # was trained, that.
    names = {path.name for path in workdir.iterdir()} - _own_teacher(config)
    if all(name.startswith(f".{CONFIG}.") for name in names):
        return None
    if not (workdir / CONFIG).exists():
        raise UserError(f"{workdir} holds something other than a run; choose another --workdir")
    if config.resume:
        return load_config(workdir / CONFIG)
    if not config.overwrite:
        raise UserError(
            f"{workdir} already holds a run; choose another --workdir, continue the run by "
            f"--resume, or replace it by --overwrite"
        )
    return None


def refuse_other_run(workdir: Path, config: Config, earlier: Config) -> None:
    """Raises `UserError` if a configuration does not continue the run of another one.

    It may train for more epochs, unless the learning rate depends on their number.
    """
    different = differences(config, earlier)
    # The reviews may lie elsewhere now; checkpoints say whether they are the same.
    different.pop("data_dir", None)
    if config.schedule == "constant" and not config.warmup and config.epochs > earlier.epochs:
        different.pop("epochs", None)
    for name, (value, before) in different.items():
        raise UserError(
            f"{workdir} holds a run with {name} {before}, not {value}; continue it with the "
            f"options it was started with, choose another --workdir, or replace it by --overwrite"
        )


def read_result(workdir: Path) -> dict[str, Any] | None:
    """Reads `result.json`; None if the run has not ended."""
    try:
        return json.loads((workdir / RESULT).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{workdir / RESULT} is damaged: {error}") from error


def write_result(workdir: Path, result: dict[str, Any]) -> None:
    """Writes `result.json`, with which the run has ended."""
    write_atomically(workdir / RESULT, (json.dumps(result, indent=2) + "\n").encode())


def begin(
    workdir: Path, config: Config, vocabulary: Vocabulary | NgramVocabulary, afresh: bool
) -> None:
    """Makes the directory of a run that has not ended, and writes what is known.

    Whenever it is interrupted, what is there is recognised as a run, and not as one that ended.

    Args:
      workdir: the directory.
      config: what the run is.
      vocabulary: the words, or n-grams, of its data set.
      afresh: whether to empty the directory, rather than continue the run that it holds.

    Raises:
      UserError: it cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / RESULT).unlink(missing_ok=True)
        discard(workdir / PARAMS)
        kept = {CONFIG} | _own_teacher(config)
        for path in list(workdir.iterdir()):
            if path.name not in kept and (afresh or _is_temporary(path)):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        write_atomically(workdir / CONFIG, dump_config(config).encode())
        vocabulary.save(workdir / vocabulary.FILE)
    except OSError as error:
        raise UserError(f"cannot write the run to {workdir}: {error.strerror}") from error


def _own_teacher(config: Config) -> set[str]:
    """The name of the directory where the run's own teacher is trained, if it has one."""
    return {TEACHER} if config.unlabelled and config.teacher is None else set()


def _is_temporary(path: Path) -> bool:
    """Whether a run that was killed while it wrote a file left this."""
    return path.name.startswith(tuple(f".{name}." for name in _FILES))
