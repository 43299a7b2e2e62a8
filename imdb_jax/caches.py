"""Where this package keeps on disk what would take time to make again; all of it may be deleted."""

import contextlib
import os
from pathlib import Path

_SETTINGS = {
    # JAX would keep only programs that took a second to compile; ours are many and small.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def cache_directory() -> Path:
    """Where caches lie: IMDB_JAX_CACHE, else `imdb_jax` in XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("IMDB_JAX_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "imdb_jax"


def keep_compiled_programs() -> None:
    """Turns on JAX's cache of compiled programs, so that only the first run of a kind compiles.

    It lies in `cache_directory() / "compiled"`. Works through the environment, so that JAX need
    not be imported for it; call it before JAX is.
    What the environment says already is left. Without a place to write, nothing is kept.
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
