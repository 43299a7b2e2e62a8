"""Trains every recipe with several seeds and writes the results table of the README.

    python scripts/reproduce.py --keras-backend tensorflow

Each run is a process of its own, `python -m imdb_jax.train`, as anybody would start it; but of the
recipes that train faster so, all seeds after the first are one process (`--seeds`). With
`--keras-backend`, the Keras twin of each recipe is trained on the same arrays beside it (extra
`bench`). What is in the output directory already is not trained again.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from keras_baseline import WITHOUT_TWIN
from marked_text import replace_marked

from imdb_jax import cli
from imdb_jax.config import recipe_names
from imdb_jax.errors import UserError, check_choice


@dataclass(frozen=True)
class Options:
    """What to train, and what to write."""

    arch: tuple[str, ...] = ()
    """Recipes to train; all of them by default."""

    seeds: int = 5
    """Number of seeds, from 0, to train each recipe with."""

    out: Path = Path("runs/reproduce")
    """Directory for the runs, ours and Keras'."""

    keras_backend: str = ""
    """tensorflow, jax or torch: train the Keras twins as well, on this backend."""

    readme: Path | None = None
    """Replace the results table in this file, between its two 'results' marks."""

    data_dir: Path | None = None
    """TFDS data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""


class Source(NamedTuple):
    """Where a recipe comes from, and the test accuracy it was published with."""

    name: str
    published: str


_SOURCES = {
    "mlp": Source("Donges", "0.8948"),
    "embedding_mlp": Source("Brownlee", "0.8694"),
    "cnn": Source("Brownlee", "0.8779"),
    "cnn_global": Source("Brownlee, suggested", "none"),
    "pooled": Source("TensorFlow", "about 0.87"),
    "lstm": Source("Brownlee's readers", "below the `cnn`"),
    "ngram": Source("Wang and Manning", "0.9122"),
}
# As measured on two cores, see docs/performance.md.
_FASTER_TOGETHER = ("cnn", "lstm", "ngram")


def reproduce(arguments: Sequence[str]) -> None:
    """Parses the arguments, trains what is missing, prints the table, and writes it if asked."""
    options = cli.parse("reproduce", Options(), __doc__ or "", arguments)
    for arch in options.arch:
        check_choice("arch", arch, tuple(_SOURCES))
    recipes = [arch for arch in _SOURCES if arch in (options.arch or recipe_names())]
    rows, twins = [], []
    for arch in recipes:
        ours = train_ours(arch, options)
        keras = train_keras(arch, options)
        rows.append(table_row(arch, ours, keras, options.seeds))
        twins += keras
    table = "\n".join([*_HEADER, *rows, "", footnote(ours[0], twins, options)])
    print(table)
    if options.readme:
        replace_marked(options.readme, "results", table)


def train_ours(arch: str, options: Options) -> list[dict[str, Any]]:
    """Trains a recipe with every seed whose result is missing; gives the results."""
    others = options.seeds - 1
    if arch in _FASTER_TOGETHER and others > 1:
        # The first is alone, so that there is a run whose seconds are its own.
        together = train(arch, 1, others, options)
        workdirs = [together / f"seed-{seed}" for seed in range(1, options.seeds)]
    else:
        workdirs = [train(arch, seed, 1, options) for seed in range(1, options.seeds)]
    workdirs = [train(arch, 0, 1, options), *workdirs]
    return [json.loads((workdir / "result.json").read_text()) for workdir in workdirs]


def train(arch: str, seed: int, seeds: int, options: Options) -> Path:
    """Trains a recipe with one seed or several, unless it was; gives the run directory."""
    workdir = options.out / (f"{arch}_{seed}" if seeds == 1 else f"{arch}_{seed}_{seeds}")
    if not (workdir / "result.json").exists():
        command = ["-m", "imdb_jax.train", "--arch", arch, "--seed", str(seed)]
        command += ["--seeds", str(seeds)]
        command += ["--dataset", "imdb_reviews", "--workdir", str(workdir), "--overwrite"]
        command += ["--data-dir", str(options.data_dir)] if options.data_dir else []
        print(f"{arch}, {seeds} from seed {seed}: ", end="", flush=True)
        _python([*command, "--quiet"])
    return workdir


def train_keras(arch: str, options: Options) -> list[dict[str, Any]]:
    """Trains the Keras twin of a recipe with every seed whose result is missing."""
    if arch in WITHOUT_TWIN:
        return []
    if options.keras_backend:
        script = str(Path(__file__).with_name("keras_baseline.py"))
        command = [script, "--arch", arch, "--seeds", str(options.seeds)]
        command += ["--out", str(options.out)]
        command += ["--data-dir", str(options.data_dir)] if options.data_dir else []
        _python(command, KERAS_BACKEND=options.keras_backend)
    paths = [options.out / f"keras_{arch}_{seed}.json" for seed in range(options.seeds)]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def _python(arguments: list[str], **environment: str) -> None:
    finished = subprocess.run([sys.executable, *arguments], env={**os.environ, **environment})
    if finished.returncode:
        raise UserError(f"{' '.join(arguments)} failed, see above")


_HEADER = [
    "| recipe | source | published | ours | Keras 3 | parameters | seconds |",
    "|---|---|---|---|---|---|---|",
]


def table_row(
    arch: str, ours: list[dict[str, Any]], keras: list[dict[str, Any]], seeds: int
) -> str:
    """One line of the table: accuracies as mean and standard deviation, seconds as the median."""
    twin = "none" if arch in WITHOUT_TWIN else accuracies(keras, seeds)
    cells = [f"`{arch}`", *_SOURCES[arch], accuracies(ours, seeds), twin]
    alone = ours[:1] if arch in _FASTER_TOGETHER else ours
    cells += [f"{ours[0]['num_params']:,}", seconds(alone)]
    return f"| {' | '.join(cells)} |"


def accuracies(results: list[dict[str, Any]], seeds: int) -> str:
    """Mean and standard deviation of the test accuracies of several runs, and what is missing."""
    values = [result["test_accuracy"] for result in results]
    if not values:
        return "not run"
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    missing = f" ({len(values)} of {seeds} seeds)" if len(values) < seeds else ""
    return f"{statistics.mean(values):.4f}{deviation}{missing}"


def seconds(results: list[dict[str, Any]]) -> str:
    """Median seconds that the training of a run took, without start-up, compiling, evaluation."""
    return f"{statistics.median(result['train_seconds'] for result in results):.1f}"


def footnote(ours: dict[str, Any], keras: list[dict[str, Any]], options: Options) -> str:
    """Says what the table was made with."""
    with_keras = f", Keras {keras[0]['keras']} on {keras[0]['backend']}" if keras else ""
    return (
        f"Test accuracy, mean ± standard deviation over {options.seeds} seeds; median seconds of "
        f"our training alone, of seed 0 where the others were trained together, "
        f"on {os.cpu_count()} CPU cores. "
        f"jax {ours['jax']}, flax {ours['flax']}, Python {ours['python']}{with_keras}."
    )


if __name__ == "__main__":
    cli.run_command(reproduce)
