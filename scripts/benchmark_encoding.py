"""Measure how encoding, padding and an epoch grow with the data: from raw text, through the cache.

    python scripts/benchmark_encoding.py --sizes 25000,400000,1600000 --json out.json
    python scripts/benchmark_encoding.py --against ../other-checkout

The training reviews are repeated, as a data set that is read as a stream; training does the same
with any data set. Each size is measured in a process of its own, with a cache of its own that is
removed afterwards: about 1.5 kB a review. `--rates` measures instead how much of its time one
process spends where its threads cannot share the work. `--against` compares this checkout with
another, in turns: IMDb's 50,000 reviews from text to the cache, and a whole run of `ngram` that
finds an empty cache.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark import parse_sizes, show

from imdb_jax import cli, progress
from imdb_jax.config import replace
from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically

if TYPE_CHECKING:
    from imdb_jax.datasets.dataset import Dataset

_STAGES = {"encode": "encoding", "pad": "padding", "epoch": "epoch of pooled"}


@dataclass(frozen=True)
class Options:
    """What to measure."""

    sizes: str = "25000,400000,1600000"
    """Numbers of training reviews, with commas between them."""

    scratch: Path | None = None
    """Directory for the caches; by default the system's."""

    json: Path | None = None
    """Write all figures to this file."""

    dataset: Literal["imdb_reviews", "synthetic"] = "imdb_reviews"
    """Whose training reviews are repeated."""

    data_dir: Path | None = None
    """TFDS data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""

    rates: bool = False
    """Measure the time of one thread: to read, merge and write, and to cut batches."""

    against: Path | None = None
    """Another checkout to compare this one with."""

    repeats: int = 3
    """Measurements of each checkout."""

    only: int = 0
    """Measure this number in this process, whose cache is the environment's, and print JSON."""


def benchmark(arguments: Sequence[str]) -> None:
    """Parses the arguments, measures, prints a table and writes the JSON file."""
    options = cli.parse("benchmark_encoding", Options(), __doc__ or "", arguments)
    if options.only:
        print(json.dumps(measure(options)))
        return
    if options.against:
        show(compare(options))
        return
    if options.rates:
        print(json.dumps(rates(options), indent=2))
        return
    rows = []
    for size in parse_sizes(options.sizes):
        with tempfile.TemporaryDirectory(prefix="imdb_jax_", dir=options.scratch) as cache:
            command = [sys.executable, __file__, *arguments, "--only", str(size)]
            environment = {**os.environ, "IMDB_JAX_CACHE": cache, "JAX_PLATFORMS": "cpu"}
            finished = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if finished.returncode:
            raise UserError(f"the measurement of {size} reviews failed")
        rows.append(json.loads(finished.stdout.splitlines()[-1]))
        progress.note(f"{size} reviews: {rows[-1]}")
    show(table(rows))
    if options.json:
        write_atomically(options.json, json.dumps(rows, indent=2).encode())


def repeated(dataset: Dataset, size: int) -> Dataset:
    """A data set whose training reviews are those of another over and over, read as a stream."""
    import numpy as np

    from imdb_jax.datasets.dataset import Reviews, StreamedTexts

    def read(split: str) -> Reviews:
        reviews = dataset.read(split)
        if split != "train":
            return reviews

        def texts() -> Iterator[str | bytes]:
            return itertools.chain.from_iterable(itertools.repeat(reviews.texts))

        return Reviews(StreamedTexts(texts, range(size)), np.resize(reviews.labels, size))

    return dataclasses.replace(dataset, fingerprint=f"{dataset.fingerprint} {size}", read=read)


def measure(options: Options) -> dict[str, Any]:
    """Seconds of each stage, and how much memory besides mapped files it took at most."""
    from benchmark_growth import watched_memory

    from imdb_jax.config import DataOptions, load_recipe
    from imdb_jax.datasets.find import find_dataset
    from imdb_jax.parallel.host_memory import keep_freed_memory
    from imdb_jax.pipeline.corpus import load_corpus
    from imdb_jax.pipeline.input_format import configured_input_format, create_configured_model
    from imdb_jax.pipeline.splits import make_splits
    from imdb_jax.training.trainer import Trainer

    config = replace(load_recipe("pooled"), epochs=1, quiet=True)
    source = DataOptions(dataset=options.dataset, data_dir=options.data_dir)
    dataset = repeated(find_dataset(source), options.only)
    found: dict[str, Any] = {"train_reviews": options.only}

    started = time.perf_counter()
    with watched_memory() as peak:
        corpus = load_corpus(dataset)
    found |= {"encode_seconds": time.perf_counter() - started, "encode_mb": peak[0]}
    found |= {"encoded_reviews": len(corpus.train.labels) + len(corpus.test.labels)}

    started = time.perf_counter()
    with watched_memory() as peak:
        splits = make_splits(corpus, configured_input_format(config))
    found |= {"pad_seconds": time.perf_counter() - started, "pad_mb": peak[0]}

    with watched_memory() as peak:
        keep_freed_memory()  # as training does
        epoch = Trainer(config, create_configured_model(config), splits).train_epoch()
    return found | {"epoch_seconds": epoch.seconds, "epoch_mb": peak[0]}


def rates(options: Options) -> dict[str, float]:
    """Microseconds of this thread: to have a review numbered by others, and to shuffle and cut."""
    import numpy as np

    from imdb_jax.config import DataOptions
    from imdb_jax.datasets.find import find_dataset
    from imdb_jax.files import save_blocks
    from imdb_jax.parallel.devices import data_mesh
    from imdb_jax.pipeline import shuffling
    from imdb_jax.pipeline.batching import batches
    from imdb_jax.pipeline.splits import Examples
    from imdb_jax.text.tokens import separate_words
    from imdb_jax.text.words import WordCounts, count_words

    source = DataOptions(dataset=options.dataset, data_dir=options.data_dir)
    texts = repeated(find_dataset(source), 100_000).read("train").texts
    found = {}
    with tempfile.TemporaryDirectory(dir=options.scratch) as directory:
        started = time.thread_time()
        blocks = count_words(texts, separate_words, WordCounts())
        numbers = (block.values for block in blocks)
        save_blocks(Path(directory, "numbers.npy"), np.int32, numbers)
        found["feed_us_per_review"] = (time.thread_time() - started) / len(texts) * 1e6

    examples = Examples(np.ones((1_600_000, 256), np.uint16), np.ones(1_600_000, np.float32))
    for name, largest in (("table", shuffling.LARGEST_TABLE), ("computed", 0)):
        shuffling.LARGEST_TABLE = largest
        order = shuffling.epoch_order(len(examples), 0, 1)
        started = time.process_time()
        number = sum(len(batch.weights) for batch in batches(examples, 512, data_mesh(), [order]))
        found[f"batch_us_per_review_{name}"] = (time.process_time() - started) / number * 1e6

    order = shuffling.epoch_order(10**9, 0, 1)
    started = time.process_time()
    for first in range(0, 64 * 512 * 20, 64 * 512):
        order[np.arange(first, first + 64 * 512)]
    found["order_us_per_512_of_a_billion"] = (time.process_time() - started) / (64 * 20) * 1e6
    return found


# What every version of the package can do. Loading the modules is not part of the time.
_WORDS = """
import time, imdb_jax
get_word_index = imdb_jax.get_word_index
started = time.perf_counter()
get_word_index(dataset="imdb_reviews")
print(time.perf_counter() - started)
"""


def compare(options: Options) -> Any:
    """Measure two checkouts in turns, and return a table of medians."""
    from rich.table import Table

    here = Path(__file__).parents[1]
    checkouts = {"this": here, "other": (options.against or here).absolute()}
    rows: dict[str, dict[str, list[float]]] = {}
    for repeat in range(options.repeats):
        for name in list(checkouts)[:: 1 if repeat % 2 == 0 else -1]:
            with tempfile.TemporaryDirectory(prefix="imdb_jax_", dir=options.scratch) as scratch:
                environment = {
                    **os.environ,
                    "IMDB_JAX_CACHE": f"{scratch}/cache",
                    "PYTHONPATH": str(checkouts[name]),
                }
                run = partial(
                    subprocess.run, env=environment, cwd=scratch, capture_output=True, check=True
                )
                words = float(run([sys.executable, "-c", _WORDS]).stdout)
                started = time.perf_counter()
                train = "imdb_jax.train", "--arch", "ngram", "--quiet", "--workdir", "ngram"
                run([sys.executable, "-m", *train])
                ngram = time.perf_counter() - started
            for stage, seconds in (("text to cache, s", words), ("ngram, cold, s", ngram)):
                rows.setdefault(stage, {}).setdefault(name, []).append(seconds)
            progress.note(f"{name}: text to cache {words:.2f} s, ngram {ngram:.1f} s")
    result = Table("", *checkouts, "other / this", title="50,000 reviews", title_justify="left")
    for stage, figures in rows.items():
        medians = {name: statistics.median(values) for name, values in figures.items()}
        cells = [f"{medians[name]:.2f}" for name in checkouts]
        result.add_row(stage, *cells, f"{medians['other'] / medians['this']:.2f}")
    return result


def table(rows: Sequence[dict[str, Any]]) -> Any:
    """A row per number of reviews."""
    from rich.table import Table

    result = Table(title="the training reviews repeated", title_justify="left")
    result.add_column("training reviews", justify="right")
    for stage in _STAGES.values():
        for unit in ("s", "MB"):
            result.add_column(f"{stage}, {unit}", justify="right")
    result.add_column("encoded per s", justify="right")
    for row in rows:
        cells = [f"{row[f'{stage}_{unit}']:.1f}" for stage in _STAGES for unit in ("seconds", "mb")]
        rate = row["encoded_reviews"] / row["encode_seconds"]
        result.add_row(f"{row['train_reviews']:,}", *cells, f"{rate:,.0f}")
    return result


if __name__ == "__main__":
    cli.run_command(benchmark)
