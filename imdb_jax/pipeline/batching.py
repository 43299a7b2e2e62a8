"""Examples to shuffled, sharded, device-placed batches.

The batch at any step is a pure function of the seed and the step: an epoch's order is a permutation
drawn from (seed, epoch), and a batch is one gather from the memory-mapped padded reviews. If
several processes train, each holds some parts of the reviews.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int, Int64

from imdb_jax.errors import check_integer
from imdb_jax.models.inputs import Batch, Sets, num_lines
from imdb_jax.parallel.exchange import largest
from imdb_jax.pipeline.shuffling import Order, epoch_order
from imdb_jax.pipeline.splits import Examples, Shards, shard_bounds

# The order of the examples of each local part; None leaves them as they are.
Orders = Sequence[Order] | None

_BATCHES_AT_A_TIME = 64  # whose rows are computed together


def epoch_orders(shards: Shards, seed: int, epoch: int) -> list[Order]:
    """Return the orders of the local parts, each of which is shuffled on its own."""
    if len(shards.sizes) == 1:
        return [epoch_order(shards.sizes[0], seed, epoch)]
    return [epoch_order(shards.sizes[part], seed, epoch, part) for part in shards.local_parts]


def batches(
    examples: Examples, batch_size: int, mesh: Mesh, orders: Orders = None, first: int = 0
) -> Iterator[Batch]:
    """Yield the batches from `first` on, of one shape, spread over the mesh's axis `data`.

    Every example occurs exactly once, in a batch of at most `batch_size`. Reviews of weight 0 fill
    the last batch, and every batch that does not divide evenly among the devices. Each process
    contributes the reviews that it holds.
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    shards = examples.shards
    devices = mesh.shape["data"] // shards.num_processes
    number = num_batches(shards, batch_size)
    for start in range(first, number, _BATCHES_AT_A_TIME):
        wanted = range(start, min(start + _BATCHES_AT_A_TIME, number))
        all_rows, all_weights = batch_rows(shards, batch_size, mesh, orders, wanted)
        lines = np.zeros(len(wanted), np.int32)
        if examples.set_sizes is not None and shards.num_processes > 1:
            # The contributions of all processes must have the same shape.
            lines = largest(num_lines(examples.set_sizes)[all_rows].sum(axis=1))
        for rows, weights, least in zip(all_rows, all_weights, lines, strict=True):
            ids = examples.batch_ids(rows, devices, int(least))
            if isinstance(ids, Sets):
                ids = ids.as_part(shards.process, shards.num_processes)
            batch = Batch(ids, examples.labels[rows], weights)
            if mesh.size > 1:  # a single device: the compiled step transfers them in less time
                batch = jax.make_array_from_process_local_data(sharding, batch)
            yield batch


def batch_rows(
    shards: Shards, batch_size: int, mesh: Mesh, orders: Orders = None, wanted: range | None = None
) -> tuple[Int[np.ndarray, "num_batches size"], Float[np.ndarray, "num_batches size"]]:
    """Return which local examples this process contributes to each batch, and weights of 1 or 0.

    A batch takes equally many reviews from each part, or one more from some. `wanted` are the
    numbers of consecutive batches; None means all.
    """
    wanted = range(num_batches(shards, batch_size)) if wanted is None else wanted
    shares = _shares(shards, batch_size)
    rows, weights, first = [], [], 0
    for place, part in enumerate(shards.local_parts):
        size, share = shards.sizes[part], shares[part]
        places = np.arange(wanted.start * share, wanted.stop * share)
        inside = np.minimum(places, size - 1)
        chosen = inside if orders is None else orders[place][inside]
        rows.append((first + chosen).reshape(-1, share))
        weights.append((places < size).reshape(-1, share))
        first += size
    # The contributions of all processes are equally large, and divide among their devices.
    processes = shards.num_processes
    size = max(sum(given) for given in np.split(shares, processes))
    all_rows, all_weights = np.concatenate(rows, axis=1), np.concatenate(weights, axis=1)
    missing = size + -size % (mesh.shape["data"] // processes) - all_rows.shape[1]
    filling = (0, 0), (0, missing)
    return np.pad(all_rows, filling, mode="edge"), np.pad(all_weights.astype(np.float32), filling)


def num_batches(shards: Shards, batch_size: int) -> int:
    """Return the number of batches that `batches` makes, until every part is used up."""
    check_integer("batch_size", batch_size, 1)
    shares = _shares(shards, batch_size)
    return max(-(-size // share) for size, share in zip(shards.sizes, shares, strict=True))


def _shares(shards: Shards, batch_size: int) -> Int64[np.ndarray, " num_parts"]:
    """Return the number of reviews that each part contributes to a batch."""
    return np.diff(shard_bounds(batch_size, len(shards.sizes)))
