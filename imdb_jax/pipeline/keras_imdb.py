"""A look-alike of `keras.datasets.imdb`, computed from the text of the reviews."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from imdb_jax.config import DataOptions
from imdb_jax.datasets.find import find_dataset
from imdb_jax.errors import UserError, check_integer
from imdb_jax.pipeline.corpus import Corpus, EncodedReviews, load_corpus
from imdb_jax.text.sequences import (
    INDEX_FROM,
    START_ID,
    UNKNOWN_ID,
    Sequences,
    check_id_options,
    limit_ids,
    ranks_to_ids,
)
from imdb_jax.text.vocabulary import Vocabulary


def keras_orders(
    num_train: int, num_test: int, seed: int = 113
) -> tuple[Int64[np.ndarray, " num_train"], Int64[np.ndarray, " num_test"]]:
    """Return the orders in which `keras.datasets.imdb.load_data` gives train and test reviews."""
    generator = np.random.RandomState(seed)
    train, test = np.arange(num_train), np.arange(num_test)
    generator.shuffle(train)
    generator.shuffle(test)
    return train, test


def keras_shuffle(
    corpus: Corpus[Vocabulary], seed: int = 113
) -> tuple[EncodedReviews, EncodedReviews]:
    """Return train and test reviews in the order of `keras.datasets.imdb.load_data`."""
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
    """Return the reviews as word ids, like `keras.datasets.imdb.load_data`, from their text.

    Args:
      num_words: ids from here on become `oov_char`. As in Keras, None means the highest id, so that
        this one word is cut.
      skip_top: ids below this become `oov_char`.
      maxlen: leaves out reviews of this many ids or more.
      seed: of the order of the reviews.
      start_char: put before each review; None puts nothing.
      oov_char: stands for words cut; None leaves them out.
      index_from: added to each rank.
      dataset: 'imdb_reviews', 'synthetic' or 'auto', as in `find_dataset`.
      data_dir: TFDS data directory.
      exact: demand the very arrays of Keras. They need reviews that this package prepared: those
        that others prepared have another order of reviews, and of words that occur equally often.

    Returns:
      `(x_train, y_train), (x_test, y_test)`: x is an object array `[num_reviews]` of lists of ids,
      y int64 `[num_reviews]`, 1 for positive.

    Raises:
      UserError: the data is not available, or not exact, `maxlen` leaves no review, or a number is
        negative or not an integer.
    """
    check_id_options(num_words, skip_top, start_char, oov_char, index_from)
    check_integer("maxlen", 0 if maxlen is None else maxlen)
    check_integer("seed", seed, most=(1 << 32) - 1)
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
    """Return the rank of each word, like `keras.datasets.imdb.get_word_index`.

    Args:
      dataset: as in `load_data`.
      data_dir: as in `load_data`.
      exact: as in `load_data`.

    Returns:
      Word -> rank, from 1, the most frequent first. The word's id is 3 more.

    Raises:
      UserError: the data is not available, or not exact.
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
    """Return an object array of lists, `[num_sequences]`, as in Keras."""
    lists = np.empty(len(sequences), object)
    lists[:] = [ids.tolist() for ids in sequences]
    return lists
