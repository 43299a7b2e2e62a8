"""The tables of docs/performance.md, made of what `benchmark.py` has measured in one sitting."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from benchmark_training import OURS, figure_texts

_FIGURES = {
    "step_seconds": "step, ms",
    "epoch_seconds": "epoch, s",
    "total_seconds": "total, s",
    "cold_seconds": "cold, s",
    "peak_rss_mb": "peak, MB",
    "test_accuracy": "accuracy",
}
_WITHOUT_SPREAD = ("peak_rss_mb", "test_accuracy")
_RATIOS = ("step", "epoch", "total", "cold", "memory")

Recipe = Mapping[str, Any]


def tables(recipes: Mapping[str, Recipe]) -> str:
    """Markdown: the figures, their ratios, and what they were taken on.

    Args:
      recipes: by name, at least one, what `benchmark.py` writes of each as JSON.
    """
    figures = _header(["recipe", "on", *_FIGURES.values()])
    ratios = _header(["recipe", *_RATIOS])
    for arch, recipe in recipes.items():
        for name, summary in recipe["contestants"].items():
            cells = [_cell(figure, summary[figure]) for figure in _FIGURES]
            on = name if name == OURS else f"Keras, {name.removeprefix('keras/')}"
            figures.append(_row([f"`{arch}`", on, *cells]))
        found = (recipe[f"ratio_{figure}"] for figure in _RATIOS)
        ratios.append(_row([f"`{arch}`", *("-" if r is None else f"{r:.2f}" for r in found)]))
    parts = ["\n".join(figures), textwrap.fill(footnote(recipes), 100), "\n".join(ratios)]
    return "\n\n".join(parts)


def footnote(recipes: Mapping[str, Recipe]) -> str:
    """Says how much was trained, on what, with which versions, and whether anything went wrong."""
    first = next(iter(recipes.values()))
    trained = ", ".join(
        f"{recipe['epochs']} epochs"
        + (f" of {recipe['steps_per_epoch']} steps" if recipe["steps_per_epoch"] else "")
        + f" of `{arch}`"
        for arch, recipe in recipes.items()
    )
    versions: dict[str, str] = {}
    for recipe in recipes.values():
        versions |= recipe["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    load = first["load_average"]
    at_start = "" if load is None else f", load average {load:.2f} at the start"
    said = [
        f"Repeats: {first['repeats']}, of {trained}.",
        f"{first['cores']} cores of {first['device']}; {first['date']}{at_start}; {listed}.",
    ]
    if any(recipe["dataset"] == "synthetic" for recipe in recipes.values()):
        said.append("The reviews are the built-in synthetic corpus, not IMDb.")
    failed = sum(len(recipe["failures"]) for recipe in recipes.values())
    if failed:
        said.append(f"Measurements that failed, and are left out: {failed}.")
    return " ".join(said)


def _header(cells: list[str]) -> list[str]:
    return [_row(cells), f"|{'---|' * len(cells)}"]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(figure: str, summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return "-"
    median, lowest, highest = figure_texts(figure, summary)
    if figure in _WITHOUT_SPREAD or lowest == highest:
        return median
    return f"{median} ({lowest}-{highest})"
