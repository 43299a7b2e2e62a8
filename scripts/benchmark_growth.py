"""How an epoch's seconds and memory grow with the number of training reviews."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_children import Bench
from jaxtyping import Float, UInt
from rich.table import Table

from imdb_jax.config import Config, replace
from imdb_jax.errors import UserError
from imdb_jax.progress import Report

_CHUNK = 8192  # reviews gathered at a time
_SAMPLE_SECONDS = 0.05
_TEST_REVIEWS = 1000  # validated on after the epoch, which is not measured

NOTE = (
    "peak memory counts the pages of the mapped file of reviews that are in memory: they are the "
    "system's cache, which it takes back when memory is short; anonymous memory is what training "
    "itself holds"
)


def measure_growth(
    bench: Bench, sizes: Sequence[int], scratch: Path | None, report: Report
) -> dict[str, Any]:
    """Trains an epoch on each number of reviews, each in a process of its own.

    Args:
      bench: what the measurements share; its training reviews are repeated.
      sizes: numbers of training reviews.
      scratch: directory for the files of reviews; None for the system's. They are removed.
      report: is told of every measurement.

    Raises:
      UserError: the directory is missing or too full.
    """
    ids, labels = (np.load(bench.directory / f"train_{name}.npy") for name in ("ids", "labels"))
    if scratch and not scratch.is_dir():
        raise UserError(f"there is no directory {scratch}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="imdb_jax_growth_", dir=scratch) as directory:
        need, free = max(sizes) * ids[0].nbytes, shutil.disk_usage(directory).free
        if need > free:
            raise UserError(
                f"{max(sizes)} reviews take {need / 1e9:.1f} GB, {Path(directory).parent} has "
                f"{free / 1e9:.1f} GB left; choose another --scratch"
            )
        for size in sizes:
            file = Path(directory) / f"{size}.npy"
            write_repeated(file, ids, labels, size)
            found = bench.measure("growth", {"file": str(file), "test_reviews": _TEST_REVIEWS})
            file.unlink()
            rows.append({"train_reviews": size, **found})
            report(f"{size} reviews: {found['epoch_seconds']:.2f} s")
    return {"growth": rows, "growth_note": NOTE}


def write_repeated(
    file: Path,
    ids: UInt[np.ndarray, "num_reviews length"],
    labels: Float[np.ndarray, " num_reviews"],
    size: int,
) -> None:
    """Writes reviews over and over, each time in another order, until there are enough.

    Args:
      file: .npy file for the ids `[size, length]`; the labels `[size]` go beside it.
      ids: the reviews. No more than a few of them are copied at a time.
      labels: theirs.
      size: how many to write; if no multiple of `num_reviews`, the last time some are left out.
    """
    rng = np.random.default_rng(0)
    whole = np.lib.format.open_memmap(file, "w+", ids.dtype, (size, ids.shape[1]))
    orders = [rng.permutation(len(ids)) for _ in range(-(-size // len(ids)))]
    order = np.concatenate(orders)[:size]
    for start in range(0, size, _CHUNK):
        whole[start : start + _CHUNK] = ids[order[start : start + _CHUNK]]
    whole.flush()
    np.save(labels_of(file), labels[order])


def labels_of(file: Path) -> Path:
    """Where the labels of a file of ids are."""
    return file.with_suffix(".labels.npy")


def train_on_file(
    config: Config,
    file: Path,
    test_ids: UInt[np.ndarray, "num_test length"],
    test_labels: Float[np.ndarray, " num_test"],
) -> dict[str, Any]:
    """Trains an epoch on the reviews that `write_repeated` wrote, mapped into memory."""

    from imdb_jax.parallel.host_memory import keep_freed_memory, peak_rss_mb
    from imdb_jax.pipeline.input_format import create_configured_model
    from imdb_jax.pipeline.splits import Examples, Splits
    from imdb_jax.training.trainer import Trainer

    train = Examples(np.asarray(np.load(file, mmap_mode="r")), np.load(labels_of(file)))
    splits = Splits(train, None, Examples(test_ids, test_labels))
    config = replace(config, epochs=1)
    with watched_memory() as peak:
        keep_freed_memory()  # as training does
        trainer = Trainer(config, create_configured_model(config), splits)
        seconds = trainer.train_epoch().seconds
    return {
        "epoch_seconds": seconds,
        "seconds_per_25000": seconds * 25_000 / len(train),
        "peak_rss_mb": peak_rss_mb(),
        "peak_anonymous_mb": peak[0] or None,
    }


@contextmanager
def watched_memory() -> Iterator[list[float]]:
    """Watches how much memory (MB) this process and its children hold besides mapped files.

    Yields:
      A list of one number, the most seen so far; 0 where the system does not tell.
    """
    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        while True:
            peak[0] = max(peak[0], _anonymous_mb())
            if stop.wait(_SAMPLE_SECONDS):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def _anonymous_mb() -> float:
    children = [_read(file) for file in Path("/proc/self/task").glob("*/children")]
    numbers = ["self", *" ".join(children).split()]
    lines = [line for n in numbers for line in _read(Path(f"/proc/{n}/status")).splitlines()]
    return sum(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon:"))


def _read(file: Path) -> str:
    """The text of a file; none if the process that it is about has ended."""
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def table(title: str, measured: dict[str, Any]) -> Table:
    """A row per number of reviews."""
    result = Table(title=title, title_justify="left")
    for heading in ("training reviews", "epoch (s)", "s per 25,000", "peak (MB)", "anonymous (MB)"):
        result.add_column(heading, justify="right", no_wrap=True)
    for row in measured["growth"]:
        memory = (row["peak_rss_mb"], row["peak_anonymous_mb"])
        result.add_row(
            f"{row['train_reviews']:,}",
            f"{row['epoch_seconds']:.2f}",
            f"{row['seconds_per_25000']:.2f}",
            *("-" if value is None else f"{value:.0f}" for value in memory),
        )
    return result
