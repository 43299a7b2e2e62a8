"""Write files whole or not at all, and check what they are."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from imdb_jax.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


def cache_directory() -> Path:
    """Return where caches lie: IMDB_JAX_CACHE, else `imdb_jax` in XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("IMDB_JAX_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "imdb_jax"


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to a temporary file beside `path`, then rename it to `path`.

    If that raises `OSError`, `path` is as it was, and the temporary file is gone.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
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


def write_output(path: Path, data: bytes) -> None:
    """Write a file that an option names, or raise `UserError`."""
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


def save_blocks(path: Path, dtype: DTypeLike, blocks: Iterable[NDArray[Any]]) -> None:
    """Write what `np.save` would write of 1-D blocks joined, holding one block at a time."""
    import numpy as np  # here, because commands that only show their help do not need it

    described = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header: dict[str, Any] = {"descr": described, "fortran_order": False, "shape": (0,)}
    total = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)
            total += len(block)
        file.seek(0)
        # As long as before: NumPy leaves room for any number.
        np.lib.format.write_array_header_1_0(file, header | {"shape": (total,)})


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
