"""What all commands share: parsing into a dataclass, and errors that a person can read.

Commands import the rest after parsing, so that --help and mistaken options need not wait for JAX.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from imdb_jax.errors import UserError
from imdb_jax.parallel.compilation_cache import keep_compiled_programs

T = TypeVar("T")


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
    parts = re.split(r"(?m)^[╭│ ]*(?:─.*|--+ *)$", box)
    message = " ".join((parts[1:] or parts)[0].replace("│", " ").split())
    near = re.search(r"Perhaps you meant:[\s│]*(--[\w.-]+)", box)
    return f"{message} (did you mean {near[1]}?)" if near else message


def run_command(command: Callable[[list[str]], Any]) -> None:
    """Run a command on `sys.argv`, and print failures that people cause as one line on stderr.

    The exit status is 0, 2 for an error or 130 for Ctrl-C. A reader that closes the pipe ends the
    command silently. A terminal that cannot show a character shows its number.
    """
    keep_compiled_programs()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        command(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        _fail(str(error))
    except BrokenPipeError:
        # Python would complain once more when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno not in _ENVIRONMENT:
            raise
        _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))


# Refusals of the machine, not errors of the program.
_ENVIRONMENT = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def _fail(message: str) -> None:
    print("error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
