"""What a terminal shows: text that cannot command it, on streams that outlive their reader."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any

_ASCII = {"±": "+-", "…": "...", "│": "|", "─": "-", "━": "-", "█": "#"}


def printable(text: str) -> str:
    r"""Return a text in one line that commands no terminal.

    White space becomes a space, and any other character that is not printable its number, as \x1b.
    """
    if text.isprintable():
        return text
    return "".join(
        shown if shown.isprintable() else " " if shown.isspace() else _number(shown)
        for shown in text
    )


def prepare_streams() -> None:
    """Make standard output and error take every text, whatever becomes of them.

    What cannot be encoded becomes ASCII. What is written to a closed stream is dropped, and so is
    what is written after its reader has left. Standard error never fails.
    """
    codecs.register_error("imdb_jax.ascii", _in_ascii)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            _occupy(number)
            if number:
                nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
                setattr(sys, name, nowhere)
        elif number and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, outliving(stream, fails=name == "stdout"))


def outliving(stream: Any, fails: bool = True) -> io.TextIOWrapper:
    """Return a stream that writes to another one, for as long as that has a reader.

    It raises `OSError` once if the other one fails for another reason and `fails`.
    """
    stream.flush()
    outlet: Any = _Outlet(stream, fails)
    return io.TextIOWrapper(
        outlet if stream.write_through else io.BufferedWriter(outlet),
        encoding=stream.encoding,
        errors="imdb_jax.ascii",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def nobody_reads() -> bool:
    """Return whether the reader of standard output has left."""
    buffer = getattr(sys.stdout, "buffer", None)
    outlet = getattr(buffer, "raw", buffer)
    return isinstance(outlet, _Outlet) and outlet.left


class _Outlet(io.RawIOBase):
    """The bytes of a text stream, which are dropped once writing them has failed."""

    def __init__(self, stream: Any, fails: bool) -> None:
        self.stream, self.fails, self.left = stream, fails, False
        self.bytes = getattr(stream.buffer, "raw", stream.buffer)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.bytes.fileno()

    def isatty(self) -> bool:
        return self.bytes.isatty()

    def write(self, data: Any) -> int | None:
        if not self.left:
            try:
                return self.bytes.write(data)
            except OSError as error:
                self.left = True
                if self.fails and not isinstance(error, BrokenPipeError):
                    error.filename = "standard output"  # only there do writes fail
                    raise
        return len(data)


def _occupy(number: int) -> None:
    """Open a standard stream's number, else the next file gets it, and what libraries print."""
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # at the lowest number that is free


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    refused = error.object[error.start : error.end]
    return "".join(_ASCII.get(character) or _number(character) for character in refused), error.end


def _number(character: str) -> str:
    return ascii(character)[1:-1]
