"""What is said of a long step, on a terminal and elsewhere."""

import io
import sys

import pytest

from imdb_jax import progress
from imdb_jax.progress import announced, now_and_then


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_now_and_then_waits_between_calls(clock):
    acted = []
    act = now_and_then(5, lambda: acted.append(clock.now))
    for clock.now in (101, 105, 106, 107, 111, 112):
        act()
    assert acted == [106, 112]


def test_lines_where_there_is_no_terminal(clock, monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    lines = []
    with announced("Reading", 200, lines.append) as advance:
        assert lines == ["Reading"]
        for clock.now in (101, 109, 111, 112, 130):
            advance(30)
    assert lines == ["Reading", "Reading: 45%", "Reading: 75%"]
    assert capfd.readouterr() == ("", "")


def test_bar_on_a_terminal(clock, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    lines = []
    with announced("Reading", 200, lines.append) as advance:
        advance(30)
        clock.now += 1
        advance(20)
    assert lines == ["Reading"]
    assert "25%" in terminal.getvalue()
