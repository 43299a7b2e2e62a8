"""How the models of a run are made, placed, fed and stepped: one model, or one for each seed.

With several seeds, every array of the state has a first axis more, the seed: S. Each model starts
from, reads and drops what it would in a run of its own, and ends as that run does, up to rounding.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from imdb_jax.config import Config, replace
from imdb_jax.models.inputs import Batch
from imdb_jax.parallel.devices import on_devices, place, replicated
from imdb_jax.pipeline.batching import batch_rows, batches, epoch_orders
from imdb_jax.pipeline.splits import Examples
from imdb_jax.training import step
from imdb_jax.training.evaluation import EVAL_BATCH_SIZE
from imdb_jax.training.step import Metrics, TrainState, create_train_state

Rows = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True)
class OneModel:
    """One model, whose batches are spread over all devices."""

    config: Config
    mesh: Mesh

    train_step = staticmethod(step.train_step)
    train_steps = staticmethod(step.train_steps)
    eval_step = staticmethod(step.eval_step)

    def initial_state(
        self, model: nn.Module, ids: Any, optimizer: optax.GradientTransformation
    ) -> TrainState:
        """Return the state that training starts from, for ids such as these."""
        options = self.config.training
        model = on_devices(model, self.mesh.shape["data"])
        return create_train_state(model, ids, options.seed, optimizer, options.loss)

    def place(self, state: TrainState) -> TrainState:
        """Copy a state, from wherever it is, to the devices."""
        # Copies, not views: the next step writes to the same memory.
        copies = {name: np.array(leaf) for name, leaf in state.arrays().items()}
        return state.with_arrays(place(copies, self.mesh))

    def train_batches(self, train: Examples, epoch: int, done: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch after the first `done`."""
        orders = epoch_orders(train.shards, self.config.training.seed, epoch)
        return batches(train, self.config.training.batch_size, self.mesh, orders, done)

    def batch_rows(self, train: Examples, epoch: int) -> Rows:
        """Return an epoch's rows and weights, `[steps, batch]`; of seeds, `[steps, S, batch]`."""
        orders = epoch_orders(train.shards, self.config.training.seed, epoch)
        return batch_rows(train.shards, self.config.training.batch_size, self.mesh, orders)

    def eval_batches(self, examples: Examples) -> Iterator[Batch]:
        """Yield the batches of an evaluation."""
        return batches(examples, EVAL_BATCH_SIZE, self.mesh)

    def each(self, state: TrainState) -> list[tuple[Config, Any]]:
        """Return the configuration and the parameters of each model."""
        return [(self.config, state.params)]


class ModelPerSeed:
    """Models that are alike but for their seeds, in one compiled program: `OneModel` many times."""

    train_step = staticmethod(jax.jit(jax.vmap(step.train_step), donate_argnums=0))
    # The seeds share the reviews.
    train_steps = staticmethod(
        jax.jit(jax.vmap(step.train_steps, (0, None, None, 1, 1), (0, 1)), donate_argnums=0)
    )
    eval_step = staticmethod(jax.jit(jax.vmap(step.eval_step, (0, None))))

    def __init__(self, config: Config) -> None:
        """Make `config.training.seeds` models, of the seeds from `config.training.seed` on."""
        self.mesh = seeds_mesh(config.training.seeds)
        self._by_seed = NamedSharding(self.mesh, PartitionSpec("seeds"))
        self._models = []
        # Batches are cut on the host, as if for one device, before those of seeds are stacked.
        one_device = Mesh(jax.devices()[:1], ("data",), (AxisType.Auto,))
        for seed in range(config.training.seed, config.training.seed + config.training.seeds):
            workdir = config.run.workdir and config.run.workdir / f"seed-{seed}"
            of_seed = replace(config, seed=seed, seeds=1, workdir=workdir)
            self._models.append(OneModel(of_seed, one_device))

    def initial_state(
        self, model: nn.Module, ids: Any, optimizer: optax.GradientTransformation
    ) -> TrainState:
        """See `OneModel`."""
        return _stack(*(one.initial_state(model, ids, optimizer) for one in self._models))

    def place(self, state: TrainState) -> TrainState:
        """See `OneModel`."""
        return jax.device_put(state, self._by_seed)

    def train_batches(self, train: Examples, epoch: int, done: int = 0) -> Iterator[Batch]:
        """See `OneModel`."""
        each = [model.train_batches(train, epoch, done) for model in self._models]
        for of_step in zip(*each, strict=True):
            yield jax.device_put(jax.tree.map(_stack_filled, *of_step), self._by_seed)

    def batch_rows(self, train: Examples, epoch: int) -> Rows:
        """See `OneModel`."""
        each = [model.batch_rows(train, epoch) for model in self._models]
        rows, weights = (np.stack(arrays, axis=1) for arrays in zip(*each, strict=True))
        return rows, weights

    def eval_batches(self, examples: Examples) -> Iterator[Batch]:
        """See `OneModel`."""
        for batch in self._models[0].eval_batches(examples):
            yield jax.device_put(batch, replicated(self.mesh))

    def each(self, state: TrainState) -> list[tuple[Config, Any]]:
        """See `OneModel`: as if each were trained alone, and on the host."""
        params = jax.device_get(state.params)
        return [
            (model.config, jax.tree.map(lambda leaf, place=place: leaf[place], params))
            for place, model in enumerate(self._models)
        ]


@jax.jit
def _stack(*states: TrainState) -> TrainState:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _stack_filled(*arrays: NDArray[Any]) -> NDArray[Any]:
    """Stack arrays, filled to the longest with zeros: sets of ids have different lengths."""
    stacked = np.zeros((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[: len(array)] = array
    return stacked


def seeds_mesh(seeds: int) -> Mesh:
    """Return a mesh of the largest number of devices that divides the seeds, with axis `seeds`."""
    size = max(size for size in range(1, jax.device_count() + 1) if seeds % size == 0)
    return jax.make_mesh((size,), ("seeds",), (AxisType.Auto,), devices=jax.devices()[:size])


def mean_of_seeds(metrics: Sequence[Metrics]) -> Metrics:
    """Return the means over the seeds."""
    return Metrics(*(statistics.fmean(column) for column in zip(*metrics, strict=True)))
