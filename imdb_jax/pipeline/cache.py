"""Entries of the cache: directories of arrays that take time to compute.

An entry is named after all that determines it, its identity. Its manifest holds the identity and a
checksum of each file. All entries may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from imdb_jax.errors import UserError
from imdb_jax.files import check_file, is_directory, read_json

T = TypeVar("T")

# A checksum covers this many blocks of this many bytes: all of a file up to 256 MB. Changes between
# the blocks of a larger file are not noticed.
_BLOCK, _NUM_BLOCKS = 1 << 18, 1 << 10
_MANIFEST = "manifest.json"
_ENTRY = r".+-[0-9a-f]{16}"
# Earlier versions wrote padded reviews to files of the second kind.
_UNFINISHED = rf"\.{_ENTRY}\.[0-9a-f]{{32}}|\.[0-9a-f]{{32}}\.npy"
# A process that writes an entry changes a file more often than this, whatever machine's clock.
_ABANDONED_SECONDS = 24 * 3600


def source_digest(*modules: str) -> str:
    """Return a SHA-256 of modules, given by `__file__`; a package stands for all its modules."""
    digest = hashlib.sha256()
    for path in map(Path, modules):
        for file in sorted(path.parent.glob("*.py")) if path.stem == "__init__" else [path]:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def checksum(path: Path) -> str:
    """Return a SHA-256 of a file's size and of blocks spread evenly from its start to its end."""
    size = check_file(path)
    digest = hashlib.sha256(str(size).encode())
    step = max(_BLOCK, size // _NUM_BLOCKS)
    with path.open("rb") as file:
        for start in [*range(0, size, step), max(0, size - _BLOCK)]:
            file.seek(start)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def entry_name(name: str, identity: dict[str, Any]) -> str:
    """Return the name of an entry's directory: `name`, and a digest of all that determines it."""
    return f"{name}-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]}"


def open_entry(
    entry: Path,
    identity: dict[str, Any],
    read: Callable[[Path], T],
    on_damage: Callable[[Exception], None] = lambda error: None,
) -> T | None:
    """Return what `read` returns for an entry; None if there is no entry of this identity.

    If the entry is damaged, remove it and call `on_damage` with the error.
    """
    if not os.path.lexists(entry):  # unlike Path's methods, False if access is denied
        return None
    try:
        manifest = read_json(entry / _MANIFEST)
        files = manifest.pop("files")
        if manifest != identity:
            raise ValueError("its manifest describes something else")
        for name, expected in files.items():
            if checksum(entry / name) != expected:
                raise ValueError(f"{name} has another checksum")
        return read(entry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError) as error:
        on_damage(error)
        _remove(entry)
    return None


def write_entry(entry: Path, identity: dict[str, Any], write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary directory, then rename it; raise `OSError` if that fails."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        _remove_abandoned(entry.parent)
    unfinished = entry.parent / f".{entry.name}.{uuid.uuid4().hex}"
    unfinished.mkdir()
    try:
        write(unfinished)
        files = {path.name: checksum(path) for path in sorted(unfinished.iterdir())}
        (unfinished / _MANIFEST).write_text(json.dumps({**identity, "files": files}, indent=1))
        try:
            unfinished.rename(entry)
        except OSError:
            # Another process may have been faster; its entry is as good.
            if not (entry / _MANIFEST).is_file():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _remove(path: Path) -> None:
    """Remove a file, a directory, or a link itself, as far as possible."""
    if is_directory(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _remove_abandoned(directory: Path) -> None:
    """Remove unfinished entries of killed processes, beside entries and in them."""
    for path in directory.iterdir():
        with contextlib.suppress(OSError):
            if re.fullmatch(_ENTRY, path.name) and is_directory(path):
                _remove_abandoned(path)
            elif re.fullmatch(_UNFINISHED, path.name) and not path.is_symlink():
                changed = max(file.lstat().st_mtime for file in [path, *path.glob("*")])
                if time.time() - changed > _ABANDONED_SECONDS:
                    _remove(path)
