"""Checkpoints on disk, whole or not at all. The only module that knows Orbax."""

import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from imdb_jax.errors import UserError
from imdb_jax.files import is_directory
from imdb_jax.parallel.exchange import is_first, num_processes, wait_for_all
from imdb_jax.runs.manifest import (
    CHECKSUMS,
    MANIFEST,
    Damaged,
    files_in,
    verify,
    verify_checksums,
    write_manifest,
)
from imdb_jax.training.history import Position
from imdb_jax.training.step import named_leaves

# What Orbax calls a checkpoint until it is written, before and after it dropped the time.
_TEMPORARY = ".orbax-checkpoint-tmp"
UNFINISHED = rf"{re.escape(_TEMPORARY)}(-[0-9]+)?"
POSITION = r"(0|[1-9][0-9]*)-(0|[1-9][0-9]*)"


def save_params(path: Path, params: Any, notes: dict[str, Any] | None = None) -> None:
    """Write a tree of arrays, and JSON values, to a new directory, and last of all its manifest.

    Every process must call this function, with a path that all see; each writes its own slices.
    Raises `UserError` if `path` exists or cannot be written.
    """
    path = path.absolute()
    if os.path.lexists(path):
        raise UserError(f"{path} already exists; move it elsewhere, then continue with --resume")
    try:
        path.parent.mkdir(exist_ok=True)
        with _orbax() as (checkpointer, args):
            # Arrays of the host, if it has them whole, can be read by plain Orbax on any devices.
            tree = jax.device_get(params) if num_processes() == 1 else params
            checkpointer.save(path, args=args.StandardSave(tree), custom_metadata=notes)
        if is_first():
            write_manifest(path, files_in(path))
        wait_for_all(path.name)
    except Exception as error:  # Orbax and TensorStore raise many kinds
        if is_first():
            with suppress(OSError):
                discard(path)
        raise UserError(f"the checkpoint {path} cannot be written: {_reason(error)}") from error


def load_params(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Verify and read a tree of NumPy arrays, and the notes saved with it by `save_params`.

    Raises `Damaged` if the directory is missing or damaged, `UserError` if its structure, shapes
    and dtypes are not those of the arrays or `jax.ShapeDtypeStruct`s `like`.
    """
    if not path.is_dir():
        raise Damaged(f"there is no checkpoint at {path}")
    if os.path.lexists(path / CHECKSUMS) and not os.path.lexists(path / MANIFEST):
        verify_checksums(path)
    else:
        verify(path, needed=["_METADATA"])
    return read_params(path, like)


def read_params(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Do what `load_params` does, but of a directory that has been verified already."""
    path = path.absolute()
    try:
        with _orbax() as (checkpointer, args):
            metadata = checkpointer.metadata(path)
            stored, wanted = _layout(metadata.item_metadata.tree), _layout(like)
            for name in [*wanted, *stored]:
                if stored.get(name) != wanted.get(name):
                    raise UserError(
                        f"the checkpoint {path} belongs to another model: its {name} is "
                        f"{stored.get(name, 'absent')}, and not {wanted.get(name, 'absent')}"
                    )
            # To the host, because the checkpoint may come from other devices.
            on_host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
            arrays = checkpointer.restore(path, args=args.StandardRestore(on_host))
            return arrays, metadata.custom_metadata
    except UserError:
        raise
    except Exception as error:  # Orbax and TensorStore raise many kinds
        raise Damaged(f"the checkpoint {path} is damaged: {_reason(error)}") from error


@contextmanager
def _orbax() -> Iterator[tuple[Any, Any]]:
    """Yield a checkpointer of Orbax that fails in silence, and Orbax' classes of arguments.

    The checkpointer is the synchronous one: if a directory cannot be created, the threads of the
    asynchronous one wait for it for many minutes, and keep the process from ending.
    """
    import orbax.checkpoint as ocp

    # Orbax logs the traceback of an exception in each thread that the exception passes through.
    logger, silence = logging.getLogger("absl"), lambda record: False
    logger.addFilter(silence)
    # When a write fails, TensorStore's other writes find that the event loop has gone. They may
    # take longer than the context, so the hook stays if it fails.
    hook = sys.unraisablehook

    def without_orphans(unraisable: Any) -> None:
        if unraisable.object is not None or str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = without_orphans
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            yield checkpointer, ocp.args
        sys.unraisablehook = hook
    finally:
        logger.removeFilter(silence)


def discard(path: Path) -> None:
    """Remove a checkpoint, but no file or link, and unfinished attempts to write it."""
    if is_directory(path):
        # Renaming is atomic: a half-removed checkpoint never passes for a whole one.
        path.rename(path.with_name(f"{path.name}{_TEMPORARY}-{time.time_ns()}"))
    _remove_unfinished(path.parent, re.escape(path.name))


def _remove_unfinished(directory: Path, name: str) -> None:
    """Remove the unfinished checkpoints in a directory whose names match a pattern."""
    for path in directory.glob(f"*{_TEMPORARY}*"):
        if is_directory(path) and re.fullmatch(name + UNFINISHED, path.name):
            shutil.rmtree(path)


class Checkpoints:
    """A run's checkpoints, written while it continues; leaving the context waits for the last."""

    def __init__(self, directory: Path, keep: int) -> None:
        """Keep the latest `keep` checkpoints in `directory`."""
        self.directory, self.keep = directory, keep
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._writer.shutdown()
        if error is None:
            self.wait()

    def save(
        self, position: Position, arrays: Any, notes: dict[str, Any], best: Position | None
    ) -> None:
        """Start to write a checkpoint, later than all others, once the previous one is written.

        Every process must call this method; with several, it returns once all is written. Until
        then the arrays must not change. The checkpoint `best` is kept, too. Raises `UserError` if
        the previous checkpoint could not be written; earlier ones are intact.
        """

        def write() -> None:
            save_params(self._path(position), arrays, notes)
            if is_first():
                for old in self.positions()[: -self.keep]:
                    if old != best:
                        discard(self._path(old))

        self.wait()
        self._writing = self._writer.submit(write)
        if num_processes() > 1:
            # The arrays are not copied, and writing them must not mix with training steps.
            self.wait()

    def wait(self) -> None:
        """Wait for the checkpoint that is being written. Raises as `save` does."""
        if self._writing:
            self._writing.result()

    def load(self, position: Position, like: Any) -> tuple[Any, dict[str, Any]]:
        """Read the arrays and notes of a checkpoint; see `load_params`."""
        return load_params(self._path(position), like)

    def latest(self, like: Any, report: Callable[[str], None]) -> tuple[Any, dict[str, Any]] | None:
        """Read the latest whole checkpoint, if any, and remove and report all later ones."""
        if is_first():
            _remove_unfinished(self.directory, POSITION)
        for position in reversed(self.positions()):
            path = self._path(position)
            try:
                latest = self.load(position, like)
                if not os.path.lexists(path / MANIFEST):
                    report(f"{path} was written in format 1, and cannot be verified in full")
                return latest
            except Damaged as error:
                report(f"{error}; using the checkpoint before it")
                if is_first():
                    discard(path)
        return None

    def positions(self) -> list[Position]:
        """Return the positions of all checkpoints, damaged ones included, in order."""
        directories = filter(is_directory, self.directory.glob("*-*"))
        matches = (re.fullmatch(POSITION, path.name) for path in directories)
        return sorted(Position(int(match[1]), int(match[2])) for match in matches if match)

    def _path(self, position: Position) -> Path:
        return self.directory / f"{position.epochs}-{position.steps}"


def _layout(tree: Any) -> dict[str, str]:
    return {name: f"{leaf.dtype}{[*leaf.shape]}" for name, leaf in named_leaves(tree).items()}


def _reason(error: Exception) -> str:
    """Return what was wrong in a few words; TensorStore tells all that it was about to do."""
    if code := re.search(r"\[os_error_code='([0-9]+)'\]", str(error)):
        return os.strerror(int(code[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return [*str(error).strip().splitlines(), type(error).__name__][0]
