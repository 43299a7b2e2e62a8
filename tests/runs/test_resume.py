"""Runs that are killed, and resumed: they end as if nothing had happened."""

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_runs import metrics_of, outcome, small, to_format_1

from imdb_jax import files, load, train
from imdb_jax.config import replace
from imdb_jax.console import interrupts
from imdb_jax.datasets.find import synthetic_dataset
from imdb_jax.errors import Terminated, UserError
from imdb_jax.runs import curves, data, experiment, fit, reporting
from imdb_jax.runs.checkpoints import Checkpoints
from imdb_jax.training.history import Position
from imdb_jax.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("hastened")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The outcome to which all others must come."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    experiment.run(small(workdir))
    return outcome(workdir)


def resume(workdir, **changes):
    """Continues a run, or starts it."""
    return experiment.run(small(workdir, resume=True, **changes))


@contextlib.contextmanager
def at_step(number, act):
    """Does something right after the step of this number, counted in this part of the run."""
    take, taken = Trainer._take, itertools.count(1)

    def acting(self, *step):
        sums = take(self, *step)
        if next(taken) == number:
            act()
        return sums

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_take", acting)
        yield


# Kills


class Killed(BaseException):
    """Stands for the end of the process."""


class Disk:
    """Where the process is killed, as far as the disk can tell: at its nth change of a directory.

    Nothing changes from then on: what cleans up after exceptions has no effect either, since no
    such code runs when a process is killed.
    """

    CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "open")

    def __init__(self):
        self.directory = None
        sys.addaudithook(self._hook)  # for good: Python does not take them back

    def _hook(self, event, arguments):
        if self.directory is None or event not in self.CHANGES:
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        path = str(arguments[0])
        # shutil.rmtree names files relative to a directory that it has opened.
        if path.startswith(self.directory) or not path.startswith("/"):
            self.changes += 1
            if self.changes > self.allowed:
                raise Killed

    @contextlib.contextmanager
    def kill_at(self, directory, change):
        self.allowed, self.changes, self.directory = change, 0, str(directory)
        try:
            yield
        except Killed:
            pass
        finally:
            self.directory = None


@pytest.fixture(scope="module")
def disk():
    return Disk()


@pytest.fixture(scope="module")
def changes(disk, tmp_path_factory):
    """How often a run changes the disk."""
    workdir = tmp_path_factory.mktemp("whole")
    with disk.kill_at(workdir, 10**9):
        experiment.run(small(workdir))
    return disk.changes


@pytest.mark.parametrize("part", range(6))
def test_killed_at_a_change_of_the_disk(disk, changes, tmp_path, uninterrupted, part):
    change = random.Random(part).randrange(changes * part // 6, changes * (part + 1) // 6)
    with disk.kill_at(tmp_path, change):
        experiment.run(small(tmp_path))
    assert not (tmp_path / "history.png").exists()  # drawn last
    resume(tmp_path)
    assert outcome(tmp_path) == uninterrupted


def test_killed_again_and_again(disk, changes, tmp_path, uninterrupted):
    """Also while it resumes, and while it ends."""
    dice, kills, ended = random.Random(7), 0, False
    while not ended:
        with disk.kill_at(tmp_path, dice.randrange(changes // 2)):
            resume(tmp_path)
            ended = True
        kills += 1
    assert kills > 3
    assert outcome(tmp_path) == uninterrupted


# A checkpoint at each step makes time run so slowly that kills hit many different steps.
SLOW = {"batch_size": 3, "checkpoint_every": 1, "model": {"embedding_dim": 2, "hidden": 0}}

# Imports once, and then starts a process for each line that it reads: says its number and its end.
PROGRAM = """if True:
    import os, sys, warnings
    from pathlib import Path
    import pytest, orbax.checkpoint
    from imdb_jax import train
    from imdb_jax.runs import data, experiment, reporting
    sys.path.insert(0, sys.argv[1])
    from small_runs import small, small_dataset
    sys.path.insert(0, f"{sys.argv[1]}/runs")
    from test_resume import SLOW
    dataset = small_dataset()
    data.find_dataset = lambda *_: dataset
    reporting.layer_table = lambda *_: []
    train.parse_arguments = lambda _: small(Path(sys.argv[2]), **SLOW, resume=True)
    warnings.filterwarnings("ignore", "os.fork|.*multi-threaded", Warning)
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            os.dup2(2, 1)
            train.main()
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_processes_killed_at_random_moments(tmp_path, monkeypatch):
    """Six SIGKILLs and a SIGTERM, to processes of their own, end as one process that was let be."""
    workdir, dice = tmp_path / "killed", random.Random(0)
    program = [
        sys.executable,
        "-W",
        "error",
        "-c",
        PROGRAM,
        str(Path(__file__).parents[1]),
        workdir,
    ]
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

    def latest():
        return Checkpoints(workdir / "checkpoints", 1).positions()[-1:]

    def start():
        starter.stdin.write("\n")
        starter.stdin.flush()
        return int(starter.stdout.readline())

    def end():
        return int(starter.stdout.readline())

    with (
        (tmp_path / "errors").open("w") as errors,
        subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as starter,
    ):
        sent = [signal.SIGKILL] * 3 + [signal.SIGTERM] + [signal.SIGKILL] * 3
        ends = []
        for number, kind in enumerate(sent):
            before, child = latest(), start()
            deadline = time.monotonic() + 60
            # The first is killed while it starts, the others at most a few steps further on.
            while number and latest() <= before and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(dice.uniform(0, 0.05))
            os.kill(child, kind)
            ends.append(end())
        reached = latest()
        start()
        assert end() == 0, (tmp_path / "errors").read_text()
        starter.stdin.close()
    assert ends == [-signal.SIGKILL] * 3 + [143] + [-signal.SIGKILL] * 3
    assert [Position(0, 3)] < reached < [Position(3, 0)]
    assert "continue by the same command with --resume" in (tmp_path / "errors").read_text()
    monkeypatch.undo()
    experiment.run(small(tmp_path / "let be", **SLOW | {"checkpoint_every": 0}))
    assert outcome(workdir) | {"checkpoints": 0} == outcome(tmp_path / "let be") | {
        "checkpoints": 0
    }


# Interruptions


def interrupt():
    raise KeyboardInterrupt


def test_interrupted_after_every_step(tmp_path, uninterrupted):
    """Each part takes one step only."""
    for _ in range(11):
        with at_step(2, interrupt), pytest.raises(KeyboardInterrupt):
            resume(tmp_path, checkpoint_every=1)
    resume(tmp_path, checkpoint_every=1)
    assert outcome(tmp_path) | {"checkpoints": uninterrupted["checkpoints"]} == uninterrupted


def test_dropout_and_schedule_go_on_where_they_were(tmp_path):
    model = {"hidden": [4, 4], "dropout": [0.5]}
    config = replace(
        small(tmp_path / "whole"), arch="mlp", model=model, schedule="cosine", warmup=0.3
    )
    whole = experiment.run(config)
    config = replace(config, workdir=tmp_path / "parts", resume=True)
    for step in (1, 4, 7):
        with at_step(step, terminate), pytest.raises(Terminated):
            experiment.run(config)
    parts = experiment.run(config)
    assert (parts["test_loss"], parts["val_accuracy"]) == (
        whole["test_loss"],
        whole["val_accuracy"],
    )
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "parts")
    config = replace(config, epochs=4)
    refused(config, "holds a run with epochs 3, not 4")


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("step", [1, 4, 6, 12])
def test_sigterm_keeps_every_step(tmp_path, uninterrupted, step):
    handler = signal.getsignal(signal.SIGTERM)
    with at_step(step, terminate), pytest.raises(Terminated, match="--resume"):
        experiment.run(small(tmp_path))
    assert signal.getsignal(signal.SIGTERM) == handler
    epochs, steps = divmod(step - 1, 4)
    kept = Checkpoints(tmp_path / "checkpoints", 2)
    assert kept.positions()[-1] == (epochs, steps + 1)
    resume(tmp_path)
    assert outcome(tmp_path) | {"checkpoints": uninterrupted["checkpoints"]} == uninterrupted


def test_sigterm_during_validation(tmp_path, uninterrupted, monkeypatch):
    evaluate = Trainer.evaluate
    monkeypatch.setattr(Trainer, "evaluate", lambda *args: (terminate(), evaluate(*args))[1])
    with pytest.raises(Terminated, match="after 0 epochs and 4 steps"):
        experiment.run(small(tmp_path))
    monkeypatch.undo()
    resume(tmp_path)
    assert outcome(tmp_path) == uninterrupted


def test_seconds_add_up(tmp_path):
    with at_step(2, terminate), pytest.raises(Terminated):
        experiment.run(small(tmp_path))
    (notes,) = (tmp_path / "checkpoints" / "0-2").glob("_CHECKPOINT_METADATA")
    before = json.loads(notes.read_text())["custom_metadata"]["seconds"]
    result = resume(tmp_path)
    assert 0 < before < result["epoch_seconds"][0]
    assert result["train_seconds"] == sum(result["epoch_seconds"])


def command(monkeypatch, capsys, config):
    """Exit status and output of the training command."""
    monkeypatch.setattr(train, "parse_arguments", lambda _: config)
    with pytest.raises(SystemExit) as stop:
        train.main()
    return stop.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")]
)
def test_a_signal_ends_the_command_in_one_line(tmp_path, monkeypatch, capsys, number, word):
    before = signal.signal(signal.SIGINT, interrupts._raise)  # as in a program of its own
    try:
        with at_step(3, lambda: signal.raise_signal(number)):
            status, out, errors = command(monkeypatch, capsys, small(tmp_path))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (status, out) == (128 + number, "")
    assert errors == (
        f"{word} after 0 epochs and 3 steps; continue by the same command with --resume\n"
    )
    assert Checkpoints(tmp_path / "checkpoints", 2).positions()[-1] == (0, 3)


def test_ctrl_c_ends_the_command_in_one_line(tmp_path, monkeypatch, capsys, uninterrupted):
    with at_step(7, interrupt):
        assert command(monkeypatch, capsys, small(tmp_path)) == (130, "", "interrupted\n")
    resume(tmp_path)
    assert outcome(tmp_path) == uninterrupted


def test_sigterm_with_nothing_to_keep(tmp_path, uninterrupted):
    with at_step(2, terminate), pytest.raises(Terminated, match="nothing was kept"):
        experiment.run(small(tmp_path, keep=0))
    resume(tmp_path, keep=0)
    got = outcome(tmp_path)
    assert {name: got[name] for name in ("metrics", "params", "result")} == {
        name: uninterrupted[name] for name in ("metrics", "params", "result")
    }


# Damage


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """A run that was interrupted in its third epoch; leave it as it is."""
    workdir = tmp_path_factory.mktemp("unfinished")
    with at_step(11, interrupt), pytest.raises(KeyboardInterrupt):
        experiment.run(small(workdir))
    return workdir


@pytest.fixture
def broken_off(unfinished, tmp_path):
    """A copy of it."""
    return shutil.copytree(unfinished, tmp_path / "run")


@pytest.mark.parametrize("damaged", [1, 3])
def test_damaged_checkpoints_are_passed_over(broken_off, uninterrupted, capsys, damaged):
    positions = Checkpoints(broken_off / "checkpoints", 2).positions()
    assert positions == [(1, 0), (2, 0), (2, 2)][-len(positions) :]
    for epochs, steps in positions[-damaged:]:
        largest = max(
            (broken_off / "checkpoints" / f"{epochs}-{steps}").rglob("*"),
            key=lambda path: path.is_file() and path.stat().st_size,
        )
        data = largest.read_bytes()
        largest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    resume(broken_off)
    errors = capsys.readouterr().err
    assert errors.count("is damaged") == errors.count("\n") == min(damaged, len(positions))
    assert outcome(broken_off) == uninterrupted


@pytest.mark.parametrize("nth", [1, 2, 4])
def test_full_disk_leaves_the_checkpoints_before(tmp_path, uninterrupted, monkeypatch, nth):
    written = []

    def write(path, data):
        written.append(path)
        if len(written) >= nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        files.write_atomically(path, data)

    monkeypatch.setattr("imdb_jax.runs.manifest.write_atomically", write)
    with pytest.raises(UserError, match=r"cannot be written: .*No space left"):
        experiment.run(small(tmp_path))
    assert len([*(tmp_path / "checkpoints").iterdir()]) == min(nth - 1, 2)
    monkeypatch.undo()
    resume(tmp_path)
    assert outcome(tmp_path) == uninterrupted


def test_full_disk_ends_the_command_in_one_line(tmp_path, monkeypatch, capsys):
    def fail(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(reporting, "write_metrics", fail)
    status, out, errors = command(monkeypatch, capsys, small(tmp_path))
    assert (status, out) == (2, "")
    assert errors == f"error: No space left on device: {tmp_path}/metrics.csv\n"


# What may be resumed


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def refused(config, match):
    before = contents(config.run.workdir)
    with pytest.raises(UserError, match=match) as caught:
        experiment.run(config)
    assert "\n" not in str(caught.value)
    assert contents(config.run.workdir) == before


@pytest.mark.parametrize("place", ["absent", "empty", "killed at once"])
def test_nothing_to_resume_starts_the_run(tmp_path, uninterrupted, place):
    """So that a machine that restarts its jobs needs one command only."""
    if place != "absent":
        (tmp_path / "run").mkdir()
    if place == "killed at once":
        (tmp_path / "run" / ".config.toml.x7y8z9ab").touch()
    resume(tmp_path / "run")
    assert outcome(tmp_path / "run") == uninterrupted


@pytest.mark.parametrize("seeds", [1, 2])
def test_run_killed_while_it_draws_has_ended_and_is_drawn_when_resumed(seeds, tmp_path, capsys):
    def kill(*_):
        raise KeyboardInterrupt

    runs = [tmp_path / f"seed-{seed}" for seed in range(seeds)] if seeds > 1 else [tmp_path]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "plot_history", kill)
        with pytest.raises(KeyboardInterrupt):
            experiment.run(small(tmp_path, seeds=seeds))
    printed = capsys.readouterr().out
    assert printed.startswith("test accuracy ")
    assert not any((run / "history.png").exists() for run in runs)
    before = contents(tmp_path)
    resume(tmp_path, seeds=seeds)
    assert capsys.readouterr().out == printed
    drawn = {run / "history.png" for run in runs}
    assert contents(tmp_path) == before | {path: path.read_bytes() for path in drawn}


def test_run_that_goes_on_draws_its_picture_anew(tmp_path):
    experiment.run(small(tmp_path, epochs=2))
    assert (tmp_path / "history.png").read_text() == "2"
    resume(tmp_path, epochs=3)
    assert (tmp_path / "history.png").read_text() == "3"


def test_run_that_has_ended_says_so_and_prints_its_result_again(tmp_path, capsys):
    result = experiment.run(small(tmp_path))
    (line,) = capsys.readouterr().out.splitlines()
    before = contents(tmp_path)
    assert resume(tmp_path, quiet=False) == result
    *_, note, again = capsys.readouterr().out.splitlines()
    assert note == f"the run in {tmp_path} has ended before; there is nothing to resume"
    assert again == line
    assert contents(tmp_path) == before


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run that has ended; leave it as it is."""
    workdir = tmp_path_factory.mktemp("ended")
    experiment.run(small(workdir))
    return workdir


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("content", ["[]", "{}", "text", '{"dataset": 1, "test_accuracy": "x"}'])
def test_result_that_is_none_is_refused(tmp_path, ended, number, content):
    run = shutil.copytree(ended, tmp_path / "run")
    if number == 1:
        to_format_1(run)
    (run / "result.json").write_text(content)
    refused(small(run, resume=True), "damaged")


def test_result_without_a_manifest_is_not_the_end(tmp_path, ended, uninterrupted):
    run = shutil.copytree(ended, tmp_path / "run")
    (run / "manifest.json").unlink()
    resume(run)
    assert outcome(run) == uninterrupted


def test_run_of_format_1_goes_on(broken_off, uninterrupted, capsys):
    to_format_1(broken_off)
    resume(broken_off)
    assert "2-2 was written in format 1, and cannot be verified in full" in capsys.readouterr().err
    assert outcome(broken_off) == uninterrupted


def test_changed_configuration_is_not_resumed(broken_off):
    """Resuming takes the number of shards from it, which no option contradicts."""
    path = broken_off / "config.toml"
    path.write_text(path.read_text().replace("shards = 1", "shards = 3"))
    refused(small(broken_off, resume=True), "config.toml has changed")


@pytest.mark.parametrize("put", [Path.touch, lambda path: path.symlink_to(path)])
def test_checkpoints_that_are_no_directory(broken_off, put):
    shutil.rmtree(broken_off / "checkpoints")
    put(broken_off / "checkpoints")
    refused(small(broken_off, resume=True), "checkpoints is not a directory")


@pytest.mark.parametrize("interrupted", [False, True])
def test_more_epochs_are_as_if_asked_for_at_first(tmp_path, uninterrupted, interrupted):
    if interrupted:
        with at_step(6, interrupt), pytest.raises(KeyboardInterrupt):
            experiment.run(small(tmp_path, epochs=2))
    else:
        experiment.run(small(tmp_path, epochs=2))
    resume(tmp_path)
    assert outcome(tmp_path) == uninterrupted


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"learning_rate": 0.01}, "learning_rate 0.001, not 0.01"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"epochs": 2}, "epochs 3, not 2"),
        ({"batch_size": 5}, "batch_size 10, not 5"),
        ({"schedule": "cosine", "epochs": 9}, "epochs 3, not 9"),
        ({"warmup": 0.1}, "warmup 0.0, not 0.1"),
        ({"model": {"embedding_dim": 2, "hidden": 4}}, "model.hidden 3, not 4"),
    ],
)
def test_other_runs_are_refused_by_the_difference(broken_off, changes, difference):
    refused(small(broken_off, resume=True, **changes), f"holds a run with {difference}; ")


def test_other_reviews_are_refused(broken_off, small_synthetic, monkeypatch):
    other = dataclasses.replace(small_synthetic, fingerprint="another")
    monkeypatch.setattr(data, "find_dataset", lambda *_: other)
    refused(small(broken_off, resume=True), "the reviews are not those of the checkpoints")


@pytest.fixture
def of_earlier_version(monkeypatch, broken_off):
    """Lets its checkpoints be those of a version that hashed the synthetic corpus' source."""
    latest = Checkpoints.latest

    def latest_of_earlier(self, *arguments):
        arrays, notes = latest(self, *arguments)
        sizes = notes["data"].partition(" ")[2]
        kept = {name: notes[name] for name in ("history", "sums", "seconds")}
        return arrays, kept | {"data": f"{'0123456789abcdef' * 4} {sizes}"}

    monkeypatch.setattr(Checkpoints, "latest", latest_of_earlier)


def test_run_of_an_earlier_version_goes_on(broken_off, of_earlier_version, uninterrupted, capsys):
    resume(broken_off)
    assert "an earlier version began this run" in capsys.readouterr().err
    assert outcome(broken_off) == uninterrupted


def test_other_sizes_in_a_run_of_an_earlier_version_are_refused(
    broken_off, of_earlier_version, small_synthetic, monkeypatch
):
    sizes = synthetic_dataset(num_train=61, num_test=30).fingerprint
    other = dataclasses.replace(small_synthetic, fingerprint=sizes)
    monkeypatch.setattr(data, "find_dataset", lambda *_: other)
    refused(small(broken_off, resume=True), "the reviews are not those of the checkpoints")


def test_a_numpy_that_shuffles_differently_is_refused(broken_off, monkeypatch):
    began_with = np.__version__
    monkeypatch.setattr(np, "__version__", "9.8")
    resumed = small(broken_off, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "order_digest", lambda seed: "another")
        refused(resumed, f"with NumPy {began_with}, which shuffles .* the installed NumPy 9.8;")
    experiment.run(resumed)  # another version that shuffles alike is welcome


def test_what_could_be_had_at_first_decides_for_auto(broken_off, small_synthetic, monkeypatch):
    asked = []
    assert small(broken_off).data.dataset == "auto"
    monkeypatch.setattr(data, "find_dataset", lambda *a: asked.append(a) or small_synthetic)
    resume(broken_off)
    assert asked[0][0].dataset == "synthetic"


def test_run_of_a_newer_version_is_refused(broken_off):
    saved = (broken_off / "config.toml").read_text()
    assert saved.startswith("format = 2\n")
    (broken_off / "config.toml").write_text(saved.replace("format = 2", "format = 3"))
    refused(small(broken_off, resume=True), "a newer version of imdb_jax wrote this, in format 3")
    (broken_off / "result.json").write_text("{}")
    with pytest.raises(UserError, match="newer version"):
        load(broken_off)


# What else lies there


def test_checkpoints_on_another_disk_among_other_things(broken_off, uninterrupted, tmp_path):
    """Whoever links the directory there, and shares it, loses only checkpoints of the run."""
    disk = (broken_off / "checkpoints").rename(tmp_path / "disk")
    (broken_off / "checkpoints").symlink_to(disk)
    for name in ("notes.old", "2-1.old", "thesis"):
        (disk / name).mkdir()
        (disk / name / "notes.txt").write_text("ten years of work")
    for name in (".DS_Store", ".nfs0001", "0-5"):
        (disk / name).touch()
    (disk / "3-1").mkdir()  # an empty checkpoint
    (disk / "9-9").symlink_to(tmp_path)
    (disk / "2-3.orbax-checkpoint-tmp").mkdir()
    resume(broken_off)
    assert (disk / "9-9").readlink() == tmp_path
    for name in ("notes.old", "2-1.old", "thesis"):
        assert (disk / name / "notes.txt").read_text() == "ten years of work"
        shutil.rmtree(disk / name)
    for name in (".DS_Store", ".nfs0001", "0-5", "9-9"):
        (disk / name).unlink()
    assert outcome(broken_off) == uninterrupted


@pytest.mark.parametrize(("name", "seeds"), [("params", 1), ("seed-1", 2)])
def test_what_a_resumed_run_would_replace_is_no_link(tmp_path, unfinished, name, seeds):
    """As to the results of another run, which the user of the link wants to keep."""
    workdir, other = tmp_path / "run", shutil.copytree(unfinished, tmp_path / "other")
    with at_step(1, terminate), pytest.raises(Terminated):
        experiment.run(small(workdir, seeds=seeds))
    (workdir / name).symlink_to(other)
    before = contents(other)
    refused(small(workdir, resume=True, seeds=seeds), rf"/{name} is a link, .*; move it")
    assert (workdir / name).readlink() == other
    assert contents(other) == before


@pytest.mark.parametrize("part", range(4))
def test_killed_while_it_replaces_a_run(disk, tmp_path, unfinished, uninterrupted, part):
    """The runs of its seeds, and that of its teacher, are removed last to first."""
    for name in ("", "seed-0", "teacher"):
        shutil.copytree(unfinished, tmp_path / name, dirs_exist_ok=True)
    replacing = small(tmp_path, overwrite=True)
    with disk.kill_at(tmp_path, random.Random(part).randrange(25 * part, 25 * part + 25)):
        experiment.run(replacing)
    assert not (tmp_path / "manifest.json").exists()
    assert (tmp_path / "config.toml").exists()
    experiment.run(replacing)
    assert outcome(tmp_path) == uninterrupted


def test_something_else_is_not_resumed(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years of work")
    refused(small(tmp_path, resume=True), "not a run directory")
