"""Training a model to the end, however often it is interrupted."""

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np

from imdb_jax.datasets.dataset import BY_CONTENT
from imdb_jax.errors import Terminated, UserError
from imdb_jax.parallel.exchange import is_first
from imdb_jax.parallel.processes import asked_to_end
from imdb_jax.pipeline.shuffling import order_digest
from imdb_jax.progress import epoch_bar, note
from imdb_jax.runs import reporting
from imdb_jax.runs.checkpoints import Checkpoints
from imdb_jax.runs.directory import METRICS, PROFILE, TENSORBOARD
from imdb_jax.training.history import Position, Progress, best_epoch, out_of_patience
from imdb_jax.training.profiling import profiler, traced_steps
from imdb_jax.training.trainer import Trainer


def restore_latest(
    trainer: Trainer, checkpoints: Checkpoints, fingerprint: str, say: Callable[[str], None]
) -> None:
    """Put a new trainer where the latest whole checkpoint was taken, if there is one.

    Raises `UserError` if the run began with other reviews, or a NumPy that shuffles differently.
    """
    report, directory = note if is_first() else say, checkpoints.directory
    latest = checkpoints.latest(trainer.arrays(), report)
    if latest is None:
        say("there is no checkpoint to resume from; starting from the beginning")
        return
    arrays, notes = latest
    kept, found = notes["data"], fingerprint
    if found.startswith(BY_CONTENT) and not kept.startswith(BY_CONTENT):
        report(
            "an earlier version began this run; whether the reviews are the same cannot be checked"
        )
        # What follows the digest was the same: sizes, or the digest of unlabelled texts.
        kept, found = kept.partition(" ")[2], found.partition(" ")[2]
    if kept != found:
        raise UserError(
            f"the reviews are not those of the checkpoints in {directory}; choose another "
            "--workdir, or replace the run with --overwrite"
        )
    digest = order_digest(trainer.config.training.seed)
    if notes.get("order", digest) != digest:  # earlier versions kept none
        raise UserError(
            f"the checkpoints in {directory} were written with NumPy {notes['numpy']}, which "
            f"shuffles the reviews differently from the installed NumPy {np.__version__}; install "
            f"NumPy {notes['numpy']} to resume, or replace the run with --overwrite"
        )
    trainer.restore(arrays)
    trainer.progress = Progress.from_notes(notes)
    epochs, steps = trainer.progress.position
    say(f"resuming after {epochs} epochs and {steps} of {trainer.steps} steps")


def fit(
    trainer: Trainer,
    checkpoints: Checkpoints,
    fingerprint: str,
    workdir: Path,
    say: Callable[[str], None],
) -> int | None:
    """Train to the end, and write metrics and checkpoints on the way.

    With patience, returns the number of the best epoch, whose parameters the trainer then has.
    Raises `UserError` if the loss diverges or a checkpoint cannot be written or read, `Terminated`
    if SIGTERM or, in a command, Ctrl-C came, after writing a checkpoint.
    """
    config = trainer.config

    def save() -> None:
        if not config.run.keep:
            return
        progress = trainer.progress
        best = None
        if trainer.has_validation and progress.position.epochs:
            best = Position(best_epoch(progress.history), 0)
        notes = progress.to_notes() | {
            "data": fingerprint,
            "numpy": np.__version__,
            "order": order_digest(config.training.seed),
        }
        checkpoints.save(progress.position, trainer.arrays(), notes, best)

    def leave(number: int) -> None:
        checkpoints.wait()
        epochs, steps = trainer.progress.position
        how = (
            "continue by the same command with --resume" if config.run.keep else "nothing was kept"
        )
        what = "interrupted" if number == signal.SIGINT else "terminated"
        message = f"{what} after {epochs} epochs and {steps} steps; {how}"
        raise Terminated(message, 128 + number)

    def tick() -> None:
        epochs, steps = trainer.progress.position
        show(steps, *trainer.validating or ())
        taken = epochs * trainer.steps + steps
        trace(taken)
        # An epoch's last step is followed by its validation, and then by a checkpoint in any case.
        due = config.run.checkpoint_every and taken % config.run.checkpoint_every == 0
        leaving = asked()
        if leaving or (due and steps < trainer.steps):
            save()
        if leaving:
            leave(leaving)

    def write_metrics() -> None:
        if is_first():
            reporting.write_metrics(workdir / METRICS, trainer.progress.history)

    log_directory = workdir / TENSORBOARD if config.run.tensorboard and is_first() else None
    epochs, steps = trainer.progress.position
    taken = epochs * trainer.steps + steps
    profile = config.debugging.profile and is_first()
    traced = traced_steps(taken, (epochs + 1) * trainer.steps) if profile else range(0)
    trainer.breaks = traced.start, traced.stop
    with (
        asked_to_end() as asked,
        reporting.tensorboard_log(log_directory, epochs + 1) as log,
        profiler(workdir / PROFILE, traced, lambda: trainer.state, say) as trace,
    ):
        trace(taken)
        write_metrics()
        while len(history := trainer.progress.history) < config.training.epochs:
            if out_of_patience(history, config.stopping.patience):
                say(f"no lower validation loss for {config.stopping.patience} epochs")
                break
            title = f"epoch {len(history) + 1}/{config.training.epochs}"
            visible = is_first() and not config.run.quiet
            with epoch_bar(title, trainer.steps, trainer.running, visible) as show:
                row = trainer.train_epoch(tick)
            write_metrics()
            log(row)
            say(reporting.format_epoch(row, config.training.epochs))
            save()
            if number := asked():
                leave(number)
    if number := asked():  # since the last epoch was saved
        leave(number)
    checkpoints.wait()
    if not config.stopping.patience:
        return None
    best = best_epoch(history)
    if best < len(history):
        trainer.restore(checkpoints.load(Position(best, 0), trainer.arrays())[0])
        say(f"back to the parameters of epoch {best}, whose validation loss is the lowest")
    return best
