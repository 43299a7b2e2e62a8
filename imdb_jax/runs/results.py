"""What a run ends with: its parameters, its figures, and the line that it prints."""

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import optax
from jax.experimental import multihost_utils

from imdb_jax.config import Config
from imdb_jax.files import is_regular
from imdb_jax.parallel.exchange import gather, is_first
from imdb_jax.parallel.host_memory import peak_rss_mb
from imdb_jax.runs import curves, directory, reporting
from imdb_jax.runs.checkpoints import save_params
from imdb_jax.runs.data import ExperimentData
from imdb_jax.runs.manifest import Damaged
from imdb_jax.training.seeds import mean_of_seeds
from imdb_jax.training.step import Metrics
from imdb_jax.training.trainer import Trained, Trainer


def conclude(
    trainer: Trainer, data: ExperimentData, best: int | None, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Test the model, write what the run ends with, and return what `result.json` holds.

    Each of several seeds gets a run directory of its own inside that of the run. `best` is the
    epoch whose parameters the model has, if validation chose it; `more` are further entries.
    """
    config, workdir = trainer.config, trainer.config.run.workdir
    assert workdir is not None
    if trainer.has_validation:
        tests = trainer.evaluate(data.splits.test)
    else:  # the last validation was on the test reviews
        rows = [history[-1] for history in trainer.progress.histories]
        tests = [Metrics(row.val_loss, row.val_accuracy) for row in rows]
    if config.training.seeds == 1:
        (trained,) = trainer.trained()
        return _conclude_one(trained, data, tests[0], best, more)
    results = []
    for trained, test in zip(trainer.trained(), tests, strict=True):
        own = trained.config.run.workdir
        assert own is not None
        directory.begin(own, trained.config, data.vocabulary, afresh=True)
        reporting.write_metrics(own / directory.METRICS, trained.history)
        results.append(_conclude_one(trained, data, test, best, more))
    params, history = trainer.state.params, trainer.progress.history
    of_all = Trained(config, params, history, trainer.compile_seconds)
    result = make_result(of_all, data, mean_of_seeds(tests), best) | summarize(results)
    directory.end(workdir, result)
    return result


def _conclude_one(
    trained: Trained, data: ExperimentData, test: Metrics, best: int | None, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Write what the run of one seed ends with, and return its result."""
    workdir = trained.config.run.workdir
    assert workdir is not None
    params = multihost_utils.process_allgather(trained.params, tiled=True)
    save_params(workdir / directory.PARAMS, params)
    result = make_result(trained, data, test, best) | dict(more)
    if is_first():
        directory.end(workdir, result)
    return result


def draw(config: Config, data: ExperimentData) -> None:
    """Draw the curves of a run that has ended, or of those of its seeds, unless they are there.

    This comes last: nobody should wait for a picture before seeing the accuracy. A run that was
    killed before its end, or while it drew, gets the picture when it is resumed.
    """
    assert config.run.workdir is not None
    label = f"validation on {reporting.validated_on(data)}"
    for workdir in directory.runs_of_seeds(config.run.workdir, config) or [config.run.workdir]:
        figure = workdir / directory.HISTORY
        rows = reporting.read_metrics(workdir / directory.METRICS)
        if rows and not is_regular(figure):
            result = directory.read_result(workdir)
            of = f"{result['arch']} on {result['dataset']}"
            title = f"{of}, test accuracy {result['test_accuracy']:.4f}"
            curves.plot_history(figure, rows, title, label, result.get("best_epoch") or len(rows))


def make_result(
    trained: Trained, data: ExperimentData, test: Metrics, best: int | None
) -> dict[str, Any]:
    """Collect what `result.json` holds."""
    config, history = trained.config, trained.history
    epoch_seconds = [row.seconds for row in history]
    return {
        "arch": config.arch,
        "dataset": data.dataset,
        "labels": list(data.label_names),
        "num_params": optax.tree.size(trained.params),
        "seed": config.training.seed,
        "epochs": len(history),
        "best_epoch": best,
        "batch_size": config.training.batch_size,
        "train_reviews": data.splits.train.total,
        "test_reviews": data.splits.test.total,
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "val_accuracy": [row.val_accuracy for row in history],
        "train_seconds": sum(epoch_seconds),
        "epoch_seconds": epoch_seconds,
        "compile_seconds": trained.compile_seconds,
        "peak_rss_mb": peak_rss_mb(),
        "ended": datetime.now(UTC).date().isoformat(),
        **reporting.environment(),
    }


def summarize(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collect what `result.json` holds of several seeds; the standard deviation is a sample's."""
    accuracies = [result["test_accuracy"] for result in results]
    return {
        "num_params": results[0]["num_params"],
        "seeds": [result["seed"] for result in results],
        "test_accuracy": accuracies,
        "test_accuracy_mean": statistics.fmean(accuracies),
        "test_accuracy_std": statistics.stdev(accuracies),
        "test_loss": [result["test_loss"] for result in results],
    }


def warn_of_guessing(config: Config, data: ExperimentData, result: Mapping[str, Any]) -> str:
    """Return a line that says so if a model is no better than always guessing one class, else ''.

    All processes must call it, with what they hold of the test reviews.
    """
    test = data.splits.test
    positive = sum(map(int, gather(b"%d" % np.count_nonzero(test.labels > 0.5)))) / test.total
    share, guess = max((1 - positive, data.label_names[0]), (positive, data.label_names[1]))
    accuracy = result.get("test_accuracy_mean", result["test_accuracy"])
    # A model that learned nothing from the texts is right for this share of them at best, and by
    # luck alone for a standard error more in one of six cases.
    if share == 1 or accuracy > share + math.sqrt(share * (1 - share) / test.total):
        return ""
    how = "no" if accuracy <= share else "hardly"
    other = "" if config.arch == "ngram" else "--arch ngram, "
    return (
        f"{how} better than always guessing {guess!r}, right for {share:.4f} of the test reviews; "
        f"with few reviews, try {other}more --epochs and a smaller --batch-size"
    )


def ended_result(workdir: Path) -> dict[str, Any]:
    """Read the `result.json` of a run that has ended, to be announced."""
    path = workdir / directory.RESULT
    try:
        result = directory.read_result(workdir) if is_regular(path) else {}
        _accuracy(result)
        return result
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} is damaged; replace the run with --overwrite") from error


def announce(result: dict[str, Any], of: str) -> None:
    """Print the test accuracy, after `of`."""
    print(f"{of}test accuracy {_accuracy(result)}", flush=True)


def _accuracy(result: dict[str, Any]) -> str:
    # Whoever quotes this must not be able to mistake it for a figure on IMDb.
    remark = " (synthetic corpus)" if result["dataset"] == "synthetic" else ""
    if "seeds" in result:
        mean, deviation = result["test_accuracy_mean"], result["test_accuracy_std"]
        return f"{mean:.4f} ± {deviation:.4f} ({len(result['seeds'])} seeds){remark}"
    return f"{result['test_accuracy']:.4f}{remark}"
