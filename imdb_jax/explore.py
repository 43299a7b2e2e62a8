"""Show what the reviews are like: `python -m imdb_jax.explore --num-words 10000`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imdb_jax import cli
from imdb_jax.config import DataOptions
from imdb_jax.errors import UserError
from imdb_jax.figures import check_plot

if TYPE_CHECKING:
    from imdb_jax.corpus import Corpus
    from imdb_jax.dataset import Dataset
    from imdb_jax.encoding import Vocabulary


@dataclass(frozen=True)
class Options(DataOptions):
    """Which reviews to look at, and what to show."""

    num_words: int = 0
    """Word ids from here on count as one, 'unknown'; 0 cuts only the last one, as Keras does."""

    max_length: int = 500
    """Show how many reviews are cut at this many ids, the start mark included."""

    top: int = 20
    """Number of words in each list."""

    review: int | None = None
    """Show this review instead: as text, as ids and decoded. The order is load_data's."""

    split: Literal["train", "test"] = "train"
    """Split of the review."""

    plot: Path | None = None
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
    # Imported here so that --help and mistaken options need not wait for NumPy.
    from imdb_jax import exploration, explorations, figures, reporting
    from imdb_jax.corpus import load_corpus
    from imdb_jax.datasets import find_dataset

    report = (lambda text: None) if options.quiet else reporting.note
    dataset = find_dataset(options, report)
    corpus = load_corpus(dataset, report)
    title = _title(corpus)
    if options.plot:
        lengths = exploration.review_lengths(corpus)
        heading = f"{len(lengths):,} reviews, {title}"
        figures.plot_lengths(options.plot, heading, lengths, options.max_length)
    if options.review is not None:
        shown = show_review(dataset, corpus, options.review, options.split, options.num_words)
        if options.json:
            print(json.dumps(shown, indent=2))
        else:
            explorations.print_review(shown, title)
        return
    found = exploration.explore(corpus, options.num_words or None, options.max_length, options.top)
    if options.json:
        print(json.dumps(dataclasses.asdict(found), indent=2))
    else:
        explorations.print_tables(title, explorations.tables_of(found))


def _title(corpus: Corpus[Vocabulary]) -> str:
    if corpus.name == "synthetic":
        return "synthetic corpus, whose figures are not IMDb's"
    return corpus.name


def show_review(
    dataset: Dataset, corpus: Corpus[Vocabulary], number: int, split: str, num_words: int
) -> dict[str, Any]:
    """Return a review as text, as ids and decoded.

    Args:
      dataset: where the text comes from.
      corpus: the same data set, encoded.
      number: position in the split, in the order of `load_data`.
      split: 'train' or 'test'.
      num_words: ids from here on become 'unknown'; 0 keeps all.

    Raises:
      UserError: there is no such review.
    """
    from imdb_jax.corpus import keras_orders
    from imdb_jax.encoding import ranks_to_ids

    orders = keras_orders(len(corpus.train.labels), len(corpus.test.labels))
    rows = orders[0] if split == "train" else orders[1]
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


def main() -> None:
    """Run the console script."""
    cli.run_command(explore)


if __name__ == "__main__":
    main()
