"""What the campaigns of `torture.py` share: trials, commands as child processes, small data."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from imdb_jax.datasets.synthetic import synthetic_reviews

# A command that takes longer hangs: the longest trial takes some 20 seconds on two busy cores.
HANGS_AFTER = 120.0
# What a person must never see.
_NOISE = ("Traceback", "Exception ignored", 'File "', "Event loop", "Fatal Python error")


class Trial(NamedTuple):
    """One attempt: what was done, what went wrong ('' if nothing), and how many it counts for."""

    what: str
    fault: str
    tried: int = 1


class Ended(NamedTuple):
    """How a command ended. The status of a process that a signal ended is negative."""

    status: int
    output: str
    errors: str
    seconds: float
    peak_mb: float  # of resident memory

    def fault(self, *statuses: int, within_mb: float = 2000.0) -> str:
        """Return what is wrong with it; a status of 2 must come with one line that says why."""
        noise = next((words for words in _NOISE if words in self.output + self.errors), None)
        complaints = [line for line in self.errors.splitlines() if line.startswith("error: ")]
        if self.seconds >= HANGS_AFTER:
            return f"no end within {HANGS_AFTER:.0f} seconds"
        if self.status not in statuses:
            return f"status {self.status}, not {' or '.join(map(str, statuses))}: {self.tail()}"
        if noise:
            said = self.errors + self.output
            return f"status {self.status}, and: {said[max(said.index(noise) - 300, 0) :][:1500]!r}"
        if self.status == 2 and len(complaints) != 1:
            return f"{len(complaints)} lines of error: {self.tail()}"
        if self.status == 2 and not self.errors.rstrip().splitlines()[-1].startswith("error: "):
            return f"lines after its error: {self.tail()}"
        if self.peak_mb > within_mb:
            return f"{self.peak_mb:.0f} MB"
        return ""

    def tail(self) -> str:
        """Return the end of what it printed, in one line."""
        return repr((self.output + self.errors)[-300:])


class Command:
    """A command of `imdb_jax` that runs as a child process."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        out: Path,
        before: Sequence[str] = (),
        stdin: int | None = subprocess.DEVNULL,
    ) -> None:
        """Start `python -m imdb_jax.<arguments>`, in `out`, where what it prints is kept too."""
        name, *rest = arguments
        self._files = out / "stdout", out / "stderr"
        self._started = time.monotonic()
        with self._files[0].open("wb") as output, self._files[1].open("wb") as errors:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", f"imdb_jax.{name}", *rest],
                env={**os.environ, **environment},
                cwd=out,
                stdin=stdin,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    def wait(self) -> Ended:
        """Wait until it has ended, or kill it if it hangs."""
        while True:
            pid, code, usage = os.wait4(self.process.pid, os.WNOHANG)
            seconds = time.monotonic() - self._started
            if pid:
                break
            if seconds > HANGS_AFTER:
                os.killpg(self.process.pid, signal.SIGKILL)
                _, code, usage = os.wait4(self.process.pid, 0)
                break
            time.sleep(0.02)
        self.process.returncode = status = os.waitstatus_to_exitcode(code)
        output, errors = (path.read_text(errors="replace") for path in self._files)
        return Ended(status, output, errors, seconds, usage.ru_maxrss / 1e3)


def run(
    arguments: Sequence[str], environment: Mapping[str, str], out: Path, **options: Any
) -> Ended:
    """Run a command to its end."""
    return Command(arguments, environment, out, **options).wait()


def write_reviews(path: Path, number: int = 400) -> Path:
    """Write a CSV file of synthetic reviews, small enough for runs of a second."""
    texts, labels = synthetic_reviews("train", number)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(zip(texts, labels.tolist(), strict=True))
    return path


def outcome(workdir: Path) -> dict[str, bytes]:
    """Return what a run must end with, whatever happened on the way: parameters and figures."""
    import jax
    import numpy as np

    from imdb_jax import load

    found = {}
    for directory in sorted(path.parent for path in workdir.rglob("params")):
        inside = directory.relative_to(workdir)
        for place, leaf in jax.tree.leaves_with_path(load(directory).params):
            found[f"{inside}: {jax.tree_util.keystr(place)}"] = np.asarray(leaf).tobytes()
        with (directory / "metrics.csv").open() as file:
            rows = [row[:-1] for row in csv.reader(file)]  # without the seconds
        found[f"{inside}: metrics.csv"] = repr(rows).encode()
    return found


def difference(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> str:
    """Return what is not as it should be, '' if nothing is."""
    names = sorted(found.keys() | expected.keys())
    wrong = [name for name in names if found.get(name) != expected.get(name)]
    return f"not what an undisturbed run ends with: {', '.join(wrong)}" if wrong else ""
