"""The directory of a run: whether it may be used, what belongs to it, how it begins and ends."""

import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from imdb_jax.config import (
    Config,
    differences,
    dump_config,
    has_config,
    load_config,
    saved_format,
)
from imdb_jax.datasets.dataset import NEGATIVE_POSITIVE
from imdb_jax.errors import RunExists, UserError
from imdb_jax.files import is_directory, is_regular, is_temporary, write_atomically
from imdb_jax.parallel.exchange import is_first
from imdb_jax.progress import note
from imdb_jax.runs.checkpoints import POSITION, UNFINISHED
from imdb_jax.runs.lock import LOCK
from imdb_jax.runs.manifest import (
    MANIFEST,
    Damaged,
    files_in,
    verify,
    verify_checksums,
    write_manifest,
)
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.text.vocabulary import Vocabulary

CONFIG, METRICS = "config.toml", "metrics.csv"
HISTORY, PARAMS, RESULT = "history.png", "params", "result.json"
SOFT_LABELS, TEACHER = "soft_labels.npz", "teacher"  # of a run that learns from unlabelled texts
# What loading a run reads, besides its parameters.
_READ = (CONFIG, Vocabulary.FILE, NgramVocabulary.FILE, RESULT, SOFT_LABELS)
_FILES = (*_READ, METRICS, HISTORY, MANIFEST, LOCK)
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
_SEAL = "# SHA-256 of the lines above: "


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
            left = is_temporary(path, (CONFIG,)) or (path.name == LOCK and is_regular(path))
            if not _is_own_teacher(path, config) and not left:
                raise UserError(
                    f"{workdir} is not a run directory: it holds {path.name}; choose another "
                    "--workdir"
                )
        return None
    if config.run.resume:
        if os.path.lexists(checkpoints := workdir / CHECKPOINTS) and not checkpoints.is_dir():
            raise UserError(f"{checkpoints} is not a directory; move it elsewhere")
        earlier = load_config(workdir / CONFIG)
        if saved_format(workdir) != 1 and not _is_sealed((workdir / CONFIG).read_bytes()):
            raise Damaged(
                f"{workdir} is damaged: {CONFIG} has changed; replace it with --overwrite"
            )
        return earlier
    if not config.run.overwrite:
        names = (workdir.with_name(f"{workdir.name}-{number}") for number in itertools.count(2))
        free = next(path for path in names if not os.path.lexists(path))
        remedies = {"continue it": "--resume", "replace it": "--overwrite"}
        remedies["keep it"] = f"--workdir {shlex.quote(str(free))}"
        raise RunExists(f"{workdir} already holds a run", remedies)
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
            "options it was started with, choose another --workdir, or replace it with --overwrite"
        )


def has_ended(workdir: Path) -> bool:
    """Return whether the run in a directory has written the file that marks its end."""
    last = RESULT if saved_format(workdir) == 1 else MANIFEST
    return any(os.path.lexists(workdir / name) for name in (last, MANIFEST))


def verify_run(workdir: Path) -> None:
    """Raise `Damaged` unless all that loading an ended run reads is as it was written.

    Runs of format 1 keep checksums of their parameters only, as a note says.
    """
    if os.path.lexists(workdir / MANIFEST) or saved_format(workdir) != 1:
        try:
            verify(workdir, needed=[CONFIG, RESULT])
        except Damaged as error:
            raise Damaged(f"{error}; restore it from a copy, or train again") from None
        return
    for name in _READ:
        if os.path.lexists(workdir / name) and not (workdir / name).is_file():
            raise Damaged(f"{workdir} is damaged: {name} is not a file")
    if os.path.lexists(workdir / PARAMS):
        verify_checksums(workdir / PARAMS)
    if is_first():
        note(f"the run in {workdir} was written in format 1, and cannot be verified in full")


def runs_of_seeds(workdir: Path, config: Config) -> list[Path]:
    """Return the run directories of the seeds that were trained at once; none if it was one."""
    first, seeds = config.training.seed, config.training.seeds
    return [workdir / f"seed-{first + i}" for i in range(seeds)] if seeds > 1 else []


def end(workdir: Path, result: dict[str, Any]) -> None:
    """Write `result.json`, and last of all the manifest, which marks the end of a run.

    Raises `UserError` if somebody has removed the configuration meanwhile.
    """
    if not is_regular(workdir / CONFIG):
        raise UserError(
            f"{workdir / CONFIG} was removed while the run trained; restore it and continue with "
            "--resume, or train again"
        )
    write_atomically(workdir / RESULT, (json.dumps(result, indent=2) + "\n").encode())
    names = [name for name in _READ if (workdir / name).exists()]
    write_manifest(workdir, [*names, *files_in(workdir, PARAMS)])


def read_result(workdir: Path) -> dict[str, Any]:
    """Read `result.json`; raise `Damaged` unless it is an object, with names of labels if any.

    Earlier versions did not write `labels`, what the data call the two classes.
    """
    try:
        result = json.loads((workdir / RESULT).read_bytes())
        negative, positive = labels = result.get("labels", [*NEGATIVE_POSITIVE])
        if isinstance(labels, list) and negative.isprintable() and positive.isprintable():
            return result
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        pass
    raise Damaged(f"{workdir} is damaged: {RESULT} is not the file that was written")


def begin(
    workdir: Path, config: Config, vocabulary: Vocabulary | NgramVocabulary, afresh: bool
) -> None:
    """Create or clear the directory of a run, and write its configuration and vocabulary.

    If `afresh`, replace the run in it, else continue that run. If killed here, the run is
    unfinished. Raises `UserError` if the directory cannot be written, or something that no run
    wrote would be replaced.
    """
    # What a run writes at its end.
    last = rf"{MANIFEST}|{RESULT}|{HISTORY}|{PARAMS}({UNFINISHED})?"
    if config.training.seeds > 1:
        last += f"|{_SEED}"

    def order(path: Path) -> tuple[bool, bool]:
        # First the manifest, or in format 1 the result, without which a run has not ended.
        return path.name != MANIFEST, path.name != RESULT

    try:
        workdir.mkdir(parents=True, exist_ok=True)
        # Never config.toml, by which a run is known, nor the lock.
        replaced = [
            path
            for path in sorted(workdir.iterdir(), key=order)
            if (afresh and not _is_own_teacher(path, config))
            or is_temporary(path, _FILES)
            or re.fullmatch(last, path.name)
        ]
        for path in replaced:
            _refuse_foreign(path)
        for path in replaced:
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (CONFIG, LOCK):
                path.unlink()
        write_atomically(workdir / CONFIG, _sealed(dump_config(config)))
        vocabulary.save(workdir / vocabulary.FILE)
    except OSError as error:
        raise UserError(f"cannot write the run to {workdir}: {error.strerror}") from error


def _sealed(config: str) -> bytes:
    """Add the SHA-256 of a configuration, which an unfinished run has no manifest to verify by."""
    return f"{config}{_SEAL}{hashlib.sha256(config.encode()).hexdigest()}\n".encode()


def _is_sealed(data: bytes) -> bool:
    text = data.decode()
    return data == _sealed(text.rpartition(_SEAL)[0])


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
                f"{path} {what}, and --overwrite would delete it; move it elsewhere, or choose "
                "another --workdir"
            )
