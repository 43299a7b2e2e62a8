"""JAX's cache of compiled programs, so that only the first run of a kind compiles."""

import contextlib
import os
import warnings
import zlib
from pathlib import Path

from imdb_jax.files import cache_directory

_ZSTD = b"\x28\xb5\x2f\xfd"  # how Zstandard's format begins


def keep_compiled_programs() -> None:
    """Turn on JAX's cache of compiled programs, if its directory can be written.

    Call this function before JAX is imported, which reads the environment variables set here;
    those that are set already stay.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    directory = cache_directory() / "compiled"
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
    if os.access(directory, os.W_OK):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(directory)
        # JAX would keep only programs that took a second to compile; ours are many and small.
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        # Such as on a full disk, where the program is merely compiled again the next time.
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
        with contextlib.suppress(OSError):
            _remove_damaged_programs(directory)


def _remove_damaged_programs(directory: Path) -> None:
    """Remove compiled programs that cannot be decompressed, of those changed since the last call.

    JAX does not write them atomically: a killed process or a full disk leaves half a program, of
    which JAX would warn in every run without ever replacing it.
    """
    checked = directory / ".checked"
    since = checked.stat().st_mtime if checked.exists() else 0.0
    checked.touch()
    for path in directory.glob("*-cache"):
        if path.stat().st_mtime >= since and not _can_be_decompressed(path.read_bytes()):
            path.unlink()


def _can_be_decompressed(program: bytes) -> bool:
    try:
        if program.startswith(_ZSTD):  # JAX writes it where zstandard is installed
            import zstandard

            zstandard.ZstdDecompressor().decompress(program)
        else:
            zlib.decompress(program)
    except Exception:  # zstandard, where it is missing or refuses, raises errors of its own
        return False
    return True
