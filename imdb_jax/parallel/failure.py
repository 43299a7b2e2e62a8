"""How the processes of a run hear at once that one of them has failed or disappeared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from imdb_jax.parallel.rendezvous import Peer

# Process 0 hosts JAX's service, without which the others would be aborted: they leave first.
_LAST_SECONDS = 3.0
_GONE = "was killed, or crashed; continue the run with --resume, without that machine if need be"


class FailureWatch:
    """Tells the other processes that this one fails, and ends this one if another has.

    Process 0 is connected to each of the others, and tells them of one another.
    """

    def __init__(self, number: int, peers: Mapping[int, Peer], end: Callable[[str], None]) -> None:
        """Start to listen; `end` must end the process, and is called in another thread."""
        self._number, self._peers, self._end = number, peers, end
        self._ending = threading.Lock()  # held by the thread that ends the process, to its end
        self._threads = [
            threading.Thread(target=self._listen, args=(other,), daemon=True) for other in peers
        ]
        for thread in self._threads:
            thread.start()

    def fail(self, reason: str) -> None:
        """Tell the other processes why this one ends. Does not return if another one failed first.

        In process 0, wait for them to end.
        """
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()  # until `end` has ended the process
        self._tell(f"process {self._number} failed: {reason}")

    def leave(self) -> None:
        """Tell the other processes that this one has done all it had to do."""
        for peer in self._peers.values():
            peer.send({"leaves": True})

    def _listen(self, other: int) -> None:
        try:
            message = self._peers[other].receive()
        except OSError:
            return  # the network's trouble, of which JAX will judge
        if message.get("leaves"):
            return
        failed = str(message.get("failed") or f"process {other} {_GONE}")
        if self._ending.acquire(blocking=False):
            self._tell(failed)
            self._end(failed)

    def _tell(self, failed: str) -> None:
        for peer in self._peers.values():
            peer.send({"failed": failed})
        if self._number == 0:
            deadline = time.monotonic() + _LAST_SECONDS
            for peer in self._peers.values():
                peer.wait_for_end(deadline - time.monotonic())
