"""How much memory there is: what Linux says, and the limits of control groups."""

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
