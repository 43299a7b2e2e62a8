"""Data sets of one's own: labelled rows of a file, or of a data set that TFDS has prepared."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from imdb_jax.config import DataOptions, replace
from imdb_jax.datasets import labelled, tables, tfds
from imdb_jax.datasets.columns import LABEL_COLUMNS, TEXT_COLUMNS, choose_column
from imdb_jax.datasets.dataset import Dataset, Reviews, StreamedTexts
from imdb_jax.datasets.labelled import Ratings, Source, Summary
from imdb_jax.errors import UserError
from imdb_jax.progress import Report
from imdb_jax.text.tokens import Text

_TEST_SHARE = 0.2  # of data without a test split, unless the options say another share
# The options that say which texts are read, with which labels, and which of them to test on.
LAYOUT = (
    *("text_column", "label_column", "positive", "positive_from", "negative_to"),
    *("test", "test_share"),
)


def layout_options(options: DataOptions) -> list[str]:
    """Return the names of the options that say what to read of such data and that are set."""
    return [name for name in LAYOUT if getattr(options, name) != getattr(DataOptions(), name)]


def refuse_options(options: DataOptions, *names: str) -> None:
    """Raise `UserError` if one of these options, which mean nothing to the data set, is set."""
    for name in layout_options(options):
        if name in names:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} does not apply to --dataset {options.dataset}")


def file_dataset(options: DataOptions, report: Report) -> Dataset:
    """Return the labelled reviews of a file, with a test split from `options.test` or set apart.

    Raises `UserError` if a file cannot be read, or lacks columns, two classes or rows.
    """
    path, test = Path(options.dataset), options.test
    columns = _choose_columns(tables.column_names(path), options, str(path))
    files = [path]
    if test is not None:
        same = replace(options, text_column=columns[0], label_column=columns[1])
        _choose_columns(tables.column_names(test), same, str(test))
        if test.samefile(path):
            raise UserError(f"--test must name another file than {path}")
        files.append(test)
    ratings = _ratings(options, columns[1])
    sources = [
        Source(str(file), partial(tables.read_rows, file, columns), ratings) for file in files
    ]
    dataset = _from_sources(path.name, sources, options, report)
    return dataclasses.replace(dataset, fixed_split=True)


def tfds_dataset(prepared: tfds.PreparedSet, options: DataOptions, report: Report) -> Dataset:
    """Return a labelled text data set that TFDS has prepared.

    A test split that is missing or without labels is replaced by the validation split, else by a
    share of the training reviews. Raises `UserError` if there are no training reviews, no such
    features or not two labels, or for damage.
    """
    name = prepared.name
    refuse_options(options, "test")
    columns = _choose_columns(prepared.features, options, name)
    ratings = _ratings(options, columns[1])
    if "train" not in prepared.splits:
        raise UserError(f"{name} has no split 'train', only {', '.join(prepared.splits) or 'none'}")
    sources: dict[str, Source] = {
        split: Source(f"{name} {split}", partial(prepared.rows, split, *columns), ratings)
        for split in ("train", "test", "validation")
        if split in prepared.splits
    }
    tests = [split for split in sources if split != "train" and any(sources[split].examples())]
    if tests[:1] != ["test"]:
        problem = "the test labels are hidden" if "test" in sources else "there is no test split"
        instead = "the validation split" if tests else "a share of the training reviews"
        report(f"{name}: {problem}; {instead} becomes the test split")
    used = [sources[split] for split in ("train", *tests[:1])]
    return _from_sources(name, used, options, report)


def _choose_columns(names: Sequence[str], options: DataOptions, where: str) -> tuple[str, str]:
    text = choose_column(names, options.text_column, TEXT_COLUMNS, where, "--text-column")
    label = choose_column(names, options.label_column, LABEL_COLUMNS, where, "--label-column")
    if text == label:
        raise UserError(f"{where}: the column {text!r} cannot be both text and label")
    return text, label


def _ratings(options: DataOptions, column: str) -> Ratings | None:
    if options.positive_from is None:
        return None
    return Ratings(column, options.positive_from, options.negative_to)


def _from_sources(
    name: str, sources: list[Source], options: DataOptions, report: Report
) -> Dataset:
    """Make a data set of one source, or of one with training and one with test reviews."""
    summaries = [labelled.summarize(source, report) for source in sources]
    counts = [Counter(summary.labels) for summary in summaries]
    if ratings := sources[0].ratings:
        positive, negative = ratings.positive, ratings.negative
        for label in (positive, negative):
            if not counts[0][label]:
                raise UserError(f"{sources[0].name} has no row with {label}")
        spellings = {label: label for label in (positive, negative)}
    else:
        # The training reviews must have both labels, and all reviews together no third one.
        for labels in (counts[0], sum(counts, Counter())):
            positive, negative = labelled.choose_positive(labels, options.positive, name)
        spellings = summaries[0].spellings
    for source, count in zip(sources, counts, strict=True):
        report(
            f"{source.name}: {count.total():,} reviews, {count[positive]:,} "
            f"{spellings[positive]!r} (positive) and {count[negative]:,} "
            f"{spellings[negative]!r} (negative)"
        )
    chosen = [np.ones(len(summary.labels), bool) for summary in summaries]
    if is_share := len(sources) == 1:
        share = options.test_share or _TEST_SHARE
        testing = labelled.choose_test_rows(summaries[0].digests, share)
        report(f"{name}: {testing.sum():,} of the reviews become the test split")
        sources, summaries, chosen = sources * 2, summaries * 2, [~testing, testing]
    else:
        known = set(summaries[0].digests)
        if repeated := sum(digest in known for digest in summaries[1].digests):
            report(f"{sources[1].name}: {repeated:,} of its texts are also training reviews")
    if not all(rows.any() for rows in chosen):
        raise UserError(f"{name} has too few reviews for a training and a test split")
    parts = zip(sources, summaries, chosen, strict=True)
    (train, train_digest), (test, test_digest) = (_split(*part, positive) for part in parts)
    return Dataset(
        name=name,
        fingerprint=hashlib.sha256(train_digest + test_digest).hexdigest(),
        ties="alphabetical",
        read={"train": train, "test": test}.__getitem__,
        test_is_share=is_share,
        fixed_split=is_share,
        label_names=labelled.class_names(negative, positive, spellings),
    )


def _split(
    source: Source, summary: Summary, chosen: Bool[np.ndarray, " num_rows"], positive: str
) -> tuple[Reviews, bytes]:
    """Return the chosen rows, and a digest of texts, labels and order, not of the file's format."""
    labels = np.array([label == positive for label in summary.labels], np.int8)[chosen]

    def texts() -> Iterator[Text]:
        for (text, _), keep in zip(source.examples(), chosen, strict=True):
            if keep:
                yield text

    digests = itertools.compress(summary.digests, chosen)
    rows = (digest + label.tobytes() for digest, label in zip(digests, labels, strict=True))
    digest = hashlib.sha256(b"".join(rows)).digest()
    return Reviews(StreamedTexts(texts, range(len(labels))), labels), digest
