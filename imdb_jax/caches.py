"""Where this package keeps on disk what would take time to make again; all of it may be deleted."""

import contextlib
import os
import re
import warnings
from pathlib import Path
from typing import Any

_SETTINGS = {
    # JAX would keep only programs that took a second to compile; ours are many and small.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


# What JAX says, with the name of the program, before it compiles it again or does without a copy.
_UNREADABLE = r"Error (?:reading|writing) persistent compilation cache entry for '(\w+)'"


def cache_directory() -> Path:
    """Where caches lie: IMDB_JAX_CACHE, else `imdb_jax` in XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("IMDB_JAX_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "imdb_jax"


def keep_compiled_programs() -> None:
    """Turns on JAX's cache of compiled programs, so that only the first run of a kind compiles.

    It lies in `cache_directory() / "compiled"`. Works through the environment, so that JAX need not
    be imported for it; call it before JAX is. What the environment says already is left. Without a
    place to write, nothing is kept.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    directory = cache_directory() / "compiled"
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
    if os.access(directory, os.W_OK):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(directory)
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        _remove_damaged_programs(directory)


def _remove_damaged_programs(directory: Path) -> None:
    """Removes what JAX cannot read, instead of letting it warn of the same files in every run.

    A process that was killed while JAX wrote a program leaves half a file.
    """
    show = warnings.showwarning

    def remove_or_show(message: Warning | str, *rest: Any) -> None:
        unreadable = re.match(_UNREADABLE, str(message))
        if not unreadable:
            return show(message, *rest)
        for path in directory.glob(f"{unreadable[1]}-*"):
            with contextlib.suppress(OSError):
                path.unlink()

    warnings.showwarning = remove_or_show  # type: ignore[assignment]
