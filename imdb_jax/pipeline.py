"""Encoded reviews to shuffled, batched, sharded, device-placed batches.

The batch at any step is a pure function of the seed and the step: an epoch's order is a
permutation drawn from (seed, epoch), and a batch is one gather from the padded reviews, which are
memory-mapped. Which rows make a batch is computed when the batch is made. Where several processes
train, each holds some of the parts that the reviews are cut into; a part is shuffled on its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int, Int64, Integer, UInt

from imdb_jax.corpus import Corpus, keras_orders
from imdb_jax.datasets import Extent
from imdb_jax.encoding import PAD_ID, Sequences
from imdb_jax.errors import UserError
from imdb_jax.exchange import largest
from imdb_jax.input_format import InputFormat
from imdb_jax.models.inputs import Batch, Sets, fold, num_lines
from imdb_jax.padded import longest, padded_reviews, ragged_reviews
from imdb_jax.shuffling import Order, epoch_order

_BATCHES_AT_A_TIME = 64  # whose rows are computed together


class Shards(NamedTuple):
    """The parts of a run's reviews that are shuffled separately, and who holds them.

    Every process holds as many parts as any other one, neighbours, so that the batches follow from
    the parts alone, whatever the number of processes.

    Attributes:
      sizes: number of reviews in each of the parts, those of all processes.
      held: the parts that this process holds.
    """

    sizes: tuple[int, ...]
    held: range

    @property
    def num_processes(self) -> int:
        """Number of processes that hold them."""
        return len(self.sizes) // len(self.held)

    @property
    def process(self) -> int:
        """Which of the processes this one is."""
        return self.held.start // len(self.held)


@dataclass(frozen=True)
class Examples:
    """Reviews ready to be batched.

    Attributes:
      ids: padded word ids in the smallest dtype that holds them, `[num_reviews, length]`; or ids of
        which each review has another number.
      labels: 1 for positive, 0 for negative, float32 `[num_reviews]`.
      sets: whether padded ids are sets, to be batched as such; others always are.
      parts: the parts that these reviews are made of, one after the other; None where they are one
        part, and all that there are.
    """

    ids: UInt[np.ndarray, "num_reviews length"] | Sequences
    labels: Float[np.ndarray, " num_reviews"]
    sets: bool = False
    parts: Shards | None = None

    @property
    def shards(self) -> Shards:
        """The parts that the reviews of all processes are made of."""
        return self.parts or Shards((len(self),), range(1))

    @property
    def total(self) -> int:
        """Number of reviews in all processes together."""
        return sum(self.shards.sizes)

    @cached_property
    def set_sizes(self) -> Int64[np.ndarray, " num_reviews"] | None:
        """How many ids each set has; None if the ids are no sets."""
        if isinstance(self.ids, Sequences):
            return self.ids.lengths
        return np.count_nonzero(self.ids, axis=1) if self.sets else None

    def batch_ids(
        self, rows: Int[np.ndarray, " num_rows"], num_devices: int = 1, lines: int = 0
    ) -> Integer[np.ndarray, "num_rows length"] | Sets:
        """The ids of these rows, in this order, as a model reads them.

        Args:
          rows: the reviews of a batch.
          num_devices: devices that the batch will be divided among.
          lines: that sets are to have room for, at least.
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
        """The examples of these rows, a view, as one part."""
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


def shard_bounds(num_reviews: int, shards: int) -> Int64[np.ndarray, " shards_plus_1"]:
    """Cuts reviews at the source into parts: part i is those from bound i to bound i + 1."""
    return np.arange(shards + 1) * num_reviews // shards


def make_splits(
    corpus: Corpus[Any],
    form: InputFormat | None,
    test_share: float = 0,
    validation: float = 0,
    shards: int = 1,
    held: range = range(1),
) -> Splits:
    """Pads the reviews of a corpus and splits them as `split_rows` says.

    The splits are the same for any number of parts; a part of the data set, which is a range of the
    train and one of the test reviews at the source, then makes a part of each split.

    Args:
      corpus: the reviews, at least those of the parts held.
      form: how to pad them; None leaves them the sets that they are.
      test_share: see `split_rows`.
      validation: see `split_rows`.
      shards: number of parts.
      held: the parts that this process holds, neighbours.

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
    parts = {
        name: [split[part_of[split] == part] for part in range(shards)]
        for name, split in rows._asdict().items()
    }
    sizes = {name: tuple(map(len, split)) for name, split in parts.items()}
    if shards > 1 and any(0 in split and any(split) for split in sizes.values()):
        raise UserError(
            f"{corpus.name} has too few reviews for {shards} shards, each of which needs some to "
            "train and to test on; choose fewer"
        )
    # What is held out first, so that the order, for which the padded reviews are cached, is the
    # same whatever share that is.
    order = np.concatenate([split[part] for split in parts.values() for part in held])
    # From numbers at the source to those in the corpus.
    from_test = order - extent.num_train - extent.test.start + num_train
    order = np.where(order < extent.num_train, order - extent.train.start, from_test)
    # Padded together, so that reviews of every split, and of every process, are equally long.
    if form is None:
        ids: Any = ragged_reviews(corpus, order)
    elif len(held) == shards:
        ids = padded_reviews(corpus, form, order)
    else:
        ids = padded_reviews(corpus, form, order, int(largest(longest(corpus, form, order))))
    examples = Examples(ids, labels[order], sets=form is not None and form.distinct)
    splits, first = {}, 0
    for name in parts:
        last = first + sum(sizes[name][part] for part in held)
        split = dataclasses.replace(examples[first:last], parts=Shards(sizes[name], held))
        splits[name], first = split, last
    held_out = splits["validation"] if len(rows.validation) else None
    return Splits(splits["train"], held_out, splits["test"])


def epoch_orders(shards: Shards, seed: int, epoch: int) -> list[Order]:
    """The orders of the parts that this process holds: each is shuffled on its own."""
    if len(shards.sizes) == 1:
        return [epoch_order(shards.sizes[0], seed, epoch)]
    return [epoch_order(shards.sizes[part], seed, epoch, part) for part in shards.held]


def data_mesh(model_parallel: int = 1) -> Mesh:
    """All devices of all processes, along two axes.

    The reviews of a batch are spread over the axis `data`, and what is large of a model over the
    axis `model`, see `placement`.

    Args:
      model_parallel: devices along `model`, all of one process.

    Raises:
      UserError: the devices of a process cannot be divided so.
    """
    if jax.local_device_count() % model_parallel:
        raise UserError(
            f"model_parallel {model_parallel} does not divide the {jax.local_device_count()} "
            "devices of a process; choose a number that does"
        )
    # In this order, so that the devices which share a model's arrays, and read the same reviews,
    # belong to one process.
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    grid = np.array(devices).reshape(-1, model_parallel)
    return Mesh(grid, ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def batches(
    examples: Examples,
    batch_size: int,
    mesh: Mesh,
    orders: Sequence[Order] | None = None,
    first: int = 0,
) -> Iterator[Batch]:
    """Cuts examples into batches of one shape, spread over the mesh's devices.

    Every example occurs exactly once. What is missing to fill the last batch, or to divide a batch
    evenly among the devices, is filled with reviews of weight 0. Each process gives of a batch what
    it holds.

    Args:
      examples: the reviews.
      batch_size: reviews that count in a batch (later ones may have fewer).
      mesh: devices, along an axis `data`.
      orders: the order to take the examples of each part in; as they stand if None.
      first: how many batches to leave out at the beginning.
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    shards = examples.shards
    number = num_batches(shards, batch_size)
    for start in range(first, number, _BATCHES_AT_A_TIME):
        wanted = range(start, min(start + _BATCHES_AT_A_TIME, number))
        all_rows, all_weights = batch_rows(shards, batch_size, mesh, orders, wanted)
        lines = np.zeros(len(wanted), np.int32)
        if examples.set_sizes is not None and shards.num_processes > 1:
            # What the processes give of a batch must be of one shape.
            lines = largest(num_lines(examples.set_sizes)[all_rows].sum(axis=1))
        for rows, weights, least in zip(all_rows, all_weights, lines, strict=True):
            devices = mesh.shape["data"] // shards.num_processes
            ids = examples.batch_ids(rows, devices, int(least))
            if isinstance(ids, Sets):
                ids = ids.as_part(shards.process, shards.num_processes)
            batch = Batch(ids, examples.labels[rows], weights)
            # To a single device the compiled step takes them in less time.
            single = mesh.size == 1
            yield batch if single else jax.make_array_from_process_local_data(sharding, batch)


def batch_rows(
    shards: Shards,
    batch_size: int,
    mesh: Mesh,
    orders: Sequence[Order] | None = None,
    wanted: range | None = None,
) -> tuple[Int[np.ndarray, "num_batches size"], Float[np.ndarray, "num_batches size"]]:
    """Says which examples make what this process gives of each batch, and their weights, 1 or 0.

    Args:
      shards: the parts; a batch takes equally many reviews from each, or one more from some.
      batch_size: as in `batches`.
      mesh: as in `batches`.
      orders: as in `batches`.
      wanted: numbers of neighbouring batches; by default of all.
    """
    wanted = range(num_batches(shards, batch_size)) if wanted is None else wanted
    shares = _shares(shards, batch_size)
    rows, weights, first = [], [], 0
    for place, part in enumerate(shards.held):
        size, share = shards.sizes[part], shares[part]
        places = np.arange(wanted.start * share, wanted.stop * share)
        inside = np.minimum(places, size - 1)
        chosen = inside if orders is None else orders[place][inside]
        rows.append((first + chosen).reshape(-1, share))
        weights.append((places < size).reshape(-1, share))
        first += size
    # What each process gives is equally large, and divides among its devices.
    processes = shards.num_processes
    size = max(sum(given) for given in np.split(shares, processes))
    devices = mesh.shape["data"] // processes
    missing = size + -size % devices - sum(shares[part] for part in shards.held)
    filling = (0, 0), (0, missing)
    return (
        np.pad(np.concatenate(rows, axis=1), filling, mode="edge"),
        np.pad(np.concatenate(weights, axis=1).astype(np.float32), filling),
    )


def num_batches(shards: Shards, batch_size: int) -> int:
    """Number of batches that `batches` makes: until every part has run out."""
    shares = _shares(shards, batch_size)
    return max(-(-size // share) for size, share in zip(shards.sizes, shares, strict=True))


def _shares(shards: Shards, batch_size: int) -> Int64[np.ndarray, " num_parts"]:
    """How many reviews of a batch each part gives."""
    return np.diff(shard_bounds(batch_size, len(shards.sizes)))
