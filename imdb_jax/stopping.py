"""When to stop a run before its time: pure functions of its history, and of a signal."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from imdb_jax.distributed import num_processes
from imdb_jax.reporting import Epoch


class Terminated(Exception):
    """The operating system asked the run to end (SIGTERM), and it did, in good order."""


def best_epoch(history: Sequence[Epoch]) -> int:
    """Number of the epoch with the lowest validation loss, the first if several have it."""
    return min(history, key=lambda row: row.val_loss).epoch


def out_of_patience(history: Sequence[Epoch], patience: int) -> bool:
    """Says whether validation has been no better for so many epochs, as Keras' `EarlyStopping`.

    Args:
      history: the epochs so far.
      patience: number of epochs; 0 is infinite patience.
    """
    return bool(patience and history) and len(history) - best_epoch(history) >= patience


@contextmanager
def sigterm_noted() -> Iterator[Callable[[], bool]]:
    """Lets SIGTERM be noted rather than end the process at once.

    Outside the main thread, which alone can handle signals, it does nothing.

    Yields:
      A function that says whether the signal has come. Of several processes, all are to call it
      equally often; it says so in the same call to all, whichever of them the signal came to.
    """
    if num_processes() > 1:
        from jax.experimental import multihost_utils

        calls = itertools.count(1)
        yield lambda: multihost_utils.reached_preemption_sync_point(next(calls))
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    noted = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: noted.set())
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
