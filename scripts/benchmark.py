"""Measures training against Keras 3.

    python scripts/benchmark.py --arch cnn --against tensorflow,jax,torch --json out.json
    python scripts/benchmark.py --arch all --json out.json --docs docs/performance.md

Every measurement is a process of its own, and ours and Keras' take turns. Whole runs are those of
the tutorials: Keras validates and evaluates as their scripts do, and ours is the command. All get
the same encoded reviews, in float32, in batches of the same size; the number of the repeat is the
seed. Medians are compared, with the fastest backend of each figure; the spread is shown beside
them. If a measurement fails, the others go on. Needs the extra `bench`.

In place of this comparison, `--parts` takes our step apart and relates it to the best that the
machine could do, `--growth` trains on more and more reviews, and `--text` measures encoding and
predicting.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import itertools
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from marked_text import around_marked, replace_marked

from imdb_jax import cli, progress
from imdb_jax.config import Config, load_recipe, replace
from imdb_jax.errors import UserError, unknown_name
from imdb_jax.files import write_atomically

if TYPE_CHECKING:
    from benchmark_children import Bench

BACKENDS = ("tensorflow", "jax", "torch")
ALL = "all"
_ORDER = ("mlp", "embedding_mlp", "cnn", "cnn_global", "pooled", "lstm")
# Backends that would take longer for a recipe than all the others together; none is the fastest.
_SLOW = {"pooled": ("torch",), "lstm": ("jax", "torch")}
# Steps in an epoch of recipes whose epochs would take hours in Keras.
_STEPS = {"lstm": 20}
_MARK = "benchmark"
_QUIET_LOAD = 0.5


@dataclass(frozen=True)
class Options:
    """What to measure, and how often."""

    arch: str = "cnn"
    """Recipe, or several with commas between them; 'all' that have a Keras twin."""

    against: str = ""
    """Keras backends, with commas between them. By default all three, but no torch for pooled, and
    tensorflow alone for lstm."""

    repeats: int = 3
    """Measurements of each contestant."""

    epochs: int = 0
    """Epochs of each training, at least 2, as the first one includes compiling; 0: the recipe's."""

    steps: int = 0
    """Steps in an epoch; 0: all, but 20 of lstm, whose epochs would take hours in Keras."""

    device: Literal["cpu", "gpu"] = "cpu"
    """gpu: a single one, without Keras on tensorflow."""

    parts: bool = False
    """Time each part of our training step, and relate the step to the machine's peaks."""

    growth: str = ""
    """Numbers of training reviews, with commas between them: time an epoch on each."""

    text: bool = False
    """Time encoding, against Keras' TextVectorization, and predicting, against fastText."""

    scratch: Path | None = None
    """Directory for the reviews of --growth, 1 kB each; by default the system's."""

    json: Path | None = None
    """Write all figures to this file, again after each recipe."""

    docs: Path | None = None
    """Replace the tables in this file, between its two 'benchmark' marks."""

    dataset: Literal["imdb_reviews", "synthetic"] = "imdb_reviews"
    """Data set. There is no 'auto': a benchmark on other data than meant is worse than none."""

    data_dir: Path | None = None
    """TFDS data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""


def benchmark(arguments: Sequence[str]) -> None:
    """Parses the arguments, measures, prints tables and writes the JSON file.

    Raises:
      UserError: a bad option, no Keras or a backend of it missing, no GPU, no data, or, after all
        others are written, a measurement that failed. What can be known beforehand is said before
        anything is measured.
    """
    options = cli.parse("benchmark", Options(), __doc__ or "", arguments)
    configs = [configure(arch, options) for arch in parse_recipes(options.arch)]
    sizes = parse_sizes(options.growth)
    backends = {config.arch: needed_backends(config.arch, options) for config in configs}
    needed = list(dict.fromkeys(itertools.chain(*backends.values())))
    if options.json and not options.json.absolute().parent.is_dir():
        raise UserError(f"there is no directory {options.json.absolute().parent}")
    if options.docs:
        if options.parts or sizes or options.text:
            raise UserError("--docs is about training against Keras; leave out the other choice")
        around_marked(options.docs, _MARK)
    if needed:
        require_installed(needed)
    load = load_average()
    # Imported here so that --help and mistaken options need not wait for JAX.
    from benchmark_children import child_environment

    environment = child_environment(options.device)
    device = gpu_name(environment, needed) if options.device == "gpu" else cpu_name()
    results: dict[str, dict[str, Any]] = {}
    failures = []
    for config in configs:
        try:
            measured = measure(config, backends[config.arch], sizes, options, environment)
        except UserError as error:
            failures.append(f"{config.arch}: {error}")
            progress.note(failures[-1])
            continue
        failures += [f"{config.arch}, {failure}" for failure in measured.get("failures", [])]
        results[config.arch] = describe(config, device, load) | measured
        if options.json:
            result = results[config.arch] if len(configs) == 1 else {"recipes": results}
            write_atomically(options.json, (json.dumps(result, indent=2) + "\n").encode())
    if options.docs and results:
        import benchmark_docs

        replace_marked(options.docs, _MARK, benchmark_docs.tables(results))
    if failures:
        raise UserError("; ".join(failures))


def load_average() -> float | None:
    """The load average of the last minute, where the system tells it; warns if it is high."""
    if not hasattr(os, "getloadavg"):
        return None
    load = os.getloadavg()[0]
    if load > _QUIET_LOAD:
        progress.note(
            f"warning: the load average is {load:.2f}; while other programs run, the figures are "
            "not those of this machine"
        )
    return load


def measure(
    config: Config,
    backends: Sequence[str],
    sizes: Sequence[int],
    options: Options,
    environment: dict[str, str],
) -> dict[str, Any]:
    """Measures one recipe, and prints its tables."""
    from benchmark_children import Bench

    with tempfile.TemporaryDirectory(prefix="imdb_jax_benchmark_") as directory:
        bench = Bench.prepare(config, Path(directory), environment)
        result: dict[str, Any] = {"dataset": bench.dataset}
        if options.parts:
            result |= take_apart(bench)
        if sizes:
            result |= grow(bench, sizes, options.scratch)
        if options.text:
            result |= read_texts(bench, options.repeats)
        if not (options.parts or sizes or options.text):
            result |= compare(bench, backends, options)
    return result


def compare(bench: Bench, backends: Sequence[str], options: Options) -> dict[str, Any]:
    """Compares training, and prints the table."""
    import benchmark_training

    compared = benchmark_training.compare(
        bench, backends, options.repeats, steps_per_epoch(bench.config.arch, options), progress.note
    )
    show(benchmark_training.table(heading(bench), compared))
    print(*benchmark_training.verdict(compared), sep="\n")
    return compared | {"versions": versions() | compared["versions"]}


def take_apart(bench: Bench) -> dict[str, Any]:
    """Times the parts of our step, and prints the table."""
    import benchmark_parts

    repetitions = 8 if bench.config.arch == "lstm" else 50
    progress.note("taking a training step apart")
    measured = bench.measure("parts", {"repetitions": repetitions})
    show(benchmark_parts.table(heading(bench), measured))
    print(benchmark_parts.verdict(measured["roofline"]))
    return {name: measured[name] for name in ("parts_ms", "layers_ms", "roofline")}


def grow(bench: Bench, sizes: Sequence[int], scratch: Path | None) -> dict[str, Any]:
    """Trains on more and more reviews, and prints the table."""
    import benchmark_growth

    measured = benchmark_growth.measure_growth(bench, sizes, scratch, progress.note)
    show(benchmark_growth.table(heading(bench), measured))
    print("note:", benchmark_growth.NOTE)
    return measured


def read_texts(bench: Bench, repeats: int) -> dict[str, Any]:
    """Measures encoding and predicting, and prints the table."""
    import benchmark_text

    measured = benchmark_text.measure_text(bench, repeats, progress.note)
    show(benchmark_text.table(f"raw texts of {dataset_title(bench)}", measured))
    print(*benchmark_text.verdict(measured), sep="\n")
    return measured


def heading(bench: Bench) -> str:
    """What stands above a table about a recipe."""
    batch_size = bench.config.training.batch_size
    return f"{bench.config.arch} on {dataset_title(bench)}, batches of {batch_size}"


def dataset_title(bench: Bench) -> str:
    """The data set's name, so that nobody takes the synthetic corpus for IMDb."""
    return "the synthetic corpus" if bench.dataset == "synthetic" else bench.dataset


def show(table: Any) -> None:
    """Prints a table, in full width where standard output is no terminal."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(table)


def parse_recipes(arch: str) -> list[str]:
    """Names of the recipes to measure."""
    if arch == ALL:
        return list(_ORDER)
    return list(dict.fromkeys(name.strip() for name in arch.split(",")))


def configure(arch: str, options: Options) -> Config:
    """The recipe to measure. Raises `UserError` for numbers out of range."""
    if options.repeats < 1:
        raise UserError(f"repeats must be at least 1, not {options.repeats}")
    if options.steps < 0:
        raise UserError(f"steps must be at least 0, not {options.steps}")
    recipe = load_recipe(arch)
    epochs = options.epochs or max(2, recipe.training.epochs)
    if epochs < 2:
        raise UserError("epochs must be at least 2, as the first one includes compiling")
    return replace(recipe, epochs=epochs, dataset=options.dataset, data_dir=options.data_dir)


def steps_per_epoch(arch: str, options: Options) -> int:
    """Steps after which an epoch is cut short; 0 if it is not."""
    return options.steps or _STEPS.get(arch, 0)


def parse_sizes(growth: str) -> list[int]:
    """The numbers of training reviews. Raises `UserError` for what is no number of reviews."""
    names = [name.strip().replace("_", "") for name in growth.split(",") if name.strip()]
    for name in names:
        if not name.isdecimal() or int(name) < 1:
            raise UserError(f"growth must be numbers of reviews, with commas, not {name!r}")
    return [int(name) for name in names]


def needed_backends(arch: str, options: Options) -> list[str]:
    """The backends of Keras without which the measurements of a recipe cannot be made."""
    if options.text:
        if options.device == "gpu":
            raise UserError("text is measured on a CPU; leave out --device gpu")
        return ["tensorflow"]  # TextVectorization is TensorFlow's
    if options.parts or options.growth:
        return []
    usual = ",".join(name for name in BACKENDS if name not in _SLOW.get(arch, ()))
    return parse_backends(options.against or usual, options.device)


def parse_backends(against: str, device: str) -> list[str]:
    """The backends of Keras that were named. Raises `UserError` for one that cannot be had."""
    names = [name.strip() for name in against.split(",") if name.strip()]
    if not names:
        raise UserError(f"against names no Keras backend; there are: {', '.join(BACKENDS)}")
    for name in names:
        if name not in BACKENDS:
            raise UserError(unknown_name("Keras backend", name, BACKENDS))
    if device == "gpu" and "tensorflow" in names:
        raise UserError(
            "on a GPU Keras is measured on jax and torch only, as tensorflow-cpu, which the extra "
            "'bench' installs, knows no GPU: --against jax,torch"
        )
    return list(dict.fromkeys(names))


def require_installed(backends: Sequence[str]) -> None:
    """Raises `UserError` unless Keras and all these backends can be imported."""
    for module in ("keras", *backends):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"{module} is not installed; pip install 'imdb_jax[bench]'")


_GPU_PROBES = {
    "jax": "import jax; print(jax.devices('gpu')[0].device_kind)",
    "torch": "import torch; print(torch.cuda.get_device_name())",
}


def gpu_name(environment: Mapping[str, str], backends: Sequence[str]) -> str:
    """Name of the GPU. Raises `UserError` unless JAX, ours, and all these backends find one."""
    name = ""
    for module in dict.fromkeys(["jax", *backends]):
        command = [sys.executable, "-c", _GPU_PROBES[module]]
        found = subprocess.run(command, env=dict(environment), capture_output=True, text=True)
        if found.returncode:
            raise UserError(
                f"{module} finds no GPU here; leave out --device gpu, or install {module} with CUDA"
            )
        name = name or found.stdout.strip()
    return name


def cpu_name() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def describe(config: Config, device: str, load: float | None) -> dict[str, Any]:
    """What the figures were taken of, when, and on what."""
    available = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return {
        "arch": config.arch,
        "batch_size": config.training.batch_size,
        "device": device,
        "cores": len(available),
        "date": datetime.date.today().isoformat(),
        "load_average": load,
        "command": shlex.join(["python", *sys.argv]),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of Python and of what ours rests on."""
    packages = {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")}
    return {"python": platform.python_version(), **packages}


if __name__ == "__main__":
    cli.run_command(benchmark)
