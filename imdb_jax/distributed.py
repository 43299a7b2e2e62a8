"""The processes of one run, on one machine or on many: how they find each other, and how they end.

JAX's distributed runtime does the work. What it lacks is an end that a person can read: where a
process disappears, it aborts the others with a trace of C++.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from imdb_jax.errors import UserError

if TYPE_CHECKING:
    from imdb_jax.config import Config

# Who was not heard of for so long has ended; within about that time all others end, too.
HEARTBEAT_SECONDS = 30
# How long the processes wait for each other at the start, and at the end.
START_SECONDS = 300

# What JAX's runtime says before it aborts the process.
_ABORTS = "JAX distributed service detected fatal errors"
ENDED = (
    "another process of this run has ended, or cannot be reached any more; continue by --resume, "
    "on those that are left if need be"
)


def in_cluster(environment: Mapping[str, str]) -> bool:
    """Whether a cluster has started this process, and others with it, in a way that JAX knows."""

    def several(name: str) -> bool:
        number = environment.get(name, "")
        return number.isdecimal() and int(number) > 1

    names = set(environment)
    return (
        # Not in a batch script that has asked for tasks, and starts none.
        (several("SLURM_NTASKS") and {"SLURM_STEP_NODELIST", "SLURM_PROCID"} <= names)
        or several("OMPI_COMM_WORLD_SIZE")
        or ("JOB_COMPLETION_INDEX" in names and find_spec("kubernetes") is not None)
        or "," in environment.get("TPU_WORKER_HOSTNAMES", "")
        or "," in environment.get("TPU_PROCESS_ADDRESSES", "")
    )


@contextmanager
def processes(config: Config) -> Iterator[None]:
    """Joins the other processes of a run, if there are any; at the end, waits for them and leaves.

    To be entered before JAX is imported. If this process fails, it ends without waiting; the others
    notice after `HEARTBEAT_SECONDS` at the latest.

    Raises:
      UserError: it cannot be found out which they are.
    """
    if not (config.coordinator or in_cluster(os.environ) or _on_cloud_tpu()):
        yield
        return
    from imdb_jax.stopping import Terminated

    # Of what JAX's runtime logs, only what is fatal. Read when JAX is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Orbax logs what it raises besides.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    listener = _Listener()
    import jax

    try:
        _join(config, listener)
        yield
    except BaseException as error:
        if isinstance(error, Terminated):  # as all processes have been
            jax.distributed.shutdown()
            raise
        # Writing a checkpoint, too, fails for want of the others, and Orbax wraps why.
        if any(map(_is_about_others, _causes(error))):
            error = UserError(ENDED)
        # Leaving in good order would mean waiting for processes that may be waiting for this one.
        atexit.register(_leave, _exit_status(error), patient=config.process_id == 0)
        raise error
    jax.distributed.shutdown()


def num_processes() -> int:
    """How many processes train together. Does not start JAX where it is one."""
    import jax

    return jax.process_count() if jax.distributed.is_initialized() else 1


def process_number() -> int:
    """Which of them this one is. Does not start JAX where it is the only one."""
    import jax

    return jax.process_index() if jax.distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is process 0, the one that speaks and writes."""
    return process_number() == 0


def wait_for_all(what: str) -> None:
    """Waits until all processes have come to the point of this name."""
    if num_processes() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(what)


@contextmanager
def one_first(what: str) -> Iterator[None]:
    """Lets process 0 do something alone, and then the others, who may find it done."""
    if not is_first():
        wait_for_all(what)
    yield
    if is_first():
        wait_for_all(what)


def all_have(value: str) -> bool:
    """Whether all processes give the same text here."""
    from jax.experimental import multihost_utils

    digest = np.frombuffer(hashlib.sha256(value.encode()).digest(), np.uint32)
    digests = multihost_utils.process_allgather(digest)
    return bool((digests == digest).all())


def all_agree(value: bool) -> bool:
    """Whether all processes say so."""
    return int(largest(not value)) == 0


def gather(data: bytes) -> list[bytes]:
    """What each process gives, in the order of the processes."""
    from jax.experimental import multihost_utils

    sizes = multihost_utils.process_allgather(np.array([len(data)], np.int32)).reshape(-1)
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    parts = multihost_utils.process_allgather(padded).reshape(len(sizes), -1)
    return [part[:size].tobytes() for part, size in zip(parts, sizes, strict=True)]


def largest(numbers: Any) -> NDArray[np.int32]:
    """The largest of the numbers that the processes give, or of each of several numbers."""
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(np.asarray(numbers, np.int32)).max(axis=0)


def _on_cloud_tpu() -> bool:
    """Whether this is one machine of a TPU, which may have several; its metadata tell which."""
    if find_spec("libtpu") is None:
        return False
    return Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists()


def _join(config: Config, listener: _Listener) -> None:
    import jax
    from jax.experimental import multihost_utils

    given: dict[str, Any] = {}
    if config.coordinator:
        given = {
            "coordinator_address": config.coordinator,
            "num_processes": config.num_processes,
            "process_id": config.process_id,
        }
        listener.last_words = (
            f"the {config.num_processes} processes of this run have not all come to "
            f"{config.coordinator} within {START_SECONDS} seconds"
        )
    try:
        jax.distributed.initialize(
            **given,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            initialization_timeout=START_SECONDS,
            shutdown_timeout_seconds=START_SECONDS,  # while process 0 writes the results
        )
    except (ValueError, RuntimeError, OSError) as error:
        if not config.coordinator and not in_cluster(os.environ):
            return  # a TPU that is one machine
        raise UserError(
            f"the processes of this run cannot be joined: {str(error).splitlines()[0]}; give "
            "--coordinator HOST:PORT, --num-processes and --process-id to each"
        ) from error
    # On CPUs they have little time for their first exchange, and as much as they like for others.
    multihost_utils.sync_global_devices("joined")
    listener.last_words = ENDED


class _Listener:
    """Reads what native code writes on standard output and error, which Python no longer shares.

    There, JAX says why it aborts the process; the one line that people are to read takes the place
    of it. All else goes on to standard error, but for what the collectives on CPUs have to say.

    Attributes:
      last_words: what the process says when JAX aborts it.
    """

    def __init__(self) -> None:
        self.last_words = ENDED
        # Aborting is put off by 6 seconds (the number of the signal), so that there is time to read
        # the reason.
        library = ctypes.CDLL(None)
        library.signal(signal.SIGABRT, library.sleep)
        reader, writer = os.pipe()
        sys.stdout, sys.stderr = (self._keep(s, writer) for s in (sys.stdout, sys.stderr))
        threading.Thread(target=self._listen, args=(reader,), daemon=True).start()

    def _keep(self, stream: TextIO, writer: int) -> TextIO:
        """Gives Python the stream of its own, and native code the writer instead."""
        stream.flush()
        own = os.dup(stream.fileno())
        os.dup2(writer, stream.fileno())
        return open(own, "w", buffering=1, encoding=stream.encoding, errors=stream.errors)

    def _listen(self, reader: int) -> None:
        with open(reader, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if _ABORTS in line:
                    print("error:", self.last_words, file=sys.stderr)
                    _leave(2)
                # Threads of gloo write at once: a line of theirs may lack its beginning.
                if "[Gloo]" not in line and "peer ranks" not in line:
                    sys.stderr.write(line)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised in consequence of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_about_others(error: BaseException) -> bool:
    """Whether an error is one of the connections between processes."""
    import jax

    words = ["Gloo", "NCCL"]
    if isinstance(error, jax.errors.JaxRuntimeError):
        words += ["onnection", "UNAVAILABLE", "DEADLINE_EXCEEDED", "arrier", "oordination"]
    return any(word in str(error) for word in words)


def _exit_status(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return {UserError: 2, KeyboardInterrupt: 130}.get(type(error), 1)


def _leave(status: int, patient: bool = False) -> None:
    """Ends the process at once: neither are other processes waited for nor Python's threads."""
    if patient:  # without process 0 the others hear of its end before they say why they ended
        time.sleep(1)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
