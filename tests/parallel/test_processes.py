"""Several processes, which train as one does, and none of which outlives another by much."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from small_runs import hasten, params_of, small

from imdb_jax.errors import UserError
from imdb_jax.parallel import processes
from imdb_jax.parallel.processes import in_cluster
from imdb_jax.runs import experiment
from imdb_jax.runs.checkpoints import Checkpoints

# Imports once what processes need. For each line that it reads, it starts the processes of a run
# and says their numbers, or waits until they have ended and says how.
PROGRAM = """if True:
    import json, os, signal, sys
    from pathlib import Path
    import orbax.checkpoint
    from imdb_jax import train
    from imdb_jax.errors import UserError
    from imdb_jax.runs import data, experiment, reporting
    sys.path.insert(0, sys.argv[1])
    from small_runs import small, small_dataset
    dataset = small_dataset()
    data.find_dataset = lambda *_: dataset
    reporting.layer_table = lambda *_: []
    def fail(*_):
        raise UserError("asked to fail")
    def start(workdir, number, port, devices, changes):
        flag = f" --xla_force_host_platform_device_count={devices}"
        os.environ["XLA_FLAGS"] += flag  # of two, the later counts
        for process in range(number):
            child = os.fork()
            if not child:
                for stream, name in ((1, "out"), (2, "err")):
                    path = f"{workdir}-{process}.{name}"
                    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
                signal.signal(signal.SIGUSR1, fail)
                place = {"coordinator": f"127.0.0.1:{port}", "num_processes": number}
                config = small(Path(workdir), **changes, **place, process_id=process)
                train.parse_arguments = lambda _: config
                train.main()
                sys.exit()
            yield child
    def end(*children):
        return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    for line in sys.stdin:
        do, *arguments = json.loads(line)
        print(json.dumps([*{"start": start, "end": end}[do](*arguments)]), flush=True)
"""
SHARED = {"shards": 4}
# So slow that processes can be ended at a certain point.
SLOW = SHARED | {"batch_size": 4, "checkpoint_every": 1}


@pytest.fixture(scope="module")
def starter(tmp_path_factory):
    """A function that has the program above do something, and returns what it says."""
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(Path(__file__).parents[1])]
    environment = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as process:

        def tell(*what):
            process.stdin.write(f"{json.dumps(what)}\n")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 90)[0], "no answer"
            return json.loads(process.stdout.readline())

        yield tell
        process.stdin.close()


class Run:
    """The processes of a run."""

    def __init__(self, starter, workdir, number, devices=1, **changes):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.workdir, self.number, self.starter = workdir, number, starter
        self.children = starter("start", str(workdir), number, port, devices, changes)
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.ended:
            for child in self.children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def position(self):
        """The latest checkpoint."""
        return (Checkpoints(self.workdir / "checkpoints", 1).positions() or [(0, 0)])[-1]

    def wait_for(self, position):
        deadline = time.monotonic() + 90
        while self.position() < position and time.monotonic() < deadline:
            time.sleep(0.01)

    def end(self):
        """The processes' exit statuses."""
        statuses = self.starter("end", *self.children)
        self.ended = True
        return statuses

    def output(self, process):
        return Path(f"{self.workdir}-{process}.out").read_text()

    def errors(self, process):
        return Path(f"{self.workdir}-{process}.err").read_text()


@pytest.fixture(autouse=True, scope="module")
def _hastened(small_synthetic):
    with pytest.MonkeyPatch.context() as patch:
        hasten(patch, small_synthetic)
        yield


def metrics(workdir):
    lines = (workdir / "metrics.csv").read_text().splitlines()[1:]
    return np.array([line.split(",")[:-1] for line in lines], float)


def assert_same(workdir, other):
    """The same loss curve, and the same parameters at the end."""
    np.testing.assert_allclose(metrics(workdir), metrics(other), rtol=1e-5)
    for array, same in zip(*map(jax.tree.leaves, map(params_of, (workdir, other))), strict=True):
        np.testing.assert_allclose(array, same, rtol=1e-4, atol=1e-6)
    assert (workdir / "vocabulary.txt").read_text() == (other / "vocabulary.txt").read_text()
    assert (workdir / "config.toml").read_text() == (other / "config.toml").read_text()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of the reviews in four shards."""
    workdir = tmp_path_factory.mktemp("alone")
    experiment.run(small(workdir, **SHARED))
    return workdir


def test_processes_train_as_one_does(tmp_path, starter, alone):
    """Also where the embedding table is divided among the devices of each."""
    four = Run(starter, tmp_path / "four", 4, **SHARED)
    two = Run(starter, tmp_path / "two", 2, devices=2, **SHARED, model_parallel=2)
    with four, two:
        for run in (four, two):
            assert run.end() == [0] * run.number, run.errors(0)
            assert_same(run.workdir, alone)
            # Only process 0 has anything to say.
            result = json.loads((run.workdir / "result.json").read_text())
            line = f"test accuracy {result['test_accuracy']:.4f} (synthetic corpus)\n"
            assert [run.output(n) for n in range(run.number)] == [line] + [""] * (run.number - 1)
            assert [run.errors(n) for n in range(run.number)] == [""] * run.number
            assert result["device_count"] == 4


def test_what_ends_one_process_ends_the_others_and_the_rest_goes_on(tmp_path, starter):
    """Whether it is the first one or not; in one line, and to be resumed by fewer."""
    with contextlib.ExitStack() as stack:
        names = "killed", "failed", "asked"
        runs = [stack.enter_context(Run(starter, tmp_path / name, 2, **SLOW)) for name in names]
        killed, failed, asked = runs
        ends = (killed, 0, signal.SIGKILL), (failed, 1, signal.SIGUSR1), (asked, 1, signal.SIGTERM)
        for run, child, end in ends:
            run.wait_for((0, 3))  # so that the one before is whole
            os.kill(run.children[child], end)
        assert killed.end() == [-signal.SIGKILL, 2]
        assert failed.end() == [2, 2]
        assert asked.end() == [128 + signal.SIGTERM] * 2
    # JAX may have complained before.
    last = killed.errors(1).splitlines()[-1]
    assert last.startswith(
        "error: process 0 was killed, or crashed; continue the run with --resume"
    )
    assert failed.errors(0) == "error: process 1 failed: asked to fail\n"
    assert failed.errors(1) == "error: asked to fail\n"
    line = "continue by the same command with --resume\n"
    assert all(asked.errors(n).endswith(line) for n in range(2))

    whole = tmp_path / "whole"
    experiment.run(small(whole, **SLOW | {"checkpoint_every": 0}))
    for run in runs:
        assert (0, 2) <= run.position() < (3, 0)
        # With the shards with which it began, though it is one process now.
        experiment.run(small(run.workdir, batch_size=4, checkpoint_every=0, resume=True))
        assert_same(run.workdir, whole)


def test_processes_that_cannot_share_the_shards_evenly_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "num_processes", lambda: 3)
    with pytest.raises(UserError, match="4 shards of this run cannot be shared evenly by 3 proc"):
        experiment.run(small(tmp_path / "run", **SHARED))


def test_processes_that_do_not_see_the_same_run_are_refused(tmp_path, monkeypatch):
    """As when one machine lacks the directory of the run to resume."""
    monkeypatch.setattr(experiment, "num_processes", lambda: 2)
    monkeypatch.setattr(experiment, "all_have", lambda run: run != "None")
    with pytest.raises(UserError, match="do not all see the same run in"):
        experiment.run(small(tmp_path / "run", resume=True))


def test_the_way_to_join_them_leads_past_jax():
    """Which is told on its import to be silent about what is said in one line here."""
    program = "import sys, imdb_jax.parallel.processes; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_abort_in_native_code_ends_in_one_line():
    program = (
        "import ctypes; from imdb_jax.parallel import processes; "
        "processes._end_aborts_with('it is gone'); ctypes.CDLL(None).abort()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (2, "error: it is gone\n")


def test_what_native_code_prints_is_no_result():
    program = (
        "import os; from imdb_jax.parallel import processes; "
        "processes._drop_native_output(); "
        "os.write(1, b'native\\n'); print('result')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "result\n", "")


SLURM = {"SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "node[1-2]", "SLURM_PROCID": "0"}


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, False),
        (SLURM, True),
        (SLURM | {"SLURM_NTASKS": "1"}, False),
        ({"SLURM_NTASKS": "2"}, False),  # a batch script, which starts tasks or does not
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "t1,t2"}, True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),  # any container there has that
    ],
)
def test_clusters_are_told_from_single_machines(environment, found):
    assert in_cluster(environment) == found


def test_the_loss_of_others_is_recognized_however_it_is_wrapped():
    error = UserError("the checkpoint cannot be written")
    assert not processes._is_about_others(error)
    error.__cause__ = ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")
    assert processes._is_about_others(error)
    assert not processes._is_about_others(ValueError("a connection that is not JAX's"))
