"""The reviews read out of a tar archive, or out of a directory with the same files.

An archive is not trusted: it is streamed through Python's `tarfile`, nothing is ever extracted to
disk, and what is not the 100,000 reviews, no more and no less, is refused.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from imdb_jax import published
from imdb_jax.errors import UserError
from imdb_jax.progress import Report, announced

_FOLDERS = ("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg")
_REVIEW_PATH = re.compile(rf"(?:\./)?(aclImdb/(?:{'|'.join(_FOLDERS)})/\d+_\d+\.txt)")

# The longest review has 14 kB, the unpacked archive some 0.5 GB; beyond these it is not the data.
_MAX_REVIEW_BYTES = 1 << 20
_MAX_UNPACKED_BYTES = 1 << 31

Reviews = dict[str, dict[str, bytes]]  # split -> path in the archive -> text


def read_archive(archive: Path, *, verify: bool = True, report: Report = print) -> Reviews:
    """Reads the 100,000 reviews of an archive into memory, some 130 MB.

    Args:
      archive: as for `locate`.
      verify: as for `locate`.
      report: receives one line of text per step.

    Returns:
      As `read`.

    Raises:
      UserError: the archive is not what it should be.
    """
    return read(locate(archive, verify=verify), report)


def locate(path: Path, *, verify: bool) -> Path:
    """Finds what may be read.

    Args:
      path: `aclImdb_v1.tar.gz`, or a directory that holds it. Without `verify` also the same
        reviews in another tar file (gzip, xz, bzip2 or plain), or an unpacked `aclImdb` directory
        or its parent.
      verify: demand the published SHA-256, which TFDS ships, of the archive.

    Returns:
      A tar file or an `aclImdb` directory.

    Raises:
      UserError: there is none, or it has another checksum or none.
    """
    official = published.archive()
    source = _find(path, official.name)
    if verify:
        _verify(source, official)
    return source


def read(source: Path, report: Report) -> Reviews:
    """Reads all reviews of a tar file or an `aclImdb` directory.

    Returns:
      For each of the splits "train", "test" and "unsupervised": path in the archive, such as
      `aclImdb/train/pos/0_9.txt`, -> text, without the white space around it, as TFDS has it.

    Raises:
      UserError: these are not the reviews, or not safe to read.
    """
    reviews: Reviews = {split: {} for split in published.COUNTS}
    members = _tree_members(source) if source.is_dir() else _tar_members(source)
    with announced(f"Reading {source}", sum(published.COUNTS.values()), report) as advance:
        for path, text in members:
            split = "unsupervised" if "/unsup/" in path else path.split("/")[1]
            if path in reviews[split]:
                raise UserError(f"{source} holds {path} twice")
            reviews[split][path] = text.strip()
            advance(1)
    for split, expected in published.COUNTS.items():
        if len(reviews[split]) != expected:
            raise UserError(
                f"{source} holds {len(reviews[split]):,} {split} reviews where {expected:,} belong"
            )
    return reviews


def _find(path: Path, official_name: str) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"there is no file or directory {path}")
    if (path / official_name).is_file():
        return path / official_name
    for tree in (path, path / "aclImdb"):
        if (tree / "train").is_dir() and (tree / "test").is_dir():
            return tree
    archives = sorted(file for file in path.glob("aclImdb*.t*") if _is_tar_name(file))
    if len(archives) != 1:
        found = ", ".join(file.name for file in archives) or "none"
        raise UserError(f"{path} should hold one aclImdb archive or directory, it holds: {found}")
    return archives[0]


def _is_tar_name(file: Path) -> bool:
    return file.is_file() and (".tar" in file.suffixes or file.suffix in {".tgz", ".txz", ".tbz2"})


def _verify(source: Path, official: published.Archive) -> None:
    if source.is_dir():
        raise UserError(
            f"{source} is a directory, which has no checksum; give {official.name}, or pass "
            "--allow-unverified to accept it as it is"
        )
    sha256 = published.checksum(source)
    if sha256 != official.sha256:
        raise UserError(
            f"{source} is not the published archive: its SHA-256 is {sha256}, expected "
            f"{official.sha256}; pass --allow-unverified to accept it all the same"
        )


def _tree_members(tree: Path) -> Iterator[tuple[str, bytes]]:
    try:
        for folder in _FOLDERS:
            for entry in os.scandir(tree / folder):
                match = _REVIEW_PATH.fullmatch(f"aclImdb/{folder}/{entry.name}")
                if match and entry.is_file():
                    _refuse_large(entry.stat().st_size, Path(entry.path))
                    yield match[1], Path(entry.path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the reviews in {tree}: {error}") from error


def _tar_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with _decompressed(archive) as stream:
            bounded: Any = _Bounded(stream, _MAX_UNPACKED_BYTES, archive)
            with tarfile.open(fileobj=bounded, mode="r|", bufsize=1 << 18) as tar:
                for member in tar:
                    _refuse_hostile(member, archive)
                    match = _REVIEW_PATH.fullmatch(member.name)
                    content = tar.extractfile(member) if match else None
                    if match and content:
                        _refuse_large(member.size, f"{archive}: {member.name}")
                        yield match[1], content.read()
            while bounded.read(1 << 18):  # to the end, where gzip, xz and bzip2 keep checksums
                pass
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{archive} is not an intact tar archive: {error}") from error


def _decompressed(archive: Path) -> IO[bytes]:
    """Opens an archive for reading; tarfile's own streams would not check gzip's checksum."""
    openers: dict[bytes, Callable[[Path], Any]] = {
        b"\x1f\x8b": gzip.open,
        b"\xfd7zXZ\0": lzma.open,
        b"BZh": bz2.open,
    }
    with archive.open("rb") as file:
        start = file.read(8)
    for magic, opener in openers.items():
        if start.startswith(magic):
            stream: IO[bytes] = opener(archive)
            return stream
    return archive.open("rb")


class _Bounded:
    """A stream for tarfile that ends in an error rather than unpack without end."""

    def __init__(self, stream: IO[bytes], limit: int, archive: Path) -> None:
        self._stream, self._left, self._archive = stream, limit, archive

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise UserError(f"{self._archive} unpacks to more than any archive of the reviews")
        return chunk


def _refuse_hostile(member: tarfile.TarInfo, archive: Path) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive} is not trusted: member {member.name!r} points outside of it")
    if not (member.isreg() or member.isdir()):
        raise UserError(f"{archive} is not trusted: member {member.name!r} is a link or a device")


def _refuse_large(size: int, what: object) -> None:
    if size > _MAX_REVIEW_BYTES:
        raise UserError(f"{what} has {size:,} bytes, more than any review")
