"""How the C library hands out memory, a third of the time of a step on a CPU; and how much."""

import ctypes
import sys

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
