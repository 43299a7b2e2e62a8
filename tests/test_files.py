"""Files that appear whole or not at all, and files that people give."""

import errno
import hashlib
import io
import math
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from imdb_jax.errors import UserError
from imdb_jax.files import (
    check_file,
    check_output,
    file_digest,
    is_temporary,
    read_arrays,
    read_json,
    read_toml,
    save_blocks,
    write_atomically,
)


@pytest.mark.parametrize("data", [b"", b"new\r\n\x00\xff", b"x" * 1_000_000])
def test_writes_and_replaces(tmp_path, data):
    path = tmp_path / "file"
    for _ in range(2):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, step, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(type(error)):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_in_the_way_is_left_alone(tmp_path):
    path = tmp_path / "directory"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(path, b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_directory_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", b"")


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    file.write_bytes(b"old")
    link.symlink_to(file)
    os.mkfifo(pipe)
    before = sorted(tmp_path.iterdir())
    for path in (None, file, tmp_path / "new"):
        check_output(path)
    for path in (tmp_path, link, pipe, file / "new", tmp_path / "none" / "new", Path("x" * 5000)):
        with pytest.raises(UserError, match="cannot write"):
            check_output(path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="file: it is write-protected"):
        check_output(file)
    assert sorted(tmp_path.iterdir()) == before
    assert file.read_bytes() == b"old"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_usual_permissions(tmp_path, monkeypatch, umask, mode):
    """Without touching the umask, which other threads create files by."""
    before = os.umask(umask)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda _: pytest.fail("the umask is all threads' own"))
            write_atomically(tmp_path / "atomic", b"")
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("atomic", "plain")]
    assert modes == [mode, mode]


@pytest.mark.parametrize(
    ("name", "temporary"),
    [
        (".a.csv.x7y8z9ab", True),
        (".b.x7y8z_ab", True),
        (".a.csv.swp", False),
        (".c.x7y8z9ab", False),
        ("a.csv.x7y8z9ab", False),
        (".a.csv.x7y8z9ab.old", False),
    ],
)
def test_what_a_killed_process_leaves_is_known(tmp_path, name, temporary):
    (tmp_path / name).touch()
    assert is_temporary(tmp_path / name, ["a.csv", "b"]) == temporary
    (tmp_path / name).rename(tmp_path / "target")
    (tmp_path / name).symlink_to(tmp_path / "target")
    assert not is_temporary(tmp_path / name, ["a.csv", "b"])


def test_temporary_names_are_those_that_are_known(tmp_path, monkeypatch):
    def killed(temporary, path):
        assert is_temporary(Path(temporary), [path.name])
        assert Path(temporary).read_bytes() == b"data"
        names.add(temporary)
        raise KeyboardInterrupt

    names = set()
    monkeypatch.setattr(os, "replace", killed)
    for _ in range(20):
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / "a.csv", b"data")
    assert len(names) == 20


def test_digest_is_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"some\ndata")
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"some\ndata").hexdigest()
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "none")


@pytest.mark.parametrize("sizes", [[], [0], [3, 0, 5], [12_345, 1]], ids=str)
@pytest.mark.parametrize(("dtype", "row"), [(np.int32, ()), (np.int8, ()), (np.uint16, (3,))])
def test_blocks_are_saved_as_numpy_saves_them_joined(tmp_path, sizes, dtype, row):
    blocks = [np.arange(size * math.prod(row)).astype(dtype).reshape(-1, *row) for size in sizes]
    np.save(tmp_path / "whole.npy", np.concatenate([np.zeros((0, *row), dtype), *blocks]))
    save_blocks(tmp_path / "blocks.npy", dtype, iter(blocks), row)
    assert (tmp_path / "blocks.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def npy(shape, dtype="<f4", data=b""):
    """Return an array's file that declares what it may not hold."""
    file, header = io.BytesIO(), {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


def object_array():
    file = io.BytesIO()
    np.save(file, np.array([{}]), allow_pickle=True)
    return file.getvalue()


def test_arrays_are_read_as_numpy_reads_them(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array("text"), "c": np.zeros(0, np.int8)}
    np.savez(tmp_path / "file.npz", **arrays)
    found = read_arrays(tmp_path / "file.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("member", "compression", "message"),
    [
        (npy((10**12,)), zipfile.ZIP_STORED, "does not have 0 bytes"),
        (npy((-1, -4), data=bytes(4)), zipfile.ZIP_STORED, "does not have 4 bytes"),
        (npy((10**12,), "<U0"), zipfile.ZIP_STORED, "does not have 0 bytes"),
        (npy((250_000,), data=bytes(10**6)), zipfile.ZIP_DEFLATED, "more bytes than the file"),
        (npy((8,), data=np.arange(8, dtype="f4").tobytes()), zipfile.ZIP_DEFLATED, "compressed"),
        (object_array(), zipfile.ZIP_STORED, "damaged"),
        (b"no array", zipfile.ZIP_STORED, "magic string"),
    ],
)
def test_hostile_arrays_are_refused(tmp_path, member, compression, message):
    with zipfile.ZipFile(tmp_path / "file.npz", "w", compression) as archive:
        archive.writestr("a.npy", member)
        if message == "compressed":
            archive.writestr("b.npy", bytes(1000), zipfile.ZIP_STORED)
    with pytest.raises(UserError, match=rf"file\.npz is not an archive of arrays.*{message}"):
        read_arrays(tmp_path / "file.npz")


def test_archives_of_very_many_members_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "file.npz", "w") as archive:
        archive.comment = b"x" * 100
        for number in range(20):
            archive.writestr(f"{number:060000}.npy", b"")
    with pytest.raises(UserError, match="its directory is too large"):
        read_arrays(tmp_path / "file.npz")


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_json, b"[" * 100_000, "not valid JSON: it is nested too deeply"),
        (read_json, b"{", "not valid JSON: Expecting"),
        (read_json, b'"\xff"', "not valid JSON: 'utf-8' codec"),
        (read_json, b"1" * 5000, "not valid JSON: Exceeds the limit"),
        (read_json, b" " * 5_000_000, "5,000,000 bytes, more than such a file"),
        (read_toml, b"a = " + b"[" * 10_000, "not valid TOML: it is nested too deeply"),
        (read_toml, b"a", "not valid TOML: Expected"),
        (read_toml, b"a = '\xff'", "not valid TOML: 'utf-8' codec"),
        (read_toml, b"a = " + b"1" * 5000, "not valid TOML: Exceeds the limit"),
        (read_toml, b"a." * 10_000 + b"a = 1", "20,005 bytes, more than such a file"),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value)[:20],
)
def test_hostile_documents_are_refused(tmp_path, read, text, message):
    (tmp_path / "file").write_bytes(text)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "file")


def test_only_files_are_read(tmp_path):
    """Neither a device without an end nor a pipe that nobody writes to is opened."""
    os.mkfifo(tmp_path / "pipe")
    for path, message in [
        (tmp_path / "none", "there is no file"),
        (tmp_path / "none" / "below", "there is no file"),
        (tmp_path, "is a directory, not a file"),
        (tmp_path / "pipe", "is a device or a pipe"),
        (Path("/dev/zero"), "is a device or a pipe"),
        (Path("x" * 5000), "File name too long"),
        (Path("x\0"), "null"),
    ]:
        for read in (check_file, read_json, read_toml, read_arrays):
            with pytest.raises(UserError, match=message):
                read(path)
