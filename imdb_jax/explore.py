"""Show what the reviews are like.

python -m imdb_jax.explore --num-words 10000
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import tyro

from imdb_jax import cli
from imdb_jax.config import DataOptions, OptionalPath
from imdb_jax.errors import UserError
from imdb_jax.views.figures import check_plot


@dataclass(frozen=True)
class Options(DataOptions):
    """Which reviews to look at, and what to show."""

    num_words: int = 0
    """Word ids from here on count as one, 'unknown'; 0 cuts only the last one, as Keras does."""

    max_length: int = 500
    """Show how many reviews are cut at this many ids, the start mark included."""

    top: int = 20
    """Number of words in each list."""

    review: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Show this review instead: as text, as ids and decoded. The order is load_data's."""

    split: Literal["train", "test"] = "train"
    """Split of the review."""

    plot: OptionalPath = None
    """Draw a histogram and a box plot of the review lengths into this file: PNG, PDF or SVG."""

    json: bool = False
    """Print JSON."""

    quiet: bool = False
    """Print the result only."""

    def __post_init__(self) -> None:
        """Raise `UserError`, naming the option, if a value is out of range."""
        super().__post_init__()
        for name, low in (("max_length", 1), ("top", 0)):
            if getattr(self, name) < low:
                raise UserError(f"{name} must be at least {low}, not {getattr(self, name)}")
        if self.num_words and self.num_words < 5:
            raise UserError(f"num_words must be 0 or at least 5, not {self.num_words}")
        check_plot(self.plot)


def explore(arguments: Sequence[str]) -> None:
    """Parse the arguments, and print and draw what they ask for."""
    options = cli.parse("imdb_jax.explore", Options(), __doc__ or "", arguments)
    from imdb_jax import progress
    from imdb_jax.datasets.find import find_dataset
    from imdb_jax.pipeline import statistics
    from imdb_jax.pipeline.corpus import load_corpus
    from imdb_jax.views import explorations, figures

    report = progress.unless(options.quiet)
    dataset = find_dataset(options, report)
    corpus = load_corpus(dataset, report)
    invented = "synthetic corpus: invented reviews, not IMDb's"
    title = invented if corpus.name == "synthetic" else corpus.name
    if options.plot:
        lengths = statistics.review_lengths(corpus)
        heading = f"{len(lengths):,} reviews, {title}"
        figures.plot_lengths(options.plot, heading, lengths, options.max_length)
    num_words = options.num_words or None
    if options.review is not None:
        shown = statistics.show_review(dataset, corpus, options.split, options.review, num_words)
        if options.json:
            print(json.dumps(shown, indent=2))
        else:
            explorations.print_review(shown, title)
        return
    found = statistics.explore(corpus, num_words, options.max_length, options.top)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        explorations.print_tables(title, explorations.tables_of(found, dataset.label_names))


main = partial(cli.run_command, explore)

if __name__ == "__main__":
    main()
