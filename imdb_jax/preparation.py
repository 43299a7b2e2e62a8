"""The IMDb reviews prepared on disk as TFDS would, from an archive or the network.

TFDS' own builder writes the directory, in ArrayRecord format, so that plain
`tfds.data_source("imdb_reviews", data_dir=...)` reads it too. TFDS itself opens the archive through
TensorFlow; here `archive` does.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imdb_jax import download
from imdb_jax.archive import Reviews, locate, read
from imdb_jax.errors import UserError
from imdb_jax.prepared_reviews import DIRECTORY, is_prepared, read_split, write_file_names
from imdb_jax.progress import Report, announced

_DEFAULT_CONFIG = Path("imdb_reviews", ".config", "metadata.json")
_LOCK = ".imdb_reviews.lock"
_UNFINISHED = ".imdb_reviews.unfinished"


def prepare(
    data_dir: Path,
    archive: Path | None = None,
    *,
    verify: bool = True,
    report: Report = print,
) -> None:
    """Prepares the 100,000 reviews in `data_dir`, unless they are there already.

    The result appears under its final name in one rename, so that an interrupted call leaves
    nothing that could be taken for finished. Of several processes at once, one works and the
    others wait for it.

    Args:
      data_dir: TFDS' data directory; created if need be.
      archive: what to read, as for `archive.locate`; left alone, which is reported, if the reviews
        are there already. None downloads the archive into `data_dir/downloads`.
      verify: demand the published SHA-256, which TFDS ships, of the archive.
      report: receives one line of text per step; a terminal gets progress bars as well.

    Raises:
      DownloadUnreachable: the archive cannot be downloaded; known within ten seconds if there is
        no answer at all.
      UserError: the archive is not what it should be, or `data_dir` cannot be written.
    """
    if is_prepared(data_dir):
        if archive is not None:
            report(f"{archive} is not read: the reviews are already prepared in {data_dir}")
        return
    started = time.monotonic()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _only_one_process(data_dir, report):
            if is_prepared(data_dir):
                report(f"Another process has prepared the reviews in {data_dir}")
                return
            _refuse_to_overwrite(data_dir / DIRECTORY)
            if archive is None:
                source = download.fetch(data_dir / "downloads", report)
            else:
                source = locate(archive, verify=verify)
            reviews = read(source, report)
            _write(reviews, data_dir, report)
    except OSError as error:
        raise UserError(f"cannot prepare the reviews in {data_dir}: {error}") from error
    total = sum(map(len, reviews.values()))
    report(f"Prepared {total:,} reviews in {data_dir} ({time.monotonic() - started:.0f} s)")


@contextmanager
def no_logs_or_bars() -> Iterator[None]:
    """Keeps TFDS' log lines and progress bars from the terminal, then sets both back."""
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


@contextmanager
def _only_one_process(data_dir: Path, report: Report) -> Iterator[None]:
    """Holds a lock of the operating system, which a killed process cannot leave behind."""
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


def _refuse_to_overwrite(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        raise UserError(f"{directory} is incomplete; remove it, then try again")


def _write(reviews: Reviews, data_dir: Path, report: Report) -> None:
    """Builds everything in a directory of its own, then moves it into place."""
    unfinished = data_dir / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)  # a killed process may have left one
    try:
        total = sum(map(len, reviews.values()))
        with announced(f"Writing {total:,} reviews", total, report) as advance:
            try:
                _build(reviews, unfinished, advance)
            except RuntimeError as error:  # ArrayRecord's, for a full disk as for all else
                raise UserError(f"cannot write the reviews in {data_dir}: {error}") from error
        _name_records(reviews, unfinished)
        (data_dir / DIRECTORY).parent.mkdir(parents=True, exist_ok=True)
        (data_dir / _DEFAULT_CONFIG).parent.mkdir(exist_ok=True)
        (unfinished / _DEFAULT_CONFIG).replace(data_dir / _DEFAULT_CONFIG)
        (unfinished / DIRECTORY).rename(data_dir / DIRECTORY)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _build(reviews: Reviews, data_dir: Path, advance: Callable[[int], None]) -> None:
    """Runs TFDS' own builder on reviews that are in memory already."""
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

    with no_logs_or_bars():
        Builder(data_dir=str(data_dir)).download_and_prepare(file_format="array_record")


def _name_records(reviews: Reviews, data_dir: Path) -> None:
    """Writes down the files' names in the order of the records, having checked it against them."""
    names = {}
    for split in ("train", "test"):
        paths = _record_order(split, reviews[split])
        texts, _ = read_split(data_dir, split)
        if texts != [reviews[split][path] for path in paths]:
            raise RuntimeError(f"TFDS has not written the {split} reviews in the order expected")
        names[split] = [path.split("/", maxsplit=2)[2] for path in paths]
    write_file_names(data_dir, names)


def _record_order(split: str, paths: Iterable[str]) -> list[str]:
    """Sorts paths as TFDS does: by the MD5 digest of the split's name followed by the path."""
    return sorted(paths, key=lambda path: hashlib.md5(f"{split}{path}".encode()).digest())
