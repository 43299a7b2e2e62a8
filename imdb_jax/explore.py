"""Shows what the reviews are like: `python -m imdb_jax.explore --num-words 10000`."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from imdb_jax import cli
from imdb_jax.config import DataOptions
from imdb_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imdb_jax.corpus import Corpus
    from imdb_jax.datasets import Dataset
    from imdb_jax.encoding import Vocabulary
    from imdb_jax.exploration import Exploration

_PLOT_FORMATS = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class Options(DataOptions):
    """Which reviews are looked at, and what is shown of them."""

    num_words: int = 0
    """Word ids from here on count as one, 'unknown'; 0 cuts, as in Keras, the last one only."""

    max_length: int = 500
    """Show how many reviews are cut at this many ids, the start mark included."""

    top: int = 20
    """Number of words in each list."""

    review: int | None = None
    """Show this review instead: as text, as ids and decoded back. The order is load_data's."""

    split: Literal["train", "test"] = "train"
    """Split that the review is of."""

    plot: Path | None = None
    """Draw a histogram and a box plot of the review lengths into this file: PNG, PDF or SVG."""

    json: bool = False
    """Print JSON."""

    quiet: bool = False
    """Print the result only."""

    def __post_init__(self) -> None:
        """Raises `UserError`, naming the option, if a value is out of range."""
        super().__post_init__()
        for name, low in (("max_length", 1), ("top", 0)):
            if getattr(self, name) < low:
                raise UserError(f"{name} must be at least {low}, not {getattr(self, name)}")
        if self.num_words and self.num_words < 5:
            raise UserError(f"num_words must be 0 or at least 5, not {self.num_words}")
        if self.plot and self.plot.suffix.lower() not in _PLOT_FORMATS:
            raise UserError(f"{self.plot} must end in one of {', '.join(_PLOT_FORMATS)}")


def explore(arguments: Sequence[str]) -> None:
    """Parses the arguments, and prints and draws what they ask for."""
    options = cli.parse("imdb_jax.explore", Options(), __doc__ or "", arguments)
    # Imported here so that --help and mistaken options need not wait for NumPy.
    from imdb_jax import exploration
    from imdb_jax.corpus import load_corpus
    from imdb_jax.datasets import Layout, find_dataset
    from imdb_jax.progress import note

    report = (lambda text: None) if options.quiet else note
    dataset = find_dataset(
        options.dataset,
        options.data_dir,
        options.archive,
        options.allow_unverified,
        report,
        Layout.of(options),
    )
    corpus = load_corpus(dataset, report)
    if options.plot:
        title = f"{len(corpus.train.labels) + len(corpus.test.labels):,} reviews, {_title(corpus)}"
        plot_lengths(options.plot, exploration.review_lengths(corpus), title, options.max_length)
    if options.review is not None:
        shown = show_review(dataset, corpus, options.review, options.split, options.num_words)
        if options.json:
            print(json.dumps(shown, indent=2))
        else:
            _print_review(shown, _title(corpus))
        return
    figures = exploration.explore(
        corpus, options.num_words or None, options.max_length, options.top
    )
    if options.json:
        print(json.dumps(dataclasses.asdict(figures), indent=2))
    else:
        print_tables(_title(corpus), tables_of(figures))


def _title(corpus: Corpus[Vocabulary]) -> str:
    if corpus.name == "synthetic":
        return "synthetic corpus, whose figures are not IMDb's"
    return corpus.name


def show_review(
    dataset: Dataset, corpus: Corpus[Vocabulary], number: int, split: str, num_words: int
) -> dict[str, Any]:
    """A review as text, as ids and decoded back.

    Args:
      dataset: where its text comes from.
      corpus: the same data set, encoded.
      number: position among the reviews of the split, in the order of `load_data`.
      split: 'train' or 'test'.
      num_words: ids from here on become 'unknown'; 0 keeps all.

    Raises:
      UserError: there is no such review.
    """
    from imdb_jax.encoding import ranks_to_ids
    from imdb_jax.exploration import shuffled_rows

    rows = shuffled_rows(corpus, split)
    if not 0 <= number < len(rows):
        raise UserError(f"there is no {split} review {number}, only 0 to {len(rows) - 1}")
    row = rows[number]
    reviews = corpus.train if split == "train" else corpus.test
    ids = ranks_to_ids(reviews.ranks[row : row + 1], num_words or None)[0]
    text = dataset.read(split).texts[row]
    return {
        "dataset": corpus.name,
        "split": split,
        "review": number,
        "label": "positive" if reviews.labels[row] == 1 else "negative",
        "text": text if isinstance(text, str) else text.decode("utf-8", "replace"),
        "ids": ids.tolist(),
        "decoded": corpus.vocabulary.decode(ids),
    }


def _print_review(shown: dict[str, Any], title: str) -> None:
    print(f"{shown['split']} review {shown['review']} of {title}: {shown['label']}\n")
    for name, content in (
        ("text", shown["text"]),
        ("ids", " ".join(map(str, shown["ids"]))),
        ("decoded", shown["decoded"]),
    ):
        print(f"{name}:\n{_printable(content)}\n")


class Table(NamedTuple):
    """A table of text: what it is called, its columns, its rows."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def tables_of(figures: Exploration) -> list[Table]:
    """The figures of a data set as tables."""
    counts = {"all": figures.class_counts, **figures.split_class_counts}
    sizes = [("reviews", *(f"{sum(count.values()):,}" for count in counts.values()))]
    for label in figures.class_counts:
        sizes.append((label, *(f"{count[label]:,}" for count in counts.values())))
    cut = f"ids below {figures.num_words:,}" if figures.num_words else "all ids"
    names = {"0": "shortest", "0.5": "median", "1": "longest"}
    quantiles = [
        (names.get(share, f"{float(share):.0%} quantile"), f"{length:,.0f}")
        for share, length in figures.length_quantiles.items()
    ]
    lengths = [
        (f"distinct words ({cut})", f"{figures.distinct_words:,}"),
        ("mean length", f"{figures.mean_length:.5f}"),
        ("standard deviation", f"{figures.std_length:.6f}"),
        *quantiles,
        (f"longer than {figures.max_length:,}", f"{figures.share_cut:.2%}"),
    ]
    found = [
        Table("reviews", ("", *counts), sizes),
        Table("words per review", ("", "ids"), lengths),
    ]
    if figures.frequent_words:
        frequent = [
            (str(rank), word.word, f"{word.count:,}")
            for rank, word in enumerate(figures.frequent_words, start=1)
        ]
        title = "most frequent words of the training reviews"
        found.append(Table(title, ("rank", "word", "count"), frequent))
    for label, words in figures.typical_words.items():
        if words:
            typical = [
                (word.word, f"{word.score:.1f}", f"{word.positive:,}", f"{word.negative:,}")
                for word in words
            ]
            title = f"words most tied to {label} training reviews (z-scored log-odds ratio)"
            found.append(Table(title, ("word", "z", "positive", "negative"), typical))
    return found


def print_tables(title: str, tables: Sequence[Table]) -> None:
    """Prints tables: drawn on a terminal, else in aligned columns."""
    if not sys.stdout.isatty():
        print(title)
        for table in tables:
            print(f"\n{table.title}")
            for line in _aligned([table.columns, *table.rows]):
                print(_printable(line))
        return

    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn

    # Words of reviews are text, not markup.
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(title)
    for table in tables:
        console.print(f"\n{table.title}", style="bold")
        drawn = Drawn(box=box.SIMPLE_HEAD)
        for column in table.columns:
            drawn.add_column(column, justify="left" if column in ("", "word") else "right")
        for row in table.rows:
            drawn.add_row(*map(_printable, row))
        console.print(drawn)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor or what the terminal's encoding lacks."""
    shown = "".join(c if c.isprintable() or c in "\t\n" else "\ufffd" for c in text)
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "replace").decode(encoding)


def plot_lengths(path: Path, lengths: NDArray[np.int64], title: str, max_length: int) -> None:
    """Draws a histogram and a box plot of review lengths.

    Args:
      path: .png, .pdf or .svg.
      lengths: ids of each review, `[num_reviews]`.
      title: of the figure.
      max_length: marked by a line.

    Raises:
      UserError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from imdb_jax.files import write_atomically

    # A Figure of its own rather than pyplot: no display is needed, and no global state is left.
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    histogram, boxes = figure.subplots(1, 2, width_ratios=(3, 1))
    histogram.hist(lengths, bins=60)
    histogram.axvline(max_length, color="C1", linestyle="--", label=f"cut at {max_length}")
    histogram.set(xlabel="ids per review", ylabel="reviews")
    histogram.legend()
    boxes.boxplot(lengths, widths=0.5, flierprops={"marker": ".", "markersize": 2})
    boxes.set(ylabel="ids per review", xticks=[])
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:].lower(), dpi=120)
    try:
        write_atomically(path, image.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def main() -> None:
    """Entry point of the console script."""
    cli.run_command(explore)


if __name__ == "__main__":
    main()
