"""Many texts, a block at a time, on all cores: in threads, as Arrow and NumPy release the GIL."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from imdb_jax.text.tokens import Text, utf8

Block = TypeVar("Block")
Result = TypeVar("Result")

# Bytes of text: enough for a block to repeat its words, few enough for several to fit in memory.
_BLOCK_BYTES = 1 << 23


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blocks_of(texts: Iterable[Text]) -> Iterator[list[bytes]]:
    """Gather texts, as valid UTF-8, into blocks; raise `TypeError` if `texts` is a single text."""
    if isinstance(texts, str | bytes):
        raise TypeError("expected several texts, such as a list, not a single text")
    block, size = [], 0
    for text in map(utf8, texts):
        block.append(text)
        size += len(text)
        if size > _BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def map_in_order(
    function: Callable[[Block], Result], blocks: Iterable[Block], ahead: int | None = None
) -> Iterator[Result]:
    """Apply a function to blocks on all cores, and yield the results in order.

    Reads `ahead` blocks beyond that of the result it yields, by default two for each core.
    """
    blocks, ahead = iter(blocks), 2 * num_cores() if ahead is None else ahead
    first = list(itertools.islice(blocks, 2))
    if len(first) < 2:  # not worth a thread
        yield from map(function, first)
        return
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(num_cores()) as threads:
        for block in itertools.chain(first, blocks):
            pending.append(threads.submit(function, block))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
