"""Checkpoints on disk, whole or not at all: the only module that knows Orbax."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np

from imdb_jax.errors import UserError
from imdb_jax.exchange import is_first, num_processes, wait_for_all
from imdb_jax.files import file_digest, write_atomically
from imdb_jax.history import Position

# Written last: a checkpoint without it was never finished.
_CHECKSUMS = "checksums.json"


class DamagedCheckpoint(UserError):
    """A checkpoint is incomplete, or not what was written."""


def save_params(path: Path, params: Any, notes: dict[str, Any] | None = None) -> None:
    """Writes a tree of arrays, and the checksums of its files, to a new directory.

    Of several processes, all are to call it; each writes the slices that lie on its devices.

    Args:
      path: the directory, which all processes see; it must not exist.
      params: the tree.
      notes: what else there is to say, as JSON knows it. Numbers are kept to the last bit.

    Raises:
      ValueError: there is something at `path` already.
      UserError: it cannot be written, as when the disk is full.
    """
    import orbax.checkpoint as ocp

    path = path.absolute()
    if path.exists():
        raise ValueError(f"{path} already exists")
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            # From the host if it has it all, so that plain Orbax reads it on any devices.
            tree = jax.device_get(params) if num_processes() == 1 else params
            checkpointer.save(path, tree, custom_metadata=notes)
        if is_first():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            digests = {file.relative_to(path).as_posix(): file_digest(file) for file in files}
            write_atomically(path / _CHECKSUMS, json.dumps(digests, indent=1).encode())
        wait_for_all(path.name)
    # Orbax and TensorStore raise a different kind for each way in which writing can fail.
    except Exception as error:
        if is_first():
            discard(path)
        raise UserError(f"the checkpoint {path} cannot be written: {_reason(error)}") from error


def discard(path: Path) -> None:
    """Removes a checkpoint, if it is there, and what unfinished attempts to write it have left."""
    for unfinished in path.parent.glob(f"{path.name}.orbax-checkpoint-tmp*"):
        shutil.rmtree(unfinished)
    # First, so that nobody takes what is left for a whole checkpoint.
    (path / _CHECKSUMS).unlink(missing_ok=True)
    if path.exists():
        shutil.rmtree(path)


def load_params(path: Path, like: Any) -> Any:
    """Reads a tree of arrays.

    Args:
      path: directory that `save_params` wrote.
      like: a tree of the same structure, shapes and dtypes: arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      The tree, of NumPy arrays.

    Raises:
      DamagedCheckpoint: the directory is missing or damaged.
      UserError: it holds other parameters.
    """
    return load_with_notes(path, like)[0]


def load_with_notes(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Reads a tree of arrays, as `load_params` does, and the notes it was saved with."""
    import orbax.checkpoint as ocp

    path = path.absolute()
    if not path.is_dir():
        raise DamagedCheckpoint(f"there is no checkpoint at {path}")
    _verify(path)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            metadata = checkpointer.metadata(path)
            _refuse_other_model(path, _describe(metadata.item_metadata.tree), _describe(like))
            # To the host: the devices may be others than those that it was saved from.
            on_host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
            return checkpointer.restore(path, on_host), metadata.custom_metadata
    except UserError:
        raise
    # Orbax and TensorStore raise a different kind for each way in which a file can be wrong.
    except Exception as error:
        raise DamagedCheckpoint(
            f"the checkpoint {path} cannot be read: {_reason(error)}"
        ) from error


class Checkpoints:
    """The checkpoints of a run, one directory each, written while training goes on.

    A context manager: leaving it waits for the checkpoint that is being written.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        """Names the directory that holds them, and how many of the latest to keep."""
        self.directory = directory
        self.keep = keep
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._writer.shutdown()
        if error is None:
            self.wait()

    def save(
        self, position: Position, arrays: Any, notes: dict[str, Any], best: Position | None
    ) -> None:
        """Starts to write a checkpoint, once the one before is written.

        Of several processes, all are to call it; they wait until it is written.

        Args:
          position: where training stands; later than that of every checkpoint there is.
          arrays: a tree of arrays, which must not change before it is written.
          notes: what else there is to say, as JSON knows it.
          best: the checkpoint to keep besides the latest ones.

        Raises:
          UserError: the one before could not be written; those before that are as they were.
        """
        self.wait()
        self._writing = self._writer.submit(self._write, position, arrays, notes, best)
        if num_processes() > 1:
            # The arrays are not copied, and writing them must not mix with steps of training.
            self.wait()

    def wait(self) -> None:
        """Waits for the checkpoint that is being written. Raises as `save` does."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def load(self, position: Position, like: Any) -> tuple[Any, dict[str, Any]]:
        """Reads a checkpoint's arrays and notes; see `load_params`."""
        return load_with_notes(self._path(position), like)

    def latest(self, like: Any, report: Callable[[str], None]) -> tuple[Any, dict[str, Any]] | None:
        """Reads the latest checkpoint that is whole, and removes what is later or unfinished.

        Args:
          like: see `load_params`.
          report: told of each checkpoint that is damaged.

        Returns:
          Its arrays and notes; None if there is none.

        Raises:
          UserError: it is of another model.
        """
        if is_first():
            for unfinished in self.directory.glob("*.*"):
                shutil.rmtree(unfinished)
        for position in reversed(self.positions()):
            try:
                return self.load(position, like)
            except DamagedCheckpoint as error:
                report(f"{error}; it is discarded for the one before it")
                if is_first():
                    discard(self._path(position))
        return None

    def positions(self) -> list[Position]:
        """The positions of the checkpoints, damaged ones included, in their order."""
        names = [path.name for path in self.directory.glob("*")]
        matches = [match for name in names if (match := re.fullmatch(r"(\d+)-(\d+)", name))]
        return sorted(Position(int(match[1]), int(match[2])) for match in matches)

    def _write(
        self, position: Position, arrays: Any, notes: dict[str, Any], best: Position | None
    ) -> None:
        self.directory.mkdir(exist_ok=True)
        save_params(self._path(position), arrays, notes)
        if is_first():
            for old in self.positions()[: -self.keep]:
                if old != best:
                    discard(self._path(old))

    def _path(self, position: Position) -> Path:
        return self.directory / f"{position.epochs}-{position.steps}"


def _verify(path: Path) -> None:
    """Compares all files with their checksums, since Orbax notices some damage at great length."""
    try:
        digests = json.loads((path / _CHECKSUMS).read_bytes())
        changed = [name for name in digests if file_digest(path / name) != digests[name]]
    except (OSError, ValueError, TypeError) as error:
        raise DamagedCheckpoint(
            f"the checkpoint {path} is incomplete or damaged: {error}"
        ) from error
    if changed:
        raise DamagedCheckpoint(
            f"the checkpoint {path} is damaged: {changed[0]} has another checksum"
        )


def _refuse_other_model(path: Path, stored: dict[str, str], wanted: dict[str, str]) -> None:
    for name in [*wanted, *stored]:
        if stored.get(name) != wanted.get(name):
            raise UserError(
                f"the checkpoint {path} is of another model: its {name} is "
                f"{stored.get(name, 'absent')}, this model's {wanted.get(name, 'absent')}"
            )


def _describe(tree: Any) -> dict[str, str]:
    """Name of each leaf -> its dtype and shape."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _reason(error: Exception) -> str:
    return [*str(error).strip().splitlines(), type(error).__name__][0]
