"""Starts the measurements of `benchmark.py`, each a process of its own, and takes their time."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imdb_jax.config import Config, dump_config
from imdb_jax.errors import UserError
from imdb_jax.runs.data import load_data_for

# What every process that measures something is told, lest it draws, or chats while it is timed.
_QUIET = {"PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"}


class Finished(NamedTuple):
    """What a process left behind.

    Attributes:
      output: its standard output.
      seconds: from its start to its end; or to the line that begins with what was awaited.
    """

    output: str
    seconds: float


def child_environment(device: str) -> dict[str, str]:
    """The environment of every measurement on a device, 'cpu' or 'gpu' (a single one).

    Nothing in it names a cache of compiled programs. This program has set one of its own, for all
    that it starts; by default Keras has none, and our commands find theirs in IMDB_JAX_CACHE.
    """
    caches = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(caches)} | _QUIET
    if device == "cpu":
        return environment | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    first = (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0]
    return environment | {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": first}


def python(
    arguments: Sequence[str], environment: Mapping[str, str], awaited: str | None = None
) -> Finished:
    """Runs Python until it ends.

    Args:
      arguments: of the interpreter.
      environment: all of it.
      awaited: beginning of the line of standard output at which the clock stops. It runs on this
        side, from before the process is made.

    Raises:
      UserError: the process failed; with the last line that it wrote on standard error.
    """
    lines, seconds = [], None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, *arguments],
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    lines.append(line)
                    if seconds is None and awaited is not None and line.startswith(awaited):
                        seconds = time.perf_counter() - started
                process.wait()
            except BaseException:
                process.kill()
                raise
        ended = time.perf_counter() - started
        complaints.seek(0)
        said = [line.strip() for line in complaints if line.strip()]
    if process.returncode:
        print(*said, sep="\n", file=sys.stderr)
        last = said[-1] if said else f"exit status {process.returncode}"
        raise UserError(f"{' '.join(arguments)} failed: {last}")
    if awaited is not None and seconds is None:
        raise UserError(f"{' '.join(arguments)} printed no line that begins with {awaited!r}")
    return Finished("".join(lines), ended if seconds is None else seconds)


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    Attributes:
      config: the recipe, and where its reviews come from.
      dataset: name of the data set that was found.
      directory: `config.toml`, and the encoded reviews as `<split>_ids.npy`, padded, and
        `<split>_labels.npy`. Everything that measurements write goes here as well.
      environment: of every process.
      length: ids per review.
    """

    config: Config
    dataset: str
    directory: Path
    environment: dict[str, str]
    length: int
    _numbers: Iterator[int]

    @classmethod
    def prepare(cls, config: Config, directory: Path, environment: dict[str, str]) -> Bench:
        """Encodes the reviews, once for all, and writes them into a directory."""
        data = load_data_for(config)
        ids = data.splits.train.ids
        if not isinstance(ids, np.ndarray):
            raise UserError(f"{config.arch} has no Keras twin to be compared with")
        for split, examples in vars(data.splits).items():
            if examples is None:  # such as validation reviews, if the test reviews serve as such
                continue
            np.save(directory / f"{split}_ids.npy", examples.ids)
            np.save(directory / f"{split}_labels.npy", examples.labels)
        (directory / "config.toml").write_text(dump_config(config), encoding="utf-8")
        length = ids.shape[1]
        return cls(config, data.dataset, directory, environment, length, itertools.count())

    def measure(
        self, task: str, request: Mapping[str, Any], backend: str = "", awaited: str | None = None
    ) -> dict[str, Any]:
        """Has `benchmark_worker.py` carry out a task in a process of its own.

        Args:
          task: a function of the worker.
          request: what the task is told besides the directory.
          backend: of Keras, if the task is about Keras.
          awaited: see `python`.

        Returns:
          What the task found, and the `seconds` that the process took.
        """
        number = next(self._numbers)
        asked, found = (self.directory / f"{number}_{name}.json" for name in ("asked", "found"))
        told = {"task": task, "directory": str(self.directory), "out": str(found), **request}
        asked.write_text(json.dumps(told), encoding="utf-8")
        environment = {**self.environment, "KERAS_BACKEND": backend} if backend else None
        worker = str(Path(__file__).with_name("benchmark_worker.py"))
        finished = python([worker, str(asked)], environment or self.environment, awaited)
        result: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
        return {"seconds": finished.seconds, **result}
