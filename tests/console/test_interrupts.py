"""Ctrl-C in commands, and in programs that are none."""

import os
import queue
import signal
import socket
import subprocess
import sys

import pytest

from imdb_jax.console import interrupts

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGINT to raise")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    for name in ("_is_command", "_raised", "_noting", "_told"):
        monkeypatch.setattr(interrupts, name, False)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("argv", "orig_argv", "command"),
    [
        (["-m", "x"], ["python", "-W", "error", "-m", "imdb_jax.train", "x"], True),
        (["-m"], ["python", "-mimdb_jax.train"], True),
        (["/usr/bin/imdb-jax-train", "x"], ["python", "/usr/bin/imdb-jax-train", "x"], True),
        (["-m", "train"], ["python", "-m", "imdb_jax", "train"], True),
        (["/usr/bin/imdb-jax", "train"], ["python", "/usr/bin/imdb-jax", "train"], True),
        (["-m", "x"], ["python", "-m", "notebook", "x"], False),
        (["-c", "imdb_jax.train"], ["python", "-c", "import imdb_jax", "imdb_jax.train"], False),
        (["tool.py"], ["python", "tool.py"], False),
        ([""], ["python"], False),
    ],
)
def test_only_commands_change_what_ctrl_c_does(monkeypatch, argv, orig_argv, command):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    monkeypatch.setattr(interrupts.atexit, "register", lambda *_: None)
    for ignored in (False, True):
        before = signal.SIG_IGN if ignored else signal.default_int_handler
        signal.signal(signal.SIGINT, before)
        interrupts.end_imports_quietly()
        after = interrupts.end if command and not ignored else before
        assert signal.getsignal(signal.SIGINT) is after
        with interrupts.noted(pytest.fail):
            assert signal.getsignal(signal.SIGINT) is after
    # The last time in the background, where a command is one all the same.
    with interrupts.handled() as is_command:
        assert is_command == command
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_ctrl_c_raises_unless_it_is_noted(monkeypatch):
    ends = queue.SimpleQueue()
    monkeypatch.setattr(interrupts, "_watch", lambda *both: ends.put(both))
    signal.signal(signal.SIGINT, interrupts.end)
    with interrupts.handled() as is_command:
        assert is_command
        noted = []
        with interrupts.noted(lambda *_: noted.append(1)):
            signal.raise_signal(signal.SIGINT)
        assert noted == [1]
        assert not interrupts.raised()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupts.raised()
        assert signal.getsignal(signal.SIGINT) is interrupts.end
    signal.set_wakeup_fd(-1)
    for end in ends.get(timeout=60):
        end.close()


@pytest.mark.parametrize(
    ("presses", "noting"), [(b"\x02\x02", True), (b"\x0f\x02\x02", False), (b"\x02", False)]
)
def test_another_ctrl_c_ends_the_command_and_so_does_one_that_is_dropped(
    monkeypatch, presses, noting
):
    monkeypatch.setattr(interrupts, "end", lambda: None)
    monkeypatch.setattr(interrupts, "_noting", noting)
    monkeypatch.setattr(interrupts, "_CLEANING_SECONDS", 0.01)
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.send(presses)
        interrupts._watch(reader, writer)


def test_a_command_that_is_interrupted_while_it_imports_says_so(tmp_path):
    """A library of which it imports the first line sends the signal."""
    (tmp_path / "tyro.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    paths = [str(tmp_path), *sys.path]
    # In the background of a shell it is ignored, which the command would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done = subprocess.run(
        [sys.executable, "-m", "imdb_jax.nearest", "run", "good"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
