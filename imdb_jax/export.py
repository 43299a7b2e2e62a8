"""Write a trained model for other programs.

python -m imdb_jax.export RUN --to stablehlo
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from imdb_jax import cli
from imdb_jax.config import OptionalPath
from imdb_jax.exporting import Format
from imdb_jax.progress import tell


@dataclass(frozen=True)
class Options:
    """What to export, and where."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""

    to: Format
    """stablehlo: a program with its parameters, which jax alone runs on CPU, GPU and TPU;
    onnx: a model for ONNX Runtime, which needs no JAX; safetensors, npz: the parameters; keras: a
    model for Keras 3 (.keras and .weights.h5); html: a page that runs the model in a browser,
    without a server; word2vec: the word vectors, as text."""

    out: OptionalPath = None
    """Directory to write, with the vocabulary, the configuration and a README that says how to read
    the files; by default RUN-FORMAT, such as runs/cnn-stablehlo."""

    overwrite: bool = False
    """Replace the export that the directory already holds."""

    quiet: bool = False
    """Print nothing."""


def export(arguments: Sequence[str]) -> None:
    """Parse the arguments, load the run, and write it in another format."""
    default = Options(tyro.MISSING, tyro.MISSING)
    options = cli.parse("imdb_jax.export", default, __doc__ or "", arguments)
    run = options.run.absolute()
    out = options.out or run.with_name(f"{run.name}-{options.to}")
    from imdb_jax.exporting.directory import export_model

    export_model(options.run, options.to, out, options.overwrite)
    if not options.quiet:
        tell(f"written to {out}; {out / 'README.md'} says how to read it")


main = partial(cli.run_command, export)

if __name__ == "__main__":
    main()
