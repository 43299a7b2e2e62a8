"""The published archive fetched from the network, or a quick refusal where that cannot be."""

from __future__ import annotations

import hashlib
import queue
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from imdb_jax import published
from imdb_jax.errors import UserError
from imdb_jax.progress import Report, announced

_ANSWER_SECONDS = 8.0  # for name look-up, connection, redirects and headers together
_STALL_SECONDS = 20.0  # for one read in mid-download


class DownloadUnreachable(UserError):
    """The archive cannot be fetched: no network, no answer, an HTTP error, a stalled download."""


def fetch(directory: Path, report: Report) -> Path:
    """Downloads the archive into `directory`, unless it is there already.

    Args:
      directory: made if need be, but not its parent.
      report: receives one line of text.

    Returns:
      The archive, whose checksum is the published one.

    Raises:
      DownloadUnreachable: it cannot be downloaded; known within ten seconds if there is no answer
        at all.
      UserError: something else came, of which nothing is kept.
      OSError: the directory cannot be written.
    """
    official = published.archive()
    archive = directory / official.name
    if archive.is_file() and published.checksum(archive) == official.sha256:
        return archive
    directory.mkdir(exist_ok=True)
    unfinished = archive.with_name(archive.name + ".unfinished")
    try:
        sha256 = _download(official, unfinished, report)
        if sha256 != official.sha256:
            raise UserError(
                f"{official.url} sent something else than the published archive: its SHA-256 is "
                f"{sha256}, expected {official.sha256}; nothing of it was kept"
            )
        unfinished.replace(archive)
    finally:
        unfinished.unlink(missing_ok=True)
    return archive


def _download(official: published.Archive, file: Path, report: Report) -> str:
    """Writes what the URL sends to `file`, little more than should come; returns its SHA-256."""
    import requests
    import urllib3

    digest = hashlib.sha256()
    title = f"Downloading {official.url} ({official.size / 1e6:.0f} MB)"
    with (
        closing(_answer(official.url)) as response,
        file.open("wb") as output,
        announced(title, official.size, report) as advance,
    ):
        # As sent: servers that call a .tar.gz "gzip-encoded" would else have it unpacked here.
        chunks = response.raw.stream(1 << 16, decode_content=False)
        while True:
            try:
                chunk = next(chunks, b"")
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                raise _unreachable(official.url, f"broke off ({_reason(error)})") from error
            if not chunk or output.tell() > official.size:
                return digest.hexdigest()
            output.write(chunk)
            digest.update(chunk)
            advance(len(chunk))


def _answer(url: str) -> Any:
    """Gives the response to GET `url`, headers read and body still to come.

    A thread asks, because name look-up cannot be given a time limit and a chain of redirects or
    addresses would multiply that of a connection.
    """
    import requests

    answers: queue.Queue[requests.Response | Exception] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(requests.get(url, stream=True, timeout=(_ANSWER_SECONDS, _STALL_SECONDS)))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_ANSWER_SECONDS)
    except queue.Empty:
        raise _unreachable(url, f"did not answer within {_ANSWER_SECONDS:g} seconds") from None
    if isinstance(answer, Exception):
        raise _unreachable(url, f"cannot be reached ({_reason(answer)})") from answer
    if answer.status_code != requests.codes.ok:
        answer.close()
        raise _unreachable(url, f"answered {answer.status_code} {answer.reason}")
    return answer


def _unreachable(url: str, what_happened: str) -> DownloadUnreachable:
    return DownloadUnreachable(
        f"{url} {what_happened}; download it with something else and pass --archive FILE"
    )


def _reason(error: BaseException) -> str:
    """Says the innermost cause: the outer ones repeat it inside the names of their classes."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__
