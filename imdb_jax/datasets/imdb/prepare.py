"""Preparation of the IMDb reviews on disk, from an archive or the network.

TFDS' own builder writes them, in ArrayRecord format, so that plain
`tfds.data_source("imdb_reviews", data_dir=...)` reads them too. TFDS itself would open the archive
through TensorFlow; here `archive` reads it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from imdb_jax.datasets.imdb import download
from imdb_jax.datasets.imdb.archive import ReviewFiles, read_archive
from imdb_jax.datasets.imdb.read import DIRECTORY, is_prepared, read_split, write_file_names
from imdb_jax.errors import UserError
from imdb_jax.progress import Report, announced

_DEFAULT_CONFIG = Path("imdb_reviews", ".config", "metadata.json")


def prepare(
    data_dir: Path, archive: Path | None = None, *, verify: bool = True, report: Report = print
) -> None:
    """Prepare the 100,000 reviews in TFDS' `data_dir`, unless they are already there.

    They come from `archive` (see `read_archive`), or from a download into `data_dir/downloads`.
    The result appears in one rename, so that an interrupted call leaves nothing that looks
    finished. Of several processes, one prepares the reviews while the others wait. Raises
    `DownloadUnreachable`, or `UserError` for a bad archive or if `data_dir` cannot be written.
    """
    if is_prepared(data_dir):
        if archive is not None:
            report(f"The reviews are already prepared in {data_dir}; {archive} is not needed")
        return
    started = time.monotonic()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _only_one_process(data_dir, report):
            if is_prepared(data_dir):
                report(f"Another process has prepared the reviews in {data_dir}")
                return
            directory = data_dir / DIRECTORY
            if directory.exists() and any(directory.iterdir()):
                raise UserError(f"{directory} is incomplete; remove it, then try again")
            if archive is None:  # a download has been verified
                archive, verify = download.fetch(data_dir / "downloads", report), False
            reviews = read_archive(archive, verify=verify, report=report)
            _write(reviews, data_dir, report)
    except OSError as error:
        raise UserError(f"cannot prepare the reviews in {data_dir}: {error}") from error
    total = sum(map(len, reviews.values()))
    report(f"Prepared {total:,} reviews in {data_dir} ({time.monotonic() - started:.0f} s)")


@contextmanager
def no_logs_or_bars() -> Iterator[None]:
    """Keep TFDS' log lines and progress bars from the terminal for a while."""
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


def _only_one_process(data_dir: Path, report: Report) -> Any:
    """Take a lock of the operating system, which a killed process cannot leave behind."""
    import filelock

    lock = filelock.FileLock(data_dir / ".imdb_reviews.lock")
    try:
        return lock.acquire(timeout=0)
    except filelock.Timeout:
        report(f"Waiting for another process that prepares the reviews in {data_dir}")
        return lock.acquire()


def _write(reviews: ReviewFiles, data_dir: Path, report: Report) -> None:
    """Build everything in a directory of its own, then move it into place."""
    unfinished = data_dir / ".imdb_reviews.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)  # a killed process may have left one
    try:
        total = sum(map(len, reviews.values()))
        # For every split, TFDS goes through all files of the archive.
        title, passes = f"Writing {total:,} reviews", total * len(reviews)
        with announced(title, passes, report) as advance, no_logs_or_bars():
            try:
                _build(reviews, unfinished, advance)
            except RuntimeError as error:  # ArrayRecord's, for a full disk and everything else
                raise UserError(f"cannot write the reviews in {data_dir}: {error}") from error
        _name_records(reviews, unfinished)
        (data_dir / DIRECTORY).parent.mkdir(parents=True, exist_ok=True)
        (data_dir / _DEFAULT_CONFIG).parent.mkdir(exist_ok=True)
        (unfinished / _DEFAULT_CONFIG).replace(data_dir / _DEFAULT_CONFIG)
        (unfinished / DIRECTORY).rename(data_dir / DIRECTORY)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _build(reviews: ReviewFiles, data_dir: Path, advance: Callable[[int], None]) -> None:
    """Run TFDS' own builder on reviews in memory."""
    import tensorflow_datasets as tfds

    original: Any = tfds.builder_cls("imdb_reviews")

    def files() -> Iterator[tuple[str, io.BytesIO]]:
        for texts in reviews.values():
            for path, text in texts.items():
                yield path, io.BytesIO(text)
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

            def _split_generators(self, dl_manager: Any) -> Any:
                dl_manager = SimpleNamespace(download=str, iter_archive=lambda path: files())
                return super()._split_generators(dl_manager)

            def _log_download_bytes(self) -> None:
                """Print nothing."""

            _log_download_done = _log_download_bytes

    Builder(data_dir=str(data_dir)).download_and_prepare(file_format="array_record")


def _name_records(reviews: ReviewFiles, data_dir: Path) -> None:
    """Write the files' names in the order of the records, after checking the order by the texts."""
    names = {}
    for split in ("train", "test"):
        # TFDS sorts by the MD5 digest of the split's name followed by the path.
        digests = {path: hashlib.md5(f"{split}{path}".encode()).digest() for path in reviews[split]}
        paths = sorted(digests, key=digests.__getitem__)
        texts, _ = read_split(data_dir, split)
        if texts != [reviews[split][path] for path in paths]:
            raise RuntimeError(f"TFDS has not written the {split} reviews in the order expected")
        names[split] = [path.split("/", maxsplit=2)[2] for path in paths]
    write_file_names(data_dir, names)
