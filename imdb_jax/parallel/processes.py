"""The processes of one run, on one machine or on many: how they join each other, and how they end.

JAX's distributed runtime does the work, but if a process disappears, it aborts the others.
"""

from __future__ import annotations

import atexit
import collections
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

from imdb_jax.console import interrupts, terminal
from imdb_jax.errors import Terminated, UserError
from imdb_jax.parallel.exchange import num_processes
from imdb_jax.parallel.failure import FailureWatch

if TYPE_CHECKING:
    from imdb_jax.config import Config

# A process that sends no heartbeat for this long is considered dead, and the others end, too. Only
# a machine or a network that is gone is noticed so: a process that ends closes its connections.
# Machines may stand still for some seconds, and go on.
HEARTBEAT_SECONDS = 30
# How long JAX waits: for processes that have come already, at the start, and for process 0 at the
# end, which writes the results.
_START_SECONDS, _END_SECONDS = 60, 300
# An error in a connection says little; within this time that of the process that caused it comes.
_CAUSE_SECONDS = 5

ENDED = (
    "another process of this run has ended or cannot be reached any more; continue the run with "
    "--resume, without that machine if need be"
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

    Enter it before JAX is imported. If this process fails, it ends without waiting for the others,
    and they end with a line that says why. Raises `UserError` if not all processes come in time, or
    they differ in anything that changes what they compute.
    """
    if not (config.distribution.coordinator or in_cluster(os.environ) or _on_cloud_tpu()):
        yield
        return
    # JAX's runtime, which reads this when it is imported, then logs fatal errors only.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Orbax logs every exception that it raises.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    place = _place(config)
    if place is None:
        yield
        return
    watch = _meet(config, *place)
    _drop_native_output()
    import jax

    try:
        _join(*place)
        yield
    except Terminated:  # as all processes have been
        watch.leave()
        jax.distributed.shutdown()
        raise
    except BaseException as error:
        # Writing a checkpoint fails, too, when others are missing, and Orbax wraps the reason.
        if _is_about_others(error):
            time.sleep(_CAUSE_SECONDS)
            error = UserError(ENDED)
        watch.fail(_reason(error))
        # Leaving in good order would mean waiting for processes that may be waiting for this one.
        atexit.register(_leave, _exit_status(error))
        raise error
    watch.leave()
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


# The address of process 0, the number of processes, and the number of this one.
_Place = tuple[str, int, int]


def _place(config: Config) -> _Place | None:
    """Return this process's place among the others; None if it turns out to be alone."""
    options = config.distribution
    if options.coordinator:
        return options.coordinator, options.num_processes, options.process_id
    # JAX has no public function for what its `initialize` finds out about a cluster.
    from jax._src.clusters import ClusterEnv

    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    try:
        address, number_of_all, number, _ = ClusterEnv.auto_detect_unset_distributed_params(
            address, None, None, None, None, options.join_timeout
        )
        if address is None or number_of_all is None or number is None:
            raise RuntimeError("the cluster does not say who takes part")
    except (ValueError, RuntimeError, OSError) as error:
        if not in_cluster(os.environ):
            return None  # a TPU that is one machine
        raise UserError(
            f"the processes of this run cannot be found: {str(error).splitlines()[0]}; give "
            "--coordinator HOST:PORT, --num-processes and --process-id to each"
        ) from error
    return address, number_of_all, number


def _meet(config: Config, address: str, number_of_all: int, number: int) -> FailureWatch:
    """Wait for the other processes, compare them, and begin to listen for their failures."""
    from imdb_jax.parallel import rendezvous
    from imdb_jax.parallel.agreement import characteristics

    own = characteristics(config) | {"num_processes": str(number_of_all)}
    host, _, port = address.rpartition(":")
    seconds = config.distribution.join_timeout
    if number == 0:
        listener = rendezvous.listen(int(port))
        peers = rendezvous.gather(listener, number_of_all, own, seconds)
    else:
        peers = rendezvous.meet(host.strip("[]"), int(port), number, own, seconds)
    return FailureWatch(number, peers, _end)


def _join(address: str, number_of_all: int, number: int) -> None:
    """Let JAX's runtime join processes that have met."""
    import jax
    from jax.experimental import multihost_utils

    from imdb_jax.parallel.agreement import disagreement
    from imdb_jax.parallel.devices import find_devices

    _end_aborts_with(ENDED)
    try:
        jax.distributed.initialize(
            address,
            number_of_all,
            number,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            initialization_timeout=_START_SECONDS,
            shutdown_timeout_seconds=_END_SECONDS,
        )
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(
            f"JAX cannot join the processes of this run at {address}: {str(error).splitlines()[0]}"
        ) from error
    find_devices()
    devices = collections.Counter(device.process_index for device in jax.devices())
    counts = {process: {"the number of devices": str(n)} for process, n in devices.items()}
    if problem := disagreement(counts):
        raise UserError(problem)
    # On CPUs the first exchange has a short timeout, and later ones have none.
    multihost_utils.sync_global_devices("joined")


def _drop_native_output() -> None:
    """Keep standard output for Python alone: gloo, which JAX uses on CPUs, greets on it."""
    stream = sys.stdout
    stream.flush()
    own = os.dup(stream.fileno())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    sys.stdout = terminal.outliving(os.fdopen(own, "w", buffering=1, encoding=stream.encoding))


def _end(words: str) -> None:
    """Print an error and end with status 2, from any thread."""
    # In one piece, which `print` does not write: another thread may be ending the process, too.
    sys.stderr.write(f"error: {' '.join(words.split())}\n")
    _leave(2)


def _end_aborts_with(words: str) -> None:
    """Print this error and end with status 2 when JAX aborts, in C++, beyond Python's handlers."""
    global _handler
    _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: _end(words))
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


def _reason(error: BaseException) -> str:
    """Return an error as part of a sentence."""
    if isinstance(error, UserError | OSError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _exit_status(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, UserError | OSError) else 1


def _leave(status: int) -> None:
    """End the process at once, without waiting for other processes or for Python's threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
