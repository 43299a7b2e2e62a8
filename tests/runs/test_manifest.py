"""Manifests: whatever happens to a file that they list, or to themselves, is refused by name."""

import hashlib
import json
import os
import random
from pathlib import Path

import pytest

from imdb_jax.errors import UserError
from imdb_jax.runs import directory
from imdb_jax.runs.manifest import (
    CHECKSUMS,
    MANIFEST,
    Damaged,
    files_in,
    verify,
    verify_checksums,
    write_manifest,
)

CONTENTS = {"a.txt": b"one", "empty": b"", "params/d/0af1": bytes(range(256)), "z": b"\n"}


@pytest.fixture
def vouched(tmp_path):
    """A directory with its manifest, and a file that the manifest does not list."""
    for name, content in CONTENTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    write_manifest(tmp_path, files_in(tmp_path))
    (tmp_path / ".DS_Store").touch()
    verify(tmp_path, CONTENTS)
    return tmp_path


def refused(directory, what, needed=()):
    with pytest.raises(Damaged) as caught:
        verify(directory, needed)
    message = str(caught.value)
    assert str(directory) in message
    assert "\n" not in message
    assert what in message


def test_any_flipped_bit_is_noticed(vouched):
    dice = random.Random(0)
    for name in [MANIFEST, "a.txt", "params/d/0af1", "z"]:
        intact = (vouched / name).read_bytes()
        for _ in range(min(60, 8 * len(intact))):
            changed, bit = bytearray(intact), dice.randrange(8 * len(intact))
            changed[bit // 8] ^= 1 << bit % 8
            (vouched / name).write_bytes(changed)
            refused(vouched, name)
        (vouched / name).write_bytes(intact)
    verify(vouched, CONTENTS)


@pytest.mark.parametrize("name", [*CONTENTS, MANIFEST])
@pytest.mark.parametrize("length", [0, -1, None])
def test_any_other_length_is_noticed(vouched, name, length):
    intact = (vouched / name).read_bytes()
    changed = intact + b"\n" if length is None else intact[:length]
    if changed != intact:
        (vouched / name).write_bytes(changed)
        refused(vouched, name)


def put_fifo(path, elsewhere):
    os.mkfifo(path)


def put_link(path, elsewhere):
    """A link to the very content."""
    path.symlink_to(elsewhere)


def put_device(path, elsewhere):
    path.symlink_to("/dev/zero")


def put_directory(path, elsewhere):
    path.mkdir()


def put_nothing(path, elsewhere):
    pass


@pytest.mark.skipif(os.name == "nt", reason="needs links and named pipes")
@pytest.mark.parametrize("put", [put_fifo, put_link, put_device, put_directory, put_nothing])
@pytest.mark.parametrize("name", ["a.txt", "params/d", "params", MANIFEST])
def test_only_files_of_the_directory_are_read(vouched, tmp_path_factory, put, name):
    """A pipe or a device would not end."""
    path = vouched / name
    put(path, path.rename(tmp_path_factory.mktemp("elsewhere") / "moved"))
    refused(vouched, name)


def with_manifest(directory, files, **more):
    """Writes a manifest whose digest is right."""
    listed = {"format": 2, "files": files}
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    manifest = listed | {"digest": digest} | more
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


@pytest.mark.skipif(os.name == "nt", reason="other paths")
@pytest.mark.parametrize(
    "name",
    ["../b", "/etc/passwd", "", ".", "params/../a.txt", "params//d", "a\0b", "\ud800", "x" * 5000],
)
def test_other_names_are_refused(vouched, name):
    (vouched.parent / "b").touch()
    with_manifest(vouched, {name: {"size": 0, "sha256": hashlib.sha256().hexdigest()}})
    refused(vouched, "")


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b"", b"text", b"\xff", b"3", b"null", b"[" * 100_000, b'{"files":{}}']
)
def test_manifest_that_is_none(vouched, content):
    (vouched / MANIFEST).write_bytes(content)
    refused(vouched, MANIFEST)


def test_manifest_that_lists_too_little(vouched):
    entry = {"size": 3, "sha256": hashlib.sha256(b"one").hexdigest()}
    with_manifest(vouched, {"a.txt": entry})
    verify(vouched, ["a.txt"])
    refused(vouched, "does not list z", needed=["a.txt", "z"])
    with_manifest(vouched, {"a.txt": entry}, format=1)
    refused(vouched, MANIFEST)
    with_manifest(vouched, {"a.txt": entry}, format=3)
    refused(vouched, "by a newer version")
    with_manifest(vouched, {"a.txt": 3})
    refused(vouched, "a.txt has changed")


def test_checksums_of_format_1(vouched):
    """They cannot tell whether they are whole, but must list each file."""
    (vouched / MANIFEST).unlink()
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
    for checksums, what in [
        (sums, None),
        ({}, "does not list a.txt"),
        (dict(list(sums.items())[:-1]), "does not list z"),
        (sums | {"a.txt": sums["z"]}, "a.txt has changed"),
        (sums | {"a.txt": 3}, "a.txt has changed"),
        (sums | {"/dev/zero": ""}, "outside the directory"),
        ([], CHECKSUMS),
    ]:
        Path(vouched / CHECKSUMS).write_text(json.dumps(checksums))
        if what is None:
            verify_checksums(vouched)
        else:
            with pytest.raises(Damaged, match=what):
                verify_checksums(vouched)


def test_a_run_without_its_configuration_does_not_end(tmp_path):
    with pytest.raises(UserError, match=r"config\.toml was removed while the run trained"):
        directory.end(tmp_path, {"test_accuracy": 0.5})
    assert not list(tmp_path.iterdir())
