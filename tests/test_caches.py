"""Where caches lie, what becomes of the programs in them, and which files are removed."""

import os
import subprocess
import sys
import time
import warnings
import zlib

import pytest

from imdb_jax import caches
from imdb_jax.caches import (
    checksum,
    keep_compiled_programs,
    open_entry,
    source_digest,
    write_entry,
)

# Runs as a command would: JAX is imported after the cache was turned on.
_PROGRAM = """
from imdb_jax.caches import keep_compiled_programs
keep_compiled_programs()
import jax
print(jax.jit(lambda x: x * 2 + 1)(20.0))
"""


@pytest.fixture(autouse=True)
def _separate(monkeypatch):
    """No trace of the one test in the other."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    for name in ("MIN_COMPILE_TIME_SECS", "MIN_ENTRY_SIZE_BYTES"):
        monkeypatch.setenv(f"JAX_PERSISTENT_CACHE_{name}", "0")
        monkeypatch.delenv(f"JAX_PERSISTENT_CACHE_{name}")


def test_compiled_programs_are_kept_with_the_other_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("IMDB_JAX_CACHE", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    keep_compiled_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "compiled")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    keep_compiled_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"


def test_an_impossible_cache_keeps_no_compiled_programs(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IMDB_JAX_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    keep_compiled_programs()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def run_program(cache):
    """Runs `_PROGRAM`; gives what it printed, on standard error too, and what it kept."""
    command = [sys.executable, "-c", _PROGRAM]
    environment = {**os.environ, "PYTHONWARNINGS": "default", "IMDB_JAX_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done, {path.name: path.read_bytes() for path in (cache / "compiled").glob("*-cache")}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache, and the programs that a first run kept there."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        done, programs = run_program(cache)
    assert done.stdout.strip() == "41.0"
    assert programs
    return cache, programs


@pytest.mark.parametrize("damage", [b"", b"no program", None])
def test_a_damaged_program_is_compiled_and_kept_anew(kept, damage):
    cache, whole = kept
    for name, content in whole.items():
        damaged = content[: len(content) // 2] if damage is None else damage
        (cache / "compiled" / name).write_bytes(damaged)
    done, programs = run_program(cache)
    assert done.stdout.strip() == "41.0"
    assert "persistent" not in done.stderr
    assert {name: len(content) for name, content in programs.items()} == {
        name: len(content) for name, content in whole.items()
    }


def test_warnings_are_left_as_they_are(tmp_path, monkeypatch):
    show = warnings.showwarning
    monkeypatch.setenv("IMDB_JAX_CACHE", str(tmp_path))
    keep_compiled_programs()
    assert warnings.showwarning is show


def test_programs_are_checked_once(tmp_path, monkeypatch):
    program = tmp_path / "jit_f-0123-cache"
    program.write_bytes(zlib.compress(b"a program"))
    os.utime(program, (1, 1))
    caches._remove_damaged_programs(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(caches, "_can_be_decompressed", lambda _: pytest.fail("read again"))
        caches._remove_damaged_programs(tmp_path)
    assert program.exists()
    program.write_bytes(b"half")
    caches._remove_damaged_programs(tmp_path)
    assert not program.exists()


# Entries


def test_a_checksum_covers_all_of_a_small_file(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "_BLOCK", 4)
    monkeypatch.setattr(caches, "_NUM_BLOCKS", 8)
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
    monkeypatch.setattr(caches, "_BLOCK", 4)
    monkeypatch.setattr(caches, "_NUM_BLOCKS", 8)
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
