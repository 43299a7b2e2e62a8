"""What all commands share: how they run, and errors that a person can read.

Commands import the rest after parsing, so that --help and mistaken options need not wait for JAX.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shlex
import sys
import threading
import warnings
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from imdb_jax.config.arguments import parse as parse
from imdb_jax.console import interrupts, terminal
from imdb_jax.errors import RunExists, UserError
from imdb_jax.parallel.compilation_cache import keep_compiled_programs

_OBJECTS_BETWEEN_COLLECTIONS = 100_000  # Python's default is 700, or 2,000
_LONGEST_LINE = 2000  # characters of an error, which may name a million columns


def run_paths(*arguments: str) -> list[Path]:
    """Return the run directories that arguments name: each one, or several joined by commas."""
    names = [[run] if os.path.exists(run) else run.split(",") for run in arguments]
    return [Path(name) for name in chain(*names)]


def is_run(argument: str) -> bool:
    """Return whether an argument names a run directory."""
    return os.path.isfile(os.path.join(argument, "config.toml"))


def run_command(command: Callable[[list[str]], Any]) -> None:
    """Run a command on `sys.argv`, and print failures that people cause as one line on stderr.

    The exit status is 0, 2 for an error or 130 for Ctrl-C. Output that nobody reads, or that the
    terminal cannot show, is no error.
    """
    terminal.prepare_streams()
    # Imports make a third of a million objects that stay. Looking through all of them for garbage,
    # several times, took a sixth of the time of the imports.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    keep_compiled_programs()
    with interrupts.handled() as is_program:
        if is_program:
            _silence_libraries()
        try:
            command(sys.argv[1:])
            sys.stdout.flush()
            if interrupts.raised():
                raise KeyboardInterrupt
        except BaseException as error:
            _end(error, is_program)


def _silence_libraries() -> None:
    """Keep from standard error what libraries add to an error that they raise as well."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name in ("absl", "asyncio", "concurrent.futures"):  # Orbax logs through absl
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    threading.excepthook = lambda _: None
    sys.unraisablehook = lambda _: None


def _end(error: BaseException, is_program: bool) -> NoReturn:
    """Print the line that says why a command ends, and exit; raise errors of the program."""
    if isinstance(error, KeyboardInterrupt) or interrupts.raised():
        if is_program:
            # All is cleaned up. Python's own way out aborts the process where a thread of XLA or of
            # Orbax, which were interrupted too, calls Python at that moment.
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            interrupts.end()
        interrupts.tell()
        sys.exit(interrupts.STATUS)
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        files = [os.fsdecode(name) for name in (error.filename, error.filename2) if name]
        _fail(": ".join([reason, " and ".join(files)]) if files else reason)
    if isinstance(error, RunExists):
        _fail(error.completing(_command_line()))
    if isinstance(error, UserError | MemoryError):
        _fail(str(error) or "there is not enough memory")
    raise error


def _command_line() -> str:
    """Return the command that runs, as one types it."""
    _, program, *rest = sys.orig_argv
    # An option of Python, such as -m, or an installed script.
    typed = ["python", program] if program.startswith("-") else [Path(program).name]
    return shlex.join([*typed, *rest])


def _fail(message: str) -> NoReturn:
    line = " ".join(terminal.printable(message).split())
    if len(line) > _LONGEST_LINE:
        line = f"{line[: _LONGEST_LINE // 2]} … {line[-_LONGEST_LINE // 2 :]}"
    print("error:", line, file=sys.stderr)
    sys.exit(2)
