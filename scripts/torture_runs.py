"""Campaigns against training as a process: signals, full disks, failing system calls."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import NamedTuple

from torture_harness import Command, Ended, Trial, difference, outcome, run, write_reviews

from imdb_jax.errors import UserError

_KINDS = (
    "--arch debug --checkpoint-every 2",
    "--arch debug --validation 0.2 --patience 1 --epochs 3 --checkpoint-every 3",
    "--arch debug --seeds 2 --checkpoint-every 2",
    "--arch pooled --batch-size 64 --epochs 3 --keep 1",
    "--arch ngram --checkpoint-every 1",
    "--arch mlp --num-words 300 --batch-size 64",
    "--arch debug --unlabelled {unlabelled}",
)
_MOST_SIGNALS = 5  # to one run, before it may end


class Kind(NamedTuple):
    """A kind of run, what it ends with if nothing happens, and how long that takes."""

    options: list[str]
    expected: dict[str, bytes]
    seconds: float

    def resume(self, workdir: Path) -> list[str]:
        """Return the command that starts the run, or continues it."""
        return [*self.options, "--workdir", str(workdir), "--resume"]


def kills(scratch: Path, rng: random.Random) -> Iterator[Trial]:
    """Send signals to runs at random times until each has ended; compare what they end with."""
    environment = {"IMDB_JAX_CACHE": str(scratch / "cache")}
    kinds = _kinds(scratch, environment)
    for number in count():
        kind, workdir = kinds[number % len(kinds)], scratch / f"run-{number}"
        for _ in range(_MOST_SIGNALS):
            name, ended = _interrupted(kind, workdir, scratch, environment, rng)
            what = f"{' '.join(kind.options)}, {name}"
            yield Trial(what, ended.fault(*_ALLOWED[name.split()[0]]))
            if ended.status == 0:
                break
        yield from _finished(kind, workdir, scratch, environment, "after signals", 0)
        shutil.rmtree(workdir, ignore_errors=True)


# The status that each signal may give: 0 if the run had ended before.
_ALLOWED = {
    "SIGKILL": (0, -signal.SIGKILL),
    "SIGTERM": (0, -signal.SIGTERM, 128 + signal.SIGTERM),
    "SIGINT": (0, 130),
    "SIGSTOP": (0,),
}


def _interrupted(
    kind: Kind, workdir: Path, scratch: Path, environment: Mapping[str, str], rng: random.Random
) -> tuple[str, Ended]:
    """Start a run or continue it, and send it a signal."""
    name = rng.choice(["SIGKILL"] * 4 + ["SIGTERM", "SIGINT", "SIGSTOP"])
    after = rng.uniform(0.02, kind.seconds)
    command = Command(kind.resume(workdir), environment, scratch)
    time.sleep(after)
    # Not by Popen, which would wait for a process that has ended.
    os.kill(command.process.pid, signal.Signals[name])
    if name == "SIGSTOP":
        time.sleep(rng.uniform(0.1, 1.0))
        os.kill(command.process.pid, signal.SIGCONT)
    return f"{name} after {after:.2f} s", command.wait()


def _finished(
    kind: Kind, workdir: Path, scratch: Path, environment: Mapping[str, str], what: str, tried: int
) -> Iterator[Trial]:
    """Continue a run to its end, and compare what it ends with."""
    ended = run(kind.resume(workdir), environment, scratch)
    fault = ended.fault(0) or difference(outcome(workdir), kind.expected)
    yield Trial(f"{' '.join(kind.options)}, finished {what}", fault, tried)


def _kinds(scratch: Path, environment: Mapping[str, str]) -> list[Kind]:
    """Run each kind twice: to have its programs compiled, and to learn what it ends with."""
    reviews = write_reviews(scratch / "reviews.csv")
    unlabelled = scratch / "unlabelled.txt"
    unlabelled.write_text("a wonderful film\nterrible acting and a dull plot\n" * 20)
    kinds = []
    for number, text in enumerate(_KINDS):
        options = text.format(unlabelled=unlabelled).split()
        options = ["train", *options, "--dataset", str(reviews)]
        for attempt in range(2):
            workdir = scratch / f"undisturbed-{number}-{attempt}"
            ended = run([*options, "--workdir", str(workdir)], environment, scratch)
            if fault := ended.fault(0):
                raise UserError(f"{' '.join(options)} fails undisturbed: {fault}")
        kinds.append(Kind(options, outcome(workdir), ended.seconds))
    return kinds


def disks(scratch: Path, rng: random.Random) -> Iterator[Trial]:
    """Train on file systems of random size; given more room, the run must end as if undisturbed."""
    _own_namespace()
    environment = {"IMDB_JAX_CACHE": str(scratch / "cache")}
    kinds = _kinds(scratch, environment)
    disk = scratch / "disk"
    disk.mkdir()
    for number in count():
        kind = kinds[number % len(kinds)]
        size = f"size={int(10 ** rng.uniform(1.3, 4.3))}k"
        if rng.random() < 0.3:
            size = f"size=1g,nr_inodes={rng.randint(3, 60)}"
        both = rng.random() < 0.5
        used = {"IMDB_JAX_CACHE": str(disk / "cache")} if both else environment
        _mount(disk, size)
        try:
            ended = run(kind.resume(disk / "run"), used, scratch)
            what = f"{' '.join(kind.options)}, disk of {size}{' for the cache, too' * both}"
            fault = ended.fault(0, 2) or _left_over(disk, ended)
            _mount(disk, "remount,size=2g,nr_inodes=100000")
            finished = list(_finished(kind, disk / "run", scratch, used, f"after {size}", 0))
            yield Trial(what, fault or finished[0].fault)
        finally:
            subprocess.run(["umount", "-l", disk], check=True)


def _left_over(directory: Path, ended: Ended) -> str:
    """Return which temporary files a command that said why it failed has left."""
    names = [path.name for path in directory.rglob(".*") if path.is_file()]
    names = [name for name in names if name != ".checked" and not name.endswith("lock")]
    return f"left {', '.join(names)}" if names and ended.status == 2 else ""


def _mount(directory: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)


def _own_namespace() -> None:
    """Start again in a namespace of mounts of our own, unless this process is in one."""
    if "TORTURE_NAMESPACE" in os.environ:
        return
    if not shutil.which("unshare"):
        raise UserError("unshare is missing, which mounts disks of a size; it comes with Linux")
    os.environ["TORTURE_NAMESPACE"] = "1"
    os.execvp("unshare", ["unshare", "-r", "-m", sys.executable, *sys.argv])


_ERRORS = ("EIO", "ENOSPC", "EACCES", "EDQUOT", "EROFS", "EMFILE")


def calls(scratch: Path, rng: random.Random) -> Iterator[Trial]:
    """Let one system call on our files fail in each run, or all calls from there on."""
    shim, counted = scratch / "failing_calls.so", scratch / "counted"
    source = Path(__file__).with_name("failing_calls.c")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise UserError("there is no C compiler, which makes system calls fail; install gcc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
    totals: dict[int, int] = {}  # calls of an undisturbed run, by kind
    kinds = _kinds(scratch, {"IMDB_JAX_CACHE": str(scratch / "cache")})
    for number in count():
        which = number % len(kinds)
        kind, disk = kinds[which], scratch / f"calls-{number}"
        disk.mkdir()
        environment = {"IMDB_JAX_CACHE": str(disk / "cache")}
        error = rng.choice(_ERRORS)
        # At first none fails, to count them.
        first = rng.randint(1, totals[which]) if which in totals else 1 << 30
        forever = rng.random() < 0.5
        failing = environment | {
            "LD_PRELOAD": str(shim),
            "FAIL_UNDER": str(disk),
            "FAIL_FROM": str(first),
            "FAIL_TO": str(1 << 30 if forever else first),
            "FAIL_ERRNO": str(getattr(errno, error)),
            "FAIL_COUNTED": str(counted),
        }
        ended = run(kind.resume(disk / "run"), failing, scratch)
        fault = ended.fault(0, 2)
        if which not in totals:
            totals[which] = int(counted.read_text())
            continue
        finished = list(_finished(kind, disk / "run", scratch, environment, "afterwards", 0))
        onward = " and all after it" * forever
        what = f"{' '.join(kind.options)}, {error} from call {first}{onward}"
        yield Trial(what, fault or finished[0].fault)
        shutil.rmtree(disk)
