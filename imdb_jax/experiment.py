"""One run, from a configuration to a run directory.

A run directory holds `config.toml`, `vocabulary.txt`, `metrics.csv` (a row per epoch),
`checkpoints` (from which the run can be resumed), `history.png`, `params` (an Orbax checkpoint),
`tensorboard` if asked for, and, written last, `result.json`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import flax
import jax
import numpy as np
import optax
from flax import linen as nn
from jax.experimental import multihost_utils
from rich import box

from imdb_jax import reporting, run_directory
from imdb_jax.checkpoint import Checkpoints, save_params
from imdb_jax.config import Config
from imdb_jax.corpus import Corpus, EncodedReviews, load_corpus, load_ngrams
from imdb_jax.datasets import absolute_paths, find_dataset
from imdb_jax.distributed import (
    all_have,
    is_first,
    num_processes,
    one_first,
    process_number,
    wait_for_all,
)
from imdb_jax.errors import UserError
from imdb_jax.fitting import fit, restore_latest
from imdb_jax.host_memory import keep_freed_memory, peak_rss_mb, share_one_heap
from imdb_jax.input_format import InputFormat
from imdb_jax.models import Ngram, create_model
from imdb_jax.progress import Report
from imdb_jax.reporting import Epoch
from imdb_jax.seeds import SeedRun, SeedsTrainer, mean_of_seeds, summarise
from imdb_jax.soft_labels import SoftLabels, with_texts
from imdb_jax.splits import Examples, Splits, make_splits, shard_bounds
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.text.vocabulary import Vocabulary
from imdb_jax.trainer import Trainer
from imdb_jax.training import Metrics

# More devices than this would each get too little of a batch.
_MOST_CORES = 8


@dataclass(frozen=True)
class ExperimentData:
    """What a run learns from.

    Attributes:
      dataset: name of the data set that was found.
      fingerprint: changes whenever its reviews do.
      vocabulary: its words, or its n-grams.
      splits: its reviews, encoded.
    """

    dataset: str
    fingerprint: str
    vocabulary: Vocabulary | NgramVocabulary
    splits: Splits


def create_configured_model(config: Config) -> nn.Module:
    """Makes the model of a configuration."""
    return create_model(config.arch, config.num_words, config.model, config.dtype)


def configured_input_format(config: Config) -> InputFormat:
    """Says how the model of a configuration reads a review."""
    return InputFormat(
        config.num_words,
        config.max_length,
        config.padding,
        config.truncating,
        distinct=getattr(create_configured_model(config), "bag_of_words", False),
    )


def load_data_for(
    config: Config, report: Report = reporting.note, soft: SoftLabels | None = None
) -> ExperimentData:
    """Finds, encodes and splits the data set of a configuration.

    Where there are several processes, process 0 prepares it, and each gets its parts of the splits.

    Args:
      config: which reviews, and how a model is to read them.
      report: receives lines that say what is going on.
      soft: what to learn from besides the labelled reviews. Words remain those of the labelled
        reviews; n-grams, and their log-ratios, are those of both.
    """
    with one_first("reviews prepared"):
        dataset = find_dataset(config, report)
    shards = config.shards or 1
    local_parts = range(*shard_bounds(shards, num_processes())[process_number() :][:2])
    test_share = 0.0 if dataset.fixed_split else config.test_share
    corpus: Corpus[Any]
    if isinstance(model := create_configured_model(config), Ngram):
        both = with_texts(dataset, soft.texts) if soft else dataset
        corpus = load_ngrams(both, model.max_n, model.min_df, report)
        counted = None
        if soft:
            ranks, labels = corpus.train.ranks, corpus.train.labels
            num_labelled = len(labels) - len(soft.texts)
            counted = Examples(ranks[num_labelled:], soft.probabilities)
            labelled = EncodedReviews(ranks[:num_labelled], labels[:num_labelled])
            corpus = dataclasses.replace(corpus, train=labelled)
        splits = make_splits(corpus, None, test_share, config.validation, shards, local_parts)
        splits = dataclasses.replace(splits, counted=counted)
    else:
        # Of several processes, each reads and encodes a part.
        several = num_processes() > 1
        own = dataset.part(process_number(), num_processes()) if several else dataset
        corpus = load_corpus(own, report)
        form = configured_input_format(config)
        splits = make_splits(corpus, form, test_share, config.validation, shards, local_parts)
        if soft:
            assert isinstance(splits.train.ids, np.ndarray)
            ids = form.ids(corpus.vocabulary.rank(soft.texts), splits.train.ids.shape[1])
            train = splits.train.join(Examples(ids, soft.probabilities))
            splits = dataclasses.replace(splits, train=train)
    for part, examples in (("train", splits.train), ("test", splits.test)):
        if not len(examples):
            raise UserError(
                f"{dataset.name} has no reviews left to {part} on; change test_share or validation"
            )
    if config.validation and splits.validation is None:
        raise UserError(f"validation {config.validation:g} holds out no review; raise it")
    fingerprint = f"{dataset.fingerprint} {soft.fingerprint}" if soft else dataset.fingerprint
    return ExperimentData(dataset.name, fingerprint, corpus.vocabulary, splits)


def run(config: Config, soft: SoftLabels | None = None, of: str = "") -> dict[str, Any]:
    """Trains as a configuration says, reports on the way, and writes the run directory.

    Args:
      config: what to train, on what.
      soft: what to learn from besides the labelled reviews, see `self_training`.
      of: stands before the result that is printed.

    Returns:
      What `result.json` holds.

    Raises:
      UserError: no data, a directory that is taken, a bad hyper-parameter, a diverging loss.
      Terminated: SIGTERM came; the run can be resumed.
    """
    share_one_heap()
    workdir = config.workdir or Path("runs") / config.arch
    config = absolute_paths(config)
    say = print if is_first() and not config.quiet else _nothing
    if config.tensorboard:
        reporting.summary_writer_class()  # lest training ends before it is missed
    earlier = run_directory.earlier_run(workdir, config)
    if earlier:
        earlier = dataclasses.replace(earlier, shards=earlier.shards or 1)
    if earlier and config.dataset == "auto" and earlier.dataset in ("imdb_reviews", "synthetic"):
        # What could be had then decides, not what can be had now.
        config = dataclasses.replace(config, dataset=earlier.dataset)

    shards = num_processes() if earlier is None else earlier.shards
    config = dataclasses.replace(config, shards=config.shards or shards)
    _refuse_in_shards(config, soft)
    model = create_configured_model(config)
    use_all_cores(model, config.seeds)
    say(_versions())
    data = load_data_for(config, reporting.note if is_first() else _nothing, soft)
    words = getattr(data.vocabulary, "words", ())
    if not all_have(" ".join([data.fingerprint, _sizes(data), *words])):
        raise UserError("the processes of this run have found different reviews")
    config = _completed(config, data, workdir)
    model = create_configured_model(config)
    if earlier:
        run_directory.refuse_other_run(workdir, config, earlier)
        result = run_directory.read_result(workdir)
        if result is not None and config.epochs == earlier.epochs:
            say(f"the run in {workdir} has ended before; there is nothing to resume")
            if is_first():
                _announce(result, of)
            return result
    validated_on = "validation (test reviews)" if data.splits.validation is None else "validation"
    say(_sizes(data))
    keep_freed_memory()  # from here on: what reading the reviews took goes back to the system
    try:
        trainer = (SeedsTrainer if config.seeds > 1 else Trainer)(config, model, data.splits)
    except ValueError as error:
        raise UserError(f"{config.arch} cannot be made so: {error}") from error
    say(layer_table(model, data.splits.train))
    say(f"compiled in {trainer.compile_seconds:.1f} s; validation figures: {validated_on}")

    checkpoints = Checkpoints(workdir / run_directory.CHECKPOINTS, config.keep)
    if earlier:
        restore_latest(trainer, checkpoints, data.fingerprint, say)
    if is_first():
        run_directory.begin(workdir, config, data.vocabulary, afresh=earlier is None)
    wait_for_all("run begun")
    if soft:
        soft.save(workdir / run_directory.SOFT_LABELS)
    with checkpoints:
        best = fit(trainer, checkpoints, data.fingerprint, workdir, say)
    if isinstance(trainer, SeedsTrainer):
        result = _conclude_seeds(config, trainer, data, validated_on)
    else:
        if trainer.held_out:
            test = trainer.evaluate(data.splits.test)
        else:
            test = _last_validation(trainer.progress.history)
        taught = {"num_unlabelled": len(soft.texts), "teacher": soft.teacher} if soft else {}
        result = _conclude(config, trainer, data, test, best, validated_on, taught)
    say(f"written to {workdir}")
    if is_first():
        _announce(result, of)
    return result


def _refuse_in_shards(config: Config, soft: SoftLabels | None) -> None:
    """Raises `UserError` if the processes cannot share this run."""
    processes = num_processes()
    if config.shards % processes:
        raise UserError(
            f"the {config.shards} shards of this run cannot be shared evenly by {processes} "
            f"processes; start a number of them that divides {config.shards}"
        )
    if soft and config.shards > 1:
        raise UserError("unlabelled texts are learnt from in one shard only; leave out shards")
    if processes > 1 and config.arch == "ngram":
        raise UserError("n-grams are counted by a single process; train ngram in one")
    if config.seeds > 1 and (processes > 1 or config.model_parallel > 1):
        raise UserError("seeds are trained in one process, and with model_parallel 1")


def _last_validation(history: Sequence[Epoch]) -> Metrics:
    """The test figures of a run that validated on the test reviews."""
    return Metrics(history[-1].val_loss, history[-1].val_accuracy)


def _conclude(
    config: Config,
    trained: Trainer | SeedRun,
    data: ExperimentData,
    test: Metrics,
    best: int | None,
    validated_on: str,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Writes what a run ends with; gives its result, with what `more` there is to say."""
    workdir = config.workdir
    assert workdir is not None
    params = multihost_utils.process_allgather(trained.state.params, tiled=True)
    save_params(workdir / run_directory.PARAMS, params)
    result = make_result(config, trained, data, test, best) | dict(more)
    if not is_first():
        return result
    title = f"{config.arch} on {data.dataset}, test accuracy {test.accuracy:.4f}"
    history = trained.progress.history
    reporting.plot_history(workdir / run_directory.HISTORY, history, title, validated_on)
    run_directory.write_result(workdir, result)
    return result


def _conclude_seeds(
    config: Config, trainer: SeedsTrainer, data: ExperimentData, validated_on: str
) -> dict[str, Any]:
    """Writes a run directory for each seed, and what they come to; gives the latter."""
    if trainer.held_out:
        tests = trainer.evaluate_each(data.splits.test)
    else:
        tests = [_last_validation(history) for history in trainer.progress.histories]
    results = []
    for trained, test in zip(trainer.runs(), tests, strict=True):
        workdir = trained.config.workdir
        assert workdir is not None
        run_directory.begin(workdir, trained.config, data.vocabulary, afresh=True)
        reporting.write_metrics(workdir / run_directory.METRICS, trained.progress.history)
        results.append(_conclude(trained.config, trained, data, test, None, validated_on))
    assert config.workdir is not None
    result = make_result(config, trainer, data, mean_of_seeds(tests), None) | summarise(results)
    run_directory.write_result(config.workdir, result)
    return result


def use_all_cores(model: nn.Module, seeds: int = 1) -> None:
    """Makes each core of a CPU a device, for a model of which XLA computes most on a single core.

    A batch is then spread over the cores, and so are several seeds, of any model. Changes nothing
    for other models and other devices, where the number of CPU devices was chosen already, or once
    JAX has found its devices.
    """
    if seeds == 1 and not getattr(model, "one_core", False):
        return
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if jax.config.values["jax_num_cpu_devices"] == -1 and not chosen:
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", min(os.cpu_count() or 1, _MOST_CORES))


def _completed(config: Config, data: ExperimentData, workdir: Path) -> Config:
    """The configuration, with what only the data could tell."""
    config = dataclasses.replace(config, workdir=workdir)
    if config.dataset == "auto":
        config = dataclasses.replace(config, dataset=data.dataset)
    if isinstance(data.vocabulary, NgramVocabulary):
        if config.num_words not in (0, found := data.vocabulary.num_features):
            raise UserError(
                f"num_words does not choose n-grams, of which these reviews have {found}; choose "
                "them by --model.min-df and --model.max-n"
            )
        return dataclasses.replace(config, num_words=found)
    ids = data.splits.train.ids
    if isinstance(ids, np.ndarray) and not configured_input_format(config).distinct:
        # Such a model reads as many words as it was trained on, whatever the data set.
        config = dataclasses.replace(config, max_length=ids.shape[1])
    return config


def _nothing(text: str) -> None:
    """Says nothing: what processes other than the first have to say."""


def _announce(result: dict[str, Any], of: str) -> None:
    # Whoever quotes this line should not be able to mistake it for a figure on IMDb.
    remark = " (synthetic corpus)" if result["dataset"] == "synthetic" else ""
    if "seeds" in result:
        mean, deviation = result["test_accuracy_mean"], result["test_accuracy_std"]
        accuracy = f"{mean:.4f} ± {deviation:.4f} ({len(result['seeds'])} seeds)"
    else:
        accuracy = f"{result['test_accuracy']:.4f}"
    print(f"{of}test accuracy {accuracy}{remark}")


def make_result(
    config: Config,
    trainer: Trainer | SeedRun,
    data: ExperimentData,
    test: Metrics,
    best: int | None,
) -> dict[str, Any]:
    """Collects what `result.json` holds."""
    history = trainer.progress.history
    epoch_seconds = [row.seconds for row in history]
    return {
        "arch": config.arch,
        "dataset": data.dataset,
        "num_params": count_params(trainer.state.params),
        "seed": config.seed,
        "epochs": len(history),
        "best_epoch": best,
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


def layer_table(model: nn.Module, examples: Examples) -> str:
    """Table of a model's layers with their output shapes and parameters."""
    table: str = model.tabulate(
        jax.random.key(0),
        examples.batch_ids(np.arange(1)),
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
    held_out = f"{splits.validation.total} to validate, " if splits.validation is not None else ""
    ids = splits.train.ids
    if isinstance(ids, np.ndarray):
        length = f"{ids.shape[1]} ids each"
    else:
        length = f"{ids.lengths.mean():.0f} n-grams each on average"
    return (
        f"data set: {corpus}; {splits.train.total} reviews to train, {held_out}"
        f"{splits.test.total} to test, of {length}"
    )
