"""Encoded data sets: built once, kept in a cache on disk, memory-mapped from there.

The cache holds ranks rather than ids, so that one entry serves every choice of vocabulary size.
See `caches` for the entries, which lie under `cache_directory()/encoded`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Int8, Int64
from numpy.typing import NDArray

from imdb_jax import (
    encoding,
    key_table,
    ngram_tokens,
    ngrams,
    numbering,
    python2_dict,
    word_counts,
    word_table,
)
from imdb_jax.caches import (
    cache_directory,
    entry_name,
    open_entry,
    source_digest,
    write_entry,
)
from imdb_jax.config import DataOptions
from imdb_jax.dataset import Dataset, Extent
from imdb_jax.datasets import find_dataset
from imdb_jax.encoding import (
    INDEX_FROM,
    START_ID,
    UNKNOWN_ID,
    Sequences,
    Vocabulary,
    limit_ids,
    normalized,
    ranks_to_ids,
)
from imdb_jax.errors import UserError
from imdb_jax.exchange import all_agree, gather
from imdb_jax.files import save_blocks
from imdb_jax.ngrams import NgramVocabulary
from imdb_jax.numbering import Numbering
from imdb_jax.progress import Report
from imdb_jax.word_counts import WordCounts

_SPLITS = ("train", "test")
_ARRAYS = ("ranks", "offsets", "labels")
_VALUES_AT_A_TIME = 1 << 20
# The source that determines an entry: when it changes, so does the entry's name.
_WORDS = (__file__, encoding.__file__, word_counts.__file__, word_table.__file__)
_CODE = (*_WORDS, numbering.__file__, python2_dict.__file__)
_NGRAM_CODE = (*_WORDS, ngrams.__file__, ngram_tokens.__file__, key_table.__file__)

V = TypeVar("V", Vocabulary, NgramVocabulary)


@dataclass(frozen=True)
class EncodedReviews:
    """The reviews of a split as word ranks.

    Attributes:
      ranks: rank (from 1) of every word of every review; words not in the vocabulary are left out.
        In a corpus of n-grams, the distinct ids of every review's n-grams, ascending.
      labels: 1 for positive, 0 for negative, int8 `[num_reviews]`.
    """

    ranks: Sequences
    labels: Int8[np.ndarray, " num_reviews"]

    def __getitem__(self, rows: NDArray[Any]) -> EncodedReviews:
        """The reviews of these rows, in this order."""
        return EncodedReviews(self.ranks[rows], self.labels[rows])


@dataclass(frozen=True)
class Corpus(Generic[V]):
    """An encoded data set.

    Attributes:
      name: the data set's name.
      vocabulary: the words, or the n-grams, of its training reviews.
      train: training reviews.
      test: test reviews.
      directory: the entry of the cache that holds it; None where it is not cached.
      extent: which reviews these are, if they are a part of a data set.
    """

    name: str
    vocabulary: V
    train: EncodedReviews
    test: EncodedReviews
    directory: Path | None = None
    extent: Extent | None = None


def load_corpus(dataset: Dataset, report: Report = print) -> Corpus[Vocabulary]:
    """Encodes a data set word by word, or takes it from the cache if it is there and undamaged.

    Texts are read as a stream, numbered on all cores and written to the cache as they come: in
    memory are no more than the vocabulary, and the length and the label of each review.

    Of a part of a data set, each process is to call it with another one. The words of all parts are
    counted together, so that the vocabulary is that of the whole.
    """
    merged: list[WordCounts] = []

    def count_all(counts: WordCounts) -> WordCounts:
        if not merged:  # only once, whatever a process encodes again
            merged.append(_merge_counts(gather(counts.to_bytes())))
        return merged[0]

    counting = count_all if dataset.extent else None

    def write(directory: Path) -> None:
        _encode_into(directory, dataset, counting)

    def encode() -> Corpus[Vocabulary]:
        train = dataset.read("train")
        vocabulary, ranks = Vocabulary.build_and_rank(train.texts, dataset.ties, counting)
        train_reviews = EncodedReviews(ranks, train.labels)
        del train  # the texts of one split at a time are enough in memory
        test = dataset.read("test")
        test_reviews = EncodedReviews(vocabulary.rank(test.texts), test.labels)
        return Corpus(dataset.name, vocabulary, train_reviews, test_reviews, extent=dataset.extent)

    identity = _identity(dataset, _CODE) | {"ties": dataset.ties}
    return _load(dataset, report, identity, Vocabulary, write, encode)


def load_ngrams(
    dataset: Dataset, max_n: int, min_df: int, report: Report = print
) -> Corpus[NgramVocabulary]:
    """Encodes a data set as sets of n-grams, or takes it from the cache.

    Args:
      dataset: the reviews; the n-grams of all of them must fit in memory.
      max_n: words of the longest n-grams.
      min_df: training reviews that an n-gram must occur in at least.
      report: receives a line where a cached encoding turns out to be damaged.
    """

    @functools.cache
    def encode() -> Corpus[NgramVocabulary]:
        train = dataset.read("train")
        vocabulary, ids = NgramVocabulary.build_and_encode(train.texts, max_n, min_df)
        train_reviews = EncodedReviews(ids, train.labels)
        del train  # the texts of one split at a time are enough in memory
        test = dataset.read("test")
        test_reviews = EncodedReviews(vocabulary.encode(test.texts), test.labels)
        return Corpus(dataset.name, vocabulary, train_reviews, test_reviews)

    def write(directory: Path) -> None:
        corpus = encode()
        corpus.vocabulary.save(directory / corpus.vocabulary.FILE)
        for split in _SPLITS:
            reviews: EncodedReviews = getattr(corpus, split)
            _write_split(directory, split, reviews.labels, [reviews.ranks])

    identity = _identity(dataset, _NGRAM_CODE) | {"max_n": max_n, "min_df": min_df}
    return _load(dataset, report, identity, NgramVocabulary, write, encode)


def _identity(dataset: Dataset, modules: Sequence[str]) -> dict[str, Any]:
    return {
        "code": source_digest(*modules),
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
    }


def _load(
    dataset: Dataset,
    report: Report,
    identity: dict[str, Any],
    kind: type[V],
    write: Callable[[Path], None],
    encode: Callable[[], Corpus[V]],
) -> Corpus[V]:
    """Encode a data set, or open it in the cache if it is there and undamaged.

    Args:
      dataset: the reviews.
      report: receives a line if the cached encoding is damaged or cannot be written.
      identity: all that determines the result.
      kind: class of the vocabulary.
      write: encodes the reviews into the files of a cache entry.
      encode: encodes them in memory, for when nothing can be cached.
    """
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
    usable = cached is not None
    if dataset.extent:
        usable = all_agree(usable)
    if cached and usable:
        return cached
    try:
        write_entry(entry, identity, write)
        return read(entry)
    except OSError as error:
        reason = error.strerror or error  # NumPy's, for a full disk, has no strerror
        report(f"The encoded reviews cannot be cached in {entry.parent}: {reason}.")
        return encode()


def _merge_counts(parts: Iterable[bytes]) -> WordCounts:
    merged = WordCounts()
    for part in parts:
        merged.merge(WordCounts.from_bytes(part))
    return merged


def _encode_into(
    directory: Path, dataset: Dataset, count_all: Callable[[WordCounts], WordCounts] | None
) -> None:
    """Encodes a data set word by word into the files of an entry, some reviews at a time."""
    counts = WordCounts()
    with Numbering(counts) as pool:
        train = dataset.read("train")
        blocks = pool.number(normalized(train.texts))
        numbered = (Sequences.from_lengths(counts.add(block), block.lengths) for block in blocks)
        _write_split(directory, "train", train.labels, numbered)
        del train, blocks, numbered  # of whose source the texts may be in memory
        vocabulary, rank_of_number = Vocabulary.from_counts(counts, dataset.ties, count_all)
        vocabulary.save(directory / vocabulary.FILE)
        # Which is known only now that all words are counted.
        _replace(directory / "train_ranks.npy", rank_of_number)

        test = dataset.read("test")
        rank_or_zero = np.append(rank_of_number, np.int32(0))  # 0 for number -1
        ranked = (
            Sequences.from_lengths(rank_or_zero[counts.look_up(block)], block.lengths)
            for block in pool.number(normalized(test.texts))
        )
        found = (ranks.select(ranks.values > 0) for ranks in ranked)
        _write_split(directory, "test", test.labels, found)


def _write_split(
    directory: Path, split: str, labels: NDArray[np.int8], blocks: Iterable[Sequences]
) -> None:
    """Writes the reviews of a split, which are given in blocks, as arrays."""
    lengths = [np.zeros(0, np.int64)]

    def values() -> Iterator[NDArray[np.int32]]:
        for block in blocks:
            lengths.append(block.lengths)
            yield block.values

    save_blocks(directory / f"{split}_ranks.npy", np.int32, values())
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    np.save(directory / f"{split}_offsets.npy", offsets)
    np.save(directory / f"{split}_labels.npy", labels)


def _replace(path: Path, table: NDArray[np.int32]) -> None:
    """Replaces each number in an array on disk by what a table has for it."""
    values = np.load(path, mmap_mode="r+")
    for start in range(0, len(values), _VALUES_AT_A_TIME):
        block = values[start : start + _VALUES_AT_A_TIME]
        block[:] = table[block]
    values.flush()


def keras_orders(
    num_train: int, num_test: int, seed: int = 113
) -> tuple[Int64[np.ndarray, " num_train"], Int64[np.ndarray, " num_test"]]:
    """The orders in which `keras.datasets.imdb.load_data` gives train and test reviews."""
    generator = np.random.RandomState(seed)
    train, test = np.arange(num_train), np.arange(num_test)
    generator.shuffle(train)
    generator.shuffle(test)
    return train, test


def keras_shuffle(
    corpus: Corpus[Vocabulary], seed: int = 113
) -> tuple[EncodedReviews, EncodedReviews]:
    """Train and test reviews in the order in which `keras.datasets.imdb.load_data` gives them."""
    train, test = keras_orders(len(corpus.train.labels), len(corpus.test.labels), seed)
    return corpus.train[train], corpus.test[test]


Arrays = tuple[NDArray[np.object_], NDArray[np.int64]]


def load_data(
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int = 113,
    start_char: int | None = START_ID,
    oov_char: int | None = UNKNOWN_ID,
    index_from: int = INDEX_FROM,
    *,
    dataset: str = "imdb_reviews",
    data_dir: str | os.PathLike[str] | None = None,
    exact: bool = False,
) -> tuple[Arrays, Arrays]:
    """Gives the reviews as word ids, like `keras.datasets.imdb.load_data`, from their text.

    Args:
      num_words: ids from here on become `oov_char`. As in Keras, None means the highest id there
        is, so that this one word is cut.
      skip_top: ids below this become `oov_char`.
      maxlen: leaves out reviews of this many ids or more.
      seed: of the order of the reviews.
      start_char: put before each review; None puts nothing.
      oov_char: stands for words cut; None leaves them out.
      index_from: added to each rank.
      dataset: 'imdb_reviews', 'synthetic' or 'auto', as in `find_dataset`.
      data_dir: TFDS data directory.
      exact: demand the very arrays that Keras gives. They follow from reviews that this package
        prepared. Where others did, the order of the reviews and of words that occur equally often
        is another.

    Returns:
      `(x_train, y_train), (x_test, y_test)`: x is an object array `[num_reviews]` of lists of ids,
      y int64 `[num_reviews]`, 1 for positive.

    Raises:
      UserError: the data is not to be had, or not as exactly as asked for, or `maxlen` leaves no
        review.
    """
    ids, labels = [], []
    for reviews in keras_shuffle(_find_corpus(dataset, data_dir, exact), seed):
        sequences = ranks_to_ids(reviews.ranks, None, 0, start_char, oov_char, index_from)
        kept = np.flatnonzero(sequences.lengths < (maxlen or np.inf))
        if len(kept) == 0:
            raise UserError(f"maxlen={maxlen} leaves no review; raise it")
        ids.append(sequences[kept])
        labels.append(reviews.labels[kept].astype(np.int64))
    limit = num_words or max(int(part.values.max()) for part in ids)
    limited = [limit_ids(part, limit, skip_top, oov_char) for part in ids]
    x_train, x_test = map(object_array, limited)
    return (x_train, labels[0]), (x_test, labels[1])


def get_word_index(
    *,
    dataset: str = "imdb_reviews",
    data_dir: str | os.PathLike[str] | None = None,
    exact: bool = False,
) -> dict[str, int]:
    """Gives the rank of each word, like `keras.datasets.imdb.get_word_index`.

    Args:
      dataset: as in `load_data`.
      data_dir: as in `load_data`.
      exact: as in `load_data`.

    Returns:
      Word -> rank, from 1, the most frequent first. The word's id is 3 more.

    Raises:
      UserError: the data is not to be had, or not as exactly as asked for.
    """
    words = _find_corpus(dataset, data_dir, exact).vocabulary.words
    return {word: rank for rank, word in enumerate(words, start=1)}


def _find_corpus(
    dataset: str, data_dir: str | os.PathLike[str] | None, exact: bool
) -> Corpus[Vocabulary]:
    directory = None if data_dir is None else Path(data_dir)
    found = find_dataset(DataOptions(dataset=dataset, data_dir=directory))
    if exact and found.ties != "keras":
        raise UserError(
            f"{found.name} was prepared without the names of its files, which give Keras' order; "
            "prepare it once more, in another directory: python -m imdb_jax.train "
            "--data-dir OTHER --archive aclImdb_v1.tar.gz"
            if found.name == "imdb_reviews"
            else f"{found.name} is not the data set that Keras has; exact is for imdb_reviews"
        )
    return load_corpus(found)


def object_array(sequences: Sequences) -> NDArray[np.object_]:
    """Makes an object array of lists, `[num_sequences]`, as Keras holds reviews."""
    lists = np.empty(len(sequences), object)
    lists[:] = [ids.tolist() for ids in sequences]
    return lists
