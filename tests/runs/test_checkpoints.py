"""Parameters on disk: read back as they were, on other devices too, or refused in one line."""

import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from imdb_jax.errors import UserError
from imdb_jax.parallel.devices import data_mesh, replicated
from imdb_jax.runs.checkpoints import (
    Checkpoints,
    discard,
    load_params,
    save_params,
)
from imdb_jax.training.history import Position

PARAMS = {
    "Dense_0": {
        "kernel": np.arange(6, dtype="f").reshape(2, 3),
        "bias": np.float32([1e-30, 0, -1]),
    },
    "Embed_0": {"embedding": np.random.default_rng(0).normal(size=(70, 5)).astype("f")},
}
LIKE = jax.eval_shape(lambda: PARAMS)


@pytest.fixture
def saved(tmp_path):
    save_params(tmp_path / "params", PARAMS)
    return tmp_path / "params"


def refusal(path, like=LIKE):
    with pytest.raises(UserError) as caught:
        load_params(path, like)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("like", [LIKE, PARAMS], ids=["shapes", "arrays"])
def test_what_is_saved_is_read_back_bit_by_bit(saved, like):
    loaded, _ = load_params(saved, like)
    jax.tree.map(np.testing.assert_array_equal, loaded, PARAMS)
    assert jax.tree.structure(loaded) == jax.tree.structure(PARAMS)


def test_read_without_the_devices_that_it_was_saved_from(tmp_path):
    assert jax.device_count() > 1
    save_params(tmp_path / "params", jax.device_put(PARAMS, replicated(data_mesh())))
    program = f"""if True:
        import jax, numpy as np
        from pathlib import Path
        from imdb_jax.runs.checkpoints import load_params
        assert jax.device_count() == 1
        like = {{
            "Dense_0": {{"kernel": np.zeros((2, 3), "f"), "bias": np.zeros(3, "f")}},
            "Embed_0": {{"embedding": np.zeros((70, 5), "f")}},
        }}
        params, _ = load_params(Path({str(tmp_path / "params")!r}), like)
        print(params["Dense_0"]["kernel"].tolist())
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]\n", "")


def test_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_params(Path("params"), PARAMS)
    jax.tree.map(np.testing.assert_array_equal, load_params(Path("params"), LIKE)[0], PARAMS)


@pytest.mark.parametrize("kind", ["nothing", "file"])
def test_nothing_there(tmp_path, kind):
    if kind == "file":
        (tmp_path / "params").write_text("")
    assert "there is no checkpoint" in refusal(tmp_path / "params")


def test_directory_that_is_no_checkpoint(tmp_path):
    assert "damaged: manifest.json is missing" in refusal(tmp_path)


@pytest.mark.parametrize("damage", ["flip a bit", "truncate", "empty", "delete"])
def test_damage_to_any_file_is_noticed(saved, capfd, damage):
    files = [file for file in saved.rglob("*") if file.is_file()]
    assert len(files) > 3
    for file in files:
        intact = file.read_bytes()
        if damage == "flip a bit":
            middle = len(intact) // 2
            file.write_bytes(intact[:middle] + bytes([intact[middle] ^ 1]) + intact[middle + 1 :])
        elif damage == "truncate":
            file.write_bytes(intact[:-1] if file.suffix != ".json" else intact[:-2])
        elif damage == "empty":
            file.write_bytes(b"")
        else:
            file.unlink()
        assert "damaged" in refusal(saved)
        file.write_bytes(intact)
    load_params(saved, LIKE)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"_METADATA": 1}', "\x80\x04pickle", "3"])
def test_foreign_checksums(saved, content):
    for file in saved.rglob("*"):
        if file.is_file():
            file.write_bytes(content.encode("latin-1"))
    refusal(saved)


def changed(layer, name, leaf):
    like = {key: dict(value) for key, value in LIKE.items()}
    like.setdefault(layer, {})
    if leaf is None:
        del like[layer][name]
    else:
        like[layer][name] = leaf
    return like


@pytest.mark.parametrize(
    ("like", "complaint"),
    [
        (
            changed("Dense_0", "kernel", np.zeros((3, 3), "f")),
            "its Dense_0.kernel is float32[2, 3], and not float32[3, 3]",
        ),
        (changed("Dense_0", "kernel", np.zeros((1, 3), "f")), "Dense_0.kernel"),
        (
            changed("Dense_0", "bias", np.zeros(3, np.float16)),
            "its Dense_0.bias is float32[3], and not float16[3]",
        ),
        (
            changed("Dense_1", "bias", np.zeros(3, "f")),
            "its Dense_1.bias is absent, and not float32[3]",
        ),
        (
            changed("Embed_0", "embedding", None),
            "its Embed_0.embedding is float32[70, 5], and not absent",
        ),
    ],
)
def test_parameters_of_another_model(saved, capfd, like, complaint):
    assert complaint in refusal(saved, like)
    assert capfd.readouterr() == ("", "")


def test_earlier_checkpoint_is_not_overwritten(saved):
    with pytest.raises(UserError, match="already exists"):
        save_params(saved, jax.tree.map(np.zeros_like, PARAMS))
    jax.tree.map(np.testing.assert_array_equal, load_params(saved, LIKE)[0], PARAMS)


def test_nothing_is_pickled(saved):
    for file in saved.rglob("*"):
        # Protocols 2 and up begin with these, and all end with a full stop.
        assert not (file.is_file() and file.read_bytes().startswith(b"\x80"))


# Failures


def test_full_disk_is_one_error_and_nothing_else(tmp_path, capfd):
    """TensorStore and Orbax would log 47 lines or more, some after the error."""
    resource = pytest.importorskip("resource")
    many = {str(number): np.random.default_rng(number).random(5000) for number in range(8)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"params cannot be written: File too large$"):
            save_params(tmp_path / "params", many)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_no_thread_waits_for_a_directory_that_cannot_be_created(tmp_path, monkeypatch, capfd):
    def fail(path, *arguments, **options):
        if "orbax" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", path)
        make(path, *arguments, **options)

    make, before = os.mkdir, threading.enumerate()
    monkeypatch.setattr(os, "mkdir", fail)
    with pytest.raises(UserError, match=r"cannot be written: No space left on device$"):
        save_params(tmp_path / "params", PARAMS)
    after = [thread for thread in threading.enumerate() if thread not in before]
    for thread in after:
        thread.join(60)
    assert not any(thread.is_alive() for thread in after)
    assert capfd.readouterr() == ("", "")


# The checkpoints of a run


NOTES = {"pi": 0.1 + 0.2, "tiny": 5e-324, "whole": 3, "list": [[1.5, -0.0]], "text": "\u00e9"}


def test_notes_are_kept_to_the_last_bit(tmp_path):
    save_params(tmp_path / "params", PARAMS, NOTES)
    arrays, notes = load_params(tmp_path / "params", LIKE)
    assert repr(notes) == repr(NOTES)
    jax.tree.map(np.testing.assert_array_equal, arrays, PARAMS)


def write_all(directory, keep, positions, best=None):
    with Checkpoints(directory, keep) as checkpoints:
        for number, position in enumerate(positions):
            checkpoints.save(Position(*position), {"x": np.float32(number)}, {}, best)
    return checkpoints


TINY = {"x": np.float32(0)}


@pytest.mark.parametrize(
    ("keep", "best", "kept"),
    [
        (1, None, [(10, 0)]),
        (2, None, [(9, 3), (10, 0)]),
        (2, (2, 0), [(2, 0), (9, 3), (10, 0)]),
        (2, (10, 0), [(9, 3), (10, 0)]),
        (9, None, [(1, 0), (2, 0), (9, 3), (10, 0)]),
    ],
)
def test_latest_and_best_are_kept(tmp_path, keep, best, kept):
    """In the order of their numbers, which is not that of their names."""
    written = write_all(tmp_path / "all", keep, [(1, 0), (2, 0), (9, 3), (10, 0)], best)
    assert written.positions() == kept
    assert {path.name for path in (tmp_path / "all").iterdir()} == {f"{e}-{s}" for e, s in kept}
    arrays, _ = Checkpoints(tmp_path / "all", keep).latest(TINY, pytest.fail)
    assert arrays["x"] == 3


def test_unfinished_checkpoints_are_never_taken(tmp_path):
    checkpoints = write_all(tmp_path, 5, [(1, 0), (1, 2), (2, 0)])
    (tmp_path / "2-0" / "manifest.json").unlink()
    (tmp_path / "1-2").rename(tmp_path / "1-2.orbax-checkpoint-tmp-7")
    reports = []
    arrays, _ = checkpoints.latest(TINY, reports.append)
    assert arrays["x"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["1-0"]
    (report,) = reports
    assert "2-0 is damaged: manifest.json is missing" in report


def test_no_checkpoint_at_all(tmp_path):
    assert Checkpoints(tmp_path / "none", 2).latest(TINY, pytest.fail) is None


def test_checkpoints_of_another_model_are_not_discarded(tmp_path):
    checkpoints = write_all(tmp_path, 2, [(1, 0)])
    with pytest.raises(UserError, match="to another model"):
        checkpoints.latest({"y": TINY["x"]}, pytest.fail)
    assert checkpoints.positions() == [(1, 0)]


def test_writing_goes_on_in_the_background(tmp_path, monkeypatch):
    """And nothing is taken for finished before it is."""
    begun, go_on = threading.Event(), threading.Event()

    def write(*arguments):
        begun.set()
        assert go_on.wait(60)
        save_params(*arguments)

    monkeypatch.setattr("imdb_jax.runs.checkpoints.save_params", write)
    with Checkpoints(tmp_path, 2) as checkpoints:
        checkpoints.save(Position(1, 0), TINY, {}, None)
        assert begun.wait(60)
        assert checkpoints.positions() == []
        go_on.set()
        checkpoints.wait()
        assert checkpoints.positions() == [(1, 0)]


def test_failure_in_the_background_is_told(tmp_path, monkeypatch):
    def fail(*_):
        raise UserError("the disk is full")

    monkeypatch.setattr("imdb_jax.runs.checkpoints.save_params", fail)
    with (
        pytest.raises(UserError, match="the disk is full"),
        Checkpoints(tmp_path, 2) as checkpoints,
    ):
        checkpoints.save(Position(1, 0), TINY, {}, None)


def test_failure_in_the_background_hides_no_other(tmp_path, monkeypatch):
    def fail(*_):
        raise UserError("the disk is full")

    def work():
        with Checkpoints(tmp_path, 2) as checkpoints:
            checkpoints.save(Position(1, 0), TINY, {}, None)
            raise KeyboardInterrupt

    monkeypatch.setattr("imdb_jax.runs.checkpoints.save_params", fail)
    with pytest.raises(KeyboardInterrupt):
        work()


# What is not a checkpoint, beside those that are


FOREIGN = {
    "notes.old/notes.txt",
    "2-0.old/notes.txt",
    "thesis.orbax-checkpoint-tmp/chapter.tex",
    "3-1.orbax-checkpoint-tmp.old/notes.txt",
    "8-0xorbax-checkpoint-tmp/notes.txt",
    "07-1/notes.txt",
    "7-1-2/notes.txt",
    "\u0667-1/notes.txt",  # a digit, though not one that we write
    "plain/notes.txt",
    ".DS_Store",
    "5-3",
    "6-0.orbax-checkpoint-tmp",
}


def surround(directory, elsewhere):
    """Puts a person's files, and links to more of them, among the checkpoints; gives them all."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in FOREIGN:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(name)
    for name in ("4-0", "4-1.orbax-checkpoint-tmp", "link.old"):
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "thesis.tex").write_text("ten years of work")
        (directory / name).symlink_to(elsewhere / name)
    (directory / "9-9").symlink_to(elsewhere / "nothing")
    return foreign(directory), foreign(elsewhere)


def foreign(directory):
    """What lies in a directory besides the checkpoints 1-0 to 3-0."""
    found = {path.relative_to(directory): path for path in directory.rglob("*")}
    return {
        name: path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
        for name, path in found.items()
        if name.parts[0] not in ("1-0", "1-2", "2-0", "3-0", "1-0.orbax-checkpoint-tmp")
    }


@pytest.mark.parametrize("linked", [False, True])
def test_only_checkpoints_are_ever_removed(tmp_path, linked):
    """Also where `checkpoints` is itself a link, as to another disk."""
    directory, disk = tmp_path / "checkpoints", tmp_path / "disk"
    if linked:
        disk.mkdir()
        directory.symlink_to(disk)
    before = surround(directory, tmp_path / "elsewhere")
    checkpoints = write_all(directory, 2, [(1, 0), (1, 2), (2, 0)])
    assert checkpoints.positions() == [(1, 2), (2, 0)]
    (directory / "2-0" / "manifest.json").unlink()
    unfinished = directory / "1-0.orbax-checkpoint-tmp"
    unfinished.mkdir()
    reports = []
    arrays, _ = checkpoints.latest(TINY, reports.append)
    assert arrays["x"] == 1
    assert len(reports) == 1
    assert not (directory / "2-0").exists()
    assert not unfinished.exists()
    assert write_all(directory, 2, [(2, 0), (3, 0)]).positions() == [(2, 0), (3, 0)]
    assert directory.is_symlink() == linked
    assert (foreign(directory), foreign(tmp_path / "elsewhere")) == before


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_checkpoint_whose_place_is_taken_is_not_written(tmp_path, kind):
    path, thesis = tmp_path / "checkpoints" / "1-0", tmp_path / "thesis"
    path.parent.mkdir()
    if kind == "file":
        path.write_text("a file")
    else:
        path.symlink_to(thesis)
    if kind == "link":
        thesis.mkdir()
        (thesis / "thesis.tex").write_text("ten years of work")
    before = foreign(thesis)
    with pytest.raises(UserError, match="1-0 already exists; move it"):
        write_all(path.parent, 2, [(1, 0)])
    assert [found.name for found in path.parent.iterdir()] == ["1-0"]
    assert foreign(thesis) == before


@pytest.mark.parametrize("place", ["params", "params.orbax-checkpoint-tmp"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_discarding_leaves_files_and_links(tmp_path, place, kind):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "manifest.json").write_text("ten years of work")
    if kind == "file":
        (tmp_path / place).write_text("a file")
    else:
        (tmp_path / place).symlink_to(tmp_path / "thesis")
    discard(tmp_path / "params")
    assert os.path.lexists(tmp_path / place)
    assert (tmp_path / "thesis" / "manifest.json").read_text() == "ten years of work"


def test_what_is_left_of_a_discarded_checkpoint_is_never_taken_for_one(saved, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        discard(saved)
    monkeypatch.undo()
    assert not saved.exists()
    discard(saved)
    assert list(saved.parent.iterdir()) == []
