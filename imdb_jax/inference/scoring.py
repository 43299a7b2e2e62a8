"""Score trained models on labelled reviews: which reviews, what weights, which mistakes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from imdb_jax.config import Config, DataOptions
from imdb_jax.datasets.custom import layout_options
from imdb_jax.datasets.dataset import NEGATIVE_POSITIVE, Dataset, LabelNames, Reviews
from imdb_jax.datasets.find import absolute_paths, find_dataset
from imdb_jax.errors import UserError
from imdb_jax.inference import metrics
from imdb_jax.inference.classifier import Classifier
from imdb_jax.inference.ensemble import equal_weights, fit_weights
from imdb_jax.inference.prediction import Logits
from imdb_jax.pipeline.splits import split_rows
from imdb_jax.progress import Report


def find_reviews(config: Config, options: DataOptions, report: Report) -> tuple[Dataset, bool]:
    """Find the data set that the options name, and say whether the run was trained on it."""
    if not options.dataset and layout_options(options):
        raise UserError("options that describe a data set, such as --text-column, need --dataset")
    if options.dataset not in ("", config.data.dataset):
        dataset = find_dataset(options, report)
        if config.data.dataset not in (dataset.name, absolute_paths(options).dataset):
            return dataset, False
    data_dir = options.data_dir or config.data.data_dir
    own = dataclasses.replace(config.data, data_dir=data_dir, preparation=options.preparation)
    return find_dataset(own, report), True


def read_split(dataset: Dataset, own: Config | None, split: str) -> Reviews:
    """Read the reviews of a split (or 'all'), in the order in which training evaluates them.

    `own` is the configuration of the run if it was trained on this data set, which is then split as
    for training. Raises `UserError` if there is no such split.
    """
    if own is None and split != "all":
        if split == "validation":
            raise UserError(f"{dataset.name} has train and test reviews, but no validation reviews")
        reviews = dataset.read(split)
        return Reviews([*reviews.texts], reviews.labels)
    train, test = dataset.read("train"), dataset.read("test")
    texts, labels = [*train.texts, *test.texts], np.concatenate([train.labels, test.labels])
    if own is None or split == "all":
        return Reviews(texts, labels)
    test_share = 0.0 if dataset.fixed_split else own.data.test_share
    sizes = len(train.labels), len(test.labels)
    rows = split_rows(*sizes, test_share, own.stopping.validation)[split]
    if split == "validation" and not len(rows):
        raise UserError("the run has no validation split, as it held out no reviews")
    return Reviews([texts[row] for row in rows], labels[rows])


def choose_weights(
    members: Sequence[Classifier], dataset: Dataset | None, report: Report
) -> tuple[float, ...]:
    """Fit the weights of an ensemble on the validation reviews of all its models, if there are any.

    They have four digits, for `--weights` to repeat. `dataset` is the models' own, None if absent.
    """
    (validation, *others) = {member.config.stopping.validation for member in members}
    if dataset is None or others or not validation:
        report(
            "all runs have the same weight; to fit weights, evaluate runs that were trained with "
            "the same --validation, on their own data set"
        )
        return equal_weights(len(members))
    reviews = read_split(dataset, members[0].config, "validation")
    logits = [member.measure(reviews)[1] for member in members]
    fitted = fit_weights(np.stack(logits, axis=1), reviews.labels)
    weights = tuple(round(weight, 4) for weight in fitted.tolist())
    report(
        f"weights fitted on {len(reviews.labels):,} reviews held out of train: "
        f"--weights {','.join(map(str, weights))}"
    )
    return weights


def most_confidently_wrong(
    reviews: Reviews, logits: Logits, number: int, label_names: LabelNames = NEGATIVE_POSITIVE
) -> list[dict[str, Any]]:
    """Return label, probability and text of misjudged reviews with the most extreme logits."""
    (wrong,) = np.nonzero((logits > 0) != (reviews.labels > 0))
    worst = wrong[np.argsort(-np.abs(logits[wrong]), kind="stable")[:number]]
    return [
        {
            "label": label_names[reviews.labels[row]],
            "probability": float(metrics.sigmoid(logits[row])),
            "text": reviews.texts[row],
        }
        for row in worst
    ]
