"""What all commands share: parsing into a dataclass, and errors that a person can read.

Commands import the rest after parsing, so that --help and mistaken options need not wait for JAX.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shlex
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from imdb_jax import interrupts, terminal
from imdb_jax.errors import RunExists, UserError
from imdb_jax.parallel.compilation_cache import keep_compiled_programs

T = TypeVar("T")

_LONGEST_LINE = 2000  # characters of an error, which may name a million columns


def parse(prog: str, default: T, description: str, arguments: Sequence[str]) -> T:
    """Parse options into a copy of a dataclass instance; raise `UserError` for a bad one."""
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                type(default),
                prog=prog,
                default=default,
                description=description,
                args=arguments,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        # tyro draws its box around any ValueError, which a UserError does not need.
        cause = stop.__context__
        while cause is not None:
            if isinstance(cause, UserError):
                raise cause from None
            cause = cause.__context__
        raise UserError(f"{_one_line(complaint.getvalue())}; see --help") from None


def run_paths(*arguments: str) -> list[Path]:
    """Return the run directories that arguments name: each one, or several joined by commas."""
    names = [[run] if os.path.exists(run) else run.split(",") for run in arguments]
    return [Path(name) for name in chain(*names)]


def is_run(argument: str) -> bool:
    """Return whether an argument names a run directory."""
    return os.path.isfile(os.path.join(argument, "config.toml"))


def _one_line(box: str) -> str:
    """Return the message in the box that tyro draws, and the option that it suggests.

    tyro gives errors as data to a private hook only. The message is between the box's first two
    rules: the first is the frame, or below the title where standard output is not UTF-8.
    """
    box = re.sub(r"\x1b\[[\d;]*m", "", box)  # the colors that it has on a terminal
    parts = re.split(r"(?m)^[╭│ ]*(?:─.*|--+ *)$", box)
    message = " ".join((parts[1:] or parts)[0].replace("│", " ").split())
    near = re.search(r"Perhaps you meant:[\s│]*(--[\w.-]+)", box)
    return f"{message} (did you mean {near[1]}?)" if near else message


def run_command(command: Callable[[list[str]], Any]) -> None:
    """Run a command on `sys.argv`, and print failures that people cause as one line on stderr.

    The exit status is 0, 2 for an error or 130 for Ctrl-C. Output that nobody reads, or that the
    terminal cannot show, is no error.
    """
    terminal.prepare_streams()
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
            _end(error)


def _silence_libraries() -> None:
    """Keep from standard error what libraries add to an error that they raise as well."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name in ("absl", "asyncio"):  # Orbax logs through absl
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    threading.excepthook = lambda _: None
    sys.unraisablehook = lambda _: None


def _end(error: BaseException) -> NoReturn:
    """Print the line that says why a command ends, and exit; raise errors of the program."""
    if isinstance(error, KeyboardInterrupt) or interrupts.raised():
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
    module = getattr(sys.modules["__main__"], "__spec__", None)  # of python -m
    program = ["python", "-m", module.name] if module else [Path(sys.argv[0]).name]
    return shlex.join([*program, *sys.argv[1:]])


def _fail(message: str) -> NoReturn:
    line = " ".join(terminal.printable(message).split())
    if len(line) > _LONGEST_LINE:
        line = f"{line[: _LONGEST_LINE // 2]} … {line[-_LONGEST_LINE // 2 :]}"
    print("error:", line, file=sys.stderr)
    sys.exit(2)
