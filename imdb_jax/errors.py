"""Errors that a person, not a programmer, reads, and the checks of values that raise them."""

import difflib
import importlib
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any


class UserError(ValueError):
    """Something outside the program is wrong: an argument, a file, the network.

    The message is one sentence (or two) that says what was wrong, where, and what to do. Commands
    print the message without a traceback and exit with status 2. Library callers can catch it.
    """


class RunExists(UserError):
    """A run directory is to be used that holds a run already."""

    def __init__(self, what: str, remedies: Mapping[str, str]) -> None:
        """Take what is wrong, and for each purpose the options that serve it."""
        self._what, self._remedies = what, remedies
        super().__init__(self.completing(""))

    def completing(self, command: str) -> str:
        """Return the message, with whole commands: a command line, and the options after it."""
        ways = (f"to {aim}: {f'{command} {more}'.strip()}" for aim, more in self._remedies.items())
        return "; ".join([self._what, *ways])


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> str:
    """Return a message: no `kind` is called `name`; the nearest name, and all that exist."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {shown(name)}{hint}; choose from: {', '.join(choices)}"


# An array's axis is at most this long, and a program of XLA counts its steps up to here.
LARGEST = 2**31 - 1


def check_integer(name: str, value: Any, least: int = 0, most: int = LARGEST) -> None:
    """Raise `UserError` unless a value is an integer from `least` to `most`."""
    check_type(name, value, int)
    if value < least:
        raise UserError(f"{name} must be at least {least}, not {shown(value)}")
    if value > most:
        raise UserError(f"{name} must be at most {most}, not {shown(value)}")


def check_share(name: str, value: Any) -> None:
    """Raise `UserError` unless a value is a number from 0 to below 1."""
    check_type(name, value, float)
    if not 0 <= value < 1:
        raise UserError(f"{name} must be at least 0 and below 1, not {shown(value)}")


def check_positive(name: str, value: Any) -> None:
    """Raise `UserError` unless a value is above 0 and finite, in 32 bits too."""
    check_type(name, value, float)
    if not 0 < value < math.inf:
        raise UserError(f"{name} must be positive, not {shown(value)}")
    if value > _LARGEST_FLOAT32:
        raise UserError(f"{name} must be at most {_LARGEST_FLOAT32:g}, not {shown(value)}")


_LARGEST_FLOAT32 = 3.4e38


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise `UserError` unless a value is one of the choices, which are strings."""
    check_type(name, value, str)
    if value not in (choices := tuple(choices)):
        raise UserError(unknown_name(name, value, choices))


def check_type(name: str, value: Any, kind: type) -> None:
    """Raise `UserError` unless a value has a type; an integer is a float too, True is neither."""
    accepted: type = {int: numbers.Integral, float: numbers.Real}.get(kind, kind)
    # In Python True is an int; as a number it is a mistake.
    if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
        raise UserError(f"{name} must be of type {kind.__name__}, not {shown(value)}")


def shown(value: Any) -> str:
    """Return a value as Python writes it, but not more than a line has room for."""
    try:
        text = str(value) if isinstance(value, numbers.Number) else repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."


def require(module: str, extra: str) -> Any:
    """Import a module of an optional package, or raise `UserError` that names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(
            f"{package} is not installed; install it, and what else this needs, with "
            f"pip install 'imdb_jax[{extra}]'"
        ) from error


class Terminated(Exception):
    """SIGTERM or, in a command, Ctrl-C asked the run to end, and the run ended in good order."""

    def __init__(self, message: str, status: int) -> None:
        """Take what to say, and the exit status of a command that ends so."""
        super().__init__(message)
        self.status = status
