"""Download of the published archive, which fails within seconds where there is no network."""

from __future__ import annotations

import queue
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from imdb_jax.datasets.imdb import archive
from imdb_jax.errors import UserError
from imdb_jax.files import file_digest
from imdb_jax.progress import Report, announced

_ANSWER_SECONDS = 8.0  # for name look-up, connection, redirects and headers together
_STALL_SECONDS = 20.0  # for one read in mid-download


class DownloadUnreachable(UserError):
    """The archive cannot be downloaded: no network, no answer, an HTTP error or a stall."""


def fetch(directory: Path, report: Report) -> Path:
    """Download the published archive into a directory, unless it is already there.

    Raises `DownloadUnreachable`, within ten seconds if there is no answer at all; `UserError` if
    the server sends something else, of which nothing is kept; `OSError` if the directory cannot be
    written or its parent is missing.
    """
    published = archive.PUBLISHED
    file = directory / published.name
    if file.is_file() and file_digest(file) == published.sha256:
        return file
    directory.mkdir(exist_ok=True)
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        _download(published, unfinished, report)
        if (sha256 := file_digest(unfinished)) != published.sha256:
            raise UserError(
                f"{published.url} did not send the published archive: its SHA-256 is {sha256}, not "
                f"{published.sha256}; the download was deleted"
            )
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return file


def _download(published: archive.PublishedArchive, file: Path, report: Report) -> None:
    """Write what the URL sends to a file, but hardly more than the size of the archive."""
    import urllib3

    url, size = published.url, published.size
    with (
        closing(_answer(url)) as response,
        file.open("wb") as output,
        announced(f"Downloading {url} ({size / 1e6:.0f} MB)", size, report) as advance,
    ):
        try:
            # Not decoded: servers that call a .tar.gz "gzip-encoded" would have it unpacked here.
            for chunk in response.raw.stream(1 << 16, decode_content=False):
                output.write(chunk)
                advance(len(chunk))
                if output.tell() > size:
                    break
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(url, f"broke off the download ({_reason(error)})") from error


def _answer(url: str) -> Any:
    """Return the response to GET `url`, whose body is still to come.

    A thread sends the request, because name look-up has no time limit, and the time limit of a
    connection applies anew to every redirect and address.
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


def _unreachable(url: str, problem: str) -> DownloadUnreachable:
    return DownloadUnreachable(
        f"{url} {problem}; download the archive in another way and pass --archive FILE"
    )


def _reason(error: BaseException) -> str:
    """Return the innermost cause: the outer ones repeat it with the names of their classes."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__
