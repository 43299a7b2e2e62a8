"""Measures a trained model on labelled reviews: `python -m imdb_jax.evaluate runs/cnn`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro
from jaxtyping import Float32

from imdb_jax import cli
from imdb_jax.config import Config, DataOptions
from imdb_jax.errors import UserError

if TYPE_CHECKING:
    from imdb_jax.classifier import Classifier
    from imdb_jax.datasets import Dataset, Reviews
    from imdb_jax.progress import Report

_TEXT_WIDTH = 300
_FIGURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Options(DataOptions):
    """What to measure, on which reviews, and how to show it."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = ""
    """Run directory, such as runs/cnn; or several, whose log-odds are averaged."""

    weights: str = ""
    """By what to multiply the log-odds of each of several runs, joined by commas. By default they
    are fitted on the reviews that all runs have held out by the same --validation; where there are
    none, all count the same."""

    dataset: str = ""
    """By default the data set that the run was trained on, split as it was then. Else as for
    training: 'imdb_reviews', 'synthetic', a file, or another data set that TFDS has prepared; the
    words are looked up in the run's vocabulary all the same."""

    split: Literal["", "test", "train", "validation", "all"] = ""
    """Which of the reviews; by default 'test', and of another data set that has no test reviews of
    its own, 'all'."""

    wrong: int = 5
    """How many of the most confidently misjudged reviews to show."""

    json: bool = False
    """Print a JSON object."""

    plot: Path | None = None
    """Draw the ROC curve and the reliability diagram to this .png, .svg or .pdf file."""

    quiet: bool = False
    """Print the result only."""


def parse_arguments(arguments: Sequence[str]) -> Options:
    """Reads the options. Raises `UserError` for a bad one."""
    default = Options(run=tyro.MISSING)
    options = cli.parse("imdb_jax.evaluate", default, __doc__ or "", cli.join_runs(arguments))
    if options.wrong < 0:
        raise UserError(f"wrong must be at least 0, not {options.wrong}")
    if options.plot and options.plot.suffix not in _FIGURES:
        raise UserError(f"{options.plot} must end in one of {', '.join(_FIGURES)}")
    return options


def evaluate(arguments: Sequence[str]) -> None:
    """Parses the arguments, evaluates, and prints the result."""
    options = parse_arguments(arguments)
    # Imported here so that --help and mistaken options need not wait for JAX.
    from imdb_jax import views
    from imdb_jax.ensemble import load_members, parse_weights, run_paths
    from imdb_jax.progress import note

    report: Report = (lambda text: None) if options.quiet else note
    paths = run_paths(options.run)
    weights = parse_weights(options.weights, len(paths)) if options.weights else None
    members = load_members(paths)
    config = members[0].config
    dataset, own = find_reviews(config, options, report)
    # To hold reviews out of data that the model has not seen would only waste them.
    split = options.split or ("all" if dataset.held_out and not own else "test")
    reviews = read_split(dataset, config if own else None, split)
    if not len(reviews.labels):
        raise UserError(f"{dataset.name} has no {split} reviews")
    result = {"dataset": dataset.name, "split": split, "num_reviews": len(reviews.labels)}
    if len(members) == 1:
        figures, logits = measure(members[0], reviews)
    else:
        weights = weights or choose_weights(members, dataset if own else None, report)
        figures, logits = measure_ensemble(members, weights, reviews)
        result |= {"runs": list(map(str, paths)), "weights": weights}
    wrong = most_confidently_wrong(reviews, logits, options.wrong)
    result |= {**figures, "wrong": wrong}
    if options.plot:
        name = " and ".join(path.resolve().name for path in paths)
        title = f"{name} on {dataset.name}, {split}"
        views.plot_evaluation(options.plot, title, reviews.labels, logits)
    print(json.dumps(result) if options.json else "\n".join(views.evaluation_lines(result)))


def find_reviews(config: Config, options: DataOptions, report: Report) -> tuple[Dataset, bool]:
    """Finds the data set that the options name, and says whether it is the one of the run."""
    from imdb_jax.datasets import Layout, absolute_paths, find_dataset

    def find(source: DataOptions) -> Dataset:
        return find_dataset(
            source.dataset,
            options.data_dir or source.data_dir,
            options.archive,
            options.allow_unverified,
            report,
            Layout.of(source),
        )

    if options.dataset in ("", config.dataset):
        if not options.dataset and Layout.of(options) != Layout():
            raise UserError("options that say how reviews are laid out go with --dataset only")
        return find(config), True
    dataset = find(options)
    if config.dataset in (dataset.name, absolute_paths(options).dataset):
        return find(config), True
    return dataset, False


def read_split(dataset: Dataset, own: Config | None, split: str) -> Reviews:
    """Reads the reviews of a split, in the order in which training evaluates them.

    Args:
      dataset: where they are.
      own: the configuration of the run if it was trained on this data set, which is then split as
        it was for training; else None.
      split: 'test', 'train', 'validation' or 'all'.

    Raises:
      UserError: there is no such split.
    """
    from imdb_jax.datasets import Reviews
    from imdb_jax.pipeline import split_rows

    if own is None and split == "validation":
        raise UserError(f"{dataset.name} has train and test reviews, and no validation reviews")
    if own is None and split != "all":
        reviews = dataset.read(split)
        return Reviews([*reviews.texts], reviews.labels)
    train, test = dataset.read("train"), dataset.read("test")
    texts, labels = [*train.texts, *test.texts], np.concatenate([train.labels, test.labels])
    if own is not None and split != "all":
        test_share = 0.0 if dataset.fixed_split else own.test_share
        sizes = len(train.labels), len(test.labels)
        rows = getattr(split_rows(*sizes, test_share, own.validation), split)
        if split == "validation" and not len(rows):
            raise UserError("the run held out no reviews for validation; there is no such split")
        texts, labels = [texts[row] for row in rows], labels[rows]
    return Reviews(texts, labels)


def measure(
    classifier: Classifier, reviews: Reviews
) -> tuple[dict[str, Any], Float32[np.ndarray, " num_reviews"]]:
    """Evaluates a model as training does, and computes what else follows from its logits.

    Args:
      classifier: the model, whose vocabulary the texts are encoded by.
      reviews: at least one.

    Returns:
      loss, accuracy and what `metrics.summary` gives; and the logits.

    Raises:
      UserError: a logit is not a finite number.
    """
    import jax
    import jax.numpy as jnp

    from imdb_jax import metrics
    from imdb_jax.evaluation import evaluate_each
    from imdb_jax.optimizer import keras_adam
    from imdb_jax.pipeline import Examples, data_mesh, replicated
    from imdb_jax.step import TrainState

    mesh = data_mesh()
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=classifier.params,
        opt_state=(),
        dropout_key=jax.random.key(0),
        apply_fn=classifier.model.apply,
        optimizer=keras_adam(),
        loss=classifier.config.loss,
    )
    examples = Examples(classifier.encode_each(reviews.texts), reviews.labels.astype(np.float32))
    means, logits = evaluate_each(jax.device_put(state, replicated(mesh)), examples, mesh)
    if not np.isfinite(logits).all():
        raise UserError("the model's output for some reviews is not a finite number")
    return {**means._asdict(), **metrics.summary(examples.labels, logits)}, logits


def choose_weights(
    members: Sequence[Classifier], dataset: Dataset | None, report: Report
) -> tuple[float, ...]:
    """Fits the weights of an ensemble on what all its models have held out, if anything.

    Args:
      members: the models.
      dataset: what they were trained on; None if it is not at hand.
      report: receives a line that says what the weights are, and why.

    Returns:
      The weights, to four digits, so that `--weights` can repeat them.
    """
    from imdb_jax.ensemble import equal_weights, fit_weights

    (validation, *others) = {member.config.validation for member in members}
    if dataset is None or others or not validation:
        report(
            "all runs have the same weight; to fit weights, evaluate runs that were trained with "
            "the same --validation, on their own data set"
        )
        return equal_weights(len(members))
    held_out = read_split(dataset, members[0].config, "validation")
    logits = [measure(member, held_out)[1] for member in members]
    fitted = fit_weights(np.stack(logits, axis=1), held_out.labels)
    weights = tuple(round(weight, 4) for weight in fitted.tolist())
    report(
        f"weights fitted on {len(held_out.labels):,} reviews held out of train: "
        f"--weights {','.join(map(str, weights))}"
    )
    return weights


def measure_ensemble(
    members: Sequence[Classifier], weights: Sequence[float], reviews: Reviews
) -> tuple[dict[str, Any], Float32[np.ndarray, " num_reviews"]]:
    """Does for a weighted sum of log-odds what `measure` does for a model.

    Returns:
      The figures, whose loss is the cross-entropy whatever the models were trained by; and the
      sums.
    """
    from imdb_jax import metrics

    logits = np.zeros(len(reviews.labels), np.float32)
    for member, weight in zip(members, weights, strict=True):
        logits += np.float32(weight) * measure(member, reviews)[1]
    positive = reviews.labels > 0
    figures = {
        "loss": float(np.logaddexp(0, np.where(positive, -logits, logits)).mean()),
        "accuracy": float(((logits > 0) == positive).mean()),
    }
    return figures | metrics.summary(positive.astype(np.float32), logits), logits


def most_confidently_wrong(
    reviews: Reviews, logits: Float32[np.ndarray, " num_reviews"], number: int
) -> list[dict[str, Any]]:
    """The misjudged reviews with the most extreme logits, the worst first, their texts shortened.

    Returns:
      For each its label, the probability that the model gives for 'positive', and its text.
    """
    from imdb_jax.metrics import sigmoid
    from imdb_jax.views import printable

    (wrong,) = np.nonzero((logits > 0) != (reviews.labels > 0))
    worst = wrong[np.argsort(-np.abs(logits[wrong]), kind="stable")[:number]]
    return [
        {
            "label": "positive" if reviews.labels[row] else "negative",
            "probability": float(sigmoid(logits[row])),
            "text": printable(reviews.texts[row], _TEXT_WIDTH),
        }
        for row in worst
    ]


def main() -> None:
    """Entry point of the console script."""
    cli.run_command(evaluate)


if __name__ == "__main__":
    main()
