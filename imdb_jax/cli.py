"""What all commands share: parsing into a dataclass, and errors that a person can read."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from imdb_jax.caches import keep_compiled_programs
from imdb_jax.errors import UserError

T = TypeVar("T")


def parse(prog: str, default: T, description: str, arguments: Sequence[str]) -> T:
    """Parses command-line options into a copy of a dataclass instance.

    Raises:
      UserError: an unknown option or a bad value, in one line.
    """
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
        raise UserError(f"{_one_line(complaint.getvalue())}; see --help") from None


def join_runs(arguments: Sequence[str]) -> list[str]:
    """Joins run directories that follow one another by commas, as if they were one argument."""
    joined: list[str] = []
    for argument in arguments:
        if _is_run(argument) and joined and _is_run(joined[-1].rpartition(",")[2]):
            joined[-1] += f",{argument}"
        else:
            joined.append(argument)
    return joined


def _is_run(argument: str) -> bool:
    return os.path.isfile(os.path.join(argument, "config.toml"))


def _one_line(box: str) -> str:
    """The message within the box that tyro draws around it, and the option that it suggests.

    Rules divide what is in the box. Where standard output is not UTF-8, the box has no frame, and
    the title, else part of the frame, is the first of the parts.
    """
    framed = box.startswith("╭")
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    parts = re.split(r"\n(?:─+|-+)\n", "\n".join(filter(None, lines)))
    message = " ".join((parts[not framed :] or parts)[0].split())
    near = re.search(r"Perhaps you meant:.*?(--[\w.-]+)", " ".join(lines))
    return f"{message} (did you mean {near[1]}?)" if near else message


def run_command(command: Callable[[list[str]], Any]) -> None:
    """Runs a command on `sys.argv`, turning failures that people cause into one line on stderr.

    Exit status: 0, 2 for an error, 130 for Ctrl-C; a reader that closes the pipe ends it silently.
    """
    keep_compiled_programs()
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


# What the machine refuses, rather than what the program does wrong.
_ENVIRONMENT = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def _fail(message: str) -> None:
    print("error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
