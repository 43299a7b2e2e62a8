"""Measures accuracy, time and memory beside scikit-learn and fastText, on the same reviews.

    python scripts/benchmark_accuracy.py --repeats 3 --json out.json

Every run is a process of its own, timed from its start until it prints its test accuracy, reading
and encoding the reviews included; the runs take turns. Ours begin with an empty cache, but for
`ngram, cached`; the number of the repeat is the seed. Needs the extra `bench`; without fastText,
which has no wheel for Python 3.12 and later, it is left out.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark import cpu_name, show, versions
from benchmark_children import child_environment, python
from rich.table import Table

from imdb_jax import cli, progress
from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically

_AWAITED = "test accuracy"
OURS = {
    "ngram": ("--arch", "ngram"),
    "ngram, cached": ("--arch", "ngram"),
    "ngram, self-trained": ("--arch", "ngram", "--unlabelled", "unsupervised"),
}
RIVALS = {"tfidf": "sklearn", "nbsvm": "sklearn", "fasttext": "fasttext"}
"""The models of `accuracy_rivals.py`, and the package that each needs."""


@dataclass(frozen=True)
class Options:
    """How often to measure, and on what."""

    repeats: int = 3
    """Runs of each."""

    json: Path | None = None
    """Write all figures to this file."""

    dataset: str = "imdb_reviews"
    """'imdb_reviews' or 'synthetic'."""

    data_dir: Path | None = None
    """TFDS data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""


def benchmark(arguments: Sequence[str]) -> None:
    """Parses the arguments, measures, prints the table and writes the JSON file.

    Raises:
      UserError: a bad option, scikit-learn is missing, or a run failed.
    """
    options = cli.parse("benchmark_accuracy", Options(), __doc__ or "", arguments)
    if options.repeats < 1:
        raise UserError(f"repeats must be at least 1, not {options.repeats}")
    if importlib.util.find_spec("sklearn") is None:
        raise UserError("scikit-learn is not installed; pip install 'imdb_jax[bench]'")
    rivals = [name for name, package in RIVALS.items() if importlib.util.find_spec(package)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (*OURS, *rivals)}
    with tempfile.TemporaryDirectory(prefix="imdb_jax_benchmark_") as directory:
        for repeat in range(options.repeats):
            # Each is the first in every other repeat.
            for name in list(found)[:: 1 if repeat % 2 == 0 else -1]:
                figures = measure(name, repeat, Path(directory), options)
                found[name].append(figures)
                progress.note(f"repeat {repeat + 1}/{options.repeats}, {name}: {figures}")
    result = {
        "dataset": options.dataset,
        "device": cpu_name(),
        "cores": os.cpu_count(),
        "versions": versions(),
        "runs": found,
    }
    show(table(f"{options.dataset}, {options.repeats} runs of each", found))
    if options.json:
        write_atomically(options.json, (json.dumps(result, indent=2) + "\n").encode())


def measure(name: str, repeat: int, directory: Path, options: Options) -> dict[str, float]:
    """Runs one of the programs. Gives its accuracy, its seconds and its peak of memory in MB."""
    shared = ["--dataset", options.dataset]
    shared += ["--data-dir", str(options.data_dir.absolute())] if options.data_dir else []
    environment = child_environment("cpu")
    if name not in OURS:
        script = str(Path(__file__).with_name("accuracy_rivals.py"))
        output, seconds = python([script, name, *shared], environment, _AWAITED)
        return figures(output, seconds) | {"peak_mb": float(_number("peak memory", output))}
    workdir = directory / f"run_{name}_{repeat}"
    cache = directory / ("cache" if name.endswith("cached") else f"cache_{name}_{repeat}")
    environment["IMDB_JAX_CACHE"] = str(cache)
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = ["-m", "imdb_jax.train", *OURS[name], *shared, "--quiet", "--seed", str(repeat)]
    if name.endswith("cached") and not cache.exists():
        python([*command, "--workdir", f"{workdir}_first"], environment)
    output, seconds = python([*command, "--workdir", str(workdir)], environment, _AWAITED)
    result = json.loads((workdir / "result.json").read_text(encoding="utf-8"))
    return figures(output, seconds) | {"peak_mb": result["peak_rss_mb"]}


def figures(output: str, seconds: float) -> dict[str, float]:
    """The accuracy that a run has printed, and its seconds."""
    return {"accuracy": float(_number(_AWAITED, output)), "seconds": seconds}


def _number(title: str, output: str) -> str:
    found = re.search(rf"^{title} ([\d.]+)", output, re.MULTILINE)
    if found is None:
        raise UserError(f"a run printed no {title}")
    return found[1]


def table(title: str, found: Mapping[str, Sequence[Mapping[str, float]]]) -> Table:
    """Mean and standard deviation of the accuracy, median seconds with their spread, memory."""
    result = Table(title=title, title_justify="left")
    result.add_column("")
    for heading in ("test accuracy", "seconds", "peak MB"):
        result.add_column(heading, justify="right", no_wrap=True)
    for name, runs in found.items():
        accuracies, seconds, peaks = (
            [run[figure] for run in runs] for figure in ("accuracy", "seconds", "peak_mb")
        )
        deviation = f" ± {statistics.stdev(accuracies):.4f}" if len(runs) > 1 else ""
        result.add_row(
            name,
            f"{statistics.mean(accuracies):.4f}{deviation}",
            f"{statistics.median(seconds):.1f} ({min(seconds):.1f}..{max(seconds):.1f})",
            f"{max(peaks):,.0f}",
        )
    return result


if __name__ == "__main__":
    cli.run_command(benchmark)
