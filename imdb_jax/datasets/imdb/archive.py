"""The archive in which the reviews were published, and a safe way to read the reviews out of one.

An archive is not trusted: nothing is extracted to disk, and anything but the 100,000 reviews is
refused.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, Self

from imdb_jax.errors import UserError
from imdb_jax.files import check_file, file_digest
from imdb_jax.progress import Report, announced


class PublishedArchive(NamedTuple):
    """An archive on the web, and its size in bytes."""

    url: str
    size: int
    sha256: str
    name: str


PUBLISHED = PublishedArchive(
    "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    84_125_825,
    "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
    "aclImdb_v1.tar.gz",
)

COUNTS = {"train": 25_000, "test": 25_000, "unsupervised": 50_000}

ReviewFiles = dict[str, dict[str, bytes]]
"""Split -> path in the archive, such as `aclImdb/train/pos/0_9.txt` -> text."""

_FOLDERS = ("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg")
_REVIEW_PATH = re.compile(rf"(?:\./)?(aclImdb/(?:{'|'.join(_FOLDERS)})/\d+_\d+\.txt)")

# The longest review has 14 kB, all together 130 MB. Unpacked, the archive has 0.5 GB, and 60 other
# members, or one more for each review if macOS or tar's pax format made it. Anything larger is
# something else.
_MAX_REVIEW_BYTES, _MAX_TEXT_BYTES = 1 << 20, 1 << 28
_MAX_XZ_BYTES = 1 << 27  # in memory; `xz -9` takes half
_MAX_OTHER_MEMBERS, _MAX_UNPACKED_BYTES = 1 << 17, 1 << 30

# By the first bytes of a file. The streams of tarfile itself would not check gzip's checksum.
_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\0": lzma.open, b"BZh": bz2.open}


def read_archive(path: Path, *, verify: bool = True, report: Report = print) -> ReviewFiles:
    """Read the 100,000 reviews into memory, some 130 MB, without white space around them.

    `path` is `aclImdb_v1.tar.gz` or a directory that holds it. Without `verify`, which demands the
    published SHA-256, another tar file (gzip, xz, bzip2 or plain), an unpacked `aclImdb` directory
    or its parent will do. Raises `UserError` for anything but exactly the reviews, safe to read.
    """
    source = _find(path)
    if verify:
        _verify(source)
    reviews: ReviewFiles = {split: {} for split in COUNTS}
    files = _tree_files(source) if source.is_dir() else _tar_files(source)
    total = 0
    with announced(f"Reading {source}", sum(COUNTS.values()), report) as advance:
        for name, content in files:
            split = "unsupervised" if "/unsup/" in name else name.split("/")[1]
            if name in reviews[split]:
                raise UserError(f"{source} holds {name} twice")
            if (total := total + len(content)) > _MAX_TEXT_BYTES:
                raise UserError(f"{source} holds more text than the published reviews")
            if len(reviews[split]) == COUNTS[split]:
                raise UserError(f"{source} holds more than {COUNTS[split]:,} {split} reviews")
            reviews[split][name] = content.strip()
            advance(1)
    for split, expected in COUNTS.items():
        if (found := len(reviews[split])) != expected:
            raise UserError(f"{source} holds {found:,} {split} reviews; there must be {expected:,}")
    return reviews


def _find(path: Path) -> Path:
    """Return the tar file or `aclImdb` directory that a path leads to."""
    if not path.is_dir():
        check_file(path)
        return path
    if (path / PUBLISHED.name).is_file():
        return path / PUBLISHED.name
    for tree in (path, path / "aclImdb"):
        if (tree / "train").is_dir() and (tree / "test").is_dir():
            return tree
    suffixes = {".tar", ".tgz", ".txz", ".tbz2"}
    files = filter(Path.is_file, path.glob("aclImdb*.t*"))
    archives = sorted(file for file in files if suffixes & {*file.suffixes})
    if len(archives) != 1:
        found = ", ".join(file.name for file in archives) or "none"
        raise UserError(f"{path} must hold one aclImdb archive or directory; it holds {found}")
    return archives[0]


def _verify(source: Path) -> None:
    if source.is_dir():
        raise UserError(
            f"{source} is a directory, which has no checksum; give {PUBLISHED.name}, or accept it "
            "with --allow-unverified"
        )
    if (size := source.stat().st_size) != PUBLISHED.size:
        raise UserError(
            f"{source} is not the published archive: it has {size:,} bytes, not "
            f"{PUBLISHED.size:,}; accept it with --allow-unverified"
        )
    if (sha256 := file_digest(source)) != PUBLISHED.sha256:
        raise UserError(
            f"{source} is not the published archive: its SHA-256 is {sha256}, not "
            f"{PUBLISHED.sha256}; accept it with --allow-unverified"
        )


def _tree_files(tree: Path) -> Iterator[tuple[str, bytes]]:
    try:
        for folder in _FOLDERS:
            for entry in os.scandir(tree / folder):
                name = f"aclImdb/{folder}/{entry.name}"
                if _REVIEW_PATH.fullmatch(name) and entry.is_file():
                    _refuse_large(entry.stat().st_size, entry.path)
                    yield name, Path(entry.path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the reviews in {tree}: {error}") from error


def _tar_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with archive.open("rb") as file:
            start = file.read(1 << 10)
        if start.startswith(b"\xfd7zXZ\0"):  # whose dictionary may take gigabytes
            lzma.LZMADecompressor(memlimit=_MAX_XZ_BYTES).decompress(start, max_length=1)
        opener = next((_OPENERS[magic] for magic in _OPENERS if start.startswith(magic)), open)
        with opener(archive, "rb") as stream:
            bounded: Any = _Bounded(stream, archive)
            with tarfile.open(fileobj=bounded, mode="r|", bufsize=1 << 18, tarinfo=_Member) as tar:
                others = 0
                for member in tar:
                    # Which only random access needs.
                    tar.members.clear()  # type: ignore[attr-defined]
                    _refuse_hostile(member, archive)
                    match = _REVIEW_PATH.fullmatch(member.name)
                    if match and (content := tar.extractfile(member)):
                        _refuse_large(member.size, f"{archive}: {member.name}")
                        yield match[1], content.read()
                    elif (others := others + 1) > _MAX_OTHER_MEMBERS:
                        raise UserError(f"{archive} holds too many files that are not reviews")
            while bounded.read(1 << 18):  # to the end, where gzip, xz and bzip2 keep checksums
                pass
    except UserError:  # a ValueError that says more
        raise
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{archive} is not an intact tar archive: {error}") from error


class _Member(tarfile.TarInfo):
    """A member whose header says all: extensions are members of no interest.

    They give long names and the like, in as much memory as they ask for; no review needs them.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENSIONS:
            member.type, member.name = tarfile.REGTYPE, ""
        if member.type == tarfile.GNUTYPE_SPARSE or member.size < 0:
            raise ValueError(f"member {member.name!r} is sparse, or of negative size")
        return member


_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _Bounded:
    """A stream for tarfile that fails rather than unpack without end."""

    def __init__(self, stream: IO[bytes], archive: Path) -> None:
        self._stream, self._archive, self._left = stream, archive, _MAX_UNPACKED_BYTES

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise UserError(f"{self._archive} unpacks to more data than the published archive")
        return chunk


def _refuse_hostile(member: tarfile.TarInfo, archive: Path) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive} is not safe: member {member.name!r} points outside of it")
    if not (member.isreg() or member.isdir()):
        raise UserError(f"{archive} is not safe: member {member.name!r} is a link or a device")


def _refuse_large(size: int, what: str) -> None:
    if size > _MAX_REVIEW_BYTES:
        raise UserError(f"{what} has {size:,} bytes, more than any review")
