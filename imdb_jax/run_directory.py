"""The directory of a run: whether it may be used, what belongs to it, how it begins and ends."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from imdb_jax.checkpoint import discard, is_checkpoint
from imdb_jax.config import Config, differences, dump_config, has_config, load_config
from imdb_jax.encoding import Vocabulary
from imdb_jax.errors import UserError
from imdb_jax.files import is_directory, is_regular, is_temporary, write_atomically
from imdb_jax.ngrams import NgramVocabulary

CONFIG, METRICS = "config.toml", "metrics.csv"
HISTORY, PARAMS, RESULT = "history.png", "params", "result.json"
SOFT_LABELS, TEACHER = "soft_labels.npz", "teacher"  # of a run that learns from unlabelled texts
_FILES = (CONFIG, Vocabulary.FILE, NgramVocabulary.FILE, METRICS, HISTORY, RESULT, SOFT_LABELS)
CHECKPOINTS, TENSORBOARD, PROFILE = "checkpoints", "tensorboard", "profile"
_SEED = "seed-(0|[1-9][0-9]*)"  # the run of one of several seeds
# Which entries of a run's other directories the run wrote.
_DIRECTORIES: dict[str, Callable[[Path], bool]] = {
    CHECKPOINTS: is_checkpoint,
    TENSORBOARD: lambda path: path.name.startswith("events.out.tfevents.") and is_regular(path),
    PROFILE: lambda path: path.name == "plugins" and is_directory(path),
}


def earlier_run(workdir: Path, config: Config) -> Config | None:
    """Find the run to resume.

    Returns:
      Its configuration; None if a run is to start here from the beginning.

    Raises:
      UserError: the directory holds something else, a run that is to be neither resumed nor
        replaced, something besides the run that is to be replaced, or a run of a newer version.
    """
    if not workdir.is_dir():
        if workdir.exists() or workdir.is_symlink():
            raise UserError(f"{workdir} is a file, or a link to nothing; choose another --workdir")
        return None
    if not has_config(workdir):
        # A run that was killed early has left its teacher, or half of its first file.
        for path in _foreign_in(workdir, _own_teacher(workdir, config)):
            raise UserError(
                f"{workdir} holds something other than a run, {path.name}; choose another --workdir"
            )
        return None
    if config.resume:
        return load_config(workdir / CONFIG)
    if not config.overwrite:
        raise UserError(
            f"{workdir} already holds a run; choose another --workdir, continue the run by "
            f"--resume, or replace it by --overwrite"
        )
    _refuse(_foreign_in(workdir))
    return None


def refuse_other_run(workdir: Path, config: Config, earlier: Config) -> None:
    """Raise `UserError` if a configuration does not continue the run of another one.

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
    """Read `result.json`; None if the run has not ended."""
    try:
        return json.loads((workdir / RESULT).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{workdir / RESULT} is damaged: {error}") from error


def write_result(workdir: Path, result: dict[str, Any]) -> None:
    """Write `result.json`, with which the run has ended."""
    write_atomically(workdir / RESULT, (json.dumps(result, indent=2) + "\n").encode())


def begin(
    workdir: Path, config: Config, vocabulary: Vocabulary | NgramVocabulary, afresh: bool
) -> None:
    """Make the directory of a run that has not ended, and write what is known.

    Whenever this is interrupted, the directory holds a run, and not one that has ended.

    Args:
      workdir: the directory.
      config: the run's configuration.
      vocabulary: the words, or n-grams, of its data set.
      afresh: whether to replace the run that the directory holds, rather than continue it.

    Raises:
      UserError: the directory cannot be written, or something in it that no run wrote would have
        to be removed.
    """
    teacher = _own_teacher(workdir, config)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if afresh:
            _refuse(_foreign_in(workdir, teacher))
        else:
            # What the run replaces when it ends.
            names = rf"{RESULT}|{PARAMS}" + (f"|{_SEED}" if config.seeds > 1 else "")
            replaced = [path for path in _entries(workdir) if re.fullmatch(names, path.name)]
            _refuse(foreign for path in replaced for foreign in _foreign(path))
        (workdir / RESULT).unlink(missing_ok=True)
        discard(workdir / PARAMS)
        if afresh:
            _empty(workdir, teacher | {CONFIG})
        for path in workdir.iterdir():
            if is_temporary(path, _FILES):
                path.unlink()
        write_atomically(workdir / CONFIG, dump_config(config).encode())
        vocabulary.save(workdir / vocabulary.FILE)
    except OSError as error:
        raise UserError(f"cannot write the run to {workdir}: {error.strerror}") from error


def _own_teacher(workdir: Path, config: Config) -> set[str]:
    """Return the name of the directory where a run trains a teacher of its own, if it does."""
    own = config.unlabelled and config.teacher is None and not (workdir / TEACHER).is_symlink()
    return {TEACHER} if own else set()


def _entries(workdir: Path, but: Collection[str] = ()) -> list[Path]:
    """Return the entries of a directory, but for some names; `config.toml`, a run's mark, last.

    A process that removes them in this order leaves a run, whenever it is killed.
    """
    entries = (path for path in workdir.iterdir() if path.name not in but)
    return sorted(entries, key=lambda path: (path.name == CONFIG, path.name))


def _refuse(foreign: Iterable[Path]) -> None:
    """Raise `UserError` if there is anything foreign."""
    for path in foreign:
        what = "is a link" if path.is_symlink() else "is not part of a run"
        raise UserError(
            f"{path} {what}, and would be lost with the run that is replaced; move it elsewhere, "
            "or choose another --workdir"
        )


def _foreign_in(directory: Path, but: Collection[str] = ()) -> Iterator[Path]:
    """Yield what no run wrote in a directory: everything, if the directory holds no run.

    Entries of the names in `but` are passed over.
    """
    is_run = has_config(directory)
    for entry in _entries(directory, but):
        if is_run or is_temporary(entry, (CONFIG,)):
            yield from _foreign(entry)
        else:
            yield entry


def _foreign(path: Path) -> Iterator[Path]:
    """Yield what no run wrote of an entry of a run directory, and of what is in that entry.

    No run writes links: they may lead to another run, or to what others use as well.
    """
    if is_directory(path) and re.fullmatch(rf"{TEACHER}|{_SEED}", path.name):
        yield from _foreign_in(path)
    elif is_directory(path) and path.name in _DIRECTORIES:
        yield from (entry for entry in path.iterdir() if not _DIRECTORIES[path.name](entry))
    elif not (
        is_checkpoint(path, PARAMS)
        or is_temporary(path, _FILES)
        or (is_regular(path) and path.name in _FILES)
    ):
        yield path


def _empty(workdir: Path, kept: Collection[str] = ()) -> None:
    """Remove all entries of a run directory that holds nothing foreign."""
    for path in _entries(workdir, kept):
        if not is_directory(path):
            path.unlink()
        elif has_config(path):
            _empty(path)
            path.rmdir()
        else:
            shutil.rmtree(path)
