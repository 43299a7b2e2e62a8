"""How the processes of a run find each other before JAX's distributed runtime joins them.

That runtime aborts a process at any mistake, with a stack trace, and notices a lost process by its
silence. So process 0 first listens at the address where the runtime will; the others connect, and
say who they are and what they run. The connections stay: a process that ends closes its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from imdb_jax.errors import UserError
from imdb_jax.parallel.agreement import disagreement, numbered

_GREETING = b"imdb_jax, process 0\n"
# What is at odds is told to processes that come within this time.
_GRACE_SECONDS = 7.0
_HELLO_SECONDS = 3.0  # in which a process that has connected says who it is
_GREETING_SECONDS = 10.0  # in which process 0, which may be greeting others, answers
_PAUSE_SECONDS = 0.1  # between two attempts to connect
_LONGEST_LINE = 1 << 20
_LONGEST_WAIT = 1e6  # what every system's timers can hold
_SHORTEST_WAIT = 0.001

Characteristics = Mapping[str, str]


class Peer:
    """A connection to another process, which carries JSON objects, one a line."""

    def __init__(self, connection: socket.socket) -> None:
        """Wrap a connected socket."""
        self._socket = connection
        self._lines = connection.makefile("rb")

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._socket.close()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message if the other process is still there."""
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def receive_line(self, seconds: float | None) -> bytes:
        """Return the next line, empty at the end; raise `TimeoutError` after so many seconds."""
        self._socket.settimeout(seconds)
        try:
            return self._lines.readline(_LONGEST_LINE)
        except ConnectionError:
            return b""

    def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """Return the next message; an empty one at the end, or if there is no sense in it."""
        with contextlib.suppress(ValueError):
            message = json.loads(self.receive_line(seconds))
            return message if isinstance(message, dict) else {}
        return {}

    def is_silent(self) -> bool:
        """Return whether the connection is open, and nothing has come over it."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def wait_for_end(self, seconds: float) -> None:
        """Wait until the other process has closed the connection, or so many seconds."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            while (left := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv(1 << 12):
                    return


def listen(port: int) -> socket.socket:
    """Listen at a port of this machine, at all its addresses; raise `UserError` if it is taken."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise UserError(
            f"process 0 cannot listen on port {port}: {os.strerror(error.errno or 0)}; choose "
            "another port for --coordinator"
        ) from error


def gather(
    listener: socket.socket, num_processes: int, own: Characteristics, seconds: float
) -> dict[int, Peer]:
    """Wait, in process 0, for the others, and return connections to them by their numbers.

    Raises `UserError`, and tells the others the same, if their characteristics differ, two have the
    same number, or not all have come in time.
    """
    deadline = time.monotonic() + min(seconds, _LONGEST_WAIT)
    come: dict[int, Peer] = {}
    known = {0: own}
    doubles: dict[Peer, int] = {}

    def present() -> set[int]:
        """Return the processes that have come, and have not ended meanwhile."""
        return {number for number, peer in come.items() if peer.is_silent()}

    at_odds = False
    with listener, contextlib.suppress(TimeoutError):
        while len(come if at_odds else present()) + len(doubles) < num_processes - 1:
            listener.settimeout(max(deadline - time.monotonic(), _SHORTEST_WAIT))
            connection, _ = listener.accept()
            if (met := _welcome(connection)) is None:
                continue
            number, theirs, peer = met
            if number in come and come[number].is_silent():
                doubles[peer] = number
            else:
                if number in come:
                    come[number].close()
                come[number], known[number] = peer, theirs
            if not at_odds and (doubles or disagreement({0: own, number: theirs})):
                at_odds = True
                deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
    problem = _two_of(doubles) or disagreement(known)
    there = present()
    if not problem and (missing := num_processes - 1 - len(there)):
        numbers = (number for number in range(1, num_processes) if number not in there)
        problem = (
            f"{numbered(numbers, missing)} of {num_processes} did not connect within "
            f"{seconds} seconds; check that each of them runs and can reach --coordinator"
        )
    for peer in [*come.values(), *doubles]:
        peer.send({"problem": problem})
        if problem:
            peer.close()
    if problem:
        raise UserError(problem)
    return come


def _two_of(doubles: Mapping[Peer, int]) -> str | None:
    for number in doubles.values():
        return f"two processes of this run have --process-id {number}; give each its own"
    return None


def _welcome(connection: socket.socket) -> tuple[int, Characteristics, Peer] | None:
    """Let a process introduce itself; None if it is something else that connected."""
    peer = Peer(connection)
    with contextlib.suppress(OSError):
        connection.sendall(_GREETING)
        hello = peer.receive(_HELLO_SECONDS)
        number, theirs = hello.get("number"), hello.get("characteristics")
        if type(number) is int and number > 0 and isinstance(theirs, dict):
            return number, theirs, peer
    peer.close()
    return None


def meet(
    host: str, port: int, number: int, own: Characteristics, seconds: float
) -> dict[int, Peer]:
    """Go to process 0, in another one, wait for the rest there, and return the connection to it.

    Raises `UserError` if it cannot be found in time, or has found a reason not to begin.
    """
    place = f"{host}:{port}"
    deadline = time.monotonic() + min(seconds, _LONGEST_WAIT)
    peer, reason = None, ""
    while peer is None:
        if (left := deadline - time.monotonic()) <= 0:
            raise UserError(
                f"cannot reach process 0 at {place} within {seconds} seconds ({reason}); "
                "check that it runs and that --coordinator names its machine"
            )
        try:
            peer = _connect(host, port, left)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            time.sleep(_PAUSE_SECONDS)
    peer.send({"number": number, "characteristics": own})
    try:
        verdict = peer.receive(deadline - time.monotonic() + _GRACE_SECONDS)
    except TimeoutError:
        verdict = {"problem": f"not all processes have come to {place} within {seconds} seconds"}
    if not verdict:
        verdict = {"problem": "process 0 ended before all processes of this run had come"}
    if verdict.get("problem"):
        peer.close()
        raise UserError(str(verdict["problem"]))
    return {0: peer}


def _connect(host: str, port: int, seconds: float) -> Peer:
    """Connect to process 0; raise `OSError` to try again, `UserError` if another answers there."""
    connection = socket.create_connection((host, port), seconds)
    # Where nobody listens, the system may connect a socket to itself.
    if connection.getsockname() == connection.getpeername():
        connection.close()
        raise ConnectionRefusedError("nobody listens there")
    peer = Peer(connection)
    try:
        greeting = peer.receive_line(min(seconds, _GREETING_SECONDS))
        if not greeting:
            peer.close()
            raise ConnectionResetError("what listens there does not answer")
    except TimeoutError:
        greeting = b""
    if greeting != _GREETING:
        peer.close()
        raise UserError(
            f"another program, or a run that has started, listens at {host}:{port}; choose another "
            "port for --coordinator"
        )
    return peer
