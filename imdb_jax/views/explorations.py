"""The figures of a data set for people: tables, drawn on a terminal, else in aligned columns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from imdb_jax.console.terminal import printable
from imdb_jax.datasets.dataset import NEGATIVE_POSITIVE, LabelNames
from imdb_jax.progress import tell


class Table(NamedTuple):
    """A table of text."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def tables_of(figures: dict[str, Any], label_names: LabelNames) -> list[Table]:
    """Arrange what `statistics.explore` returns as tables, with the data set's names of classes."""
    called = dict(zip(NEGATIVE_POSITIVE, label_names, strict=True))
    counts = {"all": figures["class_counts"], **figures["split_class_counts"]}
    sizes = [("reviews", *(f"{sum(count.values()):,}" for count in counts.values()))]
    for label in figures["class_counts"]:
        sizes.append((called[label], *(f"{count[label]:,}" for count in counts.values())))
    cut = f" (ids below {figures['num_words']:,})" if figures["num_words"] else ""
    names = {"0": "shortest", "0.5": "median", "1": "longest"}
    quantiles = [
        (names.get(share, f"{float(share):.0%} quantile"), f"{length:,.0f}")
        for share, length in figures["length_quantiles"].items()
    ]
    lengths = [
        (f"distinct words{cut}", f"{figures['distinct_words']:,}"),
        ("mean length", f"{figures['mean_length']:.5f}"),
        ("standard deviation", f"{figures['std_length']:.6f}"),
        *quantiles,
        (f"longer than {figures['max_length']:,}", f"{figures['share_cut']:.2%}"),
    ]
    frequent = [
        (str(rank), word["word"], f"{word['count']:,}")
        for rank, word in enumerate(figures["frequent_words"], start=1)
    ]
    tables = [
        Table("reviews", ("", *counts), sizes),
        Table("words per review", ("", "value"), lengths),
        Table("most frequent words of the training reviews", ("rank", "word", "count"), frequent),
    ]
    for label, words in figures["typical_words"].items():
        typical = [
            (word["word"], f"{word['score']:.1f}", f"{word['positive']:,}", f"{word['negative']:,}")
            for word in words
        ]
        title = f"words most tied to {called[label]} training reviews (z-scored log-odds ratio)"
        columns = ("word", "z", called["positive"], called["negative"])
        tables.append(Table(title, columns, typical))
    return [table for table in tables if table.rows]


def print_tables(title: str, tables: Sequence[Table]) -> None:
    """Print tables: drawn on a terminal, else in aligned columns."""
    if not sys.stdout.isatty():
        tell(title)
        for table in tables:
            print()
            tell(table.title)
            rows = [table.columns, *table.rows]
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            for row in rows:
                tell("  ".join(map(str.ljust, row, widths)).rstrip())
        return

    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn

    # Words of reviews are text, not markup.
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(printable(title))
    for table in tables:
        console.print(f"\n{printable(table.title)}", style="bold")
        drawn = Drawn(box=box.SIMPLE_HEAD)
        for column in table.columns:
            drawn.add_column(column, justify="left" if column in ("", "word") else "right")
        for row in table.rows:
            drawn.add_row(*map(printable, row))
        console.print(drawn)


def print_review(shown: dict[str, Any], title: str) -> None:
    """Print what `statistics.show_review` returns."""
    tell(f"{shown['split']} review {shown['review']} of {title}: {shown['label']}")
    print()
    contents = shown | {"ids": " ".join(map(str, shown["ids"]))}
    for name in ("text", "ids", "decoded"):
        print(f"{name}:\n{printable(contents[name])}\n")
