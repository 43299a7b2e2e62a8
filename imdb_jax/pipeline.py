"""Encoded reviews to shuffled, batched, sharded, device-placed batches.

The batch at any step is a pure function of the seed and the step: an epoch's order is a
permutation drawn from (seed, epoch), and a batch is one gather from the padded reviews, which are
memory-mapped. Which rows make a batch is computed when the batch is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int, Int64, Integer, UInt

from imdb_jax.corpus import Corpus, keras_orders
from imdb_jax.encoding import PAD_ID, Sequences
from imdb_jax.input_format import InputFormat
from imdb_jax.models.sets import Sets, fold
from imdb_jax.padded import padded_reviews, ragged_reviews
from imdb_jax.shuffling import Order
from imdb_jax.training import Batch

_BATCHES_AT_A_TIME = 64  # whose rows are computed together


@dataclass(frozen=True)
class Examples:
    """Reviews ready to be batched.

    Attributes:
      ids: padded word ids in the smallest dtype that holds them, `[num_reviews, length]`; or ids of
        which each review has another number.
      labels: 1 for positive, 0 for negative, float32 `[num_reviews]`.
      sets: whether padded ids are sets, to be batched as such; others always are.
    """

    ids: UInt[np.ndarray, "num_reviews length"] | Sequences
    labels: Float[np.ndarray, " num_reviews"]
    sets: bool = False

    def batch_ids(
        self, rows: Int[np.ndarray, " num_rows"], num_devices: int = 1
    ) -> Integer[np.ndarray, "num_rows length"] | Sets:
        """The ids of these rows, in this order, as a model reads them.

        Args:
          rows: the reviews of a batch.
          num_devices: devices that the batch will be divided among.
        """
        ids = self.ids[rows]
        if isinstance(ids, np.ndarray):
            if not self.sets:
                return ids
            ids = Sequences.from_lengths(ids[ids != PAD_ID], np.count_nonzero(ids, axis=1))
        return fold(ids, num_devices)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> Examples:
        """The examples of these rows, a view."""
        return Examples(self.ids[rows], self.labels[rows], self.sets)

    def join(self, others: Examples) -> Examples:
        """These examples and then the others, which are padded alike."""
        ids: Any
        if isinstance(self.ids, Sequences):
            assert isinstance(others.ids, Sequences)
            ids = Sequences.join(self.ids, others.ids)
        else:
            ids = np.concatenate([self.ids, others.ids])
        labels = np.concatenate([self.labels, others.labels])
        return Examples(ids, labels, self.sets)


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set.

    Attributes:
      train: what the model learns from.
      validation: what is watched while it learns; None where nothing was held out for it.
      test: what its result is measured on.
      counted: what naive Bayes' log-ratios are counted of besides `train`; None where nothing is.
    """

    train: Examples
    validation: Examples | None
    test: Examples
    counted: Examples | None = None


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
    corpus: Corpus[Any], form: InputFormat | None, test_share: float = 0, validation: float = 0
) -> Splits:
    """Pads the reviews of a corpus and splits them as `split_rows` says.

    Args:
      corpus: the reviews.
      form: how to pad them; None leaves them the sets that they are.
      test_share: see `split_rows`.
      validation: see `split_rows`.
    """
    rows = split_rows(len(corpus.train.labels), len(corpus.test.labels), test_share, validation)
    labels = np.concatenate([corpus.train.labels, corpus.test.labels]).astype(np.float32)
    # What is held out first, so that the order, for which the padded reviews are cached, is the
    # same whatever share that is.
    order = np.concatenate([rows.validation, rows.train, rows.test])
    # Padded together, so that reviews of every split are equally long.
    ids = padded_reviews(corpus, form, order) if form else ragged_reviews(corpus, order)
    examples = Examples(ids, labels[order], sets=form is not None and form.distinct)
    first, last = len(rows.validation), len(order) - len(rows.test)
    held_out = examples[:first] if first else None
    return Splits(examples[first:last], held_out, examples[last:])


def data_mesh() -> Mesh:
    """All devices along one axis, `data`, over which the reviews of a batch are spread."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array: for parameters."""
    return NamedSharding(mesh, PartitionSpec())


def batches(
    examples: Examples, batch_size: int, mesh: Mesh, order: Order | None = None, first: int = 0
) -> Iterator[Batch]:
    """Cuts examples into batches of one shape, spread over the mesh's devices.

    Every example occurs exactly once. What is missing to fill the last batch, or to divide a batch
    evenly among the devices, is filled with reviews of weight 0.

    Args:
      examples: the reviews.
      batch_size: reviews that count in a batch (the last one may have fewer).
      mesh: devices, along an axis `data`.
      order: the order to take the examples in; as they stand if None.
      first: how many batches to leave out at the beginning.
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    number = num_batches(len(examples), batch_size)
    for start in range(first, number, _BATCHES_AT_A_TIME):
        wanted = range(start, min(start + _BATCHES_AT_A_TIME, number))
        given = batch_rows(len(examples), batch_size, mesh, order, wanted)
        for rows, weights in zip(*given, strict=True):
            batch = Batch(examples.batch_ids(rows, mesh.size), examples.labels[rows], weights)
            # To a single device the compiled step takes them in less time.
            yield batch if mesh.size == 1 else jax.device_put(batch, sharding)


def batch_rows(
    num_examples: int,
    batch_size: int,
    mesh: Mesh,
    order: Order | None = None,
    wanted: range | None = None,
) -> tuple[Int[np.ndarray, "num_batches size"], Float[np.ndarray, "num_batches size"]]:
    """Says which examples make each batch of `batches`, and with what weights, 1 or 0.

    Args:
      num_examples: how many there are.
      batch_size: as in `batches`.
      mesh: as in `batches`.
      order: as in `batches`.
      wanted: numbers of neighbouring batches; by default of all.
    """
    wanted = range(num_batches(num_examples, batch_size)) if wanted is None else wanted
    places = np.arange(wanted.start * batch_size, wanted.stop * batch_size)
    inside = np.minimum(places, num_examples - 1)
    rows = (inside if order is None else order[inside]).reshape(-1, batch_size)
    weights = (places < num_examples).astype(np.float32).reshape(rows.shape)
    filling = (0, 0), (0, -batch_size % mesh.shape["data"])
    return np.pad(rows, filling, mode="edge"), np.pad(weights, filling)


def num_batches(num_examples: int, batch_size: int) -> int:
    """Number of batches that `batches` makes."""
    return -(-num_examples // batch_size)
