"""Fetching the archive from servers that send it, something else, or nothing."""

import gzip
import http.server
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_archives import ignore, publish, review_files, tar_bytes

from imdb_jax.datasets.imdb import download
from imdb_jax.datasets.imdb.download import DownloadUnreachable, fetch
from imdb_jax.errors import UserError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


class Server(http.server.ThreadingHTTPServer):
    """Serves `body` as it is told to; counts the requests."""

    body = b""
    behavior = "good"
    requests = 0
    release = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.behavior == "redirecting":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        self.send_response(404 if self.server.behavior == "missing" else 200)
        self.send_header("Content-Encoding", "x-gzip")  # as Apache does for .tar.gz
        if self.server.behavior != "endless":
            self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        if self.server.behavior in ("stalling", "breaking off"):
            self.wfile.write(self.server.body[:100])
            if self.server.behavior == "stalling":
                self.server.release.wait(10)
        elif self.server.behavior == "endless":
            while not self.wfile.closed:
                self.wfile.write(bytes(1 << 16))
        else:
            self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.body = gzip.compress(tar_bytes(review_files()), mtime=0)
        server.release = threading.Event()
        publish(monkeypatch, server.body, f"http://127.0.0.1:{server.server_port}/acl.tar.gz")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.release.set()
        server.shutdown()


def test_download_is_kept_and_used_again(
    directory: Path, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    archive = fetch(directory, lines.append)
    assert archive == directory / "aclImdb_v1.tar.gz"
    assert archive.read_bytes() == server.body
    assert [line.split()[0] for line in lines] == ["Downloading"]
    assert fetch(directory, pytest.fail) == archive
    assert server.requests == 1
    assert os.listdir(directory) == ["aclImdb_v1.tar.gz"]
    assert capfd.readouterr() == ("", "")


def test_damaged_download_is_fetched_anew(directory: Path, server: Server) -> None:
    archive = fetch(directory, ignore)
    archive.write_bytes(server.body[:-1])
    fetch(directory, ignore)
    assert server.requests == 2
    assert archive.read_bytes() == server.body


@pytest.mark.parametrize("behavior", ["good", "endless"])
def test_download_with_a_wrong_checksum(directory: Path, server: Server, behavior: str) -> None:
    server.body, server.behavior = b"<html>Please log in</html>", behavior
    with pytest.raises(UserError) as caught:
        fetch(directory, ignore)
    message = str(caught.value)
    assert "\n" not in message
    assert "did not send the published archive" in message
    assert not os.listdir(directory)


@pytest.mark.parametrize(
    ("behavior", "complaint"),
    [
        ("missing", "answered 404 Not Found"),
        ("redirecting", "cannot be reached"),
        ("breaking off", "broke off"),
        ("stalling", "broke off the download (timed out)"),
    ],
)
def test_download_that_fails(
    directory: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    behavior: str,
    complaint: str,
) -> None:
    monkeypatch.setattr(download, "_STALL_SECONDS", 0.2)
    server.behavior = behavior
    with pytest.raises(DownloadUnreachable, match="--archive FILE") as caught:
        fetch(directory, ignore)
    assert complaint in str(caught.value)
    assert not os.listdir(directory)


def unreachable(directory: Path) -> str:
    started = time.monotonic()
    with pytest.raises(DownloadUnreachable) as caught:
        fetch(directory, ignore)
    assert time.monotonic() - started < 10
    return str(caught.value)


def test_time_limits_leave_room_below_ten_seconds() -> None:
    assert download._ANSWER_SECONDS <= 8


def test_server_that_never_answers(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(download, "_STALL_SECONDS", 0.5)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publish(monkeypatch, b"", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert "did not answer within 0.3 seconds" in unreachable(directory)


def test_closed_port(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    publish(monkeypatch, b"", f"http://127.0.0.1:{port}/")
    assert "Connection refused" in unreachable(directory)


def test_name_lookup_that_hangs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: object, **options: object) -> None:
        time.sleep(0.6)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(download, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setenv("NO_PROXY", "*")
    publish(monkeypatch, b"", "http://reviews.invalid/")
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert "did not answer" in unreachable(directory)


def test_proxy_of_the_environment_is_used(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    publish(monkeypatch, b"", "http://reviews.invalid/")
    assert "Connection refused" in unreachable(directory)
