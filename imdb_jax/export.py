"""Write a trained model for other programs: `python -m imdb_jax.export RUN --to stablehlo`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from imdb_jax import cli
from imdb_jax.config import OptionalPath, dump_config, has_config, replace
from imdb_jax.errors import UserError
from imdb_jax.files import is_directory, is_regular, write_atomically
from imdb_jax.progress import tell

if TYPE_CHECKING:
    from imdb_jax.inference.classifier import Classifier

Format = Literal["stablehlo", "safetensors", "npz", "keras", "word2vec"]


@dataclass(frozen=True)
class Options:
    """What to export, and where."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""

    to: Format
    """stablehlo: a program with its parameters, which jax alone runs on CPU, GPU and TPU;
    safetensors, npz: the parameters; keras: a model for Keras 3 (.keras and .weights.h5); word2vec:
    the word vectors, as text."""

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
    check_directory(out, options.overwrite)
    from imdb_jax.inference.classifier import load

    classifier = load(options.run)
    write_directory(out, lambda directory: write_export(classifier, options.to, directory))
    if not options.quiet:
        tell(f"written to {out}; {out / 'README.txt'} says how to read it")


def write_export(classifier: Classifier, to: Format, directory: Path) -> None:
    """Write the files of an export to an empty directory, or raise `UserError`."""
    from imdb_jax.exporting.formats import FORMATS

    if classifier.input_format.ngrams:
        raise UserError("an ngram model cannot be exported; its run directory can be copied")
    from imdb_jax.exporting.readme import readme

    for name, content in FORMATS[to](classifier).items():
        write_atomically(directory / name, content)
    classifier.vocabulary.save(directory / "vocabulary.txt")
    # Paths of this machine mean nothing elsewhere.
    config = replace(classifier.config, data_dir=None, test=None)
    write_atomically(directory / "config.toml", dump_config(config).encode())
    names = classifier.label_names
    classes = {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }
    write_atomically(directory / "config.json", (json.dumps(classes, indent=2) + "\n").encode())
    # Written last: it tells an export from any other directory.
    write_atomically(directory / "README.txt", readme(classifier, to).encode())


_NAMES = {"vocabulary.txt", "config.toml", "config.json", "README.txt", "vectors.txt"} | {
    f"model.{suffix}" for suffix in ("stablehlo", "safetensors", "npz", "keras", "weights.h5")
}


def check_directory(directory: Path, overwrite: bool) -> None:
    """Refuse a directory that holds an export (unless it may be replaced) or anything else."""
    if not is_directory(directory):
        if directory.exists() or directory.is_symlink():
            raise UserError(f"{directory} is not a directory; choose another --out")
        return
    is_export = has_config(directory) and (directory / "README.txt").exists()
    for path in sorted(directory.iterdir()):
        if not (is_export and path.name in _NAMES and is_regular(path)):
            other = f"holds something other than an export, {path.name}"
            raise UserError(f"{directory} {other}; choose another --out")
    if is_export and not overwrite:
        raise UserError(f"{directory} already holds an export; choose another --out or --overwrite")


def write_directory(directory: Path, fill: Callable[[Path], None]) -> None:
    """Fill a directory under a temporary name, then rename it to `directory`, replacing that.

    If anything fails, `directory` stays as it was. Raises `UserError` if it cannot be written.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as beside:
            new, old = Path(beside, "new"), Path(beside, "old")
            new.mkdir()  # with the usual permissions, unlike the one around it
            fill(new)
            try:
                if directory.exists():
                    directory.rename(old)
                new.rename(directory)
            except BaseException:
                if old.exists():
                    old.rename(directory)
                raise
    except OSError as error:
        raise UserError(f"cannot write {directory}: {error.strerror or error}") from error


main = partial(cli.run_command, export)

if __name__ == "__main__":
    main()
