"""A model in training: its compiled steps, where it stands, and what a checkpoint of it holds."""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from imdb_jax import reporting
from imdb_jax.checkpoint import Position
from imdb_jax.config import Config
from imdb_jax.distributed import is_first, num_processes
from imdb_jax.errors import UserError
from imdb_jax.evaluation import EVAL_BATCH_SIZE, evaluate, pace
from imdb_jax.models import Ngram
from imdb_jax.models.ngram import nb_log_ratios
from imdb_jax.pipeline import batch_rows, batches, data_mesh, epoch_orders, num_batches, replicated
from imdb_jax.placement import place
from imdb_jax.reporting import Epoch
from imdb_jax.schedules import learning_rate_schedule
from imdb_jax.splits import Examples, Splits
from imdb_jax.text.sequences import Sequences
from imdb_jax.training import (
    Batch,
    Metrics,
    Sums,
    TrainState,
    create_train_state,
    eval_step,
    keras_adam,
    mean_metrics,
    train_step,
    train_steps,
)

Tick = Callable[[], None]

# Training reviews of up to so many bytes are kept on an accelerator: a small part of any one.
_RESIDENT_BYTES = 2 << 30


@dataclass
class Progress:
    """What a run has to show so far, apart from the state of the model.

    Attributes:
      history: the epochs that are over.
      sums: those of each step of the next epoch so far.
      seconds: how long these steps took.
    """

    history: list[Epoch] = field(default_factory=list)
    sums: list[Sums] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def position(self) -> Position:
        """Where training stands."""
        return Position(len(self.history), len(self.sums))

    def to_notes(self) -> dict[str, Any]:
        """The same as JSON knows it. Waits for the device."""
        self.sums = jax.device_get(self.sums)
        sums = [[np.asarray(value).tolist() for value in step] for step in self.sums]
        return {"history": [list(row) for row in self.history], "sums": sums} | {
            "seconds": self.seconds
        }

    @classmethod
    def from_notes(cls, notes: dict[str, Any]) -> Progress:
        """Reads what `to_notes` gave, exactly."""
        history = [Epoch(*row) for row in notes["history"]]
        return cls(history, [Sums(*step) for step in notes["sums"]], notes["seconds"])


class Trainer:
    """A model in training, with its steps compiled for the batches it will see.

    What is different where many models train at once, `SeedsTrainer` says in methods of its own.

    Attributes:
      state: the model and its optimiser.
      progress: the figures so far.
      steps: number of steps in an epoch.
      held_out: whether it is validated on reviews held out for that, rather than on the test's.
      breaks: steps of the run after which a program of several steps ends, besides those after
        which a checkpoint may be due.
      compile_seconds: how long compiling both steps took.
    """

    _train_step = staticmethod(train_step)
    _train_steps = staticmethod(train_steps)
    _eval_step = staticmethod(eval_step)

    def __init__(
        self, config: Config, model: nn.Module, splits: Splits, resident: bool | None = None
    ) -> None:
        """Initialises the model on all devices and compiles its steps.

        Args:
          config: how to train.
          model: what to train.
          splits: what to train and validate on.
          resident: keep the training reviews on the device and take an epoch's steps in one
            program; by default so on accelerators, if the reviews are few enough and no step is
            searched for NaNs.
        """
        self.config = config
        self.progress = Progress()
        self.steps = num_batches(splits.train.shards, config.batch_size)
        self.breaks: tuple[int, ...] = ()
        self._mesh = self._devices()
        self._train = splits.train
        self._on_device: tuple[jax.Array, jax.Array] | None = None
        self._programs: dict[Any, Any] = {}
        if resident is None:
            ids = splits.train.ids
            small = isinstance(ids, np.ndarray) and ids.nbytes <= _RESIDENT_BYTES
            accelerator = self._mesh.devices.flat[0].platform != "cpu"
            # No process has all reviews, where there are several.
            resident = small and accelerator and num_processes() == 1 and not config.debug_nans
        if resident:
            self._on_device = jax.device_put(
                (np.asarray(splits.train.ids), splits.train.labels), replicated(self._mesh)
            )
        self.held_out = splits.validation is not None
        self._validation = splits.test if splits.validation is None else splits.validation
        order = self._order(1)
        first = next(self._train_batches(order))
        learning_rate = learning_rate_schedule(
            config.schedule, config.learning_rate, config.epochs * self.steps, config.warmup
        )
        one = splits.train.batch_ids(np.zeros(1, np.int64))
        state = self._initial_state(model, one, keras_adam(learning_rate))
        if isinstance(model, Ngram):
            counted = splits.train.join(splits.counted) if splits.counted else splits.train
            assert isinstance(counted.ids, Sequences)
            ratios = nb_log_ratios(counted.ids, counted.labels, model.num_words)
            ratios = np.broadcast_to(ratios, state.params["log_ratio"].shape)
            state = state.replace(params={**state.params, "log_ratio": ratios})
        self.state: TrainState = self._placed_state(state)
        started = time.perf_counter()
        if self._on_device is None:
            self._compiled(self._train_step, first)
        else:
            rows, weights = self._batch_rows(order)
            until = self._next_stop(0)
            placed = self._placed(rows[:until], weights[:until])
            self._compiled(self._train_steps, *self._on_device, *placed)
        self._compiled(self._eval_step, next(self._eval_batches(splits.test)))
        self.compile_seconds = time.perf_counter() - started

    def train_epoch(self, tick: Tick = lambda: None) -> Epoch:
        """Takes the steps that the epoch lacks, validates, and adds its figures to the history.

        Args:
          tick: called after each step and before each batch of the validation. It may raise; what
            `arrays` and `progress` then say suffices to do the rest another time.

        Raises:
          UserError: the loss is no longer a finite number.
        """
        self._take_steps(tick)
        return self._end_epoch(tick)

    def _take_steps(self, tick: Tick) -> None:
        """Takes the steps that the epoch lacks."""
        config, progress = self.config, self.progress
        epoch, done = len(progress.history) + 1, len(progress.sums)
        order = self._order(epoch)
        started = time.perf_counter() - progress.seconds
        with reporting.epoch_bar(
            f"epoch {epoch}/{config.epochs}",
            self.steps,
            self._running,
            is_first() and not config.quiet,
            done,
        ) as advance:
            for steps in self._resident_steps(order) if self._on_device else self._steps(order):
                progress.sums.extend(steps)
                progress.seconds = time.perf_counter() - started
                advance(len(steps))
                tick()
            jax.block_until_ready(progress.sums)
            progress.seconds = time.perf_counter() - started

    def _end_epoch(self, tick: Tick) -> Epoch:
        """Validates, and adds the epoch's figures to the history."""
        progress, epoch = self.progress, len(self.progress.history) + 1
        metrics = mean_metrics(progress.sums)
        refuse_divergence(metrics, self.config, f"in epoch {epoch}")
        row = Epoch(epoch, *metrics, *self.evaluate(self._validation, tick), progress.seconds)
        self.progress = Progress([*progress.history, row])
        return row

    def _steps(self, order: Any) -> Iterator[list[Sums]]:
        """Takes the steps that an epoch lacks one by one; gives the sums of each."""
        done = len(self.progress.sums)
        for batch in self._train_batches(order, done):
            # Only enqueued: the device works while the host cuts the next batch.
            self.state, sums = self._compiled(self._train_step, batch)(self.state, batch)
            yield [pace(sums, self._mesh)]

    def _resident_steps(self, order: Any) -> Iterator[list[Sums]]:
        """Takes the steps that an epoch lacks up to each checkpoint in one program."""
        assert self._on_device is not None
        rows, weights = self._batch_rows(order)
        while (done := len(self.progress.sums)) < self.steps:
            until = self._next_stop(done)
            given = *self._on_device, *self._placed(rows[done:until], weights[done:until])
            self.state, sums = self._compiled(self._train_steps, *given)(self.state, *given)
            yield [Sums(*step) for step in zip(*jax.device_get(sums), strict=True)]

    def _next_stop(self, done: int) -> int:
        """The step of this epoch after which a checkpoint or a break is due, the last one else."""
        every = self.config.checkpoint_every or self.steps
        before = len(self.progress.history) * self.steps
        breaks = [step - before for step in self.breaks if step > before + done]
        return min(self.steps, done + every - (before + done) % every, *breaks)

    def _placed(
        self, rows: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> tuple[jax.Array, jax.Array]:
        """What `train_steps` is given for its steps, each batch spread over the devices."""
        spread = NamedSharding(self._mesh, PartitionSpec(None, "data"))
        return jax.device_put((rows.astype(np.int32), weights), spread)

    def _compiled(self, step: Any, *given: Any) -> Any:
        """A step, compiled when it is first given arrays of these shapes."""
        if self.config.debug_nans:
            return partial(self._checked, step)
        key = step, *(array.shape for array in jax.tree.leaves(given))
        if key not in self._programs:
            self._programs[key] = step.lower(self.state, *given).compile()
        return self._programs[key]

    def _checked(self, step: Any, *given: Any) -> Any:
        """Takes a step. Raises `UserError` if it computes a NaN; JAX finds out where."""
        try:
            # JAX announces on standard output that it takes the step again, operation by operation.
            with jax.debug_nans(True), contextlib.redirect_stdout(io.StringIO()):
                return step(*given)
        except FloatingPointError as error:
            epoch, done = len(self.progress.history) + 1, len(self.progress.sums)
            where = (
                f"step {done + 1} of epoch {epoch}" if step is self._train_step else "evaluation"
            )
            raise UserError(
                f"a NaN in {where}: {str(error).partition('. ')[0]}; "
                f"try a learning rate below {self.config.learning_rate:g}"
            ) from error

    def evaluate(self, examples: Examples, tick: Tick = lambda: None) -> Metrics:
        """Mean metrics over examples, each counted exactly once.

        Args:
          examples: the reviews.
          tick: called before each batch; it may raise.

        Raises:
          UserError: the loss is no longer a finite number.
        """

        def step(state: TrainState, batch: Batch) -> Any:
            tick()
            return self._compiled(self._eval_step, batch)(state, batch)

        metrics = evaluate(self.state, examples, self._mesh, step)
        # The effect of an epoch's last step shows in no training loss.
        refuse_divergence(metrics, self.config, "in evaluation")
        return metrics

    def arrays(self) -> dict[str, Any]:
        """All that a step reads and changes, by its place in the state.

        Copied to the host; but where there are several processes, each of which may hold a slice
        only, as it lies on the devices, until the next step.
        """
        return _named_leaves(self.state) if num_processes() > 1 else _host_copies(self.state)

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Puts the state back to where `arrays` copied it, whatever the devices were then."""
        leaves = [arrays[name] for name in _named_leaves(self.state)]
        state = jax.tree.unflatten(jax.tree.structure(self.state), leaves)
        state = state.replace(dropout_key=jax.random.wrap_key_data(state.dropout_key))
        self.state = self._placed_state(state)

    def _running(self) -> Metrics:
        """The means over the steps of this epoch so far."""
        return mean_metrics(self.progress.sums)

    def _devices(self) -> Mesh:
        return data_mesh(self.config.model_parallel)

    def _placed_state(self, state: TrainState) -> TrainState:
        leaves = list(place(_host_copies(state), self._mesh).values())
        placed = jax.tree.unflatten(jax.tree.structure(state), leaves)
        return placed.replace(dropout_key=jax.random.wrap_key_data(placed.dropout_key))

    def _initial_state(
        self, model: nn.Module, ids: Any, optimizer: optax.GradientTransformation
    ) -> TrainState:
        return create_train_state(model, ids, self.config.seed, optimizer, self.config.loss)

    def _order(self, epoch: int) -> Any:
        """The order of the epoch's reviews, part by part."""
        return epoch_orders(self._train.shards, self.config.seed, epoch)

    def _train_batches(self, order: Any, done: int = 0) -> Iterator[Batch]:
        return batches(self._train, self.config.batch_size, self._mesh, order, done)

    def _batch_rows(self, order: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        return batch_rows(self._train.shards, self.config.batch_size, self._mesh, order)

    def _eval_batches(self, examples: Examples) -> Iterator[Batch]:
        return batches(examples, EVAL_BATCH_SIZE, self._mesh)


def _host_copies(state: TrainState) -> dict[str, np.ndarray]:
    # Copies, not views: the next step writes to the same memory.
    return {name: np.array(leaf) for name, leaf in _named_leaves(state).items()}


def _named_leaves(state: TrainState) -> dict[str, Any]:
    state = state.replace(dropout_key=jax.random.key_data(state.dropout_key))
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def refuse_divergence(metrics: Metrics, config: Config, where: str) -> None:
    """Raises `UserError` if the loss is not a finite number."""
    if not math.isfinite(metrics.loss):
        raise UserError(
            f"the loss became {metrics.loss} {where}; "
            f"try a learning rate below {config.learning_rate:g}"
        )
