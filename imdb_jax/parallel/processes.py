"""The processes of one run, on one machine or on many: how they join each other, and how they end.

JAX's distributed runtime does the work, but if a process disappears, it aborts the others.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imdb_jax import interrupts, terminal
from imdb_jax.errors import Terminated, UserError
from imdb_jax.parallel.exchange import num_processes

if TYPE_CHECKING:
    from imdb_jax.config import Config

# A process that sends no heartbeat for this long is considered dead, and the others end, too.
HEARTBEAT_SECONDS = 30
# How long the processes wait for each other at the start, and at the end.
START_SECONDS = 300

ENDED = (
    "another process of this run has ended, or cannot be reached any more; continue by --resume, "
    "on those that are left if need be"
)


def in_cluster(environment: Mapping[str, str]) -> bool:
    """Return whether a cluster that JAX recognizes started this process and others."""

    def several(name: str) -> bool:
        number = environment.get(name, "")
        return number.isdecimal() and int(number) > 1

    names = set(environment)
    return (
        # A batch script that asked for tasks, and starts none, lacks the last two.
        (several("SLURM_NTASKS") and {"SLURM_STEP_NODELIST", "SLURM_PROCID"} <= names)
        or several("OMPI_COMM_WORLD_SIZE")
        or ("JOB_COMPLETION_INDEX" in names and find_spec("kubernetes") is not None)
        or "," in environment.get("TPU_WORKER_HOSTNAMES", "")
        or "," in environment.get("TPU_PROCESS_ADDRESSES", "")
    )


@contextmanager
def processes(config: Config) -> Iterator[None]:
    """Join the other processes of a run, if there are any; at the end, wait for them and leave.

    Enter it before JAX is imported. If this process fails, it ends without waiting; the others
    notice after `HEARTBEAT_SECONDS` at the latest. Raises `UserError` if none can be found.
    """
    if not (config.distribution.coordinator or in_cluster(os.environ) or _on_cloud_tpu()):
        yield
        return
    # JAX's runtime, which reads this when it is imported, then logs fatal errors only.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Orbax logs every exception that it raises.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    _send_native_output_to_stderr()
    import jax

    try:
        _join(config)
        yield
    except Terminated:  # as all processes have been
        jax.distributed.shutdown()
        raise
    except BaseException as error:
        # Writing a checkpoint fails, too, when others are missing, and Orbax wraps the reason.
        if _is_about_others(error):
            error = UserError(ENDED)
        # Leaving in good order would mean waiting for processes that may be waiting for this one.
        atexit.register(_leave, _exit_status(error), patient=config.distribution.process_id == 0)
        raise error
    jax.distributed.shutdown()


@contextmanager
def asked_to_end() -> Iterator[Callable[[], int]]:
    """Note SIGTERM and, in a command, Ctrl-C, and yield a function that returns which has come.

    It returns 0 if none has. Every process must call it equally often; it tells all of them in the
    same call. Only the main thread can handle signals; nothing is noted in others.
    """
    noted: list[int] = []
    if num_processes() > 1:
        from jax.experimental import multihost_utils

        def note(number: int, _: Any) -> None:
            noted.append(number)
            signal.raise_signal(signal.SIGTERM)  # which JAX tells the other processes

        calls = itertools.count(1)

        def asked() -> int:
            reached = multihost_utils.reached_preemption_sync_point(next(calls))
            return [*noted, signal.SIGTERM][0] if reached else 0

        with interrupts.noted(note):
            yield asked
    elif threading.current_thread() is not threading.main_thread():
        yield lambda: 0
    else:
        before = signal.signal(signal.SIGTERM, lambda number, _: noted.append(number))
        try:
            with interrupts.noted(lambda number, _: noted.append(number)):
                yield lambda: [*noted, 0][0]
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _on_cloud_tpu() -> bool:
    """Return whether this machine has a TPU, and there may be several; JAX asks its metadata."""
    devices = Path("/dev/accel0"), Path("/dev/vfio/0")
    return find_spec("libtpu") is not None and any(map(Path.exists, devices))


def _join(config: Config) -> None:
    import jax
    from jax.experimental import multihost_utils

    from imdb_jax.parallel.devices import find_devices

    options = config.distribution
    late = (
        f"the {options.num_processes} processes of this run have not all come to "
        f"{options.coordinator} within {START_SECONDS} seconds"
    )
    _end_aborts_with(late if options.coordinator else ENDED)
    try:
        jax.distributed.initialize(
            options.coordinator or None,
            options.num_processes or None,
            options.process_id if options.coordinator else None,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            initialization_timeout=START_SECONDS,
            shutdown_timeout_seconds=START_SECONDS,  # while process 0 writes the results
        )
    except (ValueError, RuntimeError, OSError) as error:
        if not options.coordinator and not in_cluster(os.environ):
            return  # a TPU that is one machine
        raise UserError(
            f"the processes of this run cannot be joined: {str(error).splitlines()[0]}; give "
            "--coordinator HOST:PORT, --num-processes and --process-id to each"
        ) from error
    find_devices()
    # On CPUs the first exchange has a short timeout, and later ones have none.
    multihost_utils.sync_global_devices("joined")
    _end_aborts_with(ENDED)


def _send_native_output_to_stderr() -> None:
    """Keep standard output for Python alone: gloo greets on it, which JAX uses on CPUs."""
    stream = sys.stdout
    stream.flush()
    own = os.dup(stream.fileno())
    os.dup2(sys.stderr.fileno(), stream.fileno())
    sys.stdout = terminal.outliving(os.fdopen(own, "w", buffering=1, encoding=stream.encoding))


def _end_aborts_with(words: str) -> None:
    """Print this error and end with status 2 when JAX aborts, in C++, beyond Python's handlers."""

    def end(_: int) -> None:
        print("error:", words, file=sys.stderr)
        _leave(2)

    global _handler
    _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    ctypes.CDLL(None).signal(signal.SIGABRT, _handler)


_handler: Any = None  # which C does not keep alive


def _is_about_others(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to it, is about connections between processes."""
    import jax

    if error is None:
        return False
    words = ["Gloo", "NCCL"]
    if isinstance(error, jax.errors.JaxRuntimeError):
        words += ["onnection", "UNAVAILABLE", "DEADLINE_EXCEEDED", "arrier", "oordination"]
    found = any(word in str(error) for word in words)
    return found or _is_about_others(error.__cause__ or error.__context__)


def _exit_status(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return {UserError: 2, KeyboardInterrupt: 130}.get(type(error), 1)


def _leave(status: int, patient: bool = False) -> None:
    """End the process at once, without waiting for other processes or for Python's threads."""
    if patient:  # without process 0 the others hear of its end before they say why they ended
        time.sleep(1)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
