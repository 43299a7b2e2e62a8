"""One process at a time trains in a directory."""

import errno
import subprocess
import sys

import pytest
from small_runs import small

from imdb_jax.errors import UserError
from imdb_jax.inference import self_training
from imdb_jax.runs import experiment
from imdb_jax.runs.lock import LOCK, only_run_in

fcntl = pytest.importorskip("fcntl")

HOLD = """if True:
    import fcntl, sys
    file = open(sys.argv[1], "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_second_run_is_refused_until_the_first_has_been_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / LOCK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b"locked\n"
        for run in (experiment.run, self_training.run):
            with pytest.raises(UserError, match=f"another process is training in {tmp_path}; "):
                run(small(tmp_path, unlabelled="" if run is experiment.run else "unsupervised"))
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
        other.kill()
    with only_run_in(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_was_made_for_the_lock_alone_is_removed(tmp_path):
    workdir = tmp_path / "runs" / "pooled"
    with only_run_in(workdir), only_run_in(workdir):
        assert [path.name for path in workdir.iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []
    with only_run_in(workdir):
        with only_run_in(workdir / "teacher"):
            (workdir / "teacher" / "config.toml").touch()
        with only_run_in(workdir):
            pass
        assert (workdir / LOCK).exists()
    assert [path.name for path in workdir.rglob("*")] == ["teacher", "config.toml"]
    (tmp_path / "empty").mkdir()
    with only_run_in(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").exists()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_file_systems_without_locks(tmp_path, monkeypatch, capsys, code):
    def fail(*_):
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", fail)
    with only_run_in(tmp_path / "run"):
        (tmp_path / "run" / "config.toml").touch()
    assert "is not protected from a second run" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.toml"}


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_what_is_no_directory_is_left_to_those_who_tell(tmp_path, capsys, kind):
    workdir = tmp_path / "run"
    if kind == "file":
        workdir.touch()
    else:
        workdir.symlink_to(tmp_path / "nothing")
    with only_run_in(workdir):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert capsys.readouterr() == ("", "")
