"""Many models in training at once, alike but for their seeds, in one compiled program.

Every array of the state has an axis more in front, the seed: S. What a model starts from, reads and
drops at any step is what it would in a run of its own, so that each ends as that run does, up to
rounding. The seeds are spread over the largest number of devices that divides them; no device waits
for another one.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from imdb_jax.config import Config
from imdb_jax.evaluation import EVAL_BATCH_SIZE
from imdb_jax.pipeline import batch_rows, batches, epoch_orders, replicated
from imdb_jax.reporting import Epoch
from imdb_jax.shuffling import Order
from imdb_jax.splits import Examples, Splits
from imdb_jax.trainer import Progress, Tick, Trainer, refuse_divergence
from imdb_jax.training import (
    Batch,
    Metrics,
    Sums,
    TrainState,
    create_train_state,
    eval_step,
    mean_metrics,
    train_step,
    train_steps,
)


@partial(jax.jit, donate_argnames="state")
def train_step_of_each(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
    """`train_step` of several states `[S, ...]` at once, each on a batch of its own `[S, ...]`."""
    return jax.vmap(train_step)(state, batch)


@partial(jax.jit, donate_argnames="state")
def train_steps_of_each(
    state: TrainState, ids: jax.Array, labels: jax.Array, rows: jax.Array, weights: jax.Array
) -> tuple[TrainState, Sums]:
    """`train_steps` of several states, which share the reviews; rows `[steps, S, batch]`."""
    return jax.vmap(train_steps, (0, None, None, 1, 1), (0, 1))(state, ids, labels, rows, weights)


@jax.jit
def eval_step_of_each(state: TrainState, batch: Batch) -> Sums:
    """The sums `[S]` of several states over the same batch."""
    return jax.vmap(eval_step, (0, None))(state, batch)[0]


@jax.jit
def _stack(*states: TrainState) -> TrainState:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


@dataclass
class SeedsProgress(Progress):
    """The progress of many seeds: `history` has the means over them.

    Attributes:
      histories: the epochs that are over, of each seed.
    """

    histories: list[list[Epoch]] = field(default_factory=list)

    def to_notes(self) -> dict[str, Any]:
        """The same as JSON knows it. Waits for the device."""
        histories = [[list(row) for row in history] for history in self.histories]
        return super().to_notes() | {"histories": histories}

    @classmethod
    def from_notes(cls, notes: dict[str, Any]) -> SeedsProgress:
        """Reads what `to_notes` gave, exactly."""
        of_all = Progress.from_notes(notes)
        histories = [[Epoch(*row) for row in history] for history in notes["histories"]]
        return cls(of_all.history, of_all.sums, of_all.seconds, histories)


class SeedRun(NamedTuple):
    """What the model of one seed ends with, by the names that a `Trainer` has for it.

    Attributes:
      config: that of a run of this seed alone.
      state: the model, on the host, without a dropout key.
      progress: its history; an epoch's seconds are its share of the time that all took.
      compile_seconds: how long compiling took, for all.
    """

    config: Config
    state: TrainState
    progress: Progress
    compile_seconds: float


class SeedsTrainer(Trainer):
    """As many models in training as `config.seeds` says, from `config.seed` on.

    Its figures, where they are not said to be of each, are the means over the seeds.

    Attributes:
      seeds: the seeds.
    """

    progress: SeedsProgress
    _train_step = staticmethod(train_step_of_each)
    _train_steps = staticmethod(train_steps_of_each)
    _eval_step = staticmethod(eval_step_of_each)

    def __init__(
        self, config: Config, model: nn.Module, splits: Splits, resident: bool | None = None
    ) -> None:
        """Initialises the models and compiles their steps; see `Trainer`."""
        self.seeds = range(config.seed, config.seed + config.seeds)
        # Batches are cut on the host, as if for one device, before those of the seeds are stacked.
        self._alone = _mesh(1)
        super().__init__(config, model, splits, resident)
        self.progress = SeedsProgress(histories=[[] for _ in self.seeds])

    def evaluate(self, examples: Examples, tick: Tick = lambda: None) -> Metrics:
        """Means over the seeds; see `Trainer`."""
        return mean_of_seeds(self.evaluate_each(examples, tick))

    def evaluate_each(self, examples: Examples, tick: Tick = lambda: None) -> list[Metrics]:
        """The mean metrics of each seed; see `Trainer.evaluate`."""
        sums = []
        for batch in self._eval_batches(examples):
            tick()
            sums.append(self._compiled(self._eval_step, batch)(self.state, batch))
        metrics = _metrics_of_each(sums)
        self._refuse_divergence(metrics, "in evaluation")
        return metrics

    def runs(self) -> Iterator[SeedRun]:
        """What the model of each seed has come to."""
        state = jax.device_get(self.state.replace(dropout_key=None))
        for place, history in enumerate(self.progress.histories):
            yield SeedRun(
                _config_of(self.seeds[place], self.config),
                jax.tree.map(lambda leaf, place=place: leaf[place], state),
                Progress(history),
                self.compile_seconds,
            )

    def _end_epoch(self, tick: Tick) -> Epoch:
        progress, epoch = self.progress, len(self.progress.history) + 1
        trained = _metrics_of_each(progress.sums)
        self._refuse_divergence(trained, f"in epoch {epoch}")
        validated = self.evaluate_each(self._validation, tick)
        histories = [
            [*history, Epoch(epoch, *metrics, *val_metrics, progress.seconds / len(self.seeds))]
            for history, metrics, val_metrics in zip(
                progress.histories, trained, validated, strict=True
            )
        ]
        row = Epoch(epoch, *mean_of_seeds(trained), *mean_of_seeds(validated), progress.seconds)
        self.progress = SeedsProgress([*progress.history, row], histories=histories)
        return row

    def _refuse_divergence(self, metrics: Sequence[Metrics], where: str) -> None:
        for seed, of_seed in zip(self.seeds, metrics, strict=True):
            refuse_divergence(of_seed, self.config, f"{where} of seed {seed}")

    def _running(self) -> Metrics:
        return mean_of_seeds(_metrics_of_each(self.progress.sums))

    def _devices(self) -> Mesh:
        numbers = range(1, jax.device_count() + 1)
        return _mesh(max(number for number in numbers if len(self.seeds) % number == 0))

    def _placed_state(self, state: TrainState) -> TrainState:
        return jax.device_put(state, self._by_seed())

    def _initial_state(
        self, model: nn.Module, ids: Any, optimizer: optax.GradientTransformation
    ) -> TrainState:
        loss = self.config.loss
        return _stack(*(create_train_state(model, ids, s, optimizer, loss) for s in self.seeds))

    def _order(self, epoch: int) -> list[list[Order]]:
        """The order of each seed's reviews."""
        return [epoch_orders(self._train.shards, seed, epoch) for seed in self.seeds]

    def _train_batches(self, order: list[list[Order]], done: int = 0) -> Iterator[Batch]:
        size = self.config.batch_size
        each = [batches(self._train, size, self._alone, of_seed, done) for of_seed in order]
        for of_step in zip(*each, strict=True):
            yield jax.device_put(jax.tree.map(_stack_filled, *of_step), self._by_seed())

    def _batch_rows(
        self, order: list[list[Order]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As of one model, with the axis of the seeds after that of the steps."""
        size = self.config.batch_size
        each = [batch_rows(self._train.shards, size, self._alone, of) for of in order]
        rows, weights = (np.stack(arrays, axis=1) for arrays in zip(*each, strict=True))
        return rows, weights

    def _eval_batches(self, examples: Examples) -> Iterator[Batch]:
        for batch in batches(examples, EVAL_BATCH_SIZE, self._alone):
            yield jax.device_put(batch, replicated(self._mesh))

    def _by_seed(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec("data"))


def _stack_filled(*arrays: NDArray[Any]) -> NDArray[Any]:
    """Stacks arrays, filled to the longest with zeros: sets of ids have more or fewer lines."""
    stacked = np.zeros((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
    for place, array in enumerate(arrays):
        stacked[place, : len(array)] = array
    return stacked


def mean_of_seeds(metrics: Sequence[Metrics]) -> Metrics:
    """Means over the seeds."""
    return Metrics(*(statistics.fmean(column) for column in zip(*metrics, strict=True)))


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the results of many seeds come to.

    The standard deviation is the sample's: squares over the number of seeds less one.
    """
    accuracies = [result["test_accuracy"] for result in results]
    return {
        "num_params": results[0]["num_params"],
        "seeds": [result["seed"] for result in results],
        "test_accuracy": accuracies,
        "test_accuracy_mean": statistics.fmean(accuracies),
        "test_accuracy_std": statistics.stdev(accuracies),
        "test_loss": [result["test_loss"] for result in results],
    }


def _mesh(num_devices: int) -> Mesh:
    devices = jax.devices()[:num_devices]
    return jax.make_mesh((num_devices,), ("data",), (AxisType.Auto,), devices=devices)


def _metrics_of_each(sums: Sequence[Sums]) -> list[Metrics]:
    """Means over the reviews of several batches, of each seed; the sums are `[S]`."""
    of_step = jax.device_get(list(sums))
    return [
        mean_metrics([Sums(*(figure[place] for figure in step)) for step in of_step])
        for place in range(len(of_step[0].loss))
    ]


def _config_of(seed: int, config: Config) -> Config:
    """The configuration of a run of one of the seeds alone."""
    workdir = config.workdir and config.workdir / f"seed-{seed}"
    return dataclasses.replace(config, seed=seed, seeds=1, workdir=workdir)
