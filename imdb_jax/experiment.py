"""One run, from a configuration to a run directory.

A run directory holds `config.toml`, `vocabulary.txt`, `metrics.csv` (a row per epoch),
`history.png`, `params` (an Orbax checkpoint) and, written last, `result.json`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax
import jax
import optax
from flax import linen as nn
from rich import box

from imdb_jax import reporting
from imdb_jax.checkpoint import save_params
from imdb_jax.config import Config, dump_config
from imdb_jax.corpus import load_corpus
from imdb_jax.datasets import Report, find_dataset
from imdb_jax.encoding import Vocabulary
from imdb_jax.errors import UserError
from imdb_jax.evaluation import EVAL_BATCH_SIZE, evaluate, pace
from imdb_jax.files import write_atomically
from imdb_jax.models import create_model
from imdb_jax.pipeline import (
    Examples,
    InputFormat,
    Splits,
    batches,
    data_mesh,
    epoch_order,
    make_splits,
    num_batches,
    replicated,
)
from imdb_jax.reporting import Epoch
from imdb_jax.training import (
    Metrics,
    Sums,
    TrainState,
    create_train_state,
    eval_step,
    keras_adam,
    mean_metrics,
    train_step,
)


@dataclass(frozen=True)
class ExperimentData:
    """What a run learns from.

    Attributes:
      dataset: name of the data set that was found.
      vocabulary: its words.
      splits: its reviews, padded.
    """

    dataset: str
    vocabulary: Vocabulary
    splits: Splits


def create_configured_model(config: Config) -> nn.Module:
    """Makes the model of a configuration."""
    return create_model(config.arch, config.num_words, config.model)


def configured_input_format(config: Config) -> InputFormat:
    """Says how the model of a configuration reads a review."""
    return InputFormat(
        config.num_words,
        config.max_length,
        config.padding,
        config.truncating,
        distinct=getattr(create_configured_model(config), "bag_of_words", False),
    )


def load_data_for(config: Config, report: Report = reporting.note) -> ExperimentData:
    """Finds, encodes and splits the data set of a configuration."""
    dataset = find_dataset(
        config.dataset, config.data_dir, config.archive, config.allow_unverified, report
    )
    corpus = load_corpus(dataset, report)
    splits = make_splits(
        corpus, configured_input_format(config), config.test_share, config.validation
    )
    for part, examples in (("train", splits.train), ("test", splits.test)):
        if not len(examples):
            raise UserError(
                f"{dataset.name} has no reviews left to {part} on; change test_share or validation"
            )
    return ExperimentData(dataset.name, corpus.vocabulary, splits)


class Trainer:
    """A model in training, with its steps compiled for the batches it will see.

    Attributes:
      state: where training stands.
      compile_seconds: how long compiling both steps took.
    """

    def __init__(self, config: Config, model: nn.Module, splits: Splits) -> None:
        """Initialises the model on all devices and compiles its steps."""
        self.config = config
        self.mesh = data_mesh()
        self.train_examples = splits.train
        first = next(batches(splits.train, config.batch_size, self.mesh))
        state = create_train_state(
            model, first.ids, config.seed, keras_adam(config.learning_rate), config.loss
        )
        self.state: TrainState = jax.device_put(state, replicated(self.mesh))
        started = time.perf_counter()
        self._train_step = train_step.lower(self.state, first).compile()
        evaluated = next(batches(splits.test, EVAL_BATCH_SIZE, self.mesh))
        self._eval_step = eval_step.lower(self.state, evaluated).compile()
        self.compile_seconds = time.perf_counter() - started

    def train_epoch(self, epoch: int) -> tuple[Metrics, float]:
        """Trains on every review once; gives the mean metrics and the seconds it took.

        Raises:
          UserError: the loss is no longer a finite number.
        """
        config, examples = self.config, self.train_examples
        steps = num_batches(len(examples), config.batch_size)
        sums: list[Sums] = []
        title = f"epoch {epoch}/{config.epochs}"
        started = time.perf_counter()
        order = epoch_order(len(examples), config.seed, epoch)
        bar = reporting.epoch_bar(title, steps, lambda: mean_metrics(sums), not config.quiet)
        with bar as advance:
            for batch in batches(examples, config.batch_size, self.mesh, order):
                # Only enqueued: the device works while the host cuts the next batch.
                self.state, step_sums = self._train_step(self.state, batch)
                sums.append(pace(step_sums, self.mesh))
                advance()
            metrics = mean_metrics(sums)
        _refuse_divergence(metrics, config, f"in epoch {epoch}")
        return metrics, time.perf_counter() - started

    def evaluate(self, examples: Examples) -> Metrics:
        """Mean metrics over examples, each counted exactly once."""
        metrics = evaluate(self.state, examples, self.mesh, self._eval_step)[0]
        # The effect of an epoch's last step shows in no training loss.
        _refuse_divergence(metrics, self.config, "in evaluation")
        return metrics


def _refuse_divergence(metrics: Metrics, config: Config, where: str) -> None:
    if not math.isfinite(metrics.loss):
        raise UserError(
            f"the loss became {metrics.loss} {where}; "
            f"try a learning rate below {config.learning_rate:g}"
        )


def run(config: Config) -> dict[str, Any]:
    """Trains as a configuration says, reports on the way, and writes the run directory.

    Returns:
      What `result.json` holds.

    Raises:
      UserError: no data, a directory that is taken, a bad hyper-parameter, a diverging loss.
    """
    workdir = config.workdir or Path("runs") / config.arch
    check_workdir(workdir, config.overwrite)
    say = (lambda text: None) if config.quiet else print

    say(_versions())
    data = load_data_for(config)
    config = dataclasses.replace(config, dataset=data.dataset, workdir=workdir)
    if not configured_input_format(config).distinct:
        # Such a model reads as many words as it was trained on, whatever the data set.
        config = dataclasses.replace(config, max_length=data.splits.train.ids.shape[1])
    validation, validated_on = data.splits.validation, "validation"
    if validation is None:
        validation, validated_on = data.splits.test, "validation (test reviews)"
    say(_sizes(data))
    model = create_configured_model(config)
    try:
        trainer = Trainer(config, model, data.splits)
    except ValueError as error:
        raise UserError(f"{config.arch} cannot be made so: {error}") from error
    say(layer_table(model, data.splits.train))
    say(f"compiled in {trainer.compile_seconds:.1f} s; validation figures: {validated_on}")

    start_run_directory(workdir, config, data.vocabulary)
    history: list[Epoch] = []
    for epoch in range(1, config.epochs + 1):
        metrics, seconds = trainer.train_epoch(epoch)
        history.append(Epoch(epoch, *metrics, *trainer.evaluate(validation), seconds))
        reporting.write_metrics(workdir / "metrics.csv", history)
        say(reporting.format_epoch(history[-1], config.epochs))
    test = trainer.evaluate(data.splits.test)

    save_params(workdir / "params", trainer.state.params)
    title = f"{config.arch} on {config.dataset}, test accuracy {test.accuracy:.4f}"
    reporting.plot_history(workdir / "history.png", history, title, validated_on)
    result = make_result(config, trainer, history, test)
    write_atomically(workdir / "result.json", (json.dumps(result, indent=2) + "\n").encode())
    say(f"written to {workdir}")
    # Whoever quotes this line should not be able to mistake it for a figure on IMDb.
    remark = " (synthetic corpus)" if config.dataset == "synthetic" else ""
    print(f"test accuracy {test.accuracy:.4f}{remark}")
    return result


def check_workdir(workdir: Path, overwrite: bool) -> None:
    """Refuses a directory that holds a run (unless it may be replaced) or anything else."""
    if not workdir.exists():
        return
    if not workdir.is_dir():
        raise UserError(f"{workdir} is a file; choose another --workdir")
    if not any(workdir.iterdir()):
        return
    if not (workdir / "config.toml").exists():
        raise UserError(f"{workdir} holds something other than a run; choose another --workdir")
    if not overwrite:
        raise UserError(
            f"{workdir} already holds a run; choose another --workdir, or replace it by --overwrite"
        )


def start_run_directory(workdir: Path, config: Config, vocabulary: Vocabulary) -> None:
    """Makes an empty run directory in place of what was there, and writes what is known."""
    try:
        if workdir.exists():
            shutil.rmtree(workdir)
        workdir.mkdir(parents=True)
        vocabulary.save(workdir / "vocabulary.txt")
        write_atomically(workdir / "config.toml", dump_config(config).encode())
    except OSError as error:
        raise UserError(f"cannot write the run to {workdir}: {error.strerror}") from error


def make_result(
    config: Config, trainer: Trainer, history: list[Epoch], test: Metrics
) -> dict[str, Any]:
    """Collects what `result.json` holds."""
    epoch_seconds = [row.seconds for row in history]
    return {
        "arch": config.arch,
        "dataset": config.dataset,
        "num_params": count_params(trainer.state.params),
        "seed": config.seed,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "val_accuracy": [row.val_accuracy for row in history],
        "train_seconds": sum(epoch_seconds),
        "epoch_seconds": epoch_seconds,
        "compile_seconds": trainer.compile_seconds,
        "peak_rss_mb": peak_rss_mb(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "optax": optax.__version__,
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
    }


def count_params(params: Any) -> int:
    """Number of parameters in a tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def peak_rss_mb() -> float | None:
    """The most memory (MB) this process has held at once; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def layer_table(model: nn.Module, examples: Examples) -> str:
    """Table of a model's layers with their output shapes and parameters."""
    table: str = model.tabulate(
        jax.random.key(0),
        examples.ids[:1],
        console_kwargs={"width": 100, "force_terminal": False},
        table_kwargs={"box": box.SIMPLE},
    )
    lines = (line.rstrip() for line in table.splitlines())
    return "\n".join(line for line in lines if line)


def _versions() -> str:
    device = jax.devices()[0]
    return (
        f"Python {platform.python_version()}, jax {jax.__version__}, flax {flax.__version__}, "
        f"optax {optax.__version__}; {jax.device_count()} x {device.device_kind}"
    )


def _sizes(data: ExperimentData) -> str:
    splits = data.splits
    corpus = "the built-in synthetic corpus" if data.dataset == "synthetic" else data.dataset
    held_out = f"{len(splits.validation)} to validate, " if splits.validation is not None else ""
    return (
        f"data set: {corpus}; {len(splits.train)} reviews to train, {held_out}"
        f"{len(splits.test)} to test, of {splits.train.ids.shape[1]} ids each"
    )
