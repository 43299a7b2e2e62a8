"""JAX's cache of compiled programs: where it lies, and what becomes of damaged programs."""

import os
import subprocess
import sys
import warnings
import zlib

import pytest

from imdb_jax.parallel import compilation_cache
from imdb_jax.parallel.compilation_cache import keep_compiled_programs

# Runs as a command would: JAX is imported after the cache was turned on.
_PROGRAM = """
from imdb_jax.parallel.compilation_cache import keep_compiled_programs
keep_compiled_programs()
import jax
print(*(jax.jit(lambda x: x * factor + 1)(20.0) for factor in (2, 3, 4)))
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
    assert done.stdout == "41.0 61.0 81.0\n"
    return cache, programs


def test_a_damaged_program_is_compiled_and_kept_anew(kept):
    """Whether it is empty, something else, or broken off."""
    cache, whole = kept
    first, second, *rest = whole.items()
    damaged = {first[0]: b"", second[0]: b"no program"}
    damaged |= {name: content[: len(content) // 2] for name, content in rest}
    assert len(damaged) >= 3
    for name, content in damaged.items():
        (cache / "compiled" / name).write_bytes(content)
    done, programs = run_program(cache)
    assert done.stdout == "41.0 61.0 81.0\n"
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
    compilation_cache._remove_damaged_programs(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(
            compilation_cache, "_can_be_decompressed", lambda _: pytest.fail("read again")
        )
        compilation_cache._remove_damaged_programs(tmp_path)
    assert program.exists()
    program.write_bytes(b"half")
    compilation_cache._remove_damaged_programs(tmp_path)
    assert not program.exists()
