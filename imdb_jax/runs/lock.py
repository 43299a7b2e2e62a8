"""Keep two processes from training in one directory."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from imdb_jax.errors import UserError
from imdb_jax.parallel.exchange import is_first
from imdb_jax.progress import note

LOCK = ".imdb_jax.lock"


@contextmanager
def only_run_in(workdir: Path) -> Iterator[None]:
    """Hold the lock of a run directory, which the system releases when the process ends.

    Contexts may be nested. The directory is created, and removed if it is left empty. Of several
    processes that train together, the first takes the lock. Raises `UserError` if another process
    holds the lock. If the file system has no locks, a note says so.
    """
    if not is_first():
        yield
        return
    path = workdir.absolute() / LOCK
    made = [parent for parent in path.parents if not os.path.lexists(parent)]
    lock = _acquire(path)
    try:
        yield
    finally:
        try:
            # While the lock is held, so that this removes no file that another process has locked.
            if lock and lock.lock_counter == 1:
                with suppress(OSError):  # Windows removes no open files
                    path.unlink()
        finally:
            if lock:
                lock.release()
        with suppress(OSError):
            for parent in made:
                parent.rmdir()


def _acquire(path: Path) -> Any:
    """Take the lock at a path; return None if that is impossible."""
    import filelock

    # Without the system's locks, a mere file would do in their place and outlive a killed process.
    lock = filelock.FileLock(path, is_singleton=True, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        return lock
    except filelock.Timeout:
        raise UserError(
            f"another process is training in {path.parent}; wait until it has ended, or choose "
            "another --workdir"
        ) from None
    except NotImplementedError:
        pass
    except OSError as error:
        # If nothing can be written here, that is told when something is to be.
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            return None
    with suppress(OSError):
        lock.release()
        path.unlink()
    note(f"{path.parent} is not protected from a second run: its file system has no locks")
    return None
