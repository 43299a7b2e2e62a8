"""Many seeds at once come to what each comes to alone."""

import functools
import itertools
import json
import os
import shutil
import signal
import statistics

import jax
import numpy as np
import pytest
from small_runs import metrics_of, outcome, small

from imdb_jax import load
from imdb_jax.config import Config, load_config, replace
from imdb_jax.errors import Terminated, UserError
from imdb_jax.models import create_model
from imdb_jax.pipeline.splits import Examples, Splits
from imdb_jax.runs import experiment
from imdb_jax.training.seeds import seeds_mesh
from imdb_jax.training.trainer import Trainer

MLP = {"arch": "mlp", "model": {"hidden": [4], "dropout": [0.5]}, "max_length": 0}
NUM = 4


pytestmark = pytest.mark.usefixtures("hastened")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The directories of four runs, one after the other."""
    above = tmp_path_factory.mktemp("alone")
    for seed in range(NUM):
        experiment.run(replace(small(above / str(seed), seed=seed), **MLP))
    return [above / str(seed) for seed in range(NUM)]


def together(workdir, number=NUM, **changes):
    return replace(small(workdir, seeds=number, **changes), **MLP)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Four seeds at once, on the four devices; leave it as it is."""
    workdir = tmp_path_factory.mktemp("together") / "run"
    return workdir, experiment.run(together(workdir))


def figures(workdir):
    return [[float(cell) for cell in line.split(",")] for line in metrics_of(workdir)[1:]]


def assert_same_run(workdir, other):
    np.testing.assert_allclose(figures(workdir), figures(other), rtol=1e-5, atol=1e-6)
    params = load(workdir).params, load(other).params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *params)


def test_each_seed_comes_to_what_it_comes_to_alone(finished, alone):
    workdir, _ = finished
    for seed, run in enumerate(alone):
        assert_same_run(workdir / f"seed-{seed}", run)
    assert figures(alone[0]) != figures(alone[1])


@pytest.mark.parametrize(("number", "devices"), [(3, 3), (2, 2), (5, 1), (6, 3), (8, 4)])
def test_seeds_are_spread_over_the_most_devices_that_divide_them(number, devices):
    assert jax.device_count() == 4
    assert seeds_mesh(number).size == devices


def test_every_seed_has_a_run_directory_of_its_own(finished, alone):
    workdir, result = finished
    assert load_config(workdir / "config.toml").training.seeds == NUM
    for seed, run in enumerate(alone):
        directory = workdir / f"seed-{seed}"
        names = {path.name for path in run.iterdir()} - {"checkpoints"}
        assert {path.name for path in directory.iterdir()} == names
        for name in ("config.toml", "vocabulary.txt"):
            assert (directory / name).read_bytes() == (run / name).read_bytes()
        found, expected = (
            json.loads((path / "result.json").read_text()) for path in (directory, run)
        )
        assert found.keys() == expected.keys()
        for name in ("arch", "dataset", "num_params", "seed", "epochs", "best_epoch", "batch_size"):
            assert found[name] == expected[name]
        assert found["test_accuracy"] == expected["test_accuracy"] == result["test_accuracy"][seed]
        assert found["train_seconds"] == pytest.approx(result["train_seconds"] / NUM)


def test_the_result_is_the_mean_and_the_deviation_of_the_sample(finished, alone, capsys):
    workdir, result = finished
    assert json.loads((workdir / "result.json").read_text()) == result
    accuracies = [json.loads((run / "result.json").read_text())["test_accuracy"] for run in alone]
    assert result["seeds"] == [*range(NUM)]
    assert result["test_accuracy"] == accuracies
    assert result["test_accuracy_mean"] == pytest.approx(np.mean(accuracies))
    assert result["test_accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1))
    experiment.run(together(workdir, resume=True))
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
    assert capsys.readouterr().out == (
        f"test accuracy {mean:.4f} ± {deviation:.4f} ({NUM} seeds) (synthetic corpus)\n"
    )


def test_figures_on_the_way_are_means_over_the_seeds(finished):
    workdir, result = finished
    each = np.mean([figures(workdir / f"seed-{seed}") for seed in range(NUM)], axis=0)
    np.testing.assert_allclose(figures(workdir), each, rtol=1e-6)
    assert result["val_accuracy"] == pytest.approx(each[:, 4])


def test_the_directory_above_is_no_single_run(finished):
    with pytest.raises(UserError, match=r"the runs of 4 seeds; choose one, such as .*seed-0"):
        load(finished[0])


# Devices, and programs of many steps


@functools.cache
def dropping():
    """One model: another, though the same, would be compiled again."""
    return create_model("mlp", 30, {"hidden": (5,), "dropout": (0.4,)})


def trainer(devices, resident, number=3):
    random = np.random.default_rng(0)
    ids = random.integers(0, 30, (45, 8)).astype(np.uint8)
    examples = Examples(ids, (ids.sum(1) % 2).astype("f"))
    config = replace(
        Config(), arch="mlp", seeds=number, seed=7, batch_size=10, epochs=1, quiet=True
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: devices)
        splits = Splits(examples, None, Examples(ids[:20], examples.labels[:20]))
        return Trainer(config, dropping(), splits, resident)


def test_devices_and_programs_of_many_steps_make_no_difference():
    """Batches of one device, one by one, are those of three devices in one program."""
    one, three = trainer(1, resident=False), trainer(4, resident=True)
    assert (one._mesh.size, three._mesh.size) == (1, 3)
    np.testing.assert_allclose(three.train_epoch()[:-1], one.train_epoch()[:-1], rtol=1e-5)
    expected = one.arrays()
    for name, array in three.arrays().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-6)
    kernels = expected["params.Dense_0.kernel"]
    assert len(kernels) == 3
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


# Interruptions


@pytest.mark.parametrize("number", [3, 8])
def test_what_is_killed_goes_on_bit_for_bit(finished, tmp_path, monkeypatch, number):
    """Within an epoch, and between its last step and its validation."""
    steps = Trainer._steps
    taken = itertools.count(1)

    def until(self, epoch):
        for step in steps(self, epoch):
            yield step
            if next(taken) == number:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "_steps", until)
    with pytest.raises(Terminated, match="--resume"):
        experiment.run(together(tmp_path))
    assert not (tmp_path / "result.json").exists()
    experiment.run(together(tmp_path, resume=True))
    for seed in range(NUM):
        name = f"seed-{seed}"
        assert outcome(tmp_path / name) == outcome(finished[0] / name)
    assert metrics_of(tmp_path) == metrics_of(finished[0])


# Refusals


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("place", "changes", "match"),
    [
        ("one", {"resume": True}, "a run with seeds 1, not 4"),
        ("many", {"resume": True, "number": 3}, "a run with seeds 4, not 3"),
        ("many", {"resume": True, "seed": 1}, "a run with seed 0, not 1"),
        ("many", {}, "already holds a run"),
    ],
)
def test_another_run_is_refused_and_left(finished, alone, place, changes, match):
    workdir = alone[0] if place == "one" else finished[0]
    before = contents(workdir)
    with pytest.raises(UserError, match=match):
        experiment.run(together(workdir, **changes))
    assert contents(workdir) == before


@pytest.mark.parametrize("lost", ["", "manifest.json", "params/_METADATA"])
def test_runs_that_have_ended_are_verified(finished, tmp_path, lost):
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    (workdir / "seed-2" / lost).rename(tmp_path / "lost")
    with pytest.raises(UserError, match=r"seed-2 is damaged: .* is missing; restore it"):
        experiment.run(together(workdir, resume=True))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"seeds": 2, "patience": 1, "validation": 0.5}, "patience"),
        ({"seeds": 2, "unlabelled": "texts.txt"}, "do not work together"),
        ({"seeds": 2, "seed": 2**63 - 1}, "seed must be below"),
    ],
)
def test_options_that_make_no_sense(changes, match):
    with pytest.raises(UserError, match=match):
        replace(Config(), **changes)


def test_a_seed_that_diverges_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"in epoch 1 of seed [01]; try a learning rate below 1e\+30"
    ):
        experiment.run(together(tmp_path, number=2, learning_rate=1e30))
