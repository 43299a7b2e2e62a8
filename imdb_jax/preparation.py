"""The IMDb reviews on disk: fetch them, prepare them as TFDS would, read them back fast.

The prepared directory is TFDS' own `imdb_reviews/plain_text/1.0.0` in ArrayRecord format, written
by TFDS' own builder, so that plain `tfds.data_source("imdb_reviews", data_dir=...)` reads it too.
TFDS itself opens the archive through TensorFlow; here Python's `tarfile` streams it, and nothing
is ever extracted to disk. One small file is added, `file_names.json.gz` (see `read_file_names`).
"""

import bz2
import contextlib
import dataclasses
import gzip
import hashlib
import json
import logging
import lzma
import os
import queue
import re
import shutil
import sys
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from imdb_jax.errors import UserError

_VERSION = Path("imdb_reviews", "plain_text", "1.0.0")
_DEFAULT_CONFIG = Path("imdb_reviews", ".config", "metadata.json")
_LOCK = ".imdb_reviews.lock"
_UNFINISHED = ".imdb_reviews.unfinished"
_FILE_NAMES = "file_names.json.gz"
_FILE_NAMES_FORMAT = 1

_EXPECTED_COUNTS = {"train": 25_000, "test": 25_000, "unsupervised": 50_000}
_FOLDERS = ("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg")
_REVIEW_PATH = re.compile(rf"(?:\./)?(aclImdb/(?:{'|'.join(_FOLDERS)})/\d+_\d+\.txt)")

# The longest review has 14 kB, the unpacked archive some 0.5 GB; beyond these it is not the data.
_MAX_REVIEW_BYTES = 1 << 20
_MAX_UNPACKED_BYTES = 1 << 31

_ANSWER_SECONDS = 8.0  # for name look-up, connection, redirects and headers together
_STALL_SECONDS = 20.0  # for one read in mid-download
_REDRAW_SECONDS = 0.1  # between two states of a progress bar
_LINE_SECONDS = 10.0  # between two progress lines where there is no terminal

Report = Callable[[str], None]
Reviews = dict[str, dict[str, bytes]]  # split -> path in the archive -> text


class DownloadUnreachable(UserError):
    """The archive cannot be fetched: no network, no answer, an HTTP error, a stalled download."""


def default_data_dir() -> Path:
    """Return where TFDS keeps its data: `TFDS_DATA_DIR`, else `~/tensorflow_datasets`."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def is_prepared(data_dir: Path) -> bool:
    """Return whether `data_dir` holds a finished `imdb_reviews`, in whatever TFDS file format.

    Finished means that TFDS' description is there, which is written last, and every file it lists.
    """
    return _describe(data_dir) is not None


def prepare(
    data_dir: Path,
    archive: Path | None = None,
    *,
    verify: bool = True,
    report: Report = print,
) -> None:
    """Prepare the 100,000 reviews in `data_dir`, unless they are there already.

    The result appears under its final name in one rename, so that an interrupted call leaves
    nothing that could be taken for finished. Of several processes at once, one works and the
    others wait for it.

    Args:
      data_dir: TFDS' data directory; created if need be.
      archive: `aclImdb_v1.tar.gz`, or a directory that holds it. Without `verify` also the same
        reviews in another tar file (gzip, xz, bzip2 or plain), or an unpacked `aclImdb`
        directory or its parent. None downloads the archive into `data_dir/downloads`.
      verify: demand the published SHA-256, which TFDS ships, of the archive.
      report: receives one line of text per step; a terminal gets progress bars as well.

    Raises:
      DownloadUnreachable: the archive cannot be downloaded; known within ten seconds if there is
        no answer at all.
      UserError: the archive is not what it should be, or `data_dir` cannot be written.
    """
    if is_prepared(data_dir):
        return
    started = time.monotonic()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _only_one_process(data_dir, report):
            if is_prepared(data_dir):
                report(f"Another process has prepared the reviews in {data_dir}")
                return
            _refuse_to_overwrite(data_dir / _VERSION)
            reviews = _load(_obtain(data_dir, archive, verify, report), report)
            _write(reviews, data_dir, report)
    except OSError as error:
        raise UserError(f"cannot prepare the reviews in {data_dir}: {error}") from error
    total = sum(map(len, reviews.values()))
    report(f"Prepared {total:,} reviews in {data_dir} ({time.monotonic() - started:.0f} s)")


def read_archive(archive: Path, *, verify: bool = True, report: Report = print) -> Reviews:
    """Read the 100,000 reviews of an archive into memory, some 130 MB.

    Args:
      archive: as for `prepare`.
      verify: as for `prepare`.
      report: receives one line of text per step.

    Returns:
      For each of the splits "train", "test" and "unsupervised": path in the archive, such as
      `aclImdb/train/pos/0_9.txt`, -> text, without the white space around it.

    Raises:
      UserError: the archive is not what it should be.
    """
    return _load(_accepted(archive, verify), report)


def read_split(data_dir: Path, split: str) -> tuple[list[bytes], np.ndarray]:
    """Read one prepared split in TFDS' order.

    ArrayRecord files are read in bulk and the records parsed as the protocol buffers they are:
    three times as fast as asking `tfds.data_source` for the same records.

    Args:
      data_dir: TFDS' data directory, prepared.
      split: "train", "test" or "unsupervised".

    Returns:
      The texts in UTF-8, and their labels as int8 of shape [len(texts)]: 1 positive, 0 negative,
      -1 unsupervised.

    Raises:
      UserError: nothing is prepared there, or in a format without random access, or a file is
        damaged.
    """
    prepared = _described(data_dir)
    if prepared.file_format != "array_record":
        raise UserError(
            f"{data_dir / _VERSION} is in {prepared.file_format} format, which only TensorFlow "
            "reads; prepare the reviews in another directory as well: python -m imdb_jax.train "
            "--data-dir OTHER --archive aclImdb_v1.tar.gz"
        )
    if split not in prepared.shards:
        raise UserError(f"there is no split {split!r}, only {', '.join(sorted(prepared.shards))}")

    from tensorflow_datasets.proto import tf_example_pb2

    texts: list[bytes] = []
    labels: list[int] = []
    for file, count in prepared.shards[split]:
        for record in _read_records(file, count):
            features = tf_example_pb2.Example.FromString(record).features.feature
            texts.append(features["text"].bytes_list.value[0])
            labels.append(features["label"].int64_list.value[0])
    return texts, np.array(labels, dtype=np.int8)


def read_file_names(data_dir: Path, split: str) -> list[str] | None:
    """Return the original file name of each record of a labelled split, such as `pos/0_9.txt`.

    The names come from `file_names.json.gz` beside the records, gzipped JSON with three keys:
    `format` (1), `names` ({"train": [...], "test": [...]}, in record order), and `sha256` of
    `names` as `json.dumps` writes it.

    Args:
      data_dir: TFDS' data directory, prepared.
      split: "train" or "test".

    Returns:
      As many names as the split has records, in TFDS' order; None if the directory was prepared
      by something else and so has no such file.

    Raises:
      UserError: nothing is prepared there, the file is damaged or from a later version, or the
        split has no names.
    """
    prepared = _described(data_dir)
    file = data_dir / _VERSION / _FILE_NAMES
    if not file.exists():
        return None
    try:
        document = json.loads(gzip.decompress(file.read_bytes()))
        names: dict[str, list[str]] = document["names"]
        intact = document["format"] == _FILE_NAMES_FORMAT and document["sha256"] == _sha256_of(
            names
        )
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}); prepare the reviews again") from error
    if not intact:
        raise UserError(f"{file} is damaged or of another version; prepare the reviews again")
    if split not in names:
        raise UserError(f"there are no file names for split {split!r}, only for train and test")
    if len(names[split]) != sum(count for _, count in prepared.shards[split]):
        raise UserError(f"{file} belongs to other data; prepare the reviews again")
    return names[split]


def fingerprint(data_dir: Path) -> str:
    """Return a hexadecimal digest that changes when the prepared files do.

    It covers names, sizes and modification times, not contents, and so costs well under a
    millisecond.

    Raises:
      UserError: nothing is prepared there.
    """
    _described(data_dir)
    entries = sorted(os.scandir(data_dir / _VERSION), key=lambda entry: entry.name)
    stats = [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries]
    return _sha256_of(stats)


def _sha256_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


# What is prepared


@dataclasses.dataclass(frozen=True)
class _Prepared:
    file_format: str
    shards: dict[str, list[tuple[Path, int]]]  # split -> files and how many records each holds


def _describe(data_dir: Path) -> _Prepared | None:
    """Read TFDS' `dataset_info.json`; None where it or any file it lists is missing."""
    directory = data_dir / _VERSION
    try:
        info = json.loads((directory / "dataset_info.json").read_bytes())
        file_format = info.get("fileFormat", "tfrecord")
        shards = {
            split["name"]: _shards(directory, split["name"], file_format, split["shardLengths"])
            for split in info["splits"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    complete = set(_EXPECTED_COUNTS) <= set(shards) and all(
        file.is_file() for files in shards.values() for file, _ in files
    )
    return _Prepared(file_format, shards) if complete else None


def _shards(
    directory: Path, split: str, file_format: str, lengths: list[str]
) -> list[tuple[Path, int]]:
    prefix, total = f"imdb_reviews-{split}.{file_format}", len(lengths)
    return [
        (directory / f"{prefix}-{shard:05}-of-{total:05}", int(length))
        for shard, length in enumerate(lengths)
    ]


def _described(data_dir: Path) -> _Prepared:
    prepared = _describe(data_dir)
    if prepared is None:
        raise UserError(f"there are no prepared IMDb reviews in {data_dir}")
    return prepared


def _read_records(file: Path, count: int) -> list[bytes]:
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        reader = ArrayRecordReader(str(file))
        try:
            records: list[bytes] = reader.read_all()
        finally:
            reader.close()
    except RuntimeError as error:  # every failure, of the disk as of a checksum
        raise UserError(
            f"{file} is damaged: {error}; remove its directory and prepare it again"
        ) from error
    if len(records) != count:
        raise UserError(f"{file} has {len(records):,} records where {count:,} belong")
    return records


def _refuse_to_overwrite(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        raise UserError(f"{directory} is incomplete; remove it, then try again")


@contextlib.contextmanager
def _only_one_process(data_dir: Path, report: Report) -> Iterator[None]:
    """Hold a lock of the operating system, which a killed process cannot leave behind."""
    import filelock

    lock = filelock.FileLock(data_dir / _LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        report(f"Waiting for another process that prepares the reviews in {data_dir}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# From the network or the disk to an archive


@dataclasses.dataclass(frozen=True)
class _Published:
    url: str
    size: int
    sha256: str
    name: str


def _published_archive() -> _Published:
    """What TFDS knows about the official archive: its list has one line, four columns."""
    import importlib.resources

    checksums = importlib.resources.files("tensorflow_datasets.datasets.imdb_reviews")
    url, size, sha256, name = checksums.joinpath("checksums.tsv").read_text().split()
    return _Published(url, int(size), sha256, name)


def _obtain(data_dir: Path, archive: Path | None, verify: bool, report: Report) -> Path:
    """Return a tar file or an `aclImdb` directory that may be read."""
    if archive is None:
        return _downloaded(_published_archive(), data_dir / "downloads", report)
    return _accepted(archive, verify)


def _accepted(archive: Path, verify: bool) -> Path:
    published = _published_archive()
    source = _locate(archive, published.name)
    if verify:
        _verify(source, published)
    return source


def _locate(path: Path, official_name: str) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"there is no file or directory {path}")
    if (path / official_name).is_file():
        return path / official_name
    for tree in (path, path / "aclImdb"):
        if (tree / "train").is_dir() and (tree / "test").is_dir():
            return tree
    archives = sorted(file for file in path.glob("aclImdb*.t*") if _is_tar_name(file))
    if len(archives) != 1:
        found = ", ".join(file.name for file in archives) or "none"
        raise UserError(f"{path} should hold one aclImdb archive or directory, it holds: {found}")
    return archives[0]


def _is_tar_name(file: Path) -> bool:
    return file.is_file() and (".tar" in file.suffixes or file.suffix in {".tgz", ".txz", ".tbz2"})


def _verify(source: Path, published: _Published) -> None:
    if source.is_dir():
        raise UserError(
            f"{source} is a directory, which has no checksum; give {published.name}, or pass "
            "--allow-unverified to accept it as it is"
        )
    sha256 = _sha256_of_file(source)
    if sha256 != published.sha256:
        raise UserError(
            f"{source} is not the published archive: its SHA-256 is {sha256}, expected "
            f"{published.sha256}; pass --allow-unverified to accept it all the same"
        )


def _sha256_of_file(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error}") from error


def _downloaded(published: _Published, directory: Path, report: Report) -> Path:
    archive = directory / published.name
    if archive.is_file() and _sha256_of_file(archive) == published.sha256:
        return archive
    directory.mkdir(exist_ok=True)
    unfinished = archive.with_name(archive.name + ".unfinished")
    try:
        sha256 = _download(published, unfinished, report)
        if sha256 != published.sha256:
            raise UserError(
                f"{published.url} sent something else than the published archive: its SHA-256 is "
                f"{sha256}, expected {published.sha256}; nothing of it was kept"
            )
        unfinished.replace(archive)
    finally:
        unfinished.unlink(missing_ok=True)
    return archive


def _download(published: _Published, file: Path, report: Report) -> str:
    """Write what the URL sends to `file`, little more than should come, and return its SHA-256."""
    import requests
    import urllib3

    digest = hashlib.sha256()
    title = f"Downloading {published.url} ({published.size / 1e6:.0f} MB)"
    with (
        contextlib.closing(_answer(published.url)) as response,
        file.open("wb") as output,
        _progress(title, published.size, report) as advance,
    ):
        # As sent: servers that call a .tar.gz "gzip-encoded" would else have it unpacked here.
        chunks = response.raw.stream(1 << 16, decode_content=False)
        while True:
            try:
                chunk = next(chunks, b"")
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                raise _unreachable(published.url, f"broke off ({_reason(error)})") from error
            if not chunk or output.tell() > published.size:
                return digest.hexdigest()
            output.write(chunk)
            digest.update(chunk)
            advance(len(chunk))


def _answer(url: str) -> Any:
    """Return the response to GET `url`, headers read and body still to come.

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
    """Say the innermost cause: the outer ones repeat it inside the names of their classes."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__


# From an archive to reviews


def _load(source: Path, report: Report) -> Reviews:
    """Read all reviews into memory, some 130 MB, stripped of outer white space as TFDS does."""
    reviews: Reviews = {split: {} for split in _EXPECTED_COUNTS}
    total = sum(_EXPECTED_COUNTS.values())
    members = _tree_members(source) if source.is_dir() else _tar_members(source)
    with _progress(f"Reading {source}", total, report) as advance:
        for path, text in members:
            split = "unsupervised" if "/unsup/" in path else path.split("/")[1]
            if path in reviews[split]:
                raise UserError(f"{source} holds {path} twice")
            reviews[split][path] = text.strip()
            advance(1)
    for split, expected in _EXPECTED_COUNTS.items():
        if len(reviews[split]) != expected:
            raise UserError(
                f"{source} holds {len(reviews[split]):,} {split} reviews where {expected:,} belong"
            )
    return reviews


def _tree_members(tree: Path) -> Iterator[tuple[str, bytes]]:
    try:
        for folder in _FOLDERS:
            for entry in os.scandir(tree / folder):
                match = _REVIEW_PATH.fullmatch(f"aclImdb/{folder}/{entry.name}")
                if match and entry.is_file():
                    _refuse_large(entry.stat().st_size, Path(entry.path))
                    yield match[1], Path(entry.path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the reviews in {tree}: {error}") from error


def _tar_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with _decompressed(archive) as stream:
            bounded: Any = _Bounded(stream, _MAX_UNPACKED_BYTES, archive)
            with tarfile.open(fileobj=bounded, mode="r|", bufsize=1 << 18) as tar:
                for member in tar:
                    _refuse_hostile(member, archive)
                    match = _REVIEW_PATH.fullmatch(member.name)
                    content = tar.extractfile(member) if match else None
                    if match and content:
                        _refuse_large(member.size, f"{archive}: {member.name}")
                        yield match[1], content.read()
            while bounded.read(1 << 18):  # to the end, where gzip, xz and bzip2 keep checksums
                pass
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{archive} is not an intact tar archive: {error}") from error


def _decompressed(archive: Path) -> IO[bytes]:
    """Open an archive for reading; tarfile's own streams would not check gzip's checksum."""
    openers: dict[bytes, Callable[[Path], Any]] = {
        b"\x1f\x8b": gzip.open,
        b"\xfd7zXZ\0": lzma.open,
        b"BZh": bz2.open,
    }
    with archive.open("rb") as file:
        start = file.read(8)
    for magic, opener in openers.items():
        if start.startswith(magic):
            stream: IO[bytes] = opener(archive)
            return stream
    return archive.open("rb")


class _Bounded:
    """A stream for tarfile that ends in an error rather than unpack without end."""

    def __init__(self, stream: IO[bytes], limit: int, archive: Path) -> None:
        self._stream, self._left, self._archive = stream, limit, archive

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise UserError(f"{self._archive} unpacks to more than any archive of the reviews")
        return chunk


def _refuse_hostile(member: tarfile.TarInfo, archive: Path) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive} is not trusted: member {member.name!r} points outside of it")
    if not (member.isreg() or member.isdir()):
        raise UserError(f"{archive} is not trusted: member {member.name!r} is a link or a device")


def _refuse_large(size: int, what: object) -> None:
    if size > _MAX_REVIEW_BYTES:
        raise UserError(f"{what} has {size:,} bytes, more than any review")


# From reviews to a prepared directory


def _write(reviews: Reviews, data_dir: Path, report: Report) -> None:
    """Build everything in a directory of its own, then move it into place."""
    unfinished = data_dir / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)  # a killed process may have left one
    try:
        total = sum(map(len, reviews.values()))
        with _progress(f"Writing {total:,} reviews", total, report) as advance:
            try:
                _build(reviews, unfinished, advance)
            except RuntimeError as error:  # ArrayRecord's, for a full disk as for all else
                raise UserError(f"cannot write the reviews in {data_dir}: {error}") from error
        _write_file_names(reviews, unfinished)
        (data_dir / _VERSION).parent.mkdir(parents=True, exist_ok=True)
        (data_dir / _DEFAULT_CONFIG).parent.mkdir(exist_ok=True)
        (unfinished / _DEFAULT_CONFIG).replace(data_dir / _DEFAULT_CONFIG)
        (unfinished / _VERSION).rename(data_dir / _VERSION)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _build(reviews: Reviews, data_dir: Path, advance: Callable[[int], None]) -> None:
    """Run TFDS' own builder on reviews that are in memory already."""
    import tensorflow_datasets as tfds

    original: Any = tfds.builder_cls("imdb_reviews")

    def examples(split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for path, text in reviews[split].items():
            label = -1 if split == "unsupervised" else path.split("/")[2]
            yield path, {"text": text, "label": label}
            advance(1)

    with tfds.core.registered.skip_registration():

        class Builder(original):  # type: ignore[misc]
            __module__ = original.__module__  # what dataset_info.json names as the source
            name = original.name
            pkg_dir_path = original.pkg_dir_path

            def _info(self) -> Any:
                info = super()._info()
                # TFDS would look for figures about the data in a bucket on the network.
                info.initialize_from_bucket = lambda: None
                return info

            def _split_generators(self, dl_manager: Any) -> dict[str, Iterable[Any]]:
                del dl_manager
                return {split: examples(split) for split in reviews}

            def _log_download_bytes(self) -> None:
                """Print nothing."""

            _log_download_done = _log_download_bytes

    with _no_logs_or_bars():
        Builder(data_dir=str(data_dir)).download_and_prepare(file_format="array_record")


@contextlib.contextmanager
def _no_logs_or_bars() -> Iterator[None]:
    """Keep TFDS' log lines and progress bars from the terminal, then set both back."""
    from tensorflow_datasets.core.utils import tqdm_utils

    absl = logging.getLogger("absl")
    level, bars = absl.level, tqdm_utils._active
    absl.setLevel(logging.CRITICAL)
    tqdm_utils.display_progress_bar(False)
    try:
        yield
    finally:
        absl.setLevel(level)
        tqdm_utils.display_progress_bar(bars)


def _write_file_names(reviews: Reviews, data_dir: Path) -> None:
    """Write `file_names.json.gz`, having checked it against the records."""
    names = {}
    for split in ("train", "test"):
        paths = _record_order(split, reviews[split])
        texts, _ = read_split(data_dir, split)
        if texts != [reviews[split][path] for path in paths]:
            raise RuntimeError(f"TFDS has not written the {split} reviews in the order expected")
        names[split] = [path.split("/", maxsplit=2)[2] for path in paths]
    document = {"format": _FILE_NAMES_FORMAT, "sha256": _sha256_of(names), "names": names}
    compressed = gzip.compress(json.dumps(document).encode(), mtime=0)
    (data_dir / _VERSION / _FILE_NAMES).write_bytes(compressed)


def _record_order(split: str, paths: Iterable[str]) -> list[str]:
    """Sort paths as TFDS does: by the MD5 digest of the split's name followed by the path."""
    return sorted(paths, key=lambda path: hashlib.md5(f"{split}{path}".encode()).digest())


# Progress


@contextlib.contextmanager
def _progress(title: str, total: int, report: Report) -> Iterator[Callable[[int], None]]:
    """Announce a step, then yield a function that is told how much more of it is done.

    A terminal shows a bar that vanishes at the end; elsewhere a line appears now and then.
    """
    report(title)
    with contextlib.ExitStack() as stack:
        if sys.stderr.isatty():
            show, interval = stack.enter_context(_progress_bar(total)), _REDRAW_SECONDS
        else:
            show, interval = lambda done: report(f"{title}: {done / total:.0%}"), _LINE_SECONDS
        done, last = 0, time.monotonic()

        def advance(amount: int) -> None:
            nonlocal done, last
            done += amount
            if time.monotonic() - last > interval:  # drawing costs more than reading a review
                last = time.monotonic()
                show(done)

        yield advance


@contextlib.contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[int], None]]:
    import rich.console
    import rich.progress

    with rich.progress.Progress(
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TimeRemainingColumn(),
        console=rich.console.Console(file=sys.stderr),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)
