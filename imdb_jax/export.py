"""Writes a trained model for other programs: `python -m imdb_jax.export RUN --to stablehlo`."""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from imdb_jax import cli
from imdb_jax.config import dump_config
from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically

if TYPE_CHECKING:
    from imdb_jax.classifier import Classifier

Format = Literal["stablehlo", "safetensors", "npz", "keras", "word2vec"]


@dataclass(frozen=True)
class Options:
    """What to export, and where to."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""

    to: Format
    """stablehlo: a program with its parameters, which jax alone runs on CPU, GPU and TPU;
    safetensors, npz: the parameters; keras: a model for Keras 3 (.keras and .weights.h5); word2vec:
    the word vectors, as text."""

    out: Path | None = None
    """Directory to write, with the vocabulary, the configuration and a README that says how to read
    all this; by default RUN-FORMAT, such as runs/cnn-stablehlo."""

    overwrite: bool = False
    """Replace the export that the directory already holds."""

    quiet: bool = False
    """Print nothing."""


def export(arguments: Sequence[str]) -> None:
    """Parses the arguments, loads the run, and writes it in another format."""
    default = Options(tyro.MISSING, tyro.MISSING)
    options = cli.parse("imdb_jax.export", default, __doc__ or "", arguments)
    run = options.run.absolute()
    out = options.out or run.with_name(f"{run.name}-{options.to}")
    check_directory(out, options.overwrite)
    # Imported here so that --help and mistaken options need not wait for JAX.
    from imdb_jax.classifier import load

    classifier = load(options.run)
    write_directory(out, lambda directory: write_export(classifier, options.to, directory))
    if not options.quiet:
        print(f"written to {out}; {out / 'README.txt'} says how to read it")


def write_export(classifier: Classifier, to: Format, directory: Path) -> None:
    """Writes the files of an export to an empty directory.

    Raises:
      UserError: the model cannot be written so, or a package that this needs is not installed.
    """
    from imdb_jax.artefacts import FORMATS

    if classifier.input_format.ngrams:
        raise UserError("an ngram model cannot be exported; its run directory can be copied")
    from imdb_jax.usage import readme

    for name, content in FORMATS[to](classifier).items():
        write_atomically(directory / name, content)
    classifier.vocabulary.save(directory / "vocabulary.txt")
    # Where the reviews lay on this machine means nothing elsewhere.
    config = dataclasses.replace(classifier.config, data_dir=None, test=None)
    write_atomically(directory / "config.toml", dump_config(config).encode())
    # Written last: it tells an export from any other directory.
    write_atomically(directory / "README.txt", readme(classifier, to).encode())


_NAMES = {"vocabulary.txt", "config.toml", "README.txt", "vectors.txt", "model.stablehlo"} | {
    f"model.{suffix}" for suffix in ("safetensors", "npz", "keras", "weights.h5")
}


def check_directory(directory: Path, overwrite: bool) -> None:
    """Refuses a directory that holds an export (unless it may be replaced) or anything else."""
    if not directory.exists() and not directory.is_symlink():
        return
    if not directory.is_dir() or directory.is_symlink():
        raise UserError(f"{directory} is not a directory; choose another --out")
    names = {path.name for path in directory.iterdir()}
    if not names:
        return
    if not names <= _NAMES or "README.txt" not in names:
        raise UserError(f"{directory} holds something other than an export; choose another --out")
    if not overwrite:
        raise UserError(
            f"{directory} already holds an export; choose another --out, or replace it by "
            "--overwrite"
        )


def write_directory(directory: Path, fill: Callable[[Path], None]) -> None:
    """Fills a directory under a temporary name beside `directory`, then renames it.

    What was at `directory` is replaced. If anything fails, it stays as it was.

    Raises:
      UserError: it cannot be written.
    """
    unfinished = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}")
    replaced = unfinished.with_suffix(".replaced")
    try:
        unfinished.mkdir(parents=True)
        try:
            fill(unfinished)
            if directory.exists():
                directory.rename(replaced)
            unfinished.rename(directory)
        except BaseException:
            if replaced.exists():
                replaced.rename(directory)
            raise
    except OSError as error:
        raise UserError(f"cannot write {directory}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def main() -> None:
    """Entry point of the console script."""
    cli.run_command(export)


if __name__ == "__main__":
    main()
