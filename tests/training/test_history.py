"""Runs that stop before their time, and go back to their best epoch."""

import signal
import threading

import numpy as np
import pytest
from small_runs import hasten, outcome, small

from imdb_jax.config import replace
from imdb_jax.errors import UserError
from imdb_jax.parallel.processes import asked_to_end
from imdb_jax.runs import experiment
from imdb_jax.training import trainer
from imdb_jax.training.history import Epoch, best_epoch, out_of_patience


def history(*losses):
    return [Epoch(number, 0.0, 0.0, loss, 0.0, 0.0) for number, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("losses", "best"), [([3.0], 1), ([3.0, 2.0, 2.5], 2), ([2.0, 2.0], 1), ([3.0, 1.0, 1.0], 2)]
)
def test_best_epoch_is_the_first_with_the_lowest_loss(losses, best):
    assert best_epoch(history(*losses)) == best


@pytest.mark.parametrize(
    ("losses", "patience", "stops"),
    [
        ([], 1, False),
        ([3.0], 1, False),
        ([3.0, 2.0], 1, False),
        ([3.0, 3.0], 1, True),  # no better is not enough
        ([3.0, 4.0], 2, False),
        ([3.0, 4.0, 2.0, 5.0], 2, False),
        ([3.0, 4.0, 2.0, 5.0, 2.5], 2, True),
        ([3.0, 4.0, 5.0, 6.0], 0, False),
    ],
)
def test_patience(losses, patience, stops):
    assert out_of_patience(history(*losses), patience) == stops


def keras_early_stopping(losses, patience):
    """Keras' `EarlyStopping(patience=patience)`, its `on_epoch_end`, word for word."""
    wait, best = 0, np.inf
    for epoch, loss in enumerate(losses):
        wait += 1
        if loss < best:
            best = loss
            wait = 0
            continue
        if wait >= patience and epoch > 0:
            return epoch + 1
    return len(losses)


def test_stops_when_keras_does():
    random = np.random.default_rng(0)
    for _ in range(200):
        losses = random.integers(0, 6, size=12).astype(float).tolist()
        patience = int(random.integers(1, 5))
        ends = (n for n in range(1, 13) if out_of_patience(history(*losses[:n]), patience))
        assert next(ends, 12) == keras_early_stopping(losses, patience)


# Runs


@pytest.fixture(autouse=True, scope="module")
def _hastened(small_synthetic):
    with pytest.MonkeyPatch.context() as patch:
        hasten(patch, small_synthetic)
        yield


@pytest.fixture
def validation_losses(monkeypatch):
    """Makes validation find these losses, one after the other, rather than the true ones."""

    def pretend(*losses):
        train_epoch = trainer.Trainer.train_epoch

        def pretended(self, tick):
            row = train_epoch(self, tick)
            self.progress.histories[0][-1] = row = row._replace(val_loss=losses[row.epoch - 1])
            return row

        monkeypatch.setattr(trainer.Trainer, "train_epoch", pretended)

    return pretend


def test_best_parameters_are_kept_exactly(tmp_path, validation_losses, capsys):
    validation_losses(0.9, 0.7, 0.8, 0.75, 0.1)
    workdir, patient = tmp_path / "stopped", {"epochs": 9, "patience": 2, "keep": 1}
    result = experiment.run(small(workdir, quiet=False, **patient))
    assert (result["epochs"], result["best_epoch"]) == (4, 2)
    assert len(result["val_accuracy"]) == 4
    assert "no lower validation loss for 2 epochs" in capsys.readouterr().out
    ended = outcome(workdir)
    assert ended["checkpoints"] == {"2-0", "4-0"}
    assert (workdir / "history.png").read_text() == "2"  # the epoch that the picture marks

    two_epochs = experiment.run(small(tmp_path / "two", epochs=2))
    assert ended["params"] == outcome(tmp_path / "two")["params"]
    for name in ("test_loss", "test_accuracy"):
        assert result[name] == two_epochs[name]

    # A run that was killed just before its end knows that there is nothing left to wait for.
    (workdir / "manifest.json").unlink()
    experiment.run(small(workdir, resume=True, **patient))
    assert outcome(workdir) == ended


def test_best_parameters_that_are_damaged_are_refused(tmp_path, validation_losses):
    validation_losses(0.7, 0.8, 0.9)
    config = small(tmp_path, patience=2)
    experiment.run(config)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "checkpoints" / "1-0" / "_METADATA").write_bytes(b"")
    with pytest.raises(UserError, match="1-0 is damaged"):
        experiment.run(replace(config, resume=True))
    assert not (tmp_path / "manifest.json").exists()


def test_all_epochs_are_trained_where_patience_lasts(tmp_path, validation_losses):
    validation_losses(0.9, 0.8)
    result = experiment.run(small(tmp_path, epochs=2, patience=1))
    assert (result["epochs"], result["best_epoch"]) == (2, 2)


def test_patience_needs_a_review_to_validate_on(tmp_path):
    with pytest.raises(UserError, match=r"validation .* holds out no review"):
        experiment.run(small(tmp_path / "run", patience=1, validation=1e-6))
    assert not (tmp_path / "run").exists()


# Signals


def test_sigterm_is_noted_for_a_while():
    before = signal.getsignal(signal.SIGTERM)
    with asked_to_end() as noted:
        assert not noted()
        signal.raise_signal(signal.SIGTERM)
        assert noted()
    assert signal.getsignal(signal.SIGTERM) == before


def test_other_threads_do_not_handle_signals():
    found = []

    def work():
        with asked_to_end() as noted:
            found.append(noted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
