"""Ctrl-C in a command: one line and status 130, whatever the program is doing at that moment.

Python's `KeyboardInterrupt` does not do: it shows a traceback while modules are imported, waits for
C code to return, and is lost where a library drops exceptions. Programs that import the package
keep it all the same; only the commands of the package change what Ctrl-C does.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # typing itself would take long to import
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any, NoReturn

STATUS = 128 + signal.SIGINT
_CLEANING_SECONDS = 2.0  # for cleaning up after KeyboardInterrupt, before the program is ended

_is_command = _raised = _noting = _told = False


def end_imports_quietly() -> None:
    """End the program at Ctrl-C while it imports modules, if it is a command of this package."""
    global _is_command
    # `-m imdb_jax.train` imports the package first, with -m in place of the program's path.
    program = sys.orig_argv[-len(sys.argv)] if sys.argv[:1] == ["-m"] else "".join(sys.argv[:1])
    name, *_ = os.path.basename(program).removeprefix("-m").split(".")
    _is_command = name in ("imdb_jax", "imdb-jax") or name.startswith("imdb-jax-")
    # A shell makes commands in the background ignore Ctrl-C, and so they should.
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if default and _is_command:
        signal.signal(signal.SIGINT, end)
        # The last to be called; Python then drops handlers, and its memory piece by piece.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def end(*_: Any) -> NoReturn:
    """End the program at once."""
    if not _told:
        with suppress(OSError):
            # A bar that is being drawn hides the cursor.
            os.write(2, b"\x1b[?25h" * os.isatty(2) + b"interrupted\n")
    os._exit(STATUS)


def tell() -> None:
    """Say why the program ends, which `end` then does not repeat."""
    global _told
    _told = True
    print("interrupted", file=sys.stderr, flush=True)


def raised() -> bool:
    """Return whether Ctrl-C has raised `KeyboardInterrupt`, even if it was dropped."""
    return _raised


@contextmanager
def handled() -> Iterator[bool]:
    """In a command, raise `KeyboardInterrupt` at Ctrl-C, and end the program at another.

    The program ends, too, if `KeyboardInterrupt` has not ended it after two seconds. Yields whether
    the program is a command; does nothing else in others, and in the background of a shell.
    """
    if signal.getsignal(signal.SIGINT) is not end:
        yield _is_command
        return
    import _thread
    import socket

    # Python writes the number of a signal there as soon as it comes, even during C code.
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, _raise)
    _thread.start_new_thread(_watch, (reader, writer))
    try:
        yield True
    finally:
        signal.signal(signal.SIGINT, end)


@contextmanager
def noted(note: Callable[[int, Any], object]) -> Iterator[None]:
    """In a command, call a function at the first Ctrl-C; another still ends the program."""
    global _noting
    if signal.getsignal(signal.SIGINT) is not _raise:
        yield
        return
    _noting = True
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _raise)
        _noting = False


def _raise(_: int, frame: FrameType | None) -> NoReturn:
    global _raised
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            end()  # modules in C that are interrupted while they start print, or crash
        frame = frame.f_back
    _raised = True
    signal.signal(signal.SIGINT, end)
    raise KeyboardInterrupt


def _watch(reader: socket.socket, _: socket.socket) -> None:
    """End the program when it is time to, in a thread that runs whatever the others do."""
    presses = 0
    with suppress(TimeoutError):
        while presses < 2:
            presses += signal.SIGINT in reader.recv(1)
            reader.settimeout(_CLEANING_SECONDS if presses and not _noting else None)
    end()
