"""Measure a trained model on labelled reviews.

python -m imdb_jax.evaluate runs/cnn
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
    """What to measure, on which reviews, and how to show it."""

    runs: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")
    ] = ()
    """Run directory, such as runs/cnn; or several, whose log-odds are averaged."""

    weights: str = ""
    """Factors for the log-odds of several runs, joined by commas; by default fitted on the reviews
    that all runs held out by the same --validation, or all the same if there are none."""

    dataset: str = ""
    """By default the data set that the run was trained on, split as it was then; else as for
    training: 'imdb_reviews', 'synthetic', a file, or another data set that TFDS has prepared; its
    words are looked up in the run's vocabulary all the same."""

    split: Literal["", "test", "train", "validation", "all"] = ""
    """Which reviews; by default 'test', or 'all' of another data set without test reviews."""

    wrong: int = 5
    """How many of the most confidently misjudged reviews to show."""

    json: bool = False
    """Print a JSON object."""

    plot: OptionalPath = None
    """Draw the ROC curve and the reliability diagram to this .png, .svg or .pdf file."""

    quiet: bool = False
    """Print the result only."""


def parse_arguments(arguments: Sequence[str]) -> Options:
    """Read the options, or raise `UserError` for a bad one."""
    options = cli.parse("imdb_jax.evaluate", Options(), __doc__ or "", arguments)
    if not options.runs:
        raise UserError("RUN is missing; name the run directory to evaluate, such as runs/cnn")
    if options.wrong < 0:
        raise UserError(f"wrong must be at least 0, not {options.wrong}")
    check_plot(options.plot)
    return options


def evaluate(arguments: Sequence[str]) -> None:
    """Parse the arguments, evaluate, and print the result."""
    options = parse_arguments(arguments)
    from imdb_jax import progress
    from imdb_jax.inference import scoring
    from imdb_jax.inference.ensemble import Ensemble, load_members, parse_weights
    from imdb_jax.views import figures, predictions

    report = progress.unless(options.quiet)
    paths = cli.run_paths(*options.runs)
    weights = parse_weights(options.weights, len(paths)) if options.weights else None
    members = load_members(paths)
    config = members[0].config
    dataset, own = scoring.find_reviews(config, options, report)
    # To hold reviews out of data that the model has not seen would only waste them.
    split = options.split or ("all" if dataset.test_is_share and not own else "test")
    reviews = scoring.read_split(dataset, config if own else None, split)
    if not len(reviews.labels):
        raise UserError(f"{dataset.name} has no {split} reviews")
    names = members[0].label_names
    result = {"dataset": dataset.name, "split": split, "num_reviews": len(reviews.labels)}
    result["labels"] = list(names)
    if len(members) == 1:
        measured, logits = members[0].measure(reviews)
    else:
        weights = weights or scoring.choose_weights(members, dataset if own else None, report)
        measured, logits = Ensemble(members, weights).measure(reviews)
        result |= {"runs": list(map(str, paths)), "weights": weights}
    wrong = scoring.most_confidently_wrong(reviews, logits, options.wrong, names)
    for review in wrong:
        review["text"] = predictions.beginning(review["text"], width=300)
    result |= {**measured, "wrong": wrong}
    if options.plot:
        runs = " and ".join(path.resolve().name for path in paths)
        title = f"{runs} on {dataset.name}, {split}"
        figures.plot_evaluation(options.plot, title, reviews.labels, logits)
    for line in [json.dumps(result)] if options.json else predictions.evaluation_lines(result):
        progress.tell(line)


main = partial(cli.run_command, evaluate)

if __name__ == "__main__":
    main()
