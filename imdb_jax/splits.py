"""Reviews to train on, to validate on and to test on, and the parts of them that processes hold."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int64, Integer, UInt

from imdb_jax.corpus import Corpus, keras_orders
from imdb_jax.dataset import Extent
from imdb_jax.distributed import largest
from imdb_jax.encoding import PAD_ID, Sequences
from imdb_jax.errors import UserError
from imdb_jax.input_format import InputFormat
from imdb_jax.models.sets import Sets, fold
from imdb_jax.padded import longest, padded_reviews, ragged_reviews


class Shards(NamedTuple):
    """The parts of a run's reviews, each shuffled on its own, and which of them this process holds.

    Every process holds the same number of consecutive parts. So the batches follow from the parts
    alone, whatever the number of processes.

    Attributes:
      sizes: number of reviews in each part, those of other processes included.
      local_parts: numbers of the parts that this process holds.
    """

    sizes: tuple[int, ...]
    local_parts: range

    @property
    def num_processes(self) -> int:
        """Number of processes that hold parts."""
        return len(self.sizes) // len(self.local_parts)

    @property
    def process(self) -> int:
        """Number of this process."""
        return self.local_parts.start // len(self.local_parts)


@dataclass(frozen=True)
class Examples:
    """Reviews ready to be batched.

    Attributes:
      ids: padded word ids in the smallest dtype that holds them, `[num_reviews, length]`; or sets
        of ids of different sizes.
      labels: 1 for positive, 0 for negative, float32 `[num_reviews]`.
      sets: whether padded ids are sets, to be batched as sets.
      parts: the parts that these reviews consist of, in order; None if they are a single part, and
        this process holds all of it.
    """

    ids: UInt[np.ndarray, "num_reviews length"] | Sequences
    labels: Float[np.ndarray, " num_reviews"]
    sets: bool = False
    parts: Shards | None = None

    @property
    def shards(self) -> Shards:
        """The parts of the reviews of all processes."""
        return self.parts or Shards((len(self),), range(1))

    @property
    def total(self) -> int:
        """Number of reviews in all processes together."""
        return sum(self.shards.sizes)

    @cached_property
    def set_sizes(self) -> Int64[np.ndarray, " num_reviews"] | None:
        """Number of ids in each set; None if the ids are not sets."""
        if isinstance(self.ids, Sequences):
            return self.ids.lengths
        return np.count_nonzero(self.ids, axis=1) if self.sets else None

    def batch_ids(
        self, rows: Int[np.ndarray, " num_rows"], num_devices: int = 1, lines: int = 0
    ) -> Integer[np.ndarray, "num_rows length"] | Sets:
        """Return the ids of these rows, in this order, as a model reads them.

        Args:
          rows: the reviews of a batch.
          num_devices: number of devices that the batch will be divided among.
          lines: number of lines that sets must have room for, at least.
        """
        ids = self.ids[rows]
        if isinstance(ids, np.ndarray):
            if not self.sets:
                return ids
            ids = Sequences.from_lengths(ids[ids != PAD_ID], np.count_nonzero(ids, axis=1))
        return fold(ids, num_devices, lines)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> Examples:
        """Return a view of these rows, as a single part."""
        return Examples(self.ids[rows], self.labels[rows], self.sets)

    def join(self, others: Examples) -> Examples:
        """Append other examples, which must be padded alike."""
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
    """The three splits of a data set.

    Attributes:
      train: what the model learns from.
      validation: what it is validated on after each epoch; None if no reviews are held out for it.
      test: what its result is measured on.
      counted: more examples than `train` for naive Bayes' log-ratios; None if there are none.
    """

    train: Examples
    validation: Examples | None
    test: Examples
    counted: Examples | None = None


class SplitRows(NamedTuple):
    """The rows of each split, in order; train and test reviews are numbered as if joined."""

    train: Int64[np.ndarray, " num_train"]
    validation: Int64[np.ndarray, " num_validation"]
    test: Int64[np.ndarray, " num_test"]


def split_rows(
    num_train: int, num_test: int, test_share: float = 0, validation: float = 0
) -> SplitRows:
    """Split reviews in the order of `keras_orders`.

    Args:
      num_train: number of train reviews at the source.
      num_test: number of test reviews at the source.
      test_share: if not 0, train and test reviews are joined, in this order, and this share of
        them, the first, is the test set.
      validation: share of the training reviews, the first, that is held out to validate on.
    """
    training, testing = keras_orders(num_train, num_test)
    testing += num_train
    if test_share:
        rows = np.concatenate([training, testing])
        testing, training = np.split(rows, [round(test_share * len(rows))])
    held_out, training = np.split(training, [round(validation * len(training))])
    return SplitRows(training, held_out, testing)


def shard_bounds(num_reviews: int, shards: int) -> Int64[np.ndarray, " shards_plus_1"]:
    """Cut reviews at the source into parts: part i goes from bound i to bound i + 1."""
    return np.arange(shards + 1) * num_reviews // shards


def make_splits(
    corpus: Corpus[Any],
    form: InputFormat | None,
    test_share: float = 0,
    validation: float = 0,
    shards: int = 1,
    local_parts: range = range(1),
) -> Splits:
    """Pad the reviews of a corpus and split them as `split_rows` says.

    The splits are the same for any number of parts. A part of the data set is a range of the train
    and a range of the test reviews at the source; what of it falls into a split is a part of that
    split.

    Args:
      corpus: the reviews, at least those of the local parts.
      form: how to pad them; None leaves them the sets that they are.
      test_share, validation: see `split_rows`.
      shards: number of parts.
      local_parts: numbers of the parts that this process holds, which must be consecutive.

    Raises:
      UserError: a part would have no review of a split.
    """
    num_train, num_test = len(corpus.train.labels), len(corpus.test.labels)
    extent = corpus.extent or Extent(range(num_train), range(num_test), num_train, num_test)
    counts = extent.num_train, extent.num_test
    part_of = np.concatenate(
        [np.repeat(np.arange(shards), np.diff(shard_bounds(count, shards))) for count in counts]
    )
    labels = np.concatenate([corpus.train.labels, corpus.test.labels]).astype(np.float32)
    rows = split_rows(*counts, test_share, validation)
    # Validation reviews first: then the order, and the file of padded reviews with it, is the same
    # for any share of them.
    named = {"validation": rows.validation, "train": rows.train, "test": rows.test}
    parts = {
        name: [split[part_of[split] == part] for part in range(shards)]
        for name, split in named.items()
    }
    sizes = {name: tuple(map(len, split)) for name, split in parts.items()}
    if shards > 1 and any(0 in split and any(split) for split in sizes.values()):
        raise UserError(
            f"{corpus.name} has too few reviews for {shards} shards, each of which needs some to "
            "train and to test on; choose fewer"
        )
    order = np.concatenate([split[part] for split in parts.values() for part in local_parts])
    # From numbers at the source to those in the corpus.
    from_test = order - extent.num_train - extent.test.start + num_train
    order = np.where(order < extent.num_train, order - extent.train.start, from_test)
    # Padded together, so that reviews of every split, and of every process, are equally long.
    if form is None:
        ids: Any = ragged_reviews(corpus, order)
    elif len(local_parts) == shards:
        ids = padded_reviews(corpus, form, order)
    else:
        ids = padded_reviews(corpus, form, order, int(largest(longest(corpus, form, order))))
    examples = Examples(ids, labels[order], sets=form is not None and form.distinct)
    splits, first = {}, 0
    for name in parts:
        last = first + sum(sizes[name][part] for part in local_parts)
        split = dataclasses.replace(examples[first:last], parts=Shards(sizes[name], local_parts))
        splits[name], first = split, last
    held_out = splits["validation"] if len(rows.validation) else None
    return Splits(splits["train"], held_out, splits["test"])
