"""One run, from a configuration to a run directory.

A run directory holds `config.toml`, `vocabulary.txt`, `metrics.csv` (a row per epoch),
`checkpoints` (from which the run can be resumed), `params` (an Orbax checkpoint), `tensorboard` if
asked for, `result.json`, and `manifest.json`, which marks its end; then `history.png` is drawn.
"""

from pathlib import Path
from typing import Any

import numpy as np

from imdb_jax.config import Config, replace
from imdb_jax.datasets.find import absolute_paths
from imdb_jax.errors import UserError
from imdb_jax.parallel.devices import find_devices, use_all_cores
from imdb_jax.parallel.exchange import all_have, is_first, num_processes, wait_for_all
from imdb_jax.parallel.host_memory import keep_freed_memory, share_one_heap
from imdb_jax.pipeline.input_format import configured_input_format, create_configured_model
from imdb_jax.progress import note, tell, unless
from imdb_jax.runs import directory, reporting
from imdb_jax.runs.checkpoints import Checkpoints
from imdb_jax.runs.data import ExperimentData, load_data_for
from imdb_jax.runs.fit import fit, restore_latest
from imdb_jax.runs.lock import only_run_in
from imdb_jax.runs.results import announce, conclude, draw, ended_result, warn_of_guessing
from imdb_jax.runs.soft_labels import SoftLabels
from imdb_jax.training.memory import check_model_and_batch
from imdb_jax.training.trainer import Trainer

# docs/data.md has the measurements behind this advice.
_FEW_STEPS, _SMALL_BATCH = 10, 16


def run(
    config: Config, soft: SoftLabels | None = None, of: str = "", temporary: bool = False
) -> dict[str, Any]:
    """Train as configured, write the run directory, and return what its `result.json` holds.

    `soft` is learned from besides the labelled reviews; `of` stands before the printed result. The
    directory is not mentioned if it is `temporary`.
    Raises `UserError`, or `Terminated` if SIGTERM came and the run can be resumed.
    """
    workdir = config.run.workdir or Path("runs") / config.arch
    with only_run_in(workdir):
        return _run(config, workdir, soft, of, temporary)


def _run(
    config: Config, workdir: Path, soft: SoftLabels | None, of: str, temporary: bool
) -> dict[str, Any]:
    share_one_heap()  # the command has done so; other programs have not
    config = absolute_paths(config)
    say = unless(config.run.quiet or not is_first(), tell)
    if config.run.tensorboard:
        reporting.summary_writer_class()  # fails now rather than when training has begun
    earlier = directory.earlier_run(workdir, config)
    if num_processes() > 1 and not all_have(repr(earlier)):
        raise UserError(f"the processes of this run do not all see the same run in {workdir}")
    if earlier:
        earlier = replace(earlier, shards=earlier.training.shards or 1)
    if (
        earlier
        and config.data.dataset == "auto"
        and earlier.data.dataset in ("imdb_reviews", "synthetic")
    ):
        # The data set that the run began with, whatever is available now.
        config = replace(config, dataset=earlier.data.dataset)
    shards = num_processes() if earlier is None else earlier.training.shards
    config = replace(config, shards=config.training.shards or shards)
    _refuse_in_shards(config, soft)
    use_all_cores(create_configured_model(config), config.training.seeds)
    find_devices()
    check_model_and_batch(config)
    say(reporting.versions())
    data = load_data_for(config, note if is_first() else say, soft)
    if not all_have(" ".join([data.fingerprint, reporting.sizes(data), *data.vocabulary.words])):
        raise UserError("the processes of this run read different reviews")
    config = _completed(config, data, workdir)
    check_model_and_batch(config)  # again, now that the reviews tell their length and n-grams
    model = create_configured_model(config)
    if earlier:
        directory.refuse_other_run(workdir, config, earlier)
        if directory.has_ended(workdir) and config.training.epochs == earlier.training.epochs:
            directory.verify_run(workdir)
            for own in directory.runs_of_seeds(workdir, config):
                directory.verify_run(own)
            result = ended_result(workdir)
            say(f"the run in {workdir} has ended before; there is nothing to resume")
            if is_first():
                announce(result, of)
                draw(config, data)
            return result
    say(reporting.sizes(data))
    keep_freed_memory()  # only now: the memory for reading reviews goes back to the system
    trainer = Trainer(config, model, data.splits)
    for line in reporting.layer_table(model, data.splits.train):
        say(line)
    validating = f"validating on {reporting.validated_on(data)}"
    say(f"compiled in {trainer.compile_seconds:.1f} s; {validating}")
    if trainer.steps < _FEW_STEPS and config.training.batch_size > _SMALL_BATCH:
        say(
            f"few steps per epoch ({trainer.steps}): try --batch-size {_SMALL_BATCH} and more "
            "--epochs"
        )
    checkpoints = Checkpoints(workdir / directory.CHECKPOINTS, config.run.keep)
    if earlier:
        restore_latest(trainer, checkpoints, data.fingerprint, say)
    if is_first():
        directory.begin(workdir, config, data.vocabulary, afresh=earlier is None)
    wait_for_all("run begun")
    if soft:
        soft.save(workdir / directory.SOFT_LABELS)
    with checkpoints:
        best = fit(trainer, checkpoints, data.fingerprint, workdir, say)
    taught = {"num_unlabelled": len(soft.texts), "teacher": soft.teacher} if soft else {}
    result = conclude(trainer, data, best, taught)
    if warning := warn_of_guessing(config, data, result):
        say(warning)
    if not temporary:
        say(f"written to {workdir}")
    if is_first():
        announce(result, of)
        draw(config, data)
    return result


def _refuse_in_shards(config: Config, soft: SoftLabels | None) -> None:
    """Raise `UserError` if the processes cannot share this run."""
    shards, processes = config.training.shards, num_processes()
    if shards % processes:
        raise UserError(
            f"the {shards} shards of this run cannot be shared evenly by {processes} processes; "
            f"start a number of processes that divides {shards}"
        )
    if soft and shards > 1:
        raise UserError("unlabelled texts and shards do not work together; leave out one of them")
    if processes > 1 and configured_input_format(config).ngrams:
        raise UserError(f"a single process counts the n-grams; train {config.arch} in one process")
    if config.training.seeds > 1 and (processes > 1 or config.distribution.model_parallel > 1):
        raise UserError("seeds need a single process and model_parallel 1")


def _completed(config: Config, data: ExperimentData, workdir: Path) -> Config:
    """Return the configuration with what only the data could tell."""
    config = replace(config, workdir=workdir)
    if config.data.dataset == "auto":
        config = replace(config, dataset=data.dataset)
    form = configured_input_format(config)
    if form.ngrams:
        if config.input.num_words not in (0, found := len(data.vocabulary) + 1):  # with padding
            raise UserError(
                f"num_words does not apply to n-grams, of which these reviews have {found}; choose "
                "them with --model.min-df and --model.max-n"
            )
        return replace(config, num_words=found)
    ids = data.splits.train.ids
    if form.distinct or not isinstance(ids, np.ndarray):
        return config
    # Such a model reads as many words as it was trained on, whatever the data set.
    return replace(config, max_length=ids.shape[1])
