"""How the C library hands out memory, which decides a third of the time of a step on a CPU."""

import ctypes

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Makes glibc keep memory that is freed, for the next step of training to use.

    XLA asks for the temporary arrays of every step anew. glibc would fetch large ones from the
    system and return them each time, and the page faults of touching them take longer than much of
    the arithmetic. Changes nothing where there is no glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 2**28)
