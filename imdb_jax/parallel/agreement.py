"""What the processes of one run must have in common, or they would compute different things."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import imdb_jax
from imdb_jax.config import Config, flatten
from imdb_jax.files import file_digest

# Options that may differ. The reviews that these paths lead to are compared when they are read;
# only process 0 prints and writes for TensorBoard.
_OF_ONE_PROCESS = {"data_dir", "test", "archive", "allow_unverified", "config", "quiet"}
_OF_ONE_PROCESS |= {"tensorboard", "coordinator", "process_id", "join_timeout"}
_PACKAGES = ["jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml-dtypes", "pyarrow"]
_PACKAGES += ["jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu"]
# Environment variables that change what accelerators compute, besides those that JAX reads.
_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
# Settings of JAX that change no numbers: where files lie, what is logged, which devices are whose.
_HARMLESS = re.compile(
    "cache|_log_|logging|dump|traceback|pprint|proxy|mtls|address|visible_devices"
)
_MOST_NAMED = 3
_LONGEST_VALUE = 100


def characteristics(config: Config) -> dict[str, str]:
    """Return all that changes what a process computes, by name: options, code, versions, settings.

    Imports JAX, but does not start it.
    """
    import jax

    options = {name: v for name, v in flatten(config).items() if name not in _OF_ONE_PROCESS}
    model = options.pop("model")
    options["workdir"] = (config.run.workdir or Path("runs") / config.arch).absolute()
    options |= {f"model.{name}": value for name, value in model.items()}
    found = {name: _printed(value) for name, value in options.items()}
    found["the version of Python"] = ".".join(platform.python_version_tuple()[:2])
    found |= {f"the version of {package}": _version(package) for package in _PACKAGES}
    found |= {name: " ".join(sorted(os.environ.get(name, "").split())) for name in _VARIABLES}
    settings = jax.config.values.items()
    found |= {name: str(value) for name, value in settings if not _HARMLESS.search(name)}
    home = Path(imdb_jax.__file__).parent
    for file in sorted(home.rglob("*.py")):
        name = f"{home.name}/{file.relative_to(home).as_posix()}"
        found[f"the SHA-256 of {name}"] = file_digest(file)[:16]
    return found


def disagreement(of_each: Mapping[int, Mapping[str, str]]) -> str | None:
    """Return a sentence about what differs between processes, given by number; None if nothing."""
    names = dict.fromkeys(itertools.chain.from_iterable(of_each.values()))
    different = [name for name in names if len({own.get(name) for own in of_each.values()}) > 1]
    if not different:
        return None
    parts = [_difference(name, of_each) for name in different[:_MOST_NAMED]]
    more = len(different) - len(parts)
    return (
        f"the processes of this run differ: {'; '.join(parts)}"
        f"{f'; and {more} more differences' if more else ''}; start all of them with the same "
        "options, code, packages and settings"
    )


def _difference(name: str, of_each: Mapping[int, Mapping[str, str]]) -> str:
    having: dict[str, list[int]] = {}
    for number, own in sorted(of_each.items()):
        having.setdefault(own.get(name, "missing"), []).append(number)
    values = [f"{_shortened(value)} ({numbered(who, len(who))})" for value, who in having.items()]
    return f"{name} is {' or '.join(values)}"


def numbered(numbers: Iterable[int], number_of_all: int) -> str:
    """Name so many processes: "process 1", or "processes 1, 2, 3 and 7 more"."""
    first = ", ".join(map(str, itertools.islice(numbers, _MOST_NAMED)))
    more = f" and {number_of_all - _MOST_NAMED} more" if number_of_all > _MOST_NAMED else ""
    return f"process{'es' if number_of_all > 1 else ''} {first}{more}"


def _printed(value: Any) -> str:
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _shortened(value: str) -> str:
    value = value or "unset"
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
