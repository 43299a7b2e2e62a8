"""What the processes of one run tell each other. JAX is imported only when a function is called."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray


def num_processes() -> int:
    """Return how many processes train together; a single one does not start JAX."""
    import jax

    return jax.process_count() if jax.distributed.is_initialized() else 1


def process_number() -> int:
    """Return the number of this process, from 0; a single one does not start JAX."""
    import jax

    return jax.process_index() if jax.distributed.is_initialized() else 0


def is_first() -> bool:
    """Return whether this is process 0, the one that speaks and writes."""
    return process_number() == 0


def wait_for_all(what: str) -> None:
    """Wait until all processes have reached the point with this name."""
    if num_processes() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(what)


@contextmanager
def one_first(what: str) -> Iterator[None]:
    """Let process 0 do something alone, and then the others, which may find it done."""
    if not is_first():
        wait_for_all(what)
    yield
    if is_first():
        wait_for_all(what)


def all_have(value: str) -> bool:
    """Return whether all processes pass the same text."""
    return len(set(gather(hashlib.sha256(value.encode()).digest()))) == 1


def all_agree(value: bool) -> bool:
    """Return whether all processes pass True."""
    return int(largest(not value)) == 0


def gather(data: bytes) -> list[bytes]:
    """Return what each process passes, in the order of the processes."""
    sizes = _of_each(np.array([len(data)], np.int32)).reshape(-1)
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    parts = _of_each(padded).reshape(len(sizes), -1)
    return [part[:size].tobytes() for part, size in zip(parts, sizes, strict=True)]


def largest(numbers: Any) -> NDArray[np.int32]:
    """Return the largest of the numbers that the processes pass, or of each of several numbers."""
    return _of_each(np.asarray(numbers, np.int32)).max(axis=0)


def _of_each(array: NDArray[Any]) -> NDArray[Any]:
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(array)
