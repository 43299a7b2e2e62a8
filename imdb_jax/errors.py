"""Errors that a person, not a programmer, reads."""

import difflib
import importlib
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """Something outside the program is wrong: an argument, a file, the network.

    The message is one sentence (or two) that says what was wrong, where, and what to do. Commands
    print the message without a traceback and exit with status 2. Library callers can catch it.
    """


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> str:
    """Return a message: no `kind` is called `name`; the nearest name, and all that exist."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {name!r}{hint}; there are: {', '.join(choices)}"


def require(module: str, extra: str) -> Any:
    """Import a module of an optional package, or raise `UserError` that names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(
            f"{package} is not installed; pip install {package}, or all that this feature needs: "
            f"pip install 'imdb_jax[{extra}]'"
        ) from error


class Terminated(Exception):
    """SIGTERM or, in a command, Ctrl-C asked the run to end, and the run ended in good order."""

    def __init__(self, message: str, status: int) -> None:
        """Take what to say, and the exit status of a command that ends so."""
        super().__init__(message)
        self.status = status
