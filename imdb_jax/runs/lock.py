"""Keep two processes from training in one directory."""

import os
import warnings
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

    lock = filelock.FileLock(path, is_singleton=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(action="ignore"):
            lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(
            f"another process is training in {path.parent}; wait until it has ended, or choose "
            "another --workdir"
        ) from None
    except PermissionError:
        return None  # nothing can be written here, as will be told when something is to be
    except (OSError, NotImplementedError) as error:
        if path.parent.is_dir():
            note(f"{path.parent} cannot be locked against a second run ({error})")
        return None
    if isinstance(lock, filelock.SoftFileLock):
        # A file that stands for a lock would outlive a process that is killed.
        lock.release()
        note(f"{path.parent} cannot be locked against a second run: its file system has no locks")
        return None
    return lock
