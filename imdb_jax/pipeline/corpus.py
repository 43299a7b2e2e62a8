"""Encoded data sets: built once, kept in a cache on disk, memory-mapped from there.

The cache holds ranks rather than ids, so that one entry serves every choice of vocabulary size. Its
entries (see `cache`) are in `cache_directory()/encoded`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Int8
from numpy.typing import NDArray

from imdb_jax import text
from imdb_jax.datasets.dataset import Dataset, Extent
from imdb_jax.files import cache_directory, save_blocks
from imdb_jax.parallel.exchange import all_agree, gather
from imdb_jax.pipeline.cache import entry_name, open_entry, source_digest, write_entry
from imdb_jax.progress import Report
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.text.sequences import Sequences
from imdb_jax.text.tokens import separate_words
from imdb_jax.text.vocabulary import Vocabulary
from imdb_jax.text.words import WordCounts, count_words

_SPLITS = ("train", "test")
_ARRAYS = ("ranks", "offsets", "labels")
_BYTES_AT_A_TIME = 1 << 22

V = TypeVar("V", Vocabulary, NgramVocabulary)


@dataclass(frozen=True)
class EncodedReviews:
    """The reviews of a split as the ranks (from 1) of their words in the vocabulary.

    In a corpus of n-grams, `ranks` are the distinct ids of the n-grams, ascending. `labels` are 1
    for positive, 0 for negative.
    """

    ranks: Sequences
    labels: Int8[np.ndarray, " num_reviews"]

    def __getitem__(self, rows: NDArray[Any]) -> EncodedReviews:
        """Return the reviews of these rows, in this order."""
        return EncodedReviews(self.ranks[rows], self.labels[rows])


@dataclass(frozen=True)
class Corpus(Generic[V]):
    """An encoded data set, with the vocabulary of its training reviews.

    `directory` is its entry of the cache, None if it is not cached. `extent` says which reviews
    these are if they are a part of a data set.
    """

    name: str
    vocabulary: V
    train: EncodedReviews
    test: EncodedReviews
    directory: Path | None = None
    extent: Extent | None = None


def load_corpus(dataset: Dataset, report: Report = print) -> Corpus[Vocabulary]:
    """Encode a data set word by word, or open it in the cache if it is there and undamaged.

    Texts are read as a stream, encoded on all cores, and written to the cache as they come: memory
    holds only the vocabulary, and the length and the label of each review.

    Every process that has a part of a data set must call this function: the words of all parts are
    counted together, so that the vocabulary is that of the whole. `report` receives a line if the
    cached encoding is damaged or cannot be written.
    """
    merged: list[WordCounts] = []

    def count_all(counts: WordCounts) -> WordCounts:
        if dataset.extent is None:
            return counts
        if not merged:  # only once, even if a process must encode twice
            merged.append(WordCounts())
            for part in gather(counts.to_bytes()):
                merged[0].add_bytes(part)
        return merged[0]

    def write(directory: Path) -> None:
        counts = WordCounts()
        train = dataset.read("train")
        _write_split(
            directory, "train", train.labels, count_words(train.texts, separate_words, counts)
        )
        del train  # one split at a time is enough in memory
        vocabulary = Vocabulary.from_counts(count_all(counts), dataset.ties)
        vocabulary.save(directory / vocabulary.FILE)
        # The ranks are known only now that all words are counted.
        _replace(directory / "train_ranks.npy", vocabulary.ranks_of(counts))
        test = dataset.read("test")
        _write_split(directory, "test", test.labels, vocabulary.rank_blocks(test.texts))

    def encode() -> Corpus[Vocabulary]:
        train = dataset.read("train")
        vocabulary, ranks = Vocabulary.build_and_rank(train.texts, dataset.ties, count_all)
        train_reviews = EncodedReviews(ranks, train.labels)
        del train  # one split at a time is enough in memory
        test = dataset.read("test")
        test_reviews = EncodedReviews(vocabulary.rank(test.texts), test.labels)
        return Corpus(dataset.name, vocabulary, train_reviews, test_reviews, extent=dataset.extent)

    identity = _identity(dataset, ties=dataset.ties)
    return _load(dataset, report, identity, Vocabulary, write, encode)


def load_ngrams(
    dataset: Dataset, max_n: int, min_df: int, report: Report = print
) -> Corpus[NgramVocabulary]:
    """Encode a data set as sets of n-grams, which must fit in memory, or open it in the cache.

    `max_n` and `min_df` are those of `NgramVocabulary.build_and_encode`.
    """

    @functools.cache
    def encode() -> Corpus[NgramVocabulary]:
        train = dataset.read("train")
        vocabulary, ids = NgramVocabulary.build_and_encode(train.texts, max_n, min_df)
        train_reviews = EncodedReviews(ids, train.labels)
        del train  # one split at a time is enough in memory
        test = dataset.read("test")
        test_reviews = EncodedReviews(vocabulary.encode(test.texts), test.labels)
        return Corpus(dataset.name, vocabulary, train_reviews, test_reviews)

    def write(directory: Path) -> None:
        corpus = encode()
        corpus.vocabulary.save(directory / corpus.vocabulary.FILE)
        for split in _SPLITS:
            reviews: EncodedReviews = getattr(corpus, split)
            _write_split(directory, split, reviews.labels, [reviews.ranks])

    identity = _identity(dataset, max_n=max_n, min_df=min_df)
    return _load(dataset, report, identity, NgramVocabulary, write, encode)


def _identity(dataset: Dataset, **options: Any) -> dict[str, Any]:
    """Return all that determines an encoding, the code of text/ and of this module included."""
    code = source_digest(text.__file__ or "", __file__)
    return {"code": code, "dataset": dataset.name, "fingerprint": dataset.fingerprint, **options}


def _load(
    dataset: Dataset,
    report: Report,
    identity: dict[str, Any],
    kind: type[V],
    write: Callable[[Path], None],
    encode: Callable[[], Corpus[V]],
) -> Corpus[V]:
    """Open the entry of this identity; else `write` it; if that fails, `encode` in memory."""
    entry = cache_directory() / "encoded" / entry_name(dataset.name, identity)

    def read(entry: Path) -> Corpus[V]:
        splits = {}
        for split in _SPLITS:
            ranks, offsets, labels = (
                np.load(entry / f"{split}_{array}.npy", mmap_mode="r") for array in _ARRAYS
            )
            splits[split] = EncodedReviews(Sequences(ranks, np.array(offsets)), np.array(labels))
        vocabulary = kind.load(entry / kind.FILE)
        return Corpus(dataset.name, vocabulary, **splits, directory=entry, extent=dataset.extent)

    def on_damage(error: Exception) -> None:
        report(f"The cached encoding {entry} is damaged ({error}); encoding again.")

    cached = open_entry(entry, identity, read, on_damage)
    # If one process must count its part again, all must.
    usable = cached is not None if dataset.extent is None else all_agree(cached is not None)
    if cached and usable:
        return cached
    try:
        write_entry(entry, identity, write)
        return read(entry)
    except OSError as error:
        report(f"The encoded reviews cannot be cached in {entry.parent}: {error.strerror}.")
        return encode()


def _write_split(
    directory: Path, split: str, labels: NDArray[np.int8], blocks: Iterable[Sequences]
) -> None:
    """Write the reviews of a split, which come in blocks, as arrays."""
    lengths = [np.zeros(0, np.int64)]

    def values() -> Iterator[NDArray[np.int32]]:
        for block in blocks:
            lengths.append(block.lengths)
            yield block.values

    save_blocks(directory / f"{split}_ranks.npy", np.int32, values())
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    save_blocks(directory / f"{split}_offsets.npy", np.int64, [offsets])
    save_blocks(directory / f"{split}_labels.npy", np.int8, [labels])


def _replace(path: Path, table: NDArray[np.int32]) -> None:
    """Replace each number in an array on disk by the entry of a table at that index."""
    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        while block := file.read(_BYTES_AT_A_TIME):
            file.seek(-len(block), os.SEEK_CUR)
            file.write(table[np.frombuffer(block, np.int32)].data)
