"""Files: written so that a reader never sees half of one, and checked."""

import hashlib
import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` under a temporary name beside `path`, then renames it.

    Raises:
      OSError: the directory is missing or not writable, or the disk is full; what was at `path`
        is then untouched, and the temporary file gone.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as out:
        try:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
            # A temporary file is private by default; give it the permissions of any new file.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(out.name, 0o666 & ~umask)
            os.replace(out.name, path)
        except BaseException:
            os.unlink(out.name)
            raise


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
