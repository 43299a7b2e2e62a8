"""A model in training: its compiled steps, where it stands, and what a checkpoint of it holds."""

import contextlib
import io
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec

from imdb_jax.config import Config
from imdb_jax.errors import LARGEST, UserError
from imdb_jax.models import Ngram
from imdb_jax.models.ngram import nb_log_ratios
from imdb_jax.parallel.devices import data_mesh, pace, replicated
from imdb_jax.parallel.exchange import num_processes
from imdb_jax.pipeline.batching import num_batches
from imdb_jax.pipeline.splits import Examples, Splits
from imdb_jax.text.sequences import Sequences
from imdb_jax.training.evaluation import EVAL_BATCH_SIZE
from imdb_jax.training.history import Epoch, Progress
from imdb_jax.training.memory import check_program
from imdb_jax.training.optimizer import keras_adam, learning_rate_schedule
from imdb_jax.training.seeds import ModelPerSeed, OneModel, mean_of_seeds
from imdb_jax.training.step import Metrics, Sums, TrainState, metrics_of_each

Tick = Callable[[], None]

# Training reviews of up to this many bytes are kept on an accelerator: a small part of any one.
_RESIDENT_BYTES = 2 << 30


class Trained(NamedTuple):
    """A trained model, with the configuration of its seed alone and its share of the seconds."""

    config: Config
    params: Any
    history: list[Epoch]
    compile_seconds: float


class Trainer:
    """A model in training, or one for each seed, with steps compiled for the batches to come.

    Without validation reviews the test reviews serve as such. `breaks` are steps of the run at
    which a program of many steps must stop, besides those where a checkpoint may be due.
    """

    def __init__(
        self, config: Config, model: nn.Module, splits: Splits, resident: bool | None = None
    ) -> None:
        """Compile the steps: programs of many if reviews are `resident` on the device."""
        self.config = config
        self.progress = Progress([[] for _ in range(config.training.seeds)])
        self.steps = num_batches(splits.train.shards, config.training.batch_size)
        if config.training.epochs * self.steps > LARGEST:
            raise UserError(
                f"{config.training.epochs:,} epochs of {self.steps:,} steps are more than the "
                f"{LARGEST:,} steps that a run can have; lower epochs"
            )
        self.breaks: tuple[int, ...] = ()
        self.validating: tuple[int, int] | None = None
        self._models: OneModel | ModelPerSeed
        if config.training.seeds > 1:
            self._models = ModelPerSeed(config)
        else:
            self._models = OneModel(config, data_mesh(config.distribution.model_parallel))
        self._mesh = self._models.mesh
        self._train = splits.train
        self.has_validation = splits.validation is not None
        self._validation = splits.test if splits.validation is None else splits.validation
        self._on_device: tuple[jax.Array, jax.Array] | None = None
        if self._resident_by_default() if resident is None else resident:
            self._on_device = jax.device_put(
                (np.asarray(splits.train.ids), splits.train.labels), replicated(self._mesh)
            )
        self.state: TrainState = self._models.place(self._initial_state(model, splits))
        self._programs: dict[Any, Any] = {}
        train_step, *given = next(self._steps(1))
        test_batch = next(self._models.eval_batches(splits.test))
        started = time.perf_counter()
        self._compiled(train_step, *given)
        self._compiled(self._models.eval_step, test_batch)
        self.compile_seconds = time.perf_counter() - started

    def _resident_by_default(self) -> bool:
        ids = self._train.ids
        small = isinstance(ids, np.ndarray) and ids.nbytes <= _RESIDENT_BYTES
        accelerator = self._mesh.devices.flat[0].platform != "cpu"
        # If there are several processes, none of them has all reviews.
        one_process = num_processes() == 1
        return small and accelerator and one_process and not self.config.debugging.debug_nans

    def _initial_state(self, model: nn.Module, splits: Splits) -> TrainState:
        options = self.config.training
        learning_rate = learning_rate_schedule(
            options.schedule, options.learning_rate, options.epochs * self.steps, options.warmup
        )
        ids = splits.train.batch_ids(np.zeros(1, np.int64))
        state = self._models.initial_state(model, ids, keras_adam(learning_rate))
        if not isinstance(model, Ngram):
            return state
        counted = splits.train.join(splits.counted) if splits.counted else splits.train
        assert isinstance(counted.ids, Sequences)
        ratios = nb_log_ratios(counted.ids, counted.labels, model.num_features)
        ratios = np.broadcast_to(ratios, state.params["log_ratio"].shape)
        return state.replace(params={**state.params, "log_ratio": ratios})

    def train_epoch(self, tick: Tick = lambda: None) -> Epoch:
        """Finish an epoch, validate, add its figures to the history, and return their means.

        Calls `tick` after each step and before each batch of the validation, where `validating` is
        the number of those done and of all; if that raises, the epoch can be finished later. Raises
        `UserError` if the loss is no longer finite.
        """
        progress, started = self.progress, time.perf_counter() - self.progress.seconds
        epoch = progress.position.epochs + 1
        for step, *given in self._steps(epoch):
            progress.sums.extend(self._take(step, *given))
            progress.seconds = time.perf_counter() - started
            tick()
        jax.block_until_ready(progress.sums)
        progress.seconds = time.perf_counter() - started
        trained = metrics_of_each(progress.sums)
        self._refuse_divergence(trained, f"in epoch {epoch}")
        total = num_batches(self._validation.shards, EVAL_BATCH_SIZE)

        def tick_in_validation() -> None:
            self.validating = (self.validating[0] + 1 if self.validating else 0), total
            tick()

        try:
            validated = self.evaluate(self._validation, tick_in_validation)
        finally:
            self.validating = None
        seconds = progress.seconds / len(trained)
        figures = zip(progress.histories, trained, validated, strict=True)
        self.progress = Progress(
            [[*history, Epoch(epoch, *of, *val, seconds)] for history, of, val in figures]
        )
        return self.progress.history[-1]

    def _steps(self, epoch: int) -> Iterator[Any]:
        """Yield a function and its arguments for each step, or program of steps, still to take."""
        models, done = self._models, len(self.progress.sums)
        if self._on_device is None:
            for batch in models.train_batches(self._train, epoch, done):
                yield models.train_step, batch
            return
        rows, weights = models.batch_rows(self._train, epoch)
        spread = NamedSharding(self._mesh, PartitionSpec(None, self._mesh.axis_names[0]))
        every, before = self.config.run.checkpoint_every or self.steps, (epoch - 1) * self.steps
        while done < self.steps:
            breaks = [step - before for step in self.breaks if step > before + done]
            until = min(self.steps, done + every - (before + done) % every, *breaks)
            given = rows[done:until].astype(np.int32), weights[done:until]
            yield models.train_steps, *self._on_device, *jax.device_put(given, spread)
            done = until

    def _take(self, step: Any, *given: Any) -> list[Sums]:
        """Take a step, or the steps of one program, and return the sums of each."""
        self.state, sums = self._compiled(step, *given)(self.state, *given)
        if self._on_device:
            return [Sums(*of_step) for of_step in zip(*jax.device_get(sums), strict=True)]
        # Only enqueued: the device works while the host cuts the next batch.
        return [pace(sums, self._mesh)]

    def _compiled(self, step: Any, *given: Any) -> Any:
        """Return a step, compiled when it is first given arrays of these shapes."""
        if self.config.debugging.debug_nans:
            return partial(self._checked, step)
        key = step, *(array.shape for array in jax.tree.leaves(given))
        if key not in self._programs:
            if step is not self._models.eval_step:
                # The next step takes the state as this one leaves it: XLA must not spread it anew.
                kept = jax.tree.map(lambda array: array.sharding, self.state)
                step = jax.jit(step, donate_argnums=0, out_shardings=(kept, None))
            self._programs[key] = step.lower(self.state, *given).compile()
            check_program(self.config, self._programs[key], self._mesh)
        return self._programs[key]

    def _checked(self, step: Any, *given: Any) -> Any:
        """Take a step. Raise `UserError` if it computes a NaN; JAX finds out where."""
        try:
            # JAX announces on standard output that it takes the step again, operation by operation.
            with jax.debug_nans(True), contextlib.redirect_stdout(io.StringIO()):
                return step(*given)
        except FloatingPointError as error:
            epochs, done = self.progress.position
            training = step is self._models.train_step
            where = f"step {done + 1} of epoch {epochs + 1}" if training else "evaluation"
            raise UserError(
                f"a NaN in {where}: {str(error).partition('. ')[0]}; "
                f"try a learning rate below {self.config.training.learning_rate:g}"
            ) from error

    def evaluate(self, examples: Examples, tick: Tick = lambda: None) -> list[Metrics]:
        """Return each seed's mean metrics; `tick` and errors are those of `train_epoch`."""
        sums, step = [], self._models.eval_step
        for batch in self._models.eval_batches(examples):
            tick()
            sums.append(pace(self._compiled(step, batch)(self.state, batch)[0], self._mesh))
        metrics = metrics_of_each(sums)
        # The effect of an epoch's last step shows in no training loss.
        self._refuse_divergence(metrics, "in evaluation")
        return metrics

    def _refuse_divergence(self, metrics: list[Metrics], where: str) -> None:
        for seed, of_seed in enumerate(metrics, start=self.config.training.seed):
            if not math.isfinite(of_seed.loss):
                where += f" of seed {seed}" if self.config.training.seeds > 1 else ""
                raise UserError(
                    f"the loss became {of_seed.loss} {where}; "
                    f"try a learning rate below {self.config.training.learning_rate:g}"
                )

    def running(self) -> Metrics:
        """Return the means over the steps of this epoch so far. Waits for the device."""
        return mean_of_seeds(metrics_of_each(self.progress.sums))

    def trained(self) -> list[Trained]:
        """Return the model of each seed."""
        models = zip(self._models.each(self.state), self.progress.histories, strict=True)
        return [Trained(*model, history, self.compile_seconds) for model, history in models]

    def arrays(self) -> dict[str, Any]:
        """Return copies, on the host, of all that a step reads and changes, by name.

        With several processes, which may hold slices only, return the arrays on the devices, which
        the next step overwrites.
        """
        arrays = self.state.arrays()
        if num_processes() > 1:
            return arrays
        return {name: np.array(array) for name, array in arrays.items()}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore the state from `arrays`, whatever the devices were then."""
        self.state = self._models.place(self.state.with_arrays(arrays))
