"""Training with all reviews on the device does what training batch by batch does."""

import contextlib
import functools

import jax
import numpy as np
import pytest
from small_runs import share_compilation
from small_splits import MODELS, splits

from imdb_jax.config import Config, replace
from imdb_jax.models import create_model
from imdb_jax.runs import fit
from imdb_jax.runs.checkpoints import Checkpoints
from imdb_jax.training import seeds
from imdb_jax.training.history import Progress
from imdb_jax.training.trainer import Trainer


@pytest.fixture(autouse=True, scope="module")
def _compiled_once():
    with pytest.MonkeyPatch.context() as patch:
        share_compilation(patch)
        yield


@functools.cache
def created(arch):
    """One model: another, though the same, would be compiled again."""
    return create_model(arch, 30, MODELS[arch])


def trainer(arch="mlp", resident=False, **options):
    config = replace(
        Config(), arch=arch, num_words=30, batch_size=10, epochs=2, quiet=True, **options
    )
    return Trainer(config, created(arch), splits(arch == "mlp"), resident)


@pytest.mark.parametrize(("arch", "checkpoint_every"), [("mlp", 2), ("cnn", 0), ("lstm", 0)])
def test_an_epoch_in_one_program_is_the_same_epoch(arch, checkpoint_every):
    by_batch = trainer(arch)
    resident = trainer(arch, resident=True, checkpoint_every=checkpoint_every)
    for _ in range(2):
        expected, found = by_batch.train_epoch(), resident.train_epoch()
        np.testing.assert_allclose(found[:-1], expected[:-1], rtol=1e-5)  # the last: seconds
    for name, array in by_batch.arrays().items():
        np.testing.assert_allclose(resident.arrays()[name], array, rtol=1e-4, atol=1e-6)


def test_programs_end_where_a_checkpoint_may_be_due():
    resident = trainer(resident=True, checkpoint_every=2)
    ends = []

    def tick():
        epochs, steps = resident.progress.position
        if not ends or ends[-1] != (epochs, steps):
            ends.append((epochs, steps))

    resident.train_epoch(tick)
    resident.train_epoch(tick)
    # Five steps an epoch; checkpoints are due after 2, 4, 6, 8 and 10 of all.
    assert ends == [(0, 2), (0, 4), (0, 5), (1, 1), (1, 3), (1, 5)]


def test_an_interrupted_epoch_is_continued_with_the_same_batches():
    whole, first = trainer(resident=True), trainer(resident=True, checkpoint_every=2)

    class Interrupted(Exception):
        pass

    def interrupt():
        raise Interrupted

    with pytest.raises(Interrupted):
        first.train_epoch(interrupt)
    second = trainer(resident=True, checkpoint_every=2)
    second.restore(first.arrays())
    second.progress = Progress.from_notes(first.progress.to_notes())
    np.testing.assert_allclose(second.train_epoch()[:-1], whole.train_epoch()[:-1], rtol=1e-5)


def test_skipping_padding_changes_no_figure_and_resumes_to_the_last_bit(monkeypatch):
    whole = trainer("lstm")
    whole.train_epoch()
    continued = trainer("lstm")
    continued.restore(whole.arrays())
    continued.progress = Progress.from_notes(whole.progress.to_notes())
    assert whole.train_epoch()[:-1] == continued.train_epoch()[:-1]
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(continued.arrays()[name], array)

    monkeypatch.setattr(seeds, "on_devices", lambda model, devices: model)
    plain = trainer("lstm")
    for expected in whole.progress.history:
        np.testing.assert_allclose(plain.train_epoch()[:-1], expected[:-1], rtol=1e-5)
    for name, array in plain.arrays().items():
        np.testing.assert_allclose(whole.arrays()[name], array, rtol=1e-4, atol=1e-6)


def test_seeds_together_skip_padding_as_each_does_alone():
    together = trainer("lstm", seeds=2)
    together.train_epoch()
    for seed, (_, params, history, _) in enumerate(together.trained()):
        alone = trainer("lstm", seed=seed)
        np.testing.assert_allclose(history[0][:-1], alone.train_epoch()[:-1], rtol=1e-5)
        jax.tree.map(
            lambda found, expected: np.testing.assert_allclose(found, expected, 1e-4, 1e-6),
            params,
            jax.device_get(alone.state.params),
        )


def test_the_bar_is_told_of_each_step_by_whoever_trains(tmp_path, monkeypatch):
    shown = []

    @contextlib.contextmanager
    def bar(title, steps, running, visible):
        shown.append((title, steps, visible))
        yield lambda *done: shown.append((*done, running().loss > 0))

    monkeypatch.setattr(fit, "epoch_bar", bar)
    with Checkpoints(tmp_path / "checkpoints", 0) as checkpoints:
        fit.fit(trainer(keep=0), checkpoints, "reviews", tmp_path, lambda line: None)
    steps = [(done, True) for done in (1, 2, 3, 4, 5)]
    steps.append((5, 0, 1, True))  # before the one batch of the validation
    assert shown == [("epoch 1/2", 5, False), *steps, ("epoch 2/2", 5, False), *steps]


def test_on_a_cpu_batches_come_from_the_host():
    assert jax.devices()[0].platform == "cpu"
    assert trainer(resident=None)._on_device is None
