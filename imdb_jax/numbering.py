"""Numbering the words of many texts on all cores, in the order of the texts.

The first 64 MB are numbered in this process: it takes a second and a half, and so little text is
numbered no sooner where processes have to start first. Then each core gets one that imports NumPy
and `word_counts`: nothing of JAX, and nothing of the program that is running, which therefore needs
no guard. Blocks of texts go to its standard input, numbers come from its standard output. Where no
process can be had, or one ends, this one does the work.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from imdb_jax.word_counts import KnownWords, NumberedTexts, WordCounts, blocks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BYTES_HERE = 1 << 26
# Modules are found where they are found here, whatever made it so.
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[1:]; from imdb_jax import numbering; numbering.serve()"
)


def num_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Numbering:
    """Numbers texts block by block. To be used in a `with`, at whose end its processes end."""

    def __init__(self, counts: WordCounts, num_processes: int | None = None) -> None:
        """Starts nothing yet.

        Args:
          counts: holds the words counted so far. Whoever counts the words of each block in it
            before asking for the next makes their numbering fast.
          num_processes: how many to start when there is much text; by default as many as cores,
            and none for a single one.
        """
        self._counts = counts
        self._known = KnownWords()
        self._bytes_seen = 0
        if num_processes is None:
            num_processes = num_cores() if num_cores() > 1 else 0
        self._num_processes = num_processes
        self._started = False
        self._processes: list[_Process] = []
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(max(1, num_processes))  # each waits for a process
        self._words: list[bytes] = []  # those that the processes are to know

    def __enter__(self) -> Numbering:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.close()

    def number(self, texts: Iterable[bytes]) -> Iterator[NumberedTexts]:
        """Numbers texts some at a time, in their order.

        Args:
          texts: what `encoding.normalized` gives: words, spaces between them, no line feeds.
        """
        for block, future in self._ahead(blocks_of(texts)):
            numbered = future and future.result()
            yield numbered or self._known.number(block)
            if future is None:
                self._known.keep_up_with(self._counts)
            elif len(self._counts) > 2 * len(self._words):
                self._words = self._counts.words

    def _ahead(
        self, blocks: Iterable[list[bytes]]
    ) -> Iterator[tuple[list[bytes], Future[NumberedTexts | None] | None]]:
        """The blocks; those that come next are being numbered, once there are processes."""
        pending: deque[tuple[list[bytes], Future[NumberedTexts | None]]] = deque()
        for block in blocks:
            self._bytes_seen += sum(map(len, block))
            if self._bytes_seen > _BYTES_HERE and not self._started:
                self._start()
            if self._idle.empty() and not pending:
                yield block, None
            else:
                pending.append((block, self._threads.submit(self._number_elsewhere, block)))
                if len(pending) > 2 * self._num_processes:
                    yield pending.popleft()
        yield from pending

    def _start(self) -> None:
        """Starts processes, and does not wait for them."""
        self._started, self._words = True, self._counts.words
        for _ in range(self._num_processes):
            try:
                process = _Process()
            except OSError:
                return
            self._processes.append(process)
            self._threads.submit(self._welcome, process)

    def _welcome(self, process: _Process) -> None:
        if process.is_ready():
            self._idle.put(process)

    def _number_elsewhere(self, block: list[bytes]) -> NumberedTexts | None:
        """Numbers texts in a process; None if that fails."""
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            return None
        if numbered := process.number(block, self._words):
            self._idle.put(process)
        return numbered


class _Process:
    """A process that numbers texts."""

    def __init__(self) -> None:
        """Starts it. Raises OSError if the system refuses."""
        command = [sys.executable, "-c", _PROGRAM, *map(str, sys.path)]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        self._popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere)
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._to, self._from = self._popen.stdin, self._popen.stdout
        self._num_known = 0

    def is_ready(self) -> bool:
        """Waits until it can number texts; False if it never will."""
        return self._from.read(1) != b""

    def number(self, texts: Sequence[bytes], words: Sequence[bytes]) -> NumberedTexts | None:
        """Has it number texts.

        Args:
          texts: one or more.
          words: what it is to know; the first of them it knows.

        Returns:
          The numbers; None if it has failed, and is of no use any more.
        """
        try:
            _send(self._to, _join(words[self._num_known :]))
            _send(self._to, _join(texts))
            self._to.flush()
            self._num_known = len(words)
            numbers, lengths = (_receive(self._from, dtype) for dtype in (np.int32, np.int64))
            new_words = _split(_receive(self._from, np.uint8))
            return NumberedTexts(numbers, lengths, self._num_known, new_words)
        except (OSError, EOFError):
            return None

    def kill(self) -> None:
        """Has it end, whatever it does."""
        self._popen.kill()

    def close(self) -> None:
        """Waits for the end. Nobody may be waiting for numbers."""
        self._popen.communicate()


def serve() -> None:
    """What such a process does, until its standard input ends."""
    known = KnownWords()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    try:
        sink.write(b"!")
        sink.flush()
        while True:
            if words := _split(_receive(source, np.uint8)):
                known.learn(words)
            numbered = known.number(_split(_receive(source, np.uint8)))
            for part in (numbered.numbers, numbered.lengths, _join(numbered.new_words)):
                _send(sink, part)
            sink.flush()
    except EOFError:
        pass


def _join(texts: Sequence[bytes]) -> NDArray[np.uint8]:
    """Each text after a line feed."""
    return np.frombuffer(b"\n".join([b"", *texts]), np.uint8)


def _split(joined: NDArray[np.uint8]) -> list[bytes]:
    return joined.tobytes().split(b"\n")[1:]


def _send(stream: IO[bytes], values: NDArray[Any]) -> None:
    stream.write(values.nbytes.to_bytes(8, "little"))
    stream.write(values.data)


def _receive(stream: IO[bytes], dtype: type[np.generic]) -> NDArray[Any]:
    """Reads what was sent. Raises EOFError if the other side is gone."""
    size = stream.read(8)
    values = stream.read(int.from_bytes(size, "little"))
    if len(size) < 8 or len(values) < int.from_bytes(size, "little"):
        raise EOFError
    return np.frombuffer(values, dtype)
