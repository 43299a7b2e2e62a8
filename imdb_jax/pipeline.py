"""Encoded reviews to shuffled, batched, sharded, device-placed batches.

The batch at any step is a pure function of the seed and the step: an epoch's order is a
permutation drawn from (seed, epoch), and a batch is one gather from the padded reviews.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int, Int64, UInt

from imdb_jax.corpus import Corpus, keras_orders
from imdb_jax.encoding import (
    Sequences,
    Side,
    pad_sequences,
    ranks_to_ids,
)
from imdb_jax.training import Batch


@dataclass(frozen=True)
class Examples:
    """Reviews ready to be batched.

    Attributes:
      ids: padded word ids in the smallest dtype that holds them, `[num_reviews, length]`.
      labels: 1 for positive, 0 for negative, float32 `[num_reviews]`.
    """

    ids: UInt[np.ndarray, "num_reviews length"]
    labels: Float[np.ndarray, " num_reviews"]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Int[np.ndarray, " num_rows"]) -> Examples:
        """The examples of these rows, in this order."""
        return Examples(self.ids[rows], self.labels[rows])


@dataclass(frozen=True)
class InputFormat:
    """How a model reads a review.

    Attributes:
      num_words: ids from here on become 'unknown'.
      max_length: ids read per review; 0 reads all and makes room for the longest.
      padding: side on which short reviews are filled.
      truncating: side on which long reviews are cut.
      distinct: keep each id once, in ascending order: all that a bag of words can tell.
    """

    num_words: int
    max_length: int = 0
    padding: Side = "pre"
    truncating: Side = "pre"
    distinct: bool = False

    def ids(self, ranks: Sequences) -> UInt[np.ndarray, "num_reviews length"]:
        """Makes padded ids `[num_reviews, length]` out of the ranks of each review's words."""
        sequences = ranks_to_ids(ranks, self.num_words)
        length = self.max_length or None
        if self.distinct:
            sequences = distinct_ids(cut(sequences, length, self.truncating), self.num_words)
            length = None
        dtype = np.min_scalar_type(self.num_words - 1)
        return pad_sequences(sequences, length, dtype, self.padding, self.truncating)


def cut(sequences: Sequences, length: int | None, side: Side) -> Sequences:
    """Leaves the first (side 'post') or last ('pre') `length` ids of each sequence; None, all."""
    if length is None:
        return sequences
    first = np.repeat(sequences.offsets[:-1], sequences.lengths)
    place = np.arange(len(sequences.values)) - first
    if side == "pre":
        place = np.repeat(sequences.lengths, sequences.lengths) - 1 - place
    return sequences.select(place < length)


def distinct_ids(sequences: Sequences, num_words: int) -> Sequences:
    """Keeps each id of a sequence once, in ascending order."""
    rows = np.repeat(np.arange(len(sequences)), sequences.lengths)
    # One sort of (row, id) pairs packed into single numbers, for all sequences at once.
    pairs = np.unique(rows * num_words + sequences.values)
    lengths = np.bincount(pairs // num_words, minlength=len(sequences))
    return Sequences.from_lengths((pairs % num_words).astype(np.int32), lengths)


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set.

    Attributes:
      train: what the model learns from.
      validation: what is watched while it learns; None where nothing was held out for it.
      test: what its result is measured on.
    """

    train: Examples
    validation: Examples | None
    test: Examples


class SplitRows(NamedTuple):
    """Which reviews make the three parts: rows of the train and test reviews joined, in order."""

    train: Int64[np.ndarray, " num_train"]
    validation: Int64[np.ndarray, " num_validation"]
    test: Int64[np.ndarray, " num_test"]


def split_rows(
    num_train: int, num_test: int, test_share: float = 0, validation: float = 0
) -> SplitRows:
    """Splits reviews, in the order of `keras_orders`.

    Args:
      num_train: number of train reviews at the source.
      num_test: number of test reviews there.
      test_share: if not 0, train and test reviews are joined, in this order, and the first
        `test_share` of them are the test set.
      validation: share of the training reviews, the first of them, to validate on.
    """
    training, testing = keras_orders(num_train, num_test)
    testing += num_train
    if test_share:
        rows = np.concatenate([training, testing])
        testing, training = np.split(rows, [round(test_share * len(rows))])
    held_out, training = np.split(training, [round(validation * len(training))])
    return SplitRows(training, held_out, testing)


def make_splits(
    corpus: Corpus, input_format: InputFormat, test_share: float = 0, validation: float = 0
) -> Splits:
    """Pads the reviews of a corpus and splits them as `split_rows` says."""
    train, test = corpus.train, corpus.test
    labels = np.concatenate([train.labels, test.labels]).astype(np.float32)
    # Padded all at once, so that reviews of every split are equally long.
    examples = Examples(input_format.ids(Sequences.join(train.ranks, test.ranks)), labels)
    rows = split_rows(len(train.labels), len(test.labels), test_share, validation)
    held_out = examples[rows.validation] if len(rows.validation) else None
    return Splits(examples[rows.train], held_out, examples[rows.test])


def epoch_order(num_examples: int, seed: int, epoch: int) -> Int[np.ndarray, " num_examples"]:
    """The order of an epoch's examples: a permutation that only (seed, epoch) determine."""
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def data_mesh() -> Mesh:
    """All devices along one axis, `data`, over which the reviews of a batch are spread."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array: for parameters."""
    return NamedSharding(mesh, PartitionSpec())


def batches(
    examples: Examples,
    batch_size: int,
    mesh: Mesh,
    order: Int[np.ndarray, " num_examples"] | None = None,
) -> Iterator[Batch]:
    """Cuts examples into batches of one shape, spread over the mesh's devices.

    Every example occurs exactly once. What is missing to fill the last batch, or to divide a batch
    evenly among the devices, is filled with reviews of weight 0.

    Args:
      examples: the reviews.
      batch_size: reviews that count in a batch (the last one may have fewer).
      mesh: devices, along an axis `data`.
      order: the order to take the examples in; as they stand if None.
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    order = np.arange(len(examples)) if order is None else order
    num_devices = mesh.shape["data"]
    padded_size = -(-batch_size // num_devices) * num_devices
    for start in range(0, len(examples), batch_size):
        rows = order[start : start + batch_size]
        weights = np.zeros(padded_size, np.float32)
        weights[: len(rows)] = 1
        rows = np.pad(rows, (0, padded_size - len(rows)), mode="edge")
        host = (examples.ids[rows], examples.labels[rows], weights)
        yield Batch(*jax.device_put(host, sharding))


def num_batches(num_examples: int, batch_size: int) -> int:
    """Number of batches that `batches` makes."""
    return -(-num_examples // batch_size)
