"""Entries of the cache: what their checksums cover, and which files are removed."""

import os
import time

import pytest

from imdb_jax.pipeline import cache
from imdb_jax.pipeline.cache import checksum, open_entry, source_digest, write_entry


def test_a_checksum_covers_all_of_a_small_file(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_BLOCK", 4)
    monkeypatch.setattr(cache, "_NUM_BLOCKS", 8)
    file, content = tmp_path / "file", bytes(range(32))
    found = set()
    for place in range(32):
        file.write_bytes(content[:place] + b"x" + content[place + 1 :])
        found.add(checksum(file))
    for size in range(32):
        file.write_bytes(content[:size])
        found.add(checksum(file))
    assert len(found) == 64


def test_a_checksum_covers_evenly_spread_blocks_of_a_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_BLOCK", 4)
    monkeypatch.setattr(cache, "_NUM_BLOCKS", 8)
    file, content = tmp_path / "file", bytes(1000)

    def of(content):
        file.write_bytes(content)
        return checksum(file)

    whole = of(content)
    changed = [content[:place] + b"x" + content[place + 1 :] for place in range(1000)]
    noticed = [place for place in range(1000) if of(changed[place]) != whole]
    expected = {place for start in (*range(0, 1000, 125), 996) for place in range(start, start + 4)}
    assert noticed == sorted(expected)
    assert whole not in (of(content[:-1]), of(content + b"\0"), of(b""))


def test_the_source_of_a_package_is_that_of_all_its_modules(tmp_path):
    for name in ("__init__", "one", "other"):
        (tmp_path / f"{name}.py").write_text(f"# {name}")
    package, one = str(tmp_path / "__init__.py"), str(tmp_path / "one.py")
    before = source_digest(package), source_digest(one)
    (tmp_path / "other.py").write_text("# changed")
    after = source_digest(package), source_digest(one)
    assert before[0] != after[0]
    assert before[1] == after[1]


KEY, HEX = "0123456789abcdef", "0123456789abcdef0123456789abcdef"


@pytest.fixture
def write_now(tmp_path):
    """Writes an entry to a cache, which is when unfinished entries are removed."""
    identity = {"number": 1}

    def write():
        entry = tmp_path / "cache" / "new-0123456789abcdef"
        write_entry(entry, identity, lambda directory: (directory / "file").write_text("x"))
        assert open_entry(entry, identity, lambda entry: (entry / "file").read_text()) == "x"

    return write


def make(path, age=0.0):
    """Makes a directory with a file in it, or a file if it is called so; both of this age."""
    file = path if path.suffix in (".npy", ".txt") else path / "file.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    for changed in {file, path}:
        os.utime(changed, (time.time() - age,) * 2)


TWO_DAYS = 2 * 24 * 3600


@pytest.mark.parametrize(
    "name",
    [
        f".imdb_reviews-{KEY}.{HEX}",
        f"imdb_reviews-{KEY}/.padded-{KEY}.{HEX}",
        f"imdb_reviews-{KEY}/.{HEX}.npy",
    ],
)
def test_what_killed_processes_left_is_removed_after_a_day(tmp_path, write_now, name):
    left = tmp_path / "cache" / name
    make(left, TWO_DAYS)
    write_now()
    assert not os.path.lexists(left)


@pytest.mark.parametrize(
    "name",
    [
        f"imdb_reviews-{KEY}",  # an entry
        f"imdb_reviews-{KEY}/padded-{KEY}",
        f".imdb_reviews-{KEY}",
        f".imdb_reviews-{KEY}.{HEX[1:]}",
        f".imdb_reviews-{KEY}.{HEX}.txt",
        f".notes.{HEX}",
        f"mine/.imdb_reviews-{KEY}.{HEX}",  # in a directory that is not an entry
        f"{HEX}.npy",
    ],
)
def test_all_else_stays(tmp_path, write_now, name):
    other = tmp_path / "cache" / name
    make(other, TWO_DAYS)
    write_now()
    assert other.exists()


def test_what_may_still_be_written_stays(tmp_path, write_now):
    young, busy = (tmp_path / "cache" / f".{name}-{KEY}.{HEX}" for name in ("young", "busy"))
    make(young, 3600)
    make(busy, TWO_DAYS)
    (busy / "file.npy").write_text("more")
    os.utime(busy, (1, 1))
    write_now()
    assert young.exists()
    assert busy.exists()


@pytest.mark.parametrize("name", [f".linked-{KEY}.{HEX}", f"linked-{KEY}", f".{HEX}.npy"])
def test_nothing_is_removed_through_a_link(tmp_path, write_now, name):
    elsewhere = tmp_path / "elsewhere"
    make(elsewhere / f".padded-{KEY}.{HEX}", TWO_DAYS)
    link = tmp_path / "cache" / name
    link.parent.mkdir()
    link.symlink_to(elsewhere)
    os.utime(link, (1, 1), follow_symlinks=False)
    write_now()
    assert link.is_symlink()
    assert (elsewhere / f".padded-{KEY}.{HEX}" / "file.npy").exists()


def test_a_link_in_what_was_left_is_not_followed(tmp_path, write_now):
    left = tmp_path / "cache" / f".imdb_reviews-{KEY}.{HEX}"
    make(left, TWO_DAYS)
    make(tmp_path / "elsewhere")
    (left / "link").symlink_to(tmp_path / "elsewhere")
    os.utime(left / "link", (1, 1), follow_symlinks=False)
    os.utime(left, (1, 1))
    write_now()
    assert not left.exists()
    assert (tmp_path / "elsewhere" / "file.npy").exists()
