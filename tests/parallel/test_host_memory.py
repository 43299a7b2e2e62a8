"""How much memory there is: what Linux says, and the limits of control groups."""

import platform
import subprocess
import sys

import pytest

from imdb_jax.errors import UserError
from imdb_jax.parallel import host_memory as module

GB = 10**9


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"/proc/meminfo": "MemTotal:  1000 kB\nMemFree:  10 kB\n"}, 1000 << 10),
        ({"/proc/meminfo": "MemTotal:  1000 kB\nSwapTotal:  24 kB\n"}, 1024 << 10),
        ({"/proc/self/cgroup": "0::/a/b", "/sys/fs/cgroup/a/b/memory.max": "5000\n"}, 5000),
        ({"/proc/self/cgroup": "0::/a/b", "/sys/fs/cgroup/a/memory.max": "5000\n"}, 5000),
        ({"/proc/self/cgroup": "0::/a/b", "/sys/fs/cgroup/memory.max": "max\n"}, 1000 << 10),
        (
            {
                "/proc/self/cgroup": "8:cpu:/\n4:memory:/a:b\n0::/",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "6000\n",
                "/sys/fs/cgroup/memory/a:b/memory.limit_in_bytes": "9223372036854771712\n",
            },
            6000,
        ),
    ],
)
def test_memory_is_the_least_of_what_is_there_and_what_is_allowed(monkeypatch, files, expected):
    if files:
        files = {"/proc/meminfo": "MemTotal:  1000 kB\n"} | files
    monkeypatch.setattr(module, "_text", lambda path: files.get(str(path), ""))
    assert module.host_memory() == expected


def test_this_machine_has_memory_or_does_not_tell():
    assert module.host_memory() is None or module.host_memory() > GB


@pytest.mark.parametrize(("there", "refused"), [(None, False), (2 * GB, False), (GB, True)])
def test_only_what_cannot_fit_is_refused(monkeypatch, there, refused):
    monkeypatch.setattr(module, "host_memory", lambda: there)
    if not refused:
        return module.check_memory("it", 2 * GB, "lower it")
    with pytest.raises(UserError, match=r"it needs at least 2\.0 GB .* 1\.0 GB .*; lower it"):
        module.check_memory("it", 2 * GB, "lower it")


# Prints how many heaps the threads of the command for training take memory from.
_HEAPS = """
import ctypes, sys, threading
sys.argv = ["imdb-jax-train"]
from imdb_jax import train

def count(_):
    def allocate():
        ctypes.CDLL(None).malloc(1 << 20)
        together.wait()
    together = threading.Barrier(5)
    for _ in range(4):
        threading.Thread(target=allocate).start()
    together.wait()
    libc = ctypes.CDLL(None)
    libc.fdopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fdopen(1, b"w"))
    libc.malloc_info(0, stream)
    libc.fflush(stream)

train.train = count
train.main()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have one heap")
def test_all_threads_of_training_share_one_heap():
    command = [sys.executable, "-c", _HEAPS]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert shown.count("<heap nr=") == 1
