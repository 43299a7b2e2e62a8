"""The directory of a run: whether it may be used, what belongs to it, how it begins and ends."""

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

from imdb_jax.config import Config, differences, dump_config, has_config, load_config
from imdb_jax.errors import UserError
from imdb_jax.files import is_directory, is_temporary, write_atomically
from imdb_jax.runs.checkpoints import POSITION, UNFINISHED
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.text.vocabulary import Vocabulary

CONFIG, METRICS = "config.toml", "metrics.csv"
HISTORY, PARAMS, RESULT = "history.png", "params", "result.json"
SOFT_LABELS, TEACHER = "soft_labels.npz", "teacher"  # of a run that learns from unlabelled texts
_FILES = (CONFIG, Vocabulary.FILE, NgramVocabulary.FILE, METRICS, HISTORY, RESULT, SOFT_LABELS)
CHECKPOINTS, TENSORBOARD, PROFILE = "checkpoints", "tensorboard", "profile"

_SEED = "seed-(0|[1-9][0-9]*)"
# Paths, relative to the run directory, of everything that runs write; directories end with /.
_OURS = re.compile(
    rf"(({TEACHER}|{_SEED})/)?"
    rf"({'|'.join(map(re.escape, _FILES))}|{PARAMS}({UNFINISHED})?/.*"
    rf"|{CHECKPOINTS}/({POSITION}({UNFINISHED})?/.*)?"
    rf"|{TENSORBOARD}/(events\.out\.tfevents\.[^/]*)?|{PROFILE}/(plugins/.*)?)?",
    re.DOTALL,
)


def earlier_run(workdir: Path, config: Config) -> Config | None:
    """Return the configuration of the run to resume; None if a new run is to start here.

    Raises `UserError` if the directory holds something else, or a run that is neither to be resumed
    nor replaced, cannot be replaced without loss, or was written by a newer version.
    """
    if not workdir.is_dir():
        if workdir.exists() or workdir.is_symlink():
            raise UserError(f"{workdir} is a file, or a link to nothing; choose another --workdir")
        return None
    if not has_config(workdir):
        # A run that was killed early has left its teacher, or half of its first file.
        for path in sorted(workdir.iterdir()):
            if not _is_own_teacher(path, config) and not is_temporary(path, (CONFIG,)):
                raise UserError(
                    f"{workdir} holds something other than a run, {path.name}; choose another "
                    "--workdir"
                )
        return None
    if config.run.resume:
        return load_config(workdir / CONFIG)
    if not config.run.overwrite:
        raise UserError(
            f"{workdir} already holds a run; choose another --workdir, continue the run by "
            "--resume, or replace it by --overwrite"
        )
    for path in workdir.iterdir():
        _refuse_foreign(path)
    return None


def refuse_other_run(workdir: Path, config: Config, earlier: Config) -> None:
    """Raise `UserError` if a configuration does not continue an earlier run.

    It may ask for more epochs, unless the learning rate depends on their number.
    """
    different = differences(config, earlier)
    # The reviews may have moved; the checkpoints tell whether they are the same.
    different.pop("data_dir", None)
    if (
        config.training.schedule == "constant"
        and not config.training.warmup
        and config.training.epochs > earlier.training.epochs
    ):
        different.pop("epochs", None)
    for name, (value, before) in different.items():
        raise UserError(
            f"{workdir} holds a run with {name} {before}, not {value}; continue it with the "
            "options it was started with, choose another --workdir, or replace it by --overwrite"
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
    """Write `result.json`, which marks the end of a run."""
    write_atomically(workdir / RESULT, (json.dumps(result, indent=2) + "\n").encode())


def begin(
    workdir: Path, config: Config, vocabulary: Vocabulary | NgramVocabulary, afresh: bool
) -> None:
    """Create or clear the directory of a run, and write its configuration and vocabulary.

    If `afresh`, replace the run in it, else continue that run. If killed here, the run is
    unfinished. Raises `UserError` if the directory cannot be written, or something that no run
    wrote would be replaced.
    """
    # What a run writes at its end.
    last = rf"{RESULT}|{PARAMS}({UNFINISHED})?" + (f"|{_SEED}" if config.training.seeds > 1 else "")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        # First the result, without which a run has not ended; never config.toml, a run's mark.
        replaced = [
            path
            for path in sorted(workdir.iterdir(), key=lambda path: path.name != RESULT)
            if (afresh and not _is_own_teacher(path, config))
            or is_temporary(path, _FILES)
            or re.fullmatch(last, path.name)
        ]
        for path in replaced:
            _refuse_foreign(path)
        for path in replaced:
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != CONFIG:
                path.unlink()
        write_atomically(workdir / CONFIG, dump_config(config).encode())
        vocabulary.save(workdir / vocabulary.FILE)
    except OSError as error:
        raise UserError(f"cannot write the run to {workdir}: {error.strerror}") from error


def _is_own_teacher(path: Path, config: Config) -> bool:
    own = bool(config.self_training.unlabelled) and config.self_training.teacher is None
    return own and path.name == TEACHER and is_directory(path)


def _refuse_foreign(entry: Path) -> None:
    """Raise `UserError` if no run wrote this entry of a run directory, or something in it."""
    for path in itertools.chain([entry], entry.rglob("*")):
        name = path.relative_to(entry.parent).as_posix() + "/" * path.is_dir()
        ours = _OURS.fullmatch(name) or is_temporary(path, _FILES)
        # Runs write no links: a link may lead to something that others use too.
        if path.is_symlink() or not ours or (path.name == CONFIG and not has_config(path.parent)):
            what = "is a link" if path.is_symlink() else "is not part of a run"
            raise UserError(
                f"{path} {what}, and would be lost with the run that is replaced; move it "
                "elsewhere, or choose another --workdir"
            )
