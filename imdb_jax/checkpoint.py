"""Checkpoints on disk, whole or not at all. The only module that knows Orbax."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from imdb_jax.distributed import is_first, num_processes, wait_for_all
from imdb_jax.errors import UserError
from imdb_jax.files import file_digest, is_directory, write_atomically

# Written last: a checkpoint without it is unfinished.
_CHECKSUMS = "checksums.json"
# What Orbax calls a checkpoint until it is written, before and after it dropped the time.
_TEMPORARY = ".orbax-checkpoint-tmp"
UNFINISHED = rf"{re.escape(_TEMPORARY)}(-[0-9]+)?"
POSITION = r"(0|[1-9][0-9]*)-(0|[1-9][0-9]*)"


class DamagedCheckpoint(UserError):
    """A checkpoint is incomplete, or not what was written."""


class Position(NamedTuple):
    """Where training stands.

    Attributes:
      epochs: number of finished epochs, validation included.
      steps: number of steps taken in the next epoch.
    """

    epochs: int
    steps: int


def save_params(path: Path, params: Any, notes: dict[str, Any] | None = None) -> None:
    """Write a tree of arrays, and the checksums of its files, to a new directory.

    Every process must call this function; each writes the slices on its own devices.

    Args:
      path: the directory, which all processes see; it must not exist.
      params: the tree.
      notes: anything else to keep, as JSON values. Numbers are kept to the last bit.

    Raises:
      UserError: `path` exists or cannot be written, for example because the disk is full.
    """
    import orbax.checkpoint as ocp

    path = path.absolute()
    if os.path.lexists(path):
        raise UserError(f"{path} already exists; move it elsewhere, then continue by --resume")
    try:
        path.parent.mkdir(exist_ok=True)
        with ocp.StandardCheckpointer() as checkpointer:
            # Arrays of the host, if it has them whole, can be read by plain Orbax on any devices.
            tree = jax.device_get(params) if num_processes() == 1 else params
            checkpointer.save(path, tree, custom_metadata=notes)
        if is_first():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            digests = {file.relative_to(path).as_posix(): file_digest(file) for file in files}
            write_atomically(path / _CHECKSUMS, json.dumps(digests, indent=1).encode())
        wait_for_all(path.name)
    except Exception as error:  # Orbax and TensorStore raise many kinds
        if is_first():
            discard(path)
        raise UserError(f"the checkpoint {path} cannot be written: {_reason(error)}") from error


def load_params(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Read a tree of arrays, and the notes saved with it.

    Args:
      path: a directory that `save_params` wrote.
      like: a tree of the same structure, shapes and dtypes: arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      The tree, of NumPy arrays, and the notes.

    Raises:
      DamagedCheckpoint: the directory is missing or damaged.
      UserError: it holds other parameters.
    """
    import orbax.checkpoint as ocp

    path = path.absolute()
    if not path.is_dir():
        raise DamagedCheckpoint(f"there is no checkpoint at {path}")
    try:
        # Orbax does not notice all damage.
        for name, digest in json.loads((path / _CHECKSUMS).read_bytes()).items():
            if file_digest(path / name) != digest:
                raise DamagedCheckpoint(
                    f"the checkpoint {path} is damaged: {name} has another checksum"
                )
        with ocp.StandardCheckpointer() as checkpointer:
            metadata = checkpointer.metadata(path)
            _refuse_other_model(path, _describe(metadata.item_metadata.tree), _describe(like))
            # To the host, because the checkpoint may come from other devices.
            on_host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
            return checkpointer.restore(path, on_host), metadata.custom_metadata
    except UserError:
        raise
    except Exception as error:  # Orbax and TensorStore raise many kinds
        raise DamagedCheckpoint(
            f"the checkpoint {path} is incomplete or damaged: {_reason(error)}"
        ) from error


def discard(path: Path) -> None:
    """Remove a checkpoint, if there is one, and unfinished attempts to write it.

    A file or a link at `path` is no checkpoint, and stays.
    """
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
    """The checkpoints of a run, one directory each, written while training continues.

    A context manager: leaving it waits for the checkpoint that is being written.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        """Store the directory of the checkpoints, and how many of the latest to keep."""
        self.directory = directory
        self.keep = keep
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._writer.shutdown()
        if error is None:
            self.wait()

    def save(
        self, position: Position, arrays: Any, notes: dict[str, Any], best: Position | None
    ) -> None:
        """Start to write a checkpoint, once the previous one is written.

        Every process must call this method; of several, each returns once all is written.

        Args:
          position: where training stands; later than the position of every other checkpoint.
          arrays: a tree of arrays, which must not change before it is written.
          notes: see `save_params`.
          best: the checkpoint to keep besides the latest ones.

        Raises:
          UserError: the previous checkpoint could not be written; earlier ones are intact.
        """
        self.wait()
        self._writing = self._writer.submit(self._write, position, arrays, notes, best)
        if num_processes() > 1:
            # The arrays are not copied, and writing them must not mix with training steps.
            self.wait()

    def wait(self) -> None:
        """Wait for the checkpoint that is being written. Raises as `save` does."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def load(self, position: Position, like: Any) -> tuple[Any, dict[str, Any]]:
        """Read the arrays and notes of a checkpoint; see `load_params`."""
        return load_params(self._path(position), like)

    def latest(self, like: Any, report: Callable[[str], None]) -> tuple[Any, dict[str, Any]] | None:
        """Read the latest whole checkpoint, if any, and remove all later or unfinished ones.

        Args:
          like: see `load_params`, which also says what is returned and raised.
          report: receives a line for each damaged checkpoint.
        """
        if is_first():
            _remove_unfinished(self.directory, POSITION)
        for position in reversed(self.positions()):
            try:
                return self.load(position, like)
            except DamagedCheckpoint as error:
                report(f"{error}; it is discarded for the one before it")
                if is_first():
                    discard(self._path(position))
        return None

    def positions(self) -> list[Position]:
        """Return the positions of all checkpoints, damaged ones included, in order."""
        directories = filter(is_directory, self.directory.glob("*-*"))
        matches = (re.fullmatch(POSITION, path.name) for path in directories)
        return sorted(Position(int(match[1]), int(match[2])) for match in matches if match)

    def _write(
        self, position: Position, arrays: Any, notes: dict[str, Any], best: Position | None
    ) -> None:
        save_params(self._path(position), arrays, notes)
        if is_first():
            for old in self.positions()[: -self.keep]:
                if old != best:
                    discard(self._path(old))

    def _path(self, position: Position) -> Path:
        return self.directory / f"{position.epochs}-{position.steps}"


def _refuse_other_model(path: Path, stored: dict[str, str], wanted: dict[str, str]) -> None:
    for name in [*wanted, *stored]:
        if stored.get(name) != wanted.get(name):
            raise UserError(
                f"the checkpoint {path} is of another model: its {name} is "
                f"{stored.get(name, 'absent')}, this model's {wanted.get(name, 'absent')}"
            )


def _describe(tree: Any) -> dict[str, str]:
    """Return the dtype and shape of each leaf, by name."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _reason(error: Exception) -> str:
    return [*str(error).strip().splitlines(), type(error).__name__][0]
