"""Manifests: the size and SHA-256 of each file in a directory, so that any change is noticed."""

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically

MANIFEST = "manifest.json"
# What checkpoints of format 1 have instead: the SHA-256 of each file, and nothing about itself.
CHECKSUMS = "checksums.json"
_FORMAT = 2
_MAX_BYTES = 1 << 24  # of a manifest; ours have a hundred bytes for each file


class Damaged(UserError):
    """A run or a checkpoint is incomplete, or not what was written."""


def write_manifest(directory: Path, names: Iterable[str]) -> None:
    """Write the manifest of these files, whose names are relative to the directory."""
    files = {}
    for name in sorted(names):
        with _open_regular(directory, name) as file:
            size = os.fstat(file.fileno()).st_size
            files[name] = {"size": size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    write_atomically(directory / MANIFEST, _render(files))


def verify(directory: Path, needed: Iterable[str]) -> None:
    """Raise `Damaged` unless the manifest and each file that it lists are as they were written.

    Files that are not listed are ignored, but the manifest must list those that are `needed`.
    """
    data, manifest = _read(directory, MANIFEST)
    number, files = manifest.get("format"), manifest.get("files")
    if type(number) is int and number > _FORMAT:
        raise Damaged(f"{directory / MANIFEST} was written by a newer version of imdb_jax")
    if not isinstance(files, dict) or data != _render(files):
        raise _damage(directory, MANIFEST, "has changed")
    for name in needed:
        if name not in files:
            raise _damage(directory, MANIFEST, f"does not list {name}")
    for name, entry in files.items():
        _compare(directory, name, entry)


def verify_checksums(directory: Path) -> None:
    """Raise `Damaged` unless all files are as the checksums of format 1 say."""
    _, checksums = _read(directory, CHECKSUMS)
    for name, sha256 in checksums.items():
        _compare(directory, name, {"sha256": sha256})
    for name in files_in(directory):
        # Orbax writes no hidden files, but desktops and network file systems do.
        hidden = PurePosixPath(name).name.startswith(".")
        if name not in checksums and name != CHECKSUMS and not hidden:
            raise _damage(directory, CHECKSUMS, f"does not list {name}")


def files_in(directory: Path, within: str = "") -> list[str]:
    """Return the names, relative to `directory`, of all files below its folder `within`."""
    files = filter(Path.is_file, (directory / within).rglob("*"))
    return sorted(path.relative_to(directory).as_posix() for path in files)


def _render(files: dict[str, Any]) -> bytes:
    """Return a manifest, with the SHA-256 of what it lists."""
    listed = {"format": _FORMAT, "files": files}
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    return (json.dumps(listed | {"digest": digest}, indent=1) + "\n").encode()


def _read(directory: Path, name: str) -> tuple[bytes, dict[str, Any]]:
    with _open_regular(directory, name) as file:
        data = file.read(_MAX_BYTES + 1)
    try:
        content = json.loads(data) if len(data) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise _damage(directory, name, "is not the file that was written")
    return data, content


def _compare(directory: Path, name: str, entry: Any) -> None:
    """Raise `Damaged` unless a file has the size, if given, and the SHA-256 of an entry."""
    with _open_regular(directory, name) as file:
        size = os.fstat(file.fileno()).st_size
        if not isinstance(entry, dict) or entry.get("size", size) != size:
            raise _damage(directory, name, "has changed")
        if hashlib.file_digest(file, "sha256").hexdigest() != entry.get("sha256"):
            raise _damage(directory, name, "has changed")


def _open_regular(directory: Path, name: str) -> BufferedReader:
    """Open a file in a directory without following links, or waiting for what is no file."""
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or {"", ".", ".."} & {*parts}:
        raise _damage(directory, MANIFEST, f"lists {name!a}, which is outside the directory")
    path = directory
    try:
        for part in parts[:-1]:
            path = path / part
            if not stat.S_ISDIR(path.lstat().st_mode):
                raise _damage(directory, name, "is not a file of this directory")
        path = path / parts[-1]
        # Looked at first, because to open a device may have effects.
        if not stat.S_ISREG(path.lstat().st_mode):
            raise _damage(directory, name, "is not a regular file")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise _damage(directory, name, "is missing") from None
    except OSError as error:
        raise _damage(directory, name, f"cannot be read: {error.strerror}") from error


def _damage(directory: Path, name: str, what: str) -> Damaged:
    return Damaged(f"{directory} is damaged: {name} {what}")
