"""What a run learns from: the data set of its configuration, found, encoded and split."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from imdb_jax.config import Config
from imdb_jax.datasets.dataset import NEGATIVE_POSITIVE, Dataset, LabelNames
from imdb_jax.datasets.find import find_dataset
from imdb_jax.errors import UserError
from imdb_jax.parallel.exchange import num_processes, one_first, process_number
from imdb_jax.pipeline.corpus import Corpus, EncodedReviews, load_corpus, load_ngrams
from imdb_jax.pipeline.input_format import (
    InputFormat,
    configured_input_format,
    create_configured_model,
)
from imdb_jax.pipeline.splits import Examples, Splits, make_splits, shard_bounds
from imdb_jax.progress import Report, note
from imdb_jax.runs.soft_labels import SoftLabels, with_texts
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class ExperimentData:
    """The data set that a run learns from, encoded and split."""

    dataset: str
    fingerprint: str  # changes whenever the reviews do
    vocabulary: Vocabulary | NgramVocabulary
    splits: Splits
    label_names: LabelNames = NEGATIVE_POSITIVE


def load_data_for(
    config: Config, report: Report = note, soft: SoftLabels | None = None
) -> ExperimentData:
    """Find, encode and split the data set of a configuration; each process gets its parts.

    With soft labels, words remain those of the labelled reviews; n-grams are those of both. Raises
    `UserError` if no reviews are left to train, validate or test on.
    """
    with one_first("reviews prepared"):
        dataset = find_dataset(config.data, report)
    form = configured_input_format(config)
    load = _load_ngrams if form.ngrams else _load_words
    vocabulary, splits = load(config, form, dataset, report, soft)
    for part, examples in (("train", splits.train), ("test", splits.test)):
        if not len(examples):
            raise UserError(
                f"{dataset.name} has no reviews left to {part} on; change test_share or validation"
            )
    if config.stopping.validation and splits.validation is None:
        raise UserError(f"validation {config.stopping.validation:g} holds out no review; raise it")
    fingerprint = f"{dataset.fingerprint} {soft.fingerprint}" if soft else dataset.fingerprint
    return ExperimentData(dataset.name, fingerprint, vocabulary, splits, dataset.label_names)


def _load_words(
    config: Config, form: InputFormat, dataset: Dataset, report: Report, soft: SoftLabels | None
) -> tuple[Vocabulary, Splits]:
    # With several processes, each reads and encodes a part.
    several = num_processes() > 1
    own = dataset.part(process_number(), num_processes()) if several else dataset
    corpus = load_corpus(own, report)
    splits = _split(config, corpus, form, dataset)
    if soft:
        assert isinstance(splits.train.ids, np.ndarray)
        ids = form.ids(corpus.vocabulary.rank(soft.texts), splits.train.ids.shape[1])
        train = splits.train.join(Examples(ids, soft.probabilities))
        splits = dataclasses.replace(splits, train=train)
    return corpus.vocabulary, splits


def _load_ngrams(
    config: Config, form: InputFormat, dataset: Dataset, report: Report, soft: SoftLabels | None
) -> tuple[NgramVocabulary, Splits]:
    model: Any = create_configured_model(config)
    both = with_texts(dataset, soft.texts) if soft else dataset
    corpus = load_ngrams(both, model.max_n, model.min_df, report)
    if not soft:
        return corpus.vocabulary, _split(config, corpus, form, dataset)
    ranks, labels = corpus.train.ranks, corpus.train.labels
    num_labelled = len(labels) - len(soft.texts)
    counted = Examples(ranks[num_labelled:], soft.probabilities)
    labelled = EncodedReviews(ranks[:num_labelled], labels[:num_labelled])
    splits = _split(config, dataclasses.replace(corpus, train=labelled), form, dataset)
    return corpus.vocabulary, dataclasses.replace(splits, counted=counted)


def _split(config: Config, corpus: Corpus[Any], form: InputFormat, dataset: Dataset) -> Splits:
    shards = config.training.shards or 1
    local_parts = range(*shard_bounds(shards, num_processes())[process_number() :][:2])
    test_share = 0.0 if dataset.fixed_split else config.data.test_share
    form_of_words = None if form.ngrams else form
    return make_splits(
        corpus, form_of_words, test_share, config.stopping.validation, shards, local_parts
    )
