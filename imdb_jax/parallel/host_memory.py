"""How the C library hands out memory, a third of the time of a step on a CPU; and how much."""

import contextlib
import ctypes
import re
import sys
from pathlib import Path

from imdb_jax.errors import UserError

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def share_one_heap() -> None:
    """Make all threads take memory from one heap. Call this before JAX starts its threads.

    Other heaps hold at most 64 MB; glibc would fetch more from the system and return it each time.
    """
    _set_malloc_options({_M_ARENA_MAX: 1})


def keep_freed_memory() -> None:
    """Make glibc, if there is one, keep freed memory for the next step of training.

    XLA allocates the temporary arrays of every step anew; fetching large ones from the system each
    time causes page faults that take longer than much of the arithmetic.
    """
    _set_malloc_options({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 2**28})


def _set_malloc_options(options: dict[int, int]) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for option, value in options.items():
        mallopt(option, value)


def peak_rss_mb() -> float | None:
    """Return the most memory (MB) that this process has held at once; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def host_memory() -> int | None:
    """Return the memory (bytes) that this process may use, swap included; None where unknown."""
    sizes = dict(re.findall(r"(MemTotal|SwapTotal): +(\d+) kB", _text(Path("/proc/meminfo"))))
    if "MemTotal" not in sizes:
        return None
    memory, swap = (int(sizes.get(name, 0)) << 10 for name in ("MemTotal", "SwapTotal"))
    return min([memory, *_group_limits()]) + swap


def _group_limits() -> list[int]:
    """Return the limits of the control groups, version 1 or 2, that this process is in."""
    limits = []
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        controllers, group = line.split(":", 2)[1:]
        if controllers in ("", "memory"):
            # A container sees its own group as the root.
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            path = Path("/sys/fs/cgroup", controllers, group.lstrip("/"))
            limits += [_text(directory / name).strip() for directory in (path, *path.parents)]
    return [int(limit) for limit in limits if limit.isdigit()]


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def check_memory(what: str, needed: int, remedy: str, available: int | None = None) -> None:
    """Raise `UserError` if something needs more bytes than are available, on this host if None."""
    available = host_memory() if available is None else available
    if available is not None and needed > available:
        raise UserError(
            f"{what} needs at least {needed / 1e9:,.1f} GB of memory, but only "
            f"{available / 1e9:,.1f} GB are available; {remedy}"
        )
