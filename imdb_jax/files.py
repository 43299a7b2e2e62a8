"""Write files whole or not at all, check what they are, and read those that people give.

A file that people give may be anything: a device, damaged, or made to exhaust the memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import stat
import tomllib
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from imdb_jax.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

# No such file of ours is nearly as large. Parsed, JSON may take fifty times as much memory, and
# TOML as much as the square of its size.
_MAX_JSON, _MAX_TOML = 1 << 22, 1 << 14
_MAX_READ = 1 << 20  # of a zip file at a time


def cache_directory() -> Path:
    """Return where caches lie: IMDB_JAX_CACHE, else `imdb_jax` in XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("IMDB_JAX_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "imdb_jax"


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to a temporary file beside `path`, then rename it to `path`.

    If that raises `OSError`, `path` is as it was, and the temporary file is gone.
    """
    temporary = _temporary(path)
    # Opened like any file, so that the kernel applies the umask, which all threads share.
    with temporary.open("xb") as out:
        try:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def check_file(path: Path, limit: int | None = None) -> int:
    """Return the size of a file, or raise `UserError` if it has more bytes than `limit`.

    Also raises `UserError` if there is none, or a directory, a device or a pipe in its place.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # a path with a zero byte
        raise UserError(f"cannot read {str(path)!r}: {error}") from error
    if stat.S_ISDIR(found.st_mode):
        raise UserError(f"{path} is a directory, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} is a device or a pipe, not a file")
    if limit is not None and found.st_size > limit:
        raise UserError(f"{path} has {found.st_size:,} bytes, more than such a file can have")
    return found.st_size


def read_file(path: Path, limit: int) -> bytes:
    """Return the content of a file; raise `UserError` as `check_file`, or if reading fails."""
    check_file(path, limit)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def read_json(path: Path, limit: int = _MAX_JSON) -> Any:
    """Read a JSON file; raise `UserError` as `read_file`, or if it is not valid JSON in UTF-8."""
    return parse(json.loads, read_file(path, limit), f"{path} is not valid JSON")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raise `UserError` as `read_file`, or if it is not valid TOML in UTF-8."""
    return parse(tomllib.loads, read_file(path, _MAX_TOML), f"{path} is not valid TOML")


def parse(parser: Callable[[str], Any], data: bytes, problem: str) -> Any:
    """Parse UTF-8, or raise `UserError` that begins with `problem`."""
    try:
        return parser(data.decode())
    except RecursionError as error:
        raise UserError(f"{problem}: it is nested too deeply") from error
    except ValueError as error:
        raise UserError(f"{problem}: {error}") from error


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}")


def is_temporary(path: Path, names: Collection[str]) -> bool:
    """Return whether a process left this file when killed in `write_atomically` of these names."""
    match = re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}", path.name)
    return match is not None and match[1] in names and is_regular(path)


def is_regular(path: Path) -> bool:
    """Return whether a path is a file, and not a link to one."""
    return path.is_file() and not path.is_symlink()


def is_directory(path: Path) -> bool:
    """Return whether a path is a directory, and not a link to one."""
    return path.is_dir() and not path.is_symlink()


def check_output(path: Path | None) -> None:
    """Raise `UserError` unless a file that an option names can be written, now rather than later.

    A file that exists stays as it is, and nothing remains of one that does not.
    """
    if path is None:
        return
    try:
        if os.path.lexists(path):
            # A device or a link, such as /dev/null or /dev/stdout, would be replaced by a file.
            if not is_regular(path):
                raise UserError(f"cannot write {path}: it exists, and is not a plain file")
            if not os.access(path, os.W_OK):
                raise UserError(f"cannot write {path}: it is write-protected")
        trial = _temporary(path)
        trial.open("xb").close()
        trial.unlink()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def write_output(path: Path, data: bytes) -> None:
    """Write a file that `check_output` has checked, or raise `UserError`."""
    try:
        write_atomically(path, data)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def write_directory(directory: Path, fill: Callable[[Path], None]) -> None:
    """Fill a directory under a temporary name, then rename it to `directory`, replacing that.

    If anything fails, `directory` stays as it was. Raises `UserError` if it cannot be written.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as beside:
            new, old = Path(beside, "new"), Path(beside, "old")
            new.mkdir()  # with the usual permissions, unlike the one around it
            fill(new)
            try:
                if directory.exists():
                    directory.rename(old)
                new.rename(directory)
            except BaseException:
                if old.exists():
                    old.rename(directory)
                raise
    except OSError as error:
        raise UserError(f"cannot write {directory}: {error.strerror or error}") from error


def save_blocks(
    path: Path, dtype: DTypeLike, blocks: Iterable[NDArray[Any]], row: tuple[int, ...] = ()
) -> None:
    """Write what `np.save` would write of blocks joined, holding one block at a time.

    Each block is an array `[rows, *row]`. Unlike a store to mapped memory, which kills the process
    if the disk is full, a write that fails raises `OSError`.
    """
    import numpy as np  # here, because commands that only show their help do not need it

    described = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header: dict[str, Any] = {"descr": described, "fortran_order": False, "shape": (0, *row)}
    total = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)
            total += len(block)
        file.seek(0)
        # As long as before: NumPy leaves room for any number.
        np.lib.format.write_array_header_1_0(file, header | {"shape": (total, *row)})


class _SmallReads(io.FileIO):
    """A file for `zipfile`, which would read a directory of any size into memory."""

    def read(self, size: int | None = -1, /) -> Any:
        data = super().read(_MAX_READ + 1 if size is None or size < 0 else min(size, _MAX_READ + 1))
        if data and len(data) > _MAX_READ:
            raise ValueError("its directory is too large")
        return data


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file whose directory fits in memory; read members in pieces of up to 1 MB."""
    check_file(path)
    with _SmallReads(path) as file, zipfile.ZipFile(file) as archive:
        yield archive


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read a NumPy archive (.npz) that `np.savez` wrote, and whose zip file has checksums.

    Raises `UserError` if it is missing or damaged, or would take more memory than its size: if it
    is compressed, or an array declares more elements than there are.
    """
    size = check_file(path)
    try:
        with open_zip(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > size:
                raise ValueError("its arrays have more bytes than the file")
            return {
                member.filename.removesuffix(".npy"): _read_array(archive, member)
                for member in members
            }
    except Exception as error:  # of many kinds, depending on which byte is wrong
        raise UserError(f"{path} is not an archive of arrays, or is damaged: {error}") from error


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    import numpy as np

    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{member.filename} has another format than 1.0")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        left = member.file_size - file.tell()
        if dtype.hasobject or math.prod(shape) * max(dtype.itemsize, 1) != left:
            raise ValueError(f"{member.filename} does not have {left:,} bytes of numbers or text")
        file.seek(0)
        return np.lib.format.read_array(file)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
