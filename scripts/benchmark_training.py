"""Training against Keras: takes turns, summarizes, compares."""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmark_children import Bench, python
from rich.table import Table

from imdb_jax.errors import UserError
from imdb_jax.exporting import keras_layers
from imdb_jax.pipeline.input_format import create_configured_model
from imdb_jax.progress import Report

OURS = "ours"
FIGURES = {
    "step_seconds": "step (ms)",
    "epoch_seconds": "epoch (s)",
    "total_seconds": "total (s)",
    "cold_seconds": "cold (s)",
    "first_epoch_seconds": "1st epoch (s)",
    "peak_rss_mb": "peak (MB)",
    "test_accuracy": "test accuracy",
}
"""What is measured of each contestant, and how the table calls it."""
# By what a figure is multiplied in a table, and the digits behind its point.
_SCALES = {
    "step_seconds": (1000.0, 1),
    "total_seconds": (1.0, 1),
    "cold_seconds": (1.0, 1),
    "peak_rss_mb": (1.0, 0),
    "test_accuracy": (1.0, 4),
}

_ANNOUNCEMENT = "test accuracy"  # both print it when they are through
# Reviews to validate and to test on where an epoch is cut short: neither is measured then.
_FEW_REVIEWS = 512

Summary = dict[str, Any]


def turns(contestants: Sequence[str], repeats: int) -> list[list[str]]:
    """The order of the contestants in each repeat: each starts one later than the one before.

    A machine that warms up, or that something else slows down for a while, so favors nobody.
    """
    starts = (repeat % len(contestants) for repeat in range(repeats))
    return [[*contestants[start:], *contestants[:start]] for start in starts]


def compare(
    bench: Bench, backends: Sequence[str], repeats: int, steps: int, report: Report
) -> dict[str, Any]:
    """Measures our training and that of Keras on each backend, in turns.

    Args:
      bench: what the measurements share.
      backends: of Keras.
      repeats: measurements of each; the number of the repeat is the seed.
      steps: steps in an epoch; 0 for all.
      report: is told of every measurement.

    Returns:
      The figures. `failures` are the measurements that failed; the others are complete.
    """
    contestants = [OURS, *(f"keras/{backend}" for backend in backends)]
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    failures: list[str] = []

    def attempt(what: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return measure()
        except UserError as error:
            failures.append(f"{what}: {error}")
            report(failures[-1])
            return {}

    for repeat, order in enumerate(turns(contestants, repeats)):
        found: dict[str, dict[str, Any]] = {}
        for name in order:
            what = f"repeat {repeat + 1}/{repeats}, {name}"
            found[name] = attempt(what, partial(_train, bench, name, repeat, steps))
            if found[name]:
                report(f"{what}: {_told(found[name])}")
        # Steps of all right after one another: they are short, and the machine is then the same.
        for name in order:
            what = f"repeat {repeat + 1}/{repeats}, {name}"
            found[name] |= attempt(what, partial(_steps, bench, name, repeat))
            if "step_seconds" in found[name]:
                report(f"{what}: steps of {1000 * found[name]['step_seconds']:.1f} ms")
        for name in order:
            measured[name].append(found[name])
    summaries = {name: summarize(runs) for name, runs in measured.items()}
    versions: dict[str, str] = {}
    for run in itertools.chain(*measured.values()):
        versions |= run.get("versions", {})
    return {
        "repeats": repeats,
        "epochs": bench.config.training.epochs,
        "steps_per_epoch": steps or None,
        "contestants": summaries,
        **ratios(summaries),
        "notes": notes(bench.dataset, steps),
        "versions": versions,
        "failures": failures,
    }


def _told(figures: Mapping[str, Any]) -> str:
    """What a measurement found, in short."""
    first, *later = figures["epoch_seconds"]
    told = f"epochs of {first:.2f} s and then {statistics.median(later):.2f} s"
    for figure in ("total_seconds", "cold_seconds"):
        if figures.get(figure) is not None:
            told += f", {figure.partition('_')[0]} {figures[figure]:.1f} s"
    return told


def notes(dataset: str, steps: int) -> list[str]:
    """What a reader of the figures must know."""
    said = [
        "epochs are those after the first, without validation; with Keras the first includes "
        "compiling, and with ours not",
        "total is from the start of a process to the test accuracy that it prints, and validation "
        "after each epoch belongs to it; both find their reviews encoded, ours in its cache, where "
        "its compiled programs are too, Keras in a file",
        "cold is our total with an empty cache, from raw text; ratio_cold compares it with the "
        "total of Keras, which finds its reviews encoded even so",
    ]
    if dataset == "synthetic":
        said.append("the reviews are the built-in synthetic corpus, not IMDb")
    if steps:
        said.append(
            f"an epoch is its first {steps} steps here, and ratio_epoch is of that part; "
            "ratio_total, ratio_cold and the test accuracies are null, as nothing was trained to "
            "the end"
        )
    return said


def _train(bench: Bench, name: str, repeat: int, steps: int) -> dict[str, Any]:
    request: dict[str, Any] = {"seed": repeat}
    if steps:
        request["train_reviews"] = steps * bench.config.training.batch_size
        request |= {f"{split}_reviews": _FEW_REVIEWS for split in ("validation", "test")}
    if name == OURS:
        return bench.measure("epochs_ours", request) if steps else _train_ours(bench, repeat)
    twin = _twin(bench)
    figures = bench.measure("train_keras", request | twin, _backend(name), _ANNOUNCEMENT)
    if steps:
        return figures | {"test_accuracy": None}
    total = figures["seconds"] - figures["harness_seconds"]
    return figures | {"total_seconds": total}


def _train_ours(bench: Bench, repeat: int) -> dict[str, Any]:
    """Trains as anybody would, by the command: with an empty cache first, then with what it left.

    The figures are those of the second run.
    """
    config, workdir = bench.config, bench.directory / "run"
    cache = bench.directory / "cache"
    environment = {**bench.environment, "IMDB_JAX_CACHE": str(cache)}
    command = ["-m", "imdb_jax.train", "--arch", config.arch, "--dataset", config.data.dataset]
    command += ["--data-dir", str(config.data.data_dir)] if config.data.data_dir else []
    command += ["--epochs", str(config.training.epochs), "--seed", str(repeat), "--quiet"]
    command += ["--workdir", str(workdir)]
    try:
        cold = python(command, environment, _ANNOUNCEMENT).seconds
        shutil.rmtree(workdir)
        total = python(command, environment, _ANNOUNCEMENT).seconds
        text = (workdir / "result.json").read_text(encoding="utf-8")
    finally:
        for directory in (workdir, cache):
            shutil.rmtree(directory, ignore_errors=True)
    result: dict[str, Any] = json.loads(text)
    return result | {"total_seconds": total, "cold_seconds": cold, "versions": {}}


def _steps(bench: Bench, name: str, repeat: int) -> dict[str, float]:
    """Median seconds of a training step, as `step_seconds`."""
    # Keras' step of the lstm takes a second and more.
    steps, warm_up = (8, 2) if bench.config.arch == "lstm" else (30, 5)
    request = {"steps": steps, "warm_up": warm_up, "seed": repeat}
    if name == OURS:
        found = bench.measure("steps_ours", request)
    else:
        found = bench.measure("steps_keras", request | _twin(bench), _backend(name))
    return {"step_seconds": statistics.median(found["step_seconds"])}


def _backend(contestant: str) -> str:
    return contestant.removeprefix("keras/")


def _twin(bench: Bench) -> dict[str, Any]:
    """The layers of the Keras twin: told to Keras' processes, which thus need not import Flax."""
    layers = keras_layers.keras_layers(create_configured_model(bench.config), bench.length)
    return {"length": bench.length, "layers": [(layer.kind, layer.options) for layer in layers]}


def summarize(runs: Sequence[Mapping[str, Any]]) -> Summary:
    """Every figure of a contestant: all its values, their median, and their spread.

    Args:
      runs: the measurements of each repeat. What one lacks, or has as None, is no value.

    Returns:
      Figure -> `values`, `median`, `min`, `max`; or None for a figure without values.
    """
    values: dict[str, list[float]] = {figure: [] for figure in FIGURES}
    for run in runs:
        values["first_epoch_seconds"] += run.get("epoch_seconds", [])[:1]
        values["epoch_seconds"] += run.get("epoch_seconds", [])[1:]
        for figure in FIGURES.keys() - {"first_epoch_seconds", "epoch_seconds"}:
            if run.get(figure) is not None:
                values[figure].append(run[figure])
    return {figure: spread(found) for figure, found in values.items()}


def spread(values: Sequence[float]) -> dict[str, Any] | None:
    """All values, their median, the lowest and the highest; None if there are no values."""
    if not values:
        return None
    median, lowest, highest = statistics.median(values), min(values), max(values)
    return {"values": list(values), "median": median, "min": lowest, "max": highest}


def ratios(summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """Compares ours with whichever Keras backend is the fastest, figure by figure.

    Returns:
      `ratio_step`, `ratio_epoch` and `ratio_total`, by which ours is faster; `ratio_cold`, the
      same total of Keras over our cold start; `ratio_memory`, ours over that of the Keras backend
      that takes the least; and who these were.
    """
    ours = summaries[OURS]
    backends = {_backend(name): found for name, found in summaries.items() if name != OURS}
    best = {figure: _lowest(backends, figure) for figure in FIGURES}

    def times(figure: str, of_ours: str = "") -> float | None:
        """What the best backend needs, in terms of what ours needs."""
        name = best[figure]
        mine, theirs = _median(ours, of_ours or figure), name and _median(backends[name], figure)
        return theirs / mine if mine and theirs else None

    memory, fastest = times("peak_rss_mb"), best["epoch_seconds"]
    return {
        "ratio_step": times("step_seconds"),
        "ratio_epoch": times("epoch_seconds"),
        "ratio_total": times("total_seconds"),
        "ratio_cold": times("total_seconds", "cold_seconds"),
        "ratio_memory": 1 / memory if memory else None,
        "fastest_keras": fastest,
        "fastest_keras_step": best["step_seconds"],
        "fastest_keras_total": best["total_seconds"],
        "leanest_keras": best["peak_rss_mb"],
        "test_accuracy": _mean(ours, "test_accuracy"),
        "keras_test_accuracy": _mean(backends[fastest], "test_accuracy") if fastest else None,
    }


def _lowest(summaries: Mapping[str, Summary], figure: str) -> str | None:
    medians = {name: _median(summary, figure) for name, summary in summaries.items()}
    known = {name: value for name, value in medians.items() if value is not None}
    return min(known, key=known.__getitem__) if known else None


def _median(summary: Summary, figure: str) -> float | None:
    return summary[figure]["median"] if summary[figure] else None


def _mean(summary: Summary, figure: str) -> float | None:
    return statistics.mean(summary[figure]["values"]) if summary[figure] else None


def table(title: str, compared: Mapping[str, Any]) -> Table:
    """The figures of every contestant: the median, and the spread in brackets."""
    result = Table(title=title, title_justify="left")
    result.add_column("", no_wrap=True)
    for heading in FIGURES.values():
        result.add_column(heading, justify="right", no_wrap=True)
    for name, summary in compared["contestants"].items():
        result.add_row(name, *(_cell(figure, summary[figure]) for figure in FIGURES))
    return result


def _cell(figure: str, summary: Summary | None) -> str:
    if summary is None:
        return "-"
    median, lowest, highest = figure_texts(figure, summary)
    return median if lowest == highest else f"{median}\n({lowest}..{highest})"


def figure_texts(figure: str, summary: Mapping[str, Any]) -> tuple[str, str, str]:
    """Median, lowest and highest value of a figure, as a table shows them."""
    scale, digits = _SCALES.get(figure, (1.0, 2))
    median, lowest, highest = (
        f"{scale * summary[key]:.{digits}f}" for key in ("median", "min", "max")
    )
    return median, lowest, highest


def verdict(compared: Mapping[str, Any]) -> list[str]:
    """The ratios in words, a line each, and the notes."""
    lines = []
    for figure, who in (
        ("step", "fastest_keras_step"),
        ("epoch", "fastest_keras"),
        ("total", "fastest_keras_total"),
        ("cold", "fastest_keras_total"),
    ):
        ratio = compared[f"ratio_{figure}"]
        told = "not measured" if ratio is None else f"{ratio:.2f} (against {compared[who]})"
        lines.append(f"ratio_{figure}: {told}")
    memory = compared["ratio_memory"]
    if memory is not None:
        lines.append(f"ratio_memory: {memory:.2f} (of {compared['leanest_keras']}'s)")
    return lines + [f"note: {note}" for note in compared["notes"]]
