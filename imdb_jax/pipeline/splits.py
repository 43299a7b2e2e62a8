"""Reviews to train on, to validate on and to test on, and the parts of them that processes hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int64, Integer, UInt

from imdb_jax.datasets.dataset import Extent
from imdb_jax.errors import UserError, check_integer, check_share
from imdb_jax.models.inputs import Sets, fold
from imdb_jax.parallel.exchange import largest
from imdb_jax.pipeline.corpus import Corpus
from imdb_jax.pipeline.input_format import InputFormat
from imdb_jax.pipeline.keras_imdb import keras_orders
from imdb_jax.pipeline.padded import longest, padded_reviews, ragged_reviews
from imdb_jax.text.sequences import PAD_ID, Sequences


class Shards(NamedTuple):
    """The sizes of the parts of a run's reviews, and the numbers of those that this process holds.

    Every process holds the same number of consecutive parts, each of which is shuffled separately.
    The batches follow from the parts alone, whatever the number of processes.
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
    """Reviews ready to be batched: padded ids, or sets of ids, and labels from 0 to 1, float32.

    `sets` tells that padded ids are sets, to be batched as sets. `parts` are the parts that these
    reviews consist of, in order; None means a single, local part.
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
        """Return ids as a model reads them; sets in at least `lines` lines for `num_devices`."""
        ids = self.ids[rows]
        if isinstance(ids, np.ndarray):
            if not self.sets:
                return ids
            ids = Sequences.from_lengths(ids[ids != PAD_ID], np.count_nonzero(ids, axis=1))
        return fold(ids, num_devices, lines)

    def __len__(self) -> int:
        return len(self.labels)

    def join(self, others: Examples) -> Examples:
        """Append other examples, which must be padded alike."""
        ids: Any = self.ids, others.ids
        ids = Sequences.join(*ids) if isinstance(self.ids, Sequences) else np.concatenate(ids)
        return Examples(ids, np.concatenate([self.labels, others.labels]), self.sets)


@dataclass(frozen=True)
class Splits:
    """The splits of a data set; `validation` is None if no reviews are held out for it.

    Naive Bayes' log-ratios are counted in `train` and, if it is not None, `counted`.
    """

    train: Examples
    validation: Examples | None
    test: Examples
    counted: Examples | None = None


def split_rows(
    num_train: int, num_test: int, test_share: float = 0, validation: float = 0
) -> dict[str, Int64[np.ndarray, " num_rows"]]:
    """Return the rows of each split in order; train and test reviews are numbered as if joined.

    The order is that of `keras_orders`. If `test_share` is not 0, the first such share of all
    reviews is the test set. The first `validation` of the training reviews are held out.
    """
    check_share("test_share", test_share)
    check_share("validation", validation)
    training, testing = keras_orders(num_train, num_test)
    testing += num_train
    if test_share:
        rows = np.concatenate([training, testing])
        testing, training = np.split(rows, [round(test_share * len(rows))])
    held_out, training = np.split(training, [round(validation * len(training))])
    # Validation reviews come first, so that one file of padded reviews serves any share of them.
    return {"validation": held_out, "train": training, "test": testing}


def shard_bounds(num_reviews: int, shards: int) -> Int64[np.ndarray, " shards_plus_1"]:
    """Return bounds that cut reviews into parts: part i goes from bound i to bound i + 1."""
    return np.arange(shards + 1) * num_reviews // shards


def _by_part(
    rows: Int64[np.ndarray, " num_rows"], part_of: Int64[np.ndarray, " num_rows"], shards: int
) -> list[Int64[np.ndarray, " rows_of_part"]]:
    """Cut the rows of a split by the part that each belongs to; their order stays."""
    ends = np.cumsum(np.bincount(part_of, minlength=shards))
    return np.split(rows[np.argsort(part_of, kind="stable")], ends[:-1])


def make_splits(
    corpus: Corpus[Any],
    form: InputFormat | None,
    test_share: float = 0,
    validation: float = 0,
    shards: int = 1,
    local_parts: range = range(1),
) -> Splits:
    """Pad the reviews of a corpus and split them like `split_rows`, the same for any `shards`.

    A part of the data set is a range of the train and a range of the test reviews at the source;
    its reviews in a split are a part of that split. The corpus holds at least the reviews of the
    consecutive `local_parts`. If `form` is None, the reviews are sets already. Raises `UserError`
    if a part has no review of a split.
    """
    num_train, num_test = len(corpus.train.labels), len(corpus.test.labels)
    extent = corpus.extent or Extent(range(num_train), range(num_test), num_train, num_test)
    counts = extent.num_train, extent.num_test
    # More than reviews: the bounds below might not fit in memory.
    check_integer("shards", shards, 1, max(1, *counts))
    part_of = np.concatenate(
        [np.repeat(np.arange(shards), np.diff(shard_bounds(count, shards))) for count in counts]
    )
    rows = split_rows(*counts, test_share, validation).values()
    parts = [_by_part(split, part_of[split], shards) for split in rows]
    sizes = [tuple(map(len, split)) for split in parts]
    if shards > 1 and any(0 in split and any(split) for split in sizes):
        raise UserError(
            f"{corpus.name} has too few reviews for {shards} shards: each shard needs training and "
            "test reviews; choose fewer shards"
        )
    order = np.concatenate([split[part] for split in parts for part in local_parts])
    # Turn numbers at the source into numbers in the corpus.
    from_test = order - extent.num_train - extent.test.start + num_train
    order = np.where(order < extent.num_train, order - extent.train.start, from_test)
    # Pad all together, so that reviews of every split and process are equally long.
    if form is None:
        ids: Any = ragged_reviews(corpus, order)
    elif len(local_parts) == shards:
        ids = padded_reviews(corpus, form, order)
    else:
        ids = padded_reviews(corpus, form, order, int(largest(longest(corpus, form, order))))
    labels = np.concatenate([corpus.train.labels, corpus.test.labels])[order].astype(np.float32)
    sets = form is not None and form.distinct
    splits, first = [], 0
    for split_sizes in sizes:
        end = first + sum(split_sizes[part] for part in local_parts)
        shares = Shards(split_sizes, local_parts)
        splits.append(Examples(ids[first:end], labels[first:end], sets, shares))
        first = end
    held_out, train, test = splits
    return Splits(train, held_out if held_out.total else None, test)
