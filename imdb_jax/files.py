"""Files: written so that a reader never sees half of one, and checked."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` under a temporary name beside `path`, then rename it.

    Raises:
      OSError: the directory is missing or not writable, or the disk is full; what was at `path`
        is then untouched, and the temporary file gone.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    # A new file has the permissions of any other: the umask, which is all threads' own, is left.
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
    """Return whether `write_atomically` of a file of these names was killed and has left this."""
    match = re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}", path.name)
    return match is not None and match[1] in names and is_regular(path)


def is_regular(path: Path) -> bool:
    """Return whether there is a file, and no link to one, at a path."""
    return path.is_file() and not path.is_symlink()


def is_directory(path: Path) -> bool:
    """Return whether there is a directory, and no link to one, at a path."""
    return path.is_dir() and not path.is_symlink()


def save_blocks(path: Path, dtype: DTypeLike, blocks: Iterable[NDArray[Any]]) -> None:
    """Writes what `np.save` would write of 1-D blocks joined, keeping none of them.

    Raises:
      OSError: the disk is full, or the path cannot be written.
    """
    import numpy as np  # here, as commands that only show their help need none

    total = 0
    with path.open("wb") as file:
        _write_header(file, dtype, total)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)
            total += len(block)
        file.seek(0)
        _write_header(file, dtype, total)  # as long as before: NumPy leaves room for any number


def _write_header(file: BinaryIO, dtype: DTypeLike, total: int) -> None:
    import numpy as np

    described = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": described, "fortran_order": False, "shape": (total,)}
    np.lib.format.write_array_header_1_0(file, header)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
