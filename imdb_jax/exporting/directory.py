"""The directory of an export: a model's files, what reads its texts, and a README."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from imdb_jax.config import Config, dump_config, has_config, replace
from imdb_jax.datasets.tables import is_table
from imdb_jax.errors import UserError, unknown_name
from imdb_jax.exporting.formats import FORMATS
from imdb_jax.exporting.readme import readme
from imdb_jax.files import is_directory, is_regular, write_atomically, write_directory
from imdb_jax.inference import classifier
from imdb_jax.inference.classifier import Classifier
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.text.sequences import INDEX_FROM, PAD_ID, START_ID, UNKNOWN_ID
from imdb_jax.text.vocabulary import Vocabulary

_CONFIG, _DESCRIPTION, _README = "config.toml", "config.json", "README.md"
_OLD_README = "README.txt"  # of earlier versions
_SUFFIXES = ("stablehlo", "safetensors", "npz", "onnx", "keras", "weights.h5", "html")
_NAMES = {
    *(Vocabulary.FILE, NgramVocabulary.FILE, _CONFIG, _DESCRIPTION, _README, _OLD_README),
    *("vectors.txt", *(f"model.{suffix}" for suffix in _SUFFIXES)),
}


def export_model(
    model: Classifier | str | os.PathLike[str],
    to: str,
    out: str | os.PathLike[str],
    overwrite: bool = False,
) -> None:
    """Write a trained model in another format, with a README that says how to read it.

    Args:
      model: the model, or its run directory.
      to: 'stablehlo', 'safetensors', 'npz', 'onnx', 'keras', 'html' or 'word2vec'.
      out: the directory to write.
      overwrite: replace the export that `out` already holds.

    Raises:
      UserError: the format cannot hold the model, `out` holds something else, or a package that
        the format needs is not installed.
    """
    if to not in FORMATS:
        raise UserError(unknown_name("format", to, FORMATS))
    out = Path(out)
    check_directory(out, overwrite)
    loaded = model if isinstance(model, Classifier) else classifier.load(model)
    write_directory(out, lambda directory: write_export(loaded, to, directory))


def write_export(model: Classifier, to: str, directory: Path) -> None:
    """Write the files of an export to an empty directory, or raise `UserError`."""
    for name, content in FORMATS[to](model).items():
        write_atomically(directory / name, content)
    model.vocabulary.save(directory / model.vocabulary.FILE)
    write_atomically(directory / _CONFIG, dump_config(_without_paths(model.config)).encode())
    description = json.dumps(describe(model), indent=2) + "\n"
    write_atomically(directory / _DESCRIPTION, description.encode())
    # Written last: it tells an export from any other directory.
    write_atomically(directory / _README, readme(model, to).encode())


def _without_paths(config: Config) -> Config:
    """Return a configuration without paths, which are of this machine: names of files remain."""
    names = {"unlabelled": Path(config.self_training.unlabelled).name}
    if is_table(Path(config.data.dataset)):
        names["dataset"] = Path(config.data.dataset).name
    return replace(config, data_dir=None, test=None, teacher=None, **names)


def describe(model: Classifier) -> dict[str, Any]:
    """Return what Hugging Face's `config.json` holds: architecture, how a text is read, classes.

    `id2label` and `label2id` are the names that Transformers uses.
    """
    config, form, names = model.config, model.input_format, model.label_names
    reads: dict[str, Any] = {"pad_id": PAD_ID}
    if not form.ngrams:
        # A word's id is its rank + INDEX_FROM; ids from `num_words` on become `unknown_id`.
        reads |= {"start_id": START_ID, "unknown_id": UNKNOWN_ID, "first_word_id": INDEX_FROM + 1}
        reads |= {"max_length": form.max_length, "truncating": form.truncating}
        reads |= {"distinct": True} if form.distinct else {"padding": form.padding}
    return {
        "model_type": "imdb_jax",
        "architectures": [type(model.model).__name__],
        "arch": config.arch,
        "num_words": config.input.num_words,
        "model": config.model,
        "dtype": config.training.dtype,
        "input": reads,
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }


def check_directory(directory: Path, overwrite: bool) -> None:
    """Refuse a directory that holds an export (unless it may be replaced) or anything else."""
    if not is_directory(directory):
        if directory.exists() or directory.is_symlink():
            raise UserError(f"{directory} is not a directory; choose another --out")
        return
    readmes = (directory / _README, directory / _OLD_README)
    is_export = has_config(directory) and any(path.exists() for path in readmes)
    for path in sorted(directory.iterdir()):
        if not (is_export and path.name in _NAMES and is_regular(path)):
            other = f"is not an export: it holds {path.name}"
            raise UserError(f"{directory} {other}; choose another --out")
    if is_export and not overwrite:
        raise UserError(f"{directory} already holds an export; choose another --out or --overwrite")
