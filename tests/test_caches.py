"""Where caches lie, and what becomes of the programs in them."""

import os
import subprocess
import sys
import warnings

import pytest

from imdb_jax.caches import keep_compiled_programs

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
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


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


@pytest.mark.parametrize("damage", [b"", b"no program", None])
def test_a_damaged_program_is_compiled_and_kept_anew(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("IMDB_JAX_CACHE", str(tmp_path))
    environment = {**os.environ, "PYTHONWARNINGS": "default"}

    def entries():
        return {path: path.read_bytes() for path in (tmp_path / "compiled").iterdir()}

    def run():
        command = [sys.executable, "-c", _PROGRAM]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    first = run()
    assert first.stdout.strip() == "41.0"
    whole = entries()
    assert whole
    for path, content in whole.items():
        path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    second = run()
    assert second.stdout == first.stdout
    assert "persistent" not in second.stderr
    assert {path: len(content) for path, content in entries().items()} == {
        path: len(content) for path, content in whole.items()
    }


def test_other_warnings_are_shown(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda *args: shown.append(args))
    monkeypatch.setenv("IMDB_JAX_CACHE", str(tmp_path))
    keep_compiled_programs()
    of_something_else = UserWarning("of something else"), UserWarning, "file.py", 1
    warnings.showwarning(*of_something_else)
    assert shown == [of_something_else]
