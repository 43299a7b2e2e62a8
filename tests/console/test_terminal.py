"""Texts that command no terminal, and streams that outlive their reader."""

import errno
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdb_jax.console import terminal


@given(st.text())
def test_printable_text_is_one_line_and_stays_as_it_is(text):
    shown = terminal.printable(text)
    assert shown.isprintable()
    assert terminal.printable(shown) == shown
    if text.isprintable():
        assert shown == text


def test_what_is_not_printable_shows_its_number():
    assert terminal.printable("a\tb\r\nc\x1b[31m\x9b\u202e\udcff\x7f") == (
        r"a b  c\x1b[31m\x9b\u202e\udcff\x7f"
    )


class Pipe(io.RawIOBase):
    """Bytes, until something goes wrong."""

    def __init__(self):
        self.error, self.written = None, b""

    def writable(self):
        return True

    def write(self, data):
        if self.error:
            raise OSError(self.error, "wrong")
        self.written += data
        return len(data)


def stream_to(pipe, encoding="utf-8", fails=True, unbuffered=False):
    bytes_to = pipe if unbuffered else io.BufferedWriter(pipe)
    other = io.TextIOWrapper(bytes_to, encoding, line_buffering=True, write_through=unbuffered)
    return terminal.outliving(other, fails)


@pytest.mark.parametrize(
    ("error", "fails", "raised"),
    [(errno.EPIPE, True, False), (errno.EIO, True, True), (errno.EIO, False, False)],
)
def test_a_stream_outlives_what_it_writes_to(error, fails, raised):
    pipe = Pipe()
    stream = stream_to(pipe, fails=fails)
    print("one", file=stream)
    pipe.error = error
    if raised:
        with pytest.raises(OSError, match="wrong: 'standard output'"):
            print("two", file=stream)
    for _ in range(2):
        print("three", file=stream)
    pipe.error = None
    stream.close()
    assert pipe.written == b"one\n"


@pytest.mark.parametrize("unbuffered", [False, True])
def test_its_reader_has_left(monkeypatch, unbuffered):
    pipe = Pipe()
    stream = stream_to(pipe, unbuffered=unbuffered)
    monkeypatch.setattr(terminal.sys, "stdout", stream)
    assert not terminal.nobody_reads()
    pipe.error = errno.EPIPE
    print("one")
    assert terminal.nobody_reads()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", rb"0.9 +- 0.1 ---- caf\xe9... | \u597d"),
        ("cp1252", b"0.9 \xb1 0.1 ---- caf\xe9\x85 | \\u597d"),
        ("utf-8", "0.9 ± 0.1 ──── café… │ 好".encode()),
    ],
)
def test_what_cannot_be_encoded_becomes_ascii(encoding, shown):
    terminal.prepare_streams()
    pipe = Pipe()
    print("0.9 ± 0.1 ──── café… │ 好", file=stream_to(pipe, encoding))
    assert pipe.written == shown + b"\n"


def test_closed_streams_swallow_everything(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(terminal.sys, name, None)
    terminal.prepare_streams()
    for stream in (terminal.sys.stdout, terminal.sys.stderr):
        with stream:
            print("lost", file=stream, flush=True)
